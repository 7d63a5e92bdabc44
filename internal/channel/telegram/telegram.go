// Package telegram is the channel for bots in Telegram: what people write comes
// by long polling or by Telegram's webhook, and answers go out by its Bot API.
// What may live here: that platform. What all channels have in common is
// internal/channel's.
package telegram

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations, metrics and activities.
const Name = "telegram"

// Base is the path below which an account's webhook lies, by the account's name.
const Base = "/channels/telegram/"

const defaultAPI = "https://api.telegram.org"

// Account is a bot in Telegram.
type Account struct {
	Name  string
	Bot   string        // who answers; "" = the default one
	Token secret.String // @BotFather's
	// Secret is what Telegram shows when it calls the webhook. Empty: it has none,
	// and is asked for news by one node of all.
	Secret secret.String
	// Greeting is what Bot says to whoever presses Start; "" = that press is a
	// message like others.
	Greeting string
	API      string // address of the Bot API; "" = Telegram's
}

// Owner is whose conversations an account's are.
func Owner(account string) string { return Name + "-" + account }

// Desk is what of a channel.Desk is needed.
type Desk interface {
	Place(ctx context.Context, name string, s channel.Start) (conversation string, err error)
	Take(ctx context.Context, in channel.Inbound) (pos uint64, err error)
	Speak(ctx context.Context, sp chat.Spoken) (pos uint64, err error)
	Said(ctx context.Context, owner, conversation string, pos uint64) (*activity.Activity, error)
	Keep(ctx context.Context, owner, conversation, key string, f files.File) (files.Attachment, error)
	Kept(ctx context.Context, owner, conversation, address string) (files.File, error)
	Alone(ctx context.Context, name string, do func(context.Context)) error
	AloneAt(ctx context.Context, name string) (region string, err error)
	Observer() channel.Observer
}

// Options of the channel. Desk and Accounts are required.
type Options struct {
	Desk     Desk
	Accounts []Account
	Service  string // address under which Telegram finds files that we keep; "" = it finds none
	MaxFile  int64  // bytes of a file that somebody sends; 0 = 10 MiB
	Logger   *slog.Logger
}

// Server takes in what people write, and posts. It is an http.Handler for
// everything below Base, and a channel.Poster.
type Server struct {
	opts     Options
	lg       *slog.Logger
	accounts map[string]*account // by name
	owners   map[string]*account // by whose the conversations are
	client   *http.Client
	mux      *http.ServeMux
}

type account struct {
	Account
	id     int64             // the bot's
	secret [sha256.Size]byte // digest of the webhook's
	base   string            // of methods; holds the token
	files  string            // of files; holds the token
	me     atomic.Pointer[user]
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || len(o.Accounts) == 0 {
		return nil, errors.New("telegram: Desk and Accounts are required")
	}
	if o.MaxFile == 0 {
		o.MaxFile = 10 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: o, lg: o.Logger.With("part", Name), accounts: map[string]*account{}, owners: map[string]*account{},
		client: newClient(),
	}
	for _, a := range o.Accounts {
		if err := s.add(a); err != nil {
			return nil, err
		}
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST /channels/telegram/{account}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.deliver(w, r); err != nil {
			s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
			wire.Fail(w, r, s.lg, err, "")
		}
	})
	return s, nil
}

func (s *Server) add(a Account) error {
	number, rest, _ := strings.Cut(a.Token.Reveal(), ":")
	id, err := strconv.ParseInt(number, 10, 64)
	if a.API == "" {
		a.API = defaultAPI
	}
	u, bad := url.Parse(a.API)
	switch {
	case a.Name == "" || err != nil || id <= 0 || rest == "" || !wordy(rest) || !wordy(a.Secret.Reveal()):
		return errors.New("telegram: every account needs a name, a token as @BotFather gives it, 123456:ABC…, and no secret or one that Telegram takes")
	case a.Greeting != "" && a.Bot == "":
		return errors.New("telegram: the account " + a.Name + " has a greeting and no bot that says it")
	case s.accounts[a.Name] != nil:
		return errors.New("telegram: two accounts have the name " + a.Name)
	case bad != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "":
		return errors.New("telegram: the address of the Bot API must be like " + defaultAPI)
	}
	at := strings.TrimRight(a.API, "/")
	acc := &account{
		Account: a, id: id, secret: sha256.Sum256([]byte(a.Secret.Reveal())),
		base: at + "/bot" + a.Token.Reveal(), files: at + "/file/bot" + a.Token.Reveal(),
	}
	s.accounts[a.Name], s.owners[Owner(a.Name)] = acc, acc
	return nil
}

// wordy reports whether a text has letters only that tokens and secrets have.
func wordy(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// ServeHTTP answers Telegram.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// hdrSecret is where Telegram shows the webhook's secret.
const hdrSecret = "X-Telegram-Bot-Api-Secret-Token"

// maxBody is more than Telegram sends: an update is one message, with the one
// that it answers.
const maxBody = 1 << 20

// deliver takes an update. It is answered when that is durable; otherwise
// Telegram sends it again.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request) error {
	a := s.accounts[r.PathValue("account")]
	if a == nil || a.Secret.Empty() {
		return fault.New(fault.NotFound, "there is no such account, or it has no webhook")
	}
	shown := sha256.Sum256([]byte(r.Header.Get(hdrSecret)))
	if subtle.ConstantTimeCompare(shown[:], a.secret[:]) != 1 {
		return fault.New(fault.Unauthenticated, "the secret token is not this account's: set the webhook again with the one of the configuration")
	}
	b, err := body.Read(w, r, maxBody)
	if err != nil {
		return err
	}
	u, err := read(b)
	if err != nil {
		return err
	}
	if err := s.take(r.Context(), a, u); err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]bool{"ok": true})
}

// self is the bot as Telegram knows it.
func (s *Server) self(ctx context.Context, a *account) (*user, error) {
	if me := a.me.Load(); me != nil {
		return me, nil
	}
	var me user
	if err := s.call(ctx, a, "getMe", struct{}{}, &me); err != nil {
		return nil, err
	}
	a.me.Store(&me)
	return &me, nil
}

// place is where in Telegram something was said. It stands under
// channelData.telegram of what came in, so that what goes out finds back.
type place struct {
	Chat    int64 `json:"chat"`
	Thread  int64 `json:"thread,omitempty"` // a topic of it; 0 = none
	User    int64 `json:"user,omitempty"`
	Message int64 `json:"message,omitempty"`
	// Update is what Telegram sent, unless it is large.
	Update json.RawMessage `json:"update,omitempty"`
}

// name is what Telegram's side of a conversation is called: a chat, or a topic
// of one.
func (p place) name() string {
	return strconv.FormatInt(p.Chat, 10) + "/" + strconv.FormatInt(p.Thread, 10)
}

// private reports whether it is a chat with one person: groups have numbers
// below zero.
func (p place) private() bool { return p.Chat > 0 }

// placeOf is where what came in came from.
func placeOf(a *activity.Activity) (p place, ok bool) {
	var data map[string]json.RawMessage
	if a == nil || json.Unmarshal(a.ChannelData, &data) != nil || json.Unmarshal(data[Name], &p) != nil {
		return place{}, false
	}
	return p, p.Chat != 0
}

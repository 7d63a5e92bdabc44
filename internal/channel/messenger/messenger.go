// Package messenger is the channel for people who write to a Facebook page:
// Meta calls its webhook, and answers go out by the Send API of Meta's Graph.
// What may live here: that protocol. What all channels have in common is
// internal/channel's.
package messenger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations, metrics and activities.
const Name = "messenger"

// Base is the path below which an account's webhook lies, by the account's name.
const Base = "/channels/messenger"

const defaultGraph = "https://graph.facebook.com/v25.0"

// Account is a page that people write to, and the app at Meta that answers for
// it. Several pages may have the same app: its one webhook, at the address of
// any of them, brings what people write to all of them.
type Account struct {
	Name        string
	Bot         string        // who answers; "" = the default one
	AppSecret   secret.String // signs what Meta sends, and proves what we send
	VerifyToken secret.String // what Meta shows when the webhook is set up
	Page        string        // its id
	Token       secret.String // the page's access token
	Graph       string        // address of Meta's Graph with its version; "" = the one that this was made for
	// Greeting is what Bot says to whoever presses Get Started; "" = that press is
	// a message like others.
	Greeting string
}

// Desk is what of a channel.Desk is needed.
type Desk interface {
	Place(ctx context.Context, name string, s channel.Start) (conversation string, err error)
	Take(ctx context.Context, in channel.Inbound) (pos uint64, err error)
	Speak(ctx context.Context, sp chat.Spoken) (pos uint64, err error)
	Observer() channel.Observer
}

// Options of the channel. Desk and Accounts are required.
type Options struct {
	Desk     Desk
	Accounts []Account
	Service  string // address under which Meta finds files that we keep; "" = it finds none

	MaxBody int64 // bytes of one delivery; 0 = 4 MiB
	Now     func() time.Time
	Logger  *slog.Logger
}

// Server answers the webhook and posts. It is an http.Handler for everything
// below Base, and a channel.Poster.
type Server struct {
	opts     Options
	lg       *slog.Logger
	accounts map[string]*account // by name
	pages    map[string]*account // by the page's id
	client   *http.Client
	shown    *channel.Limiter // who was shown lately that somebody writes
	mux      *http.ServeMux
}

type account struct {
	Account
	verify [sha256.Size]byte // digest of the verify token
	proof  string            // that whoever has the page's token has the app's secret too
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || len(o.Accounts) == 0 {
		return nil, errors.New("messenger: Desk and Accounts are required")
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: o, lg: o.Logger.With("part", Name), accounts: map[string]*account{}, pages: map[string]*account{},
		client: newClient(), shown: channel.NewLimiter(1/typingTime.Seconds(), 1, 0),
	}
	for _, a := range o.Accounts {
		if err := s.add(a); err != nil {
			return nil, err
		}
	}
	s.mux = http.NewServeMux()
	s.handle("GET /channels/messenger/{account}", s.verified)
	s.handle("POST /channels/messenger/{account}", s.deliver)
	return s, nil
}

func (s *Server) add(a Account) error {
	switch {
	case a.Name == "" || a.AppSecret.Empty() || a.VerifyToken.Empty() || a.Page == "" || a.Token.Empty():
		return errors.New("messenger: every account needs a name, an app secret, a verify token, a page and its token")
	case a.Greeting != "" && a.Bot == "":
		return errors.New("messenger: the account " + a.Name + " has a greeting and no bot that says it")
	case s.accounts[a.Name] != nil:
		return errors.New("messenger: two accounts have the name " + a.Name)
	case s.pages[a.Page] != nil:
		return errors.New("messenger: two accounts have the page " + a.Page)
	case a.Graph == "":
		a.Graph = defaultGraph
	}
	a.Graph = strings.TrimRight(a.Graph, "/")
	u, err := url.Parse(a.Graph)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" {
		return errors.New("messenger: the address of the Graph must be like " + defaultGraph)
	}
	proof := hmac.New(sha256.New, []byte(a.AppSecret.Reveal()))
	proof.Write([]byte(a.Token.Reveal()))
	acc := &account{Account: a, verify: sha256.Sum256([]byte(a.VerifyToken.Reveal())), proof: hex.EncodeToString(proof.Sum(nil))}
	s.accounts[a.Name], s.pages[a.Page] = acc, acc
	return nil
}

// ServeHTTP answers Meta.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Server) handle(pattern string, f func(http.ResponseWriter, *http.Request, *account) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		err := error(fault.New(fault.NotFound, "there is no such account"))
		if a := s.accounts[r.PathValue("account")]; a != nil {
			err = f(w, r, a)
		}
		if err != nil {
			s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
			wire.Fail(w, r, s.lg, err, "")
		}
	})
}

// mostChallenge bounds what is sent back when a webhook is set up.
const mostChallenge = 256

// verified shows Meta that the webhook is ours, when it is set up.
func (s *Server) verified(w http.ResponseWriter, r *http.Request, a *account) error {
	q := r.URL.Query()
	shown := sha256.Sum256([]byte(q.Get("hub.verify_token")))
	challenge := q.Get("hub.challenge")
	if subtle.ConstantTimeCompare(shown[:], a.verify[:]) != 1 || q.Get("hub.mode") != "subscribe" || challenge == "" || len(challenge) > mostChallenge {
		return fault.New(fault.Forbidden, "the verify token is not this account's")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(challenge))
	return nil
}

// deliver takes a batch of what people did. It is answered when all of it is
// durable; otherwise Meta sends the whole batch again, and what was taken is
// found by its key.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, a *account) error {
	b, err := body.Read(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	if !signed(b, r.Header.Get("X-Hub-Signature-256"), a.AppSecret) {
		return fault.New(fault.Unauthenticated, "the signature of the body is not that of the account's app")
	}
	events, odd, err := read(b)
	if err != nil {
		return err
	}
	if odd > 0 {
		s.opts.Desk.Observer().Refused(Name, string(fault.Unsupported))
		s.lg.Warn("events have a form that this version does not know; they are left out", "account", a.Name, "events", odd)
	}
	if err := s.take(r.Context(), a, events); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(received))
	return nil
}

// received is what Meta is told of a delivery that was taken.
const received = "EVENT_RECEIVED"

// signed reports whether Meta signed these very bytes with the app's secret.
func signed(b []byte, header string, key secret.String) bool {
	digits, ok := strings.CutPrefix(header, "sha256=")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return false
	}
	m := hmac.New(sha256.New, []byte(key.Reveal()))
	m.Write(b)
	return hmac.Equal(m.Sum(nil), sum)
}

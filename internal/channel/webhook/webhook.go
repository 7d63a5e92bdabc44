// Package webhook is the channel for programs of one's own: they call Parley
// with what people say, and are called with what bots say, as activities in
// JSON, signed both ways as Standard Webhooks says. It is also the example of
// docs/channels/own.md. What may live here: that protocol.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/dial"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations, metrics and activities.
const Name = "webhook"

// Base is the path below which an account's address lies, by its name.
const Base = "/channels/webhook/"

// Account is a program that brings what people say and is called with what bots
// say.
type Account struct {
	Name     string
	Bot      string // who answers; "" = the default one
	URL      string // is called
	Secret   secret.String
	Previous secret.String // is taken and shown as well, while the program changes over; empty = none
	Private  bool          // URL may be on this machine or in a private network, and without TLS
	// Pace is how often a growing answer is told; 0 = only when it is whole.
	Pace time.Duration
}

// Owner is whose conversations an account's are.
func Owner(account string) string { return Name + "-" + account }

// Desk is what of a channel.Desk is needed.
type Desk interface {
	Place(ctx context.Context, name string, s channel.Start) (conversation string, err error)
	Take(ctx context.Context, in channel.Inbound) (pos uint64, err error)
	Observer() channel.Observer
}

// Options of the channel. Desk and Accounts are required.
type Options struct {
	Desk     Desk
	Accounts []Account
	Service  string // address by which files are had that we keep

	MaxBody int64 // bytes of a request; 0 = 256 KiB
	Now     func() time.Time
	Logger  *slog.Logger
}

// Server takes requests in and posts. It is an http.Handler for everything below
// Base, and a channel.Poster.
type Server struct {
	opts     Options
	lg       *slog.Logger
	mux      *http.ServeMux
	accounts map[string]*account // by name
	owners   map[string]*account // by whose the conversations are
	pace     time.Duration       // of the quickest account
}

type account struct {
	Account
	keys   [][]byte // the first signs, all are taken
	client *http.Client
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || len(o.Accounts) == 0 {
		return nil, errors.New("webhook: Desk and Accounts are required")
	}
	if o.MaxBody == 0 {
		o.MaxBody = 256 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, lg: o.Logger.With("part", Name), accounts: map[string]*account{}, owners: map[string]*account{}}
	for _, a := range o.Accounts {
		x := &account{Account: a, client: dial.Client(func(at netip.Addr) error { return allowed(a, at) })}
		for _, key := range []secret.String{a.Secret, a.Previous} {
			if key.Empty() {
				continue
			}
			k, err := Key(key)
			if err != nil {
				return nil, err
			}
			x.keys = append(x.keys, k)
		}
		if a.Name == "" || len(x.keys) == 0 {
			return nil, errors.New("webhook: an account needs Name and Secret")
		}
		if err := CheckURL(a.URL, a.Private); err != nil {
			return nil, err
		}
		s.accounts[a.Name], s.owners[Owner(a.Name)] = x, x
		if a.Pace > 0 && (s.pace == 0 || a.Pace < s.pace) {
			s.pace = a.Pace
		}
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST "+Base+"{account}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.deliver(w, r); err != nil {
			s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
			wire.Fail(w, r, s.lg, err, "")
		}
	})
	return s, nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// CheckURL says what is wrong with the address of a program.
func CheckURL(address string, private bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("it must be https://host[:port]/path")
	case u.Scheme == "https", u.Scheme == "http" && private:
		return nil
	}
	return errors.New("it must begin with https://, or private must be true")
}

func allowed(a Account, at netip.Addr) error {
	switch where := dial.Of(at); {
	case where == dial.Nowhere:
		return fault.New(fault.Forbidden, "the webhook's url leads to an address that this service does not call")
	case where == dial.Near && !a.Private:
		return fault.New(fault.Forbidden, "the webhook's url leads to this machine or to a private network; its setting private: true allows that")
	}
	return nil
}

// address is where something is to go, as it is kept with what came in.
type address struct {
	Conversation string `json:"conversation"` // the program's name for it
}

// deliver takes an activity in.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request) error {
	a, ok := s.accounts[r.PathValue("account")]
	if !ok {
		return fault.New(fault.NotFound, "there is no webhook %q", r.PathValue("account"))
	}
	raw, err := body.Read(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	if err := verify(r.Header, raw, a.keys, s.opts.Now()); err != nil {
		return err
	}
	act, to, err := parse(raw)
	if err != nil {
		return err
	}
	if act.Type == typePing {
		return wire.WriteJSON(w, http.StatusOK, map[string]string{"type": "pong"})
	}
	owner := Owner(a.Name)
	conv, err := s.opts.Desk.Place(r.Context(), to.Conversation, channel.Start{Owner: owner, Bot: a.Bot, User: act.From.ID, Data: act.ChannelData})
	if err != nil {
		return err
	}
	pos, err := s.opts.Desk.Take(r.Context(), channel.Inbound{Conversation: conv, Owner: owner, Activity: act, Key: r.Header.Get(hdrID)})
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusAccepted, map[string]string{"id": channel.ActivityID(conv, pos)})
}

const (
	typePing = "ping" // is answered and nothing else: whether the way is free
	mostName = 256    // bytes of a name that the program gives something
)

// parse reads what came in. Nothing of it is believed that only a server says.
func parse(raw []byte) (act activity.Activity, to address, err error) {
	var names struct {
		Conversation struct{ ID string }
	}
	if act, err = channel.Read(raw); err != nil {
		return act, to, err
	}
	if act.Type == typePing {
		return act, to, nil
	}
	if json.Unmarshal(raw, &names) != nil || names.Conversation.ID == "" || len(names.Conversation.ID) > mostName {
		return act, to, fault.New(fault.Invalid, `"conversation": {"id": …} must say which one it is, in at most %d bytes`, mostName)
	}
	if act.From == nil || act.From.ID == "" || len(act.From.ID) > mostName || len(act.From.Name) > mostName {
		return act, to, fault.New(fault.Invalid, `"from": {"id": …, "name": …} must say who it is from, in at most %d bytes each`, mostName)
	}
	to.Conversation = names.Conversation.ID
	data := map[string]json.RawMessage{}
	if len(act.ChannelData) > 0 && json.Unmarshal(act.ChannelData, &data) != nil {
		return act, to, fault.New(fault.Invalid, `"channelData" must be an object`)
	}
	if data[Name], err = json.Marshal(to); err != nil {
		return act, to, err
	}
	act.ChannelData, err = json.Marshal(data)
	return act, to, err
}

// Package slack is the channel for Slack: its Events API, buttons and slash
// commands come in over HTTP, and answers go out through its Web API. What may
// live here: that platform. What all channels have in common is
// internal/channel's.
package slack

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/slack-go/slack"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations, metrics and activities.
const Name = "slack"

// Base is the path below which Slack's requests come in.
const Base = "/channels/slack/"

// maxBody is more than Slack sends: a button's press comes with the message
// that it is on.
const maxBody = 1 << 20

// Account is an app in a workspace.
type Account struct {
	Name    string
	Team    string        // id of the workspace; what comes from another one is refused
	Signing secret.String // with which Slack signs what it sends
	Token   secret.String // the bot's, xoxb-...
	Bot     string        // who answers; "" = the default one
}

// Desk is what the channel needs of channel.Desk.
type Desk interface {
	Place(ctx context.Context, name string, s channel.Start) (conversation string, err error)
	Take(ctx context.Context, in channel.Inbound) (pos uint64, err error)
	Observer() channel.Observer
}

// Options of the channel. Desk and Accounts are required.
type Options struct {
	Desk     Desk
	Accounts []Account
	// API is where Slack's Web API is; "" = slack.com. Of a sovereign cloud it is
	// https://slack-gov.com/api/.
	API string
	// Public is this service's own address, for links to files that it keeps;
	// "" = such files are named only.
	Public string
	Logger *slog.Logger
}

// Server answers Slack, and is the channel's Poster.
type Server struct {
	opts     Options
	lg       *slog.Logger
	accounts map[string]*account
	mux      *http.ServeMux
	caller   *http.Client
}

// account is an Account at work.
type account struct {
	Account
	api   *api.Client
	pace  paces
	quiet sync.Map // what this app may not do, by method: it is not asked again
	id    atomic.Value
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || len(o.Accounts) == 0 {
		return nil, errors.New("slack: Desk and Accounts are required")
	}
	if o.API == "" {
		o.API = api.APIURL
	}
	if !strings.HasSuffix(o.API, "/") {
		o.API += "/"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, lg: o.Logger.With("part", Name), accounts: map[string]*account{}, mux: http.NewServeMux(), caller: newCaller()}
	for _, a := range o.Accounts {
		if a.Name == "" || a.Team == "" || a.Signing.Empty() || a.Token.Empty() {
			return nil, errors.New("slack: every account needs a name, a team, a signing secret and a token")
		}
		s.accounts[a.Name] = &account{
			Account: a, pace: newPaces(),
			api: api.New(a.Token.Reveal(), api.OptionAPIURL(o.API), api.OptionHTTPClient(s.caller), api.OptionLog(mute{})),
		}
	}
	s.handle("POST /channels/slack/{name}/events", s.event)
	s.handle("POST /channels/slack/{name}/actions", s.pressed)
	s.handle("POST /channels/slack/{name}/commands", s.command)
	return s, nil
}

// mute keeps slack-go from the process's standard error.
type mute struct{}

func (mute) Output(int, string) error { return nil }

// Owner is whose the conversations of an account are.
func Owner(name string) string { return Name + "-" + name }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handle verifies what came in before anybody looks at it.
func (s *Server) handle(pattern string, f func(http.ResponseWriter, *http.Request, *account, []byte) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		acc, b, err := s.verified(w, r)
		if err == nil {
			err = f(w, r, acc, b)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := fault.CodeOf(err)
	s.opts.Desk.Observer().Refused(Name, string(code))
	switch code {
	case fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Invalid, fault.TooLarge:
		// The same request will be refused again. Slack counts refusals, and
		// tells the app's owner.
		w.Header().Set("X-Slack-No-Retry", "1")
		s.lg.Warn("a request was refused", "route", r.Pattern, "account", s.known(r.PathValue("name")), "why", fault.MessageOf(err))
	}
	wire.Fail(w, r, s.lg, err, "")
}

// known keeps made-up names out of the log.
func (s *Server) known(name string) string {
	if s.accounts[name] == nil {
		return "unknown"
	}
	return name
}

var errSignature = fault.New(fault.Unauthenticated, "the signature is not Slack's: compare the signing secret with that on the app's page, and the clock of this machine")

// verified returns the raw body of a request that Slack signed. Signatures are
// good for five minutes before and after.
func (s *Server) verified(w http.ResponseWriter, r *http.Request) (*account, []byte, error) {
	acc := s.accounts[r.PathValue("name")]
	if acc == nil {
		return nil, nil, fault.New(fault.NotFound, "no such Slack account is configured here")
	}
	check, err := api.NewSecretsVerifier(r.Header, acc.Signing.Reveal())
	if err != nil {
		return nil, nil, errSignature
	}
	b, err := body.Read(w, r, maxBody)
	if err != nil {
		return nil, nil, err
	}
	if _, err := check.Write(b); err != nil || check.Ensure() != nil {
		return nil, nil, errSignature
	}
	return acc, b, nil
}

// place is where in a workspace something was said, and by whom. It stands
// under channelData.slack of what came in, so that what goes out finds back.
type place struct {
	Account string `json:"account"`
	Team    string `json:"team"`
	Channel string `json:"channel"`
	Thread  string `json:"thread,omitempty"` // "" = the channel itself
	User    string `json:"user,omitempty"`
	// For is whose conversation it is in a channel, where one person's slash
	// commands are a conversation and everybody may press what is answered.
	For string `json:"for,omitempty"`
	TS  string `json:"ts,omitempty"` // of the message
	// Event is what Slack sent, without what gives access to something.
	Event json.RawMessage `json:"event,omitempty"`
}

// name is what Slack's side of a conversation is called: a direct message as a
// whole, a thread, or what one person has with the app by slash commands.
func (p place) name() string {
	name := p.Account + "/" + p.Team + "/" + p.Channel
	switch {
	case p.Thread != "":
		name += "/" + p.Thread
	case !p.direct():
		name += "/" + p.For
	}
	return name
}

// direct reports whether it is a direct message with the app.
func (p place) direct() bool { return strings.HasPrefix(p.Channel, "D") }

// take finds the conversation of a place and takes what was said or done there.
func (s *Server) take(ctx context.Context, acc *account, p place, a activity.Activity, key string) error {
	p.Account = acc.Name
	if !p.sound() {
		return errOdd
	}
	data, err := json.Marshal(map[string]place{Name: p})
	if err != nil {
		return err
	}
	start := channel.Start{Owner: Owner(acc.Name), Bot: acc.Bot, Data: data}
	switch {
	case p.direct():
		start.User = p.User
	case p.Thread == "":
		start.User = p.For
	}
	conv, err := s.opts.Desk.Place(ctx, p.name(), start)
	if err != nil {
		return err
	}
	a.From, a.ChannelData = &activity.Account{ID: p.User, Role: "user"}, data
	_, err = s.opts.Desk.Take(ctx, channel.Inbound{Conversation: conv, Owner: start.Owner, Activity: a, Key: key})
	if fault.Is(err, fault.Conflict) {
		return nil // the delivery was taken before, and says something else by now: it was edited meanwhile
	}
	return err
}

var errOdd = fault.New(fault.Invalid, "this is not what Slack sends: a channel, a user or a time is not one")

// sound reports whether the parts of a place are Slack's ids and nothing else:
// they become part of names.
func (p place) sound() bool {
	alone := p.Thread != "" || p.direct() || id(p.For)
	return id(p.Team) && id(p.Channel) && id(p.User) && alone && (p.Thread == "" || stamp(p.Thread)) && (p.TS == "" || stamp(p.TS))
}

func id(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func stamp(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "0123456789.") == ""
}

// placeOf is where what came in last came from.
func placeOf(last *activity.Activity) (p place, ok bool) {
	var data map[string]json.RawMessage
	if last == nil || json.Unmarshal(last.ChannelData, &data) != nil || json.Unmarshal(data[Name], &p) != nil {
		return place{}, false
	}
	return p, p.Channel != ""
}

// ack is the empty answer that Slack wants within three seconds.
func ack(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// quick is how long somebody who pressed or typed a command is kept waiting:
// Slack gives up after three seconds.
const quick = 2500 * time.Millisecond

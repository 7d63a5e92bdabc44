// Package connector is the channel's end of the Bot Framework's protocol: bots
// of other people, made with the Bot Framework or the Agents SDK, get what
// people say as activities by HTTP, and say what they have to say by the
// connector's routes, now or days later. What may live here: that protocol, its
// tokens and keys. When a bot is given something, and that it is given it once,
// is internal/chat's.
package connector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is this channel's name in metrics.
const Name = "connector"

// Bot is a bot that runs elsewhere.
type Bot struct {
	ID, Name string
	URL      string // where it takes activities
	// AppID is whom tokens for it are made out to, and who it is in tokens for
	// us. Without one there are no tokens: only for a bot on this machine.
	AppID string
	// Secret is what the bot shows, or gets a token for. "" = it has none, and
	// gets its tokens by the sidecar route.
	Secret  secret.Hash
	Private bool // URL may be on this machine or in a private network
	Inline  bool // it answers in the response, not by the connector's routes
}

// Observer hears of what goes to and comes from bots, for metrics. Every method
// is cheap. Outcomes and kinds come from short lists.
type Observer interface {
	// Given: an activity was given to a bot, or was not.
	Given(bot, outcome string, took time.Duration)
	BotSaid(bot, kind string)
}

// Files keeps what bots send along, on all nodes.
type Files interface {
	PutFile(ctx context.Context, conversation, id string, content []byte) error
	File(ctx context.Context, conversation, id string) ([]byte, error)
}

// Options of a Server. Desk, Chat, Bots, Keys, Files, Secret, Region and Service
// are required.
type Options struct {
	Desk    *channel.Desk
	Chat    *chat.Service
	Bots    []Bot
	Keys    *Keys
	Files   Files
	Secret  []byte // what all nodes share; at least 32 bytes
	Region  string // where conversations are at home that bots begin
	Service string // the address by which bots reach every region, without a slash at its end
	// Begun says whose the conversations are that a bot begins, and on which
	// channel they are.
	Begun func(bot string) (owner, channel string)

	MaxActivity int64 // bytes of one activity; 0 = 256 KiB
	MaxFile     int64 // bytes of one file; 0 = 4 MiB
	Observer    Observer
	Now         func() time.Time
	Logger      *slog.Logger
}

// Server answers bots. It is an http.Handler for everything below Paths.
type Server struct {
	opts   Options
	lg     *slog.Logger
	mux    *http.ServeMux
	sends  *sends
	issuer string
}

// Paths are the paths below which the protocol lives.
func Paths() []string {
	return []string{"/v3/conversations", "/v3/conversations/", "/v3/attachments/", "/v3/bots/"}
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || o.Chat == nil || len(o.Bots) == 0 || o.Keys == nil || o.Files == nil || len(o.Secret) < 32 || o.Region == "" || o.Service == "" || o.Begun == nil {
		return nil, errors.New("connector: Desk, Chat, Bots, Keys, Files, Secret (32 bytes), Region, Service and Begun are required")
	}
	if o.MaxActivity == 0 {
		o.MaxActivity = 256 << 10
	}
	if o.MaxFile == 0 {
		o.MaxFile = 4 << 20
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, lg: o.Logger.With("part", Name), sends: newSends(), issuer: Issuer(o.Service)}
	s.routes()
	return s, nil
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.handle("POST /v3/conversations", s.create)
	s.handle("POST /v3/conversations/{id}/activities", s.speak)
	s.handle("POST /v3/conversations/{id}/activities/{activity}", s.speak)
	s.handle("PUT /v3/conversations/{id}/activities/{activity}", s.update)
	s.handle("DELETE /v3/conversations/{id}/activities/{activity}", s.withdraw)
	s.handle("POST /v3/conversations/{id}/activities/history", s.history)
	s.handle("GET /v3/conversations/{id}/activities/{activity}/members", s.members)
	s.handle("GET /v3/conversations/{id}/members", s.members)
	s.handle("GET /v3/conversations/{id}/members/{member}", s.member)
	s.handle("GET /v3/conversations/{id}/pagedmembers", s.pagedMembers)
	s.handle("POST /v3/conversations/{id}/attachments", s.attach)
	s.handle("GET /v3/attachments/{file}", s.attachment)
	s.handle("GET /v3/attachments/{file}/views/{view}", s.view)
	s.handle("GET /v3/bots/.well-known/openid-configuration", s.metadata)
	s.handle("GET /v3/bots/keys", s.keys)
	s.handle("GET /v3/bots/discovery/v2.0/keys", s.keys)
	s.handle("POST /v3/bots/token", s.token)
	s.handle("GET /v3/bots/{bot}/sidecar/AuthorizationHeaderUnauthenticated/{service}", s.sidecar)
	s.handle("/", s.none)
}

func (s *Server) handle(pattern string, f func(http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// none answers what no route does: with 405 if another method has one.
func (s *Server) none(w http.ResponseWriter, r *http.Request) error {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = m
		_, pattern := s.mux.Handler(other)
		byID := strings.HasSuffix(pattern, "/{activity}") && strings.HasSuffix(r.URL.Path, "/history") // which is no activity's id
		if pattern != "/" && pattern != "" && !byID {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		return fault.New(fault.NotFound, "there is nothing at %s %s", r.Method, r.URL.Path)
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return wire.WriteError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method+" is not for this address, "+strings.Join(allow, " and ")+" only")
}

// caller finds out which bots a request may be from: one by its credential; or,
// from this machine and without one, any of those that have none.
func (s *Server) caller(r *http.Request) ([]Bot, error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		var open []Bot
		for _, b := range s.opts.Bots {
			if b.AppID == "" {
				open = append(open, b)
			}
		}
		if len(open) > 0 && local(r) {
			return open, nil
		}
		return nil, errNoKey
	}
	if len(h) < 7 || !strings.EqualFold(h[:7], "Bearer ") {
		return nil, errNoKey
	}
	key := strings.TrimSpace(h[7:])
	found := -1
	for i, b := range s.opts.Bots { // all of them, so that time tells nothing
		if b.Secret != "" && b.Secret.Matches(key) {
			found = i
		}
	}
	if found >= 0 {
		return s.opts.Bots[found : found+1], nil
	}
	c, err := s.opts.Keys.verify(r.Context(), key, s.issuer, forConnector(s.opts.Service), s.opts.Now())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.opts.Bots, func(b Bot) bool { return b.ID == c.Subject && b.AppID == c.App && b.AppID != "" })
	if i < 0 {
		return nil, errBadKey
	}
	return s.opts.Bots[i : i+1], nil
}

// local reports whether a request is from a program on this machine, passed on
// by nobody but programs on this machine, such as the edge of a world of one's
// own.
func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Real-Ip", "Via", "Origin"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	for _, hops := range r.Header.Values("X-Forwarded-For") {
		for hop := range strings.SplitSeq(hops, ",") {
			if !loopback(strings.TrimSpace(hop)) {
				return false
			}
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	// A name that somebody points at this machine must not reach us either.
	return err == nil && loopback(host) && here(r.Host) && here(cmp.Or(r.Header.Get("X-Forwarded-Host"), r.Host))
}

func loopback(address string) bool {
	at, err := netip.ParseAddr(address)
	return err == nil && at.Unmap().IsLoopback()
}

// here reports whether a HOST[:PORT] is this machine's name for itself.
func here(hostport string) bool {
	name := (&url.URL{Host: hostport}).Hostname()
	return strings.EqualFold(name, "localhost") || loopback(name)
}

// party is the bot that a request about a conversation is from; from is who the
// activity says it is from, which counts only among those whom nobody asks. What
// this node has not heard of yet it may hear in a moment: a bot answers quickly.
func (s *Server) party(r *http.Request, bots []Bot, from *activity.Account) (bot Bot, conv string, err error) {
	ids := make([]string, len(bots))
	for i, b := range bots {
		if ids[i] = b.ID; from != nil && from.ID == b.ID {
			bots, ids = bots[i:i+1], []string{b.ID}
			break
		}
	}
	conv = r.PathValue("id")
	err = s.opts.Desk.Hold(r.Context(), func(ctx context.Context) error {
		i, err := s.opts.Chat.Party(ctx, conv, ids)
		if err == nil {
			bot = bots[i]
		}
		return err
	})
	return bot, conv, err
}

// reader is party for a request without an activity.
func (s *Server) reader(r *http.Request) (bot Bot, conv string, err error) {
	bots, err := s.caller(r)
	if err != nil {
		return Bot{}, "", err
	}
	return s.party(r, bots, nil)
}

// speaker is party for a request with an activity, which it reads.
func (s *Server) speaker(w http.ResponseWriter, r *http.Request) (sp chat.Spoken, raw []byte, err error) {
	bots, err := s.caller(r)
	if err != nil {
		return sp, nil, err
	}
	if raw, err = body.Read(w, r, s.opts.MaxActivity); err != nil {
		return sp, nil, err
	}
	if sp.Activity, err = read(raw, r.PathValue("id")); err != nil {
		return sp, nil, err
	}
	bot, conv, err := s.party(r, bots, sp.Activity.From)
	sp.Bot, sp.Conversation = bot.ID, conv
	return sp, raw, err
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := fault.CodeOf(err)
	s.opts.Desk.Observer().Refused(Name, string(code))
	if code == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	wire.Fail(w, r, s.lg, err, "")
}

type nobody struct{}

func (nobody) Given(string, string, time.Duration) {}
func (nobody) BotSaid(string, string)              {}

// Package api is the HTTP surface: Parley's own API under /api/v1, the
// OpenAI-compatible one under /v1, health and metrics. It translates between
// HTTP and the core; it decides nothing. What it speaks stands in
// api/openapi.yaml.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/batch"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/health"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/snippets"
	"github.com/parleyhq/parley/internal/store"
	"github.com/parleyhq/parley/internal/telemetry"
	"github.com/parleyhq/parley/internal/understand"
)

// Store is what the API reads from the store.
type Store interface {
	Conversations(ctx context.Context, owner string, filter store.Filter, cursor string, limit int) ([]store.Conversation, string, error)
	Search(ctx context.Context, owner, query, tag string, limit int) ([]store.Hit, error)
	Tags(ctx context.Context, owner string) ([]store.Tag, error)
}

// Options of the API. Chat, Store, Guard, Board, Metrics and Info are required.
type Options struct {
	Chat    *chat.Service
	Store   Store
	Guard   *auth.Guard
	Board   *health.Board
	Metrics *telemetry.Metrics
	Info    func() Info
	Scale   func() []ScaledEngine // nil = none
	Regions func() []Region       // nil = none
	// Understanding answers programs that ask what a text means. Nil: there is
	// no app to ask.
	Understanding *understand.Service
	Snippets      *snippets.Book // nil = none are kept
	// Accounts has the books of what was spent, with money in Currency. Nil: there
	// are none.
	Accounts *account.Service
	Currency string
	// Fresh returns when the store has what was acknowledged before the call,
	// or after a short while: lists may lag, they don't fail. Nil: no waiting.
	Fresh func(context.Context)
	// Batches answers files of requests; nil = /v1/files and /v1/batches are not
	// there.
	Batches *batch.Service
	// Gateway answers a user at /v1/chat/completions, /v1/completions,
	// /v1/embeddings and /v1/models; nil = none.
	Gateway func(user string, w http.ResponseWriter, r *http.Request)
	Page    http.Handler // everything else; nil = none
	Plain   http.Handler // below /s/ and /plain: what needs no JavaScript; nil = none
	// Channels answer everything below a path such as "/v3/directline/". Each
	// says itself who may call it, from which origin.
	Channels map[string]http.Handler
	// Outlet posts on channels that have to be called, which reach this service by
	// the address Service. Nil: there are no such channels.
	Outlet  *channel.Outlet
	Service string
	// PageToken makes what the node's own Web Chat page needs to talk by Direct
	// Line as a user of this API; nil = that channel is off.
	PageToken func(ctx context.Context, user, conversation string) (any, error)
	Origins   []string // other origins whose pages may call the API; they show a pass, no cookie
	Widget    Widget   // who may show the chat bubble; zero = nobody
	MaxBody   int64    // bytes of a request to /api; 0 = 1 MiB
	// Stopping is closed when the node stops: event streams end with it at once,
	// their clients come back by position. Nil: never.
	Stopping  <-chan struct{}
	Heartbeat time.Duration // between comments on a quiet event stream; 0 = 15 s
	Logger    *slog.Logger
}

// Info is what GET /api/v1/info says.
type Info struct {
	Version string         `json:"version"`
	Region  string         `json:"region"`
	Engine  EngineInfo     `json:"engine"`
	Bots    []BotInfo      `json:"bots"`
	Limits  map[string]int `json:"limits"`
	User    string         `json:"user"`
	// FileTypes are those that messages may carry, such as image/*; none: all.
	FileTypes []string `json:"file_types,omitempty"`
	Labels    bool     `json:"labels"` // there may be something to label at /learn, and the user may
}

// EngineInfo is the state of the default engine.
type EngineInfo struct {
	Name    string `json:"name"`
	Model   string `json:"model"`
	Demo    bool   `json:"demo"`
	Ready   bool   `json:"ready"`
	Problem string `json:"problem"` // in words, "" if there is none
}

// BotInfo names a bot.
type BotInfo struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Vision bool   `json:"vision,omitempty"` // who answers for it can be shown pictures
}

type server struct {
	opts   Options
	lg     *slog.Logger
	lobby  *lobby     // of the widget's visitors
	pack   sync.Mutex // held by the one package that is being taken in
	sort   sync.Mutex // held by the one request whose texts are sorted
	intake sync.Mutex // held by the one export that is being taken in
	inputs sync.Mutex // held by the one batch file that is being taken in
}

// New returns the handler of a node.
func New(opts Options) (http.Handler, error) {
	if opts.Chat == nil || opts.Store == nil || opts.Guard == nil || opts.Board == nil || opts.Metrics == nil || opts.Info == nil {
		return nil, errors.New("api: Chat, Store, Guard, Board, Metrics and Info are required")
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = 1 << 20
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = 15 * time.Second
	}
	if opts.Scale == nil {
		opts.Scale = func() []ScaledEngine { return []ScaledEngine{} }
	}
	if opts.Regions == nil {
		opts.Regions = func() []Region { return []Region{} }
	}
	if opts.Fresh == nil {
		opts.Fresh = func(context.Context) {}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{opts: opts, lg: opts.Logger.With("part", "api"), lobby: newLobby(opts.Widget)}
	origins := http.NewCrossOriginProtection()
	for _, o := range opts.Origins {
		if err := origins.AddTrustedOrigin(o); err != nil {
			return nil, err
		}
	}
	for path := range opts.Channels {
		origins.AddInsecureBypassPattern(path)
	}
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeFault(w, errCrossOrigin)
	}))
	routes := s.routes()
	return s.guard(s.visitors(routes, cors(opts.Origins, origins.Handler(routes)))), nil
}

// call is a request of a known user. An error it returns is written by the
// caller.
type call func(w http.ResponseWriter, r *http.Request, user string) error

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f call) { mux.Handle(pattern, s.user(f, writeFault)) }
	// What guests may do is here, and nothing else.
	guests := func(pattern string, f call, g guestCall) { mux.Handle(pattern, s.either(f, g)) }
	handle("GET /api/v1/info", s.info)
	mux.HandleFunc("POST /api/v1/session", s.signIn)
	mux.HandleFunc("DELETE /api/v1/session", s.signOut)
	handle("POST /api/v1/session/pass", s.pass)
	handle("GET /api/v1/conversations", s.list)
	guests("POST /api/v1/conversations", s.create, s.guestCreate)
	guests("GET /api/v1/conversations/{id}", s.get, as(s.get))
	handle("PATCH /api/v1/conversations/{id}", s.change)
	handle("PUT /api/v1/conversations/{id}/share", s.share)
	handle("DELETE /api/v1/conversations/{id}/share", s.unshare)
	guests("DELETE /api/v1/conversations/{id}", s.delete, as(s.delete))
	handle("GET /api/v1/conversations/{id}/activities", s.activities)
	guests("POST /api/v1/conversations/{id}/activities", s.say, s.guestSay)
	handle("POST /api/v1/conversations/{id}/files", s.upload)
	handle("GET /api/v1/conversations/{id}/files", s.files)
	handle("GET /api/v1/conversations/{id}/files/{file}", s.file)
	guests("GET /api/v1/conversations/{id}/events", s.events, s.guestEvents)
	handle("GET /api/v1/conversations/{id}/export", s.export)
	guests("POST /api/v1/conversations/{id}/turns/{turn}/stop", s.stop, as(s.stop))
	guests("POST /api/v1/conversations/{id}/turns/{turn}/regenerate", s.regenerate, s.guestAgain)
	handle("POST /api/v1/conversations/{id}/turns/{turn}/continue", s.carryOn)
	mux.HandleFunc("POST /api/v1/widget/session", func(w http.ResponseWriter, r *http.Request) {
		if err := s.widgetSession(w, r); err != nil {
			s.note(r, err)
			writeFault(w, err)
		}
	})
	handle("GET /api/v1/search", s.search)
	handle("GET /api/v1/tags", s.tags)
	handle("POST /api/v1/import", s.take)
	s.snippetRoutes(handle)
	handle("GET /api/v1/regions", s.regions)
	handle("GET /api/v1/scale", s.scale)
	s.usageRoutes(handle)
	handle("POST /api/v1/directline/token", s.pageToken)
	handle("GET /api/v1/understanding/models", s.models)
	handle("PUT /api/v1/understanding/models/{app}", s.operator(s.publish))
	handle("POST /api/v1/understanding/models/{app}/activate", s.operator(s.activate))
	handle("POST /api/v1/understanding/models/{app}/groups", s.operator(s.groups))
	handle("GET /api/v1/understanding/unknown", s.operator(s.unknown))
	handle("POST /api/v1/understanding/labels", s.operator(s.label))
	if s.opts.Outlet != nil {
		handle("GET /api/v1/channels", s.operator(s.accounts))
		handle("POST /api/v1/channels/{channel}/accounts/{account}/check", s.operator(s.check))
		handle("GET /api/v1/channels/letters", s.operator(s.letters))
		handle("POST /api/v1/channels/letters/{letter}/replay", s.operator(s.replay))
		handle("DELETE /api/v1/channels/letters/{letter}", s.operator(s.drop))
	}
	s.luis(mux)
	none := func(w http.ResponseWriter, r *http.Request) {
		if allow := allowed(mux, r); allow != "" {
			w.Header().Set("Allow", allow)
			writeJSONError(w, http.StatusMethodNotAllowed, errMethod(r, allow))
			return
		}
		writeFault(w, errNoRoute(r))
	}
	mux.HandleFunc("/api/", none)
	mux.HandleFunc("/luis/", none)
	mux.HandleFunc("/language/", none)

	openai := func(pattern string, f call) { mux.Handle(pattern, s.user(f, writeOpenAIFault)) }
	openai("POST /v1/responses", s.createResponse)
	openai("GET /v1/responses/{id}", s.getResponse)
	openai("DELETE /v1/responses/{id}", s.deleteResponse)
	openai("POST /v1/responses/{id}/cancel", s.cancelResponse)
	s.batches(openai)
	s.gateway(mux)

	mux.HandleFunc("/v3/", func(w http.ResponseWriter, r *http.Request) { writeFault(w, errNoRoute(r)) }) // a channel that is off
	for pattern, channel := range s.opts.Channels {
		mux.Handle(pattern, channel)
	}

	probes(mux, s.opts.Board, func(r *http.Request) bool {
		_, err := s.opts.Guard.User(r)
		return err == nil
	})
	mux.Handle("GET /metrics", s.user(func(w http.ResponseWriter, r *http.Request, _ string) error {
		s.opts.Metrics.Handler().ServeHTTP(w, r)
		return nil
	}, writeFault))
	s.pages(mux)
	return mux
}

// pages are what people look at. Whoever comes to the page gets a session where
// one is to be had for the asking, and who reads what another one shares does
// not.
func (s *server) pages(mux *http.ServeMux) {
	if s.opts.Plain != nil {
		mux.Handle("/s/", s.opts.Plain)
		mux.Handle("/plain", s.opts.Plain)
		mux.Handle("/plain/", s.opts.Plain)
	}
	if s.opts.Page != nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && path.Ext(r.URL.Path) == "" { // a page, and no file of one: those are on pages of others too
				s.opts.Guard.Visit(w, r)
			}
			s.opts.Page.ServeHTTP(w, r)
		})
	}
}

// gateway has the rest of /v1. What is asked often is not looked for among the
// other routes first.
func (s *server) gateway(mux *http.ServeMux) {
	if s.opts.Gateway == nil {
		return
	}
	pass := func(w http.ResponseWriter, r *http.Request, user string) error {
		s.opts.Gateway(user, w, r)
		return nil
	}
	mux.Handle("POST /v1/chat/completions", s.user(pass, writeOpenAIFault))
	mux.Handle("POST /v1/completions", s.user(pass, writeOpenAIFault))
	mux.Handle("POST /v1/embeddings", s.user(pass, writeOpenAIFault))
	mux.Handle("/v1/", s.user(func(w http.ResponseWriter, r *http.Request, user string) error {
		if allow := allowed(mux, r); allow != "" {
			w.Header().Set("Allow", allow)
			writeOpenAIError(w, http.StatusMethodNotAllowed, errMethod(r, allow))
			return nil
		}
		return pass(w, r, user)
	}, writeOpenAIFault))
}

// allowed lists the methods that a path takes, "" if there is no such path.
func allowed(mux *http.ServeMux, r *http.Request) string {
	var out []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); !strings.HasSuffix(pattern, "/") && pattern != "" {
			out = append(out, m)
		}
	}
	return strings.Join(out, ", ")
}

// user finds out who calls.
func (s *server) user(f call, fail func(http.ResponseWriter, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := s.opts.Guard.User(r)
		if err == nil {
			err = f(w, r, user)
		}
		if err != nil {
			s.note(r, err)
			fail(w, err)
		}
	})
}

// guard keeps one request's panic from the others and measures requests.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p) // the way to cut a connection
				}
				s.lg.Error("a request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				if sw.status == 0 {
					writeFault(sw, errPanic)
				}
			}
			if !sw.stream {
				s.opts.Metrics.Request(method(r), route(r), strconv.Itoa(max(sw.status, 200)), time.Since(began))
			}
		}()
		next.ServeHTTP(sw, r)
	})
}

func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodPut, http.MethodHead, http.MethodOptions:
		return r.Method
	}
	return "_OTHER"
}

func route(r *http.Request) string {
	if r.Pattern == "" {
		return "none"
	}
	return r.Pattern
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
	stream bool // an event stream: its length says nothing
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.stream = w.stream || status == http.StatusSwitchingProtocols
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is found by handlers that ask for http.Flusher.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

func (s *server) info(w http.ResponseWriter, _ *http.Request, user string) error {
	i := s.opts.Info()
	i.User = user
	i.Labels = s.opts.Understanding.Collecting() && s.opts.Guard.Operator(user) == nil
	return writeJSON(w, http.StatusOK, i)
}

func (s *server) pageToken(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Conversation string `json:"conversation"`
	}
	if err := readJSON(w, r, 4096, &in); err != nil {
		return err
	}
	if s.opts.PageToken == nil {
		return fault.New(fault.NotFound, "Direct Line is off on this node: name a site under channels.directline, or set PARLEY_DIRECTLINE_SECRET")
	}
	token, err := s.opts.PageToken(r.Context(), user, in.Conversation)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, token)
}

func (s *server) signIn(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Key string `json:"key"`
	}
	err := readJSON(w, r, 4096, &in)
	if err == nil {
		err = s.opts.Guard.SignIn(w, r, in.Key)
	}
	if err != nil {
		s.note(r, err)
		writeFault(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) signOut(w http.ResponseWriter, _ *http.Request) {
	s.opts.Guard.SignOut(w)
	w.WriteHeader(http.StatusNoContent)
}

// pass gives the page what it shows to the other regions.
func (s *server) pass(w http.ResponseWriter, _ *http.Request, user string) error {
	value, until := s.opts.Guard.Pass(user)
	return writeJSON(w, http.StatusOK, map[string]any{"pass": value, "until": until.UTC().Truncate(time.Second)})
}

// conversationJSON is a conversation in the API.
type conversationJSON struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Bot     string    `json:"bot"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`

	Pinned   bool       `json:"pinned"`
	Archived bool       `json:"archived"`
	Tags     []string   `json:"tags"`
	Share    *shareJSON `json:"share,omitempty"`
	// The rest is not in lists.
	Trashed bool       `json:"trashed,omitempty"`
	System  string     `json:"system,omitempty"`
	Model   string     `json:"model,omitempty"`
	Params  *lm.Params `json:"params,omitempty"`
	Usage   *usageJSON `json:"usage,omitempty"`
}

// acceptedJSON answers a message.
type acceptedJSON struct {
	ID       string `json:"id,omitempty"`
	Turn     string `json:"turn,omitempty"`
	Position uint64 `json:"position,omitempty"` // behind the message
}

type activitiesJSON struct {
	Activities []*activity.Activity `json:"activities"`
}

// Package directline is the channel for clients of Azure's Bot Service: Direct
// Line 3.0 as botframework-directlinejs and Web Chat speak it, so that a page
// which has either changes its address and nothing else. What may live here:
// that protocol. What all channels have in common is internal/channel's.
package directline

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations, metrics and activities.
const Name = "directline"

// Base is the path below which the protocol lives; clients take the address
// with it as their "domain".
const Base = "/v3/directline"

// Site is somebody who uses the channel: a web site, an app. Each has secrets
// and sees only what it began.
type Site struct {
	Name    string
	Secrets []secret.Hash // at least one; the first is the one that tokens are signed for
	Bot     string        // who answers; "" = the default one
	Origins []string      // of pages that may use it; none = all
	Life    time.Duration // of a token; 0 = 1 h
}

// Files keeps what people send along, on all nodes.
type Files interface {
	PutFile(ctx context.Context, conversation, id string, content []byte) error
	File(ctx context.Context, conversation, id string) ([]byte, error)
}

// Options of the channel. Desk, Files, Sites, Secret and Region are required.
type Options struct {
	Desk   *channel.Desk
	Files  Files
	Sites  []Site
	Secret []byte // what all nodes share; at least 32 bytes
	Region string // where new conversations are at home

	MaxActivity int64           // bytes of one activity; 0 = 256 KiB
	MaxFile     int64           // bytes of one file; 0 = 4 MiB
	Heartbeat   time.Duration   // between signs of life on a quiet stream; 0 = 15 s
	Stopping    <-chan struct{} // closed when the node stops: streams end, their clients come back elsewhere
	Now         func() time.Time
	Logger      *slog.Logger
}

// Server answers the protocol. It is an http.Handler for everything below Base.
type Server struct {
	opts    Options
	lg      *slog.Logger
	sites   []*Site
	signers []signer
	mux     *http.ServeMux

	mu       sync.Mutex // guards streams, sessions
	streams  map[string]int
	sessions map[string]*socket // by the session of the token that they were opened with
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || o.Files == nil || len(o.Sites) == 0 || len(o.Secret) < 32 || o.Region == "" {
		return nil, errors.New("directline: Desk, Files, Sites, Secret (32 bytes) and Region are required")
	}
	if o.MaxActivity == 0 {
		o.MaxActivity = 256 << 10
	}
	if o.MaxFile == 0 {
		o.MaxFile = 4 << 20
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, lg: o.Logger.With("part", Name), streams: map[string]int{}, sessions: map[string]*socket{}}
	for _, site := range o.Sites {
		if site.Name == "" || len(site.Secrets) == 0 {
			return nil, errors.New("directline: every site needs a name and a secret")
		}
		if site.Life == 0 {
			site.Life = time.Hour
		}
		s.sites = append(s.sites, &site)
		for _, h := range site.Secrets {
			s.signers = append(s.signers, newSigner(o.Secret, &site, h))
		}
	}
	s.routes()
	return s, nil
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.handle("POST /v3/directline/tokens/generate", s.generate)
	s.handle("POST /v3/directline/tokens/refresh", s.refresh)
	s.handle("POST /v3/directline/conversations", s.start)
	s.handle("GET /v3/directline/conversations/{id}", s.reconnect)
	s.handle("POST /v3/directline/conversations/{id}/activities", s.post)
	s.handle("GET /v3/directline/conversations/{id}/activities", s.poll)
	s.handle("GET /v3/directline/conversations/{id}/stream", s.stream)
	s.handle("POST /v3/directline/conversations/{id}/upload", s.upload)
	s.handle("GET /v3/directline/attachments/{id}/{file}/{name}", s.download)
	s.handle("GET /v3/directline/session/getsessionid", s.session)
	s.handle("/v3/directline/", s.none)
}

// none answers what no route does: with 405 if another method has one.
func (s *Server) none(w http.ResponseWriter, r *http.Request) error {
	allow := []string{}
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := s.mux.Handler(other); pattern != "/v3/directline/" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 {
		return fault.New(fault.NotFound, "there is nothing at %s %s", r.Method, r.URL.Path)
	}
	w.Header().Set("Allow", strings.Join(append(allow, http.MethodOptions), ", "))
	return wire.WriteJSON(w, http.StatusMethodNotAllowed, map[string]any{"error": map[string]string{
		"code": "MethodNotAllowed", "message": r.Method + " is not for this address, " + strings.Join(allow, " and ") + " only",
	}})
}

func (s *Server) handle(pattern string, f func(http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// ServeHTTP answers a request. Every answer may be read by pages of other
// origins, errors as well: a client that can't see a status does not know what
// to do. Whether an origin may do something is decided with its credential.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Expose-Headers", "Retry-After")
		if r.URL.Path == Base+"/session/getsessionid" { // the one call that browsers send cookies with; none is read
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "authorization, content-type, content-disposition, x-ms-bot-agent, x-requested-with, idempotency-key")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// caller is who sent a request: a site by its secret, or a page by a token.
type caller struct {
	signer
	token *claims // nil: the secret was sent
}

func (c caller) owner() string { return Owner(c.site.Name) }

// Owner is whose the conversations of a site are.
func Owner(site string) string { return Name + "-" + site }

// caller finds out who sent a request.
func (s *Server) caller(r *http.Request) (caller, error) {
	h := r.Header.Get("Authorization")
	if len(h) < 7 || !strings.EqualFold(h[:7], "Bearer ") {
		return caller{}, errNoKey
	}
	key := strings.TrimSpace(h[7:])
	found := -1
	for i, c := range s.signers { // all of them, so that time tells nothing
		if c.secret.Matches(key) {
			found = i
		}
	}
	if found >= 0 {
		return s.fromOrigin(r, caller{signer: s.signers[found]})
	}
	by, c, err := verify(s.signers, key, forCalls, s.opts.Now())
	if errors.Is(err, errExpired) {
		s.mute(c.Session)
	}
	if err != nil {
		return caller{}, err
	}
	return s.fromOrigin(r, caller{signer: by, token: &c})
}

// fromOrigin refuses pages of origins that a token, or else its site, does not
// name. Programs send none.
func (s *Server) fromOrigin(r *http.Request, c caller) (caller, error) {
	allowed := c.site.Origins
	if c.token != nil && len(c.token.Origins) > 0 {
		allowed = c.token.Origins
	}
	origin := r.Header.Get("Origin")
	if origin == "" || len(allowed) == 0 || slices.Contains(allowed, origin) {
		return c, nil
	}
	return caller{}, fault.New(fault.Forbidden, "pages of this origin may not use this site's Direct Line")
}

// access is caller for a conversation: a token opens its own only.
func (s *Server) access(r *http.Request) (caller, string, error) {
	id := r.PathValue("id")
	c, err := s.caller(r)
	switch {
	case err != nil:
		return caller{}, "", err
	case c.token != nil && c.token.Conversation != id:
		if !event.ValidConversation(id) {
			return caller{}, "", fault.New(fault.NotFound, "there is no conversation %q", clip(id))
		}
		return caller{}, "", errOthers
	}
	return c, id, nil
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 64)], "") }

// user names somebody, as a page's server says.
type user struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (u user) check() error {
	if len(u.ID) > 256 || len(u.Name) > 256 {
		return fault.New(fault.Invalid, "the id and the name of a user have at most 256 bytes")
	}
	return nil
}

// issue makes a token like c, from now on.
func (s *Server) issue(by signer, c claims) (string, time.Duration, error) {
	now, life := s.opts.Now(), by.site.Life
	c.Issuer, c.Site, c.Issued = issuer, by.site.Name, now.Unix()
	if c.Session == "" {
		c.Session = rand.Text()
	}
	if c.Audience == forStream {
		life = streamLife
	}
	c.Expires = now.Add(life).Unix()
	token, err := by.sign(c)
	return token, life, err
}

type tokenJSON struct {
	Conversation string `json:"conversationId"`
	Token        string `json:"token"`
	Expires      int    `json:"expires_in"` // seconds
}

func (s *Server) generate(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	if c.token != nil {
		return fault.New(fault.Forbidden, "tokens are made with the site's secret, by its server; a token can be refreshed")
	}
	var in struct {
		User    user     `json:"user"`
		Origins []string `json:"trustedOrigins"`
	}
	if err := readJSON(w, r, 16<<10, &in); err != nil {
		return err
	}
	if err := in.User.check(); err != nil {
		return err
	}
	if len(in.Origins) > 16 || len(strings.Join(in.Origins, "")) > 2<<10 {
		return fault.New(fault.Invalid, "at most 16 trusted origins, of 2 KiB together")
	}
	id := event.NewConversation(s.opts.Region)
	return s.answerToken(w, c.signer, claims{Audience: forCalls, Conversation: id, User: in.User.ID, Name: in.User.Name, Origins: in.Origins})
}

func (s *Server) refresh(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	if c.token == nil {
		return fault.New(fault.Forbidden, "a secret needs no refreshing; send a token")
	}
	return s.answerToken(w, c.signer, *c.token)
}

func (s *Server) answerToken(w http.ResponseWriter, by signer, c claims) error {
	token, life, err := s.issue(by, c)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, tokenJSON{c.Conversation, token, int(life.Seconds())})
}

func (s *Server) session(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.caller(r); err != nil {
		return err
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return wire.WriteJSON(w, http.StatusOK, map[string]string{"sessionId": hex.EncodeToString(b[:])})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
	word := ""
	if errors.Is(err, errExpired) {
		word = "TokenExpired"
	}
	wire.Fail(w, r, s.lg, err, word)
}

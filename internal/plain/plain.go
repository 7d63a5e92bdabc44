// Package plain serves pages that need no JavaScript: the conversations of a
// user at /plain, to read and to go on with, and those that are shown to others
// by a link. What may live here: HTML made from conversations, and the forms on
// it; nothing that the page at / needs.
package plain

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

//go:embed html/*.html
var sheets embed.FS

// policy lets nothing in but the style sheets, the icon and the pictures that
// people sent: there is no script to keep a hostile text from.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Store is what the pages read from the store.
type Store interface {
	Conversations(ctx context.Context, owner string, filter store.Filter, cursor string, limit int) ([]store.Conversation, string, error)
	Search(ctx context.Context, owner, query, tag string, limit int) ([]store.Hit, error)
}

// Options of the pages. Chat, Store and Guard are required.
type Options struct {
	Chat  *chat.Service
	Store Store
	Guard *auth.Guard
	// Region is where conversations that begin here belong.
	Region string
	// Fresh returns when the store has what was acknowledged before the call, or
	// after a short while. Nil: no waiting.
	Fresh func(context.Context)
	// Style and Dark are the paths of the style sheets, for the light and over it
	// for the dark.
	Style, Dark string
	MaxBody     int64 // bytes of what a form holds besides files; 0 = 1 MiB
	// Stopping is closed when the node stops: pages on which an answer is being
	// written end with it. Nil: never.
	Stopping <-chan struct{}
	Logger   *slog.Logger // nil = discard
}

type pages struct {
	opts   Options
	lg     *slog.Logger
	html   *template.Template
	shared chan struct{} // a token for each shared page that is being made
}

// Handler answers below /s/ and /plain.
func Handler(opts Options) (http.Handler, error) {
	if opts.Chat == nil || opts.Store == nil || opts.Guard == nil {
		return nil, errors.New("plain: Chat, Store and Guard are required")
	}
	if opts.Fresh == nil {
		opts.Fresh = func(context.Context) {}
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = 1 << 20
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	html, err := template.ParseFS(sheets, "html/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the plain pages: %w", err)
	}
	p := &pages{opts: opts, lg: opts.Logger.With("part", "plain"), html: html, shared: make(chan struct{}, atOnce)}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			secure(w.Header())
			if err := f(w, r); err != nil {
				p.sorry(w, r, err)
			}
		})
	}
	handle("GET /s/{link}", p.share)
	handle("GET /plain", p.known(p.list))
	handle("GET /plain/{$}", p.known(p.list))
	handle("GET /plain/login", p.door)
	handle("POST /plain/login", p.signIn)
	handle("POST /plain/logout", p.signOut)
	handle("POST /plain/new", p.form(p.begin))
	handle("GET /plain/c/{id}", p.known(p.thread))
	handle("GET /plain/c/{id}/delete", p.known(p.sure))
	handle("POST /plain/c/{id}/say", p.form(p.say))
	handle("POST /plain/c/{id}/stop", p.form(p.stop))
	handle("POST /plain/c/{id}/again", p.form(p.again))
	handle("POST /plain/c/{id}/more", p.form(p.more))
	handle("POST /plain/c/{id}/think", p.form(p.think))
	handle("POST /plain/c/{id}/title", p.form(p.rename))
	handle("POST /plain/c/{id}/delete", p.form(p.remove))
	handle("/", func(http.ResponseWriter, *http.Request) error { return errNoPage })
	return mux, nil
}

var errNoPage = fault.New(fault.NotFound, "there is no such page")

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Nobody else is told the address. Our own forms say where they come from: a
	// browser that says so only by its Origin would say "null" otherwise.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex, nofollow, noarchive")
	h.Set("Cache-Control", "no-store")
}

// sheet is what every page has.
type sheet struct {
	Words       words
	Title       string
	Style, Dark string
	Problem     string
	// Of the pages of a user.
	Token string // that its forms show
	Keyed bool   // the user came with a key, and can go
}

func (p *pages) sheet(r *http.Request, title string) sheet {
	return sheet{Words: spoken(r), Title: title, Style: p.opts.Style, Dark: p.opts.Dark}
}

// make makes a page, or a part of one.
func (p *pages) make(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := p.html.ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("make the page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// show writes a page whole, or nothing of it.
func (p *pages) show(w http.ResponseWriter, status int, name string, data any) error {
	b, err := p.make(name, data)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a reader that left reads nothing
	return nil
}

// told returns what went wrong in words, with the status that says so; 0 if
// nobody is there to be told.
func (p *pages) told(w http.ResponseWriter, r *http.Request, err error) (status int, problem string) {
	say := spoken(r)
	if after := fault.RetryAfterOf(err); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(after.Seconds()))))
	}
	switch code := fault.CodeOf(err); code {
	case fault.Canceled:
		return 0, ""
	case fault.NotFound:
		return http.StatusNotFound, say.Gone
	case fault.Unauthenticated:
		return http.StatusUnauthorized, say.NotIn
	case fault.Forbidden:
		return http.StatusForbidden, say.Refused + " (" + fault.MessageOf(err) + ")"
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge, say.Refused + " (" + fault.MessageOf(err) + ")"
	case fault.Invalid, fault.Unsupported:
		return http.StatusBadRequest, say.Refused + " (" + fault.MessageOf(err) + ")"
	case fault.Conflict, fault.Fenced:
		return http.StatusConflict, say.Refused + " (" + fault.MessageOf(err) + ")"
	case fault.StorageFull:
		p.lg.Warn("a page could not be made", "path", r.Pattern, "err", err)
		return http.StatusInsufficientStorage, say.NoRoom
	case fault.Unavailable, fault.Timeout, fault.Limited:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "2")
		}
		p.lg.Warn("a page could not be made", "path", r.Pattern, "err", err)
		return http.StatusServiceUnavailable, say.Later
	}
	p.lg.Error("a page could not be made", "path", r.Pattern, "err", err)
	return http.StatusInternalServerError, say.Broken
}

// sorry shows what went wrong.
func (p *pages) sorry(w http.ResponseWriter, r *http.Request, err error) {
	status, problem := p.told(w, r, err)
	if status == 0 {
		return
	}
	s := p.sheet(r, "Parley")
	s.Problem = problem
	if err := p.show(w, status, "sorry", s); err != nil {
		http.Error(w, s.Problem, status)
	}
}

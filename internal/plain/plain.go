// Package plain serves pages that need no JavaScript: conversations that are
// shown to others by a link. What may live here: HTML made from conversations,
// and nothing that the page at / needs.
package plain

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
)

//go:embed html/*.html
var files embed.FS

// policy lets nothing in but the style sheets and the icon: there is no script
// to keep a hostile text from.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Options of the pages. Chat is required.
type Options struct {
	Chat *chat.Service
	// Style and Dark are the paths of the style sheets, for the light and over it
	// for the dark.
	Style, Dark string
	Logger      *slog.Logger // nil = discard
}

type pages struct {
	opts   Options
	lg     *slog.Logger
	html   *template.Template
	shared chan struct{} // a token for each shared page that is being made
}

// atOnce bounds the shared pages that are made at the same time: who asks for
// them is nobody that is known.
const atOnce = 16

// Handler answers below /s/.
func Handler(opts Options) (http.Handler, error) {
	if opts.Chat == nil {
		return nil, errors.New("plain: Chat is required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	html, err := template.ParseFS(files, "html/*.html")
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
	handle("/", func(http.ResponseWriter, *http.Request) error { return errNoPage })
	return mux, nil
}

var errNoPage = fault.New(fault.NotFound, "there is no such page")

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address of a shared page is its key
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
}

func (p *pages) sheet(r *http.Request, title string) sheet {
	return sheet{Words: spoken(r), Title: title, Style: p.opts.Style, Dark: p.opts.Dark}
}

// show writes a page whole, or nothing of it.
func (p *pages) show(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := p.html.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a reader that left reads nothing
	return nil
}

// sorry shows what went wrong.
func (p *pages) sorry(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	s := p.sheet(r, "Parley")
	switch fault.CodeOf(err) {
	case fault.NotFound:
		status, s.Problem = http.StatusNotFound, s.Words.Gone
	case fault.Unavailable, fault.Timeout, fault.Limited:
		status, s.Problem = http.StatusServiceUnavailable, s.Words.Later
		w.Header().Set("Retry-After", "2")
		p.lg.Warn("a page could not be made", "path", r.Pattern, "err", err)
	case fault.Canceled:
		return
	default:
		s.Problem = s.Words.Broken
		p.lg.Error("a page could not be made", "path", r.Pattern, "err", err)
	}
	if err := p.show(w, status, "sorry", s); err != nil {
		http.Error(w, s.Problem, status)
	}
}

// message is something said, ready to be shown.
type message struct {
	Mine bool
	Who  string // of an answer
	Text string // of a message
	HTML template.HTML
	At   time.Time
}

// patience is how long the answers of a page may take to be read. What is left
// then is shown as it was written: it is more than anybody reads, or hostile.
const patience = 2 * time.Second

// messages are those of activities that hold text.
func messages(acts []*activity.Activity) []message {
	var out []message
	until := time.Now().Add(patience)
	for _, a := range acts {
		if a.Type != activity.TypeMessage || a.Text == "" {
			continue
		}
		m := message{Mine: !a.FromBot(), Text: a.Text, At: a.Timestamp.UTC()}
		if !m.Mine {
			m.Who, m.HTML = a.From.Name, markdown(a.Text, until)
		}
		out = append(out, m)
	}
	return out
}

// share shows a conversation to whoever has its link: no names but the bot's,
// no cookie, nothing for search engines to keep.
func (p *pages) share(w http.ResponseWriter, r *http.Request) error {
	select {
	case p.shared <- struct{}{}:
		defer func() { <-p.shared }()
	case <-time.After(time.Second):
		return fault.New(fault.Limited, "%d shared pages are being made already", atOnce)
	case <-r.Context().Done():
		return r.Context().Err()
	}
	l, err := p.opts.Chat.Shared(r.Context(), r.PathValue("link"))
	if err != nil {
		return err
	}
	defer l.Close()
	var (
		title string
		live  bool
		at    time.Time
		acts  []*activity.Activity
	)
	l.View(func(st *conversation.State) {
		title, acts = st.Title, st.Shared()
		if sh := st.Set.Share; sh != nil { // it may be taken back by now: then acts are none
			live, at = sh.Live, sh.At.UTC()
		}
	})
	s := p.sheet(r, title)
	if title == "" {
		s.Title = s.Words.Shared
	}
	return p.show(w, http.StatusOK, "shared", struct {
		sheet
		Messages []message
		Live     bool
		At       time.Time
	}{s, messages(acts), live, at})
}

// weigh reads the weight of a language in an Accept-Language header.
func weigh(q string) float64 {
	v, err := strconv.ParseFloat(q, 64)
	if err != nil {
		return 0
	}
	return v
}

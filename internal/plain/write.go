package plain

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
)

const (
	// stalled is how long a reader may take nothing before its page is cut off.
	stalled = 30 * time.Second
	// beat is how often a page says that it is alive while nothing is written.
	beat = 15 * time.Second
	// longest is how long a page is written to. Who reads on asks for it again.
	longest = 15 * time.Minute
	// still is how long a page waits for an answer that it can't show growing.
	still = 8 * time.Second
)

// draws reports whether a browser draws a page while it comes in. Those that do
// call themselves Mozilla, all of them; text browsers have names of their own and
// show nothing before the end.
func draws(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "Mozilla/") }

// writer writes a page piece by piece.
type writer struct {
	p    *pages
	w    http.ResponseWriter
	rc   *http.ResponseController
	sent time.Time
	err  error // the first one: the reader is gone
}

func (o *writer) write(b []byte) {
	if o.err != nil {
		return
	}
	if now := time.Now(); now.Sub(o.sent) > stalled/4 {
		o.sent = now
		_ = o.rc.SetWriteDeadline(now.Add(stalled)) // unsupported only by test recorders
	}
	_, o.err = o.w.Write(b)
}

func (o *writer) flush() {
	if o.err == nil {
		o.err = o.rc.Flush()
	}
}

// part writes a part of the page. A part that can't be made is our mistake, and
// ends the page.
func (o *writer) part(name string, data any) {
	b, err := o.p.make(name, data)
	if err != nil {
		o.p.lg.Error("a page broke off", "part", name, "err", err)
		o.err = err
		return
	}
	o.write(b)
}

// stepPage is a step with what its forms need.
type stepPage struct {
	step
	sheet
	Place string
	Key   string
	Aim   string // the activity that the page leads to
	Grown bool   // it stands on the page already, as it came
}

// thread shows a conversation. An answer that is still being written is written
// into the open page as it comes; whatever cuts that off, the log has it, and a
// reload shows it whole.
func (p *pages) thread(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := p.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	q := r.URL.Query()
	at := q.Get("at")
	var v view
	read := func() {
		l.View(func(st *conversation.State) {
			if at == "" {
				at = aim(st)
			}
			v = look(st, at)
		})
	}
	read()
	edited := ""
	if id := q.Get("edit"); id != "" {
		l.View(func(st *conversation.State) {
			if a := st.Activity(id); a != nil && !a.FromBot() {
				edited = a.Text
			}
		})
	}
	s := p.mine(r, user, v.title)
	if s.Title == "" {
		s.Title = s.Words.Untitled
	}
	here := place(r.PathValue("id"))
	head := struct {
		sheet
		Name, Place string
		All         string // the address that shows the earlier ones too; "" = they are here
	}{s, v.title, here, ""}
	from := 0
	if len(v.steps) > newest && !q.Has("all") {
		from = len(v.steps) - newest
		head.All = here + "?" + url.Values{"at": {at}, "all": {"1"}}.Encode()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy that buffers would hide the answer until its end
	out := &writer{p: p, w: w, rc: http.NewResponseController(w)}
	out.part("thread", head)

	ctx, cancel := context.WithTimeout(r.Context(), longest)
	defer cancel()
	grows := draws(r)
	if !grows {
		ctx, cancel = context.WithTimeout(ctx, still)
		defer cancel()
	}
	until := time.Now().Add(patience)
	grown, waits := false, true
	for i := from; i < len(v.steps) && out.err == nil; {
		x := stepPage{v.steps[i], s, here, newKey(), at, grown}
		if x.Pending && waits {
			grown, waits = grows, p.await(ctx, out, l, x, v.pos, grows)
			if !waits && grows { // what there is of it stands there already
				out.part("cut", x)
				break
			}
			read()
			continue
		}
		if !x.Mine && !x.Pending {
			x.HTML = markdown(x.Text, until)
		}
		out.part("step", x)
		i, grown = i+1, false
	}
	c := p.composer(s, here+"/say")
	c.Follows, c.Text = v.leaf, edited
	if edited != "" {
		c.Edits = q.Get("edit")
	}
	out.part("end", c)
	return nil
}

// await returns when the turn of a step is over; false if something else ends
// the page first. If the page grows, what comes meanwhile is written into it.
func (p *pages) await(ctx context.Context, out *writer, l *chat.Live, x stepPage, pos uint64, grows bool) bool {
	written := utf8.RuneCountInString(x.Text)
	text := func(s string) {
		if grows {
			out.write([]byte(template.HTMLEscapeString(s)))
		}
	}
	if grows {
		out.part("growing", x)
		out.flush()
		defer out.part("grown", nil)
	}
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for out.err == nil {
		frames, more := l.Frames(pos)
		for _, f := range frames {
			pos = f.Pos
			switch b := f.Body.(type) {
			case conversation.DeltaBody:
				if b.Turn == x.Turn {
					text(b.Text)
					written += utf8.RuneCountInString(b.Text)
				}
			case conversation.ResumedBody:
				if b.Turn == x.Turn && b.Offset < written { // it could not be gone on with
					if written = 0; grows {
						out.part("anew", x)
					}
				}
			case conversation.TurnBody:
				if b.Turn == x.Turn && b.State.Final() {
					return true
				}
			}
			if f.Event == "deleted" {
				return false
			}
		}
		if grows && len(frames) > 0 {
			out.flush()
		}
		select {
		case <-more:
		case <-tick.C:
			if grows {
				out.write([]byte("<!-- -->"))
				out.flush()
			}
		case <-ctx.Done():
			return false
		case <-p.opts.Stopping:
			return false
		}
	}
	return false
}

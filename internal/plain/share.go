package plain

import (
	"html/template"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
)

// atOnce bounds the shared pages that are made at the same time: who asks for
// them is nobody that is known.
const atOnce = 16

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
	w.Header().Set("Referrer-Policy", "no-referrer") // the address is the key
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

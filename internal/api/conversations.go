package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/store"
)

const positionHeader = "Parley-Position"

// own opens a conversation of this user, as far as the caller says that it has
// seen it.
func (s *server) own(r *http.Request, user string) (*chat.Live, error) {
	var seen uint64
	if len(r.Header.Values(positionHeader)) > 0 {
		v := r.Header.Get(positionHeader)
		var err error
		if seen, err = strconv.ParseUint(v, 10, 64); err != nil {
			return nil, fault.New(fault.Invalid, "%s must be a position in this conversation (a whole number), not %q", positionHeader, v)
		}
	}
	return s.opts.Chat.OpenOwn(r.Context(), r.PathValue("id"), user, conversation.SeqOf(seen))
}

func asJSON(st *conversation.State) conversationJSON {
	set := st.Set
	var share *shareJSON
	if sh := set.Share; sh != nil {
		share = &shareJSON{sh.Link, sh.Live, sh.At.UTC()}
	}
	return conversationJSON{
		ID: st.ID, Title: st.Title, Bot: st.By.Bot, Created: st.Created.UTC(), Updated: st.Updated.UTC(),
		Pinned: set.Pinned, Archived: set.Archived, Tags: set.Tags, Share: share, Trashed: set.Trashed, System: set.System, Model: set.Model, Params: &set.Params,
	}
}

func (s *server) create(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Bot   string `json:"bot"`
		Title string `json:"title"`
		Home  string `json:"home"`
	}
	k, err := key(r)
	if err == nil {
		err = readJSON(w, r, s.opts.MaxBody, &in)
	}
	if err != nil {
		return err
	}
	id, _, err := s.opts.Chat.Create(r.Context(), chat.NewConversation{Owner: user, Bot: in.Bot, Home: in.Home, Title: in.Title, Channel: "web", Key: k})
	if err != nil {
		return err
	}
	r.SetPathValue("id", id)
	w.Header().Set("Location", "/api/v1/conversations/"+id)
	return s.answer(w, r, user, http.StatusCreated)
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, user string, status int) error {
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	var out conversationJSON
	l.View(func(st *conversation.State) {
		out = asJSON(st)
		out.Usage = s.cost(r, st)
	})
	return writeJSON(w, status, out)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, user string) error {
	return s.answer(w, r, user, http.StatusOK)
}

func (s *server) list(w http.ResponseWriter, r *http.Request, user string) error {
	n, err := limit(r, 50, 200)
	if err != nil {
		return err
	}
	s.opts.Fresh(r.Context())
	q := r.URL.Query()
	page, next, err := s.opts.Store.Conversations(r.Context(), user, store.Filter{Shelf: store.Shelf(q.Get("shelf")), Tag: q.Get("tag")}, q.Get("cursor"), n)
	if err != nil {
		return err
	}
	out := make([]conversationJSON, 0, len(page))
	for _, c := range page {
		out = append(out, listed(c))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"conversations": out, "next": next})
}

// change renames a conversation, and sets what is chosen for it.
func (s *server) change(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Title *string `json:"title"`
		event.Set
	}
	if err := readJSON(w, r, s.opts.MaxBody, &in); err != nil {
		return err
	}
	set := in.Set != event.Set{}
	if in.Title == nil && !set {
		return fault.New(fault.Invalid, `nothing is to be changed: "title", "pinned", "archived", "trashed", "tags", "system", "model" and "params" can be`)
	}
	if in.Title != nil {
		if err := chat.CheckTitle(*in.Title); err != nil {
			return err // before anything is changed
		}
	}
	id := r.PathValue("id")
	if set {
		if _, err := s.opts.Chat.Set(r.Context(), user, id, in.Set); err != nil {
			return err
		}
	}
	if in.Title != nil {
		if _, err := s.opts.Chat.Rename(r.Context(), user, id, *in.Title); err != nil {
			return err
		}
	}
	return s.answer(w, r, user, http.StatusOK)
}

func (s *server) delete(w http.ResponseWriter, r *http.Request, user string) error {
	if _, err := s.opts.Chat.Delete(r.Context(), user, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) activities(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	out := activitiesJSON{Activities: []*activity.Activity{}}
	l.View(func(st *conversation.State) { out.Activities = append(out.Activities, st.Activities...) })
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) say(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	b, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	var a activity.Activity // unknown fields pass through
	if err := decode(b, &a, false); err != nil {
		return err
	}
	meta, err := a.ReadMeta()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, `"channelData.parley" can't be read: "edits" must be the id of an activity`)
	}
	acc, err := s.opts.Chat.Submit(r.Context(), chat.Message{Owner: user, Conversation: r.PathValue("id"), Activity: a, Key: k, Edits: meta.Edits, Follows: meta.Parent})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, acceptedJSON{ID: acc.ID, Turn: acc.Turn, Position: conversation.PositionOf(acc.Seq)})
}

func (s *server) stop(w http.ResponseWriter, r *http.Request, user string) error {
	if err := s.opts.Chat.StopTurn(r.Context(), user, r.PathValue("id"), r.PathValue("turn")); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, acceptedJSON{Turn: r.PathValue("turn")})
}

func (s *server) regenerate(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	acc, err := s.opts.Chat.Regenerate(r.Context(), user, r.PathValue("id"), r.PathValue("turn"), k, event.Turn{})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, acceptedJSON{Turn: acc.Turn})
}

func (s *server) carryOn(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	acc, err := s.opts.Chat.Continue(r.Context(), user, r.PathValue("id"), r.PathValue("turn"), k)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, acceptedJSON{Turn: acc.Turn})
}

type hitJSON struct {
	Conversation string    `json:"conversation"`
	Title        string    `json:"title"`
	Activity     string    `json:"activity"`
	Snippet      string    `json:"snippet"`
	At           time.Time `json:"at"`
}

func (s *server) search(w http.ResponseWriter, r *http.Request, user string) error {
	n, err := limit(r, 20, 100)
	if err != nil {
		return err
	}
	q, tag := r.URL.Query().Get("q"), r.URL.Query().Get("tag")
	if len(q) > 1000 {
		return fault.New(fault.TooLarge, "a search has at most 1000 bytes")
	}
	s.opts.Fresh(r.Context())
	hits, err := s.opts.Store.Search(r.Context(), user, q, tag, n)
	if err != nil {
		return err
	}
	out := make([]hitJSON, 0, len(hits))
	for _, h := range hits {
		out = append(out, hitJSON{h.Conversation, h.Title, h.Activity, h.Snippet, h.At.UTC()})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"hits": out})
}

func (s *server) export(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	var head conversationJSON
	var acts []*activity.Activity
	l.View(func(st *conversation.State) { head, acts = asJSON(st), append(acts, st.Activities...) })
	head.Share = nil // who is given the file is not given the link
	switch format := r.URL.Query().Get("format"); format {
	case "", "json":
		b, err := json.MarshalIndent(map[string]any{"conversation": head, "activities": acts}, "", "  ")
		if err != nil {
			return fmt.Errorf("encode export: %w", err)
		}
		download(w, "application/json; charset=utf-8", head.ID+".json", b)
	case "md", "markdown":
		download(w, "text/markdown; charset=utf-8", head.ID+".md", markdown(head, acts))
	default:
		return fault.New(fault.Invalid, `"format" must be json or md, not %q`, format)
	}
	return nil
}

func download(w http.ResponseWriter, kind, name string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b)
}

func markdown(head conversationJSON, acts []*activity.Activity) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n", strings.ReplaceAll(head.Title, "\n", " "), head.Created.Format(time.RFC3339))
	if len(head.Tags) > 0 {
		fmt.Fprintf(&b, "\nTags: %s\n", strings.Join(head.Tags, ", "))
	}
	for _, a := range acts {
		if a.Type != activity.TypeMessage {
			continue
		}
		who := "You"
		if a.FromBot() {
			who = a.From.Name
			if who == "" {
				who = a.From.ID
			}
		}
		fmt.Fprintf(&b, "\n## %s, %s\n\n%s\n", who, a.Timestamp.Format(time.RFC3339), a.Text)
		for _, at := range files.Of(a) {
			fmt.Fprintf(&b, "\n- [%s](<%s>)\n", escape(at.Name), strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "").Replace(at.URL))
		}
	}
	return b.Bytes()
}

// escape makes a name stand for itself in Markdown.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "<", `\<`, "`", "\\`", "\n", " ").Replace(files.CleanName(name))
}

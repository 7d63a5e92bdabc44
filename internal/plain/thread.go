package plain

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/lm"
)

// newest is how many messages a page shows if nobody asks for more.
const newest = 100

// step is something said, or an answer that is still to come.
type step struct {
	ID       string
	Mine     bool
	Who      string
	Text     string
	HTML     template.HTML
	At       time.Time
	Files    []attachment
	Gone     bool   // it was taken back
	Turn     string // of an answer: the one that gave it
	Pending  bool   // the turn goes on; Text is as far as it is
	Queued   bool   // it has not begun
	Stopped  bool
	Failed   bool
	Why      string // it failed, for the user
	Onward   bool   // it can be gone on with
	Reaction string // "like", "dislike" or ""
	// Which of those that are in each other's place it is, and its neighbours.
	Version, Versions int
	Before, After     string
	Last              bool
}

type attachment struct {
	files.Attachment
	Picture bool
}

// view is what a page shows of a conversation.
type view struct {
	title string
	pos   uint64 // of the newest frame that is in it
	steps []step
	leaf  string // that a new message follows
	gone  bool
}

// aim is the activity that a page leads to if nobody says which: the answer
// that is being written, or the newest.
func aim(st *conversation.State) string {
	if all := st.Turns(); len(all) > 0 && !all[len(all)-1].State.Final() {
		return event.AnswerOf(all[len(all)-1].ID)
	}
	return st.Leaf()
}

// look puts together the branch that an activity is on: all before it, and what
// followed last.
func look(st *conversation.State, at string) view {
	v := view{title: st.Title, gone: st.Deleted || st.Set.Trashed}
	if n := len(st.Frames); n > 0 {
		v.pos = st.Frames[n-1].Pos
	}
	base, pending := st.Leaf(), st.Turn(event.TurnFor(at))
	switch {
	case st.Activity(at) != nil:
		base, pending = last(st, at), nil
	case pending != nil:
		base = pending.ReplyTo
	}
	path := st.Path(base)
	v.leaf = base
	reactions := reactionsOf(st)
	versions := versionsOf(st)
	for i, a := range path {
		if a.Type != activity.TypeMessage && a.Type != activity.TypeDelete {
			continue
		}
		s := said(st, a)
		s.Reaction = reactions[a.ID]
		if all := versions[branch(a)]; len(all) > 1 {
			k := slices.Index(all, a.ID)
			s.Version, s.Versions = k+1, len(all)
			if k > 0 {
				s.Before = all[k-1]
			}
			if k+1 < len(all) {
				s.After = all[k+1]
			}
		}
		v.steps = append(v.steps, s)
		if !s.Mine || i+1 < len(path) && path[i+1].FromBot() {
			continue
		}
		t := st.Answers(a.ID)
		if a.ID == base && pending != nil {
			t = pending
		}
		if t != nil && st.Activity(event.AnswerOf(t.ID)) == nil && t.State != event.Ok { // some bots answer with nothing
			v.steps = append(v.steps, coming(t))
		}
	}
	if n := len(v.steps); n > 0 {
		v.steps[n-1].Last = true
	}
	return v
}

// last is the end of the branch on which an activity is: of those that came
// after it, what came last.
func last(st *conversation.State, at string) string {
	off := map[string]bool{} // seen not to be below it
	for _, a := range slices.Backward(st.Activities) {
		if a.Type != activity.TypeMessage {
			continue
		}
		var way []string
		for u := range st.Up(a.ID) {
			if u.ID == at {
				return a.ID
			}
			if off[u.ID] {
				break
			}
			way = append(way, u.ID)
		}
		for _, id := range way {
			off[id] = true
		}
	}
	return at
}

func said(st *conversation.State, a *activity.Activity) step {
	s := step{ID: a.ID, Mine: !a.FromBot(), Text: a.Text, At: a.Timestamp.UTC(), Gone: a.Type == activity.TypeDelete}
	for _, at := range files.Of(a) {
		if files.ID(st.ID, at.URL) != "" {
			s.Files = append(s.Files, attachment{at, files.IsPicture(at.Type)})
		}
	}
	if s.Mine {
		return s
	}
	s.Who = a.From.Name
	if t := st.Turn(event.TurnFor(a.ID)); t != nil && t.State.Final() {
		s.Turn, s.Stopped, s.Failed = t.ID, t.State == event.Stopped, t.State == event.Failed
		s.Onward = a.Meta().Continues && a.Text != "" && (s.Stopped || a.Meta().Finish == string(lm.FinishLength))
		if t.End != nil {
			s.Why = t.End.Error
		}
	}
	return s
}

// coming is an answer that is not there, or never will be.
func coming(t *conversation.Turn) step {
	s := step{ID: event.AnswerOf(t.ID), Turn: t.ID, Text: string(t.Text), Pending: !t.State.Final(), Queued: t.State == event.Queued, Stopped: t.State == event.Stopped, Failed: t.State == event.Failed}
	if t.End != nil {
		s.Why = t.End.Error
	}
	return s
}

// place of a message in the tree: those that have the same are versions of each
// other.
type fork struct {
	parent string
	bot    bool
}

func branch(a *activity.Activity) fork { return fork{a.Meta().Parent, a.FromBot()} }

func versionsOf(st *conversation.State) map[fork][]string {
	out := map[fork][]string{}
	for _, a := range st.Activities {
		if a.Type == activity.TypeMessage {
			out[branch(a)] = append(out[branch(a)], a.ID)
		}
	}
	return out
}

// reactionsOf is what the user thinks of each activity.
func reactionsOf(st *conversation.State) map[string]string {
	out := map[string]string{}
	kind := func(raw json.RawMessage) string {
		var all []struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(raw, &all) != nil {
			return ""
		}
		for _, x := range all {
			if x.Type == "like" || x.Type == "dislike" {
				return x.Type
			}
		}
		return ""
	}
	for _, a := range st.Activities {
		if a.Type != activity.TypeReaction || a.FromBot() {
			continue
		}
		if is := kind(a.Extra["reactionsAdded"]); is != "" {
			out[a.ReplyToID] = is
		} else if is := kind(a.Extra["reactionsRemoved"]); is != "" && out[a.ReplyToID] == is {
			delete(out, a.ReplyToID)
		}
	}
	return out
}

// own opens a conversation of this user, as far as the page before has seen it:
// another region may be the one that is asked now.
func (p *pages) own(r *http.Request, user string) (*chat.Live, error) {
	seen, err := strconv.ParseUint(r.URL.Query().Get("seen"), 10, 64)
	if err != nil {
		seen = 0 // it says nothing of this
	}
	return p.opts.Chat.OpenOwn(r.Context(), r.PathValue("id"), user, seen)
}

// sure asks before a conversation is deleted.
func (p *pages) sure(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := p.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	var title string
	l.View(func(st *conversation.State) { title = st.Title })
	s := p.mine(r, user, "Parley")
	return p.show(w, http.StatusOK, "sure", struct {
		sheet
		Name, Place string
	}{s, title, place(r.PathValue("id"))})
}

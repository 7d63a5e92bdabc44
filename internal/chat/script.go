package chat

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/dialog"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/understand"
)

// understood reads a message before it goes into the log, so that everybody
// who takes its turn, now or after a kill, has the same understanding of it.
func (s *Service) understood(ctx context.Context, m *Message) error {
	if s.opts.Understanding == nil || m.Activity.Type != activity.TypeMessage || m.Turn.Plain {
		return nil
	}
	l, err := s.Open(ctx, m.Conversation)
	if err != nil {
		return err
	}
	var bot string
	l.View(func(st *conversation.State) { bot = st.By.Bot })
	l.Close()
	m.heard = s.opts.Understanding.Understand(ctx, bot, m.Conversation, m.Activity.Text, now(&m.Activity))
	return nil
}

// now is what "tomorrow" counts from: this moment where the person is, as far
// as the client told.
func now(a *activity.Activity) time.Time {
	var local time.Time
	if json.Unmarshal(a.Extra["localTimestamp"], &local) == nil && !local.IsZero() {
		return time.Now().In(local.Location())
	}
	return time.Now().UTC()
}

// scripted reports whether a script leads the conversations of a bot.
func (s *Service) scripted(st *conversation.State) bool {
	m := s.opts.Understanding.For(st.By.Bot, st.ID)
	return m != nil && m.Script != nil
}

// givesBack reports whether an activity gives the conversation back to the
// script: the event by which the Bot Framework's handoff ends.
func givesBack(a *activity.Activity) bool {
	if a.Type != activity.TypeEvent {
		return false
	}
	var name string
	var value struct {
		State string `json:"state"`
	}
	return json.Unmarshal(a.Extra["name"], &name) == nil && name == "handoff.status" &&
		json.Unmarshal(a.Extra["value"], &value) == nil && (value.State == "completed" || value.State == "failed")
}

// heard is what a script takes its step from.
type heard struct {
	standing dialog.State  // before this turn
	said     *dialog.Input // nil: nothing was understood, because nobody did when it was said
	back     bool          // the conversation is given back to the script
}

// hear finds it in the log. The script stands where the last turn on this
// branch left it, so an edited message goes on from its own place.
func hear(st *conversation.State, t *conversation.Turn) heard {
	var h heard
	if a := st.Activity(t.ReplyTo); a != nil {
		h.back = givesBack(a)
		if u := a.Meta().Understanding; u != nil {
			in := understand.Heard(a.Text, u)
			h.said = &in
		}
		h.standing = standing(st, a.ID, a.ID)
	}
	return h
}

// standing is where the script stands behind an activity, whatever turns that
// answer one of them did.
func standing(st *conversation.State, id, but string) dialog.State {
	for a := range st.Up(id) {
		o := st.Turn(a.Meta().Turn)
		if a.ID == but || o == nil || o.End == nil || len(o.End.Dialog) == 0 {
			continue
		}
		s, err := dialog.ParseState(o.End.Dialog)
		if err != nil {
			break // it is not ours: begin anew
		}
		return s
	}
	return dialog.State{}
}

// line is what the script has of a turn's answer.
type line struct {
	app    string          // whose script it is; "" = no script leads here
	script string          // the same as APP@VERSION
	says   string          // before the engine, or all there is
	then   string          // after the engine
	knows  string          // for the engine: what the script has found out
	state  json.RawMessage // where the script stands then
	alone  bool            // no engine goes on
	miss   bool            // what was said was not understood

	resume func() string // gives the conversation back to the script, which says something then; nil = no bot has it
}

// step takes the script's step: the same one at every attempt, by whichever
// worker, as long as the script is the same.
func (a *attempt) step() error {
	h := a.v.heard
	a.line.alone = h.back // even if there is no script any more
	if a.v.turn.Plain {
		return nil
	}
	m := a.s.opts.Understanding.For(a.v.by.Bot, a.l.id)
	if h.said == nil && !h.back { // no message, or nobody understood it
		a.held(m, h.standing)
		return nil
	}
	if m == nil || m.Script == nil {
		a.line.miss = h.said != nil && (h.said.Intent == corpus.None || h.said.Score < unsure)
		return nil
	}
	var (
		next    dialog.State
		replies []string
		act     dialog.Action
	)
	if h.back {
		next, replies = dialog.Resume(m.Script, h.standing)
	} else {
		next, replies, act = dialog.Step(m.Script, h.standing, *h.said)
	}
	state, err := json.Marshal(next)
	if err != nil {
		return err
	}
	a.line = line{
		app: m.App, script: m.Name(), says: strings.Join(replies, "\n\n"), then: strings.Join(act.Then, "\n\n"), state: state,
		alone: act.Hand.To != dialog.Model && act.Hand.To != dialog.Bot,
		miss:  act.Why == dialog.Unclear || act.Why == dialog.GivenUp || next.Misses > h.standing.Misses || tries(next) > 0,
	}
	a.held(m, next)
	if !a.line.alone {
		a.line.knows = facts(m.Script, act)
	}
	return nil
}

// held has the bot answer that the conversation was handed to, if one was.
func (a *attempt) held(m *understand.Model, s dialog.State) {
	if m == nil || m.Script == nil || s.With.To != dialog.Bot {
		return
	}
	a.bot = a.s.bot(s.With.Bot)
	a.line.resume = func() string {
		next, replies := dialog.Resume(m.Script, s)
		if state, err := json.Marshal(next); err == nil {
			a.line.state, a.line.script = state, m.Name()
		}
		return strings.Join(replies, "\n\n")
	}
}

// unsure is the score below which nothing was understood, where no script says
// otherwise.
const unsure = 0.5

// tries is how often the open question was not answered.
func tries(s dialog.State) int {
	if len(s.Open) == 0 {
		return 0
	}
	return s.Open[len(s.Open)-1].Tries
}

// facts tells an engine what the script found out before it handed over.
func facts(sc *dialog.Script, act dialog.Action) string {
	var b strings.Builder
	i := slices.IndexFunc(sc.Flows, func(f dialog.Flow) bool { return f.Name == act.Flow })
	if i < 0 || len(act.Slots) == 0 {
		return ""
	}
	b.WriteString("The person has been asked already and said:")
	for _, slot := range sc.Flows[i].Slots {
		v, ok := act.Slots[slot.Name]
		if !ok {
			continue
		}
		b.WriteString("\n- " + slot.Name + ": " + v.Said)
		for _, more := range []string{v.Name, v.Value} {
			if more != "" && more != v.Said {
				b.WriteString(" (" + more + ")")
			}
		}
	}
	return b.String()
}

// recite ends the turn with what the script says. Should an earlier attempt
// have shown something else, because another version of the script led it, then
// that is taken back first.
func (a *attempt) recite(ctx context.Context) (over bool, wait time.Duration, err error) {
	if !strings.HasPrefix(a.line.says, a.v.text) {
		a.v.text, a.v.runes, a.v.lead, a.v.carried, a.v.tokens = "", 0, 0, 0, nil
		if !a.goesOn(ctx, 0, lm.Restart, scriptEngine) {
			return false, time.Second, nil
		}
	}
	return a.end(ctx, event.Ok, a.line.says, lm.Result{Finish: lm.FinishStop, Model: a.line.app}, nil)
}

// scriptEngine stands where an engine's name does.
const scriptEngine = "script"

// goesOn says in the log how a cut answer is continued, and reports whether the
// log took it.
func (a *attempt) goesOn(ctx context.Context, offset int, policy lm.Policy, engine string) bool {
	r, err := a.s.opts.Log.Append(ctx, event.Append{Conversation: a.l.id, Prev: a.sum, Event: event.Event{
		Kind:    event.KindResumed,
		Resumed: &event.Resumed{Turn: a.id, Attempt: a.v.attempt, Offset: offset, Policy: policy, Engine: engine},
	}})
	if err != nil {
		a.s.lg.Warn("a turn waits for the log", "turn", a.id, "err", err)
		return false
	}
	a.sum = r.Sum
	return true
}

// paragraphs puts what script and engine say together.
func paragraphs(first, second string) string {
	if first == "" || second == "" {
		return first + second
	}
	return first + "\n\n" + second
}

package chat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/dialog"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/understand"
)

// cityguide is the example, learned once from its files.
var cityguide = sync.OnceValues(func() (*understand.Model, error) {
	pack, _, err := understand.Make(context.Background(), understand.Source{Path: "../../examples/nlu/cityguide", Flows: "../../examples/flows/cityguide.yaml"})
	if err != nil {
		return nil, err
	}
	return understand.Open("cityguide", pack, nil)
})

// guided has the city guide lead the conversations.
func guided(t *testing.T, more func(*chat.Options)) func(*chat.Options) {
	t.Helper()
	m, err := cityguide()
	if err != nil {
		t.Fatal(err)
	}
	u, err := understand.New(understand.Options{Apps: []understand.App{{Name: "cityguide", Model: m}}, Bots: []string{"parley", "bookings"}})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *chat.Options) {
		o.Understanding = u
		o.Bots = append(o.Bots, chat.Bot{ID: "bookings", Name: "Bookings", System: "You take bookings."})
		if more != nil {
			more(o)
		}
	}
}

// booking is a conversation that the script leads alone, up to its last step.
var booking = []struct{ says, answer string }{
	{"a table for four, please", "At what time?"},
	{"🍰 tomorrow at 8 pm", "Would you like to sit inside or outside?"},
	{"outside", "Under which name?"},
	{"Kim", "A table for four, tomorrow at 8 pm, outside, for Kim. Is that right?"},
}

func replyTo(t *testing.T, s *chat.Service, conv, text string) (string, conversation.TurnBody) {
	t.Helper()
	return answer(t, s, conv, say(t, s, conv, text, "").Turn)
}

func TestScriptLeads(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Answer: demo.Scripted("A colleague of yours.", "Still there.")})
	s := start(t, openLog(t, t.TempDir()), e, guided(t, nil))
	conv := newConversation(t, s)
	for _, x := range booking {
		if got, b := replyTo(t, s, conv, x.says); got != x.answer || b.State != event.Ok || b.Attempt != 1 {
			t.Fatalf("%q: %q %+v, want %q", x.says, got, b, x.answer)
		}
	}
	if n := e.Calls().Generate; n != 0 {
		t.Errorf("the engine was asked %d times by a script that needs none", n)
	}

	// The message carries what was understood, the answer who gave it.
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		u := st.Activities[2].Meta().Understanding
		if u == nil || u.Model == "" || len(u.Entities) != 1 {
			t.Fatalf("understanding: %+v", u)
		}
		want := activity.Entity{Start: 2, End: 18, Type: "time", Role: "when", Text: "tomorrow at 8 pm"}
		got := u.Entities[0]
		if !strings.HasSuffix(got.Value, "20:00:00") || got.Score == 0 && got.Role != "" {
			t.Errorf("%+v", got)
		}
		got.Value, got.Score = "", 0
		want.Role = got.Role // the model may or may not tell it in so short a text
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if m := st.Activities[1].Meta(); m.Engine != "script" || m.Model != "cityguide" {
			t.Errorf("the answer's origin: %+v", m)
		}
		if end := st.Turns()[1].End; end.Script != u.Model || len(end.Dialog) == 0 {
			t.Errorf("the log does not say which script led: %+v", end)
		}
	})

	// Handed over, the other bot answers with what the script found out.
	got, _ := replyTo(t, s, conv, "yes")
	if want := "Thank you, I am passing that on.\n\nA colleague of yours."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	prompt := e.Calls().Last.Messages
	if sys := prompt[0].Text; !strings.HasPrefix(sys, "You take bookings.") || !strings.Contains(sys, "people: four (4)") || !strings.Contains(sys, "name: Kim") {
		t.Errorf("the bot was told %q", sys)
	}
	if got, _ := replyTo(t, s, conv, "is it booked?"); got != "Still there." {
		t.Errorf("got %q", got)
	}

	// Given back, the script leads again.
	back := chat.Message{Owner: "ann", Conversation: conv, Activity: activity.Activity{Type: "event", Extra: map[string]json.RawMessage{
		"name": json.RawMessage(`"handoff.status"`), "value": json.RawMessage(`{"state":"completed"}`),
	}}}
	acc, err := s.Submit(t.Context(), back)
	if err != nil {
		t.Fatal(err)
	}
	if text, b := answer(t, s, conv, acc.Turn); text != "" || b.State != event.Ok {
		t.Errorf("given back: %q %+v", text, b)
	}
	if got, _ := replyTo(t, s, conv, "how much is a day ticket"); got != "A day ticket is seven euros. It is good for trams and ferries." {
		t.Errorf("got %q", got)
	}
}

// The model takes one text in the middle of a flow: what the script says
// before, what it asks afterwards, and an engine that breaks in between.
func TestScriptAndEngineTogether(t *testing.T) {
	for _, policy := range []lm.Policy{lm.Exact, lm.Quick, lm.Prefill, lm.Restart} {
		t.Run(string(policy), func(t *testing.T) {
			e := demo.Canned(demo.CannedOptions{Words: 120, Delay: 200 * time.Microsecond, Resume: policy, NoTokens: policy == lm.Prefill || policy == lm.Restart})
			s := start(t, openLog(t, t.TempDir()), e, guided(t, nil))
			conv := newConversation(t, s)
			replyTo(t, s, conv, "a table for two please")
			e.SetFault(demo.Fault{Kind: demo.Cut, After: 40, Times: 2})
			got, b := replyTo(t, s, conv, "where can I get some good fish soup around here?")
			want := "Let me think about a place for fish soup.\n\n" + demo.Words(120) + "\n\nNow, back to where we were.\n\nAt what time?"
			if got != want || b.State != event.Ok || b.Attempt != 3 {
				t.Fatalf("%+v\n got %q\nwant %q", b, got, want)
			}
			if got, _ := replyTo(t, s, conv, "tomorrow at noon"); got != "Would you like to sit inside or outside?" {
				t.Errorf("the script goes on with %q", got)
			}
		})
	}
}

// Services die at every step of a conversation; another one on the same log
// says what would have been said.
func TestScriptSurvivesItsWorkers(t *testing.T) {
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{})
	options := guided(t, nil)
	watcher := start(t, log, e, func(o *chat.Options) { options(o); o.Homes = []string{} })
	conv := newConversation(t, watcher)
	for i, x := range booking {
		turn := say(t, watcher, conv, x.says, "").Turn
		// A worker claims the turn and is gone.
		if i%2 == 1 {
			var last uint64
			l, err := watcher.Open(t.Context(), conv)
			if err != nil {
				t.Fatal(err)
			}
			l.View(func(st *conversation.State) { last = st.ClaimAt })
			l.Close()
			if _, err := log.Append(t.Context(), event.Append{Conversation: conv, Expect: &last, Event: event.Event{
				Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: turn, Attempt: 1, Worker: "gone"},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		s, err := chat.New(func() chat.Options {
			o := chat.Options{Log: log, Engines: one{e}, Bots: []chat.Bot{{ID: "parley", Name: "Parley"}}, Worker: fmt.Sprint("w", i)}
			options(&o)
			return o
		}())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := newReader()
		r.rivals = true
		if b := r.until(t, watcher, conv, turn); r.text[turn] != x.answer || b.State != event.Ok {
			t.Errorf("%q: %q %+v, want %q", x.says, r.text[turn], b, x.answer)
		}
		halt(s)
	}
	if n := e.Calls().Generate; n != 0 {
		t.Errorf("the engine was asked %d times", n)
	}
}

// An edited message goes on from where the script stood before it, not from
// where the conversation stands now.
func TestScriptFollowsTheBranch(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{})
	s := start(t, openLog(t, t.TempDir()), e, guided(t, nil))
	conv := newConversation(t, s)
	var second chat.Accepted
	for i, x := range booking {
		acc := say(t, s, conv, x.says, "")
		answer(t, s, conv, acc.Turn)
		if i == 1 {
			second = acc
		}
	}
	edit := message(conv, "on friday at noon", "")
	edit.Edits = second.ID
	acc, err := s.Submit(t.Context(), edit)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := answer(t, s, conv, acc.Turn); got != "Would you like to sit inside or outside?" {
		t.Errorf("the edited branch: %q", got)
	}
	again, err := s.Regenerate(t.Context(), "ann", conv, acc.Turn, "", event.Turn{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := answer(t, s, conv, again.Turn); got != "Would you like to sit inside or outside?" {
		t.Errorf("said again: %q", got)
	}
	replyTo(t, s, conv, "inside")
	if got, _ := replyTo(t, s, conv, "Lee"); got != "A table for four, friday at noon, inside, for Lee. Is that right?" {
		t.Errorf("the branch goes on with %q", got)
	}
}

// Whoever asked for the engine gets it; what was understood before there was a
// script is the engine's as well.
func TestScriptKeepsOut(t *testing.T) {
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return "from the engine" }})
	before := start(t, log, e, nil)
	conv := newConversation(t, before)
	replyTo(t, before, conv, "how much is a day ticket")
	halt(before)
	s := start(t, log, e, guided(t, nil))
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	var old string
	l.View(func(st *conversation.State) { old = st.Turns()[0].ID })
	l.Close()
	again, err := s.Regenerate(t.Context(), "ann", conv, old, "", event.Turn{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := answer(t, s, conv, again.Turn); got != "from the engine" {
		t.Errorf("an old message: %q", got)
	}
	plain := message(conv, "how much is a day ticket", "")
	plain.Turn.Plain = true
	acc, err := s.Submit(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := answer(t, s, conv, acc.Turn); got != "from the engine" {
		t.Errorf("a plain request: %q", got)
	}
	forged := message(conv, "hello there my friend", "")
	forged.Activity.ChannelData = json.RawMessage(`{"parley":{"understanding":{"model":"x","intent":"tickets","score":1}}}`)
	if acc, err = s.Submit(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if got, _ := answer(t, s, conv, acc.Turn); strings.Contains(got, "day ticket") {
		t.Errorf("a client told the script what it understood: %q", got)
	}
}

// What the script said can't be gone on with; what the engine was stopped in
// can, and the script has its word behind it. Either way it stands where it
// stood.
func TestScriptGoesOn(t *testing.T) {
	const words = 60
	e := demo.Canned(demo.CannedOptions{Words: words, NoTokens: true, Delay: 2 * time.Millisecond})
	s := start(t, openLog(t, t.TempDir()), e, guided(t, nil))
	conv := newConversation(t, s)
	goOn := func(turn string) (string, conversation.TurnBody) {
		t.Helper()
		more, err := s.Continue(t.Context(), "ann", conv, turn, "")
		if err != nil {
			t.Fatal(err)
		}
		return answer(t, s, conv, more.Turn)
	}
	first := say(t, s, conv, "a table for two please", "")
	answer(t, s, conv, first.Turn)
	if got, b := goOn(first.Turn); got != "At what time?" || b.State != event.Failed || b.Code != fault.Unsupported {
		t.Errorf("the script's own: %q %+v", got, b)
	}
	soup := say(t, s, conv, "where can I get some good fish soup around here?", "")
	lead := "Let me think about a place for fish soup.\n\n"
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for pos, text := uint64(0), 0; text <= len(lead); {
		frames, more := l.Frames(pos)
		for _, f := range frames {
			pos = f.Pos
			if d, ok := f.Body.(conversation.DeltaBody); ok && d.Turn == soup.Turn {
				text += len(d.Text)
			}
		}
		if text <= len(lead) {
			<-more
		}
	}
	if err := s.StopTurn(t.Context(), "ann", conv, soup.Turn); err != nil {
		t.Fatal(err)
	}
	begun, b := answer(t, s, conv, soup.Turn)
	if b.State != event.Stopped || !strings.HasPrefix(begun, lead) {
		t.Fatalf("stopped: %q %+v", begun, b)
	}
	whole := lead + demo.Words(words) + "\n\nNow, back to where we were.\n\nAt what time?"
	more, err := s.Continue(t.Context(), "ann", conv, soup.Turn, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, b := answer(t, s, conv, more.Turn); got != whole || b.State != event.Ok {
		t.Errorf("%+v\n got %q\nwant %q", b, got, whole)
	}
	if got, b := goOn(more.Turn); got != whole || b.State != event.Failed {
		t.Errorf("what came to its end: %q %+v", got, b)
	}
	if got, _ := replyTo(t, s, conv, "tomorrow at noon"); got != "Would you like to sit inside or outside?" {
		t.Errorf("the script goes on with %q", got)
	}
}

func TestScriptWithAPerson(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return "engine" }})
	s := start(t, openLog(t, t.TempDir()), e, guided(t, nil))
	conv := newConversation(t, s)
	var got []string
	for range 4 {
		text, b := replyTo(t, s, conv, "zzxq wvvk pqrj")
		if b.State != event.Ok {
			t.Fatalf("%+v", b)
		}
		got = append(got, text)
	}
	want := []string{
		"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table.",
		"engine",
		"One moment please, I am getting a colleague from the tourist office.",
		"", // a person has it
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		last := st.Turns()[len(st.Turns())-1]
		stands, err := dialog.ParseState(last.End.Dialog)
		if err != nil || stands.With.To != dialog.Person {
			t.Errorf("the log says %s", last.End.Dialog)
		}
	})
}

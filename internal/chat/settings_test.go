package chat_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

func to[T any](v T) *T { return &v }

func view(t *testing.T, s *chat.Service, conv string, f func(*conversation.State)) {
	t.Helper()
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.View(f)
}

// What is set for a conversation goes into the turns that are asked for after
// it, and a request's own word wins.
func TestSettingsReachTheEngine(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 3})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) {
		o.Bots[0].System, o.Bots[0].Params = "Be kind.", lm.Params{Temperature: to(0.1), TopP: to(0.9)}
	})
	conv := newConversation(t, s)
	ask := func(m chat.Message) lm.Request {
		t.Helper()
		acc, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		answer(t, s, conv, acc.Turn)
		return e.Calls().Last
	}
	if _, err := s.Set(t.Context(), "ann", conv, event.Set{System: to("Be brief."), Params: &lm.Params{Temperature: to(0.7)}}); err != nil {
		t.Fatal(err)
	}
	got := ask(message(conv, "Hello", ""))
	if got.Messages[0].Text != "Be brief." || *got.Params.Temperature != 0.7 || *got.Params.TopP != 0.9 {
		t.Errorf("asked with %q, %+v", got.Messages[0].Text, got.Params)
	}
	m := message(conv, "Hello again", "")
	m.Turn = event.Turn{System: to("Be exact."), Params: &lm.Params{Temperature: to(0.0)}}
	if got = ask(m); got.Messages[0].Text != "Be exact." || *got.Params.Temperature != 0 {
		t.Errorf("a request's own: %q, %+v", got.Messages[0].Text, got.Params)
	}
	if _, err := s.Set(t.Context(), "ann", conv, event.Set{System: to(""), Params: &lm.Params{}}); err != nil {
		t.Fatal(err)
	}
	if got = ask(message(conv, "And now?", "")); got.Messages[0].Text != "Be kind." || *got.Params.Temperature != 0.1 {
		t.Errorf("taken back: %q, %+v", got.Messages[0].Text, got.Params)
	}
	for name, bad := range map[string]event.Set{
		"temperature": {Params: &lm.Params{Temperature: to(3.0)}},
		"max_tokens":  {Params: &lm.Params{MaxTokens: -1}},
		"schema":      {Params: &lm.Params{Schema: []byte(`{}`)}},
	} {
		if _, err := s.Set(t.Context(), "ann", conv, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, err := s.Set(t.Context(), "bob", conv, event.Set{Pinned: to(true)}); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else's: %v, want not found", err)
	}
}

func TestSettingTheSameWritesNothing(t *testing.T) {
	s := start(t, openLog(t, t.TempDir()), demo.Canned(demo.CannedOptions{}), nil)
	conv := newConversation(t, s)
	var seqs []uint64
	for range 3 {
		seq, err := s.Set(t.Context(), "ann", conv, event.Set{Pinned: to(true)})
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, seq)
	}
	if seqs[0] != seqs[1] || seqs[1] != seqs[2] {
		t.Errorf("places in the log: %v", seqs)
	}
	view(t, s, conv, func(st *conversation.State) {
		if want := (conversation.Settings{Pinned: true, Tags: []string{}}); !cmp.Equal(want, st.Set) || len(st.Frames) != 1 {
			t.Errorf("%+v, %d frames", st.Set, len(st.Frames))
		}
	})
}

// What is in the trash takes nothing new, can be taken back, and is erased when
// its time is over, by another worker if need be.
func TestTrash(t *testing.T) {
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{})
	s := start(t, log, e, func(o *chat.Options) { o.Undo = time.Second })
	kept, gone := newConversation(t, s), newConversation(t, s)
	for _, conv := range []string{kept, gone} {
		if _, err := s.Set(t.Context(), "ann", conv, event.Set{Trashed: to(true)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Submit(t.Context(), message(conv, "Wait!", "")); !fault.Is(err, fault.Conflict) {
			t.Errorf("said to what is in the trash: %v, want conflict", err)
		}
	}
	if _, err := s.Set(t.Context(), "ann", kept, event.Set{Trashed: to(false)}); err != nil {
		t.Fatal(err)
	}
	halt(s)
	s = start(t, log, e, func(o *chat.Options) { o.Undo, o.Worker = time.Second, "another" })
	l, err := s.Open(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for late := time.After(20 * time.Second); ; {
		deleted := false
		more := l.View(func(st *conversation.State) { deleted = st.Deleted })
		if deleted {
			break
		}
		select {
		case <-more:
		case <-late:
			t.Fatal("what was put into the trash is still there")
		}
	}
	acc := say(t, s, kept, "Still here?", "")
	answer(t, s, kept, acc.Turn)
}

// A reaction is kept with what it is to, asks for nothing, and leaves the
// branch where it is.
func TestReaction(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 3})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	first := say(t, s, conv, "One", "")
	answer(t, s, conv, first.Turn)
	second := say(t, s, conv, "Two", "")
	answer(t, s, conv, second.Turn)
	react := func(to string) (chat.Accepted, error) {
		m := message(conv, "too long", "")
		m.Activity.Type, m.Activity.ReplyToID = activity.TypeReaction, to
		return s.Submit(t.Context(), m)
	}
	acc, err := react(event.AnswerOf(first.Turn))
	if err != nil || acc.Turn != "" {
		t.Fatalf("%+v, %v", acc, err)
	}
	view(t, s, conv, func(st *conversation.State) {
		if a := st.Activity(acc.ID); a == nil || a.Meta().Parent != event.AnswerOf(first.Turn) {
			t.Errorf("the reaction: %+v", a)
		}
		if st.Leaf() != event.AnswerOf(second.Turn) {
			t.Errorf("the next message would follow %s", st.Leaf())
		}
	})
	third := say(t, s, conv, "Three", "")
	answer(t, s, conv, third.Turn)
	if got := len(e.Calls().Last.Messages); got != 5 {
		t.Errorf("the prompt has %d messages, want 5", got)
	}
	for name, tc := range map[string]struct {
		to   string
		code fault.Code
	}{"nothing": {"", fault.Invalid}, "what is not there": {"b0", fault.NotFound}} {
		if _, err := react(tc.to); !fault.Is(err, tc.code) {
			t.Errorf("to %s: %v, want %s", name, err, tc.code)
		}
	}
}

// An answer that was ended goes on where it ended, in a version of its own, and
// a worker that is lost in the middle of that takes nothing back.
func TestContinue(t *testing.T) {
	words := demo.Words(40)
	e := demo.Canned(demo.CannedOptions{Words: 40, NoTokens: true, Delay: time.Millisecond})
	log := openLog(t, t.TempDir())
	s := start(t, log, e, func(o *chat.Options) { o.Bots[0].Params.MaxTokens = 10 })
	conv := newConversation(t, s)
	first := say(t, s, conv, "Count", "")
	begun, _ := answer(t, s, conv, first.Turn)
	if begun != demo.Words(10) {
		t.Fatalf("the first answer: %q", begun)
	}
	more, err := s.Continue(t.Context(), "ann", conv, first.Turn, "k")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Continue(t.Context(), "ann", conv, first.Turn, "k")
	if err != nil || again.Turn != more.Turn {
		t.Errorf("with the same key: %+v, %v; want %s", again, err, more.Turn)
	}
	if got, b := answer(t, s, conv, more.Turn); got != demo.Words(20) || b.State != event.Ok {
		t.Errorf("it went on to %q (%+v)", got, b)
	}
	// Lost in the middle: the next attempt goes on from all that is there.
	e.SetFault(demo.Fault{Kind: demo.Cut, After: 4, Times: 1})
	third, err := s.Continue(t.Context(), "ann", conv, more.Turn, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, b := answer(t, s, conv, third.Turn); len(got) <= len(demo.Words(24)) || got != words[:len(got)] || b.Attempt < 2 {
		t.Errorf("after a cut: %q (%+v)", got, b)
	}
	view(t, s, conv, func(st *conversation.State) {
		if a := st.Activity(event.AnswerOf(first.Turn)); a.Text != begun {
			t.Errorf("the first answer became %q", a.Text)
		}
	})
	if _, err := s.Continue(t.Context(), "ann", conv, "t0", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("a turn that is none: %v", err)
	}
}

func TestContinueWhereTheEngineCant(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 40, NoTokens: true, Resume: lm.Restart})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) { o.Bots[0].Params.MaxTokens = 10 })
	conv := newConversation(t, s)
	first := say(t, s, conv, "Count", "")
	begun, _ := answer(t, s, conv, first.Turn)
	more, err := s.Continue(t.Context(), "ann", conv, first.Turn, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, b := answer(t, s, conv, more.Turn); got != begun || b.State != event.Failed || b.Code != fault.Unsupported {
		t.Errorf("%q (%+v)", got, b)
	}
}

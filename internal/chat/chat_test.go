package chat_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// one serves every model with one engine.
type one struct{ e lm.Engine }

func (o one) Find(ctx context.Context, _, _ string) (lm.Engine, lm.Model, error) {
	models, err := o.e.Models(ctx)
	if err != nil {
		return nil, lm.Model{}, err
	}
	return o.e, models[0], nil
}

func openLog(t *testing.T, dir string) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: dir, MemoryOnly: true, Lease: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func start(t *testing.T, log *eventlog.Log, e lm.Engine, change func(*chat.Options)) *chat.Service {
	t.Helper()
	opts := chat.Options{Log: log, Engines: one{e}, Bots: []chat.Bot{{ID: "parley", Name: "Parley"}}, Checkpoint: 5 * time.Millisecond}
	if change != nil {
		change(&opts)
	}
	s, err := chat.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { halt(s) })
	return s
}

// halt stops a service at once, whatever it is doing.
func halt(s *chat.Service) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Stop(ctx)
}

func newConversation(t *testing.T, s *chat.Service) string {
	t.Helper()
	id, _, err := s.Create(t.Context(), chat.NewConversation{Owner: "ann", Channel: "web"})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func say(t *testing.T, s *chat.Service, conv, text, key string) chat.Accepted {
	t.Helper()
	acc, err := s.Submit(t.Context(), message(conv, text, key))
	if err != nil {
		t.Fatal(err)
	}
	return acc
}

func message(conv, text, key string) chat.Message {
	return chat.Message{Owner: "ann", Conversation: conv, Key: key, Activity: activity.Activity{Type: "message", Text: text}}
}

// reader follows a conversation as a client does and checks the contract of
// frames: positions grow, a delta begins where the text ends, an answer begins
// with what was shown.
type reader struct {
	pos   uint64
	text  map[string]string // by turn
	final map[string]conversation.TurnBody
	acts  []string

	rivals bool // somebody wrote into the log beside the service
}

func newReader() *reader {
	return &reader{text: map[string]string{}, final: map[string]conversation.TurnBody{}}
}

func (r *reader) take(f conversation.Frame) error {
	if f.Pos <= r.pos {
		return fmt.Errorf("position %d after %d", f.Pos, r.pos)
	}
	r.pos = f.Pos
	switch b := f.Body.(type) {
	case conversation.DeltaBody:
		if have := utf8.RuneCountInString(r.text[b.Turn]); b.Offset != have {
			return fmt.Errorf("delta at %d, have %d", b.Offset, have)
		}
		r.text[b.Turn] += b.Text
	case conversation.ResumedBody:
		if b.Policy == lm.Restart {
			r.text[b.Turn] = ""
		}
		if have := utf8.RuneCountInString(r.text[b.Turn]); b.Offset != have {
			return fmt.Errorf("resumed at %d, have %d", b.Offset, have)
		}
	case *activity.Activity:
		r.acts = append(r.acts, b.ID)
		if b.FromBot() && r.text[b.Meta().Turn] != b.Text {
			return fmt.Errorf("shown %q, answer %q", r.text[b.Meta().Turn], b.Text)
		}
	case conversation.TurnBody:
		if b.State.Final() {
			r.final[b.Turn] = b
		}
	}
	return nil
}

// until reads frames until the turn is over.
func (r *reader) until(t *testing.T, s *chat.Service, conv, turn string) conversation.TurnBody {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := s.Open(ctx, conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		frames, more := l.Frames(r.pos)
		for _, f := range frames {
			if err := r.take(f); err != nil {
				t.Fatal(err)
			}
		}
		if b, ok := r.final[turn]; ok {
			l.View(func(st *conversation.State) {
				if st.Damaged+st.Missing > 0 && !r.rivals {
					t.Errorf("the log is not whole: %d damaged, %d gaps", st.Damaged, st.Missing)
				}
			})
			return b
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("turn %s did not end; shown so far: %q", turn, r.text[turn])
		}
	}
}

func answer(t *testing.T, s *chat.Service, conv, turn string) (string, conversation.TurnBody) {
	t.Helper()
	r := newReader()
	b := r.until(t, s, conv, turn)
	return r.text[turn], b
}

func TestTurn(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Answer: demo.Scripted("Hello Ann.", "Fine, thanks.")})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) { o.Bots[0].System = "Be kind." })
	conv := newConversation(t, s)
	first := say(t, s, conv, "Hello, I am Ann and this is a long first line that becomes the title", "")
	if got, b := answer(t, s, conv, first.Turn); got != "Hello Ann." || b.State != event.Ok {
		t.Errorf("got %q %+v", got, b)
	}
	second := say(t, s, conv, "How are you?", "")
	if got, _ := answer(t, s, conv, second.Turn); got != "Fine, thanks." {
		t.Errorf("got %q", got)
	}
	want := []lm.Message{
		{Role: lm.System, Text: "Be kind."},
		{Role: lm.User, Text: "Hello, I am Ann and this is a long first line that becomes the title"},
		{Role: lm.Assistant, Text: "Hello Ann."},
		{Role: lm.User, Text: "How are you?"},
	}
	if diff := cmp.Diff(want, e.Calls().Last.Messages); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		if st.Title != "Hello, I am Ann and this is a long first line…" {
			t.Errorf("title %q", st.Title)
		}
	})
}

func TestSameKeyNeverDoubles(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	got := make([]chat.Accepted, 20)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = s.Submit(context.Background(), message(conv, "once", "k1")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range got {
		if a.ID != got[0].ID || a.Turn != got[0].Turn || a.ID == "" {
			t.Fatalf("got %+v and %+v", got[0], a)
		}
	}
	answer(t, s, conv, got[0].Turn)
	if n := e.Calls().Generate; n != 1 {
		t.Errorf("the engine was asked %d times", n)
	}
	if _, err := s.Submit(t.Context(), message(conv, "other", "k1")); !fault.Is(err, fault.Conflict) {
		t.Errorf("the key with another text: got %v, want conflict", err)
	}
}

func TestTurnsOfAConversationRunInOrder(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 10, Delay: time.Millisecond})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	var turns []string
	for i := range 5 {
		turns = append(turns, say(t, s, conv, fmt.Sprint("m", i), "").Turn)
	}
	r := newReader()
	for _, turn := range turns {
		r.until(t, s, conv, turn)
	}
	var over []int
	l, _ := s.Open(t.Context(), conv)
	defer l.Close()
	frames, _ := l.Frames(0)
	running := 0
	for _, f := range frames {
		if b, ok := f.Body.(conversation.TurnBody); ok {
			switch {
			case b.State == event.Running:
				running++
			case b.State.Final():
				running--
				over = append(over, len(over))
			}
			if running > 1 {
				t.Error("two turns of one conversation at once")
			}
		}
	}
	if len(over) != 5 {
		t.Errorf("%d turns ended", len(over))
	}
}

func TestStop(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 100000, Delay: 2 * time.Millisecond})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	acc := say(t, s, conv, "talk", "")
	l, _ := s.Open(t.Context(), conv)
	defer l.Close()
	pos := uint64(0)
	for seen := false; !seen; {
		frames, more := l.Frames(pos)
		for _, f := range frames {
			pos = f.Pos
			_, isDelta := f.Body.(conversation.DeltaBody)
			seen = seen || isDelta
		}
		if !seen {
			<-more
		}
	}
	if err := s.StopTurn(t.Context(), "ann", conv, acc.Turn); err != nil {
		t.Fatal(err)
	}
	text, b := answer(t, s, conv, acc.Turn)
	if b.State != event.Stopped || !strings.HasPrefix(demo.Words(100000), text) || text == "" {
		t.Errorf("state %s, text %q", b.State, text)
	}
	if n := e.Calls().Running; n != 0 {
		t.Errorf("%d answers still run on the engine", n)
	}
	if err := s.StopTurn(t.Context(), "ann", conv, acc.Turn); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

// The engine breaks again and again in the middle; every policy must give one
// text, and those that continue must give the undisturbed one.
func TestCutAnswersAreFinished(t *testing.T) {
	for _, tc := range []struct {
		name     string
		opts     demo.CannedOptions
		fault    demo.Fault
		state    event.State
		restarts bool
	}{
		{"exact", demo.CannedOptions{Words: 300, Resume: lm.Exact}, demo.Fault{Kind: demo.Cut, After: 37, Times: 6}, event.Ok, false},
		{"quick", demo.CannedOptions{Words: 300, Resume: lm.Quick}, demo.Fault{Kind: demo.Cut, After: 41, Times: 5}, event.Ok, false},
		{"prefill", demo.CannedOptions{Words: 300, Resume: lm.Prefill, NoTokens: true}, demo.Fault{Kind: demo.Cut, After: 29, Times: 7}, event.Ok, false},
		{"restart", demo.CannedOptions{Words: 60, Resume: lm.Restart, NoTokens: true}, demo.Fault{Kind: demo.Cut, After: 20, Times: 2}, event.Ok, true},
		{"fail", demo.CannedOptions{Words: 60, Resume: lm.Fail, NoTokens: true}, demo.Fault{Kind: demo.Cut, After: 20, Times: 1}, event.Failed, false},
		{"before the first token", demo.CannedOptions{Words: 60}, demo.Fault{Kind: demo.Cut, After: 0, Times: 3}, event.Ok, false},
		{"refused for a while", demo.CannedOptions{Words: 5}, demo.Fault{Kind: demo.Refuse, Times: 1}, event.Ok, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.opts.Delay = 200 * time.Microsecond
			e := demo.Canned(tc.opts)
			e.SetFault(tc.fault)
			s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) {
				if tc.opts.Resume == lm.Fail {
					o.Bots[0].Resume = lm.Fail
				}
			})
			conv := newConversation(t, s)
			text, b := answer(t, s, conv, say(t, s, conv, "go", "").Turn)
			if b.State != tc.state {
				t.Fatalf("state %s (%s), want %s", b.State, b.Error, tc.state)
			}
			want := demo.Words(tc.opts.Words)
			if tc.state == event.Failed {
				if text == "" || !strings.HasPrefix(want, text) || b.Error == "" {
					t.Errorf("text %q, error %q", text, b.Error)
				}
				return
			}
			if text != want {
				t.Errorf("text differs:\n got %q\nwant %q", text, want)
			}
		})
	}
}

// shut is an engine that promises to continue a text and then can't, as servers
// whose template closes the message.
type shut struct{ *demo.Engine }

func (s shut) Generate(ctx context.Context, r lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	if r.Prefix != nil {
		return lm.Result{}, fault.New(fault.Unsupported, "it begins a new answer")
	}
	return s.Engine.Generate(ctx, r, emit)
}

func TestABrokenPromiseToContinueIsARestart(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 60, Resume: lm.Prefill, NoTokens: true, Delay: 200 * time.Microsecond})
	e.SetFault(demo.Fault{Kind: demo.Cut, After: 20, Times: 1})
	s := start(t, openLog(t, t.TempDir()), shut{e}, nil)
	conv := newConversation(t, s)
	text, b := answer(t, s, conv, say(t, s, conv, "go", "").Turn)
	if b.State != event.Ok || text != demo.Words(60) {
		t.Errorf("state %s (%s), text %q", b.State, b.Error, text)
	}
}

func TestBadEngines(t *testing.T) {
	for _, tc := range []struct {
		kind  demo.FaultKind
		after int
		code  fault.Code
	}{
		{demo.Hang, 0, fault.Timeout},
		{demo.Flood, 3, fault.TooLarge},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			e := demo.Canned(demo.CannedOptions{Words: 20})
			e.SetFault(demo.Fault{Kind: tc.kind, After: tc.after})
			s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) {
				o.Stall, o.Patience, o.MaxAnswer = 50*time.Millisecond, 300*time.Millisecond, 64<<10
			})
			conv := newConversation(t, s)
			_, b := answer(t, s, conv, say(t, s, conv, "go", "").Turn)
			if b.State != event.Failed || b.Code != tc.code || b.Error == "" {
				t.Errorf("got %+v, want failed with %s", b, tc.code)
			}
			e.SetFault(demo.Fault{})
			if text, _ := answer(t, s, conv, say(t, s, conv, "again", "").Turn); text != demo.Words(20) {
				t.Errorf("the next answer is %q", text)
			}
		})
	}
}

// A worker that was overtaken writes on; no reader may see a letter of it.
func TestOvertakenWorkerIsVoid(t *testing.T) {
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{Words: 400, Delay: time.Millisecond})
	a := start(t, log, e, nil)
	conv := newConversation(t, a)
	acc := say(t, a, conv, "go", "")
	l, _ := a.Open(t.Context(), conv)
	defer l.Close()
	var claim uint64
	for claim == 0 {
		more := l.View(func(st *conversation.State) {
			if tn := st.Turn(acc.Turn); tn != nil && tn.Runes > 100 {
				claim = st.ClaimAt
			}
		})
		if claim == 0 {
			<-more
		}
	}
	// A rival claims the turn and then dies: the lease brings it back.
	rival, err := log.Append(t.Context(), event.Append{
		Conversation: conv, Expect: &claim,
		Event: event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: acc.Turn, Attempt: 2, Worker: "rival"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// A late entry of the first worker, as if it had been on its way.
	for _, ev := range []event.Event{
		{Kind: event.KindDelta, Delta: &event.Delta{Turn: acc.Turn, Attempt: 1, Offset: 100, Text: "LATE"}},
		{Kind: event.KindEnded, Ended: &event.Ended{Turn: acc.Turn, Attempt: 1, State: event.Ok, Activity: &activity.Activity{ID: "late", Text: "LATE"}}},
	} {
		if _, err := log.Append(t.Context(), event.Append{Conversation: conv, Event: ev}); err != nil {
			t.Fatal(err)
		}
	}
	_ = rival
	r := newReader()
	r.rivals = true
	b := r.until(t, a, conv, acc.Turn)
	text := r.text[acc.Turn]
	if text != demo.Words(400) || b.State != event.Ok || b.Attempt < 3 {
		t.Errorf("attempt %d, state %s, text %q", b.Attempt, b.State, text)
	}
}

// Services die at random moments without a word; others on the same log finish
// every answer.
func TestWorkersDieAtRandom(t *testing.T) {
	log := openLog(t, t.TempDir())
	rnd := rand.New(rand.NewPCG(1, 2))
	e := demo.Canned(demo.CannedOptions{Words: 250, Delay: time.Millisecond})
	watcher := start(t, log, e, func(o *chat.Options) { o.Worker = "last" })
	var turns [][2]string
	for range 8 {
		conv := newConversation(t, watcher)
		turns = append(turns, [2]string{conv, say(t, watcher, conv, "go", "").Turn})
	}
	for i := range 6 {
		s, err := chat.New(chat.Options{Log: log, Engines: one{e}, Bots: []chat.Bot{{ID: "parley"}}, Worker: fmt.Sprint("w", i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(time.Duration(rnd.IntN(60)) * time.Millisecond):
		case <-t.Context().Done():
		}
		halt(s)
	}
	for _, x := range turns {
		if text, b := answer(t, watcher, x[0], x[1]); text != demo.Words(250) || b.State != event.Ok {
			t.Errorf("%s: state %s after %d attempts, %d bytes", x[1], b.State, b.Attempt, len(text))
		}
	}
}

func TestEditAndRegenerateBranch(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Answer: func(r lm.Request) string { return "re: " + r.Messages[len(r.Messages)-1].Text }})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	a := say(t, s, conv, "one", "")
	answer(t, s, conv, a.Turn)
	b := say(t, s, conv, "two", "")
	answer(t, s, conv, b.Turn)
	edit := message(conv, "two, better", "")
	edit.Edits = b.ID
	c, err := s.Submit(t.Context(), edit)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, s, conv, c.Turn)
	want := []lm.Message{{Role: lm.User, Text: "one"}, {Role: lm.Assistant, Text: "re: one"}, {Role: lm.User, Text: "two, better"}}
	if diff := cmp.Diff(want, e.Calls().Last.Messages); diff != "" {
		t.Errorf("prompt of the edited branch (-want +got):\n%s", diff)
	}
	again, err := s.Regenerate(t.Context(), "ann", conv, a.Turn, "k", event.Turn{})
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := s.Regenerate(t.Context(), "ann", conv, a.Turn, "k", event.Turn{}); err != nil || twice.Turn != again.Turn {
		t.Errorf("the same key: %+v %v", twice, err)
	}
	if text, _ := answer(t, s, conv, again.Turn); text != "re: one" {
		t.Errorf("got %q", text)
	}
	if got := e.Calls().Last.Messages; len(got) != 1 {
		t.Errorf("prompt of the regenerated answer: %v", got)
	}
}

// A message sent while the answer before it is still being written follows that
// answer, and the model sees it.
func TestMessageDuringAnAnswer(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Delay: 2 * time.Millisecond, Answer: func(r lm.Request) string {
		return "an answer of several words to " + r.Messages[len(r.Messages)-1].Text
	}})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	conv := newConversation(t, s)
	say(t, s, conv, "one", "")
	say(t, s, conv, "two", "")
	third := say(t, s, conv, "three", "")
	answer(t, s, conv, third.Turn)
	want := []lm.Message{
		{Role: lm.User, Text: "one"},
		{Role: lm.Assistant, Text: "an answer of several words to one"},
		{Role: lm.User, Text: "two"},
		{Role: lm.Assistant, Text: "an answer of several words to two"},
		{Role: lm.User, Text: "three"},
	}
	if diff := cmp.Diff(want, e.Calls().Last.Messages); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
}

// A turn that fails without a word of an answer does not cut the history off.
func TestHistoryGoesOnBehindAFailedTurn(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return "fine" }})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) { o.Patience = 50 * time.Millisecond })
	conv := newConversation(t, s)
	e.SetFault(demo.Fault{Kind: demo.Refuse})
	first := say(t, s, conv, "one", "")
	second := say(t, s, conv, "two", "") // follows an answer that never comes
	for _, turn := range []string{first.Turn, second.Turn} {
		if _, b := answer(t, s, conv, turn); b.State != event.Failed {
			t.Fatalf("turn: %+v", b)
		}
	}
	e.SetFault(demo.Fault{})
	answer(t, s, conv, say(t, s, conv, "three", "").Turn)
	want := []lm.Message{{Role: lm.User, Text: "one"}, {Role: lm.User, Text: "two"}, {Role: lm.User, Text: "three"}}
	if diff := cmp.Diff(want, e.Calls().Last.Messages); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
}

func TestOwnersAndBadMessages(t *testing.T) {
	s := start(t, openLog(t, t.TempDir()), demo.Canned(demo.CannedOptions{}), nil)
	conv := newConversation(t, s)
	for _, tc := range []struct {
		name string
		m    chat.Message
		code fault.Code
	}{
		{"somebody else's", chat.Message{Owner: "bob", Conversation: conv, Activity: activity.Activity{Type: "message", Text: "x"}}, fault.NotFound},
		{"unknown", message(event.NewConversation("local"), "x", ""), fault.NotFound},
		{"no id at all", message("../../etc", "x", ""), fault.NotFound},
		{"empty", message(conv, " \n", ""), fault.Invalid},
		{"too long", message(conv, strings.Repeat("x", 300<<10), ""), fault.TooLarge},
		{"not UTF-8", message(conv, "a\xffb", ""), fault.Invalid},
		{"no type", chat.Message{Owner: "ann", Conversation: conv, Activity: activity.Activity{Text: "x"}}, fault.Invalid},
		{"edits nothing", chat.Message{Owner: "ann", Conversation: conv, Edits: "nope", Activity: activity.Activity{Type: "message", Text: "x"}}, fault.NotFound},
	} {
		if _, err := s.Submit(t.Context(), tc.m); !fault.Is(err, tc.code) {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.code)
		}
	}
}

func TestHistoryIsTrimmedToTheWindow(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Window: 200, Answer: func(lm.Request) string { return "ok then" }})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) { o.Bots[0].System = "system prompt stays" })
	conv := newConversation(t, s)
	for i := range 20 {
		acc := say(t, s, conv, fmt.Sprintf("message number %d with some words", i), "")
		if _, b := answer(t, s, conv, acc.Turn); b.State != event.Ok {
			t.Fatalf("turn %d: %+v", i, b)
		}
	}
	got := e.Calls().Last.Messages
	if len(got) >= 41 || len(got) < 4 {
		t.Errorf("%d messages in the last prompt", len(got))
	}
	if got[0].Text != "system prompt stays" || got[1].Role != lm.User || got[len(got)-1].Text != "message number 19 with some words" {
		t.Errorf("prompt: %v", got)
	}
	acc := say(t, s, conv, strings.Repeat("word ", 500), "")
	if _, b := answer(t, s, conv, acc.Turn); b.State != event.Failed || b.Code != fault.TooLarge {
		t.Errorf("an enormous message: %+v", b)
	}
}

func TestDeleteForgets(t *testing.T) {
	dir := t.TempDir()
	log := openLog(t, dir)
	e := demo.Canned(demo.CannedOptions{Words: 100000, Delay: time.Millisecond})
	s := start(t, log, e, nil)
	conv := newConversation(t, s)
	say(t, s, conv, "delete me", "")
	l, _ := s.Open(t.Context(), conv)
	defer l.Close()
	if _, err := s.Delete(t.Context(), "ann", conv); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		n := 0
		if err := log.Read(t.Context(), conv, 0, func(x event.Entry) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if n <= 1 && e.Calls().Running == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries are left, %d answers run", n, e.Calls().Running)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	if _, err := s.Submit(t.Context(), message(conv, "x", "")); !fault.Is(err, fault.NotFound) {
		t.Errorf("after deletion: %v", err)
	}
}

// fullDisk is a log that takes nothing more from this node.
type fullDisk struct {
	*eventlog.Log
	full atomic.Bool
}

var errFull = fault.New(fault.StorageFull, "the disk is full")

func (l *fullDisk) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	if l.full.Load() {
		return event.Receipt{}, errFull
	}
	return l.Log.Append(ctx, a)
}

func (l *fullDisk) AppendAsync(a event.Append) (sum uint64, wait func(context.Context) (event.Receipt, error), err error) {
	if l.full.Load() {
		return 0, nil, errFull
	}
	return l.Log.AppendAsync(a)
}

// TestTurnsInHandAreGivenBack: a worker that can't write lives on, so nobody
// takes its turns for lost; when others take those of its home, it gives them
// what it has.
func TestTurnsInHandAreGivenBack(t *testing.T) {
	disk := &fullDisk{Log: openLog(t, t.TempDir())}
	e := demo.Canned(demo.CannedOptions{Words: 400, Delay: time.Millisecond})
	home := disk.Region()
	a := start(t, disk.Log, e, func(o *chat.Options) { o.Log, o.Worker = disk, "a" })
	b := start(t, disk.Log, e, func(o *chat.Options) { o.Worker, o.Homes = "b", []string{} })
	conv := newConversation(t, a)
	acc := say(t, a, conv, "go", "")
	l, err := a.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for begun := false; !begun; {
		more := l.View(func(st *conversation.State) {
			turn := st.Turn(acc.Turn)
			begun = turn != nil && turn.Runes > 100
		})
		if !begun {
			<-more
		}
	}
	disk.full.Store(true)
	a.Serve(nil)
	b.Serve([]string{home})
	if text, end := answer(t, b, conv, acc.Turn); text != demo.Words(400) || end.State != event.Ok || end.Attempt < 2 {
		t.Errorf("attempt %d, state %s, text %q", end.Attempt, end.State, text)
	}
}

// lateClaim is a log in which a dead worker's claim turns up just before this
// node's own.
type lateClaim struct {
	*eventlog.Log
	by   string
	once sync.Once
}

func (l *lateClaim) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	if a.Event.Kind == event.KindClaimed {
		l.once.Do(func() {
			other, claim := a, *a.Event.Claimed
			claim.Worker = l.by
			other.Event.Claimed = &claim
			if _, err := l.Log.Append(ctx, other); err != nil {
				panic(err)
			}
		})
	}
	return l.Log.Append(ctx, a)
}

// TestAdoptedThoughClaimedLate: a new leader of the log learns of a dead
// worker's last claim a moment after others look for what that one had in hand.
// The turn's lease runs out long after.
func TestAdoptedThoughClaimedLate(t *testing.T) {
	log, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	home := log.Region()
	e := demo.Canned(demo.CannedOptions{Words: 20})
	a := start(t, log, e, func(o *chat.Options) { o.Worker, o.Homes = "a", []string{} })
	conv := newConversation(t, a)
	acc := say(t, a, conv, "go", "")
	held := make(chan event.Lease, 8)
	taking, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = log.Leases(taking, home, 8, func(x event.Lease) { held <- x }) }()
	lease := <-held
	for lease.Entry.Event.Said == nil {
		lease = <-held
	}
	stop()

	var dead atomic.Bool
	b := start(t, log, e, func(o *chat.Options) {
		o.Log, o.Worker = &lateClaim{Log: log, by: "a"}, "b"
		o.Orphans = func(context.Context, string) ([]chat.Orphan, error) {
			if !dead.Load() {
				return nil, nil
			}
			return []chat.Orphan{{Conversation: conv, Seq: lease.Entry.Seq}}, nil
		}
	})
	dead.Store(true)
	b.Adopt(home, func(worker string) bool { return worker == "a" })
	if text, end := answer(t, b, conv, acc.Turn); text != demo.Words(20) || end.State != event.Ok || end.Attempt != 2 {
		t.Errorf("attempt %d, state %s, text %q", end.Attempt, end.State, text)
	}
}

// TestAdoptsOneAfterTheOther: a node that is heard and not heard in turn asks
// for its turns to be taken up again and again, while the log has no leader.
func TestAdoptsOneAfterTheOther(t *testing.T) {
	var asking, most, asked atomic.Int64
	log := openLog(t, t.TempDir())
	s := start(t, log, demo.Canned(demo.CannedOptions{}), func(o *chat.Options) {
		o.Homes = []string{}
		o.Orphans = func(context.Context, string) ([]chat.Orphan, error) {
			asked.Add(1)
			most.Store(max(most.Load(), asking.Add(1)))
			defer asking.Add(-1)
			<-time.After(10 * time.Millisecond)
			return nil, nil
		}
	})
	for range 100 {
		s.Adopt(log.Region(), func(string) bool { return false })
	}
	for deadline := time.Now().Add(10 * time.Second); asked.Load() < 3 && time.Now().Before(deadline); {
		<-time.After(5 * time.Millisecond)
	}
	if most.Load() != 1 || asked.Load() > 5 {
		t.Errorf("asked %d times, up to %d at once", asked.Load(), most.Load())
	}
}

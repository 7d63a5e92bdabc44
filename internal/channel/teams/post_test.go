package teams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/fault"
)

// chat is a conversation in Teams that a test posts to.
type chat struct {
	t    *testing.T
	ms   *microsoft
	s    *Server
	c    *clock
	name string // Teams' own
	last *activity.Activity
}

func newChat(t *testing.T, name string) *chat {
	t.Helper()
	ms, c := newMicrosoft(t), newClock()
	ms.now = c.Now
	s, _ := open(t, ms, nil)
	return &chat{t: t, ms: ms, s: s, c: c, name: name, last: heard(t, ms, name)}
}

// heard is what the channel makes of something that is said.
func heard(t *testing.T, ms *microsoft, name string) *activity.Activity {
	t.Helper()
	s, d := open(t, ms, nil)
	if w := ms.deliver(s, "shop", ms.sign(nil), ms.said(name, "1", "hello")); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return &d.taken[0].Activity
}

// other is another node, which knows nothing of what this one did.
func (c *chat) other() *chat {
	s, _ := open(c.t, c.ms, nil)
	o := *c
	o.s = s
	return &o
}

func (c *chat) post(it channel.Item, ref string, doubt bool) (string, error) {
	c.t.Helper()
	return c.s.Post(c.t.Context(), channel.Post{Conversation: "local-1", Last: c.last, LastAt: c.c.Now(), Item: it, Ref: ref, Doubt: doubt})
}

func (c *chat) ok(it channel.Item, ref string) string {
	c.t.Helper()
	ref, err := c.post(it, ref, false)
	if err != nil {
		c.t.Fatalf("post %q: %v", it.Activity.Text, err)
	}
	return ref
}

func (c *chat) see(want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.ms.seen(c.name)); diff != "" {
		c.t.Errorf("people see (-want +got):\n%s", diff)
	}
}

// says is a whole message of a model's.
func says(pos uint64, text string) channel.Item {
	a := &activity.Activity{Type: activity.TypeMessage, Text: text, TextFormat: "markdown", From: &activity.Account{ID: "helper", Role: "bot"}}
	if err := a.SetMeta(activity.Meta{Turn: "t1", Model: "m", Engine: "llama"}); err != nil {
		panic(err)
	}
	return channel.Item{Pos: pos, ID: pos, Activity: a}
}

// change is what a message that was said at 8 is to be.
func change(pos uint64, text string) channel.Item {
	it := says(pos, text)
	it.ID = 8
	return it
}

// grows is a part of an answer that begins at 100.
func grows(part int, text string) channel.Item {
	a := &activity.Activity{Type: activity.TypeTyping, Text: text, TextFormat: "markdown", From: &activity.Account{ID: "helper", Role: "bot"}}
	return channel.Item{Pos: 100 + uint64(part), ID: 100, Activity: a, Stream: &channel.Stream{ID: 100, First: part == 0, Part: 1 + part}}
}

func ends(text string) channel.Item {
	it := says(900, text)
	it.Stream = &channel.Stream{ID: 100, Final: true, Part: 801}
	return it
}

func TestPost(t *testing.T) {
	for _, name := range []string{"a:1", "19:x@thread.v2", "19:abc@thread.tacv2;messageid=1481567603816"} {
		c := newChat(t, name)
		ref := c.ok(says(8, "Hello"), "")
		c.see("Hello")
		c.ok(change(16, "Hello, Megan"), ref)
		c.see("Hello, Megan (edited)")
		gone := channel.Item{Pos: 24, ID: 8, Activity: &activity.Activity{Type: activity.TypeDelete}}
		c.ok(gone, ref)
		c.see()
		c.ok(gone, ref) // somebody was faster
		for _, kind := range []string{activity.TypeEvent, activity.TypeEnd, activity.TypeReaction, "trace"} {
			c.ok(channel.Item{Pos: 32, Activity: &activity.Activity{Type: kind}}, "")
		}
		c.ok(says(40, " \n"), "")
		c.see()
		if _, err := c.post(change(48, "again"), ref, false); !fault.Is(err, fault.NotFound) {
			t.Errorf("a change of what is not there: %v", err)
		}
	}
}

func TestStream(t *testing.T) {
	c := newChat(t, "a:1")
	if ref, err := c.post(grows(0, "\n"), "", false); ref != "" || !fault.Is(err, fault.Unavailable) {
		t.Errorf("nothing is there to be seen yet: %q %v", ref, err)
	}
	c.see()
	ref := c.ok(grows(0, "Once"), "")
	c.see("Once…")
	for i := range 5 {
		c.c.pass(pace)
		if again := c.ok(grows(8*(i+1), "Once upon"), ref); again != ref {
			t.Errorf("the stream %q is now %q", ref, again)
		}
	}
	c.see("Once upon…")
	c.c.pass(pace)
	if got := c.ok(ends("Once upon a time"), ref); got != ref {
		t.Errorf("the end of %q is %q", ref, got)
	}
	c.see("Once upon a time")
	it := ends("Once upon two times") // is changed later
	it.Pos = 1000                     // and keeps its name
	c.ok(it, ref)
	c.see("Once upon two times (edited)")
	var info streamInfo
	for i, call := range c.ms.made() {
		if got, ok := infoOf(call.activity); ok && got.Kind == "streaming" {
			if info.Sequence++; got.Sequence != info.Sequence {
				t.Errorf("call %d is part %d, want %d", i, got.Sequence, info.Sequence)
			}
		}
	}
	if len(c.s.shown) > 0 {
		t.Errorf("remembered for ever: %+v", c.s.shown)
	}
}

// A bot tells what it does before it answers.
func TestNotes(t *testing.T) {
	c := newChat(t, "a:1")
	note := func(part int, text string) channel.Item {
		it := grows(part, text)
		it.Stream.Note = true
		_ = it.Activity.SetMeta(activity.Meta{StreamType: activity.StreamNote, Stream: 100})
		return it
	}
	ref := c.ok(note(0, "Searching "+strings.Repeat("é", 2000)), "")
	c.c.pass(pace)
	c.ok(note(8, "Reading"), ref)
	c.see("Reading…")
	c.c.pass(pace)
	c.ok(grows(16, "It"), ref)
	c.ok(note(24, "Still reading"), ref) // too late for that
	c.see("It…")
	c.c.pass(pace)
	c.ok(ends("It is so."), ref)
	c.see("It is so.")
}

// Another node goes on with a stream, with parts and with the end.
func TestTakeover(t *testing.T) {
	c := newChat(t, "a:1")
	ref := c.ok(grows(0, "One"), "")
	c.c.pass(pace)
	c.ok(grows(8, "One two"), ref)
	c.c.pass(pace)
	o := c.other()
	o.ok(grows(16, "One two three"), ref)
	c.c.pass(pace)
	o.ok(grows(24, "One two three four"), ref)
	c.see("One two three four…")
	c.other().ok(ends("One two three four."), ref)
	c.see("One two three four.")
}

// Of what a node did whose death came before it could note it, nobody knows.
func TestDoubt(t *testing.T) {
	c := newChat(t, "a:1")
	c.ok(says(8, "Hello"), "")
	if _, err := c.other().post(says(8, "Hello"), "", true); err != nil {
		t.Fatal(err)
	}
	c.see("Hello", "Hello") // rather twice than never: docs/channels/teams.md

	c = newChat(t, "a:2")
	c.ok(grows(0, "On"), "")
	o := c.other()
	if ref, err := o.post(grows(8, "On and"), "", true); ref != "" || err != nil {
		t.Fatalf("%q %v", ref, err)
	}
	if got := len(c.ms.made()); got != 1 {
		t.Errorf("%d calls: a second stream must not begin beside one whose name is lost", got)
	}

	c = newChat(t, "a:3")
	ref := c.ok(grows(0, "Now"), "")
	c.ok(ends("Now or never"), ref)
	if got, err := c.other().post(ends("Now or never"), ref, true); got != ref || err != nil {
		t.Errorf("%q %v", got, err)
	}
	c.see("Now or never")

	c = newChat(t, "a:4")
	ref = c.ok(says(8, "old"), "")
	c.ok(change(16, "new"), ref)
	if _, err := c.other().post(change(16, "new"), ref, true); err != nil {
		t.Fatal(err)
	}
	c.see("new (edited)")
}

// What of a growing answer does not get there is left out; the whole of it
// comes in any case.
func TestStreamFails(t *testing.T) {
	refuse := func(text string) answer {
		return answer{status: 403, body: `{"error":{"code":"ContentStreamNotAllowed","message":"` + text + `"}}`}
	}
	fails := func(t *testing.T, c *chat, it channel.Item, ref string, want fault.Code) {
		t.Helper()
		if got, err := c.post(it, ref, false); got != ref || !fault.Is(err, want) {
			t.Errorf("%q, %v", got, err)
		}
	}
	t.Run("not allowed", func(t *testing.T) {
		c := newChat(t, "a:1")
		c.ms.next(refuse("Content stream is not allowed"))
		fails(t, c, grows(0, "One"), "", fault.Forbidden)
		c.ok(ends("One two three"), "")
		c.see("One two three")
	})
	t.Run("two minutes", func(t *testing.T) {
		c := newChat(t, "a:1")
		ref := c.ok(grows(0, "One"), "")
		c.c.pass(121 * time.Second)
		fails(t, c, grows(8, "One two"), ref, fault.Forbidden)
		c.ok(ends("One two three four"), ref)
		c.see("One two three four (edited)")
	})
	t.Run("the person stops it", func(t *testing.T) {
		c := newChat(t, "a:1")
		ref := c.ok(grows(0, "One"), "")
		c.c.pass(pace)
		c.ms.next(refuse("Content stream was canceled by user"), refuse("Content stream was canceled by user"))
		fails(t, c, grows(8, "One two"), ref, fault.Canceled)
		fails(t, c, ends("One two three"), ref, fault.Canceled)
		c.see("One…")
	})
	t.Run("it is too long", func(t *testing.T) {
		c := newChat(t, "a:1")
		ref := c.ok(grows(0, "One"), "")
		c.c.pass(pace)
		long := strings.Repeat("long word ", mostText/10) + "\n\nand more"
		c.ok(grows(8, long), ref)
		c.ms.next(answer{}, answer{status: 429, after: "3"})
		fails(t, c, ends(long), ref, fault.Limited) // of two messages one is there
		got := c.ok(ends(long), ref)
		if all := c.ms.seen("a:1"); len(all) != 2 || len(strings.Fields(got)) != 2 || strings.Contains(all[0], "edited") {
			t.Errorf("%q is %q", got, all)
		}
	})
	t.Run("Teams is away", func(t *testing.T) {
		c := newChat(t, "a:1")
		c.ms.next(answer{status: 503})
		fails(t, c, grows(0, "One"), "", fault.Unavailable)
		ref := c.ok(grows(8, "One two"), "")
		c.see("One two…")
		c.c.pass(pace)
		c.ms.next(answer{status: 503})
		fails(t, c, ends("One two three"), ref, fault.Unavailable)
		c.ok(ends("One two three"), ref)
		c.see("One two three")
	})
	t.Run("the beginning is lost", func(t *testing.T) {
		c := newChat(t, "a:1")
		c.ms.next(answer{done: true, cut: true})
		fails(t, c, grows(0, "One"), "", fault.Timeout)
		if _, err := c.post(grows(8, "One two"), "", true); err != nil {
			t.Error(err)
		}
		if _, err := c.post(ends("One two three"), "", true); err != nil {
			t.Error(err)
		}
		c.see("One…", "One two three")
	})
	t.Run("too fast", func(t *testing.T) {
		c := newChat(t, "a:1")
		ref := c.ok(grows(0, "One"), "")
		c.c.pass(pace)
		c.ms.next(answer{status: 429, after: "7"})
		if _, err := c.post(grows(8, "One two"), ref, false); !fault.Is(err, fault.Limited) || fault.RetryAfterOf(err) != 7*time.Second {
			t.Errorf("%v", err)
		}
	})
}

func TestGroup(t *testing.T) {
	for name, want := range map[string]int{"a:1": 1, "19:x@thread.v2": 1, "19:abc@thread.tacv2": 0} {
		c := newChat(t, name)
		typing := grows(0, "")
		typing.Stream = nil
		if name != "a:1" {
			if ref := c.ok(grows(0, "One"), ""); ref != "" {
				t.Errorf("%s: a stream %q", name, ref)
			}
			c.ms.calls = nil
		}
		c.ok(typing, "")
		if got := c.ms.made(); len(got) != want || want > 0 && str(got[0].activity["type"]) != "typing" {
			t.Errorf("%s: %+v", name, got)
		}
		c.ok(ends("One two three"), "")
		c.see("One two three")
	}
}

func TestPieces(t *testing.T) {
	c := newChat(t, "a:1")
	var text []string
	for i := range 500 {
		text = append(text, fmt.Sprintf("Paragraph %d has some words and some more 😀 of them, so that it is not too short.", i))
	}
	long := strings.Join(text, "\n\n")
	c.ms.next(answer{}, answer{status: 429, after: "3"})
	part, err := c.post(says(8, long), "", false)
	if fault.RetryAfterOf(err) != 3*time.Second || len(strings.Fields(part)) != 1 {
		t.Fatalf("%q %v", part, err)
	}
	ref := c.other().ok(says(8, long), part) // goes on where it was, on whatever node
	got := c.ms.seen("a:1")
	if want := len(format.Split(long, mostText)); len(got) != want || want < 3 || len(strings.Fields(ref)) != want {
		t.Errorf("%d messages %q, want %d", len(got), ref, want)
	}
	if strings.Join(strings.Fields(strings.Join(got, " ")), " ") != strings.Join(strings.Fields(long), " ") {
		t.Error("not all of it is there, or not in order")
	}
	ref = c.ok(change(16, "short"), ref)
	c.see("short (edited)")
	ref = c.ok(change(24, long), ref)
	if n := len(strings.Fields(ref)); n != len(got) {
		t.Errorf("%d messages", n)
	}
	c.ok(channel.Item{Pos: 32, Activity: &activity.Activity{Type: activity.TypeDelete}}, ref)
	c.see()
}

func TestRefusals(t *testing.T) {
	for _, x := range []struct {
		name string
		got  answer
		code fault.Code
		says string
	}{
		{"throttled", answer{status: 429, after: "12"}, fault.Limited, "not ready"},
		{"throttled without a time", answer{status: 429}, fault.Limited, "not ready"},
		{"precondition", answer{status: 412, body: `{"error":{"code":"PreconditionFailed"}}`}, fault.Unavailable, "PreconditionFailed"},
		{"unavailable", answer{status: 503}, fault.Unavailable, "503"},
		{"a gateway", answer{status: 502, body: `{"error":{"code":"ServiceError"}}`}, fault.Timeout, "502"},
		{"a gateway's time", answer{status: 504}, fault.Timeout, "504"},
		{"it breaks", answer{cut: true}, fault.Timeout, "not certain"},
		{"not in the roster", answer{status: 403, body: `{"error":{"code":"BotNotInConversationRoster","message":"The bot is not part of the conversation roster."}}`}, fault.Forbidden, "add it again"},
		{"blocked", answer{status: 403, body: `{"errorCode":209,"message":"{\r\n  \"subCode\": \"MessageWritesBlocked\",\r\n  \"details\": \"Thread is blocked from message writes.\"}"}`}, fault.Forbidden, "blocked or removed"},
		{"by the administrator", answer{status: 403, body: `{"error":{"code":"BotDisabledByAdmin"}}`}, fault.Forbidden, "administrator"},
		{"not registered", answer{status: 401, body: `{"error":{"code":"BotNotRegistered"}}`}, fault.Unauthenticated, "Teams channel"},
		{"no conversation", answer{status: 404, body: `{"error":{"code":"ConversationNotFound"}}`}, fault.NotFound, "no such conversation"},
		{"too big", answer{status: 413, body: `{"error":{"code":"MessageSizeTooBig"}}`}, fault.TooLarge, "too large"},
		{"bad", answer{status: 400, body: `{"error":{"code":"BadArgument","message":"Unknown activity type"}}`}, fault.Invalid, "BadArgument"},
		{"ours", answer{status: 500, body: `{"error":{"code":"ServiceError"}}`}, fault.Invalid, "500"},
		{"elsewhere", answer{status: 302}, fault.Invalid, "302"},
		{"not JSON", answer{status: 400, body: "<html>" + strings.Repeat("x", 2<<20)}, fault.Invalid, "400"},
		{"another cloud", answer{status: 403, body: `{"error":{"code":"InvalidBotApiHost"}}`}, fault.Forbidden, "services"},
	} {
		c := newChat(t, "a:1")
		c.ms.next(x.got)
		if x.got.status == 401 {
			c.ms.next(x.got)
		}
		_, err := c.post(says(8, "hello"), "", false)
		if fault.CodeOf(err) != x.code || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %s %v", x.name, fault.CodeOf(err), err)
		}
		if x.code == fault.Limited && fault.RetryAfterOf(err) < 2*time.Second {
			t.Errorf("%s: after %v", x.name, fault.RetryAfterOf(err))
		}
		for token := range c.ms.tokens {
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), token) {
				t.Errorf("%s: the token stands in %v", x.name, err)
			}
		}
		if _, err := c.post(says(8, "hello"), "", true); err != nil {
			t.Errorf("%s, and then: %v", x.name, err)
		}
		c.see("hello")
	}
}

// A token that Teams does not take any more is replaced by a new one.
func TestRevoked(t *testing.T) {
	c := newChat(t, "a:1")
	c.ok(says(8, "one"), "")
	clear(c.ms.tokens)
	c.ok(says(16, "two"), "")
	c.see("one", "two")
	if n := c.ms.times("token"); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

func TestNowhere(t *testing.T) {
	c := newChat(t, "a:1")
	data := func(change func(*address)) *activity.Activity {
		at, _ := addressOf(c.last)
		change(&at)
		raw, err := at.into(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &activity.Activity{ChannelData: raw}
	}
	for name, x := range map[string]struct {
		last *activity.Activity
		code fault.Code
	}{
		"nobody has written": {nil, fault.Invalid},
		"no address":         {&activity.Activity{ChannelData: json.RawMessage(`{"teams":5}`)}, fault.Invalid},
		"no such account":    {data(func(a *address) { a.Account = "gone" }), fault.NotFound},
		"another service":    {data(func(a *address) { a.Service = "https://evil.example.org/" }), fault.Forbidden},
	} {
		c.last = x.last
		if _, err := c.post(says(8, "hello"), "", false); !fault.Is(err, x.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(c.ms.made()) + c.ms.times("token"); n != 0 {
		t.Errorf("%d calls", n)
	}
	c = newChat(t, "a:1")
	c.ms.srv.Close()
	if _, err := c.post(says(8, "hello"), "", false); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.s.Post(ended, channel.Post{Conversation: "local-1", Last: c.last, Item: says(8, "x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

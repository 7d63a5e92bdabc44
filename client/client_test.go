package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const long = "Grüße! 東京は夜の七時。 A language model said this, 🙂🙃 and then " +
	"it went on for a while, so that there is something to cut in the middle of. " +
	"Ünïcödé everywhere; \"quotes\", \\backslashes\\,\nnew lines\r\nof both kinds.\n"

// Whatever breaks, the caller sees a prefix of the answer at any moment and all
// of it in the end, and the message is said once.
func TestAskSurvivesEverything(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, seed)
			n.rough = true
			n.answer = func(turn string) {
				n.put("turn", Turn{Turn: turn, State: Running, Attempt: 1})
				n.stream(turn, long, "")
				n.put("delta", Delta{Turn: "another", Offset: 0, Text: "not yours"})
				n.final(turn, long)
			}
			dead, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_ = dead.Close() // nobody listens there now
			c := serve(t, Options{BaseURLs: []string{"http://" + dead.Addr().String()}}, n, n)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var got strings.Builder
			a, err := c.Ask(ctx, "c", Message{Text: "hello"}, func(p Piece) error {
				got.WriteString(p.Text)
				if p.Restart || !strings.HasPrefix(long, got.String()) {
					return fmt.Errorf("%q is not the beginning of the answer", got.String())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != long || a.Text != long || a.State != Done {
				t.Errorf("saw %q, answer %q, %s", got.String(), a.Text, a.State)
			}
			if diff := cmp.Diff([]string{"hello"}, n.texts); diff != "" {
				t.Errorf("said: %s", diff)
			}
		})
	}
}

func TestEventsAreWholeAndInOrder(t *testing.T) {
	n := newNode(t, 7)
	n.rough = true
	for i := range 300 {
		n.put("title", Title{Title: fmt.Sprint(i)})
	}
	n.put("deleted", struct{}{})
	c := serve(t, Options{}, n)
	at := 0
	for e, err := range c.Events(t.Context(), "c", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != int64(at+1) {
			t.Fatalf("position %d follows %d", e.Position, at)
		}
		at++
		if at <= 300 && e.Title.Title != fmt.Sprint(at-1) {
			t.Errorf("event %d is %+v", at, e.Title)
		}
	}
	if at != 301 {
		t.Errorf("%d events", at)
	}
}

// fold tells one turn and returns what the caller saw, in words.
func fold(t *testing.T, after int64, tell func(n *node)) (string, Answer, error) {
	t.Helper()
	n := newNode(t, 1)
	tell(n)
	c := serve(t, Options{Patience: 50 * time.Millisecond}, n)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var saw strings.Builder
	a, err := c.Follow(ctx, "c", "t", after, func(p Piece) error {
		switch {
		case p.Restart:
			saw.WriteString("<restart>")
		case p.State != "":
			saw.WriteString("<" + p.State + ">")
		}
		saw.WriteString(p.Text)
		return nil
	})
	return saw.String(), a, err
}

func TestFollow(t *testing.T) {
	delta := func(n *node, offset int, text string) { n.put("delta", Delta{"t", offset, text}) }
	end := func(n *node, state string) { n.put("turn", Turn{Turn: "t", State: state, Attempt: 2}) }
	for name, tt := range map[string]struct {
		after int64
		tell  func(n *node)
		saw   string
		state string
		text  string
		err   string
	}{
		"overlap": {0, func(n *node) {
			delta(n, 0, "äb")
			delta(n, 1, "bc")
			delta(n, 0, "ä")
			delta(n, 3, "d")
			end(n, Done)
		}, "äbcd", Done, "äbcd", ""},
		"resumed": {0, func(n *node) {
			delta(n, 0, "ab")
			n.put("resumed", Resumed{"t", 2, 2, "quick"})
			delta(n, 2, "c")
			end(n, Done)
		}, "abc", Done, "abc", ""},
		"restart": {0, func(n *node) {
			delta(n, 0, "ab")
			n.put("resumed", Resumed{"t", 2, 0, "restart"})
			delta(n, 0, "x")
			end(n, Done)
		}, "ab<restart>x", Done, "x", ""},
		"stopped":          {0, func(n *node) { delta(n, 0, "ab"); end(n, Stopped) }, "ab", Stopped, "ab", ""},
		"only the whole":   {0, func(n *node) { n.final("t", "all at once") }, "all at once", Done, "all at once", ""},
		"whole after part": {0, func(n *node) { delta(n, 0, "all"); n.final("t", "all at once") }, "all at once", Done, "all at once", ""},
		"attached too late": {
			2, func(n *node) { delta(n, 0, "one "); delta(n, 4, "two "); delta(n, 8, "three"); end(n, Done) },
			"one two three", Done, "one two three", "",
		},
		"failed": {0, func(n *node) {
			delta(n, 0, "ab")
			n.put("turn", Turn{Turn: "t", State: Failed, Code: "timeout", Error: "too slow"})
		}, "ab", Failed, "ab", "too slow"},
		"deleted":       {0, func(n *node) { delta(n, 0, "ab"); n.put("deleted", struct{}{}) }, "ab", "", "ab", "the conversation was deleted"},
		"a hole":        {0, func(n *node) { delta(n, 1, "b"); end(n, Done) }, "", "", "", "left out a piece"},
		"differs":       {0, func(n *node) { delta(n, 0, "abc"); delta(n, 1, "xyz") }, "abc", "", "abc", "two pieces of the answer differ"},
		"whole differs": {0, func(n *node) { delta(n, 0, "abc"); n.final("t", "abx") }, "abc", "", "abc", "does not begin with its pieces"},
		"queued": {0, func(n *node) {
			n.put("turn", Turn{Turn: "t", State: Queued})
			end(n, Running)
			delta(n, 0, "a")
			end(n, Done)
		}, "<queued><running>a", Done, "a", ""},
		"new kind": {0, func(n *node) { n.put("fireworks", 7); delta(n, 0, "a"); end(n, Done) }, "a", Done, "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			saw, a, err := fold(t, tt.after, tt.tell)
			if saw != tt.saw || a.State != tt.state || a.Text != tt.text {
				t.Errorf("saw %q, state %q, text %q; want %q, %q, %q", saw, a.State, a.Text, tt.saw, tt.state, tt.text)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// After a piece is missing the answer is read from its beginning: what was
// shown is not shown again, restarts included.
func TestReadingAgainShowsNothingTwice(t *testing.T) {
	s := sight{turn: "t"}
	var saw strings.Builder
	s.on = func(p Piece) error {
		if p.Restart {
			saw.WriteString("<restart>")
		}
		saw.WriteString(p.Text)
		return nil
	}
	var a Answer
	tell := func(events ...Event) {
		t.Helper()
		for _, e := range events {
			if err := s.take(e, &a); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := func(offset int, text string) Event { return Event{Delta: &Delta{"t", offset, text}} }
	again := Event{Resumed: &Resumed{Turn: "t", Policy: "restart"}}
	tell(d(0, "old text"), again, d(0, "new"))
	s.log = telling{}
	tell(d(0, "old"), d(3, " text"), again, d(0, "ne"), d(2, "w text"))
	if got, want := saw.String(), "old text<restart>new text"; got != want {
		t.Errorf("saw %q, want %q", got, want)
	}
}

func TestRefusalsAreFinal(t *testing.T) {
	var calls atomic.Int32
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		fail(w, http.StatusNotFound, "not_found", "there is no conversation")
	})
	c := serve(t, Options{}, h)
	if _, err := c.Conversation(t.Context(), "x"); CodeOf(err) != "not_found" || err.Error() != "there is no conversation" {
		t.Errorf("error %v", err)
	}
	for _, err := range c.Events(t.Context(), "x", 0) {
		if CodeOf(err) != "not_found" {
			t.Errorf("error %v", err)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestGivesUp(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, Options{Patience: 30 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		fail(w, http.StatusServiceUnavailable, "unavailable", "starting")
	}))
	if _, err := c.Info(t.Context()); CodeOf(err) != "unavailable" || calls.Load() < 2 {
		t.Errorf("error %v after %d calls", err, calls.Load())
	}
	for _, err := range c.Events(t.Context(), "c", 0) {
		if CodeOf(err) != "unavailable" {
			t.Errorf("error %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	var calls atomic.Int32
	var paused time.Duration
	c := serve(t, Options{OnRetry: func(_ error, d time.Duration) { paused = d }}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusTooManyRequests, "limited", "too many")
			return
		}
		_, _ = io.WriteString(w, `{"version":"1"}`)
	}))
	info, err := c.Info(t.Context())
	if err != nil || info.Version != "1" || paused < time.Second {
		t.Errorf("%+v, %v, paused %v", info, err, paused)
	}
}

func TestStalledStreamIsLeft(t *testing.T) {
	n := newNode(t, 3)
	n.put("title", Title{"x"})
	n.put("deleted", struct{}{})
	var calls atomic.Int32
	c := serve(t, Options{Stall: 50 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // never a byte more
			return
		}
		n.ServeHTTP(w, r)
	}))
	seen := 0
	for _, err := range c.Events(t.Context(), "c", 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != 2 || calls.Load() != 2 {
		t.Errorf("%d events in %d calls", seen, calls.Load())
	}
}

func TestNotParley(t *testing.T) {
	c := serve(t, Options{Patience: 50 * time.Millisecond}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<html>hello</html>")
	}))
	if _, err := c.Info(t.Context()); CodeOf(err) != CodeProtocol {
		t.Errorf("error %v", err)
	}
	for _, err := range c.Events(t.Context(), "c", 0) {
		if CodeOf(err) != CodeProtocol {
			t.Errorf("error %v", err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:8470", "ftp://h", "http://u:p@h", "http://h?x=1"} {
		if _, err := New(Options{BaseURLs: []string{bad}}); err == nil {
			t.Errorf("New(%q) is fine", bad)
		}
	}
}

func TestRequestsAsTheNodeWantsThem(t *testing.T) {
	var got []string
	c := serve(t, Options{Key: "pk_x"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		key := ""
		if r.Header.Get("Idempotency-Key") != "" {
			key = " key"
		}
		got = append(got, fmt.Sprintf("%s %s %s%s [%s]", r.Method, r.URL.RequestURI(), b, key, r.Header.Get("X-Parley")))
		if r.Header.Get("Authorization") != "Bearer pk_x" {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"id":"i","turn":"t","conversations":[{"id":"one"}],"next":""}`)
	}))
	ctx := t.Context()
	var out strings.Builder
	for _, err := range []error{
		second(c.Create(ctx, NewConversation{Bot: "b"})),
		third(c.List(ctx, "cur", 5)),
		c.Rename(ctx, "a/b", "T"),
		c.Delete(ctx, "a"),
		second(c.Send(ctx, "a", Message{Text: "x", Edits: "e"})),
		c.Stop(ctx, "a", "t"),
		second(c.Regenerate(ctx, "a", "t", "")),
		second(c.Search(ctx, "a b&c", 3)),
		c.Export(ctx, "a", "md", &out),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		`POST /api/v1/conversations {"bot":"b"} key [1]`,
		`GET /api/v1/conversations?cursor=cur&limit=5  []`,
		`PATCH /api/v1/conversations/a%2Fb {"title":"T"} [1]`,
		`DELETE /api/v1/conversations/a  [1]`,
		`POST /api/v1/conversations/a/activities {"type":"message","text":"x","channelData":{"parley":{"edits":"e"}}} key [1]`,
		`POST /api/v1/conversations/a/turns/t/stop  [1]`,
		`POST /api/v1/conversations/a/turns/t/regenerate  key [1]`,
		`GET /api/v1/search?limit=3&q=a+b%26c  []`,
		`GET /api/v1/conversations/a/export?format=md  []`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(out.String(), "turn") {
		t.Errorf("export %q", out.String())
	}
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

// What was seen of a conversation is asked of every region.
func TestPositionGoesAlong(t *testing.T) {
	var asked []string
	c := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, `{"id":"i","position":47}`)
			return
		}
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Parley-Position"))
		_, _ = io.WriteString(w, `{}`)
	}))
	for _, err := range []error{
		second(c.Activities(t.Context(), "a")),
		second(c.Note(t.Context(), "a", Message{Text: "x"})),
		second(c.Activities(t.Context(), "a")),
		second(c.Activities(t.Context(), "b")),
		second(c.Conversation(t.Context(), "a")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"/api/v1/conversations/a/activities ", "/api/v1/conversations/a/activities 47",
		"/api/v1/conversations/b/activities ", "/api/v1/conversations/a 47",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * mostSights {
		c.seen.note(fmt.Sprint(i), 1)
	}
	if n := len(c.seen.at); n > mostSights {
		t.Errorf("%d conversations are remembered, at most %d", n, mostSights)
	}
}

// A node without room sends people on, and only when all are full they hear of it.
func TestFullNodesAreLeft(t *testing.T) {
	asked := 0
	noRoom := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInsufficientStorage)
		_, _ = io.WriteString(w, `{"error":{"code":"storage_full","message":"the disk is full"}}`)
	})
	room := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"i","turn":"t"}`)
	})
	if _, err := serve(t, Options{}, noRoom, room).Send(t.Context(), "c", Message{Text: "hello"}); err != nil || asked != 1 {
		t.Errorf("asked a full node %d times: %v", asked, err)
	}
	asked = 0
	if _, err := serve(t, Options{}, noRoom, noRoom).Send(t.Context(), "c", Message{Text: "hello"}); CodeOf(err) != "storage_full" || asked != 2 {
		t.Errorf("asked full nodes %d times: %v", asked, err)
	}
}

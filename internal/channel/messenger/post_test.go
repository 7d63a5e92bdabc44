package messenger_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/messenger"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// long is a text of several messages.
func long(paragraphs int) string {
	var b strings.Builder
	for i := range paragraphs {
		b.WriteString(strings.Repeat("All work and no play. ", 40) + "This was paragraph " + string(rune('A'+i)) + ".\n\n")
	}
	return b.String()
}

func TestSend(t *testing.T) {
	x := open(t, nil)
	x.wrote()
	ref, err := x.s.Post(t.Context(), say(activity.Activity{Text: "**Hello**, [Ann](https://example.org)!"}))
	if err != nil || ref != "m_000001" {
		t.Fatalf("%q %v", ref, err)
	}
	long := long(5)
	if ref, err = x.s.Post(t.Context(), say(activity.Activity{Text: long})); err != nil || ref != "m_000002 m_000003 m_000004" {
		t.Fatalf("%q %v", ref, err)
	}
	got := x.graph.Texts(shop, ann)
	if got[0] != "Hello, Ann (https://example.org)!" {
		t.Errorf("said %q", got[0])
	}
	if all := strings.Join(got[1:], " "); strings.Join(strings.Fields(all), " ") != strings.Join(strings.Fields(long), " ") {
		t.Errorf("of a long text something is missing: %q", got[1:])
	}
	for _, part := range got[1:] {
		if !strings.HasSuffix(part, ".") {
			t.Errorf("a part ends in the middle: …%q", part[len(part)-20:])
		}
	}
	x.right()
}

// Somebody who waits sees that it was read and that somebody writes, and what
// fails of that keeps nothing up.
func TestTyping(t *testing.T) {
	x := open(t, nil)
	x.wrote()
	p := say(activity.Activity{Type: activity.TypeTyping})
	if ref, err := x.s.Post(t.Context(), p); err != nil || ref != "" {
		t.Errorf("%q %v", ref, err)
	}
	var acts []string
	for _, c := range x.graph.Calls() {
		acts = append(acts, c.Action)
	}
	if !same(acts, []string{"mark_seen", "typing_on"}) {
		t.Errorf("shown: %q", acts)
	}
	if _, err := x.s.Post(t.Context(), p); err != nil || len(x.graph.Calls()) != 2 {
		t.Errorf("shown again while it still is: %v, %d calls", err, len(x.graph.Calls()))
	}
	p.LastAt = p.LastAt.Add(time.Second) // she has written once more
	x.graph.Let(func(w http.ResponseWriter, _ graphtest.Call, _ func()) bool {
		graphtest.Fail(w, 400, 613, 0, "too many")
		return true
	})
	if _, err := x.s.Post(t.Context(), p); err != nil {
		t.Errorf("typing that fails is an error: %v", err)
	}
	x.right()
}

// What Messenger has no form for is no letter for the dead.
func TestNothingToSend(t *testing.T) {
	x := open(t, nil)
	x.wrote()
	for _, kind := range []string{activity.TypeEvent, activity.TypeEnd, activity.TypeDelete, activity.TypeReaction, "trace"} {
		p := say(activity.Activity{Type: kind, Text: "x"})
		p.Ref = "m_9"
		if ref, err := x.s.Post(t.Context(), p); err != nil || ref != "m_9" {
			t.Errorf("%s: %q %v", kind, ref, err)
		}
	}
	p := say(activity.Activity{Text: "mine"})
	p.Item.Activity.From.Role = "user"
	if _, err := x.s.Post(t.Context(), p); err != nil {
		t.Errorf("a user's: %v", err)
	}
	if _, err := x.s.Post(t.Context(), say(activity.Activity{})); !fault.Is(err, fault.Unsupported) {
		t.Errorf("an empty message: %v", err)
	}
	if n := len(x.graph.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestNobodyToSendTo(t *testing.T) {
	x := open(t, nil)
	p := say(activity.Activity{Text: "x"})
	p.Last.ChannelData = json.RawMessage(`{"messenger":{"page":"5","user":"7"}}`)
	if _, err := x.s.Post(t.Context(), p); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "page 5") {
		t.Errorf("a page that is no more: %v", err)
	}
	p.Last = nil
	if _, err := x.s.Post(t.Context(), p); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody wrote: %v", err)
	}
	if _, err := x.s.Post(t.Context(), say(activity.Activity{Text: "x"})); !fault.Is(err, fault.NotFound) {
		t.Errorf("a person whom Messenger does not know: %v", err)
	}
}

// After 24 hours a page may not write any more. It is not even tried, and if
// the clocks differ Messenger says so.
func TestWindow(t *testing.T) {
	x := open(t, nil)
	p := say(activity.Activity{Text: "x"})
	p.LastAt = time.Now().Add(-24*time.Hour - time.Minute)
	x.graph.Wrote(shop, ann, "m_in", "hi", p.LastAt)
	_, ours := x.s.Post(t.Context(), p)
	p.LastAt = time.Now()
	_, theirs := x.s.Post(t.Context(), p)
	for who, err := range map[string]error{"ours": ours, "theirs": theirs} {
		if !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "24 hours") || !strings.Contains(err.Error(), "replay") {
			t.Errorf("%s: %v", who, err)
		}
	}
	if n := len(x.graph.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// Every error that Meta has published is one of ours, in words, and none shows
// a secret that Meta quotes.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		what                  string
		status, code, subcode int
		header                [2]string
		want                  fault.Code
		after                 time.Duration
		words                 string
	}{
		{what: "token expired", status: 401, code: 190, subcode: 463, want: fault.Forbidden, words: "access token of page " + shop},
		{what: "outside of the window", status: 400, code: 10, subcode: 2018278, want: fault.Forbidden, words: "24 hours"},
		{what: "no permission", status: 403, code: 200, want: fault.Forbidden, words: "pages_messaging"},
		{what: "no permission", status: 400, code: 10, subcode: 2018300, want: fault.Forbidden, words: "pages_messaging"},
		{what: "blocked for policy", status: 400, code: 368, want: fault.Forbidden, words: "policy"},
		{what: "person unavailable", status: 400, code: 551, subcode: 1545041, want: fault.NotFound, words: "can't be reached"},
		{what: "person blocked the page", status: 400, code: 10, subcode: 2018108, want: fault.NotFound, words: "can't be reached"},
		{what: "no such person", status: 400, code: 100, subcode: 2018001, want: fault.NotFound, words: "can't be reached"},
		{what: "wrong parameter", status: 400, code: 100, want: fault.Invalid, words: "(#100) said [redacted]"},
		{what: "app limit", status: 400, code: 4, want: fault.Limited},
		{what: "page limit", status: 400, code: 32, want: fault.Limited},
		{what: "custom limit", status: 400, code: 613, header: [2]string{"X-Business-Use-Case-Usage", `{"1900001":[{"type":"messenger","call_count":100,"estimated_time_to_regain_access":3}]}`}, want: fault.Limited, after: 3 * time.Minute},
		{what: "business limit", status: 400, code: 80006, header: [2]string{"Retry-After", "7"}, want: fault.Limited, after: 7 * time.Second},
		{what: "a limit for ever", status: 429, code: 4, header: [2]string{"Retry-After", "99999999999"}, want: fault.Limited, after: time.Hour},
		{what: "a time that is none", status: 429, code: 4, header: [2]string{"Retry-After", "9e9"}, want: fault.Limited},
		{what: "an odd header", status: 400, code: 4, header: [2]string{"X-Business-Use-Case-Usage", `{"a":[{"estimated_time_to_regain_access":-1e300}]}`}, want: fault.Limited},
		{what: "temporary", status: 500, code: 1200, want: fault.Unavailable},
		{what: "service down", status: 500, code: 2, want: fault.Unavailable},
		{what: "unknown", status: 500, code: 1, subcode: 1357046, want: fault.Internal},
		{what: "no words, 500", status: 500, want: fault.Internal},
		{what: "no words, 502", status: 502, want: fault.Internal},
		{what: "no words, 503", status: 503, header: [2]string{"Retry-After", "2"}, want: fault.Unavailable, after: 2 * time.Second},
		{what: "no words, 429", status: 429, want: fault.Limited},
		{what: "no words, 404", status: 404, want: fault.Invalid},
		{what: "a redirect", status: 302, header: [2]string{"Location", "http://127.0.0.1:1/"}, want: fault.Invalid},
		{what: "a 200 that is none", status: 200, want: fault.Internal},
	} {
		x := open(t, nil)
		x.wrote()
		x.graph.Let(func(w http.ResponseWriter, _ graphtest.Call, _ func()) bool {
			if c.header[0] != "" {
				w.Header().Set(c.header[0], c.header[1])
			}
			if c.code != 0 {
				graphtest.Fail(w, c.status, c.code, c.subcode, "said "+pageToken)
				return true
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte("<html>" + pageToken))
			return true
		})
		_, err := x.s.Post(t.Context(), say(activity.Activity{Text: "x"}))
		if got := fault.CodeOf(err); got != c.want || fault.RetryAfterOf(err) != c.after {
			t.Errorf("%s: %s after %v, want %s after %v: %v", c.what, got, fault.RetryAfterOf(err), c.want, c.after, err)
		}
		if err == nil || strings.Contains(err.Error(), pageToken) || strings.Contains(err.Error(), "proof") || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// A Graph that can't be reached took nothing; one that does not answer may have.
func TestConnections(t *testing.T) {
	dead, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + dead.Addr().String()
	dead.Close()
	x := open(t, func(o *messenger.Options) { o.Accounts[0].Graph = address })
	if _, err := x.s.Post(t.Context(), say(activity.Activity{Text: "x"})); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "proof") {
		t.Errorf("nobody there: %v", err)
	}
	x = open(t, nil)
	x.wrote()
	x.graph.Let(func(_ http.ResponseWriter, _ graphtest.Call, take func()) bool {
		take()
		panic(http.ErrAbortHandler)
	})
	if _, err := x.s.Post(t.Context(), say(activity.Activity{Text: "x"})); !fault.Is(err, fault.Internal) || strings.Contains(err.Error(), "proof") {
		t.Errorf("cut off: %v", err)
	}
}

// A long answer whose middle is refused goes on there.
func TestGoesOn(t *testing.T) {
	x := open(t, nil)
	x.wrote()
	n := 0
	x.graph.Let(func(w http.ResponseWriter, _ graphtest.Call, _ func()) bool {
		if n++; n == 3 {
			w.Header().Set("Retry-After", "5")
			graphtest.Fail(w, 400, 613, 0, "slow down")
			return true
		}
		return false
	})
	p := say(activity.Activity{Text: long(9)})
	ref, err := x.s.Post(t.Context(), p)
	if !fault.Is(err, fault.Limited) || fault.RetryAfterOf(err) != 5*time.Second || !strings.Contains(err.Error(), "2 of ") {
		t.Fatalf("%q %v", ref, err)
	}
	p.Ref = ref // "arrived 2" and their names
	if _, err = x.s.Post(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(strings.Join(x.graph.Texts(shop, ann), " ")), strings.Fields(long(9)); !slices.Equal(got, want) {
		t.Errorf("%d words arrived, of %d", len(got), len(want))
	}
	x.right()
}

// In doubt the conversation is read: what is there is not sent again.
func TestDoubt(t *testing.T) {
	earlier := func(x *side) { // the same words, before she wrote
		x.graph.Wrote(shop, ann, "m_0", "hm", time.Now().Add(-time.Hour))
		x.graph.Said(shop, ann, "Sorry?", time.Now().Add(-time.Hour))
		x.wrote()
	}
	for _, c := range []struct {
		what    string
		there   int // messages that arrive before the connection breaks
		blind   bool
		say     activity.Activity
		want    int  // messages in the end
		without bool // the name of what she wrote
		again   bool // she writes once more
	}{
		{what: "nothing arrived", say: activity.Activity{Text: "Sorry?"}, want: 1},
		{what: "it arrived", there: 1, say: activity.Activity{Text: "Sorry?"}, want: 1},
		{what: "it can't be found out", there: 1, blind: true, say: activity.Activity{Text: "Sorry?"}, want: 2},
		{what: "two of a long one", there: 2, say: activity.Activity{Text: long(6)}, want: 3},
		{
			what: "a picture behind a text", there: 2, want: 2,
			say: activity.Activity{Text: "Look", Extra: map[string]json.RawMessage{"attachments": json.RawMessage(`[{"contentType":"image/png","contentUrl":"https://example.org/a.png"}]`)}},
		},
		{what: "without the name of what she wrote", there: 1, say: activity.Activity{Text: "Sorry?"}, want: 1, without: true},
		{what: "she has written again", there: 1, say: activity.Activity{Text: "Sorry?"}, want: 1, again: true},
		{what: "she has written again, and nothing arrived", say: activity.Activity{Text: "Sorry?"}, want: 1, again: true},
	} {
		x := open(t, nil)
		earlier(x)
		x.graph.Blind(c.blind)
		left := c.there
		x.graph.Let(func(_ http.ResponseWriter, _ graphtest.Call, take func()) bool {
			if left--; left > 0 {
				return false
			}
			if c.there > 0 {
				take()
			}
			panic(http.ErrAbortHandler)
		})
		p := say(c.say)
		if c.without {
			p.Last.ChannelData = bytes.ReplaceAll(p.Last.ChannelData, []byte(`"m_in"`), []byte(`""`))
		}
		if _, err := x.s.Post(t.Context(), p); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: first %v", c.what, err)
		}
		x.graph.Let(nil)
		if c.again {
			x.graph.Wrote(shop, ann, "m_again", "hello?", time.Now())
			p.Last.ChannelData, p.LastAt = bytes.ReplaceAll(p.Last.ChannelData, []byte("m_in"), []byte("m_again")), time.Now()
		}
		p.Doubt = true // by another node, who knows of no ref
		if _, err := x.s.Post(t.Context(), p); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if got := x.graph.Texts(shop, ann); len(got) != 1+c.want {
			t.Errorf("%s: %d messages, want %d: %.40q", c.what, len(got)-1, c.want, got[1:])
		}
		x.right()
	}
}

// A check says in words what is wrong with an account.
func TestCheck(t *testing.T) {
	problems := func(x *side, name, service string) (out []string) {
		for _, f := range x.s.Check(t.Context(), name, service) {
			if f.What == "" || strings.Contains(f.What+f.Problem, pageToken) || strings.Contains(f.What+f.Problem, appSecret) {
				t.Errorf("a finding: %+v", f)
			}
			out = append(out, f.Problem)
		}
		return out
	}
	x := open(t, nil)
	service := strings.TrimSuffix(x.url, messenger.Base+"/shop")
	if got := problems(x, "shop", service); len(got) != 3 || got[0] != "" || got[1] != "" || !strings.Contains(got[2], "https") {
		t.Errorf("all is well, but for the address: %q", got)
	}
	if got := problems(x, "nobody", service); len(got) != 1 || !strings.Contains(got[0], "no such account") {
		t.Errorf("nobody: %q", got)
	}
	if got := problems(x, "shop", strings.TrimSuffix(x.graphURL, "/"+graphtest.Version)); !strings.Contains(got[1], "somebody else") {
		t.Errorf("another program: %q", got)
	}
	x = open(t, func(o *messenger.Options) { o.Accounts[0].Token = o.Accounts[1].Token })
	if got := problems(x, "shop", service); !strings.Contains(got[0], "of page "+other) {
		t.Errorf("another page's token: %q", got)
	}
	x = open(t, func(o *messenger.Options) { o.Accounts[0].Token = secret.New("expired") })
	if got := problems(x, "shop", service); !strings.Contains(got[0], "access token") {
		t.Errorf("an expired token: %q", got)
	}
}

var _ interface {
	channel.Poster
	channel.Checker
} = (*messenger.Server)(nil)

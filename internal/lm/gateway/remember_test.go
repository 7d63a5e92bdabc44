package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// cached serves a gateway that remembers, before a counting server and a
// canned engine, and says who asks.
func cached(t *testing.T, o gateway.CacheOptions) (say func(user, body, cacheControl string) *http.Response, asked *atomic.Int64, x *till) {
	t.Helper()
	asked, x = new(atomic.Int64), new(till)
	base := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		n := asked.Add(1)
		switch {
		case strings.Contains(string(b), "refuse"):
			w.WriteHeader(http.StatusBadRequest)
		case strings.Contains(string(b), "break"):
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"}}]}\n\n", n)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case strings.Contains(string(b), `"stream":true`):
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"id\":\"%d\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", n, n)
		case strings.Contains(string(b), "long"):
			fmt.Fprintf(w, `{"id":"%d","choices":[],"x":%q}`, n, strings.Repeat("x", 2<<20))
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"%d","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, n)
		}
	})
	g, err := gateway.New(gateway.Options{
		Cache: o, Admit: x.admit, NoResume: true,
		Catalog: gateway.Engines(driver(t, openai.Options{BaseURL: base, Name: "up"}), demo.Canned(demo.CannedOptions{Words: 5})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.For(r.Header.Get("User"), w, r) }))
	t.Cleanup(s.Close)
	return func(user, body, cacheControl string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User", user)
		if cacheControl != "" {
			r.Header.Set("Cache-Control", cacheControl)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}, asked, x
}

func answerOf(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	wholeBody  = `{"model":"m","messages":[{"role":"user","content":"Hi"}]}`
	streamBody = `{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}`
	cannedBody = `{"model":"canned","messages":[{"role":"user","content":"Hi"}]}`
)

func TestAnswersAreRemembered(t *testing.T) {
	say, asked, x := cached(t, gateway.CacheOptions{Bytes: 8 << 20})
	for _, body := range []string{wholeBody, streamBody, cannedBody} {
		before := x.asked()
		first := say("ann", body, "")
		want := answerOf(t, first)
		if got := first.Header.Get("Cache-Status"); got != "Parley; fwd=miss" {
			t.Errorf("%s: the first time Cache-Status is %q", body, got)
		}
		again := say("ann", body, "")
		if got := answerOf(t, again); got != want || want == "" {
			t.Errorf("%s\nagain %q\nfirst %q", body, got, want)
		}
		if got := again.Header.Get("Cache-Status"); !strings.HasPrefix(got, "Parley; hit; ttl=3") {
			t.Errorf("%s: Cache-Status is %q", body, got)
		}
		if a, b := again.Header.Get("Content-Type"), first.Header.Get("Content-Type"); a != b {
			t.Errorf("%s: again as %s, first as %s", body, a, b)
		}
		if again.Header.Get("Age") != "0" || !strings.HasSuffix(again.Header.Get("Parley-Engine"), "; why=cache") {
			t.Errorf("%s: %v", body, again.Header)
		}
		if n := x.asked() - before; n != 1 {
			t.Errorf("%s: %d charges, want the first one only", body, n)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times, want 2", n)
	}
}

func TestWhatIsNotRemembered(t *testing.T) {
	say, asked, _ := cached(t, gateway.CacheOptions{Bytes: 8 << 20})
	twice := func(what, user1, user2, body1, body2, cc1, cc2 string, want int64) {
		t.Helper()
		before := asked.Load()
		_, _ = io.ReadAll(say(user1, body1, cc1).Body)
		_, _ = io.ReadAll(say(user2, body2, cc2).Body)
		if n := asked.Load() - before; n != want {
			t.Errorf("%s: the server was asked %d times, want %d", what, n, want)
		}
	}
	as := func(s string) string { return strings.ReplaceAll(wholeBody, "Hi", s) }
	twice("another user", "ann", "bob", wholeBody, wholeBody, "", "", 2)
	twice("another byte", "ann", "ann", as("a"), as("a "), "", "", 2)
	twice("an error", "ann", "ann", as("refuse"), as("refuse"), "", "", 2)
	twice("half a stream", "ann", "ann", strings.ReplaceAll(streamBody, "Hi", "break"), strings.ReplaceAll(streamBody, "Hi", "break"), "", "", 2)
	twice("a long one", "ann", "ann", as("long"), as("long"), "", "", 2)
	twice("no-cache", "ann", "ann", as("b"), as("b"), "", "no-cache", 2)
	twice("after no-cache", "ann", "ann", as("c"), as("c"), "no-cache", "", 1)
	twice("no-store", "ann", "ann", as("d"), as("d"), "No-Store", "", 2)
	twice("max-age", "ann", "ann", as("e"), as("e"), "", "max-age=60", 1)
	twice("nonsense", "ann", "ann", as("f"), as("f"), "", `max-age=-1, ,=, max-age="x"`, 1)

	none, asked, _ := cached(t, gateway.CacheOptions{})
	for range 2 {
		if r := none("ann", wholeBody, ""); r.Header.Get("Cache-Status") != "" {
			t.Errorf("without a cache: %v", r.Header)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("without a cache the server was asked %d times, want 2", n)
	}
	shared, asked, _ := cached(t, gateway.CacheOptions{Bytes: 8 << 20, Shared: true})
	a, b := answerOf(t, shared("ann", wholeBody, "")), answerOf(t, shared("bob", wholeBody, ""))
	if a != b || asked.Load() != 1 {
		t.Errorf("shared: %q and %q, asked %d times", a, b, asked.Load())
	}
}

// What is kept stays within its bounds, whatever comes.
func TestTheCacheIsBounded(t *testing.T) {
	say, asked, _ := cached(t, gateway.CacheOptions{Bytes: 4 << 10})
	for i := range 200 {
		_ = answerOf(t, say("ann", strings.ReplaceAll(wholeBody, "Hi", fmt.Sprint("n", i)), ""))
	}
	before := asked.Load()
	for i := range 200 {
		_ = answerOf(t, say("ann", strings.ReplaceAll(wholeBody, "Hi", fmt.Sprint("n", i)), ""))
	}
	if n := asked.Load() - before; n < 150 {
		t.Errorf("of 200 answers of some 300 bytes %d were still there in 4 KiB", 200-n)
	}
}

package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/roster"
)

// shaky is a simulated server whose behaviour changes while it runs.
type shaky struct {
	mode  atomic.Pointer[string]
	asked atomic.Int64
	left  atomic.Int64 // callers that hung up
}

func (s *shaky) be(mode string) { s.mode.Store(&mode) }

func (s *shaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	var in struct{ Stream bool }
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch *s.mode.Load() {
	case "500":
		http.Error(w, `{"error":{"message":"broken"}}`, http.StatusInternalServerError)
		return
	case "429":
		w.Header().Set("Retry-After", "2")
		w.Header().Set("X-Engine-Says", "later")
		http.Error(w, `{"error":{"message":"busy"}}`, http.StatusTooManyRequests)
		return
	case "400":
		http.Error(w, `{"error":{"message":"nonsense"}}`, http.StatusBadRequest)
		return
	case "garbage":
		if in.Stream {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, "<html>It works!</html>\n\n")
		return
	case "hang", "hang in mid-answer":
		if *s.mode.Load() != "hang" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"half \"}}]}\n\n")
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		s.left.Add(1)
		return
	case "header only":
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "cut":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"half \"}}]}\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	if in.Stream {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"whole"}}]}`)
}

// herd is a gateway over n simulated servers with one model.
func herd(t *testing.T, n int, o fleet.Options) (string, []*shaky) {
	t.Helper()
	r := roster.New(o)
	t.Cleanup(func() { _ = r.Close() })
	return graze(t, r, n)
}

// graze is a gateway over a roster that gets n simulated servers with one model.
func graze(t *testing.T, r *roster.Roster, n int) (string, []*shaky) {
	t.Helper()
	var all []*shaky
	for i := range n {
		s := &shaky{}
		s.be("")
		all = append(all, s)
		r.Expect(fmt.Sprint("e", i), "", nil).Serve(driver(t, openai.Options{Name: fmt.Sprint("e", i), BaseURL: upstream(t, s.ServeHTTP)}), "", nil)
		if _, err := r.Models(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, gateway.Options{Catalog: r}), all
}

// A request that is late to begin is asked of a second engine too: the client
// gets one answer, whole, and the engine that was late is let go.
func TestHedgedThroughTheGateway(t *testing.T) {
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	r.Alias(roster.Alias{Name: "m", Hedge: fleet.Hedge{Percentile: 90, Share: 1}})
	url, all := graze(t, r, 2)
	first := 0
	for i := range 100 { // until it is known how long answers take to begin
		resp, _ := ask(t, url, true, fmt.Sprint("before ", i))
		first = int(resp.Header.Get("Parley-Engine")[1] - '0')
	}
	all[first].be("hang")
	hedged, before, began := 0, all[first].asked.Load(), time.Now()
	for i := 0; hedged < 20 && time.Since(began) < time.Minute; i++ { // on a busy machine it may pass for the slower one, for half of that
		resp, body := ask(t, url, i%2 == 0, fmt.Sprint("after ", i))
		if resp.StatusCode != http.StatusOK || strings.Count(body, "whole") != 1 || i%2 == 0 && !strings.HasSuffix(body, "data: [DONE]\n\n") {
			t.Fatalf("%d: %s: %s", i, resp.Status, body)
		}
		if trace := resp.Header.Get("Parley-Engine"); strings.Contains(trace, "why=hedge") {
			hedged++
			if !strings.HasPrefix(trace, fmt.Sprint("e", 1-first)) {
				t.Errorf("the engine that hangs has answered: %s", trace)
			}
		}
	}
	if hedged == 0 {
		t.Error("no request was asked twice")
	}
	var came, left int64 // some are let go before they come, and one may be there since before
	for range 500 {
		if came, left = all[first].asked.Load()-before, all[first].left.Load(); came > 0 && left >= came {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d requests were asked twice; %d came to the engine that hangs, and it was let go by %d", hedged, came, left)
}

func ask(t *testing.T, url string, stream bool, words string) (*http.Response, string) {
	t.Helper()
	body := fmt.Sprintf(`{"model":"m","stream":%v,"messages":[{"role":"user","content":%q}]}`, stream, words)
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, string(b) + " (cut)"
	}
	return resp, string(b)
}

// While one of four lives, no request fails, whatever the others do, as long
// as they do it before their answer begins.
func TestRoutesAroundWhatIsBroken(t *testing.T) {
	for _, mode := range []string{"500", "429", "garbage", "hang", "header only"} {
		t.Run(mode, func(t *testing.T) {
			url, all := herd(t, 4, fleet.Options{Silence: 200 * time.Millisecond})
			for i := range 8 { // so that something is known of their time
				if resp, b := ask(t, url, i%2 == 0, fmt.Sprint("first ", i)); resp.StatusCode != 200 {
					t.Fatal(resp.StatusCode, b)
				}
			}
			for _, s := range all[:3] {
				s.be(mode)
			}
			var wg sync.WaitGroup
			for i := range 24 {
				wg.Go(func() {
					stream := i%2 == 0 || mode == "header only"
					resp, b := ask(t, url, stream, fmt.Sprint("conversation ", i))
					if resp.StatusCode != 200 || !strings.Contains(b, "whole") || !strings.HasPrefix(resp.Header.Get("Parley-Engine"), "e3; why=") {
						t.Errorf("%d %s %q", resp.StatusCode, resp.Header.Get("Parley-Engine"), b)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestWhatNobodyCanAnswer(t *testing.T) {
	url, all := herd(t, 2, fleet.Options{Wait: time.Second})
	for _, s := range all {
		s.be("429")
	}
	resp, b := ask(t, url, true, "hello")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "2" || resp.Header.Get("X-Engine-Says") != "later" || !strings.Contains(b, "busy") {
		t.Errorf("the engine's own refusal is lost: %d %v %q", resp.StatusCode, resp.Header, b)
	}
	url, all = herd(t, 2, fleet.Options{})
	all[0].be("400")
	all[1].be("400")
	resp, b = ask(t, url, false, "hello")
	if resp.StatusCode != 400 || !strings.Contains(b, "nonsense") || all[0].asked.Load()+all[1].asked.Load() != 1 {
		t.Errorf("a bad request: %d %q, asked %d and %d times", resp.StatusCode, b, all[0].asked.Load(), all[1].asked.Load())
	}
}

// What was begun is never begun again behind the client's back.
func TestACutAnswerIsNeverSpliced(t *testing.T) {
	url, all := herd(t, 2, fleet.Options{})
	all[0].be("cut")
	all[1].be("cut")
	_, b := ask(t, url, true, "hello")
	if strings.Count(b, "half") != 1 || !strings.Contains(b, `"error"`) || !strings.HasSuffix(b, "(cut)") || strings.Contains(b, "[DONE]") {
		t.Errorf("got %q", b)
	}
}

func TestHangUpReachesTheEngineThatAnswers(t *testing.T) {
	url, all := herd(t, 2, fleet.Options{})
	all[0].be("hang in mid-answer")
	all[1].be("hang in mid-answer")
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if all[0].left.Load()+all[1].left.Load() == 1 {
			return
		}
		<-tick.C
	}
	t.Fatal("no engine heard of it")
}

// Engines of different kinds serve the same model: requests are translated.
func TestMixedFleet(t *testing.T) {
	s := &shaky{}
	s.be("500")
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	r.Expect("http", "", nil).Serve(driver(t, openai.Options{Name: "http", BaseURL: upstream(t, s.ServeHTTP)}), "", nil)
	r.Expect("go", "", nil).Serve(demo.Canned(demo.CannedOptions{Name: "go", Model: "m"}), "", nil)
	if _, err := r.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := serve(t, gateway.Options{Catalog: r})
	for i := range 6 {
		resp, b := ask(t, url, i%2 == 0, fmt.Sprint("hello ", i))
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Parley-Engine"), "go; why=") {
			t.Errorf("%d %q %q", resp.StatusCode, resp.Header.Get("Parley-Engine"), b)
		}
	}
}

// named is a gateway over two models, each with an engine of its own, and a name
// for both.
func named(t *testing.T, a roster.Alias) (url string, first, second *shaky) {
	t.Helper()
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	all := []*shaky{{}, {}}
	for i, s := range all {
		s.be("")
		name := fmt.Sprint("e", i)
		r.Expect(name, "", []string{fmt.Sprint("m", i)}).Serve(driver(t, openai.Options{Name: name, BaseURL: upstream(t, s.ServeHTTP)}), "", nil)
	}
	if _, err := r.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Name = "m"
	r.Alias(a)
	return serve(t, gateway.Options{Catalog: r}), all[0], all[1]
}

func TestFallbackOfModels(t *testing.T) {
	for _, tc := range []struct {
		mode  string
		on    []fleet.Cause
		start string // of the header
		code  int
	}{
		{"", nil, "e0; model=m0; why=", 200},
		{"500", nil, "e1; model=m1; instead=down; why=", 200},
		{"garbage", nil, "e1; model=m1; instead=down; why=", 200},
		{"header only", nil, "e1; model=m1; instead=down; why=", 200},
		{"429", nil, "e1; model=m1; instead=full; why=", 200},
		{"400", nil, "e0; model=m0; why=", 400},
		{"400", []fleet.Cause{fleet.Refused}, "e1; model=m1; instead=refused; why=", 200},
		{"500", []fleet.Cause{fleet.Refused}, "e0; model=m0; why=", 500},
	} {
		url, first, second := named(t, roster.Alias{Serve: []roster.Share{{Model: "m0"}}, Fallback: []string{"m1"}, On: tc.on})
		first.be(tc.mode)
		resp, b := ask(t, url, tc.mode == "header only", "hello")
		if resp.StatusCode != tc.code || !strings.HasPrefix(resp.Header.Get("Parley-Engine"), tc.start) || strings.Contains(b, "whole") != (tc.code == 200) {
			t.Errorf("%q on %v: %d %q %s", tc.mode, tc.on, resp.StatusCode, resp.Header.Get("Parley-Engine"), b)
		}
		if tc.mode == "400" && tc.code == 200 { // when nobody takes it, the client reads why
			second.be("500")
			if resp, b := ask(t, url, false, "hello"); resp.StatusCode < 400 {
				t.Errorf("nobody takes it: %d %s", resp.StatusCode, b)
			}
		}
	}
}

// A client of this API has no session: its conversation is known by how it begins.
func TestAConversationStaysWithItsModel(t *testing.T) {
	url, _, _ := named(t, roster.Alias{Serve: []roster.Share{{Model: "m0"}, {Model: "m1", Percent: 50}}})
	model := func(body string) string {
		t.Helper()
		resp, _, err := post(t, url+chatPath, body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, err)
		}
		_, rest, _ := strings.Cut(resp.Header.Get("Parley-Engine"), "model=")
		m, _, _ := strings.Cut(rest, ";")
		return m
	}
	seen := map[string]int{}
	for i := range 40 {
		first := fmt.Sprintf(`{"content":"be kind","role":"system"}, {"role":"user","content":"hello, I am %d"}`, i)
		m := model(`{"model":"m","messages":[` + first + `]}`)
		if n := model(`{"model":"m","messages":[` + first + `,{"role":"assistant","content":"hi"},{"role":"user","content":"and?"}]}`); n != m {
			t.Errorf("conversation %d changed from %s to %s", i, m, n)
		}
		if k := fmt.Sprintf(`{"model":"m","prompt_cache_key":"k%d","messages":[`, i); model(k+`{"role":"user","content":"a"}]}`) != model(k+`{"role":"user","content":"b"}]}`) {
			t.Errorf("prompt_cache_key %d does not hold", i)
		}
		seen[m]++
	}
	if seen["m0"] < 8 || seen["m1"] < 8 {
		t.Errorf("half and half is %v", seen)
	}
	for _, odd := range []string{`[]`, `[1,"x",null]`, `"text"`, `{}`, `null`, `[{"role":1},{"role":{}},{"x":[]}]`} {
		resp, _, err := post(t, url+chatPath, `{"model":"m","messages":`+odd+`}`)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %v %v", odd, resp, err)
		}
	}
}

// Who can't be served in time is told so at once, and when to come back.
func TestStatedDeadline(t *testing.T) {
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	r.Line()
	r.Expect("e", "", nil).Serve(demo.Canned(demo.CannedOptions{Name: "e", Model: "m", Words: 40, Delay: 10 * time.Millisecond, Slots: 1}), "", nil)
	if _, err := r.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := serve(t, gateway.Options{Catalog: r})
	for range 4 { // 400 ms each
		if resp, b := ask(t, url, false, "hello"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, b)
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 30 {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+chatPath, strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"x"}]}`))
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := 0; waiting < 25; <-tick.C {
		r.Fleets(func(f *fleet.Fleet) { _, waiting = f.States() })
	}
	const body = `{"model":"m","messages":[{"role":"user","content":"soon, please"}]}`
	began := time.Now()
	resp, b, err := post(t, url+chatPath, body, "Prefer", "respond-async, wait=1")
	back, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || resp.StatusCode != 429 || back < 4 || back > 60 || time.Since(began) > 2*time.Second {
		t.Errorf("%d after %v, come back in %q: %s", resp.StatusCode, time.Since(began), resp.Header.Get("Retry-After"), b)
	}
	wantError(t, b, "rate_limit_exceeded")
}

// The second model hears of the requests, and the client of nothing.
func TestShadowOfModels(t *testing.T) {
	url, _, second := named(t, roster.Alias{Serve: []roster.Share{{Model: "m0"}}, Shadow: roster.Share{Model: "m1", Percent: 50}})
	second.be("500")
	for i := range 8 {
		resp, b := ask(t, url, i%2 == 0, "hello")
		if resp.StatusCode != 200 || !strings.Contains(b, "whole") || !strings.HasPrefix(resp.Header.Get("Parley-Engine"), "e0; model=m0; why=") {
			t.Errorf("%d %q %s", resp.StatusCode, resp.Header.Get("Parley-Engine"), b)
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if second.asked.Load() > 0 {
			return
		}
		<-tick.C
	}
	t.Error("the shadow heard nothing")
}

// labels keeps what would become labels of metrics.
type labels struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (l *labels) note(r *gateway.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[fmt.Sprintf("%q %q %q %q", r.Op, r.Engine, r.Model, r.Code)] = true
}
func (l *labels) First(r *gateway.Record, _ time.Duration) { l.note(r) }
func (l *labels) Next(r *gateway.Record, _ time.Duration)  { l.note(r) }
func (l *labels) End(r *gateway.Record)                    { l.note(r) }

// A client names what it likes; only models that engines serve become labels.
func TestNamesOfModelsAreNoLabels(t *testing.T) {
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	for _, name := range []string{"e0", "e1"} {
		r.Expect(name, "", nil).Serve(demo.Canned(demo.CannedOptions{Name: name, Model: "m", Words: 2}), "", nil)
	}
	if _, err := r.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Alias(roster.Alias{Name: "smart", Serve: []roster.Share{{Model: "m"}}})
	seen := &labels{seen: map[string]bool{}}
	url := serve(t, gateway.Options{Catalog: r, Observer: seen})
	names := []string{"m", "smart", "e0", "e1/m", ""}
	for i := range 100 {
		names = append(names, fmt.Sprint("m", i), fmt.Sprintf("e0/%d", i), strings.Repeat("x", i), fmt.Sprintf("smart\\u0000%d", i))
	}
	for _, name := range names {
		if _, _, err := post(t, url+chatPath, `{"model":"`+name+`","messages":[{"role":"user","content":"x"}]}`); err != nil {
			t.Fatal(err)
		}
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.seen) > 5 {
		t.Errorf("%d different labels: %v", len(seen.seen), seen.seen)
	}
}

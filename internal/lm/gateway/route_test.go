package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

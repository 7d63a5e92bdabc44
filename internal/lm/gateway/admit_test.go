package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// till is whoever lets requests in.
type till struct {
	mu    sync.Mutex // guards needs and done
	needs []gateway.Need
	done  []gateway.Record
	no    error
}

func (x *till) admit(_ context.Context, _ *gateway.Record, n gateway.Need) (gateway.Admission, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.needs = append(x.needs, n)
	return x, x.no
}

func (x *till) Header(h http.Header) { h["X-Ratelimit-Remaining-Requests"] = []string{"7"} }

func (x *till) Done(r *gateway.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done = append(x.done, *r)
}

// asked is how many it was to let in.
func (x *till) asked() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.needs)
}

// quota is a fault that says that a quota is used up.
type quota struct{ error }

func (q quota) Unwrap() error { return q.error }
func (q quota) Quota() bool   { return true }

func TestAdmission(t *testing.T) {
	base := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ratelimit-Remaining-Requests", "1") // of our own key there
		b, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(b), `"stream":true`):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"choices\":[]}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n")
		case strings.Contains(string(b), "refuse"):
			w.WriteHeader(http.StatusBadRequest)
		default:
			_, _ = io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}`)
		}
	})
	x := &till{}
	url := serve(t, gateway.Options{Admit: x.admit}, driver(t, openai.Options{BaseURL: base, Name: "up"}), demo.Canned(demo.CannedOptions{Words: 5}))
	for _, c := range []struct {
		body  string
		need  gateway.Need
		usage lm.Usage
		seen  int // events or pieces
		code  fault.Code
	}{
		{`{"model":"m","messages":["0123456789"]}`, gateway.Need{Prompt: 3}, lm.Usage{Prompt: 3, Completion: 4}, 1, ""},
		{`{"model":"m","max_tokens":7,"max_completion_tokens":9,"n":3,"messages":["refuse"]}`, gateway.Need{Prompt: 2, Most: 27}, lm.Usage{}, 1, fault.Invalid},
		{`{"model":"m","max_tokens":-7,"n":1e9,"stream":true,"messages":[]}`, gateway.Need{}, lm.Usage{}, 3, ""},
		{`{"model":"canned","max_tokens":2,"messages":[{"role":"user","content":"x"}]}`, gateway.Need{Prompt: 7, Most: 2}, lm.Usage{Prompt: 5, Completion: 2}, 2, ""},
		{`{"model":"canned","max_tokens":99999999999,"messages":[]}`, gateway.Need{Most: 4096}, lm.Usage{}, 0, fault.Invalid},
	} {
		*x = till{}
		resp, _, _ := post(t, url+chatPath, c.body)
		if got := resp.Header.Values("X-Ratelimit-Remaining-Requests"); len(got) != 1 || got[0] != "7" {
			t.Errorf("%s: headers %v", c.body, got)
		}
		if len(x.needs) != 1 || len(x.done) != 1 {
			t.Fatalf("%s: %d let in, %d over", c.body, len(x.needs), len(x.done))
		}
		r := x.done[0]
		if d := cmp.Diff(c.need, x.needs[0]); d != "" {
			t.Errorf("%s: %s", c.body, d)
		}
		if r.Usage != c.usage || max(r.Events, r.Pieces) != c.seen || r.Code != c.code {
			t.Errorf("%s: over with %+v", c.body, r)
		}
	}
}

func TestRefusedAdmission(t *testing.T) {
	limited := fault.New(fault.Limited, "enough").After(90 * time.Second)
	for _, c := range []struct {
		no        error
		kind      string
		wait      string
		wantsCode int
	}{
		{limited, `"type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"`, "90", 429},
		{quota{limited}, `"type":"insufficient_quota","param":null,"code":"insufficient_quota"`, "90", 429},
		{fault.New(fault.Unavailable, "not now"), `"code":"engine_unavailable"`, "", 503},
	} {
		x := &till{no: c.no}
		url := serve(t, gateway.Options{Admit: x.admit}, demo.Canned(demo.CannedOptions{}))
		resp, body, _ := post(t, url+chatPath, `{"model":"canned","messages":[{"role":"user","content":"x"}]}`)
		if resp.StatusCode != c.wantsCode || !strings.Contains(body, c.kind) || resp.Header.Get("Retry-After") != c.wait || resp.Header.Get("X-Ratelimit-Remaining-Requests") != "7" {
			t.Errorf("%v: %d %v %s", c.no, resp.StatusCode, resp.Header, body)
		}
		if len(x.done) != 0 {
			t.Error("a refused one is over")
		}
	}
}

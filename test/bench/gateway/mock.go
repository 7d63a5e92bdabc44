package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// mock is a simulated engine: OpenAI's chat API with words at a fixed pace. It
// counts the callers that hung up, and can be told to die in mid-answer.
func mock(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9100", "address")
	gap := fs.Duration("gap", 0, "before each word")
	die := fs.Int("die", 0, "cut the connection after this many words; 0 = never")
	_ = fs.Parse(args)
	m := &mockEngine{gap: *gap, die: *die}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"mock","object":"model","owned_by":"mock"}]}`)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"hung_up":%d}`, m.hungUp.Load())
	})
	mux.HandleFunc("POST /v1/chat/completions", m.chat)
	return listenAndServe(*listen, mux)
}

type mockEngine struct {
	gap    time.Duration
	die    int
	hungUp atomic.Int64
}

func (m *mockEngine) chat(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Stream bool `json:"stream"`
		Max    int  `json:"max_tokens"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if in.Stream {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	var all strings.Builder
	next := time.Now()
	for i := range in.Max {
		next = next.Add(m.gap)
		if d := time.Until(next); d > 0 {
			t := time.NewTimer(d)
			select {
			case <-t.C:
			case <-r.Context().Done():
				t.Stop()
				m.hungUp.Add(1)
				return
			}
		}
		if m.die > 0 && i == m.die {
			panic(http.ErrAbortHandler)
		}
		if !in.Stream {
			fmt.Fprintf(&all, "w%d ", i)
			continue
		}
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%d \"},\"finish_reason\":null}]}\n\n", i)
		w.(http.Flusher).Flush()
	}
	if in.Stream {
		_, _ = io.WriteString(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":64}}\n\ndata: [DONE]\n\n")
		return
	}
	_, _ = fmt.Fprintf(w, `{"id":"x","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":50,"completion_tokens":%d}}`, all.String(), in.Max)
}

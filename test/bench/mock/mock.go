// Package mock is a simulated engine for benchmarks and stories: OpenAI's chat
// API with slots, a line, a prefix cache and the timing that follows from them,
// and with faults that can be changed while it runs. Its answers are the words
// w0 w1 w2 ..., so that a lost, doubled or moved one is seen.
package mock

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of New.
type Options struct {
	Slots  int           // answers at once; more wait
	First  time.Duration // before the first word, beside reading the prompt
	Gap    time.Duration // between two words
	Words  int           // of an answer
	Miss   time.Duration // to read 1000 characters of a prompt that are not in the cache
	Hit    time.Duration // to read 1000 that are
	Blocks int           // of 256 characters that the cache holds
}

// Faults is how it misbehaves; POST /faults changes it.
type Faults struct {
	Mode string  `json:"mode"` // "", 500, 429, garbage, hang, cut (after a third of the words)
	Slow float64 `json:"slow"` // everything takes this many times as long; 0 = 1
}

// Stats are counted since the start; GET /stats tells them.
type Stats struct {
	Requests int64 `json:"requests"`
	Chars    int64 `json:"chars"`
	Cached   int64 `json:"cached"`
	HungUp   int64 `json:"hung_up"`
}

// Engine is an http.Handler.
type Engine struct {
	o      Options
	slots  chan struct{}
	faults atomic.Pointer[Faults]
	mux    *http.ServeMux

	requests, chars, cached, hungUp atomic.Int64

	mu    sync.Mutex // guards the cache
	seed  maphash.Seed
	order *list.List
	at    map[uint64]*list.Element
}

// New makes an engine.
func New(o Options) *Engine {
	e := &Engine{o: o, slots: make(chan struct{}, o.Slots), mux: http.NewServeMux(), seed: maphash.MakeSeed(), order: list.New(), at: map[uint64]*list.Element{}}
	e.faults.Store(&Faults{})
	e.mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		if e.faults.Load().Mode == "hang" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"mock","object":"model","owned_by":"mock"}]}`)
	})
	e.mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Faults
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		e.faults.Store(&f)
	})
	e.mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Stats{e.requests.Load(), e.chars.Load(), e.cached.Load(), e.hungUp.Load()})
	})
	e.mux.HandleFunc("POST /v1/chat/completions", e.chat)
	return e
}

func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.mux.ServeHTTP(w, r) }

type request struct {
	Stream   bool `json:"stream"`
	Max      int  `json:"max_tokens"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
}

func (e *Engine) chat(w http.ResponseWriter, r *http.Request) {
	e.requests.Add(1)
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	mode := e.faults.Load().Mode
	switch mode {
	case "500":
		http.Error(w, `{"error":{"message":"broken on purpose"}}`, http.StatusInternalServerError)
		return
	case "429":
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"error":{"message":"busy on purpose"}}`, http.StatusTooManyRequests)
		return
	case "garbage":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "<html>\x00\xff It works!\n\n")
		return
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-r.Context().Done():
		e.hungUp.Add(1)
		return
	}
	if err := e.answer(r.Context(), w, &in, mode == "cut"); err != nil {
		e.hungUp.Add(1)
	}
}

// answer says the words, beginning after those that an unfinished answer at the
// prompt's end has already.
func (e *Engine) answer(ctx context.Context, w http.ResponseWriter, in *request, cut bool) error {
	var prompt strings.Builder
	from := 0
	for i, m := range in.Messages {
		if i == len(in.Messages)-1 && m.Role == "assistant" {
			from = strings.Count(m.Content, "w")
		}
		prompt.WriteString(m.Role)
		prompt.WriteString(m.Content)
	}
	cached := e.use(prompt.String())
	e.chars.Add(int64(prompt.Len()))
	e.cached.Add(int64(cached))
	if err := e.pause(ctx, e.o.First+time.Duration(prompt.Len()-cached)*e.o.Miss/1000+time.Duration(cached)*e.o.Hit/1000); err != nil {
		return err
	}
	words := e.o.Words
	if in.Max > 0 {
		words = min(words, from+in.Max)
	}
	if in.Stream {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	var text strings.Builder
	for i := from; i < words; i++ {
		if i > from {
			if err := e.pause(ctx, e.o.Gap); err != nil {
				return err
			}
		}
		if cut && i >= from+words/3 {
			panic(http.ErrAbortHandler)
		}
		if !in.Stream {
			text.WriteString("w" + strconv.Itoa(i) + " ")
			continue
		}
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%d \"},\"finish_reason\":null}]}\n\n", i)
		w.(http.Flusher).Flush()
	}
	usage := fmt.Sprintf(`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}`, prompt.Len()/4, words-from, prompt.Len()/4+words-from, cached/4)
	if in.Stream {
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],%s}\n\ndata: [DONE]\n\n", usage)
		return nil
	}
	_, _ = fmt.Fprintf(w, `{"id":"x","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],%s}`, text.String(), usage)
	return nil
}

// pause takes as long as the faults of now make of d, and for ever while it
// hangs.
func (e *Engine) pause(ctx context.Context, d time.Duration) error {
	f := e.faults.Load()
	if f.Mode == "hang" {
		<-ctx.Done()
		return ctx.Err()
	}
	if f.Slow > 0 {
		d = time.Duration(f.Slow * float64(d))
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// use returns how much of the prompt's beginning is in the cache, and puts all
// of it there.
func (e *Engine) use(prompt string) (cached int) {
	const block = 256
	var h maphash.Hash
	h.SetSeed(e.seed)
	e.mu.Lock()
	defer e.mu.Unlock()
	hitting := true
	for end := block; end <= len(prompt); end += block {
		_, _ = h.WriteString(prompt[end-block : end])
		sum := h.Sum64()
		if x, ok := e.at[sum]; ok {
			e.order.MoveToFront(x)
			if hitting {
				cached = end
			}
			continue
		}
		hitting = false
		e.at[sum] = e.order.PushFront(sum)
		if e.order.Len() > e.o.Blocks {
			delete(e.at, e.order.Remove(e.order.Back()).(uint64))
		}
	}
	return cached
}

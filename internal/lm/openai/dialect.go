package openai

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Dialect is which server speaks: where compatible servers differ.
type Dialect string

// The dialects.
const (
	Generic     Dialect = "generic"      // nothing is known: nothing beyond OpenAI's API is used
	OpenAI      Dialect = "openai"       // api.openai.com
	Azure       Dialect = "azure"        // Azure OpenAI: api-key header, address by deployment
	VLLM        Dialect = "vllm"         // vLLM's server
	LlamaServer Dialect = "llama-server" // llama.cpp's server
	Ollama      Dialect = "ollama"
)

// traits are what the driver has to know about a dialect.
type traits struct {
	resume   lm.Policy
	prefill  prefill
	maxField string // name of max_tokens
	usage    bool   // takes stream_options.include_usage
	sampling bool   // takes top_k, min_p and a repetition penalty
	repeat   string // name of repeat_penalty
	grammar  string // name of a GBNF grammar; "" = none
	health   string // path of a cheap check; "" = list the models
	ask      func(context.Context, *Engine, []lm.Model)
	count    func(context.Context, *Engine, lm.Request) (int, error)
}

// prefill is how a server is made to continue an assistant's message.
type prefill int

const (
	noPrefill       prefill = iota
	trailingMessage         // a trailing assistant message is continued
	continueFlags           // ... with continue_final_message and without a generation prompt
	renderedPrompt          // the server renders its template; we put the answer behind it
)

func dialects() map[Dialect]traits {
	return map[Dialect]traits{
		Generic: {resume: lm.Restart, maxField: "max_tokens", usage: true, sampling: true, repeat: "repeat_penalty"},
		OpenAI:  {resume: lm.Restart, maxField: "max_completion_tokens", usage: true},
		Azure:   {resume: lm.Restart, maxField: "max_completion_tokens", usage: true},
		VLLM: {
			resume: lm.Prefill, prefill: continueFlags, maxField: "max_tokens", usage: true, sampling: true,
			repeat: "repetition_penalty", health: "health", count: countVLLM,
		},
		LlamaServer: {
			// It continues a trailing assistant message too, but recent versions
			// send that message back first and others do not.
			resume: lm.Prefill, prefill: renderedPrompt, maxField: "max_tokens", usage: true, sampling: true,
			repeat: "repeat_penalty", grammar: "grammar", health: "health", ask: askLlamaServer, count: countLlamaServer,
		},
		Ollama: {
			resume: lm.Prefill, prefill: trailingMessage, maxField: "max_tokens", usage: true,
			health: "api/version", ask: askOllama,
		},
	}
}

// prefills is how this engine continues; a policy given in Options counts more
// than the dialect's.
func (e *Engine) prefills() prefill {
	if e.o.Resume == lm.Prefill && e.d.prefill == noPrefill {
		return trailingMessage
	}
	if e.o.Resume != lm.Prefill {
		return noPrefill
	}
	return e.d.prefill
}

// askLlamaServer fills in window, slots and what the model reads.
func askLlamaServer(ctx context.Context, e *Engine, all []lm.Model) {
	var p struct {
		Modalities struct {
			Vision bool `json:"vision"`
		} `json:"modalities"`
		Slots    int `json:"total_slots"`
		Defaults struct {
			Window int `json:"n_ctx"`
		} `json:"default_generation_settings"`
	}
	if err := e.get(ctx, e.root.JoinPath("props"), &p); err != nil {
		e.o.Log.DebugContext(ctx, "llama-server does not tell its properties", "engine", e.o.Name, "error", err)
		return
	}
	for i := range all {
		if p.Defaults.Window > 0 {
			all[i].Window = p.Defaults.Window // of one slot, not of the training
		}
		all[i].Slots = p.Slots
		all[i].Vision = all[i].Vision || p.Modalities.Vision
	}
}

// askOllama fills in window and abilities of the first models: Ollama tells
// them one by one.
func askOllama(ctx context.Context, e *Engine, all []lm.Model) {
	for i := range all[:min(len(all), 8)] {
		if all[i].Window > 0 {
			continue
		}
		var show struct {
			Parameters string         `json:"parameters"`
			Info       map[string]any `json:"model_info"`
			Can        []string       `json:"capabilities"`
		}
		if err := e.post(ctx, e.root.JoinPath("api", "show"), map[string]string{"model": all[i].ID}, &show); err != nil {
			continue
		}
		all[i].Vision = all[i].Vision || slices.Contains(show.Can, "vision")
		for k, v := range show.Info {
			if n, ok := v.(float64); ok && strings.HasSuffix(k, ".context_length") {
				all[i].Window = int(n)
			}
		}
		// What the model was made with counts more than what it could do.
		for line := range strings.Lines(show.Parameters) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "num_ctx" {
				all[i].Window = atoi(f[1], all[i].Window)
			}
		}
	}
}

func atoi(s string, otherwise int) int {
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' || n > 1<<30 {
			return otherwise
		}
		n = n*10 + int(r-'0')
	}
	return n
}

// render asks llama-server for the prompt that its template makes.
func (e *Engine) render(ctx context.Context, r lm.Request) (string, error) {
	msgs, err := messages(r)
	if err != nil {
		return "", err
	}
	var t struct {
		Prompt string `json:"prompt"`
	}
	err = e.post(ctx, e.root.JoinPath("apply-template"), map[string]any{"messages": msgs}, &t)
	return t.Prompt, err
}

// countLlamaServer renders the template and counts its tokens.
func countLlamaServer(ctx context.Context, e *Engine, r lm.Request) (int, error) {
	prompt := r.Prompt
	if len(r.Messages) > 0 {
		var err error
		if prompt, err = e.render(ctx, r); err != nil {
			return 0, err
		}
	}
	var t struct {
		Tokens []any `json:"tokens"`
	}
	body := map[string]any{"content": prompt, "add_special": true, "parse_special": true}
	if err := e.post(ctx, e.root.JoinPath("tokenize"), body, &t); err != nil {
		return 0, err
	}
	return len(t.Tokens), nil
}

func countVLLM(ctx context.Context, e *Engine, r lm.Request) (int, error) {
	model, err := e.model(ctx, r.Model)
	if err != nil {
		return 0, err
	}
	body := map[string]any{"model": model}
	if len(r.Messages) > 0 {
		if body["messages"], err = messages(r); err != nil {
			return 0, err
		}
	} else {
		body["prompt"] = r.Prompt
	}
	var t struct {
		Count int `json:"count"`
	}
	if err := e.post(ctx, e.root.JoinPath("tokenize"), body, &t); err != nil {
		return 0, err
	}
	return t.Count, nil
}

// Count asks the servers that can tell.
func (e *Engine) Count(ctx context.Context, r lm.Request) (int, error) {
	if e.d.count == nil {
		return 0, fault.New(fault.Unsupported, "the engine %q can't count tokens before it answers", e.o.Name)
	}
	return e.d.count(ctx, e, r)
}

// Detect asks the server which dialect it speaks, by three short questions at
// most. Options may be the zero value but for BaseURL; a Key is sent if there
// is one. A server that answers but can't be told is Generic; one that does
// not answer is Unavailable.
func Detect(ctx context.Context, o Options) (Dialect, error) {
	o.Dialect, o.Dial = Generic, min(max(o.Dial, 0), time.Second)
	if o.Dial == 0 {
		o.Dial = time.Second
	}
	o.First, o.Stall = 2*time.Second, 2*time.Second
	e, err := New(o)
	if err != nil {
		return "", err
	}
	defer func() { _ = e.Close() }()
	if d := byHost(e.base); d != "" {
		return d, nil
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	var list modelList
	h, err := e.call(ctx, http.MethodGet, e.base.JoinPath("models"), nil, &list)
	if err == nil {
		if d := byAnswer(h, list); d != "" {
			return d, nil
		}
	} else if fault.Is(err, fault.Canceled) || h == nil {
		return "", err
	} else if strings.HasPrefix(h.Get("Server"), "llama.cpp") {
		return LlamaServer, nil
	}
	var v struct {
		Version string `json:"version"`
	}
	if e.get(ctx, e.root.JoinPath("api", "version"), &v) == nil && v.Version != "" {
		return Ollama, nil
	}
	if e.get(ctx, e.root.JoinPath("version"), &v) == nil && v.Version != "" {
		return VLLM, nil
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	return Generic, nil
}

func byHost(u *url.URL) Dialect {
	switch host := u.Hostname(); {
	case host == "api.openai.com":
		return OpenAI
	case strings.HasSuffix(host, ".openai.azure.com"), strings.HasSuffix(host, ".cognitiveservices.azure.com"):
		return Azure
	}
	return ""
}

func byAnswer(h http.Header, list modelList) Dialect {
	if strings.HasPrefix(h.Get("Server"), "llama.cpp") {
		return LlamaServer
	}
	for _, m := range list.Data {
		switch m.Owner {
		case "llamacpp":
			return LlamaServer
		case "vllm":
			return VLLM
		}
	}
	return ""
}

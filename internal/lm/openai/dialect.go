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
	TGI         Dialect = "tgi"       // Hugging Face's Text Generation Inference
	Anthropic   Dialect = "anthropic" // api.anthropic.com, its OpenAI-compatible address
)

// traits are what the driver has to know about a dialect, beside its row of
// Continuations.
type traits struct {
	prefill  prefill
	maxField string // name of max_tokens
	usage    bool   // takes stream_options.include_usage
	sampling bool   // takes top_k, min_p and a repetition penalty
	repeat   string // name of repeat_penalty
	grammar  string // name of a GBNF grammar; "" = none
	freeform bool   // ignores a schema without a word
	health   string // path of a cheap check; "" = list the models
	ask      func(context.Context, *Engine, []lm.Model)
	count    func(context.Context, *Engine, lm.Request) (int, error)
}

// prefill is how a server is made to continue an assistant's message.
type prefill int

const (
	noPrefill       prefill = iota
	trailingMessage         // a trailing assistant message is continued
	checkedMessage          // ... if the model's template lets it be
	continueFlags           // ... with continue_final_message and without a generation prompt
	renderedPrompt          // the server renders its template, and goes on from the raw prompt
)

func dialects() map[Dialect]traits {
	return map[Dialect]traits{
		Generic:   {maxField: "max_tokens", usage: true, sampling: true, repeat: "repeat_penalty"},
		OpenAI:    {maxField: "max_completion_tokens", usage: true},
		Azure:     {maxField: "max_completion_tokens", usage: true},
		Anthropic: {maxField: "max_tokens", usage: true, freeform: true},
		VLLM: {
			prefill: continueFlags, maxField: "max_tokens", usage: true, sampling: true,
			repeat: "repetition_penalty", health: "health", count: countVLLM,
		},
		TGI: {prefill: trailingMessage, maxField: "max_tokens", usage: true, health: "health"},
		LlamaServer: {
			prefill: renderedPrompt, maxField: "max_tokens", usage: true, sampling: true,
			repeat: "repeat_penalty", grammar: "grammar", health: "health", ask: askLlamaServer, count: countLlamaServer,
		},
		Ollama: {
			prefill: checkedMessage, maxField: "max_tokens", usage: true,
			health: "api/version", ask: askOllama,
		},
	}
}

// mostSlots is what may be configured, too.
const mostSlots = 4096

// askLlamaServer fills in window, slots and what the model reads.
func askLlamaServer(ctx context.Context, e *Engine, all []lm.Model) {
	var p struct {
		Modalities struct {
			Vision bool `json:"vision"`
		} `json:"modalities"`
		Slots    count `json:"total_slots"`
		Defaults struct {
			Window count `json:"n_ctx"`
		} `json:"default_generation_settings"`
	}
	if err := e.get(ctx, e.root.JoinPath("props"), &p); err != nil {
		e.o.Log.DebugContext(ctx, "llama-server does not tell its properties", "engine", e.o.Name, "error", err)
		return
	}
	for i := range all {
		if p.Defaults.Window > 0 {
			all[i].Window = int(p.Defaults.Window) // of one slot, not of the training
		}
		if p.Slots <= mostSlots {
			all[i].Slots = int(p.Slots)
		}
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
			if n, ok := v.(float64); ok && n > 0 && n <= mostCount && strings.HasSuffix(k, ".context_length") {
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

// countLlamaServer renders the template and counts its tokens.
func countLlamaServer(ctx context.Context, e *Engine, r lm.Request) (int, error) {
	prompt := r.Prompt
	if len(r.Messages) > 0 {
		msgs, err := messages(r)
		if err != nil {
			return 0, err
		}
		if prompt, err = e.render(ctx, msgs); err != nil {
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
		Count count `json:"count"`
	}
	if err := e.post(ctx, e.root.JoinPath("tokenize"), body, &t); err != nil {
		return 0, err
	}
	return int(t.Count), nil
}

// Count asks the servers that can tell.
func (e *Engine) Count(ctx context.Context, r lm.Request) (int, error) {
	if e.d.count == nil {
		return 0, fault.New(fault.Unsupported, "the engine %q can't count tokens before it answers", e.o.Name)
	}
	return e.d.count(ctx, e, r)
}

// Detect asks the server which dialect it speaks, by four short questions at
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
	var info struct {
		Router string `json:"router"`
	}
	if e.get(ctx, e.root.JoinPath("info"), &info) == nil && strings.HasPrefix(info.Router, "text-generation") {
		return TGI, nil
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
	case host == "api.anthropic.com":
		return Anthropic
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

package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// mock is a simulated server: demo's canned engine behind the HTTP manners of
// one dialect. It knows only what the tests here need, and it refuses what the
// real server refuses.
type mock struct {
	t       *testing.T
	dialect Dialect
	key     string
	engine  *demo.Engine
	model   string
	window  int
	closes  bool // its template closes a last assistant message and begins another
	thinks  bool // its generation prompt opens a thought
}

// template is the prompt for messages. Only its end matters here.
func (m *mock) template(ctx context.Context, all []lm.Message) string {
	text := ""
	if n := len(all); n > 0 && all[n-1].Role == lm.Assistant && !m.closes {
		text, all = all[n-1].Text, all[:n-1]
	}
	n, _ := m.engine.Count(ctx, lm.Request{Messages: all})
	prompt := strings.Repeat("t ", n)
	switch {
	case text != "":
		return prompt + text
	case m.thinks:
		return prompt + "<think>\n"
	}
	return prompt
}

func newMock(t *testing.T, d Dialect) (*mock, *httptest.Server) {
	m := &mock{t: t, dialect: d, model: "mock-1", window: 3000}
	m.engine = demo.Canned(demo.CannedOptions{Model: m.model, Words: 4000, Window: m.window, Delay: 200 * time.Microsecond, NoTokens: true})
	mux := http.NewServeMux()
	chat, plain, embed := m.complete(true), m.complete(false), m.embed
	switch d {
	case Azure:
		m.key = "azure-key"
		mux.HandleFunc("POST /openai/deployments/{dep}/chat/completions", m.azure(chat))
		mux.HandleFunc("POST /openai/deployments/{dep}/completions", m.azure(plain))
		mux.HandleFunc("POST /openai/deployments/{dep}/embeddings", m.azure(embed))
		mux.HandleFunc("GET /openai/models", m.azure(m.models))
	default:
		if d == OpenAI {
			m.key = "sk-mock"
		}
		mux.HandleFunc("POST /v1/chat/completions", m.bearer(chat))
		mux.HandleFunc("POST /v1/completions", m.bearer(plain))
		mux.HandleFunc("POST /v1/embeddings", m.bearer(embed))
		mux.HandleFunc("GET /v1/models", m.bearer(m.models))
	}
	m.native(mux)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return m, srv
}

// native are the addresses that only this dialect has.
func (m *mock) native(mux *http.ServeMux) {
	switch m.dialect {
	case LlamaServer:
		mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]string{"status": "ok"}) })
		mux.HandleFunc("GET /props", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, map[string]any{"total_slots": 4, "modalities": map[string]bool{"vision": true, "audio": false}, "default_generation_settings": map[string]any{"n_ctx": m.window}})
		})
		mux.HandleFunc("POST /apply-template", func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Messages []lm.Message }
			m.read(r, &in)
			reply(w, 200, map[string]string{"prompt": m.template(r.Context(), in.Messages)})
		})
		mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Content string }
			m.read(r, &in)
			reply(w, 200, map[string]any{"tokens": make([]int, len(strings.Fields(in.Content)))})
		})
	case VLLM:
		mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]string{"version": "0.11.0"}) })
		mux.HandleFunc("POST /tokenize", func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Messages []lm.Message }
			m.read(r, &in)
			n, _ := m.engine.Count(r.Context(), lm.Request{Messages: in.Messages})
			reply(w, 200, map[string]any{"count": n, "max_model_len": m.window})
		})
	case TGI:
		mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, map[string]any{"model_id": m.model, "router": "text-generation-router", "version": "3.3.4"})
		})
	case Ollama:
		mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]string{"version": "0.12.0"}) })
		mux.HandleFunc("POST /api/show", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, map[string]any{
				"parameters":   "stop \"<|x|>\"\nnum_ctx                        3000\n",
				"capabilities": []string{"completion", "vision"},
				"model_info":   map[string]any{"general.architecture": "llama", "llama.context_length": 131072},
			})
		})
	}
}

func (m *mock) bearer(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if m.key != "" && r.Header.Get("Authorization") != "Bearer "+m.key {
			m.fail(w, 401, "Incorrect API key provided: "+r.Header.Get("Authorization"), "invalid_request_error", "invalid_api_key")
			return
		}
		next(w, r)
	}
}

func (m *mock) azure(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		dep := r.PathValue("dep")
		switch {
		case r.URL.Query().Get("api-version") == "":
			m.fail(w, 404, "Resource not found", "", "404")
		case r.Header.Get("Api-Key") != m.key || r.Header.Get("Authorization") != "":
			m.fail(w, 401, "Access denied due to invalid subscription key", "", "401")
		case dep != "" && dep != m.model:
			m.fail(w, 404, "The API deployment for this resource does not exist.", "", "DeploymentNotFound")
		default:
			next(w, r)
		}
	}
}

func (m *mock) models(w http.ResponseWriter, _ *http.Request) {
	one := map[string]any{"id": m.model, "object": "model", "created": 1}
	switch m.dialect {
	case VLLM:
		one["owned_by"], one["max_model_len"] = "vllm", m.window
	case LlamaServer:
		one["owned_by"], one["meta"] = "llamacpp", map[string]any{"n_ctx_train": 131072}
	case Ollama:
		one["owned_by"] = "library"
	default:
		one["owned_by"] = "system"
	}
	reply(w, 200, map[string]any{"object": "list", "data": []any{one}})
}

type mockRequest struct {
	Model     string            `json:"model"`
	Messages  []json.RawMessage `json:"messages"`
	Prompt    string            `json:"prompt"`
	Stream    bool              `json:"stream"`
	Render    bool              `json:"_debug_render_only"`
	StreamOpt struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens     int   `json:"max_tokens"`
	MaxCompletion int   `json:"max_completion_tokens"`
	Stop          any   `json:"stop"`
	AddPrompt     *bool `json:"add_generation_prompt"`
	Continue      bool  `json:"continue_final_message"`
	Format        struct {
		Type   string `json:"type"`
		Schema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

func (m *mock) read(r *http.Request, v any) []byte {
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		m.t.Errorf("the driver sent %q: %v", b, err)
	}
	return b
}

// request turns what came into a request of the canned engine.
func (m *mock) request(in mockRequest) lm.Request {
	q := lm.Request{Prompt: in.Prompt, Params: lm.Params{MaxTokens: max(in.MaxTokens, in.MaxCompletion)}}
	if list, ok := in.Stop.([]any); ok {
		for _, s := range list {
			q.Params.Stop = append(q.Params.Stop, s.(string))
		}
	}
	for _, raw := range in.Messages {
		var msg lm.Message
		_ = json.Unmarshal(raw, &msg)
		q.Messages = append(q.Messages, msg)
	}
	n := len(q.Messages)
	continues := false
	switch m.dialect {
	case LlamaServer, Ollama, TGI, Anthropic:
		continues = !m.closes && n > 0 && q.Messages[n-1].Role == lm.Assistant
	case VLLM: // without both it closes the assistant's turn and begins a new one
		continues = in.Continue && in.AddPrompt != nil && !*in.AddPrompt
	}
	if continues {
		q.Prefix = &lm.Prefix{Text: q.Messages[n-1].Text, Policy: lm.Prefill}
		q.Messages = q.Messages[:n-1]
	}
	// A raw prompt goes on where it ends.
	if i := strings.Index(q.Prompt, "w0"); i > 0 {
		q.Prefix = &lm.Prefix{Text: q.Prompt[i:], Policy: lm.Prefill}
		q.Prompt = q.Prompt[:i]
	}
	return q
}

func (m *mock) complete(chat bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in mockRequest
		body := m.read(r, &in)
		if m.refuses(w, in, body) {
			return
		}
		if in.Render && m.dialect == Ollama {
			var all []lm.Message
			for _, raw := range in.Messages {
				var msg lm.Message
				_ = json.Unmarshal(raw, &msg)
				all = append(all, msg)
			}
			reply(w, 200, map[string]any{"_debug_info": map[string]string{"rendered_template": m.template(r.Context(), all)}})
			return
		}
		q := m.request(in)
		if in.Format.Type == "json_schema" {
			m.answer(w, chat, in, `{"ok":true}`)
			return
		}
		begun := false
		send := func(choice map[string]any, more map[string]any) error {
			if !begun {
				w.Header().Set("Content-Type", "text/event-stream")
				begun = true
			}
			ev := map[string]any{"id": "x", "object": "chat.completion.chunk", "model": m.model, "choices": []any{}}
			if choice != nil {
				choice["index"] = 0
				ev["choices"] = []any{choice}
			}
			for k, v := range more {
				ev[k] = v
			}
			b, _ := json.Marshal(ev)
			_, err := fmt.Fprintf(w, "data: %s\n\n", b)
			w.(http.Flusher).Flush()
			return err
		}
		if m.dialect == LlamaServer && chat && q.Prefix != nil { // as its recent versions do
			_ = send(m.delta(chat, q.Prefix.Text), nil)
		}
		res, err := m.engine.Generate(r.Context(), q, func(c lm.Chunk) error {
			return send(m.delta(chat, c.Text), nil)
		})
		switch {
		case err != nil && !begun:
			m.refuse(w, err)
			return
		case err != nil:
			panic(http.ErrAbortHandler)
		}
		last := m.delta(chat, "")
		last["finish_reason"] = string(res.Finish)
		_ = send(last, nil)
		if in.StreamOpt.IncludeUsage {
			_ = send(nil, map[string]any{"usage": map[string]int{"prompt_tokens": res.Usage.Prompt, "completion_tokens": res.Usage.Completion}})
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
}

func (m *mock) delta(chat bool, text string) map[string]any {
	if !chat {
		return map[string]any{"text": text, "finish_reason": nil}
	}
	return map[string]any{"delta": map[string]any{"content": text}, "finish_reason": nil}
}

// answer streams a fixed text.
func (m *mock) answer(w http.ResponseWriter, chat bool, _ mockRequest, text string) {
	d := m.delta(chat, text)
	d["index"], d["finish_reason"] = 0, "stop"
	b, _ := json.Marshal(map[string]any{"choices": []any{d}})
	_, _ = fmt.Fprintf(w, "data: %s\n\ndata: [DONE]\n\n", b)
}

// refuses plays what the real servers say no to.
func (m *mock) refuses(w http.ResponseWriter, in mockRequest, body []byte) bool {
	var all map[string]any
	_ = json.Unmarshal(body, &all)
	if m.dialect == OpenAI || m.dialect == Azure {
		for _, k := range []string{"top_k", "min_p", "repeat_penalty", "max_tokens", "continue_final_message", "grammar"} {
			if _, ok := all[k]; ok {
				m.fail(w, 400, "Unrecognized request argument supplied: "+k, "invalid_request_error", "")
				return true
			}
		}
	}
	if n := len(in.Messages); m.dialect == Anthropic && n > 0 && strings.Contains(string(in.Messages[n-1]), `"assistant"`) {
		m.fail(w, 400, "This model does not support assistant message prefill. The conversation must end with a user message.", "invalid_request_error", "")
		return true
	}
	if in.Model != m.model && m.dialect != LlamaServer && m.dialect != TGI {
		m.fail(w, 404, fmt.Sprintf("The model `%s` does not exist", in.Model), "invalid_request_error", "model_not_found")
		return true
	}
	return false
}

// refuse says an error of the canned engine as this server would.
func (m *mock) refuse(w http.ResponseWriter, err error) {
	switch {
	case fault.Is(err, fault.TooLarge) && m.dialect == LlamaServer:
		m.fail(w, 400, "the request exceeds the available context size, try increasing it", "exceed_context_size_error", "400")
	case fault.Is(err, fault.TooLarge):
		m.fail(w, 400, "This model's maximum context length is 3000 tokens.", "invalid_request_error", "context_length_exceeded")
	case fault.Is(err, fault.Canceled):
		panic(http.ErrAbortHandler)
	default:
		m.fail(w, 400, err.Error(), "invalid_request_error", "")
	}
}

func (m *mock) embed(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Model string
		Input []string
	}
	m.read(r, &in)
	vec, use, err := m.engine.Embed(r.Context(), "", in.Input)
	if err != nil {
		m.refuse(w, err)
		return
	}
	data := []any{}
	for i := len(vec) - 1; i >= 0; i-- { // the order is the index's, not the list's
		data = append(data, map[string]any{"index": i, "embedding": vec[i]})
	}
	reply(w, 200, map[string]any{"data": data, "usage": map[string]int{"prompt_tokens": use.Prompt}})
}

func (m *mock) fail(w http.ResponseWriter, status int, msg, kind, code string) {
	e := map[string]any{"message": msg, "type": kind, "code": code}
	if m.dialect == LlamaServer || m.dialect == VLLM {
		e["code"] = status
	}
	reply(w, status, map[string]any{"error": e})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

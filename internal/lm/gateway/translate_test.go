package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// chunk is a part of an answer of the API, streamed or not.
type chunk struct {
	ID, Object, Model string
	Choices           []struct {
		Index   int
		Text    string
		Message struct{ Role, Content string }
		Delta   struct{ Role, Content string }
		Finish  *string `json:"finish_reason"`
	}
	Usage *struct{ Prompt_tokens, Completion_tokens, Total_tokens int }
}

// streamed reads a stream and returns its text, its last reason and usage.
func streamed(t *testing.T, body string) (text, finish string, usage []int, done bool) {
	t.Helper()
	for ev := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		if strings.HasPrefix(ev, ":") {
			continue
		}
		data, ok := strings.CutPrefix(ev, "data: ")
		if !ok {
			t.Fatalf("event %q", ev)
		}
		if data == "[DONE]" {
			return text, finish, usage, true
		}
		var c chunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("event %q: %v", data, err)
		}
		for _, x := range c.Choices {
			text += x.Delta.Content + x.Text
			if x.Finish != nil {
				finish = *x.Finish
			}
		}
		if c.Usage != nil {
			usage = []int{c.Usage.Prompt_tokens, c.Usage.Completion_tokens, c.Usage.Total_tokens}
		}
	}
	return text, finish, usage, false
}

const hello = `"messages":[{"role":"user","content":"hello there"}]`

func TestTranslatedAnswers(t *testing.T) {
	url := serve(t, gateway.Options{}, demo.Canned(demo.CannedOptions{Words: 8, Schema: true}))
	for _, c := range []struct {
		name, path, body, text, finish string
		usage                          []int
	}{
		{"chat", chatPath, `{` + hello + `}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"default model", chatPath, `{"model":"",` + hello + `}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"limit", chatPath, `{"model":"canned","max_tokens":3,` + hello + `}`, demo.Words(3), "length", []int{6, 3, 9}},
		{"new limit", chatPath, `{"max_completion_tokens":2,"max_tokens":5,` + hello + `}`, demo.Words(2), "length", []int{6, 2, 8}},
		{"stop", chatPath, `{"stop":"w3",` + hello + `}`, demo.Words(3), "stop", []int{6, 4, 10}},
		{"stops", chatPath, `{"stop":["zz","2 w3 "],` + hello + `}`, "w0 w1 w", "stop", []int{6, 4, 10}},
		{"parts", chatPath, `{"messages":[{"role":"developer","content":[{"type":"text","text":"a "},{"type":"text","text":"b"}]}]}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"unknown fields", chatPath, `{"user":"u","metadata":{"a":1},"store":true,"n":1,"logprobs":false,"tools":[],` + hello + `}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"tools that may not be called", chatPath, `{"tools":[{"type":"function"}],"tool_choice":"none",` + hello + `}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"format", chatPath, `{"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}},` + hello + `}`, demo.Words(8), "stop", []int{6, 8, 14}},
		{"plain", "/v1/completions", `{"prompt":"once upon","max_tokens":5}`, demo.Words(5), "length", []int{3, 5, 8}},
		{"plain by default short", "/v1/completions", `{"prompt":["once upon"]}`, demo.Words(8), "stop", []int{3, 8, 11}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body, err := post(t, url+c.path, c.body)
			var got chunk
			if err != nil || resp.StatusCode != 200 || json.Unmarshal([]byte(body), &got) != nil || len(got.Choices) != 1 {
				t.Fatalf("%d %s %v", resp.StatusCode, body, err)
			}
			x := got.Choices[0]
			if text := x.Message.Content + x.Text; text != c.text || *x.Finish != c.finish {
				t.Errorf("got %q (%s), want %q (%s)", text, *x.Finish, c.text, c.finish)
			}
			if d := cmp.Diff(c.usage, []int{got.Usage.Prompt_tokens, got.Usage.Completion_tokens, got.Usage.Total_tokens}); d != "" {
				t.Error(d)
			}
			resp, body, err = post(t, url+c.path, strings.Replace(c.body, "{", `{"stream":true,"stream_options":{"include_usage":true},`, 1))
			if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
				t.Fatalf("%v %s %v", resp.Header, body, err)
			}
			text, finish, usage, done := streamed(t, body)
			if text != c.text || finish != c.finish || !done {
				t.Errorf("streamed %q (%s, %v), want %q (%s)", text, finish, done, c.text, c.finish)
			}
			if d := cmp.Diff(c.usage, usage); d != "" {
				t.Error(d)
			}
		})
	}
}

// The exact form of a stream, as clients read it.
func TestTranslatedStreamForm(t *testing.T) {
	url := serve(t, gateway.Options{}, demo.Canned(demo.CannedOptions{Words: 1}))
	_, body, err := post(t, url+chatPath, `{"stream":true,`+hello+`}`)
	if err != nil {
		t.Fatal(err)
	}
	var first chunk
	line, _, _ := strings.Cut(strings.TrimPrefix(body, "data: "), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil {
		t.Fatal(err)
	}
	var created struct{ Created json.Number }
	_ = json.Unmarshal([]byte(line), &created)
	want := ""
	for _, c := range []string{
		`{"index":0,"delta":{"content":"","role":"assistant"},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{"content":"w0 "},"logprobs":null,"finish_reason":null}`,
		`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}`,
	} {
		want += `data: {"id":"` + first.ID + `","object":"chat.completion.chunk","created":` + created.Created.String() + `,"model":"canned","choices":[` + c + "]}\n\n"
	}
	if d := cmp.Diff(want+"data: [DONE]\n\n", body); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(first.ID, "chatcmpl-") {
		t.Errorf("id %q", first.ID)
	}
}

func TestBadInput(t *testing.T) {
	url := serve(t, gateway.Options{MaxBody: 1 << 20}, demo.Canned(demo.CannedOptions{}))
	for _, c := range []struct {
		name, path, body string
		status           int
		code             string
	}{
		{"empty", chatPath, ``, 400, "invalid"},
		{"truncated", chatPath, `{"messages":[{"role":"us`, 400, "invalid"},
		{"not an object", chatPath, `[]`, 400, "invalid"},
		{"two values", chatPath, `{} {}`, 400, "invalid"},
		{"no JSON", chatPath, `hello`, 400, "invalid"},
		{"bad number", chatPath, `{"temperature":01,` + hello + `}`, 400, "invalid"},
		{"bad UTF-8", chatPath, "{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", 400, "invalid"},
		{"too big", chatPath, `{"x":"` + strings.Repeat("x", 10<<20) + `"}`, 413, "request_too_large"},
		{"deep", chatPath, `{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`, 400, "invalid"},
		{"model twice", chatPath, `{"model":"canned","model":"other"}`, 400, "invalid"},
		{"model of another type", chatPath, `{"model":7,` + hello + `}`, 400, "invalid"},
		{"stream of another type", chatPath, `{"stream":"yes",` + hello + `}`, 400, "invalid"},
		{"unknown model", chatPath, `{"model":"gpt-9",` + hello + `}`, 404, "model_not_found"},
		{"no messages", chatPath, `{}`, 400, "invalid"},
		{"messages of another type", chatPath, `{"messages":"hello"}`, 400, "invalid"},
		{"message of another type", chatPath, `{"messages":["hello"]}`, 400, "invalid"},
		{"content of another type", chatPath, `{"messages":[{"role":"user","content":{"a":1}}]}`, 400, "invalid"},
		{"no content", chatPath, `{"messages":[{"role":"user"}]}`, 400, "invalid"},
		{"unknown role", chatPath, `{"messages":[{"role":"wizard","content":"x"}]}`, 400, "invalid"},
		{"temperature", chatPath, `{"temperature":9,` + hello + `}`, 400, "invalid"},
		{"temperature of another type", chatPath, `{"temperature":"hot",` + hello + `}`, 400, "invalid"},
		{"max_tokens", chatPath, `{"max_tokens":0,` + hello + `}`, 400, "invalid"},
		{"stop of another type", chatPath, `{"stop":7,` + hello + `}`, 400, "invalid"},
		{"too many stops", chatPath, `{"stop":["` + strings.Repeat(`x","`, 20) + `"],` + hello + `}`, 400, "invalid"},
		{"image", chatPath, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, 400, "unsupported"},
		{"tools", chatPath, `{"tools":[{"type":"function"}],` + hello + `}`, 400, "unsupported"},
		{"tools of another type", chatPath, `{"tools":{},` + hello + `}`, 400, "invalid"},
		{"schema of another type", chatPath, `{"response_format":{"type":"text","json_schema":{"schema":[]}},` + hello + `}`, 400, "invalid"},
		{"n", chatPath, `{"n":2,` + hello + `}`, 400, "unsupported"},
		{"logprobs", chatPath, `{"logprobs":true,` + hello + `}`, 400, "unsupported"},
		{"schema that the engine can't keep", chatPath, `{"response_format":{"type":"json_object"},` + hello + `}`, 400, "unsupported"},
		{"bad schema", chatPath, `{"response_format":{"type":"json_schema"},` + hello + `}`, 400, "invalid"},
		{"too long", chatPath, `{"messages":[{"role":"user","content":"` + demo.Words(5000) + `"}]}`, 400, "context_length_exceeded"},
		{"no prompt", "/v1/completions", `{}`, 400, "invalid"},
		{"two prompts", "/v1/completions", `{"prompt":["a","b"]}`, 400, "unsupported"},
		{"token ids", "/v1/completions", `{"prompt":[1,2]}`, 400, "unsupported"},
		{"no input", "/v1/embeddings", `{"model":"canned"}`, 400, "invalid"},
		{"input of another type", "/v1/embeddings", `{"input":{"a":1}}`, 400, "invalid"},
		{"input of ids", "/v1/embeddings", `{"input":[[1,2]]}`, 400, "unsupported"},
		{"no such address", "/v1/wizardry", `{}`, 404, "unknown_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body, err := post(t, url+c.path, c.body)
			if err != nil || resp.StatusCode != c.status {
				t.Fatalf("%d %.300s %v, want %d", resp.StatusCode, body, err, c.status)
			}
			wantError(t, body, c.code)
		})
	}
	resp, err := http.Get(url + chatPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", resp.StatusCode, resp.Header)
	}
}

// An engine that dies in mid-answer: by every policy that continues the client
// sees one whole answer; by the others a clear error and no clean end.
func TestEngineDies(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     demo.CannedOptions
		fault demo.Fault
		body  string
		whole bool
	}{
		{"exact", demo.CannedOptions{}, demo.Fault{Kind: demo.Cut, After: 5, Times: 3}, ``, true},
		{"quick", demo.CannedOptions{Resume: lm.Quick}, demo.Fault{Kind: demo.Cut, After: 5, Times: 2}, ``, true},
		{"prefill", demo.CannedOptions{NoTokens: true}, demo.Fault{Kind: demo.Cut, After: 5, Times: 3}, ``, true},
		{"before the first token", demo.CannedOptions{Resume: lm.Restart}, demo.Fault{Kind: demo.Cut, Times: 2}, ``, true},
		{"with a limit", demo.CannedOptions{}, demo.Fault{Kind: demo.Cut, After: 5, Times: 3}, `"max_tokens":20,`, true},
		{"prefill with a limit", demo.CannedOptions{NoTokens: true}, demo.Fault{Kind: demo.Cut, After: 5, Times: 3}, `"max_tokens":20,`, true},
		{"with a stop string", demo.CannedOptions{}, demo.Fault{Kind: demo.Cut, After: 5, Times: 1}, `"stop":"w5 w6",`, true},
		{"half a character", demo.CannedOptions{Answer: func(lm.Request) string { return strings.Repeat("é猫 ", 10) }}, demo.Fault{Kind: demo.Cut, After: 3, Times: 3}, ``, true},
		{"restart", demo.CannedOptions{Resume: lm.Restart}, demo.Fault{Kind: demo.Cut, After: 5, Times: 1}, ``, false},
		{"fail", demo.CannedOptions{Resume: lm.Fail}, demo.Fault{Kind: demo.Cut, After: 5, Times: 1}, ``, false},
		{"again and again", demo.CannedOptions{}, demo.Fault{Kind: demo.Cut, After: 5}, ``, true},
		{"after every word", demo.CannedOptions{Answer: func(lm.Request) string { return strings.Repeat("word ", 100) }}, demo.Fault{Kind: demo.Cut, After: 1}, ``, false},
		{"prefill of a schema", demo.CannedOptions{NoTokens: true, Schema: true}, demo.Fault{Kind: demo.Cut, After: 5, Times: 1}, `"response_format":{"type":"json_object"},`, false},
		{"busy in the middle", demo.CannedOptions{}, demo.Fault{Kind: demo.Refuse, After: 5, Times: 1}, ``, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.o.Answer == nil {
				c.o.Words = 40
			}
			e := demo.Canned(c.o)
			url := serve(t, gateway.Options{Recover: time.Second}, e)
			request := `{"stream":true,"stream_options":{"include_usage":true},` + c.body + hello + `}`
			_, undisturbed, err := post(t, url+chatPath, request)
			if err != nil {
				t.Fatal(err)
			}
			want, wantFinish, wantUsage, _ := streamed(t, undisturbed)
			e.SetFault(c.fault)
			_, body, err := post(t, url+chatPath, request)
			if c.whole {
				text, finish, usage, done := streamed(t, body)
				if err != nil || text != want || finish != wantFinish || !done {
					t.Errorf("%v %q (%s), want %q (%s)", err, text, finish, want, wantFinish)
				}
				if d := cmp.Diff(wantUsage, usage); d != "" && c.name != "before the first token" {
					t.Errorf("usage: %s", d)
				}
				return
			}
			if err == nil {
				t.Error("a clean end")
			}
			i := strings.Index(body, `data: {"error"`)
			if i < 0 {
				t.Fatalf("no error event in %q", body)
			}
			if text, _, _, done := streamed(t, body[:i]); done || text == "" || !strings.HasPrefix(want, text) {
				t.Errorf("text %q before the error", text)
			}
		})
	}
}

func TestEngineRefuses(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Fault: demo.Fault{Kind: demo.Refuse}})
	url := serve(t, gateway.Options{}, e)
	resp, body, _ := post(t, url+chatPath, `{"stream":true,`+hello+`}`)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	wantError(t, body, "rate_limit_exceeded")
}

func TestEmbeddings(t *testing.T) {
	url := serve(t, gateway.Options{}, demo.Canned(demo.CannedOptions{}))
	type answer struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Usage struct{ Total_tokens int }
	}
	var floats, packed answer
	for format, to := range map[string]*answer{"float": &floats, "base64": &packed} {
		resp, body, _ := post(t, url+"/v1/embeddings", `{"input":["a b","c"],"encoding_format":"`+format+`"}`)
		if err := json.Unmarshal([]byte(body), to); err != nil || resp.StatusCode != 200 || len(to.Data) != 2 || to.Usage.Total_tokens != 3 {
			t.Fatalf("%s: %d %s", format, resp.StatusCode, body)
		}
	}
	var v []float32
	var s string
	if json.Unmarshal(floats.Data[1].Embedding, &v) != nil || json.Unmarshal(packed.Data[1].Embedding, &s) != nil {
		t.Fatalf("%s %s", floats.Data[1].Embedding, packed.Data[1].Embedding)
	}
	if b, err := base64.StdEncoding.DecodeString(s); err != nil || len(b) != 4*len(v) {
		t.Errorf("%d bytes for %d values, %v", len(b), len(v), err)
	}
}

func TestModels(t *testing.T) {
	url := serve(t, gateway.Options{}, demo.Canned(demo.CannedOptions{Model: "a", Window: 100}), demo.New(demo.Options{Model: "b/c"}))
	for path, want := range map[string]string{
		"/v1/models":     `{"data":[{"id":"a","object":"model","created":0,"owned_by":"parley","max_model_len":100},{"id":"b/c","object":"model","created":0,"owned_by":"parley","max_model_len":1048576,"demo":true}],"object":"list"}`,
		"/v1/models/b/c": `{"id":"b/c","object":"model","created":0,"owned_by":"parley","max_model_len":1048576,"demo":true}`,
	} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if d := cmp.Diff(want, string(b)); d != "" {
			t.Error(d)
		}
	}
	resp, err := http.Get(url + "/v1/models/none")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 404 {
		t.Errorf("%d", resp.StatusCode)
	}
	wantError(t, string(b), "model_not_found")
}

// Pooled memory must never mix two requests up.
func TestManyAtOnce(t *testing.T) {
	base := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if bytes.Contains(b, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 3 {
				_, _ = w.Write(append(append([]byte("data: "), b...), "\n\n"...))
				w.(http.Flusher).Flush()
			}
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
			return
		}
		_, _ = w.Write(b)
	})
	url := serve(t, gateway.Options{}, driver(t, openai.Options{BaseURL: base}))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for k := range 25 {
				pad := strings.Repeat(string(rune('a'+i)), 1+(k*977)%9000)
				body := `{"model":"m","stream":false,"x":"` + pad + `"}`
				want := body
				if k%2 == 0 {
					body = `{"model":"m","stream":true,"x":"` + pad + `"}`
					want = strings.Repeat("data: "+body+"\n\n", 3) + "data: [DONE]\n\n"
				}
				if _, got, err := post(t, url+chatPath, body); err != nil || got != want {
					t.Errorf("request %d/%d: %d bytes, want %d (%v)", i, k, len(got), len(want), err)
				}
			}
		})
	}
	wg.Wait()
}

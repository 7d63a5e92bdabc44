package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/lmtest"
)

// Against simulated servers, see mock.
func TestDialectsKeepTheContract(t *testing.T) {
	for _, row := range Continuations() {
		d := row.Dialect
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			o := lmtest.Options{
				Open: func(t *testing.T) lm.Engine {
					m, srv := newMock(t, d)
					e, err := New(Options{BaseURL: srv.URL, Dialect: d, Model: m.model, Key: func() string { return m.key }})
					if err != nil {
						t.Fatal(err)
					}
					return e
				},
				Deterministic: true, BatchEqual: true, Usage: true, Embeddings: true, RawPrompt: true, Schema: d != Anthropic,
				KnowsModels: d != LlamaServer && d != TGI, Count: d == LlamaServer || d == VLLM, TooLong: demo.Words(4000),
			}
			if row.Chat == lm.Prefill {
				o.Resume = []lm.Policy{lm.Prefill}
				o.Equal = o.Resume
			}
			lmtest.Run(t, o)
		})
	}
}

// A real llama-server, or whatever else PARLEY_LLAMA_SERVER points to.
func TestRealServer(t *testing.T) {
	url := os.Getenv("PARLEY_LLAMA_SERVER")
	if os.Getenv("PARLEY_TEST_REAL") == "" || url == "" {
		t.Skip("needs PARLEY_TEST_REAL=1 and PARLEY_LLAMA_SERVER=http://host:port of a running llama-server")
	}
	d, err := Detect(t.Context(), Options{BaseURL: url})
	if err != nil || d != LlamaServer {
		t.Fatalf("detected %q, %v", d, err)
	}
	lmtest.Run(t, lmtest.Options{
		Open: func(t *testing.T) lm.Engine {
			e, err := New(Options{BaseURL: url, Dialect: d})
			if err != nil {
				t.Fatal(err)
			}
			return e
		},
		Deterministic: true, Usage: true, Count: true, RawPrompt: true, Schema: true,
		Resume: []lm.Policy{lm.Prefill}, TooLong: strings.Repeat("lighthouse ", 40000), Answer: time.Minute,
	})
}

func TestDetect(t *testing.T) {
	for _, d := range []Dialect{VLLM, LlamaServer, Ollama, TGI, Generic} {
		_, srv := newMock(t, d)
		for _, base := range []string{srv.URL, srv.URL + "/", srv.URL + "/v1"} {
			got, err := Detect(t.Context(), Options{BaseURL: base})
			if err != nil || got != d {
				t.Errorf("%s: got %q, %v; want %q", base, got, err, d)
			}
		}
	}
	for base, want := range map[string]Dialect{"https://api.openai.com/v1": OpenAI, "https://x.openai.azure.com": Azure, "https://api.anthropic.com/v1": Anthropic} {
		if got, err := Detect(t.Context(), Options{BaseURL: base, Model: "m"}); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", base, got, err, want)
		}
	}
	dead := httptest.NewServer(http.NotFoundHandler())
	if got, err := Detect(t.Context(), Options{BaseURL: dead.URL}); err != nil || got != Generic {
		t.Errorf("a server without the API: %q, %v", got, err)
	}
	dead.Close()
	if _, err := Detect(t.Context(), Options{BaseURL: dead.URL}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no server: %v", err)
	}
}

func TestModelsTellTheWindow(t *testing.T) {
	for _, c := range []struct {
		d    Dialect
		want lm.Model
	}{
		{VLLM, lm.Model{ID: "mock-1", Window: 3000, Resume: lm.Prefill}},
		{LlamaServer, lm.Model{ID: "mock-1", Window: 3000, Slots: 4, Resume: lm.Prefill, Vision: true}},
		{Ollama, lm.Model{ID: "mock-1", Window: 3000, Resume: lm.Prefill, Vision: true}},
		{Generic, lm.Model{ID: "mock-1", Resume: lm.Restart}},
	} {
		_, srv := newMock(t, c.d)
		e := open(t, Options{BaseURL: srv.URL, Dialect: c.d})
		got, err := e.Models(t.Context())
		if d := cmp.Diff([]lm.Model{c.want}, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", c.d, err, d)
		}
	}
}

// What services tell of pictures in their lists of models, each in its own form.
func TestModelsTellWhoSees(t *testing.T) {
	for list, want := range map[string][]bool{
		`{"id":"a","capabilities":{"completion_chat":true,"vision":true}},{"id":"b","capabilities":{"vision":false}}`:                     {true, false},
		`{"id":"a","architecture":{"modality":"text+image->text","input_modalities":["text","image"]}},{"id":"b","architecture":"llama"}`: {true, false},
		`{"id":"a","capabilities":["completion"]},{"id":"b","capabilities":{"vision":"maybe"}},{"id":"c"}`:                                {false, false, false},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"object":"list","data":[`+list+`]}`)
		}))
		e := open(t, Options{BaseURL: srv.URL})
		all, err := e.Models(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for _, m := range all {
			got = append(got, m.Vision)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", list, d)
		}
		srv.Close()
	}
}

func open(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func ask(ctx context.Context, e *Engine) (string, lm.Result, error) {
	var b strings.Builder
	res, err := e.Generate(ctx, lm.Request{Model: "m", Messages: []lm.Message{{Role: lm.User, Text: "hi"}}}, func(c lm.Chunk) error {
		b.WriteString(c.Text)
		return nil
	})
	return b.String(), res, err
}

func TestPicturesGoAsParts(t *testing.T) {
	var got struct {
		Messages []json.RawMessage `json:"messages"`
		Render   bool              `json:"_debug_render_only"`
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Messages, got.Render = nil, false
		_ = json.NewDecoder(r.Body).Decode(&got)
		if got.Render {
			_, _ = io.WriteString(w, `{"_debug_info":{"rendered_template":"user: What is it? A"}}`)
			return
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" cat\"},\"finish_reason\":\"stop\"}]}\n\n")
	}))
	defer srv.Close()
	cut := &lm.Prefix{Text: "A", Policy: lm.Prefill}
	for _, d := range []Dialect{OpenAI, VLLM, LlamaServer, Ollama} {
		e := open(t, Options{BaseURL: srv.URL, Dialect: d, Resume: lm.Prefill})
		r := lm.Request{Model: "m", Prefix: cut, Messages: []lm.Message{
			{Role: lm.User, Text: "What is it?", Pictures: []lm.Picture{{Type: "image/png", Content: []byte("\x89PNG")}}},
		}}
		if _, err := e.Generate(t.Context(), r, func(lm.Chunk) error { return nil }); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		want := `{"content":[{"image_url":{"url":"data:image/png;base64,iVBORw=="},"type":"image_url"},{"text":"What is it?","type":"text"}],"role":"user"}`
		if len(got.Messages) != 2 || string(got.Messages[0]) != want || string(got.Messages[1]) != `{"role":"assistant","content":"A"}` {
			t.Errorf("%s: %s", d, got.Messages)
		}
	}
}

// What servers really send: every line is a whole answer of the server.
func TestStreams(t *testing.T) {
	const a, b = `{"choices":[{"index":0,"delta":{"content":"Hel"}}]}`, `{"choices":[{"index":0,"delta":{"content":"lo"}}]}`
	const fin = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	for _, c := range []struct {
		name, body, text string
		finish           lm.Finish
		code             fault.Code
	}{
		{"usual", "data: " + a + "\n\ndata: " + b + "\n\ndata: " + fin + "\n\ndata: [DONE]\n\n", "Hello", lm.FinishStop, ""},
		{"CRLF, no space, comments", ": hi\r\n\r\ndata:" + a + "\r\n\r\n:\r\nevent: x\r\ndata:" + b + "\r\n\r\ndata:" + fin + "\r\n\r\ndata:[DONE]\r\n\r\n", "Hello", lm.FinishStop, ""},
		{"byte order mark, CR", "\ufeffdata: " + a + "\r\rdata: " + fin + "\r\r", "Hel", lm.FinishStop, ""},
		{"no DONE after a finish", "data: " + a + "\n\ndata: " + fin + "\n\n", "Hel", lm.FinishStop, ""},
		{"no empty line at the end", "data: " + a + "\n\ndata: " + fin, "Hel", lm.FinishStop, ""},
		{"cut", "data: " + a + "\n\n", "Hel", "", fault.Unavailable},
		{"nothing at all", "", "", "", fault.Unavailable},
		{"error in the stream", "data: " + a + "\n\ndata: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n", "Hel", "", fault.Unavailable},
		{"limit in the stream", "data: {\"error\":{\"message\":\"slow down\",\"code\":\"429\"}}\n\n", "", "", fault.Limited},
		{"a late refusal", "data: " + a + "\n\ndata: {\"error\":{\"message\":\"no\",\"code\":400}}\n\n", "Hel", "", fault.Unavailable},
		{"an early refusal", "data: {\"error\":{\"message\":\"no\",\"code\":400}}\n\n", "", "", fault.Invalid},
		{"error as a string", "data: " + a + "\n\ndata: {\"error\":\"boom\"}\n\n", "Hel", "", fault.Unavailable},
		{"garbage", "data: " + a + "\n\ndata: <html>\n\n", "Hel", "", fault.Unavailable},
		{"wrong types", "data: {\"choices\":\"no\"}\n\n", "", "", fault.Unavailable},
		{"another choice", "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"}}]}\n\ndata: " + fin + "\n\n", "", lm.FinishStop, ""},
		{"null content", "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\ndata: " + fin + "\n\n", "", lm.FinishStop, ""},
		{"a huge line", "data: " + strings.Repeat("x", eventLimit+10) + "\n\n", "", "", fault.Unavailable},
		{"text after the finish", "data: " + fin + "\n\ndata: " + a + "\n\ndata: [DONE]\n\n", "", lm.FinishStop, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, c.body)
			}))
			defer srv.Close()
			text, res, err := ask(t.Context(), open(t, Options{BaseURL: srv.URL}))
			if text != c.text || res.Finish != c.finish || fault.CodeOf(err) != c.code {
				t.Errorf("%q %q %v; want %q %q %q", text, res.Finish, err, c.text, c.finish, c.code)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const key = "sk-very-secret"
	for _, c := range []struct {
		status int
		header string
		body   string
		want   fault.Code
		after  time.Duration
	}{
		{400, "", `{"error":{"message":"bad"}}`, fault.Invalid, 0},
		{400, "", `{"error":{"message":"x","code":"context_length_exceeded"}}`, fault.TooLarge, 0},
		{400, "", `{"object":"error","message":"This model's maximum context length is 4096 tokens"}`, fault.TooLarge, 0},
		{401, "", `{"error":{"message":"wrong key ` + key + `"}}`, fault.Unavailable, 0},
		{404, "", `{"error":{"message":"no model for ` + key + `"}}`, fault.NotFound, 0},
		{413, "", ``, fault.TooLarge, 0},
		{422, "", `{"detail":[{"msg":"field required"}]}`, fault.Invalid, 0},
		{429, "7", `{"error":{"message":"slow down"}}`, fault.Limited, 7 * time.Second},
		{429, "0.5", `{"error":"slow down"}`, fault.Limited, 500 * time.Millisecond},
		{500, "", `<html>` + key + `</html>`, fault.Unavailable, 0},
		{501, "", `{"error":{"message":"not here"}}`, fault.Unsupported, 0},
		{503, "3", `{"error":{"message":"Loading model"}}`, fault.Unavailable, 3 * time.Second},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		_, _, err := ask(t.Context(), open(t, Options{BaseURL: srv.URL, Key: func() string { return key }}))
		if !fault.Is(err, c.want) || fault.RetryAfterOf(err) != c.after {
			t.Errorf("%d %s: %v (%s, after %v), want %s after %v", c.status, c.body, err, fault.CodeOf(err), fault.RetryAfterOf(err), c.want, c.after)
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), key) {
			t.Errorf("%d: the key is in %v", c.status, err)
		}
		srv.Close()
	}
}

func TestKeyNeverGoesToAnotherHost(t *testing.T) {
	for name, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			var leaked string
			other := start(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("Api-Key") + "!" }))
			defer other.Close()
			srv := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			}))
			defer srv.Close()
			e := open(t, Options{BaseURL: srv.URL, Dialect: Azure, Model: "m", Key: func() string { return "sk-x" }})
			if tr, ok := e.rt.(*http.Transport); ok {
				tr.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig // trusts the test's certificate
			}
			_, _, err := ask(t.Context(), e)
			if !fault.Is(err, fault.Unavailable) || leaked != "" {
				t.Errorf("%v, the other host saw %q", err, leaked)
			}
		})
	}
}

func TestStall(t *testing.T) {
	for _, first := range []bool{true, false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !first {
				_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n")
				w.(http.Flusher).Flush()
			}
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}))
		_, _, err := ask(t.Context(), open(t, Options{BaseURL: srv.URL, First: 50 * time.Millisecond, Stall: 50 * time.Millisecond}))
		if !fault.Is(err, fault.Timeout) {
			t.Errorf("before the first byte %v: %v", first, err)
		}
		srv.Close()
	}
}

func TestRawMessagesAndSchemaGoOnUntouched(t *testing.T) {
	var got map[string]json.RawMessage
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&got)
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n")
	}))
	defer srv.Close()
	raw := `{"role":"user","content":[{"type":"text","text":"hi"}],"name":"ann"}`
	e := open(t, Options{BaseURL: srv.URL})
	res, err := e.Generate(t.Context(), lm.Request{
		Model: "m", Messages: []lm.Message{{Raw: json.RawMessage(raw)}},
		Params: lm.Params{Schema: json.RawMessage(`{"type":"object"}`), MaxTokens: 9},
	}, func(lm.Chunk) error { return nil })
	if err != nil || res.Finish != lm.FinishTools {
		t.Fatalf("%+v, %v", res, err)
	}
	if d := cmp.Diff("["+raw+"]", string(got["messages"])); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(`{"json_schema":{"name":"answer","schema":{"type":"object"},"strict":true},"type":"json_schema"}`, string(got["response_format"])); d != "" {
		t.Error(d)
	}
	if string(got["max_tokens"]) != "9" {
		t.Errorf("max_tokens %s", got["max_tokens"])
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{},
		{BaseURL: "ftp://x"},
		{BaseURL: "http://user:pass@x"},
		{BaseURL: "http://x", Dialect: "klingon"},
		{BaseURL: "https://x.openai.azure.com", Dialect: Azure},
	} {
		if _, err := New(o); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// A server may send the answer so far back before it goes on, or not.
func TestEchoOfAContinuation(t *testing.T) {
	const sofar = "The story of a lighthouse"
	for _, c := range []struct{ name, sofar, sent, want string }{
		{"none", sofar, " and a|storm", " and astorm"},
		{"whole", sofar, sofar + "| and", " and"},
		{"in pieces", sofar, "The sto|ry of a light|house and| a", " and a"},
		{"looks like one", sofar, "The story| of a boat", "The story of a boat"},
		{"ends like one", sofar, "The story", "The story"},
		{"too short to tell", "ha ", "ha |ha", "ha ha"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for s := range strings.SplitSeq(c.sent, "|") {
					b, _ := json.Marshal(s)
					_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%s}}]}\n\n", b)
				}
				_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
			}))
			defer srv.Close()
			e := open(t, Options{BaseURL: srv.URL, Resume: lm.Prefill})
			got := ""
			_, err := e.Generate(t.Context(), lm.Request{
				Model: "m", Messages: []lm.Message{{Role: lm.User, Text: "x"}},
				Prefix: &lm.Prefix{Text: c.sofar, Policy: lm.Prefill},
			}, func(k lm.Chunk) error { got += k.Text; return nil })
			if err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// A server that stalls in the middle ends a request that goes through, too.
func TestStallBelowTheGateway(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "piece")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	plain, tls := httptest.NewServer(h), httptest.NewTLSServer(h)
	defer plain.Close()
	defer tls.Close()
	for _, base := range []string{plain.URL, tls.URL} {
		e := open(t, Options{BaseURL: base, First: 5 * time.Second, Stall: 30 * time.Millisecond})
		up, err := e.Upstream("chat/completions", "m")
		if err != nil {
			t.Fatal(err)
		}
		if e.own == nil {
			up.Transport = patientTransport{tls.Client().Transport, e.o.Stall} // trusts the test's certificate
		}
		req, _ := http.NewRequestWithContext(t.Context(), "POST", up.URL.String(), strings.NewReader("{}"))
		resp, err := up.Transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", base, err)
		}
		var slow interface{ Timeout() bool }
		b, err := io.ReadAll(resp.Body)
		if string(b) != "piece" || !errors.As(err, &slow) || !slow.Timeout() {
			t.Errorf("%s: %q, %v", base, b, err)
		}
		_ = resp.Body.Close()
	}
}

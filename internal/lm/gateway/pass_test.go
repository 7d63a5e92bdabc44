package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// serve starts a gateway over engines.
func serve(t *testing.T, o gateway.Options, engines ...lm.Engine) string {
	t.Helper()
	if o.Catalog == nil {
		o.Catalog = gateway.Engines(engines...)
	}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return srv.URL
}

// upstream starts a simulated server of OpenAI's API: chat answers as given,
// the list of models has the one that is named m.
func upstream(t *testing.T, chat http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":[{"id":"m"}]}`)
	})
	mux.HandleFunc("/", chat)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

func driver(t *testing.T, o openai.Options) *openai.Engine {
	t.Helper()
	e, err := openai.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// stock gives an engine net/http's own transport, as https has.
type stock struct{ *openai.Engine }

func (s stock) Upstream(op gateway.Op, model string) (gateway.Upstream, error) {
	up, err := s.Engine.Upstream(op, model)
	up.Transport = http.DefaultTransport
	return up, err
}

// each runs a test over both transports.
func each(t *testing.T, chat http.HandlerFunc, o openai.Options, f func(t *testing.T, url string)) {
	t.Helper()
	o.BaseURL = upstream(t, chat)
	e := driver(t, o)
	t.Run("own", func(t *testing.T) { f(t, serve(t, gateway.Options{}, e)) })
	t.Run("net/http", func(t *testing.T) { f(t, serve(t, gateway.Options{}, stock{e})) })
}

func post(t *testing.T, url, body string, header ...string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

const chatPath = "/v1/chat/completions"

func TestPassThroughIsByteForByte(t *testing.T) {
	const body = "{ \"tools\":[{\"type\":\"function\"}],\r\n \"x\": 1e400, \"model\" : \"m\", \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\\ud83d\\ude00\"}]}"
	const answer = "{\"choices\" : [ {\"message\":{\"tool_calls\":[]}} ],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n"
	var got *http.Request
	var gotBody []byte
	each(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		gotBody, _ = io.ReadAll(r.Body)
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Request-Cost", "1")
		h.Set("Set-Cookie", "a=b")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Keep-Alive", "timeout=5")
		_, _ = io.WriteString(w, answer)
	}, openai.Options{Key: func() string { return "engine-key" }, Header: map[string]string{"X-Ours": "1"}}, func(t *testing.T, url string) {
		resp, b, err := post(t, url+chatPath, body, "Authorization", "Bearer client-key", "Cookie", "s=1", "X-Api-Key", "k",
			"OpenAI-Beta", "x=1", "Connection", "X-Hop", "X-Hop", "1", "X-Conversation", "c1")
		if err != nil || resp.StatusCode != 200 || b != answer {
			t.Fatalf("%d %q %v", resp.StatusCode, b, err)
		}
		if d := cmp.Diff(body, string(gotBody)); d != "" {
			t.Error(d)
		}
		want := http.Header{
			"Authorization": {"Bearer engine-key"}, "X-Ours": {"1"}, "Openai-Beta": {"x=1"}, "X-Conversation": {"c1"},
			"Content-Type": {"application/json"}, "Content-Length": {"135"}, "User-Agent": {"Go-http-client/1.1"},
		}
		got.Header.Del("Accept-Encoding") // net/http's transport may add its own
		want.Set("Content-Length", got.Header.Get("Content-Length"))
		if d := cmp.Diff(want, got.Header); d != "" {
			t.Error(d)
		}
		for k, v := range map[string]string{"X-Request-Cost": "1", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "Keep-Alive": ""} {
			if resp.Header.Get(k) != v {
				t.Errorf("%s is %q, want %q", k, resp.Header.Get(k), v)
			}
		}
	})
}

// The client's key is for us, whether the engine has one or not.
func TestClientsKeyStaysHere(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Header)
	}, openai.Options{}, func(t *testing.T, url string) {
		_, body, _ := post(t, url+chatPath, `{"model":"m"}`, "Authorization", "Bearer our-secret", "Cookie", "our-secret",
			"Api-Key", "our-secret", "X-Api-Key", "our-secret", "Proxy-Authorization", "our-secret")
		if strings.Contains(body, "our-secret") || !strings.Contains(body, "Content-Type") {
			t.Errorf("the engine saw %s", body)
		}
	})
}

func TestPassThroughOfAStream(t *testing.T) {
	const events = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n: ping\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n"
	next := make(chan bool)
	each(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for e := range strings.SplitAfterSeq(events, "\n\n") {
			_, _ = io.WriteString(w, e)
			w.(http.Flusher).Flush()
			if e != "" {
				<-next // until the client has it: nothing may be held back
			}
		}
	}, openai.Options{}, func(t *testing.T, url string) {
		resp, err := http.Post(url+chatPath, "application/json", strings.NewReader(`{"model":"m","stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got strings.Builder
		r := bufio.NewReader(resp.Body)
		for {
			line, err := r.ReadString('\n')
			got.WriteString(line)
			if line == "\n" {
				next <- true
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
		}
		if d := cmp.Diff(events, got.String()); d != "" {
			t.Error(d)
		}
	})
}

// An answer that the engine cut must never look whole.
func TestCutAnswers(t *testing.T) {
	const one = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n"
	const fin = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	for _, c := range []struct {
		name, kind, sent string
		abort, clean     bool
	}{
		{"dies between events", "text/event-stream", one, true, false},
		{"dies inside an event", "text/event-stream", one + "data: {\"cho", true, false},
		{"dies after its reason", "text/event-stream; charset=utf-8", one + fin, true, false},
		{"stops without a reason", "text/event-stream", one, false, false},
		{"stops without a farewell", "text/event-stream", one + fin, false, true},
		{"whole", "text/event-stream", one + fin + "data: [DONE]\n\n", false, true},
		{"JSON", "application/json", `{"choices":[`, true, false},
		{"large JSON", "application/json", `{"choices":"` + strings.Repeat("x", 3<<20), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				_, _ = io.WriteString(w, c.sent)
				w.(http.Flusher).Flush()
				if c.abort {
					panic(http.ErrAbortHandler)
				}
			}, openai.Options{}, func(t *testing.T, url string) {
				resp, body, err := post(t, url+chatPath, `{"model":"m","stream":true}`)
				if c.clean {
					if err != nil || body != c.sent {
						t.Errorf("%q, %v", body, err)
					}
					return
				}
				if !strings.HasPrefix(c.kind, "text/event-stream") {
					if resp.StatusCode == 200 && err == nil {
						t.Errorf("half an answer came as a whole one: %d bytes", len(body))
					}
					if resp.StatusCode != 200 {
						wantError(t, body, "engine_unavailable")
					}
					return
				}
				if err == nil {
					t.Error("the stream ended cleanly")
				}
				rest, ok := strings.CutPrefix(body, c.sent)
				_, last, found := strings.Cut(rest, "data: ")
				if !ok || !found {
					t.Fatalf("no error event in %q", body)
				}
				wantError(t, last, "engine_unavailable")
			})
		})
	}
}

func wantError(t *testing.T, body, code string) {
	t.Helper()
	var e struct {
		Error *struct {
			Message, Type string
			Param         *string
			Code          any
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil || e.Error.Message == "" || e.Error.Type == "" {
		t.Fatalf("%q is not an error in the API's shape (%v)", body, err)
	}
	if e.Error.Code != code {
		t.Errorf("code %v, want %s: %s", e.Error.Code, code, e.Error.Message)
	}
}

func TestErrorsOfTheEngineGoThrough(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.Contains(string(b), "busy"):
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		case strings.Contains(string(b), "wrong key"):
			w.WriteHeader(401)
		default:
			w.WriteHeader(400)
		}
		_, _ = io.WriteString(w, `{"error":{"message":"as the engine says"}}`)
	}, openai.Options{}, func(t *testing.T, url string) {
		resp, body, _ := post(t, url+chatPath, `{"model":"m","x":"busy"}`)
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "7" || body != `{"error":{"message":"as the engine says"}}` {
			t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
		}
		if resp, body, _ = post(t, url+chatPath, `{"model":"m"}`); resp.StatusCode != 400 || !strings.Contains(body, "as the engine says") {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		// Not the client's key, so not the client's 401.
		if resp, body, _ = post(t, url+chatPath, `{"model":"m","x":"wrong key"}`); resp.StatusCode != 503 {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		wantError(t, body, "engine_unavailable")
	})
}

func TestHangUpReachesTheEngine(t *testing.T) {
	for _, stream := range []bool{true, false} {
		began, gone := make(chan bool, 2), make(chan bool, 2)
		each(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if stream {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: {}\n\n")
				w.(http.Flusher).Flush()
			}
			began <- true
			<-r.Context().Done()
			gone <- true
		}, openai.Options{}, func(t *testing.T, url string) {
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, "POST", url+chatPath, strings.NewReader(`{"model":"m"}`))
			done := make(chan bool)
			go func() {
				defer close(done)
				if resp, err := http.DefaultClient.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-began
			cancel()
			select {
			case <-gone:
			case <-time.After(5 * time.Second):
				t.Error("the engine was not told")
			}
			<-done
		})
	}
}

func TestDeadEngine(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":[{"id":"m"}]}`) }))
	e := driver(t, openai.Options{BaseURL: srv.URL})
	url := serve(t, gateway.Options{}, e)
	if resp, _, _ := post(t, url+chatPath, `{"model":"m"}`); resp.StatusCode != 200 {
		t.Fatalf("%d", resp.StatusCode)
	}
	srv.Close()
	resp, body, _ := post(t, url+chatPath, `{"model":"m"}`)
	if resp.StatusCode != 503 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	wantError(t, body, "engine_unavailable")
}

// alias gives the model another name.
type alias struct{ gateway.Catalog }

func (a alias) Find(ctx context.Context, name, conversation string) (lm.Engine, lm.Model, error) {
	if name == "gpt-9" {
		name = "m"
	}
	return a.Catalog.Find(ctx, name, conversation)
}

func TestAliasRewritesOnlyTheModel(t *testing.T) {
	var got string
	base := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
	})
	url := serve(t, gateway.Options{Catalog: alias{gateway.Engines(driver(t, openai.Options{BaseURL: base}))}})
	for in, want := range map[string]string{
		`{"a":{"model":"gpt-9"}, "model":"gpt-9" ,"b":[1]}`: `{"a":{"model":"gpt-9"}, "model":"m" ,"b":[1]}`,
		`{"a":1}`:                    `{"model":"m","a":1}`,
		`{ }`:                        `{"model":"m" }`,
		`{"model":null}`:             `{"model":"m"}`,
		`{"model":"","b":2}`:         `{"model":"m","b":2}`,
		`{"mod\u0065l":"gpt-9"}`:     `{"mod\u0065l":"m"}`,
		`{"model":"\u006d","b":"€"}`: `{"model":"\u006d","b":"€"}`,
	} {
		if resp, body, _ := post(t, url+chatPath, in); resp.StatusCode != 200 || got != want {
			t.Errorf("%s became %s (%d %s), want %s", in, got, resp.StatusCode, body, want)
		}
	}
}

// heard is an observer that remembers.
type heard struct {
	first, next int
	end         chan gateway.Record
}

func (h *heard) First(*gateway.Record, time.Duration) { h.first++ }
func (h *heard) Next(*gateway.Record, time.Duration)  { h.next++ }
func (h *heard) End(r *gateway.Record)                { h.end <- *r }

func TestObserver(t *testing.T) {
	base := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, s := range []string{"data: {\"choices\":[]}\n\n", "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n", "data: [DONE]\n\n"} {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})
	h := &heard{end: make(chan gateway.Record, 1)}
	url := serve(t, gateway.Options{Observer: h}, driver(t, openai.Options{BaseURL: base, Name: "up"}),
		demo.Canned(demo.CannedOptions{Words: 5}))
	for _, c := range []struct {
		model string
		want  gateway.Record
	}{
		{"m", gateway.Record{Op: gateway.Chat, Model: "m", Engine: "up", Stream: true, Status: 200, Usage: lm.Usage{Prompt: 3, Completion: 4}, Events: 3}},
		{"canned", gateway.Record{Op: gateway.Chat, Model: "canned", Engine: "canned", Stream: true, Status: 200, Usage: lm.Usage{Prompt: 5, Completion: 5}}},
		{"none", gateway.Record{Op: gateway.Chat, Stream: true, Status: 404, Code: fault.NotFound}},
	} {
		_, _, _ = post(t, url+chatPath, `{"stream":true,"messages":[{"role":"user","content":"x"}],"model":"`+c.model+`"}`)
		got := <-h.end
		got.Start, got.Pieces = time.Time{}, 0
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.model, d)
		}
	}
	if h.first != 2 || h.next < 4 {
		t.Errorf("first %d, next %d", h.first, h.next)
	}
}

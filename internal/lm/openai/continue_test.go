package openai

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

var update = flag.Bool("update", false, "write the table into docs/continuation.md")

// The document's table is the one that the driver goes by.
func TestContinuationDocumentation(t *testing.T) {
	const begin, end = "<!-- table: go test ./internal/lm/openai -run ContinuationDocumentation -update -->\n", "<!-- end of table -->\n"
	name := filepath.FromSlash("../../../docs/continuation.md")
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(doc), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", name)
	}
	want := head + begin + "\n" + ContinuationTable() + "\n" + end + tail
	if string(doc) == want {
		return
	}
	if !*update {
		t.Fatal("docs/continuation.md is behind: go test ./internal/lm/openai -run ContinuationDocumentation -update")
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every row does what it says, with a mock of the server's manners: text, raw
// prompts and schemas. (lmtest joins whole answers; tools never come so far.)
func TestContinuationTable(t *testing.T) {
	seen := map[Dialect]bool{}
	for _, row := range Continuations() {
		seen[row.Dialect] = true
		m, srv := newMock(t, row.Dialect)
		e := open(t, Options{BaseURL: srv.URL, Dialect: row.Dialect, Model: m.model, Key: func() string { return m.key }})
		cut := &lm.Prefix{Text: "w0 w1 ", Policy: lm.Prefill}
		chat := lm.Request{Prefix: cut, Messages: []lm.Message{{Role: lm.User, Text: "go"}}, Params: lm.Params{MaxTokens: 2}}
		raw, schema := chat, chat
		raw.Messages, raw.Prompt = nil, "go "
		schema.Params.Schema = []byte(`{"type":"object"}`)
		for name, c := range map[string]struct {
			req  lm.Request
			want lm.Policy
		}{"chat": {chat, row.Chat}, "raw": {raw, row.Raw}, "schema": {schema, row.Schema}} {
			var text strings.Builder
			_, err := e.Generate(t.Context(), c.req, func(c lm.Chunk) error { text.WriteString(c.Text); return nil })
			if c.want == lm.Prefill {
				if err != nil || !strings.HasPrefix(text.String(), "w2") {
					t.Errorf("%s, %s: %q, %v; want it to go on with w2", row.Dialect, name, text.String(), err)
				}
			} else if !fault.Is(err, fault.Unsupported) || text.Len() > 0 {
				t.Errorf("%s, %s: %q, %v; want unsupported", row.Dialect, name, text.String(), err)
			}
		}
		if row.Tools != lm.Fail {
			t.Errorf("%s: nothing continues an answer with tools", row.Dialect)
		}
	}
	for d := range dialects() {
		if !seen[d] {
			t.Errorf("the table has no row for %s", d)
		}
	}
}

// Templates that close the last message begin a new answer, which must not be
// taken for the rest of the old one.
func TestTemplatesThatClose(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect Dialect
		manner  func(*mock)
		ok      bool
	}{
		{"ollama, open", Ollama, func(*mock) {}, true},
		{"ollama, closed", Ollama, func(m *mock) { m.closes = true }, false},
		{"llama-server, recent", LlamaServer, func(m *mock) { m.thinks = true }, true},
		{"llama-server, older", LlamaServer, func(m *mock) { m.closes = true }, true},
		{"llama-server, older, thinking", LlamaServer, func(m *mock) { m.closes, m.thinks = true, true }, false},
	} {
		m, srv := newMock(t, c.dialect)
		c.manner(m)
		e := open(t, Options{BaseURL: srv.URL, Dialect: c.dialect})
		var text strings.Builder
		_, err := e.Generate(t.Context(), lm.Request{
			Messages: []lm.Message{{Role: lm.User, Text: "go"}}, Prefix: &lm.Prefix{Text: "w0 w1 ", Policy: lm.Prefill}, Params: lm.Params{MaxTokens: 2},
		}, func(c lm.Chunk) error { text.WriteString(c.Text); return nil })
		if c.ok && (err != nil || !strings.HasPrefix(text.String(), "w2")) {
			t.Errorf("%s: %q, %v; want it to go on with w2", c.name, text.String(), err)
		}
		if !c.ok && (!fault.Is(err, fault.Unsupported) || text.Len() > 0) {
			t.Errorf("%s: %q, %v; want unsupported and no text", c.name, text.String(), err)
		}
	}
}

// Real servers with SmolLM2-135M-Instruct, as named: a llama-server; an Ollama
// that has the model twice, imported as it is (its template closes the message)
// and as "open" with a template that does not.
func TestRealContinuation(t *testing.T) {
	for _, c := range []struct {
		env, model string
		dialect    Dialect
		ok         bool
	}{
		{"PARLEY_LLAMA_SERVER", "", LlamaServer, true},
		{"PARLEY_OLLAMA", "open", Ollama, true},
		{"PARLEY_OLLAMA", "plain", Ollama, false},
	} {
		t.Run(string(c.dialect)+" "+c.model, func(t *testing.T) {
			url := os.Getenv(c.env)
			if os.Getenv("PARLEY_TEST_REAL") == "" || url == "" {
				t.Skipf("needs PARLEY_TEST_REAL=1 and %s=http://host:port of a running server", c.env)
			}
			if d, err := Detect(t.Context(), Options{BaseURL: url}); err != nil || d != c.dialect {
				t.Fatalf("detected %q, %v", d, err)
			}
			e := open(t, Options{BaseURL: url, Dialect: c.dialect, Model: c.model})
			zero := 0.0
			say := func(so string, most int) (string, error) {
				r := lm.Request{
					Messages: []lm.Message{{Role: lm.User, Text: "Count from one to twelve in words, separated by commas."}},
					Params:   lm.Params{MaxTokens: most, Temperature: &zero},
				}
				if so != "" {
					r.Prefix = &lm.Prefix{Text: so, Policy: lm.Prefill}
				}
				var text strings.Builder
				_, err := e.Generate(t.Context(), r, func(c lm.Chunk) error { text.WriteString(c.Text); return nil })
				return text.String(), err
			}
			for so, want := range map[string]string{"one, two, three,": " four,", "one, two, three, ": "four,"} {
				got, err := say(so, 8)
				switch {
				case !c.ok:
					if !fault.Is(err, fault.Unsupported) || got != "" {
						t.Errorf("after %q: %q, %v; want unsupported", so, got, err)
					}
				case err != nil || !strings.HasPrefix(got, want):
					t.Errorf("after %q: %q, %v; want it to go on with %q", so, got, err, want)
				}
			}
		})
	}
}

// The seam: what an engine says after it, and what of that is shown.
func TestSeam(t *testing.T) {
	content := func(parts ...string) string {
		var b strings.Builder
		for _, p := range parts {
			fmt.Fprintf(&b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", p)
		}
		return b.String() + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	}
	thought := "data: {\"choices\":[{\"index\":0,\"delta\":{\"%s\":\"Hm\"}}]}\n\n"
	for _, c := range []struct {
		name, so, says, want string
		stop                 []string
		code                 fault.Code
	}{
		{name: "as it is", so: "one, two", says: content(", three"), want: ", three"},
		{name: "white space again", so: "one, ", says: content(" two"), want: "two"},
		{name: "wide space", so: "a\u3000", says: content("\u3042"), want: "\u3042"},
		{name: "wide space again", so: "a\u3000", says: content("\u3000\u3042"), want: "\u3042"},
		{name: "white space in pieces", so: "a\n\n", says: content("\n", "\n", "b"), want: "b"},
		{name: "less white space", so: "a\n\n", says: content("\n", "b"), want: "b"},
		{name: "none", so: "one ", says: content("two"), want: "two"},
		{name: "more white space", so: "a ", says: content("  b"), want: " b"},
		{name: "echo, then white space", so: "a rather long beginning ", says: content("a rather long beginning", " end"), want: "end"},
		{name: "stop string over the seam", so: "done EN", says: content("D", "more"), stop: []string{"END"}, want: ""},
		{name: "stop string over the seam, in pieces", so: "done E", says: content("N", "D more"), stop: []string{"END"}, want: ""},
		{name: "no stop string after all", so: "done EN", says: content("OUGH"), stop: []string{"END"}, want: "OUGH"},
		{name: "beginning again and not", so: "E", says: content("E", "x"), stop: []string{"END"}, want: "Ex"},
		{name: "a stop string later", so: "EN", says: content("x EN", "D y"), stop: []string{"END"}, want: "x "},
		{name: "only held", so: "E", says: content("N"), stop: []string{"END"}, want: "N"},
		{name: "white space in the stop string", so: "a\n", says: content("\n", "b"), stop: []string{"\n\n"}, want: "b"},
		{name: "half a character", so: "caf\ufffd", says: content("é"), code: fault.Unsupported},
		{name: "thinks anew", so: "one", says: fmt.Sprintf(thought, "reasoning_content") + content("two"), code: fault.Unsupported},
		{name: "thinks anew, otherwise named", so: "one", says: fmt.Sprintf(thought, "reasoning") + content("two"), code: fault.Unsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, c.says)
			}))
			defer srv.Close()
			var got strings.Builder
			res, err := open(t, Options{BaseURL: srv.URL, Resume: lm.Prefill}).Generate(t.Context(), lm.Request{
				Model: "m", Messages: []lm.Message{{Role: lm.User, Text: "go"}}, Params: lm.Params{Stop: c.stop},
				Prefix: &lm.Prefix{Text: c.so, Policy: lm.Prefill},
			}, func(c lm.Chunk) error { got.WriteString(c.Text); return nil })
			if got.String() != c.want || fault.CodeOf(err) != c.code || err == nil && res.Finish != lm.FinishStop {
				t.Errorf("after %q: %q %q %v; want %q %q", c.so, got.String(), res.Finish, err, c.want, c.code)
			}
		})
	}
}

// A server that lies about what it counted loses its figures, not its answer.
func TestLies(t *testing.T) {
	for usage, want := range map[string]lm.Usage{
		`{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}`:  {Prompt: 3, Completion: 2, Cached: 1},
		`{"prompt_tokens":-3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}`: {Completion: 2},
		`{"prompt_tokens":"many","completion_tokens":1e99}`:                                      {},
		`{"prompt_tokens":99999999999999999999,"completion_tokens":2.5}`:                         {},
		`{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}`:  {Prompt: 3, Completion: 2, Cached: 3},
		`"lots"`: {}, `[1,2]`: {}, `{"prompt_tokens":4,"prompt_tokens_details":"x"}`: {Prompt: 4},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/models":
				_, _ = io.WriteString(w, `{"data":[{"id":"m","max_model_len":-7,"meta":{"n_ctx_train":"big"}}]}`)
			case "/props":
				_, _ = io.WriteString(w, `{"total_slots":-1000000,"default_generation_settings":{"n_ctx":1e30}}`)
			default:
				_, _ = io.WriteString(w, `data: {"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}],"usage":`+usage+"}\n\n")
			}
		}))
		e := open(t, Options{BaseURL: srv.URL, Dialect: LlamaServer})
		text, res, err := ask(t.Context(), e)
		if err != nil || text != "yes" || res.Usage != want {
			t.Errorf("%s: %q %+v %v; want %+v", usage, text, res.Usage, err, want)
		}
		all, err := e.Models(t.Context())
		if err != nil || len(all) != 1 || all[0].Slots != 0 || all[0].Window != 0 {
			t.Errorf("models: %+v, %v", all, err)
		}
		srv.Close()
	}
}

// A server whose answer has no end, and says nothing.
func TestEndlessLines(t *testing.T) {
	for name, line := range map[string]string{"comments": ": still here\n", "empty lines": "\n", "another field": "database: x\n", "one line": "data: xxxxxxxx", "no line": "xxxxxxxx"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(line, 4000)); err != nil {
					return
				}
			}
		}))
		text, _, err := ask(t.Context(), open(t, Options{BaseURL: srv.URL}))
		if !fault.Is(err, fault.Unavailable) || text != "" || !strings.Contains(err.Error(), "flood") {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		srv.Close()
	}
}

package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/roster"
)

// script is what simulated engines send, one request after the other, whoever
// of them is asked: events, and then the end that each asks for.
type script struct {
	t    *testing.T
	mu   sync.Mutex
	says []line
	got  []map[string]any // the requests
}

type line struct {
	sends string
	dies  bool
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	s.got = append(s.got, in)
	l := line{"data: {\"error\":{\"message\":\"asked too often\"}}\n\n", true}
	if len(s.says) > 0 {
		l, s.says = s.says[0], s.says[1:]
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, l.sends)
	w.(http.Flusher).Flush()
	if l.dies {
		panic(http.ErrAbortHandler)
	}
}

// pair is a gateway over two engines that follow the script, and its records.
func pair(t *testing.T, o gateway.Options, says ...line) (string, *script, records) {
	t.Helper()
	s, rec := &script{t: t, says: says}, make(records, 8)
	r := roster.New(fleet.Options{})
	t.Cleanup(func() { _ = r.Close() })
	for _, name := range []string{"e0", "e1"} {
		r.Expect(name, "", nil).Serve(driver(t, openai.Options{Name: name, BaseURL: upstream(t, s.ServeHTTP), Resume: lm.Prefill}), "", nil)
	}
	if _, err := r.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Catalog, o.Observer = r, rec
	return serve(t, o), s, rec
}

type records chan gateway.Record

func (records) First(*gateway.Record, time.Duration) {}
func (records) Next(*gateway.Record, time.Duration)  {}
func (r records) End(x *gateway.Record)              { r <- *x }

// piece is an event of chat with text, after the id that its server gave.
func piece(id, text string) string {
	return fmt.Sprintf("data: {\"id\":%q,\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", id, text)
}

const (
	roleEvent = "data: {\"id\":\"a\",\"created\":7,\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
	finEvent  = "data: {\"id\":\"b\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	useEvent  = "data: {\"id\":\"b\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15}}\n\n"
	doneEvent = "data: [DONE]\n\n"
)

// stream is a stream as a client reads it.
type stream struct {
	text, finish, failed string
	ids, models          map[string]bool
	roles, uses, done    int
	prompt, completion   int
	comments             []string
}

func listen(t *testing.T, body string) stream {
	t.Helper()
	h := stream{ids: map[string]bool{}, models: map[string]bool{}}
	for ev := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n") {
		ev = strings.TrimLeft(ev, "\n")
		data, ok := strings.CutPrefix(ev, "data:")
		switch data = strings.TrimSpace(data); {
		case strings.HasPrefix(ev, ":"):
			h.comments = append(h.comments, ev)
		case !ok:
			if ev != "" {
				t.Errorf("not an event: %q", ev)
			}
		case data == "[DONE]":
			h.done++
		default:
			var e struct {
				ID, Model string
				Choices   []struct {
					Text   string
					Delta  struct{ Role, Content string }
					Finish string `json:"finish_reason"`
				}
				Usage *struct {
					Prompt     int `json:"prompt_tokens"`
					Completion int `json:"completion_tokens"`
				}
				Error *struct{ Message string }
			}
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Errorf("%v in %q", err, data)
				continue
			}
			if e.Error != nil {
				h.failed = e.Error.Message
				continue
			}
			h.ids[e.ID], h.models[e.Model] = true, true
			for _, c := range e.Choices {
				h.text += c.Text + c.Delta.Content
				if c.Delta.Role != "" {
					h.roles++
				}
				if c.Finish != "" {
					h.finish = c.Finish
				}
			}
			if e.Usage != nil {
				h.uses, h.prompt, h.completion = h.uses+1, e.Usage.Prompt, e.Usage.Completion
			}
		}
	}
	return h
}

const asked = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":10,"temperature":0.5,"stop":["END"],"user":"u","messages":[{"role":"system","content":"Be."},{"role":"user","content":[{"type":"text","text":"Go"}]}]}`

// An engine dies after its answer has begun: the stream goes on, and a client
// that does not read comments sees one answer.
func TestAStreamGoesOnAfterItsEngine(t *testing.T) {
	for _, c := range []struct {
		name  string
		first string
		dies  bool
	}{
		{"dies between events", roleEvent + piece("a", "one, ") + piece("a", "two"), true},
		{"dies inside an event", roleEvent + piece("a", "one, ") + piece("a", "two") + "data: {\"choices\":[{\"delta\":{\"content\":\"thr", true},
		{"ends without a reason", roleEvent + piece("a", "one, ") + piece("a", "two"), false},
		{"ends without an empty line", roleEvent + piece("a", "one, ") + strings.TrimSuffix(piece("a", "two"), "\n"), false},
		{"ends without a line's end", roleEvent + piece("a", "one, ") + strings.TrimSuffix(piece("a", "two"), "\n\n"), false},
		{"sends garbage", roleEvent + piece("a", "one, ") + piece("a", "two") + "data: <html>\n\n", false},
		{"says that it fails", roleEvent + piece("a", "one, ") + piece("a", "two") + "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", false},
		{"an event of megabytes", roleEvent + piece("a", "one, ") + piece("a", "two") + "data: " + strings.Repeat("x", 2<<20), true},
		{"CRLF", strings.ReplaceAll(roleEvent+piece("a", "one, ")+piece("a", "two"), "\n", "\r\n"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, s, rec := pair(t, gateway.Options{}, line{c.first, c.dies}, line{piece("b", ", three") + piece("b", " EN") + piece("b", "D four") + finEvent + useEvent + doneEvent, false})
			resp, body, err := post(t, url+chatPath, asked)
			h := listen(t, body)
			if err != nil || resp.StatusCode != 200 || h.text != "one, two, three " || h.finish != "stop" || h.done != 1 || h.failed != "" {
				t.Fatalf("%d %v %+v\n%s", resp.StatusCode, err, h, body)
			}
			if h.roles != 1 || !h.ids["a"] || len(h.ids) != 1 || !h.models["m-1"] || len(h.models) != 1 {
				t.Errorf("the seam is seen: %+v", h)
			}
			if len(h.comments) != 1 || !strings.Contains(h.comments[0], "goes on") {
				t.Errorf("comments %q", h.comments)
			}
			want := map[string]any{
				"model": "m", "stream": true, "stream_options": map[string]any{"include_usage": true}, "max_tokens": 8.0, "temperature": 0.5, "stop": []any{"END"},
				"messages": []any{
					map[string]any{"role": "system", "content": "Be."},
					map[string]any{"role": "user", "content": []any{map[string]any{"type": "text", "text": "Go"}}},
					map[string]any{"role": "assistant", "content": "one, two"},
				},
			}
			if d := cmp.Diff(want, s.got[1]); d != "" {
				t.Error(d)
			}
			r := <-rec
			if r.Resume != 1 || r.By != lm.Prefill || r.Code != "" || r.Status != 200 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestUsageIsSummedOnce(t *testing.T) {
	url, _, rec := pair(t, gateway.Options{}, line{roleEvent + piece("a", "one") + piece("a", " two"), true}, line{piece("b", " three") + finEvent + useEvent + doneEvent, false})
	_, body, err := post(t, url+chatPath, asked)
	h := listen(t, body)
	if r := <-rec; err != nil || h.uses != 1 || h.prompt != 10 || h.completion != 5 || r.Usage != (lm.Usage{Prompt: 10, Completion: 5}) {
		t.Errorf("%v %+v %+v", err, h, r.Usage)
	}
	// Who did not ask for it does not get it.
	url, _, _ = pair(t, gateway.Options{}, line{piece("a", "one"), true}, line{piece("b", " two") + finEvent + useEvent + doneEvent, false})
	_, body, err = post(t, url+chatPath, strings.Replace(asked, `"stream_options":{"include_usage":true},`, "", 1))
	if h := listen(t, body); err != nil || h.uses != 0 || h.text != "one two" {
		t.Errorf("%v %+v", err, h)
	}
}

// The answer was whole, or as long as it might be, when the engine died.
func TestNothingIsLeft(t *testing.T) {
	url, s, _ := pair(t, gateway.Options{}, line{piece("a", "one") + finEvent, true})
	_, body, err := post(t, url+chatPath, asked)
	if h := listen(t, body); err != nil || h.text != "one" || h.finish != "stop" || h.done != 1 || len(s.got) != 1 {
		t.Errorf("%v %+v, asked %d times", err, h, len(s.got))
	}
	url, s, _ = pair(t, gateway.Options{}, line{strings.Repeat(piece("a", "x"), 10), true})
	_, body, err = post(t, url+chatPath, asked)
	if h := listen(t, body); err != nil || h.text != "xxxxxxxxxx" || h.finish != "length" || h.done != 1 || len(s.got) != 1 {
		t.Errorf("%v %+v, asked %d times", err, h, len(s.got))
	}
}

func TestSeveralEnginesFailOneAfterAnother(t *testing.T) {
	url, s, rec := pair(t, gateway.Options{}, line{piece("a", "one"), true}, line{piece("b", " two"), true}, line{piece("c", " three") + finEvent + doneEvent, false})
	_, body, err := post(t, url+chatPath, asked)
	r := <-rec
	if h := listen(t, body); err != nil || h.text != "one two three" || len(h.ids) != 1 || len(h.comments) != 2 || r.Resume != 2 {
		t.Errorf("%v %+v %d %+v", err, h, len(s.got), r)
	}
}

func TestRawCompletionsGoOn(t *testing.T) {
	text := func(s string) string {
		return fmt.Sprintf("data: {\"id\":\"a\",\"object\":\"text_completion\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"text\":%q,\"finish_reason\":null}]}\n\n", s)
	}
	url, s, _ := pair(t, gateway.Options{}, line{text("one, "), true}, line{text("two") + doneEvent, false})
	_, body, err := post(t, url+"/v1/completions", `{"model":"m","stream":true,"max_tokens":5,"prompt":"Count: "}`)
	h := listen(t, body)
	if err != nil || h.text != "one, two" || h.done != 1 || s.got[1]["prompt"] != "Count: one," || s.got[1]["max_tokens"] != 4.0 {
		t.Errorf("%v %+v %v", err, h, s.got)
	}
}

// What can't be continued ends as before: with a clear error, and nothing that
// is put together blindly.
func TestWhatIsNotContinued(t *testing.T) {
	chat := func(more string) string {
		return `{"model":"m","stream":true,"messages":[{"role":"user","content":"Go"}]` + more + `}`
	}
	tool := "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n"
	for _, c := range []struct {
		name, path, body, sends, why string
		o                            gateway.Options
	}{
		{name: "switched off", body: chat(""), o: gateway.Options{NoResume: true}},
		{name: "tools", body: chat(`,"tools":[{"type":"function","function":{"name":"f"}}]`), why: "tools"},
		{name: "tools that are not to be called", body: chat(`,"tool_choice":"none","tools":[{"type":"function","function":{"name":"f"}}]`), why: "tools"},
		{name: "half a call", body: chat(""), sends: piece("a", "one") + tool, why: "a call of a tool"},
		{name: "two answers", body: chat(`,"n":2`), why: "more than one answer"},
		{name: "log probabilities", body: chat(`,"logprobs":true`), why: "log probabilities"},
		{name: "a schema", body: chat(`,"response_format":{"type":"json_object"}`), why: "schema"},
		{name: "a field of who knows what", body: chat(`,"mirostat":2`), why: "mirostat"},
		{name: "an answer that the request begins", body: `{"model":"m","stream":true,"messages":[{"role":"user","content":"Go"},{"role":"assistant","content":"Well"}]}`, why: "begins itself"},
		{name: "in a thought", body: chat(""), sends: "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"}}]}\n\n", why: "thought"},
		{name: "half a character", body: chat(""), sends: piece("a", "caf\ufffd"), why: "inside a character"},
		{name: "no limit of a raw completion", path: "/v1/completions", body: `{"model":"m","stream":true,"prompt":"Go"}`, why: "max_tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.sends == "" {
				c.sends = piece("a", "one")
			}
			if c.path == "" {
				c.path = chatPath
			}
			url, s, rec := pair(t, c.o, line{c.sends, true}, line{piece("b", "WRONG") + finEvent + doneEvent, false})
			_, body, err := post(t, url+c.path, c.body)
			r := <-rec
			if err == nil || strings.Contains(body, "WRONG") || strings.Contains(body, "[DONE]") || len(s.got) != 1 {
				t.Fatalf("%v, asked %d times: %s", err, len(s.got), body)
			}
			if h := listen(t, body); h.failed == "" || !strings.Contains(h.failed, c.why) || r.Code == "" {
				t.Errorf("%q does not say %q; %+v", h.failed, c.why, r)
			}
		})
	}
}

// While nothing has come but an error, the request is still anybody's.
func TestAnErrorAsFirstEvent(t *testing.T) {
	url, s, _ := pair(t, gateway.Options{}, line{"data: {\"error\":{\"message\":\"no memory\"}}\n\n", false}, line{piece("b", "one") + finEvent + doneEvent, false})
	resp, body, err := post(t, url+chatPath, asked)
	if h := listen(t, body); err != nil || h.text != "one" || h.failed != "" || len(s.got) != 2 || len(h.comments) != 0 {
		t.Errorf("%d %v %+v", resp.StatusCode, err, h)
	}
}

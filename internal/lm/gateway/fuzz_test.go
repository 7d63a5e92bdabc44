package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzScan compares the scanner with encoding/json: what is a JSON object
// passes unless it is refused for a reason, the model is the same, and a
// rewritten body differs in nothing else.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"model":"a","stream":true}`, `{"x":{"model":"b"},"model":"a\"b","y":[1,-2.5e3,null,"\\"]}`,
		`{"model":null}`, ` { "a" : "\u00e9" } `, `{"mod\u0065l":"x"}`, `{"a":[[],{}],"b":tru}`,
		`{"messages":[{"role":"system"}, {"content":[{"role":"user"}],"role":"user"},{}]}`, `{"prompt_cache_key":"k","messages":[1,]}`, `{"messages":[`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := scan(b)
		var all map[string]json.RawMessage
		valid := json.Unmarshal(b, &all) == nil && all != nil
		if err != nil {
			return
		}
		if !valid {
			return // deeper faults are the engine's to find
		}
		var model *string
		if raw, ok := all["model"]; ok && json.Unmarshal(raw, &model) != nil {
			t.Fatalf("model %s passed", raw)
		}
		if want := deref(model); want != h.model {
			t.Fatalf("model %q, want %q", h.model, want)
		}
		if again, _ := scan(b); !h.empty && (h.conversation == "" || h.conversation != again.conversation) {
			t.Fatalf("the conversation of %s has no name that stays", b)
		}
		out := h.rewrite(&buffer{b: append([]byte(nil), b...)}, "new one").Bytes()
		var again map[string]json.RawMessage
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
		if string(again["model"]) != `"new one"` {
			t.Fatalf("%s became %s", b, out)
		}
		for k, v := range all {
			if k != "model" && string(again[k]) != string(v) {
				t.Fatalf("field %q of %s became %s", k, b, again[k])
			}
		}
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// FuzzParse reads any bytes as a request: it must give a request or an error,
// and the error must have the API's shape.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":"x"}],"stop":["a"],"max_tokens":3}`,
		`{"prompt":["x"],"logprobs":null,"response_format":{"type":"json_object"}}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`,
		`{"prompt":[1,2],"input":[[1]]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, op := range []Op{Chat, Completions} {
			_, req, err := parse(op, b)
			if err != nil {
				if status, e := ErrorOf(err); status < 400 || status >= 500 || e.Message == "" {
					t.Fatalf("%d %+v: %v", status, e, err)
				}
				continue
			}
			if (op == Chat) != (len(req.Messages) > 0) || (op == Completions) != (req.Prompt != "") {
				t.Fatalf("%s: %+v", op, req)
			}
		}
		var in inputs
		_ = in.UnmarshalJSON(b)
	})
}

// FuzzFollow pours any bytes through a follower, in pieces of any size: what it
// lets pass is what came, in whole events, and the pieces' size changes nothing.
// What it read is what encoding/json reads.
func FuzzFollow(f *testing.F) {
	const a = "data: {\"id\":\"a\",\"created\":7,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"caf\\u00e9 \\ud83d\\ude00\"}}]}\n\n"
	for _, s := range []string{
		a, a + "data: [DONE]\n\n", ": hi\r\n\r\n" + strings.ReplaceAll(a, "\n", "\r\n"), a + "data: {\"choices\":[{\"ind", "data: {\"error\":\"x\"}\n\n",
		"data: {\"choices\":[{\"text\":\"x\"},{\"index\":1}]}\n\n", "data: {\"choices\":[{\"delta\":{\"tool_calls\":[1]},\"finish_reason\":\"stop\"}]}\n\n",
		"data: {\ndata: \"choices\":[]}\n\n", "data: <html>\n\n", "data: {\"choices\":[{\"delta\":{\"content\":5}}],\"usage\":{\"prompt_tokens\":-1}}\n\n", "\n\n\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		pour := func(size int) (*follower, []byte, error) {
			x := &follower{}
			var passed []byte
			for at := 0; at < len(b); at += size {
				pass, rest, err := x.feed(bytes.Clone(b[at:min(at+size, len(b))]))
				passed = append(passed, pass...)
				if err != nil {
					return x, passed, err
				}
				x.held = append(x.held[:0], rest...)
			}
			if len(passed)+len(x.held) != len(b) {
				t.Fatalf("%d bytes came, %d passed and %d are held", len(b), len(passed), len(x.held))
			}
			return x, passed, nil
		}
		whole, passed, err := pour(max(len(b), 1))
		pieces, again, err2 := pour(int(size) + 1)
		if !bytes.HasPrefix(b, passed) || !bytes.Equal(passed, again) || (err == nil) != (err2 == nil) || !bytes.Equal(whole.text, pieces.text) || whole.other != pieces.other {
			t.Fatalf("in one: %q %v %q; in pieces: %q %v %q", passed, err, whole.text, again, err2, pieces.text)
		}
		_, _, _ = whole.request(Chat, b)
		want, known := plainText(passed)
		if whole.other == "" && err == nil && known && string(whole.text) != want {
			t.Fatalf("read %q, encoding/json reads %q", whole.text, want)
		}
	})
}

// plainText reads a stream's text the long way. It is not known if a field is
// there twice: readers differ about which one counts.
func plainText(b []byte) (text string, known bool) {
	for ev := range strings.SplitSeq(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n\n") {
		var data []string
		for line := range strings.SplitSeq(ev, "\n") {
			if v, ok := strings.CutPrefix(line, "data:"); ok {
				data = append(data, v)
			}
		}
		for _, field := range []string{`"choices"`, `"delta"`, `"content"`, `"text"`} {
			if strings.Count(ev, field) > 1 {
				return "", false
			}
		}
		// By maps: a struct's fields are found whatever their case.
		var e map[string]json.RawMessage
		var choices []map[string]json.RawMessage
		_ = json.Unmarshal([]byte(strings.Join(data, "\n")), &e)
		_ = json.Unmarshal(e["choices"], &choices)
		for _, c := range choices {
			var a, b string
			var delta map[string]json.RawMessage
			_ = json.Unmarshal(c["text"], &a)
			_ = json.Unmarshal(c["delta"], &delta)
			_ = json.Unmarshal(delta["content"], &b)
			text += a + b
		}
	}
	return text, true
}

// What reading along costs for an event, as vLLM sends them.
func BenchmarkFollow(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-1f7f0f7c9a8c4f1c","object":"chat.completion.chunk","created":1763800000,"model":"llama-70b","choices":[{"index":0,"delta":{"content":" lighthouse"},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	b.ReportAllocs()
	f := &follower{}
	for b.Loop() {
		if f.text = f.text[:0]; f.other != "" {
			b.Fatal(f.other)
		}
		if _, _, err := f.feed(event); err != nil {
			b.Fatal(err)
		}
	}
}

package gateway

import (
	"encoding/json"
	"testing"
)

// FuzzScan compares the scanner with encoding/json: what is a JSON object
// passes unless it is refused for a reason, the model is the same, and a
// rewritten body differs in nothing else.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"model":"a","stream":true}`, `{"x":{"model":"b"},"model":"a\"b","y":[1,-2.5e3,null,"\\"]}`,
		`{"model":null}`, ` { "a" : "\u00e9" } `, `{"mod\u0065l":"x"}`, `{"a":[[],{}],"b":tru}`,
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

package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestWrongTypes puts a value of every JSON type in the place of every value of
// a request that says all that can be said. Whatever the description forbids,
// the node must refuse.
func TestWrongTypes(t *testing.T) {
	doc := load(t)
	c := &caller{
		t: t, client: &http.Client{Timeout: time.Minute},
		base: node(t, "engines: [{name: demo, kind: demo}]\nbots: [{id: quick, model: demonstration}, "+shop("http://127.0.0.1:9/")+"]\n"+
			"understanding: [{name: cityguide, model: "+absolute(t, "../examples/nlu/cityguide")+"}]\n").URL(),
	}
	version := c.ok(http.StatusOK, "GET", "/api/v1/understanding/models", "").text("apps.0.live")
	conversation := c.ok(http.StatusCreated, "POST", "/api/v1/conversations", `{}`).text("id")
	site := c.with("Authorization", "Bearer "+siteSecret)
	begun := site.ok(http.StatusCreated, "POST", "/v3/directline/conversations", `{}`).text("conversationId")
	bot := c.with("Authorization", "Bearer "+botSecret)
	theirs := c.ok(http.StatusCreated, "POST", "/api/v1/conversations", `{"bot":"shop"}`).text("id")
	said := bot.ok(http.StatusOK, "POST", "/v3/conversations/"+theirs+"/activities", `{"type":"message","text":"x"}`).text("id")
	file := c.with("Content-Type", formType).ok(http.StatusOK, "POST", "/v1/files", form("batch", request("a", "/v1/chat/completions", "x"))).text("id")
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		for method, op := range doc.Paths.Value(path).Operations() {
			if op.RequestBody == nil || op.RequestBody.Value.Content["application/json"] == nil {
				continue
			}
			c, conversation := c, conversation
			if strings.HasPrefix(path, "/v3/") {
				c, conversation = site, begun
			}
			if strings.HasPrefix(path, "/v3/conversations") {
				c, conversation = bot, theirs
			}
			if op.OperationID == "widgetSession" {
				c = c.with("Origin", c.base)
			}
			kind := op.RequestBody.Value.Content["application/json"]
			if kind == nil {
				continue
			}
			schema := kind.Schema.Value
			body := sample("", schema)
			if op.OperationID == "createBatch" {
				body.(map[string]any)["input_file_id"] = file
			}
			if err := schema.VisitJSON(body); err != nil {
				t.Fatalf("%s: the sample is wrong itself: %v", op.OperationID, err)
			}
			at := strings.NewReplacer("{id}", conversation, "{activity}", strings.ReplaceAll(said, "|", "%7C"), "{app}", "cityguide", "{slot}", "production", "{version}", version, "{name}", "mail").Replace(path)
			whole, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			if a := c.send(c.request(method, at, string(whole))); a.status >= 300 && !slices.Contains([]string{"signIn", "embeddings", "activateModel", "pageToken", "shareConversation"}, op.OperationID) {
				t.Errorf("%s: the sample is refused, so what follows says nothing: status %d: %s\n%s", op.OperationID, a.status, whole, a.body)
			}
			asked := 0
			everywhere(body, func(where string, changed any) {
				if schema.VisitJSON(changed) == nil {
					return
				}
				asked++
				b, err := json.Marshal(changed)
				if err != nil {
					t.Fatal(err)
				}
				if a := c.send(c.request(method, at, string(b))); a.status < 400 || a.status >= 500 {
					t.Errorf("%s: %s: status %d for %s", op.OperationID, where, a.status, b)
				}
			})
			t.Logf("%s: %d wrong requests", op.OperationID, asked)
			if asked == 0 {
				t.Errorf("%s: no request was wrong", op.OperationID)
			}
		}
	}
}

// sensible values where just any would be refused.
var sensible = map[string]any{
	"bot": "quick", "home": "local", "model": "demonstration", "role": "user", "previous_response_id": nil,
	"n": 1.0, "max_tokens": 1.0, "max_completion_tokens": 1.0, "max_output_tokens": 1.0,
	"format": map[string]any{"type": "text"}, "tools": []any{}, // what the engine can
	"datetimeReference": "2026-01-02T03:04:05Z", "startIndex": 0.0, "entityLength": 4.0, "listEntityName": "place",
	"originalBase64": "eA==", "completion_window": "24h", "service_tier": "flex",
	"projectName": "cityguide", "deploymentName": "production", "stringIndexType": "UnicodeCodePoint", "modality": "text",
}

// sample makes a value that says all that a schema knows.
func sample(name string, s *openapi3.Schema) any {
	value, known := sensible[name]
	switch {
	case known && (len(s.Enum) == 0 || slices.Contains(s.Enum, value)):
		return value
	case len(s.OneOf) > 0: // the last form is the richest
		return sample(name, s.OneOf[len(s.OneOf)-1].Value)
	case len(s.AllOf) > 0:
		return sample(name, s.AllOf[0].Value)
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Is("array"):
		return []any{sample(name, s.Items.Value)}
	case s.Type.Is("object"):
		out := map[string]any{}
		for key, p := range s.Properties {
			out[key] = sample(key, p.Value)
		}
		return out
	case s.Type.Is("boolean"):
		return false
	case s.Type.Is("string"):
		if s.Format == "date-time" {
			return "2026-01-02T03:04:05Z"
		}
		return "text"
	}
	return 0.0
}

// everywhere calls each with copies of v in which one value has another type,
// and says where.
func everywhere(v any, each func(where string, changed any)) {
	for _, other := range []any{nil, "text", 7.5, true, []any{}, map[string]any{}, []any{nil}, []any{7.5}, []any{map[string]any{}}} {
		each("", other)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, field := range v {
			everywhere(field, func(where string, changed any) {
				c := maps.Clone(v)
				c[key] = changed
				each("."+key+where, c)
			})
		}
	case []any:
		for i, item := range v {
			everywhere(item, func(where string, changed any) {
				c := slices.Clone(v)
				c[i] = changed
				each("[]"+where, c)
			})
		}
	}
}

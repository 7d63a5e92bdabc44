package api_test

import (
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// TestSession drives two whole nodes through every route, right and wrong, and
// has every answer judged by the description.
func TestSession(t *testing.T) {
	j := newJudge(t, load(t))
	client := &http.Client{Transport: j, Timeout: time.Minute}
	up := upstream(t)
	away, kiosk := newAway(t), newKiosk(t)
	engines := `
engines:
  - {name: mock, kind: openai, url: ` + up + `, dialect: openai, models: [mock/one, mock/endless]}
  - {name: demo, kind: demo}
  - {name: nap, kind: process, command: [/no/such/server, "{port}"], models: [nap], scale: {max: 2}}
bots:
  - {id: quick, model: mock/one}
  - {id: slow, name: Slow, model: demonstration}
  - {id: endless, model: mock/endless}
  - ` + shop(away) + `
channels:
  webhook: [` + kiosk.settings() + `]
  directline: [{name: bots, secret: ` + botSite + `, bot: shop}]
  messenger: [{name: shop, page: "1", token: ` + metaSecret + `, app_secret: ` + metaSecret + `, verify_token: ` + metaSecret + `, graph: "http://127.0.0.1:9/v25.0"}]
  telegram: [{name: shop, token: "7000001:` + hookSecret + `", secret: ` + hookSecret + `, api: "http://127.0.0.1:9"}]
understanding:
  - {name: cityguide, model: ` + absolute(t, "../examples/nlu/cityguide") + `, bots: [slow], collect: true}
`
	open := &caller{t: t, base: node(t, engines).URL(), client: client}
	keyed := &caller{t: t, base: node(t, "keys: [{name: alice, key: alices-key-0123456789, operator: true}, {name: bob, key: bobs-key-0123456789}]\nlisten: 0.0.0.0:0\n"+engines).URL(), client: client}

	conversations(t, open)
	carried(t, open)
	branches(t, open)
	following(t, open)
	badRequests(t, open)
	responses(t, open)
	completions(t, open)
	batches(t, open)
	understandings(t, open)
	strangers(t, keyed)
	nodeItself(t, open, keyed)
	directLine(t, open)
	connector(t, open)
	channels(t, open, kiosk)
	messenger(t, open)
	telegram(t, open)
	guests(t, open)

	if missing := j.unseen(promised); len(missing) > 0 {
		t.Errorf("the description promises what this session did not see:\n%s", strings.Join(missing, "\n"))
	}
}

// rare are answers that this test can't bring about without breaking the node;
// other tests of theirs do.
var rare = []string{"101", "429", "503", "504", "507", "default"}

// promised lists the statuses and events of an operation.
func promised(op *openapi3.Operation) []string {
	var out []string
	for status, r := range op.Responses.Map() {
		if slices.Contains(rare, status) {
			continue
		}
		out = append(out, status)
		if m := r.Value.Content["text/event-stream"]; m != nil {
			for event := range m.Extensions["x-sse-events"].(map[string]any) {
				if event != "resumed" && event != "waiting" { // need a death and a crowd: tests of internal/chat and internal/api
					out = append(out, "event "+event)
				}
			}
		}
	}
	return out
}

func conversations(t *testing.T, c *caller) {
	t.Helper()
	one := c.with("Idempotency-Key", "first").ok(201, "POST", "/api/v1/conversations", `{"title":"One","bot":"quick"}`)
	id := one.text("id")
	if again := c.with("Idempotency-Key", "first").ok(201, "POST", "/api/v1/conversations", ""); again.text("id") != id {
		t.Errorf("the same Idempotency-Key gave %s and %s", id, again.text("id"))
	}
	c.ok(201, "POST", "/api/v1/conversations", "")
	path := "/api/v1/conversations/" + id
	if got := c.ok(200, "GET", path, ""); got.body != one.body {
		t.Errorf("GET gives %s, POST gave %s", got.body, one.body)
	}
	if got := c.ok(200, "PATCH", path, `{"title":"  Two "}`); got.text("title") != "Two" {
		t.Errorf("renamed to %q", got.text("title"))
	}
	page := c.ok(200, "GET", "/api/v1/conversations?limit=1", "")
	next := page.text("next")
	if next == "" {
		t.Fatalf("no next page: %s", page.body)
	}
	c.ok(200, "GET", "/api/v1/conversations?limit=1&cursor="+next, "")
	c.ok(400, "GET", "/api/v1/conversations?cursor=nonsense", "")

	c.ok(202, "POST", path+"/activities", `{"type":"event","name":"opened"}`)
	said := c.with("Idempotency-Key", "m").ok(202, "POST", path+"/activities",
		`{"type":"message","text":"Where is the zebra?","from":{"id":"me","name":"Ann"},"custom":{"x":[1]},"channelData":{"mine":1}}`)
	again := c.with("Idempotency-Key", "m").ok(202, "POST", path+"/activities", `{"type":"message","text":"Where is the zebra?"}`)
	if d := cmp.Diff(said.body, again.body); d != "" {
		t.Errorf("a repeated message (-first +again):\n%s", d)
	}
	c.with("Idempotency-Key", "m").ok(409, "POST", path+"/activities", `{"type":"message","text":"Something else"}`)
	c.until("GET", path+"/events", "", turnIs(said.text("turn"), "done"))
	acts := c.ok(200, "GET", path+"/activities", "")
	if acts.text("activities.1.text") != "Where is the zebra?" || acts.get("activities.1.custom.x.0") != 1.0 || acts.text("activities.2.text") != "Well then." {
		t.Errorf("activities: %s", acts.body)
	}
	if hits := c.ok(200, "GET", "/api/v1/search?q=zebra&limit=5", ""); hits.text("hits.0.conversation") != id {
		t.Errorf("search: %s", hits.body)
	}
	c.ok(200, "GET", "/api/v1/search", "")
	shared(t, c, path)
	c.ok(200, "GET", path+"/export", "")
	if md := c.ok(200, "GET", path+"/export?format=md", ""); !strings.Contains(md.body, "Well then.") {
		t.Errorf("markdown: %s", md.body)
	}
	c.ok(204, "DELETE", path, "")
	c.ok(404, "DELETE", path, "")
	c.with("Idempotency-Key", "first").ok(404, "POST", "/api/v1/conversations", "")
}

// carried sends files along.
func carried(t *testing.T, c *caller) {
	t.Helper()
	path := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", `{"bot":"quick"}`).text("id")
	text := c.with("Content-Type", "text/plain").with("Idempotency-Key", "f")
	file := text.ok(201, "POST", path+"/files?name=..%2Fnotes.md", "# Notes")
	if again := text.ok(201, "POST", path+"/files?name=..%2Fnotes.md", "# Notes"); again.body != file.body || file.text("name") != "notes.md" {
		t.Errorf("the same upload: %s and %s", file.body, again.body)
	}
	at := file.text("contentUrl")
	if got := c.ok(200, "GET", at, ""); got.body != "# Notes" || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the file: %s, %v", got.body, got.header)
	}
	svg := c.with("Content-Type", "image/svg+xml").ok(201, "POST", path+"/files?name=a.svg", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
	if got := c.ok(200, "GET", svg.text("contentUrl"), "").header; !strings.HasPrefix(got.Get("Content-Disposition"), "attachment") || !strings.Contains(got.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("a drawing that is a program: %v", got)
	}
	c.ok(202, "POST", path+"/activities", `{"type":"message","text":"","attachments":[`+file.body+`]}`)
	if named := c.ok(200, "GET", path+"/files", ""); named.text("files.0.contentUrl") != at || named.get("files.1") != nil {
		t.Errorf("the files: %s", named.body)
	}
	if md := c.ok(200, "GET", path+"/export?format=md", ""); !strings.Contains(md.body, "[notes.md](<"+at+">)") {
		t.Errorf("markdown: %s", md.body)
	}
	c.ok(400, "POST", path+"/activities", `{"type":"message","text":"x","attachments":[{"contentUrl":"/metrics"}]}`)
	c.ok(413, "POST", path+"/activities", `{"type":"message","text":"x","attachments":[`+strings.Repeat(file.body+",", 2)+file.body+`]}`)
	bytes := c.with("Content-Type", "application/octet-stream")
	bytes.ok(400, "POST", path+"/files", "\x00")
	bytes.ok(413, "POST", path+"/files", strings.Repeat("x", 70_000))
	bytes.with("Idempotency-Key", strings.Repeat("k", 256)).bad(400, "POST", path+"/files", "x")
	none := "/api/v1/conversations/local-000000000000000000000000"
	bytes.ok(404, "POST", none+"/files", "x")
	c.ok(404, "GET", none+"/files", "")
	c.ok(404, "GET", path+"/files/0123456789abcdef", "")
	for _, p := range []string{path + "/files", at} {
		c.with("Parley-Position", "x").bad(400, "GET", p, "")
	}
	c.ok(200, "PATCH", path, `{"trashed":true}`)
	bytes.ok(409, "POST", path+"/files", "x")
	c.ok(204, "DELETE", path, "")
	c.ok(404, "GET", at, "")
}

// shared tags a conversation and lets others read it for a while.
func shared(t *testing.T, c *caller, path string) {
	t.Helper()
	c.ok(200, "PATCH", path, `{"tags":["zoo"," a  trip ","Zoo"]}`)
	c.bad(400, "PATCH", path, `{"tags":[""]}`)
	if tags := c.ok(200, "GET", "/api/v1/tags", ""); tags.text("tags.0.name") != "a trip" || tags.text("tags.1.name") != "zoo" {
		t.Errorf("tags: %s", tags.body)
	}
	if got := c.ok(200, "GET", "/api/v1/conversations?tag=zoo", ""); got.text("conversations.0.tags.0") != "zoo" {
		t.Errorf("what has a tag: %s", got.body)
	}
	if got := c.ok(200, "GET", "/api/v1/search?q=zebra&tag=nothing", ""); strings.Contains(got.body, "zebra") {
		t.Errorf("found without the tag: %s", got.body)
	}
	file := c.with("Content-Type", "application/octet-stream")
	export := `{"conversationId":"x","title":"Old","messages":[{"messageId":"u","isCreatedByUser":true,"text":"Where is the okapi?","createdAt":"2024-01-02T03:04:05Z","files":[{"filename":"okapi.png","type":"image/png"}]},{"messageId":"a","parentMessageId":"u","text":"In the zoo.","createdAt":"2024-01-02T03:04:05Z","feedback":{"rating":"thumbsUp"}}]}`
	if got := file.ok(200, "POST", "/api/v1/import?dry_run=true", export); got.get("conversations") != 1.0 || got.get("messages") != 2.0 || got.get("feedback") != 1.0 || got.text("missing.0") != "okapi.png" {
		t.Errorf("it is said to hold: %s", got.body)
	}
	file.bad(400, "POST", "/api/v1/import?dry_run=maybe", export)
	if got := file.ok(200, "POST", "/api/v1/import", export); got.get("conversations") != 1.0 || got.get("messages") != 2.0 || got.get("feedback") != 1.0 {
		t.Errorf("imported: %s", got.body)
	}
	if got := file.ok(200, "POST", "/api/v1/import", export); got.get("conversations") != 0.0 || got.get("messages") != 0.0 || got.get("known") != 1.0 {
		t.Errorf("imported again: %s", got.body)
	}
	if got := c.ok(200, "GET", "/api/v1/search?q=okapi", ""); got.text("hits.0.at") != "2024-01-02T03:04:05Z" {
		t.Errorf("what was imported is found as %s", got.body)
	}
	file.ok(400, "POST", "/api/v1/import", "PK")
	file.ok(400, "POST", "/api/v1/import", "PK\x03\x04")
	file.ok(413, "POST", "/api/v1/import", `[{"x":"`+strings.Repeat("x", 34<<20))
	keepsSnippets(t, c)
	empty := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", "").text("id")
	c.ok(409, "PUT", empty+"/share", "")
	c.ok(404, "PUT", path+"/share", `{"upto":"nothing"}`)
	c.bad(400, "PUT", path+"/share", `{"live":"yes"}`)
	c.ok(413, "PUT", path+"/share", `{"upto":"`+strings.Repeat("x", 5000)+`"}`)
	link := c.ok(200, "PUT", path+"/share", "").text("share.link")
	if got := c.ok(200, "GET", "/api/v1/conversations?shelf=shared", ""); got.text("conversations.0.share.link") != link || link == "" {
		t.Errorf("what is shared: %s, want %q", got.body, link)
	}
	c.ok(204, "DELETE", path+"/share", "")
	c.ok(204, "DELETE", path+"/share", "")
	c.ok(404, "DELETE", path+"x/share", "")
}

// branches stops, regenerates and edits.
func branches(t *testing.T, c *caller) {
	t.Helper()
	path := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", `{"bot":"endless"}`).text("id")
	said := c.ok(202, "POST", path+"/activities", `{"type":"message","text":"A long one, please."}`)
	turn := said.text("turn")
	c.until("GET", path+"/events", "", func(e sse) bool { return e.name == "delta" })
	c.with("Idempotency-Key", "r").ok(409, "POST", path+"/turns/"+turn+"/regenerate", "")
	c.ok(409, "POST", path+"/turns/"+turn+"/continue", "")
	c.ok(202, "POST", path+"/turns/"+turn+"/stop", "")
	c.until("GET", path+"/events", "", turnIs(turn, "stopped"))
	c.ok(202, "POST", path+"/turns/"+turn+"/stop", "")
	other := c.with("Idempotency-Key", "r").ok(202, "POST", path+"/turns/"+turn+"/regenerate", "").text("turn")
	if again := c.with("Idempotency-Key", "r").ok(202, "POST", path+"/turns/"+turn+"/regenerate", "").text("turn"); again != other {
		t.Errorf("the same Idempotency-Key regenerated %s and %s", other, again)
	}
	c.ok(202, "POST", path+"/turns/"+other+"/stop", "")
	c.until("GET", path+"/events", "", turnIs(other, "stopped"))
	edit := c.ok(202, "POST", path+"/activities", `{"type":"message","text":"Shorter!","channelData":{"parley":{"edits":"`+said.text("id")+`"}}}`)
	c.ok(202, "POST", path+"/turns/"+edit.text("turn")+"/stop", "")
	c.ok(404, "POST", path+"/activities", `{"type":"message","text":"x","channelData":{"parley":{"edits":"a0"}}}`)
	c.ok(404, "POST", path+"/turns/t0/stop", "")
	more := c.ok(202, "POST", path+"/turns/"+turn+"/continue", "").text("turn")
	c.ok(202, "POST", path+"/turns/"+more+"/stop", "")
	c.ok(404, "POST", path+"/turns/t0/continue", "")
	c.with("Idempotency-Key", strings.Repeat("k", 256)).bad(400, "POST", path+"/turns/"+turn+"/continue", "")
	c.ok(404, "POST", path+"/turns/t0/regenerate", "")
	c.with("Idempotency-Key", strings.Repeat("k", 256)).bad(400, "POST", path+"/turns/"+turn+"/regenerate", "")
}

// following reads a conversation from every position.
func following(t *testing.T, c *caller) {
	t.Helper()
	path := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", "").text("id")
	turn := c.ok(202, "POST", path+"/activities", `{"type":"message","text":"Hello"}`).text("turn")
	whole := c.until("GET", path+"/events", "", turnIs(turn, "done"))
	var text strings.Builder
	for i, e := range whole {
		if e.name == "delta" {
			text.WriteString(answer{body: e.data}.text("text"))
		}
		if i == len(whole)-1 {
			break
		}
		for _, rest := range [][]sse{
			c.with("Last-Event-ID", e.id).until("GET", path+"/events?after=0", "", turnIs(turn, "done")),
			c.until("GET", path+"/events?after="+e.id, "", turnIs(turn, "done")),
		} {
			if d := cmp.Diff(whole[i+1:], rest, cmp.AllowUnexported(sse{})); d != "" {
				t.Errorf("behind %s (-whole +resumed):\n%s", e.id, d)
			}
		}
	}
	if text.String() != "Well then." {
		t.Errorf("the deltas make %q", text.String())
	}
	c.with("Last-Event-ID", "x").bad(400, "GET", path+"/events", "")
	c.bad(400, "GET", path+"/events?after=-1", "")
	c.with("Parley-Position", "x").bad(400, "GET", path, "")
	c.with("Parley-Position", "").bad(400, "GET", path, "")
	c.with("Parley-Position", "x").bad(400, "GET", path+"/activities", "")
	c.ok(200, "PATCH", path, `{"title":"Another"}`)
	c.until("GET", path+"/events", "", func(e sse) bool { return e.name == "title" && strings.Contains(e.data, "Another") })
	c.ok(200, "PATCH", path, `{"pinned":true,"system":"Be brief.","params":{"temperature":0.5,"stop":["END"]}}`)
	c.until("GET", path+"/events", "", func(e sse) bool { return e.name == "settings" && strings.Contains(e.data, "END") })
	done := make(chan []sse)
	go func() {
		done <- c.until("GET", path+"/events", "", func(e sse) bool { return e.name == "deleted" })
	}()
	c.until("GET", path+"/events", "", turnIs(turn, "done")) // the other reader is likely to be there, too
	c.ok(204, "DELETE", path, "")
	<-done
}

// badRequests makes each mistake that a client can make.
func badRequests(t *testing.T, c *caller) {
	t.Helper()
	path := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", "").text("id")
	none := "/api/v1/conversations/local-000000000000000000000000"
	for _, x := range []struct {
		status             int
		method, path, body string
	}{
		{400, "POST", "/api/v1/conversations", `{"title":`},
		{400, "POST", "/api/v1/conversations", `{"titel":"x"}`},
		{400, "POST", "/api/v1/conversations", `[]`},
		{400, "POST", "/api/v1/conversations", `{"title":1}`},
		{400, "POST", "/api/v1/conversations", `{"title":"` + strings.Repeat("x", 201) + `"}`},
		{413, "POST", "/api/v1/conversations", `{"title":"` + strings.Repeat("x", 70_000) + `"}`},
		{400, "GET", "/api/v1/conversations?limit=0", ""},
		{400, "GET", "/api/v1/conversations?limit=201", ""},
		{400, "GET", "/api/v1/conversations?limit=many", ""},
		{400, "GET", "/api/v1/search?limit=101", ""},
		{413, "GET", "/api/v1/search?q=" + strings.Repeat("x", 1001), ""},
		{400, "PATCH", path, `{}`},
		{400, "PATCH", path, `{"title":""}`},
		{413, "PATCH", path, `{"title":"` + strings.Repeat("x", 70_000) + `"}`},
		{400, "GET", path + "/export?format=pdf", ""},
		{400, "POST", path + "/activities", ``},
		{400, "POST", path + "/activities", `{"text":"x"}`},
		{400, "POST", path + "/activities", `{"type":"typing"}`},
		{400, "POST", path + "/activities", `{"type":"message","text":7}`},
		{400, "POST", path + "/activities", `{"type":"message","text":"x","channelData":{"parley":{"edits":{}}}}`},
		{400, "POST", "/v1/responses", `{"input":"x","text":{"format":{"type":"json_schema","schema":"x"}}}`},
		{400, "POST", "/v1/responses", `{"input":"x","text":{"format":{"type":"poem"}}}`},
		{400, "POST", "/api/v1/session", `{"key":`},
		{400, "POST", "/api/v1/session", `{"kay":"x"}`},
	} {
		c.bad(x.status, x.method, x.path, x.body)
	}
	for _, x := range []struct {
		status             int
		method, path, body string
	}{ // what no schema can say
		{400, "POST", path + "/activities", "{\"type\":\"message\",\"text\":\"x\"} {}"},
		{400, "POST", path + "/activities", `{"type":"message","text":"  "}`},
		{400, "POST", path + "/activities", "{\"type\":\"message\",\"text\":\"\xff\"}"},
		{413, "POST", path + "/activities", `{"type":"message","text":"` + strings.Repeat("x", 17<<10) + `"}`},
		{400, "POST", "/api/v1/conversations", `{"bot":"nobody"}`},
		{401, "POST", "/api/v1/session", `{"key":"wrong"}`},
		{413, "POST", "/api/v1/session", `{"key":"` + strings.Repeat("x", 5000) + `"}`},
		{404, "GET", none, ""},
		{404, "PATCH", none, `{"title":"x"}`},
		{404, "GET", none + "/activities", ""},
		{404, "POST", none + "/activities", `{"type":"message","text":"x"}`},
		{404, "GET", none + "/events", ""},
		{404, "GET", none + "/export", ""},
	} {
		c.ok(x.status, x.method, x.path, x.body)
	}
	c.with("Content-Type", "text/plain").bad(400, "POST", path+"/activities", `{"type":"message","text":"x"}`)
	c.with("Content-Type", "application/json; charset=utf-8").ok(202, "POST", path+"/activities", `{"type":"message","text":"x"}`)
	if a := c.ok(404, "GET", "/api/v1/nothing", ""); a.text("error.code") != "not_found" {
		t.Errorf("a path that is not there: %s", a.body)
	}
}

// responses drives the Responses API.
func responses(t *testing.T, c *caller) {
	t.Helper()
	const path = "/v1/responses"
	whole := c.ok(200, "POST", path, `{"input":"Hello","metadata":{"a":"b"},"temperature":0.5,"instructions":"Be brief.","max_output_tokens":50}`)
	if whole.text("output_text") != "Well then." || whole.text("status") != "completed" {
		t.Errorf("response: %s", whole.body)
	}
	id := whole.text("id")
	c.ok(200, "GET", path+"/"+id, "")
	next := c.ok(200, "POST", path, `{"input":[{"role":"user","content":"Again?"}],"previous_response_id":"`+id+`"}`)
	for made, a := range map[string]answer{id: whole, next.text("id"): next} {
		if d := cmp.Diff(a.body, c.ok(200, "GET", path+"/"+made, "").body); d != "" {
			t.Errorf("a response (-made +read):\n%s", d)
		}
	}
	end := func(e sse) bool {
		return slices.Contains([]string{"response.completed", "response.failed", "response.incomplete"}, e.name)
	}
	all := c.until("POST", path, `{"input":[{"role":"assistant","content":"Hm."},{"role":"user","content":[{"type":"input_text","text":"Go on"}]}],"stream":true}`, end)
	stored := answer{body: all[0].data}.text("response.id")
	for i := range all[:len(all)-1] {
		n := answer{body: all[i].data}.get("sequence_number")
		if n != float64(i) {
			t.Errorf("event %d has the number %v", i, n)
		}
		rest := c.until("GET", path+"/"+stored+"?stream=true&starting_after="+strconv.Itoa(i), "", end)
		if d := cmp.Diff(all[i+1:], rest, cmp.AllowUnexported(sse{})); d != "" {
			t.Errorf("behind %d (-first reader +resumed):\n%s", i, d)
		}
	}
	slow := c.ok(200, "POST", path, `{"model":"mock/endless","input":"Slowly","background":true}`).text("id")
	c.until("GET", path+"/"+slow+"?stream=true", "", func(e sse) bool { return e.name == "response.output_text.delta" })
	if a := c.ok(200, "POST", path+"/"+slow+"/cancel", ""); a.text("status") != "cancelled" {
		t.Errorf("cancelled: %s", a.body)
	}
	c.until("GET", path+"/"+slow+"?stream=true", "", func(e sse) bool { return e.name == "response.incomplete" })
	c.ok(200, "DELETE", path+"/"+slow, "")
	c.ok(404, "GET", path+"/"+slow, "")
	c.ok(404, "DELETE", path+"/"+slow, "")
	c.ok(404, "POST", path+"/"+slow+"/cancel", "")
	c.ok(404, "GET", path+"/nonsense", "")
	c.ok(404, "POST", path, `{"input":"x","previous_response_id":"resp_none"}`)
	c.bad(400, "GET", path+"/"+id+"?stream=true&starting_after=x", "")
	c.bad(400, "GET", path+"/"+id+"?stream=perhaps", "")
	for _, body := range []string{`{"input":7}`, `{"input":[]}`, `{"input":[{"role":"robot","content":"x"}]}`, `{`, ``} {
		c.bad(400, "POST", path, body)
	}
	c.ok(400, "POST", path, `{"input":"x","tools":[{"type":"web_search"}]}`)
	c.ok(400, "POST", path, `{"input":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`)
	c.ok(413, "POST", path, `{"input":"`+strings.Repeat("x", 70_000)+`"}`)
	c.with("Idempotency-Key", "same").ok(200, "POST", path, `{"input":"x"}`)
	c.with("Idempotency-Key", "same").ok(409, "POST", path, `{"input":"y"}`)
	failed := c.until("POST", path, `{"input":"please 400","stream":true}`, end)
	if e := failed[len(failed)-1]; e.name != "response.failed" {
		t.Errorf("the engine refused, and the response ended with %s: %s", e.name, e.data)
	}
	c.until("GET", path+"/"+answer{body: failed[0].data}.text("response.id")+"?stream=true", "", end)
	short := c.until("POST", path, `{"model":"demonstration","input":"x","stream":true,"max_output_tokens":3}`, end)
	if e := short[len(short)-1]; e.name != "response.incomplete" {
		t.Errorf("a cut response ended with %s: %s", e.name, e.data)
	}
}

// completions drives the gateway, over a server and over an engine inside.
func completions(t *testing.T, c *caller) {
	t.Helper()
	for _, model := range []string{"mock/one", "demonstration"} {
		chat := `{"model":"` + model + `","messages":[{"role":"user","content":"Hi"}],"max_tokens":5`
		c.ok(200, "POST", "/v1/chat/completions", chat+`}`)
		c.until("POST", "/v1/chat/completions", chat+`,"stream":true,"stream_options":{"include_usage":true}}`, func(e sse) bool { return e.data == "[DONE]" })
		c.ok(200, "POST", "/v1/completions", `{"model":"`+model+`","prompt":"Once","max_tokens":5}`)
		c.until("POST", "/v1/completions", `{"model":"`+model+`","prompt":"Once","max_tokens":5,"stream":true}`, func(e sse) bool { return e.data == "[DONE]" })
		c.ok(200, "GET", "/v1/models/"+model, "")
	}
	c.ok(200, "POST", "/v1/embeddings", `{"model":"mock/one","input":["a"]}`)
	c.ok(400, "POST", "/v1/embeddings", `{"model":"demonstration","input":"a"}`)
	c.ok(200, "GET", "/v1/models", "")
	c.ok(404, "GET", "/v1/models/none", "")
	large := strings.Repeat("x", 70_000)
	for op, field := range map[string]string{"chat/completions": `"messages":[{"role":"user","content":"@"}]`, "completions": `"prompt":"@"`, "embeddings": `"input":"@"`} {
		path := "/v1/" + op
		c.ok(404, "POST", path, `{"model":"none",`+strings.ReplaceAll(field, "@", "x")+`}`)
		c.ok(413, "POST", path, `{"model":"demonstration",`+strings.ReplaceAll(field, "@", large)+`}`)
		c.bad(400, "POST", path, `{"model":"demonstration"}`)
		c.bad(400, "POST", path, `{"model":"demonstration"`)
	}
	c.bad(400, "POST", "/v1/chat/completions", `{"model":"demonstration","messages":[{"role":"user","content":"x"}],"temperature":9}`)
	limited := c.ok(429, "POST", "/v1/chat/completions", `{"model":"mock/one","messages":[{"role":"user","content":"please 429"}]}`)
	if limited.header.Get("Retry-After") != "7" {
		t.Errorf("Retry-After is %q", limited.header.Get("Retry-After"))
	}
}

// guests are visitors of a web site: each has conversations of his own, and
// nothing else is theirs.
func guests(t *testing.T, c *caller) {
	t.Helper()
	site := c.with("Origin", c.base)
	hello := site.ok(200, "POST", "/api/v1/widget/session", "")
	guest := site.with("Authorization", "Bearer "+hello.text("pass"))
	if again := guest.ok(200, "POST", "/api/v1/widget/session", `{"bot":"quick"}`); again.text("guest") != hello.text("guest") {
		t.Errorf("who showed the pass of %s became %s", hello.text("guest"), again.text("guest"))
	}
	site.ok(404, "POST", "/api/v1/widget/session", `{"bot":"slow"}`)
	site.bad(400, "POST", "/api/v1/widget/session", `{"bot":1}`)
	site.ok(413, "POST", "/api/v1/widget/session", `{"bot":"`+strings.Repeat("x", 5000)+`"}`)
	c.with("Origin", "https://evil.example").ok(403, "POST", "/api/v1/widget/session", "")

	path := "/api/v1/conversations/" + guest.ok(201, "POST", "/api/v1/conversations", `{"home":"`+hello.text("region")+`"}`).text("id")
	turn := guest.ok(202, "POST", path+"/activities", `{"type":"message","text":"Hello!"}`).text("turn")
	guest.until("GET", path+"/events", "", turnIs(turn, "done"))
	turn = guest.ok(202, "POST", path+"/turns/"+turn+"/regenerate", "").text("turn")
	guest.ok(202, "POST", path+"/turns/"+turn+"/stop", "")
	guest.ok(403, "PATCH", path, `{"system":"You are a pirate."}`)
	c.ok(404, "GET", path, "")
	guest.ok(204, "DELETE", path, "")
}

// keepsSnippets keeps texts for messages and forgets one.
func keepsSnippets(t *testing.T, c *caller) {
	t.Helper()
	const at = "/api/v1/snippets"
	c.ok(200, "PUT", at+"/mail", `{"text":"Write a mail about {{what}}."}`)
	c.ok(200, "PUT", at+"/Gr%C3%BC%C3%9Fe", `{"text":"Many greetings"}`)
	c.ok(200, "PUT", at+"/MAIL", `{"text":"Write a friendly mail about {{what}}."}`)
	c.ok(400, "PUT", at+"/two%20words", `{"text":"x"}`)
	c.ok(400, "PUT", at+"/mail", `{"text":" "}`)
	c.bad(400, "PUT", at+"/mail", `{"text":1}`)
	c.bad(413, "PUT", at+"/mail", `{"text":"`+strings.Repeat("x", 8001)+`"}`)
	c.ok(204, "DELETE", at+"/gr%C3%BC%C3%9Fe", "")
	c.ok(404, "DELETE", at+"/gr%C3%BC%C3%9Fe", "")
	c.ok(400, "DELETE", at+"/two%20words", "")
	if got := c.ok(200, "GET", at, ""); got.body != `{"snippets":[{"name":"mail","text":"Write a friendly mail about {{what}}."}]}`+"\n" {
		t.Errorf("snippets: %s", got.body)
	}
}

// strangers come without a key, with another one, or from another origin.
func strangers(t *testing.T, c *caller) {
	t.Helper()
	alice, bob := c.with("Authorization", "Bearer alices-key-0123456789"), c.with("Api-Key", "bobs-key-0123456789")
	id := alice.ok(201, "POST", "/api/v1/conversations", "").text("id")
	turn := alice.ok(202, "POST", "/api/v1/conversations/"+id+"/activities", `{"type":"message","text":"secret"}`).text("turn")
	file := alice.with("Content-Type", "text/plain").ok(201, "POST", "/api/v1/conversations/"+id+"/files", "secret").text("contentUrl")
	resp := alice.ok(200, "POST", "/v1/responses", `{"input":"secret"}`).text("id")
	input, batch := aBatch(alice)
	foreign := c.with("Sec-Fetch-Site", "cross-site")
	for _, x := range []struct{ method, path, body string }{
		{"GET", "/api/v1/conversations/@", ""},
		{"PATCH", "/api/v1/conversations/@", `{"title":"mine"}`},
		{"DELETE", "/api/v1/conversations/@", ""},
		{"GET", "/api/v1/conversations/@/activities", ""},
		{"POST", "/api/v1/conversations/@/activities", `{"type":"message","text":"x"}`},
		{"GET", "/api/v1/conversations/@/events", ""},
		{"GET", "/api/v1/conversations/@/export", ""},
		{"GET", "/api/v1/conversations/@/files", ""},
		{"GET", file, ""},
		{"PUT", "/api/v1/conversations/@/share", ""},
		{"DELETE", "/api/v1/conversations/@/share", ""},
		{"POST", "/api/v1/conversations/@/turns/" + turn + "/stop", ""},
		{"POST", "/api/v1/conversations/@/turns/" + turn + "/regenerate", ""},
		{"GET", "/v1/responses/" + resp, ""},
		{"DELETE", "/v1/responses/" + resp, ""},
		{"POST", "/v1/responses/" + resp + "/cancel", ""},
		{"POST", "/v1/responses", `{"input":"x","previous_response_id":"` + resp + `"}`},
		{"GET", "/v1/files/" + input + "/content", ""},
		{"DELETE", "/v1/files/" + input, ""},
		{"POST", "/v1/batches", order(input)},
		{"GET", "/v1/batches/" + batch, ""},
		{"POST", "/v1/batches/" + batch + "/cancel", ""},
	} {
		path := strings.ReplaceAll(x.path, "@", id)
		theirs := bob.ok(404, x.method, path, x.body)
		nobodys := bob.ok(404, x.method, strings.ReplaceAll(strings.ReplaceAll(path, id, id[:len(id)-4]+"0000"), turn, "t0"), x.body)
		if a, b := theirs.text("error.code"), nobodys.text("error.code"); a != b {
			t.Errorf("%s %s tells somebody else's (%s) from nobody's (%s)", x.method, path, a, b)
		}
	}
	for path, item := range load(t).Paths.Map() {
		for method, op := range item.Operations() {
			body := bodyFor(op.OperationID)
			c, foreign := c, foreign
			if op.OperationID == "connectorToken" {
				c = c.with("Content-Type", "application/x-www-form-urlencoded")
			}
			if op.OperationID == "uploadFile" {
				c, foreign = c.with("Content-Type", "text/plain"), foreign.with("Content-Type", "text/plain")
			}
			if op.OperationID == "import" {
				c, foreign = c.with("Content-Type", "application/octet-stream"), foreign.with("Content-Type", "application/octet-stream")
			}
			if kind := map[string]string{"uploadBatchFile": formType, "publishModel": "application/zip"}[op.OperationID]; kind != "" {
				c, foreign = c.with("Content-Type", kind), foreign.with("Content-Type", kind)
			}
			if method == http.MethodGet || op.RequestBody == nil {
				body = ""
			}
			path := strings.NewReplacer("{name}", "mail", "{id}", id, "{turn}", turn, "{account}", "shop", "{model}", "demonstration", "{app}", "cityguide", "{slot}", "production", "{version}", "x").Replace(path)
			if op.Responses.Status(401) != nil {
				c.ok(401, method, path, body)
				c.with("Authorization", "Bearer wrong").ok(401, method, path, body)
			}
			if op.Responses.Status(403) != nil && method != http.MethodGet && !strings.HasPrefix(path, "/v3/") { // which pages of other origins use
				foreign.ok(403, method, path, body)
			}
		}
	}
	// Who has a key, but not an operator's, publishes and labels nothing.
	bob.ok(403, "GET", "/api/v1/understanding/unknown", "")
	bob.ok(403, "POST", "/api/v1/understanding/labels", `{"labels":[{"id":"x","intent":"thanks"}]}`)
	bob.ok(403, "GET", "/api/v1/channels", "")
	bob.ok(403, "GET", "/api/v1/channels/letters", "")
	bob.ok(403, "POST", "/api/v1/channels/webhook/accounts/kiosk/check", "")
	bob.ok(403, "POST", "/api/v1/channels/letters/webhook.x.1/replay", "")
	bob.ok(403, "DELETE", "/api/v1/channels/letters/webhook.x.1", "")
	bob.ok(403, "POST", "/api/v1/understanding/models/cityguide/groups", `{"texts":["x"]}`)
	bob.ok(403, "POST", "/api/v1/understanding/models/cityguide/activate", `{"version":"configuration"}`)
	bob.with("Content-Type", "application/zip").ok(403, "PUT", "/api/v1/understanding/models/cityguide", "x")
	if bob.ok(200, "GET", "/api/v1/info", "").get("labels") != false || alice.ok(200, "GET", "/api/v1/info", "").get("labels") != true {
		t.Error("the page offers labelling to others than operators")
	}
	alice.ok(200, "GET", "/api/v1/understanding/unknown", "")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &caller{t: t, base: c.base, client: &http.Client{Transport: c.client.Transport, Jar: jar}}
	browser.ok(204, "POST", "/api/v1/session", `{"key":"alices-key-0123456789"}`)
	browser.ok(200, "GET", "/api/v1/conversations/"+id, "")
	pass := browser.ok(200, "POST", "/api/v1/session/pass", "").text("pass")
	browser.ok(204, "DELETE", "/api/v1/session", "")
	browser.ok(401, "GET", "/api/v1/conversations/"+id, "")
	browser.with("Authorization", "Bearer "+pass).ok(200, "GET", "/api/v1/conversations/"+id, "")
	alice.ok(200, "GET", "/v1/responses/"+resp, "")
}

// bodyFor is a body that an operation takes, as far as its form goes.
func bodyFor(operation string) string {
	switch operation {
	case "createConversation", "changeConversation":
		return `{"title":"x"}`
	case "signIn":
		return `{"key":"x"}`
	case "createResponse":
		return `{"input":"x"}`
	case "predictPost", "predictVersionPost":
		return `{"query":"x"}`
	case "predictV2Post":
		return `"x"`
	case "analyzeConversation":
		return analysis
	case "putSnippet":
		return `{"text":"x"}`
	case "pageToken", "widgetSession", "shareConversation":
		return `{}`
	case "activateModel":
		return `{"version":"x"}`
	case "connectorHistory":
		return `{"activities":[{"type":"message"}]}`
	case "connectorAttach":
		return `{"type":"text/plain","originalBase64":"eA=="}`
	case "connectorToken":
		return "grant_type=client_credentials"
	case "labelMessages":
		return `{"labels":[{"id":"x"}]}`
	case "uploadBatchFile":
		return form("batch", "x")
	case "createBatch":
		return `{"input_file_id":"x","endpoint":"/v1/embeddings","completion_window":"24h"}`
	case "groupTexts":
		return `{"texts":["x"]}`
	}
	return `{"title":"x","type":"message","text":"x","input":"x","prompt":"x","key":"x","messages":[{"role":"user","content":"x"}]}`
}

// usage asks what the session has spent so far.
func usage(t *testing.T, open, keyed *caller) {
	t.Helper()
	all := open.ok(200, "GET", "/api/v1/usage?by=day,tenant,key,user,model", "")
	if n, _ := all.get("total.requests").(float64); n < 3 || all.text("rows.0.user") == "" || all.text("rows.0.model") == "" || all.text("total.currency") != "USD" {
		t.Errorf("usage: %s", all.body)
	}
	if csv := open.ok(200, "GET", "/api/v1/usage?format=csv", ""); !strings.HasPrefix(csv.body, "day,model,requests,prompt_tokens,") {
		t.Errorf("usage as CSV: %s", csv.body)
	}
	open.bad(400, "GET", "/api/v1/usage?from=yesterday", "")
	open.bad(400, "GET", "/api/v1/usage?to=", "")
	open.bad(400, "GET", "/api/v1/usage?by=colour", "")
	open.bad(400, "GET", "/api/v1/usage?format=xml", "")
	open.ok(400, "GET", "/api/v1/usage?from=2026-02-01&to=2026-01-01", "")
	open.ok(400, "GET", "/api/v1/usage?from=2020-01-01&to=2026-01-01", "")
	keyed.ok(401, "GET", "/api/v1/usage", "")
	bob := keyed.with("Authorization", "Bearer bobs-key-0123456789")
	bob.ok(200, "GET", "/api/v1/usage?user=key-bob", "")
	bob.ok(403, "GET", "/api/v1/usage?user=key-alice", "")
	keyed.with("Authorization", "Bearer alices-key-0123456789").ok(200, "GET", "/api/v1/usage?user=key-bob", "")
}

// nodeItself asks for health and what else is not about conversations.
func nodeItself(t *testing.T, open, keyed *caller) {
	t.Helper()
	rebound := open.with("Host", "evil.example")
	for path, item := range load(t).Paths.Map() {
		if op := item.Get; op != nil && op.Responses.Status(403) != nil && !strings.HasPrefix(path, "/v3/") && !strings.HasPrefix(path, "/channels/") {
			rebound.ok(403, "GET", strings.NewReplacer("{id}", "x", "{turn}", "x", "{model}", "x", "{app}", "x", "{slot}", "x", "{version}", "x").Replace(path), "")
		}
	}
	info := open.ok(200, "GET", "/api/v1/info", "")
	if info.text("user") != "local" || info.get("limits.message_bytes") != float64(16<<10) {
		t.Errorf("info: %s", info.body)
	}
	if r := open.ok(200, "GET", "/api/v1/regions", ""); r.text("regions.0.state") != "serving" || r.text("regions.0.leads.0") != "local" {
		t.Errorf("regions: %s", r.body)
	}
	keyed.ok(401, "GET", "/api/v1/regions", "")
	if r := open.ok(200, "GET", "/api/v1/scale", ""); r.text("engines.0.name") != "nap" || r.get("engines.0.replicas.ready") != 0.0 {
		t.Errorf("scale: %s", r.body)
	}
	keyed.ok(401, "GET", "/api/v1/scale", "")
	usage(t, open, keyed)
	open.ok(200, "GET", "/livez", "")
	open.ok(200, "GET", "/readyz", "")
	if h := open.ok(200, "GET", "/healthz", ""); h.get("parts.0.name") == nil {
		t.Errorf("no parts: %s", h.body)
	}
	if h := keyed.ok(200, "GET", "/healthz", ""); h.get("parts") != nil {
		t.Errorf("a stranger sees parts: %s", h.body)
	}
	if m := open.ok(200, "GET", "/metrics", ""); !strings.Contains(m.body, "parley_turns_total") {
		t.Errorf("metrics: %.300s", m.body)
	}
}

package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/health"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/telemetry"
)

// node is the surface over real parts and a canned engine.
type node struct {
	t      *testing.T
	url    string
	engine *demo.Engine
	cookie string
}

func newNode(t *testing.T, canned demo.CannedOptions, change func(*api.Options)) *node {
	t.Helper()
	ctx := t.Context()
	log, err := eventlog.Open(ctx, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	st, err := sqlite.Open(ctx, sqlite.Options{Path: t.TempDir() + "/store.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	projector, err := project.New(project.Options{Log: log, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = projector.Run(run) }()
	t.Cleanup(func() { stop(); <-done })
	n := &node{t: t, engine: demo.Canned(canned)}
	engines := roster.New(fleet.Options{})
	engines.Expect("canned", "", nil).Serve(n.engine, "", nil)
	if canned.Slots > 0 {
		engines.Line()
	}
	t.Cleanup(func() { _ = engines.Close() })
	svc, err := chat.New(chat.Options{Log: log, Engines: engines, Bots: []chat.Bot{{ID: "default"}}, Checkpoint: 2 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		svc.Stop(ctx)
	})
	guard, err := auth.New(auth.Options{Secret: []byte(strings.Repeat("s", 32)), Open: true})
	if err != nil {
		t.Fatal(err)
	}
	opts := api.Options{
		Chat: svc, Store: st, Guard: guard, Board: health.New(0), Metrics: telemetry.New("test", "local"),
		Info: func() api.Info { return api.Info{Version: "test"} }, MaxBody: 64 << 10, Heartbeat: 20 * time.Millisecond,
		Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }),
		Fresh: func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if last, err := log.Last(ctx, "CONV_local_0"); err == nil {
				_ = projector.WaitFor(ctx, "CONV_local_0", last)
			}
		},
	}
	if change != nil {
		change(&opts)
	}
	h, err := api.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	n.url = srv.URL
	return n
}

// do sends a request and returns status and body.
func (n *node) do(method, path, body string, header ...string) (int, string) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if n.cookie != "" {
		req.Header.Set("Cookie", n.cookie)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (n *node) want(status int, into any, method, path, body string, header ...string) {
	n.t.Helper()
	got, text := n.do(method, path, body, header...)
	if got != status {
		n.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, text)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			n.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
}

func (n *node) conversation() string {
	var c struct{ ID string }
	n.want(201, &c, "POST", "/api/v1/conversations", "{}")
	return c.ID
}

type accepted struct{ ID, Turn string }

func (n *node) say(conv, text string, header ...string) accepted {
	var a accepted
	b, _ := json.Marshal(map[string]string{"type": "message", "text": text})
	n.want(202, &a, "POST", "/api/v1/conversations/"+conv+"/activities", string(b), header...)
	return a
}

type sse struct{ id, event, data string }

// events reads until the predicate holds of an event.
func (n *node) events(path string, last func(sse) bool, header ...string) []sse {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", n.url+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if n.cookie != "" {
		req.Header.Set("Cookie", n.cookie)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		n.t.Fatalf("events: %s", resp.Status)
	}
	return readEvents(n.t, resp.Body, last)
}

func readEvents(t *testing.T, r io.Reader, last func(sse) bool) []sse {
	t.Helper()
	var out []sse
	var e sse
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		name, value, _ := strings.Cut(in.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data = value
		case "":
			if e.event != "" {
				out = append(out, e)
				if last(e) {
					return out
				}
			}
			e = sse{}
		}
	}
	t.Fatalf("the stream ended after %d events: %v", len(out), in.Err())
	return nil
}

func ended(turn string) func(sse) bool {
	return func(e sse) bool {
		return e.event == "turn" && strings.Contains(e.data, turn) && strings.Contains(e.data, `"state":"done"`)
	}
}

func text(events []sse) string {
	var b strings.Builder
	for _, e := range events {
		if e.event == "delta" {
			var d struct{ Text string }
			_ = json.Unmarshal([]byte(e.data), &d)
			b.WriteString(d.Text)
		}
	}
	return b.String()
}

func TestConversation(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Words: 40, Delay: time.Millisecond}, nil)
	conv := n.conversation()
	a := n.say(conv, "Grüße, 世界")
	path := "/api/v1/conversations/" + conv
	all := n.events(path+"/events", ended(a.Turn))
	if got := text(all); got != demo.Words(40) {
		t.Errorf("streamed %q", got)
	}
	// From every position the rest is the same, by header and by query.
	for i, e := range all {
		if i == len(all)-1 {
			break
		}
		if diff := cmp.Diff(all[i+1:], n.events(path+"/events", ended(a.Turn), "Last-Event-ID", e.id), cmp.AllowUnexported(sse{})); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", e.id, diff)
		}
		if got := n.events(path+"/events?after="+e.id, ended(a.Turn)); len(got) != len(all)-i-1 {
			t.Fatalf("after=%s gives %d events, want %d", e.id, len(got), len(all)-i-1)
		}
	}
	var acts struct {
		Activities []struct{ ID, Text, ReplyToID string }
	}
	n.want(200, &acts, "GET", path+"/activities", "")
	if len(acts.Activities) != 2 || acts.Activities[0].Text != "Grüße, 世界" || acts.Activities[1].ReplyToID != a.ID {
		t.Errorf("activities: %+v", acts)
	}
	var list struct{ Conversations []struct{ ID, Title string } }
	n.want(200, &list, "GET", "/api/v1/conversations", "")
	if len(list.Conversations) != 1 || list.Conversations[0].Title != "Grüße, 世界" {
		t.Errorf("list: %+v", list)
	}
	var hits struct {
		Hits []struct{ Activity, Snippet string }
	}
	n.want(200, &hits, "GET", "/api/v1/search?q=grusse", "")
	n.want(200, &hits, "GET", "/api/v1/search?q=gru%C3%9Fe", "")
	if len(hits.Hits) != 1 || hits.Hits[0].Activity != a.ID {
		t.Errorf("hits: %+v", hits)
	}
	n.want(200, nil, "PATCH", path, `{"title":"Greetings"}`)
	_, md := n.do("GET", path+"/export?format=md", "")
	if !strings.HasPrefix(md, "# Greetings\n") || !strings.Contains(md, demo.Words(40)) {
		t.Errorf("export: %s", md)
	}
	n.want(204, nil, "DELETE", path, "")
	for _, p := range []string{path, path + "/activities", path + "/events", path + "/export"} {
		n.want(404, nil, "GET", p, "")
	}
	n.want(200, &list, "GET", "/api/v1/conversations", "")
	if len(list.Conversations) != 0 {
		t.Errorf("the deleted conversation is still listed: %+v", list)
	}
}

func TestBrowserSessionsAreApart(t *testing.T) {
	n := newNode(t, demo.CannedOptions{}, nil)
	visit := func() string {
		resp, err := http.Get(n.url + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		c := resp.Cookies()
		if len(c) != 1 {
			t.Fatalf("cookies: %v", c)
		}
		return c[0].Name + "=" + c[0].Value
	}
	ann, bob := visit(), visit()
	n.cookie = ann
	conv := n.conversation()
	a := n.say(conv, "private")
	for _, cookie := range []string{bob, ""} {
		n.cookie = cookie
		for _, x := range [][2]string{{"GET", ""}, {"GET", "/activities"}, {"GET", "/events"}, {"GET", "/export"}, {"DELETE", ""}} {
			n.want(404, nil, x[0], "/api/v1/conversations/"+conv+x[1], "")
		}
		n.want(404, nil, "PATCH", "/api/v1/conversations/"+conv, `{"title":"x"}`)
		n.want(404, nil, "POST", "/api/v1/conversations/"+conv+"/activities", `{"type":"message","text":"x"}`)
		n.want(404, nil, "POST", "/api/v1/conversations/"+conv+"/turns/"+a.Turn+"/stop", "")
		n.want(404, nil, "POST", "/api/v1/conversations/"+conv+"/turns/"+a.Turn+"/regenerate", "")
		n.want(404, nil, "GET", "/v1/responses/resp_"+conv+"_"+a.Turn, "")
		var hits struct{ Hits []any }
		n.want(200, &hits, "GET", "/api/v1/search?q=private", "")
		if len(hits.Hits) != 0 {
			t.Errorf("somebody else finds %v", hits)
		}
	}
}

func TestBadInput(t *testing.T) {
	n := newNode(t, demo.CannedOptions{}, nil)
	conv := n.conversation()
	acts := "/api/v1/conversations/" + conv + "/activities"
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		says                     string
		header                   []string
	}{
		{"truncated JSON", "POST", acts, `{"type":"mess`, 400, "breaks off", nil},
		{"wrong type", "POST", acts, `{"type":"message","text":5}`, 400, `"text" must be a string`, nil},
		{"a list", "POST", acts, `[1]`, 400, "must be a JSON object", nil},
		{"nothing", "POST", acts, `null`, 400, "must be a JSON object", nil},
		{"two values", "POST", acts, `{"type":"message","text":"a"} {}`, 400, "behind the JSON", nil},
		{"not UTF-8", "POST", acts, "{\"type\":\"message\",\"text\":\"\xff\"}", 400, "UTF-8", nil},
		{"empty body", "POST", acts, ``, 400, "body is empty", nil},
		{"empty text", "POST", acts, `{"type":"message","text":"  "}`, 400, "empty", nil},
		{"large body", "POST", acts, `{"type":"message","text":"` + strings.Repeat("x", 10<<20) + `"}`, 413, "larger than", nil},
		{"a form", "POST", acts, `a=b`, 400, "Content-Type", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"long key", "POST", acts, `{"type":"message","text":"x"}`, 400, "Idempotency-Key", []string{"Idempotency-Key", strings.Repeat("k", 300)}},
		{"unknown field", "POST", "/api/v1/conversations", `{"titel":"x"}`, 400, `"titel" is not known`, nil},
		{"unknown bot", "POST", "/api/v1/conversations", `{"bot":"nobody"}`, 400, "no bot", nil},
		{"unknown home", "POST", "/api/v1/conversations", `{"home":"mars"}`, 400, "no region", nil},
		{"a home that is none", "POST", "/api/v1/conversations", `{"home":"local.*"}`, 400, "no region", nil},
		{"unknown conversation", "GET", "/api/v1/conversations/local-000000000000000000000000", "", 404, "no conversation", nil},
		{"strange id", "GET", "/api/v1/conversations/..%2f..%2fetc", "", 404, "no conversation", nil},
		{"unknown route", "GET", "/api/v1/nothing", "", 404, "nothing at", nil},
		{"bad position", "GET", "/api/v1/conversations/" + conv + "/events?after=x", "", 400, "whole number", nil},
		{"bad limit", "GET", "/api/v1/conversations?limit=0", "", 400, "1 to 200", nil},
		{"bad cursor", "GET", "/api/v1/conversations?cursor=%00zzz", "", 400, "", nil},
		{"bad format", "GET", "/api/v1/conversations/" + conv + "/export?format=exe", "", 400, "json or md", nil},
		{"empty title", "PATCH", "/api/v1/conversations/" + conv, `{"title":""}`, 400, "1 to 200", nil},
		{"no title", "PATCH", "/api/v1/conversations/" + conv, `{}`, 400, "nothing is to be changed", nil},
		{"unknown turn", "POST", "/api/v1/conversations/" + conv + "/turns/zz/stop", "", 404, "no turn", nil},
		{"cross-site", "POST", acts, `{"type":"message","text":"x"}`, 403, "origin", []string{"Sec-Fetch-Site", "cross-site"}},
		{"foreign origin", "POST", acts, `{"type":"message","text":"x"}`, 403, "origin", []string{"Origin", "https://evil.example"}},
		{"response without input", "POST", "/v1/responses", `{}`, 400, "input", nil},
		{"response with tools", "POST", "/v1/responses", `{"input":"x","tools":[{}]}`, 400, "tools", nil},
		{"response with an image", "POST", "/v1/responses", `{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`, 400, "input_image", nil},
		{"nonsense to edit", "POST", acts, `{"type":"message","text":"x","channelData":{"parley":7}}`, 400, "channelData.parley", nil},
		{"wrong method", "PUT", acts, `{}`, 405, "GET, POST", nil},
		{"response with a schema that is none", "POST", "/v1/responses", `{"input":"x","text":{"format":{"type":"json_schema","schema":5}}}`, 400, "must be a JSON schema", nil},
		{"response without room", "POST", "/v1/responses", `{"input":"x","max_output_tokens":0}`, 400, "at least 1", nil},
		{"response too hot", "POST", "/v1/responses", `{"input":"x","temperature":3}`, 400, "0 to 2", nil},
		{"response with a strange format", "POST", "/v1/responses", `{"input":"x","text":{"format":{"type":"grammar"}}}`, 400, "grammar", nil},
		{"unknown response", "GET", "/v1/responses/resp_x", "", 404, "no response", nil},
		{"unknown model", "POST", "/v1/responses", `{"input":"x","model":"nope"}`, 404, "nope", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := n.do(tc.method, tc.path, tc.body, tc.header...)
			if status != tc.status || !strings.Contains(body, strings.ReplaceAll(tc.says, `"`, `\"`)) || !strings.Contains(body, `"error"`) {
				t.Errorf("status %d, want %d with %q: %s", status, tc.status, tc.says, body)
			}
		})
	}
	if got := n.engine.Calls().Generate; got != 0 {
		t.Errorf("the engine was asked %d times", got)
	}
}

func TestSlowReaderHoldsNobodyUp(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Words: 3000, Delay: 100 * time.Microsecond}, nil)
	conv := n.conversation()
	path := "/api/v1/conversations/" + conv + "/events"
	slow, err := http.Get(n.url + path) // never read
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	a := n.say(conv, "go")
	got := make(chan string, 2)
	for range 2 { // two tabs
		go func() { got <- text(n.events(path, ended(a.Turn))) }()
	}
	for range 2 {
		if s := <-got; s != demo.Words(3000) {
			t.Errorf("a tab saw %d bytes of %d", len(s), len(demo.Words(3000)))
		}
	}
}

func TestHeartbeat(t *testing.T) {
	n := newNode(t, demo.CannedOptions{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", n.url+"/api/v1/conversations/"+n.conversation()+"/events", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in, beats := bufio.NewScanner(resp.Body), 0
	for beats < 3 && in.Scan() {
		if in.Text() == ": alive" {
			beats++
		}
	}
	if beats < 3 {
		t.Errorf("%d heartbeats", beats)
	}
}

func TestResponses(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Delay: time.Millisecond, Answer: func(r lm.Request) string {
		return fmt.Sprintf("%d messages, last %q", len(r.Messages), r.Messages[len(r.Messages)-1].Text)
	}}, nil)
	type object struct {
		ID, Status string
		OutputText string `json:"output_text"`
		Usage      *struct {
			OutputTokens int `json:"output_tokens"`
		}
	}
	var first object
	n.want(200, &first, "POST", "/v1/responses", `{"model":"canned","input":"hi","instructions":"be brief"}`)
	if first.Status != "completed" || first.OutputText != `2 messages, last "hi"` || first.Usage == nil {
		t.Errorf("got %+v", first)
	}
	var second object
	n.want(200, &second, "POST", "/v1/responses", `{"input":[{"role":"user","content":"more"}],"background":true,"previous_response_id":"`+first.ID+`"}`)
	stream := "/v1/responses/" + second.ID + "?stream=true"
	done := func(e sse) bool { return e.event == "response.completed" }
	all := n.events(stream, done)
	for i := range all[:len(all)-1] {
		var x struct {
			N int `json:"sequence_number"`
		}
		if err := json.Unmarshal([]byte(all[i].data), &x); err != nil || x.N != i {
			t.Fatalf("event %d has number %d (%v)", i, x.N, err)
		}
		rest := n.events(fmt.Sprintf("%s&starting_after=%d", stream, i), done)
		if len(rest) != len(all)-i-1 || rest[0].event != all[i+1].event {
			t.Fatalf("starting after %d: %d events, want %d", i, len(rest), len(all)-i-1)
		}
	}
	n.want(200, &second, "GET", "/v1/responses/"+second.ID, "")
	if second.Status != "completed" || second.OutputText != `3 messages, last "more"` {
		t.Errorf("got %+v", second)
	}
	var list struct{ Conversations []any }
	n.want(200, &list, "GET", "/api/v1/conversations", "")
	if len(list.Conversations) != 0 {
		t.Errorf("responses show in the list of conversations: %v", list)
	}
	n.want(200, nil, "DELETE", "/v1/responses/"+first.ID, "")
	n.want(404, nil, "GET", "/v1/responses/"+first.ID, "")
}

func TestATurnInLineSaysWhereItIs(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Words: 2000, Delay: time.Millisecond, Slots: 1}, nil)
	first, second := n.conversation(), n.conversation()
	running := n.say(first, "go")
	n.events("/api/v1/conversations/"+first+"/events", func(e sse) bool { return e.event == "delta" })
	acc := n.say(second, "and me")
	told := n.events("/api/v1/conversations/"+second+"/events", func(e sse) bool { return e.event == "waiting" })
	last := told[len(told)-1]
	if want := fmt.Sprintf(`{"turn":%q,"place":1}`, acc.Turn); last.data != want || last.id != "" {
		t.Errorf("got %+v, want %s without an id", last, want)
	}
	n.want(202, nil, "POST", "/api/v1/conversations/"+first+"/turns/"+running.Turn+"/stop", "")
	all := n.events("/api/v1/conversations/"+second+"/events", ended(acc.Turn))
	if got := text(all); got != demo.Words(2000) {
		t.Errorf("it was answered with %d bytes", len(got))
	}
}

func TestHangUpStopsAPlainResponse(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Words: 1 << 20, Delay: time.Millisecond}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", n.url+"/v1/responses", strings.NewReader(`{"input":"go","stream":true}`))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	readEvents(t, resp.Body, func(e sse) bool { return e.event == "response.output_text.delta" })
	cancel()
	deadline := time.Now().Add(10 * time.Second)
	for n.engine.Calls().Running > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the engine writes on for nobody")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Who has seen more of a conversation elsewhere is not shown less here.
func TestPositionOfAnotherRegion(t *testing.T) {
	n := newNode(t, demo.CannedOptions{}, nil)
	conv := n.conversation()
	acts := "/api/v1/conversations/" + conv + "/activities"
	var said struct{ Position uint64 }
	n.want(202, &said, "POST", acts, `{"type":"event","text":"x"}`)
	if said.Position == 0 {
		t.Fatal("the 202 names no position")
	}
	n.want(200, nil, "GET", acts, "", "Parley-Position", strconv.FormatUint(said.Position, 10))
	n.want(400, nil, "GET", acts, "", "Parley-Position", "here")
	ahead := strconv.FormatUint(said.Position+8, 10)
	n.want(503, nil, "GET", acts, "", "Parley-Position", ahead)
	read := make(chan int, 1)
	go func() {
		status, _ := n.do("GET", acts, "", "Parley-Position", ahead)
		read <- status
	}()
	n.want(202, nil, "POST", acts, `{"type":"event","text":"y"}`)
	if got := <-read; got != 200 {
		t.Errorf("a request that waits for what comes next: %d", got)
	}
}

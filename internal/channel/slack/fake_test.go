package slack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	api "github.com/slack-go/slack"
)

const (
	team  = "T0TEAM"
	token = "xoxb-a-token-that-nobody-may-see"
	self  = "U0SELF"
	botID = "B0SELF"
)

// fake is Slack's Web API as far as the channel calls it. It is as strict as
// what Slack has published, and notes in faults what Slack would not forgive.
type fake struct {
	t   *testing.T
	srv *httptest.Server

	mu       sync.Mutex // guards all below
	n        int
	messages []*said
	calls    []call
	faults   []string
	files    map[string]string // contents by id
	limited  int               // so many calls are answered with 429
	after    int               // seconds of Retry-After
	until    time.Time         // no calls before
	lost     map[string]int    // so many calls of a method are done, and their answers lost
	scopes   string
	refuse   map[string]string // errors by method
	later    map[string]int    // after so many calls, a method is limited
}

type call struct {
	method string
	form   url.Values
	at     time.Time
	error  string
}

// said is a message in the workspace.
type said struct {
	channel, thread, ts string
	markdown, text      string
	blocks              []map[string]any
	metadata            json.RawMessage
	streaming           bool
	bot                 bool
	gone                bool
	file                string
	edits               int
	at                  time.Time // of the last change
}

// shown is what people see of a message.
func (m *said) shown() string {
	if m.markdown != "" {
		return m.markdown
	}
	for _, b := range m.blocks {
		if b["type"] == "markdown" {
			return b["text"].(string)
		}
		if t, ok := b["text"].(map[string]any); ok && b["type"] == "section" {
			return t["text"].(string)
		}
	}
	return m.text
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, files: map[string]string{}, lost: map[string]int{}, refuse: map[string]string{}, later: map[string]int{}, after: 1}
	f.srv = httptest.NewServer(f)
	t.Cleanup(func() {
		f.srv.Close()
		for _, x := range f.faults {
			t.Errorf("Slack would say: %s", x)
		}
	})
	return f
}

func (f *fake) url() string { return f.srv.URL + "/api/" }

// all returns the messages of a place, in order.
func (f *fake) all(channel, thread string) []*said {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*said
	for _, m := range f.messages {
		if m.channel == channel && m.thread == thread && !m.gone {
			c := *m
			out = append(out, &c)
		}
	}
	return out
}

func (f *fake) texts(channel, thread string) (out []string) {
	for _, m := range f.all(channel, thread) {
		out = append(out, m.shown())
	}
	return out
}

// methods returns which methods were called, without those that were refused
// for their rate.
func (f *fake) methods() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c.error != "ratelimited" {
			out = append(out, c.method)
		}
	}
	return out
}

func (f *fake) fault(format string, args ...any) {
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	method, ok := strings.CutPrefix(r.URL.Path, "/api/")
	if !ok && strings.HasPrefix(r.URL.Path, "/upload/") {
		f.uploaded(w, r)
	}
	if !ok {
		return
	}
	if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.ParseForm() != nil {
		f.fault("%s: %s with query %q", method, r.Method, r.URL.RawQuery)
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if given == "" {
		given = r.Form.Get("token")
	}
	if f.scopes != "" {
		w.Header().Set("X-OAuth-Scopes", f.scopes)
	}
	c := call{method: method, form: r.Form, at: time.Now()}
	answer := map[string]any{"ok": true}
	switch {
	case given != token:
		c.error = "invalid_auth"
	case f.limited > 0 && strings.HasPrefix(method, "chat."), time.Now().Before(f.until):
		if f.limited == 0 && strings.HasPrefix(method, "chat.") {
			f.fault("%s comes %v too early", method, time.Until(f.until))
		}
		if f.limited > 0 {
			f.limited--
			f.until = time.Now().Add(time.Duration(f.after) * time.Second)
		}
		c.error = "ratelimited"
		w.Header().Set("Retry-After", strconv.Itoa(f.after))
		w.WriteHeader(http.StatusTooManyRequests)
	case f.refuse[method] != "":
		c.error = f.refuse[method]
	default:
		c.error = f.do(method, r.Form, answer)
	}
	f.calls = append(f.calls, c)
	if f.later[method] > 0 {
		if f.later[method]--; f.later[method] == 0 {
			f.refuse[method] = "ratelimited"
		}
	}
	if c.error != "" {
		answer = map[string]any{"ok": false, "error": c.error}
	}
	if f.lost[method] > 0 {
		f.lost[method]--
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func units(s string) int { return len(utf16.Encode([]rune(s))) }

func (f *fake) do(method string, form url.Values, answer map[string]any) string {
	switch method {
	case "auth.test":
		answer["team_id"], answer["user_id"], answer["bot_id"] = team, self, botID
		return ""
	case "conversations.replies", "conversations.history":
		return f.read(method, form, answer)
	case "files.getUploadURLExternal":
		f.n++
		id := fmt.Sprintf("F%d", f.n)
		if form.Get("filename") == "" || form.Get("length") == "" {
			return "invalid_arguments"
		}
		f.files[id] = ""
		answer["file_id"], answer["upload_url"] = id, f.srv.URL+"/upload/"+id+"/"+form.Get("filename")
		return ""
	case "files.completeUploadExternal":
		var files []struct{ ID, Title string }
		if json.Unmarshal([]byte(form.Get("files")), &files) != nil || len(files) != 1 || f.files[files[0].ID] == "" {
			return "invalid_arguments"
		}
		f.add(&said{channel: form.Get("channel_id"), thread: form.Get("thread_ts"), text: files[0].Title, file: files[0].Title, bot: true})
		answer["files"] = []map[string]string{{"id": files[0].ID, "title": files[0].Title}}
		return ""
	case "assistant.threads.setStatus":
		if form.Get("thread_ts") == "" || form.Get("channel_id") == "" {
			return "invalid_arguments"
		}
		return ""
	}
	channel := form.Get("channel")
	if channel == "" || channel == "C0GONE" {
		return "channel_not_found"
	}
	answer["channel"] = channel
	if method == "chat.postMessage" || method == "chat.startStream" {
		return f.begin(method, form, answer)
	}
	i := slices.IndexFunc(f.messages, func(m *said) bool { return m.ts == form.Get("ts") && m.channel == channel && !m.gone })
	if i < 0 {
		return "message_not_found"
	}
	m := f.messages[i]
	answer["ts"], m.at = m.ts, time.Now()
	switch method {
	case "chat.update":
		if m.streaming {
			return "streaming_state_conflict"
		}
		if units(form.Get("text")) > 4000 {
			return "msg_too_long"
		}
		if err := f.content(m, form); err != "" {
			return err
		}
		m.edits++
	case "chat.delete":
		if m.streaming {
			return "cant_delete_message"
		}
		m.gone = true
	case "chat.appendStream", "chat.stopStream":
		if !m.streaming {
			return "message_not_in_streaming_state"
		}
		if err := f.grow(m, form); err != "" {
			return err
		}
		if method == "chat.stopStream" {
			m.streaming = false
			f.meta(m, form)
			if err := f.blocks(m, form, units(m.markdown)); err != "" {
				return err
			}
		} else if form.Get("markdown_text") == "" {
			return "no_text"
		}
	default:
		f.fault("there is no method %s", method)
		return "unknown_method"
	}
	return ""
}

func (f *fake) add(m *said) *said {
	f.n++
	m.ts, m.at = fmt.Sprintf("%d.%06d", time.Now().Unix(), f.n), time.Now()
	f.messages = append(f.messages, m)
	return m
}

func (f *fake) begin(method string, form url.Values, answer map[string]any) string {
	m := &said{channel: form.Get("channel"), thread: form.Get("thread_ts"), bot: true}
	if method == "chat.startStream" {
		switch {
		case m.thread == "":
			return "invalid_thread_ts"
		case form.Get("recipient_user_id") == "":
			return "missing_recipient_user_id"
		case form.Get("recipient_team_id") != team:
			return "missing_recipient_team_id"
		}
		m.streaming = true
		if err := f.grow(m, form); err != "" {
			return err
		}
	} else if err := f.content(m, form); err != "" {
		return err
	}
	answer["ts"] = f.add(m).ts
	return ""
}

// grow appends to a stream. White space at the beginning of what is appended
// gets lost.
func (f *fake) grow(m *said, form url.Values) string {
	more := form.Get("markdown_text")
	if units(more) > 12000 || units(m.markdown+more) > 12000 {
		return "msg_too_long"
	}
	if strings.TrimLeft(more, " \n\t") != more {
		f.fault("what is appended begins with white space: %q", more)
	}
	m.markdown += more
	return f.calm(m.markdown)
}

// calm refuses what calls people.
func (f *fake) calm(s string) string {
	for _, x := range []string{"<!channel", "<!here", "<!everyone", "<!subteam", "<@U", "<@W"} {
		if strings.Contains(s, x) {
			f.fault("%q calls people", s)
		}
	}
	return ""
}

func (f *fake) content(m *said, form url.Values) string {
	if form.Get("text") == "" && form.Get("blocks") == "" {
		return "no_text"
	}
	if units(form.Get("text")) > 40000 {
		return "msg_too_long"
	}
	m.text, m.markdown = form.Get("text"), ""
	f.calm(m.text)
	f.meta(m, form)
	return f.blocks(m, form, 0)
}

func (f *fake) meta(m *said, form url.Values) {
	var meta api.SlackMetadata
	if json.Unmarshal([]byte(form.Get("metadata")), &meta) != nil || meta.EventType == "" || strings.Trim(meta.EventType, "abcdefghijklmnopqrstuvwxyz_") != "" {
		f.fault("metadata %q", form.Get("metadata"))
	}
	m.metadata = json.RawMessage(form.Get("metadata"))
}

// blocks judges blocks by the published limits, and by how slack-go reads them.
func (f *fake) blocks(m *said, form url.Values, whole int) string {
	raw := form.Get("blocks")
	if raw == "" {
		m.blocks = nil
		return ""
	}
	var known api.Blocks
	var all []map[string]any
	if json.Unmarshal([]byte(raw), &known) != nil || json.Unmarshal([]byte(raw), &all) != nil || len(all) > 50 {
		return "invalid_blocks_format"
	}
	ids := map[any]bool{}
	for i, b := range known.BlockSet {
		whole += units(fmt.Sprint(all[i]["text"]))
		switch b := b.(type) {
		case *api.MarkdownBlock:
			f.calm(b.Text)
			if b.Text == "" || units(b.Text) > 12000 {
				return "invalid_blocks"
			}
		case *api.SectionBlock:
			if b.Text == nil || b.Text.Text == "" || units(b.Text.Text) > 3000 {
				return "invalid_blocks"
			}
			if b.Text.Type == "mrkdwn" {
				f.calm(b.Text.Text)
			}
		case *api.ImageBlock:
			if !strings.HasPrefix(b.ImageURL, "http") || len(b.ImageURL) > 3000 || b.AltText == "" || units(b.AltText) > 2000 {
				return "invalid_blocks"
			}
		case *api.ActionBlock:
			if n := len(b.Elements.ElementSet); n == 0 || n > 25 {
				return "invalid_blocks"
			}
			for _, e := range b.Elements.ElementSet {
				x, ok := e.(*api.ButtonBlockElement)
				if !ok || x.Text.Type != "plain_text" || x.Text.Text == "" || units(x.Text.Text) > 75 || units(x.Value) > 2000 || len(x.URL) > 3000 || ids[x.ActionID] {
					return "invalid_blocks"
				}
				ids[x.ActionID] = true
			}
		default:
			return "invalid_blocks"
		}
	}
	if whole > 13000 {
		return "msg_blocks_too_long"
	}
	m.blocks = all
	return ""
}

func (f *fake) read(method string, form url.Values, answer map[string]any) string {
	thread := form.Get("ts")
	if (method == "conversations.replies") != (thread != "") {
		return "invalid_arguments"
	}
	if form.Get("include_all_metadata") != "1" {
		f.fault("%s without metadata", method)
	}
	var out []map[string]any
	for _, m := range f.messages {
		if m.channel != form.Get("channel") || m.thread != thread || m.gone || m.ts < form.Get("oldest") {
			continue
		}
		x := map[string]any{"type": "message", "ts": m.ts, "text": m.text + m.markdown}
		if m.bot {
			x["bot_id"], x["user"] = botID, self
		}
		if m.metadata != nil {
			x["metadata"] = m.metadata
		}
		if m.file != "" {
			x["files"] = []map[string]string{{"id": "F0", "name": m.file}}
		}
		out = append(out, x)
	}
	// Pages of two, so that more than one is read.
	from, _ := strconv.Atoi(form.Get("cursor"))
	to := min(from+2, len(out))
	answer["messages"], answer["has_more"] = out[from:to], to < len(out)
	answer["response_metadata"] = map[string]string{"next_cursor": strconv.Itoa(to)}
	return ""
}

func (f *fake) uploaded(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(r.URL.Path, "/")
	file, _, err := r.FormFile("file")
	if _, ok := f.files[part[2]]; len(part) != 4 || !ok || err != nil {
		f.fault("an upload to %s: %v", r.URL.Path, err)
		return
	}
	b := make([]byte, 1<<20)
	n, _ := file.Read(b)
	f.files[part[2]] = string(b[:n])
}

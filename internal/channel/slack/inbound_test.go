package slack_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/slack"
	"github.com/parleyhq/parley/internal/fault"
)

// desk keeps what it is given.
type desk struct {
	mu     sync.Mutex // guards all below
	err    error
	starts []channel.Start
	names  []string
	taken  []channel.Inbound
	no     []string
	keys   map[string]bool
}

func (d *desk) Place(_ context.Context, name string, s channel.Start) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts, d.names = append(d.starts, s), append(d.names, name)
	return "local-" + name, d.err
}

func (d *desk) Take(_ context.Context, in channel.Inbound) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if key := in.Conversation + in.Key; !d.keys[key] {
		if d.keys == nil {
			d.keys = map[string]bool{}
		}
		d.keys[key] = true
		d.taken = append(d.taken, in)
	}
	return 8, d.err
}

func (d *desk) Observer() channel.Observer { return d }

func (d *desk) Received(string, string)         {}
func (d *desk) Refused(_, reason string)        { d.no = append(d.no, reason) }
func (d *desk) Delivered(string, time.Duration) {}
func (d *desk) Connected(string, int)           {}
func (d *desk) Posted(string, string)           {}

func sign(body, secret string, at time.Time) http.Header {
	ts := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte("v0:" + ts + ":" + body))
	h := http.Header{}
	h.Set("X-Slack-Request-Timestamp", ts)
	h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(m.Sum(nil)))
	return h
}

func send(h http.Handler, path, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/channels/slack/"+path, strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func signed(h http.Handler, path, body string) *httptest.ResponseRecorder {
	return send(h, path, body, sign(body, signing, time.Now()))
}

func callback(event string) string {
	return `{"token":"old-token","team_id":"` + team + `","api_app_id":"A0","type":"event_callback","event_id":"Ev1","authorizations":[{"team_id":"` + team + `","user_id":"` + self + `","is_bot":true}],"event":` + event + `}`
}

// took is what a test says of what was taken.
type took struct{ Name, User, Type, Text, Key, Extra, Thread string }

func (d *desk) took(t *testing.T) (out []took) {
	t.Helper()
	for i, in := range d.taken {
		var data struct {
			Slack struct{ Thread, User string }
		}
		if err := json.Unmarshal(in.Activity.ChannelData, &data); err != nil {
			t.Fatal(err)
		}
		for _, no := range []string{"old-token", "trigger", "hooks.slack", "secret-action"} {
			if bytes.Contains(in.Activity.ChannelData, []byte(no)) {
				t.Errorf("%q stands in %s", no, in.Activity.ChannelData)
			}
		}
		extra, err := json.Marshal(in.Activity.Extra)
		if err != nil || in.Owner != "slack-desk" || d.starts[i].Owner != in.Owner || in.Activity.From.ID != data.Slack.User {
			t.Errorf("taken: %+v, %v", in, err)
		}
		out = append(out, took{d.names[i], d.starts[i].User, in.Activity.Type, in.Activity.Text, in.Key, strings.TrimPrefix(string(extra), "null"), data.Slack.Thread})
	}
	return out
}

func TestEvents(t *testing.T) {
	f := newFake(t)
	for name, c := range map[string]struct {
		event string
		want  []took
	}{
		"a direct message": {
			`{"type":"message","channel":"D0A","channel_type":"im","user":"U0A","text":"a &lt;b&gt; &amp; <@U0B|bo> <#C0C|gen> <!here> <https://e.org|e> <https://e.org/x> <mailto:a@b.c|a@b.c>","ts":"17.01","assistant_thread":{"action_token":"secret-action"}}`,
			[]took{{"desk/T0TEAM/D0A", "U0A", "message", "a <b> & @bo #gen @here e (https://e.org) https://e.org/x a@b.c", "message D0A 17.01", "", ""}},
		},
		"a thread in a direct message": {
			`{"type":"message","channel":"D0A","channel_type":"im","user":"U0A","text":"x","ts":"17.02","thread_ts":"17.01"}`,
			[]took{{"desk/T0TEAM/D0A/17.01", "U0A", "message", "x", "message D0A 17.02", "", "17.01"}},
		},
		"a mention": {
			`{"type":"app_mention","channel":"C0A","user":"U0A","text":"<@U0SELF> what is <@U0SELF>?","ts":"17.01"}`,
			[]took{{"desk/T0TEAM/C0A/17.01", "", "message", "what is @U0SELF?", "message C0A 17.01", "", "17.01"}},
		},
		"a mention in a thread": {
			`{"type":"app_mention","channel":"C0A","user":"U0A","text":"and now <@U0SELF>","ts":"17.05","thread_ts":"17.01"}`,
			[]took{{"desk/T0TEAM/C0A/17.01", "", "message", "and now", "message C0A 17.05", "", "17.01"}},
		},
		"a file": {
			`{"type":"message","subtype":"file_share","channel":"D0A","channel_type":"im","user":"U0A","text":"see","ts":"17.01","files":[{"id":"F1","name":"a.pdf","mimetype":"application/pdf","permalink":"https://x.slack.com/f","url_private":"https://files.slack.com/f"}]}`,
			[]took{{"desk/T0TEAM/D0A", "U0A", "message", "see", "message D0A 17.01", `{"attachments":[{"contentType":"application/pdf","contentUrl":"https://x.slack.com/f","name":"a.pdf"}]}`, ""}},
		},
		"the app's home": {
			`{"type":"app_home_opened","channel":"D0A","user":"U0A","tab":"messages","event_ts":"17.01"}`,
			[]took{{"desk/T0TEAM/D0A", "U0A", "event", "", "home", `{"name":"app_home_opened"}`, ""}},
		},
		"an assistant's thread": {
			`{"type":"assistant_thread_started","assistant_thread":{"user_id":"U0A","channel_id":"D0A","thread_ts":"17.01","context":{}}}`,
			[]took{{"desk/T0TEAM/D0A/17.01", "U0A", "event", "", "home", `{"name":"assistant_thread_started"}`, "17.01"}},
		},
		"what people say to each other": {event: `{"type":"message","channel":"C0A","channel_type":"channel","user":"U0A","text":"x","ts":"17.01"}`},
		"a group":                       {event: `{"type":"message","channel":"G0A","channel_type":"mpim","user":"U0A","text":"x","ts":"17.01"}`},
		"our own message":               {event: `{"type":"message","channel":"D0A","channel_type":"im","user":"U0SELF","text":"x","ts":"17.01"}`},
		"a bot's message":               {event: `{"type":"message","channel":"D0A","channel_type":"im","user":"U0X","bot_id":"B0X","text":"x","ts":"17.01"}`},
		"an old bot's message":          {event: `{"type":"message","subtype":"bot_message","channel":"D0A","channel_type":"im","bot_id":"B0X","text":"x","ts":"17.01"}`},
		"an edit":                       {event: `{"type":"message","subtype":"message_changed","hidden":true,"channel":"D0A","channel_type":"im","ts":"17.03","message":{"user":"U0A","text":"y","ts":"17.01"}}`},
		"a deletion":                    {event: `{"type":"message","subtype":"message_deleted","hidden":true,"channel":"D0A","channel_type":"im","ts":"17.03","deleted_ts":"17.01"}`},
		"a join":                        {event: `{"type":"message","subtype":"channel_join","channel":"D0A","channel_type":"im","user":"U0A","text":"joined","ts":"17.01"}`},
		"another event":                 {event: `{"type":"reaction_added","user":"U0A"}`},
		"the end":                       {event: `{"type":"app_uninstalled"}`},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{}
			s := server(t, f, d)
			for range 3 { // Slack tries again
				if w := signed(s, "desk/events", callback(c.event)); w.Code != 200 || w.Body.Len() > 0 {
					t.Errorf("status %d %s", w.Code, w.Body)
				}
			}
			if diff := cmp.Diff(c.want, d.took(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	w := signed(server(t, f, nil), "desk/events", `{"type":"url_verification","challenge":"c-1","token":"x"}`)
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"challenge":"c-1"}` {
		t.Errorf("url_verification: %d %s", w.Code, w.Body)
	}
	if w := signed(server(t, f, nil), "desk/events", `{"type":"app_rate_limited","team_id":"x"}`); w.Code != 200 {
		t.Errorf("app_rate_limited: %d", w.Code)
	}
}

func form(name, value string, more ...string) string {
	v := url.Values{name: {value}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

func TestActions(t *testing.T) {
	f := newFake(t)
	payload := func(channel, thread, id, value string) string {
		return `{"type":"block_actions","token":"old-token","user":{"id":"U0A","username":"a"},"team":{"id":"T0TEAM"},"channel":{"id":"` + channel + `"},"trigger_id":"trigger-1","response_url":"https://hooks.slack.com/x",` +
			`"container":{"type":"message","message_ts":"17.09"},"message":{"ts":"17.09"` + thread + `,"text":"our text"},"actions":[{"type":"button","action_id":"` + id + `","block_id":"b","value":` + value + `,"action_ts":"18.01"}]}`
	}
	for name, c := range map[string]struct {
		payload string
		want    []took
	}{
		"a choice":                 {payload("D0A", "", "parley.0", `"{\"s\":\"red\"}"`), []took{{"desk/T0TEAM/D0A", "U0A", "message", "red", "action 17.09 18.01 U0A", "", ""}}},
		"a value":                  {payload("C0A", `,"thread_ts":"17.01"`, "parley.1", `"{\"s\":\"x\",\"b\":{\"a\":1}}"`), []took{{"desk/T0TEAM/C0A/17.01", "", "message", "x", "action 17.09 18.01 U0A", `{"value":{"a":1}}`, "17.01"}}},
		"below somebody's command": {payload("C0A", "", "parley.0", `"{\"s\":\"red\",\"f\":\"U0B\"}"`), []took{{"desk/T0TEAM/C0A/U0B", "U0B", "message", "red", "action 17.09 18.01 U0A", "", ""}}},
		"a link":                   {payload: payload("D0A", "", "parley.0", `""`)},
		"somebody's button":        {payload: payload("D0A", "", "other", `"x"`)},
		"a view":                   {payload: `{"type":"view_submission","team":{"id":"T0TEAM"},"user":{"id":"U0A"}}`},
		"nothing pressed":          {payload: `{"type":"block_actions","team":null,"actions":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{}
			s := server(t, f, d)
			for range 2 {
				if w := signed(s, "desk/actions", form("payload", c.payload)); w.Code != 200 || w.Body.Len() > 0 {
					t.Errorf("status %d %s", w.Code, w.Body)
				}
			}
			if diff := cmp.Diff(c.want, d.took(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	f := newFake(t)
	d := &desk{}
	s := server(t, f, d)
	body := form("command", "/ask", "text", " what &lt;is&gt; it? ", "team_id", team, "channel_id", "C0A", "user_id", "U0A", "trigger_id", "trigger-1", "response_url", "https://hooks.slack.com/x", "token", "old-token")
	for range 2 {
		w := signed(s, "desk/commands", body)
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got["response_type"] != "ephemeral" || got["text"] != "You asked: what &lt;is&gt; it?" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	want := []took{{"desk/T0TEAM/C0A/U0A", "U0A", "message", "what <is> it?", "command trigger-1", "", ""}}
	if diff := cmp.Diff(want, d.took(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w := signed(s, "desk/commands", strings.Replace(body, "what", "", 1)); w.Code != 200 {
		t.Error(w.Code)
	}
	if w := signed(s, "desk/commands", form("ssl_check", "1")); w.Code != 200 {
		t.Error(w.Code)
	}
	n := len(d.taken)
	if w := signed(s, "desk/commands", form("command", "/ask", "team_id", team, "channel_id", "C0A", "user_id", "U0A", "trigger_id", "t2")); w.Code != 200 || !strings.Contains(w.Body.String(), "/ask") || len(d.taken) != n {
		t.Errorf("an empty command: %d %s", w.Code, w.Body)
	}
	for err, words := range map[error]string{
		fault.New(fault.Limited, "too many messages"): "too many messages", context.DeadlineExceeded: "send it again", errDesk: "went wrong inside",
	} {
		d.err = err
		if w := signed(s, "desk/commands", body); w.Code != 200 || !strings.Contains(w.Body.String(), words) || strings.Contains(w.Body.String(), errDesk.Error()) {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

// What is not Slack's, or not for us, is refused and reaches nobody.
func TestRefused(t *testing.T) {
	f := newFake(t)
	good := callback(`{"type":"message","channel":"D0A","channel_type":"im","user":"U0A","text":"x","ts":"17.01"}`)
	now := time.Now()
	header := func(change func(http.Header)) http.Header {
		h := sign(good, signing, now)
		change(h)
		return h
	}
	other := func(old, by string) string { return strings.ReplaceAll(good, old, by) }
	cases := map[string]struct {
		path, body string
		header     http.Header
		want       int
	}{
		"another secret":         {"desk/events", good, sign(good, "another", now), 401},
		"no secret":              {"desk/events", good, sign(good, "", now), 401},
		"too old":                {"desk/events", good, sign(good, signing, now.Add(-6*time.Minute)), 401},
		"too early":              {"desk/events", good, sign(good, signing, now.Add(6*time.Minute)), 401},
		"another body":           {"desk/events", good + " ", sign(good, signing, now), 401},
		"no headers":             {"desk/events", good, http.Header{}, 401},
		"no signature":           {"desk/events", good, header(func(h http.Header) { h.Del("X-Slack-Signature") }), 401},
		"another version":        {"desk/events", good, header(func(h http.Header) { h.Set("X-Slack-Signature", "v1="+h.Get("X-Slack-Signature")[3:]) }), 401},
		"half a signature":       {"desk/events", good, header(func(h http.Header) { h.Set("X-Slack-Signature", h.Get("X-Slack-Signature")[:40]) }), 401},
		"a time that is none":    {"desk/events", good, header(func(h http.Header) { h.Set("X-Slack-Request-Timestamp", "now") }), 401},
		"an hour in letters":     {"desk/events", good, header(func(h http.Header) { h.Set("X-Slack-Request-Timestamp", h.Get("X-Slack-Request-Timestamp")+" ") }), 401},
		"another account":        {"nobody/events", good, sign(good, signing, now), 404},
		"another workspace":      {"desk/events", other(team, "T0OTHER"), nil, 403},
		"no workspace":           {"desk/events", other(`"team_id":"`+team+`",`, ""), nil, 403},
		"a whole enterprise":     {"desk/events", other(`"is_bot":true`, `"is_enterprise_install":true`), nil, 403},
		"oversized":              {"desk/events", strings.Repeat(" ", 1<<20) + good, nil, 413},
		"not JSON":               {"desk/events", "{", nil, 400},
		"an array":               {"desk/events", "[]", nil, 400},
		"null":                   {"desk/events", "null", nil, 400},
		"not UTF-8":              {"desk/events", other(`"x"`, "\"\xff\""), nil, 400},
		"UTF-16":                 {"desk/events", "\xfe\xff\x00{", nil, 400},
		"deep":                   {"desk/events", callback(strings.Repeat("[", 100_000)), nil, 400},
		"a wrong kind":           {"desk/events", other(`"text":"x"`, `"text":{}`), nil, 400},
		"a channel that is none": {"desk/events", other("D0A", "D0/../A"), nil, 400},
		"a user that is none":    {"desk/events", other("U0A", "u\\u0000a"), nil, 400},
		"a time of a message":    {"desk/events", other("17.01", "17/01"), nil, 400},
		"an unknown request":     {"desk/events", `{"type":"what"}`, nil, 400},
		"a form that is none":    {"desk/actions", "payload=%zz", nil, 400},
		"no payload":             {"desk/actions", "a=b", nil, 400},
		"a payload of no UTF-8":  {"desk/actions", "payload=%ff", nil, 400},
		"a press elsewhere":      {"desk/actions", form("payload", `{"type":"block_actions","user":{"id":"U0A"},"team":{"id":"T0OTHER"},"channel":{"id":"D0A"},"actions":[{"action_id":"parley.0","value":"{}"}]}`), nil, 403},
		"a command elsewhere":    {"desk/commands", form("text", "x", "team_id", "T0OTHER", "trigger_id", "t"), nil, 403},
		"a command of nobody":    {"desk/commands", form("text", "x", "team_id", team, "trigger_id", "t", "channel_id", "C0A"), nil, 400},
		"a command of no UTF-8":  {"desk/commands", "text=%ff&team_id=" + team + "&trigger_id=t&channel_id=C0A&user_id=U0A", nil, 400},
	}
	for name, c := range cases {
		var log bytes.Buffer
		d := &desk{}
		s, err := slack.New(slack.Options{Desk: d, Accounts: []slack.Account{account()}, API: f.url(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if c.header == nil {
			c.header = sign(c.body, signing, now)
		}
		w := send(s, c.path, c.body, c.header)
		if w.Code != c.want || len(d.taken)+len(d.names) > 0 || len(d.no) != 1 || w.Header().Get("X-Slack-No-Retry") != "1" {
			t.Errorf("%s: status %d, want %d; taken %v, refused %v", name, w.Code, c.want, d.taken, d.no)
		}
		for _, no := range []string{signing, token, c.header.Get("X-Slack-Signature")} {
			if no != "" && (strings.Contains(log.String(), no) || strings.Contains(w.Body.String(), no)) {
				t.Errorf("%s: %q is told", name, no)
			}
		}
	}
	for _, path := range []string{"/channels/slack/desk/events", "/channels/slack/desk/none"} {
		w := httptest.NewRecorder()
		server(t, f, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != 405 && w.Code != 404 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

// A desk that can't take it is Slack's cue to try again.
func TestTriedAgain(t *testing.T) {
	f := newFake(t)
	body := callback(`{"type":"message","channel":"D0A","channel_type":"im","user":"U0A","text":"x","ts":"17.01"}`)
	for err, want := range map[error]int{
		fault.New(fault.Unavailable, "no leader"): 503, fault.New(fault.Limited, "too many"): 429, fault.New(fault.Conflict, "said otherwise"): 200,
	} {
		w := signed(server(t, f, &desk{err: err}), "desk/events", body)
		if fault.Is(err, fault.Conflict) {
			want = 409 // from Place; from Take it is a repetition
		}
		if w.Code != want || w.Header().Get("X-Slack-No-Retry") != "" {
			t.Errorf("%v: %d", err, w.Code)
		}
	}
}

func TestNew(t *testing.T) {
	for i, o := range []slack.Options{
		{}, {Desk: &desk{}}, {Desk: &desk{}, Accounts: []slack.Account{{Name: "x"}}},
	} {
		if _, err := slack.New(o); err == nil {
			t.Errorf("options %d are taken", i)
		}
	}
	if got := fmt.Sprintf("%+v", account()); strings.Contains(got, signing) || strings.Contains(got, token) {
		t.Errorf("an account prints as %s", got)
	}
}

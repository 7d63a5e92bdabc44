package slack_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	api "github.com/slack-go/slack"
	"github.com/slack-go/slack/slacktest"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/slack"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

const signing = "the-signing-secret"

func account() slack.Account {
	return slack.Account{Name: "desk", Team: team, Signing: secret.New(signing), Token: secret.New(token)}
}

func server(t *testing.T, f *fake, d slack.Desk) *slack.Server {
	t.Helper()
	if d == nil {
		d = &desk{}
	}
	return serverOf(t, f.url(), d)
}

func serverOf(t *testing.T, url string, d slack.Desk) *slack.Server {
	t.Helper()
	s, err := slack.New(slack.Options{Desk: d, Accounts: []slack.Account{account()}, API: url, Public: "https://parley.example"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// from is what came in last, from a thread of a channel or, with none, from a
// direct message.
func from(thread string) *activity.Activity {
	in := "D0DIRECT"
	if thread != "" {
		in = "C0CHAN"
	}
	return &activity.Activity{Type: "message", ChannelData: json.RawMessage(fmt.Sprintf(`{"slack":{"account":"desk","team":%q,"channel":%q,"thread":%q,"user":"U0USER"}}`, team, in, thread))}
}

// talk posts for one conversation as the outlet does.
type talk struct {
	t      *testing.T
	s      *slack.Server
	last   *activity.Activity
	ref    string
	sent   string
	doubt  bool
	stream uint64
}

func (x *talk) post(a activity.Activity) error {
	x.t.Helper()
	a.From = &activity.Account{ID: "bot", Role: "bot"}
	it := channel.Item{Pos: 80, ID: 72, Activity: &a, At: time.Now()}
	if x.stream > 0 {
		it.Stream = &channel.Stream{ID: x.stream, Final: a.Type == activity.TypeMessage}
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), 10*time.Second)
	defer cancel()
	ref, err := x.s.Post(ctx, channel.Post{Conversation: "local-1", Last: x.last, LastAt: time.Now(), Item: it, Ref: x.ref, Sent: x.sent, Doubt: x.doubt})
	x.ref = ref
	if err == nil {
		x.sent, x.doubt = a.Text, false
	}
	return err
}

func (x *talk) must(a activity.Activity) {
	x.t.Helper()
	if err := x.post(a); err != nil {
		x.t.Fatal(err)
	}
}

func message(text string) activity.Activity {
	return activity.Activity{Type: activity.TypeMessage, Text: text}
}

func growing(text string) activity.Activity {
	return activity.Activity{Type: activity.TypeTyping, Text: text, TextFormat: "markdown"}
}

func TestPost(t *testing.T) {
	f := newFake(t)
	s := server(t, f, nil)
	for _, thread := range []string{"", "1700000000.000100"} {
		x := &talk{t: t, s: s, last: from(thread)}
		x.must(message("**Hello** <!channel> & <@U0USER>"))
		in := map[bool]string{true: "D0DIRECT", false: "C0CHAN"}[thread == ""]
		all := f.all(in, thread)
		if len(all) != 1 || x.ref != all[0].ts {
			t.Fatalf("there are %d messages, ref %q", len(all), x.ref)
		}
		if got, want := all[0].text, "*Hello* &lt;\u200B!channel&gt; &amp; &lt;\u200B@U0USER&gt;"; got != want {
			t.Errorf("the notice is %q, want %q", got, want)
		}
		x.must(message("something else"))
		if got := f.texts(in, thread); !slices.Equal(got, []string{"something else"}) {
			t.Errorf("after a change: %q", got)
		}
		x.must(activity.Activity{Type: activity.TypeDelete})
		if got := f.texts(in, thread); len(got) > 0 || x.ref != "" {
			t.Errorf("after it was taken back: %q, ref %q", got, x.ref)
		}
	}
}

// TestBySlackGo posts to slack-go's own server, which takes apart what is posted
// with slack-go's types; slack-go's client says what it would show.
func TestBySlackGo(t *testing.T) {
	theirs := slacktest.NewTestServer()
	theirs.Start()
	t.Cleanup(theirs.Stop)
	rtm := theirs.GetTestRTMInstance()
	go rtm.ManageConnection()
	t.Cleanup(func() { _ = rtm.Disconnect() })
	x := &talk{t: t, s: serverOf(t, theirs.GetAPIURL(), &desk{}), last: from("1700000000.000100")}
	x.must(message("**Hello** <!channel> & you"))
	late := time.After(10 * time.Second)
	for {
		select {
		case e := <-rtm.IncomingEvents:
			m, ok := e.Data.(*api.MessageEvent)
			if !ok {
				continue
			}
			if m.Channel != "C0CHAN" || m.ThreadTimestamp != "1700000000.000100" || m.Timestamp != x.ref {
				t.Errorf("it is in %s, thread %s, at %s; ref %q", m.Channel, m.ThreadTimestamp, m.Timestamp, x.ref)
			}
			if want := "*Hello* &lt;\u200B!channel&gt; &amp; you"; m.Text != want {
				t.Errorf("its text is %q, want %q", m.Text, want)
			}
			if len(m.Blocks.BlockSet) == 0 {
				t.Error("it has no blocks")
			}
			return
		case <-late:
			t.Fatal("slack-go's client saw no message")
		}
	}
}

func TestNothingToSee(t *testing.T) {
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from("")}
	for _, kind := range []string{"event", "endOfConversation", "trace", "messageReaction", "invokeResponse"} {
		x.must(activity.Activity{Type: kind, Text: "x"})
	}
	x.must(growing("")) // no thread, no status
	user := message("of a user")
	user.From = &activity.Account{ID: "U", Role: "user"}
	if _, err := x.s.Post(t.Context(), channel.Post{Last: x.last, Item: channel.Item{Activity: &user}}); err != nil {
		t.Error(err)
	}
	if got := f.methods(); len(got) > 0 {
		t.Errorf("called %q", got)
	}
}

// story is long enough for two messages, with code across their border.
func story() string {
	return strings.Repeat("Once upon a time there was a tale. ", 200) + "\n\n```go\n" + strings.Repeat("x := 1 // a line of code\n", 250) + "```\n\nThe end."
}

func TestLongTexts(t *testing.T) {
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from("")}
	x.must(message(story()))
	all := f.texts("D0DIRECT", "")
	if len(all) != 2 || strings.Count(x.ref, ",") != 1 || !strings.HasSuffix(all[1], "The end.") {
		t.Fatalf("%d messages, ref %q", len(all), x.ref)
	}
	x.must(message("short"))
	if got := f.texts("D0DIRECT", ""); !slices.Equal(got, []string{"short"}) {
		t.Errorf("after a change: %d messages", len(got))
	}
	plain := message(strings.Repeat("<&>", 2000))
	plain.TextFormat = "plain"
	x.ref = ""
	x.must(plain)
	if got := strings.Join(f.texts("D0DIRECT", "")[1:], ""); got != plain.Text {
		t.Errorf("a plain text became %q", got)
	}
}

func TestStream(t *testing.T) {
	const thread = "1700000000.000100"
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from(thread), stream: 64}
	text := "Once upon a time <!here> there was 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字 and a `tale` of words"
	for i := range text {
		if i%11 == 0 {
			x.must(growing(text[:i]))
		}
	}
	if !strings.HasSuffix(x.ref, "~") || strings.HasPrefix(text, f.texts("C0CHAN", thread)[0]) != true && !strings.Contains(text, "here") {
		t.Errorf("ref %q, shown %q", x.ref, f.texts("C0CHAN", thread))
	}
	final := message(text)
	final.Extra = map[string]json.RawMessage{"suggestedActions": json.RawMessage(`{"actions":[{"type":"imBack","title":"More","value":"more"}]}`)}
	x.must(final)
	all := f.all("C0CHAN", thread)
	if want := strings.ReplaceAll(text, "<!here", "<\u200B!here"); len(all) != 1 || all[0].markdown != want || all[0].streaming || len(all[0].blocks) != 1 || all[0].edits != 0 {
		t.Errorf("there is %+v, want %q", all[0], want)
	}
	if strings.HasSuffix(x.ref, "~") {
		t.Errorf("ref is still %q", x.ref)
	}
	x.must(message("changed"))
	if got := f.texts("C0CHAN", thread); !slices.Equal(got, []string{"changed"}) {
		t.Errorf("after a change: %q", got)
	}
}

// A stream that gets too long for a message goes on in the next one.
func TestLongStream(t *testing.T) {
	const thread = "1700000000.000100"
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from(thread), stream: 64}
	text := story()
	for _, part := range []int{5000, 9000, 10100, 10600, 12000} {
		x.must(growing(text[:part]))
	}
	x.must(message(text))
	all := f.all("C0CHAN", thread)
	if len(all) != 2 || all[0].streaming || all[1].streaming || !strings.HasSuffix(all[0].markdown, "```") || !strings.HasSuffix(all[1].markdown, "The end.") {
		t.Errorf("%d messages", len(all))
	}
	for _, m := range all {
		if m.edits > 0 || m.metadata == nil {
			t.Errorf("a part was edited or has no metadata: %+v", m.metadata)
		}
	}
}

// Where Slack has no streams, the message is changed as it grows.
func TestGrowsByChanges(t *testing.T) {
	for name, c := range map[string]struct{ thread, refuse string }{
		"a direct message":      {"", ""},
		"a workspace without":   {"1700000000.000100", "method_not_supported_for_channel_type"},
		"an app without rights": {"1700000000.000100", "missing_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			if c.refuse != "" {
				f.refuse["chat.startStream"] = c.refuse
			}
			last := from(c.thread)
			x := &talk{t: t, s: server(t, f, nil), last: last, stream: 64}
			for _, text := range []string{"one ", "one two ", "one two three "} {
				x.must(growing(text + "x"))
			}
			x.must(message("one two three four"))
			in := map[bool]string{true: "D0DIRECT", false: "C0CHAN"}[c.thread == ""]
			all := f.all(in, c.thread)
			if len(all) != 1 || all[0].shown() != "one two three four" || all[0].edits != 3 {
				t.Errorf("there is %+v", all[0])
			}
			n := 0
			for _, m := range f.methods() {
				if m == "chat.startStream" {
					n++
				}
			}
			if n > 1 {
				t.Errorf("streaming was tried %d times", n)
			}
			// What the app may not do anywhere is not tried again.
			before := len(f.methods())
			y := &talk{t: t, s: x.s, last: last, stream: 99}
			y.must(growing("another one"))
			if again := slices.Contains(f.methods()[before:], "chat.startStream"); again != (c.refuse == "method_not_supported_for_channel_type") {
				t.Errorf("streaming is tried again: %v", again)
			}
		})
	}
}

// Slack ends streams by itself, and answers begin anew.
func TestStreamBreaks(t *testing.T) {
	const thread = "1700000000.000100"
	for name, c := range map[string]func(f *fake, x *talk){
		"in doubt, with nothing shown": func(f *fake, x *talk) {
			f.messages[0].markdown = ""
			x.doubt, x.ref, x.sent = true, "", ""
		},
		"Slack has ended it": func(f *fake, _ *talk) { f.messages[0].streaming = false },
		"another text":       func(_ *fake, x *talk) { x.must(growing("quite another text")) },
		"the node died":      func(_ *fake, x *talk) { x.sent, x.doubt = "", true },
		"in doubt":           func(_ *fake, x *talk) { x.doubt = true },
		"in doubt at the beginning": func(_ *fake, x *talk) {
			x.doubt, x.ref, x.sent = true, "", ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			x := &talk{t: t, s: server(t, f, nil), last: from(thread), stream: 64}
			x.must(growing("one two three"))
			c(f, x)
			x.must(growing("one two three four five"))
			x.must(message("one two three four five."))
			all := f.all("C0CHAN", thread)
			if len(all) != 1 || all[0].shown() != "one two three four five." || all[0].streaming {
				t.Errorf("there are %d messages: %q", len(all), f.texts("C0CHAN", thread))
			}
		})
	}
}

// An answer that got lost on its way back is looked for, and posted again only
// if it is not there.
func TestDoubt(t *testing.T) {
	for _, thread := range []string{"", "1700000000.000100"} {
		in := map[bool]string{true: "D0DIRECT", false: "C0CHAN"}[thread == ""]
		f := newFake(t)
		x := &talk{t: t, s: server(t, f, nil), last: from(thread)}
		for i := range 5 {
			f.add(&said{channel: in, thread: thread, text: fmt.Sprint("another ", i)})
		}
		f.lost["chat.postMessage"] = 1
		err := x.post(message("only once"))
		if !fault.Is(err, fault.Internal) && !fault.Is(err, fault.Timeout) {
			t.Fatalf("a lost answer is %v", err)
		}
		x.doubt = true
		x.must(message("only once"))
		if got := f.texts(in, thread); len(got) != 6 || got[5] != "only once" || x.ref == "" {
			t.Errorf("there is %q, ref %q", got, x.ref)
		}
		y := &talk{t: t, s: x.s, last: x.last, doubt: true, stream: 99}
		y.must(message("never arrived"))
		if got := f.texts(in, thread); len(got) != 7 || got[6] != "never arrived" {
			t.Errorf("there is %q", got)
		}
	}
}

// Of what becomes several messages some are there when Slack wants no more.
func TestHalfway(t *testing.T) {
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from("")}
	whole := message(story())
	file := func(name string) string {
		return `{"contentType":"text/plain","name":"` + name + `","contentUrl":"data:text/plain;base64,` + base64.StdEncoding.EncodeToString([]byte("content")) + `"}`
	}
	whole.Extra = map[string]json.RawMessage{"attachments": json.RawMessage("[" + file("a.txt") + "," + file("b.txt") + "]")}
	f.refuse["files.getUploadURLExternal"] = "ratelimited"
	if err := x.post(whole); !fault.Is(err, fault.Limited) || strings.Count(x.ref, ",") != 1 {
		t.Fatalf("before the files: %v, ref %q", err, x.ref)
	}
	delete(f.refuse, "files.getUploadURLExternal")
	f.later["files.getUploadURLExternal"] = 1
	if err := x.post(whole); !fault.Is(err, fault.Internal) || fault.RetryAfterOf(err) == 0 {
		t.Fatalf("between the files: %v", err)
	}
	delete(f.refuse, "files.getUploadURLExternal")
	f.lost["files.completeUploadExternal"] = 1
	x.doubt = true
	if err := x.post(whole); !fault.Is(err, fault.Internal) {
		t.Fatalf("a lost answer: %v", err)
	}
	x.must(whole)
	if got := f.texts("D0DIRECT", ""); len(got) != 4 || got[2] != "a.txt" || got[3] != "b.txt" {
		t.Errorf("there is %q", got)
	}
}

// Whoever stops an answer in Slack stops it here.
func TestStopped(t *testing.T) {
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from("1700000000.000100"), stream: 64}
	x.must(growing("one two three"))
	f.refuse["chat.appendStream"] = "stopped_by_user"
	if err := x.post(growing("one two three four five")); !fault.Is(err, fault.Canceled) {
		t.Errorf("a person's stop is %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for word, want := range map[string]fault.Code{
		"ratelimited": fault.Limited, "internal_error": fault.Internal, "channel_not_found": fault.Forbidden, "missing_scope": fault.Invalid,
		"token_revoked": fault.Forbidden, "something_new": fault.Invalid, "<script>": fault.Invalid,
	} {
		f := newFake(t)
		f.refuse["chat.postMessage"] = word
		x := &talk{t: t, s: server(t, f, nil), last: from("")}
		err := x.post(message("x"))
		if fault.CodeOf(err) != want || strings.ContainsAny(err.Error(), "<>") || strings.Contains(err.Error(), token) {
			t.Errorf("%s becomes %v", word, err)
		}
	}
	f := newFake(t)
	f.limited, f.after = 1, 7
	x := &talk{t: t, s: server(t, f, nil), last: from("")}
	if err := x.post(message("x")); !fault.Is(err, fault.Limited) || fault.RetryAfterOf(err) != 7*time.Second {
		t.Errorf("429 becomes %v after %v", err, fault.RetryAfterOf(err))
	}
	f.srv.Close()
	if err := x.post(message("x")); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), token) {
		t.Errorf("nobody there becomes %v", err)
	}
	x.last = nil
	if err := x.post(message("x")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nowhere to post to becomes %v", err)
	}
	x.last = &activity.Activity{ChannelData: json.RawMessage(`{"slack":{"account":"gone","channel":"D1"}}`)}
	if err := x.post(message("x")); !fault.Is(err, fault.NotFound) {
		t.Errorf("an account that is gone becomes %v", err)
	}
}

func TestCheck(t *testing.T) {
	f := newFake(t)
	s := server(t, f, nil)
	here := httptest.NewServer(s)
	defer here.Close()
	problems := func(account, service string) (out []string) {
		for _, x := range s.Check(t.Context(), account, service) {
			if x.Problem != "" {
				out = append(out, x.Problem)
			}
			if strings.Contains(fmt.Sprint(x), token) || strings.Contains(fmt.Sprint(x), signing) {
				t.Errorf("a secret is told: %v", x)
			}
		}
		return out
	}
	if got := problems("desk", here.URL); len(got) > 0 {
		t.Errorf("all is well, and yet: %q", got)
	}
	f.scopes = "chat:write,im:history"
	if got := problems("desk", f.srv.URL); len(got) != 2 || !strings.Contains(got[0], "app_mentions:read") || !strings.Contains(got[1], "lead to this service") {
		t.Errorf("too few scopes and another service: %q", got)
	}
	f.refuse["auth.test"] = "account_inactive"
	if got := problems("desk", "http://127.0.0.1:1"); len(got) != 2 || !strings.Contains(got[0], "install the app again") || !strings.Contains(got[1], "nobody answers") {
		t.Errorf("a dead token and nobody there: %q", got)
	}
	if got := problems("nobody", ""); len(got) != 1 {
		t.Errorf("no account: %q", got)
	}
}

func TestCards(t *testing.T) {
	f := newFake(t)
	x := &talk{t: t, s: server(t, f, nil), last: from("")}
	a := message("Look:")
	long := strings.Repeat("long & <wide> ", 400)
	cards, err := json.Marshal([]map[string]any{
		{"contentType": "application/vnd.microsoft.card.hero", "content": map[string]any{
			"title": "T <b>", "subtitle": "S", "text": "**x** " + long, "images": []map[string]string{{"url": "https://e.org/i.png"}},
			"buttons": []map[string]any{
				{"type": "openUrl", "title": "Open", "value": "https://e.org"},
				{"type": "imBack", "title": long, "value": "yes"},
				{"type": "messageBack", "title": "M", "text": "said", "value": map[string]int{"a": 1}},
				{"type": "openUrl", "title": "Evil", "value": "javascript:x"},
				{"type": "imBack", "title": "Too long", "value": long},
				{"type": "playVideo", "title": "V", "value": "https://e.org"},
				{"type": "imBack", "title": "", "value": ""},
			},
		}},
		{"contentType": "image/png", "contentUrl": "https://e.org/k.png", "name": "k.png"},
		{"contentType": "application/pdf", "contentUrl": "/v3/attachments/x", "name": "a|<b>.pdf"},
		{"contentType": "application/unknown", "content": 5},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Extra = map[string]json.RawMessage{"attachments": cards, "suggestedActions": json.RawMessage(`{"actions":[{"type":"imBack","title":"Red","value":"red"}]}`)}
	x.must(a)
	all := f.all("D0DIRECT", "")
	if len(all) != 2 {
		t.Fatalf("%d messages", len(all))
	}
	var kinds []string
	var buttons []string
	for _, b := range all[1].blocks {
		kinds = append(kinds, b["type"].(string))
		if b["type"] == "actions" {
			for _, e := range b["elements"].([]any) {
				e := e.(map[string]any)
				buttons = append(buttons, fmt.Sprint(e["text"].(map[string]any)["text"], "=", e["url"], e["value"]))
			}
		}
	}
	if got := strings.Join(slices.Compact(kinds), " "); got != "section image actions image section actions" {
		t.Errorf("blocks are %s", got)
	}
	want := []string{"Open=https://e.org<nil>", buttons[1], `M=<nil>{"s":"said","b":{"a":1}}`, `Red=<nil>{"s":"red"}`}
	if diff := cmp.Diff(want, buttons); diff != "" {
		t.Errorf("buttons (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(all[1].text, "*T &lt;b&gt;*") {
		t.Errorf("the notice is %q", all[1].text)
	}
	if got := all[1].blocks[len(all[1].blocks)-3]["text"]; !strings.Contains(fmt.Sprint(got), "<https://parley.example/v3/attachments/x|a¦&lt;b&gt;.pdf>") {
		t.Errorf("the file is %v", got)
	}
}

var errDesk = errors.New("the desk is closed")

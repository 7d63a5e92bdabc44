package telegram_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/telegram"
	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/secret"
)

// long is a text of several messages.
func long(paragraphs int) string {
	var b strings.Builder
	for i := range paragraphs {
		fmt.Fprintf(&b, "%sThis was paragraph **%d**.\n\n", strings.Repeat("All work and *no* play. ", 60), i)
	}
	return b.String()
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestSend(t *testing.T) {
	x := open(t, nil)
	ref, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: "**Hello**, [Ann](https://example.org) <b>&amp;</b> `x < y`!"}))
	if err != nil || ref != "101" {
		t.Fatalf("%q %v", ref, err)
	}
	got := x.api.Chat(ann)[0]
	if want := "Hello, Ann <b>&</b> x < y!"; got.Text != want {
		t.Errorf("said %q, want %q", got.Text, want)
	}
	if want := `[{"type":"bold","offset":0,"length":5},{"type":"text_link","offset":7,"length":3,"url":"https://example.org"},{"type":"code","offset":20,"length":5}]`; string(got.Fields["entities"]) != want {
		t.Errorf("entities %s", got.Fields["entities"])
	}
	if string(got.Fields["link_preview_options"]) != `{"is_disabled":true}` {
		t.Errorf("Telegram would look what a link leads to: %s", got.Fields["link_preview_options"])
	}
	if ref, err = x.s.Post(t.Context(), say(ann, activity.Activity{Text: long(12)})); err != nil || ref != "102 103 104 105" {
		t.Fatalf("%q %v", ref, err)
	}
	all := x.api.Texts(ann)[1:]
	if words(strings.Join(all, " ")) != words(strings.NewReplacer("*", "").Replace(long(12))) {
		t.Errorf("of a long text something is missing: %q", all)
	}
	for _, part := range all {
		if !strings.HasSuffix(part, ".") {
			t.Errorf("a part ends in the middle: …%q", part[len(part)-20:])
		}
	}
	if _, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: "*a* <b>", TextFormat: "plain"})); err != nil || !slices.Contains(x.api.Texts(ann), "*a* <b>") {
		t.Errorf("plain text is not as it was: %q %v", x.api.Texts(ann), err)
	}
	x.right()
}

// An answer that grows is one message that is changed; only what is new costs a
// call.
func TestGrows(t *testing.T) {
	x := open(t, nil)
	text := long(9)
	var ref, sent string
	for n := 100; n < len(text); n += 1500 {
		var err error
		if ref, err = x.s.Post(t.Context(), part(ann, text[:n], ref, sent)); err != nil || ref == "" {
			t.Fatalf("%q %v", ref, err)
		}
		sent = text[:n]
	}
	last := say(ann, activity.Activity{Text: text})
	last.Ref, last.Sent = ref, sent
	whole, err := x.s.Post(t.Context(), last)
	if err != nil || !strings.HasPrefix(whole, ref) {
		t.Fatalf("%q becomes %q: %v", ref, whole, err)
	}
	if all := x.api.Texts(ann); len(all) != 3 || words(strings.Join(all, " ")) != words(strings.ReplaceAll(text, "*", "")) {
		t.Errorf("%d messages: %q", len(all), all)
	}
	before := len(x.api.Calls(""))
	last.Ref, last.Sent = whole, text // the same again changes nothing, also in doubt
	if _, err := x.s.Post(t.Context(), last); err != nil || len(x.api.Calls("")) != before {
		t.Errorf("%d calls more for what is there: %v", len(x.api.Calls(""))-before, err)
	}
	last.Doubt = true
	if again, err := x.s.Post(t.Context(), last); err != nil || again != whole || len(x.api.Chat(ann)) != 3 {
		t.Errorf("in doubt: %q %v", again, err)
	}
	// It is shorter in the end: what is too much goes.
	last.Item.Activity.Text, last.Doubt = "Never mind.", false
	if again, err := x.s.Post(t.Context(), last); err != nil || !slices.Equal(x.api.Texts(ann), []string{"Never mind."}) || strings.Contains(again, " ") {
		t.Errorf("%q %v: %q", again, err, x.api.Texts(ann))
	}
	// Somebody deleted the message: the whole answer is sent anew, a part is not.
	gone := part(ann, "more", "4711", "mo")
	if _, err := x.s.Post(t.Context(), gone); !fault.Is(err, fault.Invalid) {
		t.Errorf("a part of what is gone: %v", err)
	}
	last.Ref, last.Sent = "4711", "Never"
	if again, err := x.s.Post(t.Context(), last); err != nil || again == "4711" || len(x.api.Chat(ann)) != 2 {
		t.Errorf("%q %v", again, err)
	}
	// In a group there is no room for that.
	if ref, err := x.s.Post(t.Context(), part(group, "so far", "", "")); ref != "" || err != nil || len(x.api.Chat(group)) != 0 {
		t.Errorf("in a group: %q %v", ref, err)
	}
	// A stream that begins with nothing to see has a message all the same.
	if ref, err := x.s.Post(t.Context(), part(ann, " \n", "", "")); ref == "" || err != nil {
		t.Errorf("a stream of nothing: %q %v", ref, err)
	}
	x.right()
}

func TestTyping(t *testing.T) {
	x := open(t, nil)
	if ref, err := x.s.Post(t.Context(), say(ann, activity.Activity{Type: activity.TypeTyping})); err != nil || ref != "" {
		t.Errorf("%q %v", ref, err)
	}
	if n := len(x.api.Calls("sendChatAction")); n != 1 {
		t.Errorf("shown %d times", n)
	}
	x.right()
}

// Buttons are a keyboard below the message, each with its place in the log.
func TestButtons(t *testing.T) {
	x := open(t, nil)
	cards := `[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"A & B","text":"**bold**","images":[{"url":"https://example.org/a.png"}],
		"buttons":[{"type":"imBack","title":"One","value":"1"},{"type":"openUrl","title":"Open","value":"https://example.org/x"},{"type":"openUrl","title":"Inside","value":"http://localhost:8080/x"},{"type":"call","title":"Call","value":"tel:+49 30 1"}]}}]`
	choices := `{"actions":[{"type":"imBack","title":"Yes","value":"yes"},{"type":"imBack","title":"No","value":"no"},{"type":"postBack","title":"` + strings.Repeat("long ", 30) + `","value":{"x":1}}]}`
	p := say(ann, activity.Activity{Text: "Choose:", Extra: map[string]json.RawMessage{"attachments": json.RawMessage(cards), "suggestedActions": json.RawMessage(choices)}})
	p.Item.ID = 640
	ref, err := x.s.Post(t.Context(), p)
	if err != nil || ref != "101 102 f" {
		t.Fatalf("%q %v", ref, err)
	}
	all := x.api.Chat(ann)
	if all[1].Kind != "photo" || all[1].File != "https://example.org/a.png" || all[1].Text != "A & B\nbold\nInside: http://localhost:8080/x\nCall: +49 30 1" {
		t.Errorf("the card is %+v", all[1])
	}
	want := `{"inline_keyboard":[[{"text":"One","callback_data":"hs.0"},{"text":"Open","url":"https://example.org/x"}],[{"text":"Yes","callback_data":"hs.4"},{"text":"No","callback_data":"hs.5"}],[{"text":"` +
		strings.Repeat("long ", 12) + `lon…","callback_data":"hs.6"}]]}`
	if got := string(all[1].Fields["reply_markup"]); got != want {
		t.Errorf("the keyboard is\n%s\nwant\n%s", got, want)
	}
	// More than a message has room for is told in words, and choices alone need a
	// message.
	var many []string
	for i := range 130 {
		many = append(many, fmt.Sprintf(`{"type":"imBack","title":"choice %d","value":"%d"}`, i, i))
	}
	p = say(ann, activity.Activity{Extra: map[string]json.RawMessage{"suggestedActions": json.RawMessage(`{"actions":[` + strings.Join(many, ",") + `]}`)}})
	if _, err := x.s.Post(t.Context(), p); err != nil || !strings.Contains(x.api.Texts(ann)[2], "• choice 129") {
		t.Errorf("%v: %q", err, x.api.Texts(ann))
	}
	x.right()
}

func TestFiles(t *testing.T) {
	x := open(t, nil)
	x.desk.kept = map[string]files.File{"/files/ours": {Name: "ours.csv", Type: "text/csv", Content: []byte("a,b")}}
	files := `[{"contentType":"image/png","contentUrl":"https://example.org/a.png"},{"contentType":"application/pdf","contentUrl":"https://example.org/a.pdf","name":"A"},
		{"contentType":"text/csv","contentUrl":"https://example.org/a.csv","name":"table.csv"},{"contentType":"text/csv","contentUrl":"/files/ours"},
		{"contentType":"image/png","contentUrl":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==","name":"dot.png"},{"contentType":"image/png","contentUrl":"http://10.0.0.1/x.png"},{"contentType":"video/mp4","contentUrl":"/v.mp4"}]`
	p := say(ann, activity.Activity{Extra: map[string]json.RawMessage{"attachments": json.RawMessage(files)}})
	ref, err := x.s.Post(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range x.api.Chat(ann) {
		got = append(got, strings.TrimSpace(m.Kind+" "+m.File+" "+m.Text))
	}
	want := []string{
		"photo https://example.org/a.png", "document https://example.org/a.pdf", "📎 table.csv\nhttps://example.org/a.csv", "document attach://ours.csv",
		"photo attach://dot.png", "photo http://10.0.0.1/x.png", "video https://chat.example.org/v.mp4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent %q,\nwant %q", got, want)
	}
	// A repetition sends no file again, and one of another kind in its place is sent
	// anew.
	p.Ref = ref
	if again, err := x.s.Post(t.Context(), p); err != nil || again != ref {
		t.Errorf("%q becomes %q: %v", ref, again, err)
	}
	p.Item.Activity = &activity.Activity{Type: "message", Text: "instead", From: p.Item.Activity.From}
	if _, err := x.s.Post(t.Context(), p); err != nil || !slices.Equal(x.api.Texts(ann), []string{"instead"}) {
		t.Errorf("%v: %q", err, x.api.Texts(ann))
	}
	// What Telegram can't fetch is named.
	x.api.Let(func(w http.ResponseWriter, c bottest.Call) bool {
		if c.Method == "sendPhoto" {
			bottest.Fail(w, 400, "Bad Request: wrong type of the web page content", 0, 0)
		}
		return c.Method == "sendPhoto"
	})
	p = say(ann, activity.Activity{Extra: map[string]json.RawMessage{"attachments": json.RawMessage(`[{"contentType":"image/png","contentUrl":"https://example.org/a.png"}]`)}})
	if _, err := x.s.Post(t.Context(), p); err != nil || x.api.Texts(ann)[1] != "📎 a.png\nhttps://example.org/a.png" {
		t.Errorf("%v: %q", err, x.api.Texts(ann))
	}
	x.right()
}

// What the bot takes back is gone, also when it was gone before.
func TestTakenBack(t *testing.T) {
	x := open(t, nil)
	ref, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: long(12)}))
	if err != nil {
		t.Fatal(err)
	}
	p := say(ann, activity.Activity{Type: activity.TypeDelete})
	p.Ref = ref
	for range 2 {
		if _, err := x.s.Post(t.Context(), p); err != nil || len(x.api.Chat(ann)) != 0 {
			t.Errorf("%v: %q", err, x.api.Texts(ann))
		}
	}
	x.right()
}

// In a group the message is shown that is answered, and a group that has become
// another chat is found there.
func TestInGroup(t *testing.T) {
	x := open(t, nil)
	x.desk.said = map[uint64]*activity.Activity{8: {ChannelData: fmt.Appendf(nil, `{"telegram":{"chat":%d,"message":99}}`, group)}}
	if _, err := x.s.Post(t.Context(), say(group, activity.Activity{Text: "hi"})); err != nil || string(x.api.Chat(group)[0].Fields["reply_parameters"]) != `{"allow_sending_without_reply":true,"message_id":99}` {
		t.Errorf("%v: %+v", err, x.api.Chat(group))
	}
	const moved = group - 1
	x.api.Let(func(w http.ResponseWriter, c bottest.Call) bool {
		if c.Chat == group {
			bottest.Fail(w, 400, "Bad Request: group chat was upgraded to a supergroup chat", 0, moved)
		}
		return c.Chat == group
	})
	if _, err := x.s.Post(t.Context(), say(group, activity.Activity{Text: "still there?"})); err != nil || !slices.Equal(x.api.Texts(moved), []string{"still there?"}) {
		t.Errorf("%v: %q", err, x.api.Texts(moved))
	}
	p := say(group, activity.Activity{Text: "in a topic"})
	p.Last.ChannelData = fmt.Appendf(nil, `{"telegram":{"chat":%d,"thread":77}}`, moved)
	if _, err := x.s.Post(t.Context(), p); err != nil || string(x.api.Chat(moved)[1].Fields["message_thread_id"]) != "77" {
		t.Errorf("%v: %+v", err, x.api.Chat(moved))
	}
	x.right()
}

// Every refusal is one of ours, in words, and none shows the token.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		code        int
		description string
		retry       int
		want        fault.Code
		words       string
	}{
		{429, "Too Many Requests: retry after 7", 7, fault.Limited, "too many"},
		{429, "Too Many Requests: retry after 999999999", 999999999, fault.Limited, "too many"},
		{401, "Unauthorized", 0, fault.Forbidden, "BotFather"},
		{404, "Not Found", 0, fault.Forbidden, "BotFather"},
		{403, "Forbidden: bot was blocked by the user", 0, fault.Forbidden, "blocked"},
		{403, "Forbidden: bot was kicked from the supergroup chat", 0, fault.Forbidden, "kicked"},
		{403, "Forbidden: bot can't initiate conversation with a user", 0, fault.Forbidden, "never wrote"},
		{400, "Bad Request: chat not found", 0, fault.NotFound, "no such chat"},
		{400, "Bad Request: something about " + bottest.Token, 0, fault.Invalid, "does not take this"},
		{413, "Request Entity Too Large", 0, fault.TooLarge, "too large"},
		{500, "Internal Server Error", 0, fault.Internal, "not certain"},
		{502, "Bad Gateway", 0, fault.Internal, "not certain"},
	} {
		x := open(t, nil)
		x.api.Let(func(w http.ResponseWriter, _ bottest.Call) bool {
			bottest.Fail(w, c.code, c.description, c.retry, 0)
			return true
		})
		_, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: "x"}))
		if fault.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), bottest.Token) {
			t.Errorf("%s: %v", c.description, err)
		}
		if after := min(time.Duration(c.retry)*time.Second, time.Hour); fault.RetryAfterOf(err) != after {
			t.Errorf("%s: come back after %v", c.description, fault.RetryAfterOf(err))
		}
	}
	for what, c := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   fault.Code
	}{
		"HTML":           {func(w http.ResponseWriter) { w.WriteHeader(502); _, _ = w.Write([]byte("<html>")) }, fault.Internal},
		"a page":         {func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) }, fault.Internal},
		"a redirect":     {func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(302) }, fault.Invalid},
		"null":           {func(w http.ResponseWriter) { _, _ = w.Write([]byte("null")) }, fault.Internal},
		"another result": {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"ok":true,"result":"x"}`)) }, fault.Internal},
		"half an answer": {func(w http.ResponseWriter) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}, fault.Internal},
	} {
		x := open(t, nil)
		x.api.Let(func(w http.ResponseWriter, _ bottest.Call) bool { c.answer(w); return true })
		if _, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: "x"})); fault.CodeOf(err) != c.want || strings.Contains(err.Error(), bottest.Token) {
			t.Errorf("%s: %v", what, err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	x := open(t, func(o *telegram.Options) { o.Accounts[0].API = "http://" + l.Addr().String() })
	if _, err := x.s.Post(t.Context(), say(ann, activity.Activity{Text: "x"})); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), bottest.Token) {
		t.Errorf("nobody listens: %v", err)
	}
}

// A message in the middle of a long one is refused: the next try goes on behind
// what is there.
func TestGoesOn(t *testing.T) {
	x := open(t, nil)
	n := 0
	x.api.Let(func(w http.ResponseWriter, c bottest.Call) bool {
		if n++; n == 3 {
			bottest.Fail(w, 429, "Too Many Requests: retry after 1", 1, 0)
		}
		return n == 3
	})
	p := say(ann, activity.Activity{Text: long(12)})
	ref, err := x.s.Post(t.Context(), p)
	if !fault.Is(err, fault.Limited) || ref != "101 102" {
		t.Fatalf("%q %v", ref, err)
	}
	p.Ref = ref
	if ref, err = x.s.Post(t.Context(), p); err != nil || ref != "101 102 103 104" {
		t.Errorf("%q %v", ref, err)
	}
	if got := words(strings.Join(x.api.Texts(ann), " ")); got != words(strings.ReplaceAll(long(12), "*", "")) {
		t.Errorf("said %q", got)
	}
	x.right()
}

func TestNothingToSend(t *testing.T) {
	x := open(t, nil)
	for _, kind := range []string{activity.TypeEvent, activity.TypeEnd, activity.TypeReaction, "trace"} {
		p := say(ann, activity.Activity{Type: kind, Text: "x"})
		p.Ref = "9"
		if ref, err := x.s.Post(t.Context(), p); err != nil || ref != "9" {
			t.Errorf("%s: %q %v", kind, ref, err)
		}
	}
	if _, err := x.s.Post(t.Context(), say(ann, activity.Activity{})); !fault.Is(err, fault.Unsupported) {
		t.Errorf("an empty message: %v", err)
	}
	p := say(ann, activity.Activity{Text: "x"})
	p.Owner = telegram.Owner("gone")
	if _, err := x.s.Post(t.Context(), p); !fault.Is(err, fault.NotFound) {
		t.Errorf("an account that is no more: %v", err)
	}
	p = say(ann, activity.Activity{Text: "x"})
	p.Last = nil
	if _, err := x.s.Post(t.Context(), p); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody wrote: %v", err)
	}
	if n := len(x.api.Calls("")); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// What a check finds is what is wrong.
func TestCheck(t *testing.T) {
	x := open(t, nil)
	at := strings.TrimSuffix(x.url, telegram.Base+"shop")
	problems := func(account, service string) (out []string) {
		for _, f := range x.s.Check(t.Context(), account, service) {
			if strings.Contains(f.What+f.Problem, bottest.Token) || strings.Contains(f.What+f.Problem, hookSecret) {
				t.Errorf("a secret is shown: %+v", f)
			}
			out = append(out, f.Problem)
		}
		return out
	}
	for _, c := range []struct {
		what, account, service string
		hook                   bottest.Hook
		step                   int
		want                   string
	}{
		{"no such account", "nobody", at, bottest.Hook{}, 0, "no such account"},
		{"no https", "shop", at, bottest.Hook{URL: x.url}, 1, "not https"},
		{"no webhook", "shop", "https://chat.example.org", bottest.Hook{}, 1, "no webhook"},
		{"another address", "shop", "https://chat.example.org", bottest.Hook{URL: "https://old.example.org/x"}, 1, "another address, https://old.example.org/x"},
		{"presses are left out", "shop", "https://chat.example.org", bottest.Hook{URL: "https://chat.example.org/channels/telegram/shop", Allowed: []string{"message"}}, 1, "leaves out callback_query"},
		{"deliveries fail", "shop", "https://chat.example.org", bottest.Hook{URL: "https://chat.example.org/channels/telegram/shop", Error: "Wrong response from the webhook: 401 Unauthorized", ErrorAt: time.Now().Unix(), Pending: 3}, 1, "401 Unauthorized (3 updates wait)"},
		{"they failed long ago", "shop", "https://chat.example.org", bottest.Hook{URL: "https://chat.example.org/channels/telegram/shop", Error: "x", ErrorAt: 1_700_000_000}, 1, ""},
		{"the way in", "shop", at, bottest.Hook{}, 2, ""},
		{"polling", "polled", at, bottest.Hook{}, 1, ""},
		{"polling beside a webhook", "polled", at, bottest.Hook{URL: "https://x.example.org/"}, 1, "409"},
		{"a node polls", "polled", at, bottest.Hook{}, 2, ""},
	} {
		x.api.Hooked(c.hook)
		got := problems(c.account, c.service)
		if c.step >= len(got) || c.want == "" && got[c.step] != "" || !strings.Contains(got[c.step], c.want) {
			t.Errorf("%s: %q", c.what, got)
		}
	}
	y := open(t, func(o *telegram.Options) { o.Accounts[0].Token = secret.New("7000001:AAwrong-wrong-wrong-wrong") })
	if got := y.s.Check(t.Context(), "shop", at); len(got) != 1 || !strings.Contains(got[0].Problem, "BotFather") {
		t.Errorf("a wrong token: %+v", got)
	}
}

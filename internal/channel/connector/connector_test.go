package connector_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/connector"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/understand"
)

func TestEcho(t *testing.T) {
	b := newBot(t, echo)
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	acc := n.say(conv, "hello")
	end, said := n.texts(conv, acc.Turn)
	if d := cmp.Diff([]string{"Welcome!", "Echo: hello"}, said); d != "" || end.State != event.Ok || end.Engine != "bot" {
		t.Errorf("the bot said (-want +got) %s\nthe turn ended %+v", d, end)
	}
	got := b.all("")
	if len(got) != 2 || got[0].Type != activity.TypeUpdate || got[1].Text != "hello" {
		t.Fatalf("the bot got %d activities: %s", len(got), got[0].raw)
	}
	a := got[1]
	if a.From.ID != "dl_ann" || a.From.Role != "user" || a.From.Name != "Ann" || a.Recipient.ID != "shop" || a.Conversation.ID != conv || a.service() != n.url {
		t.Errorf("the bot got %s", a.raw)
	}
	if strings.Contains(string(a.raw), "null") || strings.Contains(string(a.raw), `:""`) || strings.Contains(string(a.raw), "parley") {
		t.Errorf("what says nothing, or is ours, must not be there: %s", a.raw)
	}
	if !strings.HasPrefix(a.ID, conv+"|") || channel.PositionOf(conv, a.ID) == 0 {
		t.Errorf("id %q", a.ID)
	}
	if h := a.header.Get("Authorization"); h != "" {
		t.Errorf("a bot without an app id got a credential")
	}
	// What the bot says is the answer, for those who wait for one, and follows
	// what it answers.
	n.until(conv, "the branch", func(st *conversation.State) bool {
		var branch []string
		for _, a := range st.Path(st.Leaf()) {
			branch = append(branch, a.Type+" "+a.Text)
		}
		if d := cmp.Diff([]string{"conversationUpdate ", "message Welcome!", "message hello", "message Echo: hello"}, branch); d != "" {
			t.Error(d)
		}
		return st.Activity(event.AnswerOf(acc.Turn)).Text == "Echo: hello" && st.Damaged+st.Missing == 0
	})
}

// Turns of a conversation go to the bot one after another, of several
// conversations side by side; what is said to a busy bot stays in its line.
func TestOneAtATime(t *testing.T) {
	var most, now atomic.Int32
	b := newBot(t, func(b *bot, a asked, w http.ResponseWriter) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		if a.Type == activity.TypeMessage {
			b.reply(a, a.Text+".1")
			b.reply(a, a.Text+".2")
		}
	})
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	var last chat.Accepted
	var want []string
	for i := range 20 {
		last = n.say(conv, fmt.Sprint(i))
		want = append(want, fmt.Sprintf("%d.1", i), fmt.Sprintf("%d.2", i))
	}
	_, said := n.texts(conv, last.Turn)
	if d := cmp.Diff(want, said); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
	if most.Load() != 1 {
		t.Errorf("%d deliveries at once", most.Load())
	}
	n.until(conv, "one branch with all", func(st *conversation.State) bool {
		if got := len(st.Path(st.Leaf())); got != 61 || len(st.Activities) != 61 {
			t.Errorf("the branch has %d of %d activities", got, len(st.Activities))
		}
		return true
	})
}

// The node dies while the bot is at it. Another one takes the turn and gives
// the bot nothing a second time.
func TestGivenOnce(t *testing.T) {
	for name, x := range map[string]struct {
		replies bool
		state   event.State
	}{
		"the bot answers another node":  {true, event.Ok},
		"nothing is heard from the bot": {false, event.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := openLog(t)
			hold, in := make(chan struct{}), make(chan asked, 4)
			b := newBot(t, func(_ *bot, a asked, _ http.ResponseWriter) {
				if a.Type == activity.TypeMessage {
					in <- a
					<-hold
				}
			})
			t.Cleanup(func() { close(hold) })
			limit := 4 * time.Second
			first := start(t, log, "a", "", limit, open(b))
			conv := first.begin()
			acc := first.say(conv, "book it")
			a := <-in
			first.halt()
			second := start(t, log, "b", "", limit, open(b))
			if x.replies {
				second.until(conv, "the second claim", func(st *conversation.State) bool { return st.Claim.Worker == "b" })
				b.must("POST", second.url+"/v3/conversations/"+conv+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), map[string]any{"type": "message", "text": "booked"}).id(t)
			}
			end, said := second.texts(conv, acc.Turn)
			if end.State != x.state || x.replies != (len(said) == 1) {
				t.Errorf("the turn ended %s %q after %q", end.State, end.Error, said)
			}
			if !x.replies && !strings.Contains(end.Error, "not certain") {
				t.Errorf("the person hears %q", end.Error)
			}
			if got := b.all(activity.TypeMessage); len(got) != 1 {
				t.Errorf("the bot got it %d times", len(got))
			}
		})
	}
}

// late is a log that holds back what says that a bot may have something, and
// from then on tells its node nothing.
type late struct {
	chat.Log
	comes, goes, went, hears chan struct{} // an entry waits; it may go on; it has; the node hears again
	deaf                     *atomic.Bool
}

func (l late) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	if a.Event.Kind == event.KindSent && l.deaf.CompareAndSwap(false, true) {
		l.comes <- struct{}{}
		<-l.goes
		defer close(l.went)
	}
	return l.Log.Append(ctx, a)
}

func (l late) Follow(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error {
	return l.Log.Follow(ctx, stream, after, func(batch []event.Entry) error {
		if l.deaf.Load() {
			<-l.hears
		}
		return each(batch)
	})
}

// A worker that is cut off comes back when another one has given the bot what it
// was about to give. The log refuses its entry, and it gives nothing.
func TestOvertaken(t *testing.T) {
	b := newBot(t, func(b *bot, a asked, _ http.ResponseWriter) {
		if a.Type == activity.TypeMessage {
			b.reply(a, "booked")
		}
	})
	log := openLog(t)
	hold := late{log, make(chan struct{}, 1), make(chan struct{}), make(chan struct{}), make(chan struct{}), &atomic.Bool{}}
	n := startWith(t, log, "a", "http://127.0.0.1:1", time.Minute, func(o *chat.Options) { o.Log = hold }, open(b))
	id := event.NewConversation(log.Region())
	if _, _, err := n.chat.Create(t.Context(), chat.NewConversation{ID: id, Owner: owner, Channel: "test", Hidden: true}); err != nil {
		t.Fatal(err)
	}
	acc := n.say(id, "book it")
	<-hold.comes
	goes, hears := sync.OnceFunc(func() { close(hold.goes) }), sync.OnceFunc(func() { close(hold.hears) })
	t.Cleanup(func() { goes(); hears() }) // before the nodes stop
	m := startWith(t, log, "b", "", time.Minute, func(o *chat.Options) {
		o.Orphans = func(context.Context, string) ([]chat.Orphan, error) {
			return []chat.Orphan{{Conversation: id, Seq: acc.Seq}}, nil
		}
	}, open(b))
	m.chat.Adopt(log.Region(), func(string) bool { return true })
	end, said := m.texts(id, acc.Turn)
	goes()
	<-hold.went
	<-time.After(300 * time.Millisecond) // a delivery on this machine takes a few
	hears()
	if got := b.all(activity.TypeMessage); end.State != event.Ok || len(said) != 1 || len(got) != 1 {
		t.Errorf("%s %q; the bot got %d messages", end.State, said, len(got))
	}
}

// A bot that is not ready, or not there yet, is asked again; one that failed is
// not.
func TestRetries(t *testing.T) {
	var asks atomic.Int32
	b := newBot(t, func(b *bot, a asked, w http.ResponseWriter) {
		switch n := asks.Add(1); {
		case a.Type != activity.TypeMessage:
			asks.Store(0)
		case a.Text == "busy" && n < 3:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader([]int{429, 503}[n-1])
		case a.Text == "breaks":
			w.WriteHeader(500)
		case a.Text == "suspicious":
			w.WriteHeader(401)
		case a.Text == "moved":
			w.Header().Set("Location", b.url)
			w.WriteHeader(307)
		default:
			b.reply(a, "at last")
		}
	})
	n := start(t, openLog(t), "a", "", 10*time.Second, open(b))
	conv := n.begin()
	for _, x := range []struct {
		text  string
		asks  int32
		state event.State
		says  string
	}{
		{"busy", 3, event.Ok, ""},
		{"breaks", 1, event.Failed, "failed (status 500)"},
		{"suspicious", 1, event.Failed, "does not trust"},
		{"moved", 1, event.Failed, "not followed"},
	} {
		acc := n.say(conv, x.text)
		end, _ := n.texts(conv, acc.Turn)
		if end.State != x.state || asks.Load() != x.asks || !strings.Contains(end.Error, x.says) {
			t.Errorf("%s: %s %q after %d times", x.text, end.State, end.Error, asks.Load())
		}
		asks.Store(0)
	}
}

func TestDeadAndSlow(t *testing.T) {
	dead := connector.Bot{ID: "dead", URL: "http://" + closedPort(t), Private: true}
	hold := make(chan struct{})
	slow := newBot(t, func(*bot, asked, http.ResponseWriter) { <-hold })
	t.Cleanup(func() { close(hold) })
	for what, b := range map[string]connector.Bot{"can't be reached": dead, "did not finish within 1s": open(slow)} {
		n := start(t, openLog(t), "a", "", time.Second, b)
		conv := n.begin()
		end, _ := n.texts(conv, n.say(conv, "hello?").Turn)
		if end.State != event.Failed || !strings.Contains(end.Error, what) {
			t.Errorf("the turn ended %s %q, want %q", end.State, end.Error, what)
		}
	}
}

// A person who stops waiting is not kept waiting, and the bot is let go.
func TestStop(t *testing.T) {
	in, gone := make(chan struct{}, 1), make(chan struct{})
	b := newBot(t, func(_ *bot, a asked, w http.ResponseWriter) {
		if a.Type == activity.TypeMessage {
			in <- struct{}{}
			select {
			case <-gone:
			case <-time.After(20 * time.Second):
			}
		}
	})
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	acc := n.say(conv, "long")
	<-in
	if err := n.chat.StopTurn(t.Context(), owner, conv, acc.Turn); err != nil {
		t.Fatal(err)
	}
	end, _ := n.texts(conv, acc.Turn)
	close(gone)
	if end.State != event.Stopped {
		t.Errorf("the turn ended %s", end.State)
	}
}

// A bot that got no answer sends the same again: once. One that says the same
// twice has said it twice.
func TestRepetition(t *testing.T) {
	b := newBot(t, func(*bot, asked, http.ResponseWriter) {})
	log := openLog(t)
	n := start(t, log, "a", "", time.Minute, open(b))
	conv := n.begin()
	acc := n.say(conv, "x")
	n.texts(conv, acc.Turn)
	a := b.all(activity.TypeMessage)[0]
	for range 3 {
		b.reply(a, "same")
	}
	for range 3 {
		if r, err := b.call(t.Context(), "POST", path(a)+"/activities", `{"type":"message","text":"cut"}`, "X-Lost", "1"); err == nil {
			t.Errorf("an answer came after all: %s", r.body)
		}
	}
	b.must("POST", path(a)+"/activities", `{"type":"message","text":"cut"}`).id(t)
	// The node was lost behind the log: another one has no memory of it.
	m := start(t, log, "b", "", time.Minute, open(b))
	first := b.must("POST", path(a)+"/activities", `{"type":"message","text":"lost"}`).id(t)
	if again := b.must("POST", m.url+"/v3/conversations/"+conv+"/activities", `{"type":"message","text":"lost"}`).id(t); again != first {
		t.Errorf("%s, said again by way of another node it is %s", first, again)
	}
	b.must("POST", path(a)+"/activities", `{"type":"message","text":"cut"}`).id(t) // answered before, so it is another one
	for _, url := range []string{n.url, m.url, n.url} {
		b.must("POST", url+"/v3/conversations/"+conv+"/activities", `{"type":"message","text":"named"}`, "Idempotency-Key", "k1").id(t)
	}
	count := map[string]int{}
	_, said := n.texts(conv, acc.Turn)
	n.until(conv, "the last", func(st *conversation.State) bool {
		count, said = map[string]int{}, nil
		for _, a := range st.Activities {
			if a.FromBot() {
				count[a.Text]++
			}
		}
		return count["named"] > 0
	})
	if d := cmp.Diff(map[string]int{"same": 3, "cut": 2, "lost": 1, "named": 1}, count); d != "" {
		t.Errorf("(-want +got) %s %q", d, said)
	}
}

func TestRoutes(t *testing.T) {
	b := newBot(t, echo)
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	n.texts(conv, n.say(conv, "x").Turn)
	a := b.all(activity.TypeMessage)[0]
	at := path(a)

	id := b.reply(a, "first version")
	of := at + "/activities/" + strings.ReplaceAll(id, "|", "%7C")
	if got := b.must("PUT", of, `{"type":"message","text":"second version"}`); got.id(t) != id {
		t.Errorf("update: %s", got.body)
	}
	gone := b.reply(a, "to be deleted")
	if got := b.must("DELETE", at+"/activities/"+strings.ReplaceAll(gone, "|", "%7C"), nil); got.status != 200 {
		t.Errorf("delete: %d %s", got.status, got.body)
	}
	n.until(conv, "the new version", func(st *conversation.State) bool {
		now := st.ActivityAt(channel.PositionOf(conv, id))
		was := st.ActivityAt(channel.PositionOf(conv, gone))
		return now.Text == "second version" && now.From.Role == "bot" && was.Type == activity.TypeDelete && was.Text == ""
	})

	var who []activity.Account
	if err := json.Unmarshal(b.must("GET", at+"/members", nil).body, &who); err != nil || len(who) != 2 || who[0].ID != "shop" || who[1].ID != "dl_ann" || who[1].Name != "Ann" {
		t.Errorf("members %+v %v", who, err)
	}
	for url, want := range map[string]string{
		at + "/members/dl_ann": `"id":"dl_ann"`, at + "/pagedmembers?pageSize=5": `"members":[`, of + "/members": `"id":"shop"`,
	} {
		if got := b.must("GET", url, nil); got.status != 200 || !strings.Contains(string(got.body), want) {
			t.Errorf("GET %s: %d %s", url, got.status, got.body)
		}
	}
	b.must("POST", at+"/activities/history", `{"activities":[{"type":"message","text":"h1","from":{"role":"user","id":"dl_ann"}},{"type":"message","text":"h2"}]}`).id(t)
	n.until(conv, "the transcript", func(st *conversation.State) bool {
		last := st.Activities[len(st.Activities)-1]
		return last.Text == "h2" && st.Activities[len(st.Activities)-2].FromBot()
	})

	file := b.must("POST", at+"/attachments", map[string]string{"type": "text/html", "name": "é.html", "originalBase64": base64.StdEncoding.EncodeToString([]byte("<script>"))}).id(t)
	if got := b.must("GET", n.url+"/v3/attachments/"+file, nil); !strings.Contains(string(got.body), `"viewId":"original"`) {
		t.Errorf("attachment: %s", got.body)
	}
	view := b.must("GET", n.url+"/v3/attachments/"+file+"/views/original", nil)
	if string(view.body) != "<script>" || !strings.Contains(view.header.Get("Content-Security-Policy"), "sandbox") || !strings.HasPrefix(view.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("view: %s %v", view.body, view.header)
	}

	var made struct{ ID, ActivityID, ServiceURL string }
	got := b.must("POST", n.url+"/v3/conversations", map[string]any{"bot": map[string]string{"id": "shop"}, "members": []any{map[string]string{"id": "dl_bob"}}, "activity": map[string]string{"type": "message", "text": "hello Bob"}})
	if err := json.Unmarshal(got.body, &made); err != nil || got.status != 201 || made.ServiceURL != n.url || channel.PositionOf(made.ID, made.ActivityID) == 0 {
		t.Fatalf("create: %d %s %v", got.status, got.body, err)
	}
	n.until(made.ID, "what it said there", func(st *conversation.State) bool {
		return len(st.Activities) == 1 && st.Activities[0].Text == "hello Bob" && st.By.User == "dl_bob" && st.By.Owner == owner
	})

	none := n.url + "/v3/conversations/" + event.NewConversation("local")
	for _, x := range []struct {
		what, method, url, body string
		want                    int
	}{
		{"no conversation", "POST", none + "/activities", `{"type":"message","text":"x"}`, 404},
		{"no conversation", "GET", n.url + "/v3/conversations/nope/members", "", 404},
		{"no member", "GET", at + "/members/nope", "", 404},
		{"what people said", "PUT", at + "/activities/" + strings.ReplaceAll(a.ID, "|", "%7C"), `{"type":"message","text":"x"}`, 404},
		{"what nobody said", "DELETE", at + "/activities/" + conv + "%7C9999999", "", 404},
		{"of no form", "DELETE", at + "/activities/nope", "", 404},
		{"no JSON", "POST", at + "/activities", `{"type":`, 400},
		{"null", "POST", at + "/activities", `null`, 400},
		{"no type", "POST", at + "/activities", `{"text":"x"}`, 400},
		{"a wrong kind", "POST", at + "/activities", `{"type":5}`, 400},
		{"not UTF-8", "POST", at + "/activities", "{\"type\":\"message\",\"text\":\"\xff\"}", 400},
		{"too large", "POST", at + "/activities", `{"type":"message","text":"` + strings.Repeat("x", 300_000) + `"}`, 413},
		{"an empty transcript", "POST", at + "/activities/history", `{"activities":[]}`, 400},
		{"no content", "POST", at + "/attachments", `{"type":"text/plain","originalBase64":""}`, 400},
		{"nobody can be removed", "DELETE", at + "/members/dl_ann", "", 405},
		{"no list", "GET", n.url + "/v3/conversations", "", 405},
		{"no such method", "PATCH", at + "/activities", "", 405},
		{"no such path", "GET", n.url + "/v3/bots/nope", "", 404},
		{"no such file", "GET", n.url + "/v3/attachments/nope", "", 404},
	} {
		got := b.must(x.method, x.url, x.body)
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(got.body, &e); got.status != x.want || err != nil || e.Error.Code == "" || e.Error.Message == "" {
			t.Errorf("%s: %s %s: %d %s, want %d", x.what, x.method, x.url, got.status, got.body, x.want)
		}
	}
}

// What is null or empty in a bot's activity says nothing, and what only the
// server may say it says.
func TestNulls(t *testing.T) {
	b := newBot(t, echo)
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	acc := n.say(conv, "x")
	n.texts(conv, acc.Turn)
	a := b.all(activity.TypeMessage)[0]
	b.must("POST", path(a)+"/activities", `{"type":"message","text":"y","id":"mine","from":{"id":"dl_ann","role":"user"},"timestamp":"2001-01-01T00:00:00Z",
		"channelId":"x","_channelId":"x","locale":null,"attachments":null,"entities":null,"channelData":{"parley":{"turn":"`+acc.Turn+`","parent":"zzz"},"own":1},"serviceUrl":"http://evil","recipient":null}`).id(t)
	n.until(conv, "it", func(st *conversation.State) bool {
		last := st.Activities[len(st.Activities)-1]
		if last.Text != "y" {
			return false
		}
		m := last.Meta()
		if last.From.ID != "shop" || last.From.Role != "bot" || last.Timestamp.Year() < 2020 || last.ChannelID != "test" || len(last.Extra) > 0 || m.Turn != "" || m.Parent == "zzz" {
			t.Errorf("it is kept as %+v, %+v", last, m)
		}
		return strings.Contains(string(last.ChannelData), `"own":1`)
	})
}

// Answers in the response, and invokes.
func TestInline(t *testing.T) {
	b := newBot(t, func(_ *bot, a asked, w http.ResponseWriter) {
		switch a.Type {
		case activity.TypeInvoke:
			w.WriteHeader(409)
			_, _ = w.Write([]byte(`{"why":"no"}`))
		case activity.TypeMessage:
			if string(a.Extra["deliveryMode"]) != `"expectReplies"` {
				w.WriteHeader(500)
			}
			_, _ = w.Write([]byte(`{"activities":[{"type":"message","text":"one","_channelId":"x"},{"type":"message","text":"two"}]}`))
		}
	})
	away := open(b)
	away.Inline = true
	n := start(t, openLog(t), "a", "", time.Minute, away)
	conv := n.begin()
	end, said := n.texts(conv, n.say(conv, "x").Turn)
	if d := cmp.Diff([]string{"one", "two"}, said); d != "" || end.State != event.Ok {
		t.Errorf("%s (-want +got) %s", end.Error, d)
	}
	acc := n.take(conv, activity.Activity{Type: activity.TypeInvoke, Extra: map[string]json.RawMessage{"name": []byte(`"signin/tokenExchange"`)}})
	n.texts(conv, acc.Turn)
	value, err := n.desk.Invoked(t.Context(), conv, conversation.Position(acc.Seq, 0))
	if err != nil || string(value) != `{"body":{"why":"no"},"status":409}` {
		t.Errorf("%s %v", value, err)
	}
}

// A bot leaves a message to the language model.
func TestPassedOn(t *testing.T) {
	b := newBot(t, func(b *bot, a asked, _ http.ResponseWriter) {
		if a.Type == activity.TypeMessage {
			b.reply(a, "I don't know that.")
			b.must("POST", path(a)+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), `{"type":"event","name":"handoff.initiate"}`).id(t)
		}
	})
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	end, said := n.texts(conv, n.say(conv, "why?").Turn)
	if len(said) != 2 || !strings.Contains(said[1], "why?") || end.State != event.Ok || end.Engine != "echo" {
		t.Errorf("%q, by %s", said, end.Engine)
	}
}

// A growing answer of a bot's is one stream to a receiver, whichever way its
// SDK says so, and is not there in the history.
func TestStream(t *testing.T) {
	for name, say := range map[string]func(kind, id string, n int) map[string]any{
		"channelData": func(kind, id string, n int) map[string]any {
			return map[string]any{"channelData": map[string]any{"streamType": kind, "streamId": id, "streamSequence": n, "own": 1}}
		},
		"entities": func(kind, id string, n int) map[string]any {
			return map[string]any{"entities": []any{map[string]any{"type": "streaminfo", "streamType": kind, "streamId": id, "streamSequence": n}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBot(t, func(*bot, asked, http.ResponseWriter) {})
			n := start(t, openLog(t), "a", "", time.Minute, open(b))
			conv := n.begin()
			n.texts(conv, n.say(conv, "x").Turn)
			a := b.all(activity.TypeMessage)[0]
			feed, err := n.desk.Feed(t.Context(), owner, conv, 0, true)
			if err != nil {
				t.Fatal(err)
			}
			defer feed.Close()
			var got []channel.Item
			read := func(what string) channel.Item {
				t.Helper()
				for late := time.After(10 * time.Second); ; {
					next := feed.Next()
					got = append(got, next.Items...)
					if len(next.Items) > 0 && got[len(got)-1].Activity.Text == what {
						return got[len(got)-1]
					}
					select {
					case <-next.More:
					case <-late:
						t.Fatalf("%q did not come", what)
					}
				}
			}
			send := func(kind, text, id, stream string, n int) string {
				m := say(stream, id, n)
				m["type"], m["text"] = kind, text
				return b.must("POST", path(a)+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), m).id(t)
			}
			id := send("typing", "thinking", "", "informative", 1)
			first := read("thinking")
			send("typing", "The", id, "streaming", 2)
			part := read("The")
			send("typing", "The answer", id, "streaming", 3)
			read("The answer")
			send("message", "The answer.", id, "final", 4)
			whole := read("The answer.")
			at := channel.PositionOf(conv, id)
			if s := first.Stream; s == nil || first.ID != at || s.ID != at || !s.First || !s.Note || s.Part != 1 {
				t.Errorf("first %+v %+v", first, s)
			}
			if s := part.Stream; s == nil || s.ID != at || s.First || s.Note || s.Part < 2 || part.ID == at {
				t.Errorf("part %+v %+v", part, s)
			}
			if s := whole.Stream; s == nil || s.ID != at || !s.Final || s.First {
				t.Errorf("whole %+v %+v", whole, s)
			}
			if strings.Contains(string(whole.Activity.ChannelData), `"streamId"`) || len(whole.Activity.Extra) > 0 {
				t.Errorf("the bot's own way of saying it is still there: %+v", whole.Activity)
			}
			late, err := n.desk.Feed(t.Context(), owner, conv, 0, true)
			if err != nil {
				t.Fatal(err)
			}
			defer late.Close()
			for _, it := range late.Next().Items {
				if it.Activity.Type == activity.TypeTyping {
					t.Errorf("the history has %q", it.Activity.Text)
				}
			}
		})
	}
}

// Whoever is no part of a conversation does not speak in it.
func TestStrangers(t *testing.T) {
	b, other := newBot(t, echo), newBot(t, echo)
	stranger := trusted(other)
	stranger.ID, stranger.AppID = "other", "other-app"
	n := start(t, openLog(t), "a", "", time.Minute, open(b), stranger)
	conv := n.begin()
	n.texts(conv, n.say(conv, "x").Turn)
	at := path(b.all("")[0])
	if got := other.must("POST", at+"/activities", `{"type":"message","text":"evil"}`); got.status != 404 {
		t.Errorf("another bot: %d %s", got.status, got.body)
	}
	if _, _, err := n.chat.Speak(t.Context(), chat.Spoken{Bot: "other", Conversation: conv, Activity: activity.Activity{Type: "message", Text: "evil"}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("another bot: %v", err)
	}
	for _, h := range [][]string{
		{"X-Forwarded-For", "8.8.8.8"},
		{"X-Forwarded-For", "8.8.8.8, 127.0.0.1"},
		{"X-Forwarded-For", "127.0.0.1, "},
		{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-Host", "parley.example"},
		{"Forwarded", "for=8.8.8.8"},
		{"Origin", "https://evil.example"},
		{"Via", "1.1 somebody"},
	} {
		if got := b.must("POST", at+"/activities", `{"type":"message","text":"evil"}`, h...); got.status != 401 {
			t.Errorf("without a credential, passed on with %s: %d", h, got.status)
		}
	}
	if got := b.must("POST", at+"/activities", `{"type":"message","text":"fine"}`, "X-Forwarded-For", "127.0.0.1, ::1"); got.status != 200 {
		t.Errorf("passed on by a program on this machine: %d %s", got.status, got.body)
	}
	n.until(conv, "what was said", func(st *conversation.State) bool {
		for _, a := range st.Activities {
			if a.Text == "evil" {
				t.Error("it is in the log")
			}
		}
		return true
	})
}

func TestTrust(t *testing.T) {
	b := newBot(t, echo)
	n := start(t, openLog(t), "a", "", time.Minute, trusted(b))
	conv := n.begin()
	end, said := n.texts(conv, n.say(conv, "hello").Turn)
	if len(said) != 2 || end.State != event.Ok {
		t.Fatalf("%q %s", said, end.Error)
	}
	a := b.all(activity.TypeMessage)[0]

	// What it gets is signed as its SDK wants it.
	token := strings.TrimPrefix(a.header.Get("Authorization"), "Bearer ")
	var h, c map[string]any
	for i, into := range []*map[string]any{&h, &c} {
		part, err := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[i])
		if err == nil {
			err = json.Unmarshal(part, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if h["alg"] != "RS256" || c["aud"] != appID || c["iss"] != n.url+"/v3/bots" || c["serviceurl"] != a.service() {
		t.Errorf("header %v, claims %v", h, c)
	}
	var meta struct {
		URI    string `json:"jwks_uri"`
		Issuer string
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(b.must("GET", n.url+"/v3/bots/.well-known/openid-configuration", nil).body, &meta); err != nil || meta.Issuer != c["iss"] {
		t.Errorf("metadata %+v %v", meta, err)
	}
	for _, url := range []string{meta.URI, n.url + "/v3/bots/discovery/v2.0/keys"} {
		if err := json.Unmarshal(b.must("GET", url, nil).body, &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["kid"] != h["kid"] || set.Keys[0]["d"] != "" {
			t.Errorf("%s: %v %v", url, set, err)
		}
	}

	// What it sends needs its secret, or a token that it gets for that.
	key := b.key
	form := func(id, password string) reply {
		return b.must("POST", n.url+"/v3/bots/token", "grant_type=client_credentials&client_id="+id+"&client_secret="+password, "Content-Type", "application/x-www-form-urlencoded")
	}
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(form(appID, key).body, &got); err != nil || got.Token == "" {
		t.Fatalf("no token: %v", err)
	}
	for _, x := range [][2]string{{appID, "wrong"}, {"other", key}, {"", ""}, {appID, ""}} {
		if r := form(x[0], x[1]); r.status != 401 {
			t.Errorf("a token for %v: %d", x, r.status)
		}
	}
	if r := b.must("POST", n.url+"/v3/bots/token", "grant_type=password", "Content-Type", "application/x-www-form-urlencoded"); r.status != 400 {
		t.Errorf("another grant: %d", r.status)
	}
	for what, x := range map[string]struct {
		key  string
		want int
	}{
		"the secret": {key, 200}, "its token": {got.Token, 200}, "nothing": {"", 401}, "a guess": {"guess", 401}, "the token that we send": {token, 401},
	} {
		b.key = x.key
		if r := b.must("POST", path(a)+"/activities", `{"type":"message","text":"`+what+`"}`); r.status != x.want {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	b.key = ""
	side := n.url + "/v3/bots/shop/sidecar/AuthorizationHeaderUnauthenticated/default?optionsOverride.Scopes=x"
	var by struct {
		Header string `json:"authorizationHeader"`
	}
	if err := json.Unmarshal(b.must("GET", side, nil).body, &by); err != nil || !strings.HasPrefix(by.Header, "Bearer ") {
		t.Errorf("sidecar: %v %v", by, err)
	}
	if r := b.must("GET", side, nil, "X-Forwarded-For", "8.8.8.8"); r.status != 403 {
		t.Errorf("the sidecar's route answers what was passed on: %d", r.status)
	}
	if r := b.must("GET", strings.Replace(side, "/shop/", "/nope/", 1), nil); r.status != 404 {
		t.Errorf("the sidecar of no bot: %d", r.status)
	}
	b.key = strings.TrimPrefix(by.Header, "Bearer ")
	b.reply(a, "by the sidecar's token")
}

// A name may lead somewhere else when it is asked again, so what counts is
// where a connection goes.
func TestAddresses(t *testing.T) {
	b := newBot(t, echo)
	for what, x := range map[string]struct {
		bot  connector.Bot
		says string
	}{
		"this machine, by a name":      {connector.Bot{ID: "x", AppID: "a", URL: strings.Replace(b.url, "127.0.0.1", "localhost", 1)}, "private: true"},
		"this machine":                 {connector.Bot{ID: "x", AppID: "a", URL: b.url}, "private: true"},
		"the cloud's metadata":         {connector.Bot{ID: "x", AppID: "a", URL: "http://169.254.169.254/latest", Private: true}, "does not call"},
		"elsewhere without an app id":  {connector.Bot{ID: "x", URL: "http://10.255.255.1/", Private: true}, "on this machine only"},
		"this machine, another's form": {connector.Bot{ID: "x", AppID: "a", URL: strings.Replace(b.url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)}, "private: true"},
	} {
		n := start(t, openLog(t), "a", "", 5*time.Second, x.bot)
		conv := n.begin()
		end, _ := n.texts(conv, n.say(conv, "x").Turn)
		if end.State != event.Failed || !strings.Contains(end.Error, x.says) {
			t.Errorf("%s: %s %q", what, end.State, end.Error)
		}
	}
	if got := b.all(""); len(got) > 0 {
		t.Errorf("the bot got %d activities", len(got))
	}
}

// The script first, bots second, the language model last.
func TestChain(t *testing.T) {
	pack, _, err := understand.Make(t.Context(), understand.Source{Path: "../../../examples/nlu/cityguide", Flows: "../../../examples/flows/cityguide.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := understand.Open("cityguide", pack, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := understand.New(understand.Options{Apps: []understand.App{{Name: "cityguide", Model: m, Bots: []string{"guide"}}}, Bots: []string{"guide", "bookings"}})
	if err != nil {
		t.Fatal(err)
	}
	guide := newBot(t, func(b *bot, a asked, _ http.ResponseWriter) {
		if a.Type == activity.TypeMessage && strings.Contains(a.Text, "unknown") {
			b.must("POST", path(a)+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), `{"type":"event","name":"handoff.initiate"}`).id(t)
		} else if a.Type == activity.TypeMessage {
			b.reply(a, "guide: "+a.Text)
		}
	})
	bookings := newBot(t, func(b *bot, a asked, _ http.ResponseWriter) {
		if a.Text == "bye" {
			b.must("POST", path(a)+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), `{"type":"endOfConversation"}`).id(t)
			return
		}
		b.reply(a, "bookings: "+a.Type+" "+a.Text)
	})
	g, k := open(guide), open(bookings)
	g.ID, k.ID = "guide", "bookings"
	n := startWith(t, openLog(t), "a", "", time.Minute, func(o *chat.Options) { o.Understanding = u }, g, k)
	conv := n.begin()
	had := 0
	for _, x := range []struct {
		says string
		want []string
	}{
		{"thanks", []string{"You are welcome."}},
		{"where can I eat sushi?", []string{"Let me think about a place for dinner.", "guide: where can I eat sushi?"}},
		{"a table for four, please", []string{"At what time?"}},
		{"tomorrow at 8 pm", []string{"Would you like to sit inside or outside?"}},
		{"outside", []string{"Under which name?"}},
		{"Kim", []string{"A table for four, tomorrow at 8 pm, outside, for Kim. Is that right?"}},
		{"yes", []string{"Thank you, I am passing that on.", "bookings: message yes"}},
		{"thanks", []string{"bookings: message thanks"}}, // who has the conversation keeps it
		{"bye", nil},
		{"thanks", []string{"My pleasure."}},
	} {
		end, said := n.texts(conv, n.say(conv, x.says).Turn)
		if d := cmp.Diff(x.want, said[had:], cmpopts.EquateEmpty()); d != "" || end.State != event.Ok {
			t.Fatalf("%q: %s %s (-want +got) %s", x.says, end.State, end.Error, d)
		}
		had = len(said)
	}
	if got := len(bookings.all("")); got != 3 {
		t.Errorf("the bot that takes bookings got %d activities", got)
	}
	end, said := n.texts(conv, n.say(conv, "where can I eat something unknown?").Turn)
	if last := said[len(said)-1]; end.Engine != "echo" || !strings.Contains(last, "something unknown") || end.State != event.Ok {
		t.Errorf("the language model, which is last, said %q; %+v", said[had:], end)
	}
}

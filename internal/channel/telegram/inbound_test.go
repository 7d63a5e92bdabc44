package telegram_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/telegram"
	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/fault"
)

// What people do in Telegram is an activity, with everything in it that a bot
// can use.
func TestTranslate(t *testing.T) {
	x := open(t, nil)
	x.api.File("pic", []byte("\xff\xd8\xff\xe0 a picture"))
	x.api.File("doc", []byte("a,b\n1,2\n"))
	x.api.File("big", []byte(strings.Repeat("x", 2000)))
	x.desk.said = map[uint64]*activity.Activity{640: {Type: "message", From: &activity.Account{Role: "bot"}, Extra: map[string]json.RawMessage{
		"attachments":      json.RawMessage(`[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"t","buttons":[{"type":"imBack","title":"One","value":"the first"}]}}]`),
		"suggestedActions": json.RawMessage(`{"actions":[{"type":"postBack","title":"Two","value":{"n":2}}]}`),
	}}}
	press := func(data string) string {
		return fmt.Sprintf(`{"update_id":%%d,"callback_query":{"id":"c%%d","from":{"id":%d,"is_bot":false,"first_name":"Ann"},"chat_instance":"1","data":%s,`+
			`"message":{"message_id":55,"date":1,"chat":{"id":%d,"type":"private"},"text":"t","reply_markup":{"inline_keyboard":[[{"text":"Old","callback_data":"9.0"}]]}}}}`, ann, quoted(data), ann)
	}
	m := func(more string) string {
		return strings.Replace(message(1, 1, more), `"update_id":1,"message":{"message_id":1,`, `"update_id":%d,"message":{"message_id":%d,`, 1)
	}
	for _, c := range []struct{ what, update, want string }{
		{"text", m(`"text":"Grüße 👋"`), `{"type":"message","text":"Grüße 👋"}`},
		{"caption", m(`"caption":"look","photo":[{"file_id":"small","file_size":10},{"file_id":"pic","file_size":14}]`), `{"type":"message","text":"look","attachments":[{"contentType":"image/jpeg","contentUrl":"/files/C/K","name":"photo-K.jpg","size":14}]}`},
		{"document", m(`"document":{"file_id":"doc","file_name":"t.csv","mime_type":"text/csv","file_size":8}`), `{"type":"message","attachments":[{"contentType":"text/csv","contentUrl":"/files/C/K","name":"t.csv","size":8}]}`},
		{"too large", m(`"document":{"file_id":"big","file_name":"b.bin","file_size":2000}`), `{"type":"message","attachments":[{"contentType":"application/octet-stream","name":"b.bin"}]}`},
		{"larger than it says", m(`"voice":{"file_id":"big","mime_type":"audio/ogg","file_size":1}`), `{"type":"message","attachments":[{"contentType":"audio/ogg","name":"voice-K"}]}`},
		{"gone", m(`"audio":{"file_id":"none","mime_type":"audio/mpeg"}`), `{"type":"message","attachments":[{"contentType":"audio/mpeg","name":"audio-K"}]}`},
		{"an animation once", m(`"animation":{"file_id":"doc","mime_type":"video/mp4"},"document":{"file_id":"doc"}`), `{"type":"message","attachments":[{"contentType":"video/mp4","contentUrl":"/files/C/K","name":"animation-K","size":8}]}`},
		{"a reply", m(`"text":"why?","reply_to_message":{"message_id":44,"date":1,"chat":{"id":1,"type":"private"}}`), `{"type":"message","text":"why?","replyToId":"44"}`},
		{"a place", m(`"location":{"latitude":48.1,"longitude":11.5}`), `{"type":"message","entities":[{"type":"Place","name":"","geo":{"type":"GeoCoordinates","latitude":48.1,"longitude":11.5}}]}`},
		{"a venue", m(`"location":{"latitude":1,"longitude":2},"venue":{"location":{"latitude":1,"longitude":2},"title":"Shop","address":"Here 1"}`), `{"type":"message","entities":[{"type":"Place","name":"Shop, Here 1","geo":{"type":"GeoCoordinates","latitude":1,"longitude":2}}]}`},
		{"a contact", m(`"contact":{"phone_number":"+491","first_name":"Bo"}`), `{"type":"message","text":"Bo +491"}`},
		{"a sticker", m(`"sticker":{"file_id":"s","emoji":"👍"}`), `{"type":"message","text":"👍"}`},
		{"start without a greeting", m(`"text":"/start"`), `{"type":"message","text":"/start"}`},
		{"a card's button", press("hs.0"), `{"type":"message","text":"the first","replyToId":"55"}`},
		{"a choice", press("hs.1"), `{"type":"message","text":"Two","value":{"n":2},"replyToId":"55"}`},
		{"a button that is no more", press("9.0"), `{"type":"message","text":"Old","replyToId":"55"}`},
		{"a button that never was", press("hs.7"), ``},
		{"somebody else's button", press("evil"), ``},
		{
			"a reaction", fmt.Sprintf(`{"update_id":%%d,"message_reaction":{"chat":{"id":%d,"type":"private"},"message_id":44,"date":1,"user":{"id":%d,"is_bot":false,"first_name":"Ann"},"old_reaction":[{"type":"emoji","emoji":"👎"}],"new_reaction":[{"type":"emoji","emoji":"❤"}]}}`, ann, ann),
			`{"type":"messageReaction","replyToId":"44","reactionsAdded":[{"type":"❤"}],"reactionsRemoved":[{"type":"👎"}]}`,
		},
		{"somebody came", m(`"new_chat_members":[{"id":1,"is_bot":false,"first_name":"Bo"}]`), ``},
		{"another bot", strings.ReplaceAll(m(`"text":"hi"`), `"is_bot":false`, `"is_bot":true`), ``},
		{"a channel's post", `{"update_id":%d,"channel_post":{"message_id":1,"chat":{"id":-5,"type":"channel"},"text":"news"}}`, ``},
		{"an update of tomorrow", `{"update_id":%d,"hologram":{}}`, ``},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := len(x.desk.all())
			n := fmt.Sprint(x.api.Next())
			if got := x.deliver(strings.ReplaceAll(c.update, "%d", n)); got != 200 {
				t.Fatalf("status %d", got)
			}
			all := x.desk.all()[before:]
			if c.want == "" {
				if len(all) != 0 {
					t.Fatalf("taken: %+v", all)
				}
				return
			}
			if len(all) != 1 {
				t.Fatalf("taken: %+v", all)
			}
			in := all[0]
			if in.Owner != telegram.Owner("shop") || in.Key == "" || in.Activity.From.ID != fmt.Sprint(ann) || in.Activity.From.Role != "user" || !strings.HasPrefix(in.Activity.From.Name, "Ann") {
				t.Errorf("taken: %+v", in)
			}
			a := in.Activity
			a.From, a.ChannelData, a.Locale = nil, nil, ""
			b, err := json.Marshal(a)
			got := strings.NewReplacer(in.Conversation, "C", n, "K").Replace(string(b))
			var g, w any
			_, _ = json.Unmarshal([]byte(got), &g), json.Unmarshal([]byte(c.want), &w)
			if gs, ws := fmt.Sprint(g), fmt.Sprint(w); err != nil || gs != ws {
				t.Errorf("got %s\nwant %s", gs, ws)
			}
		})
	}
	if n := len(x.api.Calls("answerCallbackQuery")); n != 5 {
		t.Errorf("%d presses are acknowledged", n)
	}
	x.right()
}

// In a group the bot is told of what is said to it, and of nothing else.
func TestGroups(t *testing.T) {
	x := open(t, nil)
	name := "@" + bottest.Username
	entity := func(kind string, offset, length int) string {
		return fmt.Sprintf(`"entities":[{"type":%q,"offset":%d,"length":%d}]`, kind, offset, length)
	}
	for i, c := range []struct{ what, more, want string }{
		{"to everybody", `"text":"hello all"`, ""},
		{"named first", `"text":` + quoted(name+" what time is it?") + `,` + entity("mention", 0, len(name)), "what time is it?"},
		{"named in other letters", `"text":` + quoted(strings.ToUpper(name)+" hi") + `,` + entity("mention", 0, len(name)), "hi"},
		{"named last, behind an emoji", `"text":` + quoted("👋 hi "+name) + `,` + entity("mention", 6, len(name)), "👋 hi"},
		{"named in the middle", `"text":` + quoted("hey "+name+", hi") + `,` + entity("mention", 4, len(name)), "hey " + name + ", hi"},
		{"somebody else is named", `"text":"@somebody_else hi",` + entity("mention", 0, 14), ""},
		{"the name is only quoted", `"text":` + quoted(name+" is a bot") + `,` + entity("code", 0, len(name)), ""},
		{"its command", `"text":` + quoted("/ask"+name+" why?") + `,` + entity("bot_command", 0, 4+len(name)), "/ask why?"},
		{"any bot's command", `"text":"/ask why?",` + entity("bot_command", 0, 4), ""},
		{"another bot's command", `"text":"/ask@other_bot why?",` + entity("bot_command", 0, 14), ""},
		{"named without a name", `"text":"Parley hi","entities":[{"type":"text_mention","offset":0,"length":6,"user":{"id":7000001,"is_bot":true}}]`, "hi"},
		{"an answer to it", `"text":"why?","reply_to_message":{"message_id":3,"chat":{"id":-1},"from":{"id":7000001,"is_bot":true}}`, "why?"},
		{"an answer to somebody", `"text":"why?","reply_to_message":{"message_id":3,"chat":{"id":-1},"from":{"id":5,"is_bot":false}}`, ""},
		{"below a picture", `"caption":` + quoted(name+" what is this?") + `,"caption_entities":[{"type":"mention","offset":0,"length":16}],"photo":[{"file_id":"none"}]`, "what is this?"},
		{"entities beyond the text", `"text":"x","entities":[{"type":"mention","offset":0,"length":9000000000},{"type":"mention","offset":-1,"length":5},{"type":"mention","offset":9,"length":5}]`, ""},
	} {
		before := len(x.desk.all())
		if got := x.deliver(inGroup(x.api.Next(), int64(100+i), c.more)); got != 200 {
			t.Fatalf("%s: status %d", c.what, got)
		}
		all := x.desk.all()[before:]
		if c.want == "" && len(all) > 0 || c.want != "" && (len(all) != 1 || all[0].Activity.Text != c.want) {
			t.Errorf("%s: taken %+v, want %q", c.what, all, c.want)
		}
	}
	// A topic of a group is a conversation of its own.
	topic := `"message_thread_id":77,"is_topic_message":true,"text":` + quoted(name+" hi") + `,` + entity("mention", 0, len(name))
	x.deliver(inGroup(x.api.Next(), 300, topic))
	x.deliver(inGroup(x.api.Next(), 301, strings.Replace(topic, `,"is_topic_message":true`, "", 1)))
	all := x.desk.all()
	if a, b := all[len(all)-2].Conversation, all[len(all)-1].Conversation; !strings.HasSuffix(a, "/77") || !strings.HasSuffix(b, "/0") {
		t.Errorf("conversations %q and %q", a, b)
	}
}

// Who presses Start is greeted.
func TestStart(t *testing.T) {
	x := open(t, func(o *telegram.Options) { o.Accounts[0].Greeting, o.Accounts[0].Bot = "**Hello!**", "bot" })
	x.deliver(message(1, 10, `"text":"/start ref-7"`))
	x.deliver(message(2, 11, `"text":"/started"`))
	all := x.desk.all()
	if len(all) != 2 || all[0].Activity.Type != "event" || string(all[0].Activity.Extra["value"]) != `"ref-7"` || all[1].Activity.Text != "/started" {
		t.Fatalf("taken %+v", all)
	}
	if sp := x.desk.spoken; len(sp) != 1 || sp[0].Activity.Text != "**Hello!**" || sp[0].Bot != "bot" {
		t.Errorf("spoken %+v", sp)
	}
}

// Telegram hears of a failure only when it helps: what can never be taken must
// not hold up what comes behind it.
func TestStatuses(t *testing.T) {
	x := open(t, nil)
	for code, want := range map[fault.Code]int{
		fault.Unavailable: 503, fault.Limited: 429, fault.StorageFull: 503, fault.Internal: 500, fault.Timeout: 503,
		fault.Invalid: 200, fault.TooLarge: 200, fault.NotFound: 200, fault.Conflict: 200, fault.Unsupported: 200,
	} {
		x.desk.fail = func(channel.Inbound) error { return fault.New(code, "no").After(3 * time.Second) }
		if got := x.deliver(message(x.api.Next(), 5, `"text":"x"`)); got != want {
			t.Errorf("%s: status %d, want %d", code, got, want)
		}
	}
	x.desk.fail = nil
	for what, c := range map[string]struct {
		url, body, secret string
		want              int
	}{
		"not JSON":                  {x.url, `{"update_id":`, hookSecret, 400},
		"not UTF-8":                 {x.url, "{\"update_id\":1,\"message\":{\"text\":\"\xff\"}}", hookSecret, 400},
		"null":                      {x.url, `null`, hookSecret, 400},
		"a list":                    {x.url, `[]`, hookSecret, 400},
		"no number":                 {x.url, `{"message":{}}`, hookSecret, 400},
		"a number that is none":     {x.url, `{"update_id":"1"}`, hookSecret, 400},
		"a wrong kind":              {x.url, `{"update_id":1,"message":{"chat":7}}`, hookSecret, 400},
		"deep":                      {x.url, `{"update_id":1,"x":` + strings.Repeat("[", 200_000) + `}`, hookSecret, 400},
		"empty":                     {x.url, ``, hookSecret, 400},
		"oversized":                 {x.url, `{"update_id":1,"x":"` + strings.Repeat("x", 2<<20) + `"}`, hookSecret, 413},
		"no secret":                 {x.url, message(1, 1, `"text":"evil"`), "", 401},
		"another's secret":          {x.url, message(1, 1, `"text":"evil"`), otherSecret, 401},
		"the token":                 {x.url, message(1, 1, `"text":"evil"`), bottest.Token, 401},
		"for nobody":                {strings.TrimSuffix(x.url, "shop") + "nobody", message(1, 1, `"text":"evil"`), hookSecret, 404},
		"for one without a webhook": {strings.TrimSuffix(x.url, "shop") + "polled", message(1, 1, `"text":"evil"`), "", 404},
	} {
		if got := post(t, c.url, c.body, c.secret); got != c.want {
			t.Errorf("%s: status %d, want %d", what, got, c.want)
		}
	}
	for _, in := range x.desk.all() {
		if in.Activity.Text == "evil" {
			t.Errorf("taken: %+v", in)
		}
	}
}

// Updates with nothing, null and odd values in them are left out and break
// nothing.
func TestOddUpdates(t *testing.T) {
	x := open(t, nil)
	for i, u := range []string{
		`{"update_id":N,"message":null}`, `{"update_id":N,"message":{}}`, `{"update_id":N,"message":{"from":null,"chat":null}}`,
		`{"update_id":N,"message":{"from":{"id":0},"chat":{"id":5},"text":"x"}}`, `{"update_id":N,"message":{"from":{"id":-5},"chat":{"id":5},"text":"x"}}`,
		`{"update_id":N,"callback_query":{}}`, `{"update_id":N,"callback_query":{"id":"c","from":{"id":5},"data":"1.0"}}`,
		`{"update_id":N,"callback_query":{"id":"c","from":{"id":5},"data":"1.0","message":{}}}`,
		`{"update_id":N,"callback_query":{"id":"c","from":null,"data":null,"message":{"message_id":1,"date":0,"chat":{"id":5}}}}`,
		`{"update_id":N,"message_reaction":{}}`, `{"update_id":N,"message_reaction":{"chat":{"id":5},"user":{"id":5},"old_reaction":null,"new_reaction":null}}`,
		`{"update_id":N,"message":{"message_id":1,"from":{"id":5},"chat":{"id":5},"text":""}}`,
		`{"update_id":N,"message":{"message_id":1,"from":{"id":5},"chat":{"id":5},"photo":[],"document":null}}`,
	} {
		if got := x.deliver(strings.ReplaceAll(u, "N", fmt.Sprint(1000+i))); got != 200 {
			t.Errorf("%s: status %d", u, got)
		}
	}
	if all := x.desk.all(); len(all) > 0 {
		t.Errorf("taken: %+v", all)
	}
	texts := []string{}
	for range 3 { // the same again
		x.deliver(message(2000, 9, `"text":"once"`))
	}
	for _, in := range x.desk.all() {
		texts = append(texts, in.Activity.Text)
	}
	if !slices.Equal(texts, []string{"once"}) {
		t.Errorf("taken: %q", texts)
	}
}

package teams

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
)

func TestMarkdown(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"words", "a *b* **c** ~~d~~ `e`", "a *b* **c** ~~d~~ `e`"},
		{"a heading", "# The **big** one\ntext\n\n### Next ###\n\nmore", "**The big one**\n\ntext\n\n**Next**\n\nmore"},
		{"no heading", "#hashtag and 1 # 2", "#hashtag and 1 # 2"},
		{"a rule", "a\n\n---\n\nb", "a\n\nb"},
		{"lists", "- a\n  - [ ] b\n  - [x] c\n1. d", "- a\n  - ☐ b\n  - ☑ c\n1. d"},
		{"a picture", "![a duck](https://e.org/d.png \"x\") ![](https://e.org/e.png)", "[a duck](https://e.org/d.png) https://e.org/e.png"},
		{"tags", "a <b>x</b> 1 < 2 <https://e.org/?a=1> <!-- c --> `<b>` ``a ` <i>``", "a &lt;b>x&lt;/b> 1 < 2 https://e.org/?a=1 &lt;!-- c --> `<b>` ``a ` <i>``"},
		{"a mention that nobody means", "<at>everyone</at>", "&lt;at>everyone&lt;/at>"},
		{"code", "```go\n# x\n<b>\n|a|b|\n|-|-|\n```\n# y", "```go\n# x\n<b>\n|a|b|\n|-|-|\n```\n\n**y**"},
		{"code that is not closed", "~~~\n# x\n```", "~~~\n# x\n```"},
		{"a table", "is:\n| Name | **Age** |\n|:--|--:|\n| Ann | 7 |\n| Bartholomew | a\\|b |\nend", "is:\n\n```\nName        | Age\n------------+----\nAnn         | 7\nBartholomew | a|b\n```\n\nend"},
		{"no table", "a | b\n---\nc", "a | b\n---\nc"},
		{"open code", "a ` <b> b", "a ` &lt;b> b"},
	} {
		if got := markdown(c.in); got != c.want {
			t.Errorf("%s (-want +got):\n%s", c.name, cmp.Diff(c.want, got))
		}
	}
}

// Texts that cost a naive program its time.
func TestHostileText(t *testing.T) {
	for _, x := range []string{"|", "`", "![", "<", "# ", "|-", "```\n", "- [ ] ", "**", "<https://", "\n|a|\n|-|", "![a](b"} {
		_ = markdown(strings.Repeat(x, 20_000))
	}
}

func bot(text, extra string) channel.Item {
	a := &activity.Activity{Type: activity.TypeMessage, Text: text, From: &activity.Account{ID: "sdk", Role: "bot"}}
	if err := json.Unmarshal([]byte(extra), &a.Extra); err != nil {
		panic(err)
	}
	return channel.Item{Pos: 8, ID: 8, Activity: a}
}

func TestCards(t *testing.T) {
	for _, c := range []struct{ name, room, text, extra, want string }{
		{"nothing", "a:1", "", `{}`, `[]`},
		{
			"what a bot wrote for Teams stays", "a:1", "<b>hi</b> # <at>Kim</at>", `{"entities":[{"type":"mention","text":"<at>Kim</at>"},{"type":"streaminfo"},{}]}`,
			`[{"text":"<b>hi</b> # <at>Kim</at>","entities":[{"type":"mention","text":"<at>Kim</at>"}]}]`,
		},
		{
			"text and a card go apart", "a:1", "see", `{"attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"type":"AdaptiveCard"}}]}`,
			`[{"text":"see"},{"attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"type":"AdaptiveCard"}}]}]`,
		},
		{
			"a carousel", "a:1", "", `{"attachmentLayout":"carousel","attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"a"}},{"contentType":"application/vnd.microsoft.card.thumbnail","content":{"title":"b"}}]}`,
			`[{"attachmentLayout":"carousel","attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"a"}},{"contentType":"application/vnd.microsoft.card.thumbnail","content":{"title":"b"}}]}]`,
		},
		{
			"a button that is said in silence", "a:1", "", `{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"a","tap":{"x":1},"buttons":[{"type":"postBack","title":"Yes","value":"yes"},{"type":"openUrl","title":"Go","value":"https://e.org","image":"i"}]}}]}`,
			`[{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"a","tap":{"x":1},"buttons":[{"type":"messageBack","title":"Yes","value":"yes","text":"yes","displayText":"Yes"},{"type":"openUrl","title":"Go","value":"https://e.org","image":"i"}]}}]}]`,
		},
		{
			"a film", "a:1", "", `{"attachments":[{"contentType":"application/vnd.microsoft.card.video","content":{"title":"Big","image":{"url":"https://e.org/i.png"},"media":[{"url":"https://e.org/v.mp4"},{"url":"javascript:x"}]}}]}`,
			`[{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"Big","images":[{"url":"https://e.org/i.png"}],"buttons":[{"type":"openUrl","title":"Play","value":"https://e.org/v.mp4"}]}}]}]`,
		},
		{
			"files", "a:1", "take", `{"attachments":[{"contentType":"image/png","contentUrl":"https://e.org/i.png","name":"i.png"},{"contentType":"application/pdf","contentUrl":"/v3/attachments/x","name":"a [1].pdf"},{"contentType":"text/x","name":"y"}]}`,
			`[{"text":"take\n\n[a (1).pdf](https://chat.example.org/v3/attachments/x)\n\ny (a file that can't be shown here)"},{"attachments":[{"contentType":"image/png","contentUrl":"https://e.org/i.png","name":"i.png"}]}]`,
		},
		{
			"suggestions", "a:1", "choose", `{"suggestedActions":{"actions":[{"type":"imBack","title":"Red","value":"red"},{"type":"imBack","value":"blue"}]}}`,
			`[{"text":"choose","suggestedActions":{"to":["29:megan"],"actions":[{"type":"imBack","title":"Red","value":"red"},{"type":"imBack","title":"blue","value":"blue"}]}}]`,
		},
		{
			"suggestions to many", "19:x@thread.v2", "choose", `{"suggestedActions":{"actions":[{"type":"imBack","title":"Red","value":"red"}]}}`,
			`[{"text":"choose"},{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"buttons":[{"type":"imBack","title":"Red","value":"red"}]}}]}]`,
		},
		{
			"suggestions that Teams has not", "a:1", "choose", `{"suggestedActions":{"actions":[{"type":"postBack","title":"Red","value":{"c":1}},{"type":"openUrl","title":"Go","value":"https://e.org"}]}}`,
			`[{"text":"choose"},{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"buttons":[{"type":"messageBack","title":"Red","value":{"c":1},"text":"Red","displayText":"Red"},{"type":"openUrl","title":"Go","value":"https://e.org"}]}}]}]`,
		},
		{
			"too many suggestions", "a:1", "", `{"suggestedActions":{"actions":[` + strings.TrimSuffix(strings.Repeat(`{"type":"imBack","title":"x","value":"x"},`, 7), ",") + `]}}`,
			`[{"attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"buttons":[` + strings.TrimSuffix(strings.Repeat(`{"type":"imBack","title":"x","value":"x"},`, 6), ",") + `]}},{"contentType":"application/vnd.microsoft.card.hero","content":{"buttons":[{"type":"imBack","title":"x","value":"x"}]}}]}]`,
		},
		{"nonsense", "a:1", "x", `{"attachments":{"a":1},"suggestedActions":[],"entities":5}`, `[{"text":"x"}]`},
	} {
		ch := newChat(t, c.room)
		to, err := ch.s.target(ch.last)
		if err != nil {
			t.Fatal(err)
		}
		it := bot(c.text, c.extra)
		var got []map[string]any
		for _, m := range to.pieces(it) {
			b, _ := json.Marshal(m)
			var fields map[string]any
			_ = json.Unmarshal(b, &fields)
			for _, same := range []string{"type", "from", "recipient", "conversation"} {
				delete(fields, same)
			}
			got = append(got, fields)
		}
		var want []map[string]any
		_ = json.Unmarshal([]byte(c.want), &want)
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		ch.ok(it, "") // and Teams takes it
	}
}

// What a machine wrote is marked, as Microsoft wants it, and what is ours stays
// here.
func TestMarks(t *testing.T) {
	c := newChat(t, "a:1")
	it := says(8, "hello")
	it.Activity.ChannelData = json.RawMessage(`{"parley":{"turn":"t1","model":"m","engine":"llama"},"streamId":"x","notification":{"alert":true}}`)
	c.ok(it, "")
	got := c.ms.made()[0].activity
	if !strings.Contains(string(got["entities"]), "AIGeneratedContent") || string(got["channelData"]) != `{"notification":{"alert":true}}` {
		t.Errorf("%s %s", got["entities"], got["channelData"])
	}
	c.ok(bot("hello", `{}`), "")
	if got := c.ms.made()[1].activity; got["entities"] != nil {
		t.Errorf("%s", got["entities"])
	}
}

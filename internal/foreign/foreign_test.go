package foreign_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/foreign"
)

// The shapes are those that the programs write; the words are ours.
const (
	chatGPT = `[{"title":"Tea","create_time":1700000000.5,"update_time":1700000100,"conversation_id":"c1","current_node":"a1","is_archived":true,"mapping":{
 "root":{"id":"root","message":null,"parent":null,"children":["sys"]},
 "sys":{"id":"sys","parent":"root","children":["u1"],"message":{"author":{"role":"system"},"content":{"content_type":"text","parts":["be kind"]},"recipient":"all"}},
 "u1":{"id":"u1","parent":"sys","children":["tool"],"message":{"author":{"role":"user"},"create_time":1700000001,"content":{"content_type":"multimodal_text","parts":[{"content_type":"image_asset_pointer","asset_pointer":"x"},"How is tea made?"]},"recipient":"all","metadata":{"attachments":[{"mime_type":"text/plain"}]}}},
 "tool":{"id":"tool","parent":"u1","children":["a1","a2"],"message":{"author":{"role":"assistant"},"content":{"content_type":"code","text":"x"},"recipient":"python"}},
 "a1":{"id":"a1","parent":"tool","children":[],"message":{"author":{"role":"assistant"},"create_time":1700000002,"content":{"content_type":"text","parts":["With water."]},"recipient":"all","metadata":{"model_slug":"gpt-x"}}},
 "a2":{"id":"a2","parent":"tool","children":[],"message":{"author":{"role":"assistant"},"create_time":1700000003,"content":{"content_type":"text","parts":["With leaves."]},"recipient":"all"}}}},
 {"title":"Nothing","id":"c2","mapping":{}}]`
	libreTree = `{"conversationId":"l1","endpoint":"openAI","title":"Tea","exportAt":"1","branches":true,"recursive":true,"tags":["x"],"messages":[
 {"messageId":"u1","parentMessageId":"00000000-0000-0000-0000-000000000000","isCreatedByUser":true,"text":"How?","createdAt":"2024-01-02T03:04:05.678Z","children":[
  {"messageId":"a1","parentMessageId":"u1","isCreatedByUser":false,"model":"m","text":"","content":[{"type":"think","think":"hm"},{"type":"text","text":{"value":"So."}}],"createdAt":"2024-01-02T03:04:06Z","children":[]},
  {"messageId":"a2","parentMessageId":"u1","isCreatedByUser":false,"text":"Or so.","files":[{}],"createdAt":"2024-01-02T03:04:07Z"}]}]}`
	openWebUI = `[{"id":"w1","title":"Tea","created_at":1700000000,"archived":false,"meta":{"tags":["home"]},"chat":{"title":"Tea","history":{"currentId":"a","messages":{
 "u":{"id":"u","parentId":null,"childrenIds":["a","b"],"role":"user","content":"How?","timestamp":1700000001,"files":[{"type":"image","url":"data:"}]},
 "a":{"id":"a","parentId":"u","role":"assistant","content":"So.","model":"m","timestamp":1700000002},
 "b":{"id":"b","parentId":"u","role":"assistant","content":"Or so.","timestamp":1700000003}}}}}]`
	parley = `{"conversation":{"id":"local-0","title":"Tea","created":"2026-01-02T03:04:05Z","tags":["t"]},"activities":[
 {"type":"message","id":"a1","timestamp":"2026-01-02T03:04:05Z","from":{"id":"u","role":"user"},"text":"How?","channelData":{"parley":{"parent":""}}},
 {"type":"message","id":"b1","timestamp":"2026-01-02T03:04:06Z","from":{"id":"b","role":"bot"},"text":"So.","channelData":{"parley":{"parent":"a1","model":"m"}}},
 {"type":"messageReaction","id":"a2","from":{"role":"user"},"replyToId":"b1","channelData":{"parley":{"parent":"b1"}}}]}`
)

// outline is a conversation in a line each.
func outline(c foreign.Conversation) []string {
	out := []string{fmt.Sprintf("%s %s %q %d %v %v %v", c.Source, c.ID, c.Title, c.Begun.Unix(), c.Archived, c.Tags, c.Left)}
	for _, m := range c.Messages {
		out = append(out, fmt.Sprintf("%s<%s bot=%v %s %d %q", m.ID, m.Parent, m.Bot, m.Model, m.At.Unix(), m.Text))
	}
	return out
}

func read(s string) (out []string, err error) {
	err = foreign.Read(strings.NewReader(s), func(c foreign.Conversation) error {
		out = append(out, outline(c)...)
		return nil
	})
	return out, err
}

func TestRead(t *testing.T) {
	for in, want := range map[string][]string{
		chatGPT: {
			`chatgpt c1 "Tea" 1700000000 true [] map[files:1 hidden:1 pictures:1 tools:1]`,
			`u1< bot=false  1700000001 "How is tea made?"`,
			`a2<u1 bot=true  1700000003 "With leaves."`,
			`a1<u1 bot=true gpt-x 1700000002 "With water."`,
			`chatgpt c2 "Nothing" -62135596800 false [] map[empty:1]`,
		},
		libreTree: {
			`librechat l1 "Tea" -62135596800 false [x] map[files:1 tools:1]`,
			`u1< bot=false  1704164645 "How?"`,
			`a1<u1 bot=true m 1704164646 "So."`,
			`a2<u1 bot=true  1704164647 "Or so."`,
		},
		openWebUI: {
			`openwebui w1 "Tea" 1700000000 false [home] map[pictures:1]`,
			`u< bot=false  1700000001 "How?"`,
			`b<u bot=true  1700000003 "Or so."`,
			`a<u bot=true m 1700000002 "So."`,
		},
		parley: {
			`parley local-0 "Tea" 1767323045 false [t] map[tools:1]`,
			`a1< bot=false  1767323045 "How?"`,
			`b1<a1 bot=true m 1767323046 "So."`,
		},
	} {
		got, err := read(in)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                              "empty",
		"PK\x03\x04":                    "zip",
		`"x"`:                           "no export that is known",
		`{}`:                            "no export that is known",
		`[{"mapping":{}}]`:              "has no id",
		`[{"id":"x","mapping":[]}]`:     `"mapping" is array`,
		`[{"id":"x","mapping":{}},`:     "breaks off",
		`[{"id":"x","mapping":{"a":{`:   "breaks off",
		`[{"id":"x","chat":{}}] x`:      "",
		`[` + strings.Repeat(" ", 9000): "breaks off",
		`[{"x":"` + strings.Repeat("x", foreign.MaxOne+1<<20): "more than",
	} {
		_, err := read(in)
		if says == "" && err == nil {
			continue
		}
		if code := fault.CodeOf(err); (code != fault.Invalid && code != fault.TooLarge) || !strings.Contains(err.Error(), says) || says == "" {
			t.Errorf("%.40q: %v, want %q", in, err, says)
		}
	}
}

// Whatever a file holds: every message has a text and an id of its own, and
// comes behind its parent.
func FuzzRead(f *testing.F) {
	for _, s := range []string{chatGPT, libreTree, openWebUI, parley, `[{"id":"x","mapping":{"a":{"parent":"b"},"b":{"parent":"a"}}}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := foreign.Read(strings.NewReader(s), func(c foreign.Conversation) error {
			seen := map[string]bool{"": true}
			for _, m := range c.Messages {
				if strings.TrimSpace(m.Text) == "" || !seen[m.Parent] || (m.ID != "" && seen[m.ID]) {
					t.Fatalf("%q gave %+v", s, c.Messages)
				}
				seen[m.ID] = true
			}
			return nil
		})
		if err != nil && fault.CodeOf(err) == fault.Internal {
			t.Fatalf("%q: %v says nothing to the user", s, err)
		}
	})
}

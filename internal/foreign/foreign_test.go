package foreign_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
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
  {"messageId":"a2","parentMessageId":"u1","isCreatedByUser":false,"text":"Or so.","files":[{"file_id":"f","filename":"leaf.pdf","type":"application/pdf"}],"feedback":{"rating":"thumbsUp","tag":"clear_well_written","text":"fine"},"createdAt":"2024-01-02T03:04:07Z"}]}]}`
	openWebUI = `[{"id":"w1","title":"Tea","created_at":1700000000,"archived":false,"meta":{"tags":["home"]},"chat":{"title":"Tea","history":{"currentId":"a","messages":{
 "u":{"id":"u","parentId":null,"childrenIds":["a","b"],"role":"user","content":"How?","timestamp":1700000001,"files":[{"type":"image","url":"data:image/png;base64,aGVsbG8="},{"type":"image","url":"0c1d"},
  {"type":"file","name":"n.txt","id":"7","file":{"filename":"n.txt","data":{"content":"words"},"meta":{"content_type":"text/plain"}}},
  {"type":"file","name":"n.pdf","id":"8","file":{"filename":"n.pdf","data":{"content":"read from it"},"meta":{"content_type":"application/pdf"}}}]},
 "a":{"id":"a","parentId":"u","role":"assistant","content":"So.","model":"m","timestamp":1700000002,"annotation":{"rating":-1,"reason":"not_helpful","comment":"no"}},
 "b":{"id":"b","parentId":"u","role":"assistant","content":"Or so.","timestamp":1700000003}}}}}]`
	parley = `{"conversation":{"id":"local-0","title":"Tea","created":"2026-01-02T03:04:05Z","tags":["t"]},"activities":[
 {"type":"message","id":"a1","timestamp":"2026-01-02T03:04:05Z","from":{"id":"u","role":"user"},"text":"How?","channelData":{"parley":{"parent":""}}},
 {"type":"message","id":"b1","timestamp":"2026-01-02T03:04:06Z","from":{"id":"b","role":"bot"},"text":"So.","channelData":{"parley":{"parent":"a1","model":"m"}}},
 {"type":"messageReaction","id":"a2","from":{"role":"user"},"replyToId":"b1","text":"too short","reactionsAdded":[{"type":"dislike"}],"channelData":{"parley":{"parent":"b1"}}}]}`
)

// outline is a conversation in a line each.
func outline(c foreign.Conversation) []string {
	out := []string{fmt.Sprintf("%s %s %q %d %v %v %v", c.Source, c.ID, c.Title, c.Begun.Unix(), c.Archived, c.Tags, c.Left)}
	for _, m := range c.Messages {
		line := fmt.Sprintf("%s<%s bot=%v %s %d %q", m.ID, m.Parent, m.Bot, m.Model, m.At.Unix(), m.Text)
		for _, f := range m.Files {
			line += fmt.Sprintf(" [%s %s %q]", f.Name, f.Type, content(f))
		}
		if m.Liked != "" {
			line += fmt.Sprintf(" %s %q", m.Liked, m.Why)
		}
		out = append(out, line)
	}
	for _, name := range c.Missing {
		out = append(out, "missing "+name)
	}
	return out
}

func content(f foreign.File) string {
	r, err := f.Open()
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
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
			`missing x`,
			`chatgpt c2 "Nothing" -62135596800 false [] map[empty:1]`,
		},
		libreTree: {
			`librechat l1 "Tea" -62135596800 false [x] map[files:1 tools:1]`,
			`u1< bot=false  1704164645 "How?"`,
			`a1<u1 bot=true m 1704164646 "So."`,
			`a2<u1 bot=true  1704164647 "Or so." like "fine"`,
			`missing leaf.pdf`,
		},
		openWebUI: {
			`openwebui w1 "Tea" 1700000000 false [home] map[files:1 pictures:1]`,
			`u< bot=false  1700000001 "How?" [ image/png "hello"] [n.txt text/plain "words"]`,
			`b<u bot=true  1700000003 "Or so."`,
			`a<u bot=true m 1700000002 "So." dislike "no"`,
			`missing n.pdf`,
		},
		parley: {
			`parley local-0 "Tea" 1767323045 false [t] map[]`,
			`a1< bot=false  1767323045 "How?"`,
			`b1<a1 bot=true m 1767323046 "So." dislike "too short"`,
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
		"PK\x03\x04":                    "neither a zip nor JSON",
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
				if strings.TrimSpace(m.Text) == "" && len(m.Files) == 0 || !seen[m.Parent] || (m.ID != "" && seen[m.ID]) {
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

// archived is a zip with entries: name, content, name, content.
func archived(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i+1 < len(entries); i += 2 {
		w, err := z.Create(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, entries[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readZip(b []byte) (out []string, err error) {
	err = foreign.ReadZip(bytes.NewReader(b), int64(len(b)), func(c foreign.Conversation) error {
		out = append(out, outline(c)...)
		return nil
	})
	return out, err
}

// withFiles is a conversation of ChatGPT in its newer form; files go by three
// ways of naming them.
const withFiles = `[{"title":"Pictures","create_time":1756000000,"conversation_id":"c3","current_node":"a","mapping":{
 "u":{"id":"u","parent":null,"message":{"author":{"role":"user"},"create_time":1756000001,"content":{"content_type":"multimodal_text","parts":[
   {"content_type":"image_asset_pointer","asset_pointer":"sediment://file_00000000aa","size_bytes":3},{"content_type":"image_asset_pointer","asset_pointer":"file-service://file-Gone1"},"Draw that"]},
   "metadata":{"attachments":[{"id":"file_00000000aa","name":"leaf.png","mime_type":"image/png"},{"id":"file-Doc2","name":"notes.pdf","mime_type":"application/pdf"},{"id":"file-Doc3","name":"lost.pdf","mime_type":"application/pdf"}]}}},
 "t":{"id":"t","parent":"u","message":{"author":{"role":"tool","name":"dalle.text2im"},"create_time":1756000002,"content":{"content_type":"multimodal_text","parts":[
   {"content_type":"image_asset_pointer","asset_pointer":"file-service://file-Made4","metadata":{"dalle":{"prompt":"x"}}}]}}},
 "a":{"id":"a","parent":"t","message":{"author":{"role":"assistant"},"create_time":1756000003,"content":{"content_type":"text","parts":["There."]}}}}}]`

func TestReadZip(t *testing.T) {
	got, err := readZip(archived(t,
		"chat.html", "<p>", "user.json", "{}", "__MACOSX/conversations.json", "no",
		"export/conversations-001.json", `[{"id":"c4","title":"Empty","mapping":{}}]`, "export/conversations-000.json", withFiles,
		"export/file_00000000aa.dat", "aaa", "export/user-1/file-Doc2-my notes.pdf", "%PDF", "export/dalle-generations/file-Made4-0.webp", "made",
		"export/conversation_asset_file_names.json", `{"file_00000000aa.dat":"photo of a leaf.png"}`,
		"export/message_feedback.json", `[{"id":"a","conversation_id":"c3","rating":"thumbs_up","content":"{\"text\":\"nice\"}"},{"message_id":"zzz","rating":"thumbs_down"}]`))
	want := []string{
		`chatgpt c3 "Pictures" 1756000000 false [] map[files:1 pictures:1]`,
		`u< bot=false  1756000001 "Draw that" [leaf.png image/png "aaa"] [notes.pdf application/pdf "%PDF"]`,
		`t<u bot=true  1756000002 "" [0.webp  "made"]`,
		`a<t bot=true  1756000003 "There." like "nice"`,
		`missing file-Gone1`,
		`missing lost.pdf`,
		`chatgpt c4 "Empty" -62135596800 false [] map[empty:1]`,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err = readZip(archived(t, "my chats.json", openWebUI, "other.json", libreTree)); err != nil || len(got) != 10 {
		t.Errorf("%v: %d lines: %q", err, len(got), got)
	}
}

func TestReadZipRefuses(t *testing.T) {
	whole := archived(t, "conversations.json", withFiles)
	end := bytes.LastIndex(whole, []byte("PK\x05\x06"))
	changed := func(change func([]byte)) []byte {
		b := bytes.Clone(whole)
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		zip  []byte
		says string
	}{
		"nothing":        {nil, "breaks off"},
		"a half":         {whole[:len(whole)/2], "breaks off"},
		"no export":      {archived(t, "a.txt", "x"), "holds no conversations.json"},
		"no JSON":        {archived(t, "conversations.json", "x"), "neither a zip nor JSON"},
		"a zip64":        {changed(func(b []byte) { binary.LittleEndian.PutUint16(b[end+10:], 1<<16-1) }), "too many"},
		"a long list":    {changed(func(b []byte) { binary.LittleEndian.PutUint32(b[end+12:], 1<<30) }), "too many"},
		"another sum":    {changed(func(b []byte) { b[60]++ }), "broke off"},
		"a large bomb":   {archived(t, "conversations.json", `[{"x":"`+strings.Repeat("x", foreign.MaxOne+1<<20)), "more than"},
		"an empty entry": {archived(t, "conversations.json", ""), "is empty"},
	} {
		_, err := readZip(c.zip)
		if code := fault.CodeOf(err); (code != fault.Invalid && code != fault.TooLarge) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// Whatever a zip holds, reading it ends, and an error says what is wrong.
func FuzzReadZip(f *testing.F) {
	f.Add(archived(f, "conversations.json", withFiles, "file-Made4.dat", "x", "message_feedback.json", `[{"id":"a","rating":"1"}]`))
	f.Add(archived(f, "x.json", openWebUI))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readZip(b); err != nil && fault.CodeOf(err) == fault.Internal {
			t.Fatalf("%v says nothing to the user", err)
		}
	})
}

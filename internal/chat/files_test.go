package chat_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// seeing serves every model with one engine that reads pictures.
type seeing struct{ one }

func (s seeing) Find(ctx context.Context, model, conversation string) (lm.Engine, lm.Model, error) {
	e, m, err := s.one.Find(ctx, model, conversation)
	m.Vision = true
	return e, m, err
}

const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"

func upload(t *testing.T, s *chat.Service, conv, name, kind, content string) files.Attachment {
	t.Helper()
	at, err := s.Upload(t.Context(), "ann", conv, "key", files.File{Name: name, Type: kind, Content: []byte(content)})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func with(t *testing.T, m chat.Message, named ...any) chat.Message {
	t.Helper()
	b, err := json.Marshal(named)
	if err != nil {
		t.Fatal(err)
	}
	m.Activity.Extra = map[string]json.RawMessage{"attachments": b}
	return m
}

func TestFilesReachTheEngine(t *testing.T) {
	log := openLog(t, t.TempDir())
	note := `[The attached file "cat.png" (image/png, 16 bytes) is a picture, which you can't see.]`
	text := "The attached file \"notes.md\":\n````\n# Notes\n```\ncode\n```\n````"
	pdf := `[The attached file "a.pdf" (application/pdf, 6 bytes) can't be read here.]`
	for _, sees := range []bool{false, true} {
		e := demo.Canned(demo.CannedOptions{Answer: demo.Scripted("Yes.", "Yes again.")})
		s := start(t, log, e, func(o *chat.Options) {
			o.Files = log
			if sees {
				o.Engines = seeing{one{e}}
			}
		})
		conv := newConversation(t, s)
		cat, notes := upload(t, s, conv, "cat.png", "text/plain", png), upload(t, s, conv, "notes.md", "text/markdown", "\ufeff# Notes\n```\ncode\n```\n")
		if again := upload(t, s, conv, "cat.png", "text/plain", png); again != cat || cat.Type != "image/png" {
			t.Errorf("the same upload: %+v and %+v", cat, again)
		}
		paper := upload(t, s, conv, "../a.pdf", "application/pdf", "%PDF-\x00")
		first, err := s.Submit(t.Context(), with(t, message(conv, "", "k1"), cat))
		if err != nil {
			t.Fatal(err)
		}
		answer(t, s, conv, first.Turn)
		second, err := s.Submit(t.Context(), with(t, message(conv, "And these?", "k2"), notes, paper, map[string]string{"contentType": "image/png", "contentUrl": "https://elsewhere.example/x.png"}))
		if err != nil {
			t.Fatal(err)
		}
		answer(t, s, conv, second.Turn)
		want := []lm.Message{
			{Role: lm.User, Text: note},
			{Role: lm.Assistant, Text: "Yes."},
			{Role: lm.User, Text: text + "\n\n" + pdf + "\n\nAnd these?"},
		}
		if sees {
			want[0] = lm.Message{Role: lm.User, Pictures: []lm.Picture{{Type: "image/png", Content: []byte(png)}}}
		}
		if diff := cmp.Diff(want, e.Calls().Last.Messages); diff != "" {
			t.Errorf("vision %v: prompt (-want +got):\n%s", sees, diff)
		}
		l, err := s.Open(t.Context(), conv)
		if err != nil {
			t.Fatal(err)
		}
		l.View(func(st *conversation.State) {
			if st.Title != "cat.png" {
				t.Errorf("title %q", st.Title)
			}
			if diff := cmp.Diff([]files.Attachment{cat}, files.Of(st.Activity(first.ID))); diff != "" {
				t.Errorf("what the message carries (-want +got):\n%s", diff)
			}
		})
		l.Close()
		halt(s)
	}
}

// A file that was carried long ago leaves the prompt as old messages do; one
// of the message to answer has to fit.
func TestFilesThatDoNotFit(t *testing.T) {
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{Window: 400, Answer: func(lm.Request) string { return "ok" }})
	s := start(t, log, e, func(o *chat.Options) { o.Files = log })
	conv := newConversation(t, s)
	long := upload(t, s, conv, "long.txt", "text/plain", strings.Repeat("some words of a file. ", 30))
	for i, m := range []chat.Message{with(t, message(conv, "one", ""), long), with(t, message(conv, "two", ""), long), message(conv, "three", "")} {
		acc, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if _, b := answer(t, s, conv, acc.Turn); b.State != event.Ok {
			t.Fatalf("turn %d: %+v", i, b)
		}
	}
	if got := e.Calls().Last.Messages; len(got) == 0 || got[len(got)-1].Text != "three" || strings.Count(prompt(got), "some words") != 30 {
		t.Errorf("prompt: %v", got)
	}
	for _, size := range []int{300, 3000} { // known by counting, and before
		huge := upload(t, s, conv, "huge.txt", "text/plain", strings.Repeat("some words of a file. ", size))
		acc, err := s.Submit(t.Context(), with(t, message(conv, "four", ""), huge))
		if err != nil {
			t.Fatal(err)
		}
		if _, b := answer(t, s, conv, acc.Turn); b.State != event.Failed || b.Code != fault.TooLarge || !strings.Contains(b.Error, "file") {
			t.Errorf("an enormous file: %+v", b)
		}
	}
}

func prompt(all []lm.Message) string {
	var b strings.Builder
	for _, m := range all {
		b.WriteString(m.Text)
	}
	return b.String()
}

func TestBadFiles(t *testing.T) {
	log := openLog(t, t.TempDir())
	s := start(t, log, demo.Canned(demo.CannedOptions{}), func(o *chat.Options) {
		o.Files, o.FileLimits = log, chat.FileLimits{Size: 100, Count: 2, Types: []string{"image/*", "text/plain"}}
	})
	conv, other := newConversation(t, s), newConversation(t, s)
	for _, c := range []struct {
		what, owner, conv string
		f                 files.File
		code              fault.Code
	}{
		{"empty", "ann", conv, files.File{Name: "a.txt"}, fault.Invalid},
		{"too large", "ann", conv, files.File{Content: make([]byte, 101)}, fault.TooLarge},
		{"of a wrong type", "ann", conv, files.File{Type: "image/png", Content: []byte("\x00\x01")}, fault.Unsupported},
		{"SVG that calls itself PNG", "ann", conv, files.File{Type: "text/html", Content: []byte("<svg/>")}, fault.Unsupported},
		{"to somebody else", "bob", conv, files.File{Content: []byte("x")}, fault.NotFound},
		{"to nothing", "ann", event.NewConversation("local"), files.File{Content: []byte("x")}, fault.NotFound},
	} {
		if _, err := s.Upload(t.Context(), c.owner, c.conv, "", c.f); !fault.Is(err, c.code) {
			t.Errorf("an upload that is %s: %v, want %s", c.what, err, c.code)
		}
	}
	at, there := upload(t, s, conv, "a.txt", "text/plain", "a"), upload(t, s, other, "a.txt", "text/plain", "a")
	old := files.NewID(conv, "", files.File{}, time.Now().Add(-4*time.Hour))
	if err := log.PutFile(t.Context(), conv, old, []byte("{}\nold")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		named []any
		code  fault.Code
	}{
		{"no object", []any{1}, fault.Invalid},
		{"null", []any{nil}, fault.Invalid},
		{"a number for a name", []any{map[string]any{"name": 1, "contentUrl": at.URL}}, fault.Invalid},
		{"another conversation's", []any{there}, fault.Invalid},
		{"nobody's", []any{files.Attachment{URL: at.URL + "0"}}, fault.Invalid},
		{"some other path", []any{files.Attachment{URL: "/metrics"}}, fault.Invalid},
		{"one that waited for too long", []any{files.Attachment{URL: files.URL(conv, old)}}, fault.Invalid},
		{"too many", []any{at, at, at}, fault.TooLarge},
	} {
		if _, err := s.Submit(t.Context(), with(t, message(conv, "x", ""), c.named...)); !fault.Is(err, c.code) {
			t.Errorf("a message that names %s: %v, want %s", c.what, err, c.code)
		}
	}
	if _, err := s.File(t.Context(), "bob", conv, files.ID(conv, at.URL)); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else's file: %v", err)
	}
}

// What no message names is thrown away; what one names stays as long as its
// conversation, also for messages long after.
func TestUploadsAreThrownAway(t *testing.T) {
	log := openLog(t, t.TempDir())
	s := start(t, log, demo.Canned(demo.CannedOptions{}), func(o *chat.Options) { o.Files = log })
	conv, gone, away := newConversation(t, s), event.NewConversation("local"), event.NewConversation("elsewhere")
	ago := func(conv string, d time.Duration) string {
		t.Helper()
		id := files.NewID(conv, "", files.File{}, time.Now().Add(-d))
		if err := log.PutFile(t.Context(), conv, id, []byte(`{"name":"a.txt","type":"text/plain"}`+"\nold")); err != nil {
			t.Fatal(err)
		}
		return id
	}
	fresh, late, left, lost := ago(conv, 0), ago(conv, 5*time.Hour), ago(gone, 5*time.Hour), ago(away, 5*time.Hour)
	kept := ago(conv, 5*time.Hour)
	// It was named when it was new.
	named := with(t, message(conv, "", ""), files.Attachment{URL: files.URL(conv, kept), Name: "a.txt"}).Activity
	named.ID = event.NewActivity(conv, "")
	r, err := log.Append(t.Context(), event.Append{Conversation: conv, Event: event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &named}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Wait(t.Context(), r.Seq); err != nil {
		t.Fatal(err)
	}
	if err := s.DropUnnamed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{fresh: true, late: false, kept: true} {
		if has, err := log.HasFile(t.Context(), conv, id); has != want || err != nil {
			t.Errorf("%s is there: %v, %v; want %v", id, has, err, want)
		}
	}
	if has, _ := log.HasFile(t.Context(), gone, left); has {
		t.Error("a file of a conversation that is not there was kept")
	}
	if has, _ := log.HasFile(t.Context(), away, lost); !has {
		t.Error("a file of another home was thrown away")
	}
	if _, err := s.Submit(t.Context(), with(t, message(conv, "again", ""), files.Attachment{URL: files.URL(conv, kept), Name: "a.txt"})); err != nil {
		t.Errorf("a file that another message names already: %v", err)
	}
	if _, err := s.Delete(t.Context(), "ann", conv); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(5 * time.Second); ; {
		a, _ := log.HasFile(t.Context(), conv, fresh)
		b, _ := log.HasFile(t.Context(), conv, kept)
		if !a && !b {
			break
		}
		if time.Now().After(late) {
			t.Fatal("the files of a deleted conversation are still there")
		}
	}
}

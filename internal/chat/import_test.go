package chat_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/foreign"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// What comes from elsewhere comes once, with its times and branches, and can be
// gone on with; what was deleted here does not come back.
func TestImport(t *testing.T) {
	e := demo.Canned(demo.CannedOptions{Words: 3})
	s := start(t, openLog(t, t.TempDir()), e, nil)
	begun := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	c := foreign.Conversation{Source: "chatgpt", ID: "x", Begun: begun, Archived: true, Tags: []string{"old"}, Messages: []foreign.Message{
		{ID: "u1", Text: "How is tea made?", At: begun},
		{ID: "a2", Parent: "u1", Bot: true, Model: "other", Text: "With leaves.", At: begun.Add(time.Minute)},
		{ID: "a1", Parent: "u1", Bot: true, Model: "other", Text: "With water.", At: begun.Add(time.Second)},
	}}
	take := func(c foreign.Conversation, fresh bool, said int) string {
		t.Helper()
		got, err := s.Import(t.Context(), "ann", []string{"nowhere", "local"}, c)
		if err != nil || got.Fresh != fresh || got.Said != said {
			t.Errorf("%+v, %v; want fresh %v and %d said", got, err, fresh, said)
		}
		return got.ID
	}
	id := take(c, true, 3)
	take(c, false, 0)
	c.Messages = append(c.Messages, foreign.Message{ID: "u2", Parent: "a1", Text: "Thanks"}, foreign.Message{ID: "a3", Parent: "u2", Bot: true, Text: "Well."})
	if again := take(c, false, 2); again != id {
		t.Errorf("it was %s and is %s", id, again)
	}
	view(t, s, id, func(st *conversation.State) {
		var path []string
		for _, a := range st.Path(st.Leaf()) {
			path = append(path, a.Text)
		}
		if got := strings.Join(path, "|"); got != "How is tea made?|With water.|Thanks|Well." {
			t.Errorf("the newest branch is %s", got)
		}
		if !st.Created.Equal(begun) || !st.Updated.Equal(begun.Add(time.Minute)) || st.Title != "How is tea made?" || !st.Set.Archived || len(st.Set.Tags) != 1 {
			t.Errorf("%v, %v, %q, %+v", st.Created, st.Updated, st.Title, st.Set)
		}
		if len(st.Turns()) != 0 {
			t.Errorf("%d answers were asked for", len(st.Turns()))
		}
	})
	acc, err := s.Submit(t.Context(), message(id, "And coffee?", ""))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for done := false; !done; {
		more := l.View(func(st *conversation.State) { done = st.Turn(acc.Turn).State.Final() })
		if !done {
			<-more
		}
	}
	if got := e.Calls().Last.Messages; len(got) < 5 || got[len(got)-4].Text != "With water." {
		t.Errorf("asked with %+v", got)
	}
	if other, err := s.Import(t.Context(), "bob", nil, c); err != nil || other.ID == id || other.Said != 5 {
		t.Errorf("somebody else's: %+v, %v", other, err)
	}
	if _, err := s.Delete(t.Context(), "ann", id); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), "ann", []string{"local"}, c); !fault.Is(err, fault.NotFound) {
		t.Errorf("what was deleted here: %v, want not found", err)
	}
}

// What came along with another program's messages comes along here, once: the
// files that the export holds and this node takes, and what the user thought.
func TestImportWithFiles(t *testing.T) {
	log := openLog(t, t.TempDir())
	s := start(t, log, demo.Canned(demo.CannedOptions{Words: 3}), func(o *chat.Options) {
		o.Files, o.FileLimits = log, chat.FileLimits{Size: 100, Count: 2, Types: []string{"image/*", "text/plain"}}
	})
	opened := 0
	file := func(name, kind, content string) foreign.File {
		return foreign.File{Name: name, Type: kind, Open: func() (io.ReadCloser, error) {
			opened++
			return io.NopCloser(strings.NewReader(content)), nil
		}}
	}
	broken := foreign.File{Name: "broken", Open: func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }}
	c := foreign.Conversation{Source: "chatgpt", ID: "x", Messages: []foreign.Message{
		{ID: "u", Text: "See", Files: []foreign.File{file("a.txt", "", "hello"), file("big", "text/plain", strings.Repeat("x", 101)), file("b.zip", "application/zip", "PK\x00"), broken}},
		{ID: "t", Parent: "u", Bot: true, Files: []foreign.File{file("p", "", "\x89PNG\r\n\x1a\n0")}},
		{ID: "v", Parent: "t", Bot: true, Files: []foreign.File{broken}},
		{ID: "a", Parent: "v", Bot: true, Text: "There.", Liked: foreign.Dislike, Why: "too dark"},
	}}
	for i, want := range []chat.Imported{{Fresh: true, Said: 4, Files: 2, Judged: 1, Left: []string{"big", "b.zip", "broken", "broken"}}, {}} {
		got, err := s.Import(t.Context(), "ann", []string{"local"}, c)
		want.ID = got.ID
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("time %d: %v (-want +got):\n%s", i, err, diff)
		}
		if opened != 4 {
			t.Errorf("%d files were opened", opened)
		}
		var kept []files.Attachment
		view(t, s, got.ID, func(st *conversation.State) {
			var path []string
			for _, a := range st.Path(st.Leaf()) {
				line := a.Text
				for _, f := range files.Of(a) {
					line += " [" + f.Name + " " + f.Type + "]"
					kept = append(kept, f)
				}
				path = append(path, line)
			}
			if got := strings.Join(path, "|"); got != "See [a.txt text/plain]| [p image/png]|broken|There." {
				t.Errorf("it says %s", got)
			}
			last := st.Activities[len(st.Activities)-1]
			if last.Type != activity.TypeReaction || last.Text != "too dark" || string(last.Extra["reactionsAdded"]) != `[{"type":"dislike"}]` {
				t.Errorf("what was thought of it: %+v", last)
			}
		})
		for _, f := range kept {
			if b, err := s.File(t.Context(), "ann", got.ID, files.ID(got.ID, f.URL)); err != nil || len(b.Content) != f.Size {
				t.Errorf("%s: %v, %q", f.Name, err, b.Content)
			}
		}
	}
}

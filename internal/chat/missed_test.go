package chat_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/understand"
)

func TestMissed(t *testing.T) {
	m, err := cityguide()
	if err != nil {
		t.Fatal(err)
	}
	collecting := func(yes bool) func(*chat.Options) {
		return func(o *chat.Options) {
			u, err := understand.New(understand.Options{Apps: []understand.App{{Name: "cityguide", Model: m, Collect: yes}}, Bots: []string{"bookings"}})
			if err != nil {
				t.Fatal(err)
			}
			o.Understanding = u
		}
	}
	log := openLog(t, t.TempDir())
	e := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return "engine" }})
	s := start(t, log, e, collecting(false))
	conv := newConversation(t, s)
	replyTo(t, s, conv, "zzxq nobody agreed to this")
	halt(s)

	s = start(t, log, e, collecting(true))
	conv = newConversation(t, s)
	for _, text := range []string{
		"a table for four, please", "purple monkey dishwasher", "tomorrow at 8 pm", "outside", "Kim", "forget it",
		"my address is ann.lee@corp.example zzxq wvvk", "thanks",
	} {
		replyTo(t, s, conv, text)
	}
	var texts []string
	cursor := ""
	for range 10 {
		page, next, err := s.Missed(t.Context(), cursor, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page {
			texts = append(texts, x.Text)
			if x.Model != m.Name() || x.ID == "" || x.At.IsZero() {
				t.Errorf("%+v", x)
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	// What answered a question was understood, whatever intent it looks like.
	want := []string{"purple monkey dishwasher", "my address is someone@example.com zzxq wvvk"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all, next, err := s.Missed(t.Context(), "", 100); err != nil || len(all) != 2 || next != "" {
		t.Errorf("%d, %q, %v", len(all), next, err)
	}
	for _, bad := range []string{"nonsense!", "bm9uc2Vuc2U", "bnVsbA"} {
		if _, _, err := s.Missed(t.Context(), bad, 1); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := s.Delete(t.Context(), "ann", conv); err != nil {
		t.Fatal(err)
	}
	if all, _, err := s.Missed(t.Context(), "", 100); err != nil || len(all) != 0 {
		t.Errorf("a deleted conversation is still read: %s, %v", strings.Trim(fmt.Sprint(all), "[]"), err)
	}
}

package event_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
)

func TestIDs(t *testing.T) {
	a, b := event.NewConversation("japaneast"), event.NewConversation("japaneast")
	if a == b || !event.ValidConversation(a) || event.HomeOf(a) != "japaneast" {
		t.Errorf("%q and %q", a, b)
	}
	if k := event.ConversationFor("local", "ann", "k"); k != event.ConversationFor("local", "ann", "k") || k == event.ConversationFor("local", "bob", "k") || !event.ValidConversation(k) {
		t.Errorf("by key: %q", k)
	}
	first, again := event.NewActivity(a, "k"), event.NewActivity(a, "k")
	if first != again || event.NewActivity(a, "k") == event.NewActivity(b, "k") || event.NewActivity(a, "") == event.NewActivity(b, "") {
		t.Error("activity ids")
	}
	for _, bad := range []string{"", "local", "local-", "a.b-000000000000000000000000", "local-00000000000000000000000*", "local-000000000000000000000000.x", "LOCAL-000000000000000000000000"} {
		if event.ValidConversation(bad) {
			t.Errorf("%q is valid", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"k":"delta","delta":{"turn":"t","offset":3,"text":"x","tokens":[1,2]}}`))
	f.Add([]byte(`{"k":"said","said":{"turn":{"id":"t"}}}`))
	f.Add([]byte(`{"k":"ended"}`))
	f.Add([]byte(`{"k":"set","set":{"pinned":true,"system":"","params":{"temperature":0.5}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := event.Decode(b)
		if err != nil {
			return
		}
		out, err := event.Encode(e)
		if err != nil {
			t.Fatalf("%q was read and can't be written: %v", b, err)
		}
		again, err := event.Decode(out)
		if err != nil {
			t.Fatalf("%q can't be read again: %v", out, err)
		}
		twice, _ := event.Encode(again)
		if diff := cmp.Diff(string(out), string(twice)); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

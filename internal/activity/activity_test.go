package activity_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
)

func TestUnknownFieldsPassThrough(t *testing.T) {
	const in = `{"type":"message","text":"hi","attachments":[{"contentType":"x"}],"value":{"a":1},"from":{"id":"u","role":"user"}}`
	var a activity.Activity
	if err := json.Unmarshal([]byte(in), &a); err != nil {
		t.Fatal(err)
	}
	a.Text = "changed"
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	_ = json.Unmarshal(b, &got)
	_ = json.Unmarshal([]byte(in), &want)
	want["text"] = "changed"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMeta(t *testing.T) {
	a := activity.Activity{ChannelData: json.RawMessage(`{"mine":1,"parley":{"edits":"x"}}`)}
	if a.Meta().Edits != "x" {
		t.Errorf("edits: %+v", a.Meta())
	}
	if err := a.SetMeta(activity.Meta{Parent: "p", Turn: "t"}); err != nil {
		t.Fatal(err)
	}
	if string(a.ChannelData) != `{"mine":1,"parley":{"parent":"p","turn":"t"}}` {
		t.Errorf("channel data: %s", a.ChannelData)
	}
	for _, odd := range []string{"", "null", "5", `"x"`, `{"parley":7}`} {
		b := activity.Activity{ChannelData: json.RawMessage(odd)}
		if b.Meta() != (activity.Meta{}) {
			t.Errorf("%q has meta %+v", odd, b.Meta())
		}
		if err := b.SetMeta(activity.Meta{Parent: "p"}); err != nil || b.Meta().Parent != "p" {
			t.Errorf("%q: %v %s", odd, err, b.ChannelData)
		}
	}
}

// Whatever is read can be written, and reading that gives the same.
func FuzzActivity(f *testing.F) {
	f.Add([]byte(`{"type":"message","text":"hi","x":[1,2,{"y":null}],"channelData":{"parley":{"parent":""}}}`))
	f.Add([]byte(`{"Type":"message","type":"event","timestamp":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a activity.Activity
		if json.Unmarshal(b, &a) != nil {
			return
		}
		_ = a.Meta()
		out, err := json.Marshal(a)
		if err != nil {
			t.Fatalf("%q was read and can't be written: %v", b, err)
		}
		var again activity.Activity
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%q can't be read again: %v", out, err)
		}
		twice, err := json.Marshal(again)
		if err != nil || string(twice) != string(out) {
			t.Fatalf("%q becomes %q (%v)", out, twice, err)
		}
	})
}

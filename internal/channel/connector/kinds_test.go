package connector_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
)

// What a person's client sends in a form that bots' SDKs choke on is left out,
// and the rest gets there.
func TestKinds(t *testing.T) {
	b := newBot(t, echo)
	n := start(t, openLog(t), "a", "", time.Minute, open(b))
	conv := n.begin()
	send := func(text, more string) map[string]json.RawMessage {
		t.Helper()
		a, err := channel.Read([]byte(`{"type":"message","text":"` + text + `",` + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		n.texts(conv, n.take(conv, a).Turn)
		for _, x := range b.all(activity.TypeMessage) {
			if x.Text == text {
				return x.Extra
			}
		}
		t.Fatalf("the bot has not got %q", text)
		return nil
	}
	fields := []string{
		"action", "attachmentLayout", "code", "deliveryMode", "expiration", "importance", "inputHint", "label", "localTimestamp", "localTimezone", "name", "speak",
		"summary", "topicName", "valueType", "attachments", "entities", "membersAdded", "membersRemoved", "historyDisclosed", "semanticAction", "relatesTo", "listenFor", "textHighlights", "suggestedActions",
	}
	for i, v := range []string{"null", `""`, "5", "{}", "[]", "[null]", "[{}]", `[""]`, `{"id":"","state":"x"}`} {
		var odd []string
		for _, f := range fields {
			odd = append(odd, fmt.Sprintf("%q:%s", f, v))
		}
		got := send(fmt.Sprint("odd ", i), strings.Join(odd, ","))
		for _, f := range fields {
			if v, there := got[f]; there {
				t.Errorf("%s got through as %s", f, v)
			}
		}
	}
	const fine = `"name":"n","locale":"en","importance":"high","historyDisclosed":true,"entities":[{"own":1,"type":"x"}],"attachments":[{"contentType":"text/plain"}],` +
		`"semanticAction":{"id":"a","state":"start","entities":{"x":{"type":"y"}}},"membersAdded":[{"id":"m"}],"unknown":{"keep":[null]}`
	got := send("fine", fine)
	var want map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+fine+"}"), &want); err != nil {
		t.Fatal(err)
	}
	for f, v := range want {
		if f != "locale" && string(got[f]) != string(v) {
			t.Errorf("%s got there as %s, want %s", f, got[f], v)
		}
	}
}

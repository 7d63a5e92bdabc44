package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// What is chosen for a conversation is shown, told to readers, and decides in
// which list it stands.
func TestSettings(t *testing.T) {
	n := newNode(t, demo.CannedOptions{Words: 4}, nil)
	conv := n.conversation()
	at := "/api/v1/conversations/" + conv
	var c struct {
		Title, System             string
		Pinned, Archived, Trashed bool
		Params                    lm.Params
	}
	n.want(200, &c, "PATCH", at, `{"title":"Tea","pinned":true,"system":"Be brief.","params":{"temperature":0.5,"stop":["end"]}}`)
	if c.Title != "Tea" || !c.Pinned || c.System != "Be brief." || *c.Params.Temperature != 0.5 {
		t.Errorf("changed: %+v", c)
	}
	n.want(200, &c, "PATCH", at, `{"archived":true}`)
	if !c.Archived || !c.Pinned || c.System != "Be brief." {
		t.Errorf("what was left out did not stay: %+v", c)
	}
	list := func(shelf string) string {
		var page struct{ Conversations []struct{ Title string } }
		n.want(200, &page, "GET", "/api/v1/conversations?shelf="+shelf, "")
		var titles []string
		for _, c := range page.Conversations {
			titles = append(titles, c.Title)
		}
		return strings.Join(titles, ",")
	}
	if got := list("") + "|" + list("pinned") + "|" + list("archived"); got != "||Tea" {
		t.Errorf("archived: %s", got)
	}
	n.want(200, nil, "PATCH", at, `{"archived":false}`)
	if got := list("") + "|" + list("pinned") + "|" + list("archived"); got != "Tea|Tea|" {
		t.Errorf("brought back: %s", got)
	}
	n.want(200, nil, "PATCH", at, `{"trashed":true}`)
	if got := list("") + "|" + list("pinned"); got != "|" {
		t.Errorf("trashed: %s", got)
	}
	n.want(409, nil, "POST", at+"/activities", `{"type":"message","text":"hi"}`)
	n.want(200, nil, "PATCH", at, `{"trashed":false}`)
	a := n.say(conv, "hi")
	last := ""
	for _, e := range n.events(at+"/events", func(e sse) bool { return e.event == "turn" && strings.Contains(e.data, `"done"`) }) {
		if e.event == "settings" {
			last = e.data
		}
	}
	var told map[string]any
	if err := json.Unmarshal([]byte(last), &told); err != nil || told["trashed"] != false || told["system"] != "Be brief." {
		t.Errorf("readers were told %s, %v", last, err)
	}
	n.want(202, nil, "POST", at+"/turns/"+a.Turn+"/continue", "", "Idempotency-Key", "k")
	for body, says := range map[string]string{
		`{"title":"","pinned":false}`:                      "a title has",
		`{"params":{"temperature":9}}`:                     "temperature must be",
		`{"params":{"grammar":"root ::= \"a\""}}`:          "for one request",
		`{"params":{"tempo":1}}`:                           "not known",
		`{"system":"` + strings.Repeat("x", 40<<10) + `"}`: "at most",
		`{"pinned":"yes"}`:                                 "must be true or false",
	} {
		if status, text := n.do("PATCH", at, body); status/100 != 4 || !strings.Contains(text, says) {
			t.Errorf("%.40s: %d %s, want %q", body, status, text, says)
		}
	}
	n.want(200, &c, "GET", at, "")
	if !c.Pinned {
		t.Error("a change that was refused had half of its effect")
	}
	n.want(400, nil, "GET", "/api/v1/conversations?shelf=attic", "")
}

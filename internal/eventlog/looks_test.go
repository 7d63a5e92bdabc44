package eventlog

import (
	"testing"
	"time"
)

func TestLooks(t *testing.T) {
	v := clusterView{looks: map[string]look{}, streams: map[string]StreamState{
		"mine": {Leader: "me"}, "other": {Leader: "you"},
	}}
	start := time.Now()
	for _, step := range []struct {
		what   string
		stream string
		after  time.Duration
		wanted bool
		want   bool
		lasts  bool
	}{
		{what: "the first one", stream: "mine", want: true},
		{what: "the first one", stream: "other", want: true},
		{what: "soon again at what this node leads", stream: "mine", after: lookAtOwn, want: true},
		{what: "at what another one leads", stream: "other", after: lookAtOwn},
		{what: "a new leader", stream: "other", after: lookAtOwn, wanted: true, want: true, lasts: true},
		{what: "while one is under way", stream: "other", after: 3 * lookEvery},
		{what: "a new leader meanwhile", stream: "other", after: 3 * lookEvery, wanted: true},
	} {
		got := v.due(step.stream, "me", start.Add(step.after), step.wanted)
		if got != step.want {
			t.Errorf("%s, %s: %v", step.stream, step.what, got)
		}
		if got && !step.lasts {
			v.looked(step.stream)
		}
	}
	v.looked("other")
	if !v.due("other", "me", start.Add(3*lookEvery), false) {
		t.Error("what was wanted meanwhile does not come next")
	}
}

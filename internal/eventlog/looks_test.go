package eventlog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
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

// TestAskedAgain: a question that nobody answers is put again before the time
// for it is over, one that is refused is not.
func TestAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Log{cluster: &Cluster{RoundTrip: 75 * time.Millisecond}}
		began, tries := time.Now(), 0
		ask := func(leader time.Duration, then error) (time.Duration, error) {
			began, tries = time.Now(), 0
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := l.again(ctx, "a", func(try context.Context) error {
				if tries++; time.Since(began) >= leader {
					return then
				}
				<-try.Done()
				return try.Err()
			})
			return time.Since(began), err
		}
		if took, err := ask(100*time.Millisecond, nil); err != nil || took != leastKnown+askPause || tries != 2 {
			t.Errorf("a leader after 100 ms: %v, %v, %d tries", took, err, tries)
		}
		if took, err := ask(2*time.Second, nil); err != nil || took > 3*time.Second || tries > 5 {
			t.Errorf("a leader after 2 s: %v, %v, %d tries", took, err, tries)
		}
		heard := func(stream string) (time.Duration, error) {
			time.AfterFunc(450*time.Millisecond, func() { l.view.elected(stream) })
			return ask(400*time.Millisecond, nil)
		}
		if took, err := heard("a"); err != nil || took != 450*time.Millisecond+askPause || tries != 3 {
			t.Errorf("a leader after 400 ms, who was heard of 50 ms later: %v, %v, %d tries", took, err, tries)
		}
		if took, err := heard("b"); err != nil || took != 3*leastKnown+2*askPause || tries != 3 {
			t.Errorf("another stream's leader: %v, %v, %d tries", took, err, tries)
		}
		refused := &apiError{Code: 404}
		if took, err := ask(0, refused); !errors.Is(err, refused) || took != 0 || tries != 1 {
			t.Errorf("a refusal: %v, %v, %d tries", took, err, tries)
		}
		if took, err := ask(time.Hour, nil); !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("no leader: %v, %v", took, err)
		}
	})
}

// TestSuccessor: who leaves hands over to the next that stays, and to a witness
// rather than to nobody.
func TestSuccessor(t *testing.T) {
	l := &Log{opts: Options{Node: "b"}, cluster: &Cluster{Nodes: []Node{{Name: "w", Witness: true}, {Name: "a"}, {Name: "b"}, {Name: "c"}}}}
	all := []Replica{{Node: "a"}, {Node: "b"}, {Node: "c"}, {Node: "w"}}
	for _, c := range []struct {
		what   string
		stay   string
		copies []Replica
		want   string
	}{
		{"all stay", "a c w", all, "c"},
		{"the next one leaves too", "a w", all, "a"},
		{"the next one is out of reach", "a c w", []Replica{{Node: "a"}, {Node: "b"}, {Node: "c", Offline: true}}, "a"},
		{"the next one is far behind", "a c w", []Replica{{Node: "a"}, {Node: "b"}, {Node: "c", Lag: homeLag + 1}}, "a"},
		{"only the witness stays", "w", all, "w"},
		{"all leave", "", all, ""},
	} {
		stays := func(node string) bool { return strings.Contains(c.stay, node) }
		if got := l.successor(StreamState{Leader: "b", Replicas: c.copies}, stays); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

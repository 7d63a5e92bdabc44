package eventlog

import "testing"

func TestPolls(t *testing.T) {
	var p polls
	for i, look := range []struct {
		terms map[string]uint64
		want  uint64
	}{
		{map[string]uint64{"meta": 4, "stream": 0}, 0}, // one that is being made
		{map[string]uint64{"meta": 4, "stream": 1}, 0},
		{map[string]uint64{"meta": 4, "stream": 1}, 0},
		{map[string]uint64{"meta": 5, "stream": 3}, 3},
		{map[string]uint64{"meta": 5}, 3},
		{map[string]uint64{"meta": 5, "stream": 9}, 3}, // come here, and not elected
		{map[string]uint64{"meta": 5, "stream": 10}, 4},
	} {
		if got := p.look(look.terms); got != look.want {
			t.Errorf("look %d: %d, want %d", i, got, look.want)
		}
	}
}

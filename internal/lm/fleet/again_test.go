package fleet

import (
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// Who meets the same engine again rests first, longer each time, and has tries
// left as long as there are engines that it has not met.
func TestTriesAreNotSpentOnOneEngine(t *testing.T) {
	f := New("m", Options{})
	var members []Member
	for _, name := range []string{"a", "b", "c"} {
		members = append(members, Member{Engine: demo.Canned(demo.CannedOptions{Name: name}), Model: lm.Model{ID: "m"}})
	}
	f.Set(members)
	broken := fault.New(fault.Unavailable, "broken")
	for _, c := range []struct {
		tried string // before, and then this one
		again bool
		rest  time.Duration
	}{
		{"a", true, 0},
		{"ab", true, 0},
		{"abc", true, 0},
		{"aa", true, 250 * time.Millisecond},
		{"aba", true, 250 * time.Millisecond},
		{"aaa", true, 500 * time.Millisecond},
		{"aaaa", true, time.Second},
		{"aaaaaa", true, time.Second},
		{"aaaaaaa", false, time.Second},
		{"abca", false, 250 * time.Millisecond},
	} {
		last := len(c.tried) - 1
		ask := balance.Ask{}
		for _, n := range c.tried[:last] {
			ask.Tried = append(ask.Tried, string(n))
		}
		l := &Lease{Member: members[strings.IndexByte("abc", c.tried[last])]}
		if got := f.Again(t.Context(), &ask, l, broken); got != c.again {
			t.Errorf("%s: again %v", c.tried, got)
		}
		if got := respite(ask.Tried); got != c.rest {
			t.Errorf("%s: rests %v, want %v", c.tried, got, c.rest)
		}
	}
}

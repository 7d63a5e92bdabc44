package front

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	const ms = time.Millisecond
	p := patience{most: time.Second}
	if got := p.limit(true, true); got != time.Second {
		t.Errorf("before the first answer: %v", got)
	}
	for range 50 {
		p.answered(75 * ms)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if got < want-10*ms || got > want+10*ms {
			t.Errorf("%s: %v, want about %v", what, got, want)
		}
	}
	near("a region 75 ms away", p.limit(true, true), 475*ms)
	near("one that was just silent", p.limit(true, false), 500*ms)
	near("one that is out", p.limit(false, false), time.Second)
	p.answered(400 * ms)
	if got := p.limit(true, true); got < 800*ms {
		t.Errorf("after one slow answer: %v", got)
	}
	for range 50 {
		p.answered(2 * ms)
	}
	near("a region next door", p.limit(true, true), 256*ms)
	for range 50 {
		p.answered(5 * time.Second)
	}
	if got := p.limit(true, true); got != time.Second {
		t.Errorf("a slow region has %v", got)
	}
}

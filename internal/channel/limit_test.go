package channel

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := NewLimiter(10, 5, 300*time.Millisecond)
	now := time.Unix(1000, 0)
	var delays []time.Duration
	refused := 0
	for range 20 {
		if d, ok := l.Take("a", now); ok {
			delays = append(delays, d)
		} else {
			refused++
		}
	}
	// Five at once, then three that wait 100, 200 and 300 ms; the others would
	// wait for longer than patience.
	if len(delays) != 8 || refused != 12 || delays[4] > 0 || delays[5] != 100*time.Millisecond || delays[7] != 300*time.Millisecond {
		t.Errorf("taken after %v, %d refused", delays, refused)
	}
	if d, ok := l.Take("b", now); !ok || d > 0 {
		t.Errorf("another key waits %v", d)
	}
	if d, ok := l.Take("a", now.Add(time.Minute)); !ok || d > 0 {
		t.Errorf("after a rest: %v", d)
	}
}

// Keys that are level are forgotten: strangers can't fill the memory.
func TestLimiterForgets(t *testing.T) {
	l := NewLimiter(1000, 5, 0)
	now := time.Unix(1000, 0)
	for i := range 100_000 {
		now = now.Add(10 * time.Microsecond)
		l.Take(fmt.Sprint(i), now)
	}
	if n := len(l.next); n > 4096 {
		t.Errorf("%d keys are kept", n)
	}
}

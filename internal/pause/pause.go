// Package pause waits, and stops waiting when nobody wants the result any more.
// What may live here: that, and how long to wait.
package pause

import (
	"context"
	"time"
)

// For waits for d and returns nil, or returns the context's error as soon as it
// ends.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	shortest = 50 * time.Millisecond
	longest  = time.Second
)

// Next is how long to wait before one more try of what somebody waits for, when
// so much has passed since the first: a quarter of that. So nobody hears of it
// later than it came by more than a quarter, where doubling makes the wait as
// long again.
func Next(passed time.Duration) time.Duration {
	return min(max(passed/4, shortest), longest)
}

package channel

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Limiter spaces what comes in under one key. A burst passes at once; what is
// faster for longer is slowed down, and refused when it would have to wait for
// longer than patience.
type Limiter struct {
	every    time.Duration // between two, in the long run
	burst    time.Duration // how far a key may be ahead of that
	patience time.Duration

	mu   sync.Mutex           // guards next, room
	next map[string]time.Time // when a key would be level if all came evenly
	room int                  // size of next at which those who are level are forgotten
}

// NewLimiter lets rate a second through in the long run, and burst at once.
func NewLimiter(rate float64, burst int, patience time.Duration) *Limiter {
	every := time.Duration(float64(time.Second) / rate)
	return &Limiter{every: every, burst: time.Duration(burst) * every, patience: patience, next: map[string]time.Time{}, room: 1024}
}

func (l *Limiter) wait(ctx context.Context, key string) error {
	delay, ok := l.Take(key, time.Now())
	if !ok {
		return fault.New(fault.Limited, "too many messages in this conversation at once; try again in a while").After(delay)
	}
	if delay <= 0 {
		return nil
	}
	return pause.For(ctx, delay)
}

// Take returns how long the next one has to wait; ok is false if that is too
// long, and then it was not counted.
func (l *Limiter) Take(key string, now time.Time) (delay time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.next[key]
	if at.Before(now) {
		at = now
	}
	at = at.Add(l.every)
	if delay = at.Sub(now) - l.burst; delay > l.patience {
		return delay, false
	}
	l.next[key] = at
	if len(l.next) > l.room {
		for k, at := range l.next {
			if at.Before(now) {
				delete(l.next, k)
			}
		}
		l.room = max(1024, 2*len(l.next))
	}
	return delay, true
}

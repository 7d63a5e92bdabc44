package connector

import (
	"context"
	"sync"
	"time"
)

// sends tells a repetition from a second saying of the same. The SDKs name no
// delivery: one that gets no answer sends the same bytes again. So the same
// bytes are the same delivery unless this process knows that the one before
// was answered, or is still waiting for its answer.
type sends struct {
	mu   sync.Mutex // guards all below
	of   map[string][]*send
	room int // size of of at which what is old is forgotten
}

type send struct {
	number int         // among those of its key
	over   func() bool // whether nobody waits for the answer any more
	at     time.Time
	done   bool // it was answered
}

func newSends() *sends { return &sends{of: map[string][]*send{}, room: 1024} }

// begin gives a delivery its number.
func (s *sends) begin(ctx context.Context, key string, now time.Time) *send {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.of[key]
	if n := len(all); n > 0 && now.Sub(all[n-1].at) > repeats {
		all = nil
	}
	one := &send{number: len(all), over: func() bool { return ctx.Err() != nil }, at: now}
	for i, before := range all {
		if !before.done && before.over() {
			one.number = i
			break
		}
	}
	if one.number == len(all) {
		all = append(all, one)
	} else {
		all[one.number] = one
	}
	s.of[key] = all
	if len(s.of) > s.room {
		for k, all := range s.of {
			if now.Sub(all[len(all)-1].at) > repeats {
				delete(s.of, k)
			}
		}
		s.room = max(1024, 2*len(s.of))
	}
	return one
}

func (s *sends) answered(one *send) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.done = true
}

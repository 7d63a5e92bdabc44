package chat

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	// adoptFor is how long adopt waits for a log that has just lost its leader.
	adoptFor = 15 * time.Second
	// adoptAgain is how long a new leader may need until it knows of all that the
	// dead one has acknowledged.
	adoptAgain = 250 * time.Millisecond
	// mostTaken is how many turns are looked at side by side.
	mostTaken = 64
)

// Adopt takes up the turns of a home that this worker serves which nobody has
// in hand, and those that a lost worker had. Asked for while it is at it, it is
// done once more, not beside: where nodes come and go from one moment to the
// next, looking must not be what keeps them from hearing each other.
func (s *Service) Adopt(home string, lost func(worker string) bool) {
	if s.opts.Orphans == nil {
		return
	}
	s.mu.Lock()
	was, working := s.adopting[home]
	next := lost
	if was != nil {
		next = func(worker string) bool { return was(worker) || lost(worker) }
	}
	s.adopting[home] = next
	s.mu.Unlock()
	if working {
		return
	}
	s.begin(func(taking, ctx context.Context) {
		for lost := s.adoptNext(home); lost != nil; lost = s.adoptNext(home) {
			s.adopt(taking, ctx, home, lost)
		}
	})
}

// adoptNext returns whose turns of a home are to be taken up next, and notes the
// end of that if they are nobody's.
func (s *Service) adoptNext(home string) (lost func(worker string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost = s.adopting[home]; lost == nil {
		delete(s.adopting, home)
	} else {
		s.adopting[home] = nil
	}
	return lost
}

// adopt takes up what this worker had in hand when it died, what a lost one
// had, and what nobody has. The claim in the log decides should another worker
// want the same.
func (s *Service) adopt(taking, ctx context.Context, home string, lost func(worker string) bool) {
	var (
		orphans []Orphan
		err     error
	)
	for began := time.Now(); ; {
		orphans, err = s.opts.Orphans(taking, home)
		passed := time.Since(began)
		if err == nil || taking.Err() != nil || passed > adoptFor {
			break
		}
		_ = pause.For(taking, pause.Next(passed))
	}
	s.take(ctx, orphans, lost)
	if pause.For(taking, adoptAgain) == nil {
		orphans, err = s.opts.Orphans(taking, home)
		s.take(ctx, orphans, lost)
	}
	if err != nil && taking.Err() == nil {
		s.lg.Warn("unfinished turns wait for their leases", "home", home, "err", err)
	}
}

// take looks at many at once: each costs a way to the leader of the log and back,
// and somebody waits for each.
func (s *Service) take(ctx context.Context, orphans []Orphan, lost func(worker string) bool) {
	var all sync.WaitGroup
	places := make(chan struct{}, mostTaken)
	for _, o := range orphans {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			s.takeOne(ctx, o, lost)
		})
	}
	all.Wait()
}

func (s *Service) takeOne(ctx context.Context, o Orphan, lost func(worker string) bool) {
	l, err := s.Open(ctx, o.Conversation)
	if err != nil {
		return // its lease brings it
	}
	defer l.Close()
	var turn *event.Turn
	l.View(func(st *conversation.State) {
		for _, t := range st.Turns() {
			mine := st.Claim.Turn == t.ID && (st.Claim.Worker == s.opts.Worker || lost(st.Claim.Worker))
			if t.Seq == o.Seq && !st.Deleted && (t.State == event.Queued || t.State == event.Running && mine) {
				turn = &t.Turn
			}
		}
	})
	if turn != nil {
		s.start(ctx, event.Lease{Entry: event.Entry{
			Conversation: o.Conversation, Seq: o.Seq,
			Event: event.Event{Kind: event.KindSaid, Said: &event.Said{Turn: turn}},
		}})
	}
}

package chat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// takeLeases works on whatever users of a home asked for, until taking ends;
// the work itself may go on until ctx ends.
func (s *Service) takeLeases(taking, ctx context.Context, home string) {
	for taking.Err() == nil {
		err := s.opts.Log.Leases(taking, home, s.opts.Queue, func(x event.Lease) {
			switch {
			case x.Entry.Event.Kind == event.KindDeleted, trashes(x.Entry.Event), asks(x.Entry.Event), s.goesOut(x.Entry.Event):
				s.start(ctx, x)
			default:
				s.ack(x) // nothing to be done for it
			}
		})
		if err != nil && taking.Err() == nil {
			s.lg.Warn("taking turns was interrupted", "home", home, "err", err)
			_ = pause.For(taking, 200*time.Millisecond)
		}
	}
}

// asks reports whether an event asks for a turn.
func asks(e event.Event) bool { return e.Said != nil && e.Said.Turn != nil }

// start serves a lease unless this worker has the same one in hand already:
// it was late to extend it, and its first goroutine extends it for both.
func (s *Service) start(ctx context.Context, x event.Lease) {
	place := Orphan{x.Entry.Conversation, x.Entry.Seq}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hands[place] {
		return
	}
	if s.stopping {
		s.release(x, 0) // for the next worker
		return
	}
	s.hands[place] = true
	s.turns.Go(func() {
		s.serve(ctx, x)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hands, place)
	})
}

func (s *Service) ack(x event.Lease) {
	if x.Ack == nil {
		return // adopted: its lease comes by itself and is found done
	}
	if err := x.Ack(); err != nil { // it comes again and is found done
		s.lg.Debug("acknowledging a lease", "conversation", x.Entry.Conversation, "err", err)
	}
}

func (s *Service) release(x event.Lease, wait time.Duration) {
	if x.Release == nil {
		return
	}
	if err := x.Release(wait); err != nil {
		s.lg.Debug("releasing a lease", "conversation", x.Entry.Conversation, "err", err)
	}
}

// serve holds a lease while its work is done. Without a result the lease is
// given back: another worker continues.
func (s *Service) serve(ctx context.Context, x event.Lease) {
	if x.Extend != nil {
		alive := make(chan struct{})
		defer close(alive)
		go s.keepAlive(x, alive)
	}
	var err error
	if trashes(x.Entry.Event) {
		wait, err := s.discard(ctx, x.Entry)
		if err != nil || wait > 0 {
			s.release(x, max(wait, time.Second))
		} else {
			s.ack(x)
		}
		return
	}
	switch {
	case x.Entry.Event.Kind == event.KindDeleted:
		err = s.forget(ctx, x.Entry)
	case asks(x.Entry.Event):
		s.held.Add(1)
		err = s.turn(ctx, x)
		s.held.Add(-1)
	default:
		err = s.goOut(ctx, x.Entry)
	}
	if err == nil {
		s.ack(x)
		return
	}
	var later Later
	if errors.As(err, &later) {
		s.release(x, time.Duration(later))
		return
	}
	if ctx.Err() == nil && !errors.Is(err, errOvertaken) && !errors.Is(err, errElsewhere) {
		s.lg.Error("a turn could not be worked on; it is given back", "conversation", x.Entry.Conversation, "err", err)
	}
	wait := time.Second
	if ctx.Err() != nil || errors.Is(err, errElsewhere) { // the next worker may start at once
		wait = 0
	}
	s.release(x, wait)
}

// keepAlive extends a lease until the work on it is done.
func (s *Service) keepAlive(x event.Lease, done <-chan struct{}) {
	beat := time.NewTicker(x.For / 3)
	defer beat.Stop()
	for {
		select {
		case <-done:
			return
		case <-beat.C:
			if err := x.Extend(); err != nil {
				s.lg.Debug("extending a lease", "conversation", x.Entry.Conversation, "err", err)
			}
		}
	}
}

// errOvertaken says that another worker owns the turn now.
var errOvertaken = fault.New(fault.Fenced, "another worker owns this turn")

// errElsewhere says that a turn waits for what this worker has not got at the
// moment, such as room on its disk, and that others may have it.
var errElsewhere = errors.New("other workers take the turns of this home")

func (s *Service) serves(home string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving[home] != nil
}

// turn brings one turn to its end, over as many attempts as it takes. nil
// means that the turn is over, by whomever.
func (s *Service) turn(ctx context.Context, x event.Lease) error {
	l, err := s.Open(ctx, x.Entry.Conversation)
	if err != nil {
		return fmt.Errorf("open conversation: %w", err)
	}
	defer l.Close()
	if err := l.Wait(ctx, x.Entry.Seq); err != nil {
		return err
	}
	id, over := x.Entry.Event.Said.Turn.ID, false
	// Turns of a conversation run one after another.
	if err := l.until(ctx, func(st *conversation.State) bool {
		t := st.Turn(id)
		over = t == nil || t.State.Final() || st.Deleted
		return over || st.Before(t) == nil
	}); err != nil {
		return err
	}
	out := s.carry(ctx, l, x.Entry.Seq)
	if !over {
		err = s.attempts(ctx, &run{s: s, l: l, id: id, began: time.Now(), leased: x.Ack != nil})
	}
	return out(err)
}

// attempts works on a turn in one of the node's places.
func (s *Service) attempts(ctx context.Context, run *run) error {
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if run.charge != nil {
			run.charge.Cancel() // somebody else ends the turn, or has
		}
	}()
	for {
		over, wait, err := run.attempt(ctx)
		if over || err != nil {
			return err
		}
		if !s.serves(event.HomeOf(run.l.id)) {
			s.lg.Info("a turn is given back: it waits here, and others take the turns of its home now", "turn", run.id)
			return errElsewhere
		}
		_ = pause.For(ctx, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// forget erases a deleted conversation, and once more after a while: a worker
// may have had pieces of an answer on their way.
func (s *Service) forget(ctx context.Context, e event.Entry) error {
	if err := s.opts.Log.Forget(ctx, e.Conversation, e.Seq); err != nil {
		return err
	}
	_ = pause.For(ctx, time.Second)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.opts.Log.Forget(ctx, e.Conversation, e.Seq)
}

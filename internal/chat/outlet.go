package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
)

// Outlet brings what bots say to the other side of channels that have to be
// called.
type Outlet interface {
	// Carries reports whether a channel is one of those.
	Carries(channel string) bool
	// Carry brings out what follows from an entry of a conversation, which is
	// leased to the caller, and returns nil when all of it is out. over is closed
	// when nothing more will follow from the entry. Later says when to try the
	// rest.
	Carry(ctx context.Context, conv string, entry uint64, over <-chan struct{}) error
}

// Later is an Outlet's error: the other side does not take the rest now, and
// the lease is to be given back for so long.
type Later time.Duration

func (l Later) Error() string {
	return fmt.Sprintf("what is to go out waits for %v", time.Duration(l))
}

// goesOut reports whether an event holds what a bot says on a channel that has
// to be called. Its lease is the entry's own: a bot may say it without a turn.
func (s *Service) goesOut(e event.Event) bool {
	var a *activity.Activity
	switch {
	case e.Said != nil && e.Said.Bot != "":
		a = e.Said.Activity
	case e.Changed != nil:
		a = e.Changed.Activity
	}
	return a != nil && s.opts.Outlet != nil && s.opts.Outlet.Carries(a.ChannelID)
}

// goOut brings out what a bot said with an entry.
func (s *Service) goOut(ctx context.Context, e event.Entry) error {
	l, err := s.Open(ctx, e.Conversation)
	if err != nil {
		return fmt.Errorf("open conversation: %w", err)
	}
	defer l.Close()
	if err := l.Wait(ctx, e.Seq); err != nil {
		return err
	}
	return s.carry(ctx, l, e.Seq)(nil)
}

// carry begins to bring out what follows from an entry, if its conversation is
// on a channel that has to be called. What it returns is to be called with how
// the work on the entry ended, and waits until all is out.
func (s *Service) carry(ctx context.Context, l *Live, entry uint64) func(error) error {
	channel := l.channel()
	if s.opts.Outlet == nil || !s.opts.Outlet.Carries(channel) {
		return func(err error) error { return err }
	}
	ctx, cancel := context.WithCancel(ctx)
	over, out := make(chan struct{}), make(chan error, 1)
	go func() { out <- s.opts.Outlet.Carry(ctx, l.id, entry, over) }()
	return func(err error) error {
		defer cancel()
		if err != nil {
			cancel()
		}
		close(over)
		if carried := <-out; err == nil {
			err = carried
		}
		return err
	}
}

// Post writes a step of an item on its way out. It is refused with Conflict if
// somebody else wrote one since the one at expect, whose checksum is prev.
func (s *Service) Post(ctx context.Context, conv string, p event.Posted, expect, prev uint64) (event.Receipt, error) {
	return s.opts.Log.Append(ctx, event.Append{
		Conversation: conv, Expect: &expect, Prev: prev, Event: event.Event{Kind: event.KindPosted, Posted: &p},
	})
}

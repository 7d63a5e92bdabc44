package chat

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// Live is a conversation in memory, kept current from the log. Many may read
// it; a slow reader holds nobody up, because frames stay where they are and
// every reader has its own place.
type Live struct {
	svc *Service
	id  string

	submit sync.Mutex // one writer of In at a time on this node: fewer conflicts

	mu      sync.Mutex // guards everything below
	state   *conversation.State
	changed chan struct{} // closed and replaced when state grew
	ready   chan struct{} // closed when the history is loaded
	loadErr error
	early   []event.Entry // came while the history was loading
	waits   Waits
	refs    int
	idle    time.Time // since when refs is 0
}

// Waits is a turn in the line before its engines. It counts for a moment and is
// seen on the node that works on the turn; the log knows nothing of it.
type Waits struct {
	Turn string // "": none waits
	lm.Place
}

// wait notes where a turn is in line.
func (l *Live) wait(turn string, at lm.Place) {
	w := Waits{Turn: turn, Place: at}
	if at.Number == 0 {
		w = Waits{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits == w {
		return
	}
	l.waits = w
	close(l.changed)
	l.changed = make(chan struct{})
}

// Waits is the turn that is in line now.
func (l *Live) Waits() Waits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

// Open returns a conversation's live state. Close it.
func (s *Service) Open(ctx context.Context, id string) (*Live, error) {
	if !event.ValidConversation(id) {
		return nil, notFound(id)
	}
	s.mu.Lock()
	l, ok := s.lives[id]
	if !ok {
		l = &Live{svc: s, id: id, state: conversation.New(id), changed: make(chan struct{}), ready: make(chan struct{})}
		s.lives[id] = l
	}
	l.mu.Lock()
	l.refs++
	l.mu.Unlock()
	s.mu.Unlock()
	if !ok {
		go l.load() // outlives this caller: others may wait for it
	}
	select {
	case <-l.ready:
	case <-ctx.Done():
		l.Close()
		return nil, ctx.Err()
	}
	if l.loadErr != nil {
		l.Close()
		return nil, l.loadErr
	}
	return l, nil
}

// Close says that the caller no longer reads.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refs--
	l.idle = time.Now()
}

// load reads the history. Entries that the follower delivers meanwhile wait in
// early; the fold ignores those that the history had already.
func (l *Live) load() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fresh := conversation.New(l.id)
	err := l.svc.followed(ctx, l.id)
	if err == nil {
		err = l.svc.opts.Log.Read(ctx, l.id, 0, func(e event.Entry) error { fresh.Apply(e); return nil })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.loadErr = err
		l.svc.drop(l)
	} else {
		for _, e := range l.early {
			fresh.Apply(e)
		}
		l.state = fresh
		if fresh.Damaged+fresh.Missing > 0 {
			l.svc.lg.Error("a conversation's log is not whole: what is left is shown", "conversation", l.id,
				"damaged", fresh.Damaged, "gaps", fresh.Missing)
		}
	}
	l.early = nil
	close(l.ready)
}

// drop forgets a live conversation so that the next Open loads it anew. It is
// called with l.mu held; s.mu is taken by a goroutine because Open takes the
// two in the other order.
func (s *Service) drop(l *Live) {
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lives[l.id] == l {
			delete(s.lives, l.id)
		}
	}()
}

func (l *Live) apply(e event.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ready:
	default:
		l.early = append(l.early, e)
		return
	}
	l.state.Apply(e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// View calls f with the state, which must not be kept or changed, and returns
// a channel that is closed when the state has grown since.
func (l *Live) View(f func(*conversation.State)) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.state)
	return l.changed
}

// Frames returns the frames behind pos and a channel that is closed when there
// may be more.
func (l *Live) Frames(pos uint64) (frames []conversation.Frame, more <-chan struct{}) {
	more = l.View(func(s *conversation.State) { frames = s.After(pos) })
	return frames, more
}

// Wait returns when the entry seq has been applied.
func (l *Live) Wait(ctx context.Context, seq uint64) error {
	return l.until(ctx, func(s *conversation.State) bool { return s.Seq >= seq })
}

func (l *Live) channel() (channel string) {
	l.View(func(s *conversation.State) { channel = s.By.Channel })
	return channel
}

// until returns when ok holds of the state.
func (l *Live) until(ctx context.Context, ok func(*conversation.State) bool) error {
	for {
		var holds bool
		more := l.View(func(s *conversation.State) { holds = ok(s) })
		if holds {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followed waits until the stream of a conversation is followed: what is read
// before that would miss what comes in between.
func (s *Service) followed(ctx context.Context, conv string) error {
	tail, ok := s.tails[s.opts.Log.StreamOf(conv)]
	if !ok {
		return notFound(conv)
	}
	select {
	case <-tail:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Unavailable, "the log of this conversation can't be read at the moment; try again")
	}
}

// follow hands every new entry of a stream to the conversation it belongs to,
// if that is in memory.
func (s *Service) follow(ctx context.Context, stream string) {
	after, err := s.opts.Log.Last(ctx, stream)
	for ; err != nil && ctx.Err() == nil; after, err = s.opts.Log.Last(ctx, stream) {
		s.lg.Warn("the log can't be followed yet", "stream", stream, "err", err)
		_ = pause.For(ctx, 200*time.Millisecond)
	}
	if ctx.Err() != nil {
		return
	}
	close(s.tails[stream])
	for ctx.Err() == nil {
		err := s.opts.Log.Follow(ctx, stream, after, func(batch []event.Entry) error {
			for _, e := range batch {
				s.mu.Lock()
				l := s.lives[e.Conversation]
				s.mu.Unlock()
				if l != nil {
					l.apply(e)
				}
				after = e.Seq
			}
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		s.lg.Warn("following the log was interrupted", "stream", stream, "err", err)
		_ = pause.For(ctx, 100*time.Millisecond)
	}
}

// sweep lets go of conversations that nobody reads.
func (s *Service) sweep(ctx context.Context) {
	const keep = 30 * time.Second
	for ctx.Err() == nil {
		_ = pause.For(ctx, keep/2)
		s.mu.Lock()
		for id, l := range s.lives {
			l.mu.Lock()
			if l.refs == 0 && time.Since(l.idle) > keep {
				delete(s.lives, id)
			}
			l.mu.Unlock()
		}
		s.mu.Unlock()
	}
}

// seenTime is how long at most somebody waits for what he has seen elsewhere.
const seenTime = 2 * time.Second

// OpenOwn is Open for a conversation of this user; somebody else's looks like
// none. Who comes from another region may have seen it up to a sequence that is
// not known here yet, and must not see less than before; 0 = he has seen nothing.
func (s *Service) OpenOwn(ctx context.Context, id, user string, seen uint64) (*Live, error) {
	l, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	if seen > 0 {
		wait, cancel := context.WithTimeout(ctx, seenTime)
		err := l.Wait(wait, seen)
		cancel()
		if err != nil {
			l.Close()
			return nil, fault.Wrap(err, fault.Unavailable, "this region has not heard yet of all that you have seen; try again, or elsewhere").After(time.Second)
		}
	}
	ok := false
	l.View(func(st *conversation.State) { ok = st.Exists && !st.Deleted && st.By.Owner == user })
	if !ok {
		l.Close()
		return nil, notFound(id)
	}
	return l, nil
}

func notFound(id string) error { return fault.New(fault.NotFound, "there is no conversation %q", id) }

package eventlog

import (
	"context"
	"sync"
	"time"
)

// horizon is how far a stream of a node that is alone is safe: flushed, and in
// the second copy. Followers are told nothing beyond it. The server would: of
// appends that go out as a batch it tells at once and flushes at the end, and
// what somebody has seen would be gone after a power cut at that moment, its
// sequence given to something else.
type horizon struct {
	mu    sync.Mutex // guards all below
	seq   uint64
	moved chan struct{} // closed and replaced when seq grows
}

// An entry whose acknowledgement does not come (it was given up on) is made safe
// by who waits for it.
const horizonWait = 100 * time.Millisecond

func newHorizon(seq uint64) *horizon { return &horizon{seq: seq, moved: make(chan struct{})} }

func (h *horizon) reach(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seq > h.seq {
		h.seq = seq
		close(h.moved)
		h.moved = make(chan struct{})
	}
}

// horizonOf returns a stream's horizon. What is there when the log is opened is
// safe.
func (l *Log) horizonOf(stream string) *horizon {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.horizons[stream]
	if h == nil {
		h = newHorizon(0)
		l.horizons[stream] = h
	}
	return h
}

// safe waits until an entry is safe, and sees to it if nobody else does. It
// returns when ctx ends, too.
func (l *Log) safe(ctx context.Context, stream string, seq uint64) error {
	h := l.horizonOf(stream)
	late := time.NewTimer(horizonWait)
	defer late.Stop()
	for {
		h.mu.Lock()
		there, moved := h.seq >= seq, h.moved
		h.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		case <-late.C:
			if err := l.twin(stream).Flush(); err != nil {
				return err
			}
			h.reach(seq)
		}
	}
}

package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/event"
)

// flaw is a bug that is planted on purpose, in some conversations only: the
// judge must find it there, and nothing in the others.
type flaw string

// The flaws.
const (
	sound       flaw = ""
	earlyAck    flaw = "ack before quorum"
	noFence     flaw = "no fencing"
	noDedupe    flaw = "no dedupe"
	wrongOffset flaw = "replay from a wrong offset"
	staleRead   flaw = "stale read after move"
)

func allFlaws() []flaw { return []flaw{earlyAck, noFence, noDedupe, wrongOffset, staleRead} }

// flaws knows which conversation has which.
type flaws struct {
	mu sync.Mutex // guards of
	of map[string]flaw
}

func newFlaws() *flaws { return &flaws{of: map[string]flaw{}} }

func (f *flaws) plant(conversation string, x flaw) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[conversation] = x
}

func (f *flaws) in(conversation string) flaw {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[conversation]
}

// log is what a node's turns see of its log: the log itself, but for the flaws
// and while its pace is stopped.
func (f *flaws) log(l chat.Log, region string, p *pace) chat.Log {
	return &between{Log: l, flaws: f, region: region, pace: p}
}

type between struct {
	chat.Log
	flaws  *flaws
	region string
	pace   *pace
}

const (
	early = 2 * time.Millisecond    // after which a message is acknowledged, whatever became of it
	lag   = 1500 * time.Millisecond // of a copy that is read all the same
)

// Append writes when the node's pace lets it.
func (x *between) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	x.pace.wait()
	a, flaw := x.spoil(a)
	if flaw != earlyAck || a.Event.Kind != event.KindSaid {
		return x.Log.Append(ctx, a)
	}
	_, wait, err := x.Log.AppendAsync(a)
	if err != nil {
		return event.Receipt{}, err
	}
	soon, cancel := context.WithTimeout(ctx, early)
	defer cancel()
	r, err := wait(soon)
	if soon.Err() != nil && ctx.Err() == nil {
		return event.Receipt{}, nil // so it was stored, hopefully
	}
	return r, err
}

// AppendAsync is Append for pieces of answers.
func (x *between) AppendAsync(a event.Append) (uint64, func(context.Context) (event.Receipt, error), error) {
	x.pace.wait()
	a, _ = x.spoil(a)
	return x.Log.AppendAsync(a)
}

func (x *between) spoil(a event.Append) (event.Append, flaw) {
	f := x.flaws.in(a.Conversation)
	if class := event.ClassOf(a.Event.Kind); f == noFence && (class == event.Claim || class == event.Done) {
		a.Expect, a.ExpectClass = nil, ""
	}
	return a, f
}

// lags reports whether this region shows an old copy of a conversation.
func (x *between) lags(conversation string) bool {
	return event.HomeOf(conversation) != x.region && x.flaws.in(conversation) == staleRead
}

// Read leaves out what a lagging copy does not have yet.
func (x *between) Read(ctx context.Context, conversation string, after uint64, each func(event.Entry) error) error {
	old := time.Now().Add(-lag)
	return x.Log.Read(ctx, conversation, after, func(e event.Entry) error {
		if x.lags(conversation) && e.Time.After(old) {
			return nil
		}
		return each(e)
	})
}

// Follow hears of what a lagging copy has when that has it.
func (x *between) Follow(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard, ended := make(chan []event.Entry), make(chan error, 1)
	go func() {
		ended <- x.Log.Follow(ctx, stream, after, func(batch []event.Entry) error {
			mine := append([]event.Entry(nil), batch...)
			select {
			case heard <- mine:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var late []event.Entry // in order
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var now []event.Entry
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		case batch := <-heard:
			for _, e := range batch {
				if x.lags(e.Conversation) {
					late = append(late, e)
				} else {
					now = append(now, e)
				}
			}
		}
		for len(late) > 0 && time.Since(late[0].Time) > lag {
			now, late = append(now, late[0]), late[1:]
		}
		if len(now) == 0 {
			continue
		}
		if err := each(now); err != nil {
			return err
		}
	}
}

// pace stops what a node writes, as a process that hangs does.
type pace struct {
	mu      sync.Mutex    // guards stopped
	stopped chan struct{} // closed when it goes on; nil while it goes
}

func newPace() *pace { return &pace{} }

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = make(chan struct{})
}

func (p *pace) goOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.stopped)
	p.stopped = nil
}

func (p *pace) wait() {
	p.mu.Lock()
	stopped := p.stopped
	p.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}

// spoilRequest plants the flaws of a client's side.
func spoilRequest(r *http.Request, f flaw) {
	switch f {
	case noDedupe: // every try has a key of its own
		if r.Header.Get("Idempotency-Key") != "" {
			r.Header.Set("Idempotency-Key", rand.Text())
		}
	case wrongOffset: // the sequences of a conversation have gaps: one page too far
		q := r.URL.Query()
		if at, err := strconv.ParseInt(q.Get("after"), 10, 64); err == nil && at > 0 {
			q.Set("after", strconv.FormatInt(at+8*32, 10))
			r.URL.RawQuery = q.Encode()
		}
	case staleRead: // nobody asks whether the copy has what was seen
		r.Header.Del("Parley-Position")
	}
}

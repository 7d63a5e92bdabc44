package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	tailPrefix  = "tail."
	tailLook    = 500 * time.Millisecond // how often a quiet tail looks into the replica
	catchUpTime = 2 * time.Second        // how long a reader waits for its replica
	leaderTime  = time.Second            // how long a reader waits for the leader
	leastKnown  = 300 * time.Millisecond // the least time until every node has heard of a new leader
	askPause    = 20 * time.Millisecond
)

var (
	errNoReplica = fault.New(fault.Unavailable, "this node has no copy of that part of the log yet; try again").After(time.Second)
	errNoLeader  = fault.New(fault.Unavailable, "this region's copy of the log may be behind, and nobody leads it at the moment; try again").After(time.Second)
)

// streamSubjects is the filter for all of a stream's entries.
func streamSubjects(stream string) string {
	part := strings.Split(stream, "_")
	return fmt.Sprintf("conv.%s.%s.>", part[1], part[2])
}

// readFresh is Read in a cluster. The nearest replica gives the entries; the
// leader says how far they go, so that a writer reads what it has just written,
// and the loser at a guard what the winner wrote. Without a leader the replica
// is all there is: history stays readable, guards keep writers honest.
func (l *Log) readFresh(ctx context.Context, conversation string, after uint64, each func(event.Entry) error) error {
	stream, filter := l.StreamOf(conversation), subject(conversation, ">")
	upto, led, err := l.leads(ctx, stream, filter)
	if err != nil {
		return err
	}
	late := time.Now().Add(catchUpTime)
	for !l.hasTold(ctx, stream) { // even if somebody leads: it may be one who was deposed in his sleep
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(late) {
			return errNoLeader
		}
	}
	for {
		last, n, err := l.readSome(ctx, stream, filter, after+1, each)
		if n > 0 {
			after = last
		}
		switch {
		case err != nil && (!errors.Is(err, errNoReplica) || time.Now().After(late)):
			return err
		case err != nil:
		case n == readBatch:
			continue
		case after == 0 && upto == 0 && !(led && l.lookAt(ctx, stream, "").Quorum): // who knows whether there is something
			return errNoLeader // a leader that was deposed and has not noticed does not
		case after >= upto:
			return nil
		case time.Now().After(late):
			return fault.New(fault.Unavailable, "this region's copy of the log is behind; try again").After(time.Second)
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if time.Until(late) < catchUpTime*3/4 { // the last one may have been erased meanwhile
			if upto, led, err = l.leads(ctx, stream, filter); err != nil {
				return err
			}
		}
	}
}

// hasTold reports whether the nearest replica has all that followers were told:
// they hear of an entry before the replica knows that it is durable, and who
// reads after them must not miss it.
func (l *Log) hasTold(ctx context.Context, stream string) bool {
	told := l.view.toldOf(stream)
	if told == 0 {
		return true
	}
	if last, here := l.lastHere(stream); here {
		return last >= told
	}
	there := errors.New("there")
	_, _, err := l.readSome(ctx, stream, streamSubjects(stream), told, func(event.Entry) error { return there })
	return errors.Is(err, there)
}

// lastHere returns the last sequence that this node's own replica of a stream
// has, and whether there is one. The entry may have been erased.
func (l *Log) lastHere(stream string) (last uint64, here bool) {
	all, err := l.srv.Load().JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true})
	if err != nil {
		return 0, false
	}
	for _, s := range all.Streams {
		if s.Name == stream {
			return s.State.LastSeq, true
		}
	}
	return 0, false
}

// lastFresh asks the leader for its last sequence.
func (l *Log) lastFresh(ctx context.Context, stream string) (uint64, error) {
	var info streamInfo
	err := l.askLeader(ctx, infoOf, stream, nil, &info)
	var refused *apiError
	switch {
	case err == nil:
		return info.State.Last, nil
	case errors.As(err, &refused) && refused.Code == 404:
		return 0, fault.Wrap(err, fault.NotFound, "that stream is not in the log")
	}
	return 0, readFault(err)
}

// leads returns the newest sequence under a filter as the stream's leader knows
// it. led is false if there is no leader at the moment.
func (l *Log) leads(ctx context.Context, stream, filter string) (seq uint64, led bool, err error) {
	try, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	seq, _, err = l.newest(try, stream, filter)
	var refused *apiError
	switch {
	case err == nil:
		return seq, true, nil
	case ctx.Err() != nil:
		return 0, false, ctx.Err()
	case errors.As(err, &refused) && refused.Code == 404:
		return 0, false, fault.Wrap(err, fault.NotFound, "that stream is not in the log")
	}
	l.lg.Debug("no leader to ask; reading what this region has", "stream", stream, "err", err)
	return 0, false, nil
}

// tail is Follow in a cluster: what the leader tells to all regions as it is
// stored, and from the nearest replica whatever was missed.
func (l *Log) tail(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error {
	heard := make(chan *nats.Msg, 4096)
	subjects := streamSubjects(stream)
	sub, err := l.nc.ChanSubscribe(tailPrefix+subjects, heard)
	if err != nil {
		return readFault(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	// Whoever begins behind an entry will never be told of it: a replica that
	// does not have it yet must not be read beside him.
	l.view.tell(stream, after)
	t := &tail{l: l, stream: stream, subjects: subjects, next: after + 1, each: each, batch: make([]event.Entry, 0, 256)}
	if err := t.catchUp(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	look := time.NewTicker(tailLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if t.moved {
				t.moved = false
				continue
			}
			err = t.catchUp(ctx)
		case m := <-heard:
			err = t.take(ctx, m)
			for more := true; more && err == nil; {
				select {
				case m := <-heard:
					err = t.take(ctx, m)
				default:
					more = false
				}
			}
			if err == nil {
				err = t.flush()
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

type tail struct {
	l                *Log
	stream, subjects string
	next             uint64 // the sequence that comes next, unless it was erased
	moved            bool   // something came since the last look
	each             func([]event.Entry) error
	batch            []event.Entry
}

func (t *tail) add(e event.Entry) error {
	t.batch = append(t.batch, e)
	t.next, t.moved = e.Seq+1, true
	if len(t.batch) < cap(t.batch) {
		return nil
	}
	return t.flush()
}

func (t *tail) flush() error {
	if len(t.batch) == 0 {
		return nil
	}
	t.l.view.tell(t.stream, t.next-1)
	err := t.each(t.batch)
	t.batch = t.batch[:0]
	return err
}

// catchUp takes all that the nearest replica has. A replica that can't be read
// at the moment is asked again later.
func (t *tail) catchUp(ctx context.Context) error {
	for {
		var mine error
		_, n, err := t.l.readSome(ctx, t.stream, t.subjects, t.next, func(e event.Entry) error {
			mine = t.add(e)
			return mine
		})
		if mine != nil {
			return mine
		}
		if err != nil {
			t.l.lg.Debug("log reader", "stream", t.stream, "err", err)
		}
		if n < readBatch || err != nil {
			return t.flush()
		}
	}
}

// take adds an entry that was heard of. One that is not the next shows that
// others were missed (or erased): then the replica tells all up to it, which
// may have to learn of it first.
func (t *tail) take(ctx context.Context, m *nats.Msg) error {
	e, err := t.l.stored(m)
	if err != nil || e.Seq < t.next {
		return err
	}
	if e.Seq == t.next {
		return t.add(e)
	}
	for late := time.Now().Add(catchUpTime); t.next <= e.Seq && time.Now().Before(late); {
		if err := t.catchUp(ctx); err != nil {
			return err
		}
		if t.next > e.Seq {
			break
		}
		if pause.For(ctx, 10*time.Millisecond) != nil {
			return nil // nobody follows any more
		}
	}
	return nil
}

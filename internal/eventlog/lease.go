package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	turns      = "turns" // the queue of a home: a durable consumer
	mostLeases = 16384   // of one home in a cluster, held by all its workers together
	pullTime   = 5 * time.Second
	pullBeat   = 500 * time.Millisecond // a queue that says nothing for twice as long has a new leader, or none
)

func (l *Log) turnsOf(home string, limit int) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       turns,
		FilterSubject: fmt.Sprintf("conv.%s.*.*.%s", home, event.In),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       l.opts.Lease,
		MaxDeliver:    -1,
		MaxAckPending: limit,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if l.cluster != nil {
		cfg.Replicas = l.cluster.Replicas
	}
	return cfg
}

// leasesHere is Leases in a log of one node.
func (l *Log) leasesHere(ctx context.Context, limit int, each func(event.Lease)) error {
	consumer, err := l.js.CreateOrUpdateConsumer(ctx, l.Home(), l.turnsOf(l.opts.Region, limit))
	if err != nil {
		return readFault(err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		if lease, ok := l.lease(m); ok {
			each(lease)
		}
	}, jetstream.PullMaxMessages(64), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		l.lg.Debug("lease reader", "err", err)
	}))
	if err != nil {
		return readFault(err)
	}
	<-ctx.Done()
	consuming.Stop()
	return nil
}

func (l *Log) lease(m jetstream.Msg) (event.Lease, bool) {
	e, err := l.received(m)
	if err != nil || e.Damaged {
		l.lg.Error("a request can't be read and is left out", "subject", m.Subject(), "err", err)
		_ = m.Term()
		return event.Lease{}, false
	}
	return event.Lease{Entry: e, For: l.opts.Lease, Extend: m.InProgress, Ack: m.Ack, Release: m.NakWithDelay}, true
}

// Homes lists the regions whose conversations the log holds: those that are,
// and behind them those that were.
func (l *Log) Homes() []string {
	if l.cluster == nil {
		return []string{l.opts.Region}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(l.cluster.homes(), l.former...)
}

// Leases hands out turn requests of conversations that are at home in a region,
// this one or another of the cluster, until ctx ends. At most limit are held at
// once; each is called from one goroutine and must not block. The queue is the
// same for everybody who asks, so a turn is handed to one worker at a time,
// wherever they are; who serves which home, and when, is the caller's.
func (l *Log) Leases(ctx context.Context, home string, limit int, each func(event.Lease)) error {
	if !slices.Contains(l.Homes(), home) {
		return fault.New(fault.NotFound, "no conversation is at home in region %q", home)
	}
	if l.cluster == nil {
		return l.leasesHere(ctx, limit, each)
	}
	var failed time.Time
	held := newPlaces(limit)
	for ctx.Err() == nil {
		err := l.pull(ctx, home, held, each)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(failed) > 10*time.Second {
			l.lg.Debug("lease reader", "home", home, "err", err)
			failed = time.Now()
		}
		_ = pause.For(ctx, 100*time.Millisecond)
	}
	return nil
}

// pull asks for as many leases as there are places. The queue counts a lease's
// time from the moment it hands it out, so nothing is fetched to wait here.
func (l *Log) pull(ctx context.Context, home string, held *places, each func(event.Lease)) error {
	n := held.free(ctx)
	if n == 0 {
		return nil
	}
	try, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	var consumer jetstream.Consumer
	stream := streamName(home, 0)
	if err := l.again(try, stream, func(try context.Context) (err error) {
		consumer, err = l.js.Consumer(try, stream, turns)
		return err
	}); err != nil {
		return err
	}
	for {
		batch, err := consumer.Fetch(min(n, 64), jetstream.FetchMaxWait(pullTime), jetstream.FetchHeartbeat(pullBeat))
		if err != nil {
			return err
		}
		for open := true; open; {
			select {
			case <-ctx.Done(): // what comes now is handed out again when its time is over
				return nil
			case m, ok := <-batch.Messages():
				if open = ok; !ok {
					break
				}
				if lease, ok := l.lease(m); ok {
					each(held.take(lease))
				}
			}
		}
		if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
			return err
		}
		if n = held.free(ctx); n == 0 {
			return nil
		}
	}
}

// places counts the leases in hand.
type places struct {
	mu    sync.Mutex // guards n
	n     int
	freed chan struct{} // holds one
}

func newPlaces(limit int) *places { return &places{n: limit, freed: make(chan struct{}, 1)} }

// free waits for places and returns how many there are; 0 when ctx ends.
func (p *places) free(ctx context.Context) int {
	for {
		p.mu.Lock()
		n := p.n
		p.mu.Unlock()
		if n > 0 || ctx.Err() != nil {
			return max(0, n)
		}
		select {
		case <-p.freed:
		case <-ctx.Done():
		}
	}
}

func (p *places) add(n int) {
	p.mu.Lock()
	p.n += n
	p.mu.Unlock()
	if n > 0 {
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}
}

// take gives the lease a place until it is ended, given back, or has run out.
func (p *places) take(x event.Lease) event.Lease {
	p.add(-1)
	leave := sync.OnceFunc(func() { p.add(1) })
	out := time.AfterFunc(x.For, leave)
	extend, ack, release := x.Extend, x.Ack, x.Release
	x.Extend = func() error { out.Reset(x.For); return extend() }
	x.Ack = func() error { out.Stop(); leave(); return ack() }
	x.Release = func(after time.Duration) error { out.Stop(); leave(); return release(after) }
	return x
}

package project

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/store"
)

// settleTime is how long a stream is followed without an entry and without a
// failure before earlier trouble counts as over.
const settleTime = time.Second

// follow copies one stream from where the store stands until ctx ends or the
// log fails. Failures of the store are waited out here, with the batch kept.
func (p *Projector) follow(ctx context.Context, stream string) error {
	at, err := p.opts.Store.Position(ctx, stream)
	if err != nil {
		return err
	}
	last, err := p.opts.Log.Last(ctx, stream)
	if err != nil {
		return err
	}
	if at.Seq > last {
		return &stateError{Ahead, fault.New(fault.Unavailable,
			"the store has %s up to entry %d, but the log ends at %d: entries of the log were lost or an older copy was put back. "+
				"Put the right log back, or accept the loss: move the store's file away and run `parley store rebuild`", stream, at.Seq, last)}
	}
	p.change(stream, func(s *Status) { s.Position = at.Seq })

	// The log's reader and the writing of batches run side by side, so that
	// what comes while one batch is being written makes the next.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := make(chan []event.Entry)
	var readErr error
	done := make(chan struct{})
	from := at.Seq
	if from > 0 {
		from-- // the entry at the position is read again: is it the one that was applied?
	}
	go func() {
		defer close(done)
		readErr = p.opts.Log.Follow(ctx, stream, from, func(batch []event.Entry) error {
			select {
			case in <- append([]event.Entry(nil), batch...):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = p.consume(ctx, stream, at, in, done)
	cancel()
	<-done
	if err == nil {
		err = readErr
	}
	return err
}

// consume gathers entries and writes them: at once when there is something to
// store and nothing more is waiting, else when a batch is full or its time has
// come.
func (p *Projector) consume(ctx context.Context, stream string, at store.Position, in <-chan []event.Entry, done <-chan struct{}) error {
	b := &batch{p: p, stream: stream, start: at, upTo: at}
	settle := time.NewTimer(settleTime)
	defer settle.Stop()
	timer := time.NewTimer(p.opts.Every)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done: // the reader has failed; what was gathered can still be written
			return b.write(ctx)
		case <-settle.C: // nothing new, and nothing wrong
			if b.count == 0 {
				p.recovered(stream, b.upTo.Seq, 0)
				if err := b.passErased(ctx); err != nil {
					return err
				}
			}
			settle.Reset(p.opts.Rescan)
		case <-timer.C:
			if err := b.write(ctx); err != nil {
				return err
			}
		case entries := <-in:
			if b.count == 0 {
				timer.Reset(p.opts.Every)
			}
			more := true
			for more {
				for _, e := range entries {
					if err := b.add(ctx, e); err != nil {
						return err
					}
				}
				select {
				case entries = <-in:
				default:
					more = false
				}
			}
			if len(b.entries) > 0 {
				if err := b.write(ctx); err != nil {
					return err
				}
			}
			if b.count == 0 {
				timer.Stop()
			}
		}
	}
}

// batch is what will be one transaction.
type batch struct {
	p       *Projector
	stream  string
	start   store.Position // where the store stood when following began
	upTo    store.Position
	count   int           // entries gathered
	entries []event.Entry // of those, the ones that change something
	damaged []event.Entry // of those, the ones that can't be trusted
}

func (b *batch) add(ctx context.Context, e event.Entry) error {
	if e.Seq <= b.upTo.Seq {
		if e.Seq != b.start.Seq {
			return nil
		}
		if !e.Damaged && b.start.Sum != 0 && e.Sum != b.start.Sum {
			return &stateError{Foreign, fault.New(fault.Unavailable,
				"entry %d of %s in the log is not the one that the store has: the log was cut and written again, or is another one. "+
					"Put the right log back, or accept this one: move the store's file away and run `parley store rebuild`", e.Seq, b.stream)}
		}
		if b.count == 0 {
			b.p.recovered(b.stream, b.start.Seq, 0)
		}
		return nil
	}
	b.upTo = store.Position{Seq: e.Seq, Sum: e.Sum}
	b.count++
	switch {
	case e.Damaged:
		b.damaged = append(b.damaged, e)
	case stores(e.Event.Kind):
		b.entries = append(b.entries, e)
	}
	if b.count >= b.p.opts.Batch {
		return b.write(ctx)
	}
	return nil
}

// passErased moves the position over entries at the end of the stream that were
// erased before they came here, so that nobody waits for them.
func (b *batch) passErased(ctx context.Context) error {
	log, ok := b.p.opts.Log.(Ender)
	if !ok {
		return nil
	}
	last, err := b.p.opts.Log.Last(ctx, b.stream)
	if err != nil || last <= b.upTo.Seq {
		return err
	}
	nothing, err := log.Nothing(ctx, b.stream, b.upTo.Seq)
	if err != nil || !nothing {
		return err
	}
	b.upTo = store.Position{Seq: last} // what stood there, and its checksum, nobody knows
	b.count++
	return b.write(ctx)
}

// write writes the batch and tries until it is done or ctx ends: nothing is
// ever left out because the store could not take it.
func (b *batch) write(ctx context.Context) error {
	if b.count == 0 {
		return nil
	}
	for failures := 0; ; {
		ghosts, err := apply(ctx, b.p.opts.Store, b.stream, b.upTo, b.entries)
		if err == nil {
			b.p.recovered(b.stream, b.upTo.Seq, ghosts)
			for _, e := range b.damaged { // now, so that each is reported once
				b.p.damaged(b.stream, e)
			}
			b.count, b.entries, b.damaged = 0, b.entries[:0], b.damaged[:0]
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failures++
		b.p.fail(b.stream, err)
		if pause.For(ctx, b.p.backoff(failures)) != nil {
			return ctx.Err()
		}
	}
}

// apply folds entries and writes them in one transaction. If an earlier try
// was written although it reported an error, the store is past upTo and leaves
// this one out.
func apply(ctx context.Context, s store.Store, stream string, upTo store.Position, entries []event.Entry) (ghosts int, err error) {
	f := newFold(s)
	for _, e := range entries {
		if err := f.add(ctx, e); err != nil {
			return 0, err
		}
	}
	return f.ghosts, s.Apply(ctx, stream, upTo, f.changes)
}

// damaged reports an entry that can't be trusted and is left out.
func (p *Projector) damaged(stream string, e event.Entry) {
	p.lg.Error("damaged entry of the log left out of the history", "stream", stream, "seq", e.Seq, "conversation", e.Conversation)
	p.change(stream, func(s *Status) { s.Damaged++ })
	if p.opts.OnDamage != nil {
		p.opts.OnDamage(stream, e)
	}
}

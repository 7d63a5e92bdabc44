package project

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

// Progress of a rebuild.
type Progress struct {
	Stream  string
	Seq     uint64 // done up to here
	Last    uint64 // of Last
	Entries int    // of all streams so far
	Damaged int    // of all streams so far, left out
	Ghosts  int    // of all streams so far, left out because their conversation is not in the log (any more)
	Missing uint64 // sequences at the ends of streams that the log counts but does not hold: erased (an Ender told so)
}

const (
	rebuildBatch = 1024
	// When nothing came for rebuildQuiet, the end is looked at; after
	// rebuildPatience without an entry the rebuild gives up.
	rebuildQuiet    = time.Second
	rebuildPatience = 10 * time.Second
)

// errEnd ends following when the end is reached, errQuiet when nothing comes.
var (
	errEnd   = errors.New("end of stream")
	errQuiet = errors.New("nothing comes")
)

// Rebuild writes into an empty store what the log holds up to now. progress,
// if not nil, is called after every batch. The returned Progress is the last.
// Conflict means that the store is not empty.
func Rebuild(ctx context.Context, log Log, into store.Store, progress func(Progress)) (Progress, error) {
	streams, err := log.Streams(ctx)
	if err != nil {
		return Progress{}, fmt.Errorf("list streams: %w", err)
	}
	if err := into.Dump(ctx, func(string) error { return errEnd }); errors.Is(err, errEnd) {
		return Progress{}, fault.New(fault.Conflict, "the store is not empty; a rebuild begins with a new one")
	} else if err != nil {
		return Progress{}, err
	}
	r := &rebuild{log: log, into: into, report: progress}
	for _, name := range streams {
		if err := r.stream(ctx, name); err != nil {
			return r.Progress, err
		}
	}
	return r.Progress, nil
}

type rebuild struct {
	Progress
	log    Log
	into   store.Store
	report func(Progress)

	at      store.Position // read up to here
	entries []event.Entry  // read and not written
}

func (r *rebuild) stream(ctx context.Context, name string) error {
	last, err := r.log.Last(ctx, name)
	if err != nil {
		return fmt.Errorf("read end of %s: %w", name, err)
	}
	r.Stream, r.Seq, r.Last, r.at = name, 0, last, store.Position{}
	if last == 0 {
		return nil
	}
	for waited := time.Duration(0); ; waited += rebuildQuiet {
		before := r.at
		err := r.follow(ctx)
		switch {
		case errors.Is(err, errEnd):
			return nil
		case !errors.Is(err, errQuiet):
			return err
		case r.at != before:
			waited = 0
		}
		if log, ok := r.log.(Ender); ok {
			nothing, err := log.Nothing(ctx, name, r.at.Seq)
			if err != nil {
				return fmt.Errorf("look at the end of %s: %w", name, err)
			}
			if nothing {
				r.Missing += last - r.at.Seq
				r.at = store.Position{Seq: last}
				return r.write(ctx)
			}
		}
		if waited >= rebuildPatience {
			return fault.New(fault.Unavailable, "the log says that %s goes on to entry %d, but nothing comes after %d: entries at its end are missing, or it hangs", name, last, r.at.Seq)
		}
	}
}

// follow reads on from where the rebuild is. It returns errEnd at the end of
// the stream and errQuiet when nothing comes.
func (r *rebuild) follow(ctx context.Context) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(rebuildQuiet, func() { cancel(errQuiet) })
	defer quiet.Stop()
	err := r.log.Follow(reading, r.Stream, r.at.Seq, func(batch []event.Entry) error {
		quiet.Stop() // writing may take its time
		defer quiet.Reset(rebuildQuiet)
		for _, e := range batch {
			if e.Seq <= r.Last {
				r.add(e)
			}
			if e.Seq >= r.Last || len(r.entries) >= rebuildBatch {
				if err := r.write(ctx); err != nil {
					return err
				}
			}
			if e.Seq >= r.Last {
				return errEnd
			}
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && reading.Err() == nil: // of the log or of write
		return err
	case errors.Is(err, errEnd):
		return errEnd
	case reading.Err() != nil:
		return errQuiet
	}
	return fault.New(fault.Unavailable, "the log stopped telling what it holds at entry %d of %d of %s", r.at.Seq, r.Last, r.Stream)
}

func (r *rebuild) add(e event.Entry) {
	r.at = store.Position{Seq: e.Seq, Sum: e.Sum}
	r.Entries++
	if e.Damaged {
		r.Damaged++
	} else if stores(e.Event.Kind) {
		r.entries = append(r.entries, e)
	}
}

func (r *rebuild) write(ctx context.Context) error {
	ghosts, err := apply(ctx, r.into, r.Stream, r.at, r.entries)
	if err != nil {
		return err
	}
	r.entries = r.entries[:0]
	r.Seq, r.Ghosts = r.at.Seq, r.Ghosts+ghosts
	if r.report != nil {
		r.report(r.Progress)
	}
	return nil
}

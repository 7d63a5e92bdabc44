package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Forget erases all entries of a conversation but one, and its files: their bytes are
// overwritten on the disk, not only unlinked. The entry to keep is the one that
// says it was deleted (it holds no text), so that every reader learns of it.
func (l *Log) Forget(ctx context.Context, conversation string, keep uint64) error {
	stream, err := l.js.Stream(ctx, l.StreamOf(conversation))
	if err != nil {
		return readFault(err)
	}
	var seqs []uint64
	if err := l.Read(ctx, conversation, 0, func(e event.Entry) error {
		if e.Seq != keep {
			seqs = append(seqs, e.Seq)
		}
		return nil
	}); err != nil {
		return err
	}
	if l.cluster != nil {
		err = erase(ctx, stream, conversation, seqs)
	} else {
		err = l.twin(l.StreamOf(conversation)).Forget(strings.TrimSuffix(subject(conversation, ""), "."), func() error {
			return erase(ctx, stream, conversation, seqs)
		})
	}
	if err != nil {
		return err
	}
	if err := l.erased(ctx, conversation, keep); err != nil {
		return err
	}
	return l.forgetFiles(ctx, conversation)
}

// erased asks the leader whether anything but one entry is left. An erasure
// that the server refused, because it was losing its leader, can't be told from
// one of what was gone already.
func (l *Log) erased(ctx context.Context, conversation string, keep uint64) error {
	for _, from := range []uint64{1, keep + 1} {
		seq, err := l.first(ctx, l.StreamOf(conversation), subject(conversation, ">"), from)
		if err != nil {
			return readFault(err)
		}
		if seq != 0 && seq != keep {
			return fault.New(fault.Unavailable, "entry %d of the deleted conversation %s is still there; it is erased at the next try", seq, conversation)
		}
	}
	return nil
}

// erase overwrites entries, many side by side: each of them waits for a flush,
// and in a cluster for that of a majority.
func erase(ctx context.Context, stream jetstream.Stream, conversation string, seqs []uint64) error {
	const abreast = 32
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	next := make(chan uint64)
	var all sync.WaitGroup
	for range min(abreast, len(seqs)) {
		all.Go(func() {
			for seq := range next {
				err := stream.SecureDeleteMsg(ctx, seq)
				if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
					fail(fmt.Errorf("erase entry %d of %s: %w", seq, conversation, err))
				}
			}
		})
	}
	for _, seq := range seqs {
		select {
		case next <- seq:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	return context.Cause(ctx)
}

package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
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
	for _, seq := range seqs {
		if err := stream.SecureDeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return fmt.Errorf("erase entry %d of %s: %w", seq, conversation, err)
		}
	}
	return l.forgetFiles(ctx, conversation)
}

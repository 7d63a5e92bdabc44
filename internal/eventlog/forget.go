package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Forget erases all entries of a conversation but one: their bytes are
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
	return nil
}

// Get reads a small value that all nodes share, or NotFound.
func (l *Log) Get(ctx context.Context, key string) ([]byte, error) {
	if err := l.member(); err != nil {
		return nil, err
	}
	if l.cluster != nil {
		return l.getFresh(ctx, key)
	}
	e, err := l.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, fault.New(fault.NotFound, "no value %q", key)
	}
	if err != nil {
		return nil, readFault(err)
	}
	return e.Value(), nil
}

// getFresh asks the leader: the replica at hand may not know of a value yet
// which this node was just told is there. While there is no leader it waits a
// little for one.
func (l *Log) getFresh(ctx context.Context, key string) ([]byte, error) {
	for late := time.Now().Add(2 * leaderTime); ; {
		var got struct {
			Message struct {
				Data []byte `json:"data"`
			} `json:"message"`
		}
		try, cancel := context.WithTimeout(ctx, leaderTime)
		err := l.ask(try, "$JS.API.STREAM.MSG.GET.KV_"+kvBucket, map[string]any{"last_by_subj": "$KV." + kvBucket + "." + key}, &got)
		cancel()
		var refused *apiError
		switch {
		case err == nil:
			return got.Message.Data, nil
		case errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
			return nil, fault.New(fault.NotFound, "no value %q", key)
		case time.Now().After(late):
			return nil, readFault(err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// Create writes a value unless there is one: then Conflict.
func (l *Log) Create(ctx context.Context, key string, value []byte) error {
	if err := l.member(); err != nil {
		return err
	}
	_, err := l.kv.Create(ctx, key, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return fault.New(fault.Conflict, "%q is there already", key)
	}
	if err != nil {
		return appendFault(err)
	}
	return nil
}

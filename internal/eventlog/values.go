package eventlog

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Get reads a value that all nodes share, or NotFound.
func (l *Log) Get(ctx context.Context, key string) ([]byte, error) {
	value, _, err := l.Load(ctx, key)
	return value, err
}

// Load is Get with the value's revision, for Replace.
func (l *Log) Load(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	if err := l.member(); err != nil {
		return nil, 0, err
	}
	if l.cluster != nil {
		return l.loadFresh(ctx, key)
	}
	e, err := l.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, noValue(key)
	}
	if err != nil {
		return nil, 0, readFault(err)
	}
	return e.Value(), e.Revision(), nil
}

func noValue(key string) error { return fault.New(fault.NotFound, "no value %q", key) }

// loadFresh asks the leader: the replica at hand may not know of a value yet
// which this node was just told is there. While there is no leader it waits a
// little for one.
func (l *Log) loadFresh(ctx context.Context, key string) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*leaderTime)
	defer cancel()
	var got struct {
		Message struct {
			Seq  uint64 `json:"seq"`
			Hdr  []byte `json:"hdrs"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err := l.askLeader(ctx, messageOf, "KV_"+kvBucket, map[string]any{"last_by_subj": "$KV." + kvBucket + "." + key}, &got)
	var refused *apiError
	switch {
	case err == nil && removed(got.Message.Hdr), errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
		return nil, 0, noValue(key)
	case err != nil:
		return nil, 0, readFault(err)
	}
	return got.Message.Data, got.Message.Seq, nil
}

// removed reports whether a value's headers say that there is none any more.
func removed(headers []byte) bool {
	if len(headers) == 0 {
		return false
	}
	h, err := nats.DecodeHeadersMsg(headers)
	return err == nil && h.Get("KV-Operation") != ""
}

// Create writes a value unless there is one: then Conflict, and Load has it.
func (l *Log) Create(ctx context.Context, key string, value []byte) error {
	return l.write(ctx, key, 0, func() error {
		_, err := l.kv.Create(ctx, key, value)
		return err
	})
}

// Replace writes a value if the one there has this revision: else Conflict, and
// Load has another one.
func (l *Log) Replace(ctx context.Context, key string, value []byte, revision uint64) error {
	return l.write(ctx, key, revision, func() error {
		_, err := l.kv.Update(ctx, key, value, revision)
		return err
	})
}

// Remove removes a value. One that is not there is no error.
func (l *Log) Remove(ctx context.Context, key string) error {
	return l.write(ctx, key, 0, func() error { return l.kv.Purge(ctx, key) })
}

// List returns the keys that begin with below and a dot.
func (l *Log) List(ctx context.Context, below string) ([]string, error) {
	if err := l.member(); err != nil {
		return nil, err
	}
	lister, err := l.kv.ListKeysFiltered(ctx, below+".>")
	if err != nil {
		return nil, readFault(err)
	}
	defer func() { _ = lister.Stop() }()
	var out []string
	for key := range lister.Keys() {
		out = append(out, key)
	}
	return out, ctx.Err()
}

func (l *Log) write(ctx context.Context, key string, revision uint64, do func() error) error {
	if err := l.member(); err != nil {
		return err
	}
	if err := l.disk.check(); err != nil {
		return err
	}
	err := do()
	if err == nil {
		if l.cluster == nil { // a value in the place of another may leave nothing of a block
			err = l.twin("KV_" + kvBucket).Refresh()
		}
		return err
	}
	known := appendFault(err)
	if errors.Is(err, jetstream.ErrKeyExists) || fault.Is(known, fault.Conflict) {
		if l.cluster != nil {
			l.settled(ctx, key, revision)
		}
		return fault.Wrap(err, fault.Conflict, "%q was written by somebody else", key)
	}
	return known
}

// settled waits until a value is another one than that of a revision. A leader
// refuses a write because of another one that it has not finished: who reads
// then would still see what was there before both.
func (l *Log) settled(ctx context.Context, key string, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	for {
		if _, now, err := l.Load(ctx, key); err == nil && now != revision || fault.Is(err, fault.NotFound) && revision != 0 {
			return
		}
		if pause.For(ctx, 10*time.Millisecond) != nil {
			return // that one was lost: who asks anew may be the first
		}
	}
}

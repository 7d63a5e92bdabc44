package eventlog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const hdrOperation = "KV-Operation" // of the mark that a value was removed

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
	if l.cluster == nil { // what is there once is never behind, and ten times as fast to read
		e, err := l.kv.Get(ctx, key)
		switch {
		case err == nil:
			return e.Value(), e.Revision(), nil
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return nil, 0, readFault(err)
		}
	}
	return l.load(ctx, key)
}

// load asks the leader: the replica at hand may not know of a value yet which
// this node was just told is there. While there is no leader it waits a little
// for one. That there is no value is believed only of one that rules.
func (l *Log) load(ctx context.Context, key string) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*leaderTime)
	defer cancel()
	for {
		var got struct {
			Message struct {
				Seq  uint64 `json:"seq"`
				Hdr  []byte `json:"hdrs"`
				Data []byte `json:"data"`
			} `json:"message"`
		}
		err := l.askLeader(ctx, messageOf, kvStream, map[string]any{"last_by_subj": kvSubjects + key}, &got)
		var refused *apiError
		switch {
		case err == nil && removed(got.Message.Hdr): // by somebody who was killed before the mark was taken away
			if err := l.takeAway(ctx, key, got.Message.Seq); err != nil {
				return nil, 0, appendFault(err)
			}
		case err == nil:
			return got.Message.Data, got.Message.Seq, nil
		case errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
			if there, err := l.keys(ctx, key); err != nil || len(there) == 0 {
				return nil, 0, cmp.Or(err, noValue(key))
			}
		default:
			return nil, 0, readFault(err)
		}
	}
}

func noValue(key string) error { return fault.New(fault.NotFound, "no value %q", key) }

// removed reports whether a value's headers say that there is none any more.
func removed(headers []byte) bool {
	if len(headers) == 0 {
		return false
	}
	h, err := nats.DecodeHeadersMsg(headers)
	return err == nil && h.Get(hdrOperation) != ""
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

// Remove removes a value. One that is not there is no error. A mark in the
// place of the value has its turn among the writes; it is gone at the end.
func (l *Log) Remove(ctx context.Context, key string) error {
	return l.write(ctx, key, 0, func() error {
		mark := nats.NewMsg(kvSubjects + key)
		mark.Header.Set(hdrOperation, "PURGE")
		mark.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		ack, err := l.js.PublishMsg(ctx, mark)
		if err != nil {
			return err
		}
		return l.takeAway(ctx, key, ack.Sequence)
	})
}

// takeAway takes away the mark of a value that was removed, and nothing that
// was written behind it.
func (l *Log) takeAway(ctx context.Context, key string, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*leaderTime)
	defer cancel()
	return l.askLeader(ctx, purgeOf, kvStream, map[string]any{"filter": kvSubjects + key, "seq": seq + 1}, nil)
}

// List returns the keys that begin with below and a dot, sorted. It asks the
// leader, as Load does: all are there that were written before. One that is being
// removed may be among them.
func (l *Log) List(ctx context.Context, below string) ([]string, error) {
	if err := l.member(); err != nil {
		return nil, err
	}
	return l.keys(ctx, below+".>")
}

// keys returns those that match a filter.
func (l *Log) keys(ctx context.Context, filter string) (out []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*leaderTime)
	defer cancel()
	for {
		var page streamInfo
		err := l.again(ctx, kvStream, func(try context.Context) error {
			page = streamInfo{}
			if err := l.ask(try, infoOf+kvStream, map[string]any{"subjects_filter": kvSubjects + filter, "offset": len(out)}, &page); err != nil {
				return err
			}
			if !l.rules(&page) {
				return errNoLeader
			}
			return nil
		})
		if err != nil {
			return nil, readFault(err)
		}
		for subject := range page.State.Subjects {
			out = append(out, strings.TrimPrefix(subject, kvSubjects))
		}
		if len(page.State.Subjects) == 0 || len(out) >= page.Total {
			slices.Sort(out)
			return out, nil
		}
	}
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
			err = l.twin(kvStream).Refresh()
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

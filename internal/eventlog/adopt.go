package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// AloneDir is what the directory of a log that shall be adopted is called.
const AloneDir = "log.alone"

// Adopt takes the log of a node that was alone into the cluster: the directory
// is what was its log's. Every entry keeps its place, time and bytes, so
// positions that clients know stay what they are. The conversations' home is no
// region of the cluster, or this node's own if nothing has begun there yet.
//
// It may be cut off anywhere and begun again: a stream is either whole or made
// anew. A stream of that home that holds anything else is Conflict.
func (l *Log) Adopt(ctx context.Context, dir string) error {
	if err := l.member(); err != nil {
		return err
	}
	old, err := openAlone(ctx, dir, l.opts)
	if err != nil {
		return fmt.Errorf("adopt %s: %w", dir, err)
	}
	defer func() { _ = old.Close() }()
	if err := l.adoptStream(ctx, old); err != nil {
		return fmt.Errorf("adopt %s: %w", dir, err)
	}
	if err := l.adoptFiles(ctx, old); err != nil {
		return fmt.Errorf("adopt the files in %s: %w", dir, err)
	}
	if err := l.adoptValues(ctx, old); err != nil {
		return fmt.Errorf("adopt the values in %s: %w", dir, err)
	}
	return nil
}

// openAlone opens the log of a node that was alone, under its own region.
func openAlone(ctx context.Context, dir string, like Options) (*Log, error) {
	b, err := os.ReadFile(filepath.Join(dir, "streams"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no log in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	var home string
	if _, err := fmt.Sscanf(string(b), streamPrefix+"%s", &home); err != nil || homeIn(streamPrefix+home) == "" {
		return nil, fault.New(fault.Invalid, "%s is not the log of a node that was alone", dir)
	}
	return Open(ctx, Options{Dir: dir, Region: homeIn(streamPrefix + home), Reserve: like.Reserve, Logger: like.Logger})
}

// streamPart is the part of the server's description of a stream that tells
// whether two are the same.
type streamPart struct {
	State json.RawMessage `json:"state"`
	Seqs  struct {
		Msgs  uint64 `json:"messages"`
		First uint64 `json:"first_seq"`
		Last  uint64 `json:"last_seq"`
	} `json:"-"`
}

func (l *Log) partOf(ctx context.Context, stream string) (p streamPart, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if err := l.ask(ctx, infoOf+stream, nil, &p); err != nil {
		return p, err
	}
	return p, json.Unmarshal(p.State, &p.Seqs)
}

func (l *Log) adoptStream(ctx context.Context, old *Log) error {
	name, home := old.Home(), old.Region()
	theirs, err := old.partOf(ctx, name)
	if err != nil {
		return readFault(err)
	}
	ours, err := l.partOf(ctx, name)
	var refused *apiError
	switch {
	case errors.As(err, &refused) && refused.Code == 404:
	case err != nil:
		return readFault(err)
	case ours.Seqs == theirs.Seqs:
		return nil // it was cut off behind this
	case ours.Seqs.Last == 0:
		if err := l.js.DeleteStream(ctx, name); err != nil {
			return readFault(err)
		}
	default:
		return fault.New(fault.Conflict, "the cluster already has conversations of region %s, which are others than these", home)
	}
	if err := l.restore(ctx, old, name, home, theirs); err != nil {
		return err
	}
	if ours, err = l.partOf(ctx, name); err != nil || ours.Seqs != theirs.Seqs {
		return fmt.Errorf("%s has %+v after its move, and had %+v: %w", name, ours.Seqs, theirs.Seqs, err)
	}
	l.noteFormer([]string{name})
	return l.ensureHomes(ctx)
}

const (
	moveChunk = 256 << 10
	moveTime  = time.Minute // for one step of a move
)

// restore streams a snapshot of a stream from one server to the other.
func (l *Log) restore(ctx context.Context, old *Log, name, home string, state streamPart) error {
	inbox := old.nc.NewInbox()
	in := make(chan *nats.Msg, 64)
	sub, err := old.nc.ChanSubscribe(inbox, in)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	step, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	if err := old.ask(step, "$JS.API.STREAM.SNAPSHOT."+name, map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": moveChunk}, nil); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	var to struct {
		Deliver string `json:"deliver_subject"`
	}
	if err := l.ask(step, "$JS.API.STREAM.RESTORE."+name, map[string]any{"config": l.cluster.stream(home, 0), "state": state.State}, &to); err != nil {
		return fmt.Errorf("make room for %s: %w", name, err)
	}
	for {
		late := time.NewTimer(moveTime)
		var m *nats.Msg
		select {
		case m = <-in:
		case <-late.C:
			return fault.New(fault.Timeout, "reading %s took too long", name)
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		}
		late.Stop()
		if status := m.Header.Get("Status"); len(m.Data) == 0 && status != "" && status != "204" {
			return fmt.Errorf("read %s: %s %s", name, status, m.Header.Get("Description"))
		}
		step, cancel := context.WithTimeout(ctx, moveTime)
		answer, err := l.nc.RequestWithContext(step, to.Deliver, m.Data)
		for errors.Is(err, nats.ErrNoResponders) && pause.For(step, askPause) == nil { // word of who takes it is not here yet
			answer, err = l.nc.RequestWithContext(step, to.Deliver, m.Data)
		}
		cancel()
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if len(m.Data) == 0 { // the end: the answer tells what became of it
			var out struct {
				Error *apiError `json:"error"`
			}
			if err := json.Unmarshal(answer.Data, &out); err != nil {
				return fmt.Errorf("decode answer: %w", err)
			}
			if out.Error != nil {
				return fmt.Errorf("write %s: %w", name, out.Error)
			}
			return nil
		}
		if m.Reply == "" { // the last piece
			continue
		}
		if err := old.nc.Publish(m.Reply, nil); err != nil {
			return err
		}
	}
}

// adoptFiles copies what people sent along.
func (l *Log) adoptFiles(ctx context.Context, old *Log) error {
	stream, err := old.js.Stream(ctx, fileStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return readFault(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("file.>"))
	if err != nil {
		return readFault(err)
	}
	for _, ends := range []bool{false, true} { // a file is there when its end is
		for subject := range info.State.Subjects {
			if (filepath.Ext(subject) == ".end") != ends {
				continue
			}
			part, err := old.part(ctx, subject)
			if err != nil {
				return err
			}
			if err := l.putPart(ctx, subject, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptValues copies values that the cluster has none of.
func (l *Log) adoptValues(ctx context.Context, old *Log) error {
	keys, err := old.keys(ctx, ">")
	if err != nil {
		return err
	}
	for _, key := range keys {
		value, err := old.Get(ctx, key)
		if fault.Is(err, fault.NotFound) { // it was about to be removed
			continue
		}
		if err != nil {
			return err
		}
		if err := l.Create(ctx, key, value); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return nil
}

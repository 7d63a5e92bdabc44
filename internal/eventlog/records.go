package eventlog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Records are small results that come one by one and are read together, such as
// those of a batch's lines. They live in the stream of the files, each under a
// subject of its own, which is the fence: of two writers the first one's stays.
const (
	recordBytes = 4 << 20 // of those that are read at once
	recordBatch = 512
)

var recordName = regexp.MustCompile(`^[0-9]{1,16}$`)

// MostRecord is how many bytes a record may have.
const MostRecord = maxPayload - 4096

// PutRecord keeps a record on all nodes until DropRecords erases its set. If
// there is one with that name, it stays as it is and this one is nothing.
func (l *Log) PutRecord(ctx context.Context, space, set, name string, content []byte) error {
	switch {
	case !event.ValidConversation(space) || !fileID.MatchString(set) || !recordName.MatchString(name):
		return fault.New(fault.Invalid, "%q can't be the name of a record", name)
	case len(content) > MostRecord:
		return fault.New(fault.TooLarge, "a record of %d bytes does not fit into the log (limit %d)", len(content), MostRecord)
	}
	if err := l.member(); err != nil {
		return err
	}
	if err := l.disk.room(len(content)); err != nil {
		return err
	}
	return l.putPart(ctx, fileSubject(space, set, name), content)
}

// Records calls each with the records of a set, in the order in which they were
// stored, up to what was there when the call began at least.
func (l *Log) Records(ctx context.Context, space, set string, each func(name string, content []byte) error) error {
	if !event.ValidConversation(space) || !fileID.MatchString(set) {
		return nil
	}
	if err := l.member(); err != nil {
		return err
	}
	filter := fileSubject(space, set, "*")
	upto, _, err := l.leads(ctx, fileStream, filter)
	if err != nil {
		return err
	}
	late := time.Now().Add(catchUpTime)
	for after := uint64(0); ; {
		last, batch, err := l.someRecords(ctx, filter, after+1)
		switch {
		case err != nil && (!errors.Is(err, errNoReplica) || time.Now().After(late)):
			return err
		case len(batch) > 0:
			for _, m := range batch {
				if err := each(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Data); err != nil {
					return err
				}
			}
			after, late = last, time.Now().Add(catchUpTime)
			continue
		case err == nil && after >= upto:
			return nil
		case time.Now().After(late):
			return fault.New(fault.Unavailable, "this region's copy of the log is behind; try again").After(time.Second)
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// someRecords reads as many records as are held in memory at once: whoever they
// are for may be slow.
func (l *Log) someRecords(ctx context.Context, filter string, from uint64) (last uint64, batch []*nats.Msg, err error) {
	ask := map[string]any{"seq": from, "next_by_subj": filter, "batch": recordBatch, "max_bytes": recordBytes}
	err = l.readRaw(ctx, fileStream, ask, func(m *nats.Msg) error {
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return fmt.Errorf("read record: sequence: %w", err)
		}
		m.Subject = m.Header.Get("Nats-Subject")
		last, batch = seq, append(batch, m)
		return nil
	})
	return last, batch, err
}

// DropRecords erases records of a set; their bytes are overwritten. What is not
// there is no error.
func (l *Log) DropRecords(ctx context.Context, space, set string, names []string) error {
	if !event.ValidConversation(space) || !fileID.MatchString(set) || len(names) == 0 {
		return nil
	}
	if err := l.member(); err != nil {
		return err
	}
	those := make(map[string]bool, len(names))
	for _, name := range names {
		those[fileSubject(space, set, name)] = true
	}
	return l.eraseFiles(ctx, fileSubject(space, set, "*"), func(subject string) bool { return those[subject] })
}

package eventlog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Headers of an entry.
const (
	hdrSum  = "P-Sum"
	hdrPrev = "P-Prev"
)

func shardOf(conversation string) int {
	if shards == 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(conversation))
	return int(h.Sum32() % shards)
}

// StreamOf returns the name of the stream that holds a conversation.
func (l *Log) StreamOf(conversation string) string {
	return streamName(event.HomeOf(conversation), shardOf(conversation))
}

func subject(conversation string, class event.Class) string {
	return fmt.Sprintf("conv.%s.%d.%s.%s", event.HomeOf(conversation), shardOf(conversation), conversation, class)
}

// parseSubject is the inverse of subject.
func parseSubject(s string) (conversation string, class event.Class, err error) {
	part := strings.Split(s, ".")
	if len(part) != 5 || part[0] != "conv" {
		return "", "", fmt.Errorf("subject %q is not of a conversation", s)
	}
	return part[3], event.Class(part[4]), nil
}

// sum binds an entry to its predecessor, its place and its bytes. It finds
// damage, not forgery.
func sum(prev uint64, subject string, payload []byte) uint64 {
	h := sha256.New()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], prev)
	h.Write(b[:])
	h.Write([]byte(subject))
	h.Write([]byte{0})
	h.Write(payload)
	var out [sha256.Size]byte
	return binary.BigEndian.Uint64(h.Sum(out[:0]))
}

func (l *Log) message(a event.Append) (*nats.Msg, uint64, error) {
	if !event.ValidConversation(a.Conversation) {
		return nil, 0, fault.New(fault.NotFound, "there is no conversation %q", a.Conversation)
	}
	data, err := event.Encode(a.Event)
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxPayload-4096 {
		return nil, 0, fault.New(fault.TooLarge, "an entry of %d bytes does not fit into the log (limit %d)", len(data), maxPayload-4096)
	}
	if a.Event.Kind != event.KindDeleted { // deleting makes room
		if err := l.disk.room(len(data)); err != nil {
			return nil, 0, err
		}
	}
	subj := subject(a.Conversation, event.ClassOf(a.Event.Kind))
	s := sum(a.Prev, subj, data)
	m := nats.NewMsg(subj)
	m.Data = data
	m.Header[hdrSum] = []string{strconv.FormatUint(s, 16)}
	m.Header[hdrPrev] = []string{strconv.FormatUint(a.Prev, 16)}
	if a.Expect != nil {
		m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(*a.Expect, 10)}
		if a.ExpectClass != "" {
			m.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{subject(a.Conversation, a.ExpectClass)}
		}
	}
	return m, s, nil
}

// Append writes an event and returns when it is durable. Conflict means a
// guard did not hold; Unavailable and Timeout mean that it is not known
// whether the entry was stored, or still will be: read before writing it again,
// and then under a guard, unless readers take only one of two.
func (l *Log) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	_, wait, err := l.AppendAsync(a)
	if err != nil {
		return event.Receipt{}, err
	}
	r, err := wait(ctx)
	if err != nil {
		return event.Receipt{}, appendFault(err)
	}
	return r, nil
}

// AppendAsync sends an event without waiting; wait returns when it is durable
// or after the log's own time limit. Appends of one goroutine are stored in the
// order of the calls. Sum is returned at once so that the next entry can be
// chained to it.
func (l *Log) AppendAsync(a event.Append) (sum uint64, wait func(context.Context) (event.Receipt, error), err error) {
	m, s, err := l.message(a)
	if err != nil {
		return 0, nil, err
	}
	p := &pending{msg: m, sum: s, done: make(chan outcome, 1), guarded: a.Expect != nil}
	c, err := l.committer(l.StreamOf(a.Conversation))
	if err != nil {
		return 0, nil, err
	}
	if err := c.add(p); err != nil {
		return 0, nil, err
	}
	return s, p.wait, nil
}

// appender sends the appends of one stream.
type appender interface {
	add(*pending) error
	run()
	close() // ends run and what waits
}

// committer returns the stream's appender; the first append starts it.
func (l *Log) committer(stream string) (appender, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.committers[stream]; c != nil {
		return c, nil
	}
	if l.closed {
		return nil, errClosed
	}
	var c appender = newCommitter(l, stream)
	if l.cluster != nil {
		var err error
		if c, err = newReplicator(l, stream); err != nil {
			return nil, err
		}
	}
	l.committers[stream] = c
	l.done.Go(c.run)
	return c, nil
}

func appendFault(err error) error {
	var (
		api   *jetstream.APIError
		known *fault.Error
	)
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164):
		return fault.Wrap(err, fault.Conflict, "somebody else wrote to this conversation at the same moment")
	case errors.As(err, &api):
		return fault.Wrap(err, fault.Unavailable, "the log refused to store this; try again")
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrTimeout):
		return fault.Wrap(err, fault.Timeout, "the log did not answer in time; try again")
	}
	return fault.Wrap(err, fault.Unavailable, "the log can't be written at the moment; try again")
}

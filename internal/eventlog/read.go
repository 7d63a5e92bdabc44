package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

const readBatch = 512 // entries of one read request

// Streams lists the streams of the log, oldest region first.
func (l *Log) Streams(context.Context) ([]string, error) {
	if l.cluster == nil {
		return l.knownStreams()
	}
	var out []string
	for s := range l.streams() {
		out = append(out, s.name)
	}
	return out, nil
}

// Home returns the stream of conversations that begin here.
func (l *Log) Home() string { return streamName(l.opts.Region, 0) }

// Last returns the stream's last sequence.
func (l *Log) Last(ctx context.Context, stream string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if l.cluster != nil {
		return l.lastFresh(ctx, stream)
	}
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return 0, readFault(err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// LastOf returns the newest entry of a class of a conversation as the stream's
// leader knows it, whatever has come here; 0 = there is none. Without a leader
// it fails.
func (l *Log) LastOf(ctx context.Context, conversation string, class event.Class) (uint64, error) {
	if !event.ValidConversation(conversation) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	seq, _, err := l.newest(ctx, l.StreamOf(conversation), subject(conversation, class))
	if err != nil {
		return 0, readFault(err)
	}
	return seq, nil
}

// Nothing reports whether a stream holds no entry after the given sequence,
// though sequences may have been given out there: entries can be erased.
func (l *Log) Nothing(ctx context.Context, stream string, after uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if _, err := l.js.Stream(ctx, stream); err != nil {
		return false, readFault(err)
	}
	first, err := l.first(ctx, stream, ">", after+1)
	if err != nil {
		return false, readFault(err)
	}
	return first == 0, nil
}

// first asks the leader, as a replica may not know of it yet, for the first
// entry under a filter from a sequence on; 0 = there is none.
func (l *Log) first(ctx context.Context, stream, filter string, from uint64) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	var got struct {
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	err = l.ask(ctx, messageOf+stream, map[string]any{"seq": from, "next_by_subj": filter}, &got)
	var refused *apiError
	if errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound) {
		return 0, nil
	}
	return got.Message.Seq, err
}

// Read calls each with a conversation's entries after the given sequence, in
// order, up to what was there when the last of them was read.
func (l *Log) Read(ctx context.Context, conversation string, after uint64, each func(event.Entry) error) error {
	if !event.ValidConversation(conversation) {
		return nil
	}
	if l.cluster != nil {
		return l.readFresh(ctx, conversation, after, each)
	}
	filter := subject(conversation, ">")
	for {
		last, n, err := l.readSome(ctx, l.StreamOf(conversation), filter, after+1, each)
		if err != nil || n < readBatch {
			return err
		}
		after = last
	}
}

// readSome asks for one batch and waits for its end mark. It stops with the
// batch, so a short batch is the end of what is there.
func (l *Log) readSome(ctx context.Context, stream, filter string, from uint64, each func(event.Entry) error) (last uint64, n int, err error) {
	ask := map[string]any{"seq": from, "next_by_subj": filter, "batch": readBatch}
	err = l.readRaw(ctx, stream, ask, func(m *nats.Msg) error {
		e, err := l.stored(m)
		if err != nil {
			return err
		}
		if err := each(e); err != nil {
			return err
		}
		last, n = e.Seq, n+1
		return nil
	})
	return last, n, err
}

// readRaw is readSome for streams of any kind.
func (l *Log) readRaw(ctx context.Context, stream string, ask map[string]any, each func(*nats.Msg) error) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return readFault(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	req, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("encode read request: %w", err)
	}
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, req); err != nil {
		return readFault(err)
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return errNoReplica
		}
		if err != nil {
			return readFault(err)
		}
		switch m.Header.Get("Status") {
		case "":
		case "204", "404": // end of batch, nothing (more) there
			return nil
		default:
			return fault.New(fault.Unavailable, "the log can't be read at the moment (%s); try again", m.Header.Get("Description"))
		}
		if len(m.Header.Get("Nats-Sequence")) == 0 {
			return fault.New(fault.Unavailable, "the log can't be read at the moment; try again")
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// stored makes an Entry of a message in which the server says where it stands.
func (l *Log) stored(m *nats.Msg) (event.Entry, error) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return event.Entry{}, fmt.Errorf("read entry: sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return event.Entry{}, fmt.Errorf("read entry %d: time: %w", seq, err)
	}
	return l.entry(m.Header.Get("Nats-Subject"), seq, at, m.Header, m.Data)
}

// entry makes an Entry and verifies its checksum. Damage is marked and logged,
// never hidden.
func (l *Log) entry(subj string, seq uint64, at time.Time, h nats.Header, data []byte) (event.Entry, error) {
	conversation, _, err := parseSubject(subj)
	if err != nil {
		return event.Entry{}, err
	}
	e := event.Entry{Conversation: conversation, Seq: seq, Time: at}
	e.Sum, err = strconv.ParseUint(h.Get(hdrSum), 16, 64)
	prev, err2 := strconv.ParseUint(h.Get(hdrPrev), 16, 64)
	e.Prev = prev
	ev, err3 := event.Decode(data)
	if err := errors.Join(err, err2, err3); err != nil || sum(prev, subj, data) != e.Sum {
		e.Damaged = true
		l.lg.Error("damaged entry in the log: its checksum does not match", "conversation", conversation, "seq", seq, "err", err)
		return e, nil
	}
	e.Event = ev
	return e, nil
}

// Follow calls each with batches of a stream's entries after the given
// sequence, in order: what is there first, then what comes, until ctx ends
// (nil is returned) or each returns an error (which is returned).
func (l *Log) Follow(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error {
	if l.cluster != nil {
		return l.tail(ctx, stream, after, each)
	}
	consumer, err := l.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return readFault(err)
	}
	in := make(chan jetstream.Msg, 1024)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case in <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessages(1024), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		l.lg.Debug("log reader", "stream", stream, "err", err)
	}))
	if err != nil {
		return readFault(err)
	}
	defer consuming.Stop()
	closed := consuming.Closed() // each call starts a goroutine
	batch := make([]event.Entry, 0, 256)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
			return fault.New(fault.Unavailable, "the log's reader was closed")
		case m := <-in:
			batch = batch[:0]
			for more := true; more; {
				e, err := l.received(m)
				if err != nil {
					return err
				}
				batch = append(batch, e)
				if len(batch) == cap(batch) {
					break
				}
				select {
				case m = <-in:
				default:
					more = false
				}
			}
			if err := l.safe(ctx, stream, batch[len(batch)-1].Seq); err != nil {
				return readFault(err)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err := each(batch); err != nil {
				return err
			}
		}
	}
}

func (l *Log) received(m jetstream.Msg) (event.Entry, error) {
	meta, err := m.Metadata()
	if err != nil {
		return event.Entry{}, fmt.Errorf("read entry: %w", err)
	}
	return l.entry(m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), m.Data())
}

func readFault(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fault.Wrap(err, fault.NotFound, "that stream is not in the log")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fault.Wrap(err, fault.Timeout, "the log did not answer in time; try again")
	}
	return fault.Wrap(err, fault.Unavailable, "the log can't be read at the moment; try again")
}

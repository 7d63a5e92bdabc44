package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// committer sends the appends of one stream, in the order they came. A stream
// on one node flushes the disk for every entry, so a few go out side by side
// and each is flushed; when more are waiting they go out as one atomic batch,
// which is flushed once. A batch costs about ten flushes (measured: from 16
// entries on it is quicker, at 64 eight times, at 256 twenty times).
type committer struct {
	l      *Log
	name   string // of the stream
	in     chan *pending
	landed chan int      // places that became free
	stop   chan struct{} // closed by Close
}

const (
	window     = 8       // entries on their way side by side
	batchFrom  = 24      // waiting entries that are worth a batch
	batchMost  = 256     // entries of a batch
	batchBytes = 2 << 20 // bytes of a batch
)

// pending is an append on its way.
type pending struct {
	msg  *nats.Msg
	sum  uint64
	done chan outcome  // holds one
	stop chan struct{} // the committer's: nothing lands any more

	// For replicated streams.
	guarded bool // brings its own guard
	since   time.Time
	token   string // of the first try
}

type outcome struct {
	seq uint64
	err error
}

func (p *pending) wait(ctx context.Context) (event.Receipt, error) {
	select {
	case o := <-p.done:
		p.done <- o // for whoever asks again
		return event.Receipt{Seq: o.seq, Sum: p.sum}, o.err
	case <-ctx.Done():
		return event.Receipt{}, ctx.Err()
	case <-p.stop:
		return event.Receipt{}, errClosed
	}
}

func newCommitter(l *Log, stream string) *committer {
	return &committer{l: l, name: stream, in: make(chan *pending, 1024), landed: make(chan int, window+1), stop: make(chan struct{})}
}

func (c *committer) close() { close(c.stop) }

// add queues an append, or refuses it when the log is closed.
func (c *committer) add(p *pending) error {
	select {
	case <-c.stop:
		return errClosed
	default:
	}
	p.stop = c.stop
	select {
	case c.in <- p:
		return nil
	case <-c.stop:
		return errClosed
	}
}

var errClosed = fault.New(fault.Unavailable, "the log is closed")

func (c *committer) run() {
	var queue []*pending
	flying := 0 // places taken of window; a batch takes all
	for {
		for more := true; more && len(queue) < 4*batchMost; {
			select {
			case p := <-c.in:
				queue = append(queue, p)
			default:
				more = false
			}
		}
		switch {
		case len(queue) >= batchFrom && flying == 0:
			n := c.fit(queue)
			flying = window
			go c.batch(queue[:n:n])
			queue = queue[n:]
			continue
		case len(queue) > 0 && len(queue) < batchFrom && flying < window:
			flying++
			c.single(queue[0])
			queue = queue[1:]
			continue
		}
		select {
		case p := <-c.in:
			queue = append(queue, p)
		case n := <-c.landed:
			flying -= n
		case <-c.stop:
			return
		}
	}
}

// fit returns how many of the queue make one batch.
func (c *committer) fit(queue []*pending) int {
	size := 0
	for i, p := range queue {
		if size += len(p.msg.Data) + 512; i == batchMost || (size > batchBytes && i > 0) {
			return i
		}
	}
	return len(queue)
}

func (c *committer) single(p *pending) {
	future, err := c.l.js.PublishMsgAsync(p.msg)
	if err != nil {
		p.done <- outcome{err: appendFault(err)}
		c.landed <- 1
		return
	}
	go func() {
		select {
		case ack := <-future.Ok():
			c.l.double(c.name, ack.Sequence)
			p.done <- outcome{seq: ack.Sequence}
		case err := <-future.Err():
			p.done <- outcome{err: appendFault(err)}
		}
		c.landed <- 1
	}()
}

// batch stores all of ps or none. If one of them is refused, each gets its own
// try, so that a guard that does not hold harms only its own entry.
func (c *committer) batch(ps []*pending) {
	defer func() { c.landed <- window }()
	last, err := c.send(ps)
	var refused *jetstream.APIError
	switch {
	case err == nil:
		c.l.double(c.name, last)
		for i, p := range ps {
			p.done <- outcome{seq: last - uint64(len(ps)-1-i)}
		}
	case errors.As(err, &refused):
		for _, p := range ps {
			c.alone(p)
		}
	default:
		for _, p := range ps {
			p.done <- outcome{err: appendFault(err)}
		}
	}
}

func (c *committer) alone(p *pending) {
	for _, h := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
		delete(p.msg.Header, h)
	}
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	ack, err := c.l.js.PublishMsg(ctx, p.msg)
	if err != nil {
		p.done <- outcome{err: appendFault(err)}
		return
	}
	c.l.double(c.name, ack.Sequence)
	p.done <- outcome{seq: ack.Sequence}
}

// send publishes the batch and returns the sequence of its last entry; those
// of the others run up to it without a gap.
func (c *committer) send(ps []*pending) (last uint64, err error) {
	id := nuid.Next()
	for i, p := range ps {
		p.msg.Header["Nats-Batch-Id"] = []string{id}
		p.msg.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i < len(ps)-1 {
			if err := c.l.nc.PublishMsg(p.msg); err != nil {
				return 0, err
			}
			continue
		}
		p.msg.Header["Nats-Batch-Commit"] = []string{"1"}
		reply, err := c.l.nc.RequestMsg(p.msg, ioTimeout)
		if err != nil {
			return 0, err
		}
		var ack struct {
			Seq   uint64              `json:"seq"`
			Count int                 `json:"count"`
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil {
			return 0, err
		}
		if ack.Error != nil {
			return 0, ack.Error
		}
		if ack.Count != len(ps) || ack.Seq < uint64(len(ps)) {
			return 0, errors.New("the log acknowledged another batch than the one it was sent")
		}
		last = ack.Seq
	}
	return last, nil
}

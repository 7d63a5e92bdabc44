package chat

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// checkpoints writes an answer into the log in batches: the first piece at
// once, then what came in a checkpoint's time. Several are in flight; they are
// stored in order, and readers drop whatever would leave a gap. When the log is
// slower than that, fewer and larger batches go out instead of a growing queue.
type checkpoints struct {
	a      *attempt
	cancel context.CancelCauseFunc // ends the generation when the log fails

	mu      sync.Mutex // guards everything below
	whole   []byte     // the answer so far, the part of earlier attempts included
	begun   int        // len(whole) at the start
	count   int        // code points that were sent
	ids     int        // token ids that were sent
	noIDs   bool       // ids of an earlier part are unknown: send none
	text    []byte     // not sent yet
	tokens  []int32    // not sent yet
	sum     uint64     // of the last entry sent
	last    time.Time  // of the last sending
	timer   *time.Timer
	flying  int   // sent and not durable yet
	due     bool  // text waits for one of them to land
	err     error // of the first failed append
	closed  bool
	flights sync.WaitGroup
}

func newCheckpoints(a *attempt, cancel context.CancelCauseFunc) *checkpoints {
	return &checkpoints{
		a: a, cancel: cancel, whole: []byte(a.v.text), begun: len(a.v.text), count: a.v.runes,
		ids: len(a.v.tokens), noIDs: a.v.noIDs && a.v.runes > 0, sum: a.sum,
	}
}

// lead sends what the script says before the engine.
func (c *checkpoints) lead(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = append(c.whole, text...)
	c.begun = len(c.whole)
	c.text = append(c.text, text...)
	c.send(true)
}

// add takes the next piece of the answer.
func (c *checkpoints) add(chunk lm.Chunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	chunk.Text = strings.ToValidUTF8(chunk.Text, "\uFFFD") // a driver's slip must not become a damaged entry
	if most := c.a.s.opts.MaxAnswer; len(c.whole)+len(chunk.Text) > most {
		return fault.New(fault.TooLarge, "the engine's answer grew over %d bytes and was stopped", most)
	}
	c.whole = append(c.whole, chunk.Text...)
	c.text = append(c.text, chunk.Text...)
	if !c.noIDs {
		c.tokens = append(c.tokens, chunk.Tokens...)
	}
	every := c.a.s.opts.Checkpoint
	since := time.Since(c.last)
	switch {
	case len(c.text) == 0: // ids of text that can't be shown yet go with the next
	case since >= every:
		c.sendOrWait()
	case c.timer == nil:
		c.timer = time.AfterFunc(every-since, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.timer = nil
			c.sendOrWait()
		})
	}
	return nil
}

// mostFlying covers a round trip to another region of a few checkpoints' time,
// and no more: what a leader was given while it was cut off is taken back one by
// one when it returns (docs/operate/regions.md).
const mostFlying = 4

// sendOrWait appends what is waiting, or leaves it for the next landing. mu is
// held.
func (c *checkpoints) sendOrWait() {
	switch {
	case c.closed || len(c.text) == 0:
	case c.flying >= mostFlying:
		c.due = true
	default:
		c.send(false)
	}
}

// send appends what is waiting: what the script says, or what the engine gave.
// mu is held.
func (c *checkpoints) send(lead bool) {
	if c.err != nil {
		return
	}
	began := time.Now()
	text := string(c.text)
	d := &event.Delta{Turn: c.a.id, Attempt: c.a.v.attempt, Offset: c.count, Text: text, At: c.ids, Tokens: c.tokens, Lead: lead}
	if c.a.model.Varies && !lead {
		d.Model = c.a.model.ID
	}
	sum, wait, err := c.a.s.opts.Log.AppendAsync(event.Append{
		Conversation: c.a.l.id, Prev: c.sum,
		Event: event.Event{Kind: event.KindDelta, Delta: d},
	})
	if err != nil {
		c.fail(err)
		return
	}
	c.count += utf8.RuneCountInString(text)
	c.ids += len(c.tokens)
	c.text, c.tokens, c.sum, c.last = c.text[:0], nil, sum, began
	c.flying++
	c.due = false
	c.flights.Go(func() {
		_, err := wait(context.Background()) // has its own limit
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flying--
		if err != nil {
			c.fail(err)
			return
		}
		c.a.s.opts.Observer.Durable(time.Since(began))
		if c.due {
			c.sendOrWait()
		}
	})
}

// fail remembers the first error and ends the generation. mu is held.
func (c *checkpoints) fail(err error) {
	if c.err == nil {
		c.err = err
		c.cancel(fmt.Errorf("%w: %w", errLog, err))
	}
}

// finish waits for what is in flight. What was not sent yet goes with the end
// of the turn, or with flush is sent now: the next attempt continues from it.
func (c *checkpoints) finish(flush bool) (text string, grew bool, err error) {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if flush && (len(c.text) > 0 || len(c.tokens) > 0) {
		c.send(false)
	}
	c.mu.Unlock()
	c.flights.Wait() // every append has its own time limit
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.whole), len(c.whole) > c.begun, c.err
}

// so returns the whole answer so far and the checksum to chain its end to.
func (c *checkpoints) so() (text string, sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.whole), c.sum
}

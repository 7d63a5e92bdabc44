package worker

import (
	"io"
	"sync"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Out is the way to the parent, for many goroutines. A write error is kept
// and comes back from flush.
type Out struct {
	mu  sync.Mutex
	w   *wire.Writer
	err error
	one [1]int32
}

// NewOut returns an Out over w.
func NewOut(w io.Writer) *Out { return &Out{w: wire.NewWriter(w, wire.MaxToParent)} }

func (o *Out) keep(err error) {
	if o.err == nil {
		o.err = err
	}
}

// send sends a frame at once.
func (o *Out) send(kind wire.Kind, v any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(o.w.Send(kind, v))
	o.keep(o.w.Flush())
	return o.err
}

// tokens adds a Chunk of one token.
func (o *Out) tokens(id uint64, token int32, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.one[0] = token
	o.keep(o.w.Chunk(id, o.one[:], text))
}

// chunk adds a Chunk, if it says anything.
func (o *Out) chunk(id uint64, tokens []int32, text string) {
	if len(tokens) == 0 && text == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(o.w.Chunk(id, tokens, text))
}

// done adds a Done.
func (o *Out) done(d wire.Done) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.w.Send(wire.KindDone, d); err != nil {
		// Vectors over the frame's limit: the answer is an error instead.
		o.keep(o.w.Send(wire.KindDone, wire.Done{
			ID: d.ID, Code: fault.TooLarge, Message: "the result is too large; ask for fewer inputs at once",
		}))
	}
}

// fail sends a Done with an error's code and message at once.
func (o *Out) fail(id uint64, err error, u lm.Usage) {
	o.done(wire.Done{ID: id, Code: fault.CodeOf(err), Message: fault.MessageOf(err), Usage: u})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(o.w.Flush())
}

func (o *Out) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(o.w.Flush())
	return o.err
}

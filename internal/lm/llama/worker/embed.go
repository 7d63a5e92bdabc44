package worker

import (
	"math"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// embed is a list of inputs whose vectors are being made, one a turn of the
// loop.
type embed struct {
	inputs [][]int32
	out    [][]float32
	usage  lm.Usage
	ticket *Ticket
}

// Embed hands inputs to the loop; a Done follows in any case.
func (w *Worker) Embed(t *Ticket, req wire.Embed) {
	if w.o.Embedder == nil {
		w.refuse(t, fault.New(fault.Unsupported, "this model makes no embeddings"), lm.Usage{})
		return
	}
	e := &embed{ticket: t}
	for i, in := range req.Inputs {
		tokens := w.o.Model.Tokenize(in, true, false)
		if len(tokens) == 0 {
			w.refuse(t, fault.New(fault.Invalid, "input %d is empty", i+1), lm.Usage{})
			return
		}
		e.inputs = append(e.inputs, tokens)
		e.usage.Prompt += len(tokens)
	}
	w.mu.Lock()
	w.embeds = append(w.embeds, e)
	w.queued.Add(1)
	w.mu.Unlock()
	w.poke()
}

// embedOne makes the next vector.
func (w *Worker) embedOne() (bool, error) {
	if len(w.vectors) == 0 {
		return false, nil
	}
	e := w.vectors[0]
	err := w.embedNext(e)
	if err == nil && len(e.out) < len(e.inputs) {
		return true, nil
	}
	w.vectors[0] = nil
	w.vectors = w.vectors[1:]
	w.queued.Add(-1)
	if err != nil {
		w.refuse(e.ticket, err, lm.Usage{})
	} else {
		w.answer(e.ticket, wire.Done{Usage: e.usage, Vectors: e.out})
	}
	return true, nil
}

func (w *Worker) embedNext(e *embed) error {
	if e.ticket.canceled.Load() {
		return errCanceled()
	}
	if w.embedder == nil {
		made, err := w.o.Embedder()
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the engine has no room for embeddings")
		}
		w.embedder = made
	}
	if len(e.out) == len(e.inputs) {
		return nil
	}
	in := e.inputs[len(e.out)]
	if n := w.embedder.Window(); len(in) > n {
		return fault.New(fault.TooLarge, "input %d takes %d tokens; the limit is %d", len(e.out)+1, len(in), n)
	}
	v, err := w.embedder.Embed(in)
	w.steps.Add(1)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the model gave no vector")
	}
	e.out = append(e.out, normalized(v))
	return nil
}

// normalized copies v, scaled to length one.
func normalized(v []float32) []float32 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	scale := 1.0
	if sum > 0 {
		scale = 1 / math.Sqrt(sum)
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(float64(x) * scale)
	}
	return out
}

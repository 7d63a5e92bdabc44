// Package worker is the engine's child process: it holds the model and
// computes many answers at once. What may live here: prompts, slots, batching
// and the life of an answer; what calls the library sits behind Model,
// Decoder and Embedder.
//
// One goroutine, the loop, owns the model's cache. Between two decodes it
// takes in new requests and drops cancelled ones. Prompts are computed in
// chunks, each alone in its batch and cut at multiples of the chunk's length,
// and only whole chunks that were computed so are used again for a later
// prompt: what a prompt leaves in the cache is therefore the same, bit for
// bit, in every process and whatever was cached. That is what makes exact
// continuation exact.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/sample"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Model is what the worker needs of a vocabulary. Its methods are called from
// many goroutines.
type Model interface {
	Tokens() int
	Tokenize(text string, special, parse bool) []int32
	Piece(token int32) []byte
	IsEnd(token int32) bool
	// Render applies the chat template; lib.ErrTemplate if there is none.
	Render(messages []lib.Message) (string, error)
	NewGrammar(gbnf string) (Grammar, error)
}

// Grammar is a sampling grammar that moves on with the answer.
type Grammar interface {
	sample.Grammar
	Accept(token int32)
	Close()
}

// Token is one place of a batch.
type Token struct {
	ID     int32
	Pos    int
	Seq    int
	Output bool
}

// Decoder computes batches. Only the loop calls it, except Abort.
type Decoder interface {
	Decode(batch []Token) error
	Logits(i int) []float32
	Cut(seq, from int) bool
	Window() int
	Abort(on bool)
	SetThreads(n int)
}

// Embedder makes vectors. Only the loop calls it.
type Embedder interface {
	Embed(tokens []int32) ([]float32, error)
	Window() int
}

// Options of a worker.
type Options struct {
	Model   Model
	Decoder Decoder
	// Embedder is asked for when the first embedding is. Nil: Unsupported.
	Embedder func() (Embedder, error)
	Slots    int // answers at once
	Chunk    int // tokens of a prompt computed at a time
	// Stall is how long prompts are computed between two tokens of a running
	// answer, a last chunk on top. Long: a decode of eight answers costs little
	// more than one of a single answer, so that those which come together
	// should run together. Zero: one chunk.
	Stall time.Duration
	// Loose lets any cached token be used again, also those computed one by
	// one: quicker next turns, but a cut answer may go on differently.
	Loose bool
	// Reuse is false for models whose cache can't be cut back.
	Reuse bool
	// Threads is the most that decodes use. Load, if set, tells the system's
	// load, by which fewer are used.
	Threads int
	Load    func() (Load, bool)
	// Seed for answers without one.
	Seed func() uint64
	Out  *Out
	Log  *slog.Logger
}

// Worker runs the loop.
type Worker struct {
	o Options

	mu     sync.Mutex
	inbox  []*job             // guarded by mu
	embeds []*embed           // guarded by mu
	asked  map[uint64]*Ticket // guarded by mu
	wake   chan struct{}

	abortMu   sync.Mutex
	computing *job // guarded by abortMu: the only job of the decode under way

	steps, tokens  atomic.Uint64
	active, queued atomic.Int64

	// The loop's own.
	slots    []*slot
	waiting  []*job
	vectors  []*embed
	embedder Embedder
	batch    []Token
	tick     uint64
	governor *governor
}

// Ticket is one request's, from its frame to its Done.
type Ticket struct {
	id       uint64
	canceled atomic.Bool
}

// New makes a worker; Run runs it.
func New(o Options) (*Worker, error) {
	if o.Model == nil || o.Decoder == nil || o.Out == nil || o.Seed == nil || o.Log == nil {
		return nil, errors.New("worker: an option is missing")
	}
	if o.Slots < 1 || o.Chunk < 1 {
		return nil, fmt.Errorf("worker: %d slots, chunks of %d", o.Slots, o.Chunk)
	}
	w := &Worker{o: o, asked: map[uint64]*Ticket{}, wake: make(chan struct{}, 1), governor: newGovernor(o.Threads, o.Load)}
	for i := range o.Slots {
		w.slots = append(w.slots, &slot{seq: i})
	}
	return w, nil
}

// Stats is what a Pong says.
func (w *Worker) Stats() wire.Pong {
	return wire.Pong{
		Steps: w.steps.Load(), Tokens: w.tokens.Load(),
		Active: int(w.active.Load()), Queued: int(w.queued.Load()),
	}
}

// Ask registers a request, so that it can be cancelled from now on. Exactly
// one of Generate, Embed or Count must follow with the ticket.
func (w *Worker) Ask(id uint64) *Ticket {
	t := &Ticket{id: id}
	w.mu.Lock()
	w.asked[id] = t
	w.mu.Unlock()
	return t
}

// Cancel ends what id asked for, if it still runs.
func (w *Worker) Cancel(id uint64) {
	w.mu.Lock()
	t := w.asked[id]
	w.mu.Unlock()
	if t == nil {
		return
	}
	t.canceled.Store(true)
	w.abortMu.Lock()
	if w.computing != nil && w.computing.ticket == t {
		w.o.Decoder.Abort(true)
	}
	w.abortMu.Unlock()
	w.poke()
}

func (w *Worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Generate prepares an answer and hands it to the loop; a Done follows in any
// case.
func (w *Worker) Generate(t *Ticket, req wire.Generate) {
	j, err := w.prepare(req)
	if err != nil {
		w.refuse(t, err, lm.Usage{})
		return
	}
	j.ticket, j.id = t, t.id
	w.mu.Lock()
	w.inbox = append(w.inbox, j)
	w.queued.Add(1)
	w.mu.Unlock()
	w.poke()
}

// Run computes until ctx ends or the library fails: then what the process
// holds is worth nothing any more, and it should end.
func (w *Worker) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, w.poke)
	defer stop()
	for ctx.Err() == nil {
		busy, err := w.turn()
		if err != nil {
			return err
		}
		if err := w.o.Out.flush(); err != nil {
			return fmt.Errorf("write to parent: %w", err)
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		}
	}
	return nil
}

// turn is one round: intake, some of the prompts, one token of every running
// answer, one vector. It says whether there is more to do at once.
func (w *Worker) turn() (bool, error) {
	w.intake()
	w.dropCanceled()
	w.admit()
	busy, err := w.prompts()
	if err != nil {
		return false, err
	}
	stepped, err := w.step()
	if err != nil {
		return false, err
	}
	embedded, err := w.embedOne()
	if err != nil {
		return false, err
	}
	busy = busy || stepped || embedded
	if !busy {
		return w.settle()
	}
	return true, nil
}

func (w *Worker) intake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, w.inbox...)
	w.vectors = append(w.vectors, w.embeds...)
	w.inbox, w.embeds = nil, nil
}

func (w *Worker) dropCanceled() {
	keep := w.waiting[:0]
	for _, j := range w.waiting {
		if j.ticket.canceled.Load() {
			w.queued.Add(-1)
			w.refuse(j.ticket, errCanceled(), j.usage())
			j.close()
			continue
		}
		keep = append(keep, j)
	}
	clear(w.waiting[len(keep):])
	w.waiting = keep
	for _, s := range w.slots {
		if s.job != nil && s.job.ticket.canceled.Load() {
			w.finish(s.job, "", errCanceled())
		}
	}
}

func errCanceled() error { return fault.New(fault.Canceled, "the answer was cancelled") }

// admit gives idle slots to waiting jobs, first come first served.
func (w *Worker) admit() {
	for len(w.waiting) > 0 {
		j := w.waiting[0]
		s := choose(w.slots, j)
		if s == nil {
			return
		}
		w.waiting[0] = nil
		w.waiting = w.waiting[1:]
		w.queued.Add(-1)
		w.active.Add(1)
		w.tick++
		s.start(j, w)
	}
}

// prompts computes chunks of prompts and says whether there were any.
func (w *Worker) prompts() (bool, error) {
	busy := false
	for begin := time.Now(); !busy || time.Since(begin) < w.o.Stall; busy = true {
		j := w.nextPrefill()
		if j == nil {
			break
		}
		if err := w.prefill(j); err != nil {
			return false, err
		}
		if err := w.o.Out.flush(); err != nil {
			return false, fmt.Errorf("write to parent: %w", err)
		}
	}
	return busy, nil
}

// nextPrefill returns the job whose prompt gets the next chunk: the one that
// has got fewest so far, so that a long prompt does not hold up short ones.
func (w *Worker) nextPrefill() *job {
	var next *job
	for _, s := range w.slots {
		if s.job != nil && s.job.feeding() && (next == nil || s.job.chunks < next.chunks) {
			next = s.job
		}
	}
	return next
}

// prefill computes the next chunk of a prompt, alone in its batch.
func (w *Worker) prefill(j *job) error {
	s := j.slot
	from := len(s.toks)
	to := min((from/w.o.Chunk+1)*w.o.Chunk, len(j.feed))
	last := to == len(j.feed)
	j.chunks++
	err := w.decodeChunk(s, j.feed[from:to], last, j)
	switch {
	case errors.Is(err, lib.ErrAborted):
		w.finish(j, "", errCanceled())
		return nil
	case err != nil:
		return err
	case !last:
		return nil
	}
	j.feed = nil
	if j.at == len(j.answer) {
		w.advance(j, w.o.Decoder.Logits(to-from-1))
	}
	return nil
}

// decodeChunk appends tokens to a slot's cache. only, if set, may be aborted.
func (w *Worker) decodeChunk(s *slot, tokens []int32, output bool, only *job) error {
	from := len(s.toks)
	w.batch = w.batch[:0]
	for i, t := range tokens {
		w.batch = append(w.batch, Token{t, from + i, s.seq, output && i == len(tokens)-1})
	}
	if err := w.compute(only); err != nil {
		w.o.Decoder.Cut(s.seq, from)
		return err
	}
	s.toks = append(s.toks, tokens...)
	if from == s.canon && from%w.o.Chunk == 0 && len(tokens) == w.o.Chunk {
		s.canon += w.o.Chunk
	}
	return nil
}

// compute decodes w.batch. only is the one job that it is for, if it is one.
func (w *Worker) compute(only *job) error {
	if only != nil {
		w.abortMu.Lock()
		if only.ticket.canceled.Load() {
			w.abortMu.Unlock()
			return lib.ErrAborted
		}
		w.computing = only
		w.abortMu.Unlock()
	}
	if n, changed := w.governor.threads(time.Now()); changed {
		w.o.Decoder.SetThreads(n)
		w.o.Log.Info("threads", "now", n, "most", w.o.Threads)
	}
	err := w.o.Decoder.Decode(w.batch)
	if only != nil {
		w.abortMu.Lock()
		w.computing = nil
		w.o.Decoder.Abort(false)
		w.abortMu.Unlock()
	}
	w.steps.Add(1)
	w.tokens.Add(uint64(len(w.batch)))
	return err
}

// step computes one token of every answer that is past its prompt.
func (w *Worker) step() (bool, error) {
	w.batch = w.batch[:0]
	var only *job
	for _, s := range w.slots {
		if s.job == nil || s.job.feeding() {
			continue
		}
		only = s.job
		w.batch = append(w.batch, Token{s.job.answer[s.job.at], len(s.toks), s.seq, true})
	}
	switch len(w.batch) {
	case 0:
		return false, nil
	case 1:
	default:
		only = nil
	}
	err := w.compute(only)
	if errors.Is(err, lib.ErrAborted) {
		w.o.Decoder.Cut(only.slot.seq, len(only.slot.toks))
		w.finish(only, "", errCanceled())
		return true, nil
	}
	if err != nil {
		return false, err
	}
	i := 0
	for _, s := range w.slots {
		if s.job == nil || s.job.feeding() {
			continue
		}
		j := s.job
		s.toks = append(s.toks, j.answer[j.at])
		j.at++
		if j.at == len(j.answer) {
			w.advance(j, w.o.Decoder.Logits(i))
		}
		i++
	}
	return true, nil
}

// advance samples the answer's next token and sends it on.
func (w *Worker) advance(j *job, logits []float32) {
	if logits == nil || math.IsNaN(float64(logits[0])) {
		w.finish(j, "", fault.New(fault.Internal, "the model gave no scores"))
		return
	}
	var g sample.Grammar
	if j.grammar != nil {
		g = j.grammar
	}
	token, err := j.sampler.Pick(logits, j.draw+len(j.answer), g)
	if err != nil {
		w.finish(j, "", fault.Wrap(err, fault.Invalid, "the grammar leaves the answer nowhere to go"))
		return
	}
	if w.o.Model.IsEnd(token) {
		w.o.Out.chunk(j.id, nil, j.show(j.filter.Flush()))
		w.finish(j, lm.FinishStop, nil)
		return
	}
	j.answer = append(j.answer, token)
	j.sampler.Accept(token)
	if j.grammar != nil {
		j.grammar.Accept(token)
	}
	shown, stopped := j.filter.Push(w.o.Model.Piece(token))
	shown = j.show(shown)
	var finish lm.Finish
	switch {
	case stopped:
		finish = lm.FinishStop
	case j.full(w.o.Decoder.Window()):
		finish = lm.FinishLength
		shown += j.show(j.filter.Flush())
	}
	w.o.Out.tokens(j.id, token, shown)
	if finish != "" {
		w.finish(j, finish, nil)
	}
}

// finish ends a job that has a slot.
func (w *Worker) finish(j *job, f lm.Finish, err error) {
	j.slot.end(w)
	w.active.Add(-1)
	if err != nil {
		w.refuse(j.ticket, err, j.usage())
	} else {
		w.answer(j.ticket, wire.Done{Finish: f, Usage: j.usage()})
	}
	j.close()
}

// refuse ends a request with an error.
func (w *Worker) refuse(t *Ticket, err error, u lm.Usage) {
	w.forget(t)
	w.o.Out.fail(t.id, err, u)
}

// answer ends a request well. It reaches the parent with the next flush.
func (w *Worker) answer(t *Ticket, d wire.Done) {
	w.forget(t)
	d.ID = t.id
	w.o.Out.done(d)
}

func (w *Worker) forget(t *Ticket) {
	w.mu.Lock()
	delete(w.asked, t.id)
	w.mu.Unlock()
}

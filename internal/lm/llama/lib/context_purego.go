//go:build (linux && (amd64 || arm64)) || (darwin && (amd64 || arm64))

package lib

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Context holds the cache of several sequences and decodes batches. It
// belongs to one goroutine, except Abort.
type Context struct {
	l       *Library
	ctx     uintptr
	memory  uintptr
	window  int
	vocab   int
	width   int
	threads int            // of pool
	pool    uintptr        // 0: none
	abort   *atomic.Uint32 // in the library's memory, read by strlen
	logitsF uintptr
}

// NewContext makes a context. Every sequence has cells of its own, in which a
// token's place is its position: what one sequence computes does not depend
// on what lies in another.
func (m *Model) NewContext(o ContextParams) (*Context, error) {
	p := m.l.contextDefaults().p
	p.ctx, p.seqMax = uint32(o.Tokens), uint32(max(1, o.Sequences))
	if o.Batch > 0 {
		p.batch, p.ubatch = uint32(o.Batch), uint32(o.Batch)
	}
	p.outputs = uint32(o.Outputs)
	if o.Threads > 0 {
		p.threads, p.threadsBatch = int32(o.Threads), int32(o.Threads)
	}
	if o.Embeddings {
		p.embeddings, p.pooling = true, 1
	}
	if o.NoFlash {
		p.flashAttn = 0
	}
	h := m.l.newContext(m.model, p)
	if h == 0 {
		return nil, fmt.Errorf("the library can't make a context of %d tokens (memory?)", o.Tokens)
	}
	c := &Context{
		l: m.l, ctx: h, memory: m.l.call("llama_get_memory", h),
		window: int(uint32(m.l.call("llama_n_ctx_seq", h))),
		vocab:  m.tokens, width: m.Width(),
		logitsF: m.l.sym["llama_get_logits_ith"],
	}
	if err := c.installAbort(); err != nil {
		c.Close()
		return nil, err
	}
	if o.Pool {
		c.threads, c.pool = o.Threads, m.l.pool(o.Threads)
		c.SetThreads(o.Threads)
	}
	return c, nil
}

// installAbort gives the library strlen as its abort callback and a string of
// ours to measure: empty means go on. It is asked between any two operations
// of a graph, where a callback into Go would be felt.
func (c *Context) installAbort() error {
	find := func(name string) (uintptr, error) { return purego.Dlsym(purego.RTLD_DEFAULT, name) }
	strlen, err := find("strlen")
	if err != nil {
		return fmt.Errorf("find strlen: %w", err)
	}
	calloc, err := find("calloc")
	if err != nil {
		return fmt.Errorf("find calloc: %w", err)
	}
	mem, _, _ := purego.SyscallN(calloc, 1, 8)
	if mem == 0 {
		return errors.New("no memory for the abort flag")
	}
	c.abort = (*atomic.Uint32)(pointer(mem))
	c.l.call("llama_set_abort_callback", c.ctx, strlen, mem)
	return nil
}

// Abort makes the running Decode return ErrAborted soon, and every later one
// until on is false. It may be called from any goroutine.
func (c *Context) Abort(on bool) {
	if on {
		c.abort.Store('x') // little endian: the string "x"
		return
	}
	c.abort.Store(0)
}

// SetThreads changes how many threads the next decodes use. A pool is used by
// all of its threads or not at all: those without work would spin.
func (c *Context) SetThreads(n int) {
	c.l.call("llama_set_n_threads", c.ctx, uintptr(n), uintptr(n))
	switch {
	case c.pool == 0:
	case n == c.threads:
		c.l.call("llama_attach_threadpool", c.ctx, c.pool, 0)
	default:
		c.l.call("llama_detach_threadpool", c.ctx)
	}
}

// Window is how many tokens one sequence can hold.
func (c *Context) Window() int { return c.window }

// Close frees the context.
func (c *Context) Close() { c.l.call("llama_free", c.ctx) }

// Cut forgets the sequence's tokens from position from on.
func (c *Context) Cut(seq, from int) bool {
	return c.l.call("llama_memory_seq_rm", c.memory, uintptr(seq), uintptr(from), ^uintptr(0))&0xff != 0
}

// Len is the number of tokens in the sequence's cache, counted by position.
func (c *Context) Len(seq int) int {
	return int(int32(c.l.call("llama_memory_seq_pos_max", c.memory, uintptr(seq)))) + 1
}

// Decode computes a batch. On an error other than ErrAborted the cache of the
// batch's sequences is undefined from their first position in it on; after
// ErrAborted it is to be cut there too.
func (c *Context) Decode(b *Batch) error {
	switch rc := c.l.decode(c.ctx, b.c); rc {
	case 0:
		return nil
	case 2:
		return ErrAborted
	case 1:
		return errors.New("decode: no room in the cache")
	default:
		return fmt.Errorf("decode: the library says %d", rc)
	}
}

// Logits are the scores after the batch's i-th token, in the library's
// memory: valid until the next Decode.
func (c *Context) Logits(i int) []float32 {
	r, _, _ := purego.SyscallN(c.logitsF, c.ctx, uintptr(i))
	if r == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(pointer(r)), c.vocab)
}

// Embedding is the pooled vector of a sequence of the last batch, in the
// library's memory: valid until the next Decode.
func (c *Context) Embedding(seq int) []float32 {
	r := c.l.call("llama_get_embeddings_seq", c.ctx, uintptr(seq))
	if r == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(pointer(r)), c.width)
}

// Batch is a list of tokens for Decode, made once and used again.
type Batch struct {
	c      cBatch
	token  []int32
	pos    []int32
	nSeq   []int32
	seq    []*int32
	logits []int8
}

// NewBatch makes room for n tokens, in the library's memory for good.
func (l *Library) NewBatch(n int) *Batch {
	c := l.batchInit(int32(n), 0, 1)
	b := &Batch{
		c:      c,
		token:  unsafe.Slice((*int32)(pointer(c.token)), n),
		pos:    unsafe.Slice((*int32)(pointer(c.pos)), n),
		nSeq:   unsafe.Slice((*int32)(pointer(c.nSeq)), n),
		seq:    unsafe.Slice((**int32)(pointer(c.seq)), n),
		logits: unsafe.Slice((*int8)(pointer(c.logits)), n),
	}
	b.Reset()
	return b
}

// Reset empties the batch.
func (b *Batch) Reset() { b.c.n = 0 }

// Len is how many tokens are in it.
func (b *Batch) Len() int { return int(b.c.n) }

// Add appends a token at a position of a sequence; output asks for its
// logits. It returns the token's index, for Logits.
func (b *Batch) Add(token int32, pos, seq int, output bool) int {
	i := int(b.c.n)
	b.token[i], b.pos[i], b.nSeq[i], b.logits[i] = token, int32(pos), 1, 0
	*b.seq[i] = int32(seq)
	if output {
		b.logits[i] = 1
	}
	b.c.n++
	return i
}

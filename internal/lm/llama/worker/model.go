package worker

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/sample"
)

// vocabulary is the library's model as a Model.
type vocabulary struct {
	*lib.Model
	template string
	// pieces caches the bytes of tokens: most of an answer are a few hundred.
	mu     sync.RWMutex
	pieces map[int32][]byte // guarded by mu
}

func newVocabulary(m *lib.Model) *vocabulary {
	return &vocabulary{Model: m, template: m.ChatTemplate(), pieces: map[int32][]byte{}}
}

func (v *vocabulary) Piece(token int32) []byte {
	v.mu.RLock()
	p, ok := v.pieces[token]
	v.mu.RUnlock()
	if ok {
		return p
	}
	p = v.Model.Piece(token)
	v.mu.Lock()
	v.pieces[token] = p
	v.mu.Unlock()
	return p
}

func (v *vocabulary) Render(messages []lib.Message) (string, error) {
	if v.template == "" {
		return "", lib.ErrTemplate
	}
	return v.ApplyTemplate(v.template, messages)
}

func (v *vocabulary) NewGrammar(gbnf string) (Grammar, error) {
	g, err := v.Model.NewGrammar(gbnf)
	if err != nil {
		return nil, err
	}
	return grammar{g}, nil
}

type grammar struct{ *lib.Grammar }

func (g grammar) Filter(cs []sample.Candidate) {
	if len(cs) == 0 {
		return
	}
	_ = lib.TokenData(cs[0]) // the two are one layout; this stops compiling if not
	g.Grammar.Filter(unsafe.Slice((*lib.TokenData)(unsafe.Pointer(&cs[0])), len(cs)))
}

// cache is the library's context as a Decoder.
type cache struct {
	*lib.Context
	batch *lib.Batch
}

func (c *cache) Decode(tokens []Token) error {
	c.batch.Reset()
	for _, t := range tokens {
		c.batch.Add(t.ID, t.Pos, t.Seq, t.Output)
	}
	return c.Context.Decode(c.batch)
}

// embedder is a context of its own for vectors.
type embedder struct {
	ctx    *lib.Context
	batch  *lib.Batch
	window int
}

func newEmbedder(l *lib.Library, m *lib.Model, threads int) (*embedder, error) {
	window := min(m.TrainedWindow(), 2048)
	ctx, err := m.NewContext(lib.ContextParams{Tokens: window, Sequences: 1, Batch: window, Threads: threads, Embeddings: true})
	if err != nil {
		return nil, fmt.Errorf("make context for embeddings: %w", err)
	}
	return &embedder{ctx: ctx, batch: l.NewBatch(window), window: window}, nil
}

func (e *embedder) Window() int { return e.window }

func (e *embedder) Embed(tokens []int32) ([]float32, error) {
	e.ctx.Cut(0, 0)
	e.batch.Reset()
	for i, t := range tokens {
		e.batch.Add(t, i, 0, true)
	}
	if err := e.ctx.Decode(e.batch); err != nil {
		return nil, err
	}
	v := e.ctx.Embedding(0)
	if v == nil {
		return nil, fmt.Errorf("no vector for %d tokens", len(tokens))
	}
	return v, nil
}

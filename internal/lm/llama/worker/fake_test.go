package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/sample"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// The fake's tokens: bytes, then control tokens.
const (
	tokenStart = 256 + iota // <start>
	tokenEnd                // <end>
	fakeTokens
)

// fakeModel has bytes for tokens, "<start>" and "<end>" as control tokens,
// and the template <start>role:text<end>.
type fakeModel struct{}

func (fakeModel) Tokens() int { return fakeTokens }

func (fakeModel) Tokenize(text string, _, parse bool) []int32 {
	var out []int32
	for len(text) > 0 {
		switch {
		case parse && strings.HasPrefix(text, "<start>"):
			out, text = append(out, tokenStart), text[len("<start>"):]
		case parse && strings.HasPrefix(text, "<end>"):
			out, text = append(out, tokenEnd), text[len("<end>"):]
		default:
			out, text = append(out, int32(text[0])), text[1:]
		}
	}
	return out
}

func (fakeModel) Piece(t int32) []byte {
	if t >= 256 {
		return nil
	}
	return []byte{byte(t)}
}

func (fakeModel) IsEnd(t int32) bool { return t == tokenEnd }

func (fakeModel) Render(messages []lib.Message) (string, error) {
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "<start>%s:%s<end>", m.Role, m.Content)
	}
	return b.String() + "<start>assistant:", nil
}

func (fakeModel) NewGrammar(gbnf string) (Grammar, error) {
	if gbnf == "bad" {
		return nil, errors.New("bad")
	}
	return &fakeGrammar{want: gbnf}, nil
}

// fakeGrammar allows one text and then the end.
type fakeGrammar struct {
	want string
	at   int
}

func (g *fakeGrammar) Allows(t int32) bool {
	if g.at == len(g.want) {
		return t == tokenEnd
	}
	return t == int32(g.want[g.at])
}

func (g *fakeGrammar) Filter(cs []sample.Candidate) {
	for i := range cs {
		if !g.Allows(cs[i].ID) {
			cs[i].Logit = float32(math.Inf(-1))
		}
	}
}

func (g *fakeGrammar) Accept(t int32) {
	if !g.Allows(t) {
		panic("a token that the grammar refuses") // the library would end the process
	}
	g.at++
}

func (g *fakeGrammar) Close() {}

// fakeDecoder's scores depend on everything that a real library's rounding
// may depend on: on every token before, and on the shape of the batch that
// each was computed in. It refuses batches that leave holes.
type fakeDecoder struct {
	window int
	seqs   map[int][]uint64
	logits [][]float32
	abort  atomic.Bool
	block  chan struct{} // if set, every Decode waits for a value or for Abort
	fail   atomic.Bool
	never  bool // never end an answer
	sizes  []int
}

func (d *fakeDecoder) SetThreads(int) {}
func (d *fakeDecoder) Window() int    { return d.window }
func (d *fakeDecoder) Abort(on bool)  { d.abort.Store(on) }

func (d *fakeDecoder) Cut(seq, from int) bool {
	d.seqs[seq] = d.seqs[seq][:from]
	return true
}

func hash(parts ...uint64) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for _, p := range parts {
		binary.LittleEndian.PutUint64(b[:], p)
		h.Write(b[:])
	}
	return h.Sum64()
}

func (d *fakeDecoder) Decode(batch []Token) error {
	if d.block != nil {
		for waiting := true; waiting; {
			select {
			case <-d.block:
				waiting = false
			default:
				if d.abort.Load() {
					return lib.ErrAborted
				}
			}
		}
	}
	if d.fail.Load() {
		return errors.New("the library says -3")
	}
	d.sizes = append(d.sizes, len(batch))
	d.logits = d.logits[:0]
	own := map[int]int{}
	first := map[int]int{}
	for _, t := range batch {
		if own[t.Seq] == 0 {
			first[t.Seq] = t.Pos
		}
		own[t.Seq]++
	}
	for _, t := range batch {
		if t.Pos != len(d.seqs[t.Seq]) || t.Pos >= d.window {
			return fmt.Errorf("token at %d of sequence %d, which has %d", t.Pos, t.Seq, len(d.seqs[t.Seq]))
		}
		shape := hash(uint64(len(batch)), uint64(own[t.Seq]), uint64(first[t.Seq]))
		d.seqs[t.Seq] = append(d.seqs[t.Seq], hash(uint64(t.ID), uint64(t.Pos), shape))
		var l []float32
		if t.Output {
			l = d.scores(hash(d.seqs[t.Seq]...))
		}
		d.logits = append(d.logits, l)
	}
	return nil
}

func (d *fakeDecoder) scores(h uint64) []float32 {
	l := make([]float32, fakeTokens)
	for i := range l {
		l[i] = -20
	}
	for i := byte('a'); i <= 'z'; i++ {
		l[i] = float32(hash(h, uint64(i))%1000) / 250
	}
	if !d.never && h%40 == 0 {
		l[tokenEnd] = 9
	}
	return l
}

func (d *fakeDecoder) Logits(i int) []float32 { return d.logits[i] }

// rig is a worker with its parent's side.
type rig struct {
	t   *testing.T
	w   *Worker
	d   *fakeDecoder
	end func() error

	mu    sync.Mutex
	last  uint64
	asked map[uint64]chan wire.Chunk
	dones map[uint64]chan wire.Done
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	d := &fakeDecoder{window: 512, seqs: map[int][]uint64{}}
	r, wr := io.Pipe()
	o := Options{
		Model: fakeModel{}, Decoder: d, Slots: 2, Chunk: 8, Reuse: true,
		Seed: func() uint64 { return 5 }, Out: NewOut(wr), Log: slog.New(slog.DiscardHandler),
		Embedder: func() (Embedder, error) { return fakeEmbedder{}, nil },
	}
	if change != nil {
		change(&o)
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, w: w, d: d, asked: map[uint64]chan wire.Chunk{}, dones: map[uint64]chan wire.Done{}}
	ctx, cancel := context.WithCancel(context.Background())
	ran, read := make(chan error, 1), make(chan struct{})
	go func() { ran <- w.Run(ctx) }()
	go func() { defer close(read); g.read(wire.NewReader(r, wire.MaxToParent)) }()
	g.end = sync.OnceValue(func() error {
		cancel()
		err := <-ran
		wr.Close()
		<-read
		return err
	})
	t.Cleanup(func() { _ = g.end() })
	return g
}

func (g *rig) read(r *wire.Reader) {
	for {
		kind, payload, err := r.Next()
		if err != nil {
			return
		}
		switch kind {
		case wire.KindChunk:
			c, err := wire.DecodeChunk(payload)
			if err != nil {
				g.t.Error(err)
				return
			}
			g.mu.Lock()
			ch := g.asked[c.ID]
			g.mu.Unlock()
			ch <- c
		case wire.KindDone:
			var d wire.Done
			if err := wire.Decode(payload, &d); err != nil {
				g.t.Error(err)
				return
			}
			g.mu.Lock()
			ch, done := g.asked[d.ID], g.dones[d.ID]
			g.mu.Unlock()
			close(ch)
			done <- d
		}
	}
}

// ask starts a request; chunks is closed before done gets its value.
func (g *rig) ask(start func(t *Ticket)) (id uint64, chunks chan wire.Chunk, done chan wire.Done) {
	g.mu.Lock()
	g.last++
	id = g.last
	chunks, done = make(chan wire.Chunk, 10000), make(chan wire.Done, 1)
	g.asked[id], g.dones[id] = chunks, done
	g.mu.Unlock()
	t := g.w.Ask(id)
	go start(t)
	return id, chunks, done
}

type said struct {
	text   string
	tokens []int32
	chunks []wire.Chunk
	done   wire.Done
}

func (g *rig) generate(req wire.Generate) said {
	g.t.Helper()
	_, chunks, done := g.ask(func(t *Ticket) { req.ID = t.id; g.w.Generate(t, req) })
	return collect(chunks, done)
}

func collect(chunks chan wire.Chunk, done chan wire.Done) said {
	var s said
	for c := range chunks {
		s.text += c.Text
		s.tokens = append(s.tokens, c.Tokens...)
		s.chunks = append(s.chunks, c)
	}
	s.done = <-done
	return s
}

type fakeEmbedder struct{}

func (fakeEmbedder) Window() int { return 100 }

func (fakeEmbedder) Embed(tokens []int32) ([]float32, error) {
	return []float32{3, 4, float32(len(tokens)) * 0}, nil
}

func user(text string) []lm.Message { return []lm.Message{{Role: lm.User, Text: text}} }

func ptr[T any](v T) *T { return &v }

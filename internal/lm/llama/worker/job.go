package worker

import (
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/gbnf"
	"github.com/parleyhq/parley/internal/lm/llama/sample"
	"github.com/parleyhq/parley/internal/lm/llama/text"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// MaxGrammar is the longest grammar in bytes, MaxStops and MaxStop the most
// stop strings and the longest one.
const (
	MaxGrammar = 128 << 10
	MaxStops   = 16
	MaxStop    = 1024
)

// job is an answer in the making. prepare makes it; then it is the loop's,
// except its ticket.
type job struct {
	id      uint64
	session string
	max     int // tokens to sample, 0: up to the window
	before  int // tokens of the prefix
	prompt  int // tokens of the prompt
	cached  int // of them, found in the cache
	feed    []int32
	chunks  int     // of feed, computed
	answer  []int32 // ids, with those of the prefix
	at      int     // of answer, in the cache or in feed
	draw    int     // added to the answer's length: the number of the next draw
	sampler *sample.Sampler
	grammar Grammar
	filter  *text.Filter
	skip    string // text still to come that the client has already
	pending string // of the prefix's tokens, text to show first
	stopped bool   // the prefix's tokens complete a stop string
	slot    *slot
	ticket  *Ticket
}

// feeding says that the prompt is not computed yet.
func (j *job) feeding() bool { return j.feed != nil }

// full says that the answer may not grow any more.
func (j *job) full(window int) bool {
	return j.max > 0 && len(j.answer)-j.before >= j.max || j.prompt+len(j.answer) >= window
}

func (j *job) usage() lm.Usage {
	return lm.Usage{Prompt: j.prompt, Completion: len(j.answer) - j.before, Cached: j.cached}
}

func (j *job) close() {
	if j.grammar != nil {
		j.grammar.Close()
		j.grammar = nil
	}
}

// show takes off what the client has already.
func (j *job) show(s string) string {
	n := min(len(j.skip), len(s))
	j.skip = j.skip[n:]
	return s[n:]
}

// prepare reads a request: everything that needs no cache. The error is a
// fault.
func (w *Worker) prepare(req wire.Generate) (*job, error) {
	prompt, err := w.promptTokens(req.Messages, req.Prompt)
	if err != nil {
		return nil, err
	}
	window := w.o.Decoder.Window()
	if len(prompt) >= window {
		return nil, fault.New(fault.TooLarge, "the prompt takes %d tokens; the model's window is %d, and the answer needs room too", len(prompt), window)
	}
	p := req.Params
	if p.MaxTokens < 0 {
		return nil, fault.New(fault.Invalid, "max_tokens is %d", p.MaxTokens)
	}
	if len(p.Stop) > MaxStops || slices.ContainsFunc(p.Stop, func(s string) bool { return len(s) > MaxStop }) {
		return nil, fault.New(fault.Invalid, "at most %d stop strings of %d bytes", MaxStops, MaxStop)
	}
	j := &job{
		session: req.Session, max: p.MaxTokens,
		prompt: len(prompt), feed: prompt, filter: text.NewFilter(p.Stop),
	}
	if j.sampler, err = sample.New(p, w.o.Seed()); err != nil {
		return nil, err
	}
	if j.grammar, err = w.grammar(p); err != nil {
		return nil, err
	}
	if req.Prefix != nil {
		if err := w.continues(j, *req.Prefix); err != nil {
			j.close()
			return nil, err
		}
	}
	return j, nil
}

func (w *Worker) grammar(p lm.Params) (Grammar, error) {
	src := p.Grammar
	switch {
	case !p.Constrained():
		return nil, nil
	case p.Grammar != "" && len(p.Schema) > 0:
		return nil, fault.New(fault.Invalid, "give a schema or a grammar, not both")
	case len(p.Schema) > 0:
		var err error
		if src, err = gbnf.FromSchema(p.Schema); err != nil {
			return nil, err
		}
	}
	if len(src) > MaxGrammar {
		return nil, fault.New(fault.TooLarge, "the grammar has %d bytes; the limit is %d", len(src), MaxGrammar)
	}
	g, err := w.o.Model.NewGrammar(src)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the engine can't read the grammar")
	}
	return g, nil
}

// continues sets j up to go on after a prefix.
func (w *Worker) continues(j *job, p wire.Prefix) error {
	switch p.Policy {
	case lm.Exact, lm.Quick:
		if len(p.Tokens) == 0 && p.Text != "" {
			return fault.New(fault.Unsupported, "to continue by policy %q the engine needs the answer's token ids", p.Policy)
		}
		j.answer = slices.Clone(p.Tokens)
	case lm.Prefill:
		j.answer = w.o.Model.Tokenize(p.Text, false, false)
	default:
		return fault.New(fault.Unsupported, "the embedded engine can't continue by policy %q", p.Policy)
	}
	j.before = len(j.answer)
	var all []byte
	for _, t := range j.answer {
		if t < 0 || int(t) >= w.o.Model.Tokens() || w.o.Model.IsEnd(t) {
			return fault.New(fault.Invalid, "%d is no token of an answer", t)
		}
		if j.grammar != nil {
			if !j.grammar.Allows(t) {
				return fault.New(fault.Invalid, "the answer so far does not follow the grammar")
			}
			j.grammar.Accept(t)
		}
		j.sampler.Accept(t)
		all = append(all, w.o.Model.Piece(t)...)
	}
	if whole, _ := text.NewFilter(nil).Push(all); !strings.HasPrefix(whole, p.Text) {
		return fault.New(fault.Invalid, "the token ids of the answer so far do not give its text")
	}
	// What the tokens hold and the client has not seen comes out first, and
	// what it has seen is taken off.
	j.skip = p.Text
	j.pending, j.stopped = j.filter.Push(all)
	if p.Sampled > 0 {
		j.draw = p.Sampled - len(j.answer)
	}
	if p.Policy != lm.Exact {
		j.feed = append(slices.Clone(j.feed), j.answer...)
		j.at = len(j.answer)
	}
	return nil
}

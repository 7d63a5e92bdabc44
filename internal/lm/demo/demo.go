// Package demo holds engines without a model. New makes the demonstration
// engine that a node falls back to when no model can be had: it says at once
// that it is no language model. Canned makes a deterministic engine for tests,
// with scripted answers and faults on demand. Nothing here pretends to think.
package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Options of the demonstration engine. The zero value works.
type Options struct {
	Name  string        // "" = "demo"
	Model string        // "" = "demonstration"
	Delay time.Duration // before each word; 0 = 25 ms, negative = none
	Why   string        // a sentence why there is no model; "" = that none is loaded
	Help  string        // markdown: how to get a model; "" = the ways `parley up` knows
}

const defaultHelp = "To talk to a real model, do one of these and start again:\n\n" +
	"- `parley model pull` fetches a small model once and runs it here,\n" +
	"- start Ollama or llama-server on this machine: it is found by itself,\n" +
	"- `parley up --engine URL` uses any OpenAI-compatible server."

// New makes the demonstration engine.
func New(o Options) *Engine {
	if o.Name == "" {
		o.Name = "demo"
	}
	if o.Model == "" {
		o.Model = "demonstration"
	}
	if o.Delay == 0 {
		o.Delay = 25 * time.Millisecond
	}
	if o.Why == "" {
		o.Why = "No model is loaded on this node."
	}
	if o.Help == "" {
		o.Help = defaultHelp
	}
	return newEngine(CannedOptions{
		Name: o.Name, Model: o.Model, Delay: max(o.Delay, 0), Window: 1 << 20,
		NoTokens: true, Resume: lm.Prefill,
		Answer: func(r lm.Request) string { return speech(r, o.Why, o.Help) },
	}, true)
}

// Echo makes an engine that says what it was told: for whoever tries a client
// or a channel and wants an answer that is known beforehand.
func Echo(name string) *Engine {
	return newEngine(CannedOptions{
		Name: name, Model: "echo", Window: 1 << 20, NoTokens: true, Resume: lm.Prefill,
		Answer: func(r lm.Request) string {
			said := r.Prompt
			for _, m := range r.Messages {
				if m.Role == lm.User {
					said = m.Text
				}
			}
			return "Echo: " + said
		},
	}, true)
}

// speech is the demonstration engine's answer. Every answer begins with what
// it is, as each may be the first that a reader sees.
func speech(r lm.Request, why, help string) string {
	var b strings.Builder
	b.WriteString("**This is a demonstration, not a language model.** " + why + " ")
	said, turns := "", 0
	for _, m := range r.Messages {
		if m.Role == lm.User {
			said, turns = m.Text, turns+1
		}
	}
	if r.Prompt != "" {
		said, turns = r.Prompt, 1
	}
	words := len(strings.Fields(said))
	switch {
	case words == 0:
		b.WriteString("Your message has arrived, but it holds no words.")
	case strings.HasSuffix(strings.TrimSpace(said), "?"):
		fmt.Fprintf(&b, "Your question of %s has arrived, but nothing here can answer it.", count(words, "word"))
	default:
		fmt.Fprintf(&b, "Your message of %s has arrived, but nothing here understands it.", count(words, "word"))
	}
	if turns > 1 {
		fmt.Fprintf(&b, " It is message %d of yours in this conversation, and all of them are kept.", turns)
	}
	b.WriteString(" What you can try with it is everything else: the streaming you see now, stop, reload in the middle of an answer, and the history.\n\n")
	b.WriteString(help)
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Engine is a lm.Engine without a model.
type Engine struct {
	o     CannedOptions
	demo  bool
	slots chan struct{} // nil: no limit
	done  chan struct{} // closed by Close
	close sync.Once

	mu    sync.Mutex // guards fault, calls
	fault Fault
	calls Calls
}

var _ lm.Engine = (*Engine)(nil)

func newEngine(o CannedOptions, isDemo bool) *Engine {
	e := &Engine{o: o, demo: isDemo, done: make(chan struct{}), fault: o.Fault}
	if o.Slots > 0 {
		e.slots = make(chan struct{}, o.Slots)
	}
	return e
}

// Name is the engine's name.
func (e *Engine) Name() string { return e.o.Name }

// Models lists the one model.
func (e *Engine) Models(context.Context) ([]lm.Model, error) {
	if err := e.gone(); err != nil {
		return nil, err
	}
	return []lm.Model{{
		ID: e.o.Model, Window: e.o.Window, Slots: e.o.Slots, Resume: e.o.Resume,
		Embedding: e.embeds(), Demo: e.demo,
	}}, nil
}

// Health is nil until Close.
func (e *Engine) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, fault.CodeOf(err), "the check was given up")
	}
	return e.gone()
}

// Close ends all answers. It may be called again.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.done) })
	return nil
}

func (e *Engine) gone() error {
	select {
	case <-e.done:
		return fault.New(fault.Unavailable, "the engine %q is closed", e.o.Name)
	default:
		return nil
	}
}

func (e *Engine) embeds() bool { return !e.demo && !e.o.NoEmbed }

// check looks at a request before anything is computed and returns the size
// of its prompt.
func (e *Engine) check(r lm.Request) (int, error) {
	if err := e.gone(); err != nil {
		return 0, err
	}
	if r.Model != "" && r.Model != e.o.Model {
		return 0, fault.New(fault.NotFound, "the engine %q has no model %q", e.o.Name, r.Model)
	}
	if len(r.Messages) == 0 && r.Prompt == "" {
		return 0, fault.New(fault.Invalid, "the request has neither messages nor a prompt")
	}
	if r.Params.Constrained() && !e.o.Schema {
		return 0, fault.New(fault.Unsupported, "the engine %q can't keep to a grammar or schema", e.o.Name)
	}
	n := promptSize(r)
	if e.o.Window > 0 && n >= e.o.Window {
		return 0, fault.New(fault.TooLarge, "the prompt takes %d tokens, but the model's window has only %d", n, e.o.Window)
	}
	return n, nil
}

// Count returns how many tokens the prompt takes: its words and four for each
// message.
func (e *Engine) Count(_ context.Context, r lm.Request) (int, error) {
	if err := e.gone(); err != nil {
		return 0, err
	}
	return promptSize(r), nil
}

func promptSize(r lm.Request) int {
	if len(r.Messages) == 0 {
		return len(strings.Fields(r.Prompt)) + 1
	}
	n := 0
	for _, m := range r.Messages {
		n += len(strings.Fields(m.Text)) + 4
	}
	return n
}

// Embed returns a normalised bag of hashed words for each input.
func (e *Engine) Embed(_ context.Context, model string, inputs []string) ([][]float32, lm.Usage, error) {
	switch {
	case e.gone() != nil:
		return nil, lm.Usage{}, e.gone()
	case !e.embeds():
		return nil, lm.Usage{}, fault.New(fault.Unsupported, "the engine %q makes no embeddings", e.o.Name)
	case model != "" && model != e.o.Model:
		return nil, lm.Usage{}, fault.New(fault.NotFound, "the engine %q has no model %q", e.o.Name, model)
	case len(inputs) == 0:
		return nil, lm.Usage{}, fault.New(fault.Invalid, "nothing to embed")
	}
	out := make([][]float32, len(inputs))
	use := lm.Usage{}
	for i, in := range inputs {
		out[i] = hashed(in)
		use.Prompt += max(1, len(strings.Fields(in)))
	}
	return out, use, nil
}

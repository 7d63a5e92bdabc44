// Package lm is the contract between Parley and whatever generates text: what
// a request is, how an answer streams, how a cut answer is continued, and what
// a driver must keep. Drivers live in the folders below and pass lmtest's
// conformance suite; nothing here knows any of them.
package lm

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Engine generates text. One Engine may hold many answers at once; every
// method may be called from many goroutines.
//
// Errors are *fault.Error where the caller can do something: Invalid (bad
// request, unknown parameter value), TooLarge (prompt over the window),
// NotFound (no such model), Limited (queue full, 429; RetryAfter is kept),
// Unsupported (this engine can't do that at all), Unavailable (engine down,
// starting, or it cut the answer in the middle), Timeout (no bytes within the
// engine's stall limit), Canceled (ctx ended). An answer that stopped for
// any reason but its own end is always an error, never a clean finish.
type Engine interface {
	// Name is the engine's name in configuration, metrics and messages.
	Name() string

	// Models lists what the engine can serve now.
	Models(ctx context.Context) ([]Model, error)

	// Generate streams one answer. emit is called in order from one goroutine,
	// never after Generate returned; an error from emit ends the answer and is
	// returned as it is. When ctx ends the engine stops computing within
	// 200 ms. On success the Result carries finish reason and usage; on error
	// the Result still carries what is known (usage so far).
	Generate(ctx context.Context, req Request, emit func(Chunk) error) (Result, error)

	// Embed returns one vector for each input, in order, or Unsupported.
	Embed(ctx context.Context, model string, inputs []string) ([][]float32, Usage, error)

	// Count returns how many tokens the request's prompt takes with the
	// model's own template and vocabulary. Engines that can't know return
	// Unsupported; callers then estimate with Estimate.
	Count(ctx context.Context, req Request) (int, error)

	// Health is nil if the engine can take a request now. It is cheap (no
	// generation) and ends with ctx.
	Health(ctx context.Context) error

	// Close frees what the engine holds and ends its answers.
	Close() error
}

// Model is what can be known of a model before using it. Zero means unknown.
type Model struct {
	ID        string
	Window    int // tokens of prompt and answer together
	Slots     int // answers at once before they queue
	Tokens    int // of all prompts and answers in flight; 0: no such limit is known
	Resume    Policy
	Embedding bool // serves Embed
	Demo      bool // canned text, not a language model: say so wherever its answers show
	Vision    bool // reads Message.Pictures
	// Varies: the name that it was found by may stand for another model next time.
	Varies bool
	// Advice is how its makers advise to sample it, for conversations whose
	// bot does not say.
	Advice Params
}

// Policy says what an engine does with an answer that was cut: what the turn
// may promise about the join. It is declared, never guessed.
type Policy string

const (
	// Exact feeds the answer's own token ids one by one after the prompt:
	// greedy answers come out as if nothing had happened.
	Exact Policy = "exact"
	// Quick prefills prompt and answer so far in one batch: the text goes on
	// seamlessly, a later word may differ from the undisturbed run.
	Quick Policy = "quick"
	// Prefill sends the text so far as the beginning of the assistant's
	// message to a server that continues it.
	Prefill Policy = "prefill"
	// Restart begins again, visibly: clients are told that the text so far is
	// replaced.
	Restart Policy = "restart"
	// Fail ends the turn with a clear error and keeps the text so far.
	Fail Policy = "fail"
)

// Continues reports whether the policy keeps the text that was already shown.
func (p Policy) Continues() bool { return p == Exact || p == Quick || p == Prefill }

// Role of a message in a prompt.
type Role string

// The roles.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool"
)

// Message is one message of a prompt.
type Message struct {
	Role Role   `json:"role"`
	Text string `json:"content"`
	// Raw, if set, is the whole message as a client gave it (content parts,
	// tool calls, names) and wins over Role and Text in drivers whose server
	// speaks the same dialect. Others return Unsupported if they can't read it.
	Raw json.RawMessage `json:"-"`
	// Pictures stand before the text. Only a Model with Vision is given any;
	// a driver that has none says Unsupported.
	Pictures []Picture `json:"-"`
}

// Picture is an image file.
type Picture struct {
	Type    string // image/png, image/jpeg, image/gif or image/webp
	Content []byte
}

// PictureTokens is about what a picture takes of a window: servers don't tell
// before they answer, and most stay below.
const PictureTokens = 1200

// Request asks for one answer.
type Request struct {
	Model    string // "" means the engine's first model
	Messages []Message
	Prompt   string // raw completion without a chat template; only if Messages is empty
	Params   Params
	// Prefix continues an answer that was cut. Nil starts a new one.
	Prefix *Prefix
	// Session is the same for all turns of a conversation and lets an engine
	// keep its cache warm for it. It says nothing about content.
	Session string
	// Within is for how long the answer is worth waiting for until it begins. An
	// engine with a line before it refuses at once what will take longer. 0: any time.
	Within time.Duration
	// Waiting, if not nil, hears now and then where in such a line the request is,
	// and with a zero Number that it waits no more. It must be quick.
	Waiting func(Place)
	// Batch: nobody waits for the answer. Where several share an engine it gets
	// what the others leave over.
	Batch bool
}

// Place is where a request stands in the line before its engines. Of five that
// wait, about four begin between Soon and Late; a zero Late says that nothing is
// known of it.
type Place struct {
	Number     int // 1: it is the next
	Soon, Late time.Duration
}

// Prefix is the part of the answer that exists already. Chunks carry only
// what comes after Text, and Params.MaxTokens and Usage.Completion count only
// what is new.
type Prefix struct {
	Text string
	// Tokens are the ids of the answer so far, as Chunks reported them; their
	// text begins with Text and may end in bytes that were not shown yet (half
	// a character, the start of a stop string). Empty if not known.
	Tokens []int32
	// Policy is the way to continue: Exact and Quick need Tokens, Prefill
	// needs Text only. A driver that can't do it returns Unsupported.
	Policy Policy
	// Sampled is how many random draws the answer has used (0: as many as
	// Tokens); with a seed an exact continuation draws the next one.
	Sampled int
}

// Params of sampling. Nil or zero means the engine's default.
type Params struct {
	// MaxTokens is how many tokens this call may sample. A Prefix does not
	// count: who continues an answer subtracts what it has already.
	MaxTokens        int             `json:"max_tokens,omitempty"`
	Temperature      *float64        `json:"temperature,omitempty"`
	TopP             *float64        `json:"top_p,omitempty"`
	TopK             *int            `json:"top_k,omitempty"`
	MinP             *float64        `json:"min_p,omitempty"`
	RepeatPenalty    *float64        `json:"repeat_penalty,omitempty"`
	PresencePenalty  *float64        `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64        `json:"frequency_penalty,omitempty"`
	Seed             *int64          `json:"seed,omitempty"`
	Stop             []string        `json:"stop,omitempty"`
	Schema           json.RawMessage `json:"schema,omitempty"`  // JSON schema the answer must satisfy
	Grammar          string          `json:"grammar,omitempty"` // GBNF; engines without grammars say Unsupported
}

// MostStops is how many texts may stop an answer.
const MostStops = 16

// OutOfRange names a sampling parameter that no engine takes and says what is
// wrong with it; "" if there is none.
func (p Params) OutOfRange() (name, why string) {
	for _, x := range []struct {
		name     string
		value    *float64
		min, max float64
	}{
		{"temperature", p.Temperature, 0, 2},
		{"top_p", p.TopP, 0, 1},
		{"min_p", p.MinP, 0, 1},
		{"repeat_penalty", p.RepeatPenalty, 0, 10},
		{"presence_penalty", p.PresencePenalty, -2, 2},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2},
	} {
		if x.value != nil && (*x.value < x.min || *x.value > x.max) {
			return x.name, fmt.Sprintf("%s must be between %v and %v", x.name, x.min, x.max)
		}
	}
	switch {
	case p.TopK != nil && *p.TopK < 0:
		return "top_k", "top_k must not be negative"
	case len(p.Stop) > MostStops:
		return "stop", fmt.Sprintf("there may be %d stop strings at most", MostStops)
	}
	return "", ""
}

// Over returns p with what it leaves open taken from base.
func (p Params) Over(base Params) Params {
	if p.MaxTokens == 0 {
		p.MaxTokens = base.MaxTokens
	}
	first(&p.Temperature, base.Temperature)
	first(&p.TopP, base.TopP)
	first(&p.TopK, base.TopK)
	first(&p.MinP, base.MinP)
	first(&p.RepeatPenalty, base.RepeatPenalty)
	first(&p.PresencePenalty, base.PresencePenalty)
	first(&p.FrequencyPenalty, base.FrequencyPenalty)
	first(&p.Seed, base.Seed)
	if p.Stop == nil {
		p.Stop = base.Stop
	}
	if !p.Constrained() {
		p.Schema, p.Grammar = base.Schema, base.Grammar
	}
	return p
}

func first[T any](p **T, base *T) {
	if *p == nil {
		*p = base
	}
}

// IsZero reports whether p says nothing.
func (p Params) IsZero() bool {
	return p.MaxTokens == 0 && p.Temperature == nil && p.TopP == nil && p.TopK == nil && p.MinP == nil && p.RepeatPenalty == nil &&
		p.PresencePenalty == nil && p.FrequencyPenalty == nil && p.Seed == nil && len(p.Stop) == 0 && !p.Constrained()
}

// Constrained reports whether the output follows a grammar or schema, so that
// a cut answer must not be spliced by text.
func (p Params) Constrained() bool { return len(p.Schema) > 0 || p.Grammar != "" }

// Chunk is the next piece of an answer.
type Chunk struct {
	// Text is valid UTF-8, whole code points, never part of a stop string.
	// It may be empty when Tokens moved on but nothing can be shown yet.
	Text string
	// Tokens are the ids sampled since the last chunk, if the engine knows
	// them. All ids so far decode to all Text so far plus a held-back rest.
	Tokens []int32
}

// Finish is why an answer ended.
type Finish string

// The ways an answer ends by itself.
const (
	FinishStop      Finish = "stop"           // end of answer or a stop string
	FinishLength    Finish = "length"         // MaxTokens or the window
	FinishTools     Finish = "tool_calls"     // the model calls tools
	FinishFiltered  Finish = "content_filter" // the server refused
	FinishUndefined Finish = ""
)

// Result ends an answer.
type Result struct {
	Finish Finish
	Usage  Usage  // Completion counts what this call sampled, without a Prefix
	Model  string // what the engine says it used
}

// Usage in tokens, as the engine counts them; zero if it does not say.
type Usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Cached     int `json:"cached_tokens,omitempty"` // of Prompt, taken from a prefix cache
}

// Estimate guesses how many tokens text takes when the engine can't count:
// deliberately high, so that a trimmed history fits.
func Estimate(text string) int {
	// Byte-pair vocabularies take about four Latin letters a token and up to
	// one token a code point elsewhere.
	ascii, other := 0, 0
	for _, r := range text {
		if r < 0x80 {
			ascii++
		} else {
			other++
		}
	}
	return ascii/3 + other + 1
}

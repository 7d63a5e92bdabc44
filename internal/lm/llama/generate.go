package llama

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// stopWait is how long a cancelled request waits for the child to say that it
// stopped, which is when the usage is known.
const stopWait = 150 * time.Millisecond

// Generate streams one answer.
//
// A child that ends before the answer's first piece costs one new attempt
// here; after it the caller gets Unavailable and continues by a Prefix.
func (e *Engine) Generate(ctx context.Context, req lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	messages, err := texts(req.Messages)
	if err != nil {
		return lm.Result{}, err
	}
	if ctx.Err() != nil {
		return lm.Result{}, canceled(ctx)
	}
	if err := e.enter(); err != nil {
		return lm.Result{}, err
	}
	defer e.leave()
	frame := wire.Generate{Messages: messages, Prompt: req.Prompt, Params: req.Params, Session: req.Session}
	if p := req.Prefix; p != nil {
		frame.Prefix = &wire.Prefix{Text: p.Text, Tokens: p.Tokens, Policy: p.Policy, Sampled: p.Sampled}
	}
	for attempt := 0; ; attempt++ {
		c, info, err := e.ready(ctx, req.Model)
		if err != nil {
			return lm.Result{}, err
		}
		frame.ID = e.nextID.Add(1)
		call := newCall(frame.ID, info.Window)
		err = c.begin(ctx, call, wire.KindGenerate, frame)
		if err == nil {
			err = c.stream(ctx, call, emit)
		}
		if attempt == 0 && call.lost && !call.began && ctx.Err() == nil {
			continue
		}
		return lm.Result{Finish: call.done.Finish, Usage: call.usage(), Model: e.modelID(info)}, err
	}
}

// stream passes on what comes until the answer's end.
func (c *child) stream(ctx context.Context, call *call, emit func(lm.Chunk) error) error {
	for {
		select {
		case <-ctx.Done():
			c.stop(call)
			return canceled(ctx)
		case <-call.wake:
		}
		chunk, done, err := call.take()
		// What came before the end is passed on, whatever the end is.
		if ctx.Err() == nil && (chunk.Text != "" || len(chunk.Tokens) > 0) {
			call.began = true
			if err := emit(chunk); err != nil {
				if !done {
					c.stop(call)
				}
				return err
			}
		}
		if done {
			return err
		}
	}
}

// stop cancels a call and waits a little for its end.
func (c *child) stop(call *call) {
	c.cancel(call.id)
	t := time.NewTimer(stopWait)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return
		case <-call.wake:
			if _, done, _ := call.take(); done {
				return
			}
		}
	}
}

// Embed returns the mean of the model's last layer over each input, scaled to
// length one.
func (e *Engine) Embed(ctx context.Context, model string, inputs []string) ([][]float32, lm.Usage, error) {
	if len(inputs) == 0 {
		return nil, lm.Usage{}, fault.New(fault.Invalid, "nothing to embed")
	}
	done, err := e.ask(ctx, model, wire.KindEmbed, func(id uint64) any { return wire.Embed{ID: id, Inputs: inputs} })
	if err != nil {
		return nil, lm.Usage{}, err
	}
	if len(done.Vectors) != len(inputs) {
		return nil, lm.Usage{}, fault.New(fault.Internal, "the engine made %d vectors of %d inputs", len(done.Vectors), len(inputs))
	}
	for _, v := range done.Vectors {
		for _, x := range v {
			if math.IsNaN(float64(x)) {
				return nil, lm.Usage{}, fault.New(fault.Internal, "the engine made a vector that is not a number")
			}
		}
	}
	return done.Vectors, done.Usage, nil
}

// Count returns the prompt's tokens, with the chat template's own.
func (e *Engine) Count(ctx context.Context, req lm.Request) (int, error) {
	messages, err := texts(req.Messages)
	if err != nil {
		return 0, err
	}
	done, err := e.ask(ctx, req.Model, wire.KindCount, func(id uint64) any {
		return wire.Count{ID: id, Messages: messages, Prompt: req.Prompt}
	})
	return done.Count, err
}

// ask sends a request that one Done answers. It changes nothing, so a child
// that ends meanwhile costs one new attempt.
func (e *Engine) ask(ctx context.Context, model string, kind wire.Kind, frame func(id uint64) any) (wire.Done, error) {
	if err := e.enter(); err != nil {
		return wire.Done{}, err
	}
	defer e.leave()
	for attempt := 0; ; attempt++ {
		c, info, err := e.ready(ctx, model)
		if err != nil {
			return wire.Done{}, err
		}
		id := e.nextID.Add(1)
		call := newCall(id, info.Window)
		err = c.begin(ctx, call, kind, frame(id))
		if err == nil {
			err = c.stream(ctx, call, func(lm.Chunk) error { return nil })
		}
		if attempt == 0 && call.lost && ctx.Err() == nil {
			continue
		}
		return call.done, err
	}
}

// texts reads messages that came as a client's own JSON, as far as a text
// model can.
func texts(messages []lm.Message) ([]lm.Message, error) {
	out := make([]lm.Message, len(messages))
	for i, m := range messages {
		if len(m.Pictures) > 0 {
			return nil, fault.New(fault.Unsupported, "message %d has pictures; the embedded engine reads text only", i+1)
		}
		if len(m.Raw) > 0 {
			var err error
			if m, err = rawText(i, m.Raw); err != nil {
				return nil, err
			}
		}
		out[i] = lm.Message{Role: m.Role, Text: m.Text}
	}
	return out, nil
}

// rawText reads one message in the OpenAI dialect: a string, or parts of text.
func rawText(i int, raw json.RawMessage) (lm.Message, error) {
	var m struct {
		Role      lm.Role         `json:"role"`
		Content   json.RawMessage `json:"content"`
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return lm.Message{}, fault.Wrap(err, fault.Invalid, "message %d can't be read", i+1)
	}
	if calls := bytes.TrimSpace(m.ToolCalls); len(calls) > 0 && string(calls) != "null" && string(calls) != "[]" {
		return lm.Message{}, fault.New(fault.Unsupported, "message %d calls tools; the embedded engine has none", i+1)
	}
	if m.Role == "developer" {
		m.Role = lm.System
	}
	var s string
	if json.Unmarshal(m.Content, &s) == nil {
		return lm.Message{Role: m.Role, Text: s}, nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(m.Content, &parts) != nil {
		return lm.Message{}, fault.New(fault.Invalid, "the content of message %d is neither a text nor a list of parts", i+1)
	}
	for _, p := range parts {
		switch p.Type {
		case "text", "input_text", "output_text":
			s += p.Text
		default:
			return lm.Message{}, fault.New(fault.Unsupported, "message %d has a part of type %q; the embedded engine reads text only", i+1, p.Type)
		}
	}
	return lm.Message{Role: m.Role, Text: s}, nil
}

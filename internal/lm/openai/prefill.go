package openai

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// prefills is how this engine continues; a policy given in Options counts more
// than the dialect's.
func (e *Engine) prefills() prefill {
	switch {
	case e.o.Resume != lm.Prefill:
		return noPrefill
	case e.d.prefill == noPrefill:
		return trailingMessage
	}
	return e.d.prefill
}

// continues says why a cut answer can't be continued here, if it can't.
func (e *Engine) continues(r lm.Request) error {
	row := continuation(e.o.Dialect)
	raw := len(r.Messages) == 0
	switch {
	case r.Prefix.Policy != lm.Prefill, e.prefills() == noPrefill, raw && row.Chat == lm.Prefill && row.Raw != lm.Prefill:
		return fault.New(fault.Unsupported, "the engine %q can't continue an answer by %q", e.o.Name, r.Prefix.Policy)
	case r.Params.Constrained() && row.Schema != lm.Prefill:
		return fault.New(fault.Unsupported, "an answer that follows a grammar or schema can't be continued by its text")
	}
	if c, _ := utf8.DecodeLastRuneInString(r.Prefix.Text); c == utf8.RuneError && r.Prefix.Text != "" {
		return fault.New(fault.Unsupported, "an answer that was cut inside a character can't be continued by its text")
	}
	return nil
}

// seamless is the text so far as it is sent. White space at its end is most often
// the beginning of a word's token: with it, small models lose the thread (seen);
// templates lose it, and some servers refuse it. The engine says it again, and
// spaceFilter leaves it out.
func seamless(text string) string { return strings.TrimRightFunc(text, unicode.IsSpace) }

// prefix makes the server continue the answer so far.
func (e *Engine) prefix(q *request, r lm.Request) error {
	if r.Prefix == nil {
		return nil
	}
	if err := e.continues(r); err != nil {
		return err
	}
	text := seamless(r.Prefix.Text)
	if text == "" {
		return nil // nothing was shown: a new answer is its continuation
	}
	q.Messages = append(q.Messages, lm.Message{Role: lm.Assistant, Text: text})
	if e.prefills() == continueFlags {
		yes, no := true, false
		q.Continue, q.AddPrompt = &yes, &no
	}
	return nil
}

// rawPrompt continues by the prompt's own end.
func (e *Engine) rawPrompt(q *request, r lm.Request) error {
	prompt := r.Prompt
	if r.Prefix != nil {
		if err := e.continues(r); err != nil {
			return err
		}
		prompt += seamless(r.Prefix.Text)
	}
	q.Prompt = &prompt
	return nil
}

// ready asks the server what has to be known before it is told to continue, and
// returns the request as it is to be sent.
func (e *Engine) ready(ctx context.Context, model string, r lm.Request) (lm.Request, error) {
	if r.Prefix == nil || seamless(r.Prefix.Text) == "" || len(r.Messages) == 0 {
		return r, nil
	}
	switch e.prefills() {
	case renderedPrompt:
		if slices.ContainsFunc(r.Messages, pictorial) {
			return r, nil // a prompt is a text: a trailing message has to do
		}
		prompt, err := e.rendered(ctx, r)
		switch {
		case fault.Is(err, fault.NotFound):
			return r, nil // a version before that address: a trailing message will do
		case err != nil:
			return r, err
		}
		r.Messages, r.Prompt, r.Prefix = nil, prompt, nil
	case checkedMessage:
		return r, e.leavesOpen(ctx, model, r)
	}
	return r, nil
}

// pictorial reports whether a message holds more than text. Raw ones may.
func pictorial(m lm.Message) bool {
	return len(m.Pictures) > 0 || strings.Contains(string(m.Raw), `"image_url"`) || strings.Contains(string(m.Raw), `"input_audio"`)
}

// thoughts are the tags that open one at the end of a generation prompt.
var thoughts = []string{"<think>", "<|think|>", "<thinking>", "<seed:think>", "[THINK]"}

// rendered is the prompt that ends in the text so far. Only the server's own
// template knows what stands before an answer's first word: a closed thought, a
// channel's name. Versions that close a last message render it otherwise; there
// the text goes behind the prompt for a new answer.
func (e *Engine) rendered(ctx context.Context, r lm.Request) (string, error) {
	msgs, err := messages(r)
	if err != nil {
		return "", err
	}
	text := seamless(r.Prefix.Text)
	open, err := e.render(ctx, append(slices.Clone(msgs), lm.Message{Role: lm.Assistant, Text: text}))
	switch {
	case err == nil && strings.HasSuffix(open, text):
		return open, nil
	case err != nil && !fault.Is(err, fault.Invalid): // such as "incompatible with thinking"
		return "", err
	}
	prompt, err := e.render(ctx, msgs)
	if err != nil {
		return "", err
	}
	for _, tag := range thoughts {
		if strings.HasSuffix(seamless(prompt), tag) {
			return "", fault.New(fault.Unsupported, "the engine %q would think anew instead of continuing an answer", e.o.Name)
		}
	}
	return prompt + text, nil
}

// render asks llama-server for the prompt that its template makes.
func (e *Engine) render(ctx context.Context, msgs []any) (string, error) {
	var t struct {
		Prompt string `json:"prompt"`
	}
	err := e.post(ctx, e.root.JoinPath("apply-template"), map[string]any{"messages": msgs}, &t)
	return t.Prompt, err
}

// leavesOpen asks Ollama to render without an answer, and looks whether the
// model's template leaves the last message open.
func (e *Engine) leavesOpen(ctx context.Context, model string, r lm.Request) error {
	msgs, err := messages(r)
	if err != nil {
		return err
	}
	text := seamless(r.Prefix.Text)
	var t struct {
		Debug struct {
			Prompt string `json:"rendered_template"`
		} `json:"_debug_info"`
	}
	ask := map[string]any{
		"model": model, "messages": append(msgs, lm.Message{Role: lm.Assistant, Text: text}), "stream": false,
		"_debug_render_only": true, "max_tokens": 1, // of versions that don't know the field
	}
	if _, err := e.call(ctx, http.MethodPost, e.address("chat/completions", model), ask, &t); err != nil {
		return err
	}
	if !strings.HasSuffix(seamless(t.Debug.Prompt), text) {
		return fault.New(fault.Unsupported, "the engine %q begins a new answer instead of continuing one: that is how the template of %q is", e.o.Name, model)
	}
	return nil
}

// mayEcho is the text that a server might send back before it continues.
func (e *Engine) mayEcho(r lm.Request) string {
	if r.Prefix == nil || len(r.Messages) == 0 || e.prefills() == continueFlags {
		return ""
	}
	return seamless(r.Prefix.Text)
}

// maySpace is the white space that was shown but not sent, and comes again.
func maySpace(r lm.Request) string {
	if r.Prefix == nil {
		return ""
	}
	return r.Prefix.Text[len(seamless(r.Prefix.Text)):]
}

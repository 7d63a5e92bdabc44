package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Count tells how many tokens a prompt takes; a Done follows in any case.
func (w *Worker) Count(t *Ticket, req wire.Count) {
	tokens, err := w.promptTokens(req.Messages, req.Prompt)
	if err != nil {
		w.refuse(t, err, lm.Usage{})
		return
	}
	w.answer(t, wire.Done{Count: len(tokens)})
	_ = w.o.Out.flush() // a broken pipe ends the reading side too
}

// promptTokens is the prompt with the model's template and vocabulary.
func (w *Worker) promptTokens(messages []lm.Message, prompt string) ([]int32, error) {
	m := w.o.Model
	var tokens []int32
	switch {
	case len(messages) > 0 && prompt != "":
		return nil, fault.New(fault.Invalid, "give messages or a prompt, not both")
	case len(messages) == 0:
		tokens = m.Tokenize(prompt, true, true)
	default:
		var err error
		if tokens, err = chatTokens(m, messages); err != nil {
			return nil, err
		}
	}
	if len(tokens) == 0 {
		return nil, fault.New(fault.Invalid, "the prompt is empty")
	}
	return tokens, nil
}

// chatTokens renders messages with the model's template. What people wrote is
// never read as the template's control tokens: nobody can end his own message
// and speak as the system.
func chatTokens(m Model, messages []lm.Message) ([]int32, error) {
	plain := true
	chat := make([]lib.Message, len(messages))
	for i, msg := range messages {
		if strings.ContainsRune(msg.Text, 0) {
			return nil, fault.New(fault.Invalid, "message %d contains a zero byte", i+1)
		}
		switch msg.Role {
		case lm.System, lm.User, lm.Assistant, lm.Tool:
		default:
			return nil, fault.New(fault.Invalid, "message %d has the unknown role %q", i+1, msg.Role)
		}
		chat[i] = lib.Message{Role: string(msg.Role), Content: msg.Text}
		plain = plain && slices.Equal(m.Tokenize(msg.Text, false, true), m.Tokenize(msg.Text, false, false))
	}
	if plain {
		rendered, err := render(m, chat)
		if err != nil {
			return nil, err
		}
		return m.Tokenize(rendered, true, true), nil
	}
	// Marks stand for the texts while the template is applied, and the texts
	// are tokenized apart from it.
	for i := range chat {
		chat[i].Content = mark(i)
	}
	rest, err := render(m, chat)
	if err != nil {
		return nil, err
	}
	var tokens []int32
	for i, msg := range messages {
		before, after, ok := strings.Cut(rest, mark(i))
		if !ok {
			return nil, fault.New(fault.Unsupported, "this model's template can't take text that contains its control tokens")
		}
		tokens = append(tokens, m.Tokenize(before, i == 0, true)...)
		tokens = append(tokens, m.Tokenize(msg.Text, false, false)...)
		rest = after
	}
	return append(tokens, m.Tokenize(rest, false, true)...), nil
}

func mark(i int) string { return fmt.Sprintf("\x02%d\x03", i) }

func render(m Model, chat []lib.Message) (string, error) {
	s, err := m.Render(chat)
	if errors.Is(err, lib.ErrTemplate) {
		return "", fault.Wrap(err, fault.Unsupported, "the engine can't render chat messages for this model: it has no chat template, or one the library does not know")
	}
	if err != nil {
		return "", fmt.Errorf("apply chat template: %w", err)
	}
	return s, nil
}

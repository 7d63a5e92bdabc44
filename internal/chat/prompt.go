package chat

import (
	"context"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// How much of the window is kept free for the answer when the bot sets no
// limit: a quarter, within these bounds.
const (
	leastAnswer = 64
	mostAnswer  = 1024
)

// prompt makes the request for a turn. What does not fit into the model's
// window is left out from the oldest message on; the system prompt and the
// message to answer always stay, and if those two alone don't fit the turn
// fails with TooLarge. A kept history never begins with an answer.
func (a *attempt) prompt(ctx context.Context, bot Bot) (lm.Request, error) {
	req := lm.Request{Model: a.model.ID, Params: bot.Params.Over(a.model.Advice), Session: a.l.id}
	if p := a.v.turn.Params; p != nil {
		req.Params = p.Over(req.Params)
	}
	system := bot.System
	if a.v.turn.System != nil {
		system = *a.v.turn.System
	}
	if a.line.knows != "" {
		system = paragraphs(system, a.line.knows)
	}
	var head []lm.Message
	if system != "" {
		head = []lm.Message{{Role: lm.System, Text: system}}
	}
	tail := a.v.path
	if len(tail) == 0 {
		return req, fault.New(fault.Invalid, "there is no message to answer")
	}
	budget := a.budget(bot, req.Params.MaxTokens)
	with := func(from int) lm.Request {
		r := req
		r.Messages = append(append([]lm.Message{}, head...), tail[from:]...)
		return r
	}
	if budget == 0 {
		return with(0), nil // nothing is known of the window
	}
	// The size only shrinks as more is left out: search for the first start
	// that fits.
	lo, hi := 0, len(tail)-1
	for lo < hi {
		mid := (lo + hi) / 2
		n, err := count(ctx, a.engine, with(mid))
		if err != nil {
			return req, err
		}
		if n <= budget {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for lo < len(tail)-1 && tail[lo].Role == lm.Assistant {
		lo++
	}
	if lo == len(tail)-1 {
		n, err := count(ctx, a.engine, with(lo))
		if err != nil {
			return req, err
		}
		if n > budget {
			return req, fault.New(fault.TooLarge, "the message does not fit: with the system prompt it takes %d tokens, and the model %s has room for %d "+
				"(window %d, the rest is kept for the answer); shorten it or choose a model with a larger window", n, a.model.ID, budget, a.model.Window)
		}
	}
	return with(lo), nil
}

// budget is how many tokens the prompt may take; 0 = no limit is known.
func (a *attempt) budget(bot Bot, maxTokens int) int {
	window := a.model.Window
	if window == 0 {
		return bot.History
	}
	answer := maxTokens
	if answer == 0 {
		answer = min(max(window/4, leastAnswer), mostAnswer)
	}
	budget := max(window-min(answer, window/2), 1)
	if bot.History > 0 {
		budget = min(budget, bot.History)
	}
	return budget
}

// count asks the engine, or estimates.
func count(ctx context.Context, e lm.Engine, req lm.Request) (int, error) {
	n, err := e.Count(ctx, req)
	if !fault.Is(err, fault.Unsupported) {
		return n, err
	}
	for _, m := range req.Messages {
		n += lm.Estimate(m.Text) + 4 // a template's marks around a message
	}
	return n, nil
}

// messages lists what was said on the branch that leads to a turn, with the
// context that API clients put before their own.
func messages(st *conversation.State, t *conversation.Turn) []lm.Message {
	var out []lm.Message
	for _, a := range st.Path(t.ReplyTo) {
		if a.Type != activity.TypeMessage || a.Text == "" {
			continue
		}
		if a.FromBot() {
			out = append(out, lm.Message{Role: lm.Assistant, Text: a.Text})
			continue
		}
		if asked := st.Turn(a.Meta().Turn); asked != nil {
			out = append(out, asked.Context...)
		}
		out = append(out, lm.Message{Role: lm.User, Text: a.Text})
	}
	return out
}

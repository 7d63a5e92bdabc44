package chat

import (
	"context"

	"github.com/parleyhq/parley/internal/lm"
)

// Charge is a turn that may be answered. Settle or Cancel ends it; what comes
// after the first of them is nothing.
type Charge interface {
	Settle(u lm.Usage) // it took this much
	Cancel()           // it got no answer
}

// charged asks once for the turn, however many attempts it takes here, whether
// its owner has enough left.
func (a *attempt) charged(ctx context.Context, req lm.Request) error {
	if a.s.opts.Meter == nil || a.charge != nil {
		return nil
	}
	prompt := 0
	for _, m := range req.Messages {
		prompt += lm.Estimate(m.Text) + len(m.Pictures)*lm.PictureTokens
	}
	c, err := a.s.opts.Meter(ctx, a.v.by.Owner, a.model.ID, prompt, req.Params.MaxTokens)
	if err == nil {
		a.charge, a.asked = c, prompt
	}
	return err
}

// settle says what the turn took when it is over. Of an engine that did not say
// what was read and shown counts; what got nothing costs nothing.
func (a *attempt) settle(u lm.Usage, text string) {
	if a.charge == nil {
		return
	}
	own := text[min(a.v.lead, len(text)):]
	switch {
	case u != lm.Usage{}:
		a.charge.Settle(u)
	case own != "":
		a.charge.Settle(lm.Usage{Prompt: a.asked, Completion: lm.Estimate(own)})
	default:
		a.charge.Cancel()
	}
}

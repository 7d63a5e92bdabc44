package fleet

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
)

// Cause is why another model answers than the one that was meant to.
type Cause string

// The causes. They are words of the configuration, of a header and of metrics.
const (
	Down    Cause = "down"    // no engine of it is well, or all that are failed the request
	Full    Cause = "full"    // all its engines have too much to do
	Refused Cause = "refused" // it does not take this request: too long, or something that it can't do
)

// Chain says what a request may do when its model can't answer it.
type Chain struct {
	Asked string        // the name that the client asked for
	On    []Cause       // go on to the next model
	Wait  time.Duration // in line before the next one is asked; 0 = as long as there is room in the line
	Rest  []*Fleet      // the next models, in order
	Hedge Hedge         // of the first model and the next ones
	// Instead says that this model is not the first of its chain, and why.
	Instead Cause
}

// Follow gives the turn a chain.
func (t *Turn) Follow(c Chain) { t.chain = c }

// Asked is the name that the client used, and Instead why it is not answered by
// the model that was meant to; both "" where the model itself was asked for.
func (t *Turn) Asked() (name string, instead Cause) { return t.chain.Asked, t.chain.Instead }

// All are the members of every model of the chain.
func (t *Turn) All() []Member {
	all := t.Members()
	for _, f := range t.chain.Rest {
		all = append(all[:len(all):len(all)], f.Members()...)
	}
	return all
}

// follows reports whether the chain goes on at this cause.
func (t *Turn) follows(c Cause) bool {
	for _, on := range t.chain.On {
		if on == c && len(t.chain.Rest) > 0 {
			return true
		}
	}
	return false
}

// Declines reports whether a request that this model refuses goes to another one.
func (t *Turn) Declines() bool { return t.follows(Refused) }

// step goes on to the next model, if that is declared for such an error. Whom the
// request has tried belongs to the model that it leaves.
func (t *Turn) step(ctx context.Context, ask *balance.Ask, err error) bool {
	c := causeOf(err)
	if ctx.Err() != nil || t.settled || !t.follows(c) {
		return false
	}
	t.o.Log.Info("a request goes on to the next model", "asked", t.chain.Asked, "from", t.model, "to", t.chain.Rest[0].model, "cause", c, "err", err)
	t.Fleet, t.chain.Rest, t.chain.Instead = t.chain.Rest[0], t.chain.Rest[1:], c
	ask.Tried = nil
	return true
}

// causeOf classes an error that came before the first word.
func causeOf(err error) Cause {
	switch fault.CodeOf(err) {
	case fault.Limited:
		return Full
	case fault.Unavailable, fault.Timeout, fault.Internal:
		return Down
	case fault.Invalid, fault.TooLarge, fault.Unsupported, fault.NotFound:
		return Refused
	}
	return ""
}

// Fit says why a request that comes now should not wait for this model; "" if
// nothing speaks against it.
func (f *Fleet) Fit(wait time.Duration) Cause {
	switch o := f.pool.Outlook(time.Now()); {
	case o.Down:
		return Down
	case wait > 0 && o.Soon > wait:
		return Full
	}
	return ""
}

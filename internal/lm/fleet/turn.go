package fleet

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// Turn is the fleet as the engine of one request. With a chain it goes on to
// other models while nothing of an answer has come. Several requests may share one
// that has no chain and tells nobody where it is.
type Turn struct {
	*Fleet
	chain   Chain
	shadow  Shadow
	settled bool           // goes on to no other model
	told    func(lm.Place) // hears of the place in line; nil: nobody
	at      atomic.Pointer[Lease]
	avoid   []string // who failed this request after its beginning
}

var _ lm.Engine = (*Turn)(nil)

// Name is that of the engine which has the request, or had it last.
func (t *Turn) Name() string {
	if l := t.at.Load(); l != nil {
		return l.Engine.Name()
	}
	return t.model
}

// Route is how the request came to its engine; nil before that.
func (t *Turn) Route() *Lease { return t.at.Load() }

// Take waits for a member and notes which one it is.
func (t *Turn) Take(ctx context.Context, ask *balance.Ask) (*Lease, error) {
	if rest := respite(ask.Tried); rest > 0 && pause.For(ctx, rest) != nil {
		err := ctx.Err()
		return nil, fault.Wrap(err, fault.CodeOf(err), "the request was given up before another engine was asked")
	}
	for {
		p := patience{most: t.o.Wait, stay: t.told != nil, told: t.told}
		if ask.Within > 0 {
			p.most = min(p.most, ask.Within)
		}
		if t.chain.Wait > 0 && t.follows(Full) {
			p.most, p.stay = min(p.most, t.chain.Wait), false
		}
		l, err := t.take(ctx, *ask, p)
		if err == nil {
			t.at.Store(l)
			return l, nil
		}
		if t.settled && t.follows(causeOf(err)) {
			return nil, fault.Wrap(err, fault.CodeOf(err), "%s", fault.MessageOf(err)) // to be asked again at once, for another model
		}
		if !t.step(ctx, ask, err) {
			return nil, err
		}
	}
}

// Again reports whether a request of which nothing was shown is to be taken to
// an engine once more, of this model or of the next one.
func (t *Turn) Again(ctx context.Context, ask *balance.Ask, l *Lease, err error) bool {
	return err != nil && (t.Fleet.Again(ctx, ask, l, err) || t.step(ctx, ask, err))
}

// Avoid has what is asked from now on go past a member that failed the request
// after its beginning: by the same model, which the client has seen.
func (t *Turn) Avoid(name string) {
	t.avoid, t.chain.Rest = append(t.avoid, name), nil
}

// Models lists the fleet's one model.
func (t *Turn) Models(context.Context) ([]lm.Model, error) { return []lm.Model{t.Model()}, nil }

// ask is what the pool has to know of a request.
func ask(req lm.Request) balance.Ask {
	var c, key balance.Chain
	c.WriteString(req.Prompt)
	for _, m := range req.Messages {
		c.WriteString(string(m.Role))
		for _, p := range m.Pictures {
			c.Write(p.Content)
		}
		c.WriteString(m.Text)
		c.Write(m.Raw)
	}
	a := balance.Ask{Key: c.Key(), Prefix: c.Sums(), Batch: req.Batch, Within: req.Within}
	if req.Session != "" {
		key.WriteString(req.Session)
		a.Key = key.Key()
	}
	a.Tokens = Tokens(c.Len(), req.Params.MaxTokens)
	return a
}

// What a request takes of its engine's memory is guessed before it is known.
const (
	bytesOfToken = 4
	usualAnswer  = 512
	absurd       = 1 << 24 // more than that is no answer
)

// Tokens is about how many a request takes whose prompt has so many bytes; answer
// is its most for the answer, 0 if it gives none.
func Tokens(prompt, answer int) int {
	if answer <= 0 {
		answer = usualAnswer
	}
	return prompt/bytesOfToken + min(answer, absurd)
}

// Generate streams one answer. As long as nothing has come of it, a failed
// engine is replaced by another one, and by another model where a chain says so.
// But not for a conversation: its prompt was made for this model, so that it
// asks for an engine again.
func (t *Turn) Generate(ctx context.Context, req lm.Request, emit func(lm.Chunk) error) (res lm.Result, err error) {
	if (req.Session != "" || req.Prefix != nil) && len(t.chain.Rest) > 0 {
		t.settled = true
	}
	if req.Prefix == nil && !req.Batch {
		if f := t.Aside(); f != nil {
			f.Listen(copied(req))
		}
	}
	if req.Waiting != nil {
		t.told = req.Waiting
	}
	x, err := t.try(ctx, ask(req), func(ctx context.Context, l *Lease, may func() bool) (x attempt, err error) {
		req := req
		req.Model = l.Model.ID
		x.res, err = l.Engine.Generate(ctx, req, func(c lm.Chunk) error {
			if !x.shown {
				if !may() {
					return errLost
				}
				x.shown = true
				if !l.Model.Resume.Continues() { // what is shown could not be gone on with
					l.Keep()
				}
			}
			return emit(c)
		})
		return x, err
	})
	return x.res, err
}

// Embed returns the vectors of the inputs.
func (t *Turn) Embed(ctx context.Context, _ string, inputs []string) (vectors [][]float32, usage lm.Usage, err error) {
	var c balance.Chain
	for _, s := range inputs {
		c.WriteString(s)
	}
	if t.Hedges() {
		t.chain.Hedge = Hedge{} // nothing of it comes before the whole
	}
	_, err = t.try(ctx, balance.Ask{Key: c.Key()}, func(ctx context.Context, l *Lease, _ func() bool) (attempt, error) {
		vectors, usage, err = l.Engine.Embed(ctx, l.Model.ID, inputs)
		return attempt{}, err
	})
	return vectors, usage, err
}

// attempt is what came of asking one member.
type attempt struct {
	res   lm.Result
	shown bool // something of an answer
}

// try asks one member after the other, until one has answered, something of an
// answer has been shown, or it makes no sense to go on.
func (t *Turn) try(ctx context.Context, ask balance.Ask, do func(context.Context, *Lease, func() bool) (attempt, error)) (last attempt, err error) {
	ask.Tried = slices.Clone(t.avoid)
	for {
		l, none := t.Take(ctx, &ask)
		if none != nil {
			if err != nil && ctx.Err() == nil {
				return last, err // says more than that nobody else was free
			}
			return last, none
		}
		last, l, err = Hedged(ctx, t, l, func(ctx context.Context, l *Lease, may func() bool) (attempt, error) {
			run, begun, end := l.Silent(ctx)
			defer end()
			x, err := do(run, l, func() bool {
				if !may() {
					return false
				}
				begun()
				l.First()
				return true
			})
			return x, l.Blame(run, err)
		})
		again := !last.shown && t.Again(ctx, &ask, l, err)
		l.Done(ctx, err, again)
		if !again {
			if err != nil {
				t.Avoid(l.Engine.Name())
			}
			return last, err
		}
	}
}

// each asks the members that are well one after the other, without taking a
// place of theirs: what it asks is cheap.
func (t *Turn) each(ctx context.Context, do func(context.Context, Member) error) error {
	states, _ := t.States()
	err := error(fault.New(fault.Unavailable, "no engine of the model %q is well now", t.model))
	for i, m := range *t.members.Load() {
		if i < len(states) && states[i].Out > 0 {
			continue
		}
		run, cancel := context.WithTimeout(ctx, asking)
		err = do(run, m)
		cancel()
		if err == nil || ctx.Err() != nil || verdict(ctx, err) == balance.Dropped {
			return err
		}
	}
	return err
}

// Count asks one of the members.
func (t *Turn) Count(ctx context.Context, req lm.Request) (n int, err error) {
	err = t.each(ctx, func(ctx context.Context, m Member) error {
		req.Model = m.Model.ID
		n, err = m.Engine.Count(ctx, req)
		return err
	})
	return n, err
}

// Health is nil if one member can take a request.
func (t *Turn) Health(ctx context.Context) error {
	return t.each(ctx, func(ctx context.Context, m Member) error { return m.Engine.Health(ctx) })
}

// Close does nothing: the members are not the fleet's own.
func (t *Turn) Close() error { return nil }

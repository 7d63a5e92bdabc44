package fleet

import (
	"context"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Turn is the fleet as the engine of one request.
type Turn struct {
	*Fleet
	at atomic.Pointer[Lease]
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
func (t *Turn) Take(ctx context.Context, ask balance.Ask) (*Lease, error) {
	l, err := t.Fleet.Take(ctx, ask)
	if err == nil {
		t.at.Store(l)
	}
	return l, err
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
	if req.Session == "" {
		return balance.Ask{Key: c.Key(), Prefix: c.Sums(), Batch: req.Batch}
	}
	key.WriteString(req.Session)
	return balance.Ask{Key: key.Key(), Prefix: c.Sums(), Batch: req.Batch}
}

// Generate streams one answer. As long as nothing has come of it, a failed
// engine is replaced by another one.
func (t *Turn) Generate(ctx context.Context, req lm.Request, emit func(lm.Chunk) error) (res lm.Result, err error) {
	shown := false
	err = t.try(ctx, ask(req), func(ctx context.Context, l *Lease, first func()) error {
		req.Model = l.Model.ID
		res, err = l.Engine.Generate(ctx, req, func(c lm.Chunk) error {
			if !shown {
				shown = true
				first()
				if !l.Model.Resume.Continues() { // what is shown could not be gone on with
					l.Keep()
				}
			}
			return emit(c)
		})
		return err
	}, func() bool { return !shown })
	return res, err
}

// Embed returns the vectors of the inputs.
func (t *Turn) Embed(ctx context.Context, _ string, inputs []string) (vectors [][]float32, usage lm.Usage, err error) {
	var c balance.Chain
	for _, s := range inputs {
		c.WriteString(s)
	}
	err = t.try(ctx, balance.Ask{Key: c.Key()}, func(ctx context.Context, l *Lease, _ func()) error {
		vectors, usage, err = l.Engine.Embed(ctx, l.Model.ID, inputs)
		return err
	}, func() bool { return true })
	return vectors, usage, err
}

// try asks one member after the other, until one has answered, it makes no
// sense to go on, or unseen says that something has been shown.
func (t *Turn) try(ctx context.Context, ask balance.Ask, do func(context.Context, *Lease, func()) error, unseen func() bool) error {
	var last error
	for {
		l, err := t.Take(ctx, ask)
		if err != nil {
			if last != nil && ctx.Err() == nil {
				return last // says more than that nobody else was free
			}
			return err
		}
		run, begun, end := l.Silent(ctx)
		err = l.Blame(run, do(run, l, func() { begun(); l.First() }))
		end()
		again := unseen() && t.Again(ctx, &ask, l, err)
		l.Done(ctx, err, again)
		if !again {
			return err
		}
		last = err
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

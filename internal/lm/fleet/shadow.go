package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Shadow chooses requests that another model gets too, to see how it does.
type Shadow interface {
	// Next is the fleet that gets this request too; nil: nobody does.
	Next() *Fleet
}

// Shadow has a share of the turns' requests sent to another model too.
func (t *Turn) Shadow(s Shadow) { t.shadow = s }

// Aside is the fleet that gets this turn's request too, once; nil: none.
func (t *Turn) Aside() *Fleet {
	if t.shadow == nil {
		return nil
	}
	f := t.shadow.Next()
	t.shadow = nil
	return f
}

// Listened is what became of a request that a model got too.
type Listened struct {
	Engine, Model string // Engine "": nobody had a slot for it
	// Outcome is answered, failed, skipped (no idle slot), cut (people needed
	// the slot) or unfit (a request that can't be asked twice).
	Outcome     string
	First, Took time.Duration
	Usage       lm.Usage
}

const longestShadow = 5 * time.Minute

// Listen asks a request whose answer nobody gets. It takes an idle slot or none,
// gives that back when somebody needs it, and returns at once.
func (f *Fleet) Listen(request func() (lm.Request, error)) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), longestShadow)
		defer cancel()
		x := f.listen(ctx, request)
		if f.o.Observer != nil {
			f.o.Observer.Shadowed(x)
		}
	}()
}

func (f *Fleet) listen(ctx context.Context, request func() (lm.Request, error)) Listened {
	x := Listened{Model: f.model, Outcome: "unfit"}
	req, err := request()
	if err != nil {
		return x
	}
	req.Batch, x.Outcome = true, "skipped"
	l, err := f.take(ctx, ask(req), patience{})
	if err != nil {
		return x
	}
	x.Engine, req.Model = l.Engine.Name(), l.Model.ID
	began := time.Now()
	run, begun, end := l.Silent(ctx)
	defer end()
	res, err := l.Engine.Generate(run, req, func(lm.Chunk) error {
		if x.First == 0 {
			begun()
			l.First()
			x.First = time.Since(began)
		}
		return nil
	})
	err = l.Blame(run, err)
	l.Done(ctx, err, false)
	x.Took, x.Usage, x.Outcome = time.Since(began), res.Usage, "answered"
	switch {
	case errors.Is(err, errYield):
		x.Outcome = "cut"
	case verdict(ctx, err) == balance.Dropped && fault.Is(err, fault.Unsupported):
		x.Outcome = "unfit"
	case err != nil:
		x.Outcome = "failed"
	}
	return x
}

// copied is a request that does not change with the first.
func copied(req lm.Request) func() (lm.Request, error) {
	req.Messages = slices.Clone(req.Messages)
	return func() (lm.Request, error) { return req, nil }
}

package roster

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// Share is a model and how much of something it gets.
type Share struct {
	Model   string
	Percent float64 // 0: of several, what the others leave
}

// Alias is a name that clients ask for, and what stands behind it. What it names
// are models of engines, never other aliases.
type Alias struct {
	Name     string
	Serve    []Share       // each gets its share of the conversations; empty: the model of this very name
	Fallback []string      // asked one after the other when that can't answer
	On       []fleet.Cause // when; empty: down and full
	Wait     time.Duration // in line before "full" holds; 0 = 5 s
	Hedge    fleet.Hedge
	Shadow   Share // gets a share of the requests too, and nobody its answers; zero: none
}

const lineBefore = 5 * time.Second

// Alias adds names for models. It is called before anybody asks.
func (r *Roster) Alias(all ...Alias) {
	for _, a := range all {
		if len(a.Serve) == 0 {
			a.Serve = []Share{{Model: a.Name}}
		}
		if len(a.On) == 0 {
			a.On = []fleet.Cause{fleet.Down, fleet.Full}
		}
		if a.Wait == 0 {
			a.Wait = lineBefore
		}
		s := &alias{Alias: a}
		if a.Shadow.Model != "" {
			s.shadow = &shadow{r: r, model: a.Shadow.Model, share: a.Shadow.Percent / 100}
		}
		for _, m := range a.Serve {
			r.behind[m.Model] = true
		}
		for _, m := range append(a.Fallback[:len(a.Fallback):len(a.Fallback)], a.Shadow.Model) {
			r.behind[m] = true
		}
		r.aliases[a.Name] = s
		r.named = append(r.named, s)
	}
}

// alias is one in use.
type alias struct {
	Alias
	shadow *shadow
}

// pick is the model of a conversation: by weighted rendezvous hashing, so that
// every node picks the same one, and a share that changes moves only those
// conversations between that model and the others that it has to.
func (a *alias) pick(conversation string) string {
	if len(a.Serve) == 1 {
		return a.Serve[0].Model
	}
	rest := 100.0
	for _, s := range a.Serve {
		rest -= s.Percent
	}
	best, least := "", math.Inf(1)
	for _, s := range a.Serve {
		weight := s.Percent
		if weight == 0 {
			weight = rest
		}
		var h balance.Chain
		h.WriteString(a.Name + "\x00" + s.Model + "\x00" + conversation)
		u := (float64(h.Key()>>11) + 0.5) / (1 << 53)
		if x := -math.Log(u) / weight; x < least {
			best, least = s.Model, x
		}
	}
	return best
}

// chain are the models that may answer a conversation, in order.
func (a *alias) chain(conversation string) []string {
	all := []string{a.pick(conversation)}
	for _, m := range a.Fallback {
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}

// as finds the engine for an alias: the first model of its chain that can take a
// request now. If none can, it waits for the first.
func (r *Roster) as(ctx context.Context, a *alias, conversation string) (lm.Engine, lm.Model, error) {
	names := a.chain(conversation)
	var all []*fleet.Fleet // nil: not ready
	at, instead := 0, fleet.Cause("")
	for i, name := range names {
		f, asleep := r.ready(ctx, name)
		all = append(all, f)
		why := fleet.Down
		switch {
		case f != nil:
			why = f.Fit(a.Wait)
		case asleep: // it starts for who asks
			why = ""
		}
		if at == i && why != "" && slices.Contains(a.On, why) && i+1 < len(names) {
			at = i + 1
			if instead == "" {
				instead = why
			}
		}
	}
	if last := all[len(all)-1]; at == len(names)-1 && (last == nil || last.Fit(0) == fleet.Down) {
		at, instead = 0, "" // nobody can: the first is worth waiting for
	}
	f := all[at]
	for f == nil {
		e, m, err := r.plain(ctx, names[at], true)
		if err != nil {
			return nil, lm.Model{}, err
		}
		t, ok := e.(*fleet.Turn)
		if !ok {
			return e, m, nil
		}
		f = t.Fleet
	}
	c := fleet.Chain{Asked: a.Name, On: a.On, Wait: a.Wait, Hedge: a.Hedge, Instead: instead}
	for _, next := range all[at+1:] {
		if next != nil {
			c.Rest = append(c.Rest, next)
		}
	}
	t := f.Turn()
	t.Follow(c)
	if a.shadow != nil {
		t.Shadow(a.shadow)
	}
	m := f.Model()
	m.Varies = len(names) > 1 || len(a.Serve) > 1
	return t, m, nil
}

// ready is the fleet of a model whose engines are known now; asleep says that
// there is none because it is started for who asks.
func (r *Roster) ready(ctx context.Context, model string) (f *fleet.Fleet, asleep bool) {
	e, _ := r.known(model, true)
	if e == nil { // nobody waits long for one that can't be asked what it serves
		var wait []*Place
		brief, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
		defer cancel()
		e, _, wait, _ = r.find(brief, model, true)
		asleep = slices.ContainsFunc(wait, (*Place).gathers)
	}
	if t, ok := e.(*fleet.Turn); ok {
		return t.Fleet, false
	}
	return nil, asleep
}

// listed are the aliases as models.
func (r *Roster) listed(models []lm.Model) []lm.Model {
	var out []lm.Model
	for _, a := range r.named {
		if slices.ContainsFunc(models, func(m lm.Model) bool { return m.ID == a.Name }) {
			continue
		}
		m := lm.Model{ID: a.Name}
		if i := slices.IndexFunc(models, func(m lm.Model) bool { return m.ID == a.Serve[0].Model }); i >= 0 {
			m = models[i]
			m.ID = a.Name
		}
		out = append(out, m)
	}
	return out
}

// missing is the fault about an alias none of whose models is known.
func missing(a *alias, err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Unavailable, "no engine serves the model that stands behind %q now: %s", a.Name, fault.MessageOf(err))
	}
	return err
}

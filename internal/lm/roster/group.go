package roster

import (
	"slices"

	"github.com/parleyhq/parley/internal/lm"
)

// Group is a place for engines that come and go: replicas that serve the same
// models and are started when there is work for them. While none runs, requests
// for its models are held.
type Group struct {
	place *Place
	woken func()

	// Guarded by the roster's mu:
	replicas int  // that are ready
	waiting  int  // requests that are held in Find
	refused  bool // nobody waits for it now
}

// Gather makes the place one for replicas of these models, of which there is at
// least one. woken is called when somebody waits for one; it must not block.
func (p *Place) Gather(models []string, woken func()) *Group {
	g := &Group{place: p, woken: woken}
	p.change(func() {
		p.group, p.declared = g, models
		p.models = onlyDeclared(nil, models)
	})
	return g
}

// Say tells why no replica is ready.
func (g *Group) Say(why string) {
	p := g.place
	p.r.mu.Lock()
	same := p.problem == why && !g.refused
	p.r.mu.Unlock()
	if !same {
		p.change(func() { p.problem, g.refused = why, false })
	}
}

// Refuse says that replicas can't be started now: requests fail with the reason
// instead of waiting, until the next Say or Add. Whoever asks is still heard of.
func (g *Group) Refuse(why string) {
	g.place.change(func() { g.place.problem, g.refused = why, true })
}

// Add takes a replica in that is ready. tune is as in Serve.
func (g *Group) Add(name string, e lm.Engine, tune func(lm.Model) lm.Model) *Place {
	p := &Place{r: g.place.r, name: name, engine: e, tune: tune, of: g}
	p.change(func() {
		p.declared, p.weight = g.place.declared, g.place.weight
		g.replicas++
		g.refused = false
		at := slices.Index(p.r.places, g.place) + 1
		p.r.places = slices.Insert(p.r.places, at, p)
	})
	go func() {
		p.learn()
		g.regroup()
	}()
	return p
}

// regroup tells the fleets who their members are, so that those that wait in
// line hear of it without somebody coming after them.
func (g *Group) regroup() {
	r := g.place.r
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.teams {
		if g.place.servesLocked(name) {
			r.knownLocked(name, true)
		}
	}
}

// Remove takes a replica out: it gets no requests any more, but for those that
// have found it in this moment. Those that it has go on.
func (g *Group) Remove(p *Place) {
	p.change(func() {
		if at := slices.Index(p.r.places, p); at >= 0 {
			p.r.places = slices.Delete(p.r.places, at, at+1)
			g.replicas--
		}
	})
	g.regroup()
}

// Waiting is how many requests wait for one of the group's replicas: because
// none runs, or because all are busy.
func (g *Group) Waiting() int {
	n := g.place.Waiting()
	g.place.r.mu.Lock()
	defer g.place.r.mu.Unlock()
	return n + g.waiting
}

// hold counts requests that wait for places in or out.
func (r *Roster) hold(wait []*Place, change int) {
	var wake []func()
	r.mu.Lock()
	for _, p := range wait {
		if p.group != nil {
			p.group.waiting += change
			wake = append(wake, p.group.woken)
		}
	}
	r.mu.Unlock()
	if change > 0 {
		for _, f := range wake {
			f()
		}
	}
}

// gathers reports whether the place is a group's.
func (p *Place) gathers() bool {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.group != nil
}

// broken reports whether the place is that of a group that can't start. Whoever
// asks has asked for it.
func (p *Place) broken() bool {
	p.r.mu.Lock()
	g := p.group
	broken := g != nil && g.refused
	p.r.mu.Unlock()
	if broken {
		g.woken()
	}
	return broken
}

// promised are the models of a group, as they were when one ran.
func (p *Place) promised() []lm.Model {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.models
}

// mayServe reports whether an engine that is not ready could serve the model.
func (p *Place) mayServe(model string) bool {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.servesLocked(model)
}

func (p *Place) servesLocked(model string) bool {
	return len(p.declared) == 0 || slices.ContainsFunc(p.declared, func(id string) bool { return id == model || means(model, p.name, id) })
}

package conversation

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/event"
)

// Out is how far what bots say has gone out on a channel that has to be called.
type Out struct {
	Upto uint64 // every item up to this position is there, or is a dead letter

	Seq, Sum uint64       // of the newest entry: what the next one must expect
	Last     event.Posted // which that is
	At       time.Time    // when it was written
	Tries    int          // how often the item of Last was refused
	Since    time.Time    // since when items are refused; kept when one becomes a dead letter

	there map[uint64]there // by the positions that name them
	dead  map[uint64]bool
}

// there is what is known of an item that the other side has.
type there struct{ ref, by string }

// Ref returns what the other side calls the item that a position names, or "".
func (o *Out) Ref(pos uint64) string { return o.there[pos].ref }

// Named returns the position that names what the other side calls ref, alone or
// among the messages that it is there; 0 = it is unknown.
func (o *Out) Named(ref string) uint64 {
	for pos, t := range o.there {
		if t.ref == ref || slices.Contains(strings.Fields(t.ref), ref) {
			return pos
		}
	}
	return 0
}

// By returns who brought that item there, or goes on with it.
func (o *Out) By(pos uint64) string { return o.there[pos].by }

// Dead reports whether the item at a position is a dead letter.
func (o *Out) Dead(pos uint64) bool { return o.dead[pos] }

func (o *Out) apply(e event.Entry) {
	p := *e.Event.Posted
	o.Seq, o.Sum = e.Seq, e.Sum
	// A dead letter that was posted after all, or a stream that somebody else
	// goes on with, changes nothing for the item that is on its way.
	if aside := p.Step == event.There && p.Pos <= o.Upto && p.Pos != o.Last.Pos; !aside {
		if p.Pos != o.Last.Pos {
			o.Tries, o.Since = 0, time.Time{}
		}
		o.Last, o.At = p, e.Time
	}
	if !p.Since.IsZero() {
		o.Since = p.Since
	}
	switch p.Step {
	case event.Refused:
		o.Tries++
	case event.There:
		if p.Ref != "" {
			if o.there == nil {
				o.there = map[uint64]there{}
			}
			o.there[cmp.Or(p.ID, p.Pos)] = there{p.Ref, p.By}
		}
		delete(o.dead, p.Pos)
		o.Upto = max(o.Upto, p.Pos)
	case event.Dead:
		if o.dead == nil {
			o.dead = map[uint64]bool{}
		}
		o.dead[p.Pos] = true
		o.Upto = max(o.Upto, p.Pos)
	}
}

package account

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ledger is one budget's replicated value: who holds how much of each window.
// Windows only go forward, so that no clock opens one twice; the clock that is
// furthest ahead sets the pace.
type ledger struct {
	Windows [spans]window `json:"windows"`
	By      string        `json:"by"` // who wrote it last
	At      int64         `json:"at"` // by whose clock
}

// window is one span's. Held is by holder: "node#purse" of one that may still
// spend, "node" for what that node's former ones had.
type window struct {
	Start int64              `json:"start"`
	Held  map[string]Amounts `json:"held,omitempty"`
}

func (w window) given() (sum Amounts) {
	for _, a := range w.Held {
		sum = sum.plus(a)
	}
	return sum
}

func readLedger(b []byte) (l ledger, err error) {
	if len(b) > 0 {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		return ledger{}, fmt.Errorf("read a budget's ledger: %w", err)
	}
	return l, nil
}

// turn opens the windows that begin at now or before, for the spans that are
// limited.
func (l *ledger) turn(b *Budget, now time.Time) {
	for s := range spans {
		l.open(b, s, s.begin(now))
	}
}

func (l *ledger) open(b *Budget, s Span, start int64) {
	if b.Limits[s] != (Amounts{}) && start > l.Windows[s].Start {
		l.Windows[s] = window{Start: start}
	}
}

// fold puts what the node's former purses hold under the node's own name: they
// spend no more.
func (l *ledger) fold(node, id string) {
	for s := range l.Windows {
		held := l.Windows[s].Held
		for other, a := range held {
			if other != id && strings.HasPrefix(other, node+"#") {
				held[node] = held[node].plus(a)
				delete(held, other)
			}
		}
	}
}

// left is what nobody holds, where there is a limit.
func (l *ledger) left(b *Budget) (out [spans]Amounts) {
	for s, w := range l.Windows {
		given := w.given()
		for m, most := range b.Limits[s] {
			out[s][m] = max(0, most-given[m])
		}
	}
	return out
}

// draw has a holder get what it needs of every limited window, or nothing if one
// of them has not got it. On top comes what it would like to have: all nodes
// together never more than half of what is left, so that parts get smaller as a
// budget runs out.
func (l *ledger) draw(b *Budget, id string, need [spans]Amounts, like Amounts, nodes int) (got [spans]Amounts, ok bool) {
	left := l.left(b)
	for s := range spans {
		for m, most := range b.Limits[s] {
			if most == 0 {
				continue
			}
			rest := left[s][m] - need[s][m]
			if rest < 0 && need[s][m] > 0 {
				return [spans]Amounts{}, false
			}
			got[s][m] = need[s][m] + max(0, min(max(like[m], rest/64), rest/int64(2*nodes)))
		}
	}
	for s := range spans {
		l.hold(s, id, got[s])
	}
	return got, got != [spans]Amounts{}
}

// hold adds to what a holder has.
func (l *ledger) hold(s Span, id string, more Amounts) {
	if more == (Amounts{}) {
		return
	}
	w := &l.Windows[s]
	if w.Held == nil {
		w.Held = map[string]Amounts{}
	}
	w.Held[id] = w.Held[id].plus(more)
}

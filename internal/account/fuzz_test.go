package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The decision, whatever comes: nobody gets what is not there, parts add up, and
// a refused one changes nothing.
func FuzzDraw(f *testing.F) {
	f.Add(int64(3), int64(0), []byte{1, 1, 1, 1, 1}, 8)
	f.Add(int64(100_000), int64(50), []byte{9, 200, 3, 77, 0, 255, 31}, 3)
	f.Fuzz(func(t *testing.T, tokens, requests int64, asks []byte, nodes int) {
		b := Budget{Name: "x", For: Everyone}
		b.Limits[Minute], b.Limits[Month] = Amounts{requests, tokens, 0}, Amounts{0, tokens, 0}
		if b.Check() != nil || nodes < 1 || nodes > 1000 || len(asks) > 1000 {
			return
		}
		var l ledger
		now := time.Unix(1_700_000_000, 0)
		for i, ask := range asks {
			if ask == 255 {
				now = now.Add(time.Minute)
			}
			l.turn(&b, now)
			id := fmt.Sprint("n", i%max(nodes, 1), "#", i%3)
			before := l.left(&b)
			cost := Amounts{1, int64(ask) * 7, 0}
			var need [spans]Amounts
			for s := range spans {
				need[s] = cost
			}
			got, ok := l.draw(&b, id, need, Amounts{int64(ask), 1 << 40, 5}, nodes)
			after := l.left(&b)
			for s := range spans {
				for m, most := range b.Limits[s] {
					if most == 0 {
						continue
					}
					if ok && (got[s][m] < cost[m] || after[s][m] != before[s][m]-got[s][m]) || !ok && after[s][m] != before[s][m] || after[s][m] < 0 {
						t.Fatalf("ask %d of %v: got %d, left %d before and %d after, ok %v", cost[m], b.Limits[s], got[s][m], before[s][m], after[s][m], ok)
					}
					if given := l.Windows[s].given()[m]; given > most {
						t.Fatalf("%d given of %d", given, most)
					}
				}
			}
			if ask%5 == 0 {
				l.fold(strings.Split(id, "#")[0], id)
				if diff := cmp.Diff(after, l.left(&b)); diff != "" {
					t.Fatal(diff)
				}
			}
		}
	})
}

// What a journal holds may be anything after a crash of the machine.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"life\":\"n-abc\"}\n{\"n\":1,\"day\":\"2026-11-22\",\"requests\":1}\n{\"n\":2,\"day\":\"2026-1"))
	f.Add([]byte("\x00\x00\n{\"life\":\"a.b\"}\n{\"n\":1,\"day\":\"2026-11-22\",\"requests\":-1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, l := range readJournal(b) {
			last := uint64(0)
			for _, e := range l.entries {
				if e.N <= last || strings.ContainsAny(l.name+e.Day, ". *>") || e.Requests < 0 || e.Money < 0 {
					t.Fatalf("%q: %+v", l.name, e)
				}
				last = e.N
			}
		}
	})
}

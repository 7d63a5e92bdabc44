package balance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// What is foretold comes true for about four of five, whether answers all take
// the same time or not. Nothing is foretold while nothing is known.
func TestForecast(t *testing.T) {
	const tick = 20 * time.Millisecond
	for _, spread := range []float64{0.2, 1} {
		t.Run(fmt.Sprint(spread), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, 7))
			p := pool(t, Options{}, 2, 2)
			type job struct {
				t    *Ticket
				ends time.Time
				told Forecast
				came time.Time
			}
			var jobs []*job
			next := start
			inside, outside, late := 0, 0, 0
			for step := range 20_000 {
				now := start.Add(time.Duration(step) * tick)
				if !now.Before(next) {
					x := enter(t, p, now, Ask{Key: uint64(step) + 1})
					j := &job{t: x, came: now}
					if there(x) == "" {
						if j.told = p.Forecast(now, x); j.told.Place < 1 {
							t.Fatalf("who waits has the place %d", j.told.Place)
						}
					}
					jobs = append(jobs, j)
					next = now.Add(time.Duration(rnd.ExpFloat64() * 0.27 * float64(time.Second)))
				}
				for i := len(jobs) - 1; i >= 0; i-- {
					j := jobs[i]
					switch {
					case there(j.t) == "":
					case j.ends.IsZero():
						took := 1 + spread*(rnd.ExpFloat64()-1)
						j.ends = now.Add(time.Duration(took * float64(time.Second)))
						if w := now.Sub(j.came); j.told.Late > 0 {
							if w >= j.told.Soon-tick && w <= j.told.Late {
								inside++
							} else {
								outside++
								if w > j.told.Late {
									late++
								}
							}
						}
					case !now.Before(j.ends):
						p.Done(now, j.t, Outcome{})
						jobs = append(jobs[:i], jobs[i+1:]...)
					}
				}
			}
			share := float64(inside) / float64(inside+outside)
			t.Logf("%d waited, %.2f of them as long as was foretold, %.2f longer", inside+outside, share, float64(late)/float64(inside+outside))
			if inside+outside < 300 || share < 0.7 {
				t.Errorf("of %d that waited %.2f began when it was foretold", inside+outside, share)
			}
		})
	}
}

// Who can't be served in time is told so at once, and when to come back.
func TestRefusesWhatWouldComeTooLate(t *testing.T) {
	p := pool(t, Options{}, 1)
	now := start
	for range 10 { // an answer takes 10 s
		x := enter(t, p, now, Ask{})
		now = now.Add(10 * time.Second)
		p.Done(now, x, Outcome{})
	}
	enter(t, p, now, Ask{Key: 1})
	for i := range 5 {
		enter(t, p, now, Ask{Key: uint64(i) + 2, Within: time.Minute})
	}
	_, err := p.Enter(now, Ask{Key: 9, Within: 2 * time.Second})
	if back := fault.RetryAfterOf(err); !fault.Is(err, fault.Limited) || back < 40*time.Second || back > 90*time.Second {
		t.Errorf("behind five in line of 10 s each: %v, come back after %v", err, back)
	}
	if _, waiting := p.States(now); waiting != 5 {
		t.Errorf("%d wait", waiting)
	}
	if o := p.Outlook(now); o.Down || o.Place != 6 || o.Soon < 20*time.Second || o.Late < o.Soon {
		t.Errorf("outlook: %+v", o)
	}
}

func TestOutlookOfWhatIsBroken(t *testing.T) {
	p := pool(t, Options{Errors: 1, Out: 10 * time.Second}, 1)
	if o := p.Outlook(start); o.Down || o.Place != 0 {
		t.Errorf("at first: %+v", o)
	}
	p.Done(start, enter(t, p, start, Ask{}), Outcome{Verdict: Failed})
	if o := p.Outlook(start); !o.Down || o.Soon != 10*time.Second || o.Late != 0 {
		t.Errorf("out: %+v", o)
	}
	if o := p.Outlook(start.Add(11 * time.Second)); o.Down {
		t.Errorf("when it may be tried: %+v", o)
	}
	p = pool(t, Options{}, 1)
	p.Done(start, enter(t, p, start, Ask{}), Outcome{Verdict: Refused, After: 20 * time.Second})
	if o := p.Outlook(start); o.Down || o.Place != 1 || o.Soon != 20*time.Second {
		t.Errorf("refuses: %+v", o)
	}
}

// Slots are free, but not the memory that the engine has for what it holds.
func TestTokensInFlight(t *testing.T) {
	p := New(Options{})
	p.Set(start, []Replica{{Name: "a", Slots: 8, Tokens: 1000}})
	first := enter(t, p, start, Ask{Key: 1, Tokens: 600})
	large := enter(t, p, start, Ask{Key: 2, Tokens: 700})
	small := enter(t, p, start, Ask{Key: 3, Tokens: 300})
	if there(first) == "" || there(large) != "" || there(small) == "" {
		t.Fatalf("600 of 1000, then 700, then 300: %q %q %q", there(first), there(large), there(small))
	}
	now := start.Add(2 * time.Second) // now nobody goes past it any more
	late := enter(t, p, now, Ask{Key: 4, Tokens: 50})
	if there(late) != "" {
		t.Error("a small one went past one that has waited for long")
	}
	p.Done(now, first, Outcome{})
	if there(large) == "" || there(late) != "" {
		t.Errorf("300 and 700 of 1000: %q, and 50 more: %q", there(large), there(late))
	}
	p.Done(now, small, Outcome{})
	p.Done(now, large, Outcome{})
	if there(late) == "" {
		t.Error("it waits though nobody else is there")
	}
	p.Done(now, late, Outcome{})
	huge := enter(t, p, now, Ask{Key: 5, Tokens: 5000})
	if there(huge) == "" {
		t.Error("one that is larger than all the room has to be able to go alone")
	}
	p.Done(now, huge, Outcome{})
	if p.replicas[0].tokens != 0 {
		t.Errorf("%d tokens are left in the books", p.replicas[0].tokens)
	}
}

// What is far gets what the near ones can't begin sooner.
func TestDistance(t *testing.T) {
	p := New(Options{})
	p.Set(start, []Replica{{Name: "near", Slots: 2}, {Name: "far", Slots: 8, Distance: 150 * time.Millisecond}})
	now := start
	for range 20 { // an answer takes a second
		x := enter(t, p, now, Ask{Key: 1})
		now = now.Add(time.Second)
		p.Done(now, x, Outcome{})
	}
	for key := range uint64(50) {
		one, two := enter(t, p, now, Ask{Key: 2 * key}), enter(t, p, now, Ask{Key: 2*key + 1})
		if there(one) != "near" || there(two) != "near" {
			t.Fatalf("%q and %q, though the near one has two slots", there(one), there(two))
		}
		now = now.Add(500 * time.Millisecond)
		three := enter(t, p, now, Ask{Key: 1000 + key})
		if there(three) != "far" {
			t.Fatalf("%q: the near one is not free before half a second", there(three))
		}
		p.Done(now.Add(500*time.Millisecond), one, Outcome{})
		p.Done(now.Add(500*time.Millisecond), two, Outcome{})
		now = now.Add(1150 * time.Millisecond)
		p.Done(now, three, Outcome{})
	}
	text := prompt(160, 1) // 32 KiB: what knows a long prompt is worth the way
	x := enter(t, p, now, Ask{Key: 1, Prefix: text, Tried: []string{"near"}})
	p.Done(now, x, Outcome{})
	if x = enter(t, p, now, Ask{Key: 1, Prefix: text}); there(x) != "far" || x.Why != Affinity {
		t.Errorf("a conversation that began far away: %q, %s", there(x), x.Why)
	}
}

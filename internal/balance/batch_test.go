package balance

import (
	"math"
	"testing"
	"time"
)

func yields(t *Ticket) bool {
	select {
	case <-t.Yield():
		return true
	default:
		return false
	}
}

// The batch lane fills what is idle, but for a slot that is kept for the next
// person.
func TestBatchFillsWhatIsIdle(t *testing.T) {
	p := pool(t, Options{}, 4, 4)
	in := 0
	for range 20 {
		if there(enter(t, p, start, Ask{Batch: true})) != "" {
			in++
		}
	}
	if in != 7 {
		t.Errorf("%d of 8 slots are in use, want all but one", in)
	}
	if x := enter(t, p, start, Ask{Key: 1}); there(x) == "" {
		t.Error("somebody waits though a slot was kept")
	} else if x.Why == Idle || x.Yield() != nil {
		t.Errorf("a person's request is treated as a batch's: %+v", x)
	}
	states, waiting := p.States(start)
	if waiting != 0 || states[0].Batch+states[1].Batch != 7 {
		t.Errorf("%+v, %d wait: those of a batch are not people that wait", states, waiting)
	}
}

// Who waits gets the slot of a batch's line that has come least far, and a
// line that gave its slot back is the next one again when people are gone.
func TestBatchMakesRoom(t *testing.T) {
	for _, slots := range []int{1, 2, 4} {
		p := pool(t, Options{}, slots)
		var lines []*Ticket
		for range slots {
			lines = append(lines, enter(t, p, start, Ask{Batch: true}))
		}
		var people []*Ticket
		for i := range slots {
			people = append(people, enter(t, p, start.Add(time.Second), Ask{Key: uint64(i + 1)}))
		}
		for i := len(lines) - 1; i >= 0; i-- {
			if there(lines[i]) != "" && !yields(lines[i]) {
				t.Errorf("%d slots: line %d keeps its slot though people wait", slots, i)
			}
			if there(lines[i]) != "" {
				p.Leave(start.Add(1100*time.Millisecond), lines[i])
			}
		}
		for i, x := range people {
			if there(x) == "" {
				t.Errorf("%d slots: person %d still waits", slots, i)
			}
		}
		if slots > 1 {
			p.Done(start.Add(40*time.Second), people[0], Outcome{})
			people = people[1:]
		}
		again := enter(t, p, start.Add(40*time.Second), Ask{Batch: true})
		if there(again) != "" {
			t.Errorf("%d slots: a batch's line has the slot that people had for so long", slots)
		}
		for _, x := range people {
			p.Done(start.Add(42*time.Second), x, Outcome{})
		}
		// What people needed is kept free for a while, and not for ever.
		next := start.Add(42 * time.Second)
		for range 200 {
			poke := p.Poke(next, again)
			if poke.IsZero() {
				break
			}
			next = poke
		}
		if there(again) == "" {
			t.Errorf("%d slots: after %v nobody else is there, and the line still waits", slots, next.Sub(start))
		}
		if after := next.Sub(start) - 42*time.Second; slots == 1 && after < 5*time.Second || after > 2*time.Minute {
			t.Errorf("%d slots: one was given away %v after people had all", slots, after)
		}
	}
}

// As many give their slots back as people wait, and not more.
func TestBatchMakesNoMoreRoomThanIsNeeded(t *testing.T) {
	p := pool(t, Options{}, 4)
	var lines []*Ticket
	for range 3 {
		lines = append(lines, enter(t, p, start, Ask{Batch: true}))
	}
	for i := range uint64(2) {
		enter(t, p, start, Ask{Key: i + 1})
	}
	n := 0
	for _, x := range lines {
		if yields(x) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d lines make room for the one person that waits", n)
	}
	if !yields(lines[2]) {
		t.Error("not the one that came last")
	}
}

// What a batch does says nothing about how long people's answers take.
func TestBatchTeachesNothingOfPeople(t *testing.T) {
	p := pool(t, Options{}, 4)
	now := start
	for range 20 {
		x := enter(t, p, now, Ask{Key: 1})
		p.First(now.Add(50*time.Millisecond), x)
		now = now.Add(100 * time.Millisecond)
		p.Done(now, x, Outcome{})
	}
	before := p.service.mean
	for range 20 {
		x := enter(t, p, now, Ask{Batch: true})
		p.First(now.Add(30*time.Second), x)
		now = now.Add(time.Minute)
		p.Done(now, x, Outcome{})
	}
	if p.service.mean != before || math.Abs(p.replicas[0].serves(p.price(now))-before) > 0.01 {
		t.Errorf("an answer is thought to take %.2f s, was %.2f", p.replicas[0].serves(p.price(now)), before)
	}
}

// With nothing but a batch an engine that was out comes back all the same.
func TestBatchBringsAnEngineBack(t *testing.T) {
	p := pool(t, Options{}, 4)
	now := start
	for range 2 {
		p.Done(now, enter(t, p, now, Ask{Batch: true}), Outcome{Verdict: Failed})
	}
	x := enter(t, p, now, Ask{Batch: true})
	if there(x) != "" {
		t.Fatal("it is not out")
	}
	for range 12 {
		for range 100 {
			if there(x) != "" {
				break
			}
			if now = p.Poke(now, x); now.IsZero() {
				t.Fatal("it waits, and for nothing")
			}
		}
		p.Done(now, x, Outcome{})
		x = enter(t, p, now, Ask{Batch: true})
	}
	if s, _ := p.States(now); !s[0].Trusted {
		t.Errorf("%+v", s)
	}
}

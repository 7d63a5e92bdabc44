package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

const conv = "north-000000000000000000000000"

// writer makes a log as eventlog does, chains of checksums and all.
type writer struct {
	log  []event.Entry
	last map[event.Class]uint64
	sum  uint64
}

func (w *writer) add(e event.Event) {
	class := event.ClassOf(e.Kind)
	prev := w.last[class]
	w.sum++
	w.last[class] = w.sum
	if class == event.Claim {
		w.last[event.Out] = w.sum
	}
	w.log = append(w.log, event.Entry{Conversation: conv, Seq: uint64(len(w.log) + 1), Event: e, Sum: w.sum, Prev: prev})
}

func (w *writer) said(id, text, turn string) {
	s := &event.Said{Activity: &activity.Activity{Type: activity.TypeEvent, ID: id, Text: text, From: &activity.Account{Role: "user"}}}
	if turn != "" {
		s.Activity.Type = activity.TypeMessage
		s.Turn = &event.Turn{ID: turn, ReplyTo: id}
	}
	w.add(event.Event{Kind: event.KindSaid, Said: s})
}

func (w *writer) claimed(turn string, attempt int) {
	w.add(event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: turn, Attempt: attempt, Worker: "north", Region: "north"}})
}

func (w *writer) ended(turn string, attempt int, text string) {
	w.add(event.Event{Kind: event.KindEnded, Ended: &event.Ended{
		Turn: turn, Attempt: attempt, State: event.Ok,
		Activity: &activity.Activity{Type: activity.TypeMessage, ID: "b1", Text: text, From: &activity.Account{Role: "bot"}, ReplyToID: "a1"},
	}})
}

// answer is what the engine says to "one".
func answer(t *testing.T) string {
	t.Helper()
	engine := demo.New(demo.Options{Delay: -1})
	defer engine.Close()
	var b strings.Builder
	if _, err := engine.Generate(t.Context(), lm.Request{Messages: []lm.Message{{Role: lm.User, Text: "one"}}}, func(c lm.Chunk) error {
		b.WriteString(c.Text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// course is a conversation in which all went well: one question, its answer in
// two pieces by two workers, and two notes.
type course struct {
	h    *history
	logs books
	said []*said
	t0   time.Time
}

func newCourse(t *testing.T) *course {
	text := answer(t)
	log := func() []event.Entry {
		w := &writer{last: map[event.Class]uint64{}}
		w.add(event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: "local"}})
		w.said("a1", "one", "t1")
		w.claimed("t1", 1)
		w.add(event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t1", Attempt: 1, Text: text[:10]}})
		w.said("a2", "two", "")
		w.claimed("t1", 2)
		w.add(event.Event{Kind: event.KindResumed, Resumed: &event.Resumed{Turn: "t1", Attempt: 2, Offset: 10, Policy: lm.Prefill}})
		w.add(event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t1", Attempt: 2, Offset: 10, Text: text[10:]}})
		w.ended("t1", 2, text)
		w.said("a3", "three", "")
		for i := range w.log { // Out is chained from its claim
			if w.log[i].Event.Resumed != nil {
				w.log[i].Prev = w.log[i-1].Sum
			}
		}
		return w.log
	}
	c := &course{h: newHistory(), logs: books{"north": {conv: log()}, "east": {conv: log()}}, t0: time.Unix(1000, 0)}
	c.h.begun(conv, sound)
	for i, s := range []said{
		{by: "ann", text: "one", id: "a1", turn: "t1", answer: &client.Answer{State: client.Done, Text: text, Activity: &client.Activity{ID: "b1"}}, shown: text},
		{by: "ann", text: "two", id: "a2"},
		{by: "bob", text: "three", id: "a3"},
	} {
		s.region, s.call, s.ret = "north", c.at(2*i), c.at(2*i+1)
		c.said = append(c.said, c.h.said(conv, s))
	}
	c.h.read(conv, read{by: "ann", region: "east", call: c.at(4), ids: []string{"a1", "a2"}})
	c.h.read(conv, read{by: "bob", region: "east", call: c.at(9), ids: []string{"a1", "a2", "b1", "a3"}})
	st := conversation.New(conv)
	for _, e := range c.logs["north"][conv] {
		st.Apply(e)
	}
	s := c.h.sight(conv)
	for _, f := range st.Frames {
		s.positions, s.lines = append(s.positions, int64(f.Pos)), append(s.lines, lineOfFrame(f))
	}
	return c
}

func (c *course) at(second int) time.Time { return c.t0.Add(time.Duration(second) * time.Second) }

// change changes an entry in all regions.
func (c *course) change(what func(*event.Entry)) {
	for _, all := range c.logs {
		for i := range all[conv] {
			what(&all[conv][i])
		}
	}
}

// without leaves entries out, in all regions or one.
func (c *course) without(region string, which func(event.Entry) bool) {
	for name, all := range c.logs {
		if region == "" || region == name {
			all[conv] = slices.DeleteFunc(all[conv], which)
		}
	}
}

// TestJudgeNotices breaks each promise once.
func TestJudgeNotices(t *testing.T) {
	is := func(id string) func(event.Entry) bool {
		return func(e event.Entry) bool { return e.Event.Said != nil && e.Event.Said.Activity.ID == id }
	}
	for _, x := range []struct {
		name string
		harm func(*course)
		want []rule // at the least; none: all is well
	}{
		{"all is well", func(*course) {}, nil},
		{"lost everywhere", func(c *course) { c.without("", is("a3")) }, []rule{kept}},
		{"lost in one region", func(c *course) { c.without("east", is("a3")) }, []rule{kept, sameLogs}},
		{"said twice", func(c *course) {
			c.change(func(e *event.Entry) {
				if is("a3")(*e) {
					e.Event.Said.Activity.Text = "two"
				}
			})
		}, []rule{kept}},
		{"damaged", func(c *course) {
			c.change(func(e *event.Entry) { e.Damaged = e.Damaged || is("a2")(*e) })
		}, []rule{sameLogs}},
		{"another order than they were said in", func(c *course) {
			c.said[0].call, c.said[0].ret = c.at(8), c.at(9)
		}, []rule{realTime}},
		{"acknowledged while cut off", func(c *course) { c.h.alone("north", c.at(1), c.at(4)) }, []rule{alone}},
		{"an attempt twice", func(c *course) {
			c.change(func(e *event.Entry) {
				if e.Event.Claimed != nil {
					e.Event.Claimed.Attempt = 1
				}
			})
		}, []rule{fenced}},
		{"ended by the wrong one", func(c *course) {
			c.change(func(e *event.Entry) {
				if e.Event.Ended != nil {
					e.Event.Ended.Attempt = 1
				}
			})
		}, []rule{fenced}},
		{"a list without what its reader said", func(c *course) { c.h.reads[conv][0].ids = []string{"a1"} }, []rule{fresh}},
		{"a list in another order", func(c *course) { c.h.reads[conv][1].ids = []string{"a2", "a1"} }, []rule{fresh}},
		{"a list shorter than the last one", func(c *course) {
			c.h.read(conv, read{by: "bob", region: "north", call: c.at(3), ids: []string{"a1"}})
		}, []rule{fresh}},
		{"an event left out", func(c *course) {
			s := c.h.sights[conv][0]
			s.lines, s.positions = slices.Delete(s.lines, 3, 4), slices.Delete(s.positions, 3, 4)
		}, []rule{faithful}},
		{"an event that is not in the log", func(c *course) {
			s := c.h.sights[conv][0]
			s.lines, s.positions = append(s.lines, "delta t1 9 \"x\""), append(s.positions, 999)
		}, []rule{faithful}},
		{"a character changed", func(c *course) {
			s := c.h.sights[conv][0]
			i := slices.IndexFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, "delta") })
			s.lines[i] = strings.Replace(s.lines[i], "demonstration", "Demonstration", 1) + "."
		}, []rule{faithful}},
		{"another answer than was shown", func(c *course) { c.said[0].answer.Text += "!" }, []rule{asShown}},
		{"pieces that don't add up", func(c *course) { c.said[0].shown += "!" }, []rule{asShown}},
		{"another answer than the engine's", func(c *course) {
			c.change(func(e *event.Entry) {
				if e.Event.Ended != nil {
					e.Event.Ended.Activity.Text += "!"
				}
			})
		}, []rule{whole, asShown, faithful}},
		{"an answer without an end", func(c *course) {
			c.without("", func(e event.Entry) bool { return e.Event.Ended != nil })
		}, []rule{whole}},
		{"another title", func(c *course) { c.h.named(conv, "Numbers") }, []rule{obeyed}},
		{"deleted and still there", func(c *course) { c.h.forgotten(conv) }, []rule{obeyed}},
		{"stopped, though nobody asked", func(c *course) {
			c.change(func(e *event.Entry) {
				if e.Event.Ended != nil {
					e.Event.Ended.State = event.Stopped
				}
			})
		}, []rule{whole}},
		{"somebody complained", func(c *course) { c.h.strange("ann: no answer") }, []rule{strangely}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCourse(t)
			x.harm(c)
			v := c.h.judge(t.Context(), c.logs)[sound]
			var got []rule
			for _, f := range v.Findings {
				got = append(got, f.rule)
			}
			for _, r := range x.want {
				if !slices.Contains(got, r) {
					t.Errorf("found %v, want %q", v.Findings, r)
				}
			}
			if len(x.want) == 0 && len(got) > 0 {
				t.Errorf("found %v", v.Findings)
			}
		})
	}
}

// TestOrderAgreesWithPorcupine holds the judge's check of real time against a
// known checker of linearizability: messages that are appended to a list, and
// the list as it is in the end.
func TestOrderAgreesWithPorcupine(t *testing.T) {
	list := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, in, out any) (bool, any) {
			if out != nil { // the last read
				return state.(string) == out.(string), state
			}
			return true, state.(string) + in.(string) + " "
		},
	}
	r := rand.New(rand.NewPCG(1, 2))
	verdicts := map[bool]int{}
	for range 2000 {
		n := 2 + r.IntN(5)
		order := r.Perm(n) // as they stand in the log
		if r.IntN(2) == 0 {
			slices.Sort(order)
		}
		h := newHistory()
		h.begun(conv, sound)
		w := &writer{last: map[event.Class]uint64{}}
		end := ""
		for _, i := range order {
			w.said(fmt.Sprint("a", i), fmt.Sprint(i), "")
			end += fmt.Sprint("a", i) + " "
		}
		ops := []porcupine.Operation{{ClientId: n, Output: end, Call: 1000, Return: 1001}}
		for i := range n {
			call := int64(10*i + r.IntN(30))
			ret := call + 1 + int64(r.IntN(25))
			ops = append(ops, porcupine.Operation{ClientId: i, Input: fmt.Sprint("a", i), Call: call, Return: ret})
			h.said(conv, said{id: fmt.Sprint("a", i), text: fmt.Sprint(i), call: time.Unix(0, call), ret: time.Unix(0, ret)})
		}
		c := &trial{history: h, conv: conv, v: &verdict{}, log: w.log, st: conversation.New(conv)}
		for _, e := range w.log {
			c.st.Apply(e)
		}
		c.inOrder()
		want := porcupine.CheckOperations(list, ops)
		if got := len(c.v.Findings) == 0; got != want {
			t.Fatalf("the judge says %v (%v), porcupine %v: %v of %+v", got, c.v.Findings, want, order, ops)
		}
		verdicts[want]++
	}
	if verdicts[true] < 200 || verdicts[false] < 200 {
		t.Errorf("%d orders were good and %d bad: too few of one kind", verdicts[true], verdicts[false])
	}
}

func TestPlanFollowsItsSeed(t *testing.T) {
	names := regionNames(3)
	a, b := plan(7, 300, names, kinds(), time.Second), plan(7, 300, names, kinds(), time.Second)
	if d := cmp.Diff(fmt.Sprint(a), fmt.Sprint(b)); d != "" {
		t.Errorf("the same seed makes two plans:\n%s", d)
	}
	if fmt.Sprint(a) == fmt.Sprint(plan(8, 300, names, kinds(), time.Second)) {
		t.Error("two seeds make the same plan")
	}
	count := map[kind]int{}
	for i, m := range a {
		count[m.kind]++
		if i > 0 && m.at <= a[i-1].at || m.hold <= 0 || m.a == m.b || m.a == "" {
			t.Errorf("fault %d: %v after %v", i, m, a[max(0, i-1)])
		}
	}
	for _, k := range kinds() {
		if count[k] < 10 {
			t.Errorf("%s happens %d times of 300", k, count[k])
		}
	}
}

func TestWrongWishes(t *testing.T) {
	for _, args := range [][]string{{"-faults", "0"}, {"-regions", "4"}, {"-only", "flood"}, {"-plant", "rust"}, {"-talkers", "0", "-noters", "0"}, {"-x"}} {
		var out, log strings.Builder
		if code := command(args, &out, &log); code != 2 || log.Len() == 0 {
			t.Errorf("%q: exit %d, %q", args, code, log.String())
		}
	}
}

package dialog

import (
	"maps"
	"slices"
	"strings"
)

const (
	mostOpen = 3    // flows that wait for each other
	mostSaid = 1000 // characters of a slot's value
)

// Step takes what somebody said. It returns where the conversation stands
// then, what to say, and who goes on if that is not the script. The same
// inputs give the same result, and s is not changed.
//
// A state of another version of the script is taken as far as it fits: flows
// and questions that are gone are forgotten.
func Step(sc *Script, s State, in Input) (State, []string, Action) {
	t := begin(sc, s)
	if t.s.With.To != "" {
		return t.s, nil, Action{Hand: t.s.With}
	}
	t.s.Turn++
	t.in, t.text = in, normal(in.Text)
	switch {
	case len(t.s.Open) == 0:
		t.fresh()
	case begins(t.text, sc.Words.Cancel) > 0:
		t.s.Open, t.s.Misses = nil, 0
		t.say(sc.Say.Cancelled)
	default:
		t.answer()
	}
	return t.s, t.replies, t.action
}

// Resume gives the conversation back to the script, from a bot or a person. It
// returns the question that waits, if one does.
func Resume(sc *Script, s State) (State, []string) {
	t := begin(sc, s)
	t.s.With = Hand{}
	t.s.Misses = 0
	t.again()
	return t.s, t.replies
}

// turn is a step while it is taken.
type turn struct {
	sc      *Script
	s       State
	in      Input
	text    string // normal
	replies []string
	action  Action
}

// begin copies a state and drops what the script does not know.
func begin(sc *Script, s State) *turn {
	t := &turn{sc: sc, s: s}
	t.s.Open, t.s.Turn, t.s.Misses = nil, max(0, s.Turn), max(0, s.Misses)
	for _, f := range s.Open {
		flow := sc.flow(f.Flow)
		if flow == nil || len(t.s.Open) == mostOpen {
			continue
		}
		f.Slots = maps.Clone(f.Slots)
		maps.DeleteFunc(f.Slots, func(name string, _ Value) bool { return flow.slot(name) == nil })
		if !f.Confirm && flow.slot(f.Asked) == nil || f.Confirm && len(flow.Confirm) == 0 {
			continue
		}
		t.s.Open = append(t.s.Open, f)
	}
	return t
}

func (t *turn) say(texts []string) { t.sayOf(texts, t.s.Turn-1, nil) }

// sayOf says one of several texts: the nth, where they go round.
func (t *turn) sayOf(texts []string, n int, slots map[string]Value) {
	if len(texts) > 0 {
		t.replies = append(t.replies, fill(texts[max(n, 0)%len(texts)], slots))
	}
}

// top is the flow that goes on.
func (t *turn) top() (*Frame, *Flow) {
	f := &t.s.Open[len(t.s.Open)-1]
	return f, t.sc.flow(f.Flow)
}

// fresh takes a text that no flow waits for.
func (t *turn) fresh() {
	if flow := t.wanted(t.sc.Understand); flow != nil {
		t.open(flow)
		return
	}
	t.miss()
}

// wanted is the flow that the text asks for, if that is sure enough.
func (t *turn) wanted(least float64) *Flow {
	if t.in.Score < least {
		return nil
	}
	return t.sc.flowOf(t.in.Intent)
}

// miss takes a text that was not understood.
func (t *turn) miss() {
	t.s.Misses++
	t.hand(t.sc.Fallback[min(t.s.Misses, len(t.sc.Fallback))-1], Action{Why: Unclear})
}

// hand has somebody go on.
func (t *turn) hand(to Hand, a Action) {
	a.Hand = to
	switch to.To {
	case Ask:
		t.say(t.sc.Say.Unclear)
		return
	case "":
		return
	case Person:
		t.say(t.sc.Say.Person)
		t.s.With = to
	case Bot:
		t.s.With = to
	}
	t.action = a
}

// open begins a flow with what the text says already.
func (t *turn) open(flow *Flow) {
	t.s.Misses = 0
	t.s.Open = append(t.s.Open, Frame{Flow: flow.Name})
	f, _ := t.top()
	t.take(f, flow)
	t.goOn()
}

// goOn asks for what is missing, has all confirmed, or finishes.
func (t *turn) goOn() {
	f, flow := t.top()
	f.Asked, f.Confirm, f.Tries = "", false, 0
	for i := range flow.Slots {
		if _, there := f.Slots[flow.Slots[i].Name]; !there && !flow.Slots[i].Optional {
			f.Asked = flow.Slots[i].Name
			t.ask(f, flow)
			return
		}
	}
	if len(flow.Confirm) > 0 {
		f.Confirm = true
		t.ask(f, flow)
		return
	}
	t.finish()
}

// ask says the question that the flow waits with.
func (t *turn) ask(f *Frame, flow *Flow) {
	if f.Confirm {
		t.sayOf(flow.Confirm, t.s.Turn-1, f.Slots)
		return
	}
	t.sayOf(flow.slot(f.Asked).Ask, t.s.Turn-1, f.Slots)
}

// finish says what a flow has to say, hands over, and goes back to the flow
// that it interrupted.
func (t *turn) finish() {
	f, flow := t.top()
	slots := f.Slots
	t.sayOf(flow.Reply.texts(slots), t.s.Turn-1, slots)
	t.s.Open = t.s.Open[:len(t.s.Open)-1]
	t.hand(flow.Hand, Action{Why: Scripted, Flow: flow.Name, Slots: slots})
	switch flow.Hand.To {
	case "":
		t.again()
	case Model: // its answer comes first
		said := t.replies
		t.replies = nil
		t.again()
		t.replies, t.action.Then = said, t.replies
	}
}

// again asks what the flow that goes on now had asked before.
func (t *turn) again() {
	if len(t.s.Open) == 0 {
		return
	}
	t.say(t.sc.Say.Resume)
	f, flow := t.top()
	t.ask(f, flow)
}

func (r Reply) texts(slots map[string]Value) []string {
	v, ok := slots[r.By]
	for _, c := range r.Cases {
		if ok && (strings.EqualFold(c.Value, v.shown()) || strings.EqualFold(c.Value, v.Said)) {
			return c.Texts
		}
	}
	return r.Texts
}

// answer takes a text while a flow waits for one.
func (t *turn) answer() {
	f, flow := t.top()
	other := t.wanted(t.sc.Interrupt)
	if other != nil && (flow.Whole || !t.mayOpen(other)) {
		other = nil
	}
	asked := flow.slot(f.Asked)
	if other != nil && !t.bare() && (asked == nil || !asked.Text) {
		t.open(other)
		return
	}
	took := t.take(f, flow)
	yes, no := begins(t.text, t.sc.Words.Yes), begins(t.text, t.sc.Words.No)
	switch {
	case took:
		t.s.Misses = 0
		t.goOn()
	case f.Confirm && yes > no:
		t.s.Misses = 0
		t.finish()
	case f.Confirm && no > 0:
		slots := f.Slots
		t.s.Misses = 0
		t.s.Open = t.s.Open[:len(t.s.Open)-1]
		t.sayOf(flow.Declined, t.s.Turn-1, slots)
		t.again()
	case other != nil:
		t.open(other)
	default:
		t.missed(f, flow)
	}
}

// bare says whether the text is hardly more than its entities: an answer to a
// question rather than a question.
func (t *turn) bare() bool {
	const most = 3 // words besides
	words := len(strings.Fields(t.text))
	for _, e := range t.in.Entities {
		words -= len(strings.Fields(normal(e.Said)))
	}
	return words <= most
}

// mayOpen says whether a flow can begin now: not twice, and not too many.
func (t *turn) mayOpen(flow *Flow) bool {
	return len(t.s.Open) < mostOpen && !slices.ContainsFunc(t.s.Open, func(f Frame) bool { return f.Flow == flow.Name })
}

// missed takes an answer that does not answer.
func (t *turn) missed(f *Frame, flow *Flow) {
	f.Tries++
	tries, again := defaultTries, []string(nil)
	if slot := flow.slot(f.Asked); slot != nil {
		tries, again = slot.Tries, slot.Again
	}
	if f.Tries <= tries {
		if len(again) > 0 {
			t.sayOf(again, min(f.Tries, len(again))-1, f.Slots)
			return
		}
		t.say(t.sc.Say.Unclear)
		t.ask(f, flow)
		return
	}
	a := Action{Why: GivenUp, Flow: flow.Name, Slots: f.Slots}
	t.s.Open, t.s.Misses = nil, 0
	for _, h := range t.sc.Fallback {
		if h.To != Ask {
			t.hand(h, a)
			return
		}
	}
	t.say(t.sc.Say.Cancelled)
}

// take fills slots with what the text says: the one that was asked for first,
// then those that are empty, then those that are not, so that people can
// change their mind. It says whether that made a difference.
func (t *turn) take(f *Frame, flow *Flow) bool {
	k := taker{f: f, found: t.in.Entities, used: make([]bool, len(t.in.Entities)), done: map[string]bool{}}
	asked := flow.slot(f.Asked)
	if asked != nil && asked.Text {
		if said := strings.TrimSpace(t.in.Text); said != "" {
			k.put(asked, Value{Said: said})
		}
		return k.took
	}
	if asked != nil {
		k.entity(asked, exact)
		k.entity(asked, anyRole)
	}
	k.again(flow)
	for _, there := range []bool{false, true} {
		for i := range flow.Slots {
			s := &flow.Slots[i]
			if old, ok := f.Slots[s.Name]; ok == there {
				k.entity(s, exact)
				if flow.alone(s) {
					k.entity(s, anyRole)
				}
				if v, ok := chosen(t.text, s.Choices); ok && v.Name != old.Name {
					k.put(s, v)
				}
			}
		}
	}
	return k.took
}

func exact(want, found Entity) bool {
	return want.Type == found.Type && (want.Role == "" || want.Role == found.Role)
}

// anyRole takes an entity whose role the model could not tell.
func anyRole(want, found Entity) bool { return want.Type == found.Type && found.Role == "" }

// alone says that no other slot takes an entity of the same type.
func (f *Flow) alone(s *Slot) bool {
	return !slices.ContainsFunc(f.Slots, func(o Slot) bool {
		return o.Name != s.Name && slices.ContainsFunc(o.Entities, func(e Entity) bool {
			return slices.ContainsFunc(s.Entities, func(own Entity) bool { return own.Type == e.Type })
		})
	})
}

// taker fills the slots of a frame from one text. An entity fills one slot, a
// slot takes one.
type taker struct {
	f     *Frame
	found []Found
	used  []bool          // by entity
	done  map[string]bool // slots that this text filled
	took  bool
}

func (k *taker) put(s *Slot, v Value) {
	if k.f.Slots == nil {
		k.f.Slots = map[string]Value{}
	}
	v.Said = clip(v.Said)
	k.f.Slots[s.Name] = v
	k.took, k.done[s.Name] = true, true
}

func (k *taker) entity(s *Slot, fits func(want, found Entity) bool) {
	for i, e := range k.found {
		if k.done[s.Name] {
			return
		}
		if k.used[i] || !slices.ContainsFunc(s.Entities, func(want Entity) bool { return fits(want, e.Entity) }) {
			continue
		}
		k.used[i] = true
		k.put(s, e.Value)
	}
}

// again leaves entities aside that only say what is known.
func (k *taker) again(flow *Flow) {
	for i, e := range k.found {
		for _, s := range flow.Slots {
			old, there := k.f.Slots[s.Name]
			if there && old.same(e.Value) && slices.ContainsFunc(s.Entities, func(want Entity) bool { return exact(want, e.Entity) }) {
				k.used[i] = true
			}
		}
	}
}

// same says whether two values mean the same, however they were said.
func (v Value) same(o Value) bool {
	if v.Name+v.Value+o.Name+o.Value != "" {
		return v.Name == o.Name && v.Value == o.Value
	}
	return strings.EqualFold(v.Said, o.Said)
}

func clip(s string) string {
	if r := []rune(s); len(r) > mostSaid {
		return string(r[:mostSaid])
	}
	return s
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/drill"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// rule is a promise.
type rule string

// The rules.
const (
	kept      rule = "kept"     // every acknowledged message is in every region's log, and none twice
	sameLogs  rule = "copies"   // every region has the same entries, whole
	realTime  rule = "order"    // what was said after an acknowledgement stands behind it
	alone     rule = "alone"    // a region that is cut off acknowledges nothing
	fenced    rule = "fenced"   // one worker at a time owns a turn, and it ends once
	fresh     rule = "fresh"    // nobody is shown less than he has said or seen
	faithful  rule = "faithful" // what a reader of the events was sent is what the log holds, from its beginning, without a gap
	whole     rule = "whole"    // every answer ends, and is the one that its engine gives when nothing breaks
	asShown   rule = "shown"    // the answer in the log is the one that its reader saw
	obeyed    rule = "obeyed"   // a title that was acknowledged is the title, and what was deleted is nowhere
	strangely rule = "strange"  // nothing else happened that should not
)

// finding is a broken promise.
type finding struct {
	flaw flaw // planted in the conversation
	rule rule
	conv string
	text string
}

func (f finding) String() string { return fmt.Sprintf("%s: %s: %s", f.rule, f.conv, f.text) }

// verdict is what the judge says of the conversations with one flaw, or none.
type verdict struct {
	drill.Tally
	Conversations, Reads, Events, Resumed int
	Findings                              []finding
}

// books are the logs of all regions: by region and conversation.
type books map[string]map[string][]event.Entry

// judge holds what people were told against every region's log.
func (h *history) judge(ctx context.Context, logs books) map[flaw]*verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[flaw]*verdict{}
	of := func(f flaw) *verdict {
		if out[f] == nil {
			out[f] = &verdict{}
		}
		return out[f]
	}
	for _, conv := range h.order {
		c := &trial{history: h, conv: conv, flaw: h.flaws[conv], v: of(h.flaws[conv])}
		c.v.Conversations++
		c.hear(ctx, logs)
	}
	for _, what := range h.odd {
		f := sound
		for _, x := range allFlaws() {
			if strings.Contains(what, "("+string(x)+")") {
				f = x
			}
		}
		of(f).Findings = append(of(f).Findings, finding{f, strangely, "", what})
	}
	return out
}

// trial is the judgement of one conversation.
type trial struct {
	*history
	conv string
	flaw flaw
	v    *verdict
	log  []event.Entry
	st   *conversation.State
}

func (c *trial) find(r rule, format string, args ...any) {
	c.v.Findings = append(c.v.Findings, finding{c.flaw, r, c.conv, fmt.Sprintf(format, args...)})
}

func (c *trial) hear(ctx context.Context, logs books) {
	if c.deleted[c.conv] {
		for region, all := range logs {
			if n := left(all[c.conv]); n > 0 {
				c.find(obeyed, "%s still holds %d entries of what was deleted", region, n)
			}
		}
		return
	}
	var held []drill.Held
	first := ""
	for region, all := range logs {
		log := all[c.conv]
		st := conversation.New(c.conv)
		for _, e := range log {
			st.Apply(e)
		}
		held = append(held, holds(st))
		if first == "" {
			first, c.log, c.st = region, log, st
			continue
		}
		if !slices.EqualFunc(c.log, log, func(a, b event.Entry) bool { return a.Seq == b.Seq && a.Sum == b.Sum }) {
			c.find(sameLogs, "%s has other entries (%d) than %s (%d)", region, len(log), first, len(c.log))
		}
	}
	if c.st.Damaged+c.st.Missing > 0 {
		c.find(sameLogs, "%d entries are damaged and %d gaps in the chain of checksums", c.st.Damaged, c.st.Missing)
	}
	if want := c.titles[c.conv]; want != "" && c.st.Title != want {
		c.find(obeyed, "the title is %q, and %q was acknowledged", c.st.Title, want)
	}
	c.told(held)
	c.inOrder()
	c.whileAlone()
	c.owners()
	c.shownLists()
	c.shownEvents()
	c.answers(ctx)
}

// left counts the entries of a deleted conversation that should be gone; one
// says that it was deleted.
func left(log []event.Entry) int {
	n := 0
	for _, e := range log {
		if e.Event.Kind != event.KindDeleted {
			n++
		}
	}
	if n == len(log) {
		n++ // not even that one is there
	}
	return n
}

func holds(st *conversation.State) drill.Held {
	h := drill.Held{Texts: map[string]int{}, Answers: map[string]string{}}
	for _, a := range st.Activities {
		h.Take(a.ID, a.Text, a.FromBot())
	}
	return h
}

// told has the drill's judge count, and names what it found.
func (c *trial) told(held []drill.Held) {
	told := make([]drill.Told, 0, len(c.acked[c.conv]))
	for _, s := range c.acked[c.conv] {
		answer := s.answer
		if s.stopped && answer != nil && answer.State == client.Stopped {
			asWished := *answer
			asWished.State, answer = client.Done, &asWished
		}
		told = append(told, drill.Told{ID: s.id, Text: s.text, Answer: answer})
	}
	var t drill.Tally
	t.Count(told, held)
	for _, x := range []struct {
		rule rule
		what string
		n    int
		of   *int
	}{
		{kept, "acknowledged and lost", t.Lost, &c.v.Lost},
		{kept, "acknowledged and there more than once", t.Doubled, &c.v.Doubled},
		{sameLogs, "another order in another region", t.Disordered, &c.v.Disordered},
		{whole, "answers that did not come to their end", t.Unfinished, &c.v.Unfinished},
		{asShown, "answers of which the log holds another text", t.Differing, &c.v.Differing},
	} {
		*x.of += x.n
		if x.n > 0 {
			c.find(x.rule, "%d: %s", x.n, x.what)
		}
	}
	c.v.Acknowledged += t.Acknowledged
	c.v.Answers += t.Answers
	for text, n := range held[0].Texts { // those that nobody heard of as well
		if n > 1 {
			c.find(kept, "%q was said once and is there %d times", text, n)
		}
	}
	for _, s := range c.acked[c.conv] {
		if s.answer != nil && s.shown != s.answer.Text {
			c.find(asShown, "the pieces of the answer to %q do not add up to it", s.text)
		}
	}
}

// inOrder checks real time: an order of the log in which a message stands
// before one that was acknowledged before it was said is no order at all.
func (c *trial) inOrder() {
	at := map[string]*said{}
	for _, s := range c.acked[c.conv] {
		at[s.id] = s
	}
	var newest *said // of those so far in the log, the one that was said last
	for _, a := range c.st.Activities {
		s := at[a.ID]
		if s == nil {
			continue
		}
		if newest != nil && s.ret.Before(newest.call) {
			c.find(realTime, "%q was acknowledged before %q was said, and stands behind it", s.text, newest.text)
		}
		if newest == nil || s.call.After(newest.call) {
			newest = s
		}
	}
}

func (c *trial) whileAlone() {
	for _, s := range c.acked[c.conv] {
		for _, x := range c.solitary {
			if s.region == x.region && s.call.After(x.from) && s.ret.Before(x.to) {
				c.find(alone, "%s acknowledged %q while it reached no other region", x.region, s.text)
			}
		}
	}
}

// owners checks the claims: the attempts of a turn count up one by one, so that
// each was made by one who knew of the one before, and the end is the newest
// owner's.
func (c *trial) owners() {
	var owner event.Claimed
	attempts, ends := map[string]int{}, map[string]int{}
	for _, e := range c.log {
		switch {
		case e.Event.Claimed != nil:
			x := e.Event.Claimed
			if x.Attempt != attempts[x.Turn]+1 {
				c.find(fenced, "%s claimed attempt %d of %s when there were %d", x.Worker, x.Attempt, x.Turn, attempts[x.Turn])
			}
			if x.Attempt > 1 {
				c.v.Resumed++
			}
			owner, attempts[x.Turn] = *x, x.Attempt
		case e.Event.Ended != nil:
			x := e.Event.Ended
			if x.Turn != owner.Turn || x.Attempt != owner.Attempt {
				c.find(fenced, "attempt %d of %s was ended when attempt %d of %s had been claimed", x.Attempt, x.Turn, owner.Attempt, owner.Turn)
			}
			if ends[x.Turn]++; ends[x.Turn] > 1 {
				c.find(fenced, "%s ended %d times", x.Turn, ends[x.Turn])
			}
		}
	}
}

// shownLists checks what was read: the beginning of the log, with all that the
// reader had said or seen before.
func (c *trial) shownLists() {
	var order []string
	for _, a := range c.st.Activities {
		order = append(order, a.ID)
	}
	seen := map[string]int{} // by reader: how many of the order
	for _, r := range c.reads[c.conv] {
		c.v.Reads++
		if i := firstOther(r.ids, order); i < len(r.ids) {
			c.find(fresh, "%s showed %s a list of %d that the log does not begin with: they differ from %d on, at %s",
				r.region, r.by, len(r.ids), i, r.call.Format("15:04:05.000"))
			continue
		}
		for _, s := range c.acked[c.conv] {
			if s.by == r.by && s.ret.Before(r.call) && !slices.Contains(r.ids, s.id) {
				c.find(fresh, "%s did not show %s what %s had acknowledged to it: %q", r.region, r.by, s.region, s.text)
			}
		}
		if len(r.ids) < seen[r.by] {
			c.find(fresh, "%s showed %s %d activities of %d that it had seen", r.region, r.by, len(r.ids), seen[r.by])
		}
		seen[r.by] = max(seen[r.by], len(r.ids))
	}
}

func (c *trial) shownEvents() {
	for _, s := range c.sights[c.conv] {
		c.v.Events += len(s.lines)
		for i, line := range s.lines {
			if i >= len(c.st.Frames) {
				c.find(faithful, "event %d at %d (%s) is not in the log", i+1, s.positions[i], line)
				break
			}
			f := c.st.Frames[i]
			if want := lineOfFrame(f); want != line || int64(f.Pos) != s.positions[i] {
				c.find(faithful, "event %d was %s at %d, and the log has %s at %d", i+1, line, s.positions[i], want, f.Pos)
				break
			}
		}
	}
}

// answers lets the engine, which always gives the same answer to the same
// words, give it once more and undisturbed.
func (c *trial) answers(ctx context.Context) {
	engine := demo.New(demo.Options{Name: engineName, Delay: -1})
	defer engine.Close()
	for _, t := range c.st.Turns() {
		if !t.State.Final() {
			c.find(whole, "the turn %s is still %s", t.ID, t.State)
			continue
		}
		stopped := t.State == event.Stopped && t.Stop
		if !stopped && t.State != event.Ok || t.End.Activity == nil {
			c.find(whole, "the turn %s ended as %s: %s", t.ID, t.State, t.End.Error)
			continue
		}
		var req lm.Request
		for _, a := range c.st.Path(t.ReplyTo) {
			if a.Type == activity.TypeMessage && !a.FromBot() {
				req.Messages = append(req.Messages, lm.Message{Role: lm.User, Text: a.Text})
			}
		}
		var want strings.Builder
		if _, err := engine.Generate(ctx, req, func(x lm.Chunk) error { want.WriteString(x.Text); return nil }); err != nil {
			c.find(whole, "the engine can't be asked again: %v", err)
			continue
		}
		if got := t.End.Activity.Text; got != want.String() && !(stopped && strings.HasPrefix(want.String(), got)) {
			c.find(whole, "the answer %s is not the engine's: %d bytes, want %d; they differ from byte %d on", t.End.Activity.ID, len(got), want.Len(), differ(got, want.String()))
		}
	}
}

// firstOther returns the first place of a list at which another one has
// something else, its length if there is none.
func firstOther(list, other []string) int {
	for i, x := range list {
		if i >= len(other) || other[i] != x {
			return i
		}
	}
	return len(list)
}

func differ(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

const engineName = "demo"

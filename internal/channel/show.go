package channel

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// show brings a part of a growing answer to the other side, or that somebody is
// writing. What does not get there is left out.
func (c *carrier) show(ctx context.Context, it Item) error {
	v, _ := c.look(it)
	switch {
	case v.gone:
		return errGone
	case time.Now().Before(c.quiet), v.out.Last.Step == event.Refused && time.Now().Before(v.out.Last.Until):
		return nil
	case it.Stream == nil || !c.feed.parts || c.mute == it.Stream.ID:
		c.typing(ctx, it, v)
		return ctx.Err()
	case len(c.before) > 0 && c.before[len(c.before)-1].Pos > v.out.Upto:
		return nil
	}
	c.part(ctx, it, v)
	return ctx.Err()
}

func (c *carrier) typing(ctx context.Context, it Item, v sight) {
	if time.Since(c.typed) < typeEvery {
		return
	}
	c.typed = time.Now()
	c.busy = &it
	it.Stream, it.Activity = nil, &activity.Activity{Type: activity.TypeTyping, From: it.Activity.From}
	if _, err := c.post(ctx, Post{Item: it}, v, typeTime); fault.Is(err, fault.Limited) {
		c.quiet = time.Now().Add(max(fault.RetryAfterOf(err), showAgain))
	}
}

// part shows the text so far. Only the stream's beginning is written down, and
// who goes on with it when that one is lost.
func (c *carrier) part(ctx context.Context, it Item, v sight) {
	s := it.Stream
	p := Post{Item: it, Ref: v.ref}
	switch {
	case v.ref == "": // it begins
		if c.left(v) && v.out.Last.Lease != c.entry {
			return // somebody else is at it
		}
		p.Doubt = v.out.Last.Pos == s.ID && (c.left(v) || v.out.Last.Doubt)
		if c.leave(ctx, s.ID, &v) != nil {
			return
		}
	case c.stream != s.ID: // a worker before this one began it
		if c.note(ctx, event.Posted{Pos: s.ID, Step: event.There, Ref: v.ref}, v) != nil {
			return
		}
		c.stream, c.ref, c.sent, c.known = s.ID, v.ref, "", false
	case v.grows != c.by: // somebody else goes on with it
		c.mute = s.ID
		return
	}
	if p.Ref != "" {
		p.Sent, p.Doubt = c.sent, !c.known
	}
	s.First = p.Ref == ""
	ref, err := c.post(ctx, p, v, postTime)
	c.shown(ctx, it, p, v, ref, err)
}

// shown draws the conclusions from a part that was posted.
func (c *carrier) shown(ctx context.Context, it Item, p Post, v sight, ref string, err error) {
	s := it.Stream
	step := event.Posted{Pos: s.ID, Step: event.There, Ref: ref}
	switch fault.CodeOf(err) {
	case "":
		if ref == "" {
			c.mute = s.ID // the other side does not show answers that grow here
		}
		c.busy = nil
		c.stream, c.ref, c.sent, c.known = s.ID, ref, it.Activity.Text, true
		if ref == p.Ref {
			return
		}
	case fault.Canceled:
		if ctx.Err() != nil {
			return // whoever goes on finds it in doubt
		}
		c.mute = s.ID
		c.stop(ctx, v)
	case fault.Unavailable, fault.Limited, fault.Timeout, fault.Internal:
		step.Doubt = p.Doubt || !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Limited)
		c.known = c.known && !step.Doubt
		c.quiet = time.Now().Add(max(fault.RetryAfterOf(err), showAgain))
		if ctx.Err() != nil {
			return // whoever goes on finds it in doubt
		}
		step.Step, step.Until = event.Refused, c.quiet.UTC()
	default:
		c.mute = s.ID
	}
	if err != nil {
		c.o.lg.Info("a growing answer is not shown for now", "channel", c.channel, "conversation", c.conv, "err", err)
		if p.Ref != "" {
			return // what is there stays there, under the ref that is known
		}
	}
	_ = c.note(ctx, step, v) // if it can't be written, the whole answer goes out in doubt
}

// stop ends the turn whose answer nobody over there wants any more.
func (c *carrier) stop(ctx context.Context, v sight) {
	var turn string
	c.live.View(func(st *conversation.State) {
		for _, t := range st.Turns() {
			if t.Seq == c.entry {
				turn = t.ID
			}
		}
	})
	if err := c.way.desk.opts.Chat.StopTurn(ctx, v.owner, c.conv, turn); err != nil {
		c.o.lg.Warn("an answer that nobody wants is not stopped", "conversation", c.conv, "err", err)
	}
}

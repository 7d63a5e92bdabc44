package channel

import (
	"context"
	"encoding/json"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// The other way round: what bots say that run elsewhere. A bot may lose what it
// is told to send again, so these wait, for Options.Hold, until the log takes it.

// Speak takes what a bot says and returns its position.
func (d *Desk) Speak(ctx context.Context, sp chat.Spoken) (pos uint64, err error) {
	if err := d.limit.wait(ctx, sp.Conversation); err != nil {
		return 0, err
	}
	err = d.hold(ctx, func(ctx context.Context) error {
		_, pos, err = d.opts.Chat.Speak(ctx, sp)
		return err
	})
	if err == nil {
		d.opts.Observer.Received(d.opts.Name, kindOf(sp.Activity.Type))
	}
	return pos, err
}

// Type shows that a bot is writing, and returns the position.
func (d *Desk) Type(ctx context.Context, sp chat.Spoken) (pos uint64, err error) {
	if err := d.limit.wait(ctx, sp.Conversation); err != nil {
		return 0, err
	}
	err = d.hold(ctx, func(ctx context.Context) error {
		pos, err = d.opts.Chat.Type(ctx, sp)
		return err
	})
	return pos, err
}

// Change puts another activity in the place of one that the bot said.
func (d *Desk) Change(ctx context.Context, sp chat.Spoken, pos uint64) error {
	if err := d.limit.wait(ctx, sp.Conversation); err != nil {
		return err
	}
	return d.hold(ctx, func(ctx context.Context) error { return d.opts.Chat.Change(ctx, sp, pos) })
}

// Members lists who has a part in a conversation of a bot's.
func (d *Desk) Members(ctx context.Context, bot, conv string) (out []activity.Account, err error) {
	err = d.hold(ctx, func(ctx context.Context) error {
		out, err = d.opts.Chat.Members(ctx, bot, conv)
		return err
	})
	return out, err
}

// Open begins a conversation that a bot wants, under an id of its own.
func (d *Desk) Open(ctx context.Context, n chat.NewConversation) error {
	n.Silent = true
	return d.hold(ctx, func(ctx context.Context) error {
		_, _, err := d.opts.Chat.Create(ctx, n)
		return err
	})
}

// Invoked waits until the bot is through with what was taken at a position,
// and returns what it answers to an invoke: {"status": …, "body": …}. Nil: the
// conversation's bot answers none.
func (d *Desk) Invoked(ctx context.Context, conv string, pos uint64) (value json.RawMessage, err error) {
	l, err := d.opts.Chat.Open(ctx, conv)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for {
		over := false
		more := l.View(func(st *conversation.State) {
			a := st.ActivityAt(pos)
			if a == nil {
				over = st.Deleted || st.Seq > conversation.SeqOf(pos)
				return
			}
			t := st.Answers(a.ID)
			if over = t == nil || t.State.Final(); t != nil && t.End != nil && t.End.State != event.Ok {
				err = fault.New(fault.Unavailable, "%s", t.End.Error)
			}
			for _, x := range st.Activities {
				if x.ReplyToID == a.ID && x.Type == activity.TypeInvokeResponse {
					value = x.Extra["value"]
				}
			}
		})
		if over {
			return value, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Hold tries f again while the log is without a leader.
func (d *Desk) Hold(ctx context.Context, f func(context.Context) error) error { return d.hold(ctx, f) }

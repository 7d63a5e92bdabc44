package channel

import (
	"context"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// Said returns what was said at a position of a conversation, as it is now, or
// NotFound. It is not to be changed.
func (d *Desk) Said(ctx context.Context, owner, conv string, pos uint64) (a *activity.Activity, err error) {
	err = d.hold(ctx, func(ctx context.Context) error {
		l, err := d.opts.Chat.Open(ctx, conv)
		if err != nil {
			return err
		}
		defer l.Close()
		l.View(func(st *conversation.State) {
			if st.Exists && !st.Deleted && st.By.Owner == owner {
				a = st.ActivityAt(pos)
			}
		})
		if a == nil {
			return fault.New(fault.NotFound, "nothing was said at this position")
		}
		return nil
	})
	return a, err
}

// Keep keeps a file that somebody sent along, for a message that will name it.
// key is that message's: with it, a repetition keeps nothing twice.
func (d *Desk) Keep(ctx context.Context, owner, conv, key string, f files.File) (at files.Attachment, err error) {
	err = d.hold(ctx, func(ctx context.Context) error {
		at, err = d.opts.Chat.Upload(ctx, owner, conv, d.opts.Name+"\x00"+key, f)
		return err
	})
	return at, err
}

// Kept returns a file of a conversation by its address in the API.
func (d *Desk) Kept(ctx context.Context, owner, conv, address string) (files.File, error) {
	id := files.ID(conv, address)
	if id == "" {
		return files.File{}, fault.New(fault.NotFound, "this is no file of the conversation")
	}
	return d.opts.Chat.File(ctx, owner, conv, id)
}

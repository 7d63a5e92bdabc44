package slack

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// kind names our metadata on Slack's messages.
const kind = "parley_activity"

// metadata names what a message is, for the one who has to look it up.
func (d *delivery) metadata(i int) api.MsgOption {
	return api.MsgOptionMetadata(api.SlackMetadata{EventType: kind, EventPayload: map[string]any{"id": d.key(), "part": i}})
}

func (d *delivery) key() string { return channel.ActivityID(d.post.Conversation, d.name) }

// before is how long before an item's time its messages are looked for: clocks
// differ, and it may have grown for a while.
const before = 15 * time.Minute

// find looks up which messages of the item are in Slack, when it is not known
// whether they have arrived.
func (d *delivery) find(ctx context.Context) error {
	self, err := d.self(ctx)
	if err == nil {
		d.found, err = d.there(ctx)
	}
	if err != nil {
		err = meaning(err)
		if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Invalid) {
			return nil // the app may not look: what is there twice is better than what is not there
		}
		// Not Limited: what is in doubt stays in doubt.
		return fault.Wrap(err, fault.Internal, "%s", fault.MessageOf(err)).After(fault.RetryAfterOf(err))
	}
	for {
		next := slices.IndexFunc(d.found, func(m api.Message) bool { return d.is(m, len(d.sent.ts)) })
		if next < 0 && d.post.Item.Stream != nil && !d.sent.open {
			next = slices.IndexFunc(d.found, func(m api.Message) bool { return d.begun(m, self) })
			d.sent.open = next >= 0
		}
		if next < 0 {
			return nil
		}
		d.sent.ts = append(d.sent.ts, d.found[next].Timestamp)
	}
}

// is reports whether a message is the item's i-th.
func (d *delivery) is(m api.Message, i int) bool {
	part, ok := m.Metadata.EventPayload["part"].(float64)
	return m.Metadata.EventType == kind && m.Metadata.EventPayload["id"] == d.key() && ok && int(part) == i
}

// begun reports whether a message is the stream that an item began: only when
// it ends is it given metadata. It is ours, none of ours that is done, and says
// what the item begins with.
func (d *delivery) begun(m api.Message, self string) bool {
	if m.BotID == "" || m.BotID != self || m.Metadata.EventType != "" || slices.Contains(d.sent.ts, m.Timestamp) {
		return false
	}
	has, is := letters(m.Text, 32), letters(d.post.Item.Activity.Text, 32)
	return strings.HasPrefix(is, has) && (has != "" || m.Text == "" && len(m.Files) == 0)
}

// letters is the beginning of a text without what markup changes.
func letters(s string, most int) string {
	var out []rune
	for _, r := range s {
		if len(out) == most {
			break
		}
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r > 0x7f {
			out = append(out, r)
		}
	}
	return string(out)
}

// there is what was said lately where the item goes.
func (d *delivery) there(ctx context.Context) ([]api.Message, error) {
	from := d.post.Item.At
	if !d.post.LastAt.IsZero() && d.post.LastAt.Before(from) {
		from = d.post.LastAt
	}
	oldest := strconv.FormatInt(from.Add(-before).Unix(), 10)
	var (
		all    []api.Message
		cursor string
	)
	for range 10 {
		var (
			page []api.Message
			more bool
			err  error
		)
		if d.to.Thread != "" {
			page, more, cursor, err = d.api.GetConversationRepliesContext(ctx, &api.GetConversationRepliesParameters{
				ChannelID: d.to.Channel, Timestamp: d.to.Thread, Oldest: oldest, Inclusive: true, Limit: 200, Cursor: cursor, IncludeAllMetadata: true,
			})
		} else {
			var h *api.GetConversationHistoryResponse
			h, err = d.api.GetConversationHistoryContext(ctx, &api.GetConversationHistoryParameters{
				ChannelID: d.to.Channel, Oldest: oldest, Inclusive: true, Limit: 200, Cursor: cursor, IncludeAllMetadata: true,
			})
			if err == nil {
				page, more, cursor = h.Messages, h.HasMore, h.ResponseMetaData.NextCursor
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if !more || cursor == "" {
			break
		}
	}
	return all, nil
}

// self is the bot's id, which stands on what it posts.
func (a *account) self(ctx context.Context) (string, error) {
	if id, ok := a.id.Load().(string); ok {
		return id, nil
	}
	who, err := a.api.AuthTestContext(ctx)
	if err != nil {
		return "", err
	}
	a.id.Store(who.BotID)
	return who.BotID, nil
}

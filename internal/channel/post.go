package channel

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/activity"
)

// Poster is the way out of a channel that has to be called: Slack does not hold
// a connection to fetch its messages, it is sent each. The Desk calls it for one
// conversation from one node at a time, item after item in the order of the
// log, and writes into the log what was posted before it posts the next.
type Poster interface {
	// Post brings an item to the other side and returns what that calls it.
	//
	// Unavailable and Limited mean that the other side did not take it: it comes
	// again, after the error's RetryAfter if there is one, and nothing overtakes
	// it. Timeout and Internal mean that the other side may have it: it comes
	// again with Doubt. Any other error is for good: the item becomes a dead
	// letter with the error's text, and the next one follows.
	Post(ctx context.Context, p Post) (ref string, err error)
	// Pace is how often a growing answer may be shown to somebody; 0 = the other
	// side shows answers when they are whole.
	Pace() time.Duration
}

// Post is an item on its way out.
type Post struct {
	Conversation string
	// Last is the newest thing that came in on the channel; its ChannelData is
	// what the adapter put there when it took it, so it knows where to.
	Last   *activity.Activity
	LastAt time.Time
	Item   Item
	// Ref is what the other side calls the message that this item changes, goes
	// on with or takes back; "" = it is a new one.
	Ref string
	// Sent is what of a growing answer the other side has under Ref.
	Sent string
	// Doubt: it was posted before, and nobody knows what became of it. A
	// platform that can be asked is asked; the others' adapters say in their
	// documentation what they do.
	Doubt bool
}

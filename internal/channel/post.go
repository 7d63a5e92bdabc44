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
	// Post brings an item to the other side and returns what that calls it. With
	// an error, ref says how far it came with an item that is several messages
	// there; it is the next try's Ref.
	//
	// Unavailable and Limited mean that the other side did not take it: it comes
	// again, after the error's RetryAfter if there is one, and nothing overtakes
	// it. Timeout and Internal mean that the other side may have it: it comes
	// again with Doubt. Canceled means that a person there wants no more of it: its
	// turn is stopped. Any other error is for good: the item becomes a dead
	// letter with the error's text, and the next one follows. The error is read
	// by people and must hold no secret.
	//
	// Parts of a growing answer and typing are for the moment: what is refused of
	// them is left out. That a part has no ref says that the other side shows no
	// growing answer here: it gets the whole one. Typing comes every few seconds
	// while the bot works and nothing grows. ctx ends after half a minute at most.
	Post(ctx context.Context, p Post) (ref string, err error)
	// Pace is how often a growing answer may be shown to somebody; 0 = the other
	// side shows answers when they are whole.
	Pace() time.Duration
}

// Post is an item on its way out.
type Post struct {
	Conversation string
	Owner        string // whose it is, as in Start
	// Last is the newest thing that came in on the channel; its ChannelData is
	// what the adapter put there, under the channel's name, when it took it: so it
	// knows where to. Nil: nothing has come in yet.
	Last   *activity.Activity
	LastAt time.Time
	// Item's activity holds text and attachments as the bot said them. One of
	// type messageDelete takes back what is there under Ref. Of a type that has
	// no form on the other side nothing is posted, and the ref is "".
	Item Item
	// Ref is what the other side calls the message that this item changes, goes
	// on with or takes back, or how far an earlier try came; "" = it is a new one.
	Ref string
	// Sent is what of a growing answer the other side has under Ref. With Doubt
	// nobody knows.
	Sent string
	// Doubt: nobody knows what the other side has, because the node that knew is
	// lost or an answer was. Without Ref, this item may be there: a platform that
	// can be asked is asked, and the others' adapters say in their documentation
	// what they do. With Ref, a piece of the text or all of it may be there: it is
	// to be written anew, not added to.
	Doubt bool
}

// Checker is a Poster that can try whether the way to the other side and back is
// free.
type Checker interface {
	// Check walks it for an account. service is the address by which the other
	// side reaches this service. No finding holds a secret.
	Check(ctx context.Context, account, service string) []Finding
}

// Finding is a step of a check.
type Finding struct {
	What    string `json:"what"`
	Problem string `json:"problem,omitempty"` // what is wrong, and what to do; "" = it is well
}

// NoAccount is what a Checker finds of an account that it does not have.
func NoAccount(name string) []Finding {
	return []Finding{{What: "the account " + name, Problem: "there is no such account"}}
}

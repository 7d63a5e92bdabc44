// Package channel is the contract of the ways on which people reach a bot
// besides Parley's own page and API: Direct Line today, and whatever else
// brings messages in and carries answers out.
//
// A channel is an adapter below this folder. It owns one protocol: who may
// speak, what the bytes mean, and how an answer looks there. Everything that
// channels have in common is the Desk's: dedupe, order, limits, and holding a
// request while the log is without a leader.
//
// # What a channel promises
//
//   - Verify first. Nothing is decoded, logged or stored of a request before it
//     is known whose it is, and the size of what is read is bounded before that.
//     What is forged, expired, replayed or for somebody else is refused with the
//     status that the protocol has for it and reaches no bot.
//   - Translate to activities and back without loss. What Parley does not know
//     passes through; what only the server may say (ids, times, who is a bot,
//     the service's URL) is the server's, whatever the client sent.
//   - Name every delivery. Inbound.Key is what the other side repeats when it
//     tries again, so that a repetition is one message, also when it reaches
//     another region: the log finds it, no table of one node does.
//   - Answer in time. An inbound request is answered when the message is
//     durable, never when the bot is done.
//   - Send in order. What goes out is a Feed's items, in the order of the log,
//     each with the position behind which a receiver that was away goes on:
//     nothing is missed, nothing comes twice, positions and times never run
//     backwards, on whatever node the receiver comes back.
//   - Refuse a flood before it costs the others, and say when to come back.
//   - Keep secrets out of logs, errors and metrics.
//
// channeltest holds the suite that a channel runs against itself.
package channel

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Observer hears what passes, for metrics. Every method is cheap. Kinds and
// reasons come from short lists, never from a client.
type Observer interface {
	Received(channel, kind string)  // an activity was taken: message, event or other
	Refused(channel, reason string) // a request was refused: a fault's code
	// Delivered: an activity was written to a receiver that waited for it, so
	// long after it was said.
	Delivered(channel string, after time.Duration)
	Connected(channel string, change int) // receivers that hold a connection
	// Posted: the other side was called for an item. Outcomes: posted, refused,
	// doubt, dead.
	Posted(channel, outcome string)
}

// Values are what all nodes of a world share. A key consists of words with
// dots between them.
type Values interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error) // or NotFound
	Create(ctx context.Context, key string, value []byte) error                      // or Conflict
	Replace(ctx context.Context, key string, value []byte, revision uint64) error    // or Conflict
	Remove(ctx context.Context, key string) error
	List(ctx context.Context, below string) ([]string, error) // the keys that begin with below and a dot
}

// Options of a Desk. Name and Chat are required.
type Options struct {
	Name     string // of the channel: stands in its conversations and metrics
	Chat     *chat.Service
	Rate     float64       // messages a second of one conversation, in the long run; 0 = 100
	Burst    int           // messages at once before that counts; 0 = 200
	Patience time.Duration // how long a flood is slowed down before it is refused; 0 = 10 s
	// Hold is how long a request waits for a log that can't be written or read
	// at the moment. 0 = 12 s: less than the 15 to 20 s that clients wait.
	Hold     time.Duration
	Observer Observer // nil = nobody

	// For Place:
	Values Values
	Region string // where the conversations are at home that it begins

	// For Alone, besides Values:
	Node string                 // this one's name
	Dead func(node string) bool // whether another one is silent; nil = only its signs of life tell
}

// Desk is Parley's side of a channel. Its methods may be called from many
// goroutines.
type Desk struct {
	opts   Options
	limit  *Limiter
	places places
}

// New checks the options.
func New(o Options) (*Desk, error) {
	if o.Name == "" || o.Chat == nil {
		return nil, errors.New("channel: Name and Chat are required")
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Burst == 0 {
		o.Burst = 200
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Hold == 0 {
		o.Hold = 12 * time.Second
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return &Desk{opts: o, limit: NewLimiter(o.Rate, o.Burst, o.Patience)}, nil
}

// Observer returns the one of the options, never nil.
func (d *Desk) Observer() Observer { return d.opts.Observer }

// Start is a conversation that a channel begins under an id that it has given
// away before.
type Start struct {
	ID    string
	Owner string // whose conversations these are: the channel's and the account's on it
	Bot   string // "" = the default one
	User  string // whom it is bound to; "" = nobody in particular
	// Data is the channelData of what greets a bot that runs elsewhere: where its
	// answer goes to, on channels that have to be called.
	Data json.RawMessage
}

// Begin begins a conversation, or finds that it began before. One that another
// owner began under this id is NotFound, and so is one that was deleted.
func (d *Desk) Begin(ctx context.Context, s Start) (fresh bool, err error) {
	err = d.hold(ctx, func(ctx context.Context) error {
		_, seq, err := d.opts.Chat.Create(ctx, chat.NewConversation{ID: s.ID, Owner: s.Owner, Bot: s.Bot, User: s.User, Channel: d.opts.Name, Data: s.Data})
		if err != nil {
			return err
		}
		fresh = fresh || seq > 0
		_, err = d.look(ctx, s.Owner, s.ID, true)
		return err
	})
	return fresh, err
}

// Look returns whom a conversation is bound to, or NotFound.
func (d *Desk) Look(ctx context.Context, owner, id string) (user string, err error) {
	err = d.hold(ctx, func(ctx context.Context) error {
		user, err = d.look(ctx, owner, id, false)
		return err
	})
	return user, err
}

// look with began says that the conversation is in the log for certain: this
// node may only not have heard of it yet.
func (d *Desk) look(ctx context.Context, owner, id string, began bool) (user string, err error) {
	l, err := d.opts.Chat.Open(ctx, id)
	if err != nil {
		return "", err
	}
	defer l.Close()
	late := time.NewTimer(2 * time.Second)
	defer late.Stop()
	for {
		var exists, mine bool
		more := l.View(func(st *conversation.State) {
			exists, mine, user = st.Exists || st.Deleted, st.Exists && !st.Deleted && st.By.Owner == owner, st.By.User
		})
		switch {
		case mine:
			return user, nil
		case exists || !began:
			return "", notFound(id)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return "", ctx.Err()
		case <-late.C:
			return "", fault.New(fault.Unavailable, "this node has not heard of the conversation yet; try again").After(time.Second)
		}
	}
}

// Inbound is one thing that somebody said or did on a channel: verified, and
// translated.
type Inbound struct {
	Conversation string
	Owner        string
	Activity     activity.Activity // From is who did it
	// Key names the delivery: the same in every repetition of it, and no other
	// one's in this conversation. "" = it is never repeated.
	Key string
}

// Take makes what came in durable, once, and asks for an answer if it is a
// message with text. It returns the activity's position. A flood waits, and is
// Limited when waiting does not help.
func (d *Desk) Take(ctx context.Context, in Inbound) (pos uint64, err error) {
	if err := d.limit.wait(ctx, in.Conversation); err != nil {
		return 0, err
	}
	if in.Key == "" {
		in.Key = rand.Text() // a try that ended in doubt may be made again all the same
	}
	err = d.hold(ctx, func(ctx context.Context) error {
		if err := d.meant(ctx, &in); err != nil {
			return err
		}
		acc, err := d.opts.Chat.Submit(ctx, chat.Message{
			Owner: in.Owner, Conversation: in.Conversation, Activity: in.Activity, From: in.Activity.From,
			Key: d.opts.Name + "\x00" + in.Key, Open: true,
		})
		if err != nil {
			return err
		}
		pos, err = d.position(ctx, in.Conversation, acc)
		return err
	})
	if err == nil {
		d.opts.Observer.Received(d.opts.Name, kindOf(in.Activity.Type))
	}
	return pos, err
}

// meant finds the activity that the client means by the name it knows: the one
// that was given out here, the delivery's own, or what the other side calls what
// was posted there.
func (d *Desk) meant(ctx context.Context, in *Inbound) error {
	name := in.Activity.ReplyToID
	if name == "" {
		return nil
	}
	l, err := d.opts.Chat.Open(ctx, in.Conversation)
	if err != nil {
		return err
	}
	defer l.Close()
	own := event.NewActivity(in.Conversation, d.opts.Name+"\x00"+name)
	l.View(func(st *conversation.State) {
		pos := PositionOf(in.Conversation, name)
		if pos == 0 {
			pos = st.Out.Named(name)
		}
		if a := st.ActivityAt(pos); a != nil {
			in.Activity.ReplyToID = a.ID
		} else if st.Activity(own) != nil {
			in.Activity.ReplyToID = own
		}
	})
	return nil
}

func (d *Desk) position(ctx context.Context, id string, acc chat.Accepted) (pos uint64, err error) {
	l, err := d.opts.Chat.Open(ctx, id)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	l.View(func(st *conversation.State) { pos = st.Place(acc.ID).Pos })
	if pos == 0 { // this node has not read it back yet: then it is new
		pos = conversation.Position(acc.Seq, 0)
	}
	return pos, nil
}

func kindOf(t string) string {
	if t == activity.TypeMessage || t == activity.TypeEvent {
		return t
	}
	return "other"
}

// hold tries again while the log is without a leader or its disk is away: a
// client that is told of a failover drops the message or the conversation, one
// that waits a moment longer never knows.
func (d *Desk) hold(ctx context.Context, f func(context.Context) error) error {
	late := time.Now().Add(d.opts.Hold)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		err := f(ctx)
		if !fault.Passing(err) || ctx.Err() != nil || time.Now().Add(wait).After(late) {
			return err
		}
		if pause.For(ctx, wait) != nil {
			return err
		}
	}
}

func notFound(id string) error { return fault.New(fault.NotFound, "there is no conversation %q", id) }

type nobody struct{}

func (nobody) Received(string, string)         {}
func (nobody) Refused(string, string)          {}
func (nobody) Delivered(string, time.Duration) {}
func (nobody) Connected(string, int)           {}
func (nobody) Posted(string, string)           {}

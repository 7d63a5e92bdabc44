package channel

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// OutletOptions are an Outlet's. Values is required.
type OutletOptions struct {
	Values Values
	GiveUp time.Duration // how long the other side is asked again that refuses something; 0 = 10 min
	// Waiting is how many entries this node lets wait for other sides. They hold
	// places in the queue that everything else comes by, so it is to be less than
	// that has. 0 = 2048: half of what a log of one node has.
	Waiting int
	Logger  *slog.Logger
}

// Outlet satisfies chat.Outlet: it posts what bots say on channels that have to
// be called.
//
// Who has the lease of an entry posts what follows from it, after all that
// stands before that in the log. Before an item leaves, that is written down,
// against the newest such entry, so that of two workers one posts; and what
// became of it afterwards, before the next one leaves. Who finds that an item
// left and not what became of it posts it again, with Doubt.
type Outlet struct {
	opts    OutletOptions
	lg      *slog.Logger
	ways    map[string]way // by channel
	waiting *waiting
}

// way is one channel's.
type way struct {
	desk     *Desk
	post     Poster
	accounts []string
}

// NewOutlet makes one without channels.
func NewOutlet(o OutletOptions) (*Outlet, error) {
	if o.Values == nil {
		return nil, errors.New("channel: an outlet needs Values")
	}
	if o.GiveUp == 0 {
		o.GiveUp = 10 * time.Minute
	}
	if o.Waiting == 0 {
		o.Waiting = 2048
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Outlet{opts: o, lg: o.Logger.With("part", "outlet"), ways: map[string]way{}, waiting: newWaiting(o.Waiting)}, nil
}

// Add has a desk's channel carried by a poster, for some accounts. All are added before the chat
// starts that has this outlet.
func (o *Outlet) Add(d *Desk, p Poster, accounts ...string) {
	o.ways[d.opts.Name] = way{d, p, accounts}
}

// Carries satisfies chat.Outlet.
func (o *Outlet) Carries(channel string) bool {
	_, ok := o.ways[channel]
	return ok
}

const (
	postTime  = 30 * time.Second // of one call
	postGrace = 2 * time.Second  // of a call, when the node stops meanwhile
	noteTime  = 10 * time.Second // how long the log may take to note what was posted
	// silence is how long others get for what is theirs to post, when nobody is
	// heard of: longer than a call.
	silence   = 45 * time.Second
	linger    = 3 * time.Second // how long a lease is held for that
	mostWait  = time.Hour
	tooOld    = 24 * time.Hour
	showAgain = time.Second     // after something could not be shown
	typeEvery = 4 * time.Second // that somebody writes; where it goes out soonest, it does so after 5 s
	typeTime  = 3 * time.Second // of such a call
	hush      = 300 * time.Millisecond
)

// Carry satisfies chat.Outlet.
func (o *Outlet) Carry(ctx context.Context, conv string, entry uint64, over <-chan struct{}) error {
	var some way
	for _, some = range o.ways { // all are of one chat
		break
	}
	live, err := some.desk.opts.Chat.Open(ctx, conv)
	if err != nil {
		return err
	}
	defer live.Close()
	c := newCarrier(o, live, conv, entry)
	if c.way.desk == nil {
		return nil
	}
	pace := c.way.post.Pace()
	c.feed.parts, c.feed.gap, c.feed.hush, c.feed.busy = pace > 0, pace, min(pace, hush), true
	place := chat.Orphan{Conversation: conv, Seq: entry}
	o.waiting.remove(c.account, place)
	err = c.run(ctx, over)
	var later chat.Later
	if errors.As(err, &later) {
		o.waiting.add(c.account, place, time.Now().Add(time.Duration(later)))
	}
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// carrier brings out what follows from one entry.
type carrier struct {
	o       *Outlet
	way     way
	channel string
	account string // whose conversation it is
	live    *chat.Live
	conv    string
	entry   uint64
	by      string // tells what this one writes from what all others write
	feed    *Feed
	before  []Item // of others, that must be out before the next own one

	// Of the stream that is shown:
	stream uint64 // its name; 0 = none
	ref    string
	sent   string
	known  bool      // the other side has sent, and no more
	mute   uint64    // the stream of which nothing more is shown until it is whole
	quiet  time.Time // until when nothing is shown
	busy   *Item     // that somebody writes; nil = there is something better to show
	typed  time.Time // when that was last shown
}

func newCarrier(o *Outlet, live *chat.Live, conv string, entry uint64) *carrier {
	c := &carrier{o: o, live: live, conv: conv, entry: entry, by: rand.Text()[:12]}
	live.View(func(st *conversation.State) {
		c.channel, c.account = st.By.Channel, st.By.Owner
		c.way = o.ways[c.channel]
		c.feed = &Feed{desk: c.way.desk, live: live, began: st.Out.Upto, pos: st.Out.Upto}
	})
	return c
}

var (
	errGone  = errors.New("the conversation is gone")
	errMoved = errors.New("somebody else wrote about this conversation's items")
)

func (c *carrier) run(ctx context.Context, over <-chan struct{}) error {
	for {
		last := false
		select {
		case <-over:
			last = true
		default:
		}
		n := c.feed.Next()
		for _, it := range n.Items {
			if err := c.take(ctx, it); err != nil {
				return err
			}
		}
		if n.Over || last {
			return nil
		}
		most := n.Wait
		if c.busy != nil && (most == 0 || most > typeEvery) {
			most = typeEvery
		}
		if err := wait(ctx, most, n.More, over); err != nil {
			return err
		}
		if c.busy != nil && time.Since(c.typed) > typeEvery {
			if err := c.show(ctx, *c.busy); err != nil {
				return err
			}
		}
	}
}

// wait returns when a channel is closed or, unless that is 0, after a while.
func wait(ctx context.Context, most time.Duration, a, b <-chan struct{}) error {
	var late <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a:
	case <-b:
	case <-late:
	}
	return nil
}

func (c *carrier) take(ctx context.Context, it Item) error {
	mine := it.cause == c.entry
	switch {
	case !it.Activity.FromBot() || it.Activity.Type == activity.TypeInvokeResponse:
		return nil
	case it.Activity.Type == activity.TypeTyping:
		if mine {
			return c.show(ctx, it)
		}
		return nil
	case !mine:
		c.before = append(c.before, it)
		return nil
	}
	for len(c.before) > 0 {
		if err := c.settle(ctx, c.before[0], false); err != nil {
			return err
		}
		c.before = c.before[1:]
	}
	c.busy = nil
	return c.settle(ctx, it, true)
}

// sight is what the log says when an item is to be posted.
type sight struct {
	gone  bool
	out   conversation.Out
	owner string
	ref   string    // of what the item changes, or of its stream
	grows string    // who goes on with the stream
	tries int       // how often the item was refused
	since time.Time // since when it is, or what waited before it was; 0 = it is not
	last  *activity.Activity
	at    time.Time
}

func (c *carrier) look(it Item) (v sight, more <-chan struct{}) {
	more = c.live.View(func(st *conversation.State) {
		v.gone, v.out, v.owner = !st.Exists || st.Deleted || st.Set.Trashed, st.Out, st.By.Owner
		if s := it.Stream; s != nil {
			v.ref, v.grows = st.Out.Ref(s.ID), st.Out.By(s.ID)
		}
		if ref := st.Out.Ref(it.ID); ref != "" {
			v.ref = ref
		}
		v.last, v.at = newest(st, c.channel)
		switch last := st.Out.Last; {
		case last.Pos == it.Pos:
			v.tries, v.since = st.Out.Tries, st.Out.Since
		case last.Step == event.Dead && it.At.Before(st.Out.At):
			v.since = st.Out.Since // it waited along with what was given up
		}
	})
	return v, more
}

// newest returns the newest thing that came in on a channel.
func newest(st *conversation.State, channel string) (*activity.Activity, time.Time) {
	for i := len(st.Activities) - 1; i >= 0; i-- {
		a := st.Activities[i]
		var data map[string]json.RawMessage
		if !a.FromBot() && json.Unmarshal(a.ChannelData, &data) == nil && data[channel] != nil {
			return a, st.Place(a.ID).At
		}
	}
	return nil, time.Time{}
}

// left reports whether somebody else said that an item leaves, and nobody what
// became of it.
func (c *carrier) left(v sight) bool {
	return v.out.Last.Step == event.Leaving && v.out.Last.By != c.by
}

// settle returns when an item is out, or won't be.
func (c *carrier) settle(ctx context.Context, it Item, mine bool) error {
	var long time.Time // until when others are waited for
	for {
		v, more := c.look(it)
		switch {
		case v.gone:
			return errGone
		case it.Pos <= v.out.Upto, time.Since(it.At) > tooOld:
			return nil
		}
		held, quiet := time.Until(v.out.Last.Until), time.Until(c.quiet)
		var err error
		switch rest := c.others(it, v, mine); {
		case v.out.Last.Step == event.Refused && held > 0:
			n, full := c.o.waiting.full(c.account, time.Now())
			if !full {
				return chat.Later(held)
			}
			err = c.dead(ctx, it, v, "", crowded(n, nil), v.out.Last.Doubt)
		case quiet > 0:
			err = c.refused(ctx, it, v, "", fault.New(fault.Limited, "the other side wants a pause").After(quiet), false)
		case rest > 0:
			if long.IsZero() {
				long = time.Now().Add(linger)
			}
			if time.Now().After(long) {
				return chat.Later(time.Second)
			}
			if err := wait(ctx, min(rest, linger), more, nil); err != nil {
				return err
			}
			continue
		default:
			err = c.send(ctx, it, v)
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// others returns for how long an item is left to somebody else.
func (c *carrier) others(it Item, v sight, mine bool) time.Duration {
	heard := v.out.At
	switch {
	case c.left(v):
		if v.out.Last.Lease == c.entry {
			return 0 // who had this lease before, and lost it
		}
	case mine:
		return 0
	case it.At.After(heard):
		heard = it.At
	}
	return time.Until(heard.Add(silence))
}

// send posts an item and writes down what became of it.
func (c *carrier) send(ctx context.Context, it Item, v sight) error {
	doubt := v.out.Last.Pos == it.Pos && (c.left(v) || v.out.Last.Doubt)
	p := Post{Item: it, Ref: v.ref}
	if s := it.Stream; s != nil {
		if c.stream == s.ID {
			p.Sent = c.sent
			if p.Ref == "" {
				p.Ref = c.ref
			}
		}
		s.First = p.Ref == ""
		switch {
		case p.Ref != "":
			doubt = doubt || c.stream != s.ID || !c.known
		case v.out.Last.Pos == s.ID:
			doubt = c.left(v) || v.out.Last.Doubt
		}
	}
	if v.out.Last.Pos == it.Pos && v.out.Last.Ref != "" {
		p.Ref = v.out.Last.Ref // how far an earlier try came
	}
	p.Doubt = doubt
	if it.Activity.Type == activity.TypeDelete && p.Ref == "" && !doubt {
		return c.note(ctx, event.Posted{Pos: it.Pos, Step: event.There}, v) // it never was there
	}
	if err := c.leave(ctx, it.Pos, &v); err != nil {
		return err
	}
	ref, err := c.post(ctx, p, v, postTime)
	switch fault.CodeOf(err) {
	case "":
		c.way.desk.opts.Observer.Posted(c.channel, "posted")
		c.way.desk.opts.Observer.Delivered(c.channel, time.Since(it.At))
		return c.there(ctx, event.Posted{Pos: it.Pos, ID: it.ID, Ref: ref}, v)
	case fault.Unavailable, fault.Limited:
		return c.refused(ctx, it, v, ref, err, doubt)
	case fault.Canceled:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.there(ctx, event.Posted{Pos: it.Pos, ID: it.ID}, v)
	case fault.Timeout, fault.Internal:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.refused(ctx, it, v, ref, err, true)
	}
	return c.dead(ctx, it, v, ref, err, doubt)
}

// post calls the poster. A node that stops lets it finish.
func (c *carrier) post(ctx context.Context, p Post, v sight, most time.Duration) (string, error) {
	p.Conversation, p.Owner, p.Last, p.LastAt = c.conv, v.owner, v.last, v.at
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = pause.For(call, postGrace)
		cancel()
	})()
	return c.way.post.Post(call, p)
}

// leave writes down that an item leaves, and puts into v what follows from it.
func (c *carrier) leave(ctx context.Context, pos uint64, v *sight) error {
	if last := v.out.Last; last.Step == event.Leaving && last.By == c.by && last.Pos == pos {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p := event.Posted{Pos: pos, Step: event.Leaving}
	if v.out.Last.Pos == pos {
		p.Ref = v.out.Last.Ref
	}
	return c.write(ctx, p, v)
}

// there writes down that an item is on the other side. That it is somebody
// else's by now, who will say so, is no error.
func (c *carrier) there(ctx context.Context, p event.Posted, v sight) error {
	p.Step = event.There
	if err := c.note(ctx, p, v); !errors.Is(err, errMoved) {
		return err
	}
	return nil
}

// refused writes down that the other side did not take an item, and says when
// it is asked again; or makes it a dead letter when that was tried for long.
func (c *carrier) refused(ctx context.Context, it Item, v sight, ref string, err error, doubt bool) error {
	if v.since.IsZero() {
		v.since = time.Now().UTC()
	}
	if v.out.Last.Pos == it.Pos {
		ref = cmp.Or(ref, v.out.Last.Ref)
	}
	if time.Since(v.since) > c.o.opts.GiveUp {
		return c.dead(ctx, it, v, ref, err, doubt)
	}
	if n, full := c.o.waiting.full(c.account, time.Now()); full {
		return c.dead(ctx, it, v, ref, crowded(n, err), doubt)
	}
	outcome := "refused"
	if doubt {
		outcome = "doubt"
	}
	c.way.desk.opts.Observer.Posted(c.channel, outcome)
	later := min(max(fault.RetryAfterOf(err), min(500*time.Millisecond<<min(v.tries, 7), time.Minute)), mostWait)
	c.o.lg.Warn("the other side does not take what a bot says; it is asked again", "channel", c.channel, "conversation", c.conv, "in", later, "tries", v.tries+1, "err", err)
	if err := c.note(ctx, event.Posted{Pos: it.Pos, Step: event.Refused, Ref: ref, Doubt: doubt, Since: v.since, Until: time.Now().Add(later).UTC()}, v); err != nil {
		return err
	}
	return chat.Later(later)
}

// crowded says why what could wait is given up.
func crowded(n int, err error) error {
	if err == nil {
		return fault.New(fault.Limited, "%d messages wait for the other side already; replay it when that takes messages again", n)
	}
	return fault.New(fault.Limited, "%s (%d messages wait for that already; replay it when the other side takes messages again)", fault.MessageOf(err), n)
}

// dead makes an item a dead letter. The letter is kept before the log says so:
// one too many is found out when it is replayed.
func (c *carrier) dead(ctx context.Context, it Item, v sight, ref string, cause error, doubt bool) error {
	c.way.desk.opts.Observer.Posted(c.channel, "dead")
	c.o.lg.Error("what a bot said does not go out", "channel", c.channel, "conversation", c.conv, "position", it.Pos, "err", cause)
	letter := Letter{Channel: c.channel, Conversation: c.conv, Pos: it.Pos, At: it.At, Dead: time.Now().UTC(), Error: fault.MessageOf(cause), Ref: ref, Doubt: doubt}
	if v.out.Last.Pos == it.Pos {
		letter.Ref = cmp.Or(ref, v.out.Last.Ref)
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if err := c.o.keep(keep, letter); err != nil {
		return err
	}
	return c.note(ctx, event.Posted{Pos: it.Pos, Step: event.Dead, Since: v.since}, v)
}

// note writes a step down. v is what it follows.
func (c *carrier) note(ctx context.Context, p event.Posted, v sight) error {
	return c.write(ctx, p, &v)
}

// write appends a step, again while the log can't be written, and puts into v
// what follows from it. A node that stops writes too: without that, what it
// posted would go out twice.
func (c *carrier) write(ctx context.Context, p event.Posted, v *sight) error {
	p.By, p.Lease = c.by, c.entry
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	for try := 0; ; try++ {
		r, err := c.way.desk.opts.Chat.Post(late, c.conv, p, v.out.Seq, v.out.Sum)
		if err == nil {
			v.out.Seq, v.out.Sum, v.out.Last = r.Seq, r.Sum, p
			_ = c.live.Wait(ctx, r.Seq) // durable either way
			return nil
		}
		if fault.Is(err, fault.Conflict) {
			if done, err := c.moved(ctx, p, v); done || err != nil {
				return err
			}
			continue
		}
		if fault.Is(err, fault.Canceled) || pause.For(late, min(50*time.Millisecond<<min(try, 4), time.Second)) != nil {
			return err
		}
	}
}

// moved looks at what was written meanwhile: this very step (done), by a try
// whose answer was lost; something about other items; or what somebody else did
// with this one.
func (c *carrier) moved(ctx context.Context, p event.Posted, v *sight) (done bool, err error) {
	was := v.out
	if err := until(ctx, c.live, func(st *conversation.State) bool {
		v.out = st.Out
		return v.out.Seq != was.Seq
	}); err != nil {
		return false, err
	}
	switch last := v.out.Last; {
	case last.By == p.By && last.Pos == p.Pos && last.Step == p.Step:
		return true, nil
	case last == was.Last && p.Pos > v.out.Upto:
		return false, nil
	case c.entry == 0: // a letter, which goes beside the others
		return v.out.By(cmp.Or(p.ID, p.Pos)) == p.By, nil
	}
	return false, errMoved
}

// until returns when ok holds of a conversation.
func until(ctx context.Context, l *chat.Live, ok func(*conversation.State) bool) error {
	for {
		holds := false
		more := l.View(func(st *conversation.State) { holds = ok(st) })
		if holds {
			return nil
		}
		if err := wait(ctx, 0, more, nil); err != nil {
			return err
		}
	}
}

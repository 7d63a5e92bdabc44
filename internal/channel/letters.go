package channel

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Letter is a dead letter: something that a bot said and that the other side
// would not have. What it says stands in its conversation and nowhere else, so
// that deleting that deletes it.
type Letter struct {
	Channel      string    `json:"channel"`
	Conversation string    `json:"conversation"`
	Pos          uint64    `json:"position"`
	At           time.Time `json:"at"`              // when it was said
	Dead         time.Time `json:"dead"`            // when it was given up
	Error        string    `json:"error"`           // why, in words
	Ref          string    `json:"ref,omitempty"`   // how far it came
	Doubt        bool      `json:"doubt,omitempty"` // the other side may have it all the same
	// Taken is when somebody began to replay it.
	Taken time.Time `json:"taken,omitzero"`
}

const deadKeys = "dead"

// Account is one of those that a channel which has to be called is set up for.
type Account struct {
	Channel string `json:"channel"`
	Account string `json:"account"`
}

// Accounts lists them, by name.
func (o *Outlet) Accounts() []Account {
	out := []Account{}
	for name, w := range o.ways {
		for _, a := range w.accounts {
			out = append(out, Account{name, a})
		}
	}
	slices.SortFunc(out, func(a, b Account) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Account, b.Account))
	})
	return out
}

// Check tries whether the way to an account's other side and back is free.
// service is the address by which that reaches this service.
func (o *Outlet) Check(ctx context.Context, a Account, service string) ([]Finding, error) {
	w := o.ways[a.Channel]
	if !slices.Contains(w.accounts, a.Account) {
		return nil, fault.New(fault.NotFound, "the configuration has no account %q of the channel %q", a.Account, a.Channel)
	}
	c, ok := w.post.(Checker)
	if !ok {
		return nil, fault.New(fault.Unsupported, "the channel %s can't be tried from here", a.Channel)
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	return c.Check(ctx, a.Account, service), nil
}

// ID names a letter.
func (l Letter) ID() string {
	return l.Channel + "." + l.Conversation + "." + strconv.FormatUint(l.Pos, 10)
}

func (o *Outlet) keep(ctx context.Context, l Letter) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := o.opts.Values.Create(ctx, deadKeys+"."+l.ID(), b); !fault.Is(err, fault.Conflict) {
		return err
	}
	return nil // somebody gave it up before
}

// inOrder compares keys of letters: those of a conversation are together, in
// the order in which they were said.
func inOrder(a, b string) int {
	i, j := strings.LastIndexByte(a, '.')+1, strings.LastIndexByte(b, '.')+1
	return cmp.Or(cmp.Compare(a[:i], b[:j]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// Letters lists up to limit dead letters of a channel, "" = of all, from behind
// the one that after names; "" = from the first. They are in the order of their
// conversations' names, and in each as they were said. next names the last one
// if there are more.
func (o *Outlet) Letters(ctx context.Context, channel, after string, limit int) (page []Letter, next string, err error) {
	below := deadKeys
	if strings.ContainsFunc(channel, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return nil, "", fault.New(fault.Invalid, "%q is no channel", channel)
	}
	if channel != "" {
		below += "." + channel
	}
	keys, err := o.opts.Values.List(ctx, below)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(keys, inOrder)
	from, there := slices.BinarySearchFunc(keys, deadKeys+"."+after, inOrder)
	if there {
		from++
	}
	page = []Letter{}
	for _, key := range keys[from:] {
		if len(page) == limit {
			return page, page[limit-1].ID(), nil
		}
		l, _, err := o.letter(ctx, strings.TrimPrefix(key, deadKeys+"."))
		if fault.Is(err, fault.NotFound) {
			continue // somebody took it away
		}
		if err != nil {
			return nil, "", err
		}
		page = append(page, l)
	}
	return page, "", nil
}

func (o *Outlet) letter(ctx context.Context, id string) (l Letter, revision uint64, err error) {
	if part := strings.Split(id, "."); len(part) != 3 || strings.ContainsAny(id, " *>/") {
		return l, 0, noLetter(id)
	}
	value, revision, err := o.opts.Values.Load(ctx, deadKeys+"."+id)
	if fault.Is(err, fault.NotFound) {
		return l, 0, noLetter(id)
	}
	if err != nil {
		return l, 0, err
	}
	if err := json.Unmarshal(value, &l); err != nil {
		return l, 0, fmt.Errorf("read the dead letter %s: %w", id, err)
	}
	return l, revision, nil
}

func noLetter(id string) error { return fault.New(fault.NotFound, "there is no dead letter %q", id) }

// Drop takes a letter away: nobody wants it any more.
func (o *Outlet) Drop(ctx context.Context, id string) error {
	if _, _, err := o.letter(ctx, id); err != nil {
		return err
	}
	return o.opts.Values.Remove(ctx, deadKeys+"."+id)
}

// Replay posts a letter now, behind whatever went out since, and takes it from
// the list. An error says why the other side still won't have it; then it stays.
func (o *Outlet) Replay(ctx context.Context, id string) error {
	l, revision, err := o.letter(ctx, id)
	if err != nil {
		return err
	}
	if !o.Carries(l.Channel) {
		return fault.New(fault.Unavailable, "the channel %s is off on this node", l.Channel)
	}
	if time.Since(l.Taken) < silence {
		return fault.New(fault.Conflict, "somebody is replaying this letter")
	}
	l.Doubt = l.Doubt || !l.Taken.IsZero() // nobody said what became of that
	l.Taken = time.Now().UTC()
	if revision, err = o.rewrite(ctx, l, revision); err != nil {
		return err
	}
	ref, gone, cause := o.replay(ctx, l)
	if gone {
		if cause != nil {
			o.lg.Warn("a dead letter was posted, and the log does not know", "letter", id, "err", cause)
		}
		return o.opts.Values.Remove(ctx, deadKeys+"."+id)
	}
	l.Taken, l.Ref = time.Time{}, ref
	if !fault.Is(cause, fault.Conflict) {
		l.Error = fault.MessageOf(cause)
	}
	l.Doubt = l.Doubt || fault.Is(cause, fault.Timeout) || fault.Is(cause, fault.Internal) || fault.Is(cause, fault.Canceled)
	if _, err := o.rewrite(context.WithoutCancel(ctx), l, revision); err != nil {
		return err
	}
	return cause
}

func (o *Outlet) rewrite(ctx context.Context, l Letter, revision uint64) (uint64, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	if err := o.opts.Values.Replace(ctx, deadKeys+"."+l.ID(), b, revision); err != nil {
		if fault.Is(err, fault.Conflict) {
			return 0, fault.New(fault.Conflict, "somebody is replaying this letter")
		}
		return 0, err
	}
	_, revision, err = o.letter(ctx, l.ID())
	return revision, err
}

// replay reports whether the letter is of no use any more: it was posted now,
// or before, or its conversation is gone. ref is how far it came.
func (o *Outlet) replay(ctx context.Context, l Letter) (ref string, gone bool, err error) {
	live, err := o.ways[l.Channel].desk.opts.Chat.Open(ctx, l.Conversation)
	if err != nil {
		return l.Ref, fault.Is(err, fault.NotFound), err
	}
	defer live.Close()
	c := newCarrier(o, live, l.Conversation, 0)
	c.feed.began, c.feed.pos = l.Pos-1, l.Pos-1
	var it *Item
	for _, x := range c.feed.Next().Items {
		if x.Pos == l.Pos {
			it = &x
		}
	}
	if it == nil {
		return "", true, nil
	}
	v, _ := c.look(*it)
	if !v.gone && v.out.Upto < l.Pos {
		return l.Ref, false, fault.New(fault.Conflict, "it is being given up at this moment; try again")
	}
	dead := false
	live.View(func(st *conversation.State) { dead = st.Out.Dead(l.Pos) })
	if v.gone || !dead {
		return "", true, nil
	}
	p := Post{Item: *it, Ref: cmp.Or(l.Ref, v.ref), Doubt: l.Doubt || v.ref != ""}
	if ref, err = c.post(ctx, p, v, postTime); err != nil {
		c.way.desk.opts.Observer.Posted(c.channel, "refused")
		return cmp.Or(ref, l.Ref), false, err
	}
	c.way.desk.opts.Observer.Posted(c.channel, "posted")
	return ref, true, c.note(ctx, event.Posted{Pos: it.Pos, ID: it.ID, Step: event.There, Ref: ref}, v)
}

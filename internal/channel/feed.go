package channel

import (
	"context"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
)

// Item is one activity for a receiver.
type Item struct {
	// Pos grows from item to item. A receiver that has this one asks for what
	// comes after Pos.
	Pos uint64
	// ID is the position that names the activity: Pos, except that the first
	// part of a stream that a receiver gets bears the stream's own.
	ID       uint64
	Activity *activity.Activity // as in the log; not to be changed
	At       time.Time          // never runs backwards
	ReplyTo  uint64             // position of what it answers; 0 = unknown
	To       *activity.Account  // who is answered; nil = unknown
	Stream   *Stream            // nil: it is whole and always was

	cause uint64 // the entry that it follows from; 0 = what nobody was asked for
}

// Stream says that an item is part of an answer that is shown while it grows.
// Every part holds the whole text so far.
type Stream struct {
	ID    uint64 // position that names the stream: its first part's
	First bool   // nothing of it went to this receiver before
	Note  bool   // what the bot is doing; no part of the answer
	Final bool
	Part  int // 1 for the first, growing

	bots bool // made by a bot that runs elsewhere
}

// partGap is the least time between two parts of a stream for one receiver; a
// part holds the whole text, so for each partSize of it the gap grows by one.
const (
	partGap  = 100 * time.Millisecond
	partSize = 8 << 10
)

// Feed is a receiver's place in a conversation. It is not safe for concurrent
// use. Close it.
type Feed struct {
	desk  *Desk
	live  *chat.Live
	parts bool
	gap   time.Duration // least time between two parts of a stream; 0 = partGap
	hush  time.Duration // how long a stream's beginning waits: what is whole by then is given once
	busy  bool          // it is shown that an answer is being worked on, whoever does
	began uint64        // where the receiver began
	pos   uint64        // up to where it was given everything

	stream uint64    // the last one of which a part was given
	sent   time.Time // when that was
	fresh  uint64    // the last one whose beginning waited
	since  time.Time // when that was
}

// Feed opens a conversation for a receiver that has everything up to after; 0
// is the beginning. With parts it is shown answers while they are written, the
// text so far each time; without, each when it is whole.
func (d *Desk) Feed(ctx context.Context, owner, id string, after uint64, parts bool) (*Feed, error) {
	f := &Feed{desk: d, parts: parts, began: after, pos: after}
	err := d.hold(ctx, func(ctx context.Context) error {
		if _, err := d.look(ctx, owner, id, false); err != nil {
			return err
		}
		var err error
		f.live, err = d.opts.Chat.Open(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Close ends the reading.
func (f *Feed) Close() { f.live.Close() }

// Next is what a receiver is to get now.
type Next struct {
	Items []Item
	More  <-chan struct{} // closed when there may be more
	Wait  time.Duration   // 0, or after so long there is more in any case
	Over  bool            // the conversation is gone; nothing follows
}

// Next returns what has come since the last call, in order. However many
// pieces of an answer came meanwhile, they are one item.
func (f *Feed) Next() Next {
	var n Next
	n.More = f.live.View(func(st *conversation.State) {
		var (
			grows *conversation.Turn // whose text grew and was not given yet
			grew  uint64
			after = f.pos
		)
		for _, frame := range st.After(f.pos) {
			switch b := frame.Body.(type) {
			case *activity.Activity:
				// What follows a stream's beginning must not come before it.
				if grows != nil && !f.begun(grows) {
					n.Items, grows = append(n.Items, f.part(st, grows, grew)), nil
				}
				if st.Activity(b.ID) != b {
					break // there is a newer version of it, which has a frame of its own
				}
				n.typed(b.From)
				n.Items = append(n.Items, f.whole(st, b, frame.Pos))
			case conversation.TypingBody:
				if (f.parts || f.busy) && time.Since(b.Timestamp) < fresh {
					n.typed(b.From)
					n.Items = append(n.Items, f.typing(st, b.Activity, frame.Pos))
				}
			case conversation.DeltaBody:
				if t := st.Turn(b.Turn); f.parts && t.Began > 0 && !t.State.Final() {
					grows, grew = t, frame.Pos
				}
			case conversation.TurnBody:
				if b.State == event.Failed {
					n.Items = append(n.Items, f.failed(st, b, frame.Pos))
				}
				if b.State == event.Running && st.Turn(b.Turn).State == event.Running && (f.busy || f.parts && f.elsewhere(st)) {
					it := f.typing(st, &activity.Activity{Type: activity.TypeTyping, From: f.bot(st)}, frame.Pos)
					it.cause = st.Turn(b.Turn).Seq
					n.Items = append(n.Items, it)
				}
			}
			n.Over = n.Over || frame.Event == "deleted"
			after = frame.Pos
		}
		if grows != nil {
			if n.Wait = f.due(grows); n.Wait == 0 {
				n.Items = append(n.Items, f.part(st, grows, grew))
			} else if after = f.pos; len(n.Items) > 0 {
				after = n.Items[len(n.Items)-1].Pos
			}
		}
		f.pos = after
		for i := range n.Items {
			f.streamed(&n.Items[i])
		}
	})
	return n
}

// fresh is how old typing may be that is still shown.
const fresh = 30 * time.Second

// typed takes back that somebody is writing, before something newer of theirs.
func (n *Next) typed(who *activity.Account) {
	n.Items = slices.DeleteFunc(n.Items, func(it Item) bool {
		from := it.Activity.From
		return it.Activity.Type == activity.TypeTyping && (it.Stream == nil || it.Stream.bots) && who != nil && from != nil && from.ID == who.ID
	})
}

// typing is what a bot shows while it writes. All of a stream's pieces hold the
// whole text so far.
func (f *Feed) typing(st *conversation.State, a *activity.Activity, pos uint64) Item {
	it := Item{Pos: pos, ID: pos, Activity: a, At: st.Newest()}
	it.answers(st, a.ReplyToID)
	if t := st.Answers(a.ReplyToID); t != nil {
		it.cause = t.Seq
	}
	if m := a.Meta(); m.StreamType != "" {
		it.Stream = &Stream{ID: m.Stream, Note: m.StreamType == activity.StreamNote, bots: true}
		if m.Stream == 0 {
			it.Stream.ID = pos
		}
	}
	return it
}

// streamed fills in what a piece of a bot's stream is to this receiver.
func (f *Feed) streamed(it *Item) {
	s := it.Stream
	if s == nil || !s.bots {
		return
	}
	s.First = f.began < s.ID && f.stream != s.ID
	if s.Part = 1 + int(it.Pos-s.ID); s.First && !s.Final {
		it.ID, s.Part = s.ID, 1
	}
	f.stream = s.ID
}

// elsewhere reports whether the conversation's bot runs elsewhere: nothing
// grows while it works.
func (f *Feed) elsewhere(st *conversation.State) bool {
	return slices.ContainsFunc(f.desk.opts.Chat.Bots(), func(b chat.Bot) bool { return b.ID == st.By.Bot && b.Courier != nil })
}

// begun reports whether the receiver has a part of the turn's stream.
func (f *Feed) begun(t *conversation.Turn) bool { return f.began >= t.Began || f.stream == t.Began }

// due returns how long the next part of a stream has to wait.
func (f *Feed) due(t *conversation.Turn) time.Duration {
	if !f.begun(t) {
		if f.fresh != t.Began {
			f.fresh, f.since = t.Began, time.Now()
		}
		return max(0, time.Until(f.since.Add(f.hush)))
	}
	return max(0, time.Until(f.sent.Add(max(f.gap, partGap)*time.Duration(1+len(t.Text)/partSize))))
}

func (f *Feed) whole(st *conversation.State, a *activity.Activity, pos uint64) Item {
	p := st.Place(a.ID)
	it := Item{Pos: pos, ID: p.Pos, Activity: a, At: p.At}
	it.answers(st, a.ReplyToID)
	m := a.Meta()
	t := st.Turn(m.Turn)
	switch {
	case p.Bot != "":
		it.cause = conversation.SeqOf(pos)
	case a.FromBot() && t != nil:
		it.cause = t.Seq
	}
	if m.Stream > 0 {
		it.Stream = &Stream{ID: m.Stream, Final: true, bots: true}
	} else if a.FromBot() && p.Bot == "" && t != nil && t.Began > 0 {
		it.Stream = &Stream{ID: t.Began, Final: true, First: !f.begun(t), Part: number(t, pos)}
	}
	return it
}

// part is a running answer as far as it has come. Its stream's name and
// numbers follow from the log alone, so a receiver that comes back, wherever,
// goes on in the same stream.
func (f *Feed) part(st *conversation.State, t *conversation.Turn, pos uint64) Item {
	it := Item{Pos: pos, ID: pos, At: st.Newest(), cause: t.Seq, Stream: &Stream{ID: t.Began, First: !f.begun(t), Part: number(t, pos)}}
	if it.Stream.First {
		it.ID, it.Stream.Part = t.Began, 1
	}
	it.answers(st, t.ReplyTo)
	it.Activity = &activity.Activity{Type: activity.TypeTyping, Text: string(t.Text), TextFormat: "markdown", From: f.bot(st)}
	f.stream, f.sent = t.Began, time.Now()
	return it
}

// number grows along a stream from 1 on.
func number(t *conversation.Turn, pos uint64) int { return 1 + int(pos-t.Began) }

// failed tells the user what otherwise only a turn's state would: that no
// answer comes, and why.
func (f *Feed) failed(st *conversation.State, b conversation.TurnBody, pos uint64) Item {
	it := Item{Pos: pos, ID: pos, At: st.Newest(), cause: st.Turn(b.Turn).Seq}
	it.answers(st, b.ReplyTo)
	it.Activity = &activity.Activity{Type: activity.TypeMessage, Text: "No answer: " + b.Error, TextFormat: "plain", From: f.bot(st)}
	return it
}

func (f *Feed) bot(st *conversation.State) *activity.Account {
	bots := f.desk.opts.Chat.Bots()
	bot := bots[0]
	if i := slices.IndexFunc(bots, func(b chat.Bot) bool { return b.ID == st.By.Bot }); i >= 0 {
		bot = bots[i]
	}
	return &activity.Account{ID: bot.ID, Name: bot.Name, Role: "bot"}
}

func (it *Item) answers(st *conversation.State, id string) {
	if a := st.Activity(id); a != nil {
		it.ReplyTo, it.To = st.Place(id).Pos, a.From
	}
}

package project

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

// reader is what a fold reads of a store.
type reader interface {
	Known(ctx context.Context, conversation string) (bool, error)
	Turn(ctx context.Context, conversation, id string) (store.TurnRow, error)
	Claimed(ctx context.Context, conversation string) (store.TurnRow, error)
}

// fold makes the changes of one batch of entries. It sees the store as it was
// before the batch, and over it what the batch has changed so far.
//
//	created  Conversation
//	said     Activity, Turn queued (a turn id that is known stays as it is)
//	titled   Title
//	set      Mark, where it says something of the lists
//	claimed  Turn running, at a higher attempt than before
//	ended    the answer's Activity, Turn final: only if the turn is the one that
//	         was claimed last in the conversation, at that attempt
//	deleted  Delete
//	stop, resumed, delta: nothing
//
// What belongs to a conversation that is not there (deleted, or its created
// entry damaged) makes no rows: they would belong to nobody, and nobody could
// delete them. It is counted in ghosts.
type fold struct {
	store   reader
	changes []store.Change
	ghosts  int
	known   map[string]bool           // conversations asked for or changed in this batch: there or not
	fresh   map[string]bool           // of those, the ones that lost what the store says of their turns
	pending map[turnKey]store.TurnRow // turns changed in this batch
	claimed map[string]string         // conversation -> turn of its last claim, of this batch
}

type turnKey struct{ conversation, id string }

func newFold(s reader) *fold {
	return &fold{store: s, known: map[string]bool{}, fresh: map[string]bool{}, pending: map[turnKey]store.TurnRow{}, claimed: map[string]string{}}
}

// stores reports whether a kind of event changes the store.
func stores(k event.Kind) bool {
	switch k {
	case event.KindStop, event.KindResumed, event.KindDelta, event.KindSent, event.KindTyping, event.KindPosted:
		return false
	}
	return true
}

// add folds one entry that is not damaged. An error comes from the store.
func (f *fold) add(ctx context.Context, e event.Entry) error {
	ev, id := e.Event, e.Conversation
	switch {
	case !stores(ev.Kind):
		return nil
	case ev.Kind == event.KindCreated:
		f.known[id] = true
		at := or(ev.Created.At, e.Time)
		f.changes = append(f.changes, store.Change{Conversation: &store.Conversation{
			ID: id, Owner: ev.Created.Owner, Bot: ev.Created.Bot, Channel: ev.Created.Channel, Title: ev.Created.Title,
			Hidden: ev.Created.Hidden, Created: at, Updated: at,
		}})
		return nil
	case ev.Kind == event.KindDeleted:
		f.delete(id)
		return nil
	}
	known, asked := f.known[id]
	if !asked {
		var err error
		if known, err = f.store.Known(ctx, id); err != nil {
			return err
		}
		f.known[id] = known
	}
	if !known {
		f.ghosts++
		return nil
	}
	switch ev.Kind {
	case event.KindSaid:
		return f.said(ctx, e)
	case event.KindTitled:
		f.changes = append(f.changes, store.Change{Title: &store.Title{Conversation: id, Title: ev.Titled.Title, Auto: ev.Titled.Auto}})
	case event.KindSet:
		if m := mark(e); m != (store.Mark{Conversation: id}) {
			f.changes = append(f.changes, store.Change{Mark: &m})
		}
	case event.KindChanged:
		f.changes = append(f.changes, store.Change{Changed: &store.ActivityRow{Conversation: e.Conversation, Seq: e.Seq, At: e.Time, Activity: *e.Event.Changed.Activity}})
	case event.KindClaimed:
		return f.claim(ctx, e)
	case event.KindEnded:
		return f.ended(ctx, e)
	}
	return nil
}

// or returns when something was done elsewhere, if it was.
func or(elsewhere, here time.Time) time.Time {
	if elsewhere.IsZero() {
		return here
	}
	return elsewhere
}

func mark(e event.Entry) store.Mark {
	s := e.Event.Set
	m := store.Mark{Conversation: e.Conversation, Pinned: s.Pinned, Archived: s.Archived, Trashed: s.Trashed, Tags: s.Tags}
	if s.Share != nil {
		m.Share = &store.Share{}
		if s.Share.Key != "" {
			*m.Share = store.Share{Link: conversation.Link(e.Conversation, s.Share.Key), Live: s.Share.Live, At: e.Time}
		}
	}
	return m
}

func (f *fold) said(ctx context.Context, e event.Entry) error {
	said := e.Event.Said
	if said.Activity != nil {
		f.changes = append(f.changes, store.Change{Activity: &store.ActivityRow{Conversation: e.Conversation, Seq: e.Seq, At: or(said.At, e.Time), Activity: *said.Activity}})
	}
	if said.Title != "" {
		f.changes = append(f.changes, store.Change{Title: &store.Title{Conversation: e.Conversation, Title: said.Title, Auto: true}})
	}
	if said.Turn == nil {
		return nil
	}
	_, known, err := f.turn(ctx, turnKey{e.Conversation, said.Turn.ID})
	if err != nil || known {
		return err
	}
	f.put(store.TurnRow{Conversation: e.Conversation, ID: said.Turn.ID, Seq: e.Seq, ReplyTo: said.Turn.ReplyTo, State: event.Queued, Updated: e.Time})
	return nil
}

func (f *fold) claim(ctx context.Context, e event.Entry) error {
	c := e.Event.Claimed
	row, known, err := f.turn(ctx, turnKey{e.Conversation, c.Turn})
	if err != nil || !known || row.State.Final() || c.Attempt <= row.Attempt {
		return err
	}
	row.Attempt, row.Claim, row.State, row.Updated = c.Attempt, e.Seq, event.Running, e.Time
	f.put(row)
	f.claimed[e.Conversation] = c.Turn
	return nil
}

func (f *fold) ended(ctx context.Context, e event.Entry) error {
	end := e.Event.Ended
	row, known, err := f.turn(ctx, turnKey{e.Conversation, end.Turn})
	if err != nil || !known || row.State.Final() || row.Attempt != end.Attempt || !end.State.Final() {
		return err
	}
	owner, err := f.lastClaim(ctx, e.Conversation)
	if err != nil || owner != end.Turn {
		return err
	}
	row.State, row.Finish, row.Code, row.Error = end.State, end.Finish, end.Code, end.Error
	row.Usage, row.Model, row.Engine, row.Updated = end.Usage, end.Model, end.Engine, e.Time
	if end.Activity != nil {
		f.changes = append(f.changes, store.Change{Activity: &store.ActivityRow{Conversation: e.Conversation, Seq: e.Seq, At: e.Time, Activity: *end.Activity}})
	}
	f.put(row)
	return nil
}

func (f *fold) delete(conversation string) {
	f.changes = append(f.changes, store.Change{Delete: conversation})
	for k := range f.pending {
		if k.conversation == conversation {
			delete(f.pending, k)
		}
	}
	delete(f.claimed, conversation)
	f.known[conversation], f.fresh[conversation] = false, true
}

func (f *fold) put(row store.TurnRow) {
	f.pending[turnKey{row.Conversation, row.ID}] = row
	f.changes = append(f.changes, store.Change{Turn: &row})
}

func (f *fold) turn(ctx context.Context, k turnKey) (row store.TurnRow, known bool, err error) {
	if row, known = f.pending[k]; known || f.fresh[k.conversation] {
		return row, known, nil
	}
	row, err = f.store.Turn(ctx, k.conversation, k.id)
	if fault.Is(err, fault.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// lastClaim returns the turn that was claimed last, "" if none was.
func (f *fold) lastClaim(ctx context.Context, conversation string) (string, error) {
	if turn, ok := f.claimed[conversation]; ok || f.fresh[conversation] {
		return turn, nil
	}
	row, err := f.store.Claimed(ctx, conversation)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	return row.ID, err
}

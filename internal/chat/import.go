package chat

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/foreign"
)

// Imported says what became of another program's conversation.
type Imported struct {
	ID    string
	Fresh bool // it was not here before
	Said  int  // messages that were not
}

// Import takes in a conversation that was held elsewhere: nothing of it is
// answered. What is here already stays as it is, so that the same export may
// come again, or a later one of the same conversation; one that was deleted
// here is NotFound. homes are the regions in which it may be already.
func (s *Service) Import(ctx context.Context, owner string, homes []string, c foreign.Conversation) (Imported, error) {
	key := "import\x00" + c.Source + "\x00" + c.ID
	home, err := s.homeOf(ctx, owner, key, homes)
	if err != nil {
		return Imported{}, err
	}
	begun, title := past(c.Begun), c.Title
	if len(c.Messages) > 0 {
		if begun.IsZero() {
			begun = past(c.Messages[0].At)
		}
		if title == "" {
			title = conversation.TitleFrom(c.Messages[0].Text)
		}
	}
	id, seq, err := s.Create(ctx, NewConversation{Owner: owner, Home: home, Key: key, Title: title, Channel: "web", At: begun})
	out := Imported{ID: id, Fresh: seq > 0}
	if err != nil {
		return out, err
	}
	if out.Fresh {
		set := event.Set{}
		if c.Archived {
			set.Archived = &c.Archived
		}
		if tags, err := tidyTags(c.Tags); err == nil && len(tags) > 0 {
			set.Tags = &tags
		}
		if _, err := s.Set(ctx, owner, id, set); err != nil {
			return out, err
		}
	}
	at := begun
	for _, m := range c.Messages {
		if t := past(m.At); !t.IsZero() {
			at = t
		}
		fresh, err := s.recall(ctx, owner, id, m, at)
		if err != nil {
			return out, err
		}
		if fresh {
			out.Said++
		}
	}
	return out, nil
}

// homeOf returns the region in which a key's conversation is already, "" if it
// is in none.
func (s *Service) homeOf(ctx context.Context, owner, key string, homes []string) (string, error) {
	for _, home := range homes {
		id := event.ConversationFor(home, owner, key)
		if _, ok := s.tails[s.opts.Log.StreamOf(id)]; !ok {
			continue
		}
		seq, err := s.opts.Log.LastOf(ctx, id, event.In)
		if err != nil || seq > 0 {
			return home, err
		}
	}
	return "", nil
}

// past returns a time that can be when something was said, or zero.
func past(t time.Time) time.Time {
	if t.Year() < 2000 || t.After(time.Now()) {
		return time.Time{}
	}
	return t.UTC()
}

// recall writes a message of another program into the log, if it is not there.
func (s *Service) recall(ctx context.Context, owner, conv string, m foreign.Message, at time.Time) (fresh bool, err error) {
	name := func(id string) string { return event.NewActivity(conv, "import\x00"+id) }
	a := activity.Activity{
		Type: activity.TypeMessage, ID: name(m.ID), Text: m.Text, Timestamp: at, ChannelID: "web",
		From: &activity.Account{ID: owner, Role: "user"}, Conversation: &activity.Account{ID: conv},
	}
	meta := activity.Meta{Model: m.Model}
	if m.Parent != "" {
		meta.Parent = name(m.Parent)
	}
	err = s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		if st.Set.Trashed {
			return nil, fault.New(fault.NotFound, "it was deleted here")
		}
		if fresh = st.Activity(a.ID) == nil; !fresh {
			return nil, nil
		}
		if m.Bot {
			a.From, a.ReplyToID = &activity.Account{ID: st.By.Bot, Name: m.Model, Role: "bot"}, meta.Parent
		}
		if a.Timestamp.IsZero() {
			a.Timestamp = time.Now().UTC()
		}
		if err := a.SetMeta(meta); err != nil {
			return nil, err
		}
		return &event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &a, At: at}}, nil
	}, nil)
	return fresh, err
}

package chat

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/foreign"
)

// Imported says what became of another program's conversation.
type Imported struct {
	ID     string
	Fresh  bool     // it was not here before
	Said   int      // messages that were not
	Files  int      // that came with them
	Judged int      // answers of which the user thought something
	Left   []string // names of files that this node does not take
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
		if err := s.recall(ctx, owner, id, m, at, &out); err != nil {
			return out, err
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

// recall writes a message of another program into the log, if it is not there,
// with its files, and what the user thought of it.
func (s *Service) recall(ctx context.Context, owner, conv string, m foreign.Message, at time.Time, out *Imported) error {
	name := func(id string) string { return event.NewActivity(conv, "import\x00"+id) }
	a := activity.Activity{Type: activity.TypeMessage, ID: name(m.ID), Text: m.Text, From: &activity.Account{ID: owner, Role: "user"}}
	meta := activity.Meta{Model: m.Model}
	if m.Parent != "" {
		meta.Parent = name(m.Parent)
	}
	if m.Bot {
		a.From, a.ReplyToID = &activity.Account{Name: m.Model, Role: "bot"}, meta.Parent
	}
	if len(m.Files) > 0 {
		if err := s.bring(ctx, owner, conv, m, &a, out); err != nil {
			return err
		}
	}
	fresh, err := s.remember(ctx, owner, conv, a, meta, at)
	if fresh {
		out.Said++
	}
	if err != nil || m.Liked == "" {
		return err
	}
	fresh, err = s.remember(ctx, owner, conv, activity.Activity{
		Type: activity.TypeReaction, ID: name("liked\x00" + m.ID), Text: m.Why, ReplyToID: a.ID, From: &activity.Account{ID: owner, Role: "user"},
		Extra: map[string]json.RawMessage{"reactionsAdded": json.RawMessage(`[{"type":"` + m.Liked + `"}]`)},
	}, activity.Meta{Parent: a.ID}, at)
	if fresh {
		out.Judged++
	}
	return err
}

// remember writes an activity of the past into the log, if it is not there.
func (s *Service) remember(ctx context.Context, owner, conv string, a activity.Activity, meta activity.Meta, at time.Time) (fresh bool, err error) {
	a.Timestamp, a.ChannelID, a.Conversation = at, "web", &activity.Account{ID: conv}
	if at.IsZero() {
		a.Timestamp = time.Now().UTC()
	}
	err = s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		if st.Set.Trashed {
			return nil, errForgotten
		}
		if fresh = st.Activity(a.ID) == nil; !fresh {
			return nil, nil
		}
		if a.FromBot() {
			a.From.ID = st.By.Bot
		}
		if err := a.SetMeta(meta); err != nil {
			return nil, err
		}
		return &event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &a, At: at}}, nil
	}, nil)
	return fresh, err
}

var errForgotten = fault.New(fault.NotFound, "it was deleted here")

// bring uploads the files of a message that is not here yet, one in memory at a
// time. What this node does not take is named, and the message comes without it.
func (s *Service) bring(ctx context.Context, owner, conv string, m foreign.Message, a *activity.Activity, out *Imported) error {
	here := false
	err := s.seen(ctx, owner, conv, func(st *conversation.State) error {
		if st.Set.Trashed {
			return errForgotten
		}
		here = st.Activity(a.ID) != nil
		return nil
	})
	if err != nil || here {
		return err
	}
	var carried []files.Attachment
	var left []string
	for _, f := range m.Files {
		var at files.Attachment
		content, err := s.readFile(f)
		if err == nil {
			at, err = s.Upload(ctx, owner, conv, "import\x00"+m.ID, files.File{Name: f.Name, Type: cmp.Or(f.Type, http.DetectContentType(content)), Content: content})
		}
		switch code := fault.CodeOf(err); {
		case err == nil:
			carried = append(carried, at)
		case code == fault.Invalid || code == fault.TooLarge || code == fault.Unsupported:
			left = append(left, f.Name)
		default:
			return err
		}
	}
	out.Files += len(carried)
	out.Left = append(out.Left, left...)
	if a.Text == "" && len(carried) == 0 { // what follows it needs it
		a.Text = strings.Join(left, ", ")
	}
	if len(carried) > 0 {
		raw, err := json.Marshal(carried)
		if err != nil {
			return err
		}
		a.Extra = map[string]json.RawMessage{"attachments": raw}
	}
	return nil
}

// readFile reads a file of an export, as far as one may be large. One that is
// damaged there can't be carried over.
func (s *Service) readFile(f foreign.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the file %q is damaged", f.Name)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, s.opts.FileLimits.Size+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the file %q is damaged", f.Name)
	}
	return b, nil
}

package teams

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// pace is between two parts of a growing answer. Teams allows one a second and
// advises this.
const pace = 1500 * time.Millisecond

// Pace satisfies channel.Poster.
func (s *Server) Pace() time.Duration { return pace }

// shown is what this node knows of a stream that it posts. Another node that
// goes on does without.
type shown struct {
	stream uint64 // position that names it
	parts  int    // number of its last part
	text   bool   // some of the answer itself was among them
}

// mostShown bounds what is remembered.
const mostShown = 4096

func (s *Server) recall(conv string) shown {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown[conv]
}

func (s *Server) remember(conv string, st shown) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.shown {
		if len(s.shown) < mostShown {
			break
		}
		delete(s.shown, c)
	}
	s.shown[conv] = st
}

func (s *Server) forget(conv string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shown, conv)
}

// Post satisfies channel.Poster. Teams can't be asked what it has, so a new
// message in doubt is posted again: a message twice is better than none.
func (s *Server) Post(ctx context.Context, p channel.Post) (ref string, err error) {
	to, err := s.target(p.Last)
	if err != nil {
		return p.Ref, err
	}
	switch p.Item.Activity.Type {
	case activity.TypeTyping:
		return s.grow(ctx, to, p)
	case activity.TypeMessage:
		return s.say(ctx, to, p)
	case activity.TypeDelete:
		return p.Ref, s.withdraw(ctx, to, strings.Fields(p.Ref))
	}
	return p.Ref, nil // nothing that Teams could show
}

// target is where a conversation's items go to.
func (s *Server) target(last *activity.Activity) (target, error) {
	at, ok := addressOf(last)
	a := s.accounts[at.Account]
	switch {
	case !ok:
		return target{}, fault.New(fault.Invalid, "nobody has written in this conversation from Teams, so there is no address to post to")
	case a == nil:
		return target{}, fault.New(fault.NotFound, "the Teams account %q that this conversation belongs to is not configured any more", at.Account)
	case !a.Cloud.serves(at.Service):
		return target{}, fault.New(fault.Forbidden, "the conversation's service is none of Microsoft's known ones; if it is right, name it in the account's setting services")
	}
	return target{a, at, s}, nil
}

// grow shows an answer while it is written: as a stream in a chat of two, where
// Teams has them, and by the sign that somebody writes in a group.
func (s *Server) grow(ctx context.Context, to target, p channel.Post) (ref string, err error) {
	stream := p.Item.Stream
	if stream == nil || to.at.Type != personal {
		return p.Ref, s.typing(ctx, to, p)
	}
	if p.Ref == "" && p.Doubt {
		return "", nil // it may have begun under a name that is lost, and Teams takes one at a time
	}
	st := s.recall(p.Conversation)
	if st.stream != stream.ID {
		st = shown{stream: stream.ID}
	}
	m, fits := to.part(p, st)
	switch {
	case m.Text == "" && p.Ref == "": // a stream can't begin with nothing
		return "", fault.New(fault.Unavailable, "there is nothing to show yet")
	case m.Text == "", !fits, st.text && stream.Note:
		return p.Ref, nil
	}
	id, err := to.post(ctx, m)
	if err != nil {
		return p.Ref, err
	}
	st.parts, st.text = m.sequence(), st.text || !stream.Note
	s.remember(p.Conversation, st)
	return cmp.Or(p.Ref, id), nil
}

// typing shows that the bot writes. In a channel nobody sees that.
func (s *Server) typing(ctx context.Context, to target, p channel.Post) error {
	if p.Doubt || to.at.Type == inChannel {
		return nil
	}
	_, err := to.post(ctx, to.message(activity.TypeTyping))
	return err
}

// say posts a message, or puts it into the place of what was posted for it. ref
// names all that is there of it, also with an error.
func (s *Server) say(ctx context.Context, to target, p channel.Post) (ref string, err error) {
	pieces, old := to.pieces(p.Item), strings.Fields(p.Ref)
	changed := p.Item.Pos != p.Item.ID
	streamed := p.Item.Stream != nil && to.at.Type == personal && len(old) == 1
	done := make([]string, 0, len(pieces))
	for i, m := range pieces {
		var id string
		switch {
		case i == 0 && streamed:
			id, err = to.finish(ctx, m, old[0], changed)
		case i >= len(old):
			id, err = to.post(ctx, m)
		case changed || p.Doubt:
			id, err = old[i], to.put(ctx, m, old[i])
		default: // an earlier try has posted it
			id = old[i]
		}
		if err != nil {
			return strings.Join(append(done, old[min(i, len(old)):]...), " "), err
		}
		done = append(done, id)
	}
	if len(old) > len(pieces) {
		if err := s.withdraw(ctx, to, old[len(pieces):]); err != nil {
			return strings.Join(append(done, old[len(pieces):]...), " "), err
		}
	}
	s.forget(p.Conversation)
	return strings.Join(done, " "), nil
}

// withdraw takes messages back.
func (s *Server) withdraw(ctx context.Context, to target, ids []string) error {
	for _, id := range ids {
		if err := to.call(ctx, http.MethodDelete, id, nil, nil); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}

// finish ends a stream with the whole message. What can't be ended that way,
// because it took more than two minutes, is put into the stream's place.
func (to target) finish(ctx context.Context, m message, stream string, changed bool) (id string, err error) {
	whole := m
	m.Entities = append(m.Entities[:len(m.Entities):len(m.Entities)], streamInfo{Type: "streaminfo", ID: stream, Kind: "final"}.raw())
	_, err = to.post(ctx, m)
	var no *refusal
	switch {
	case err == nil, !errors.As(err, &no), fault.Is(err, fault.Canceled),
		no.status != http.StatusForbidden && no.status != http.StatusBadRequest:
		return stream, err
	case !changed && no.says("already completed"): // by a try of which we did not hear
		return stream, nil
	}
	if err = to.put(ctx, whole, stream); fault.Is(err, fault.NotFound) {
		return to.post(ctx, whole)
	}
	return stream, err
}

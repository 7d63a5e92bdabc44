package chat

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Limits of the tags of a conversation.
const (
	maxTags = 20
	maxTag  = 40 // code points
)

// tidyTags brings tags into the form in which they are kept: each once, whatever
// its case, without spaces around it.
func tidyTags(tags []string) ([]string, error) {
	out := make([]string, 0, len(tags))
	for _, t := range tags {
		t = strings.Join(strings.Fields(t), " ")
		if t == "" || utf8.RuneCountInString(t) > maxTag || !utf8.ValidString(t) || strings.ContainsFunc(t, unicode.IsControl) {
			return nil, fault.New(fault.Invalid, "a tag has 1 to %d printable characters", maxTag)
		}
		if !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, t) }) {
			out = append(out, t)
		}
	}
	if len(out) > maxTags {
		return nil, fault.New(fault.Invalid, "a conversation has at most %d tags", maxTags)
	}
	return out, nil
}

// Share makes the link by which others read a conversation, or changes what the
// one that there is shows: all that is ever said in it, or the branch that ends
// with an activity ("" = the newest) as it is now.
func (s *Service) Share(ctx context.Context, owner, conv string, live bool, upto string) (seq uint64, err error) {
	err = s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		switch {
		case st.Set.Trashed:
			return nil, errTrashed
		case upto != "" && st.Activity(upto) == nil:
			return nil, fault.New(fault.NotFound, "there is no activity %q in this conversation", upto)
		case st.Leaf() == "":
			return nil, fault.New(fault.Conflict, "nothing is said yet that could be shared")
		}
		sh := event.Share{Key: event.NewShareKey(), Live: live}
		if old := st.Set.Share; old != nil {
			sh.Key = conversation.KeyOf(old.Link)
		}
		if !live {
			sh.Upto = upto
			if upto == "" {
				sh.Upto = st.Leaf()
			}
		}
		return &event.Event{Kind: event.KindSet, Set: &event.Set{Share: &sh}}, nil
	}, &seq)
	return seq, err
}

// Unshare takes the link back; without one it does nothing.
func (s *Service) Unshare(ctx context.Context, owner, conv string) error {
	return s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		if st.Set.Share == nil {
			return nil, nil
		}
		return &event.Event{Kind: event.KindSet, Set: &event.Set{Share: &event.Share{}}}, nil
	}, nil)
}

// Shared opens the conversation that a link shows. What is taken back anywhere
// is gone everywhere: the log's leader is asked how far it is, and a node that
// has not heard of all of it, or can't ask, shows nothing. Close it.
func (s *Service) Shared(ctx context.Context, link string) (*Live, error) {
	none := fault.New(fault.NotFound, "nothing is shared here, or no longer")
	id := conversation.LinkOf(link)
	if _, ok := s.tails[s.opts.Log.StreamOf(id)]; !ok || id == "" {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	last, err := s.opts.Log.LastOf(ctx, id, event.In)
	if err != nil {
		return nil, err
	}
	if last == 0 {
		return nil, none // without a state in memory for every guess
	}
	l, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	if err = l.Wait(ctx, last); err != nil {
		err = fault.Wrap(err, fault.Unavailable, "this region has not heard of everything yet; try again").After(time.Second)
	} else {
		l.View(func(st *conversation.State) {
			if !st.Shows(link) {
				err = none
			}
		})
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

package conversation

import (
	"crypto/subtle"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
)

// Share is the link by which others read the conversation.
type Share struct {
	Link string    `json:"link"` // what the address of its page ends in
	Live bool      `json:"live"` // shows what is said later too
	At   time.Time `json:"at"`

	upto string // the last activity that is shown
	seq  uint64 // everything is shown as it was at this entry
}

func shareOf(id string, sh *event.Share, e event.Entry) *Share {
	if sh.Key == "" {
		return nil
	}
	return &Share{Link: Link(id, sh.Key), Live: sh.Live, At: e.Time, upto: sh.Upto, seq: e.Seq}
}

const linkSep = "."

// Link puts the link to a conversation together.
func Link(conversation, key string) string { return conversation + linkSep + key }

// KeyOf returns the secret end of a link.
func KeyOf(link string) string {
	_, key, _ := strings.Cut(link, linkSep)
	return key
}

// LinkOf returns the conversation that a link leads to, "" if it is none.
func LinkOf(link string) (conversation string) {
	id, key, ok := strings.Cut(link, linkSep)
	if !ok || len(key) != event.ShareKey || !event.ValidConversation(id) {
		return ""
	}
	return id
}

// Shows reports whether a link is the one by which the conversation is shown.
func (s *State) Shows(link string) bool {
	return s.Exists && !s.Deleted && !s.Set.Trashed && s.Set.Share != nil &&
		subtle.ConstantTimeCompare([]byte(s.Set.Share.Link), []byte(link)) == 1
}

// Shared returns what is to be read by the link, in order. What a bot took back
// is not in it, whenever that was.
func (s *State) Shared() []*activity.Activity {
	sh := s.Set.Share
	if sh == nil {
		return nil
	}
	if sh.Live {
		return s.Path(s.leaf)
	}
	was := map[string]*activity.Activity{}
	for _, f := range s.Frames {
		if f.Pos > PositionOf(sh.seq) {
			break
		}
		if a, ok := f.Body.(*activity.Activity); ok {
			was[a.ID] = a
		}
	}
	path := s.Path(sh.upto)
	for i, a := range path {
		if old := was[a.ID]; old != nil && a.Type != activity.TypeDelete {
			path[i] = old
		}
	}
	return path
}

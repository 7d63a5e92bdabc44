package api

import (
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/store"
)

// shareJSON is the link by which others read a conversation.
type shareJSON struct {
	Link string    `json:"link"` // the page is at /s/LINK of every region
	Live bool      `json:"live"`
	At   time.Time `json:"at"`
}

// listed is a conversation in a list.
func listed(c store.Conversation) conversationJSON {
	out := conversationJSON{
		ID: c.ID, Title: c.Title, Bot: c.Bot, Created: c.Created.UTC(), Updated: c.Updated.UTC(),
		Pinned: c.Pinned, Archived: c.Archived, Tags: c.Tags,
	}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if c.Share != nil {
		out.Share = &shareJSON{c.Share.Link, c.Share.Live, c.Share.At.UTC()}
	}
	return out
}

func (s *server) share(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Live bool   `json:"live"`
		Upto string `json:"upto"`
	}
	if err := readJSON(w, r, 4096, &in); err != nil {
		return err
	}
	if _, err := s.opts.Chat.Share(r.Context(), user, r.PathValue("id"), in.Live, in.Upto); err != nil {
		return err
	}
	return s.answer(w, r, user, http.StatusOK)
}

func (s *server) unshare(w http.ResponseWriter, r *http.Request, user string) error {
	if err := s.opts.Chat.Unshare(r.Context(), user, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) tags(w http.ResponseWriter, r *http.Request, user string) error {
	s.opts.Fresh(r.Context())
	tags, err := s.opts.Store.Tags(r.Context(), user)
	if err != nil {
		return err
	}
	type tagJSON struct {
		Name          string `json:"name"`
		Conversations int    `json:"conversations"`
	}
	out := make([]tagJSON, 0, len(tags))
	for _, t := range tags {
		out = append(out, tagJSON(t))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"tags": out})
}

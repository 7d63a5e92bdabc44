package api

import (
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

func (s *server) accounts(w http.ResponseWriter, _ *http.Request, _ string) error {
	return writeJSON(w, http.StatusOK, map[string]any{"accounts": s.opts.Outlet.Accounts(), "service": s.opts.Service})
}

// check tries a channel's way out and in.
func (s *server) check(w http.ResponseWriter, r *http.Request, _ string) error {
	findings, err := s.opts.Outlet.Check(r.Context(), channel.Account{Channel: r.PathValue("channel"), Account: r.PathValue("account")}, s.opts.Service)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"findings": findings})
}

// letterJSON is a dead letter with its name.
type letterJSON struct {
	ID           string    `json:"id"`
	Channel      string    `json:"channel"`
	Conversation string    `json:"conversation"`
	Position     uint64    `json:"position"`
	At           time.Time `json:"at"`
	Dead         time.Time `json:"dead"`
	Error        string    `json:"error"`
	Doubt        bool      `json:"doubt"`
}

const longestID = 200 // characters

func (s *server) letters(w http.ResponseWriter, r *http.Request, _ string) error {
	n, err := limit(r, 100, 1000)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if utf8.RuneCountInString(q.Get("after")) > longestID {
		return fault.New(fault.Invalid, "the id of a letter has at most %d characters", longestID)
	}
	page, next, err := s.opts.Outlet.Letters(r.Context(), q.Get("channel"), q.Get("after"), n)
	if err != nil {
		return err
	}
	out := make([]letterJSON, len(page))
	for i, l := range page {
		out[i] = letterJSON{l.ID(), l.Channel, l.Conversation, l.Pos, l.At, l.Dead, l.Error, l.Doubt}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"letters": out, "next": next})
}

// replay posts a dead letter. That the other side still won't have it is no
// failure of the request.
func (s *server) replay(w http.ResponseWriter, r *http.Request, _ string) error {
	switch err := s.opts.Outlet.Replay(r.Context(), r.PathValue("letter")); fault.CodeOf(err) {
	case "":
		return writeJSON(w, http.StatusOK, map[string]any{"posted": true, "error": ""})
	case fault.NotFound, fault.Conflict:
		return err
	default:
		return writeJSON(w, http.StatusOK, map[string]any{"posted": false, "error": fault.MessageOf(err)})
	}
}

func (s *server) drop(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := s.opts.Outlet.Drop(r.Context(), r.PathValue("letter")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

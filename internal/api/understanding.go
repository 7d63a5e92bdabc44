package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/understand"
)

func (s *server) models(w http.ResponseWriter, r *http.Request, _ string) error {
	states, err := s.opts.Understanding.States(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"apps": states})
}

// packLimit is how long a client may take to send a package.
const packLimit = 5 * time.Minute

func (s *server) publish(w http.ResponseWriter, r *http.Request, user string) error {
	switch t := r.Header.Get("Content-Type"); t {
	case "", "application/zip", "application/octet-stream":
	default:
		return fault.New(fault.Invalid, "the body must be a package as parley nlu publish sends it: send Content-Type: application/zip")
	}
	if !s.pack.TryLock() {
		return fault.New(fault.Limited, "another model is being published; try again").After(5 * time.Second)
	}
	defer s.pack.Unlock()
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(packLimit)) // unsupported only by test recorders
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, understand.MostPackage))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fault.New(fault.TooLarge, "the package is larger than %d bytes", understand.MostPackage)
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "the body broke off")
	}
	p, err := s.opts.Understanding.Publish(r.Context(), r.PathValue("app"), b, user)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

// unknown lists messages that were not understood.
func (s *server) unknown(w http.ResponseWriter, r *http.Request, _ string) error {
	n, err := limit(r, 100, 1000)
	if err != nil {
		return err
	}
	items, next, err := s.opts.Chat.Missed(r.Context(), r.URL.Query().Get("cursor"), n)
	if err != nil {
		return err
	}
	if items == nil {
		items = []chat.Missed{}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": items, "next": next})
}

func (s *server) activate(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Version string          `json:"version"`
		Role    understand.Role `json:"role"`
		Percent int             `json:"percent"`
	}
	if err := readJSON(w, r, s.opts.MaxBody, &in); err != nil {
		return err
	}
	app := r.PathValue("app")
	if err := s.opts.Understanding.Activate(r.Context(), app, understand.Activation{Role: in.Role, Version: in.Version, Percent: in.Percent}, user); err != nil {
		return err
	}
	return s.models(w, r, user)
}

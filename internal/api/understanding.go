package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/nlu"
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

// operator lets only those in who run the service.
func (s *server) operator(f call) call {
	return func(w http.ResponseWriter, r *http.Request, user string) error {
		if err := s.opts.Guard.Operator(user); err != nil {
			return err
		}
		return f(w, r, user)
	}
}

// unknownJSON is a message that was not understood, with its label.
type unknownJSON struct {
	chat.Missed
	Label string `json:"label"` // "" = none yet
	Taken bool   `json:"taken"` // a project has it
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
	labels, err := s.opts.Understanding.Labels(r.Context())
	if err != nil {
		return err
	}
	out := make([]unknownJSON, len(items))
	for i, m := range items {
		l := labels[m.ID]
		out[i] = unknownJSON{m, l.Intent, l.Taken}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": out, "next": next})
}

func (s *server) label(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Labels []understand.Labelling `json:"labels"`
	}
	if err := readJSON(w, r, s.opts.MaxBody, &in); err != nil {
		return err
	}
	if err := s.opts.Understanding.Label(r.Context(), in.Labels, user); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// groupJSON is texts that say much the same, by their places in the request.
type groupJSON struct {
	Texts     []int        `json:"texts"`
	Proposals []nlu.Ranked `json:"proposals"`
}

// groups sorts texts for an operator who labels them.
func (s *server) groups(w http.ResponseWriter, r *http.Request, _ string) error {
	var in struct {
		Texts []string `json:"texts"`
	}
	if err := readJSON(w, r, s.opts.MaxBody, &in); err != nil {
		return err
	}
	if !s.sort.TryLock() {
		return fault.New(fault.Limited, "other texts are being sorted; try again").After(time.Second)
	}
	defer s.sort.Unlock()
	groups, intents, err := s.opts.Understanding.Groups(r.PathValue("app"), in.Texts)
	if err != nil {
		return err
	}
	out := make([]groupJSON, len(groups))
	for i, g := range groups {
		out[i].Proposals = g.Proposals
		for _, t := range g.Texts {
			out[i].Texts = append(out[i].Texts, t.At...)
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"groups": out, "intents": intents})
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

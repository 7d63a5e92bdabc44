package api

import (
	"net/http"

	"github.com/parleyhq/parley/internal/snippets"
)

// snippetsJSON are the texts that a person puts into messages often.
type snippetsJSON struct {
	Snippets []snippets.Snippet `json:"snippets"`
}

func (s *server) snippetRoutes(handle func(pattern string, f call)) {
	if s.opts.Snippets == nil {
		return
	}
	handle("GET /api/v1/snippets", s.snippets)
	handle("PUT /api/v1/snippets/{name}", s.putSnippet)
	handle("DELETE /api/v1/snippets/{name}", s.dropSnippet)
}

func (s *server) snippets(w http.ResponseWriter, r *http.Request, user string) error {
	all, err := s.opts.Snippets.Of(r.Context(), user)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, snippetsJSON{all})
}

func (s *server) putSnippet(w http.ResponseWriter, r *http.Request, user string) error {
	var in struct {
		Text string `json:"text"`
	}
	if err := readJSON(w, r, 16*snippets.LongestText, &in); err != nil {
		return err
	}
	all, err := s.opts.Snippets.Put(r.Context(), user, snippets.Snippet{Name: r.PathValue("name"), Text: in.Text})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, snippetsJSON{all})
}

func (s *server) dropSnippet(w http.ResponseWriter, r *http.Request, user string) error {
	if err := s.opts.Snippets.Drop(r.Context(), user, r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

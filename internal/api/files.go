package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// slowest is how many bytes of a file a second at least have to come.
const slowest = 16 << 10

// upload keeps a file for a message that will name it. The body is the file.
func (s *server) upload(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	// Whose conversation it is, is known before anything is read.
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	l.Close()
	most := s.opts.Chat.Limits().Size
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(body.Time + time.Duration(most/slowest)*time.Second)) // unsupported only by test recorders
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fault.New(fault.TooLarge, "the file is larger than %d bytes", most)
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "the file broke off")
	}
	at, err := s.opts.Chat.Upload(r.Context(), user, r.PathValue("id"), k, files.File{Name: r.URL.Query().Get("name"), Type: r.Header.Get("Content-Type"), Content: content})
	if err != nil {
		return err
	}
	w.Header().Set("Location", at.URL)
	return writeJSON(w, http.StatusCreated, at)
}

// fileJSON is a file and the message that carries it.
type fileJSON struct {
	files.Attachment
	Activity string `json:"activity"`
}

// files lists what the messages of a conversation carry.
func (s *server) files(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	out := []fileJSON{}
	l.View(func(st *conversation.State) {
		for _, a := range st.Activities {
			for _, at := range files.Of(a) {
				if files.ID(st.ID, at.URL) != "" {
					out = append(out, fileJSON{at, a.ID})
				}
			}
		}
	})
	return writeJSON(w, http.StatusOK, map[string]any{"files": out})
}

// file serves one. Only pictures are for showing; whatever else it is, it runs
// nowhere.
func (s *server) file(w http.ResponseWriter, r *http.Request, user string) error {
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	l.Close()
	f, err := s.opts.Chat.File(r.Context(), user, r.PathValue("id"), r.PathValue("file"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "private, no-cache") // a file that is forgotten is not shown again
	w.Header().Set("ETag", `"`+r.PathValue("file")+`"`)
	wire.ServeFile(w, r, f.Name, f.Type, f.Content, files.IsPicture(f.Type))
	return nil
}

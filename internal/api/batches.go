package api

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/batch"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/fault"
)

// OpenAI's batches: files of requests, and of what came of them.

func (s *server) batches(openai func(pattern string, f call)) {
	if s.opts.Batches == nil {
		return
	}
	openai("POST /v1/files", s.uploadInput)
	openai("GET /v1/files", s.listFiles)
	openai("GET /v1/files/{id}", s.inputFile)
	openai("DELETE /v1/files/{id}", s.deleteFile)
	openai("GET /v1/files/{id}/content", s.fileContent)
	openai("POST /v1/batches", s.createBatch)
	openai("GET /v1/batches", s.listBatches)
	openai("GET /v1/batches/{id}", s.getBatch)
	openai("POST /v1/batches/{id}/cancel", s.cancelBatch)
}

// uploadInput takes a form with a purpose and a file.
func (s *server) uploadInput(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	s.inputs.Lock() // it is in memory as a whole
	defer s.inputs.Unlock()
	most, _ := s.opts.Batches.Limits()
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(body.Time + time.Duration(most/slowest)*time.Second)) // unsupported only by test recorders
	r.Body = http.MaxBytesReader(w, r.Body, most+64<<10)
	name, content, err := inputOf(r, most)
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return err
	}
	f, err := s.opts.Batches.Upload(r.Context(), user, k, name, content)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, f)
}

// inputOf reads the form.
func inputOf(r *http.Request, most int64) (name string, content []byte, err error) {
	form, err := r.MultipartReader()
	if err != nil {
		return "", nil, fault.New(fault.Invalid, "the body must be a form (multipart/form-data) with the parts purpose and file")
	}
	purpose, has := "", false
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, broken(err, most)
		}
		switch field := part.FormName(); field {
		case "purpose":
			b, err := io.ReadAll(io.LimitReader(part, 64))
			if err != nil {
				return "", nil, broken(err, most)
			}
			purpose = string(b)
		case "file":
			if has {
				return "", nil, fault.New(fault.Invalid, "the form has two files; send one")
			}
			if name, content, err = readInput(part, most); err != nil {
				return "", nil, err
			}
			has = true
		default:
			return "", nil, fault.New(fault.Unsupported, "the field %q is not supported; purpose and file are", field)
		}
	}
	switch {
	case !has:
		return "", nil, fault.New(fault.Invalid, "the form has no file")
	case purpose != "batch":
		return "", nil, fault.New(fault.Invalid, `the purpose must be "batch"; files for anything else are not kept here`)
	}
	return name, content, nil
}

func readInput(part *multipart.Part, most int64) (name string, content []byte, err error) {
	content, err = io.ReadAll(io.LimitReader(part, most+1))
	switch {
	case err != nil:
		return "", nil, broken(err, most)
	case int64(len(content)) > most:
		return "", nil, fault.New(fault.TooLarge, "the file is larger than %d bytes", most)
	}
	return part.FileName(), content, nil
}

func broken(err error, most int64) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fault.New(fault.TooLarge, "the file is larger than %d bytes", most)
	}
	return fault.Wrap(err, fault.Invalid, "the form broke off, or is no form")
}

// listJSON is a page of a list.
type listJSON[T any] struct {
	Object string `json:"object"`
	Data   []T    `json:"data"`
	First  string `json:"first_id,omitempty"`
	Last   string `json:"last_id,omitempty"`
	More   bool   `json:"has_more"`
}

// page cuts out what a request asks for: at most so many, behind one of them.
func page[T any](r *http.Request, all []T, standard, most int, id func(T) string) (listJSON[T], error) {
	n, err := limit(r, standard, most)
	if err != nil {
		return listJSON[T]{}, err
	}
	if after := r.URL.Query().Get("after"); after != "" {
		i := slices.IndexFunc(all, func(x T) bool { return id(x) == after })
		if i < 0 {
			return listJSON[T]{}, fault.New(fault.Invalid, `"after" must be the id of one of them`)
		}
		all = all[i+1:]
	}
	out := listJSON[T]{Object: "list", Data: append([]T{}, all[:min(n, len(all))]...), More: len(all) > n}
	if len(out.Data) > 0 {
		out.First, out.Last = id(out.Data[0]), id(out.Data[len(out.Data)-1])
	}
	return out, nil
}

func (s *server) listFiles(w http.ResponseWriter, r *http.Request, user string) error {
	all, err := s.opts.Batches.Files(r.Context(), user)
	if err != nil {
		return err
	}
	if p := r.URL.Query().Get("purpose"); p != "" {
		all = slices.DeleteFunc(all, func(f batch.File) bool { return f.Purpose != p })
	}
	switch r.URL.Query().Get("order") {
	case "", "desc":
	case "asc":
		slices.Reverse(all)
	default:
		return fault.New(fault.Invalid, `"order" must be asc or desc`)
	}
	out, err := page(r, all, 1000, 10_000, func(f batch.File) string { return f.ID })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) inputFile(w http.ResponseWriter, r *http.Request, user string) error {
	f, err := s.opts.Batches.File(r.Context(), user, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, f)
}

func (s *server) deleteFile(w http.ResponseWriter, r *http.Request, user string) error {
	id := r.PathValue("id")
	if err := s.opts.Batches.Delete(r.Context(), user, id); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"id": id, "object": "file", "deleted": true})
}

// fileContent gives the bytes out as they are read. What breaks off on the way
// is no clean end.
func (s *server) fileContent(w http.ResponseWriter, r *http.Request, user string) error {
	begun := false
	rc := http.NewResponseController(w)
	err := s.opts.Batches.Content(r.Context(), user, r.PathValue("id"), func(f batch.File) {
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", `attachment; filename="`+r.PathValue("id")+`.jsonl"`)
		h.Set("Content-Length", strconv.FormatInt(f.Bytes, 10))
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
	}, func(piece []byte) error {
		begun = true
		_ = rc.SetWriteDeadline(time.Now().Add(time.Minute))
		_, err := w.Write(piece)
		return err
	})
	if err != nil && begun {
		s.note(r, err)
		panic(http.ErrAbortHandler)
	}
	_ = rc.SetWriteDeadline(time.Time{})
	if err != nil {
		for _, name := range []string{"Content-Length", "Content-Disposition"} {
			w.Header().Del(name)
		}
	}
	return err
}

// batchRequest is what POST /v1/batches takes.
type batchRequest struct {
	Input    string             `json:"input_file_id"`
	Endpoint string             `json:"endpoint"`
	Window   string             `json:"completion_window"`
	Metadata *map[string]string `json:"metadata"`
}

func (s *server) createBatch(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	var in batchRequest
	if err := readJSON(w, r, 64<<10, &in); err != nil {
		return err
	}
	o := batch.Order{Endpoint: in.Endpoint, Input: in.Input, Window: in.Window}
	if in.Metadata != nil {
		o.Metadata = *in.Metadata
	}
	b, err := s.opts.Batches.Create(r.Context(), user, k, o)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, b)
}

func (s *server) listBatches(w http.ResponseWriter, r *http.Request, user string) error {
	all, err := s.opts.Batches.List(r.Context(), user)
	if err != nil {
		return err
	}
	out, err := page(r, all, 20, 100, func(b batch.Batch) string { return b.ID })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) getBatch(w http.ResponseWriter, r *http.Request, user string) error {
	b, err := s.opts.Batches.Get(r.Context(), user, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, b)
}

func (s *server) cancelBatch(w http.ResponseWriter, r *http.Request, user string) error {
	b, err := s.opts.Batches.Cancel(r.Context(), user, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, b)
}

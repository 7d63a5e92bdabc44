package connector

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// file is what a bot keeps here, to send its address.
type file struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// attach keeps a file for a conversation. Whoever is told its address may read
// it; nobody can guess it.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) error {
	_, conv, err := s.reader(r)
	if err != nil {
		return err
	}
	body, err := body.Read(w, r, 2*s.opts.MaxFile)
	if err != nil {
		return err
	}
	var in struct {
		file
		Content string `json:"originalBase64"`
	}
	if json.Unmarshal(body, &in) != nil || in.Type == "" {
		return errBody
	}
	content, err := base64.StdEncoding.DecodeString(in.Content)
	kind, _, badType := mime.ParseMediaType(in.Type)
	switch {
	case err != nil || len(content) == 0 || badType != nil || len(in.Name) > 255:
		return fault.New(fault.Invalid, `an attachment has a "type" such as image/png, a "name" and "originalBase64"`)
	case int64(len(content)) > s.opts.MaxFile:
		return fault.New(fault.TooLarge, "a file has at most %d bytes", s.opts.MaxFile)
	}
	head, err := json.Marshal(file{Name: in.Name, Type: kind})
	if err != nil {
		return err
	}
	content = append(append(head, '\n'), content...)
	id := hex.EncodeToString(wire.MAC(s.opts.Secret, "connector file\x00"+conv+"\x00"+string(content))[:16])
	if err := s.opts.Files.PutFile(r.Context(), conv, id, content); err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, idJSON{conv + "." + id})
}

func (s *Server) attachment(w http.ResponseWriter, r *http.Request) error {
	f, content, err := s.file(r)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{
		"name": f.Name, "type": f.Type, "views": []any{map[string]any{"viewId": "original", "size": len(content)}},
	})
}

func (s *Server) view(w http.ResponseWriter, r *http.Request) error {
	f, content, err := s.file(r)
	if err != nil {
		return err
	}
	if r.PathValue("view") != "original" {
		return fault.New(fault.NotFound, `there is one view of a file, "original"`)
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	wire.ServeFile(w, r, f.Name, f.Type, content, strings.HasPrefix(f.Type, "image/") && !strings.Contains(f.Type, "svg"))
	return nil
}

func (s *Server) file(r *http.Request) (f file, content []byte, err error) {
	conv, id, _ := strings.Cut(r.PathValue("file"), ".")
	b, err := s.opts.Files.File(r.Context(), conv, id)
	if err != nil {
		return f, nil, err
	}
	head, content, ok := bytes.Cut(b, []byte("\n"))
	if !ok || json.Unmarshal(head, &f) != nil {
		return f, nil, errors.New("a file that was kept can't be read")
	}
	return f, content, nil
}

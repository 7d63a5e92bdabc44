package connector

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"mime"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// forBots gives the files that people sent by the API the addresses by which a
// bot may read them: it has no session there.
func forBots(attachments json.RawMessage, conv string) json.RawMessage {
	var all []map[string]json.RawMessage
	if !bytes.Contains(attachments, []byte(files.URL(conv, ""))) || json.Unmarshal(attachments, &all) != nil {
		return attachments
	}
	for _, x := range all {
		var u string
		if json.Unmarshal(x["contentUrl"], &u) == nil && strings.HasPrefix(u, files.URL(conv, "")) {
			x["contentUrl"], _ = json.Marshal("/v3/attachments/" + conv + "." + files.ID(conv, u) + "/views/original") // a string can always be encoded
			delete(x, "size")                                                                                          // is not of their schema
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return attachments
	}
	return b
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
		files.File
		Original string `json:"originalBase64"`
	}
	if json.Unmarshal(body, &in) != nil || in.Type == "" {
		return errBody
	}
	content, err := base64.StdEncoding.DecodeString(in.Original)
	kind, _, badType := mime.ParseMediaType(in.Type)
	switch {
	case err != nil || len(content) == 0 || badType != nil || len(in.Name) > 255:
		return fault.New(fault.Invalid, `an attachment has a "type" such as image/png, a "name" and "originalBase64"`)
	case int64(len(content)) > s.opts.MaxFile:
		return fault.New(fault.TooLarge, "a file has at most %d bytes", s.opts.MaxFile)
	}
	content, err = files.File{Name: in.Name, Type: kind, Content: content}.Encode()
	if err != nil {
		return err
	}
	id := hex.EncodeToString(wire.MAC(s.opts.Secret, "connector file\x00"+conv+"\x00"+string(content))[:16])
	if err := s.opts.Files.PutFile(r.Context(), conv, id, content); err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, idJSON{conv + "." + id})
}

func (s *Server) attachment(w http.ResponseWriter, r *http.Request) error {
	f, err := s.file(r)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{
		"name": f.Name, "type": f.Type, "views": []any{map[string]any{"viewId": "original", "size": len(f.Content)}},
	})
}

func (s *Server) view(w http.ResponseWriter, r *http.Request) error {
	f, err := s.file(r)
	if err != nil {
		return err
	}
	if r.PathValue("view") != "original" {
		return fault.New(fault.NotFound, `there is one view of a file, "original"`)
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	wire.ServeFile(w, r, f.Name, f.Type, f.Content, strings.HasPrefix(f.Type, "image/") && !strings.Contains(f.Type, "svg"))
	return nil
}

func (s *Server) file(r *http.Request) (files.File, error) {
	conv, id, _ := strings.Cut(r.PathValue("file"), ".")
	b, err := s.opts.Files.File(r.Context(), conv, id)
	if err != nil {
		return files.File{}, err
	}
	return files.Decode(b)
}

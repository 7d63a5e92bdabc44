package directline

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

const (
	maxFiles = 10 // of one upload
	// filesBase begins the address of a file in the log; clients get it with
	// the address by which they reached us in front.
	filesBase = Base + "/attachments/"
)

var errNoFile = fault.New(fault.Invalid, "there is no file in this upload")

// upload takes files, and the message that they belong to.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) error {
	c, id, err := s.access(r)
	if err != nil {
		return err
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(4 * body.Time)) // unsupported only by test recorders
	limit := s.opts.MaxActivity + maxFiles*s.opts.MaxFile
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	a, sent, err := s.readUpload(r)
	_ = rc.SetReadDeadline(time.Time{})
	if err != nil {
		return err
	}
	if a.From == nil {
		a.From = &activity.Account{ID: r.URL.Query().Get("userId")}
	}
	key := digest(a)
	// Who may write into this conversation is known before anything is kept.
	err = s.begun(r.Context(), c, func() error {
		_, err := s.opts.Desk.Look(r.Context(), c.owner(), id)
		return err
	})
	if err != nil {
		return err
	}
	urls := make([]string, len(sent))
	for i, f := range sent {
		if urls[i], err = s.keep(r, id, f); err != nil {
			return err
		}
	}
	if err := attach(&a, sent, urls); err != nil {
		return err
	}
	return s.take(w, r, c, id, a, key)
}

// readUpload reads either multipart/form-data, an activity and its files, or
// one file as the body itself.
func (s *Server) readUpload(r *http.Request) (activity.Activity, []files.File, error) {
	none := activity.Activity{Type: activity.TypeMessage}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return none, nil, fault.New(fault.Invalid, "an upload needs a Content-Type: multipart/form-data, or that of the file")
	}
	if kind != "multipart/form-data" {
		f, err := s.readFile(r.Body, kind, nameOf(r.Header.Get("Content-Disposition")))
		if err == nil && len(f.Content) == 0 {
			err = errNoFile
		}
		return none, []files.File{f}, err
	}
	var (
		a    = none
		sent []files.File
	)
	for parts := multipart.NewReader(r.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return none, nil, partFault(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if p.FormName() == "activity" || kind == "application/vnd.microsoft.activity" {
			b, err := readPart(p, s.opts.MaxActivity)
			if err == nil {
				a, err = channel.Read(b)
			}
			if err != nil {
				return none, nil, err
			}
			continue
		}
		f, err := s.readFile(p, kind, p.FileName())
		if err != nil {
			return none, nil, err
		}
		if sent = append(sent, f); len(sent) > maxFiles {
			return none, nil, fault.New(fault.TooLarge, "at most %d files go with one message", maxFiles)
		}
	}
	if len(sent) == 0 {
		return none, nil, errNoFile
	}
	return a, sent, nil
}

func (s *Server) readFile(r io.Reader, kind, name string) (files.File, error) {
	b, err := readPart(r, s.opts.MaxFile)
	if kind == "" {
		kind = "application/octet-stream"
	}
	if name = files.CleanName(name); name == "" {
		name = "file"
	}
	return files.File{Name: name, Type: kind, Content: b}, err
}

func readPart(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, partFault(err)
	}
	if int64(len(b)) > limit {
		return nil, fault.New(fault.TooLarge, "a part of the upload is larger than %d bytes", limit)
	}
	return b, nil
}

func partFault(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fault.New(fault.TooLarge, "the upload is larger than %d bytes", large.Limit)
	}
	return fault.Wrap(err, fault.Invalid, "the upload broke off, or is not what its Content-Type says")
}

// nameOf reads a file's name out of a Content-Disposition, also of one that
// lacks its first word, as some clients send it.
func nameOf(disposition string) string {
	for _, d := range []string{disposition, "attachment; " + disposition} {
		if _, params, err := mime.ParseMediaType(d); err == nil && params["filename"] != "" {
			return params["filename"]
		}
	}
	return ""
}

// keep stores a file under an id that follows from its bytes, so that an
// upload which is repeated keeps nothing twice, and that nobody can guess:
// whoever knows the address may read it, as a picture's <img> has to.
func (s *Server) keep(r *http.Request, conv string, f files.File) (string, error) {
	content, err := f.Encode()
	if err != nil {
		return "", err
	}
	id := hex.EncodeToString(wire.MAC(s.opts.Secret, "directline file\x00"+conv+"\x00"+string(content))[:16])
	if err := s.opts.Files.PutFile(r.Context(), conv, id, content); err != nil {
		return "", err
	}
	return filesBase + conv + "/" + id + "/" + url.PathEscape(f.Name), nil
}

// attach puts the files' addresses into the activity: into the attachment of
// the same name that has none yet, or one that is added.
func attach(a *activity.Activity, sent []files.File, urls []string) error {
	var all []map[string]json.RawMessage
	if raw, ok := a.Extra["attachments"]; ok && json.Unmarshal(raw, &all) != nil {
		return fault.New(fault.Invalid, `"attachments" must be a list of objects`)
	}
	for i, f := range sent {
		at := -1
		for j, x := range all {
			var name string
			_, has := x["contentUrl"]
			if !has && json.Unmarshal(x["name"], &name) == nil && files.CleanName(name) == f.Name {
				at = j
				break
			}
		}
		if at < 0 {
			all, at = append(all, map[string]json.RawMessage{"name": quoted(f.Name), "contentType": quoted(f.Type)}), len(all)
		}
		if all[at] == nil {
			all[at] = map[string]json.RawMessage{}
		}
		all[at]["contentUrl"] = quoted(urls[i])
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if a.Extra == nil {
		a.Extra = map[string]json.RawMessage{}
	}
	a.Extra["attachments"] = b
	return nil
}

func quoted(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string can always be encoded
	return b
}

func (s *Server) download(w http.ResponseWriter, r *http.Request) error {
	b, err := s.opts.Files.File(r.Context(), r.PathValue("id"), r.PathValue("file"))
	if err != nil {
		return err
	}
	f, err := files.Decode(b)
	if err != nil {
		return err
	}
	inline := strings.HasPrefix(f.Type, "audio/") || strings.HasPrefix(f.Type, "video/") || strings.HasPrefix(f.Type, "image/") && !strings.Contains(f.Type, "svg")
	wire.ServeFile(w, r, f.Name, f.Type, f.Content, inline)
	return nil
}

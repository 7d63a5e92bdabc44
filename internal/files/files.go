// Package files has the words for what people and bots send along: how a file
// is kept in the log, what it is by its bytes, what it may be called, and how an
// activity names it. It stores nothing and reads no network.
package files

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
)

// Unknown is the type of what nobody can say more about.
const Unknown = "application/octet-stream"

// File is a file with its bytes.
type File struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Content []byte `json:"-"`
}

// Encode returns a file as the log keeps it: a line with name and type, then
// the bytes as they came.
func (f File) Encode() ([]byte, error) {
	head, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), f.Content...), nil
}

// Decode reads what Encode wrote.
func Decode(b []byte) (File, error) {
	head, content, ok := bytes.Cut(b, []byte("\n"))
	var f File
	if !ok || json.Unmarshal(head, &f) != nil {
		return File{}, errors.New("a file that was kept can't be read")
	}
	f.Content = content
	return f, nil
}

// CleanName makes a name that is safe in a path and in a header and reads as it
// is: without folders, control characters and marks that turn the direction of
// writing; "" if nothing is left.
func CleanName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '/' || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, name)
	for len(name) > 200 {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name = strings.TrimSpace(name); name == "." || name == ".." {
		return ""
	}
	return name
}

// pictures are the types that every browser draws and none runs.
func pictures() []string { return []string{"image/png", "image/jpeg", "image/gif", "image/webp"} }

// IsPicture reports whether a type is a picture that may be shown: not SVG,
// which is a program.
func IsPicture(kind string) bool { return slices.Contains(pictures(), kind) }

// TypeOf says what content is: what the sender claims where the bytes agree.
// Only bytes make a picture or a text, whatever they are called.
func TypeOf(claimed string, content []byte) string {
	if kind := http.DetectContentType(content); IsPicture(kind) {
		return kind
	}
	kind := TypeName(claimed)
	switch {
	case IsText(content):
		if kind == Unknown || strings.HasPrefix(kind, "image/") && kind != "image/svg+xml" {
			kind = "text/plain"
		}
	case strings.HasPrefix(kind, "text/") || IsPicture(kind) || kind == "image/svg+xml":
		kind = Unknown // it says it is, and is not
	}
	return kind
}

// TypeName is a claimed type without its parameters; Unknown if it is none.
func TypeName(claimed string) string {
	kind, _, err := mime.ParseMediaType(claimed)
	if err != nil || len(kind) > 100 || !strings.Contains(kind, "/") {
		return Unknown
	}
	return kind
}

// IsText reports whether content is text that can be read aloud: UTF-8 without
// control characters but those of lines and tabs.
func IsText(content []byte) bool {
	if !utf8.Valid(content) {
		return false
	}
	return bytes.IndexFunc(content, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' || r == 0x7f
	}) < 0
}

// Matches reports whether a type is one of some, which may be written image/*;
// without any, all are.
func Matches(kind string, some []string) bool {
	return len(some) == 0 || slices.ContainsFunc(some, func(s string) bool {
		group, all := strings.CutSuffix(s, "*")
		return s == kind || all && strings.HasPrefix(kind, group)
	})
}

// base begins the address of a file in the API.
const base = "/api/v1/conversations/"

// NewID names an upload: the same for the same file with the same key in the
// same hour, so that a repeated one is kept once. It begins with that hour: of
// one that no message names it is seen how long it has been waiting.
func NewID(conversation, key string, f File, now time.Time) string {
	var mark [16]byte
	if key == "" {
		_, _ = rand.Read(mark[:]) // never fails
	} else {
		h := sha256.New()
		for _, part := range []string{conversation, key, f.Name, f.Type} {
			fmt.Fprintf(h, "%d %s", len(part), part)
		}
		h.Write(f.Content)
		copy(mark[:], h.Sum(nil))
	}
	return fmt.Sprintf("%08x%x", now.Truncate(time.Hour).Unix(), mark)
}

// Age is how long ago the hour began in which a file was uploaded. ok is false
// for ids that NewID did not make.
func Age(id string, now time.Time) (age time.Duration, ok bool) {
	if len(id) != 40 {
		return 0, false
	}
	b, err := hex.DecodeString(id)
	if err != nil {
		return 0, false
	}
	at := int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
	return now.Sub(time.Unix(at, 0)), true
}

// Attachment is a file as an activity names it.
type Attachment struct {
	Type string `json:"contentType"`
	URL  string `json:"contentUrl"`
	Name string `json:"name"`
	Size int    `json:"size,omitempty"` // bytes
}

// URL is the address of a file in the API.
func URL(conversation, id string) string { return base + conversation + "/files/" + id }

// ID returns which file of a conversation an address names; "" if it is none.
// Direct Line has addresses of its own for the same files.
func ID(conversation, url string) string {
	for _, form := range []string{base + conversation + "/files/", "/v3/directline/attachments/" + conversation + "/"} {
		if rest, ok := strings.CutPrefix(url, form); ok {
			id, _, _ := strings.Cut(rest, "/")
			return id
		}
	}
	return ""
}

// ReadAttachment reads one as a client wrote it. Its size is for people only: a
// wrong one is left out.
func ReadAttachment(raw json.RawMessage) (Attachment, error) {
	var in struct {
		Attachment
		Size json.RawMessage `json:"size"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return Attachment{}, err
	}
	at := in.Attachment
	if json.Unmarshal(in.Size, &at.Size) != nil || at.Size < 0 {
		at.Size = 0
	}
	return at, nil
}

// Of lists what an activity carries, as far as it can be read.
func Of(a *activity.Activity) []Attachment {
	raw, ok := a.Extra["attachments"]
	if !ok {
		return nil
	}
	var each []json.RawMessage
	if json.Unmarshal(raw, &each) != nil {
		return nil
	}
	var out []Attachment
	for _, b := range each {
		if at, err := ReadAttachment(b); err == nil && at.URL != "" {
			out = append(out, at)
		}
	}
	return out
}

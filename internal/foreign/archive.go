package foreign

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// archive is what an export holds beside its conversations. The zero archive
// holds nothing.
type archive struct {
	entries  map[string]*zip.File // by the id of a file
	names    map[string]string    // of entries, as people called them
	opinions map[string]opinion   // by the id of a message
}

type opinion struct{ liked, why string }

const (
	maxDirectory = 32 << 20 // bytes of a zip's list of what is in it
	maxBeside    = 64 << 20 // bytes of a list beside the conversations
)

// ReadZip is Read for the archive that ChatGPT gives out, or one in which
// somebody put the exports of another program. Files are in it by their ids, and
// what the user thought of answers is a list of its own.
func ReadZip(r io.ReaderAt, size int64, each func(Conversation) error) error {
	if err := checkDirectory(r, size); err != nil {
		return err
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the zip is damaged or breaks off in the middle")
	}
	from := &archive{entries: map[string]*zip.File{}, names: map[string]string{}, opinions: map[string]opinion{}}
	var numbered, others []*zip.File
	for _, f := range z.File {
		switch base := path.Base(f.Name); {
		case f.FileInfo().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/"):
		case base == "conversations.json" || shard.MatchString(base):
			numbered = append(numbered, f)
		case base == "conversation_asset_file_names.json":
			_ = beside(f, &from.names) // names are for people only: the ids do
		case base == "message_feedback.json":
			from.judge(f)
		default:
			if id := fileID.FindString(base); id != "" {
				from.entries[id] = f
			} else if path.Ext(base) == ".json" {
				others = append(others, f)
			}
		}
	}
	byName := func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) }
	if slices.SortFunc(numbered, byName); len(numbered) > 0 {
		return from.read(numbered, each)
	}
	if slices.SortFunc(others, byName); len(others) > 0 {
		return from.read(others, each)
	}
	return fault.New(fault.Invalid, "the zip holds no conversations.json, nor another export in JSON")
}

var (
	shard  = regexp.MustCompile(`^conversations-[0-9]+\.json$`)
	fileID = regexp.MustCompile(`^file[-_][A-Za-z0-9]+`)
)

func (a *archive) read(all []*zip.File, each func(Conversation) error) error {
	for _, f := range all {
		r, err := f.Open()
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "%q in the zip is damaged", f.Name)
		}
		err = read(r, a, each)
		_ = r.Close() // nothing was written
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDirectory refuses a zip whose list of entries would not fit into memory:
// it is read whole before anything else is known.
func checkDirectory(r io.ReaderAt, size int64) error {
	const record = 22 // bytes of the end's record, behind which a comment may be
	tail := make([]byte, min(size, record+1<<16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return fault.Wrap(err, fault.Internal, "the zip can't be read")
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < record {
		return fault.New(fault.Invalid, "the zip is damaged or breaks off in the middle")
	}
	count, long, begins := binary.LittleEndian.Uint16(tail[i+10:]), binary.LittleEndian.Uint32(tail[i+12:]), binary.LittleEndian.Uint32(tail[i+16:])
	ends := size - int64(len(tail)) + int64(i)
	// The list is read from where it begins as long as there is more of it,
	// whatever its length is said to be. A zip64 has its numbers elsewhere.
	if count == 1<<16-1 || long > maxDirectory || ends-int64(begins) > maxDirectory {
		return fault.New(fault.TooLarge, "there are too many files in the zip")
	}
	return nil
}

// beside reads a list that is in the archive too.
func beside(f *zip.File, into any) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxBeside))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// judge reads what the user thought of answers. What can't be read is as if it
// were not there: conversations are what people came for.
func (a *archive) judge(f *zip.File) {
	var all []struct {
		ID      string `json:"id"`
		Message string `json:"message_id"`
		Rating  string `json:"rating"`
		Content string `json:"content"` // JSON
	}
	if beside(f, &all) != nil {
		return
	}
	for _, x := range all {
		var said struct {
			Text string `json:"text"`
		}
		_ = json.Unmarshal([]byte(x.Content), &said) // often it is empty
		if is := liked(x.Rating); is != "" {
			a.opinions[cmp.Or(x.Message, x.ID)] = opinion{is, said.Text}
		}
	}
}

// liked reads what programs call a thumb.
func liked(rating string) string {
	switch strings.ToLower(rating) {
	case "1", "thumbsup", "thumbs_up":
		return Like
	case "-1", "thumbsdown", "thumbs_down":
		return Dislike
	}
	return ""
}

func (a *archive) has(id string) bool { return a.entries[id] != nil }

// file returns the file of an id, which people may know by a name.
func (a *archive) file(id, name, kind string) (File, bool) {
	f := a.entries[id]
	if f == nil {
		return File{}, false
	}
	base := path.Base(f.Name)
	rest := strings.TrimPrefix(strings.TrimPrefix(base, id), "-")
	if strings.HasPrefix(rest, ".") {
		rest = ""
	}
	return File{Name: cmp.Or(name, a.names[base], rest, base), Type: kind, Open: f.Open}, true
}

// dataURL returns what an address holds itself.
func dataURL(u string) (kind string, open func() (io.ReadCloser, error), ok bool) {
	head, content, found := strings.Cut(u, ",")
	rest, isData := strings.CutPrefix(head, "data:")
	kind, is64 := strings.CutSuffix(rest, ";base64")
	if !found || !isData || !is64 || content == "" {
		return "", nil, false
	}
	return kind, func() (io.ReadCloser, error) {
		return io.NopCloser(base64.NewDecoder(base64.StdEncoding, strings.NewReader(content))), nil
	}, true
}

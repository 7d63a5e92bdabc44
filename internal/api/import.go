package api

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/foreign"
)

// largestImport bounds an export, in bytes.
const largestImport = 1 << 30

// mostDrained is how much more of a file that is refused is taken off the line.
const mostDrained = 64 << 20

// mostMissing is how many files an answer names at most that did not come.
const mostMissing = 200

// takenJSON says what became of an export, or what would.
type takenJSON struct {
	Conversations int            `json:"conversations"` // that were not here
	Messages      int            `json:"messages"`      // that were not here
	Files         int            `json:"files"`         // that came with them
	Feedback      int            `json:"feedback"`      // answers of which the user thought something
	Known         int            `json:"known"`         // conversations that were here
	Deleted       int            `json:"deleted"`       // that were deleted here, and stay so
	Left          map[string]int `json:"left"`          // what could not be carried over
	Missing       []string       `json:"missing"`       // names of pictures and files that could not
}

func (t *takenJSON) miss(names []string) {
	t.Missing = append(t.Missing, names[:min(len(names), mostMissing-len(t.Missing))]...)
}

// holds counts what is in a conversation of an export.
func (t *takenJSON) holds(c foreign.Conversation) {
	t.Conversations++
	t.Messages += len(c.Messages)
	for _, m := range c.Messages {
		t.Files += len(m.Files)
		if m.Liked != "" {
			t.Feedback++
		}
	}
}

// patient reads a body that may take long, but not without a word.
type patient struct {
	r  io.Reader
	rc *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(body.Time)) // unsupported only by test recorders
	return p.r.Read(b)
}

// take takes in what another program exported, as it comes. What was taken in
// before something is wrong stays, and is known the next time. With dry_run it
// only says what there is.
func (s *server) take(w http.ResponseWriter, r *http.Request, user string) error {
	dry := false
	if v := r.URL.Query().Get("dry_run"); v != "" {
		var err error
		if dry, err = strconv.ParseBool(v); err != nil {
			return fault.New(fault.Invalid, `"dry_run" must be true or false, not %q`, v)
		}
	}
	if !s.intake.TryLock() {
		return fault.New(fault.Limited, "another export is being taken in; try again in a while").After(10 * time.Second)
	}
	defer s.intake.Unlock()
	homes := []string{s.opts.Info().Region}
	for _, region := range s.opts.Regions() {
		homes = append(homes, region.Name)
	}
	in := patient{http.MaxBytesReader(w, r.Body, largestImport), http.NewResponseController(w)}
	defer func() { _ = in.rc.SetReadDeadline(time.Time{}) }()
	out := takenJSON{Left: map[string]int{}, Missing: []string{}}
	err := exported(in, func(c foreign.Conversation) error {
		for what, n := range c.Left {
			if n > 0 {
				out.Left[what] += n
			}
		}
		out.miss(c.Missing)
		if len(c.Messages) == 0 {
			return nil
		}
		if dry {
			out.holds(c)
			return nil
		}
		got, err := s.opts.Chat.Import(r.Context(), user, homes, c)
		out.Messages += got.Said
		out.Files += got.Files
		out.Feedback += got.Judged
		out.miss(got.Left)
		if n := len(got.Left); n > 0 {
			out.Left[foreign.Refused] += n
		}
		switch {
		case fault.Is(err, fault.NotFound):
			out.Deleted++
			return nil
		case err != nil:
			return err
		case got.Fresh:
			out.Conversations++
		default:
			out.Known++
		}
		return nil
	})
	if err != nil {
		_, _ = io.CopyN(io.Discard, in, mostDrained) // who is still sending would not read why
		if n := out.Conversations + out.Known; n > 0 && !dry && fault.CodeOf(err) != fault.Internal {
			return fault.Wrap(err, fault.CodeOf(err), "%s; the %d conversations before that are here", fault.MessageOf(err), n)
		}
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// exported reads an export, whatever it came as. A zip is read from its end, so
// it has to be there whole.
func exported(in io.Reader, each func(foreign.Conversation) error) error {
	b := bufio.NewReader(in)
	if head, _ := b.Peek(4); string(head) != "PK\x03\x04" {
		return foreign.Read(b, each)
	}
	f, err := os.CreateTemp("", "parley-import-*.zip")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "there is no place to put the zip for the moment; unpack it and send conversations.json")
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // nothing else is to be done about it
	}()
	size, err := io.Copy(f, b)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fault.New(fault.TooLarge, "the zip is larger than %d MiB; unpack it and send conversations.json", largestImport>>20)
	case errors.Is(err, syscall.ENOSPC):
		return fault.Wrap(err, fault.StorageFull, "there is no room for the zip; unpack it and send conversations.json")
	case err != nil:
		return fault.Wrap(err, fault.Invalid, "the zip broke off")
	}
	return foreign.ReadZip(f, size, each)
}

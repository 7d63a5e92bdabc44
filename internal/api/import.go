package api

import (
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/foreign"
)

// largestImport bounds an export, in bytes.
const largestImport = 1 << 30

// mostDrained is how much more of a file that is refused is taken off the line.
const mostDrained = 64 << 20

// takenJSON says what became of an export.
type takenJSON struct {
	Conversations int            `json:"conversations"` // that were not here
	Messages      int            `json:"messages"`      // that were not here
	Known         int            `json:"known"`         // conversations that were
	Deleted       int            `json:"deleted"`       // that were deleted here, and stay so
	Left          map[string]int `json:"left"`          // what could not be carried over
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
// before something is wrong stays, and is known the next time.
func (s *server) take(w http.ResponseWriter, r *http.Request, user string) error {
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
	out := takenJSON{Left: map[string]int{}}
	err := foreign.Read(in, func(c foreign.Conversation) error {
		for what, n := range c.Left {
			if n > 0 {
				out.Left[what] += n
			}
		}
		if len(c.Messages) == 0 {
			return nil
		}
		got, err := s.opts.Chat.Import(r.Context(), user, homes, c)
		out.Messages += got.Said
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
		if n := out.Conversations + out.Known; n > 0 && fault.CodeOf(err) != fault.Internal {
			return fault.Wrap(err, fault.CodeOf(err), "%s; the %d conversations before that are here", fault.MessageOf(err), n)
		}
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

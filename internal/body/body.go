// Package body reads what HTTP clients send. What may live here: the bounds of
// size and time that every body has, whatever is in it.
package body

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Time is how long a client may take to send a body.
const Time = 30 * time.Second

// Read reads at most limit bytes.
func Read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(Time)) // unsupported only by test recorders
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fault.New(fault.TooLarge, "the body is larger than %d bytes", limit)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the body broke off")
	}
	return b, nil
}

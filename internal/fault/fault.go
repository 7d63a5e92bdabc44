// Package fault holds the errors that a client of Parley may see: a code from
// a short list and a sentence that says what the caller can do. Every other
// error is "internal" to a client, and only the node's own log says more.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code classes a fault. The API maps each to one HTTP status.
type Code string

// The codes. A new one needs a row in api's status table.
const (
	Invalid         Code = "invalid"         // the request itself is wrong; the same one will fail again
	Unauthenticated Code = "unauthenticated" // no key or session, or a wrong one
	Forbidden       Code = "forbidden"       // known caller, not allowed
	NotFound        Code = "not_found"       // no such thing, or not this caller's
	Conflict        Code = "conflict"        // somebody else was first; read again
	TooLarge        Code = "too_large"       // over a stated limit of size
	Limited         Code = "limited"         // over a limit of rate or number; see RetryAfter
	Unsupported     Code = "unsupported"     // well formed, but this engine or build can't
	Unavailable     Code = "unavailable"     // a part is down or starting; try again
	StorageFull     Code = "storage_full"    // no room to write durably; reads go on
	Timeout         Code = "timeout"         // a stated time limit ran out
	Canceled        Code = "canceled"        // the caller went away or said stop
	Fenced          Code = "fenced"          // a later attempt owns this turn; stop writing
	Internal        Code = "internal"        // our mistake; the log has the details
)

// Error is a fault. Message is shown to the caller; Cause never is.
type Error struct {
	Code       Code
	Message    string        // a sentence without secrets: what is wrong, what to do
	RetryAfter time.Duration // 0: nothing is known
	Cause      error
}

// New makes a fault with a message for the caller.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault that keeps its cause for the node's own log.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// After returns a copy of e that tells the caller when to come back.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first fault in err's chain. A context's end
// is Canceled or Timeout, nil is "", anything else Internal.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// Is reports whether err carries code.
func Is(err error, code Code) bool { return CodeOf(err) == code }

// Passing reports whether what failed may well succeed when it is tried again.
func Passing(err error) bool { return Is(err, Unavailable) || Is(err, Timeout) }

// MessageOf returns what a client may read about err.
func MessageOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Message
	case errors.Is(err, context.Canceled):
		return "the request was cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return "the time limit ran out"
	}
	return "something went wrong inside; the server's log has the details"
}

// RetryAfterOf returns when the caller may come back, or 0.
func RetryAfterOf(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

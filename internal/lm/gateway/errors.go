package gateway

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Error is an error in the API's shape.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    any     `json:"code"`
}

// paramError is a fault about one field of a request.
type paramError struct {
	error
	param string
}

func (p paramError) Unwrap() error { return p.error }

// about says which field a fault is about.
func about(param string, f *fault.Error) error { return paramError{f, param} }

// tooBig marks a request whose body is over the limit, as TooLarge is also a
// prompt over the window.
var errTooBig = errors.New("request body over the limit")

// ErrorOf returns the status and the shape of err for a client.
func ErrorOf(err error) (int, Error) {
	status, kind, code := http.StatusInternalServerError, "server_error", string(fault.CodeOf(err))
	switch fault.CodeOf(err) {
	case fault.Invalid:
		status, kind = http.StatusBadRequest, "invalid_request_error"
	case fault.Unauthenticated:
		status, kind, code = http.StatusUnauthorized, "invalid_request_error", "invalid_api_key"
	case fault.Forbidden:
		status, kind = http.StatusForbidden, "permission_error"
	case fault.NotFound:
		status, kind, code = http.StatusNotFound, "invalid_request_error", "model_not_found"
	case fault.Conflict:
		status, kind = http.StatusConflict, "invalid_request_error"
	case fault.TooLarge:
		status, kind, code = http.StatusBadRequest, "invalid_request_error", "context_length_exceeded"
		if errors.Is(err, errTooBig) {
			status, code = http.StatusRequestEntityTooLarge, "request_too_large"
		}
	case fault.Limited:
		status, kind, code = http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded"
		var q interface{ Quota() bool }
		if errors.As(err, &q) && q.Quota() {
			kind, code = "insufficient_quota", "insufficient_quota"
		}
	case fault.Unsupported:
		status, kind = http.StatusBadRequest, "invalid_request_error"
	case fault.Unavailable:
		status, code = http.StatusServiceUnavailable, "engine_unavailable"
	case fault.StorageFull:
		status = http.StatusInsufficientStorage
	case fault.Timeout:
		status = http.StatusGatewayTimeout
	case fault.Canceled:
		status, kind = 499, "invalid_request_error" // nobody reads it; for logs and metrics
	}
	e := Error{Message: fault.MessageOf(err), Type: kind, Code: code}
	var p paramError
	if errors.As(err, &p) {
		e.Param = &p.param
	}
	return status, e
}

// WriteError answers with err in the API's shape and returns the status.
func WriteError(w http.ResponseWriter, err error) int {
	status, e := ErrorOf(err)
	writeError(w, status, e, fault.RetryAfterOf(err))
	return status
}

func writeError(w http.ResponseWriter, status int, e Error, after time.Duration) {
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	writeJSON(w, status, map[string]Error{"error": e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // only our own types come here
		http.Error(w, `{"error":{"message":"encode answer","type":"server_error","param":null,"code":"internal"}}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// errorEvent is an error in the middle of a stream.
func errorEvent(err error) []byte {
	_, e := ErrorOf(err)
	b, merr := json.Marshal(map[string]Error{"error": e})
	if merr != nil {
		b = []byte(`{"error":{"message":"the answer broke off","type":"server_error","param":null,"code":"internal"}}`)
	}
	return append(append([]byte("data: "), b...), "\n\n"...)
}

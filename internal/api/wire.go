package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/fault"
)

var (
	errCrossOrigin = fault.New(fault.Forbidden, "a page of another origin may not do this")
	errStopping    = fault.New(fault.Unavailable, "the node is stopping")
	errPanic       = fault.New(fault.Internal, "something went wrong inside; the server's log has the details")
)

func errNoRoute(r *http.Request) error {
	return fault.New(fault.NotFound, "there is nothing at %s %s; api/openapi.yaml lists what there is", r.Method, r.URL.Path)
}

func errMethod(r *http.Request, allow string) error {
	return fault.New(fault.Invalid, "%s is not for %s; it takes %s", r.Method, r.URL.Path, allow)
}

// statusOf maps a fault's code to HTTP.
func statusOf(code fault.Code) int {
	switch code {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict, fault.Fenced:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Limited:
		return http.StatusTooManyRequests
	case fault.Unsupported:
		return http.StatusBadRequest
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.StorageFull:
		return http.StatusInsufficientStorage
	case fault.Timeout:
		return http.StatusGatewayTimeout
	case fault.Canceled:
		return 499 // the client is gone; nobody reads it
	}
	return http.StatusInternalServerError
}

// note logs what the caller can't mend.
func (s *server) note(r *http.Request, err error) {
	switch fault.CodeOf(err) {
	case fault.Internal:
		s.lg.Error("a request failed", "method", r.Method, "route", route(r), "err", err)
	case fault.Unavailable, fault.Timeout, fault.StorageFull:
		s.lg.Warn("a request could not be served", "method", r.Method, "route", route(r), "err", err)
	}
}

// writeFault answers with {"error":{"code","message"}}.
func writeFault(w http.ResponseWriter, err error) {
	writeJSONError(w, statusOf(fault.CodeOf(err)), err)
}

func writeJSONError(w http.ResponseWriter, status int, err error) {
	writeError(w, status, err, map[string]any{"code": fault.CodeOf(err), "message": fault.MessageOf(err)})
}

// writeOpenAIFault answers in the OpenAI API's shape.
func writeOpenAIFault(w http.ResponseWriter, err error) {
	writeOpenAIError(w, statusOf(fault.CodeOf(err)), err)
}

func writeOpenAIError(w http.ResponseWriter, status int, err error) {
	kind := "invalid_request_error"
	switch {
	case status == http.StatusUnauthorized:
		kind = "authentication_error"
	case status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case status >= 500:
		kind = "server_error"
	}
	writeError(w, status, err, map[string]any{"message": fault.MessageOf(err), "type": kind, "param": nil, "code": string(fault.CodeOf(err))})
}

func writeError(w http.ResponseWriter, status int, err error, body map[string]any) {
	if after := fault.RetryAfterOf(err); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	_ = writeJSON(w, status, map[string]any{"error": body})
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that left reads nothing
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// readBody reads a JSON body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if t := r.Header.Get("Content-Type"); t != "" {
		if mt, _, err := mime.ParseMediaType(t); err != nil || mt != "application/json" {
			return nil, fault.New(fault.Invalid, "the body must be JSON: send Content-Type: application/json")
		}
	}
	b, err := body.Read(w, r, limit)
	switch {
	case err != nil:
		return nil, err
	case !utf8.Valid(b):
		return nil, fault.New(fault.Invalid, "the body is not valid UTF-8")
	}
	return b, nil
}

// readJSON reads a body whose fields are all known. An empty body is {}.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	b, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		b = []byte("{}")
	}
	return decode(b, into, true)
}

// decode reads one JSON value and says in words what is wrong with it.
func decode(b []byte, into any, strict bool) error {
	if string(bytes.TrimSpace(b)) == "null" { // would leave everything as it is
		return fault.New(fault.Invalid, "the body must be a JSON object, not null")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return jsonFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "there is something behind the JSON value")
	}
	return nil
}

func jsonFault(err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fault.New(fault.Invalid, "%q must be %s, not %s", kind.Field, jsonKind(kind.Type.Kind().String()), kind.Value)
	case errors.As(err, &kind):
		return fault.New(fault.Invalid, "the body must be a JSON object, not %s", kind.Value)
	case errors.Is(err, io.EOF):
		return fault.New(fault.Invalid, "the body is empty; it must be a JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Invalid, "the JSON breaks off in the middle")
	case errors.As(err, &syntax):
		return fault.New(fault.Invalid, "the body is not JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.New(fault.Invalid, "the field %s is not known here", field)
	}
	return fault.Wrap(err, fault.Invalid, "the body can't be read as JSON")
}

func jsonKind(k string) string {
	switch {
	case k == "string":
		return "a string"
	case k == "bool":
		return "true or false"
	case k == "slice":
		return "a list"
	case k == "struct" || k == "map" || k == "ptr":
		return "an object"
	case strings.HasPrefix(k, "int") || strings.HasPrefix(k, "uint") || strings.HasPrefix(k, "float"):
		return "a number"
	}
	return k
}

// key returns the request's Idempotency-Key, "" if it has none.
func key(r *http.Request) (string, error) {
	k := r.Header.Get("Idempotency-Key")
	if len(k) > 255 || !utf8.ValidString(k) || strings.ContainsFunc(k, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return "", fault.New(fault.Invalid, "the Idempotency-Key must be at most 255 printable characters")
	}
	return k, nil
}

// limit reads the query's limit.
func limit(r *http.Request, standard, most int) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, fault.New(fault.Invalid, `"limit" must be a number from 1 to %d`, most)
	}
	return n, nil
}

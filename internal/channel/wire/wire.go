// Package wire is what Direct Line and the connector have in common as HTTP:
// answers, errors, files. What may live here: forms that both protocols share;
// their routes and tokens are each one's own.
package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Status maps a fault to what clients and SDKs react to rightly: 403 makes them
// ask for a new token, 404 makes them give the conversation up, and anything
// from 500 on makes them try again.
func Status(code fault.Code) (status int, word string) {
	switch code {
	case fault.Invalid, fault.Unsupported:
		return http.StatusBadRequest, "BadArgument"
	case fault.Unauthenticated:
		return http.StatusUnauthorized, "Unauthorized"
	case fault.Forbidden:
		return http.StatusForbidden, "Forbidden"
	case fault.NotFound:
		return http.StatusNotFound, "NotFound"
	case fault.Conflict, fault.Fenced:
		return http.StatusConflict, "Conflict"
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge, "MessageSizeTooBig"
	case fault.Limited:
		return http.StatusTooManyRequests, "TooManyRequests"
	case fault.Unavailable, fault.StorageFull, fault.Timeout, fault.Canceled:
		return http.StatusServiceUnavailable, "ServiceUnavailable"
	}
	return http.StatusInternalServerError, "ServiceError"
}

// Fail answers with an error and logs those that are ours. word stands in the
// place of Status's, "" = that one.
func Fail(w http.ResponseWriter, r *http.Request, lg *slog.Logger, err error, word string) {
	status, usual := Status(fault.CodeOf(err))
	if word == "" {
		word = usual
	}
	switch {
	case status == http.StatusServiceUnavailable && r.Context().Err() == nil:
		lg.Warn("a request could not be served", "method", r.Method, "route", r.Pattern, "err", err)
	case status == http.StatusInternalServerError:
		lg.Error("a request failed", "method", r.Method, "route", r.Pattern, "err", err)
	}
	if after := fault.RetryAfterOf(err); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	_ = WriteError(w, status, word, fault.MessageOf(err))
}

// WriteError answers with an error in the form of both protocols.
func WriteError(w http.ResponseWriter, status int, word, message string) error {
	return WriteJSON(w, status, map[string]any{"error": map[string]string{"code": word, "message": message}})
}

// WriteJSON answers with v, which nobody keeps unless Cache-Control is set.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	b = append(b, '\n')
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that left reads nothing
	return nil
}

// ServeFile serves what somebody sent along. It must not run in this origin,
// whatever it is.
func ServeFile(w http.ResponseWriter, r *http.Request, name, kind string, content []byte, inline bool) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	disposition := "attachment"
	if inline {
		disposition = "inline"
	}
	if d := mime.FormatMediaType(disposition, map[string]string{"filename": name}); d != "" {
		disposition = d
	}
	h.Set("Content-Disposition", disposition)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// MAC signs a text with what all nodes share.
func MAC(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

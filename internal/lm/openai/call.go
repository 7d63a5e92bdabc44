package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/parleyhq/parley/internal/fault"
)

// answerLimit bounds an answer that is read as a whole.
const answerLimit = 64 << 20

var errRedirect = errors.New("the server redirects to another host")

// get and post ask for JSON. A nil out throws the answer away.
func (e *Engine) get(ctx context.Context, u *url.URL, out any) error {
	_, err := e.call(ctx, http.MethodGet, u, nil, out)
	return err
}

func (e *Engine) post(ctx context.Context, u *url.URL, in, out any) error {
	_, err := e.call(ctx, http.MethodPost, u, in, out)
	return err
}

// call asks and reads the whole answer. The header is there whenever a server
// answered, also with an error.
func (e *Engine) call(ctx context.Context, method string, u *url.URL, in, out any) (http.Header, error) {
	ctx, stop := e.live(ctx)
	defer stop(nil)
	resp, err := e.send(ctx, method, u, in, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return resp.Header, e.refused(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return resp.Header, e.broken(ctx, err)
	}
	if len(b) > answerLimit {
		return resp.Header, fault.New(fault.Unavailable, "the engine %q sent more than it may", e.o.Name)
	}
	if out == nil {
		return resp.Header, nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return resp.Header, fault.Wrap(err, fault.Unavailable, "the engine %q answered with something that is not the JSON it should be", e.o.Name)
	}
	return resp.Header, nil
}

// send makes the request. Errors are faults.
func (e *Engine) send(ctx context.Context, method string, u *url.URL, in any, accept string) (*http.Response, error) {
	if e.isClosed() {
		return nil, e.closed()
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the request can't be written as JSON")
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "parley")
	e.authorize(req.Header)
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, e.broken(ctx, err)
	}
	return resp, nil
}

// broken makes a fault of an error of the connection. It says nothing of the
// address beyond its host, and nothing of the key.
func (e *Engine) broken(ctx context.Context, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		switch {
		case errors.Is(cause, errEngineClosed):
			return e.closed()
		case errors.Is(cause, errStall):
			err = errStall
		default:
			return fault.Wrap(ctx.Err(), fault.CodeOf(ctx.Err()), "the answer was given up by its caller")
		}
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the address
	}
	var slow interface{ Timeout() bool }
	switch {
	case errors.Is(err, errRedirect):
		return fault.Wrap(err, fault.Unavailable, "the engine %q redirects to another host; its base URL must be the right one", e.o.Name)
	case errors.Is(err, errClosed):
		return e.closed()
	case errors.Is(err, errStall):
		return fault.Wrap(err, fault.Timeout, "the engine %q sent nothing within its time limit", e.o.Name)
	case errors.As(err, &slow) && slow.Timeout():
		return fault.Wrap(err, fault.Unavailable, "the engine %q at %s did not take the connection in time", e.o.Name, e.base.Host)
	}
	return fault.Wrap(err, fault.Unavailable, "the engine %q at %s can't be reached or broke off", e.o.Name, e.base.Host)
}

// apiError is the shape of errors, with the variations seen in the field:
// error may be a plain string, code a number, and some put the fields at the
// top.
type apiError struct {
	Message string
	Type    string
	Code    string
	Param   string
}

func readError(b []byte) (apiError, bool) {
	var top struct {
		Error   json.RawMessage `json:"error"`
		Message any             `json:"message"`
		Detail  any             `json:"detail"`
		Type    any             `json:"type"`
		Code    any             `json:"code"`
	}
	if json.Unmarshal(b, &top) != nil {
		return apiError{}, false
	}
	a := apiError{Message: text(top.Message), Type: text(top.Type), Code: text(top.Code)}
	if a.Message == "" {
		a.Message = text(top.Detail)
	}
	if len(top.Error) == 0 || string(top.Error) == "null" {
		return a, false
	}
	var in struct {
		Message any `json:"message"`
		Type    any `json:"type"`
		Code    any `json:"code"`
		Param   any `json:"param"`
	}
	var s string
	if json.Unmarshal(top.Error, &in) == nil {
		a = apiError{Message: text(in.Message), Type: text(in.Type), Code: text(in.Code), Param: text(in.Param)}
	} else if json.Unmarshal(top.Error, &s) == nil {
		a.Message = s
	}
	return a, true
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// refused makes a fault of an answer that is an error.
func (e *Engine) refused(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	a, _ := readError(b)
	if a.Message == "" {
		a.Message = http.StatusText(resp.StatusCode)
	}
	f := e.fault(resp.StatusCode, a)
	if d := retryAfter(resp.Header, time.Now()); d > 0 {
		f = f.After(d)
	}
	return f
}

// fault maps a status and what the server says about it.
func (e *Engine) fault(status int, a apiError) *fault.Error {
	msg := e.clean(a.Message)
	say := func(c fault.Code) *fault.Error {
		return fault.New(c, "the engine %q says: %s", e.o.Name, msg)
	}
	switch {
	case status == http.StatusTooManyRequests:
		return say(fault.Limited)
	case tooLong(a), status == http.StatusRequestEntityTooLarge:
		return say(fault.TooLarge)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault.New(fault.Unavailable, "the engine %q refuses the key that it is configured with", e.o.Name)
	case status == http.StatusNotFound:
		return say(fault.NotFound)
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		return say(fault.Timeout)
	case status == http.StatusNotImplemented, status == http.StatusMethodNotAllowed:
		return say(fault.Unsupported)
	case status >= 400 && status < 500:
		return say(fault.Invalid)
	}
	return say(fault.Unavailable)
}

// tooLong recognises a prompt over the window by the codes and words of the
// servers we know.
func tooLong(a apiError) bool {
	if a.Code == "context_length_exceeded" || a.Type == "exceed_context_size_error" {
		return true
	}
	m := strings.ToLower(a.Message)
	for _, s := range []string{"maximum context length", "exceeds the available context size", "context window", "longer than the maximum model length", "max_model_len"} {
		if strings.Contains(m, s) {
			return true
		}
	}
	return false
}

// clean makes a server's message fit to be shown: short, printable, without
// our key.
func (e *Engine) clean(s string) string {
	if key := e.key(); key != "" {
		s = strings.ReplaceAll(s, key, "[key]")
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\ufffd' {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 500 {
		s = string(r[:500]) + "..."
	}
	return strings.TrimSpace(s)
}

// retryAfter reads the header's seconds or date, or OpenAI's milliseconds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 24 * time.Hour
	if ms, err := strconv.ParseInt(h.Get("Retry-After-Ms"), 10, 64); err == nil && ms > 0 {
		return min(time.Duration(min(ms, most.Milliseconds()))*time.Millisecond, most)
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return min(t.Sub(now), most)
	}
	return 0
}

package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	dialTime   = 10 * time.Second
	pollTime   = 25 * time.Second // for how long Telegram holds a request for news
	callTime   = pollTime + 20*time.Second
	mostAnswer = 16 << 20 // bytes
	mostWait   = time.Hour
)

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: dialTime, MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       callTime,
	}
}

// call asks the Bot API for something in a bot's name. The token is part of the
// address, as the API has it: no error holds that.
func (s *Server) call(ctx context.Context, a *account, method string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.send(ctx, a, method, "application/json", bytes.NewReader(b), out)
}

// upload is call with a file: all fields are parts of a form then, and in has
// none that stands for the file.
func (s *Server) upload(ctx context.Context, a *account, method string, in map[string]any, field string, f *files.File, out any) error {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for name, v := range in {
		value, ok := v.(string)
		if !ok {
			value = string(object(v))
		}
		if err := form.WriteField(name, value); err != nil {
			return err
		}
	}
	part, err := form.CreateFormFile(field, f.Name)
	if err == nil {
		_, err = part.Write(f.Content)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return err
	}
	return s.send(ctx, a, method, form.FormDataContentType(), &b, out)
}

func (s *Server) send(ctx context.Context, a *account, method, contentType string, body io.Reader, out any) error {
	begun := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun = true }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, a.base+"/"+method, body)
	if err != nil {
		return fault.New(fault.Invalid, "the address of the Bot API can't be used")
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "Parley")
	resp, err := s.client.Do(r)
	if err != nil {
		return broken(err, begun)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return broken(err, true)
	}
	var got answer
	if json.Unmarshal(b, &got) != nil || !got.OK && got.Code == 0 {
		return unnamed(resp.StatusCode)
	}
	if !got.OK {
		return a.refused(got)
	}
	if json.Unmarshal(got.Result, out) != nil {
		return fault.New(fault.Internal, "Telegram has answered with something that can't be read; it is not certain that it has taken this")
	}
	return nil
}

// answer is what the Bot API says to every call.
type answer struct {
	OK          bool
	Result      json.RawMessage
	Description string
	Code        int `json:"error_code"`
	Parameters  struct {
		Retry int   `json:"retry_after"`
		Moved int64 `json:"migrate_to_chat_id"`
	}
}

// broken says what a connection's end means, without the address that it was
// made to.
func broken(err error, begun bool) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if begun {
		return fault.Wrap(err, fault.Internal, "the connection to Telegram broke; it is not certain that it has taken this")
	}
	return fault.Wrap(err, fault.Unavailable, "Telegram can't be reached")
}

// unnamed says what a status without a word of the Bot API means.
func unnamed(status int) error {
	switch {
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Limited, "Telegram says that there are too many messages (status %d)", status)
	case status == http.StatusRequestEntityTooLarge:
		return fault.New(fault.TooLarge, "Telegram does not take a file of this size")
	case status >= 500 || status/100 == 2:
		return fault.New(fault.Internal, "Telegram failed (status %d); it is not certain that it has taken this", status)
	default:
		return fault.New(fault.Invalid, "somebody else answered in Telegram's place (status %d)", status)
	}
}

// refusal is an error of the Bot API: what it means, and what it says.
type refusal struct {
	fault *fault.Error
	words string // in small letters
	moved int64  // the group is another chat now; 0 = it is not
	code  int
}

func (r *refusal) Error() string { return r.fault.Error() }
func (r *refusal) Unwrap() error { return r.fault }

// says reports whether an error is a refusal in one of these words.
func says(err error, words ...string) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return false
	}
	for _, w := range words {
		if strings.Contains(r.words, w) {
			return true
		}
	}
	return false
}

// refused says what an error of the Bot API means for what was posted.
func (a *account) refused(got answer) error {
	words := secret.Redact(short(got.Description, 200), a.Token, a.Secret)
	r := &refusal{words: strings.ToLower(words), moved: got.Parameters.Moved, code: got.Code}
	switch {
	case got.Code == http.StatusTooManyRequests:
		wait := time.Duration(min(max(got.Parameters.Retry, 0), int(mostWait.Seconds()))) * time.Second
		r.fault = fault.New(fault.Limited, "Telegram says that there are too many messages").After(wait)
	case got.Code == http.StatusUnauthorized, got.Code == http.StatusNotFound:
		r.fault = fault.New(fault.Forbidden, "Telegram does not take the token of the account %q (any more): ask @BotFather for it, name it in the configuration, and replay this", a.Name)
	case got.Code == http.StatusForbidden:
		r.fault = fault.New(fault.Forbidden, "this chat can't be written to (%s): the person blocked the bot or never wrote to it, or the bot was taken out of the group", words)
	case got.Code == http.StatusConflict:
		r.fault = fault.New(fault.Conflict, "Telegram gives the bot's news to somebody else (%s): a webhook is set, or another program asks for them", words)
	case strings.Contains(r.words, "chat not found"):
		r.fault = fault.New(fault.NotFound, "Telegram knows no such chat: the person never wrote to this bot, or the group is gone")
	case got.Code == http.StatusRequestEntityTooLarge:
		r.fault = fault.New(fault.TooLarge, "Telegram does not take this: it is too large")
	case got.Code >= 500:
		r.fault = fault.New(fault.Internal, "Telegram failed (%s); it is not certain that it has taken this", words)
	default:
		r.fault = fault.New(fault.Invalid, "Telegram does not take this (%s)", words)
	}
	return r
}

// fetch downloads a file that somebody sent. Its address holds the token, so
// that nobody else can be told of it.
func (s *Server) fetch(ctx context.Context, a *account, id string, most int64) ([]byte, error) {
	var at struct {
		Path string `json:"file_path"`
		Size int64  `json:"file_size"`
	}
	if err := s.call(ctx, a, "getFile", map[string]string{"file_id": id}, &at); err != nil {
		return nil, err
	}
	if at.Size > most || at.Path == "" || strings.Contains(at.Path, "..") || strings.HasPrefix(at.Path, "/") {
		return nil, fault.New(fault.TooLarge, "Telegram does not give this file out")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.files+"/"+(&url.URL{Path: at.Path}).EscapedPath(), nil)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the address of the file can't be used")
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, broken(err, false)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case resp.StatusCode >= 500 || err != nil:
		return nil, fault.New(fault.Unavailable, "Telegram does not give the file out at the moment")
	case resp.StatusCode != http.StatusOK:
		return nil, fault.New(fault.NotFound, "Telegram does not have the file any more")
	case int64(len(b)) > most:
		return nil, fault.New(fault.TooLarge, "the file is too large")
	}
	return b, nil
}

// moved is where a group is now, 0 if it did not move.
func moved(err error) int64 {
	var r *refusal
	if !errors.As(err, &r) {
		return 0
	}
	return r.moved
}

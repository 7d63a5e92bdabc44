package messenger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	dialTime   = 10 * time.Second
	callTime   = 30 * time.Second
	mostAnswer = 1 << 20 // bytes
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

// call asks Meta's Graph for something in a page's name. The token goes in a header, so that
// no address has it which somebody may log.
func (s *Server) call(ctx context.Context, a *account, method, path string, query url.Values, in, out any) error {
	if query == nil {
		query = url.Values{}
	}
	query.Set("appsecret_proof", a.proof)
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	begun := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun = true }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, a.Graph+path+"?"+query.Encode(), body)
	if err != nil {
		return fault.New(fault.Invalid, "the address of the Graph can't be used")
	}
	r.Header.Set("Authorization", "Bearer "+a.Token.Reveal())
	r.Header.Set("User-Agent", "Parley")
	if in != nil {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return broken(err, begun)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if resp.StatusCode/100 != 2 {
		return refused(resp, b, a)
	}
	if err != nil || json.Unmarshal(b, out) != nil {
		return fault.New(fault.Internal, "Messenger has answered with something that can't be read; it is not certain that it has taken this")
	}
	return nil
}

// broken says what a connection's end means, without the address that it was
// made to.
func broken(err error, begun bool) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if begun {
		return fault.Wrap(err, fault.Internal, "the connection to Messenger broke; it is not certain that it has taken this")
	}
	return fault.Wrap(err, fault.Unavailable, "Messenger can't be reached")
}

// refusal is an error of the Graph.
type refusal struct {
	Message   string
	Code      int
	Subcode   int  `json:"error_subcode"`
	Transient bool `json:"is_transient"`
}

var errWindow = fault.New(fault.Forbidden, "Messenger takes a page's message for 24 hours after the person wrote, and this one is later; replay it when they have written again")

// refused says what an error of the Graph means for what was posted.
func refused(resp *http.Response, b []byte, a *account) error {
	var in struct{ Error *refusal }
	if json.Unmarshal(b, &in) != nil || in.Error == nil {
		return unnamed(resp)
	}
	e := in.Error
	// Meta may quote what it was sent.
	words := secret.Redact(clip(e.Message, 200), a.Token, a.AppSecret)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests, e.Code == 4, e.Code == 17, e.Code == 32, e.Code == 613, e.Code == 80006:
		return fault.New(fault.Limited, "Messenger says that there are too many messages (%d)", e.Code).After(regain(resp.Header))
	case e.Code == 1: // also told when the message was sent after all
		return fault.New(fault.Internal, "Messenger does not say what became of this (%d: %s)", e.Code, words)
	case e.Code == 2, e.Code == 1200, e.Transient:
		return fault.New(fault.Unavailable, "Messenger can't take messages at the moment (%d: %s)", e.Code, words)
	case e.Code == 190 || e.Code == 102:
		return fault.New(fault.Forbidden, "Messenger does not take the access token of page %s (any more): make a new one, name it in the configuration, and replay this", a.Page)
	case e.Code == 10 && (e.Subcode == 2018278 || e.Subcode == 2018065 || e.Subcode == 2534022):
		return errWindow
	case e.Code == 551, e.Code == 100 && e.Subcode == 2018001, e.Code == 10 && e.Subcode == 2018108:
		return fault.New(fault.NotFound, "this person can't be reached at the moment: they blocked the page or left Messenger (%d)", e.Code)
	case e.Code == 10, e.Code == 3, e.Code == 299, e.Code >= 200 && e.Code <= 230:
		return fault.New(fault.Forbidden, "the app may not write for page %s (%d: %s): it needs the permission pages_messaging and the person's page to be connected", a.Page, e.Code, words)
	case e.Code == 368:
		return fault.New(fault.Forbidden, "Messenger has blocked the page for breaking a policy (%d: %s)", e.Code, words)
	}
	return fault.New(fault.Invalid, "Messenger does not take this (%d, %d: %s)", e.Code, e.Subcode, words)
}

// unnamed says what a status without a word of the Graph means.
func unnamed(resp *http.Response) error {
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Limited, "Messenger says that there are too many messages (status %d)", status).After(regain(resp.Header))
	case status == http.StatusServiceUnavailable:
		return fault.New(fault.Unavailable, "Messenger can't take messages at the moment (status %d)", status).After(regain(resp.Header))
	case status >= 500:
		return fault.New(fault.Internal, "Messenger failed (status %d); it is not certain that it has taken this", status)
	default:
		return fault.New(fault.Invalid, "Messenger does not take this (status %d)", status)
	}
}

// mostWait bounds what Messenger may ask for.
const mostWait = time.Hour

// regain reads when a page may go on: Retry-After in seconds, or Meta's own
// header, in minutes.
func regain(h http.Header) time.Duration {
	wait := time.Duration(0)
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > 0 {
		wait = time.Duration(min(n, int(mostWait.Seconds()))) * time.Second
	}
	var usage map[string][]struct {
		Minutes float64 `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(h.Get("X-Business-Use-Case-Usage")), &usage) == nil {
		for _, of := range usage {
			for _, u := range of {
				wait = max(wait, time.Duration(min(max(u.Minutes, 0), mostWait.Minutes())*float64(time.Minute)))
			}
		}
	}
	return wait
}

func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

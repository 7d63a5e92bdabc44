// Package client talks to Parley nodes: conversations, messages and answers
// that arrive whole. It knows all addresses of a service and moves between
// them by itself, sends again under the same idempotency key until it is told
// what became of a message, and reads an answer to its end whatever
// connections break on the way. What may live here: that, and nothing of how a
// node works inside.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	mrand "math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Client. BaseURLs is required, the rest has defaults.
type Options struct {
	// BaseURLs are the addresses of one service, the preferred one first, as
	// "https://host:port". A request that one can't serve goes to the next.
	BaseURLs []string
	// Key is the API key; "" on a loopback address.
	Key string
	// HTTPClient makes the requests. Nil means one of our own with a cookie
	// jar. Its Timeout must be 0, or answers that take longer are cut.
	HTTPClient *http.Client
	// UserAgent; "" means "parley-client".
	UserAgent string
	// Timeout of one attempt of a request that is not a stream; 0 means 30 s.
	Timeout time.Duration
	// Patience is how long to go on trying while no address can serve; 0 means
	// 1 min, negative until the context ends.
	Patience time.Duration
	// Backoff is the first pause between two tries; it doubles up to 32 times
	// itself. 0 means 100 ms.
	Backoff time.Duration
	// Stall is the silence after which a stream counts as dead; 0 means 45 s,
	// three of a node's heartbeats.
	Stall time.Duration
	// OnRetry is told why and for how long the client pauses. Nil means nobody.
	OnRetry func(err error, pause time.Duration)
}

// Client is safe for many goroutines. It holds no connection open but those of
// its HTTP client.
type Client struct {
	opts Options
	urls []string
	http *http.Client
	at   atomic.Int64 // index of the address that served last
	seen sights
}

// New checks the options. It connects to nothing.
func New(opts Options) (*Client, error) {
	if len(opts.BaseURLs) == 0 {
		return nil, errors.New("client: at least one base URL is required")
	}
	c := &Client{opts: opts, http: opts.HTTPClient}
	for _, raw := range opts.BaseURLs {
		u, err := url.Parse(raw)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("client: %q is not a base URL such as http://127.0.0.1:8470", raw)
		}
		c.urls = append(c.urls, strings.TrimSuffix(raw, "/"))
	}
	if c.http == nil {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, fmt.Errorf("make cookie jar: %w", err)
		}
		// An address that swallows packets must not hold up the move to the next.
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DialContext = (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext
		t.TLSHandshakeTimeout = 5 * time.Second
		c.http = &http.Client{Jar: jar, Transport: t}
	}
	if c.opts.UserAgent == "" {
		c.opts.UserAgent = "parley-client"
	}
	if c.opts.Timeout == 0 {
		c.opts.Timeout = 30 * time.Second
	}
	if c.opts.Patience == 0 {
		c.opts.Patience = time.Minute
	}
	if c.opts.Patience < 0 {
		c.opts.Patience = math.MaxInt64
	}
	if c.opts.Backoff == 0 {
		c.opts.Backoff = 100 * time.Millisecond
	}
	if c.opts.Stall == 0 {
		c.opts.Stall = 45 * time.Second
	}
	return c, nil
}

// NewKey makes an idempotency key.
func NewKey() string { return rand.Text() }

// Codes of an Error that the client itself makes; all others are the node's.
const (
	CodeUnreachable = "unreachable" // no address answered in time
	CodeProtocol    = "protocol"    // what came is not what a Parley node sends
)

// Error is a refusal of the node, or what kept the client from asking it.
type Error struct {
	Status     int    // HTTP status, 0 if there was no answer
	Code       string // "invalid", "not_found", "unavailable", ... or a Code constant
	Message    string // for people
	RetryAfter time.Duration
	Cause      error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Message + ": " + e.Cause.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first Error in err's chain, or "".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// maxJSON bounds an answer that is not a stream.
const maxJSON = 64 << 20

// sights remembers how far conversations were seen, so that a node of another
// region, which may be behind, never shows less.
type sights struct {
	mu sync.Mutex // guards at
	at map[string]int64
}

const mostSights = 4096 // conversations; beyond, any one is forgotten

func (s *sights) of(conversation string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[conversation]
}

func (s *sights) note(conversation string, position int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]int64{}
	}
	if _, known := s.at[conversation]; !known && len(s.at) >= mostSights {
		for other := range s.at {
			delete(s.at, other)
			break
		}
	}
	s.at[conversation] = max(s.at[conversation], position)
}

// request is one call of the API.
type request struct {
	method string
	path   string // below /api/v1, unless it begins with /v1/
	query  url.Values
	body   any    // JSON, nil = none; zipped goes as it is
	key    string // Idempotency-Key
	once   bool   // must not be sent twice
	accept string
	of     string // the conversation that is read; the answer must hold what was seen of it
}

// zipped is a body that is a zip file already.
type zipped []byte

// form is a body that is a form already.
type form struct {
	kind    string // with its boundary
	content []byte
}

// do sends r until an address answers it, and decodes the answer into out
// unless it is nil.
func (c *Client) do(ctx context.Context, r request, out any) error {
	return c.try(ctx, r.once, func(base string) error {
		ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
		resp, err := c.send(ctx, base, r)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
		if err != nil {
			return &Error{Code: CodeUnreachable, Message: "the answer of " + base + " was cut", Cause: err}
		}
		if len(b) > maxJSON {
			return &Error{Status: resp.StatusCode, Code: CodeProtocol, Message: "the answer is too large"}
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(b, out); err != nil {
			return &Error{Status: resp.StatusCode, Code: CodeProtocol, Message: base + " did not answer as a Parley node does", Cause: err}
		}
		return nil
	})
}

// try calls f with one address after the other until f gives no error or one
// that trying again can't help, pausing after each round of all addresses.
func (c *Client) try(ctx context.Context, once bool, f func(base string) error) error {
	began, pause := time.Now(), c.opts.Backoff
	for n := 0; ; n++ {
		i := c.at.Load() % int64(len(c.urls))
		err := f(c.urls[i])
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		round := (n+1)%len(c.urls) == 0 // all addresses were asked
		if once || !temporary(err) && (round || !full(err)) {
			return err
		}
		// Another caller may have moved on already: leave the address only if
		// it is still the one that failed.
		c.at.CompareAndSwap(i, (i+1)%int64(len(c.urls)))
		if !round {
			continue
		}
		wait := c.pause(err, &pause)
		if time.Since(began)+wait > c.opts.Patience {
			return err
		}
		if err := c.sleep(ctx, err, wait); err != nil {
			return err
		}
	}
}

// pause returns how long to wait after err and doubles the next one.
func (c *Client) pause(err error, next *time.Duration) time.Duration {
	wait := time.Duration(float64(*next) * (0.5 + mrand.Float64()/2))
	*next = min(*next*2, 32*c.opts.Backoff)
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > wait {
		wait = e.RetryAfter
	}
	return wait
}

func (c *Client) sleep(ctx context.Context, err error, wait time.Duration) error {
	if c.opts.OnRetry != nil {
		c.opts.OnRetry(err, wait)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// temporary reports whether asking again, perhaps elsewhere, may help.
func temporary(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case 0:
		return e.Code == CodeUnreachable
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	// A 200 that broke off.
	return e.Status < 300 && e.Code == CodeUnreachable
}

// full reports whether a node has no room: another one may, and waiting won't
// help.
func full(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusInsufficientStorage
}

// send makes one attempt. The caller closes the body of a good answer.
func (c *Client) send(ctx context.Context, base string, r request) (*http.Response, error) {
	var body io.Reader
	kind := "application/json"
	if z, ok := r.body.(zipped); ok {
		body, kind = bytes.NewReader(z), "application/zip"
	} else if f, ok := r.body.(form); ok {
		body, kind = bytes.NewReader(f.content), f.kind
	} else if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := base + "/api/v1" + r.path
	if strings.HasPrefix(r.path, "/v1/") {
		target = base + r.path
	}
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if r.method != http.MethodGet {
		req.Header.Set("X-Parley", "1")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	if at := c.seen.of(r.of); at > 0 {
		req.Header.Set("Parley-Position", strconv.FormatInt(at, 10))
	}
	if c.opts.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.opts.Key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text has the whole URL in it, and the message names the address
		}
		return nil, &Error{Code: CodeUnreachable, Message: base + " can't be reached", Cause: err}
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, refusal(base, resp)
}

// refusal reads an answer that is not a success.
func refusal(base string, resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	var body struct {
		Error struct{ Code, Message string }
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/json" {
		_ = json.Unmarshal(b, &body) // what is not ours is told by its status
	}
	e.Code, e.Message = body.Error.Code, body.Error.Message
	if e.Message == "" {
		e.Message = fmt.Sprintf("%s answered %s", base, resp.Status)
	}
	if e.Code == "" {
		e.Code = map[int]string{
			http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "forbidden", http.StatusNotFound: "not_found",
			http.StatusTooManyRequests: "limited", http.StatusServiceUnavailable: "unavailable", http.StatusBadGateway: "unavailable",
			http.StatusGatewayTimeout: "timeout", http.StatusRequestEntityTooLarge: "too_large",
		}[resp.StatusCode]
	}
	if e.Code == "" {
		e.Code = CodeProtocol
	}
	return e
}

// retryAfter reads both forms of the header; nonsense is 0, more than a day a
// day.
func retryAfter(v string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	if n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, most)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), most)
	}
	return 0
}

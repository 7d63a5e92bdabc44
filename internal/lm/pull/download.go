package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
)

// newClient makes the client for downloads: quick to give up on a host that
// can't be reached, never from https down to http.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true, // sizes and ranges are of the file itself
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("too many redirects")
			}
			if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return errors.New("redirected to a plain http address")
			}
			return nil
		},
	}
}

// download is one file from one URL. Its bytes gather in part, which outlives
// the process, and are the pinned ones when run returns nil.
type download struct {
	client  *http.Client
	url     string
	part    string // the growing file; beside it lies a .json with the ETag
	size    int64
	sum     string
	stall   time.Duration
	backoff time.Duration
	done    func(int64)
}

// origin is what is known of the server's copy that part was taken from.
type origin struct {
	URL  string `json:"url"`
	ETag string `json:"etag"`
}

// permanentError is one that a retry can't cure.
type permanentError struct{ err error }

func (e permanentError) Error() string { return e.err.Error() }
func (e permanentError) Unwrap() error { return e.err }

func permanent(format string, args ...any) error {
	return permanentError{fmt.Errorf(format, args...)}
}

var errStalled = errors.New("the connection went silent")

const (
	maxFruitless = 4   // attempts in a row that brought no byte
	maxAttempts  = 200 // in all: a server that cuts after every few bytes
	maxPause     = 20 * time.Second
)

// run downloads until the file is whole and right.
func (d *download) run(ctx context.Context) error {
	fruitless, again := 0, false
	var err error
	for range maxAttempts {
		before := d.have()
		err = d.once(ctx)
		if err == nil {
			err = verifyFile(ctx, d.part, d.size, d.sum)
			if err == nil || ctx.Err() != nil {
				return err
			}
			d.discard()
			// A resumed file may have been joined from two different ones:
			// once more from the start tells.
			if before == 0 || again {
				return err
			}
			again = true
			continue
		}
		var p permanentError
		var w retryAfter
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &p):
			return p.err
		}
		if fruitless++; d.have() > before {
			fruitless = 0
		}
		if fruitless >= maxFruitless {
			return err
		}
		pause := min(d.backoff<<max(fruitless-1, 0), maxPause)
		if errors.As(err, &w) {
			pause = min(max(pause, w.wait), maxPause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return err
}

// retryAfter is an answer that asks to come back later.
type retryAfter struct {
	status string
	wait   time.Duration
}

func (e retryAfter) Error() string { return "the server answered " + e.status }

func (d *download) have() int64 {
	st, err := os.Stat(d.part)
	if err != nil {
		return 0
	}
	return st.Size()
}

func (d *download) originPath() string { return strings.TrimSuffix(d.part, ".part") + ".json" }

func (d *download) discard() {
	os.Remove(d.part)
	os.Remove(d.originPath())
}

// once makes one request and appends what it brings.
func (d *download) once(ctx context.Context) error {
	have := d.have()
	if have > d.size {
		d.discard()
		have = 0
	}
	if have == d.size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return permanent("%w", err)
	}
	req.Header.Set("User-Agent", "parley")
	req.Header.Set("Accept-Encoding", "identity")
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if o := d.readOrigin(); o.URL == d.url && o.ETag != "" {
			req.Header.Set("If-Range", o.ETag)
		}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return dialError(err, have)
	}
	defer resp.Body.Close()
	start, err := d.accept(resp, have)
	if err != nil {
		return err
	}
	return d.body(ctx, cancel, resp.Body, start)
}

// dialError makes a failed connection permanent when nothing came from there
// yet, and short enough for a person.
func dialError(err error, have int64) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		err = fmt.Errorf("no address is known for %s", dns.Name)
	case errors.As(err, &op) && op.Op == "dial":
		err = fmt.Errorf("can't connect: %w", op.Err)
	default:
		return err
	}
	if have == 0 {
		return permanentError{err}
	}
	return err
}

// accept looks at the answer's head and returns where its body belongs.
func (d *download) accept(resp *http.Response, have int64) (int64, error) {
	switch s := resp.StatusCode; {
	case s == http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != d.size {
			return 0, permanent("the file there has %d bytes, not %d", n, d.size)
		}
		// The whole file: a server without ranges, or the file is another one
		// than the one we had begun.
		if have > 0 {
			d.discard()
		}
		return 0, d.writeOrigin(resp)
	case s == http.StatusPartialContent:
		var from, to, total int64
		cr := resp.Header.Get("Content-Range")
		if _, err := fmt.Sscanf(cr, "bytes %d-%d/%d", &from, &to, &total); err != nil || from != have || total != d.size {
			d.discard()
			return 0, fmt.Errorf("the server sent an odd range (%.60q)", cr)
		}
		return have, d.writeOrigin(resp)
	case s == http.StatusRequestedRangeNotSatisfiable:
		d.discard()
		return 0, errors.New("the server refused to go on where we stopped")
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return 0, retryAfter{resp.Status, time.Duration(wait) * time.Second}
	default:
		return 0, permanent("the server answered %s", resp.Status)
	}
}

// body appends r to the part from start on. A reader that brings nothing for
// the stall time is cut.
func (d *download) body(ctx context.Context, cancel context.CancelCauseFunc, r io.Reader, start int64) error {
	f, err := os.OpenFile(d.part, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return permanent("open download: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return permanent("open download: %w", err)
	}
	var stalled atomic.Bool
	timer := time.AfterFunc(d.stall, func() {
		stalled.Store(true)
		cancel(errStalled)
	})
	defer timer.Stop()
	d.done(start)
	buf := make([]byte, 128<<10)
	for at := start; ; {
		n, rerr := r.Read(buf)
		timer.Reset(d.stall)
		n = int(min(int64(n), d.size-at)) // more than pinned is never kept
		if n > 0 {
			if _, err := f.Write(buf[:n]); err != nil {
				return permanent("write download: %w", err)
			}
			at += int64(n)
			d.done(at)
		}
		switch {
		case at == d.size:
			if err := f.Sync(); err != nil {
				return permanent("write download: %w", err)
			}
			return nil
		case stalled.Load():
			return errStalled
		case errors.Is(rerr, io.EOF):
			return fmt.Errorf("cut after %d of %d bytes", at, d.size)
		case rerr != nil:
			return fmt.Errorf("cut after %d of %d bytes: %w", at, d.size, rerr)
		}
	}
}

func (d *download) readOrigin() origin {
	var o origin
	b, err := os.ReadFile(d.originPath())
	if err == nil && json.Unmarshal(b, &o) != nil {
		o = origin{}
	}
	return o
}

// writeOrigin remembers a strong ETag, so that a later run resumes this file
// and no other.
func (d *download) writeOrigin(resp *http.Response) error {
	etag := resp.Header.Get("ETag")
	if strings.HasPrefix(etag, "W/") {
		etag = ""
	}
	b, err := json.Marshal(origin{d.url, etag})
	if err != nil {
		return permanent("remember download: %w", err)
	}
	if err := atomicfile.Write(d.originPath(), b, 0o600); err != nil {
		return permanent("remember download: %w", err)
	}
	return nil
}

// get downloads into the cache's partial directory and moves the verified
// file to dest.
func (c *Cache) get(ctx context.Context, rawURL, sum string, size int64, dest string) error {
	if err := os.MkdirAll(c.partialDir(), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	d := &download{
		client: c.opt.Client, url: rawURL, part: filepath.Join(c.partialDir(), sum+".part"),
		size: size, sum: sum, stall: c.opt.Stall, backoff: c.opt.Backoff, done: c.report.done,
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	if err := os.Rename(d.part, dest); err != nil {
		return fmt.Errorf("keep download: %w", err)
	}
	if err := os.Remove(d.originPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep download: %w", err)
	}
	return nil
}

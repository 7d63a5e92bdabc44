package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Answer is an answer that nobody waited for.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Engine string // that was asked last; "" = none was
}

// Whole answers a request of the batch lane, without HTTP around it. It must not
// be one for a stream.
func (g *Gateway) Whole(ctx context.Context, user string, op Op, body []byte) (a Answer) {
	rec := &Record{Op: op, User: user, Start: time.Now(), Batch: true}
	w := &kept{header: http.Header{}}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // the very value is what is thrown
				panic(p)
			}
			w.status = http.StatusBadGateway // it broke off in the middle
		}
		a = Answer{Status: w.status, Header: w.header, Body: w.body.Bytes(), Engine: w.header.Get(engineHeader)}
	}()
	r := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/" + string(op)}, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	g.generate(w, r, rec)
	return a
}

// kept is an answer that stays here.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header { return k.header }

func (k *kept) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

func (k *kept) Write(b []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(b)
}

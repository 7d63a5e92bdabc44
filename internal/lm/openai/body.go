package openai

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// respBody is the body of an answer on a conn. Its end gives the connection
// back; any other end closes it.
type respBody struct {
	c       *conn
	stop    func() bool // ends the watch on the request's context
	keep    bool
	chunked bool
	left    int64 // of the body, or of the present chunk; -1: until the connection ends
	state   chunkState
	seen    int // bytes of trailers
	done    bool
	err     error
}

type chunkState int

const (
	inSize    chunkState = iota // at the line with a chunk's size
	inData                      // in a chunk's bytes
	afterData                   // at the line end after a chunk's bytes
	inTrailer                   // after the last chunk
)

const lineLimit = 4 << 10 // of a chunk's size or trailer line

// take returns what the buffer holds of the body, without its framing, moved
// together in place. It is valid until the buffer is filled again.
func (b *respBody) take() ([]byte, error) {
	c := b.c
	if !b.chunked {
		n := c.w - c.r
		if b.left >= 0 {
			n = int(min(int64(n), b.left))
			b.left -= int64(n)
			b.done = b.left == 0
		}
		p := c.buf[c.r : c.r+n]
		c.r += n
		return p, nil
	}
	start, end := c.r, c.r
	for !b.done && c.r < c.w {
		if b.state == inData {
			n := int(min(int64(c.w-c.r), b.left))
			if end == c.r {
				end += n
			} else {
				end += copy(c.buf[end:], c.buf[c.r:c.r+n])
			}
			c.r += n
			if b.left -= int64(n); b.left == 0 {
				b.state = afterData
			}
			continue
		}
		more, err := b.line()
		if err != nil {
			return c.buf[start:end], err
		}
		if !more {
			break
		}
		if start == end { // nothing to hand out yet: no need to move what follows
			start, end = c.r, c.r
		}
	}
	return c.buf[start:end], nil
}

// line reads one line of framing; false means that it is not all there.
func (b *respBody) line() (bool, error) {
	c := b.c
	p := c.buf[c.r:c.w]
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if len(p) > lineLimit {
			return false, errChunk
		}
		return false, nil
	}
	if i == 0 || p[i-1] != '\r' || i > lineLimit {
		return false, errChunk
	}
	p = p[:i-1]
	c.r += i + 1
	switch b.state {
	case inSize:
		n, err := chunkSize(p)
		if err != nil {
			return false, err
		}
		b.left, b.state = n, inData
		if n == 0 {
			b.state = inTrailer
		}
	case afterData:
		if len(p) > 0 {
			return false, errChunk
		}
		b.state = inSize
	case inTrailer:
		b.done = len(p) == 0
		if b.seen += i; b.seen > headerLimit {
			return false, errChunk
		}
	}
	return true, nil
}

// chunkSize reads hexadecimal digits up to an extension or white space.
func chunkSize(p []byte) (n int64, err error) {
	for i, ch := range p {
		var d byte
		switch {
		case ch >= '0' && ch <= '9':
			d = ch - '0'
		case ch|0x20 >= 'a' && ch|0x20 <= 'f':
			d = ch | 0x20 - 'a' + 10
		case i > 0 && (ch == ';' || ch == ' ' || ch == '\t'):
			return n, nil
		default:
			return 0, errChunk
		}
		if n >= 1<<40 {
			return 0, errChunk
		}
		n = n<<4 | int64(d)
	}
	if len(p) == 0 {
		return 0, errChunk
	}
	return n, nil
}

// Read returns the next bytes of the body.
func (b *respBody) Read(p []byte) (int, error) {
	if b.c == nil {
		return 0, b.ended()
	}
	if len(p) == 0 {
		return 0, nil
	}
	c := b.c
	for {
		n, err := b.some(p)
		switch {
		case err != nil:
			return n, b.fail(err)
		case n > 0:
			if b.done {
				b.finish()
			}
			return n, nil
		case b.done:
			b.finish()
			return 0, io.EOF
		}
		if err := c.fillBody(); err != nil {
			if b.left < 0 && !b.chunked && errors.Is(err, io.EOF) {
				b.done = true
				continue
			}
			return 0, b.fail(err)
		}
	}
}

// some copies what the buffer holds into p, at most its length.
func (b *respBody) some(p []byte) (int, error) {
	c := b.c
	if b.chunked {
		for b.state != inData && !b.done {
			if more, err := b.line(); err != nil || !more {
				return 0, err
			}
		}
		if b.done {
			return 0, nil
		}
		n := copy(p[:min(int64(len(p)), b.left)], c.buf[c.r:c.w])
		c.r += n
		if b.left -= int64(n); b.left == 0 {
			b.state = afterData
			if more, err := b.line(); err != nil || !more {
				return n, err
			}
		}
		return n, nil
	}
	if b.left == 0 {
		b.done = true
		return 0, nil
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	if b.left > 0 {
		b.left -= int64(n)
		b.done = b.left == 0
	}
	return n, nil
}

// WriteTo hands every piece of the body to w as it comes, one Write for one
// read of the connection.
func (b *respBody) WriteTo(w io.Writer) (total int64, err error) {
	if b.c == nil {
		if err := b.ended(); !errors.Is(err, io.EOF) {
			return 0, err
		}
		return 0, nil
	}
	for {
		p, err := b.take()
		if len(p) > 0 {
			n, werr := w.Write(p)
			total += int64(n)
			if werr != nil {
				_ = b.Close()
				return total, werr
			}
		}
		if err != nil {
			return total, b.fail(err)
		}
		if b.done {
			b.finish()
			return total, nil
		}
		if err := b.c.fillBody(); err != nil {
			if b.left < 0 && !b.chunked && errors.Is(err, io.EOF) {
				b.done = true
				continue
			}
			return total, b.fail(err)
		}
	}
}

// finish gives the connection back after the body's end.
func (b *respBody) finish() {
	c := b.c
	b.c, b.done = nil, true
	if !b.stop() || !b.keep || c.r != c.w { // bytes after the end: not to be trusted
		c.t.drop(c)
		return
	}
	c.t.put(c)
}

// fail closes the connection; the end of the request's context explains any
// error.
func (b *respBody) fail(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCut
	}
	b.err = err
	if !b.stop() {
		b.err = context.Canceled
	}
	b.c.t.drop(b.c)
	b.c = nil
	return b.err
}

func (b *respBody) ended() error {
	if b.err != nil {
		return b.err
	}
	return io.EOF
}

// Close ends the answer. Unless it was read to its end the connection goes
// too: that is how a server learns that nobody listens.
func (b *respBody) Close() error {
	if b.c != nil {
		if b.done || (!b.chunked && b.left == 0) {
			b.finish()
			return nil
		}
		b.stop()
		b.c.t.drop(b.c)
		b.c = nil
		b.err = errClosed
	}
	return nil
}

package openai

import (
	"bytes"
	"errors"
	"io"
)

// eventLimit bounds one event of a stream, and what may come between two: a
// server that floods is cut off.
const eventLimit = 1 << 20

var errEventTooLong = errors.New("an event of the stream is too long")

// events reads the data of server-sent events. It takes what servers really
// send: LF, CRLF and CR line ends, comments, no space after the colon, data in
// several lines, fields it does not know, a last event without an empty line.
type events struct {
	r    io.Reader
	buf  []byte // buf[at:] is unread
	at   int
	eof  error
	cr   bool // the last line ended in CR: an LF now belongs to it
	head bool // the first bytes have been looked at for a byte order mark
	data []byte
}

func newEvents(r io.Reader) *events { return &events{r: r} }

// next returns the data of the next event, valid until the next call. io.EOF
// is the stream's end; data that came before it without an empty line is an
// event all the same.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	has, idle := false, 0
	for {
		line, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) && has {
				return e.data, nil
			}
			return nil, err
		}
		if len(line) == 0 {
			if has {
				return e.data, nil
			}
			if idle++; idle > eventLimit {
				return nil, errEventTooLong
			}
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data"))
		if !ok || len(value) > 0 && value[0] != ':' {
			// A comment, or another field, such as "database".
			if idle += len(line) + 1; idle > eventLimit {
				return nil, errEventTooLong
			}
			continue
		}
		value = bytes.TrimPrefix(value, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		if has {
			e.data = append(e.data, '\n')
		}
		has = true
		if len(e.data)+len(value) > eventLimit {
			return nil, errEventTooLong
		}
		e.data = append(e.data, value...)
	}
}

// line returns the next line without its end.
func (e *events) line() ([]byte, error) {
	from := 0 // of the unread bytes: searched already
	for {
		if !e.head && len(e.buf)-e.at >= 3 {
			e.head = true
			if bytes.HasPrefix(e.buf[e.at:], []byte("\ufeff")) {
				e.at += 3
			}
		}
		if e.cr && e.at < len(e.buf) {
			if e.buf[e.at] == '\n' {
				e.at++
			}
			e.cr = false
		}
		rest := e.buf[e.at:]
		if i := bytes.IndexAny(rest[min(from, len(rest)):], "\r\n"); i >= 0 {
			i += min(from, len(rest))
			e.cr = rest[i] == '\r'
			e.at += i + 1
			return rest[:i], nil
		}
		from = len(rest)
		if from > eventLimit {
			return nil, errEventTooLong
		}
		if e.eof != nil {
			if from > 0 && errors.Is(e.eof, io.EOF) {
				e.at = len(e.buf)
				return rest, nil
			}
			return nil, e.eof
		}
		e.fill()
	}
}

func (e *events) fill() {
	if e.at > 0 {
		e.buf = e.buf[:copy(e.buf, e.buf[e.at:])]
		e.at = 0
	}
	if cap(e.buf)-len(e.buf) < 1024 {
		grown := make([]byte, len(e.buf), 2*cap(e.buf)+4096)
		copy(grown, e.buf)
		e.buf = grown
	}
	n, err := e.r.Read(e.buf[len(e.buf):cap(e.buf)])
	e.buf = e.buf[:len(e.buf)+n]
	if err != nil {
		e.eof = err
	}
}

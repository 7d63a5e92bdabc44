package client

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxEvent bounds one event of a stream.
const maxEvent = 8 << 20

var errEventTooLarge = errors.New("an event of the stream is too large")

// frame is one event as it stands in the stream.
type frame struct {
	id    string // the last one set, also by earlier events
	event string
	data  string
}

// frames reads a text/event-stream as the HTML standard has it: lines end in
// CR, LF or both, an event at an empty line, and one that the stream cuts off
// never happened.
type frames struct {
	r      *bufio.Reader
	skipLF bool // the last line ended in CR
	fresh  bool // a byte order mark may come
	id     string
}

func newFrames(r io.Reader) *frames { return &frames{r: bufio.NewReader(r), fresh: true} }

// next returns the next event that has data. At the stream's end the error is
// io.EOF, clean or not.
func (f *frames) next() (frame, error) {
	var ev frame
	var data strings.Builder
	got := false
	for {
		line, err := f.line(maxEvent - data.Len())
		if err != nil {
			return frame{}, err
		}
		if line == "" {
			if !got {
				ev = frame{}
				continue
			}
			ev.id, ev.data = f.id, data.String()
			return ev, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			ev.event = value
		case "data":
			if got {
				data.WriteByte('\n')
			}
			got = true
			data.WriteString(value)
		case "id":
			if !strings.ContainsRune(value, 0) {
				f.id = value
			}
		}
	}
}

// line reads one line of at most limit bytes, without its end.
func (f *frames) line(limit int) (string, error) {
	var b strings.Builder
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return "", err
		}
		if f.skipLF {
			f.skipLF = false
			if c == '\n' {
				continue
			}
		}
		switch c {
		case '\r':
			f.skipLF = true
			return f.text(b.String()), nil
		case '\n':
			return f.text(b.String()), nil
		}
		if b.Len() >= limit {
			return "", errEventTooLarge
		}
		b.WriteByte(c)
	}
}

func (f *frames) text(s string) string {
	if f.fresh {
		f.fresh = false
		s = strings.TrimPrefix(s, "\uFEFF")
	}
	return s
}

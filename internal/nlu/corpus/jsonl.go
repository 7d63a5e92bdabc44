package corpus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// MostLine bounds a line of JSON, in bytes.
const MostLine = 1 << 20

// ReadLines reads examples, one JSON object to a line, as they come: each with
// the number of its line. Empty lines don't count. A line that is wrong is a
// Problem and reading goes on, so that all are found; name is what problems
// call the input. An error of r itself ends it.
func ReadLines(r io.Reader, name string) iter.Seq2[int, LineResult] {
	return func(yield func(int, LineResult) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for n := 1; ; n++ {
			line, err := readLine(in)
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, errLong):
				err = Problems{{File: name, Line: n, Text: fmt.Sprintf("the line is longer than %d bytes", MostLine)}}
				if !yield(n, LineResult{Err: err}) {
					return
				}
				continue
			case err != nil:
				yield(n, LineResult{Err: fmt.Errorf("read %s: %w", name, err)})
				return
			}
			if n == 1 {
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			var res LineResult
			if err := parseExample(line, &res.Example); err != nil {
				res.Err = Problems{{File: name, Line: n, Text: err.Error()}}
			}
			if !yield(n, res) {
				return
			}
		}
	}
}

// LineResult is a line's example, or what is wrong with it.
type LineResult struct {
	Example Example
	Err     error // Problems with one entry, or the reader's own
}

// ReadAll reads all examples, or says everything that is wrong.
func ReadAll(r io.Reader, name string) ([]Example, error) {
	var out []Example
	var wrong Problems
	for _, l := range ReadLines(r, name) {
		var ps Problems
		switch {
		case errors.As(l.Err, &ps):
			if wrong = append(wrong, ps...); len(wrong) == mostProblems {
				wrong = append(wrong, Problem{File: name, Line: ps[0].Line, Text: "there may be more problems; reading ends here"})
				return nil, wrong
			}
		case l.Err != nil:
			return nil, l.Err
		default:
			out = append(out, l.Example)
		}
	}
	return out, wrong.Err()
}

// WriteLines writes examples as ReadLines reads them.
func WriteLines(w io.Writer, examples []Example) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	for _, x := range examples {
		if err := e.Encode(x); err != nil {
			return err
		}
	}
	return b.Flush()
}

var errLong = errors.New("long line")

// readLine returns a line without its end. It reads a line that is too long to
// its end and keeps none of it.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > MostLine; !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(line) == 0 && !long):
			return nil, err
		case long:
			return nil, errLong
		}
		return line, nil
	}
}

// JSONError says in words of the format, not of the language that reads it, what
// is wrong with a line of JSON.
func JSONError(err error) error {
	var wrong *json.UnmarshalTypeError
	var broken *json.SyntaxError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%q is a %s, which is not what belongs there", wrong.Field, wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("it is a %s: wanted {\"text\": ...}", wrong.Value)
	case errors.As(err, &broken):
		return fmt.Errorf("it is not JSON: %w", broken)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("it is not JSON: it breaks off")
	}
	return err
}

func parseExample(line []byte, e *Example) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return fmt.Errorf("this is no example: %w", JSONError(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the example")
	}
	return e.Check()
}

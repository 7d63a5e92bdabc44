package client

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func readAll(r io.Reader) ([]frame, error) {
	f := newFrames(r)
	var out []frame
	for {
		one, err := f.next()
		if err != nil {
			return out, err
		}
		out = append(out, one)
	}
}

func TestFrames(t *testing.T) {
	for in, want := range map[string][]frame{
		"data: a\n\n":                                 {{data: "a"}},
		"data:a\ndata: b\ndata\n\n":                   {{data: "a\nb\n"}},
		"id: 1\r\nevent: x\r\ndata: a\r\n\r\n":        {{id: "1", event: "x", data: "a"}},
		"id: 1\revent: x\rdata: a\r\rdata: b\r\r":     {{id: "1", event: "x", data: "a"}, {id: "1", data: "b"}},
		"\ufeff: hello\n\nid: 2\n\ndata: z\n\n":       {{id: "2", data: "z"}},
		"event: lonely\n\ndata: a\n\n":                {{data: "a"}},
		"data: cut off":                               nil,
		"data: cut off\n":                             nil,
		"data:  two spaces\n\n":                       {{data: " two spaces"}},
		"id: 1\x00\ndata: a\n\nretry: 5\ndata: b\n\n": {{data: "a"}, {data: "b"}},
		"\n\n\n": nil,
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytewise": iotest.OneByteReader(strings.NewReader(in))} {
			got, err := readAll(r)
			if !errors.Is(err, io.EOF) {
				t.Errorf("%q: error %v", in, err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(frame{})); diff != "" {
				t.Errorf("%s %q: %s", name, in, diff)
			}
		}
	}
	endless := io.MultiReader(strings.NewReader("data: "), zeros{})
	if _, err := readAll(endless); !errors.Is(err, errEventTooLarge) {
		t.Errorf("endless line: %v", err)
	}
	many := io.MultiReader(strings.NewReader(strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 9)), zeros{})
	if _, err := readAll(many); !errors.Is(err, errEventTooLarge) {
		t.Errorf("endless event: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// However a stream is torn, what is read is the beginning of what the whole
// stream says.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("id: 1\nevent: delta\ndata: {}\n\n"), 10)
	f.Add([]byte("\ufeffdata: a\r\rid\r\n:\n\ndata\n\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		all, err := readAll(bytes.NewReader(b))
		if !errors.Is(err, io.EOF) {
			t.Fatalf("error %v", err)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		part, _ := readAll(iotest.OneByteReader(bytes.NewReader(b[:cut])))
		if len(part) > len(all) || !slices.Equal(part, all[:len(part)]) {
			t.Fatalf("%q cut at %d gives %+v, whole %+v", b, cut, part, all)
		}
		for _, one := range all {
			_, _ = decode(one)
		}
	})
}

// Whatever a node sends, what was shown only grows, but for restarts that are
// told, and a piece shown is in the log's text.
func FuzzSight(f *testing.F) {
	f.Add([]byte("\x00\x00abc\x00\x03def\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		shown := ""
		s := sight{turn: "t", on: func(p Piece) error {
			if p.Restart {
				shown = ""
			}
			shown += p.Text
			return nil
		}}
		var a Answer
		for len(b) > 2 {
			kind, at, n := b[0]%4, int(b[1]%16), min(int(b[2]%8), len(b)-3)
			text := string(b[3 : 3+n])
			b = b[3+n:]
			e := Event{}
			switch kind {
			case 0, 1:
				e.Delta = &Delta{"t", at, strings.ToValidUTF8(text, "?")}
			case 2:
				e.Resumed = &Resumed{Turn: "t", Offset: at, Policy: []string{"quick", "restart"}[n%2]}
			case 3:
				e.Turn = &Turn{Turn: "t", State: Running}
			}
			if s.take(e, &a) != nil {
				return
			}
			if shown != string(s.shown.text) {
				t.Fatalf("shown %q, remembered %q", shown, s.shown.text)
			}
		}
	})
}

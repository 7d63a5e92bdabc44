package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/lm"
)

func TestFramesComeBack(t *testing.T) {
	var buf bytes.Buffer
	w := NewWriter(&buf, MaxToParent)
	temp := 0.5
	req := Generate{
		ID: 7, Messages: []lm.Message{{Role: lm.User, Text: "hi\n世界"}},
		Params: lm.Params{MaxTokens: 3, Temperature: &temp, Stop: []string{"x"}},
		Prefix: &Prefix{Text: "a", Tokens: []int32{1, 2}, Policy: lm.Exact, Sampled: 2}, Session: "s",
	}
	chunk := Chunk{ID: 1 << 40, Tokens: []int32{0, 1, 49151, 1<<31 - 1}, Text: "né"}
	if err := errors.Join(w.Send(KindGenerate, req), w.Chunk(chunk.ID, chunk.Tokens, chunk.Text), w.Chunk(2, nil, ""), w.Flush()); err != nil {
		t.Fatal(err)
	}
	r := NewReader(iotestOneByte{&buf}, MaxToParent)
	kind, payload, err := r.Next()
	if err != nil || kind != KindGenerate {
		t.Fatalf("kind %d, %v", kind, err)
	}
	var got Generate
	if err := Decode(payload, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(req, got); d != "" {
		t.Error(d)
	}
	for _, want := range []Chunk{chunk, {ID: 2}} {
		kind, payload, err = r.Next()
		if err != nil || kind != KindChunk {
			t.Fatalf("kind %d, %v", kind, err)
		}
		c, err := DecodeChunk(payload)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Error(d)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	frame := func(n uint32, rest string) io.Reader {
		return io.MultiReader(bytes.NewReader(binary.LittleEndian.AppendUint32(nil, n)), strings.NewReader(rest))
	}
	for name, tt := range map[string]struct {
		in   io.Reader
		want error
	}{
		"too long":       {frame(1<<31, "x"), ErrTooLong},
		"no kind":        {frame(0, ""), ErrTooLong},
		"cut in length":  {strings.NewReader("ab"), io.ErrUnexpectedEOF},
		"cut in payload": {frame(10, "abc"), io.ErrUnexpectedEOF},
		"text":           {strings.NewReader("panic: something in the library"), ErrTooLong},
	} {
		if _, _, err := NewReader(tt.in, MaxToParent).Next(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := NewWriter(io.Discard, 10).Chunk(1, nil, strings.Repeat("x", 10)); !errors.Is(err, ErrTooLong) {
		t.Errorf("long frame: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	var buf bytes.Buffer
	w := NewWriter(&buf, MaxToParent)
	_ = w.Chunk(3, []int32{1, 2}, "text")
	_ = w.Send(KindDone, Done{ID: 3, Finish: lm.FinishStop})
	_ = w.Flush()
	f.Add(buf.Bytes())
	f.Add([]byte{1, 0, 0, 0, byte(KindPong)})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), 1<<16)
		for {
			kind, payload, err := r.Next()
			if err != nil {
				return
			}
			if kind != KindChunk {
				continue
			}
			c, err := DecodeChunk(payload)
			if err != nil {
				continue
			}
			var out bytes.Buffer
			w := NewWriter(&out, 1<<20)
			if err := errors.Join(w.Chunk(c.ID, c.Tokens, c.Text), w.Flush()); err != nil {
				t.Fatal(err)
			}
			_, again, err := NewReader(&out, 1<<20).Next()
			if err != nil {
				t.Fatal(err)
			}
			c2, err := DecodeChunk(again)
			if err != nil || !cmp.Equal(c, c2) {
				t.Fatalf("%v became %v, %v", c, c2, err)
			}
		}
	})
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

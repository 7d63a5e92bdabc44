// Package wire is what the engine's parent and child say to each other over
// their private pipes. What may live here: the frames, their limits and their
// coding; no behaviour.
//
// A frame is four bytes of length (little endian, of what follows), one byte
// of kind, and the payload: JSON, except Chunk, which is sent for every token
// and is packed. Both sides distrust the other: lengths are bounded, and a
// frame that does not decode is an error that ends the connection.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Version changes when a frame's meaning does. Parent and child are the same
// binary, so a difference means that the binary was replaced under a running
// node.
const Version = 1

// Limits of a frame's length.
const (
	MaxToChild  = 32 << 20
	MaxToParent = 8 << 20
)

// Kind of a frame.
type Kind byte

// The frames. The parent sends Generate to Ping, the child Hello to Pong.
const (
	KindGenerate Kind = 1 + iota
	KindCancel
	KindEmbed
	KindCount
	KindPing
)

// The child's frames.
const (
	KindHello Kind = 65 + iota
	KindProgress
	KindReady
	KindFatal
	KindChunk
	KindDone
	KindPong
)

// Generate asks for an answer. IDs are the parent's and never used twice.
type Generate struct {
	ID       uint64       `json:"id"`
	Messages []lm.Message `json:"messages,omitempty"`
	Prompt   string       `json:"prompt,omitempty"`
	Params   lm.Params    `json:"params"`
	Prefix   *Prefix      `json:"prefix,omitempty"`
	Session  string       `json:"session,omitempty"`
}

// Prefix is lm.Prefix.
type Prefix struct {
	Text    string    `json:"text"`
	Tokens  []int32   `json:"tokens,omitempty"`
	Policy  lm.Policy `json:"policy"`
	Sampled int       `json:"sampled,omitempty"`
}

// Cancel ends an answer, an embedding or a count. A Done follows all the same.
type Cancel struct {
	ID uint64 `json:"id"`
}

// Embed asks for one vector of each input.
type Embed struct {
	ID     uint64   `json:"id"`
	Inputs []string `json:"inputs"`
}

// Count asks how many tokens a prompt takes.
type Count struct {
	ID       uint64       `json:"id"`
	Messages []lm.Message `json:"messages,omitempty"`
	Prompt   string       `json:"prompt,omitempty"`
}

// Ping asks for a Pong.
type Ping struct {
	Seq uint64 `json:"seq"`
}

// Hello is the child's first frame.
type Hello struct {
	Version int `json:"version"`
}

// Progress of loading the model, 0 to 1.
type Progress struct {
	Loaded float32 `json:"loaded"`
}

// Ready says what was loaded.
type Ready struct {
	Library  string `json:"library"`
	Model    string `json:"model"`
	Window   int    `json:"window"`
	Slots    int    `json:"slots"`
	Threads  int    `json:"threads"`
	Template bool   `json:"template"` // chat messages can be rendered
}

// Fatal is the child's last frame: it can't go on.
type Fatal struct {
	Message string `json:"message"`
}

// Chunk is the next piece of an answer.
type Chunk struct {
	ID     uint64
	Tokens []int32
	Text   string
}

// Done ends what an id asked for. Code is empty if it went well.
type Done struct {
	ID      uint64      `json:"id"`
	Code    fault.Code  `json:"code,omitempty"`
	Message string      `json:"message,omitempty"`
	Finish  lm.Finish   `json:"finish,omitempty"`
	Usage   lm.Usage    `json:"usage"`
	Count   int         `json:"count,omitempty"`
	Vectors [][]float32 `json:"vectors,omitempty"`
}

// Pong answers a Ping: what the decode loop is about, as it is when the ping
// is read. Steps grows with every decode.
type Pong struct {
	Seq    uint64 `json:"seq"`
	Steps  uint64 `json:"steps"`
	Tokens uint64 `json:"tokens"`
	Active int    `json:"active"`
	Queued int    `json:"queued"`
}

// Busy says that the child has something to compute.
func (p Pong) Busy() bool { return p.Active+p.Queued > 0 }

// Writer writes frames. It belongs to one goroutine at a time.
type Writer struct {
	w   *bufio.Writer
	max int
	buf []byte
}

// NewWriter returns a writer of frames of at most maxLen bytes.
func NewWriter(w io.Writer, maxLen int) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 64<<10), max: maxLen}
}

// ErrTooLong says that a frame is over its limit; nothing was written.
var ErrTooLong = errors.New("frame is too long")

func (w *Writer) frame(kind Kind, payload []byte) error {
	if len(payload)+1 > w.max {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, len(payload)+1, w.max)
	}
	var head [5]byte
	binary.LittleEndian.PutUint32(head[:4], uint32(len(payload)+1))
	head[4] = byte(kind)
	if _, err := w.w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.w.Write(payload)
	return err
}

// Send adds a JSON frame; Flush sends it off.
func (w *Writer) Send(kind Kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame %d: %w", kind, err)
	}
	return w.frame(kind, payload)
}

// Chunk adds a Chunk frame; Flush sends it off.
func (w *Writer) Chunk(id uint64, tokens []int32, text string) error {
	b := binary.AppendUvarint(w.buf[:0], id)
	b = binary.AppendUvarint(b, uint64(len(tokens)))
	for _, t := range tokens {
		b = binary.AppendUvarint(b, uint64(uint32(t)))
	}
	b = append(b, text...)
	w.buf = b
	return w.frame(KindChunk, b)
}

// Flush sends what was added.
func (w *Writer) Flush() error { return w.w.Flush() }

// Reader reads frames. It belongs to one goroutine.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// NewReader returns a reader of frames of at most maxLen bytes.
func NewReader(r io.Reader, maxLen int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), max: maxLen}
}

// Next returns the next frame. The payload is valid until the next call.
// io.EOF means that the other side closed between two frames.
func (r *Reader) Next() (Kind, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n < 1 || n > r.max {
		return 0, nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLong, n, r.max)
	}
	// Grown in steps, so that a wrong length costs no more than what arrives.
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		at := len(r.buf)
		step := min(n-at, 1<<20)
		if cap(r.buf) < at+step {
			r.buf = append(make([]byte, 0, max(2*cap(r.buf), at+step)), r.buf...)
		}
		r.buf = r.buf[:at+step]
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			return 0, nil, fmt.Errorf("read frame: %w", noEOF(err))
		}
	}
	return Kind(r.buf[0]), r.buf[1:], nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Decode reads a JSON payload into v.
func Decode(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

// DecodeChunk reads a Chunk.
func DecodeChunk(payload []byte) (Chunk, error) {
	id, n := binary.Uvarint(payload)
	if n <= 0 {
		return Chunk{}, errors.New("decode chunk: no id")
	}
	payload = payload[n:]
	count, n := binary.Uvarint(payload)
	if n <= 0 || count > uint64(len(payload)) {
		return Chunk{}, errors.New("decode chunk: wrong number of tokens")
	}
	payload = payload[n:]
	c := Chunk{ID: id}
	if count > 0 {
		c.Tokens = make([]int32, count)
	}
	for i := range c.Tokens {
		t, n := binary.Uvarint(payload)
		if n <= 0 || t > 1<<31-1 {
			return Chunk{}, errors.New("decode chunk: wrong token")
		}
		c.Tokens[i], payload = int32(t), payload[n:]
	}
	if !utf8.Valid(payload) {
		return Chunk{}, errors.New("decode chunk: text is not UTF-8")
	}
	c.Text = string(payload)
	return c, nil
}

package nlu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/vectors"
)

// A model file is a head (magic, version, the body's length and CRC-32C), then
// the body: numbers as varints or little-endian floats, texts and lists behind
// their lengths, in the order of encode. A reader believes nothing: no length
// makes it allocate more than the body could fill.
const (
	fileMagic   = "PNLU"
	fileVersion = 4
	headSize    = 4 + 2 + 8 + 4
	mostFile    = 512 << 20
)

// ErrFile is wrapped by every error of Read that the file is to blame for.
var ErrFile = errors.New("not a usable model file")

// WriteTo writes the model. The same model gives the same bytes.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	body := m.encode(nil)
	head := []byte(fileMagic)
	head = binary.LittleEndian.AppendUint16(head, fileVersion)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(body)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	var sum int64
	for _, part := range [][]byte{head, body} {
		n, err := w.Write(part)
		sum += int64(n)
		if err != nil {
			return sum, fmt.Errorf("write a model: %w", err)
		}
	}
	return sum, nil
}

// ErrEncoder means that a model of the accurate tier was read without the
// sentence encoder that it was made with.
var ErrEncoder = errors.New("it is of the accurate tier and needs its sentence encoder")

// Read reads a model that WriteTo wrote. What comes after it in r is left
// there. A model of the accurate tier is ErrEncoder: see ReadWith.
func Read(r io.Reader) (*Model, error) {
	return ReadWith(r, func(uint32) (*encoder.Encoder, error) { return nil, ErrEncoder })
}

// ReadWith is Read with a way to the sentence encoder, which is called if the
// model needs one, with the checksum of the one it was made with.
func ReadWith(r io.Reader, find func(sum uint32) (*encoder.Encoder, error)) (*Model, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read a model: %w: it is too short (%w)", ErrFile, err)
	}
	if string(head[:4]) != fileMagic {
		return nil, fmt.Errorf("read a model: %w: it does not begin with %s", ErrFile, fileMagic)
	}
	if v := binary.LittleEndian.Uint16(head[4:]); v != fileVersion {
		return nil, fmt.Errorf("read a model: %w: it has version %d, this program reads %d: train it again", ErrFile, v, fileVersion)
	}
	size := binary.LittleEndian.Uint64(head[6:])
	if size > mostFile {
		return nil, fmt.Errorf("read a model: %w: %d bytes are more than the %d allowed", ErrFile, size, mostFile)
	}
	// The buffer grows with what really comes, not with what the head says.
	var body bytes.Buffer
	if n, err := io.Copy(&body, io.LimitReader(r, int64(size))); err != nil {
		return nil, fmt.Errorf("read a model: %w", err)
	} else if n != int64(size) {
		return nil, fmt.Errorf("read a model: %w: it ends after %d of %d bytes", ErrFile, n, size)
	}
	if crc32.Checksum(body.Bytes(), crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(head[14:]) {
		return nil, fmt.Errorf("read a model: %w: its checksum is wrong, so it is damaged", ErrFile)
	}
	return decode(body.Bytes(), find)
}

func (m *Model) encode(b []byte) []byte {
	b = appendStrings(b, m.intents)
	sp := &m.space
	b = append(b, byte(btoi(sp.words != nil)), byte(btoi(sp.sentences != nil)))
	if sp.words != nil {
		b = binary.LittleEndian.AppendUint32(b, sp.words.Sum())
	}
	if sp.sentences != nil {
		b = binary.LittleEndian.AppendUint32(b, sp.sentences.Sum())
	}
	b = sp.hints.encode(b)
	b = appendHashes(b, sp.lex.list)
	b = appendFloats(b, sp.idf)
	b = appendFloats(b, m.linear.scale)
	b = appendFloats(b, m.linear.bias)
	b = appendFloats(b, m.linear.dense)
	for _, q := range m.linear.rows {
		b = append(b, byte(q))
	}
	for _, v := range append([]float64{m.belief.sharp, m.belief.divided}, m.belief.doubt[:]...) {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	t := &m.tags
	b = appendStrings(b, t.types)
	if len(t.types) == 0 {
		return b
	}
	for _, a := range t.allowed {
		b = appendShorts(b, a)
	}
	b = appendHashes(b, t.names.list)
	b = appendCounts(b, t.nameStart)
	b = appendShorts(b, t.nameTypes)
	b = appendHashes(b, t.lex.list)
	b = appendCounts(b, t.start)
	b = appendShorts(b, t.tag)
	for _, q := range t.weight {
		b = append(b, byte(q))
	}
	b = appendFloats(b, t.scale)
	return appendFloats(b, t.follow)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func appendHashes(b []byte, list []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, h := range list {
		b = binary.LittleEndian.AppendUint32(b, h)
	}
	return b
}

func appendShorts(b []byte, list []uint16) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, v := range list {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// appendCounts writes ascending places as the steps between them; how many
// there are the reader knows.
func appendCounts(b []byte, starts []uint32) []byte {
	for i := 1; i < len(starts); i++ {
		b = binary.AppendUvarint(b, uint64(starts[i]-starts[i-1]))
	}
	return b
}

func appendFloats(b []byte, list []float32) []byte {
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func decode(body []byte, find func(sum uint32) (*encoder.Encoder, error)) (*Model, error) {
	c := &cursor{b: body}
	m := &Model{}
	m.intents = c.strings(mostIntents)
	if c.err == nil && len(m.intents) == 0 {
		c.fail("it has no intents")
	}
	m.none = slices.Index(m.intents, corpus.None)
	if err := m.decodeSpace(c, find); err != nil {
		return nil, err
	}
	n := len(m.intents)
	feats := len(m.space.lex.list)
	l := &m.linear
	l.scale = c.floats(feats)
	l.bias = c.floats(n)
	l.dense = c.floats(m.space.dim * n)
	l.rows = c.signed(feats * n)
	b := &m.belief
	b.sharp, b.divided = c.double(), c.double()
	for i := range b.doubt {
		b.doubt[i] = c.double()
	}
	m.tags.decode(c, n)
	if c.err == nil && len(c.b) > 0 {
		c.fail(fmt.Sprintf("%d bytes are left over", len(c.b)))
	}
	if c.err != nil {
		return nil, fmt.Errorf("read a model: %w: %w", ErrFile, c.err)
	}
	return m, nil
}

func (m *Model) decodeSpace(c *cursor, find func(sum uint32) (*encoder.Encoder, error)) error {
	sp := &m.space
	words, sentences := c.number(1) > 0, c.number(1) > 0
	if words {
		table, err := vectors.English()
		if err != nil {
			return fmt.Errorf("read a model: %w", err)
		}
		if sum := c.uint32(); c.err == nil && sum != table.Sum() {
			c.fail("it was made with other word vectors than this program has: train it again")
		}
		sp.words, sp.dim = table, table.Dim()
	}
	if sentences {
		sum := c.uint32()
		e, err := find(sum)
		if err != nil {
			return fmt.Errorf("read a model: %w", err)
		}
		if e.Sum() != sum {
			c.fail("it was made with another sentence encoder: train it again")
		}
		sp.sentences, sp.dim = e, e.Dim()
	}
	sp.hints.decode(c)
	sp.lex = newLexicon(c.hashes())
	sp.idf = c.floats(len(sp.lex.list))
	return nil
}

func (t *tagger) decode(c *cursor, intents int) {
	t.types = c.strings(mostTypes)
	if len(t.types) == 0 || c.err != nil {
		return
	}
	n := len(t.types)
	for range intents {
		t.allowed = append(t.allowed, c.shorts(n))
	}
	t.names = newLexicon(c.hashes())
	t.nameStart = c.counts(len(t.names.list))
	t.nameTypes = c.shorts(n)
	t.lex = newLexicon(c.hashes())
	t.start = c.counts(len(t.lex.list))
	t.tag = c.shorts(t.tags())
	t.weight = c.signed(len(t.tag))
	t.scale = c.floats(len(t.lex.list))
	t.follow = c.floats(t.tags() * t.tags())
	if c.err == nil && (int(t.nameStart[len(t.nameStart)-1]) != len(t.nameTypes) || int(t.start[len(t.start)-1]) != len(t.tag)) {
		c.fail("its lists of weights don't fit together")
	}
}

// cursor takes a body apart. After the first fault everything is empty.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(why string) {
	if c.err == nil {
		c.err = errors.New(why)
	}
	c.b = nil
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.fail("it is cut off inside")
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) number(most int) int {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail("it is cut off inside")
		return 0
	}
	c.b = c.b[n:]
	if v > uint64(most) {
		c.fail(fmt.Sprintf("%d is more than the %d allowed there", v, most))
		return 0
	}
	return int(v)
}

func (c *cursor) uint32() uint32 {
	b := c.take(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (c *cursor) double() float64 {
	b := c.take(8)
	if b == nil {
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(b))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		c.fail("a number in it is none")
	}
	return v
}

// strings reads names that ascend.
func (c *cursor) strings(most int) []string {
	var out []string
	for range c.number(most) {
		s := string(c.take(c.number(longestName)))
		if c.err != nil {
			return nil
		}
		if s == "" || len(out) > 0 && s <= out[len(out)-1] {
			c.fail("its names are not in order")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// hashes reads the features of a lexicon, each once and none 0.
func (c *cursor) hashes() []uint32 {
	n := c.number(len(c.b) / 4)
	b := c.take(4 * n)
	out := make([]uint32, len(b)/4)
	for i := range out {
		if out[i] = binary.LittleEndian.Uint32(b[4*i:]); out[i] == 0 {
			c.fail("a feature in it has the number 0")
			return nil
		}
	}
	return out
}

// shorts reads a list of numbers below limit.
func (c *cursor) shorts(limit int) []uint16 {
	n := c.number(len(c.b) / 2)
	b := c.take(2 * n)
	out := make([]uint16, len(b)/2)
	for i := range out {
		if out[i] = binary.LittleEndian.Uint16(b[2*i:]); int(out[i]) >= limit {
			c.fail("a number in it is too large")
			return nil
		}
	}
	return out
}

// counts reads n steps and returns the n+1 places between them.
func (c *cursor) counts(n int) []uint32 {
	if n > len(c.b) {
		c.fail("it is cut off inside")
		n = 0
	}
	out := make([]uint32, 1, n+1)
	for range n {
		out = append(out, out[len(out)-1]+uint32(c.number(1<<20)))
		if out[len(out)-1] < out[len(out)-2] || out[len(out)-1] > mostFile {
			c.fail("its lists are too long")
		}
	}
	return out
}

func (c *cursor) signed(n int) []int8 {
	b := c.take(n)
	out := make([]int8, len(b))
	for i, v := range b {
		out[i] = int8(v)
	}
	return out
}

func (c *cursor) floats(n int) []float32 {
	b := c.take(4 * n)
	out := make([]float32, len(b)/4)
	for i := range out {
		bits := binary.LittleEndian.Uint32(b[4*i:])
		if bits&0x7F800000 == 0x7F800000 {
			c.fail("a number in it is none")
			return nil
		}
		out[i] = math.Float32frombits(bits)
	}
	return out
}

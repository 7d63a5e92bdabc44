package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/finder"
)

// A model's file is what nlu writes and, if there is a project, its
// definitions behind it: a head (magic, version, length and CRC-32C of the rest)
// and JSON. A file without definitions ends after the first part.
const (
	defMagic        = "PDEF"
	defVersion      = 1
	defHead         = 4 + 2 + 8 + 4
	mostDefinitions = 64 << 20
)

// WriteTo writes the model. The same model gives the same bytes.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	n, err := m.learned.WriteTo(w)
	if err != nil || m.project == nil {
		return n, err
	}
	body, err := json.Marshal(m.project)
	if err != nil {
		return n, fmt.Errorf("write a model: %w", err)
	}
	if len(body) > mostDefinitions {
		return n, fmt.Errorf("write a model: its definitions have more than %d MiB", mostDefinitions>>20)
	}
	head := []byte(defMagic)
	head = binary.LittleEndian.AppendUint16(head, defVersion)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(body)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	for _, part := range [][]byte{head, body} {
		k, err := w.Write(part)
		n += int64(k)
		if err != nil {
			return n, fmt.Errorf("write a model: %w", err)
		}
	}
	return n, nil
}

// Read reads a model that WriteTo wrote, to the end of r. find gets the
// sentence encoder with a checksum, for a model of the accurate tier; nil: such
// a model is nlu.ErrEncoder. Errors that the file is to blame for wrap
// nlu.ErrFile.
func Read(r io.Reader, find func(sum uint32) (*encoder.Encoder, error)) (*Model, error) {
	if find == nil {
		find = func(uint32) (*encoder.Encoder, error) { return nil, nlu.ErrEncoder }
	}
	sum := sha256.New()
	r = io.TeeReader(r, sum)
	learned, err := nlu.ReadWith(r, find)
	if err != nil {
		return nil, err
	}
	p, err := readDefinitions(r)
	if err != nil {
		return nil, fmt.Errorf("read a model: %w", err)
	}
	var f *finder.Finder
	if p != nil {
		if f, err = finder.New(p); err != nil {
			return nil, fmt.Errorf("read a model: %w: its definitions are wrong: %w", nlu.ErrFile, err)
		}
	}
	m := assemble(learned, p, f)
	m.version = versionOf(sum)
	return m, nil
}

// readDefinitions returns nil where there are none.
func readDefinitions(r io.Reader) (*corpus.Project, error) {
	var head [defHead]byte
	switch n, err := io.ReadFull(r, head[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: its definitions are cut off", nlu.ErrFile)
	case err != nil:
		return nil, err
	}
	if string(head[:4]) != defMagic {
		return nil, fmt.Errorf("%w: what stands behind its weights is no definitions", nlu.ErrFile)
	}
	if v := binary.LittleEndian.Uint16(head[4:]); v != defVersion {
		return nil, fmt.Errorf("%w: its definitions have version %d, this program reads %d: train it again", nlu.ErrFile, v, defVersion)
	}
	size := binary.LittleEndian.Uint64(head[6:])
	if size > mostDefinitions {
		return nil, fmt.Errorf("%w: %d bytes of definitions are more than the %d allowed", nlu.ErrFile, size, mostDefinitions)
	}
	// One byte more, so that what follows is seen.
	body, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	switch {
	case err != nil:
		return nil, err
	case uint64(len(body)) != size:
		return nil, fmt.Errorf("%w: its definitions have %d bytes and not the %d they should", nlu.ErrFile, len(body), size)
	case crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(head[14:]):
		return nil, fmt.Errorf("%w: the checksum of its definitions is wrong, so it is damaged", nlu.ErrFile)
	}
	p := new(corpus.Project)
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%w: its definitions can't be read: %w", nlu.ErrFile, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: there is something behind its definitions", nlu.ErrFile)
	}
	return p, nil
}

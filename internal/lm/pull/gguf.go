package pull

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

var errNotGGUF = errors.New("not a GGUF file")

// CheckGGUF looks at a file's first bytes: the magic, a version that
// llama.cpp reads, and counts that could be true. It does not prove that the
// rest is whole.
func CheckGGUF(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open model: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open model: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", errNotGGUF)
	}
	head := make([]byte, 24)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read model: %w", err)
	}
	return checkGGUF(head[:n], st.Size())
}

// checkGGUF checks the header of a file of size bytes.
func checkGGUF(head []byte, size int64) error {
	if len(head) < 24 || string(head[:4]) != "GGUF" {
		return fmt.Errorf("%w: it does not begin with the letters GGUF", errNotGGUF)
	}
	version := binary.LittleEndian.Uint32(head[4:])
	if version < 2 || version > 3 {
		return fmt.Errorf("%w: its version is %d, known are 2 and 3", errNotGGUF, version)
	}
	tensors := binary.LittleEndian.Uint64(head[8:])
	pairs := binary.LittleEndian.Uint64(head[16:])
	// A tensor's description takes at least 24 bytes, a pair's 13.
	if room := uint64(max(size, 0)); tensors == 0 || tensors > room/24 || pairs > room/13 {
		return fmt.Errorf("%w: it claims %d tensors and %d fields in %d bytes", errNotGGUF, tensors, pairs, size)
	}
	return nil
}

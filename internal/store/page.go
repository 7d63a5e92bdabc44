package store

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits of pages and searches.
const (
	defaultPage, maxPage   = 50, 500
	defaultFound, maxFound = 20, 200
	cursorVersion          = 1
	maxCursorID            = 256
)

// PageLimit returns the page size that a caller gets for what he asked.
func PageLimit(asked int) int { return clamp(asked, defaultPage, maxPage) }

// SearchLimit returns how many hits a caller gets for what he asked.
func SearchLimit(asked int) int { return clamp(asked, defaultFound, maxFound) }

func clamp(asked, normal, most int) int {
	if asked < 1 {
		return normal
	}
	return min(asked, most)
}

// Cursor is where a page of conversations ended: what comes after it is older,
// or as old with a smaller id.
type Cursor struct {
	Updated int64 // as Nanos gives it
	ID      string
}

// String returns the cursor as clients carry it.
func (c Cursor) String() string {
	b := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.Updated))
	return base64.RawURLEncoding.EncodeToString(append(b, c.ID...))
}

// ParseCursor reads what String made; anything else is Invalid.
func ParseCursor(s string) (Cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 10 || len(b) > 9+maxCursorID || b[0] != cursorVersion {
		return Cursor{}, fault.New(fault.Invalid, "the cursor is not one that a page returned; begin again without one")
	}
	return Cursor{Updated: int64(binary.BigEndian.Uint64(b[1:9])), ID: string(b[9:])}, nil
}

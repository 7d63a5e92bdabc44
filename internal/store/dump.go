package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
)

// Row is one row of a dump; exactly one field is set.
type Row struct {
	Conversation *Conversation `json:"conversation,omitempty"`
	Chosen       bool          `json:"chosen,omitempty"` // the conversation's title was chosen by the user
	Activity     *ActivityRow  `json:"activity,omitempty"`
	Turn         *TurnRow      `json:"turn,omitempty"`
	Stream       string        `json:"stream,omitempty"`
	Position     *Position     `json:"position,omitempty"`
}

// DumpLine returns the row as one line of JSON.
func DumpLine(r Row) (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode row: %w", err)
	}
	return string(b), nil
}

// IsPosition reports whether a dump's line tells a position: how far the store
// is, not what is in it.
func IsPosition(line string) bool { return strings.HasPrefix(line, `{"stream":`) }

// EncodeActivity returns the bytes that a store keeps of an activity.
func EncodeActivity(a activity.Activity) ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode activity: %w", err)
	}
	return b, nil
}

// DecodeActivity reads what EncodeActivity wrote.
func DecodeActivity(b []byte) (activity.Activity, error) {
	var a activity.Activity
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("decode activity: %w", err)
	}
	return a, nil
}

// Nanos returns a time as drivers keep it: nanoseconds since 1970, 0 for the
// zero time.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// FromNanos is the inverse of Nanos.
func FromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

package channel

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/fault"
)

// Read reads an activity that a client or a bot sends. It leaves out what only
// the server may say, and fields that say nothing: a bot may take null amiss.
func Read(b []byte) (activity.Activity, error) {
	var a activity.Activity
	if !utf8.Valid(b) || json.Unmarshal(b, &a) != nil {
		return activity.Activity{}, fault.New(fault.Invalid, "the body must be an activity: a JSON object in UTF-8, its fields of the kinds that the Activity schema says")
	}
	if a.Type == "" || len(a.Type) > 64 {
		return activity.Activity{}, fault.New(fault.Invalid, `an activity needs a "type", for example "message"`)
	}
	a.ID, a.ChannelID, a.Timestamp, a.Recipient, a.Conversation = "", "", time.Time{}, nil, nil
	if string(a.ChannelData) == "null" {
		a.ChannelData = nil
	}
	for name, v := range a.Extra {
		if string(v) == "null" || name == "" || strings.HasPrefix(name, "_") || strings.EqualFold(name, "serviceUrl") || strings.EqualFold(name, "callerId") {
			delete(a.Extra, name)
		}
	}
	return a, nil
}

// ActivityID is the name by which clients and bots know what stands at a
// position of a conversation.
func ActivityID(conv string, pos uint64) string {
	n := strconv.FormatUint(pos, 10)
	return conv + "|" + strings.Repeat("0", max(0, 7-len(n))) + n
}

// PositionOf is the inverse of ActivityID; 0 if id is no name of this
// conversation.
func PositionOf(conv, id string) uint64 {
	n, ok := strings.CutPrefix(id, conv+"|")
	if !ok || len(n) < 7 {
		return 0
	}
	pos, err := strconv.ParseUint(n, 10, 64)
	if err != nil || ActivityID(conv, pos) != id {
		return 0
	}
	return pos
}

// WithBase makes the addresses of files whole that this service keeps: in the
// log they are paths.
func WithBase(attachments json.RawMessage, base string) json.RawMessage {
	if !bytes.Contains(attachments, []byte(`"/`)) {
		return attachments
	}
	var all []map[string]json.RawMessage
	if json.Unmarshal(attachments, &all) != nil {
		return attachments
	}
	for _, x := range all {
		for _, field := range []string{"contentUrl", "thumbnailUrl"} {
			var u string
			if json.Unmarshal(x[field], &u) == nil && strings.HasPrefix(u, "/") && !strings.HasPrefix(u, "//") {
				if whole, err := json.Marshal(base + u); err == nil {
					x[field] = whole
				}
			}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return attachments
	}
	return b
}

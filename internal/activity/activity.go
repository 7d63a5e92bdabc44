// Package activity is the one word for anything said or done in a
// conversation: the Bot Framework's Activity, an open, documented schema.
// Fields that Parley does not know pass through untouched.
package activity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types that Parley makes itself. Others pass through.
const (
	TypeMessage = "message"
	TypeTyping  = "typing"
	TypeEvent   = "event"
	// TypeReaction says what somebody thinks of the activity in replyToId, in
	// the fields reactionsAdded and reactionsRemoved.
	TypeReaction = "messageReaction"
	// TypeUpdate says who has come and gone: a bot greets on it.
	TypeUpdate = "conversationUpdate"
	// TypeDelete stands in the place of what was taken back.
	TypeDelete = "messageDelete"
	// TypeInvoke asks a bot for something and waits for its TypeInvokeResponse.
	TypeInvoke         = "invoke"
	TypeInvokeResponse = "invokeResponse"
	// TypeEnd ends what a bot was there for.
	TypeEnd = "endOfConversation"
)

// Account says who or what takes part: a user, a bot, a conversation.
type Account struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"` // "user" or "bot"
}

// Activity is one thing said or done. JSON decoding keeps unknown fields in
// Extra and encoding writes them back; a known field wins over Extra.
type Activity struct {
	Type         string          `json:"type"`
	ID           string          `json:"id,omitempty"`
	Timestamp    time.Time       `json:"timestamp,omitzero"`
	ChannelID    string          `json:"channelId,omitempty"`
	From         *Account        `json:"from,omitempty"`
	Recipient    *Account        `json:"recipient,omitempty"`
	Conversation *Account        `json:"conversation,omitempty"`
	ReplyToID    string          `json:"replyToId,omitempty"`
	Text         string          `json:"text,omitempty"`
	TextFormat   string          `json:"textFormat,omitempty"`
	Locale       string          `json:"locale,omitempty"`
	ChannelData  json.RawMessage `json:"channelData,omitempty"`

	Extra map[string]json.RawMessage `json:"-"`
}

// known has Activity's fields without its methods.
type known Activity

var knownFields = []string{
	"type", "id", "timestamp", "channelId", "from", "recipient",
	"conversation", "replyToId", "text", "textFormat", "locale", "channelData",
}

// isKnown compares as decoding does, without regard to case: a second spelling
// of a known field must not win over it when it is read back.
func isKnown(name string) bool {
	return slices.ContainsFunc(knownFields, func(k string) bool { return strings.EqualFold(k, name) })
}

// UnmarshalJSON reads an activity and keeps the fields it does not know.
func (a *Activity) UnmarshalJSON(b []byte) error {
	var k known
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for name := range all {
		if isKnown(name) {
			delete(all, name)
		}
	}
	*a = Activity(k)
	if len(all) > 0 {
		a.Extra = all
	}
	return nil
}

// MarshalJSON writes the known fields first, then Extra by name.
func (a Activity) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(known(a))
	if err != nil || len(a.Extra) == 0 {
		return b, err
	}
	extra := make(map[string]json.RawMessage, len(a.Extra))
	for name, v := range a.Extra {
		if !isKnown(name) {
			extra[name] = v
		}
	}
	if len(extra) == 0 {
		return b, nil
	}
	e, err := json.Marshal(extra)
	if err != nil {
		return nil, fmt.Errorf("encode unknown activity fields: %w", err)
	}
	var out bytes.Buffer
	out.Grow(len(b) + len(e))
	out.Write(b[:len(b)-1])
	out.WriteByte(',')
	out.Write(e[1:])
	return out.Bytes(), nil
}

// Meta is what Parley adds to an activity, under channelData.parley.
type Meta struct {
	Parent  string `json:"parent"`            // id of the activity it follows, "" for the first: activities form a tree
	Turn    string `json:"turn,omitempty"`    // the turn it asks for or answers
	Edits   string `json:"edits,omitempty"`   // id of the activity that it replaces in a new branch
	Model   string `json:"model,omitempty"`   // of an answer
	Engine  string `json:"engine,omitempty"`  // of an answer
	Region  string `json:"region,omitempty"`  // that gave the answer
	Finish  string `json:"finish,omitempty"`  // of an answer: why it ended
	Attempt int    `json:"attempt,omitempty"` // of an answer: attempts it took
	Demo    bool   `json:"demo,omitempty"`    // not from a language model

	// Continues says of an answer that its engine can write on where it ended.
	Continues     bool           `json:"continues,omitempty"`
	Understanding *Understanding `json:"understanding,omitempty"` // of a user's message

	// Of what a bot says piece by piece: StreamPart, StreamNote or StreamEnd, and
	// the position in the log of the piece that began it, 0 = this one does.
	StreamType string `json:"streamType,omitempty"`
	Stream     uint64 `json:"stream,omitempty"`
}

// The kinds of piece of which a bot's streamed answer consists.
const (
	StreamNote = "informative" // what the bot is doing; no part of the answer
	StreamPart = "streaming"   // the whole text so far
	StreamEnd  = "final"
)

// Understanding is what was understood of a message, for whoever reads the
// conversation later: nobody has to understand it again, or could do it
// otherwise.
type Understanding struct {
	Model    string   `json:"model"` // APP@VERSION
	Intent   string   `json:"intent"`
	Score    float64  `json:"score"`              // of Intent, 0..1
	Entities []Entity `json:"entities,omitempty"` // in their order in the text, apart from each other
}

// Entity is a part of a message that means something.
type Entity struct {
	Start int     `json:"start"` // Unicode code points
	End   int     `json:"end"`   // Unicode code points, exclusive
	Type  string  `json:"type"`
	Role  string  `json:"role,omitempty"`
	Text  string  `json:"text"`            // as it was said
	Name  string  `json:"name,omitempty"`  // of a list's value
	Value string  `json:"value,omitempty"` // what programs get, where that is something else
	Score float64 `json:"score,omitempty"` // 0: found by rule, not learned
}

// Meta reads what Parley added; the zero Meta if nothing or nonsense is there.
func (a *Activity) Meta() Meta {
	m, err := a.ReadMeta()
	if err != nil {
		return Meta{}
	}
	return m
}

// ReadMeta is Meta for what a client sent: nonsense under channelData.parley
// is an error. Other channel data may be anything.
func (a *Activity) ReadMeta() (Meta, error) {
	var d struct {
		Parley json.RawMessage `json:"parley"`
	}
	var m Meta
	if len(a.ChannelData) == 0 || json.Unmarshal(a.ChannelData, &d) != nil || len(d.Parley) == 0 {
		return m, nil // nothing of ours
	}
	if err := json.Unmarshal(d.Parley, &m); err != nil {
		return Meta{}, fmt.Errorf("read channelData.parley: %w", err)
	}
	return m, nil
}

// SetMeta writes m and keeps the rest of channelData if it is an object.
func (a *Activity) SetMeta(m Meta) error {
	data := map[string]json.RawMessage{}
	if len(a.ChannelData) > 0 && json.Unmarshal(a.ChannelData, &data) != nil || data == nil {
		data = map[string]json.RawMessage{}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode activity meta: %w", err)
	}
	data["parley"] = b
	if a.ChannelData, err = json.Marshal(data); err != nil {
		return fmt.Errorf("encode channel data: %w", err)
	}
	return nil
}

// FromBot reports whether a bot said it.
func (a *Activity) FromBot() bool { return a.From != nil && a.From.Role == "bot" }

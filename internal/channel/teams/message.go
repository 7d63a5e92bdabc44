package teams

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/format"
)

// message is an activity as Teams takes it.
type message struct {
	Type         string            `json:"type"`
	From         party             `json:"from"`
	Recipient    *party            `json:"recipient,omitempty"`
	Conversation place             `json:"conversation"`
	Text         string            `json:"text,omitempty"`
	TextFormat   string            `json:"textFormat,omitempty"`
	Locale       string            `json:"locale,omitempty"`
	Summary      json.RawMessage   `json:"summary,omitempty"`
	Importance   json.RawMessage   `json:"importance,omitempty"`
	Attachments  []attachment      `json:"attachments,omitempty"`
	Layout       json.RawMessage   `json:"attachmentLayout,omitempty"`
	Suggested    *suggested        `json:"suggestedActions,omitempty"`
	Entities     []json.RawMessage `json:"entities,omitempty"`
	ChannelData  json.RawMessage   `json:"channelData,omitempty"`
}

type place struct {
	ID     string `json:"id"`
	Type   string `json:"conversationType,omitempty"`
	Tenant string `json:"tenantId,omitempty"`
}

// streamInfo says which piece of which stream an activity is.
type streamInfo struct {
	Type     string `json:"type"`
	ID       string `json:"streamId,omitempty"`
	Kind     string `json:"streamType"`
	Sequence int    `json:"streamSequence,omitempty"`
}

func (i streamInfo) raw() json.RawMessage {
	b, _ := json.Marshal(i) // strings and a number can always be encoded
	return b
}

// Sizes. Microsoft has published 28, 40 and 100 KB as the most of a message,
// encoded as UTF-16: a text of this size and what belongs to it are below all.
const (
	mostText = 12_000 // UTF-16 units of a message's text
	mostNote = 1000   // bytes, and so characters, of what a bot says that it is doing
)

const inChannel = "channel"

// message begins one for the target.
func (to target) message(kind string) message {
	m := message{
		Type: kind, From: party{ID: to.at.Bot},
		Conversation: place{to.at.Conversation, to.at.Type, to.at.Tenant},
	}
	if to.at.Type == personal && to.at.User != "" {
		m.Recipient = &party{ID: to.at.User}
	}
	return m
}

// part is a growing answer as far as it has come, and whether Teams takes so
// much.
func (to target) part(p channel.Post, st shown) (m message, fits bool) {
	info := streamInfo{Type: "streaminfo", ID: p.Ref, Kind: "streaming", Sequence: st.parts + 1}
	if st.parts == 0 && p.Ref != "" { // another node has begun it; its numbers were smaller than this
		info.Sequence = max(2, p.Item.Stream.Part)
	}
	m = to.message(activity.TypeTyping)
	m.Text = strings.TrimSpace(p.Item.Activity.Text)
	if p.Item.Stream.Note {
		info.Kind, m.Text = "informative", clip(m.Text, mostNote)
	} else {
		m.Text, m.TextFormat = render(p.Item)
	}
	m.Entities = []json.RawMessage{info.raw()}
	return m, format.Length(m.Text) <= mostText
}

// sequence is the number of a part.
func (m message) sequence() int {
	var info streamInfo
	_ = json.Unmarshal(m.Entities[0], &info)
	return info.Sequence
}

// pieces are the messages that an item is in Teams. Text and attachments go
// apart: Teams would take them apart as well, and give neither a name then.
func (to target) pieces(it channel.Item) []message {
	cards, links := to.attachments(it.Activity.Extra["attachments"])
	text, textFormat := render(it)
	if len(links) > 0 {
		text = strings.TrimSpace(text + "\n\n" + strings.Join(links, "\n\n"))
		if textFormat == "plain" {
			textFormat = ""
		}
	}
	var out []message
	for _, t := range format.Split(text, mostText) {
		m := to.message(activity.TypeMessage)
		m.Text, m.TextFormat, m.Locale = t, textFormat, it.Activity.Locale
		out = append(out, m)
	}
	buttons := actions(it.Activity.Extra["suggestedActions"])
	if n := len(out); to.at.Type == personal && n > 0 && plainButtons(buttons) {
		out[n-1].Suggested, buttons = &suggested{Actions: buttons, To: []string{to.at.User}}, nil
	}
	for some := range slices.Chunk(buttons, mostButtons) {
		cards = append(cards, heroOf(card{Buttons: some}))
	}
	if len(cards) > 0 {
		m := to.message(activity.TypeMessage)
		m.Attachments, m.Locale = cards, it.Activity.Locale
		if len(cards) > 1 {
			m.Layout = it.Activity.Extra["attachmentLayout"]
		}
		out = append(out, m)
	}
	if len(out) > 0 {
		first := &out[0]
		first.Summary, first.Importance = it.Activity.Extra["summary"], it.Activity.Extra["importance"]
		first.Entities, first.ChannelData = entities(it.Activity), withoutOurs(it.Activity.ChannelData)
	}
	return out
}

// entities are those that a bot gave, and Teams' mark of what a machine wrote.
func entities(a *activity.Activity) []json.RawMessage {
	var all, out []json.RawMessage
	_ = json.Unmarshal(a.Extra["entities"], &all) // no list: then there are none
	for _, e := range all {
		var of struct {
			Kind string `json:"type"`
		}
		if json.Unmarshal(e, &of) == nil && of.Kind != "" && !strings.EqualFold(of.Kind, "streaminfo") {
			out = append(out, e)
		}
	}
	if m := a.Meta(); m.Model != "" && !m.Demo {
		out = append(out, json.RawMessage(`{"type":"https://schema.org/Message","@type":"Message","@context":"https://schema.org","additionalType":["AIGeneratedContent"]}`))
	}
	return out
}

// withoutOurs is what a bot says to Teams in channelData.
func withoutOurs(data json.RawMessage) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil {
		return nil
	}
	for _, ours := range []string{"parley", Name, "streamType", "streamId", "streamSequence"} {
		delete(all, ours)
	}
	b, err := json.Marshal(all)
	if err != nil || len(all) == 0 {
		return nil
	}
	return b
}

// clip cuts at a character, so that at most that many bytes are left.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

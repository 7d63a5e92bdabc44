package slack

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	api "github.com/slack-go/slack"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/format"
)

// Slack's limits, in characters, and ours below them. All markdown of a message
// has room for 12,000, whether it is posted or streamed; with other blocks it
// was seen to be refused from 13,000 on in all.
const (
	mostMarkdown = 10_000
	mostPlain    = 2_900 // of a section's 3,000
	mostNotice   = 3_000 // of the 4,000 that chat.update takes as text
	mostTitle    = 75    // of a button
	mostURL      = 3_000
	mostAlt      = 2_000
	mostButtons  = 25 // in a block
	mostBlocks   = 40 // of the 50 of a message
)

// message is one message in Slack.
type message struct {
	text   string
	plain  bool        // text is no markdown
	blocks []api.Block // below the text
}

// upload is a file that is in the activity itself.
type upload struct {
	name    string
	content []byte
}

// messages is an activity as messages, for a conversation of whose.
func messages(a *activity.Activity, public, whose string) (out []message, files []upload) {
	out = said(a.Text, a.TextFormat == "plain", false)
	b := builder{whose: whose}
	b.attachments(channel.WithBase(a.Extra["attachments"], public))
	for blocks := b.blocks; len(blocks) > 0; {
		n := min(mostBlocks, len(blocks))
		out, blocks = append(out, message{blocks: blocks[:n:n]}), blocks[n:]
	}
	if choices := b.actions(format.Actions(a.Extra["suggestedActions"])); len(choices) > 0 {
		if len(out) == 0 {
			out = append(out, message{})
		}
		last := &out[len(out)-1]
		last.blocks = append(last.blocks, choices...)
	}
	return out, b.files
}

// said is a text as messages; with grows, what of it can be shown for good.
func said(text string, plain, grows bool) []message {
	most := mostPlain
	if !plain {
		most, text = mostMarkdown, uncalled(text)
	}
	if grows {
		text = settled(text)
	}
	var out []message
	for _, part := range format.Split(text, most) {
		if strings.TrimSpace(part) != "" {
			out = append(out, message{text: part, plain: plain})
		}
	}
	return out
}

// builder makes blocks of what comes with a text.
type builder struct {
	blocks []api.Block
	files  []upload
	whose  string // whose conversation a press belongs to
	n      int    // buttons so far: each has an id of its own
}

func (b *builder) attachments(raw json.RawMessage) {
	cards, files, left := format.Attachments(raw)
	for _, c := range cards {
		b.card(c)
	}
	for _, f := range files {
		b.file(f)
	}
	for _, kind := range left {
		b.section("_Something of the kind " + format.Mrkdwn().Escape(kind) + " can't be shown here._")
	}
}

func (b *builder) section(mrkdwn string) {
	b.blocks = append(b.blocks, api.NewSectionBlock(api.NewTextBlockObject(api.MarkdownType, mrkdwn, false, false), nil, nil))
}

func (b *builder) card(c format.Card) {
	m := format.Mrkdwn()
	var head []string
	if c.Title != "" {
		head = append(head, m.Strong(m.Escape(c.Title)))
	}
	if c.Subtitle != "" {
		head = append(head, m.Escape(c.Subtitle))
	}
	// Escaping makes a text up to five times as long.
	for _, part := range format.Split(strings.Join(head, "\n"), mostPlain) {
		b.section(part)
	}
	for _, part := range format.Split(c.Text, mostPlain/5) {
		if s := m.Render(part); s != "" {
			b.section(s)
		}
	}
	for _, i := range c.Images {
		b.image(i.URL, i.Alt)
	}
	b.blocks = append(b.blocks, b.actions(c.Buttons)...)
}

func (b *builder) image(url, alt string) bool {
	if !format.Web(url) || len(url) > mostURL {
		return false
	}
	if alt == "" {
		alt = "image"
	}
	b.blocks = append(b.blocks, api.NewImageBlock(url, cut(alt, mostAlt), "", nil))
	return true
}

func (b *builder) file(f format.File) {
	name := f.Name
	if name == "" {
		name = "file"
	}
	if content, ok := data(f.URL); ok {
		b.files = append(b.files, upload{name: cut(name, 200), content: content})
		return
	}
	if strings.HasPrefix(f.Type, "image/") && b.image(f.URL, f.Name) {
		return
	}
	m := format.Mrkdwn()
	label := m.Escape(cut(name, 200))
	if format.Web(f.URL) && len(f.URL) <= mostURL {
		label = m.Link(label, f.URL)
	}
	b.section("📎 " + label)
}

// data returns what is in an address itself.
func data(url string) ([]byte, bool) {
	head, rest, ok := strings.Cut(url, ",")
	if !ok || !strings.HasPrefix(head, "data:") || !strings.HasSuffix(head, ";base64") {
		return nil, false
	}
	content, err := base64.StdEncoding.DecodeString(rest)
	return content, err == nil && len(content) > 0
}

// actions is buttons as blocks. Those that Slack can't carry are left out.
func (b *builder) actions(buttons []format.Button) []api.Block {
	var elements []api.BlockElement
	for _, x := range buttons {
		if e := b.button(x); e != nil {
			elements = append(elements, e)
		}
	}
	var out []api.Block
	for len(elements) > 0 {
		n := min(mostButtons, len(elements))
		out, elements = append(out, api.NewActionBlock("", elements[:n:n]...)), elements[n:]
	}
	return out
}

func (b *builder) button(x format.Button) *api.ButtonBlockElement {
	if strings.TrimSpace(x.Title) == "" {
		return nil
	}
	e := api.NewButtonBlockElement(ourAction+strconv.Itoa(b.n), "", api.NewTextBlockObject(api.PlainTextType, cut(x.Title, mostTitle), false, false))
	switch x.Type {
	case "", "imBack", "postBack", "messageBack":
		value, ok := carried(x, b.whose)
		if !ok {
			return nil
		}
		e.Value = value
	default:
		if e.URL = x.URL(); e.URL == "" || len(e.URL) > mostURL {
			return nil
		}
	}
	b.n++
	return e
}

// cut shortens a text to so many characters.
func cut(s string, most int) string {
	if format.Length(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += format.Length(string(r)); n > most-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// notice is what a message says where blocks are not shown: in notifications,
// and to those who have it read out.
func (m message) notice() string {
	mrkdwn := format.Mrkdwn()
	switch {
	case m.text != "" && m.plain:
		return mrkdwn.Escape(cut(m.text, mostNotice/5))
	case m.text != "":
		if s := cut(mrkdwn.Render(m.text), mostNotice); s != "" {
			return s
		}
		return mrkdwn.Escape(cut(m.text, mostNotice/5))
	}
	for _, b := range m.blocks {
		if s, ok := b.(*api.SectionBlock); ok && s.Text != nil {
			return s.Text.Text
		}
	}
	return "Choose:"
}

// options is the message as slack-go sends it.
func (m message) options() []api.MsgOption {
	var blocks []api.Block
	switch {
	case m.text == "":
	case m.plain:
		blocks = append(blocks, api.NewSectionBlock(api.NewTextBlockObject(api.PlainTextType, m.text, false, false), nil, nil))
	default:
		blocks = append(blocks, api.NewMarkdownBlock("", m.text))
	}
	return []api.MsgOption{
		api.MsgOptionText(m.notice(), false),
		api.MsgOptionBlocks(append(blocks, m.blocks...)...),
		// Slack would fetch what a bot was talked into linking to.
		api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
	}
}

// equal reports whether two messages show the same.
func (m message) equal(o message) bool {
	if m.text != o.text || m.plain != o.plain || len(m.blocks) != len(o.blocks) {
		return false
	}
	a, errA := json.Marshal(m.blocks)
	b, errB := json.Marshal(o.blocks)
	return errA == nil && errB == nil && string(a) == string(b)
}

package messenger

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/format"
)

// The Messenger Platform's limits, in characters where they are of texts.
const (
	mostText        = 2000
	mostReplies     = 13 // quick replies below a message
	mostReplyTitle  = 20
	mostPayload     = 1000
	mostElements    = 10 // cards in a row
	mostTitle       = 80 // of a card, and of what stands below it
	mostButtons     = 3
	mostButtonTitle = 20
	mostButtonText  = 640 // above buttons
)

// piece is a message as the Send API takes it.
type piece struct {
	Text         string       `json:"text,omitempty"`
	Attachment   *media       `json:"attachment,omitempty"`
	QuickReplies []quickReply `json:"quick_replies,omitempty"`
}

type media struct {
	Type    string  `json:"type"`
	Payload payload `json:"payload"`
}

type payload struct {
	URL          string    `json:"url,omitempty"`
	TemplateType string    `json:"template_type,omitempty"`
	Text         string    `json:"text,omitempty"`
	Elements     []element `json:"elements,omitempty"`
	Buttons      []button  `json:"buttons,omitempty"`
}

type element struct {
	Title    string   `json:"title"`
	Subtitle string   `json:"subtitle,omitempty"`
	ImageURL string   `json:"image_url,omitempty"`
	Buttons  []button `json:"buttons,omitempty"`
}

type button struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	URL     string `json:"url,omitempty"`
	Payload string `json:"payload,omitempty"`
}

type quickReply struct {
	ContentType string `json:"content_type"`
	Title       string `json:"title"`
	Payload     string `json:"payload"`
}

// render puts what a bot says into messages, in the order in which they are to
// be sent. service is where files lie that we keep. Without a message there is
// nothing in it that Messenger can show.
func render(a *activity.Activity, service string) []piece {
	text := a.Text
	if a.TextFormat != "plain" {
		text = format.Plain().Render(text)
	}
	replies, lines := suggested(format.Actions(a.Extra["suggestedActions"]))
	if len(lines) > 0 {
		text = strings.TrimSpace(text + "\n\n" + strings.Join(lines, "\n"))
	}
	cards, files, _ := format.Attachments(channel.WithBase(a.Extra["attachments"], service))
	out := texts(text, mostText)
	out = append(out, row(cards)...)
	for _, f := range files {
		out = append(out, attached(f)...)
	}
	if len(replies) > 0 {
		if len(out) == 0 {
			out = []piece{{Text: "…"}}
		}
		out[len(out)-1].QuickReplies = replies
	}
	return out
}

func texts(s string, most int) []piece {
	var out []piece
	for _, part := range format.Split(strings.TrimSpace(s), most) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, piece{Text: part})
		}
	}
	return out
}

// suggested makes quick replies. What can be none is told in lines.
func suggested(actions []format.Button) (replies []quickReply, lines []string) {
	for _, b := range actions {
		switch {
		case strings.TrimSpace(b.Title) == "" || opens(b) && !web(b.URL()):
		case opens(b):
			lines = append(lines, b.Title+": "+b.URL())
		case b.Type == "call":
			lines = append(lines, b.Title+": "+number(b))
		case len(replies) == mostReplies:
			lines = append(lines, "• "+b.Title)
		default:
			replies = append(replies, quickReply{"text", cut(b.Title, mostReplyTitle), returns(b)})
		}
	}
	return replies, lines
}

// opens reports whether a button is one for addresses.
func opens(b format.Button) bool {
	return b.Type == "openUrl" || b.Type == "signin" || b.Type == "downloadFile"
}

// number is whom a button calls, without what people put between the digits.
func number(b format.Button) string {
	var n string
	if json.Unmarshal(b.Value, &n) != nil {
		return ""
	}
	return strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", "/", "").Replace(strings.TrimPrefix(n, "tel:"))
}

var callable = regexp.MustCompile(`^\+[0-9]{3,20}$`)

// web reports whether Messenger can open an address.
func web(s string) bool {
	u, err := url.Parse(s)
	return err == nil && format.Web(s) && u.Hostname() != ""
}

// returns is what comes back when a button is pressed, as chosen reads it.
func returns(b format.Button) string {
	said, back := b.Said()
	var small bytes.Buffer
	var fields map[string]json.RawMessage
	if json.Unmarshal(back, &fields) == nil && fields != nil && json.Compact(&small, back) == nil {
		said = small.String()
	}
	if strings.TrimSpace(said) == "" || format.Length(said) > mostPayload {
		said = cut(b.Title, mostPayload)
	}
	return said
}

// row shows cards: side by side if all of them have room there, else whole, one
// after the other.
func row(cards []format.Card) []piece {
	elements := make([]element, 0, len(cards))
	for _, c := range cards {
		if e, ok := small(c); ok && (len(cards) > 1 || e.ImageURL != "") {
			elements = append(elements, e)
		}
	}
	var out []piece
	if len(elements) < len(cards) {
		for _, c := range cards {
			out = append(out, whole(c)...)
		}
		return out
	}
	for len(elements) > 0 {
		n := min(len(elements), mostElements)
		out = append(out, piece{Attachment: &media{"template", payload{TemplateType: "generic", Elements: elements[:n]}}})
		elements = elements[n:]
	}
	return out
}

// small is a card for the row, if nothing of it has to be left out there.
func small(c format.Card) (element, bool) {
	e := element{Title: words(c.Title), Subtitle: joined(" – ", words(c.Subtitle), words(c.Text)), Buttons: buttons(c.Buttons)}
	if e.Title == "" {
		e.Title, e.Subtitle = e.Subtitle, ""
	}
	if len(c.Images) > 0 && web(c.Images[0].URL) {
		e.ImageURL = c.Images[0].URL
	}
	more := e.Subtitle != "" || e.ImageURL != "" || len(e.Buttons) > 0
	return e, e.Title != "" && more && format.Length(e.Title) <= mostTitle && format.Length(e.Subtitle) <= mostTitle &&
		len(c.Images) <= 1 && len(e.Buttons) <= mostButtons
}

// whole is a card that is too large for the row: its images, all its text, and
// below that its buttons.
func whole(c format.Card) []piece {
	var out []piece
	for _, i := range c.Images {
		if web(i.URL) {
			out = append(out, piece{Attachment: &media{"image", payload{URL: i.URL}}})
		}
	}
	text := joined("\n", words(c.Title), words(c.Subtitle), format.Plain().Render(c.Text))
	all := buttons(c.Buttons)
	if len(all) == 0 {
		return append(out, texts(text, mostText)...)
	}
	if text == "" {
		text = "…"
	}
	said := texts(text, mostButtonText)
	if len(said) > 1 { // long: only what stands directly above the buttons has to be short
		last := said[len(said)-1]
		said = append(texts(strings.TrimSuffix(text, last.Text), mostText), last)
	}
	above := said[len(said)-1].Text
	out = append(out, said[:len(said)-1]...)
	for len(all) > 0 {
		n := min(len(all), mostButtons)
		out = append(out, piece{Attachment: &media{"template", payload{TemplateType: "button", Text: above, Buttons: all[:n]}}})
		all, above = all[n:], "…"
	}
	return out
}

func buttons(in []format.Button) []button {
	var out []button
	for _, b := range in {
		title := cut(b.Title, mostButtonTitle)
		switch {
		case strings.TrimSpace(title) == "" || opens(b) && !web(b.URL()) || b.Type == "call" && !callable.MatchString(number(b)):
		case opens(b):
			out = append(out, button{Type: "web_url", Title: title, URL: b.URL()})
		case b.Type == "call":
			out = append(out, button{Type: "phone_number", Title: title, Payload: number(b)})
		default:
			out = append(out, button{Type: "postback", Title: title, Payload: returns(b)})
		}
	}
	return out
}

// attached is a file, or its name if Messenger can't fetch it.
func attached(f format.File) []piece {
	if !web(f.URL) {
		if f.Name == "" {
			return nil
		}
		return texts("📎 "+f.Name, mostText)
	}
	kind, _, _ := strings.Cut(f.Type, "/")
	if kind != "image" && kind != "video" && kind != "audio" {
		kind = "file"
	}
	return []piece{{Attachment: &media{kind, payload{URL: f.URL}}}}
}

// words are a markdown text on one line.
func words(s string) string { return strings.Join(strings.Fields(format.Plain().Render(s)), " ") }

func joined(between string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, between)
}

// cut shortens a text that is too long for its place, visibly.
func cut(s string, most int) string {
	if format.Length(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += format.Length(string(r)); n > most-1 {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

package graphtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// length counts as strictly as Meta may: its documents say "characters".
func length(s string) int { return len(utf16.Encode([]rune(s))) }

func within(what, s string, least, most int) string {
	if n := length(s); n > most || length(strings.TrimSpace(s)) < least {
		return fmt.Sprintf("%s must have %d to %d characters, not %d", what, least, most, n)
	}
	return ""
}

func address(what, s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Sprintf("%s must be an address, not %q", what, s)
	}
	return ""
}

func first(rules ...string) string {
	for _, r := range rules {
		if r != "" {
			return r
		}
	}
	return ""
}

// Request is the body of a call to the Send API.
type Request struct {
	Recipient    struct{ ID string } `json:"recipient"`
	Type         string              `json:"messaging_type"`
	SenderAction string              `json:"sender_action"`
	Message      *Message            `json:"message"`
}

// Check reads a call to the Send API and returns the rule that it breaks, or "".
func Check(b []byte) (in Request, rule string) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil || dec.More() || !utf8.Valid(b) {
		return in, fmt.Sprintf("the body is not what the Send API takes: %v", err)
	}
	return in, in.check()
}

func (in Request) check() string {
	kind, action, m := in.Type, in.SenderAction, in.Message
	switch {
	case in.Recipient.ID == "":
		return "nobody is to get it"
	case action != "" && m != nil:
		return "Cannot send both message and sender_action"
	case action != "":
		if action != "typing_on" && action != "typing_off" && action != "mark_seen" {
			return "there is no sender_action " + action
		}
		return ""
	case m == nil:
		return "a message or a sender_action is needed"
	case kind != "RESPONSE" && kind != "UPDATE":
		return fmt.Sprintf("messaging_type must be RESPONSE or UPDATE, not %q", kind)
	case (m.Text == "") == (m.Attachment == nil):
		return "text or attachment must be set, one of them"
	case m.Text != "" && strings.TrimSpace(m.Text) == "":
		return "the text is empty"
	case len(m.QuickReplies) > 13:
		return "there are more than 13 quick replies"
	}
	rule := first(within("text", m.Text, 0, 2000), within("metadata", m.Metadata, 0, 1000))
	for _, q := range m.QuickReplies {
		if q.ContentType != "text" {
			rule = first(rule, "content_type of a quick reply must be text")
		}
		rule = first(rule, within("title of a quick reply", q.Title, 1, 20), within("payload of a quick reply", q.Payload, 1, 1000))
	}
	if rule != "" || m.Attachment == nil {
		return rule
	}
	return attachment(m.Attachment)
}

func attachment(a *Attachment) string {
	p := a.Payload
	switch a.Type {
	case "image", "video", "audio", "file":
		if p.TemplateType+p.Text != "" || len(p.Elements)+len(p.Buttons) > 0 {
			return "a file has an address and nothing else"
		}
		return address("the file's url", p.URL)
	case "template":
	default:
		return "there is no attachment of type " + a.Type
	}
	switch p.TemplateType {
	case "generic":
		if n := len(p.Elements); n < 1 || n > 10 || p.Text != "" || len(p.Buttons) > 0 {
			return fmt.Sprintf("a generic template has 1 to 10 elements and nothing else, not %d", n)
		}
		for _, e := range p.Elements {
			if rule := e.check(); rule != "" {
				return rule
			}
		}
		return ""
	case "button":
		if n := len(p.Buttons); n < 1 || n > 3 || len(p.Elements) > 0 {
			return fmt.Sprintf("a button template has 1 to 3 buttons and no elements, not %d", n)
		}
		return first(within("text of a button template", p.Text, 1, 640), pressed(p.Buttons))
	}
	return "there is no template of type " + p.TemplateType
}

func (e Element) check() string {
	if e.Subtitle == "" && e.ImageURL == "" && len(e.Buttons) == 0 {
		return "an element has something beside its title"
	}
	if len(e.Buttons) > 3 {
		return "an element has at most 3 buttons"
	}
	rule := first(within("title of an element", e.Title, 1, 80), within("subtitle of an element", e.Subtitle, 0, 80), pressed(e.Buttons))
	if rule == "" && e.ImageURL != "" {
		rule = address("image_url", e.ImageURL)
	}
	return rule
}

func pressed(buttons []Button) string {
	for _, b := range buttons {
		rule := within("title of a button", b.Title, 1, 20)
		switch b.Type {
		case "web_url":
			rule = first(rule, address("url of a button", b.URL), within("payload of a web_url", b.Payload, 0, 0))
		case "postback":
			rule = first(rule, within("payload of a button", b.Payload, 1, 1000), within("url of a postback", b.URL, 0, 0))
		case "phone_number":
			if !strings.HasPrefix(b.Payload, "+") || strings.Trim(b.Payload, "+0123456789") != "" {
				rule = first(rule, "payload of a phone_number is like +16505551234")
			}
		default:
			rule = first(rule, "there is no button of type "+b.Type)
		}
		if rule != "" {
			return rule
		}
	}
	return ""
}

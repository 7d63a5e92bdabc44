package bottest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func length(s string) int { return len(utf16.Encode([]rune(s))) }

// methods are the fields that a method takes; those with a star it needs.
func methods(name string) (all string, ok bool) {
	const any = " reply_markup"
	switch name {
	case "getMe", "getWebhookInfo":
		return "", true
	case "getUpdates":
		return "offset limit timeout allowed_updates", true
	case "getFile":
		return "file_id*", true
	case "sendMessage":
		return "chat_id* message_thread_id text* entities link_preview_options reply_parameters" + any, true
	case "editMessageText":
		return "chat_id* message_id* text* entities link_preview_options" + any, true
	case "deleteMessage":
		return "chat_id* message_id*", true
	case "sendChatAction":
		return "chat_id* message_thread_id action*", true
	case "answerCallbackQuery":
		return "callback_query_id* text show_alert", true
	case "sendPhoto", "sendDocument", "sendVideo", "sendAnimation", "sendAudio", "sendVoice":
		return "chat_id* message_thread_id caption caption_entities reply_parameters " + strings.ToLower(name[4:]) + "*" + any, true
	}
	return "", false
}

// Check returns the rule that a call breaks, or "".
func Check(c Call) string {
	all, ok := methods(c.Method)
	if !ok {
		return "there is no such method"
	}
	known := strings.Fields(all)
	for name, v := range c.Fields {
		if !slices.Contains(known, name) && !slices.Contains(known, name+"*") {
			return "there is no parameter " + name
		}
		if !utf8.Valid(v) || string(v) == "null" || string(v) == `""` {
			return name + " is empty or not UTF-8"
		}
	}
	for _, name := range known {
		if name, needed := strings.CutSuffix(name, "*"); needed && c.Fields[name] == nil {
			return "parameter " + name + " is required"
		}
	}
	if c.Fields["chat_id"] != nil && c.Chat == 0 {
		return "chat_id must be a number"
	}
	rule := first(c.words("text", "entities", 1, 4096), c.words("caption", "caption_entities", 0, 1024), c.keyboard())
	switch c.Method {
	case "answerCallbackQuery":
		if length(c.text("text")) > 200 {
			rule = "the notice is longer than 200 characters"
		}
	case "sendChatAction":
		if c.text("action") != "typing" {
			rule = "there is no such action"
		}
	}
	return rule
}

func first(rules ...string) string {
	for _, r := range rules {
		if r != "" {
			return r
		}
	}
	return ""
}

type entity struct {
	Type, URL, Language string
	Offset, Length      int
}

func (c Call) words(field, entities string, least, most int) string {
	raw := c.Fields[field]
	if raw == nil || c.Method == "answerCallbackQuery" {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return field + " must be a text"
	}
	if n := length(s); n > most || length(strings.TrimSpace(s)) < least {
		return fmt.Sprintf("%s must have %d to %d characters, not %d", field, least, most, n)
	}
	if s != strings.TrimSpace(s) {
		return "Telegram would cut white space off, and entities move"
	}
	return marks(s, c.Fields[entities])
}

// marks checks entities: each is within the text, cuts no character, and is in
// no other one that it can't be in.
func marks(s string, raw json.RawMessage) string {
	if raw == nil {
		return ""
	}
	var all []entity
	if json.Unmarshal(raw, &all) != nil || len(all) == 0 || len(all) > 100 {
		return "entities must be a list of 1 to 100"
	}
	units := utf16.Encode([]rune(s))
	low := func(i int) bool { return i < len(units) && units[i] >= 0xDC00 && units[i] < 0xE000 }
	for i, e := range all {
		switch {
		case e.Offset < 0 || e.Length <= 0 || e.Offset+e.Length > len(units):
			return fmt.Sprintf("entity %+v is not within %d characters", e, len(units))
		case low(e.Offset) || low(e.Offset+e.Length):
			return fmt.Sprintf("entity %+v begins or ends in the middle of a character", e)
		case !slices.Contains([]string{"bold", "italic", "strikethrough", "code", "pre", "blockquote", "text_link"}, e.Type):
			return "there is no entity " + e.Type
		case e.Type == "text_link" && address(e.URL) != "":
			return address(e.URL)
		case e.Type != "text_link" && e.URL != "", e.Type != "pre" && e.Language != "":
			return fmt.Sprintf("entity %+v has what its type does not have", e)
		}
		for _, o := range all[:i] {
			if rule := together(o, e); rule != "" {
				return rule
			}
		}
	}
	return ""
}

func together(a, b entity) string {
	if a.Offset > b.Offset || a.Offset == b.Offset && a.Length < b.Length {
		a, b = b, a
	}
	if b.Offset >= a.Offset+a.Length {
		return ""
	}
	code := func(e entity) bool { return e.Type == "code" || e.Type == "pre" }
	switch {
	case b.Offset+b.Length > a.Offset+a.Length:
		return fmt.Sprintf("entities %+v and %+v overlap", a, b)
	case a.Type == b.Type:
		return fmt.Sprintf("entity %s is in its like", a.Type)
	case code(a), code(b) && a.Type != "blockquote":
		return fmt.Sprintf("entity %s can't be in %s", b.Type, a.Type)
	}
	return ""
}

func address(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Sprintf("Wrong HTTP URL %q", s)
	}
	return ""
}

func (c Call) keyboard() string {
	raw := c.Fields["reply_markup"]
	if raw == nil {
		return ""
	}
	var in struct {
		Rows [][]map[string]string `json:"inline_keyboard"`
	}
	n := 0
	if json.Unmarshal(raw, &in) != nil {
		return "reply_markup must be an inline keyboard"
	}
	for _, row := range in.Rows {
		if n += len(row); len(row) == 0 || len(row) > 8 {
			return "a row has 1 to 8 buttons"
		}
		for _, k := range row {
			u, _ := url.Parse(k["url"])
			switch {
			case strings.TrimSpace(k["text"]) == "":
				return "Text buttons are unallowed in the inline keyboard: a button has no text"
			case (k["url"] == "") == (k["callback_data"] == "") || len(k) != 2:
				return "a button has url or callback_data, one of them"
			case len(k["callback_data"]) > 64:
				return "BUTTON_DATA_INVALID"
			case k["url"] != "" && (address(k["url"]) != "" || !strings.Contains(u.Hostname(), ".")):
				return fmt.Sprintf("inline keyboard button URL %q is invalid: Wrong HTTP URL", k["url"])
			}
		}
	}
	if n == 0 || n > 100 {
		return "a keyboard has 1 to 100 buttons"
	}
	return ""
}

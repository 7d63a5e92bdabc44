package teams

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/channel"
)

// attachment is one as Teams takes it.
type attachment struct {
	Type    string          `json:"contentType"`
	URL     string          `json:"contentUrl,omitempty"`
	Name    string          `json:"name,omitempty"`
	Content json.RawMessage `json:"content,omitempty"`
}

// card is what a hero card of ours has.
type card struct {
	Title    string   `json:"title,omitempty"`
	Subtitle string   `json:"subtitle,omitempty"`
	Text     string   `json:"text,omitempty"`
	Images   []image  `json:"images,omitempty"`
	Buttons  []button `json:"buttons,omitempty"`
}

type image struct {
	URL string `json:"url"`
	Alt string `json:"alt,omitempty"`
}

// button is something to press.
type button struct {
	Type    string          `json:"type"`
	Title   string          `json:"title,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	Text    string          `json:"text,omitempty"`
	Display string          `json:"displayText,omitempty"`
}

// suggested are buttons that go when one is pressed.
type suggested struct {
	To      []string `json:"to,omitempty"`
	Actions []button `json:"actions"`
}

const (
	cardType    = "application/vnd.microsoft.card."
	mostButtons = 6 // that a card, or what is suggested, shows
)

// attachments are those that Teams shows, and links to the others.
func (to target) attachments(raw json.RawMessage) (cards []attachment, links []string) {
	var all []attachment
	if len(raw) == 0 || json.Unmarshal(channel.WithBase(raw, to.s.opts.Public), &all) != nil {
		return nil, nil
	}
	for _, x := range all {
		kind, isCard := strings.CutPrefix(x.Type, cardType)
		switch {
		case isCard && (kind == "hero" || kind == "thumbnail"):
			x.Content = pressable(x.Content)
			cards = append(cards, x)
		case isCard && (kind == "animation" || kind == "audio" || kind == "video"):
			cards = append(cards, media(x.Content))
		case isCard, strings.HasPrefix(x.Type, "application/vnd.microsoft.teams."):
			cards = append(cards, x)
		case slices.Contains([]string{"image/png", "image/jpeg", "image/jpg", "image/gif", "image/*"}, x.Type) && (web(x.URL) || strings.HasPrefix(x.URL, "data:image/")):
			cards = append(cards, x)
		default:
			links = append(links, link(x))
		}
	}
	return cards, links
}

func web(u string) bool {
	return (strings.HasPrefix(u, "https://") || strings.HasPrefix(u, "http://")) && !strings.ContainsAny(u, " \r\n\t<>\"")
}

// link is a file of which Teams can show only where it is.
func link(x attachment) string {
	name := strings.NewReplacer("[", "(", "]", ")", "\n", " ", "<", "&lt;").Replace(x.Name)
	if name == "" {
		name = "file"
	}
	if !web(x.URL) {
		return name + " (a file that can't be shown here)"
	}
	return "[" + name + "](" + strings.NewReplacer("(", "%28", ")", "%29").Replace(x.URL) + ")"
}

// pressable changes the one kind of button that other channels have and Teams
// does not: what is said in silence.
func pressable(content json.RawMessage) json.RawMessage {
	var c map[string]json.RawMessage
	var buttons []json.RawMessage
	if json.Unmarshal(content, &c) != nil || json.Unmarshal(c["buttons"], &buttons) != nil {
		return content
	}
	for i, raw := range buttons {
		var b button
		if json.Unmarshal(raw, &b) == nil && b.Type == "postBack" {
			if changed, err := json.Marshal(b.known()); err == nil {
				buttons[i] = changed
			}
		}
	}
	var err error
	if c["buttons"], err = json.Marshal(buttons); err != nil {
		return content
	}
	out, err := json.Marshal(c)
	if err != nil {
		return content
	}
	return out
}

// known is a button of a kind that Teams has.
func (b button) known() button {
	if b.Type != "postBack" {
		return b
	}
	var text string
	if json.Unmarshal(b.Value, &text) != nil {
		text = b.Title
	}
	return button{Type: "messageBack", Title: b.Title, Value: b.Value, Text: text, Display: b.Title}
}

// media is a card that plays something as one that leads to it.
func media(content json.RawMessage) attachment {
	var in struct {
		Title    string   `json:"title"`
		Subtitle string   `json:"subtitle"`
		Text     string   `json:"text"`
		Image    *image   `json:"image"`
		Buttons  []button `json:"buttons"`
		Media    []struct {
			URL string `json:"url"`
		} `json:"media"`
	}
	_ = json.Unmarshal(content, &in) // what can't be read is not there
	c := card{Title: in.Title, Subtitle: in.Subtitle, Text: in.Text}
	if in.Image != nil && web(in.Image.URL) {
		c.Images = []image{*in.Image}
	}
	for _, m := range in.Media {
		if u, err := json.Marshal(m.URL); err == nil && web(m.URL) {
			c.Buttons = append(c.Buttons, button{Type: "openUrl", Title: "Play", Value: u})
		}
	}
	for _, b := range in.Buttons {
		c.Buttons = append(c.Buttons, b.known())
	}
	c.Buttons = c.Buttons[:min(len(c.Buttons), mostButtons)]
	return heroOf(c)
}

func heroOf(c card) attachment {
	b, _ := json.Marshal(c) // raw values were read from JSON
	return attachment{Type: cardType + "hero", Content: b}
}

// actions are the suggested ones.
func actions(raw json.RawMessage) []button {
	var in struct {
		Actions []button `json:"actions"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &in) != nil {
		return nil
	}
	var out []button
	for _, b := range in.Actions {
		if b.Title == "" {
			_ = json.Unmarshal(b.Value, &b.Title)
		}
		if b.Type != "" && b.Title != "" {
			out = append(out, b.known())
		}
	}
	return out
}

// plainButtons reports whether Teams can suggest all of them: it suggests a few
// things to say.
func plainButtons(all []button) bool {
	return len(all) > 0 && len(all) <= mostButtons && !slices.ContainsFunc(all, func(b button) bool { return b.Type != "imBack" })
}

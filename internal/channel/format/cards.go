package format

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Card is what of a card every channel can show somehow: Bot Framework's hero,
// thumbnail and sign-in cards, and of an adaptive card the texts, images and
// actions, in their order.
type Card struct {
	Title, Subtitle, Text string // Text is markdown
	Images                []Image
	Buttons               []Button
}

// Image is a picture by its address.
type Image struct{ URL, Alt string }

// Button is something to press.
type Button struct {
	Title string
	Type  string          // imBack, postBack, messageBack, openUrl, ...
	Value json.RawMessage // what comes back, or the address
	Text  string          // of a messageBack: what is said with it
}

// URL is the address that a button opens, "" if it opens none that may be.
func (b Button) URL() string {
	var u string
	if (b.Type != "openUrl" && b.Type != "signin" && b.Type != "downloadFile") || json.Unmarshal(b.Value, &u) != nil || !Web(u) {
		return ""
	}
	return u
}

// Said is what a button says for the one who presses it, and Back what a
// program gets with it, nil if that is the same.
func (b Button) Said() (said string, back json.RawMessage) {
	var value string
	isText := json.Unmarshal(b.Value, &value) == nil
	switch {
	case b.Type == "messageBack":
		return b.Text, b.Value
	case isText:
		return value, nil
	case len(b.Value) > 0 && string(b.Value) != "null":
		return "", b.Value
	}
	return b.Title, nil
}

// Web reports whether an address is one that people open.
func Web(u string) bool {
	p, err := url.Parse(u)
	return err == nil && (p.Scheme == "https" || p.Scheme == "http") && p.Hostname() != "" && !strings.ContainsAny(u, " \n\r\t<>\"")
}

// File is an attachment that is no card.
type File struct{ Type, URL, Name string }

// kinds of attachment that are cards.
const cards = "application/vnd.microsoft.card."

// Attachments reads an activity's attachments: cards, and files. Those of
// which nothing can be shown are named in left.
func Attachments(raw json.RawMessage) (all []Card, files []File, left []string) {
	var list []struct {
		ContentType string          `json:"contentType"`
		ContentURL  string          `json:"contentUrl"`
		Name        string          `json:"name"`
		Content     json.RawMessage `json:"content"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &list) != nil {
		return nil, nil, nil
	}
	for _, x := range list {
		kind, ok := strings.CutPrefix(x.ContentType, cards)
		switch {
		case ok && kind == "adaptive":
			if c, ok := adaptive(x.Content); ok {
				all = append(all, c)
				continue
			}
			left = append(left, x.ContentType)
		case ok:
			if c, ok := classic(x.Content); ok {
				all = append(all, c)
				continue
			}
			left = append(left, x.ContentType)
		case x.ContentURL != "":
			files = append(files, File{Type: x.ContentType, URL: x.ContentURL, Name: x.Name})
		default:
			left = append(left, x.ContentType)
		}
	}
	return all, files, left
}

type action struct {
	Type  string          `json:"type"`
	Title string          `json:"title"`
	Text  string          `json:"text"`
	Value json.RawMessage `json:"value"`
	URL   string          `json:"url"`
	Data  json.RawMessage `json:"data"`
}

func (a action) button() Button {
	return Button{Title: a.Title, Type: a.Type, Value: a.Value, Text: a.Text}
}

func classic(raw json.RawMessage) (Card, bool) {
	var in struct {
		Title, Subtitle, Text string
		Images                []struct{ URL, Alt string }
		Image                 *struct{ URL, Alt string }
		Buttons               []action
	}
	if json.Unmarshal(raw, &in) != nil {
		return Card{}, false
	}
	c := Card{Title: in.Title, Subtitle: in.Subtitle, Text: in.Text}
	if in.Image != nil {
		in.Images = append(in.Images, *in.Image)
	}
	for _, i := range in.Images {
		c.Images = append(c.Images, Image(i))
	}
	for _, b := range in.Buttons {
		c.Buttons = append(c.Buttons, b.button())
	}
	return c, c.says()
}

func (c Card) says() bool {
	return c.Title+c.Subtitle+c.Text != "" || len(c.Images)+len(c.Buttons) > 0
}

// Actions reads an activity's suggestedActions.
func Actions(raw json.RawMessage) []Button {
	var in struct{ Actions []action }
	if len(raw) == 0 || json.Unmarshal(raw, &in) != nil {
		return nil
	}
	var out []Button
	for _, a := range in.Actions {
		if a.Title == "" {
			_ = json.Unmarshal(a.Value, &a.Title)
		}
		if a.Title != "" {
			out = append(out, a.button())
		}
	}
	return out
}

// element is what of an adaptive card's elements is looked at.
type element struct {
	Type         string
	Text         string
	URL          string
	AltText      string
	Items        []element
	Columns      []element
	Images       []element
	Actions      []action
	Body         []element
	FallbackText string
	Facts        []struct{ Title, Value string }
}

func adaptive(raw json.RawMessage) (Card, bool) {
	var in element
	if json.Unmarshal(raw, &in) != nil {
		return Card{}, false
	}
	var (
		c     Card
		texts []string
		walk  func(e element, depth int)
	)
	walk = func(e element, depth int) {
		if depth > 16 {
			return
		}
		switch e.Type {
		case "TextBlock":
			texts = append(texts, e.Text)
		case "Image":
			c.Images = append(c.Images, Image{URL: e.URL, Alt: e.AltText})
		case "FactSet":
			for _, f := range e.Facts {
				texts = append(texts, "**"+f.Title+"** "+f.Value)
			}
		}
		for _, below := range [][]element{e.Body, e.Items, e.Columns, e.Images} {
			for _, x := range below {
				walk(x, depth+1)
			}
		}
		for _, a := range e.Actions {
			if b, ok := pressed(a); ok {
				c.Buttons = append(c.Buttons, b)
			}
		}
	}
	walk(in, 0)
	c.Text = strings.Join(texts, "\n\n")
	if !c.says() {
		c.Text = in.FallbackText
	}
	return c, c.says()
}

// pressed is an adaptive card's action as a button. What is filled in on the
// card does not come back with it.
func pressed(a action) (Button, bool) {
	switch a.Type {
	case "Action.OpenUrl":
		u, err := json.Marshal(a.URL)
		return Button{Title: a.Title, Type: "openUrl", Value: u}, err == nil
	case "Action.Submit", "Action.Execute":
		if len(a.Data) == 0 {
			return Button{Title: a.Title, Type: "imBack"}, true
		}
		return Button{Title: a.Title, Type: "postBack", Value: a.Data}, true
	}
	return Button{}, false
}

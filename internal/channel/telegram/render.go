package telegram

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/files"
)

const (
	mostKeys    = 100 // below a message
	mostRow     = 8   // side by side
	mostTitle   = 64
	rowOfTitles = 32 // characters of what stands side by side
	mostURL     = 2048
)

// piece is one message in Telegram: a text, or a file with a text below it.
type piece struct {
	text
	keys  [][]key
	file  kind // "" = a text
	url   string
	bytes *files.File // in the place of url
}

// key is a button of the keyboard below a message.
type key struct {
	Text string `json:"text"`
	URL  string `json:"url,omitempty"`
	Data string `json:"callback_data,omitempty"`
}

// kind is what a file is sent as: the end of the method and the field's name.
type kind string

const (
	photo     kind = "photo"
	animation kind = "animation"
	video     kind = "video"
	audio     kind = "audio"
	voice     kind = "voice"
	document  kind = "document"
)

// method is the one that sends a piece of the kind.
func (k kind) method() string {
	if k == "" {
		return "sendMessage"
	}
	return "send" + strings.ToUpper(string(k[:1])) + string(k[1:])
}

// kindOf is what a file of a type is sent as; known is false for types that
// Telegram does not fetch by their address.
func kindOf(contentType string) (k kind, known bool) {
	switch contentType {
	case "image/jpeg", "image/png", "image/webp":
		return photo, true
	case "image/gif":
		return animation, true
	case "video/mp4":
		return video, true
	case "audio/mpeg", "audio/mp4":
		return audio, true
	case "audio/ogg":
		return voice, true
	case "application/pdf", "application/zip":
		return document, true
	}
	return document, false
}

// kept finds a file of ours by its address, nil if it is none.
type kept func(address string) *files.File

// render puts what a bot says into messages, in the order in which they are to
// be sent. id names it, for those who press its buttons.
func render(a *activity.Activity, id uint64, service string, ours kept) []piece {
	cards, attached, _ := format.Attachments(a.Extra["attachments"])
	buttons := pressable(a)
	n := 0 // buttons of cards so far
	var out []piece
	choices, lines := keyboard(buttons[countOf(cards):], id, countOf(cards))
	words := plain(clean(a.Text))
	if a.TextFormat != "plain" {
		words = formatted(a.Text)
	}
	out = append(out, texts(join("\n\n", words, lines))...)
	for _, c := range cards {
		out = append(out, card(c, id, n, service)...)
		n += len(c.Buttons)
	}
	for _, f := range attached {
		out = append(out, sent(f, service, ours)...)
	}
	return under(out, choices)
}

// pressable are all buttons of an activity. Which of them was pressed is known
// by its place.
func pressable(a *activity.Activity) []format.Button {
	var out []format.Button
	cards, _, _ := format.Attachments(a.Extra["attachments"])
	for _, c := range cards {
		out = append(out, c.Buttons...)
	}
	return append(out, format.Actions(a.Extra["suggestedActions"])...)
}

func countOf(cards []format.Card) (n int) {
	for _, c := range cards {
		n += len(c.Buttons)
	}
	return n
}

func texts(t text) []piece {
	var out []piece
	for _, part := range t.split(mostText) {
		out = append(out, piece{text: part})
	}
	return out
}

// under puts a keyboard below the last message.
func under(pieces []piece, keys [][]key) []piece {
	if len(keys) == 0 {
		return pieces
	}
	if len(pieces) == 0 || count(pieces[len(pieces)-1].keys)+count(keys) > mostKeys {
		pieces = append(pieces, piece{text: plain("…")})
	}
	last := &pieces[len(pieces)-1]
	last.keys = slices.Concat(last.keys, keys)
	return pieces
}

func count(rows [][]key) (n int) {
	for _, r := range rows {
		n += len(r)
	}
	return n
}

// keyboard makes buttons of buttons; what can be none is told in lines. first is
// the place of the first of them in the activity.
func keyboard(buttons []format.Button, id uint64, first int) (rows [][]key, lines text) {
	var (
		row  []key
		room int
		told []text
	)
	for i, b := range buttons {
		k := key{Text: short(b.Title, mostTitle)}
		switch {
		case k.Text == "":
			continue
		case b.Type == "call":
			said, _ := b.Said()
			told = append(told, plain(k.Text+": "+short(strings.TrimPrefix(said, "tel:"), mostTitle)))
			continue
		case opens(b) && !public(b.URL()):
			if b.URL() != "" {
				told = append(told, plain(k.Text+": "+b.URL()))
			}
			continue
		case opens(b):
			k.URL = b.URL()
		case count(rows)+len(row) == mostKeys:
			told = append(told, plain("• "+k.Text))
			continue
		default:
			k.Data = press(id, first+i)
		}
		n := format.Length(k.Text)
		if len(row) > 0 && (room+n > rowOfTitles || len(row) == mostRow) {
			rows, row, room = append(rows, row), nil, 0
		}
		row, room = append(row, k), room+n
	}
	if len(row) > 0 {
		rows = append(rows, row)
	}
	return rows, join("\n", told...)
}

// press is what comes back when a button is pressed: where in the log it stands.
func press(id uint64, place int) string {
	return strconv.FormatUint(id, 36) + "." + strconv.Itoa(place)
}

// pressed reads what press wrote; id is 0 if it is something else.
func pressed(data string) (id uint64, place int) {
	where, which, _ := strings.Cut(data, ".")
	id, err := strconv.ParseUint(where, 36, 64)
	if err != nil {
		return 0, 0
	}
	if place, err = strconv.Atoi(which); err != nil || place < 0 {
		return 0, 0
	}
	return id, place
}

// opens reports whether a button is one for addresses.
func opens(b format.Button) bool {
	return b.Type == "openUrl" || b.Type == "signin" || b.Type == "downloadFile"
}

// public reports whether Telegram takes an address: one with a whole name.
func public(s string) bool {
	u, err := url.Parse(s)
	return err == nil && format.Web(s) && len(s) <= mostURL && strings.Contains(strings.Trim(u.Hostname(), "."), ".")
}

// card is its pictures, its words below the last of them, and its buttons.
func card(c format.Card, id uint64, first int, service string) []piece {
	rows, lines := keyboard(c.Buttons, id, first)
	words := join("\n", bold(short(c.Title, mostCaption)), formatted(c.Subtitle), formatted(c.Text), lines)
	var out []piece
	for _, i := range c.Images {
		u := whole(i.URL, service)
		if k, b := inside(u); b != nil {
			out = append(out, piece{file: k, bytes: b})
		} else if public(u) {
			out = append(out, piece{file: photo, url: u})
		}
	}
	if n := len(out); n > 0 && format.Length(words.words) <= mostCaption {
		if parts := words.split(mostCaption); len(parts) > 0 {
			out[n-1].text = parts[0]
		}
	} else {
		out = append(out, texts(words)...)
	}
	return under(out, rows)
}

// whole is an address with the service's in front, where it is a path.
func whole(u, service string) string {
	if strings.HasPrefix(u, "/") && !strings.HasPrefix(u, "//") && service != "" {
		return service + u
	}
	return u
}

// sent is a file that a bot sends along: its bytes where they are here, its
// address where Telegram fetches that, else its name and address.
func sent(f format.File, service string, ours kept) []piece {
	if k, b := inside(f.URL); b != nil {
		if n := files.CleanName(f.Name); n != "" {
			b.Name = n
		}
		return []piece{{file: k, bytes: b}}
	}
	if b := ours(f.URL); b != nil {
		k, _ := kindOf(b.Type)
		return []piece{{file: k, bytes: b}}
	}
	u := whole(f.URL, service)
	if k, known := kindOf(f.Type); known && public(u) {
		return []piece{{file: k, url: u}}
	}
	return texts(named(f.Name, u))
}

// named tells of a file that can't be shown.
func named(name, u string) text {
	if !format.Web(u) {
		u = ""
	}
	if name == "" && u != "" {
		if p, err := url.Parse(u); err == nil && path.Base(p.Path) != "/" && path.Base(p.Path) != "." {
			name = path.Base(p.Path)
		}
	}
	if name == "" && u == "" {
		return text{}
	}
	return join("\n", plain("📎 "+short(name, mostTitle)), plain(u))
}

// mostInside is how many bytes of a file that stands in the activity are sent.
const mostInside = 10 << 20

// inside reads a file that is its own address: data:image/png;base64,...
func inside(u string) (kind, *files.File) {
	rest, ok := strings.CutPrefix(u, "data:")
	head, body, found := strings.Cut(rest, ",")
	claimed, coded := strings.CutSuffix(head, ";base64")
	if !ok || !found || !coded || len(body) > mostInside*4/3 {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(body)
	if err != nil || len(b) == 0 {
		return "", nil
	}
	t := files.TypeOf(claimed, b)
	k, _ := kindOf(t)
	return k, &files.File{Name: "file", Type: t, Content: b}
}

// same reports whether a message shows what another one does.
func (p piece) same(o piece) bool {
	return p.words == o.words && p.file == o.file && p.url == o.url && slices.Equal(p.entities, o.entities) &&
		slices.EqualFunc(p.keys, o.keys, func(a, b []key) bool { return slices.Equal(a, b) })
}

// object encodes what can always be encoded.
func object(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

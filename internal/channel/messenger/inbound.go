package messenger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
)

// mostEvents is how many events Meta puts into a batch.
const mostEvents = 1000

// event is one thing that a person did, in Meta's words.
type event struct {
	Sender    struct{ ID string }
	Recipient struct{ ID string }
	Timestamp json.RawMessage // milliseconds, as a number or a text
	Message   *message
	Postback  *postback
	Reaction  *reaction
	Referral  json.RawMessage

	page string // whose entry it stands in
	raw  json.RawMessage
}

type message struct {
	MID         string
	Text        string
	Echo        bool                      `json:"is_echo"`
	QuickReply  *struct{ Payload string } `json:"quick_reply"`
	Attachments []attachment
	ReplyTo     struct{ MID string } `json:"reply_to"`
}

// reaction is what somebody thinks of a message.
type reaction struct{ MID, Action, Reaction, Emoji string }

type attachment struct {
	Type    string
	Title   string
	URL     string
	Payload struct {
		URL         string
		Title       string
		StickerID   json.Number `json:"sticker_id"`
		Coordinates *struct{ Lat, Long json.Number }
	}
}

type postback struct {
	MID, Title, Payload string
	Referral            json.RawMessage
}

// read reads a delivery. What in it is of no use to anybody is left out, and
// odd counts what has a form that nobody knows.
func read(b []byte) (out []event, odd int, err error) {
	var in struct {
		Object string
		Entry  []struct {
			ID        string
			Messaging []json.RawMessage
		}
	}
	if !utf8.Valid(b) || json.Unmarshal(b, &in) != nil {
		return nil, 0, errBody
	}
	if in.Object != "page" {
		return nil, 0, fault.New(fault.Invalid, `this address takes events of pages: set the webhook up for the object "page"`)
	}
	for _, e := range in.Entry {
		for _, raw := range e.Messaging {
			ev := event{page: e.ID, raw: raw}
			switch {
			case json.Unmarshal(raw, &ev) != nil:
				odd++
			case ev.told():
				out = append(out, ev)
			}
		}
	}
	if len(out) > mostEvents {
		return nil, 0, fault.New(fault.TooLarge, "a delivery has at most %d events", mostEvents)
	}
	return out, odd, nil
}

var errBody = fault.New(fault.Invalid, "the body must be a delivery of the Messenger Platform: a JSON object in UTF-8")

// told reports whether a person did something that a bot is told of: not what
// was delivered or read, and not what the page itself said.
func (e *event) told() bool {
	switch {
	case e.Sender.ID == "" || e.Recipient.ID != e.page || e.Sender.ID == e.page:
		return false
	case e.Message != nil:
		return !e.Message.Echo
	}
	return e.Postback != nil || e.Reaction != nil && e.Reaction.MID != "" || present(e.Referral)
}

func present(v json.RawMessage) bool { return len(v) > 0 && string(v) != "null" }

// sideBySide is how many conversations of a batch are taken at once.
const sideBySide = 16

// take makes events durable, those of one person in their order. When one of
// somebody's has to come again, the later ones have to as well.
func (s *Server) take(ctx context.Context, a *account, events []event) error {
	var (
		order []string
		lines = map[string][]event{}
	)
	for _, e := range events {
		if to := s.pages[e.page]; to == nil || to.AppSecret != a.AppSecret {
			s.opts.Desk.Observer().Refused(Name, string(fault.NotFound))
			s.lg.Warn("an event is of a page that the configuration does not name; it is left out", "account", a.Name, "page", e.page)
			continue
		}
		who := e.page + ":" + e.Sender.ID
		if lines[who] == nil {
			order = append(order, who)
		}
		lines[who] = append(lines[who], e)
	}
	var (
		mu    sync.Mutex // guards first
		first error
		wg    sync.WaitGroup
		room  = make(chan struct{}, sideBySide)
	)
	for _, who := range order {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := s.line(ctx, who, lines[who]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil || fault.RetryAfterOf(err) > fault.RetryAfterOf(first) {
					first = err
				}
			}
		})
	}
	wg.Wait()
	return first
}

// line takes what one person did. What can never be taken is left out: Meta
// would send it for hours, and all that came with it.
func (s *Server) line(ctx context.Context, who string, events []event) error {
	a := s.pages[events[0].page]
	for _, e := range events {
		err := s.one(ctx, a, who, &e)
		if fault.Is(err, fault.NotFound) { // deleted just now: then it begins anew
			err = s.one(ctx, a, who, &e)
		}
		if e.Reaction != nil && fault.Is(err, fault.NotFound) { // to what was never said here
			continue
		}
		switch fault.CodeOf(err) {
		case "":
		case fault.Invalid, fault.TooLarge, fault.Unsupported:
			s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
			s.lg.Warn("a message can't be taken and is left out", "account", a.Name, "page", e.page, "err", err)
		default:
			return err
		}
	}
	return nil
}

func (s *Server) one(ctx context.Context, a *account, who string, e *event) error {
	owner := Owner(a.Name)
	conv, err := s.opts.Desk.Place(ctx, who, channel.Start{
		Owner: owner, Bot: a.Bot, User: e.Sender.ID, Data: object(map[string]any{Name: data{Page: e.page, User: e.Sender.ID}}),
	})
	if err != nil {
		return err
	}
	act, greet := e.activity(a.Greeting != "")
	if _, err = s.opts.Desk.Take(ctx, channel.Inbound{Conversation: conv, Owner: owner, Activity: act, Key: e.key()}); err != nil || !greet {
		return err
	}
	_, err = s.opts.Desk.Speak(ctx, chat.Spoken{
		Bot: a.Bot, Conversation: conv, Key: Name + "\x00greeting\x00" + e.key(),
		Activity: activity.Activity{Type: activity.TypeMessage, Text: a.Greeting, TextFormat: "markdown"},
	})
	return err
}

// Owner is whose the conversations of an account are.
func Owner(account string) string { return Name + "-" + account }

// key names a delivery. Messages have a name; for what has none, all that it
// says is its name: a time in milliseconds is part of it.
func (e *event) key() string {
	switch {
	case e.Message != nil && e.Message.MID != "":
		return e.Message.MID // by which an answer to it names it too
	case e.Postback != nil && e.Postback.MID != "":
		return "postback\x00" + e.Postback.MID
	}
	var b bytes.Buffer
	if json.Compact(&b, e.raw) != nil {
		b.Write(e.raw)
	}
	sum := sha256.Sum256(b.Bytes())
	return "digest\x00" + hex.EncodeToString(sum[:])
}

// data is what of an event stands in channelData.messenger.
type data struct {
	Page  string          `json:"page"`
	User  string          `json:"user"`
	MID   string          `json:"mid,omitempty"`
	Event json.RawMessage `json:"event,omitempty"` // as Meta sent it, unless it is large
}

// mostNative is how many bytes an event may have that is kept as it came.
const mostNative = 16 << 10

// getStarted is the payload of the button with which a conversation begins, as
// docs/channels/messenger.md has it set.
const getStarted = "GET_STARTED"

// activity translates. greet says that the bot is to greet.
func (e *event) activity(greets bool) (a activity.Activity, greet bool) {
	a = activity.Activity{Type: activity.TypeMessage, From: &activity.Account{ID: e.Sender.ID, Role: "user"}, Extra: map[string]json.RawMessage{}}
	d := data{Page: e.page, User: e.Sender.ID}
	if len(e.raw) <= mostNative {
		d.Event = e.raw
	}
	switch {
	case e.Message != nil:
		d.MID, a.Text, a.ReplyToID = e.Message.MID, e.Message.Text, e.Message.ReplyTo.MID
		e.Message.into(&a)
	case e.Postback != nil:
		d.MID, a.Text = e.Postback.MID, e.Postback.Title
		if e.Postback.Payload == getStarted {
			if greet = greets; greet {
				a.Type, a.Text = activity.TypeEvent, ""
				a.Extra["name"] = json.RawMessage(`"getStarted"`)
			}
		} else {
			chosen(&a, e.Postback.Payload)
		}
	case e.Reaction != nil:
		e.Reaction.into(&a)
	default:
		a.Type = activity.TypeEvent
		a.Extra["name"], a.Extra["value"] = json.RawMessage(`"referral"`), e.Referral
	}
	a.ChannelData = object(map[string]any{Name: d})
	return a, greet
}

// into makes an activity of a reaction. Meta has names for some, and the letter
// for all.
func (r *reaction) into(a *activity.Activity) {
	a.Type, a.ReplyToID = activity.TypeReaction, r.MID
	which := "reactionsAdded"
	if r.Action == "unreact" {
		which = "reactionsRemoved"
	}
	kind := r.Reaction
	if kind == "" || kind == "other" {
		kind = first(r.Emoji, "other")
	}
	a.Extra[which] = object([]map[string]string{{"type": kind}})
}

// chosen is what somebody says by pressing a button: what the button stands
// for. Where that is an object it is the activity's value, and the text is the
// button's.
func chosen(a *activity.Activity, payload string) {
	var fields map[string]json.RawMessage
	switch {
	case payload == "":
	case json.Unmarshal([]byte(payload), &fields) == nil && fields != nil:
		a.Extra["value"] = json.RawMessage(payload)
	default:
		a.Text = payload
	}
}

// thumbs are the stickers of Messenger's own button for a thumb, in three sizes.
var thumbs = [...]string{"369239263222822", "369239343222814", "369239383222810"}

func (m *message) into(a *activity.Activity) {
	if m.QuickReply != nil {
		chosen(a, m.QuickReply.Payload)
	}
	var files, places []any
	stuck := false
	for _, x := range m.Attachments {
		link, title := first(x.Payload.URL, x.URL), first(x.Payload.Title, x.Title)
		sticker := x.Payload.StickerID.String()
		switch {
		case slices.Contains(thumbs[:], sticker):
			if a.Text == "" {
				a.Text = "👍"
			}
		case sticker != "":
			if !stuck { // a sticker comes as an image too
				files = append(files, file("image", link, ""))
			}
			stuck = true
		case x.Payload.Coordinates != nil:
			places = append(places, map[string]any{
				"type": "Place", "name": title,
				"geo": map[string]any{"type": "GeoCoordinates", "latitude": x.Payload.Coordinates.Lat, "longitude": x.Payload.Coordinates.Long},
			})
		case x.Type == "image" || x.Type == "video" || x.Type == "audio" || x.Type == "file":
			files = append(files, file(x.Type, link, title))
		case a.Text == "": // something that was shared
			a.Text = strings.TrimSpace(title + " " + link)
		}
	}
	if len(files) > 0 {
		a.Extra["attachments"] = object(files)
	}
	if len(places) > 0 {
		a.Extra["entities"] = object(places)
	}
}

// file is an attachment. Its kind is in the address, or nowhere.
func file(kind, link, title string) map[string]string {
	name := title
	if u, err := url.Parse(link); err == nil && name == "" {
		name = path.Base(u.Path)
	}
	out := map[string]string{"contentType": contentType(kind, strings.ToLower(path.Ext(name))), "contentUrl": link}
	if name != "" && name != "." && name != "/" {
		out["name"] = name
	}
	return out
}

func contentType(kind, ext string) string {
	switch ext {
	case ".png", ".gif", ".webp", ".bmp", ".tiff":
		return "image/" + ext[1:]
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".mp4":
		if kind == "audio" {
			return "audio/mp4"
		}
		return "video/mp4"
	case ".mp3":
		return "audio/mpeg"
	case ".m4a":
		return "audio/mp4"
	case ".wav", ".ogg", ".aac":
		return "audio/" + ext[1:]
	case ".pdf":
		return "application/pdf"
	}
	switch kind {
	case "image":
		return "image/jpeg"
	case "video":
		return "video/mp4"
	case "audio":
		return "audio/mp4"
	}
	return "application/octet-stream"
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// object encodes what can always be encoded.
func object(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

package telegram

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// wanted are the kinds of update that are of use.
func wanted() []string { return []string{"message", "callback_query", "message_reaction"} }

// update is one thing that somebody did, in Telegram's words.
type update struct {
	ID       int64 `json:"update_id"`
	Message  *message
	Callback *callback `json:"callback_query"`
	Reaction *reaction `json:"message_reaction"`

	raw json.RawMessage
}

type user struct {
	ID       int64
	Bot      bool   `json:"is_bot"`
	First    string `json:"first_name"`
	Last     string `json:"last_name"`
	Username string
	Language string `json:"language_code"`
	ReadsAll bool   `json:"can_read_all_group_messages"`
}

type message struct {
	ID       int64 `json:"message_id"`
	Thread   int64 `json:"message_thread_id"`
	Topic    bool  `json:"is_topic_message"`
	From     *user
	Chat     struct{ ID int64 }
	ReplyTo  *message `json:"reply_to_message"`
	Text     string
	Entities []span
	Caption  string
	Captions []span `json:"caption_entities"`
	Markup   struct {
		Rows [][]key `json:"inline_keyboard"`
	} `json:"reply_markup"`

	Photo     []sentFile
	Document  *sentFile
	Animation *sentFile
	Audio     *sentFile
	Voice     *sentFile
	Video     *sentFile
	VideoNote *sentFile `json:"video_note"`
	Sticker   *sticker
	Location  *location
	Venue     *struct {
		Location location
		Title    string
		Address  string
	}
	Contact *struct {
		Phone string `json:"phone_number"`
		First string `json:"first_name"`
		Last  string `json:"last_name"`
	}
}

// span is an entity of what somebody wrote.
type span struct {
	Type           string
	Offset, Length int
	User           *user
}

type sentFile struct {
	ID   string `json:"file_id"`
	Name string `json:"file_name"`
	Type string `json:"mime_type"`
	Size int64  `json:"file_size"`
}

type sticker struct{ Emoji string }

type location struct {
	Latitude  json.Number
	Longitude json.Number
}

type callback struct {
	ID      string
	From    *user
	Message *message
	Data    string
}

type reaction struct {
	Chat    struct{ ID int64 }
	Message int64 `json:"message_id"`
	User    *user
	Old     []liking `json:"old_reaction"`
	New     []liking `json:"new_reaction"`
}

type liking struct{ Type, Emoji string }

var errUpdate = fault.New(fault.Invalid, "the body must be an update of Telegram's Bot API: a JSON object in UTF-8 with its update_id")

// read reads an update.
func read(b []byte) (update, error) {
	var u update
	if !utf8.Valid(b) || json.Unmarshal(b, &u) != nil || u.ID <= 0 {
		return update{}, errUpdate
	}
	u.raw = b
	return u, nil
}

// take makes an update durable. What can never be taken is left out: Telegram
// would send it again and again, and nothing that comes behind it.
func (s *Server) take(ctx context.Context, a *account, u update) error {
	err := s.one(ctx, a, u)
	if fault.Is(err, fault.NotFound) { // deleted just now: then it begins anew
		err = s.one(ctx, a, u)
	}
	switch code := fault.CodeOf(err); code {
	case fault.NotFound, fault.Invalid, fault.TooLarge, fault.Unsupported, fault.Conflict:
		if u.Reaction != nil && code == fault.NotFound { // to what was never said here
			return nil
		}
		s.opts.Desk.Observer().Refused(Name, string(code))
		s.lg.Warn("an update can't be taken and is left out", "account", a.Name, "update", u.ID, "err", err)
		return nil
	}
	return err
}

// one takes what an update says, if it is for the bot.
func (s *Server) one(ctx context.Context, a *account, u update) error {
	switch m := u.Message; {
	case u.Callback != nil:
		return s.pressed(ctx, a, u)
	case u.Reaction != nil:
		return s.reacted(ctx, a, u)
	case m == nil || !person(m.From) || m.Chat.ID == 0:
		return nil // nobody's, or another bot's: two bots would talk for ever
	default:
		return s.said(ctx, a, u)
	}
}

func person(u *user) bool { return u != nil && u.ID > 0 && !u.Bot }

// where is where a message stands, and who did something there.
func (m *message) where(who *user, u update) place {
	p := place{Chat: m.Chat.ID, User: who.ID, Message: m.ID}
	if m.Topic {
		p.Thread = m.Thread
	}
	if len(u.raw) <= mostNative {
		p.Update = u.raw
	}
	return p
}

// mostNative is how many bytes an update may have that is kept as it came.
const mostNative = 16 << 10

// begin finds the conversation of a place.
func (s *Server) begin(ctx context.Context, a *account, p place) (conv string, err error) {
	start := channel.Start{Owner: Owner(a.Name), Bot: a.Bot, Data: object(map[string]place{Name: {Chat: p.Chat, Thread: p.Thread, User: p.User}})}
	if p.private() {
		start.User = strconv.FormatInt(p.User, 10)
	}
	return s.opts.Desk.Place(ctx, p.name(), start)
}

// put takes an activity of somebody's at a place.
func (s *Server) put(ctx context.Context, a *account, conv string, p place, who *user, act activity.Activity, key string) error {
	act.From = &activity.Account{ID: strconv.FormatInt(who.ID, 10), Name: who.name(), Role: "user"}
	act.Locale = who.Language
	act.ChannelData = object(map[string]place{Name: p})
	_, err := s.opts.Desk.Take(ctx, channel.Inbound{Conversation: conv, Owner: Owner(a.Name), Activity: act, Key: key})
	return err
}

func (u *user) name() string { return short(u.First+" "+u.Last, 128) }

// said takes a message. Its own name names the delivery too, so that answers to
// it find it.
func (s *Server) said(ctx context.Context, a *account, u update) error {
	m := u.Message
	p := m.where(m.From, u)
	written := m.words()
	if !p.private() {
		me, err := s.self(ctx, a)
		if err != nil {
			return err
		}
		mine := m.ReplyTo != nil && m.ReplyTo.From != nil && m.ReplyTo.From.ID == a.id
		rest, called := written.without(me)
		if !called && !mine {
			return nil
		}
		written.words = rest
	}
	act := activity.Activity{Type: activity.TypeMessage, Text: written.words, Extra: map[string]json.RawMessage{}}
	if m.ReplyTo != nil && m.ReplyTo.ID != p.Thread {
		act.ReplyToID = strconv.FormatInt(m.ReplyTo.ID, 10)
	}
	m.other(&act)
	sent := m.files()
	if act.Text == "" && len(act.Extra) == 0 && len(sent) == 0 {
		return nil // somebody came, went, or changed the group's picture
	}
	conv, err := s.begin(ctx, a, p)
	if err != nil {
		return err
	}
	key := strconv.FormatInt(m.ID, 10)
	if err := s.fetched(ctx, a, conv, key, sent, &act); err != nil {
		return err
	}
	payload, start := strings.CutPrefix(act.Text, "/start")
	greet := start && a.Greeting != "" && (payload == "" || payload[0] == ' ')
	if greet {
		act.Type, act.Text = activity.TypeEvent, ""
		act.Extra["name"] = json.RawMessage(`"start"`)
		if payload = strings.TrimSpace(payload); payload != "" {
			act.Extra["value"] = object(payload)
		}
	}
	if err := s.put(ctx, a, conv, p, m.From, act, key); err != nil || !greet {
		return err
	}
	_, err = s.opts.Desk.Speak(ctx, chat.Spoken{
		Bot: a.Bot, Conversation: conv, Key: Name + "\x00greeting\x00" + key,
		Activity: activity.Activity{Type: activity.TypeMessage, Text: a.Greeting, TextFormat: "markdown"},
	})
	return err
}

// written is a text that somebody wrote, and where in it something stands.
type written struct {
	words string
	spans []span
}

func (m *message) words() written {
	if m.Text != "" {
		return written{m.Text, m.Entities}
	}
	return written{m.Caption, m.Captions}
}

// without is a text without the bot's name where it only says who is meant;
// called is false when the bot is not named.
func (w written) without(me *user) (rest string, called bool) {
	units := utf16.Encode([]rune(w.words))
	name := "@" + me.Username
	for _, s := range slices.Backward(w.spans) {
		if s.Offset < 0 || s.Length <= 0 || s.Length > len(units) || s.Offset > len(units)-s.Length {
			continue
		}
		is := string(utf16.Decode(units[s.Offset : s.Offset+s.Length]))
		end := s.Offset + s.Length
		switch {
		case s.Type == "mention" && strings.EqualFold(is, name), s.Type == "text_mention" && s.User != nil && s.User.ID == me.ID:
			called = true
			if s.Offset == 0 || end == len(units) {
				units = slices.Concat(units[:s.Offset], units[end:])
			}
		case s.Type == "bot_command" && len(is) > len(name) && strings.EqualFold(is[len(is)-len(name):], name):
			called = true
			units = slices.Concat(units[:end-len(name)], units[end:])
		}
	}
	return strings.TrimSpace(string(utf16.Decode(units))), called
}

// other puts what is neither text nor file into an activity.
func (m *message) other(act *activity.Activity) {
	where := m.Location
	name := ""
	if m.Venue != nil {
		where, name = &m.Venue.Location, strings.TrimSpace(m.Venue.Title+", "+m.Venue.Address)
	}
	if where != nil {
		act.Extra["entities"] = object([]any{map[string]any{
			"type": "Place", "name": name, "geo": map[string]any{"type": "GeoCoordinates", "latitude": where.Latitude, "longitude": where.Longitude},
		}})
	}
	if m.Contact != nil {
		act.Text = short(m.Contact.First+" "+m.Contact.Last+" "+m.Contact.Phone, mostNotice)
	}
	if m.Sticker != nil {
		act.Text = m.Sticker.Emoji
	}
}

// files are those of a message, of a picture the largest.
func (m *message) files() (out []sentFile) {
	if n := len(m.Photo); n > 0 {
		f := m.Photo[n-1]
		f.Name, f.Type = fmt.Sprintf("photo-%d.jpg", m.ID), "image/jpeg"
		out = append(out, f)
	}
	if m.Animation != nil { // comes as a document too
		m.Document = nil
	}
	for _, x := range []struct {
		name string
		file *sentFile
	}{{"file", m.Document}, {"animation", m.Animation}, {"audio", m.Audio}, {"voice", m.Voice}, {"video", m.Video}, {"round-video", m.VideoNote}} {
		if f := x.file; f != nil {
			if f.Name == "" {
				f.Name = fmt.Sprintf("%s-%d", x.name, m.ID)
			}
			out = append(out, *f)
		}
	}
	return out
}

// fileTime is how long a file may take to come.
const fileTime = 20 * time.Second

// fetched keeps what was sent along. Of what can't be kept the name is left:
// too large, of a type that is not taken, or no longer there.
func (s *Server) fetched(ctx context.Context, a *account, conv, key string, sent []sentFile, act *activity.Activity) error {
	var out []any
	for _, f := range sent {
		at, err := s.keep(ctx, a, conv, key, f)
		switch fault.CodeOf(err) {
		case "":
			out = append(out, at)
		case fault.TooLarge, fault.Invalid, fault.Unsupported, fault.NotFound, fault.Forbidden:
			s.lg.Info("a file that somebody sent is not kept", "account", a.Name, "bytes", f.Size, "err", err)
			out = append(out, map[string]string{"contentType": files.TypeName(f.Type), "name": files.CleanName(f.Name)})
		default:
			return err
		}
	}
	if len(out) > 0 {
		act.Extra["attachments"] = object(out)
	}
	return nil
}

func (s *Server) keep(ctx context.Context, a *account, conv, key string, f sentFile) (files.Attachment, error) {
	if f.Size > s.opts.MaxFile {
		return files.Attachment{}, fault.New(fault.TooLarge, "the file has %d bytes; at most %d are taken", f.Size, s.opts.MaxFile)
	}
	call, cancel := context.WithTimeout(ctx, fileTime)
	defer cancel()
	b, err := s.fetch(call, a, f.ID, s.opts.MaxFile)
	if err != nil {
		return files.Attachment{}, err
	}
	return s.opts.Desk.Keep(ctx, Owner(a.Name), conv, key, files.File{Name: f.Name, Type: f.Type, Content: b})
}

// pressed takes the press of a button: what the button stands for, as the log
// has it. What a client sends only says which one it is.
func (s *Server) pressed(ctx context.Context, a *account, u update) error {
	c := u.Callback
	m := c.Message
	if !person(c.From) || m == nil || m.Chat.ID == 0 || c.ID == "" {
		return nil
	}
	p := m.where(c.From, u)
	conv, err := s.begin(ctx, a, p)
	if err != nil {
		return err
	}
	act, title, err := s.chosen(ctx, a, conv, c)
	if err != nil {
		return err
	}
	if title != "" {
		act.ReplyToID = strconv.FormatInt(m.ID, 10)
		if err := s.put(ctx, a, conv, p, c.From, act, "press "+c.ID); err != nil {
			return err
		}
	}
	s.acknowledge(ctx, a, c.ID, title)
	return nil
}

// chosen is what somebody says by pressing a button; title is "" when the
// button is not one of ours.
func (s *Server) chosen(ctx context.Context, a *account, conv string, c *callback) (act activity.Activity, title string, err error) {
	id, place := pressed(c.Data)
	if id == 0 {
		return act, "", nil
	}
	on, err := s.opts.Desk.Said(ctx, Owner(a.Name), conv, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return act, "", err
	}
	act = activity.Activity{Type: activity.TypeMessage, Extra: map[string]json.RawMessage{}}
	if err == nil && on.FromBot() {
		if buttons := pressable(on); place < len(buttons) {
			b := buttons[place]
			said, back := b.Said()
			if len(back) > 0 {
				act.Extra["value"] = back
			}
			if act.Text = said; strings.TrimSpace(said) == "" {
				act.Text = b.Title
			}
			return act, b.Title, nil
		}
	}
	for _, row := range c.Message.Markup.Rows { // the bot has changed or deleted it
		for _, k := range row {
			if k.Data == c.Data {
				act.Text = k.Text
				return act, k.Text, nil
			}
		}
	}
	return act, "", nil
}

const (
	answerTime = 3 * time.Second
	mostNotice = 200
)

// acknowledge ends the button's waiting, and shows what was chosen. Telegram
// takes it for some seconds only: what fails is left.
func (s *Server) acknowledge(ctx context.Context, a *account, id, title string) {
	call, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	in := map[string]string{"callback_query_id": id}
	if title != "" {
		in["text"] = short(title, mostNotice)
	}
	var ok bool
	if err := s.call(call, a, "answerCallbackQuery", in, &ok); err != nil {
		s.lg.Info("a press is not acknowledged", "account", a.Name, "err", err)
	}
}

// reacted takes what somebody thinks of a message.
func (s *Server) reacted(ctx context.Context, a *account, u update) error {
	r := u.Reaction
	if !person(r.User) || r.Chat.ID == 0 {
		return nil
	}
	act := activity.Activity{Type: activity.TypeReaction, ReplyToID: strconv.FormatInt(r.Message, 10), Extra: map[string]json.RawMessage{}}
	for field, kinds := range map[string][]map[string]string{"reactionsAdded": missing(r.New, r.Old), "reactionsRemoved": missing(r.Old, r.New)} {
		if len(kinds) > 0 {
			act.Extra[field] = object(kinds)
		}
	}
	if len(act.Extra) == 0 {
		return nil
	}
	m := message{ID: r.Message}
	m.Chat.ID = r.Chat.ID
	p := m.where(r.User, u)
	conv, err := s.begin(ctx, a, p)
	if err != nil {
		return err
	}
	return s.put(ctx, a, conv, p, r.User, act, fmt.Sprint("update ", u.ID))
}

// missing are the emoji of which the other list has none.
func missing(of, in []liking) (out []map[string]string) {
	for _, l := range of {
		if l.Type == "emoji" && !slices.Contains(in, l) {
			out = append(out, map[string]string{"type": l.Emoji})
		}
	}
	return out
}

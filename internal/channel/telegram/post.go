package telegram

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// Pace is how often a growing answer is shown: Telegram wants no more than about
// one message a second in a chat, changes included.
func (s *Server) Pace() time.Duration { return 1200 * time.Millisecond }

// Post satisfies channel.Poster.
//
// An item may be several messages, and Telegram takes each for itself. The ref
// says which of them are there, in their order, also beside an error: the next
// try makes those what they have to be, and goes on behind them.
//
// The Bot API takes no name for a message and shows no bot what it said. So in
// doubt a message without a known number is sent again: twice is better than
// never. What has a number is only changed, which can be repeated.
func (s *Server) Post(ctx context.Context, p channel.Post) (ref string, err error) {
	a := p.Item.Activity
	grows := a.Type == activity.TypeTyping
	if !a.FromBot() || !grows && a.Type != activity.TypeMessage && a.Type != activity.TypeDelete {
		return p.Ref, nil // nothing that people see
	}
	acc := s.owners[p.Owner]
	if acc == nil {
		return p.Ref, fault.New(fault.NotFound, "the account of this conversation is not in the configuration (any more): add it under channels.telegram and replay this")
	}
	to, ok := placeOf(p.Last)
	if !ok {
		return p.Ref, fault.New(fault.NotFound, "nobody has written in this conversation by Telegram, so there is no chat to write to")
	}
	d := &delivery{Server: s, account: acc, to: to, post: p, grows: grows, there: parseRef(p.Ref)}
	switch {
	case a.Type == activity.TypeDelete:
		err = d.withdraw(ctx, 0)
	case grows && (p.Item.Stream == nil || p.Item.Stream.Note || !to.private()):
		return p.Ref, d.typing(ctx) // a group has room for 20 messages a minute, changes included
	default:
		err = d.bring(ctx)
	}
	return d.ref(), err
}

// delivery is one item on its way to Telegram.
type delivery struct {
	*Server
	*account
	to    place
	post  channel.Post
	grows bool
	there []arrived
}

// arrived is a message that is there.
type arrived struct {
	id   int64
	file bool // or what stands in the place of one
}

// parseRef reads which messages an item has become: their numbers, behind those
// of files an f. A word is a number, by which answers to a message find it.
func parseRef(ref string) (out []arrived) {
	for _, word := range strings.Fields(ref) {
		if word == isFile && len(out) > 0 {
			out[len(out)-1].file = true
		} else if id, err := strconv.ParseInt(word, 10, 64); err == nil {
			out = append(out, arrived{id: id})
		}
	}
	return out
}

const isFile = "f"

func (d *delivery) ref() string {
	var words []string
	for _, m := range d.there {
		words = append(words, strconv.FormatInt(m.id, 10))
		if m.file {
			words = append(words, isFile)
		}
	}
	return strings.Join(words, " ")
}

// bring makes the messages in Telegram those that the item is now.
func (d *delivery) bring(ctx context.Context) error {
	a := d.post.Item.Activity
	var want, had []piece
	if d.grows {
		want = growing(a.Text, a.TextFormat)
	} else {
		want = render(a, d.post.Item.ID, d.opts.Service, func(address string) *files.File { return d.ours(ctx, address) })
	}
	if len(want) == 0 {
		return fault.New(fault.Unsupported, "there is nothing in this that Telegram can show: no text, no card and no file with an address")
	}
	if d.post.Sent != "" && !d.post.Doubt {
		had = growing(d.post.Sent, a.TextFormat)
	}
	for i, m := range want {
		if i < len(d.there) && d.there[i].file != (m.file != "") {
			if err := d.withdraw(ctx, i); err != nil {
				return err
			}
		}
		if err := d.show(ctx, i, m, i < len(had) && had[i].same(m)); err != nil {
			return err
		}
	}
	return d.withdraw(ctx, len(want))
}

// growing is a text as the messages that show it while it grows.
func growing(s, textFormat string) []piece {
	t := plain(clean(s))
	if textFormat != "plain" {
		t = formatted(s)
	}
	if out := texts(t); len(out) > 0 {
		return out
	}
	return []piece{{text: plain("…")}}
}

// ours is a file that Parley keeps, nil if the address is of none.
func (d *delivery) ours(ctx context.Context, address string) *files.File {
	f, err := d.opts.Desk.Kept(ctx, d.post.Owner, d.post.Conversation, address)
	if err != nil {
		return nil
	}
	return &f
}

// show makes the i-th message m. known says that it is that already.
func (d *delivery) show(ctx context.Context, i int, m piece, known bool) error {
	if i >= len(d.there) {
		return d.begin(ctx, i, m)
	}
	if known || m.file != "" { // a file stays what it was
		return nil
	}
	in := d.fields(m)
	in["message_id"] = d.there[i].id
	var got any
	err := d.call(ctx, d.account, "editMessageText", in, &got)
	switch {
	case says(err, "message is not modified"):
		return nil
	case says(err, "message to edit not found", "message can't be edited", "message_id_invalid", "there is no text in the message") && !d.grows:
		if err := d.withdraw(ctx, i); err != nil { // somebody deleted it: what follows would stand before it
			return err
		}
		return d.begin(ctx, i, m)
	}
	return err
}

// begin sends a message.
func (d *delivery) begin(ctx context.Context, i int, m piece) error {
	var got struct {
		ID int64 `json:"message_id"`
	}
	file := m.file != ""
	err := d.hand(ctx, m, d.fresh(ctx, i, m), &got)
	if file && m.bytes == nil && fault.Is(err, fault.Invalid) { // Telegram can't fetch it, or it is not what its type says
		m = piece{text: join("\n\n", m.text, named("", m.url)).split(mostText)[0], keys: m.keys}
		err = d.hand(ctx, m, d.fresh(ctx, i, m), &got)
	}
	if err != nil {
		return err
	}
	d.there = append(d.there, arrived{got.ID, file})
	return nil
}

// fresh are the fields of the i-th message, as one that is sent.
func (d *delivery) fresh(ctx context.Context, i int, m piece) map[string]any {
	in := d.fields(m)
	if d.to.Thread != 0 {
		in["message_thread_id"] = d.to.Thread
	}
	if i == 0 && !d.to.private() {
		if id := d.answered(ctx); id != 0 {
			in["reply_parameters"] = map[string]any{"message_id": id, "allow_sending_without_reply": true}
		}
	}
	return in
}

// hand sends a message, and once more to where the group has moved.
func (d *delivery) hand(ctx context.Context, m piece, in map[string]any, out any) error {
	send := func() error {
		if m.bytes != nil {
			return d.upload(ctx, d.account, m.file.method(), in, string(m.file), m.bytes, out)
		}
		return d.call(ctx, d.account, m.file.method(), in, out)
	}
	err := send()
	if to := moved(err); to != 0 {
		d.to.Chat = to
		in["chat_id"] = to
		delete(in, "reply_parameters")
		err = send()
	}
	return err
}

// fields are what all methods have in common that send or change a message.
func (d *delivery) fields(m piece) map[string]any {
	in := map[string]any{"chat_id": d.to.Chat}
	if len(m.keys) > 0 {
		in["reply_markup"] = map[string]any{"inline_keyboard": m.keys}
	}
	words, entities := "text", "entities"
	if m.file != "" {
		words, entities = "caption", "caption_entities"
		if m.bytes == nil {
			in[string(m.file)] = m.url
		}
	} else {
		// Telegram would fetch what a bot's words lead to, and a bot may have been
		// talked into an address that tells somebody what was said.
		in["link_preview_options"] = map[string]bool{"is_disabled": true}
	}
	if m.words != "" {
		in[words] = m.words
	}
	if len(m.entities) > 0 {
		in[entities] = m.entities
	}
	return in
}

// answered is the message that the item answers; 0 = it is not known.
func (d *delivery) answered(ctx context.Context) int64 {
	if d.post.Item.ReplyTo == 0 {
		return 0
	}
	a, err := d.opts.Desk.Said(ctx, d.post.Owner, d.post.Conversation, d.post.Item.ReplyTo)
	if err != nil {
		return 0
	}
	p, _ := placeOf(a)
	return p.Message
}

// withdraw takes back the messages from the i-th on.
func (d *delivery) withdraw(ctx context.Context, i int) error {
	for len(d.there) > i {
		last := d.there[len(d.there)-1]
		var ok bool
		err := d.call(ctx, d.account, "deleteMessage", map[string]int64{"chat_id": d.to.Chat, "message_id": last.id}, &ok)
		if err != nil && !says(err, "message to delete not found", "message_id_invalid") {
			return err
		}
		d.there = d.there[:len(d.there)-1]
	}
	return nil
}

// typing shows that somebody writes, for five seconds.
func (d *delivery) typing(ctx context.Context) error {
	in := map[string]any{"chat_id": d.to.Chat, "action": "typing"}
	if d.to.Thread != 0 {
		in["message_thread_id"] = d.to.Thread
	}
	var ok bool
	return d.call(ctx, d.account, "sendChatAction", in, &ok)
}

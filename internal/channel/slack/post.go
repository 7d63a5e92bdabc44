package slack

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// Pace is how often a growing answer is shown: Slack takes about a hundred
// pieces a minute for all conversations of a workspace.
func (s *Server) Pace() time.Duration { return time.Second }

// Post brings an item to Slack.
func (s *Server) Post(ctx context.Context, p channel.Post) (ref string, err error) {
	a := p.Item.Activity
	if a == nil || !a.FromBot() {
		return p.Ref, nil
	}
	grows := a.Type == activity.TypeTyping
	if !grows && a.Type != activity.TypeMessage && a.Type != activity.TypeDelete {
		return p.Ref, nil // nothing that people see
	}
	to, ok := placeOf(p.Last)
	if !ok {
		return "", fault.New(fault.Unavailable, "it is not known yet where in Slack this conversation is")
	}
	acc := s.accounts[to.Account]
	if acc == nil {
		return "", fault.New(fault.NotFound, "the Slack account %q is not configured any more", to.Account)
	}
	d := &delivery{account: acc, to: to, post: p, public: s.opts.Public, sent: parseSent(p.Ref)}
	d.name = p.Item.ID
	if p.Item.Stream != nil {
		d.name = p.Item.Stream.ID
	}
	switch {
	case a.Type == activity.TypeDelete:
		return d.takeBack(ctx)
	case grows && (p.Item.Stream == nil || p.Item.Stream.Note):
		d.status(ctx, a.Text)
		return p.Ref, nil
	}
	return d.bring(ctx, grows)
}

// sent is which messages an activity has become. As a ref it is their times;
// "~" behind the last means that Slack still shows it growing.
type sent struct {
	ts   []string
	open bool
}

func parseSent(ref string) (s sent) {
	if ref == "" {
		return s
	}
	ref, s.open = strings.CutSuffix(ref, "~")
	s.ts = strings.Split(ref, ",")
	return s
}

func (s sent) ref() string {
	ref := strings.Join(s.ts, ",")
	if s.open {
		ref += "~"
	}
	return ref
}

// running reports whether the i-th message is one that grows.
func (s sent) running(i int) bool { return s.open && i == len(s.ts)-1 }

// delivery is one item on its way to Slack.
type delivery struct {
	*account
	to      place
	post    channel.Post
	public  string
	name    uint64 // names the activity, in all its parts and versions
	sent    sent
	had     []message // what the messages show; nil = not known
	found   []api.Message
	streams bool // what grows is one of Slack's streams
	loaded  bool // a file has been uploaded
}

// bring makes the messages in Slack those that the item is now.
func (d *delivery) bring(ctx context.Context, grows bool) (string, error) {
	if d.post.Doubt {
		if err := d.find(ctx); err != nil {
			return d.post.Ref, err
		}
	}
	d.streams = d.sent.open || grows && d.canStream()
	err := d.all(ctx, grows)
	if errors.Is(err, errNoStreams) {
		d.streams = false
		err = d.all(ctx, grows)
	}
	return d.sent.ref(), err
}

// canStream reports whether Slack has streams where the item goes: in threads,
// if the app may, and not too many at once.
func (d *delivery) canStream() bool {
	if len(d.sent.ts) > 0 || d.to.Thread == "" || d.post.Item.Activity.TextFormat == "plain" || d.refused("chat.startStream") {
		return false
	}
	_, ok := d.pace.starts.Take("", time.Now())
	return ok
}

func (d *delivery) all(ctx context.Context, grows bool) error {
	a, whose := d.post.Item.Activity, ""
	if d.to.Thread == "" {
		whose = d.to.For
	}
	var (
		want  []message
		files []upload
		plain = a.TextFormat == "plain"
	)
	if grows {
		want = d.growing(a.Text, plain)
	} else {
		want, files = messages(a, d.public, whose)
	}
	if d.had = nil; d.post.Ref != "" && !d.post.Doubt {
		d.had = d.growing(d.post.Sent, plain)
	}
	for i, m := range want {
		if err := d.show(ctx, i, m, grows && i == len(want)-1, grows); err != nil {
			return err
		}
	}
	if err := d.withdraw(ctx, len(want)); err != nil {
		return err
	}
	for _, f := range files {
		if err := d.upload(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// growing is a text as the messages that show it while it grows. To a stream
// only what is settled is appended; a message that is changed shows all.
func (d *delivery) growing(text string, plain bool) []message {
	all := said(text, plain, d.streams)
	if len(all) == 0 && d.streams {
		all = []message{{}} // a stream may begin with nothing
	}
	return all
}

// show makes the i-th message m. stays means that it goes on growing, hurry
// that the whole item does, so that it may as well be shown a little later.
func (d *delivery) show(ctx context.Context, i int, m message, stays, hurry bool) error {
	if i >= len(d.sent.ts) {
		return d.begin(ctx, i, m, stays)
	}
	known := i < len(d.had) && d.had[i].plain == m.plain && strings.HasPrefix(m.text, d.had[i].text)
	if d.sent.running(i) {
		switch err := d.goOn(ctx, i, m, known, stays); {
		case refusal(err) == "stopped_by_user":
			d.sent.open = false
			return fault.New(fault.Canceled, "somebody in Slack stopped the answer")
		case err != nil && !over(err):
			return meaning(err)
		case err == nil && known:
			d.sent.open = stays
			return nil
		}
		d.sent.open = false
	}
	if known && d.had[i].equal(m) {
		return nil
	}
	if hurry {
		if wait, ok := d.pace.updates.Take("", time.Now()); !ok {
			return later(wait)
		}
	}
	_, err := d.call(ctx, slices.Concat([]api.MsgOption{api.MsgOptionUpdate(d.sent.ts[i]), d.metadata(i)}, m.options())...)
	return meaning(err)
}

// goOn appends to a stream what m has more than it shows, and ends it unless it
// stays. One of which nobody knows what it shows is only ended.
func (d *delivery) goOn(ctx context.Context, i int, m message, known, stays bool) error {
	if !known {
		return d.stop(ctx, i, "", nil)
	}
	more := m.text[len(d.had[i].text):]
	switch {
	case !stays:
		return d.stop(ctx, i, more, m.blocks)
	case more == "":
		return nil
	}
	if wait, ok := d.pace.appends.Take("", time.Now()); !ok {
		return later(wait)
	}
	_, err := d.call(ctx, api.MsgOptionAppendStream(d.sent.ts[i]), api.MsgOptionMarkdownText(more))
	return err
}

func later(wait time.Duration) error {
	return fault.New(fault.Limited, "other answers are being shown").After(wait)
}

// over reports whether Slack has ended a stream by itself, as it does after
// some five minutes.
func over(err error) bool { return refusal(err) == "message_not_in_streaming_state" }

var errNoStreams = errors.New("slack: no streams here")

// begin posts a new message, as a stream if it stays and that is to be.
func (d *delivery) begin(ctx context.Context, i int, m message, stays bool) error {
	if stays && d.streams {
		opts := []api.MsgOption{api.MsgOptionStartStream(), api.MsgOptionTS(d.to.Thread), api.MsgOptionRecipientTeamID(d.to.Team), api.MsgOptionRecipientUserID(d.to.User)}
		if m.text != "" {
			opts = append(opts, api.MsgOptionMarkdownText(m.text))
		}
		ts, err := d.call(ctx, opts...)
		switch {
		case err == nil:
			d.sent.ts, d.sent.open = append(d.sent.ts, ts), true
			return nil
		case unable(err):
			d.learn("chat.startStream", err)
			return errNoStreams
		}
		return meaning(err)
	}
	opts := slices.Concat([]api.MsgOption{api.MsgOptionPost(), d.metadata(i)}, m.options())
	if d.to.Thread != "" {
		opts = append(opts, api.MsgOptionTS(d.to.Thread))
	}
	ts, err := d.call(ctx, opts...)
	if err != nil {
		return meaning(err)
	}
	d.sent.ts = append(d.sent.ts, ts)
	return nil
}

// unable reports whether Slack refuses to stream rather than to take the
// message: then it is posted, and changed as it grows.
func unable(err error) bool {
	switch word := refusal(err); word {
	case "", "ratelimited", "rate_limited", "message_limit_exceeded", "channel_not_found", "not_in_channel", "is_archived",
		"token_revoked", "token_expired", "invalid_auth", "not_authed", "account_inactive":
		return false
	default:
		return !passing[word]
	}
}

// learn remembers that Slack refuses a method to the app, wherever it is called.
func (a *account) learn(method string, err error) {
	switch refusal(err) {
	case "missing_scope", "unknown_method", "method_deprecated", "deprecated_endpoint", "not_allowed_token_type", "access_denied", "no_permission":
		a.quiet.Store(method, true)
	}
}

// refused reports whether Slack has refused a method to this app before.
func (a *account) refused(method string) bool {
	_, ok := a.quiet.Load(method)
	return ok
}

func (d *delivery) stop(ctx context.Context, i int, more string, blocks []api.Block) error {
	opts := []api.MsgOption{api.MsgOptionStopStream(d.sent.ts[i]), d.metadata(i)}
	if more != "" {
		opts = append(opts, api.MsgOptionMarkdownText(more))
	}
	if len(blocks) > 0 {
		opts = append(opts, api.MsgOptionBlocks(blocks...))
	}
	_, err := d.call(ctx, opts...)
	return err
}

func (d *delivery) call(ctx context.Context, opts ...api.MsgOption) (ts string, err error) {
	_, ts, _, err = d.api.SendMessageContext(ctx, d.to.Channel, opts...)
	return ts, err
}

func (d *delivery) takeBack(ctx context.Context) (string, error) {
	if d.post.Doubt {
		if err := d.find(ctx); err != nil {
			return d.post.Ref, err
		}
	}
	err := d.withdraw(ctx, 0)
	return d.sent.ref(), err
}

// withdraw deletes the messages from the i-th on.
func (d *delivery) withdraw(ctx context.Context, i int) error {
	for n := len(d.sent.ts) - 1; n >= i; n-- {
		if d.sent.running(n) {
			if err := d.stop(ctx, n, "", nil); err != nil && !over(err) && refusal(err) != "message_not_found" {
				return meaning(err)
			}
			d.sent.open = false
		}
		if _, err := d.call(ctx, api.MsgOptionDelete(d.sent.ts[n])); err != nil && refusal(err) != "message_not_found" {
			return meaning(err)
		}
		d.sent.ts = d.sent.ts[:n]
	}
	return nil
}

// has reports whether a file of that name was found, when the item was in doubt.
func (d *delivery) has(f upload) bool {
	return slices.ContainsFunc(d.found, func(m api.Message) bool {
		return m.BotID != "" && slices.ContainsFunc(m.Files, func(x api.File) bool { return x.Name == f.name })
	})
}

// upload posts a file. Files have no ref: after the first of several it is
// asked which are there.
func (d *delivery) upload(ctx context.Context, f upload) error {
	if d.has(f) {
		return nil
	}
	_, err := d.api.UploadFileContext(ctx, api.UploadFileParameters{
		Filename: f.name, Title: f.name, FileSize: len(f.content), Content: string(f.content),
		Channel: d.to.Channel, ThreadTimestamp: d.to.Thread,
	})
	if err = meaning(err); d.loaded && (fault.Is(err, fault.Limited) || fault.Is(err, fault.Unavailable)) {
		return fault.Wrap(err, fault.Internal, "%s", fault.MessageOf(err)).After(fault.RetryAfterOf(err))
	}
	d.loaded = d.loaded || err == nil
	return err
}

// status shows that an answer is being written, where Slack shows that. It is
// a nicety: what comes of it is of no concern.
func (d *delivery) status(ctx context.Context, note string) {
	if d.to.Thread == "" || d.refused("assistant.threads.setStatus") {
		return
	}
	if _, ok := d.pace.statuses.Take("", time.Now()); !ok {
		return
	}
	if note == "" {
		note = "is writing…"
	}
	err := d.api.SetAssistantThreadsStatusContext(ctx, api.AssistantThreadsSetStatusParameters{
		ChannelID: d.to.Channel, ThreadTS: d.to.Thread, Status: cut(note, 50),
	})
	d.learn("assistant.threads.setStatus", err)
}

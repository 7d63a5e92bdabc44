package chat

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// Courier brings what people say to bots that run elsewhere.
type Courier interface {
	// Deliver gives an activity to its bot and returns when the bot is through
	// with it, with what it answers there and then; whatever else it says comes
	// by Speak, before or after. Deliver calls sending before the first byte of
	// the activity leaves, and an error of that ends it. Unavailable and Limited
	// mean that the bot did not take the activity: it may be given again. After
	// any other error the bot may have it.
	Deliver(ctx context.Context, d Delivery, sending func() error) ([]activity.Activity, error)
}

// Delivery is something that was said, for a bot.
type Delivery struct {
	Bot          string
	Conversation string
	Channel      string
	User         string             // whom a channel bound the conversation to
	Activity     *activity.Activity // as in the log; not to be changed
	Pos          uint64             // that names it
	ReplyTo      uint64             // position of what it is to; 0 = nothing
	At           time.Time
}

// defaultLimit is how long a message is a bot's affair unless Bot.Limit says.
const defaultLimit = time.Minute

// botEngine stands where an engine's name does.
const botEngine = "bot"

// deliver gives the turn's activity to a bot that runs elsewhere and ends the
// turn when the bot is through. goesOn says that the bot left the message to
// the language model.
//
// A bot gets an activity once: before it leaves, that is written down under
// the claim. Whoever finds that written and does not know what became of it,
// because the node that wrote it is dead, gives nothing a second time. It
// waits for what the bot says, and tells the person when that is nothing.
func (a *attempt) deliver(ctx context.Context) (goesOn, over bool, wait time.Duration, err error) {
	gen, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go a.watch(gen, cancel)
	a.away = true
	if a.v.turn.Continues != "" {
		over, wait, err = a.end(ctx, event.Failed, "", lm.Result{}, fault.New(fault.Unsupported, "a bot that runs elsewhere can't go on with an answer; ask again"))
		return false, over, wait, err
	}
	if err = a.recount(gen); err == nil && !a.given.over {
		if a.v.sent > 0 && a.v.sent < a.first {
			err = a.await(gen)
		} else {
			err = a.hand(gen)
		}
		if gen.Err() == nil && !errors.Is(err, errLog) && !errors.Is(err, errOvertaken) {
			a.given.over, a.given.err = true, err
		}
	}
	if err == nil {
		err = a.given.err
	}
	for i := 0; err == nil && i < len(a.given.replies); i++ {
		err = a.speak(gen, a.bot.ID, "reply\x00"+a.id+"\x00"+strconv.Itoa(i), a.given.replies[i])
	}
	switch cause := context.Cause(gen); {
	case errors.Is(cause, errStopped):
		over, wait, err = a.end(ctx, event.Stopped, "", lm.Result{}, nil)
		return false, over, wait, err
	case errors.Is(cause, errOvertaken), errors.Is(err, errOvertaken):
		return false, false, 0, errOvertaken
	case ctx.Err() != nil:
		return false, false, 0, ctx.Err()
	case errors.Is(err, errLog):
		a.s.lg.Warn("a turn waits for the log", "turn", a.id, "err", err)
		return false, false, time.Second, nil
	case err != nil:
		a.s.lg.Warn("a bot did not answer", "bot", a.bot.ID, "turn", a.id, "conversation", a.l.id, "err", err)
		over, wait, err = a.end(ctx, event.Failed, "", lm.Result{}, err)
		return false, over, wait, err
	}
	a.s.hear(ctx, a.l, event.In) // it may have told another region
	text, left := a.after()
	if left {
		a.away = false
		return true, false, 0, nil
	}
	over, wait, err = a.end(ctx, event.Ok, text, lm.Result{Finish: lm.FinishStop}, nil)
	return false, over, wait, err
}

// recount says what the script has to say before the bot.
func (a *attempt) recount(ctx context.Context) error {
	if a.line.says == "" {
		return nil
	}
	say := activity.Activity{Type: activity.TypeMessage, Text: a.line.says, TextFormat: "markdown"}
	err := a.speak(ctx, a.v.by.Bot, "script\x00"+a.id, say)
	if err == nil {
		a.line.says = "" // an engine that goes on must not say it again
	}
	return err
}

func (a *attempt) speak(ctx context.Context, bot, key string, say activity.Activity) error {
	say.ReplyToID = a.v.turn.ReplyTo
	_, _, err := a.s.Speak(ctx, Spoken{Bot: bot, Conversation: a.l.id, Activity: say, Key: key})
	if err != nil {
		return errors.Join(errLog, err)
	}
	return nil
}

// given is what became of an activity on its way to a bot, over the attempts of
// one worker.
type given struct {
	over    bool // the bot is through with it, or won't be
	err     error
	replies []activity.Activity // that came with the bot's answer
}

// hand gives the activity to the bot, again while the bot does not take it.
func (a *attempt) hand(gen context.Context) error {
	d, err := a.delivery()
	if err != nil {
		return err
	}
	most := a.bot.limit()
	ctx, cancel := context.WithTimeout(gen, most)
	defer cancel()
	for try := 0; ; try++ {
		replies, err := a.bot.Courier.Deliver(ctx, d, func() error { return a.mark(ctx) })
		if err == nil {
			a.given.replies = replies
			return nil
		}
		if errors.Is(err, errOvertaken) || errors.Is(err, errLog) || gen.Err() != nil {
			return err
		}
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Limited) {
			wait := max(min(100*time.Millisecond<<min(try, 5), 3*time.Second), fault.RetryAfterOf(err))
			if late, _ := ctx.Deadline(); time.Now().Add(wait).After(late) {
				return err
			}
			_ = pause.For(ctx, wait)
			continue
		}
		switch n, _ := a.replied(); {
		case ctx.Err() == nil:
			return err
		case !a.marked:
			return fault.Wrap(err, fault.Unavailable, "the bot could not be reached within %v", most)
		case n > 0:
			return nil // it has answered, and may go on with whatever it does
		}
		return fault.New(fault.Timeout, "the bot did not finish within %v; what it still says is shown when it comes", most)
	}
}

// mark writes down that the bot may have the activity from now on. The log
// takes that from the newest claim only.
func (a *attempt) mark(ctx context.Context) error {
	if a.marked {
		return nil
	}
	r, err := a.s.opts.Log.Append(ctx, event.Append{
		Conversation: a.l.id, Prev: a.sum, Expect: &a.claim.Seq, ExpectClass: event.Claim,
		Event: event.Event{Kind: event.KindSent, Sent: &event.Sent{Turn: a.id, Attempt: a.v.attempt, Bot: a.bot.ID}},
	})
	switch {
	case fault.Is(err, fault.Conflict):
		return errOvertaken
	case err != nil:
		return errors.Join(errLog, err)
	}
	a.sum, a.marked = r.Sum, true
	return nil
}

// settle is how long a bot says nothing until it counts as through, where
// nobody knows.
const settle = 2 * time.Second

// await waits for what a bot says to an activity that it may have.
func (a *attempt) await(ctx context.Context) error {
	late := a.v.sentAt.Add(a.bot.limit())
	for {
		var more <-chan struct{}
		n, last := 0, time.Time{}
		more = a.l.View(func(st *conversation.State) { n, last = replies(st, a.v.turn.ReplyTo, a.bot.ID) })
		until := late
		if n > 0 {
			until = last.Add(settle)
		}
		wait := time.Until(until)
		if wait <= 0 && n > 0 {
			return nil
		}
		if wait <= 0 {
			return fault.New(fault.Timeout, "it is not certain that the bot has got this: the node that was giving it to the bot was lost. Say it again if nothing comes")
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-more:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

func (a *attempt) replied() (n int, last time.Time) {
	a.l.View(func(st *conversation.State) { n, last = replies(st, a.v.turn.ReplyTo, a.bot.ID) })
	return n, last
}

func replies(st *conversation.State, id, bot string) (n int, last time.Time) {
	for r := range st.Replies(id, bot) {
		n, last = n+1, st.Place(r.ID).At
	}
	return n, last
}

// delivery finds what the bot is to get.
func (a *attempt) delivery() (d Delivery, err error) {
	a.l.View(func(st *conversation.State) {
		act := st.Activity(a.v.turn.ReplyTo)
		if act == nil {
			err = fault.New(fault.Invalid, "there is nothing to give to the bot")
			return
		}
		p := st.Place(act.ID)
		d = Delivery{
			Bot: a.bot.ID, Conversation: a.l.id, Channel: st.By.Channel, User: st.By.User, Activity: act,
			Pos: p.Pos, ReplyTo: st.Place(act.ReplyToID).Pos, At: p.At,
		}
	})
	return d, err
}

// hear waits until this node has what a conversation holds of a class by now. What
// does not come in time is shown when it comes.
func (s *Service) hear(ctx context.Context, l *Live, class event.Class) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if last, err := s.opts.Log.LastOf(ctx, l.id, class); err == nil {
		_ = l.Wait(ctx, last)
	}
}

// after looks at how the bot left the conversation: with the script, whose
// words are returned, with the language model, or as it was.
func (a *attempt) after() (text string, left bool) {
	ended := false
	a.l.View(func(st *conversation.State) {
		for r := range st.Replies(a.v.turn.ReplyTo, a.bot.ID) {
			ended = ended || r.Type == activity.TypeEnd
			left = left || passesOn(r)
		}
	})
	if ended && a.line.resume != nil {
		text = a.line.resume()
	}
	return text, left
}

// passesOn reports whether a bot leaves what it was told to somebody else: the
// event by which the Bot Framework's handoff begins.
func passesOn(a *activity.Activity) bool {
	var name string
	return a.Type == activity.TypeEvent && json.Unmarshal(a.Extra["name"], &name) == nil && name == "handoff.initiate"
}

func (b Bot) limit() time.Duration {
	if b.Limit == 0 {
		return defaultLimit
	}
	return b.Limit
}

// forBot reports whether a bot that runs elsewhere gets an activity that no
// engine or script would answer. Who comes and goes, only the server says.
func (s *Service) forBot(st *conversation.State, a *activity.Activity) bool {
	switch a.Type {
	case activity.TypeUpdate, "contactRelationUpdate", "installationUpdate", activity.TypeTyping, activity.TypeInvokeResponse:
		return false
	}
	return s.addressed(st).Courier != nil
}

// addressed is the bot that something is for which is no message.
func (s *Service) addressed(st *conversation.State) Bot {
	if s.opts.Understanding != nil && s.scripted(st) {
		if with := standing(st, st.Leaf(), "").With; with.To != "" {
			if with.Bot == "" {
				return Bot{} // a person has the conversation
			}
			return s.bot(with.Bot)
		}
	}
	return s.bot(st.By.Bot)
}

// greet tells a bot that runs elsewhere who is there, once.
func (s *Service) greet(ctx context.Context, n NewConversation, id string) error {
	bot := s.bot(n.Bot)
	if bot.Courier == nil || n.Hidden || n.Silent {
		return nil
	}
	user := n.User
	if user == "" {
		user = n.Owner
	}
	l, err := s.Open(ctx, id)
	if err != nil {
		return err
	}
	heard, cancel := context.WithTimeout(ctx, 2*time.Second)
	err = l.until(heard, func(st *conversation.State) bool { return st.Exists || st.Deleted })
	cancel()
	l.Close()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "this node has not heard of the conversation yet; try again").After(time.Second)
	}
	members, err := json.Marshal([]activity.Account{{ID: bot.ID, Name: bot.Name, Role: "bot"}, {ID: user, Role: "user"}})
	if err != nil {
		return err
	}
	_, err = s.Submit(ctx, Message{
		Owner: n.Owner, Conversation: id, Key: "greeting", Open: true, greeting: true, From: &activity.Account{ID: user, Role: "user"},
		Activity: activity.Activity{Type: activity.TypeUpdate, Extra: map[string]json.RawMessage{"membersAdded": members}, ChannelData: n.Data},
	})
	return err
}

// Spoken is something that a bot says which runs elsewhere.
type Spoken struct {
	Bot          string
	Conversation string
	Activity     activity.Activity
	ReplyTo      uint64 // position of what it is to; 0 = as Activity.ReplyToID says, if that is known
	// Key names the delivery: the same in every repetition of it. "" = it is
	// never repeated.
	Key string
	// From counts deliveries under one key that are not repetitions of each
	// other; Within is how long ago one may be that this one repeats, 0 = ever.
	From   int
	Within time.Duration
}

// Speak takes what a bot says into a conversation that it has a part in, once,
// and returns its id and position. It needs no turn: a bot may speak days
// later.
func (s *Service) Speak(ctx context.Context, sp Spoken) (id string, pos uint64, err error) {
	if err := s.checkSpoken(&sp.Activity); err != nil {
		return "", 0, err
	}
	var seq uint64
	err = s.appendIf(ctx, sp.Conversation, func(st *conversation.State) bool { return st.Speaks(sp.Bot) }, func(st *conversation.State) (*event.Event, error) {
		key := sp.Key
		for n := sp.From; sp.Key != ""; n++ {
			key = sp.Key + "\x00" + strconv.Itoa(n)
			if id = st.Keyed(key); id == "" {
				break
			}
			if p := st.Place(id); sp.Within == 0 || time.Since(p.At) < sp.Within {
				pos = p.Pos
				return nil, nil
			}
		}
		if st.Set.Trashed {
			return nil, errTrashed
		}
		said, err := s.spoken(sp, st, key)
		if err != nil {
			return nil, err
		}
		id = said.Activity.ID
		return &event.Event{Kind: event.KindSaid, Said: said}, nil
	}, &seq)
	if err == nil && pos == 0 {
		pos = conversation.SpokenPosition(seq)
	}
	return id, pos, err
}

func (s *Service) checkSpoken(a *activity.Activity) error {
	switch {
	case a.Type == "":
		return fault.New(fault.Invalid, `an activity needs a "type", for example "message"`)
	case len(a.Text) > s.opts.MaxText:
		return fault.New(fault.TooLarge, "the message has %d bytes; at most %d are taken", len(a.Text), s.opts.MaxText)
	}
	return nil
}

// spoken finds the place of what a bot says: at the end of the branch that
// people are on, so that what several say is one line. Only where somebody has
// gone on already behind an answer that was still to come, it stands there.
func (s *Service) spoken(sp Spoken, st *conversation.State, key string) (*event.Said, error) {
	a := sp.Activity
	s.sign(&a, sp, st)
	meta := a.Meta()
	meta.Parent, meta.Region = st.Leaf(), s.opts.Log.Region()
	a.ID = event.NewActivity(st.ID, key)
	if t := st.Answers(a.ReplyToID); t != nil && a.Type == activity.TypeMessage {
		meta.Engine = botEngine
		if answer := event.AnswerOf(t.ID); st.Activity(answer) == nil && !t.State.Final() {
			a.ID, meta.Turn = answer, t.ID
			for x := range st.Up(st.Leaf()) {
				if x.Meta().Parent == answer {
					meta.Parent = t.ReplyTo
				}
			}
		}
	}
	return &event.Said{Activity: &a, Bot: sp.Bot, Key: key}, a.SetMeta(meta)
}

// sign fills in what only the server says of a bot's activity.
func (s *Service) sign(a *activity.Activity, sp Spoken, st *conversation.State) {
	bot := s.bot(sp.Bot)
	if to := st.ActivityAt(sp.ReplyTo); to != nil {
		a.ReplyToID = to.ID
	}
	if to := st.Activity(a.ReplyToID); to != nil {
		a.Recipient = to.From
	}
	a.From = &activity.Account{ID: bot.ID, Name: bot.Name, Role: "bot"}
	a.Timestamp, a.ChannelID, a.Conversation = time.Now().UTC(), st.By.Channel, &activity.Account{ID: st.ID}
}

// Change puts another activity in the place of one that the bot said, whose
// position is pos.
func (s *Service) Change(ctx context.Context, sp Spoken, pos uint64) error {
	if err := s.checkSpoken(&sp.Activity); err != nil {
		return err
	}
	return s.appendIf(ctx, sp.Conversation, func(st *conversation.State) bool { return st.Speaks(sp.Bot) }, func(st *conversation.State) (*event.Event, error) {
		old := st.ActivityAt(pos)
		if old == nil || st.Place(old.ID).Bot != sp.Bot {
			return nil, fault.New(fault.NotFound, "this bot said no such activity here")
		}
		a := sp.Activity
		a.ReplyToID = old.ReplyToID
		s.sign(&a, sp, st)
		a.ID, a.Timestamp = old.ID, old.Timestamp
		meta := old.Meta()
		if err := a.SetMeta(meta); err != nil {
			return nil, err
		}
		if same(&a, old) {
			return nil, nil
		}
		return &event.Event{Kind: event.KindChanged, Changed: &event.Changed{Activity: &a}}, nil
	}, nil)
}

func same(a, b *activity.Activity) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Type shows that a bot is writing, with what it shows of that, and returns
// the position. Nothing of it is kept but for the moment.
func (s *Service) Type(ctx context.Context, sp Spoken) (pos uint64, err error) {
	if err := s.checkSpoken(&sp.Activity); err != nil {
		return 0, err
	}
	l, err := s.Open(ctx, sp.Conversation)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	a := sp.Activity
	l.View(func(st *conversation.State) {
		if !st.Exists || st.Deleted || !st.Speaks(sp.Bot) {
			err = notFound(sp.Conversation)
			return
		}
		s.sign(&a, sp, st)
		a.ID = event.NewActivity(st.ID, "")
	})
	if err != nil {
		return 0, err
	}
	r, err := s.opts.Log.Append(ctx, event.Append{Conversation: sp.Conversation, Event: event.Event{Kind: event.KindTyping, Typing: &event.Typing{Activity: &a}}})
	return conversation.Position(r.Seq, 0), err
}

// Members lists who has spoken in a conversation that a bot has a part in, the
// bot first.
func (s *Service) Members(ctx context.Context, bot, conv string) ([]activity.Account, error) {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	b := s.bot(bot)
	out := []activity.Account{{ID: b.ID, Name: b.Name, Role: "bot"}}
	l.View(func(st *conversation.State) {
		if !st.Exists || st.Deleted || !st.Speaks(bot) {
			err = notFound(conv)
			return
		}
		if st.By.User != "" {
			out = append(out, activity.Account{ID: st.By.User, Role: "user"})
		}
		for _, a := range st.Activities {
			if a.From == nil || a.FromBot() {
				continue
			}
			i := slices.IndexFunc(out, func(x activity.Account) bool { return x.ID == a.From.ID })
			switch {
			case i < 0:
				out = append(out, *a.From)
			case strings.TrimSpace(out[i].Name) == "":
				out[i].Name = a.From.Name
			}
		}
	})
	return out, err
}

// Party returns which of some bots has a part in a conversation: of several,
// the one that was last given something. What the log of this node has not
// brought yet is waited for: a bot answers quickly.
func (s *Service) Party(ctx context.Context, conv string, bots []string) (int, error) {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	if len(bots) > 1 {
		s.hear(ctx, l, event.Out) // to whom the last one was given, too
	}
	heard, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found := -1
	err = l.until(heard, func(st *conversation.State) bool {
		found = -1
		for i, b := range bots {
			if st.Speaks(b) && (found < 0 || st.Given(b) > st.Given(bots[found])) {
				found = i
			}
		}
		return st.Deleted || st.Exists && found >= 0
	})
	if err != nil || found < 0 {
		return 0, notFound(conv)
	}
	return found, nil
}

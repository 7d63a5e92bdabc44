package chat

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/lm"
)

// NewConversation asks for a conversation.
type NewConversation struct {
	Owner   string
	Bot     string // "" = the default one
	Home    string // region that it belongs to; "" = this node's
	Channel string
	Title   string
	Hidden  bool
	// Key makes it idempotent: the same key gives the same conversation, in every
	// region if Home is given too. "" = always a new one.
	Key  string
	ID   string    // chosen before, as a channel does that gave it to somebody; "" = a new one or the key's
	User string    // whom a channel binds it to
	At   time.Time // when it began elsewhere; zero = it begins now

	Data   json.RawMessage // channelData of what a bot that runs elsewhere is told of it
	Silent bool            // a bot that runs elsewhere is told nothing of it: it began it itself
}

// Create begins a conversation and returns its id and place in the log. One
// that a key or an ID names may be there already: then its place is 0.
func (s *Service) Create(ctx context.Context, n NewConversation) (id string, seq uint64, err error) {
	if n.Bot == "" {
		n.Bot = s.opts.Bots[0].ID
	}
	if _, ok := s.bots[n.Bot]; !ok {
		return "", 0, fault.New(fault.Invalid, "there is no bot %q", n.Bot)
	}
	if utf8.RuneCountInString(n.Title) > maxTitle {
		return "", 0, fault.New(fault.Invalid, "a title has at most %d characters", maxTitle)
	}
	if n.Home == "" {
		n.Home = s.opts.Log.Region()
	}
	id = event.NewConversation(n.Home)
	if n.Key != "" {
		id = event.ConversationFor(n.Home, n.Owner, n.Key)
	}
	if _, ok := s.tails[s.opts.Log.StreamOf(id)]; !ok || !event.ValidConversation(id) {
		return "", 0, fault.New(fault.Invalid, "there is no region %q; leave \"home\" out", n.Home)
	}
	if n.ID != "" {
		id = n.ID
		if _, ok := s.tails[s.opts.Log.StreamOf(id)]; !ok || !event.ValidConversation(id) {
			return "", 0, notFound(id) // of no region of this world
		}
	}
	none := uint64(0)
	r, err := s.opts.Log.Append(ctx, event.Append{Conversation: id, Expect: &none, Event: event.Event{
		Kind:    event.KindCreated,
		Created: &event.Created{Owner: n.Owner, Bot: n.Bot, Channel: n.Channel, Title: n.Title, Hidden: n.Hidden, User: n.User, At: n.At},
	}})
	if n.Key+n.ID != "" && fault.Is(err, fault.Conflict) {
		err = nil // the first request for it made it, and maybe no more than that
	}
	if err == nil {
		err = s.greet(ctx, n, id)
	}
	return id, r.Seq, err
}

const maxTitle = 200

// Message is something to take into a conversation.
type Message struct {
	Owner        string
	Conversation string
	Activity     activity.Activity // Type, Text and what else the client gave
	Key          string            // idempotency; "" = always new
	Edits        string            // id of the user's activity that this one replaces in a new branch
	Follows      string            // id of the activity that it follows; "" or unknown = the newest
	Turn         event.Turn        // overrides of the bot: Model, System, Params, Resume
	From         *activity.Account // who says it, as a channel knows them; nil = the owner
	// Open takes what people do on channels: an activity of any type, and a
	// message without text. Only a message with text is answered.
	Open bool

	heard    *activity.Understanding // what Submit understands of it
	greeting bool                    // it is for the bot, whatever type it is of
	files    []files.Attachment      // that it carries, as checkFiles found them
}

// Accepted says what became of a message.
type Accepted struct {
	ID   string // of the activity
	Turn string // "" if nothing is to be answered
	Seq  uint64 // place in the log
}

// Submit takes a message durably and asks for its answer. With a key that was
// used before it returns what it returned then.
func (s *Service) Submit(ctx context.Context, m Message) (Accepted, error) {
	if err := s.checkFiles(ctx, &m); err != nil {
		return Accepted{}, err
	}
	if err := s.checkMessage(&m); err != nil {
		return Accepted{}, err
	}
	if err := s.checkModel(ctx, m.Turn.Model); err != nil {
		return Accepted{}, err
	}
	if err := s.understood(ctx, &m); err != nil {
		return Accepted{}, err
	}
	var out Accepted
	err := s.append(ctx, m.Owner, m.Conversation, func(st *conversation.State) (*event.Event, error) {
		id := event.NewActivity(m.Conversation, m.Key)
		if old := st.Activity(id); old != nil {
			if old.Text != m.Activity.Text || old.Type != m.Activity.Type {
				return nil, fault.New(fault.Conflict, "this Idempotency-Key was used for another message; take a new one")
			}
			out = Accepted{ID: id, Turn: old.Meta().Turn, Seq: st.At(id)}
			return nil, nil
		}
		parent := st.Parent(st.Leaf())
		if st.Activity(m.Follows) != nil {
			parent = st.Parent(m.Follows)
		}
		if m.Edits != "" {
			old := st.Activity(m.Edits)
			if old == nil || old.FromBot() {
				return nil, fault.New(fault.NotFound, "there is no message %q of yours to edit", m.Edits)
			}
			parent = old.Meta().Parent
		}
		if st.Set.Trashed {
			return nil, errTrashed
		}
		if m.Activity.Type == activity.TypeReaction {
			if st.Activity(m.Activity.ReplyToID) == nil {
				return nil, fault.New(fault.NotFound, "there is no activity %q to react to", m.Activity.ReplyToID)
			}
			parent = m.Activity.ReplyToID
		}
		if err := takes(st, &m); err != nil {
			return nil, err
		}
		said, err := s.said(m, st, id, parent)
		if err != nil {
			return nil, err
		}
		out.ID = id
		if said.Turn != nil {
			out.Turn = said.Turn.ID
		}
		return &event.Event{Kind: event.KindSaid, Said: said}, nil
	}, &out.Seq)
	return out, err
}

// listOfObjects holds for a field that is one, null or absent.
func listOfObjects(field json.RawMessage) bool {
	if len(field) == 0 {
		return true
	}
	var list []map[string]json.RawMessage
	err := json.Unmarshal(field, &list)
	return err == nil && !slices.ContainsFunc(list, func(m map[string]json.RawMessage) bool { return m == nil })
}

var errTrashed = fault.New(fault.Conflict, "the conversation is about to be deleted; take that back first")

func (s *Service) checkMessage(m *Message) error {
	a := &m.Activity
	switch {
	case a.Type == "":
		return fault.New(fault.Invalid, `an activity needs a "type", for example "message"`)
	case !m.Open && a.Type != activity.TypeMessage && a.Type != activity.TypeEvent && a.Type != activity.TypeReaction:
		return fault.New(fault.Invalid, `activities of type %q can't be sent here; "message", "messageReaction" and "event" can`, a.Type)
	case !m.Open && a.Type == activity.TypeReaction && a.ReplyToID == "":
		return fault.New(fault.Invalid, `a reaction says in "replyToId" what it is to`)
	case !listOfObjects(a.Extra["reactionsAdded"]) || !listOfObjects(a.Extra["reactionsRemoved"]):
		return fault.New(fault.Invalid, `"reactionsAdded" and "reactionsRemoved" are lists of objects: [{"type":"like"}]`)
	case !m.Open && a.Type == activity.TypeMessage && strings.TrimSpace(a.Text) == "" && len(m.files) == 0:
		return fault.New(fault.Invalid, `the message is empty: "text" must hold something, or "attachments" a file`)
	case len(a.Text) > s.opts.MaxText:
		return fault.New(fault.TooLarge, "the message has %d bytes; at most %d are taken", len(a.Text), s.opts.MaxText)
	case !utf8.ValidString(a.Text):
		return fault.New(fault.Invalid, "the message is not valid UTF-8")
	case m.Turn.Resume != "" && !m.Turn.Resume.Continues() && m.Turn.Resume != lm.Restart && m.Turn.Resume != lm.Fail:
		return fault.New(fault.Invalid, "unknown resume policy %q", m.Turn.Resume)
	}
	return nil
}

// checkModel refuses a model that nobody serves. While engines are starting
// nothing is known, and the turn will tell.
func (s *Service) checkModel(ctx context.Context, model string) error {
	if model == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, _, err := s.opts.Engines.Find(ctx, model, ""); fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

func (s *Service) said(m Message, st *conversation.State, id, parent string) (*event.Said, error) {
	a := m.Activity
	a.ID, a.Timestamp, a.ChannelID = id, time.Now().UTC(), st.By.Channel
	name := ""
	if a.From != nil {
		name = a.From.Name
	}
	a.From = &activity.Account{ID: m.Owner, Name: name, Role: "user"}
	if m.From != nil {
		a.From = &activity.Account{ID: m.From.ID, Name: m.From.Name, Role: "user"}
	}
	a.Conversation = &activity.Account{ID: m.Conversation}
	meta := activity.Meta{Parent: parent, Edits: m.Edits, Understanding: m.heard}
	said := &event.Said{Activity: &a}
	answered := a.Type == activity.TypeMessage && (strings.TrimSpace(a.Text) != "" || len(m.files) > 0) || givesBack(&a) && s.scripted(st)
	if answered || m.greeting || s.forBot(st, &a) {
		if err := s.admit(); err != nil {
			return nil, err
		}
		turn := over(m.Turn, st.Set)
		turn.ID, turn.ReplyTo, turn.Position = event.TurnOf(id), id, s.position()
		said.Turn, meta.Turn = &turn, turn.ID
		if st.Title == "" && a.Type == activity.TypeMessage {
			said.Title = conversation.TitleFrom(a.Text)
			if named := files.Of(&a); said.Title == "" && len(named) > 0 {
				said.Title = conversation.TitleFrom(named[0].Name)
			}
		}
	}
	if err := a.SetMeta(meta); err != nil {
		return nil, err
	}
	return said, nil
}

// admit refuses more turns than this node will get to in reasonable time.
func (s *Service) admit() error {
	if n := s.held.Load(); n >= int64(s.opts.Queue) {
		return fault.New(fault.Limited, "%d answers are waiting already; try again in a while", n).After(5 * time.Second)
	}
	return nil
}

func (s *Service) position() int { return max(0, int(s.held.Load())-s.opts.Running) }

// Regenerate asks for another answer to what an earlier turn answered.
func (s *Service) Regenerate(ctx context.Context, owner, conv, turn, key string, with event.Turn) (Accepted, error) {
	return s.again(ctx, owner, conv, turn, "regenerate", key, with)
}

// Continue asks for an answer that begins with that of an earlier turn and goes
// on where it ended.
func (s *Service) Continue(ctx context.Context, owner, conv, turn, key string) (Accepted, error) {
	return s.again(ctx, owner, conv, turn, "continue", key, event.Turn{Continues: turn})
}

func (s *Service) again(ctx context.Context, owner, conv, turn, how, key string, with event.Turn) (Accepted, error) {
	if key != "" { // apart from the keys of messages, and of other wishes
		key = how + "\x00" + turn + "\x00" + key
	}
	var out Accepted
	err := s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		old := st.Turn(turn)
		if old == nil {
			return nil, fault.New(fault.NotFound, "there is no turn %q in this conversation", turn)
		}
		out.Turn, out.ID = event.TurnOf(event.NewActivity(conv, key)), old.ReplyTo
		if st.Turn(out.Turn) != nil {
			out.Seq = st.Seq
			return nil, nil
		}
		if st.Set.Trashed {
			return nil, errTrashed
		}
		if !old.State.Final() {
			return nil, fault.New(fault.Conflict, "the answer is still being written; stop it first")
		}
		if a := st.Activity(event.AnswerOf(turn)); with.Continues != "" && (a == nil || a.Text == "") {
			return nil, fault.New(fault.Conflict, "there is no answer to go on with; ask for another one")
		}
		if err := s.admit(); err != nil {
			return nil, err
		}
		req := over(with, st.Set)
		req.ID, req.ReplyTo, req.Position = out.Turn, old.ReplyTo, s.position()
		return &event.Event{Kind: event.KindSaid, Said: &event.Said{Turn: &req}}, nil
	}, &out.Seq)
	return out, err
}

// StopTurn asks the turn's worker to end it where it is. Stopping an ended
// turn changes nothing.
func (s *Service) StopTurn(ctx context.Context, owner, conv, turn string) error {
	return s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		t := st.Turn(turn)
		if t == nil {
			return nil, fault.New(fault.NotFound, "there is no turn %q in this conversation", turn)
		}
		if t.State.Final() || t.Stop {
			return nil, nil
		}
		return &event.Event{Kind: event.KindStop, Stop: &event.Stop{Turn: turn}}, nil
	}, nil)
}

// CheckTitle says what is wrong with a title.
func CheckTitle(title string) error {
	title = strings.TrimSpace(title)
	if title == "" || utf8.RuneCountInString(title) > maxTitle || !utf8.ValidString(title) {
		return fault.New(fault.Invalid, "a title has 1 to %d characters", maxTitle)
	}
	return nil
}

// Rename sets a conversation's title and returns its place in the log.
func (s *Service) Rename(ctx context.Context, owner, conv, title string) (seq uint64, err error) {
	title = strings.TrimSpace(title)
	if err := CheckTitle(title); err != nil {
		return 0, err
	}
	err = s.append(ctx, owner, conv, func(*conversation.State) (*event.Event, error) {
		return &event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: title}}, nil
	}, &seq)
	return seq, err
}

// Set changes what the user chose for a conversation and returns its place in
// the log. What goes into the trash is deleted after Options.Undo unless it is
// taken back before.
func (s *Service) Set(ctx context.Context, owner, conv string, c event.Set) (seq uint64, err error) {
	if err := s.checkSet(ctx, &c); err != nil {
		return 0, err
	}
	err = s.append(ctx, owner, conv, func(st *conversation.State) (*event.Event, error) {
		if reflect.DeepEqual(st.Set.With(c), st.Set) {
			seq = st.Seq
			return nil, nil
		}
		return &event.Event{Kind: event.KindSet, Set: &c}, nil
	}, &seq)
	return seq, err
}

// Delete forgets a conversation: readers are told, its turn ends, and its
// bytes are erased from the log. Should the node die in between, the erasing
// is finished later: the deleted entry is handed out like a turn.
func (s *Service) Delete(ctx context.Context, owner, conv string) (seq uint64, err error) {
	err = s.append(ctx, owner, conv, func(*conversation.State) (*event.Event, error) {
		return &event.Event{Kind: event.KindDeleted}, nil
	}, &seq)
	return seq, err
}

// append writes one In event that decide makes from the current state. It
// decides again when another writer was first, so decide sees every entry
// before its own. A nil event means that there is nothing to do.
func (s *Service) append(ctx context.Context, owner, conv string, decide func(*conversation.State) (*event.Event, error), seq *uint64) error {
	return s.appendIf(ctx, conv, func(st *conversation.State) bool { return st.By.Owner == owner }, decide, seq)
}

// mostBlind is how often an append may lose to something that does not show up
// here within a second: the log's copy is behind, and others serve.
const mostBlind = 3

// appendIf is append for whoever may see the conversation.
func (s *Service) appendIf(ctx context.Context, conv string, may func(*conversation.State) bool, decide func(*conversation.State) (*event.Event, error), seq *uint64) error {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return err
	}
	defer l.Close()
	l.submit.Lock()
	defer l.submit.Unlock()
	for try, blind := 0, 0; ; try++ {
		var (
			e      *event.Event
			expect uint64
			prev   uint64
		)
		l.View(func(st *conversation.State) {
			if !st.Exists || st.Deleted || !may(st) {
				err = notFound(conv)
				return
			}
			expect, prev = st.InSeq, st.InSum
			e, err = decide(st)
		})
		if err != nil || e == nil {
			return err
		}
		r, err := s.opts.Log.Append(ctx, event.Append{Conversation: conv, Event: *e, Prev: prev, Expect: &expect})
		if err == nil {
			if seq != nil {
				*seq = r.Seq
			}
			wait, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_ = l.Wait(wait, r.Seq) // so that the caller's next read sees it; durable either way
			return nil
		}
		if !fault.Is(err, fault.Conflict) || try == 20 {
			return err
		}
		// Somebody else wrote: see what, then decide again.
		wait, cancel := context.WithTimeout(ctx, time.Second)
		unseen := l.until(wait, func(st *conversation.State) bool { return st.InSeq != expect })
		cancel()
		switch {
		case unseen == nil:
			blind = 0
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			if blind++; blind == mostBlind {
				return fault.Wrap(err, fault.Unavailable, "what was written last to this conversation is not here yet; try again").After(time.Second)
			}
		}
	}
}

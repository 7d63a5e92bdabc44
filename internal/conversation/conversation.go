// Package conversation folds a conversation's log entries into its present
// state and into the frames that clients read. It is pure: the same entries
// give the same state and frames on every node, now and after a restart.
//
// It is also the second fence. The log may hold late entries of a worker that
// was overtaken; the fold ignores every entry of the running answer that does
// not belong to the newest claim or does not begin where the text ends.
package conversation

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// State of a conversation after Seq. Not safe for concurrent use.
type State struct {
	ID      string
	Exists  bool // a created entry was seen
	Deleted bool
	Created time.Time
	Updated time.Time // of the newest activity
	By      event.Created
	Title   string
	named   bool // the user chose Title
	Set     Settings
	Trashed uint64 // sequence of the entry that put it into the trash, if it is there

	Seq     uint64 // of the newest entry applied
	InSeq   uint64 // of the newest In entry: what the next one must expect
	InSum   uint64
	Claim   event.Claimed // the newest
	ClaimAt uint64        // its sequence
	// ClaimSum is the claim's own checksum, the chain's beginning for its Out.
	ClaimSum uint64
	Damaged  int    // entries whose checksum was wrong
	Missing  int    // places where the chain of checksums has a gap: entries were lost there
	outSum   uint64 // of the newest claim's last Out entry
	Out      Out    // how far it has gone out, on a channel that has to be called

	Activities []*activity.Activity // in log order
	byID       map[string]*activity.Activity
	turns      map[string]*Turn
	order      []*Turn
	leaf       string // the activity that a plain new one follows
	places     map[string]Place
	newest     time.Time         // of all places
	keys       map[string]string // of what bots said: their deliveries' keys -> activities
	bots       map[string]uint64 // that were given something -> when that was last so

	Frames []Frame // everything for clients, append-only
}

// Settings are what the user chose for the conversation.
type Settings struct {
	Pinned   bool      `json:"pinned"`
	Archived bool      `json:"archived"`
	Trashed  bool      `json:"trashed"` // about to be erased
	System   string    `json:"system"`  // "" = the bot's
	Model    string    `json:"model"`   // "" = the bot's
	Params   lm.Params `json:"params"`
	Tags     []string  `json:"tags"`
	Share    *Share    `json:"share"` // nil: nobody else may read it
}

// With returns the settings with a change made. A link comes with the entry that
// made it: see set.
func (s Settings) With(c event.Set) Settings {
	change(&s.Pinned, c.Pinned)
	change(&s.Archived, c.Archived)
	change(&s.Trashed, c.Trashed)
	change(&s.System, c.System)
	change(&s.Model, c.Model)
	change(&s.Params, c.Params)
	change(&s.Tags, c.Tags)
	return s
}

func change[T any](to, by *T) {
	if by != nil {
		*to = *by
	}
}

// Turn is the state of one turn.
type Turn struct {
	event.Turn
	Seq     uint64 // of the entry that asked for it
	State   event.State
	Attempt int
	Text    []byte  // the answer so far
	Runes   int     // code points in Text
	Lead    int     // bytes of Text that the script said, before the engine's
	Carried int     // bytes of Text that the turn which it continues has written
	Tokens  []int32 // their ids; nil if they are not known from the start
	Model   string  // whose text it is, if the turn's name for it stands for several
	noIDs   bool    // a gap in the ids: they can't be used
	Began   uint64  // position of its first delta's frame; 0 = there was none before the end
	Stop    bool    // the user asked to stop
	again   bool    // asks for another answer to an old message
	Sent    int     // the first attempt that gave it to a bot; 0 = none
	SentAt  time.Time
	End     *event.Ended
}

// New returns the state of a conversation before its first entry.
func New(id string) *State {
	return &State{ID: id, byID: map[string]*activity.Activity{}, turns: map[string]*Turn{}, places: map[string]Place{}, keys: map[string]string{}, bots: map[string]uint64{}, Set: Settings{Tags: []string{}}}
}

// Place is where an activity stands for readers whose protocol wants numbers
// and times.
type Place struct {
	Pos uint64 // of its frame
	// At never runs backwards along a conversation, whatever the clocks of the
	// nodes that wrote it said.
	At  time.Time
	Bot string // that said it, if that runs elsewhere
}

// Place returns an activity's place; the zero Place if there is no such one.
func (s *State) Place(id string) Place { return s.places[id] }

// Newest returns the time of the newest place.
func (s *State) Newest() time.Time { return s.newest }

// Activity returns an activity by id, or nil.
func (s *State) Activity(id string) *activity.Activity { return s.byID[id] }

// At returns the sequence of the entry that brought an activity, or 0.
func (s *State) At(id string) uint64 { return SeqOf(s.places[id].Pos) }

// ActivityAt returns the activity whose frame is at a position, or nil.
func (s *State) ActivityAt(pos uint64) *activity.Activity {
	if pos == 0 {
		return nil
	}
	frames := s.After(pos - 1)
	if len(frames) == 0 || frames[0].Pos != pos {
		return nil
	}
	if a, ok := frames[0].Body.(*activity.Activity); ok {
		return s.byID[a.ID]
	}
	return nil
}

// Keyed returns the id of what a bot said by a delivery, or "".
func (s *State) Keyed(key string) string { return s.keys[key] }

// Speaks reports whether a bot has a part in the conversation.
func (s *State) Speaks(bot string) bool { return s.By.Bot == bot || s.bots[bot] > 0 }

// Given returns the sequence of the entry by which a bot was last given
// something, or 0.
func (s *State) Given(bot string) uint64 { return s.bots[bot] }

// Answers returns the newest turn that answers an activity, or nil.
func (s *State) Answers(id string) *Turn {
	for _, t := range slices.Backward(s.order) {
		if t.ReplyTo == id {
			return t
		}
	}
	return nil
}

// Replies returns what a bot said to an activity, in order.
func (s *State) Replies(id, bot string) iter.Seq[*activity.Activity] {
	return func(yield func(*activity.Activity) bool) {
		for _, a := range s.Activities {
			if a.ReplyToID == id && s.places[a.ID].Bot == bot && !yield(a) {
				return
			}
		}
	}
}

// Turn returns a turn by id, or nil.
func (s *State) Turn(id string) *Turn { return s.turns[id] }

// Turns returns all turns in the order they were asked for.
func (s *State) Turns() []*Turn { return s.order }

// Leaf returns the id of the activity that a plain new one follows.
func (s *State) Leaf() string { return s.leaf }

// Before returns the oldest unfinished turn that was asked for before t, or
// nil: turns of a conversation run one after another.
func (s *State) Before(t *Turn) *Turn {
	for _, o := range s.order {
		if o == t {
			return nil
		}
		if !o.State.Final() {
			return o
		}
	}
	return nil
}

// Parent returns what an activity must name as its parent to follow id: where
// a message's answer is still to come, that answer.
func (s *State) Parent(id string) string {
	a := s.byID[id]
	if a == nil || a.FromBot() {
		return id
	}
	for i := len(s.order) - 1; i >= 0; i-- {
		if t := s.order[i]; t.ReplyTo == id && !t.State.Final() {
			return event.AnswerOf(t.ID)
		}
	}
	return id
}

// at returns the activity that a parent's id stands for. An answer that never
// came, because its turn failed, stands for the message it was to answer.
func (s *State) at(id string) *activity.Activity {
	if a := s.byID[id]; a != nil {
		return a
	}
	if t := s.turns[event.TurnFor(id)]; t != nil {
		return s.byID[t.ReplyTo]
	}
	return nil
}

// Up goes from id to the conversation's first activity along the branch that id
// is on.
func (s *State) Up(id string) iter.Seq[*activity.Activity] {
	return func(yield func(*activity.Activity) bool) {
		n := 0
		for a := s.byID[id]; a != nil && n <= len(s.Activities) && yield(a); a = s.at(a.Meta().Parent) {
			n++
		}
	}
}

// Path returns the same activities from the first one on.
func (s *State) Path(id string) []*activity.Activity {
	up := slices.Collect(s.Up(id))
	slices.Reverse(up)
	return up
}

// Apply folds one entry. Entries must come in the order of the log; one at or
// before Seq is ignored, so an overlap is harmless.
func (s *State) Apply(e event.Entry) {
	if e.Seq <= s.Seq {
		return
	}
	s.Seq = e.Seq
	if e.Damaged {
		s.Damaged++
		return
	}
	if event.ClassOf(e.Event.Kind) == event.In {
		s.chained(e, s.InSum, s.InSeq > 0)
		s.InSeq, s.InSum = e.Seq, e.Sum
	}
	if s.Deleted {
		return
	}
	switch e.Event.Kind {
	case event.KindCreated:
		s.Exists, s.By, s.Created = true, *e.Event.Created, e.Time
		if at := s.By.At; !at.IsZero() {
			s.Created = at
		}
		s.Updated = s.Created
		s.Title = e.Event.Created.Title
		s.named = s.Title != ""
	case event.KindSaid:
		s.said(e)
	case event.KindStop:
		if t := s.turns[e.Event.Stop.Turn]; t != nil {
			t.Stop = true
		}
	case event.KindTitled:
		if t := e.Event.Titled; !t.Auto || !s.named {
			s.Title, s.named = t.Title, !t.Auto
			s.frame(e.Seq, 0, "title", TitleBody{s.Title})
		}
	case event.KindSet:
		s.set(e)
	case event.KindDeleted:
		s.Deleted = true
		s.frame(e.Seq, 0, "deleted", struct{}{})
	case event.KindClaimed:
		s.claimed(e)
	case event.KindResumed:
		s.resumed(e)
	case event.KindDelta:
		s.delta(e)
	case event.KindEnded:
		s.ended(e)
	case event.KindSent:
		s.sent(e)
	case event.KindChanged:
		s.replace(e)
	case event.KindPosted:
		s.chained(e, s.Out.Sum, s.Out.Seq > 0)
		s.Out.apply(e)
	case event.KindTyping:
		s.frame(e.Seq, 0, "typing", TypingBody{e.Event.Typing.Activity})
	}
}

// chained notes a gap if an entry does not follow the one it should.
func (s *State) chained(e event.Entry, last uint64, known bool) {
	if known && e.Prev != last {
		s.Missing++
	}
}

func (s *State) said(e event.Entry) {
	said := e.Event.Said
	if said.Bot != "" {
		s.spoken(e)
		return
	}
	if a := said.Activity; a != nil && s.byID[a.ID] == nil {
		was := s.Updated
		s.add(a, e, 0)
		if at := said.At; !at.IsZero() {
			s.Updated = was
			if at.After(was) {
				s.Updated = at
			}
		}
		if a.Type != activity.TypeReaction { // which may be to something old
			s.leaf = a.ID
		}
		s.frame(e.Seq, 0, "activity", a)
	}
	if t := said.Turn; t != nil && s.turns[t.ID] == nil {
		turn := &Turn{Turn: *t, Seq: e.Seq, State: event.Queued, again: said.Activity == nil}
		s.turns[t.ID] = turn
		s.order = append(s.order, turn)
		s.turnFrame(e.Seq, 1, turn)
		if old := s.byID[event.AnswerOf(t.Continues)]; t.Continues != "" && old != nil && old.Text != "" {
			turn.Text, turn.Runes, turn.noIDs = []byte(old.Text), utf8.RuneCountInString(old.Text), true
			turn.Carried = len(turn.Text)
			defer s.frame(e.Seq, 3, "delta", DeltaBody{t.ID, 0, old.Text}) // behind the title
		}
	}
	if said.Title != "" && s.Title == "" {
		s.Title = said.Title
		s.frame(e.Seq, 2, "title", TitleBody{s.Title})
	}
}

// spoken takes what a bot says that runs elsewhere. The first message of it
// is the turn's answer, for readers that wait for one.
func (s *State) spoken(e event.Entry) {
	said := e.Event.Said
	a := said.Activity
	if a == nil || s.byID[a.ID] != nil {
		return
	}
	if t := s.turns[event.TurnFor(a.ID)]; t != nil && !t.State.Final() && a.Text != "" {
		s.frame(e.Seq, 0, "delta", DeltaBody{t.ID, t.Runes, a.Text})
	}
	s.add(a, e, spokenPlace)
	p := s.places[a.ID]
	p.Bot = said.Bot
	s.places[a.ID] = p
	if said.Key != "" {
		s.keys[said.Key] = a.ID
	}
	if a.Meta().Parent == s.leaf {
		s.leaf = a.ID
	}
	s.frame(e.Seq, spokenPlace, "activity", a)
}

// replace puts a new version of what a bot said in the place of the old one,
// which stays in its frame for those who have it.
func (s *State) replace(e event.Entry) {
	a := e.Event.Changed.Activity
	old := s.byID[a.ID]
	if old == nil {
		return
	}
	s.byID[a.ID] = a
	s.Activities[slices.Index(s.Activities, old)] = a
	s.Updated = e.Time
	s.frame(e.Seq, 0, "activity", a)
}

func (s *State) sent(e event.Entry) {
	x := e.Event.Sent
	t := s.owned(x.Turn, x.Attempt)
	if t == nil {
		return
	}
	s.follows(e)
	s.bots[x.Bot] = e.Seq
	if t.Sent == 0 {
		t.Sent = x.Attempt
	}
	t.SentAt = e.Time
}

func (s *State) set(e event.Entry) {
	was := s.Set.Trashed
	s.Set = s.Set.With(*e.Event.Set)
	if s.Set.Trashed && !was {
		s.Trashed = e.Seq
	}
	if sh := e.Event.Set.Share; sh != nil {
		s.Set.Share = shareOf(s.ID, sh, e)
	}
	s.frame(e.Seq, 0, "settings", s.Set)
}

func (s *State) add(a *activity.Activity, e event.Entry, place int) {
	at := a.Timestamp
	if at.IsZero() {
		at = e.Time
	}
	if at.After(s.newest) {
		s.newest = at
	}
	s.places[a.ID] = Place{Pos: Position(e.Seq, place), At: s.newest}
	s.byID[a.ID] = a
	s.Activities = append(s.Activities, a)
	s.Updated = e.Time
}

func (s *State) claimed(e event.Entry) {
	c := *e.Event.Claimed
	s.chained(e, s.ClaimSum, s.ClaimAt > 0)
	s.outSum = e.Sum
	s.Claim, s.ClaimAt, s.ClaimSum = c, e.Seq, e.Sum
	if t := s.turns[c.Turn]; t != nil && !t.State.Final() {
		t.State, t.Attempt = event.Running, c.Attempt
		s.turnFrame(e.Seq, 0, t)
	}
}

// owned returns the turn if an entry of this attempt may speak for it.
func (s *State) owned(turn string, attempt int) *Turn {
	t := s.turns[turn]
	if t == nil || t.State.Final() || s.Claim.Turn != turn || s.Claim.Attempt != attempt {
		return nil
	}
	return t
}

// follows is chained for the running answer.
func (s *State) follows(e event.Entry) {
	s.chained(e, s.outSum, true)
	s.outSum = e.Sum
}

func (s *State) resumed(e event.Entry) {
	r := *e.Event.Resumed
	t := s.owned(r.Turn, r.Attempt)
	if t == nil {
		return
	}
	if r.Policy == lm.Restart {
		t.Text, t.Runes, t.Lead, t.Carried, t.Tokens, t.Model, t.noIDs, r.Offset = nil, 0, 0, 0, nil, "", false, 0
	} else if r.Offset != t.Runes {
		return
	}
	s.follows(e)
	s.frame(e.Seq, 0, "resumed", ResumedBody{r.Turn, r.Attempt, r.Offset, r.Policy})
}

func (s *State) delta(e event.Entry) {
	d := e.Event.Delta
	t := s.owned(d.Turn, d.Attempt)
	if t == nil || d.Offset != t.Runes {
		return
	}
	s.follows(e)
	t.Text = append(t.Text, d.Text...)
	t.Runes += utf8.RuneCountInString(d.Text)
	if d.Model != "" {
		t.Model = d.Model
	}
	switch {
	case d.Lead: // the engine has no part in it
		t.Lead = len(t.Text)
	case d.At != len(t.Tokens) || (d.Text != "" && len(d.Tokens) == 0 && len(t.Tokens) == 0):
		t.noIDs, t.Tokens = true, nil
	case !t.noIDs:
		t.Tokens = append(t.Tokens, d.Tokens...)
	}
	if d.Text != "" {
		if t.Began == 0 {
			t.Began = Position(e.Seq, 0)
		}
		s.frame(e.Seq, 0, "delta", DeltaBody{d.Turn, d.Offset, d.Text})
	}
}

func (s *State) ended(e event.Entry) {
	end := e.Event.Ended
	t := s.owned(end.Turn, end.Attempt)
	if t == nil {
		return
	}
	if a := end.Activity; a != nil && s.byID[a.ID] == nil {
		if rest, ok := strings.CutPrefix(a.Text, string(t.Text)); ok && rest != "" {
			s.frame(e.Seq, 0, "delta", DeltaBody{t.ID, t.Runes, rest})
		}
		s.add(a, e, 1)
		if s.leaf == t.ReplyTo || t.again { // else the user has gone on already
			s.leaf = a.ID
		}
		s.frame(e.Seq, 1, "activity", a)
		t.Runes = utf8.RuneCountInString(a.Text)
	}
	t.State, t.End, t.Text, t.Tokens = end.State, end, nil, nil
	s.turnFrame(e.Seq, 2, t)
}

// Frame is one event for clients. Its position is unique and grows along the
// conversation, so a client that says the last one it saw misses nothing and
// sees nothing twice.
type Frame struct {
	Pos   uint64
	Event string // activity, delta, turn, resumed, title, settings, typing, deleted
	Data  []byte // JSON
	Body  any    // *activity.Activity, DeltaBody, TurnBody, ResumedBody, TitleBody, Settings, TypingBody
}

// The bodies of frames.
type (
	// DeltaBody is the next piece of an answer: Offset code points precede it.
	DeltaBody struct {
		Turn   string `json:"turn"`
		Offset int    `json:"offset"`
		Text   string `json:"text"`
	}
	// TurnBody says where a turn is.
	TurnBody struct {
		Turn     string      `json:"turn"`
		State    event.State `json:"state"`
		ReplyTo  string      `json:"replyTo"`
		Position int         `json:"position"` // turns before it in the queue when it was accepted
		Attempt  int         `json:"attempt"`
		Region   string      `json:"region,omitempty"` // that has the turn; while it waits, the conversation's home
		Code     fault.Code  `json:"code,omitempty"`
		Error    string      `json:"error,omitempty"`
	}
	// ResumedBody says that an answer goes on at Offset after its engine or
	// node was lost; with policy restart all text before is void.
	ResumedBody struct {
		Turn    string    `json:"turn"`
		Attempt int       `json:"attempt"`
		Offset  int       `json:"offset"`
		Policy  lm.Policy `json:"policy"`
	}
	// TitleBody names the conversation.
	TitleBody struct {
		Title string `json:"title"`
	}
	// TypingBody is what counts for a moment: a bot is writing.
	TypingBody struct{ *activity.Activity }
)

// An entry makes at most framesPerEntry frames; positions are sequences times
// that, plus the frame's place.
const framesPerEntry = 8

// PositionOf is the position behind all frames that an entry can make.
func PositionOf(seq uint64) uint64 { return Position(seq, framesPerEntry-1) }

// SeqOf returns the entry that a position belongs to.
func SeqOf(pos uint64) uint64 { return pos / framesPerEntry }

// spokenPlace is where in its entry an activity is that a bot said.
const spokenPlace = 1

// SpokenPosition returns the position of what a bot said with the entry seq.
func SpokenPosition(seq uint64) uint64 { return Position(seq, spokenPlace) }

// Position returns the position of the frame at a place of the entry seq. An
// activity that a user said is at place 0 of its entry.
func Position(seq uint64, place int) uint64 { return seq*framesPerEntry + uint64(place) }

func (s *State) frame(seq uint64, place int, name string, body any) {
	data, err := json.Marshal(body)
	if err != nil { // bodies came out of JSON or are plain structs
		data = fmt.Appendf(nil, `{"problem":%q}`, err.Error())
	}
	s.Frames = append(s.Frames, Frame{Pos: Position(seq, place), Event: name, Data: data, Body: body})
}

func (s *State) turnFrame(seq uint64, place int, t *Turn) {
	b := TurnBody{Turn: t.ID, State: t.State, ReplyTo: t.ReplyTo, Position: t.Position, Attempt: t.Attempt, Region: event.HomeOf(s.ID)}
	if s.Claim.Turn == t.ID { // whose claim is the newest runs, or has just ended
		b.Position, b.Region = 0, s.Claim.Region
	}
	if t.End != nil {
		b.Position, b.Code, b.Error = 0, t.End.Code, t.End.Error
	}
	s.frame(seq, place, "turn", b)
}

// After returns the frames behind a position. The slice stays valid and
// unchanged while the state grows.
func (s *State) After(pos uint64) []Frame {
	lo, hi := 0, len(s.Frames)
	for lo < hi {
		mid := (lo + hi) / 2
		if s.Frames[mid].Pos <= pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return s.Frames[lo:len(s.Frames):len(s.Frames)]
}

// TitleFrom proposes a title from the first message: its first words.
func TitleFrom(text string) string {
	const most = 48 // code points
	line := strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(line) <= most {
		return line
	}
	runes := []rune(line)[:most]
	cut := string(runes)
	if i := strings.LastIndexByte(cut, ' '); i > most/2 {
		cut = cut[:i]
	}
	return strings.TrimRight(cut, " ,.;:") + "…"
}

// TokensUnknown reports whether the ids of the answer so far have a gap.
func (t *Turn) TokensUnknown() bool { return t.noIDs }

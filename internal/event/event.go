// Package event is what can be written into a conversation's log: the kinds of
// entry, their payloads, and the ids that tie them together. The log stores
// entries, conversation folds them, project copies them into the store; all
// three agree here.
package event

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Class says who writes an entry and under which rule. Each class of a
// conversation is a chain of its own: every entry carries the checksum of the
// one before it in its class.
type Class string

// The classes.
const (
	// In is written on behalf of users (and for titles): created, said, stop,
	// titled, set, deleted. Optimistic concurrency on the class: one order, and a
	// repeated id is found by reading.
	In Class = "in"
	// Claim is written by a worker that takes a turn; optimistic concurrency
	// on the class, so that of two workers one wins. The newest claim of a
	// conversation owns its Out and Done: an entry of an older claim that comes
	// later in the log is void for every reader.
	Claim Class = "claim"
	// Out is the running answer: resumed and delta, many in flight.
	Out Class = "out"
	// Done ends a turn: ended. Refused by the log if a newer claim exists.
	Done Class = "done"
	// Aside is what counts for a moment only: typing. Nothing guards it.
	Aside Class = "aside"
	// Post is how far what bots say has gone out on a channel that has to be
	// called: posted. Optimistic concurrency on the class, so that of two workers
	// one posts.
	Post Class = "post"
)

// Kind is the type of an entry's payload.
type Kind string

// The kinds.
const (
	KindCreated Kind = "created" // In: Created
	KindSaid    Kind = "said"    // In: Said
	KindStop    Kind = "stop"    // In: Stop
	KindTitled  Kind = "titled"  // In: Titled
	KindSet     Kind = "set"     // In: Set
	KindDeleted Kind = "deleted" // In: no payload; all else of the conversation is gone or about to go
	KindClaimed Kind = "claimed" // Claim: Claimed
	KindResumed Kind = "resumed" // Out: Resumed
	KindDelta   Kind = "delta"   // Out: Delta
	KindEnded   Kind = "ended"   // Done: Ended
	KindChanged Kind = "changed" // In: Changed
	KindSent    Kind = "sent"    // Out: Sent
	KindTyping  Kind = "typing"  // Aside: Typing
	KindPosted  Kind = "posted"  // Post: Posted
)

// ClassOf returns the class that a kind is written under.
func ClassOf(k Kind) Class {
	switch k {
	case KindClaimed:
		return Claim
	case KindResumed, KindDelta, KindSent:
		return Out
	case KindTyping:
		return Aside
	case KindPosted:
		return Post
	case KindEnded:
		return Done
	}
	return In
}

// Entry is one record of the log.
type Entry struct {
	Conversation string
	Seq          uint64 // position in the conversation's stream: grows along a conversation, with gaps
	Time         time.Time
	Event        Event
	Sum          uint64 // checksum over Prev, place and payload
	Prev         uint64 // Sum of the entry before it in its class, 0 for the first
	Damaged      bool   // Sum does not match what was read: Event is not to be trusted
}

// Event is what is written: exactly one of the payloads, by Kind.
type Event struct {
	Kind    Kind     `json:"k"`
	Created *Created `json:"created,omitempty"`
	Said    *Said    `json:"said,omitempty"`
	Stop    *Stop    `json:"stop,omitempty"`
	Titled  *Titled  `json:"titled,omitempty"`
	Set     *Set     `json:"set,omitempty"`
	Claimed *Claimed `json:"claimed,omitempty"`
	Resumed *Resumed `json:"resumed,omitempty"`
	Delta   *Delta   `json:"delta,omitempty"`
	Ended   *Ended   `json:"ended,omitempty"`
	Changed *Changed `json:"changed,omitempty"`
	Sent    *Sent    `json:"sent,omitempty"`
	Typing  *Typing  `json:"typing,omitempty"`
	Posted  *Posted  `json:"posted,omitempty"`
}

// Created begins a conversation.
type Created struct {
	Owner   string    `json:"owner"` // user id; only this user sees the conversation
	Bot     string    `json:"bot"`
	Channel string    `json:"channel"` // "web", "api", "responses", ...
	Title   string    `json:"title,omitempty"`
	Hidden  bool      `json:"hidden,omitempty"` // not in the user's list (one-off API answers)
	User    string    `json:"user,omitempty"`   // whom a channel bound it to, by the channel's own name for them
	At      time.Time `json:"at,omitzero"`      // when it began elsewhere, of what was imported
}

// Said is a user's activity, the request for a turn, or both at once, so that
// an acknowledged activity can't be without its turn. Or it is what a bot says
// that runs elsewhere.
type Said struct {
	Activity *activity.Activity `json:"activity,omitempty"` // nil: regenerate the answer to Turn.ReplyTo
	Bot      string             `json:"bot,omitempty"`      // that says it; "" = a user does
	Key      string             `json:"key,omitempty"`      // names the delivery by which a bot said it
	Turn     *Turn              `json:"turn,omitempty"`     // nil: nothing is to be answered
	Title    string             `json:"title,omitempty"`    // proposed by the first message; never replaces a title
	At       time.Time          `json:"at,omitzero"`        // when it was said elsewhere, of what was imported
}

// Turn asks for an answer.
type Turn struct {
	ID       string `json:"id"`
	ReplyTo  string `json:"replyTo"`            // id of the activity to answer
	Position int    `json:"position,omitempty"` // turns before it in the node's queue when it was accepted
	// Continues is the turn whose answer this one begins with, to write on where
	// that ended.
	Continues string     `json:"continues,omitempty"`
	Model     string     `json:"model,omitempty"`  // "" = the bot's
	System    *string    `json:"system,omitempty"` // nil = the bot's
	Params    *lm.Params `json:"params,omitempty"` // nil = the bot's
	Resume    lm.Policy  `json:"resume,omitempty"` // "" = the bot's, then the engine's
	// Context stands before the activity in the prompt, in this turn and in
	// those that follow it: what an API client gave as earlier messages.
	Context []lm.Message `json:"context,omitempty"`
	// NoRestart: the channel can't take back text, so a cut answer that can't
	// be continued fails.
	NoRestart bool `json:"noRestart,omitempty"`
	// Plain: the engine was asked for, so no script answers.
	Plain bool            `json:"plain,omitempty"`
	Extra json.RawMessage `json:"extra,omitempty"` // what the channel must remember of the request
}

// Stop asks the worker of a turn to end it where it is.
type Stop struct {
	Turn string `json:"turn"`
}

// Titled names the conversation.
type Titled struct {
	Title string `json:"title"`
	Auto  bool   `json:"auto,omitempty"` // proposed, not chosen by the user
}

// Set changes what the user chose for the conversation. What is nil stays.
type Set struct {
	Pinned   *bool      `json:"pinned,omitempty"`   // on top of the list
	Archived *bool      `json:"archived,omitempty"` // out of the list
	Trashed  *bool      `json:"trashed,omitempty"`  // out of list and search, and erased after a while unless taken back
	System   *string    `json:"system,omitempty"`   // system prompt; "" = the bot's
	Model    *string    `json:"model,omitempty"`    // "" = the bot's
	Params   *lm.Params `json:"params,omitempty"`   // in place of all that were set before; what they leave open is the bot's
	Tags     *[]string  `json:"tags,omitempty"`     // in place of all that were set before
	Share    *Share     `json:"share,omitempty"`    // the zero Share takes the link back
}

// Share lets who has its link read the conversation, and do nothing else.
type Share struct {
	Key  string `json:"key,omitempty"`  // the secret end of the link
	Upto string `json:"upto,omitempty"` // the activity up to which it is shown, as it was at this entry
	Live bool   `json:"live,omitempty"` // as it is, in the place of that
}

// Claimed takes a turn for a worker at an attempt.
type Claimed struct {
	Turn    string `json:"turn"`
	Attempt int    `json:"attempt"` // 1, 2, ...
	Worker  string `json:"worker"`
	Region  string `json:"region"`
}

// Resumed opens attempt > 1 of an answer: what follows begins at Offset.
type Resumed struct {
	Turn    string    `json:"turn"`
	Attempt int       `json:"attempt"`
	Offset  int       `json:"offset"` // code points kept; 0 with policy restart
	Policy  lm.Policy `json:"policy"`
	Engine  string    `json:"engine,omitempty"`
}

// Delta is a checkpoint: the next piece of the answer.
type Delta struct {
	Turn    string  `json:"turn"`
	Attempt int     `json:"attempt"`
	Offset  int     `json:"offset"` // code points of the answer before Text
	Text    string  `json:"text"`
	At      int     `json:"at,omitempty"`     // ids of the answer before Tokens
	Tokens  []int32 `json:"tokens,omitempty"` // ids sampled since the last delta
	Lead    bool    `json:"lead,omitempty"`   // said by the script before the engine's text
	Model   string  `json:"model,omitempty"`  // that says it, where the turn's name for it stands for several
}

// Sent says that the turn's activity is about to leave for a bot that runs
// elsewhere: from here on the bot may have it.
type Sent struct {
	Turn    string `json:"turn"`
	Attempt int    `json:"attempt"`
	Bot     string `json:"bot"`
}

// Changed puts another activity in the place of one that a bot said.
type Changed struct {
	Activity *activity.Activity `json:"activity"` // with the same id
}

// Typing shows that a bot is writing, and how far it is if it tells.
type Typing struct {
	Activity *activity.Activity `json:"activity"`
}

// Step is what was last done about an item on its way out.
type Step string

// The steps.
const (
	Leaving Step = "leaving" // the other side may have it from now on
	Refused Step = "refused" // it did not take it, and is asked again
	There   Step = "there"   // it has it, under Ref
	Dead    Step = "dead"    // it won't have it: the item is a dead letter
)

// Posted is a step of what a bot says on its way to the other side of a channel
// that has to be called.
type Posted struct {
	Pos   uint64    `json:"pos"`          // of the item
	ID    uint64    `json:"id,omitempty"` // position that names what it changes; 0 = it is new
	Step  Step      `json:"step"`
	By    string    `json:"by,omitempty"`    // who does it: no two ever have the same
	Lease uint64    `json:"lease,omitempty"` // the entry in whose name
	Ref   string    `json:"ref,omitempty"`   // what the other side calls it; before it is there, how far it came
	Doubt bool      `json:"doubt,omitempty"` // it was refused, but the other side may have it
	Since time.Time `json:"since,omitzero"`  // it was refused: when that began, of this item or of those that it waited behind
	Until time.Time `json:"until,omitzero"`  // it was refused, and is not to be tried before
}

// State of a turn.
type State string

// The states. The last three are final.
const (
	Queued  State = "queued"
	Running State = "running"
	Ok      State = "done"
	Failed  State = "failed"
	Stopped State = "stopped"
)

// Final reports whether a turn in this state is over.
func (s State) Final() bool { return s == Ok || s == Failed || s == Stopped }

// Ended closes a turn with the whole answer.
type Ended struct {
	Turn     string             `json:"turn"`
	Attempt  int                `json:"attempt"`
	State    State              `json:"state"`
	Activity *activity.Activity `json:"activity,omitempty"` // the answer; nil if there is none
	Finish   lm.Finish          `json:"finish,omitempty"`
	Model    string             `json:"model,omitempty"`
	Engine   string             `json:"engine,omitempty"`
	Usage    lm.Usage           `json:"usage,omitzero"`
	Code     fault.Code         `json:"code,omitempty"`  // of a failed turn
	Error    string             `json:"error,omitempty"` // of a failed turn, for the user
	// Dialog is where the script stands after this turn, if one led it, and
	// Script which one that was, as APP@VERSION.
	Dialog json.RawMessage `json:"dialog,omitempty"`
	Script string          `json:"script,omitempty"`
	// Missed: the message was not understood, and such messages are collected.
	Missed bool `json:"missed,omitempty"`
}

// Encode returns the payload's bytes.
func Encode(e Event) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %s event: %w", e.Kind, err)
	}
	return b, nil
}

// Decode reads a payload and checks that it is whole: the payload of its kind
// is there. Bytes come from our own log but may be damaged.
func Decode(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	ok := false
	switch e.Kind {
	case KindCreated:
		ok = e.Created != nil
	case KindSaid:
		ok = e.Said != nil && (e.Said.Activity != nil || e.Said.Turn != nil)
	case KindStop:
		ok = e.Stop != nil
	case KindTitled:
		ok = e.Titled != nil
	case KindSet:
		ok = e.Set != nil
	case KindDeleted:
		ok = true
	case KindClaimed:
		ok = e.Claimed != nil
	case KindResumed:
		ok = e.Resumed != nil
	case KindDelta:
		ok = e.Delta != nil
	case KindEnded:
		ok = e.Ended != nil
	case KindChanged:
		ok = e.Changed != nil && e.Changed.Activity != nil
	case KindSent:
		ok = e.Sent != nil
	case KindTyping:
		ok = e.Typing != nil && e.Typing.Activity != nil
	case KindPosted:
		ok = e.Posted != nil
	}
	if !ok {
		return Event{}, fmt.Errorf("decode event: kind %q without its payload", e.Kind)
	}
	return e, nil
}

// letters make ids that survive subjects, URLs, file names and being read
// aloud.
var letters = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewConversation returns a new conversation id; it begins with its home
// region, so that every node knows where its log lives.
func NewConversation(home string) string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails
	return home + "-" + letters.EncodeToString(b[:])
}

// ConversationFor returns the conversation id that an owner's key stands for.
func ConversationFor(home, owner, key string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + key))
	return home + "-" + letters.EncodeToString(sum[:15])
}

// ShareKey is the length of the secret end of a link.
const ShareKey = 26

// NewShareKey returns the secret end of a new link.
func NewShareKey() string { return strings.ToLower(rand.Text()) }

// NewActivity returns an activity id that is unique in the conversation; with
// a key, the same key gives the same id.
func NewActivity(conversation, key string) string {
	if key == "" {
		key = rand.Text()
	}
	sum := sha256.Sum256([]byte(conversation + "\x00" + key))
	return "a" + letters.EncodeToString(sum[:10])
}

// TurnOf returns the id of the turn that an activity or request asks for.
func TurnOf(activityID string) string { return "t" + strings.TrimPrefix(activityID, "a") }

// AnswerOf returns the id of the answer that a turn gives.
func AnswerOf(turnID string) string { return "b" + strings.TrimPrefix(turnID, "t") }

// TurnFor returns the id of the turn that gives an answer.
func TurnFor(answerID string) string { return "t" + strings.TrimPrefix(answerID, "b") }

var conversationID = regexp.MustCompile(`^[a-z0-9]{1,32}-[0-9a-hjkmnp-tv-z]{24}$`)

// ValidConversation reports whether id has the form of a conversation id.
func ValidConversation(id string) bool { return conversationID.MatchString(id) }

// HomeOf returns the region in which a conversation began.
func HomeOf(id string) string {
	home, _, _ := strings.Cut(id, "-")
	return home
}

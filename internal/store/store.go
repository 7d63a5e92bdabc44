// Package store is the contract of the second full copy of everything said:
// the log projected into a database, for lists, history and search. The log is
// the truth for live conversations; a store can be thrown away and built again
// from it. Drivers live in the folders below and pass storetest's conformance
// suite.
package store

import (
	"context"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Store holds conversations, activities and turns, and how far into each
// stream of the log they have been copied.
//
// Every read that takes an owner sees only that owner's conversations; another
// owner's conversation is NotFound, exactly like one that does not exist.
// Errors are *fault.Error where the caller can do something: NotFound,
// Invalid (bad cursor), StorageFull (Apply and Backup only), Unavailable
// (damaged, locked, gone: the message says which). When ctx ends, a method
// returns soon, with an error that fault.CodeOf reads as Canceled or Timeout.
// All methods may be called from many goroutines; Apply from one per stream.
//
// Text is kept as it is, whatever code points it holds. Times are kept to the
// nanosecond and returned in UTC.
type Store interface {
	// Position returns the place up to which the stream was applied, the zero
	// Position if nothing was.
	Position(ctx context.Context, stream string) (Position, error)

	// Apply writes a batch of changes, in order, and the new position of the
	// stream in one transaction: after a crash at any point, both are there or
	// neither. A batch at or below the current position changes nothing. When
	// it fails nothing was changed, unless the error is that ctx ended or
	// Unavailable: then it may have been; asking again is always right. After
	// StorageFull it works again as soon as there is room.
	Apply(ctx context.Context, stream string, upTo Position, changes []Change) error

	// Conversations lists an owner's visible (neither Hidden nor Trashed)
	// conversations that pass a filter, the most recently updated first. cursor is "" or what the last page returned
	// as next; next is "" on the last page. limit below 1 means 50, above 500
	// means 500. Walking the pages shows a conversation at most once, and each
	// one that did not change meanwhile exactly once: what is added or updated
	// during the walk moves to the front and is seen by the next walk. A cursor
	// that no page returned is Invalid.
	Conversations(ctx context.Context, owner string, filter Filter, cursor string, limit int) (page []Conversation, next string, err error)

	// Conversation returns one, Hidden or not.
	Conversation(ctx context.Context, owner, id string) (Conversation, error)

	// Activities returns a conversation's activities in the order of the log.
	Activities(ctx context.Context, owner, id string) ([]activity.Activity, error)

	// Search finds activities of an owner's visible conversations that hold all
	// words of the query, best first; see ParseQuery for what a word is and
	// when it is held. Snippets mark hits with HitStart and HitEnd. Any text is
	// a valid query; nothing in it is an operator, and one without a letter or
	// digit finds nothing. With a tag, only conversations that have it are looked
	// at. limit below 1 means 20, above 200 means 200.
	Search(ctx context.Context, owner, query, tag string, limit int) ([]Hit, error)

	// Tags returns the tags of an owner's visible conversations, the most used
	// ones first.
	Tags(ctx context.Context, owner string) ([]Tag, error)

	// Known reports whether there is such a conversation, of any owner. Turn
	// returns one turn of any owner, or NotFound; Claimed the one whose Claim is
	// the newest of the conversation, or NotFound if none was claimed. All
	// three are for the projector, which replaces rows whole.
	Known(ctx context.Context, conversation string) (bool, error)
	Turn(ctx context.Context, conversation, id string) (TurnRow, error)
	Claimed(ctx context.Context, conversation string) (TurnRow, error)

	// OpenTurns returns all turns that have not ended, in the order of the log.
	OpenTurns(ctx context.Context) ([]TurnRow, error)

	// Dump calls each with every row in a fixed order, as lines that are equal
	// for equal content whatever the driver: the means by which two stores are
	// compared. It shows one moment, even while Apply goes on. Drivers make the
	// lines with DumpLine, conversations by id, activities and turns by
	// conversation, then Seq, then id, positions by stream (text compared by
	// its bytes).
	Dump(ctx context.Context, each func(line string) error) error

	// Backup writes a copy of one moment that Open of the same driver reads,
	// while the store is in use. It refuses to overwrite (Conflict) and leaves
	// nothing behind when it fails.
	Backup(ctx context.Context, path string) error

	// Check verifies the database's own integrity; Health only that it answers.
	Check(ctx context.Context) error
	Health(ctx context.Context) error
	Close() error
}

// Position is a place in a stream of the log.
type Position struct {
	Seq uint64 // of the last entry that was applied
	Sum uint64 // that entry's checksum: tells whether a log is the one that was applied; 0: not known
}

// Marks around a hit in a snippet: private-use characters that no text of a
// user keeps (they are removed from snippets before marking).
const (
	HitStart = "\uE000"
	HitEnd   = "\uE001"
)

// Change is one row's change, made by project from one log entry. Exactly one
// field is set. Applying a change twice is the same as once.
//
// A Title, Mark, Activity or Turn of a conversation that the store does not hold
// changes nothing: what comes late for a deleted conversation, or for one
// whose beginning is damaged, makes no row that nobody owns.
type Change struct {
	Conversation *Conversation // insert, or update all but Created; Updated never goes back
	Title        *Title        // update Title
	Mark         *Mark         // update Pinned, Archived, Trashed, Tags, Share
	Activity     *ActivityRow  // insert; an id that the conversation has is left as it is
	Changed      *ActivityRow  // put Activity in the place of the one with its id, if there is one
	Turn         *TurnRow      // insert or replace
	Delete       string        // conversation id: remove it and all that hangs on it, from the disk's files too
}

// Conversation is a row of the list.
type Conversation struct {
	ID       string
	Owner    string
	Bot      string
	Channel  string
	Title    string
	Hidden   bool
	Pinned   bool
	Archived bool
	Trashed  bool     // about to be deleted
	Tags     []string `json:",omitempty"`
	Share    *Share   `json:",omitempty"` // nil: nobody else may read it
	Created  time.Time
	Updated  time.Time // the newest activity
}

// Shelf is a part of an owner's list.
type Shelf string

// The shelves.
const (
	Shown    Shelf = ""         // what is not archived
	Pinned   Shelf = "pinned"   // of what is shown, the pinned ones
	Archived Shelf = "archived" // what is archived
	Shared   Shelf = "shared"   // what others can read by a link, archived or not
)

// Filter chooses conversations; the zero Filter takes what is Shown.
type Filter struct {
	Shelf Shelf
	Tag   string // only what has it; "" = whatever it has
}

// Tag is a tag and how many conversations have it.
type Tag struct {
	Name          string
	Conversations int
}

// Share is the link by which others read a conversation.
type Share struct {
	Link string
	Live bool
	At   time.Time
}

// Mark changes where a conversation is listed. What is nil stays.
type Mark struct {
	Conversation              string
	Pinned, Archived, Trashed *bool
	Tags                      *[]string
	Share                     *Share // the zero Share: it is taken back
}

// Title changes a conversation's title.
type Title struct {
	Conversation string
	Title        string
	Auto         bool // an automatic title never replaces one chosen by the user (of Created or Titled, not "")
}

// ActivityRow is one activity at its place in the log. Inserting it sets the
// conversation's Updated to At if that is later.
type ActivityRow struct {
	Conversation string
	Seq          uint64
	At           time.Time
	Activity     activity.Activity
}

// TurnRow is the state of a turn.
type TurnRow struct {
	Conversation string
	ID           string
	Seq          uint64 // of the entry that asked for it
	ReplyTo      string
	Attempt      int    // of the newest claim
	Claim        uint64 // sequence of the newest claim, 0 if there is none
	State        event.State
	Finish       lm.Finish
	Code         fault.Code // of a failed turn
	Error        string     // of a failed turn, for the user
	Usage        lm.Usage
	Model        string
	Engine       string
	Updated      time.Time
}

// Hit is one found activity.
type Hit struct {
	Conversation string
	Title        string
	Activity     string
	Snippet      string
	At           time.Time
}

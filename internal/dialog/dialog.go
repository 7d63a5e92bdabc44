// Package dialog leads a conversation along a script that people wrote: which
// intents begin which flow, what it has to ask for, what it says, and who goes
// on when it can't. What may live here: scripts, the files they are read from,
// and the next step for what was understood of a text. It is a pure function
// of its inputs: it opens nothing, remembers nothing and asks nobody.
package dialog

import "encoding/json"

// Script is how a bot talks. It is never changed once it is read.
type Script struct {
	Name       string
	Understand float64 // a flow begins if its intent has at least this score
	Interrupt  float64 // the same, in the middle of another flow
	Fallback   []Hand  // for the first text in a row that was not understood, the second, ...; the last for all that follow
	Say        Sayings
	Words      Words
	Flows      []Flow // in their order in the file
}

// Sayings are what a script says outside of its flows. Of several texts a
// different one is taken in turn.
type Sayings struct {
	Unclear   []string // nothing was understood
	Cancelled []string // the person gave up what was begun
	Resume    []string // back to what was interrupted, before its question; may be missing
	Person    []string // a person takes over; may be missing
}

// Words are what counts as an answer to a confirmation, and as giving up.
type Words struct{ Yes, No, Cancel []string }

// Flow is one thing that the script can do.
type Flow struct {
	Name     string
	Intents  []string // that begin it
	Slots    []Slot   // asked for in this order
	Confirm  []string // asks whether all is right; missing: it is
	Declined []string // it was not
	Reply    Reply    // said when all is there; may be missing
	Hand     Hand     // who goes on then
	Whole    bool     // it can't be interrupted by another flow

	line int
}

// Slot is something that a flow has to know.
type Slot struct {
	Name     string
	Entities []Entity // any of these fills it
	Choices  []Choice // or any of these
	Text     bool     // or whatever is answered when it is asked for
	Optional bool     // taken if it is said, never asked for
	Ask      []string
	Again    []string // when the answer does not fill it: first, second, ...; missing: Ask once more
	Tries    int      // answers that may miss before the flow is given up

	line int
}

// Entity is a kind of entity, in a role if one is given.
type Entity struct{ Type, Role string }

// Choice is one of several answers, with the words that mean it.
type Choice struct {
	Name  string
	Words []string
}

// Reply is what a flow says: of the first case that a slot's value is, or
// Texts.
type Reply struct {
	By    string // the slot
	Cases []Case
	Texts []string
}

// Case is what is said for one value.
type Case struct {
	Value string
	Texts []string
}

// Hand says who goes on. The zero one is the script itself.
type Hand struct {
	To  To     `json:"to,omitempty"`
	Bot string `json:"bot,omitempty"`
}

// To is a kind of who goes on.
type To string

// The kinds. The model answers one text; a bot and a person keep the
// conversation until Resume.
const (
	Ask    To = "ask" // only as a fallback: the script asks to say it otherwise
	Model  To = "model"
	Bot    To = "bot"
	Person To = "person"
)

// Input is what somebody said, and what was understood of it.
type Input struct {
	Text     string
	Intent   string // the best one, corpus.None for nothing
	Score    float64
	Entities []Found // in their order in the text
}

// Found is an entity in the text.
type Found struct {
	Entity
	Value
}

// Value is what fills a slot.
type Value struct {
	Said  string `json:"said"`            // the words
	Name  string `json:"name,omitempty"`  // of a list's: its name
	Value string `json:"value,omitempty"` // what programs get, where that is something else
}

// State is where a conversation stands. Its JSON goes into the log; the zero
// one is a conversation that has not begun.
type State struct {
	Open   []Frame `json:"open,omitempty"`   // flows that have begun, the one that goes on last
	Misses int     `json:"misses,omitempty"` // texts in a row that were not understood
	Turn   int     `json:"turn,omitempty"`   // texts that were taken
	With   Hand    `json:"with,omitzero"`    // who has the conversation, if not the script
}

// Frame is a flow that has begun.
type Frame struct {
	Flow    string           `json:"flow"`
	Slots   map[string]Value `json:"slots,omitempty"`
	Asked   string           `json:"asked,omitempty"`   // the slot it waits for
	Confirm bool             `json:"confirm,omitempty"` // it waits for yes or no
	Tries   int              `json:"tries,omitempty"`   // answers that missed
}

// Action is what shall be done after the replies. The zero one is nothing.
type Action struct {
	Hand  Hand             `json:"hand,omitzero"`
	Why   Why              `json:"why,omitempty"`
	Flow  string           `json:"flow,omitempty"`  // that asks for it
	Slots map[string]Value `json:"slots,omitempty"` // what it knows
	Then  []string         `json:"then,omitempty"`  // to be said when the model has answered
}

// Why is why somebody else goes on.
type Why string

// The reasons.
const (
	Scripted Why = "scripted" // the flow says so
	Unclear  Why = "unclear"  // the text was not understood
	GivenUp  Why = "given up" // the answers to a question missed too often
)

// ParseState reads the JSON of a state. Nothing at all is the zero one.
func ParseState(b []byte) (State, error) {
	var s State
	if len(b) == 0 {
		return s, nil
	}
	err := json.Unmarshal(b, &s)
	return s, err
}

func (s *Script) flow(name string) *Flow {
	for i := range s.Flows {
		if s.Flows[i].Name == name {
			return &s.Flows[i]
		}
	}
	return nil
}

// flowOf returns the flow that an intent begins, or nil.
func (s *Script) flowOf(intent string) *Flow {
	for i := range s.Flows {
		for _, in := range s.Flows[i].Intents {
			if in == intent {
				return &s.Flows[i]
			}
		}
	}
	return nil
}

func (f *Flow) slot(name string) *Slot {
	for i := range f.Slots {
		if f.Slots[i].Name == name {
			return &f.Slots[i]
		}
	}
	return nil
}

// Package corpus holds what people teach the understanding with: utterances
// with their intent and entities, and the definitions around them. What may
// live here: those words, the files they are kept in, and the files other
// products keep them in.
package corpus

// Example is an utterance with what should be understood of it.
type Example struct {
	Text     string   `json:"text"`
	Intent   string   `json:"intent"` // None: belongs to nothing this model knows
	Entities []Entity `json:"entities,omitempty"`
	Split    Split    `json:"split,omitempty"`
}

// Entity is a marked part of an utterance.
type Entity struct {
	Start int    `json:"start"` // Unicode code points
	End   int    `json:"end"`   // Unicode code points, exclusive
	Type  string `json:"type"`
	Role  string `json:"role,omitempty"`
}

// Split says what an example is for. Empty is Train.
type Split string

// The splits.
const (
	Train Split = "train"
	Dev   Split = "dev"
	Test  Split = "test"
)

// None is the intent of what a model should not understand.
const None = "None"

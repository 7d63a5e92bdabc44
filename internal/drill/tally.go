package drill

import (
	"slices"

	"github.com/parleyhq/parley/client"
)

// Told is a message that was acknowledged, as its user was told.
type Told struct {
	ID, Text string         // the text is no other message's of the conversation
	Answer   *client.Answer // what the user saw of the answer; nil: none was wanted
}

// Held is what a region holds of a conversation.
type Held struct {
	Order   []string          // ids of its activities
	Texts   map[string]int    // what users said: how often
	Answers map[string]string // texts, by id
}

// Take adds the next activity.
func (h *Held) Take(id, text string, bot bool) {
	h.Order = append(h.Order, id)
	if bot {
		h.Answers[id] = text
	} else {
		h.Texts[text]++
	}
}

// Holds reads what a region holds from a conversation's activities there.
func Holds(acts []client.Activity) Held {
	h := Held{Texts: map[string]int{}, Answers: map[string]string{}}
	for _, a := range acts {
		h.Take(a.ID, a.Text, a.FromBot())
	}
	return h
}

// Tally counts what regions hold against what users were told.
type Tally struct {
	Acknowledged int `json:"acknowledged"` // messages and probes
	Answers      int `json:"answers"`

	Lost       int `json:"lost"`       // acknowledged, and not in the log of some region
	Doubled    int `json:"doubled"`    // in a log more than once
	Disordered int `json:"disordered"` // conversations whose order differs between regions
	Unfinished int `json:"unfinished"` // answers that did not come to their end
	Differing  int `json:"differing"`  // answers of which the log holds another text than the user saw
}

// Clean reports whether nothing was found.
func (t *Tally) Clean() bool {
	return t.Lost+t.Doubled+t.Disordered+t.Unfinished+t.Differing == 0
}

// Count adds a conversation: what its users were told, and what every region
// holds of it.
func (t *Tally) Count(told []Told, held []Held) {
	differ := false
	for _, h := range held {
		differ = differ || !slices.Equal(held[0].Order, h.Order)
		for _, s := range told {
			switch n := h.Texts[s.Text]; {
			case n == 0:
				t.Lost++
			case n > 1:
				t.Doubled++
			}
			if s.Answer != nil && s.Answer.Activity != nil && h.Answers[s.Answer.Activity.ID] != s.Answer.Text {
				t.Differing++
			}
		}
	}
	if differ {
		t.Disordered++
	}
	for _, s := range told {
		t.Acknowledged++
		if s.Answer == nil {
			continue
		}
		t.Answers++
		if s.Answer.State != client.Done || s.Answer.Activity == nil {
			t.Unfinished++
		}
	}
}

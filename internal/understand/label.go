package understand

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/learn"
)

// Label is what an operator says that a message means. It names the message and
// holds nothing of it: one that is deleted takes its label along.
type Label struct {
	Intent string    `json:"intent"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Taken  bool      `json:"taken,omitempty"` // a project has it
}

// Labelling changes the label of a message.
type Labelling struct {
	ID     string `json:"id"`     // of the activity
	Intent string `json:"intent"` // "" takes the label away
	Taken  bool   `json:"taken"`  // a project has it
}

const (
	labelsKey  = "understanding.labels"
	mostLabels = 2000
	longestID  = 200 // bytes
)

// Labels returns the labels by the ids of their messages.
func (s *Service) Labels(ctx context.Context) (map[string]Label, error) {
	labels, _, err := s.readLabels(ctx)
	return labels, err
}

func (s *Service) readLabels(ctx context.Context) (map[string]Label, uint64, error) {
	labels := map[string]Label{}
	if s == nil || s.opts.Values == nil {
		return labels, 0, nil
	}
	b, revision, err := s.opts.Values.Load(ctx, labelsKey)
	if fault.Is(err, fault.NotFound) {
		return labels, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &labels)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the labels: %w", err)
	}
	return labels, revision, nil
}

// Label labels messages, all or none of them.
func (s *Service) Label(ctx context.Context, all []Labelling, by string) error {
	if s == nil || s.opts.Values == nil {
		return fault.New(fault.Unsupported, "nothing can be labelled on this node: it understands nothing")
	}
	if len(all) > mostLabels {
		return fault.New(fault.Invalid, "%d labels are more than the %d that are kept", len(all), mostLabels)
	}
	for i, l := range all {
		if l.ID == "" || len(l.ID) > longestID || !utf8.ValidString(l.ID) {
			return fault.New(fault.Invalid, "labels[%d]: name the message by its id, of at most %d bytes", i, longestID)
		}
		if err := (corpus.Example{Text: "x", Intent: cmp.Or(l.Intent, corpus.None)}).Check(); err != nil {
			return fault.New(fault.Invalid, "labels[%d]: %s", i, oneLine(err))
		}
	}
	for try := 0; ; try++ {
		labels, revision, err := s.readLabels(ctx)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Second)
		for _, l := range all {
			if l.Intent == "" {
				delete(labels, l.ID)
			} else {
				labels[l.ID] = Label{Intent: l.Intent, By: by, At: now, Taken: l.Taken}
			}
		}
		if forget(labels); len(labels) > mostLabels {
			return fault.New(fault.Limited, "%d labels wait to be taken into a project, which is the most: parley nlu learn DIR --labelled takes them", mostLabels)
		}
		b, err := json.Marshal(labels)
		if err != nil {
			return fmt.Errorf("write the labels: %w", err)
		}
		if revision == 0 {
			err = s.opts.Values.Create(ctx, labelsKey, b)
		} else {
			err = s.opts.Values.Replace(ctx, labelsKey, b, revision)
		}
		if !fault.Is(err, fault.Conflict) || try == 20 {
			return err
		}
	}
}

// forget drops the oldest labels that a project has, down to those that are
// kept.
func forget(labels map[string]Label) {
	over := len(labels) - mostLabels
	if over <= 0 {
		return
	}
	var taken []string
	for _, id := range slices.Sorted(maps.Keys(labels)) {
		if labels[id].Taken {
			taken = append(taken, id)
		}
	}
	slices.SortStableFunc(taken, func(a, b string) int { return labels[a].At.Compare(labels[b].At) })
	for _, id := range taken[:min(over, len(taken))] {
		delete(labels, id)
	}
}

// MostGrouped bounds the texts that Groups sorts in one call.
const MostGrouped = 1000

// Groups sorts texts that were not understood by likeness, each group with
// what the live model of an app would take it for. What that model understands
// by now is left out. Intents are those that the app knows.
func (s *Service) Groups(id string, texts []string) (groups []learn.Group, intents []string, err error) {
	m, err := s.ForProgram(id, Production, "")
	if err != nil {
		return nil, nil, err
	}
	if len(texts) > MostGrouped {
		return nil, nil, fault.New(fault.Invalid, "%d texts are more than the %d that are sorted at once", len(texts), MostGrouped)
	}
	now := time.Now()
	kept := make([]string, len(texts)) // "" counts for nothing
	for i, t := range texts {
		if u := m.reads.Understand(t, now); u.Intent == corpus.None || u.Score < learn.Understood {
			kept[i] = t
		}
	}
	groups, _, err = learn.Groups(m.reads, kept, nil)
	return groups, m.Intents(), err
}

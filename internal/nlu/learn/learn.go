// Package learn closes the loop from what a model did not understand to what
// it is taught next. What may live here: sorting such texts so that people can
// label them in one go, taking out addresses and numbers, and comparing two models
// on the same texts.
package learn

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/model"
)

// Said is a text that people wrote.
type Said struct {
	Text  string `json:"text"`
	Times int    `json:"times"`
	At    []int  `json:"-"` // its places in the list of texts
}

// Group is texts that say much the same.
type Group struct {
	Texts     []Said       `json:"texts"`     // the first is the one that the others are like
	Times     int          `json:"times"`     // all of them together
	Proposals []nlu.Ranked `json:"proposals"` // what the model takes them for where it has to choose
}

const mostProposals = 3

// Understood is the score from which on an intent counts as understood.
const Understood = 0.5

// Groups sorts texts that m did not understand: the same text counts once,
// those in known not at all, and what was said most often comes first. Of more
// than nlu.MostGrouped different texts the ones said most often are taken; left
// is how many others there are.
func Groups(m *model.Model, texts, known []string) (groups []Group, left int, err error) {
	seen := map[string]int{} // -1: known
	for _, k := range known {
		seen[Key(k)] = -1
	}
	var said []Said
	for i, t := range texts {
		k := Key(t)
		switch at, ok := seen[k]; {
		case k == "" || at < 0:
		case ok:
			said[at].Times++
			said[at].At = append(said[at].At, i)
		default:
			seen[k] = len(said)
			said = append(said, Said{strings.TrimSpace(t), 1, []int{i}})
		}
	}
	slices.SortStableFunc(said, func(a, b Said) int { return b.Times - a.Times })
	if left = max(len(said)-nlu.MostGrouped, 0); left > 0 {
		said = said[:nlu.MostGrouped]
	}
	plain := make([]string, len(said))
	for i, s := range said {
		plain[i] = s.Text
	}
	sorted, err := nlu.Groups(plain, !m.English())
	if err != nil {
		return nil, 0, err
	}
	for _, s := range sorted {
		var g Group
		for _, i := range s.Texts {
			g.Texts, g.Times = append(g.Texts, said[i]), g.Times+said[i].Times
		}
		g.Proposals = propose(m, g.Texts)
		groups = append(groups, g)
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		return cmp.Or(b.Times-a.Times, len(b.Texts)-len(a.Texts))
	})
	return groups, left, nil
}

// Key is the same for texts that differ in blanks and capitals only.
func Key(text string) string { return strings.ToLower(strings.Join(strings.Fields(text), " ")) }

// propose is what the model takes texts for where None is no answer: the mean
// of what it gives to each intent.
func propose(m *model.Model, texts []Said) []nlu.Ranked {
	sum := map[string]float64{}
	n := 0.0
	for _, s := range texts {
		ranked := m.Understand(s.Text, time.Time{}).Intents
		some := 0.0
		for _, r := range ranked {
			if r.Intent != corpus.None {
				some += r.Score
			}
		}
		if some == 0 {
			continue // not a word of it was ever seen
		}
		n++
		for _, r := range ranked {
			if r.Intent != corpus.None {
				sum[r.Intent] += r.Score / some
			}
		}
	}
	out := []nlu.Ranked{}
	for intent, v := range sum {
		if v /= n; v >= 0.01 {
			out = append(out, nlu.Ranked{Intent: intent, Score: v})
		}
	}
	slices.SortFunc(out, func(a, b nlu.Ranked) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Intent, b.Intent))
	})
	return out[:min(len(out), mostProposals)]
}

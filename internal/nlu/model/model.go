// Package model is the whole of an understanding: what was learned from
// lines, together with what their project defines. It is what is trained,
// tested, kept in one file, published and asked. What may live here: putting
// nlu and finder together, so that a command, a test and a running node read a
// text in the very same way.
package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
)

// Model understands texts. It is never changed and safe for use by many.
type Model struct {
	learned *nlu.Model
	project *corpus.Project // its definitions; nil: learned from bare lines
	finder  *finder.Finder  // nil without a project
	untold  []string        // intents that only templates speak for
	version string
}

// Understanding is what a model makes of a text.
type Understanding struct {
	Intent   string       // the best, or corpus.None
	Score    float64      // of Intent, 0..1
	Intents  []nlu.Ranked // all, corpus.None among them, Intent first; together 1
	Entities []finder.Entity
}

// sure is the least score of an intent that a template speaks for: somebody
// wrote down that this is how people say it.
const sure = 0.99

// Train learns from examples. p is the project that they are the Lessons of,
// perhaps without those that are held back; nil if there is none. Warnings name
// what looks wrong in the examples and was learned all the same.
func Train(ctx context.Context, p *corpus.Project, examples []corpus.Example, opt nlu.Options) (*Model, []nlu.Problem, error) {
	var f *finder.Finder
	if p != nil {
		var err error
		if p = definitions(p); !english(p.Culture) {
			opt.Plain = true
		}
		opt.Hints = hints(p)
		if f, err = finder.New(p); err != nil {
			return nil, nil, err
		}
	}
	learned, warnings, err := nlu.Train(ctx, examples, opt)
	if err != nil {
		return nil, nil, err
	}
	m := assemble(learned, p, f)
	sum := sha256.New()
	if _, err := m.WriteTo(sum); err != nil {
		return nil, nil, fmt.Errorf("number a model: %w", err)
	}
	m.version = versionOf(sum)
	return m, warnings, nil
}

// hints are a project's lists: those of entities, and those of phrases.
func hints(p *corpus.Project) [][]string {
	var out [][]string
	var walk func(ds []corpus.Definition)
	walk = func(ds []corpus.Definition) {
		for _, d := range ds {
			if len(d.Values) > 0 {
				var list []string
				for _, v := range d.Values {
					list = append(append(list, v.Name), v.Synonyms...)
				}
				out = append(out, list)
			}
			walk(d.Children)
		}
	}
	walk(p.Entities)
	for _, l := range p.Phrases {
		if !l.Off {
			out = append(out, l.Words)
		}
	}
	return out
}

func english(culture string) bool {
	return culture == "" || strings.HasPrefix(strings.ToLower(culture), "en")
}

// definitions is a project without what people said.
func definitions(p *corpus.Project) *corpus.Project {
	d := *p
	d.Intents = nil
	for _, in := range p.Intents {
		in.Utterances, in.Tests = nil, nil
		d.Intents = append(d.Intents, in)
	}
	return &d
}

func assemble(learned *nlu.Model, p *corpus.Project, f *finder.Finder) *Model {
	m := &Model{learned: learned, project: p, finder: f}
	if p != nil {
		known := learned.Intents()
		for _, in := range p.Intents {
			if len(in.Patterns) > 0 && in.Name != corpus.None && !slices.Contains(known, in.Name) {
				m.untold = append(m.untold, in.Name)
			}
		}
	}
	return m
}

// versionOf makes a version of the sum of a model's file.
func versionOf(file hash.Hash) string { return hex.EncodeToString(file.Sum(nil)[:8]) }

// Version names the model by its file: two with the same version are the same
// to the last bit, wherever they were trained or read.
func (m *Model) Version() string { return m.version }

// Intents returns the names of the intents that the model knows, sorted.
func (m *Model) Intents() []string {
	all := append(m.learned.Intents(), m.untold...)
	slices.Sort(all)
	return all
}

// Types returns the kinds of entity that were learned.
func (m *Model) Types() []string { return m.learned.Types() }

// Project returns the definitions that the model has, without what people
// said; nil if it was learned from bare lines. It must not be changed.
func (m *Model) Project() *corpus.Project { return m.project }

// English says whether the model is for English: bare lines count as such.
func (m *Model) English() bool { return m.project == nil || english(m.project.Culture) }

// With returns a model that knows more values of some lists, for a request or
// a conversation that brings its own. m stays as it is.
func (m *Model) With(values map[string][]corpus.Value) (*Model, error) {
	if m.finder == nil {
		for name := range values {
			return nil, fmt.Errorf("there is no list entity %q: the model was learned from lines without definitions", name)
		}
		return m, nil
	}
	f, err := m.finder.With(values)
	if err != nil {
		return nil, err
	}
	more := *m
	more.finder = f
	return &more, nil
}

// Understand understands a text. Dates in it count from reference. Of a long
// text it understands the beginning (nlu.Head).
func (m *Model) Understand(text string, reference time.Time) Understanding {
	said := m.learned.Predict(text)
	u := Understanding{Intent: said.Intent, Score: said.Score, Intents: said.Intents}
	if m.finder == nil {
		for _, e := range said.Entities {
			u.Entities = append(u.Entities, finder.Entity{Start: e.Start, End: e.End, Name: e.Type, Score: e.Score})
		}
		return u
	}
	for _, name := range m.untold {
		u.Intents = append(u.Intents, nlu.Ranked{Intent: name})
	}
	text = nlu.Head(text)
	marks := make([]finder.Mark, len(said.Entities))
	for i, e := range said.Entities {
		marks[i] = finder.Mark(e)
	}
	u.Entities = m.finder.Find(text, reference, marks)
	match, ok := m.finder.Match(text, u.Entities)
	if !ok {
		return u
	}
	u.lift(match.Intent)
	if len(match.Marks) > 0 {
		marks = slices.DeleteFunc(marks, func(k finder.Mark) bool {
			return slices.ContainsFunc(match.Marks, func(t finder.Mark) bool { return t.Start < k.End && k.Start < t.End })
		})
		u.Entities = m.finder.Find(text, reference, slices.Concat(marks, match.Marks))
	}
	return u
}

// lift puts the intent that a template speaks for first. The others keep
// their order and share out what is left.
func (u *Understanding) lift(intent string) {
	at := slices.IndexFunc(u.Intents, func(r nlu.Ranked) bool { return r.Intent == intent })
	if at < 0 {
		return
	}
	won := u.Intents[at]
	if won.Score < sure {
		by := (1 - sure) / (1 - won.Score)
		for i := range u.Intents {
			u.Intents[i].Score *= by
		}
		won.Score = sure
	}
	copy(u.Intents[1:], u.Intents[:at])
	u.Intents[0] = won
	u.Intent, u.Score = won.Intent, won.Score
}

// Flat is the understanding as labelled lines have it: entities that don't
// overlap, a role behind its entity's name, as in a project's Lessons. The score
// of what the definitions alone found is 0.
func (u Understanding) Flat() nlu.Understanding {
	out := nlu.Understanding{Intent: u.Intent, Score: u.Score, Intents: u.Intents, Entities: []nlu.Entity{}}
	for _, e := range finder.Flat(u.Entities) {
		out.Entities = append(out.Entities, nlu.Entity{Start: e.Start, End: e.End, Type: finder.Join(e.Name, e.Role), Score: e.Score})
	}
	return out
}

// Evaluate lets the model understand the examples' texts and compares.
func (m *Model) Evaluate(examples []corpus.Example, reference time.Time) nlu.Report {
	if m.finder == nil {
		return m.learned.Evaluate(examples)
	}
	return nlu.Evaluate(examples, func(text string, u *nlu.Understanding) { *u = m.Understand(text, reference).Flat() })
}

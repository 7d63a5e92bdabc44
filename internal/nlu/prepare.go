package nlu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// Bounds of what can be learned and understood.
const (
	mostText    = 1 << 16 // bytes of an example's text; of a text to understand, more is cut off
	mostTokens  = 512
	mostIntents = 4096
	mostTypes   = 256
	longestName = 256 // bytes
)

// Problem is something wrong with an example.
type Problem struct {
	Index int // into the examples
	Other int // another example that it is about, -1 for none
	Text  string
}

func (p Problem) Error() string { return fmt.Sprintf("example %d: %s", p.Index, p.Text) }

// BadExamples lists what keeps a set from being learned.
type BadExamples []Problem

func (b BadExamples) Error() string {
	lines := make([]string, 0, 6)
	for _, p := range b[:min(len(b), 5)] {
		lines = append(lines, p.Error())
	}
	if n := len(b) - 5; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(lines, "; ")
}

// set is what examples say, checked and numbered.
type set struct {
	intents []string // sorted
	none    int      // the number of corpus.None, -1 without
	types   []string // of entities, sorted
	lines   []line
}

type line struct {
	text   string
	intent int
	spans  []span // by start, apart from each other
}

// span is a stretch of code points.
type span struct{ start, end, typ int }

func prepare(examples []corpus.Example) (*set, []Problem, error) {
	var bad BadExamples
	intents, types := map[string]int{}, map[string]int{}
	var use []int
	for i := range examples {
		e := &examples[i]
		if e.Split == corpus.Test {
			continue
		}
		if why := badExample(e); why != "" {
			bad = append(bad, Problem{i, -1, why})
			continue
		}
		use = append(use, i)
		intents[e.Intent]++
		for _, n := range e.Entities {
			types[n.Type]++
		}
	}
	switch {
	case len(bad) > 0:
		return nil, nil, bad
	case len(examples) == 0:
		return nil, nil, fmt.Errorf("nothing to learn: there are no examples")
	case len(use) == 0:
		return nil, nil, fmt.Errorf("nothing to learn: no example is for training")
	case len(intents) == 1 && intents[corpus.None] > 0:
		return nil, nil, fmt.Errorf("nothing to learn: %s is the only intent", corpus.None)
	case len(intents) > mostIntents:
		return nil, nil, fmt.Errorf("%d intents are more than the %d that a model can have", len(intents), mostIntents)
	case len(types) > mostTypes:
		return nil, nil, fmt.Errorf("%d kinds of entity are more than the %d that a model can have", len(types), mostTypes)
	}
	s := &set{intents: names(intents), types: names(types)}
	s.none = slices.Index(s.intents, corpus.None)
	for _, i := range use {
		s.lines = append(s.lines, s.line(&examples[i]))
	}
	return s, doubts(examples, use, intents), nil
}

func names(m map[string]int) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (s *set) line(e *corpus.Example) line {
	l := line{text: e.Text}
	l.intent, _ = slices.BinarySearch(s.intents, e.Intent)
	for _, n := range e.Entities {
		typ, _ := slices.BinarySearch(s.types, n.Type)
		l.spans = append(l.spans, span{n.Start, n.End, typ})
	}
	slices.SortFunc(l.spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return l
}

// badExample says why an example can't be learned, "" if it can.
func badExample(e *corpus.Example) string {
	switch {
	case strings.TrimSpace(e.Text) == "":
		return "the text is empty"
	case len(e.Text) > mostText:
		return fmt.Sprintf("the text has %d bytes, at most %d: is it an utterance?", len(e.Text), mostText)
	case !utf8.ValidString(e.Text):
		return "the text is not UTF-8"
	case e.Intent == "":
		return fmt.Sprintf("no intent: write %s for what belongs to none", corpus.None)
	case len(e.Intent) > longestName:
		return fmt.Sprintf("the intent's name has more than %d bytes", longestName)
	}
	n := utf8.RuneCountInString(e.Text)
	sorted := slices.SortedFunc(slices.Values(e.Entities), func(a, b corpus.Entity) int { return cmp.Compare(a.Start, b.Start) })
	for i, x := range sorted {
		switch {
		case x.Type == "" || len(x.Type) > longestName:
			return fmt.Sprintf("the entity at %d:%d needs a type of 1 to %d bytes", x.Start, x.End, longestName)
		case x.Start < 0 || x.End > n || x.Start >= x.End:
			return fmt.Sprintf("the entity %s at %d:%d lies off the text of %d code points", x.Type, x.Start, x.End, n)
		case i > 0 && x.Start < sorted[i-1].End:
			return fmt.Sprintf("the entities %s at %d:%d and %s at %d:%d overlap", sorted[i-1].Type, sorted[i-1].Start, sorted[i-1].End, x.Type, x.Start, x.End)
		}
	}
	return ""
}

func checkHints(all [][]string) error {
	n := 0
	for _, h := range all {
		n += len(h)
	}
	if len(all) > mostHints || n > mostPhrases {
		return fmt.Errorf("%d lists with %d phrases are more than the %d with %d that a model can have", len(all), n, mostHints, mostPhrases)
	}
	return nil
}

// doubts finds what can be learned but hardly is what somebody meant.
func doubts(examples []corpus.Example, use []int, intents map[string]int) []Problem {
	var out []Problem
	seen := map[string]int{}
	for _, i := range use {
		e := &examples[i]
		key := strings.ToLower(strings.Join(strings.Fields(e.Text), " "))
		if first, ok := seen[key]; !ok {
			seen[key] = i
		} else if was := examples[first].Intent; was != e.Intent {
			out = append(out, Problem{i, first, fmt.Sprintf("%q is %s here and %s elsewhere", e.Text, e.Intent, was)})
		}
		if intents[e.Intent] == 1 && e.Intent != corpus.None {
			out = append(out, Problem{i, -1, fmt.Sprintf("the only line of %s: five or more teach it", e.Intent)})
		}
	}
	return out
}

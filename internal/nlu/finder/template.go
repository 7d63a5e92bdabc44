package finder

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// template is a pattern of whole utterances as a program for a machine that
// goes through words. Words are compared without regard to case and signs.
type template struct {
	intent    string
	code      []instruction
	begin     int  // the first of code
	fromStart bool // it begins where the text does
	toEnd     bool // it ends where the text does
}

// instruction is a step: a word, an entity, or a choice where to go on.
type instruction struct {
	op       op
	word     string
	entity   corpus.Entity
	any      bool         // the entity is any text
	explicit [][]listWord // of any text: these are one value
	next     int
	other    int // of a choice: tried after next
}

type op int

const (
	opEnd op = iota
	opWord
	opEntity
	opChoice
)

const mostAny = 50 // words of any text

// Match is an utterance that a template fits.
type Match struct {
	Intent string
	Marks  []Mark // as a model's, with Score 1
}

// Match returns what the first of the project's templates says that fits. An
// entity in it that is not any text has to be among found, which Find gave.
func (f *Finder) Match(text string, found []Entity) (Match, bool) {
	if len(f.templates) == 0 {
		return Match{}, false
	}
	words := wordsOf(text)
	words = slices.DeleteFunc(words, func(w listWord) bool { return !isWord(first(w.text)) })
	var inner []Entity
	var walk func(es []Entity)
	walk = func(es []Entity) {
		for _, e := range es {
			inner = append(inner, e)
			walk(e.Children)
		}
	}
	walk(found)
	for i := range f.templates {
		m := machine{t: &f.templates[i], words: words, found: inner}
		if marks, ok := m.run(); ok {
			return Match{m.t.intent, marks}, true
		}
	}
	return Match{}, false
}

// machine runs a template over words. What failed once at a place fails there
// again, so it takes steps × words.
type machine struct {
	t      *template
	words  []listWord
	found  []Entity
	failed map[[2]int]bool // instruction and word
	marks  []Mark
}

func (m *machine) run() ([]Mark, bool) {
	m.failed = map[[2]int]bool{}
	for at := range len(m.words) {
		if m.step(m.t.begin, at) {
			slices.Reverse(m.marks)
			return m.marks, true
		}
		if m.t.fromStart {
			break
		}
	}
	return nil, false
}

// step says whether the template fits from an instruction on. Marks are made
// on the way back, the last one first.
func (m *machine) step(pc, at int) bool {
	in := &m.t.code[pc]
	if in.op == opEnd {
		return !m.t.toEnd || at == len(m.words)
	}
	if m.failed[[2]int{pc, at}] {
		return false
	}
	ok := false
	switch in.op {
	case opChoice:
		ok = m.step(in.next, at) || m.step(in.other, at)
	case opWord:
		ok = at < len(m.words) && m.words[at].text == in.word && m.step(in.next, at+1)
	case opEntity:
		ok = m.entity(in, at)
	}
	if !ok {
		m.failed[[2]int{pc, at}] = true
	}
	return ok
}

// entity tries what may stand at a word.
func (m *machine) entity(in *instruction, at int) bool {
	for _, end := range m.ends(in, at) {
		if m.step(in.next, end) {
			mark := Mark{Start: m.words[at].start, End: m.words[end-1].end, Type: in.entity.Type, Score: 1}
			if in.entity.Role != "" {
				mark.Type += ":" + in.entity.Role
			}
			m.marks = append(m.marks, mark)
			return true
		}
	}
	return false
}

// ends are the words behind what may stand at a word as the entity: for any
// text its explicit ones and then each length, the shortest first.
func (m *machine) ends(in *instruction, at int) []int {
	var out []int
	if !in.any {
		for _, e := range m.found {
			if e.Name != in.entity.Type || at == len(m.words) {
				continue
			}
			from, _ := slices.BinarySearchFunc(m.words, e.Start, func(w listWord, p int) int { return w.start - p })
			to, _ := slices.BinarySearchFunc(m.words, e.End, func(w listWord, p int) int { return w.start - p })
			if from == at && to > at {
				out = append(out, to)
			}
		}
		return out
	}
	for _, text := range in.explicit {
		n := len(text)
		if n > 0 && at+n <= len(m.words) && slices.EqualFunc(text, m.words[at:at+n], func(a, b listWord) bool { return a.text == b.text }) {
			out = append(out, at+n)
		}
	}
	for end := at + 1; end <= min(at+mostAny, len(m.words)); end++ {
		out = append(out, end)
	}
	return out
}

// newTemplate makes a program of a pattern that corpus.ParsePattern takes. A
// template that ends with any text goes to the end of the utterance.
func newTemplate(p *corpus.Project, intent, s string) (template, error) {
	t := template{intent: intent}
	if _, err := corpus.ParsePattern(s); err != nil {
		return t, err
	}
	s = strings.TrimSpace(s)
	s, t.fromStart = strings.CutPrefix(s, "^")
	if rest, ok := strings.CutSuffix(s, "^"); ok && !strings.HasSuffix(rest, `\`) {
		s, t.toEnd = rest, true
	}
	c := compiler{p: p, rest: s, code: []instruction{{op: opEnd}}}
	items := c.sequence()
	begin := c.emit(items, 0)
	if n := len(items); n > 0 && items[n-1].op == opEntity && c.entity(items[n-1].entity).any {
		t.toEnd = true
	}
	t.code, t.begin = c.code, begin
	return t, nil
}

// compiler reads a template and writes its program from the end backwards.
type compiler struct {
	p    *corpus.Project
	rest string
	code []instruction
}

// item is a word, an entity, or a group of alternatives, one of which may be
// nothing.
type item struct {
	op     op
	word   string
	entity corpus.Entity
	of     [][]item
}

// sequence reads items up to the end of the group that they stand in.
func (c *compiler) sequence() []item {
	var out []item
	word := ""
	flush := func() {
		for _, w := range wordsOf(word) {
			if isWord(first(w.text)) {
				out = append(out, item{op: opWord, word: w.text})
			}
		}
		word = ""
	}
	for c.rest != "" {
		r, n := utf8.DecodeRuneInString(c.rest)
		if strings.ContainsRune("|)]", r) {
			break
		}
		c.rest = c.rest[n:]
		switch r {
		case '\\':
			r, n = utf8.DecodeRuneInString(c.rest)
			word, c.rest = word+string(r), c.rest[n:]
		case '{':
			flush()
			name, rest, _ := strings.Cut(c.rest, "}")
			c.rest = rest
			e := corpus.Entity{}
			e.Type, e.Role, _ = strings.Cut(strings.TrimPrefix(name, "@"), ":")
			out = append(out, item{op: opEntity, entity: e})
		case '[', '(':
			flush()
			out = append(out, c.group(r))
		default:
			word += string(r)
		}
	}
	flush()
	return out
}

// group reads what stands in brackets, whose first is read already.
func (c *compiler) group(open rune) item {
	g := item{op: opChoice}
	for {
		g.of = append(g.of, c.sequence())
		more := strings.HasPrefix(c.rest, "|")
		if c.rest != "" {
			c.rest = c.rest[1:]
		}
		if !more {
			break
		}
	}
	if open == '[' {
		g.of = append(g.of, nil)
	}
	return g
}

// emit writes items that go on at next, and returns where they begin.
func (c *compiler) emit(items []item, next int) int {
	for _, it := range slices.Backward(items) {
		switch it.op {
		case opWord:
			c.code = append(c.code, instruction{op: opWord, word: it.word, next: next})
		case opEntity:
			in := c.entity(it.entity)
			in.next = next
			c.code = append(c.code, in)
		case opChoice:
			begin := c.emit(it.of[len(it.of)-1], next)
			for _, of := range slices.Backward(it.of[:len(it.of)-1]) {
				this := c.emit(of, next)
				c.code = append(c.code, instruction{op: opChoice, next: this, other: begin})
				begin = len(c.code) - 1
			}
			next = begin
			continue
		}
		next = len(c.code) - 1
	}
	return next
}

func (c *compiler) entity(e corpus.Entity) instruction {
	in := instruction{op: opEntity, entity: e}
	if d, ok := c.p.Definition(e.Type); ok && d.Any {
		in.any = true
		for _, s := range d.Explicit {
			words := slices.DeleteFunc(wordsOf(s), func(w listWord) bool { return !isWord(first(w.text)) })
			in.explicit = append(in.explicit, words)
		}
	}
	return in
}

func first(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

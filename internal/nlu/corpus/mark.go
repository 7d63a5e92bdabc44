package corpus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MostText bounds an utterance, in code points.
const MostText = 4096

// Bounds on the marks of an utterance.
const (
	mostDepth = 8 // marks within marks
	mostMarks = 200
)

// ParseLine reads an utterance with its marks as project files write them:
//
//	book a table for [two](people) at [seven](time:when)
//
// [text](entity) or [text](entity:role) marks a part; marks may stand in
// marks. A backslash makes [ ] and itself plain; \n, \t and \u{1F600} are that
// character. Blanks around the line don't count. Marks come back in the order
// in which they open, the outer one first, with their names as written.
func ParseLine(line string) (Utterance, error) {
	p := markParser{rest: strings.TrimSpace(line)}
	if !utf8.ValidString(p.rest) {
		return Utterance{}, fmt.Errorf("this is not UTF-8 text")
	}
	for p.rest != "" {
		if err := p.step(); err != nil {
			return Utterance{}, err
		}
	}
	if n := len(p.open); n > 0 {
		return Utterance{}, fmt.Errorf(`the mark that begins at "[%s" has no end: write [text](entity), or \[ for the bracket itself`, clip(string(p.text[p.marks[p.open[n-1]].Start:])))
	}
	u := Utterance{Text: string(p.text), Marks: p.marks}
	return u, u.check()
}

type markParser struct {
	rest  string
	text  []rune
	marks []Entity
	open  []int // indices in marks
}

func (p *markParser) step() error {
	r, n := utf8.DecodeRuneInString(p.rest)
	at := p.rest
	p.rest = p.rest[n:]
	switch r {
	case '\\':
		return p.escape()
	case '[':
		if len(p.open) == mostDepth {
			return fmt.Errorf("marks stand in marks more than %d deep", mostDepth)
		}
		p.open = append(p.open, len(p.marks))
		p.marks = append(p.marks, Entity{Start: len(p.text)})
		return nil
	case ']':
		return p.close(at)
	}
	if unicode.IsControl(r) && r != '\t' {
		return fmt.Errorf(`there is a control character in it: write \u{%X}`, r)
	}
	p.text = append(p.text, r)
	return nil
}

func (p *markParser) escape() error {
	r, n := utf8.DecodeRuneInString(p.rest)
	switch r {
	case '[', ']', '\\':
	case 'n':
		r = '\n'
	case 't':
		r = '\t'
	case 'u':
		hex, _, ok := strings.Cut(p.rest, "}")
		v, err := strconv.ParseUint(strings.TrimPrefix(hex, "u{"), 16, 32)
		if !ok || err != nil || !utf8.ValidRune(rune(v)) {
			return fmt.Errorf(`\%s is no character: write \u{1F600}`, clip(hex))
		}
		r, n = rune(v), len(hex)+1
	default:
		return fmt.Errorf(`\%s means nothing: \[ \] \\ \n \t and \u{1F600} do`, p.rest[:n])
	}
	p.rest = p.rest[n:]
	p.text = append(p.text, r)
	return nil
}

func (p *markParser) close(at string) error {
	if len(p.open) == 0 {
		return fmt.Errorf(`"%s" closes a mark that was not opened: write \] for the bracket itself`, clip(at))
	}
	m := &p.marks[p.open[len(p.open)-1]]
	m.End = len(p.text)
	name, rest, ok := strings.Cut(strings.TrimPrefix(p.rest, "("), ")")
	if !ok || !strings.HasPrefix(p.rest, "(") {
		return fmt.Errorf(`after "[%s]" the entity is missing: write [text](entity), or \[ and \] for the brackets themselves`, clip(string(p.text[m.Start:])))
	}
	m.Type, m.Role, _ = strings.Cut(name, ":")
	if err := checkName(strings.ReplaceAll(strings.TrimPrefix(m.Type, "/"), "/", ".")); err != nil {
		return fmt.Errorf("entity %q: %w", clip(m.Type), err)
	}
	if strings.Contains(name, ":") {
		if err := checkName(m.Role); err != nil {
			return fmt.Errorf("role %q: %w", clip(m.Role), err)
		}
	}
	p.open, p.rest = p.open[:len(p.open)-1], rest
	return nil
}

// Line writes the utterance as ParseLine reads it.
func (u Utterance) Line() string {
	var b strings.Builder
	text := []rune(u.Text)
	var open []Entity
	next := 0
	for i := 0; ; i++ {
		for n := len(open); n > 0 && open[n-1].End == i; n-- {
			b.WriteString("](" + open[n-1].Type)
			if r := open[n-1].Role; r != "" {
				b.WriteString(":" + r)
			}
			b.WriteByte(')')
			open = open[:n-1]
		}
		for next < len(u.Marks) && u.Marks[next].Start == i {
			b.WriteByte('[')
			open = append(open, u.Marks[next])
			next++
		}
		if i == len(text) {
			return b.String()
		}
		edge := i == 0 || i == len(text)-1
		switch r := text[i]; {
		case r == '[' || r == ']' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unprintable(r) || edge && unicode.IsSpace(r):
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
}

// unprintable holds for what a YAML file can't hold as itself.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\ufffe' || r == '\uffff'
}

// check says what is wrong with the text or its marks: they lie on it, none
// is empty, and two of them are apart or one within the other.
func (u Utterance) check() error {
	n := utf8.RuneCountInString(u.Text)
	switch {
	case strings.TrimSpace(u.Text) == "":
		return fmt.Errorf("the utterance is empty")
	case n > MostText:
		return fmt.Errorf("the utterance has %d characters, at most %d are read", n, MostText)
	case !utf8.ValidString(u.Text):
		return fmt.Errorf("this is not UTF-8 text")
	case len(u.Marks) > mostMarks:
		return fmt.Errorf("the utterance has %d marks, at most %d are read", len(u.Marks), mostMarks)
	}
	var open []Entity
	for i, m := range u.Marks {
		switch {
		case m.Start < 0 || m.End > n:
			return fmt.Errorf("the mark of %q from %d to %d is off the text, which has %d characters", clip(m.Type), m.Start, m.End, n)
		case m.Start >= m.End:
			return fmt.Errorf("the mark of %q marks nothing: it begins at %d and ends at %d", clip(m.Type), m.Start, m.End)
		case i > 0 && outerFirst(u.Marks[i-1], m) > 0:
			return fmt.Errorf("the marks of %q and %q are not in their order", clip(u.Marks[i-1].Type), clip(m.Type))
		}
		open = enclosing(open, m)
		if k := len(open); k > 0 && m.Start < open[k-1].End && m.End > open[k-1].End {
			return fmt.Errorf("the marks of %q and %q cross: one must end before the other begins, or stand within it", clip(open[k-1].Type), clip(m.Type))
		}
		if open = append(open, m); len(open) > mostDepth {
			return fmt.Errorf("marks stand in marks more than %d deep", mostDepth)
		}
	}
	return nil
}

// enclosing drops the marks of open that ended before m begins.
func enclosing(open []Entity, m Entity) []Entity {
	for len(open) > 0 && open[len(open)-1].End <= m.Start {
		open = open[:len(open)-1]
	}
	return open
}

// outerFirst orders marks by where they open, and the longer one first.
func outerFirst(a, b Entity) int {
	if a.Start != b.Start {
		return a.Start - b.Start
	}
	return b.End - a.End
}

// parents returns for each mark the index of the one directly around it, or
// -1. The marks are in their order.
func parents(marks []Entity) []int {
	out := make([]int, len(marks))
	var open []int
	for i, m := range marks {
		for len(open) > 0 && marks[open[len(open)-1]].End <= m.Start {
			open = open[:len(open)-1]
		}
		out[i] = -1
		if len(open) > 0 {
			out[i] = open[len(open)-1]
		}
		open = append(open, i)
	}
	return out
}

// keepApart sorts marks and drops those that cross an earlier one or lie off
// the text; the dropped ones come back too.
func keepApart(text string, marks []Entity) (kept, dropped []Entity) {
	slices.SortStableFunc(marks, outerFirst)
	for _, m := range marks {
		try := Utterance{Text: text, Marks: append(slices.Clip(kept), m)}
		if try.check() != nil {
			dropped = append(dropped, m)
			continue
		}
		kept = try.Marks
	}
	return kept, dropped
}

// checkName says what is wrong with the name of an intent, entity, role or
// phrase list.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the name is missing")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable):
		return fmt.Errorf("a name is plain text")
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("a name has no blanks around it")
	case utf8.RuneCountInString(s) > 100:
		return fmt.Errorf("a name has at most 100 characters")
	case strings.ContainsAny(s, `()[]{}:/\`):
		return fmt.Errorf(`a name has none of ()[]{}:/\ in it`)
	}
	return nil
}

// cleanName makes a name out of what another product calls a thing.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`()[]{}:/\`, r):
			return '-'
		case unprintable(r):
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "-"))
	if r := []rune(strings.TrimSpace(s)); len(r) > 100 {
		s = string(r[:100])
	}
	return strings.TrimSpace(s)
}

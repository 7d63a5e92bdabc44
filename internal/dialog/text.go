package dialog

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// template is a text with {slot} and {slot|what to say without it} in it; {{
// and }} are the braces.
type piece struct {
	text string // plain, or what is said where the slot is empty
	slot string
}

func parseTemplate(s string) ([]piece, error) {
	var out []piece
	var plain strings.Builder
	for s != "" {
		at := strings.IndexAny(s, "{}")
		if at < 0 {
			at = len(s)
		}
		plain.WriteString(s[:at])
		s = s[at:]
		switch {
		case s == "":
		case strings.HasPrefix(s, "{{"), strings.HasPrefix(s, "}}"):
			plain.WriteByte(s[0])
			s = s[2:]
		case s[0] == '}':
			return nil, fmt.Errorf("} closes nothing: write }} for the brace itself")
		default:
			name, rest, ok := strings.Cut(s[1:], "}")
			if !ok || strings.Contains(name, "{") {
				return nil, fmt.Errorf("{ has no }: write {{ for the brace itself")
			}
			p := piece{}
			p.slot, p.text, _ = strings.Cut(name, "|")
			if p.slot == "" {
				return nil, fmt.Errorf("{%s} names no slot", name)
			}
			out = append(out, piece{text: plain.String()}, p)
			plain.Reset()
			s = rest
		}
	}
	return append(out, piece{text: plain.String()}), nil
}

// fill writes a template with the values. A script that was read has none that
// can't be parsed.
func fill(template string, slots map[string]Value) string {
	pieces, err := parseTemplate(template)
	if err != nil {
		return template
	}
	var b strings.Builder
	for _, p := range pieces {
		v, ok := slots[p.slot]
		if p.slot == "" || !ok {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(v.shown())
	}
	return b.String()
}

// shown is how a value is told to people.
func (v Value) shown() string {
	if v.Name != "" {
		return v.Name
	}
	return v.Said
}

// normal brings a text into the form in which words are compared: lower case,
// without punctuation, one blank between words.
func normal(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\'' || r == '’':
			return -1
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return ' '
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// begins returns how many bytes of a normal text the longest of the words
// takes that it begins with: 0 for none, or if much else follows, because
// "stop at the station" gives nothing up.
func begins(text string, words []string) int {
	const most = 3 // words behind it
	longest := 0
	for _, w := range words {
		w = normal(w)
		rest, ok := strings.CutPrefix(text, w)
		if ok && w != "" && (rest == "" || rest[0] == ' ' && strings.Count(rest, " ") <= most) {
			longest = max(longest, len(w))
		}
	}
	return longest
}

// chosen returns the choice whose words stand in a normal text: the longest
// ones win.
func chosen(text string, choices []Choice) (Value, bool) {
	var best Value
	longest := 0
	for _, c := range choices {
		for _, w := range slices.Concat([]string{c.Name}, c.Words) {
			n := normal(w)
			if len(n) > longest && strings.Contains(" "+text+" ", " "+n+" ") {
				best, longest = Value{Said: w, Name: c.Name}, len(n)
			}
		}
	}
	return best, longest > 0
}

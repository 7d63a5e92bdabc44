package prebuilt

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	emails = regexp.MustCompile(`(?i)[a-z0-9_](?:[a-z0-9._%+'-]{0,62}[a-z0-9_+-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}\b`)
	links  = regexp.MustCompile(`(?i)\b(?:https?|ftp)://[^\s<>"'{}|\\^` + "`" + `]+|\bwww\.[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:[/?#][^\s<>"'{}|\\^` + "`" + `]*)?|\b(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}(?:com|org|net|edu|gov|io|dev|app|ai|eu|de|uk|fr|it|es|nl|ch|at|pl|info|example)\b(?:[/?#][^\s<>"'{}|\\^` + "`" + `]*)?`)
	calls  = regexp.MustCompile(`\+?\(?\d[\d\s().\-/]{5,22}\d`)
)

// emails finds mail addresses. Here and below nothing is looked for where its
// signs are missing: few texts have any, and expressions take their time.
func (s *scan) emails() []Entity {
	if !strings.Contains(s.text, "@") {
		return nil
	}
	return s.matches(Email, emails)
}

// matches returns what an expression finds, with positions in code points.
func (s *scan) matches(k Kind, re *regexp.Regexp) []Entity {
	var out []Entity
	bytes, runes := 0, 0
	for _, m := range re.FindAllStringIndex(s.text, -1) {
		runes += utf8.RuneCountInString(s.text[bytes:m[0]])
		found := s.text[m[0]:m[1]]
		bytes = m[1]
		start := runes
		runes += utf8.RuneCountInString(found)
		out = append(out, Entity{Start: start, End: runes, Kind: k, Value: Value{Text: found}})
	}
	return out
}

// urls leaves the punctuation of the sentence around a link out, and what is a
// mail address.
func (s *scan) urls() []Entity {
	const sentence = ".,;:!?*_~"
	if !strings.ContainsAny(s.text, ".:") {
		return nil
	}
	found := s.matches(URL, links)
	for i := range found {
		t := strings.TrimRight(found[i].Value.Text, sentence)
		for open := strings.Count(t, ")") - strings.Count(t, "("); open > 0 && strings.HasSuffix(t, ")"); open-- {
			t = strings.TrimRight(strings.TrimSuffix(t, ")"), sentence)
		}
		found[i].End -= utf8.RuneCountInString(found[i].Value.Text) - utf8.RuneCountInString(t)
		found[i].Value.Text = t
	}
	return apart(found, s.emails())
}

// phones takes 7 to 15 digits that look like a phone number: with a + or (
// in front, in groups, or ten and more in a row. Dates and amounts look
// otherwise.
func (s *scan) phones() []Entity {
	var out []Entity
	count := 0
	for i := range len(s.text) {
		if isDigit(rune(s.text[i])) {
			count++
		}
	}
	if count < 7 {
		return nil
	}
	for _, e := range s.matches(Phone, calls) {
		t := e.Value.Text
		number := strings.Map(func(r rune) rune {
			if isDigit(r) {
				return r
			}
			return -1
		}, t)
		groups := len(strings.FieldsFunc(t, func(r rune) bool { return !isDigit(r) }))
		international := strings.HasPrefix(t, "+")
		switch n := len(number); {
		case n < 7 || n > 15:
		case strings.ContainsAny(t, "\n\r\t") || strings.Contains(t, "  ") || strings.Count(t, "(") > 1:
		case dateLike.MatchString(t):
		case !international && !strings.HasPrefix(t, "(") && groups < 2 && n < 10:
		case !international && strings.Contains(t, ".") && groups == 2: // a number
		default:
			if international {
				number = "+" + number
			}
			e.Value.Text = number
			out = append(out, e)
		}
	}
	return out
}

var dateLike = regexp.MustCompile(`^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(\D.*)?$`)

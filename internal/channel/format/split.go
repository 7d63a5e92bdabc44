package format

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Length is how long a text is for platforms that count in UTF-16 units, and
// never less than those find that count characters.
func Length(s string) int {
	n := 0
	for _, r := range s {
		n += units(r)
	}
	return n
}

func units(r rune) int {
	if r > 0xFFFF {
		return 2
	}
	return 1
}

// closing ends a block of code that goes on in the next part.
const closing = "\n```"

// Split cuts a text into parts of at most most units, at least 64: between
// paragraphs where it can, else between lines, sentences, words. A block of
// code that is cut ends in its part and begins again in the next.
//
// Where it cuts depends only on what stands before the cut. So a text that
// grows keeps its parts: each but the last stays as it is, and the last one
// grows, or is ended and followed by another.
func Split(s string, most int) []string {
	most = max(most, 64)
	var out []string
	for fence := ""; s != ""; {
		end, within := cut(s, fence, most-Length(fence))
		part := fence + s[:end]
		if s = s[end:]; s == "" {
			return append(out, part)
		}
		if fence = within; fence != "" {
			part = strings.TrimSuffix(part, "\n") + closing
		} else {
			s = strings.TrimLeft(s, "\n")
		}
		out = append(out, part)
	}
	return out
}

// cut returns where the first part of s ends, and the line with which the block
// of code began that is open there. s begins behind that of fence.
func cut(s, fence string, most int) (end int, within string) {
	room := most - len(closing)
	var (
		n    int
		line = 0 // where the line began
		was  rune
		last rune
	)
	for i, r := range s {
		n += units(r)
		if n > room {
			return i, fence
		}
		next := i + utf8.RuneLen(r)
		if r == utf8.RuneError { // one byte that is none, or the character itself
			_, size := utf8.DecodeRuneInString(s[i:])
			next = i + size
		}
		if r == '\n' {
			fence = toggled(fence, s[line:i])
			line = next
		}
		if next < len(s) && border(r, last, was, fence != "", n, room) {
			return next, fence
		}
		was, last = last, r
	}
	return len(s), fence
}

// border reports whether a text that has come to n of room may be cut behind r.
func border(r, last, was rune, code bool, n, room int) bool {
	switch {
	case r == '\n' && (last == '\n' || code):
		return n >= room*3/4
	case r == '\n':
		return n >= room*9/10
	case unicode.IsSpace(r) && strings.ContainsRune(".!?:;", last) && !unicode.IsSpace(was), strings.ContainsRune("。！？", r):
		return n >= room*19/20
	case unicode.IsSpace(r):
		return n >= room*39/40
	}
	return false
}

// toggled returns the block of code that is open behind a line.
func toggled(fence, line string) string {
	mark := strings.TrimLeft(line, " ")
	if len(line)-len(mark) > 3 || !strings.HasPrefix(mark, "```") {
		return fence
	}
	if fence != "" {
		if strings.Trim(mark, "` \t\r") == "" {
			return ""
		}
		return fence
	}
	language := strings.Trim(mark, "` \t\r")
	if len(language) > 20 || strings.ContainsAny(language, "` \t") {
		language = ""
	}
	return "```" + language + "\n"
}

package openai

import (
	"strings"
	"unicode/utf8"
)

// What an engine says when it continues goes through three filters, so that the
// text after the seam is what an undisturbed engine would have said there.

// echoFilter leaves out the answer so far if the server sends it back before it
// goes on. Very short ones pass: a real continuation may look like them.
type echoFilter struct {
	of   string
	held string // what came so far and is the beginning of of
}

const echoLeast = 16

func (f *echoFilter) next(text string) string {
	if len(f.of) < echoLeast {
		return text
	}
	all := f.held + text
	switch {
	case strings.HasPrefix(all, f.of):
		text = all[len(f.of):]
	case strings.HasPrefix(f.of, all):
		f.held = all
		return ""
	default:
		text = all
	}
	f.of, f.held = "", ""
	return text
}

// spaceFilter leaves out the white space that was shown before the seam.
type spaceFilter struct{ of string }

func (f *spaceFilter) next(text string) string {
	for f.of != "" && text != "" {
		c, n := utf8.DecodeRuneInString(text)
		if !strings.HasPrefix(f.of, string(c)) {
			f.of = ""
			break
		}
		f.of, text = f.of[n:], text[n:]
	}
	return text
}

// stopFilter keeps stop strings out of the text, also of servers that do not
// know them or send their first half.
type stopFilter struct {
	stops []string
	held  string
	shown int // bytes of held that were shown before the seam
	over  bool
}

// after tells what was shown before the seam: a stop string may have begun in it.
func (f *stopFilter) after(text string) {
	f.shown = f.begun(text)
	f.held = text[len(text)-f.shown:]
}

// begun is how many bytes at text's end may be the beginning of a stop string.
func (f *stopFilter) begun(text string) int {
	hold := 0
	for _, s := range f.stops {
		for k := min(len(s)-1, len(text)); k > hold; k-- {
			if strings.HasSuffix(text, s[:k]) {
				hold = k
				break
			}
		}
	}
	return hold
}

// next returns what may be shown after text came, and whether a stop string
// ended the answer.
func (f *stopFilter) next(text string) (string, bool) {
	if len(f.stops) == 0 {
		return text, false
	}
	all := f.held + text
	at := -1
	for _, s := range f.stops {
		if i := strings.Index(all, s); s != "" && i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		f.held, f.over = "", true
		return f.unseen(all[:at]), true
	}
	// Whole code points: a held-back part never begins inside one, as both
	// strings are valid UTF-8.
	hold := f.begun(all)
	f.held = all[len(all)-hold:]
	return f.unseen(all[:len(all)-hold]), false
}

// unseen is text without what was shown before the seam.
func (f *stopFilter) unseen(text string) string {
	n := min(f.shown, len(text))
	f.shown -= n
	return text[n:]
}

func (f *stopFilter) rest() string {
	if f.over {
		return ""
	}
	return f.unseen(f.held)
}

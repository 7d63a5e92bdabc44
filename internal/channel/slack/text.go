package slack

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// bracketed is how Slack writes what is more than text: <@U1>, <#C1|name>,
// <!here>, <https://...|label>.
var bracketed = regexp.MustCompile(`<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>`)

var unescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// plain is what somebody wrote in Slack, as they see it. The app's own name is
// left out where it only says who is meant.
func plain(s, self string) string {
	if self != "" {
		s = strings.TrimSpace(s)
		mention := "<@" + self + ">"
		s = strings.TrimSpace(strings.TrimPrefix(s, mention))
		s = strings.TrimSpace(strings.TrimSuffix(s, mention))
	}
	s = bracketed.ReplaceAllStringFunc(s, func(m string) string {
		part := bracketed.FindStringSubmatch(m)
		kind, what, label := part[1], part[2], part[3]
		switch kind {
		case "@", "#":
			if label == "" {
				label = what
			}
			return kind + strings.TrimPrefix(label, kind)
		case "!":
			if label != "" {
				return label
			}
			return "@" + what
		}
		what = strings.TrimPrefix(what, "mailto:")
		if label == "" || label == what {
			return what
		}
		return label + " (" + what + ")"
	})
	return unescape.Replace(s)
}

// called is how a text calls people, wherever in markdown it stands.
var called = regexp.MustCompile(`<(!(?:channel|here|everyone|subteam\^|group)|@[UWB])`)

// longestCall is more characters than any match of called has.
const longestCall = 16

// uncalled keeps a bot's words from calling a whole channel: an invisible space
// makes them words. Only who may speak to a bot would decide what it says.
func uncalled(markdown string) string { return called.ReplaceAllString(markdown, "<\u200B$1") }

// settled is the part of a growing text that can be shown for good: what comes
// later does not change what its end means. It ends before the last word, since
// Slack drops white space at the beginning of what is appended, and a text
// without white space ends far enough before its end for a call to show.
func settled(s string) string {
	word := strings.LastIndexFunc(s, unicode.IsSpace)
	if word >= 0 {
		_, size := utf8.DecodeRuneInString(s[word:])
		word += size
	}
	if word == len(s) { // nothing stands behind it yet: back to the word before
		return settled(strings.TrimRightFunc(s, unicode.IsSpace))
	}
	far := len(s)
	for range longestCall {
		_, size := utf8.DecodeLastRuneInString(s[:far])
		far -= size
	}
	return s[:max(word, far, 0)]
}

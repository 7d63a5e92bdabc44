package learn

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
	"github.com/parleyhq/parley/internal/secret"
)

// longNumber is how many digits in a row name an account, an order or a
// telephone rather than an amount or a year.
const longNumber = 5

// keys are words that are as long as no word is and mix letters and digits.
var keys = regexp.MustCompile(`\b[A-Za-z_\-]*[0-9](?:[A-Za-z0-9_\-]{23,})\b`)

// Redact puts stand-ins where a text names somebody or something private:
// e-mail addresses, telephone and other long numbers, addresses of pages, and
// keys. What is left teaches as well as before.
func Redact(text string) string {
	text = keys.ReplaceAllString(text, secret.Redacted)
	var b strings.Builder
	runes := []rune(text)
	at := 0
	for _, e := range prebuilt.Find(text, time.Time{}, prebuilt.Email, prebuilt.URL, prebuilt.Phone) {
		if e.Start < at {
			continue // within the last one
		}
		b.WriteString(string(runes[at:e.Start]))
		switch e.Kind {
		case prebuilt.Email:
			b.WriteString("someone@example.com")
		case prebuilt.URL:
			b.WriteString("https://example.com")
		default:
			for _, r := range runes[e.Start:e.End] {
				b.WriteRune(blank(r))
			}
		}
		at = e.End
	}
	b.WriteString(string(runes[at:]))
	return blankNumbers([]rune(b.String()))
}

func blank(r rune) rune {
	if unicode.IsDigit(r) {
		return '0'
	}
	return r
}

// blankNumbers makes zeros of the digits of long numbers.
func blankNumbers(text []rune) string {
	for i := 0; i < len(text); i++ {
		end := i
		for end < len(text) && unicode.IsDigit(text[end]) {
			end++
		}
		if end-i >= longNumber {
			for k := i; k < end; k++ {
				text[k] = '0'
			}
		}
		i = max(i, end-1)
	}
	return string(text)
}

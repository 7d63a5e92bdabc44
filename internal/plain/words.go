package plain

import (
	"net/http"
	"strings"
	"time"
)

// words are a page's texts in one language.
type words struct {
	Lang                string
	Shared, SharedText  string
	LiveText, You, Bot  string
	Gone, Later, Broken string
	Home                string
	day                 string // layout of a day
}

// Day writes a day as people do.
func (w words) Day(t time.Time) string { return t.Format(w.day) }

func english() words {
	return words{
		Lang: "en", day: "2 January 2006",
		Shared: "A shared conversation", SharedText: "as it was on", LiveText: "What is said in it later is shown here too.",
		You: "Question", Bot: "Answer",
		Gone: "There is nothing here, or it is no longer shared.", Later: "This can't be shown at the moment. Try again in a while.",
		Broken: "Something went wrong; the server's log has the details.",
		Home:   "What is Parley?",
	}
}

func german() words {
	return words{
		Lang: "de", day: "2.1.2006",
		Shared: "Ein geteiltes Gespräch", SharedText: "so, wie es war am", LiveText: "Was später darin gesagt wird, steht auch hier.",
		You: "Frage", Bot: "Antwort",
		Gone: "Hier ist nichts, oder es wird nicht mehr geteilt.", Later: "Das lässt sich gerade nicht zeigen. Bitte gleich noch einmal versuchen.",
		Broken: "Etwas ist schiefgegangen; Näheres steht im Protokoll des Servers.",
		Home:   "Was ist Parley?",
	}
}

// spoken returns the words of the language that a browser asks for.
func spoken(r *http.Request) words {
	best, weight := english(), 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, q, _ := strings.Cut(strings.TrimSpace(part), ";q=")
		w := 1.0
		if q != "" {
			w = weigh(q)
		}
		name, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if w <= weight {
			continue
		}
		switch name {
		case "en":
			best, weight = english(), w
		case "de":
			best, weight = german(), w
		}
	}
	return best
}

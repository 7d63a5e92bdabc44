package plain

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// words are a page's texts in one language.
type words struct {
	Lang                string
	Shared, SharedText  string
	LiveText, You, Bot  string
	Gone, Later, Broken string
	Full                string // its page with JavaScript

	Conversations, New, Untitled, Older, Archive, NoneYet string
	Search, Find, Found, Nothing                          string
	Message, Send, Attach, AttachAgain, BotLabel, Editing string
	More, TitleLabel, Rename, DeleteIt, Earlier, Edit     string
	SureTitle, SureText, Delete, Keep                     string
	Growing, Written, Waits, Look, Stop, Cut, Anew        string
	Stopped, Failed, TakenBack, GoOn                      string
	Good, Bad, Again, Onward, Prev, Next                  string
	SignIn, SignInText, SignOut, Key, WrongKey            string
	NotDone, NotIn, Refused, NoRoom, Stale, Retry, Back   string

	day, moment, version string // layouts
}

// Day writes a day as people do.
func (w words) Day(t time.Time) string { return t.Format(w.day) }

// Moment writes a time as people do. Nobody but the reader's browser knows his
// zone.
func (w words) Moment(t time.Time) string { return t.Format(w.moment) }

// VersionOf says which one of several it is.
func (w words) VersionOf(n, of int) string { return fmt.Sprintf(w.version, n, of) }

func english() words {
	return words{
		Lang: "en", day: "2 January 2006", moment: "2 January 2006, 15:04 UTC", version: "version %d of %d",
		Shared: "A shared conversation", SharedText: "as it was on", LiveText: "What is said in it later is shown here too.",
		You: "Question", Bot: "Answer",
		Gone: "There is nothing here, or it is no longer shared.", Later: "This can't be shown at the moment. Try again in a while.",
		Broken: "Something went wrong; the server's log has the details.",
		Full:   "The page with JavaScript",

		Conversations: "Conversations", New: "New conversation", Untitled: "New conversation", Older: "Show older ones", Archive: "Archive",
		NoneYet: "No conversations here yet.",
		Search:  "Search everything said", Find: "Search", Found: "What was found", Nothing: "Nothing found.",
		Message: "Message", Send: "Send", Attach: "Attach files", AttachAgain: "Files (choose them again)", BotLabel: "Bot",
		Editing: "This begins another branch, in the place of your earlier message. What was said before stays.",
		More:    "Rename or delete", TitleLabel: "Title", Rename: "Rename", DeleteIt: "Delete this conversation…", Earlier: "Show what was said before", Edit: "Edit",
		SureTitle: "Delete this conversation?", SureText: "It is erased from every region, with its files. That can't be taken back.", Delete: "Delete", Keep: "Keep it",
		Growing: "Being written. Should this stop, nothing is lost: look again.", Written: "Still being written.", Waits: "Waiting for its turn.", Look: "Look again", Stop: "Stop",
		Cut: "The answer is being written on.", Anew: "It could not be gone on with and begins anew:",
		Stopped: "Stopped.", Failed: "No answer came.", TakenBack: "This message was taken back.", GoOn: "Go on",
		Good: "A good answer", Bad: "Not a good answer", Again: "Answer again", Onward: "Go on", Prev: "previous", Next: "next",
		SignIn: "Sign in", SignInText: "This service asks for a key.", SignOut: "Sign out", Key: "Key", WrongKey: "This key is not known here.",
		NotDone: "Not done yet", NotIn: "You are not signed in. Sign in, then send this again.", Refused: "It was not taken", NoRoom: "The disk of the server is full: nothing new can be kept. Reading works.",
		Stale: "This form is too old, or was made for somebody else. Nothing is lost: send it again.", Retry: "Send again", Back: "Back",
	}
}

func german() words {
	return words{
		Lang: "de", day: "2.1.2006", moment: "2.1.2006, 15:04 UTC", version: "Fassung %d von %d",
		Shared: "Ein geteiltes Gespräch", SharedText: "so, wie es war am", LiveText: "Was später darin gesagt wird, steht auch hier.",
		You: "Frage", Bot: "Antwort",
		Gone: "Hier ist nichts, oder es wird nicht mehr geteilt.", Later: "Das lässt sich gerade nicht zeigen. Bitte gleich noch einmal versuchen.",
		Broken: "Etwas ist schiefgegangen; Näheres steht im Protokoll des Servers.",
		Full:   "Die Seite mit JavaScript",

		Conversations: "Gespräche", New: "Neues Gespräch", Untitled: "Neues Gespräch", Older: "Ältere zeigen", Archive: "Archiv",
		NoneYet: "Hier sind noch keine Gespräche.",
		Search:  "Alles Gesagte durchsuchen", Find: "Suchen", Found: "Gefunden", Nothing: "Nichts gefunden.",
		Message: "Nachricht", Send: "Senden", Attach: "Dateien anhängen", AttachAgain: "Dateien (bitte erneut wählen)", BotLabel: "Bot",
		Editing: "Damit beginnt ein weiterer Zweig an der Stelle Ihrer früheren Nachricht. Was gesagt wurde, bleibt.",
		More:    "Umbenennen oder löschen", TitleLabel: "Titel", Rename: "Umbenennen", DeleteIt: "Dieses Gespräch löschen …", Earlier: "Zeigen, was vorher gesagt wurde", Edit: "Bearbeiten",
		SureTitle: "Dieses Gespräch löschen?", SureText: "Es wird in allen Regionen gelöscht, mit seinen Dateien. Das lässt sich nicht zurücknehmen.", Delete: "Löschen", Keep: "Behalten",
		Growing: "Wird geschrieben. Sollte es stocken, ist nichts verloren: Sehen Sie noch einmal nach.", Written: "Wird noch geschrieben.", Waits: "Wartet, bis die Reihe daran ist.", Look: "Noch einmal nachsehen", Stop: "Anhalten",
		Cut: "Die Antwort wird weitergeschrieben.", Anew: "Sie ließ sich nicht fortsetzen und beginnt von vorn:",
		Stopped: "Angehalten.", Failed: "Es kam keine Antwort.", TakenBack: "Diese Nachricht wurde zurückgenommen.", GoOn: "Weiter",
		Good: "Gute Antwort", Bad: "Keine gute Antwort", Again: "Noch einmal antworten", Onward: "Fortsetzen", Prev: "vorige", Next: "nächste",
		SignIn: "Anmelden", SignInText: "Dieser Dienst verlangt einen Schlüssel.", SignOut: "Abmelden", Key: "Schlüssel", WrongKey: "Diesen Schlüssel kennt hier niemand.",
		NotDone: "Noch nicht geschehen", NotIn: "Sie sind nicht angemeldet. Melden Sie sich an und senden Sie dies dann noch einmal.", Refused: "Es wurde nicht angenommen", NoRoom: "Der Speicher des Servers ist voll: Neues lässt sich nicht behalten. Lesen geht.",
		Stale: "Dieses Formular ist zu alt oder war für jemand anderen. Nichts ist verloren: Senden Sie es noch einmal.", Retry: "Noch einmal senden", Back: "Zurück",
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

// weigh reads the weight of a language in an Accept-Language header.
func weigh(q string) float64 {
	v, err := strconv.ParseFloat(q, 64)
	if err != nil {
		return 0
	}
	return v
}

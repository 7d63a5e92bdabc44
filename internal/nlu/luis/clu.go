package luis

import (
	"fmt"
	"math"
	"strings"

	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// Analysis is what a client of :analyze-conversations asks.
type Analysis struct {
	Project    string
	Deployment string
	ID         string // of the item in the conversation
	Text       string
	Language   string
	Verbose    bool
	Log        bool

	unit unit
}

// ParseAnalysis reads the body of a request.
func ParseAnalysis(body []byte) (Analysis, error) {
	var in struct {
		Kind  string `json:"kind"`
		Input struct {
			Item struct {
				ID          string `json:"id"`
				Participant string `json:"participantId"`
				Text        string `json:"text"`
				Modality    string `json:"modality"`
				Language    string `json:"language"`
				Role        string `json:"role"`
			} `json:"conversationItem"`
		} `json:"analysisInput"`
		Parameters struct {
			Project    string `json:"projectName"`
			Deployment string `json:"deploymentName"`
			Verbose    bool   `json:"verbose"`
			Log        bool   `json:"isLoggingEnabled"`
			Index      string `json:"stringIndexType"`
		} `json:"parameters"`
	}
	if err := decode(body, &in); err != nil {
		return Analysis{}, cluError(err.Error())
	}
	item, p := in.Input.Item, in.Parameters
	a := Analysis{Project: p.Project, Deployment: p.Deployment, ID: item.ID, Text: item.Text, Language: item.Language, Verbose: p.Verbose, Log: p.Log}
	switch strings.ToLower(p.Index) {
	case "", "textelement_v8", "textelements_v8":
		a.unit = graphemes
	case "unicodecodepoint":
		a.unit = codePoints
	case "utf16codeunit":
		a.unit = utf16Units
	default:
		return Analysis{}, cluError(fmt.Sprintf("stringIndexType is TextElement_V8, UnicodeCodePoint or Utf16CodeUnit, not %q.", shorten(p.Index)))
	}
	switch {
	case in.Kind != "Conversation":
		return Analysis{}, cluError(fmt.Sprintf(`kind must be "Conversation", not %q.`, shorten(in.Kind)))
	case p.Project == "" || p.Deployment == "":
		return Analysis{}, cluError("parameters needs projectName and deploymentName.")
	case item.Modality != "" && !strings.EqualFold(item.Modality, "text"):
		return Analysis{}, cluError(fmt.Sprintf("modality must be text, not %q.", shorten(item.Modality)))
	case strings.TrimSpace(item.Text) == "":
		return Analysis{}, cluError("analysisInput.conversationItem.text is missing.")
	case length(item.Text) > MostQuery:
		return Analysis{}, cluError(fmt.Sprintf("The text has %d characters; at most %d are taken.", length(item.Text), MostQuery))
	}
	return a, nil
}

func cluError(message string) *Error {
	return &Error{Status: 400, Code: "InvalidArgument", Message: message}
}

// Analyze is the answer of :analyze-conversations.
func (u Understanding) Analyze(a Analysis) []byte {
	intents := []any{}
	for _, in := range u.Intents {
		intents = append(intents, map[string]any{"category": in.Name, "confidenceScore": in.Score})
	}
	w := cluWriter{text: u.Text, ruler: newRuler(u.Text, a.unit), entities: []any{}}
	for _, e := range u.Entities {
		w.entity(e)
	}
	result := map[string]any{
		"query": u.Text,
		"prediction": map[string]any{
			"topIntent": u.top(), "projectKind": "Conversation", "intents": intents, "entities": w.entities,
		},
	}
	if a.Language != "" {
		result["detectedLanguage"] = a.Language
	}
	return marshal(map[string]any{"kind": "ConversationResult", "result": result})
}

type cluWriter struct {
	text     string
	ruler    ruler
	entities []any
}

// entity writes an entity, and its children behind it: CLU nests none. A role
// is told as the category, because CLU has none either.
func (w *cluWriter) entity(e Entity) {
	at, n := w.ruler.span(e.Start, e.End)
	out := map[string]any{"category": cluName(e), "text": part(w.text, e.Start, e.End), "offset": at, "length": n, "confidenceScore": e.Score}
	if e.Score == 0 && e.Kind != finder.Learned {
		out["confidenceScore"] = 1
	}
	var extra []any
	for _, name := range e.Names {
		extra = append(extra, map[string]string{"extraInformationKind": "ListKey", "key": name})
	}
	if e.Kind == finder.Regex {
		extra = append(extra, map[string]string{"extraInformationKind": "RegexKey", "key": e.Name})
	}
	if e.Found != nil {
		resolutions, sub := cluFound(*e.Found)
		if len(resolutions) > 0 {
			out["resolutions"] = resolutions
		}
		extra = append(extra, map[string]string{"extraInformationKind": "EntitySubtype", "value": sub})
	}
	if len(extra) > 0 {
		out["extraInformation"] = extra
	}
	w.entities = append(w.entities, out)
	for _, c := range e.Children {
		w.entity(c)
	}
}

func cluName(e Entity) string {
	switch {
	case e.Role != "":
		return e.Role
	case e.Name == "" && e.Found != nil:
		return v3Kinds[e.Found.Kind].key
	}
	return strings.ReplaceAll(e.Name, "/", ".")
}

// cluFound writes what a prebuilt entity means, and its subtype.
func cluFound(f prebuilt.Entity) (resolutions []any, subtype string) {
	number := func(kind string, more map[string]any) []any {
		out := map[string]any{"resolutionKind": kind, "value": f.Value.Number}
		for k, v := range more {
			out[k] = v
		}
		return []any{out}
	}
	switch f.Kind {
	case prebuilt.Number:
		return number("NumberResolution", map[string]any{"numberKind": numberKind(f.Value.Number)}), "quantity.number"
	case prebuilt.Percentage:
		return number("NumberResolution", map[string]any{"numberKind": "Percent"}), "quantity.percentage"
	case prebuilt.Ordinal:
		text := fmt.Sprintf("%v", f.Value.Number)
		return number("OrdinalResolution", map[string]any{"value": text, "offset": text, "relativeTo": "Start"}), "quantity.ordinal"
	case prebuilt.Money:
		return number("CurrencyResolution", map[string]any{"unit": f.Value.Unit}), "quantity.currency"
	case prebuilt.Datetime, prebuilt.Duration:
		return cluTimes(f), "datetime." + strings.ToLower(cluSubKind(f))
	case prebuilt.Email:
		return nil, "email"
	case prebuilt.URL:
		return nil, "url"
	}
	return nil, "phonenumber"
}

func numberKind(n float64) string {
	if n == math.Trunc(n) {
		return "Integer"
	}
	return "Decimal"
}

func cluSubKind(f prebuilt.Entity) string {
	kinds := map[string]string{
		"date": "Date", "time": "Time", "datetime": "DateTime", "daterange": "Date", "timerange": "Time",
		"datetimerange": "DateTime", "set": "Set", "duration": "Duration",
	}
	return kinds[timeType(f)]
}

func cluTimes(f prebuilt.Entity) []any {
	var out []any
	for _, t := range f.Value.Times {
		if t.Start+t.End != "" {
			out = append(out, map[string]any{"resolutionKind": "TemporalSpanResolution", "timex": t.Timex, "begin": t.Start, "end": t.End})
			continue
		}
		out = append(out, map[string]any{"resolutionKind": "DateTimeResolution", "dateTimeSubKind": cluSubKind(f), "timex": t.Timex, "value": t.Value})
	}
	return out
}

package luis

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// ParseV2 reads a GET request of the prediction API v2, which older bots speak.
// Its verbose tells the scores of all intents.
func ParseV2(q url.Values) (Request, error) {
	r, err := parseParameters(q)
	if err != nil {
		return Request{}, err
	}
	r.Query, r.AllIntents, r.Verbose = q.Get("q"), r.Verbose, false
	if s := q.Get("timezoneOffset"); s != "" {
		minutes, err := strconv.ParseFloat(s, 64)
		if err != nil || !(minutes >= -840 && minutes <= 840) {
			return Request{}, bad("timezoneOffset must be minutes from -840 to 840, not %q.", shorten(s))
		}
		r.Zone = time.FixedZone("", int(minutes*60))
	}
	return r, r.check()
}

// ResponseV2 is the answer of the prediction API v2.
func (u Understanding) ResponseV2(r Request) []byte {
	out := map[string]any{"query": u.Text}
	var intents []any
	for _, in := range u.Intents {
		intents = append(intents, map[string]any{"intent": in.Name, "score": in.Score})
	}
	if len(intents) > 0 {
		out["topScoringIntent"] = intents[0]
	} else {
		out["topScoringIntent"] = map[string]any{"intent": u.top(), "score": 0}
	}
	if r.AllIntents && len(intents) > 0 {
		out["intents"] = intents
	}
	w := v2Writer{text: u.Text, ruler: newRuler(u.Text, utf16Units), entities: []any{}}
	for _, e := range u.Entities {
		w.entity(e)
	}
	out["entities"] = w.entities
	if len(w.composites) > 0 {
		out["compositeEntities"] = w.composites
	}
	return marshal(out)
}

type v2Writer struct {
	text       string
	ruler      ruler
	entities   []any
	composites []any
}

// entity writes an entity, and what stands in it behind it: v2 nests none. A
// parent is told as a composite as well, and only so if it is nothing more.
func (w *v2Writer) entity(e Entity) {
	at, n := w.ruler.span(e.Start, e.End)
	out := map[string]any{"entity": w.value(e), "type": v2Type(e), "startIndex": at, "endIndex": at + n - 1}
	if e.Score > 0 && (e.Kind == finder.Learned || e.Kind == finder.Composite) {
		out["score"] = e.Score
	}
	if e.Role != "" {
		out["role"] = e.Role
	}
	switch {
	case e.Kind == finder.List:
		out["resolution"] = map[string]any{"values": e.Names}
	case e.Kind == finder.External && e.Value != nil:
		out["resolution"] = e.Value
	case e.Found != nil:
		out["resolution"] = v2Found(*e.Found, part(w.text, e.Start, e.End))
	}
	w.entities = append(w.entities, out)
	if len(e.Children) == 0 {
		return
	}
	var children []any
	for _, c := range e.Children {
		children = append(children, map[string]string{"type": v2Type(c), "value": w.value(c)})
	}
	w.composites = append(w.composites, map[string]any{"parentType": v2Type(e), "value": w.value(e), "children": children})
	for _, c := range e.Children {
		w.entity(c)
	}
}

// value is the text of an entity in lower case.
func (w *v2Writer) value(e Entity) string { return strings.ToLower(part(w.text, e.Start, e.End)) }

func v2Type(e Entity) string {
	switch {
	case e.Found == nil:
		return strings.ReplaceAll(e.Name, "/", "::")
	case e.Found.Kind == prebuilt.Datetime:
		return "builtin.datetimeV2." + e.Found.Subtype
	case e.Found.Kind == prebuilt.Ordinal:
		return "builtin.ordinal"
	}
	return v3Kinds[e.Found.Kind].builtin
}

// v2Found is what a prebuilt entity means; v2 writes numbers as texts.
func v2Found(f prebuilt.Entity, text string) map[string]any {
	number := strconv.FormatFloat(f.Value.Number, 'f', -1, 64)
	switch f.Kind {
	case prebuilt.Number:
		return map[string]any{"subtype": strings.ToLower(numberKind(f.Value.Number)), "value": number}
	case prebuilt.Ordinal:
		return map[string]any{"value": number}
	case prebuilt.Percentage:
		return map[string]any{"value": number + "%"}
	case prebuilt.Money:
		return map[string]any{"value": number, "unit": f.Value.Unit}
	case prebuilt.Datetime, prebuilt.Duration:
		values := []any{}
		for _, t := range f.Value.Times {
			v := map[string]string{"timex": t.Timex, "type": timeType(f)}
			for key, s := range map[string]string{"value": t.Value, "start": t.Start, "end": t.End} {
				if s != "" {
					v[key] = s
				}
			}
			values = append(values, v)
		}
		return map[string]any{"values": values}
	}
	return map[string]any{"value": text}
}

package luis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// Request is what a client of the prediction API v3 asks.
type Request struct {
	Query          string
	Verbose        bool           // tell where entities are and what found them
	AllIntents     bool           // tell the scores of all intents
	Log            bool           // the query may be kept for learning
	Reference      time.Time      // what "tomorrow" counts from; zero: now, in Zone
	Zone           *time.Location // nil: UTC
	External       []Entity       // found by the caller
	PreferExternal bool           // the caller's win over ours of the same name
	Lists          []DynamicList  // more values, for this request only
}

// DynamicList is a list entity's additional values.
type DynamicList struct {
	Entity string
	Values []ListValue
}

// ListValue is a value of a list with its synonyms.
type ListValue struct {
	Name      string
	Canonical string
	Synonyms  []string
}

// Error is what a client is told, in the form of both APIs.
type Error struct {
	Status  int // of HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// JSON is the body of the answer.
func (e *Error) JSON() []byte {
	b, err := json.Marshal(map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message}})
	if err != nil {
		return []byte(`{"error":{"code":"InternalServerError","message":"the error can't be told"}}`)
	}
	return b
}

func bad(format string, args ...any) *Error {
	return &Error{Status: 400, Code: "BadArgument", Message: fmt.Sprintf(format, args...)}
}

// ParseGet reads a GET request.
func ParseGet(q url.Values) (Request, error) {
	r, err := parseParameters(q)
	if err != nil {
		return Request{}, err
	}
	r.Query = q.Get("query")
	return r, r.check()
}

// ParsePost reads a POST request. Parameters may stand in the address; what
// stands in the body counts more.
func ParsePost(q url.Values, body []byte) (Request, error) {
	r, err := parseParameters(q)
	if err != nil {
		return Request{}, err
	}
	var in struct {
		Query   string `json:"query"`
		Options struct {
			Reference *string `json:"datetimeReference"`
			Prefer    bool    `json:"preferExternalEntities"`
		} `json:"options"`
		External []struct {
			Name       string  `json:"entityName"`
			Start      *int    `json:"startIndex"`
			Length     *int    `json:"entityLength"`
			Resolution any     `json:"resolution"`
			Score      float64 `json:"score"`
		} `json:"externalEntities"`
		Lists []struct {
			Entity string `json:"listEntityName"`
			Values []struct {
				Name      string   `json:"name"`
				Canonical string   `json:"canonicalForm"`
				Synonyms  []string `json:"synonyms"`
			} `json:"requestLists"`
		} `json:"dynamicLists"`
	}
	if err := decode(body, &in); err != nil {
		return Request{}, err
	}
	r.Query, r.PreferExternal = in.Query, in.Options.Prefer
	if in.Options.Reference != nil {
		if r.Reference, err = parseTime(*in.Options.Reference); err != nil {
			return Request{}, err
		}
	}
	if err := r.check(); err != nil {
		return Request{}, err
	}
	ruler := newRuler(r.Query, utf16Units)
	for i, e := range in.External {
		if e.Name == "" || e.Start == nil || e.Length == nil {
			return Request{}, bad("externalEntities[%d] needs entityName, startIndex and entityLength.", i)
		}
		start, ok1 := ruler.back(*e.Start)
		end, ok2 := ruler.back(*e.Start + max(*e.Length, 0))
		if !ok1 || !ok2 || start >= end {
			return Request{}, bad("externalEntities[%d]: startIndex %d and entityLength %d are no part of the query.", i, *e.Start, *e.Length)
		}
		r.External = append(r.External, Entity{Start: start, End: end, Name: e.Name, Kind: finder.External, Score: e.Score, Value: e.Resolution})
	}
	for i, l := range in.Lists {
		list := DynamicList{Entity: l.Entity}
		for k, v := range l.Values {
			if v.Canonical == "" {
				return Request{}, bad("dynamicLists[%d].requestLists[%d] needs a canonicalForm.", i, k)
			}
			list.Values = append(list.Values, ListValue{v.Name, v.Canonical, v.Synonyms})
		}
		if l.Entity == "" || len(list.Values) == 0 {
			return Request{}, bad("dynamicLists[%d] needs listEntityName and requestLists.", i)
		}
		r.Lists = append(r.Lists, list)
	}
	return r, nil
}

func (r Request) check() error {
	switch {
	case strings.TrimSpace(r.Query) == "":
		return bad("The query is missing: send query, the text to understand.")
	case length(r.Query) > MostQuery:
		return bad("The query has %d characters; at most %d are taken.", length(r.Query), MostQuery)
	}
	return nil
}

// parseParameters reads what may stand in the address. Parameters that it does
// not know are left alone, as LUIS did: clients send keys and the like there.
func parseParameters(q url.Values) (Request, error) {
	var r Request
	for name, into := range map[string]*bool{"verbose": &r.Verbose, "show-all-intents": &r.AllIntents, "log": &r.Log} {
		s := strings.ToLower(q.Get(name))
		if s == "" {
			continue
		}
		v, err := strconv.ParseBool(s)
		if err != nil {
			return r, bad("%s must be true or false, not %q.", name, shorten(s))
		}
		*into = v
	}
	if s := q.Get("datetimeReference"); s != "" {
		at, err := parseTime(s)
		if err != nil {
			return r, err
		}
		r.Reference = at
	}
	return r, nil
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, bad("datetimeReference must be a time of ISO 8601 such as 2026-03-05T14:00:00, not %q.", shorten(s))
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return s
}

// decode reads one JSON object and nothing else.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
		err = errors.New("null is no request")
	}
	if err != nil {
		return bad("The body can't be read: %s.", unread(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("There is something behind the body's object.")
	}
	return nil
}

// unread says what is wrong with a body in words of JSON, not of Go.
func unread(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("%s can't be of the type %s", shorten(kind.Field), kind.Value)
	case errors.As(err, &kind):
		return fmt.Sprintf("it is of the type %s, not an object", kind.Value)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return shorten(strings.TrimPrefix(err.Error(), "json: "))
}

// WithExternal adds what the caller found. Of two of the same name that
// overlap one stays: the caller's if it prefers so, ours otherwise.
func (u Understanding) WithExternal(r Request) Understanding {
	same := func(es []Entity, e Entity) bool {
		return slices.ContainsFunc(es, func(o Entity) bool { return o.Name == e.Name && o.Start < e.End && e.Start < o.End })
	}
	var kept []Entity
	for _, e := range u.Entities {
		if !r.PreferExternal || !same(r.External, e) {
			kept = append(kept, e)
		}
	}
	for _, e := range r.External {
		if r.PreferExternal || !same(u.Entities, e) {
			kept = append(kept, e)
		}
	}
	slices.SortStableFunc(kept, func(a, b Entity) int { return a.Start - b.Start })
	u.Entities = kept
	return u
}

// Response is the answer of the prediction API v3. Positions count UTF-16
// units, as those of a .NET service.
func (u Understanding) Response(r Request) []byte {
	intents := map[string]any{}
	for i, in := range u.Intents {
		if i == 0 || r.AllIntents {
			intents[in.Name] = map[string]float64{"score": in.Score}
		}
	}
	w := v3Writer{text: u.Text, ruler: newRuler(u.Text, utf16Units), verbose: r.Verbose}
	return marshal(map[string]any{
		"query": u.Text,
		"prediction": map[string]any{
			"topIntent": u.top(),
			"intents":   intents,
			"entities":  w.entities(u.Entities),
		},
	})
}

func (u Understanding) top() string {
	if len(u.Intents) == 0 {
		return "None"
	}
	return u.Intents[0].Name
}

// marshal writes what can always be written: maps of texts and numbers, and
// what a caller sent as JSON.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return (&Error{Status: 500, Code: "InternalServerError", Message: "The answer can't be written."}).JSON()
	}
	return b.Bytes()
}

type v3Writer struct {
	text    string
	ruler   ruler
	verbose bool
}

// entities writes items by role or name, and in the same order where they are.
func (w v3Writer) entities(es []Entity) map[string]any {
	out := map[string]any{}
	items, instances := map[string][]any{}, map[string][]any{}
	for _, e := range es {
		// A child on its own is what older models called hierarchical: it
		// stands in its parent, which is where the child is.
		if parent, child, ok := strings.Cut(e.Name, "/"); ok {
			inner := e
			inner.Name = child
			e = Entity{Start: e.Start, End: e.End, Name: parent, Score: e.Score, Children: []Entity{inner}}
		}
		key := e.Role
		if key == "" {
			key = v3Name(e)
		}
		items[key] = append(items[key], w.item(e))
		instances[key] = append(instances[key], w.instance(e))
	}
	for key, list := range items {
		out[key] = list
	}
	if w.verbose && len(items) > 0 {
		out["$instance"] = maps.Clone(instances)
	}
	return out
}

// v3Name is the key of an entity without a role: a prebuilt one has the name
// of its kind if the model calls it so or has no name for it.
func v3Name(e Entity) string {
	if e.Name == "" && e.Found != nil {
		return v3Kinds[e.Found.Kind].key
	}
	return e.Name
}

// v3Kinds are LUIS' names for our kinds: as a key, and as a type.
var v3Kinds = map[prebuilt.Kind]struct{ key, builtin string }{
	prebuilt.Number: {"number", "builtin.number"}, prebuilt.Ordinal: {"ordinalV2", "builtin.ordinalV2"},
	prebuilt.Percentage: {"percentage", "builtin.percentage"}, prebuilt.Money: {"money", "builtin.currency"},
	prebuilt.Datetime: {"datetimeV2", "builtin.datetimeV2"}, prebuilt.Duration: {"datetimeV2", "builtin.datetimeV2.duration"},
	prebuilt.Email: {"email", "builtin.email"}, prebuilt.URL: {"url", "builtin.url"}, prebuilt.Phone: {"phonenumber", "builtin.phonenumber"},
}

func (w v3Writer) item(e Entity) any {
	switch {
	case len(e.Children) > 0:
		return w.entities(relative(e))
	case e.Kind == finder.External && e.Value != nil:
		return e.Value
	case e.Kind == finder.List:
		return e.Names
	case e.Found != nil:
		return w.found(*e.Found, part(w.text, e.Start, e.End))
	}
	return part(w.text, e.Start, e.End)
}

// relative are an entity's children by their short names.
func relative(e Entity) []Entity {
	out := slices.Clone(e.Children)
	for i := range out {
		out[i].Name = strings.TrimPrefix(out[i].Name, e.Name+"/")
	}
	return out
}

func (w v3Writer) found(f prebuilt.Entity, text string) any {
	switch f.Kind {
	case prebuilt.Number, prebuilt.Percentage:
		return f.Value.Number
	case prebuilt.Ordinal:
		return map[string]any{"offset": f.Value.Number, "relativeTo": "start"}
	case prebuilt.Money:
		return map[string]any{"number": f.Value.Number, "unit": f.Value.Unit}
	case prebuilt.Datetime, prebuilt.Duration:
		return map[string]any{"type": timeType(f), "values": times(f.Value.Times)}
	}
	return text
}

func timeType(f prebuilt.Entity) string {
	if f.Kind == prebuilt.Duration {
		return "duration"
	}
	return f.Subtype
}

// times writes values: one for each TIMEX, with all that it can mean.
func times(ts []prebuilt.Time) []any {
	var order []string
	by := map[string][]any{}
	for _, t := range ts {
		meaning := map[string]string{"value": t.Value}
		if t.Start+t.End != "" {
			meaning = map[string]string{}
			for k, v := range map[string]string{"start": t.Start, "end": t.End} {
				if v != "" {
					meaning[k] = v
				}
			}
		}
		if by[t.Timex] == nil {
			order = append(order, t.Timex)
		}
		by[t.Timex] = append(by[t.Timex], meaning)
	}
	out := make([]any, len(order))
	for i, timex := range order {
		out[i] = map[string]any{"timex": timex, "resolution": by[timex]}
	}
	return out
}

func (w v3Writer) instance(e Entity) map[string]any {
	at, n := w.ruler.span(e.Start, e.End)
	out := map[string]any{
		"type": e.Name, "text": part(w.text, e.Start, e.End), "startIndex": at, "length": n,
		"recognitionSources": []string{"model"},
	}
	model := map[finder.Kind]struct {
		id   int
		name string
	}{
		finder.Learned: {1, "Entity Extractor"}, finder.Prebuilt: {2, "Prebuilt Entity Extractor"}, finder.Composite: {4, "Composite Entity Extractor"},
		finder.List: {5, "List Entity Extractor"}, finder.Any: {7, "Pattern.Any Entity Extractor"}, finder.Regex: {8, "Regex Entity Extractor"},
		finder.External: {1, "Entity Extractor"},
	}[e.Kind]
	out["modelTypeId"], out["modelType"] = model.id, model.name
	if e.Found != nil {
		out["type"] = v3Kinds[e.Found.Kind].builtin
		if e.Found.Kind == prebuilt.Datetime {
			out["type"] = "builtin.datetimeV2." + e.Found.Subtype
		}
	}
	if e.Kind == finder.External {
		out["recognitionSources"] = []string{"externalEntities"}
	}
	if e.Role != "" {
		out["role"] = e.Role
	}
	if e.Score > 0 && (e.Kind == finder.Learned || e.Kind == finder.Composite || e.Kind == finder.External) {
		out["score"] = e.Score
	}
	return out
}

package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The app of a LUIS export. Fields are named as in the file; one struct takes
// all schema versions, because each adds fields and none gives one a second
// meaning. Names differ in the older ones: those are read, never written.
type luisApp struct {
	Schema      string         `json:"luis_schema_version"`
	VersionID   string         `json:"versionId"`
	Name        string         `json:"name"`
	Desc        string         `json:"desc"`
	Culture     string         `json:"culture"`
	Tokenizer   string         `json:"tokenizerVersion,omitempty"`
	Intents     []luisIntent   `json:"intents"`
	Entities    []luisEntity   `json:"entities"`
	Hierarchies []luisEntity   `json:"hierarchicals"`
	Composites  []luisEntity   `json:"composites"`
	Lists       []luisList     `json:"closedLists"`
	Any         []luisAny      `json:"patternAnyEntities"`
	Regexes     []luisRegex    `json:"regex_entities"`
	Prebuilts   []luisPrebuilt `json:"prebuiltEntities"`
	Phrases     []luisPhrases  `json:"phraselists"`
	RegexHints  []luisHint     `json:"regex_features"`
	Patterns    []luisPattern  `json:"patterns"`
	Utterances  []luisSaid     `json:"utterances"`
	Settings    []luisSetting  `json:"settings"`
}

// luisOld holds what older versions called otherwise.
type luisOld struct {
	Bing     []json.RawMessage `json:"bing_entities"`
	Features []luisPhrases     `json:"model_features"`
	Regexes  []luisRegex       `json:"regexEntities"`
	Actions  []json.RawMessage `json:"actions"`
}

type luisIntent struct {
	Name     string          `json:"name"`
	Features luisFeatures    `json:"features,omitempty"`
	Inherits json.RawMessage `json:"inherits,omitempty"`
}

type luisEntity struct {
	Name       string          `json:"name"`
	InstanceOf string          `json:"instanceOf,omitempty"`
	Children   luisChildren    `json:"children"`
	Roles      luisTexts       `json:"roles"`
	Features   luisFeatures    `json:"features,omitempty"`
	Inherits   json.RawMessage `json:"inherits,omitempty"`

	form luisForm // as a child
}

// luisForm is how an entity is written where it is a child.
type luisForm int

const (
	luisObject luisForm = iota
	luisNamed           // an object with nothing but the name
	luisString
)

// luisTexts are written as [] where there are none.
type luisTexts []string

// MarshalJSON writes no null, which LUIS would not take.
func (t luisTexts) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(t))
}

// luisChildren are names in older versions, objects in newer ones.
type luisChildren []luisEntity

// MarshalJSON writes each child in its form.
func (c luisChildren) MarshalJSON() ([]byte, error) {
	out := make([]any, len(c))
	for i, e := range c {
		switch e.form {
		case luisNamed:
			out[i] = luisHint{e.Name}
		case luisString:
			out[i] = e.Name
		default:
			out[i] = e
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON takes both.
func (c *luisChildren) UnmarshalJSON(b []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	for _, r := range raw {
		var e luisEntity
		into := any(&e)
		if bytes.HasPrefix(r, []byte(`"`)) {
			into = &e.Name
		}
		if err := json.Unmarshal(r, into); err != nil {
			return err
		}
		*c = append(*c, e)
	}
	return nil
}

// luisFeatures may be "" where there are none.
type luisFeatures []luisFeature

type luisFeature struct {
	Feature  string `json:"featureName,omitempty"`
	Model    string `json:"modelName,omitempty"`
	Required bool   `json:"isRequired,omitempty"`
}

// UnmarshalJSON takes that for none.
func (f *luisFeatures) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`""`)) {
		return nil
	}
	type plain luisFeatures
	return json.Unmarshal(b, (*plain)(f))
}

type luisList struct {
	Name     string        `json:"name"`
	SubLists []luisSubList `json:"subLists"`
	Roles    luisTexts     `json:"roles"`
}

type luisSubList struct {
	Canonical string    `json:"canonicalForm"`
	List      luisTexts `json:"list"`
}

type luisAny struct {
	Name     string    `json:"name"`
	Explicit luisTexts `json:"explicitList"`
	Roles    luisTexts `json:"roles"`
}

type luisRegex struct {
	Name    string    `json:"name"`
	Pattern string    `json:"regexPattern"`
	Roles   luisTexts `json:"roles"`
}

type luisPrebuilt struct {
	Name  string    `json:"name"`
	Roles luisTexts `json:"roles"`
}

type luisPhrases struct {
	Name      string `json:"name"`
	Mode      bool   `json:"mode"`
	Words     string `json:"words"`
	Activated *bool  `json:"activated,omitempty"` // on where it is missing
	Global    *bool  `json:"enabledForAllModels,omitempty"`
}

type luisHint struct {
	Name string `json:"name"`
}

type luisPattern struct {
	Pattern string `json:"pattern"`
	Intent  string `json:"intent"`
}

type luisSaid struct {
	Text     string      `json:"text"`
	Intent   string      `json:"intent"`
	Entities []luisLabel `json:"entities"`
}

// luisLabel counts in UTF-16 units; EndPos is the last one of the label.
type luisLabel struct {
	Entity   string      `json:"entity"`
	StartPos int         `json:"startPos"`
	EndPos   int         `json:"endPos"`
	Role     string      `json:"role,omitempty"`
	Children []luisLabel `json:"children,omitempty"`
}

type luisSetting struct {
	Name string `json:"name"`
}

// decodeJSON reads one JSON value of another product's file.
func decodeJSON(b []byte, what string, into any) error {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if err := json.Unmarshal(b, into); err != nil {
		line := 0
		if at, ok := jsonOffset(err); ok {
			line = 1 + bytes.Count(b[:min(int(at), len(b))], []byte("\n"))
		}
		return Problems{{File: what, Line: line, Text: strings.TrimPrefix(err.Error(), "json: ")}}
	}
	return nil
}

// ImportLUIS reads the export of a LUIS app, schema versions 2 to 7.
func ImportLUIS(b []byte) (*Project, []Lost, error) {
	var app luisApp
	var old luisOld
	for _, into := range []any{&app, &old} {
		if err := decodeJSON(b, "LUIS app", into); err != nil {
			return nil, nil, err
		}
	}
	if app.Schema == "" && len(app.Intents) == 0 {
		return nil, nil, Problems{{File: "LUIS app", Text: "this is no export of a LUIS app", Hint: "it has neither luis_schema_version nor intents"}}
	}
	in := newImporter(app.Name, app.Desc, app.Culture, app.VersionID)
	app.Regexes = append(app.Regexes, old.Regexes...)
	app.Phrases = append(app.Phrases, old.Features...)
	for i, raw := range old.Bing {
		var p luisPrebuilt
		if json.Unmarshal(raw, &p.Name) != nil && json.Unmarshal(raw, &p) != nil {
			in.lost.add(fmt.Sprintf("bing_entities[%d]", i), "a prebuilt entity", "it is neither a name nor an object with one")
			continue
		}
		app.Prebuilts = append(app.Prebuilts, p)
	}
	if len(old.Actions) > 0 {
		in.lost.add("actions", fmt.Sprintf("%d actions", len(old.Actions)), "what is done about an intent is no part of a project")
	}
	app.definitions(in)
	app.rest(in)
	for i, u := range app.Utterances {
		app.utterance(in, fmt.Sprintf("utterances[%d]", i), u)
	}
	return in.finish()
}

func (app *luisApp) definitions(in *importer) {
	for _, e := range slices.Concat(app.Entities, app.Hierarchies) {
		in.define(app.learned(in, e, 0))
	}
	for _, c := range app.Composites {
		d := Definition{Name: c.Name, Roles: c.Roles, Uses: app.uses(in, "composite "+c.Name, c.Features)}
		for _, part := range c.Children {
			d.Parts = append(d.Parts, luisPath(part.Name))
		}
		in.define(d)
	}
	for _, l := range app.Lists {
		d := Definition{Name: l.Name, Roles: l.Roles}
		for _, s := range l.SubLists {
			d.Values = append(d.Values, Value{s.Canonical, s.List})
		}
		in.cleanValues(&d)
		in.define(d)
	}
	for _, a := range app.Any {
		in.define(Definition{Name: a.Name, Roles: a.Roles, Any: true, Explicit: a.Explicit})
	}
	for _, r := range app.Regexes {
		d := Definition{Name: r.Name, Roles: r.Roles}
		in.addPattern(&d, r.Pattern)
		in.define(d)
	}
	for _, p := range app.Prebuilts {
		d := Definition{Name: p.Name, Roles: p.Roles}
		in.addPrebuilt(&d, p.Name)
		in.define(d)
	}
	for _, l := range app.Phrases {
		list := Phrases{
			Name: l.Name, Synonyms: l.Mode, Words: splitWords(l.Words),
			Off: l.Activated != nil && !*l.Activated, Local: l.Global != nil && !*l.Global,
		}
		in.definePhrases(list)
	}
}

func splitWords(s string) []string {
	var out []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func (app *luisApp) learned(in *importer, e luisEntity, depth int) Definition {
	d := Definition{Name: e.Name, Roles: e.Roles, Of: e.InstanceOf, Uses: app.uses(in, "entity "+e.Name, e.Features)}
	if len(e.Inherits) > 0 {
		in.lost.add("entity "+clip(e.Name), "inherits", "there are no prebuilt domains; what is in the file is kept")
	}
	if depth == mostDepth && len(e.Children) > 0 {
		in.lost.add("entity "+clip(e.Name), "its children", "children stand in children more than %d deep", mostDepth)
		return d
	}
	for _, c := range e.Children {
		d.Children = append(d.Children, app.learned(in, c, depth+1))
	}
	return d
}

func (app *luisApp) uses(in *importer, where string, fs luisFeatures) []string {
	var out []string
	for _, f := range fs {
		if f.Required {
			in.lost.add(clip(where), "feature "+clip(f.Feature+f.Model)+": isRequired", "a feature is a hint here, never a condition")
		}
		if f.Feature+f.Model != "" {
			out = append(out, luisPath(f.Feature+f.Model))
		}
	}
	return out
}

// luisPath turns LUIS' Parent::Child into our path.
func luisPath(name string) string { return strings.ReplaceAll(name, "::", "/") }

func (app *luisApp) rest(in *importer) {
	for _, i := range app.Intents {
		intent := in.intent(i.Name)
		if intent == nil {
			continue
		}
		intent.Uses = app.uses(in, "intent "+i.Name, i.Features)
		if len(i.Inherits) > 0 {
			in.lost.add("intent "+clip(i.Name), "inherits", "there are no prebuilt domains; what is in the file is kept")
		}
	}
	for i, p := range app.Patterns {
		in.pattern(fmt.Sprintf("patterns[%d]", i), p.Intent, p.Pattern)
	}
	for _, f := range app.RegexHints {
		in.lost.add("regex_features", "regular expression feature "+clip(f.Name), "LUIS gave these up; make it an entity with a pattern")
	}
	for _, s := range app.Settings {
		in.lost.add("settings", clip(s.Name), "the engine decides about this by itself")
	}
}

func (app *luisApp) utterance(in *importer, where string, u luisSaid) {
	units := newUnits(u.Text)
	var marks []Entity
	var walk func(parent string, labels []luisLabel, depth int)
	walk = func(parent string, labels []luisLabel, depth int) {
		for _, l := range labels {
			start, ok1 := units.toRune(l.StartPos)
			end, ok2 := units.toRune(l.EndPos + 1)
			path := in.path(parent, luisPath(l.Entity))
			if !ok1 || !ok2 || depth > mostDepth {
				in.lost.add(where, "label "+clip(l.Entity), "from %d to %d is no part of the text", l.StartPos, l.EndPos)
			} else {
				marks = append(marks, Entity{Start: start, End: end, Type: path, Role: l.Role})
			}
			walk(path, l.Children, depth+1)
		}
	}
	walk("", u.Entities, 0)
	in.utterance(where, u.Intent, Utterance{Text: u.Text, Marks: marks}, Train)
}

// units converts positions between UTF-16 code units and code points.
type units struct {
	at []int // by code point, where it begins; nil where both count the same
	n  int
}

func newUnits(s string) units {
	u := units{n: utf8.RuneCountInString(s)}
	if !strings.ContainsFunc(s, func(r rune) bool { return r > 0xffff }) {
		return u
	}
	sum := 0
	for _, r := range s {
		u.at = append(u.at, sum)
		sum += utf16.RuneLen(r)
	}
	u.at = append(u.at, sum)
	return u
}

// toRune returns false for a place off the text or within a character.
func (u units) toRune(i int) (int, bool) {
	if u.at == nil {
		return i, i >= 0 && i <= u.n
	}
	return slices.BinarySearch(u.at, i)
}

func (u units) fromRune(i int) int {
	if u.at == nil {
		return i
	}
	return u.at[i]
}

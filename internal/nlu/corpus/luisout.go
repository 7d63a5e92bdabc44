package corpus

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// ExportLUIS writes the project as the export of a LUIS app, schema version
// 7.0.0.
func ExportLUIS(p *Project) ([]byte, []Lost, error) {
	if err := p.Check(); err != nil {
		return nil, nil, err
	}
	x := luisExporter{p: p, names: map[string]string{}}
	x.app = luisApp{
		Schema: "7.0.0", VersionID: cmp.Or(p.Version, "0.1"), Name: p.Name, Desc: p.Description,
		Culture: cmp.Or(p.Culture, "en-us"), Tokenizer: "1.0.0",
		Intents: []luisIntent{}, Entities: []luisEntity{}, Hierarchies: []luisEntity{}, Composites: []luisEntity{},
		Lists: []luisList{}, Any: []luisAny{}, Regexes: []luisRegex{}, Prebuilts: []luisPrebuilt{},
		Phrases: []luisPhrases{}, RegexHints: []luisHint{}, Patterns: []luisPattern{}, Utterances: []luisSaid{}, Settings: []luisSetting{},
	}
	x.renamePrebuilts()
	for _, d := range p.Entities {
		x.definition(d)
	}
	for _, l := range p.Phrases {
		x.phrases(l)
	}
	for _, in := range p.Intents {
		x.intent(in)
	}
	b, err := encodeJSON(x.app)
	return b, x.lost, err
}

// ExportLUISTests writes the project's tests in the form of LUIS' batch tests.
func ExportLUISTests(p *Project) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	x := luisExporter{p: p, names: map[string]string{}}
	x.renamePrebuilts()
	tests := []luisSaid{}
	for _, in := range p.Intents {
		for _, u := range in.Tests {
			tests = append(tests, x.said(in.Name, u))
		}
	}
	return encodeJSON(tests)
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

type luisExporter struct {
	p     *Project
	app   luisApp
	names map[string]string // of entities that are called otherwise there
	lost  losses
}

// luisPrebuiltNames are LUIS' names for our kinds.
var luisPrebuiltNames = map[prebuilt.Kind]string{
	prebuilt.Number: "number", prebuilt.Ordinal: "ordinalV2", prebuilt.Percentage: "percentage", prebuilt.Money: "money",
	prebuilt.Datetime: "datetimeV2", prebuilt.Duration: "datetimeV2", prebuilt.Email: "email", prebuilt.URL: "url", prebuilt.Phone: "phonenumber",
}

// renamePrebuilts finds the names of prebuilt entities: LUIS calls them by
// their kind.
func (x *luisExporter) renamePrebuilts() {
	for _, d := range x.p.Entities {
		if len(d.Prebuilts) == 0 || d.component() != "prebuilt" {
			continue
		}
		if k, ok := prebuiltKind(d.Name); ok && string(k) == d.Prebuilts[0] {
			continue
		}
		name := luisPrebuiltNames[prebuilt.Kind(d.Prebuilts[0])]
		_, taken := x.p.Definition(name)
		for _, other := range x.names {
			taken = taken || other == name
		}
		if taken {
			x.lost.add("entity "+clip(d.Name), "prebuilt "+d.Prebuilts[0], "LUIS has one prebuilt of that kind, and another entity has its name: it is a learned one now")
			continue
		}
		x.names[d.Name] = name
		x.lost.add("entity "+clip(d.Name), "its name", "a prebuilt entity has the name of its kind in LUIS: it is %q now", name)
	}
}

// component says which finder of an entity LUIS keeps, where it keeps one.
func (d Definition) component() string {
	switch {
	case len(d.Children) > 0:
		return "children"
	case len(d.Parts) > 0:
		return "parts"
	case len(d.Values) > 0:
		return "values"
	case len(d.Prebuilts) > 0:
		return "prebuilt"
	case len(d.Patterns) > 0:
		return "pattern"
	case d.Any:
		return "any"
	}
	return ""
}

// oneFinder says which of an entity's finders stays.
func (x *luisExporter) oneFinder(d Definition) string {
	kept := d.component()
	for _, f := range []struct {
		name string
		has  bool
	}{{"parts", len(d.Parts) > 0}, {"values", len(d.Values) > 0}, {"prebuilt", len(d.Prebuilts) > 0}, {"pattern", len(d.Patterns) > 0}, {"any", d.Any}} {
		if f.has && f.name != kept {
			x.lost.add("entity "+clip(d.Name), f.name, "an entity of LUIS is found in one way: %s stays", kept)
		}
	}
	return kept
}

func (x *luisExporter) definition(d Definition) {
	kept := x.oneFinder(d)
	if kept != "" && kept != "children" && kept != "parts" && len(d.Uses) > 0 {
		x.lost.add("entity "+clip(d.Name), "uses", "in LUIS only learned and composite entities have features")
	}
	roles := luisTexts(d.Roles)
	switch kept {
	case "parts":
		c := luisEntity{Name: d.Name, Roles: roles, Features: x.features(d.Uses), Children: luisChildren{}}
		for _, part := range d.Parts {
			c.Children = append(c.Children, luisEntity{Name: x.name(part), form: luisNamed})
		}
		x.app.Composites = append(x.app.Composites, c)
	case "values":
		l := luisList{Name: d.Name, Roles: roles, SubLists: []luisSubList{}}
		for _, v := range d.Values {
			l.SubLists = append(l.SubLists, luisSubList{v.Name, v.Synonyms})
		}
		x.app.Lists = append(x.app.Lists, l)
	case "pattern":
		re := d.Patterns[0]
		if len(d.Patterns) > 1 {
			re = "(?:" + strings.Join(d.Patterns, ")|(?:") + ")"
		}
		x.app.Regexes = append(x.app.Regexes, luisRegex{d.Name, re, roles})
	case "any":
		x.app.Any = append(x.app.Any, luisAny{d.Name, d.Explicit, roles})
	case "prebuilt":
		x.prebuilt(d)
	default:
		x.learned(d)
	}
}

func (x *luisExporter) prebuilt(d Definition) {
	name, ok := x.prebuiltName(d)
	if !ok {
		x.learned(d)
		return
	}
	x.app.Prebuilts = append(x.app.Prebuilts, luisPrebuilt{name, d.Roles})
}

// prebuiltName is the name of a prebuilt entity; false if it has to be a
// learned one, as renamePrebuilts said.
func (x *luisExporter) prebuiltName(d Definition) (string, bool) {
	for _, k := range d.Prebuilts[1:] {
		x.lost.add("entity "+clip(d.Name), "prebuilt "+k, "an entity of LUIS has one kind: %s stays", d.Prebuilts[0])
	}
	if d.Prebuilts[0] == string(prebuilt.Duration) {
		x.lost.add("entity "+clip(d.Name), "prebuilt duration", "LUIS has it as a part of datetimeV2, which finds dates and times as well")
	}
	name := x.name(d.Name)
	k, ok := prebuiltKind(name)
	return name, ok && (string(k) == d.Prebuilts[0] || luisPrebuiltNames[prebuilt.Kind(d.Prebuilts[0])] == name)
}

// learned writes an entity that is learned. One whose children are marked on
// their own, outside of it, is what older versions called hierarchical.
func (x *luisExporter) learned(d Definition) {
	e := luisEntity{Name: d.Name, Roles: d.Roles, Features: x.features(d.Uses), Children: x.children(d)}
	if !x.childrenAlone(d) {
		x.app.Entities = append(x.app.Entities, e)
		return
	}
	for i := range e.Children {
		e.Children[i].form = luisString
		if c := d.Children[i]; len(c.Roles)+len(c.Uses)+len(c.Of)+len(c.Prebuilts) > 0 {
			x.lost.add("entity "+clip(d.Name+"/"+c.Name), "roles, uses, of, prebuilt", "a child of a hierarchical entity has only its name in LUIS")
		}
	}
	x.app.Hierarchies = append(x.app.Hierarchies, e)
}

func (x *luisExporter) children(d Definition) luisChildren {
	out := luisChildren{}
	for _, c := range d.Children {
		e := luisEntity{Name: c.Name, InstanceOf: x.name(c.Of), Features: x.features(c.Uses), Children: x.children(c)}
		if len(c.Prebuilts) > 0 && e.InstanceOf == "" {
			e.InstanceOf = luisPrebuiltNames[prebuilt.Kind(c.Prebuilts[0])]
		}
		x.childLoses(d, c)
		out = append(out, e)
	}
	return out
}

func (x *luisExporter) childLoses(d, c Definition) {
	if len(c.Values)+len(c.Patterns)+len(c.Parts)+len(c.Roles) > 0 || c.Any {
		x.lost.add("entity "+clip(d.Name+"/"+c.Name), "roles, values, pattern, parts, any", "a child is learned in LUIS, or an instance of another entity")
	}
	if len(c.Prebuilts) > 1 || len(c.Prebuilts) > 0 && c.Of != "" {
		x.lost.add("entity "+clip(d.Name+"/"+c.Name), "prebuilt "+strings.Join(c.Prebuilts, ", "), "a child is an instance of one entity in LUIS")
	}
}

// childrenAlone says whether a child is marked outside of its parent, and none
// has children of its own.
func (x *luisExporter) childrenAlone(d Definition) bool {
	if len(d.Children) == 0 || slices.ContainsFunc(d.Children, func(c Definition) bool { return len(c.Children) > 0 }) {
		return false
	}
	for _, in := range x.p.Intents {
		for _, u := range in.Utterances {
			around := parents(u.Marks)
			for i, m := range u.Marks {
				if strings.HasPrefix(m.Type, d.Name+"/") && (around[i] < 0 || u.Marks[around[i]].Type != d.Name) {
					return true
				}
			}
		}
	}
	return false
}

func (x *luisExporter) features(uses []string) luisFeatures {
	var out luisFeatures
	for _, u := range uses {
		if _, ok := x.p.Definition(u); ok {
			out = append(out, luisFeature{Model: x.name(u)})
		} else {
			out = append(out, luisFeature{Feature: u})
		}
	}
	return out
}

// name is what LUIS calls an entity.
func (x *luisExporter) name(path string) string {
	if n, ok := x.names[path]; ok {
		return n
	}
	return strings.ReplaceAll(path, "/", "::")
}

func (x *luisExporter) phrases(l Phrases) {
	words := slices.DeleteFunc(slices.Clone(l.Words), func(w string) bool {
		if strings.Contains(w, ",") {
			x.lost.add("phrase list "+clip(l.Name), clip(w), "LUIS separates words with commas")
		}
		return strings.Contains(w, ",")
	})
	on, global := !l.Off, !l.Local
	x.app.Phrases = append(x.app.Phrases, luisPhrases{Name: l.Name, Mode: l.Synonyms, Words: strings.Join(words, ","), Activated: &on, Global: &global})
}

func (x *luisExporter) intent(in Intent) {
	x.app.Intents = append(x.app.Intents, luisIntent{Name: in.Name, Features: x.features(in.Uses)})
	if in.Description != "" {
		x.lost.add("intent "+clip(in.Name), "its description", "LUIS has none")
	}
	if len(in.Tests) > 0 {
		x.lost.add("intent "+clip(in.Name), fmt.Sprintf("%d tests", len(in.Tests)), "an app holds none; they fit into a file for batch tests")
	}
	for _, u := range in.Utterances {
		x.app.Utterances = append(x.app.Utterances, x.said(in.Name, u))
	}
	for _, t := range in.Patterns {
		for name, there := range x.names {
			t = strings.NewReplacer("{"+name+"}", "{"+there+"}", "{"+name+":", "{"+there+":", "{@"+name+"}", "{@"+there+"}", "{@"+name+":", "{@"+there+":").Replace(t)
		}
		x.app.Patterns = append(x.app.Patterns, luisPattern{t, in.Name})
	}
}

// said writes an utterance. A child's label stands in its parent's, by its
// short name, and any other on its own.
func (x *luisExporter) said(intent string, u Utterance) luisSaid {
	units := newUnits(u.Text)
	around := parents(u.Marks)
	labels := make([]luisLabel, len(u.Marks))
	out := luisSaid{Text: u.Text, Intent: intent, Entities: []luisLabel{}}
	for i := len(u.Marks) - 1; i >= 0; i-- { // children are whole before their parents take them
		m := u.Marks[i]
		slices.Reverse(labels[i].Children)
		labels[i].Entity, labels[i].Role = x.name(m.Type), m.Role
		labels[i].StartPos, labels[i].EndPos = units.fromRune(m.Start), units.fromRune(m.End)-1
		if a := around[i]; a >= 0 {
			if short, ok := strings.CutPrefix(m.Type, u.Marks[a].Type+"/"); ok {
				labels[i].Entity = short
				labels[a].Children = append(labels[a].Children, labels[i])
				continue
			}
		}
		out.Entities = append(out.Entities, labels[i])
	}
	slices.Reverse(out.Entities)
	return out
}

package corpus

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// ImportRasa reads Rasa's NLU training data in YAML. name is what the project
// is called, because the file has no name in it.
func ImportRasa(b []byte, name string) (*Project, []Lost, error) {
	b = []byte(strings.TrimPrefix(string(b), "\ufeff"))
	root, line, err := yamlfile.Parse(b)
	if err != nil {
		return nil, nil, Problems{{File: "Rasa", Line: line, Text: err.Error()}}
	}
	r := rasaReader{importer: newImporter(name, "", "", ""), d: &draft{}}
	y := newYAMLReader(r.d, "Rasa")
	if root != nil {
		y.Pairs(root, "", func(k, v *yamlfile.Node) {
			switch k.Value {
			case "version":
			case "nlu":
				r.items(y, v)
			default:
				r.lost.add(fmt.Sprintf("line %d", k.Line), clip(k.Value), "only nlu: is read; this belongs to Rasa's dialogues")
			}
		})
	}
	if err := r.d.problems.Err(); err != nil {
		return nil, nil, err
	}
	r.finishSynonyms()
	for _, a := range r.after {
		a()
	}
	if len(r.p.Intents) == 0 {
		return nil, nil, Problems{{File: "Rasa", Text: "there is no intent under nlu:"}}
	}
	return r.finish()
}

type rasaReader struct {
	*importer
	d        *draft
	surfaces map[string]map[string]bool // text of labels, and the entities it was labelled as
	after    []func()                   // once all labels are known
	synonyms []rasaSynonym
}

// rasaSynonym says that texts mean value; of any entity if entity is "".
type rasaSynonym struct {
	where, entity, value string
	texts                []string
}

func (r *rasaReader) items(y yamlReader, n *yamlfile.Node) {
	if !yamlfile.IsList(n) {
		y.sayf(y.at(n), "", "nlu: wanted a list, found %s", yamlfile.Found(n))
		return
	}
	for _, item := range n.Content {
		where := fmt.Sprintf("line %d", item.Line)
		kind, name := "", ""
		var examples *yamlfile.Node
		y.Pairs(item, "an entry of nlu", func(k, v *yamlfile.Node) {
			switch k.Value {
			case "intent", "synonym", "regex", "lookup":
				kind = k.Value
				name, _ = y.Text(v, k.Value)
			case "examples":
				examples = v
			default:
				r.lost.add(where, clip(k.Value), "a project has no place for it")
			}
		})
		if kind == "" || name == "" || examples == nil {
			if yamlfile.IsMapping(item) {
				y.sayf(y.at(item), "each has intent, synonym, regex or lookup, and examples", "this entry of nlu is not whole")
			}
			continue
		}
		r.item(y, where, kind, name, r.lines(y, examples))
	}
}

// rasaLine is one example with where it stands.
type rasaLine struct {
	place
	text string
}

// lines returns the examples: lines of a block that begin with -, or a list
// of entries with a text.
func (r *rasaReader) lines(y yamlReader, n *yamlfile.Node) []rasaLine {
	var out []rasaLine
	if !yamlfile.IsList(n) && !yamlfile.IsMapping(n) {
		y.Block(n, func(line int, text string) { out = append(out, rasaLine{place{y.file, line}, text}) })
		return out
	}
	for _, item := range n.Content {
		if yamlfile.IsText(item) {
			out = append(out, rasaLine{y.at(item), item.Value})
			continue
		}
		y.Pairs(item, "an example", func(k, v *yamlfile.Node) {
			if k.Value != "text" {
				r.lost.add(fmt.Sprintf("line %d", k.Line), clip(k.Value), "a project has no place for it")
				return
			}
			if s, ok := y.Text(v, "text"); ok {
				out = append(out, rasaLine{y.at(v), strings.TrimPrefix(strings.TrimSpace(s), "- ")})
			}
		})
	}
	return out
}

func (r *rasaReader) item(y yamlReader, where, kind, name string, lines []rasaLine) {
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.text)
	}
	switch kind {
	case "intent":
		r.intent(name)
		for _, l := range lines {
			u, err := r.parse(l)
			if err != nil {
				y.say(l.place, err)
				continue
			}
			r.utterance(fmt.Sprintf("line %d", l.line), name, u, Train)
		}
	case "synonym":
		r.synonyms = append(r.synonyms, rasaSynonym{where: where, value: name, texts: texts})
	case "lookup":
		d := Definition{Name: name}
		for _, t := range texts {
			d.Values = append(d.Values, Value{Name: t})
		}
		r.cleanValues(&d)
		r.after = append(r.after, func() { r.addTo(where, "lookup", d) })
	case "regex":
		d := Definition{Name: name}
		for _, t := range texts {
			r.addPattern(&d, t)
		}
		r.after = append(r.after, func() { r.addTo(where, "regex", d) })
	}
}

// addTo gives what d has to the entity of its name. A lookup is an entity's by
// definition; a regex may be a mere hint for intents.
func (r *rasaReader) addTo(where, kind string, d Definition) {
	d.Name = r.name("entity", d.Name)
	if have, ok := r.p.Definition(d.Name); ok {
		have.merge(d)
		return
	}
	if kind == "regex" {
		r.lost.add(where, "regex "+clip(d.Name), "no entity has this name, and patterns as mere hints don't exist here")
		return
	}
	r.define(d)
}

// parse reads [text](entity) and [text]{"entity": ..., "role": ..., "value":
// ...}. Any other bracket is text.
func (r *rasaReader) parse(l rasaLine) (Utterance, error) {
	var u Utterance
	var text strings.Builder
	rest := l.text
	for {
		before, after, ok := strings.Cut(rest, "[")
		text.WriteString(before)
		if !ok {
			u.Text = text.String()
			return u, nil
		}
		surface, label, ok := strings.Cut(after, "]")
		if !ok || surface == "" || label == "" || label[0] != '(' && label[0] != '{' {
			text.WriteByte('[')
			rest = after
			continue
		}
		var e struct {
			Entity string `json:"entity"`
			Role   string `json:"role"`
			Group  string `json:"group"`
			Value  string `json:"value"`
		}
		if label[0] == '(' {
			if e.Entity, rest, ok = strings.Cut(label[1:], ")"); !ok {
				return u, fmt.Errorf("the label of %q has no )", clip(surface))
			}
			e.Entity, e.Value, _ = strings.Cut(e.Entity, ":") // the value is the old form's
		} else {
			d := json.NewDecoder(strings.NewReader(label))
			if err := d.Decode(&e); err != nil {
				return u, fmt.Errorf("the label of %q can't be read: %w", clip(surface), err)
			}
			rest = label[d.InputOffset():]
		}
		if e.Group != "" {
			r.lost.add(fmt.Sprintf("line %d", l.line), "group "+clip(e.Group), "there are no groups of entities")
		}
		m := Entity{Start: utf8.RuneCountInString(text.String()), Type: e.Entity, Role: e.Role}
		text.WriteString(surface)
		m.End = m.Start + utf8.RuneCountInString(surface)
		if m.Type = r.name("entity", m.Type); m.Type == "" {
			return u, fmt.Errorf("the label of %q names no entity", clip(surface))
		}
		r.learn(m)
		r.surface(surface, m.Type)
		if e.Value != "" && e.Value != surface {
			r.synonyms = append(r.synonyms, rasaSynonym{"", m.Type, e.Value, []string{surface}})
		}
		u.Marks = append(u.Marks, m)
	}
}

// learn has the entity of a label in the project: Rasa defines it by labels.
func (r *rasaReader) learn(m Entity) {
	if _, ok := r.p.Definition(m.Type); !ok {
		r.define(Definition{Name: m.Type})
	}
	if d, ok := r.p.Definition(m.Type); ok && m.Role != "" {
		d.Roles = union(d.Roles, []string{cleanName(m.Role)})
	}
}

func (r *rasaReader) surface(text, entity string) {
	if r.surfaces == nil {
		r.surfaces = map[string]map[string]bool{}
	}
	text = strings.ToLower(text)
	if r.surfaces[text] == nil {
		r.surfaces[text] = map[string]bool{}
	}
	r.surfaces[text][entity] = true
}

// finishSynonyms gives synonyms to the entities that were labelled with one of
// their texts. Rasa's own synonyms belong to no entity.
func (r *rasaReader) finishSynonyms() {
	for _, s := range r.synonyms {
		owners := map[string]bool{}
		if s.entity != "" {
			owners[s.entity] = true
		}
		for _, t := range append([]string{s.value}, s.texts...) {
			for e := range r.surfaces[strings.ToLower(t)] {
				if s.entity == "" {
					owners[e] = true
				}
			}
		}
		if len(owners) == 0 {
			r.lost.add(s.where, "synonym "+clip(s.value), "no entity was labelled with one of its texts, so it belongs to none")
		}
		for _, d := range r.p.Entities {
			if owners[d.Name] {
				have, _ := r.p.Definition(d.Name)
				have.merge(Definition{Values: []Value{{s.value, slices.DeleteFunc(union(nil, s.texts), func(t string) bool { return t == s.value })}}})
			}
		}
	}
}

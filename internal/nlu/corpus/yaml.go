package corpus

import (
	"strings"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// readYAML reads one file of a project.
func (d *draft) readYAML(name string, b []byte) {
	root, line, err := yamlfile.Parse(b)
	if err != nil {
		d.sayf(place{name, line}, "an utterance with [ : # or quotes in it needs no care below `intent: |`", "%w", err)
		return
	}
	if root == nil {
		return
	}
	y := newYAMLReader(d, name)
	y.Mapping(root, "", map[string]func(*yamlfile.Node){
		"name":        y.head("name", &d.project.Name),
		"description": y.head("description", &d.project.Description),
		"version":     y.head("version", &d.project.Version),
		"culture": func(n *yamlfile.Node) {
			y.head("culture", &d.project.Culture)(n)
			if d.project.Culture != "" {
				d.say(y.at(n), checkCulture(d.project.Culture))
			}
		},
		"entities": func(n *yamlfile.Node) { d.project.Entities = append(d.project.Entities, y.definitions(n, "")...) },
		"phrases":  y.phrases,
		"intents":  func(n *yamlfile.Node) { y.named(n, "intents", y.intent) },
		"tests": func(n *yamlfile.Node) {
			y.named(n, "tests", func(name string, _, n *yamlfile.Node) { y.sayings(n, name, forTest) })
		},
	})
}

// yamlReader reads the nodes of one file into a draft.
type yamlReader struct {
	*draft
	yamlfile.Reader
	file string
}

func newYAMLReader(d *draft, file string) yamlReader {
	return yamlReader{d, yamlfile.Reader{Say: func(line int, hint, text string) { d.sayf(place{file, line}, hint, "%s", text) }}, file}
}

func (y yamlReader) at(n *yamlfile.Node) place { return place{y.file, n.Line} }

// named reads a mapping whose keys are names that people give.
func (y yamlReader) named(n *yamlfile.Node, what string, do func(name string, key, value *yamlfile.Node)) {
	y.Pairs(n, what, func(k, v *yamlfile.Node) {
		if err := checkName(k.Value); err != nil {
			y.sayf(y.at(k), "", "%s: %q: %v", what, clip(k.Value), err)
			return
		}
		do(k.Value, k, v)
	})
}

func (y yamlReader) head(key string, into *string) func(*yamlfile.Node) {
	return func(n *yamlfile.Node) {
		if s, ok := y.Text(n, key); ok && y.once(y.at(n), key) {
			*into = s
		}
	}
}

func (y yamlReader) intent(name string, _, n *yamlfile.Node) {
	in := y.draft.intent(name)
	if !yamlfile.IsMapping(n) {
		y.sayings(n, name, forTraining)
		return
	}
	y.Mapping(n, name, map[string]func(*yamlfile.Node){
		"description": y.head("description of intent "+name, &in.Description),
		"uses": func(n *yamlfile.Node) {
			uses := y.Texts(n, "uses")
			in.Uses = append(in.Uses, uses...)
			y.laterUses(y.at(n), uses)
		},
		"utterances": func(n *yamlfile.Node) { y.sayings(n, name, forTraining) },
		"patterns":   func(n *yamlfile.Node) { y.sayings(n, name, asPattern) },
	})
}

// sayings reads a list of utterances, or a block with one to a line, where
// nothing of YAML gets in the way:
//
//	intent: |
//	  - a table for [two](people)
func (y yamlReader) sayings(n *yamlfile.Node, intent string, kind sayingKind) {
	switch {
	case yamlfile.Empty(n):
	case yamlfile.IsList(n):
		for _, c := range n.Content {
			if s, ok := y.Text(c, intent); ok {
				y.saying(y.at(c), s, intent, kind)
			}
		}
	case yamlfile.IsBlock(n):
		y.Block(n, func(line int, text string) { y.saying(place{y.file, line}, text, intent, kind) })
	default:
		y.sayf(y.at(n), "write `"+clip(intent)+": |` and below it lines that begin with -", "%s: wanted utterances, found %s", clip(intent), yamlfile.Found(n))
	}
}

func (y yamlReader) saying(at place, line, intent string, kind sayingKind) {
	s := saying{place: at, intent: intent, kind: kind}
	if kind == asPattern {
		s.u.Text = line
	} else {
		var err error
		if s.u, err = ParseLine(line); err != nil {
			y.say(at, err)
			return
		}
	}
	y.said = append(y.said, s)
}

// definitions reads entities, or the children of one, whose path ends in /.
func (y yamlReader) definitions(n *yamlfile.Node, prefix string) []Definition {
	var out []Definition
	if strings.Count(prefix, "/") > mostDepth {
		y.sayf(y.at(n), "", "children stand in children more than %d deep", mostDepth)
		return nil
	}
	y.named(n, "entities", func(name string, k, n *yamlfile.Node) {
		def := Definition{Name: name}
		if !y.define(y.at(k), prefix+name) {
			return
		}
		list := func(into *[]string, what string) func(*yamlfile.Node) {
			return func(n *yamlfile.Node) { *into = y.Texts(n, what) }
		}
		rows := map[string]func(*yamlfile.Node){
			"roles":    list(&def.Roles, "roles"),
			"uses":     list(&def.Uses, "uses"),
			"pattern":  list(&def.Patterns, "pattern"),
			"prebuilt": list(&def.Prebuilts, "prebuilt"),
			"parts":    list(&def.Parts, "parts"),
			"explicit": list(&def.Explicit, "explicit"),
			"any":      func(n *yamlfile.Node) { def.Any = y.Flag(n, "any") },
			"values":   func(n *yamlfile.Node) { def.Values = y.values(n) },
			"children": func(n *yamlfile.Node) { def.Children = y.definitions(n, prefix+name+"/") },
		}
		if prefix != "" {
			rows["of"] = func(n *yamlfile.Node) { def.Of, _ = y.Text(n, "of") }
		}
		y.Mapping(n, name, rows)
		out = append(out, def)
	})
	return out
}

// values reads a list's values: names alone, or names with their synonyms.
func (y yamlReader) values(n *yamlfile.Node) []Value {
	var out []Value
	if yamlfile.IsList(n) {
		for _, s := range y.Texts(n, "values") {
			out = append(out, Value{Name: s})
		}
		return out
	}
	y.Pairs(n, "values", func(k, v *yamlfile.Node) {
		value := Value{Name: k.Value}
		if !yamlfile.Empty(v) {
			value.Synonyms = y.Texts(v, "synonyms of "+clip(k.Value))
		}
		out = append(out, value)
	})
	return out
}

func (y yamlReader) phrases(n *yamlfile.Node) {
	y.named(n, "phrases", func(name string, k, n *yamlfile.Node) {
		l := Phrases{Name: name}
		if yamlfile.IsMapping(n) {
			y.Mapping(n, name, map[string]func(*yamlfile.Node){
				"words":    func(n *yamlfile.Node) { l.Words = y.Texts(n, "words") },
				"synonyms": func(n *yamlfile.Node) { l.Synonyms = y.Flag(n, "synonyms") },
				"local":    func(n *yamlfile.Node) { l.Local = y.Flag(n, "local") },
				"off":      func(n *yamlfile.Node) { l.Off = y.Flag(n, "off") },
			})
		} else {
			l.Words = y.Texts(n, name)
		}
		if y.define(y.at(k), name) {
			y.project.Phrases = append(y.project.Phrases, l)
		}
	})
}

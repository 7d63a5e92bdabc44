package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// itemReader reads a list of items and shows it again.
type itemReader interface {
	read(l *loader, c *Config, n *yaml.Node, key string)
	show(c *Config) [][]pair
}

type pair struct {
	key    string
	values []string
	kind   string
}

// list is an itemReader of a []T.
type list[T any] struct {
	rows []row[T]
	most int
	at   func(*Config) *[]T
}

func itemList[T any](r Row, rows []row[T], most int, at func(*Config) *[]T) row[Config] {
	r.Kind = KindItems
	for _, item := range rows {
		r.Items = append(r.Items, item.Row)
	}
	return row[Config]{Row: r, items: list[T]{rows, most, at}}
}

func (li list[T]) read(l *loader, c *Config, n *yaml.Node, key string) {
	if n.Kind != yaml.SequenceNode {
		l.wrongShape(n, key, "a list, each entry beginning with -")
		return
	}
	if len(n.Content) > li.most {
		l.problem(key, "", "%d are too many: at most %d", len(n.Content), li.most)
		return
	}
	items := make([]T, len(n.Content))
	for i, in := range n.Content {
		name := fmt.Sprintf("%s[%d]", key, i)
		l.here(in)
		c.from[name] = l.at
		for _, r := range li.rows {
			if r.Default != "" {
				_ = r.set(&items[i], []string{r.Default}, l) // a test sets every default
			}
		}
		seen := readMapping(l, &items[i], in, name, "", li.rows, nil)
		for _, r := range li.rows {
			if in.Kind == yaml.MappingNode && r.Required && !seen[r.Key] {
				l.here(in)
				l.problem(name+"."+r.Key, "", "is missing")
			}
		}
	}
	*li.at(c) = items
}

func (li list[T]) show(c *Config) [][]pair {
	var out [][]pair
	items := *li.at(c)
	for i := range items {
		var item []pair
		for _, r := range li.rows {
			if v := r.get(&items[i]); len(v) > 0 {
				item = append(item, pair{r.Key, v, r.Kind})
			}
		}
		out = append(out, item)
	}
	return out
}

// here makes n the place of the next problem or value.
func (l *loader) here(n *yaml.Node) {
	l.at.Line, l.at.Column = max(n.Line, 1), max(n.Column, 1)
}

// text reads a file's bytes.
func (l *loader) text(c *Config, name string, b []byte) {
	l.at = Source{Kind: FromFile, Name: name}
	n, ok := l.load(b)
	if !ok {
		return
	}
	l.here(n)
	readMapping(l, c, n, "", "", settings(), func(r row[Config], key string, n *yaml.Node) {
		if r.items != nil {
			r.items.read(l, c, n, key)
		}
		l.here(n)
		c.from[key] = l.at
	})
}

// load is not ok if the bytes are no YAML, which is a problem, or say nothing:
// that is the defaults.
func (l *loader) load(b []byte) (n *yaml.Node, ok bool) {
	if len(b) > maxFile {
		l.problem("", "", "the file is over %s: not a configuration", showSize(maxFile))
		return nil, false
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, false
	}
	n, err := yamlfile.Load(b)
	if err != nil {
		var le *yaml.LoadError
		if errors.As(err, &le) {
			l.at.Line, l.at.Column = max(le.Mark.Line, 1), max(le.Mark.Column, 1)
			l.problem("", "", "not YAML: %s", clip(le.Message))
			return nil, false
		}
		l.problem("", "", "not YAML: %s", clip(strings.TrimPrefix(err.Error(), "yaml: ")))
		return nil, false
	}
	return n, n != nil && (n.Kind != yaml.ScalarNode || n.ShortTag() != "!!null")
}

// readMapping sets the rows of T from a mapping. name is what problems call
// it ("bots[0]"), section the part of the rows' keys that leads to it ("log.").
// It returns the keys that were there. done is told of each one.
func readMapping[T any](l *loader, t *T, n *yaml.Node, name, section string, rows []row[T], done func(row[T], string, *yaml.Node)) map[string]bool {
	seen := map[string]bool{}
	if n.Kind != yaml.MappingNode {
		l.wrongShape(n, strings.TrimSuffix(name+section, "."), "keys and values (key: value)")
		return seen
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		word := kn.Value
		key, full := section+word, join(name, section+word)
		l.here(kn)
		switch {
		case kn.Kind != yaml.ScalarNode || kn.ShortTag() == "!!merge":
			l.problem(name, "", "only plain words can be keys here")
			continue
		case seen[key]:
			l.problem(full, "", "stands here twice")
			continue
		}
		seen[key] = true
		at := slices.IndexFunc(rows, func(r row[T]) bool { return r.Key == key })
		if at < 0 {
			if slices.ContainsFunc(rows, func(r row[T]) bool { return strings.HasPrefix(r.Key, key+".") }) && word != "" {
				l.here(vn)
				readMapping(l, t, vn, name, key+".", rows, done)
				continue
			}
			l.problem(clip(full), unknownHint(word, section, rows), "there is no such setting")
			continue
		}
		r := rows[at]
		l.here(vn)
		if r.items == nil {
			values, ok := l.values(vn, full, r.Row)
			if !ok {
				continue
			}
			if err := r.set(t, values, l); err != nil {
				l.problem(full, r.hint(), "%v", err)
				continue
			}
		} else if noValue(vn) {
			l.problem(full, "remove the line to take the default", "has no value")
			continue
		}
		if done != nil {
			done(r, full, vn)
		}
	}
	return seen
}

func join(name, key string) string {
	if name == "" {
		return key
	}
	return name + "." + key
}

func unknownHint[T any](word, section string, rows []row[T]) string {
	var here []string
	elsewhere := ""
	for _, r := range rows {
		rest, ok := strings.CutPrefix(r.Key, section)
		if ok {
			first, _, _ := strings.Cut(rest, ".")
			here = append(here, first)
		}
		if strings.HasSuffix(r.Key, "."+word) {
			elsewhere = r.Key
		}
	}
	if near := Nearest(word, here); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if elsewhere != "" {
		return fmt.Sprintf("did you mean %q?", elsewhere)
	}
	here = slices.Compact(here)
	return "known here: " + strings.Join(here, ", ")
}

func noValue(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// wrongShape says what was found where something else is wanted.
func (l *loader) wrongShape(n *yaml.Node, key, want string) {
	l.here(n)
	switch n.Kind {
	case yaml.AliasNode:
		l.problem(key, "write the value out", "references (*name) are not used here")
	case yaml.MappingNode:
		l.problem(key, "", "wanted %s, found keys and values", want)
	case yaml.SequenceNode:
		l.problem(key, "", "wanted %s, found a list", want)
	default:
		if noValue(n) {
			l.problem(key, "remove the line to take the default", "has no value")
			return
		}
		l.problem(key, "", "wanted %s, found %q", want, clip(n.Value))
	}
}

// values reads a row's value as text and checks its type, so that what YAML
// makes of a word (no is a text here, 8470 a number) never surprises.
func (l *loader) values(n *yaml.Node, key string, r Row) ([]string, bool) {
	if r.Kind == KindTexts {
		if n.Kind != yaml.SequenceNode {
			l.wrongShape(n, key, "a list of texts, [a, b] or one to a line with -")
			return nil, false
		}
		var out []string
		for i, c := range n.Content {
			v, ok := l.scalar(c, fmt.Sprintf("%s[%d]", key, i), Row{Kind: KindText})
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		l.here(n)
		return out, true
	}
	v, ok := l.scalar(n, key, r)
	return []string{v}, ok
}

func (l *loader) scalar(n *yaml.Node, key string, r Row) (string, bool) {
	want, tags := map[string]string{
		KindText: "a text", KindNumber: "a whole number", KindDecimal: "a number", KindSwitch: "true or false",
		KindSize: "a size such as 256KiB", KindDuration: "a duration such as 15s", KindPath: "a path", KindSecret: "a text",
	}[r.Kind], map[string][]string{
		KindNumber: {"!!int"}, KindDecimal: {"!!int", "!!float"}, KindSwitch: {"!!bool"}, KindSize: {"!!str", "!!int"},
	}[r.Kind]
	if tags == nil {
		tags = []string{"!!str"}
	}
	if n.Kind != yaml.ScalarNode || noValue(n) {
		l.wrongShape(n, key, want)
		return "", false
	}
	l.here(n)
	if tag := n.ShortTag(); !slices.Contains(tags, tag) {
		shown := fmt.Sprintf("%q", clip(n.Value))
		if r.Kind == KindSecret {
			shown = "something else" // it may be the secret
		}
		hint := r.hint()
		if slices.Contains(tags, "!!str") && r.Kind != KindDuration && r.Kind != KindSize {
			hint = "put quotes around it if it is meant"
		}
		l.problem(key, hint, "wanted %s, found %s, %s", want, tagWords(tag), shown)
		return "", false
	}
	return n.Value, true
}

func tagWords(tag string) string {
	if w, ok := map[string]string{
		"!!int": "a whole number", "!!float": "a number with a fraction", "!!bool": "true or false",
		"!!str": "a text", "!!timestamp": "a date", "!!binary": "bytes",
	}[tag]; ok {
		return w
	}
	return "a " + clip(strings.TrimLeft(tag, "!"))
}

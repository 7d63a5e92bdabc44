// Package yamlfile reads YAML that people write by hand: strictly, with every
// problem reported at once, each with its line and what to write instead. What
// may live here: walking through such a file, and the problems found on the
// way. What the keys mean is their package's business.
package yamlfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Node is a part of a file.
type Node = yaml.Node

// Parse returns the root of the only document, nil if it holds nothing. An
// error tells the line, or 0.
func Parse(b []byte) (root *Node, line int, err error) {
	root, err = Load(b)
	var le *yaml.LoadError
	switch {
	case errors.As(err, &le) && tabbed(b, le.Mark.Line):
		return nil, le.Mark.Line, errors.New("YAML: a tab stands where only blanks may: indent with blanks")
	case errors.As(err, &le) && le.ContextMsg != "":
		return nil, le.Mark.Line, fmt.Errorf("YAML: %s: %s", Clip(le.ContextMsg), Clip(le.Message))
	case errors.As(err, &le):
		return nil, le.Mark.Line, fmt.Errorf("YAML: %s", Clip(le.Message))
	case err != nil:
		return nil, 0, fmt.Errorf("YAML: %s", Clip(err.Error()))
	}
	if root == nil || Empty(root) {
		return nil, 0, nil
	}
	return root, 0, nil
}

// tabbed reports whether a line is indented with a tab.
func tabbed(b []byte, line int) bool {
	n := 0
	for l := range bytes.Lines(b) {
		if n++; n == line {
			return bytes.ContainsRune(l[:len(l)-len(bytes.TrimLeft(l, " \t"))], '\t')
		}
	}
	return false
}

// Load returns the root of the only document as the parser gives it, nil if
// there is none. The parser is foreign code on foreign bytes: a panic of it is
// an error here, not the end of the process.
func Load(b []byte) (root *Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	var docs []Node
	if err := yaml.Load(b, &docs, yaml.WithAllDocuments()); err != nil {
		return nil, err
	}
	if len(docs) > 1 {
		return nil, errors.New("there are several documents in it (---)")
	}
	if len(docs) == 0 {
		return nil, nil
	}
	root = &docs[0]
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return nil, nil
		}
		root = root.Content[0]
	}
	return root, nil
}

// Empty holds for a key without a value.
func Empty(n *Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.ShortTag() == "!!null"
}

// IsMapping holds for keys and values.
func IsMapping(n *Node) bool { return n.Kind == yaml.MappingNode }

// IsList holds for a list.
func IsList(n *Node) bool { return n.Kind == yaml.SequenceNode }

// IsText holds for a text, a number, true and the like.
func IsText(n *Node) bool { return n.Kind == yaml.ScalarNode && !Empty(n) }

// IsBlock holds for a text below key: |, whose lines are as they were written.
func IsBlock(n *Node) bool { return n.Kind == yaml.ScalarNode && n.Style&yaml.LiteralStyle != 0 }

// Found says what a node is, for messages.
func Found(n *Node) string {
	switch {
	case IsMapping(n):
		return "keys and values"
	case IsList(n):
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "a reference"
	case Empty(n):
		return "nothing"
	}
	return fmt.Sprintf("%q", Clip(n.Value))
}

// Reader reads the parts of one file. What is wrong goes to Say, and reading
// goes on.
type Reader struct {
	Say func(line int, hint, text string)
}

// Sayf says what is wrong with n.
func (r Reader) Sayf(n *Node, hint, format string, args ...any) {
	r.Say(n.Line, hint, fmt.Sprintf(format, args...))
}

// Pairs calls do for each key and value of a mapping. what is the mapping's
// name in messages, "" the file's.
func (r Reader) Pairs(n *Node, what string, do func(key, value *Node)) {
	if Empty(n) {
		return
	}
	if !IsMapping(n) {
		r.Sayf(n, "", "%s: wanted keys and values (key: value), found %s", cmp.Or(what, "this file"), Found(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" || k.Anchor != "":
			r.Sayf(k, "", "only plain words can be keys here")
		case v.Kind == yaml.AliasNode || v.Anchor != "":
			r.Sayf(v, "write it out", "references (&name, *name) are not used here")
		case seen[k.Value]:
			r.Sayf(k, "keep one", "%q stands here twice", Clip(k.Value))
		default:
			seen[k.Value] = true
			do(k, v)
		}
	}
}

// Mapping reads a mapping whose keys are known.
func (r Reader) Mapping(n *Node, what string, rows map[string]func(*Node)) {
	r.Pairs(n, what, func(k, v *Node) {
		row, ok := rows[k.Value]
		if !ok {
			var known []string
			for name := range rows {
				known = append(known, name)
			}
			slices.Sort(known)
			r.Sayf(k, cmp.Or(Near(k.Value, known), "known here: "+strings.Join(known, ", ")), "there is no key %q here", Clip(k.Value))
			return
		}
		row(v)
	})
}

// Text reads a text. Whatever YAML takes a word for, it is one here: no, 12
// and 1.0 stay as they are written.
func (r Reader) Text(n *Node, what string) (string, bool) {
	if !IsText(n) {
		hint := ""
		if IsMapping(n) {
			hint = `put quotes around a text with ": " in it`
		}
		if IsList(n) {
			hint = `put quotes around a text that begins with [`
		}
		r.Sayf(n, hint, "%s: wanted a text, found %s", what, Found(n))
		return "", false
	}
	return n.Value, true
}

// Texts reads a text or a list of texts.
func (r Reader) Texts(n *Node, what string) []string {
	nodes := []*Node{n}
	if IsList(n) {
		nodes = n.Content
	}
	var out []string
	for _, c := range nodes {
		if s, ok := r.Text(c, what); ok {
			out = append(out, s)
		}
	}
	return out
}

// Flag reads true or false.
func (r Reader) Flag(n *Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" {
		r.Sayf(n, "", "%s: wanted true or false, found %s", what, Found(n))
	}
	return n.Value == "true"
}

// Block calls do for each line of a block, which begins with "- ". Empty lines
// and lines that begin with # are for people.
func (r Reader) Block(n *Node, do func(line int, text string)) {
	line := n.Line
	for text := range strings.SplitSeq(n.Value, "\n") {
		line++
		text = strings.TrimSpace(text)
		rest, ok := strings.CutPrefix(text, "- ")
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case ok:
			do(line, strings.TrimSpace(rest))
		case text == "-":
			r.Say(line, "remove the line", "the line is empty")
		default:
			r.Say(line, `write "- " before it`, fmt.Sprintf("%q does not begin with -", Clip(text)))
		}
	}
}

package corpus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// ExportLU writes the project as one .lu file. Names that such a file can't
// hold are an error: to call things otherwise is for their people to decide.
func ExportLU(p *Project) ([]byte, []Lost, error) {
	if err := p.Check(); err != nil {
		return nil, nil, err
	}
	if err := luCheckNames(p); err != nil {
		return nil, nil, err
	}
	x := luWriter{luisExporter: luisExporter{p: p, names: map[string]string{}}}
	x.renamePrebuilts()
	for _, m := range [][2]string{{"name", p.Name}, {"desc", strings.Join(strings.Fields(p.Description), " ")}, {"versionId", p.Version}, {"culture", cmp.Or(p.Culture, "en-us")}} {
		if m[1] != "" {
			x.printf("> !# @app.%s = %s\n", m[0], m[1])
		}
	}
	for _, in := range p.Intents {
		x.intent(in)
	}
	x.printf("\n")
	for _, d := range p.Entities {
		x.definition(d)
	}
	for _, l := range p.Phrases {
		x.phrases(l)
	}
	return []byte(x.b.String()), x.lost, nil
}

func luCheckNames(p *Project) error {
	var out Problems
	check := func(what, name string) {
		if strings.ContainsAny(name, `"=,`) || strings.HasPrefix(name, "'") || strings.HasPrefix(name, "@") || luWords.MatchString(" "+name+" ") {
			out = append(out, Problem{File: what + " " + clip(name), Text: "a .lu file can't hold this name", Hint: "give it one of letters, digits and blanks"})
		}
	}
	var walk func(ds []Definition)
	walk = func(ds []Definition) {
		for _, d := range ds {
			check("entity", d.Name)
			for _, r := range d.Roles {
				check("role", r)
			}
			walk(d.Children)
		}
	}
	walk(p.Entities)
	for _, l := range p.Phrases {
		check("phrase list", l.Name)
	}
	for _, in := range p.Intents {
		if check("intent", in.Name); strings.HasPrefix(in.Name, "?") || strings.HasPrefix(in.Name, "#") {
			out = append(out, Problem{File: "intent " + clip(in.Name), Text: "a .lu file takes this name for something else", Hint: "begin it with a letter"})
		}
	}
	return out.Err()
}

type luWriter struct {
	luisExporter
	b strings.Builder
}

func (x *luWriter) printf(format string, args ...any) { fmt.Fprintf(&x.b, format, args...) }

func (x *luWriter) intent(in Intent) {
	x.printf("\n# %s\n", in.Name)
	if in.Description != "" {
		x.lost.add("intent "+clip(in.Name), "its description", ".lu files have none")
	}
	if len(in.Tests) > 0 {
		x.lost.add("intent "+clip(in.Name), fmt.Sprintf("%d tests", len(in.Tests)), ".lu files hold none")
	}
	for _, u := range in.Utterances {
		line, ok := x.line(u)
		if back, err := parseLULine(line); !ok || err != nil || back.Text != u.Text || luPattern(line) {
			x.lost.add("intent "+clip(in.Name), clip(u.Text), "a .lu file can't hold this line: it has breaks, blanks around it, or labels it has no form for")
			continue
		}
		x.printf("- %s\n", line)
	}
	for _, t := range in.Patterns {
		if !luPattern(t) || strings.ContainsAny(t, "\r\n") {
			x.lost.add("intent "+clip(in.Name), "pattern "+clip(t), "it has nothing of a pattern, and would be an utterance in a .lu file")
			continue
		}
		x.printf("- %s\n", t)
	}
	if len(in.Uses) > 0 {
		x.printf("\n@ intent %s usesFeature %s\n", luQuote(in.Name), luNames(in.Uses))
	}
}

// line writes an utterance with its labels. ok is false for a label that would
// mean something else when it is read again.
func (x *luWriter) line(u Utterance) (string, bool) {
	var b strings.Builder
	text := []rune(u.Text)
	ok := !strings.ContainsAny(u.Text, "\r\n") && strings.TrimSpace(u.Text) == u.Text
	names := x.luNames(u.Marks)
	var open []Entity
	next := 0
	for i := 0; ; i++ {
		for n := len(open); n > 0 && open[n-1].End == i; n-- {
			b.WriteByte('}')
			open = open[:n-1]
		}
		for next < len(u.Marks) && u.Marks[next].Start == i {
			m := u.Marks[next]
			ok = ok && names[next] != "" && !unicode.IsSpace(text[m.Start]) && !unicode.IsSpace(text[m.End-1])
			b.WriteString("{@" + names[next])
			if m.Role != "" {
				b.WriteString(":" + luQuote(m.Role))
			}
			b.WriteByte('=')
			open = append(open, m)
			next++
		}
		if i == len(text) {
			return b.String(), ok
		}
		if strings.ContainsRune(`{}[]()|\^`, text[i]) {
			b.WriteByte('\\')
		}
		b.WriteRune(text[i])
	}
}

// luNames are the names of an utterance's marks in a .lu file, "" where there
// is none: a child outside of its parent is found by its name alone, if that
// is the only one.
func (x *luWriter) luNames(marks []Entity) []string {
	out := make([]string, len(marks))
	for i, m := range x.p.unresolve(marks) {
		short := m.Type
		if at := strings.LastIndexByte(short, '/'); at >= 0 {
			short = short[at+1:]
			back := Entity{Type: short}
			if _, ok := x.p.Definition(short); ok || !x.p.meansLU(&back) || back.Type != m.Type || back.Role != "" {
				continue
			}
		}
		if n, ok := x.names[short]; ok {
			short = n
		}
		out[i] = luQuote(short)
	}
	return out
}

// luQuote puts quotes around a name that needs them.
func luQuote(s string) string {
	if strings.ContainsAny(s, " \t,=") {
		return `"` + s + `"`
	}
	return s
}

func luNames(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = luQuote(n)
	}
	return strings.Join(out, ",")
}

func (x *luWriter) definition(d Definition) {
	kept := x.oneFinder(d)
	if kept == "prebuilt" {
		if _, ok := x.prebuiltName(d); !ok {
			kept = ""
		}
	}
	kinds := map[string]string{"": "ml", "children": "ml", "parts": "composite", "values": "list", "prebuilt": "prebuilt", "pattern": "regex", "any": "patternany"}
	x.printf("@ %s %s", kinds[kept], luQuote(x.name(d.Name)))
	if len(d.Roles) > 0 {
		x.printf(" hasRoles %s", luNames(d.Roles))
	}
	if len(d.Uses) > 0 {
		x.printf(" usesFeatures %s", luNames(d.Uses))
	}
	switch kept {
	case "children":
		x.printf(" =\n")
		x.children(d, "    ")
		return
	case "parts":
		x.printf(" = [%s]", luNames(d.Parts))
	case "pattern":
		x.printf(" = /%s/", d.Patterns[0])
		for _, p := range d.Patterns[1:] {
			x.lost.add("entity "+clip(d.Name), "pattern "+clip(p), "a .lu file has one pattern for an entity")
		}
	case "values":
		x.printf(" =\n")
		for _, v := range d.Values {
			x.value(d, v)
		}
		return
	case "any":
		if len(d.Explicit) > 0 {
			x.lost.add("entity "+clip(d.Name), "explicit", ".lu files have none")
		}
	}
	x.printf("\n")
}

func (x *luWriter) value(d Definition, v Value) {
	x.printf("    - %s :\n", v.Name)
	words := x.words("entity "+clip(d.Name), v.Synonyms)
	if len(words) > 0 {
		x.printf("        - %s\n", strings.Join(words, ", "))
	}
}

// words drops what can't stand between commas.
func (x *luWriter) words(where string, words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(s string) bool {
		bad := strings.ContainsAny(s, ",\r\n") || unquote(s) != s || s == ""
		if bad {
			x.lost.add(where, clip(s), ".lu files separate words with commas and take quotes and blanks around them away")
		}
		return bad
	})
}

func (x *luWriter) children(d Definition, indent string) {
	for _, c := range d.Children {
		kind := cmp.Or(c.Of, "ml")
		if c.Of == "" && len(c.Prebuilts) > 0 {
			kind = luisPrebuiltNames[prebuilt.Kind(c.Prebuilts[0])]
		}
		x.childLoses(d, c)
		x.printf("%s- @ %s %s", indent, luQuote(kind), luQuote(c.Name))
		if len(c.Uses) > 0 {
			x.printf(" usesFeatures %s", luNames(c.Uses))
		}
		if len(c.Children) > 0 {
			x.printf(" =")
		}
		x.printf("\n")
		x.children(c, indent+"    ")
	}
}

func (x *luWriter) phrases(l Phrases) {
	x.printf("@ phraselist %s", luQuote(l.Name))
	if l.Synonyms {
		x.printf("(interchangeable)")
	}
	if l.Local {
		x.printf(" disabledForAllModels")
	}
	if l.Off {
		x.printf(" disabled")
	}
	x.printf(" =\n")
	if words := x.words("phrase list "+clip(l.Name), l.Words); len(words) > 0 {
		x.printf("    - %s\n", strings.Join(words, ","))
	}
}

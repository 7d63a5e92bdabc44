package corpus

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// luWords matches the words that a definition may go on with after its name.
var luWords = regexp.MustCompile(`\s(hasRoles?|usesFeatures?)\s`)

// definition reads what follows an @: the kind, the name, roles, features and
// what stands after = or in the lines below.
func (l *luReader) definition(s string) {
	l.item = nil
	head, body, hasBody := cutOutside(s, '=')
	kind, rest, _ := strings.Cut(strings.TrimSpace(head), " ")
	kind = strings.ToLower(kind)
	name, rest := cutName(strings.TrimSpace(rest))
	if !slices.Contains([]string{"ml", "simple", "prebuilt", "regex", "list", "composite", "patternany", "phraselist", "intent"}, kind) {
		name, rest = cutName(strings.TrimSpace(head)) // more about one that is defined already
		kind = ""
	}
	if kind == "phraselist" {
		l.phraseList(name, rest, body)
		return
	}
	roles, uses := luTail(rest)
	if kind == "intent" {
		if name = l.luName(name); name != "" {
			in := l.draft.intent(name)
			in.Uses = append(in.Uses, uses...)
			l.laterUses(l.place, uses)
		}
		return
	}
	if kind == "prebuilt" {
		names := []string{name}
		if strings.HasPrefix(rest, ",") { // several on one line, then without roles
			names, roles = append(names, fields(rest[1:])...), nil
		}
		for _, n := range names {
			l.prebuilt(n, roles)
		}
		return
	}
	d := l.entity(name, kind != "")
	if d == nil {
		return
	}
	d.Roles, d.Uses = append(d.Roles, roles...), append(d.Uses, uses...)
	name = d.Name
	body = strings.TrimSpace(body)
	switch kind {
	case "regex":
		l.regex(d, body)
	case "composite":
		d.Parts = append(d.Parts, fields(strings.Trim(body, "[] "))...)
	case "patternany":
		d.Any = true
	case "list":
		l.item = l.listItems(name)
	default:
		if hasBody {
			l.item = l.children(name)
		}
	}
}

// entity returns the entity of that name. A new one has to be new.
func (l *luReader) entity(name string, isNew bool) *Definition {
	if name = l.luName(name); name == "" {
		return nil
	}
	if d, ok := definition(l.project.Entities, name); ok && (!isNew || l.importing) {
		return d
	}
	if !isNew {
		l.sayf(l.place, "write its kind before it: @ ml "+name, "there is no entity %q yet", clip(name))
		return nil
	}
	if !l.define(l.place, name) {
		return nil
	}
	l.project.Entities = append(l.project.Entities, Definition{Name: name})
	return &l.project.Entities[len(l.project.Entities)-1]
}

func (l *luReader) prebuilt(name string, roles []string) {
	d := l.entity(name, true)
	if d == nil {
		return
	}
	d.Roles = append(d.Roles, roles...)
	k, ok := prebuiltKind(unquote(name))
	if !ok {
		l.cannot(l.place, "prebuilt "+clip(name), "there is no recogniser for it; it is learned from its labels now")
		return
	}
	d.Prebuilts = []string{string(k)}
}

func (l *luReader) regex(d *Definition, body string) {
	re := strings.TrimSuffix(strings.TrimPrefix(body, "/"), "/")
	if re == "" {
		l.item = func(_ int, text string) {
			if d, ok := definition(l.project.Entities, d.Name); ok {
				l.regex(d, text)
			}
		}
		return
	}
	if err := checkPatternSyntax(re); err != nil {
		l.cannot(l.place, "regular expression of "+d.Name, err.Error())
		return
	}
	d.Patterns = append(d.Patterns, re)
}

// listItems takes a list's lines: "- canonical :" and, deeper, "- synonyms".
func (l *luReader) listItems(entity string) func(int, string) {
	outer := -1
	return func(indent int, text string) {
		d, ok := definition(l.project.Entities, entity)
		if !ok {
			return
		}
		if name, ok := strings.CutSuffix(text, ":"); ok || outer < 0 || indent <= outer {
			outer = indent
			d.Values = append(d.Values, Value{Name: unquote(strings.TrimSpace(name))})
			return
		}
		v := &d.Values[len(d.Values)-1]
		v.Synonyms = append(v.Synonyms, fields(text)...)
	}
}

// children takes the lines below an entity: "- @ ml street", deeper for more.
func (l *luReader) children(entity string) func(int, string) {
	type level struct {
		indent int
		path   string
	}
	levels := []level{{-1, entity}}
	return func(indent int, text string) {
		body, ok := strings.CutPrefix(text, "@")
		kind, rest, _ := strings.Cut(strings.TrimSpace(body), " ")
		name, rest := cutName(strings.TrimSpace(strings.TrimSuffix(rest, "=")))
		if !ok || name == "" {
			l.sayf(l.place, "", "%q is no child of an entity: write - @ ml name", clip(text))
			return
		}
		for levels[len(levels)-1].indent >= indent {
			levels = levels[:len(levels)-1]
		}
		if len(levels) > mostDepth {
			l.sayf(l.place, "", "children stand in children more than %d deep", mostDepth)
			return
		}
		parent, found := definition(l.project.Entities, levels[len(levels)-1].path)
		c := Definition{Name: l.luName(name)}
		if !found || c.Name == "" {
			return
		}
		c.Roles, c.Uses = luTail(rest)
		if k := unquote(kind); k != "ml" && k != "simple" {
			c.Of = k
		}
		path := levels[len(levels)-1].path + "/" + c.Name
		levels = append(levels, level{indent, path})
		if !l.define(l.place, path) {
			return
		}
		parent.Children = append(parent.Children, c)
		if at := l.place; c.Of != "" {
			l.later = append(l.later, laterCheck{at, func(p *Project) error { return l.instance(p, at, path) }})
		}
	}
}

// instance settles what a child is an instance of, now that all entities are
// known: one of them, a prebuilt kind, or nothing that there is.
func (l *luReader) instance(p *Project, at place, path string) error {
	c, ok := p.Definition(path)
	if !ok {
		return nil // its parent was refused
	}
	if _, ok := p.Definition(c.Of); ok {
		return nil
	}
	if k, ok := prebuiltKind(c.Of); ok {
		c.Prebuilts, c.Of = []string{string(k)}, ""
		return nil
	}
	l.cannot(at, "instance of "+clip(c.Of), "it names neither an entity nor a prebuilt kind; the child is learned from its labels now")
	c.Of = ""
	return nil
}

// phraseList reads a phrase list: its words stand after = or below.
func (l *luReader) phraseList(name, flags, body string) {
	name, inner, _ := strings.Cut(name, "(")
	list := Phrases{Name: l.luName(name)}
	flags = strings.ToLower(inner + " " + flags)
	list.Synonyms = strings.Contains(flags, "interchangeable")
	list.Local = strings.Contains(flags, "disabledforallmodels")
	list.Off = slices.Contains(strings.Fields(flags), "disabled")
	list.Words = fields(strings.TrimPrefix(strings.TrimSpace(body), "- "))
	if list.Name == "" || !l.define(l.place, list.Name) {
		return
	}
	at := len(l.project.Phrases)
	l.project.Phrases = append(l.project.Phrases, list)
	l.item = func(_ int, text string) {
		l.project.Phrases[at].Words = append(l.project.Phrases[at].Words, fields(text)...)
	}
}

// oldDefinition reads $name:kind, the form of the first version.
func (l *luReader) oldDefinition(name, value string) {
	l.item = nil
	value = strings.TrimSpace(value)
	roles := ""
	if at := strings.Index(strings.ToLower(value), "roles="); at >= 0 {
		value, roles = strings.TrimSpace(value[:at]), strings.Trim(value[at+6:], "[] ")
	}
	if name == "PREBUILT" {
		l.prebuilt(value, fields(roles))
		return
	}
	if kind, _, _ := strings.Cut(strings.ToLower(value), " "); kind == "phraselist" {
		l.phraseList(name, value[len(kind):], "")
		return
	}
	if list, ok := strings.CutSuffix(value, "="); ok {
		if _, exists := definition(l.project.Entities, name); !exists && l.entity(name, true) == nil {
			return
		}
		l.item = l.listItems(unquote(name))
		l.item(0, strings.TrimSpace(list)+":")
		inner := l.item
		l.item = func(_ int, text string) { inner(1, strings.TrimSuffix(text, ":")) }
		return
	}
	d := l.entity(name, true)
	if d == nil {
		return
	}
	d.Roles = append(d.Roles, fields(roles)...)
	switch {
	case strings.HasPrefix(value, "/"):
		l.regex(d, value)
	case strings.HasPrefix(value, "["):
		d.Parts = fields(strings.ReplaceAll(strings.Trim(value, "[] "), ";", ","))
	case value == "simple" || value == "":
	default:
		l.cannot(l.place, fmt.Sprintf("$%s:%s", clip(name), clip(value)), "it is none of simple, PhraseList, a list, a /pattern/ or a [composite]; it is learned from its labels now")
	}
}

// luTail reads what follows an entity's name.
func luTail(s string) (roles, uses []string) {
	s = " " + s + " "
	for len(s) > 0 {
		at := luWords.FindStringIndex(s)
		word := ""
		now := s
		if at != nil && at[0] == 0 {
			word, now = strings.TrimSpace(s[:at[1]]), s[at[1]-1:]
			at = luWords.FindStringIndex(now)
		}
		if at != nil {
			now, s = now[:at[0]], now[at[0]:]
		} else {
			s = ""
		}
		if strings.HasPrefix(word, "uses") {
			uses = append(uses, fields(now)...)
		} else {
			roles = append(roles, fields(now)...)
		}
	}
	return roles, uses
}

// fields splits at commas and drops quotes, blanks and what is empty.
func fields(s string) []string {
	var out []string
	for f := range strings.SplitSeq(s, ",") {
		if f = unquote(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// cutName cuts a name, which may stand in quotes, from what follows.
func cutName(s string) (name, rest string) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		if end := strings.IndexByte(s[1:], s[0]); end >= 0 {
			return s[1 : end+1], strings.TrimSpace(s[end+2:])
		}
	}
	if at := strings.IndexAny(s, " \t,"); at >= 0 {
		return s[:at], strings.TrimSpace(s[at:])
	}
	return s, ""
}

// cutOutside cuts at the first sep outside of quotes.
func cutOutside(s string, sep byte) (before, after string, found bool) {
	var quote byte
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && (i == 0 || s[i-1] == ' ' || s[i-1] == ','):
			quote = c
		case c == sep:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

package corpus

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// ImportLU reads a .lu file, and the .lu files that it includes, as a project.
func ImportLU(fsys fs.FS, name string) (*Project, []Lost, error) {
	d := &draft{importing: true, includes: []string{name}}
	size := 0
	for i := 0; i < len(d.includes); i++ { //nolint:intrange // files add to it as they are read
		if i == mostFiles {
			return nil, nil, Problems{{File: name, Text: fmt.Sprintf("it includes more than %d files", mostFiles)}}
		}
		b, err := readFile(fsys, d.includes[i])
		if size += len(b); size > mostBytes {
			err = fmt.Errorf("the files together have more than %d MiB", mostBytes>>20)
		}
		if err != nil {
			return nil, nil, Problems{{File: d.includes[i], Text: err.Error()}}
		}
		d.readLU(d.includes[i], b)
	}
	p, err := d.finish()
	return p, d.lost, err
}

// luReader reads the lines of one .lu file into a draft.
type luReader struct {
	*draft
	place
	intent string
	item   func(indent int, text string) // takes the lines that begin with -
	skip   bool                          // in a question with its answer
	fenced bool
}

// readLU reads one .lu file.
func (d *draft) readLU(name string, b []byte) {
	l := luReader{draft: d, place: place{file: name}}
	for line := range strings.SplitSeq(strings.TrimPrefix(string(b), "\ufeff"), "\n") {
		l.line++
		l.take(strings.TrimRight(line, " \t\r"))
	}
}

var (
	luInclude = regexp.MustCompile(`^\[[^\]]*\]\(([^)]*)\)$`)
	luMeta    = regexp.MustCompile(`^>\s*!#\s*@([A-Za-z_.]+)\s*=\s*(.*)$`)
	luOld     = regexp.MustCompile(`^\$([^:]+?)\s*:\s*(.*)$`)
)

func (l *luReader) take(line string) {
	text := strings.TrimSpace(line)
	if strings.HasPrefix(text, "```") {
		l.fenced = !l.fenced && !strings.HasSuffix(text[3:], "```")
		return
	}
	switch {
	case l.fenced || text == "":
	case text[0] == '>':
		if m := luMeta.FindStringSubmatch(text); m != nil {
			l.meta(m[1], strings.TrimSpace(m[2]))
		}
	case text[0] == '#':
		l.heading(strings.TrimSpace(strings.TrimLeft(text, "#")))
	case text[0] == '@':
		l.skip = false
		l.definition(strings.TrimSpace(text[1:]))
	case text[0] == '$' && luOld.MatchString(text):
		l.skip = false
		m := luOld.FindStringSubmatch(text)
		l.oldDefinition(strings.TrimSpace(m[1]), m[2])
	case luInclude.MatchString(text):
		l.include(luInclude.FindStringSubmatch(text)[1])
	case strings.ContainsRune("-*+", rune(text[0])) && !l.skip && (len(text) == 1 || text[1] == ' ' || text[1] == '\t'):
		indent := len(strings.ReplaceAll(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t", "    "))
		l.listed(indent, strings.TrimSpace(text[1:]))
	case l.skip:
	default:
		l.sayf(l.place, "a line begins with # - @ $ > or [", "%q is nothing that a .lu file can hold", clip(text))
	}
}

func (l *luReader) listed(indent int, text string) {
	switch {
	case text == "":
		l.sayf(l.place, "remove the line", "there is nothing after the -")
	case luInclude.MatchString(text):
		l.cannot(l.place, clip(text), "taking single utterances out of another file is not supported")
	case l.item == nil:
		l.sayf(l.place, "write `# INTENT` above it", "%q belongs to no intent and no entity", clip(text))
	default:
		l.item(indent, text)
	}
}

func (l *luReader) meta(key, value string) {
	set := func(into *string) {
		if *into == "" {
			*into = value
		}
	}
	switch key {
	case "app.name":
		set(&l.project.Name)
	case "app.desc":
		set(&l.project.Description)
	case "app.versionId":
		set(&l.project.Version)
	case "app.culture":
		l.say(l.place, checkCulture(value))
		set(&l.project.Culture)
	case "app.luis_schema_version":
	default:
		l.cannot(l.place, "@"+key, "a project has no such setting")
	}
}

func (l *luReader) heading(text string) {
	l.item = nil
	if l.skip = strings.HasPrefix(text, "?"); l.skip {
		l.cannot(l.place, "question "+clip(text), "questions with answers are no part of a project")
		return
	}
	l.intent = l.luName(text)
	if l.intent == "" {
		return
	}
	l.draft.intent(l.intent)
	l.item = func(_ int, text string) { l.utterance(text) }
}

func (l *luReader) include(target string) {
	if strings.ContainsAny(target, "#*") || path.Ext(target) != ".lu" || strings.Contains(target, "://") {
		l.cannot(l.place, "include of "+clip(target), "only whole .lu files can be included")
		return
	}
	name := path.Join(path.Dir(l.file), strings.ReplaceAll(target, `\`, "/"))
	if !fs.ValidPath(name) {
		l.cannot(l.place, "include of "+clip(target), "it is outside of the folder")
		return
	}
	if !slices.Contains(l.includes, name) {
		l.includes = append(l.includes, name)
	}
}

// luName reads a name, which may stand in quotes.
func (l *luReader) luName(s string) string {
	s = unquote(s)
	clean := cleanName(s)
	if clean == "" {
		l.sayf(l.place, "", "a name is missing")
		return ""
	}
	if clean != s {
		l.cannot(l.place, "the name "+clip(s), fmt.Sprintf("it has characters that names can't have; it is %q now", clean))
	}
	return clean
}

func unquote(s string) string {
	s = strings.TrimSpace(s)
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

func (l *luReader) utterance(text string) {
	s := saying{place: l.place, intent: l.intent, lu: true}
	if luPattern(text) {
		s.kind, s.u.Text = asPattern, strings.ReplaceAll(text, "{@", "{")
		if _, err := ParsePattern(s.u.Text); err != nil {
			l.say(l.place, err)
			return
		}
		l.said = append(l.said, s)
		return
	}
	var err error
	if s.u, err = parseLULine(text); err != nil {
		l.say(l.place, err)
		return
	}
	l.said = append(l.said, s)
}

// luPattern tells templates from utterances: they have a placeholder without a
// value, an option, alternatives or an anchor.
func luPattern(s string) bool {
	bar, group, square := false, false, false
	var braces []bool // for each open one, whether it has a value
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			braces = append(braces, false)
		case '=':
			if n := len(braces); n > 0 {
				braces[n-1] = true
			}
		case '}':
			n := len(braces)
			if n > 0 && !braces[n-1] {
				return true
			}
			braces = braces[:max(0, n-1)]
		case '(':
			group = true
		case '|':
			bar = bar || group
		case ')':
			if bar {
				return true
			}
			group = false
		case '[':
			square = true
		case ']':
			if square {
				return true
			}
		}
	}
	return strings.HasPrefix(s, "^") || strings.HasSuffix(s, "^")
}

// parseLULine reads an utterance with labels: {@name=text}, {@name:role=text},
// and labels in labels.
func parseLULine(s string) (Utterance, error) {
	var text []rune
	var marks []Entity
	var open []int
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		switch {
		case r == '\\' && s != "" && strings.ContainsRune(`{}[]()|\^`, rune(s[0])):
			text, s = append(text, rune(s[0])), s[1:]
		case r == '{':
			name, value, ok := strings.Cut(s, "=")
			if !ok || strings.ContainsAny(name, "{}") {
				return Utterance{}, fmt.Errorf(`{ has no "name=": write {@name=text}, or \{ for the brace itself`)
			}
			m := Entity{Start: len(text)}
			m.Type, m.Role, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(name), "@"), ":")
			m.Type, m.Role = cleanName(unquote(m.Type)), cleanName(unquote(m.Role))
			open, marks = append(open, len(marks)), append(marks, m)
			s = strings.TrimLeft(value, " \t")
		case r == '}':
			if len(open) == 0 {
				return Utterance{}, fmt.Errorf(`} closes nothing: write \} for the brace itself`)
			}
			m := &marks[open[len(open)-1]]
			for m.End = len(text); m.End > m.Start && unicode.IsSpace(text[m.End-1]); m.End-- {
			}
			open = open[:len(open)-1]
		default:
			text = append(text, r)
		}
	}
	if len(open) > 0 {
		return Utterance{}, fmt.Errorf("{ has no }")
	}
	u := Utterance{Text: string(text), Marks: marks}
	return u, u.check()
}

// resolveLU finds what the names in an utterance or pattern mean: an entity,
// the child of the label around it, a role, or the only child of that name.
// Anything else becomes an entity: learned, or any text in a pattern.
func (p *Project) resolveLU(s *saying) {
	if s.kind == asPattern {
		found, err := ParsePattern(s.u.Text)
		if err != nil {
			return // finish says so
		}
		for _, m := range found {
			if !p.meansLU(&m) {
				p.Entities = append(p.Entities, Definition{Name: m.Type, Any: true})
			}
		}
		return
	}
	p.resolve(s.u.Marks)
	for i := range s.u.Marks {
		if m := &s.u.Marks[i]; !p.meansLU(m) {
			p.Entities = append(p.Entities, Definition{Name: m.Type})
		}
		if d, ok := p.Definition(s.u.Marks[i].Type); ok && s.u.Marks[i].Role != "" && !slices.Contains(d.Roles, s.u.Marks[i].Role) {
			d.Roles = append(d.Roles, s.u.Marks[i].Role)
		}
	}
}

func (p *Project) meansLU(m *Entity) bool {
	if _, ok := p.Definition(m.Type); ok {
		return true
	}
	var children []string
	var walk func(prefix string, ds []Definition)
	walk = func(prefix string, ds []Definition) {
		for _, d := range ds {
			if m.Role == "" && slices.Contains(d.Roles, m.Type) {
				m.Type, m.Role = prefix+d.Name, m.Type
				return
			}
			if prefix != "" && d.Name == m.Type {
				children = append(children, prefix+d.Name)
			}
			walk(prefix+d.Name+"/", d.Children)
		}
	}
	name := m.Type
	walk("", p.Entities)
	if m.Type == name && len(children) == 1 {
		m.Type = children[0]
	}
	return m.Type != name
}

// prebuiltKind says which of our kinds another product's prebuilt entity is.
func prebuiltKind(name string) (prebuilt.Kind, bool) {
	k, ok := map[string]prebuilt.Kind{
		"number": prebuilt.Number, "ordinal": prebuilt.Ordinal, "ordinalv2": prebuilt.Ordinal,
		"percentage": prebuilt.Percentage, "money": prebuilt.Money,
		"datetimev2": prebuilt.Datetime, "datetime": prebuilt.Datetime, "email": prebuilt.Email,
		"url": prebuilt.URL, "phonenumber": prebuilt.Phone,
		"quantity.number": prebuilt.Number, "quantity.ordinal": prebuilt.Ordinal, "quantity.percentage": prebuilt.Percentage,
		"quantity.currency": prebuilt.Money, "phone number": prebuilt.Phone,
	}[strings.ToLower(name)]
	return k, ok
}

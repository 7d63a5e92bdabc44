package corpus

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// importer builds a project out of another product's words. What does not fit
// is renamed or left out, and listed.
type importer struct {
	p       Project
	lost    losses
	at      map[string]int    // of intents
	renamed map[string]string // names that had characters we don't have
}

func newImporter(name, desc, culture, version string) *importer {
	in := &importer{at: map[string]int{}, renamed: map[string]string{}}
	if culture != "" && checkCulture(culture) != nil {
		in.lost.add("culture", clip(culture), "it names no language")
		culture = ""
	}
	in.p = Project{Name: strings.TrimSpace(name), Description: desc, Culture: culture, Version: version}
	return in
}

// name makes a name out of another product's, the same one each time.
func (in *importer) name(what, s string) string {
	if checkName(s) == nil {
		return s
	}
	if n, ok := in.renamed[s]; ok {
		return n
	}
	n := cleanName(s)
	if n == "" {
		in.lost.add("", what+" without a name", "everything needs one")
	} else {
		in.lost.add("", what+" "+clip(s), "names have no such characters here: it is %q now", n)
	}
	in.renamed[s] = n
	return n
}

// path makes the path of an entity, or of a child of parent.
func (in *importer) path(parent, s string) string {
	var steps []string
	for step := range strings.SplitSeq(s, "/") {
		steps = append(steps, cleanName(step))
	}
	path := strings.Join(steps, "/")
	for parent != "" {
		if _, ok := in.p.Definition(parent + "/" + path); ok {
			return parent + "/" + path
		}
		parent = parent[:max(0, strings.LastIndexByte(parent, '/'))]
	}
	return path
}

// intent returns the intent of that name, or nil if it can have none.
func (in *importer) intent(name string) *Intent {
	name = in.name("intent", name)
	if name == "" {
		return nil
	}
	i, ok := in.at[name]
	if !ok {
		i = len(in.p.Intents)
		in.at[name] = i
		in.p.Intents = append(in.p.Intents, Intent{Name: name})
	}
	return &in.p.Intents[i]
}

// define adds an entity with its children. A second one of the same name adds
// to the first, as products with one name for several things mean it.
func (in *importer) define(d Definition) {
	if d = in.clean(d); d.Name == "" {
		return
	}
	for i := range in.p.Entities {
		have := &in.p.Entities[i]
		if have.Name != d.Name {
			continue
		}
		in.lost.add("entity "+d.Name, "its second definition", "one entity has one: they are together now")
		have.merge(d)
		return
	}
	in.p.Entities = append(in.p.Entities, d)
}

func (d *Definition) merge(o Definition) {
	d.Roles = union(d.Roles, o.Roles)
	d.Uses = union(d.Uses, o.Uses)
	d.Patterns = union(d.Patterns, o.Patterns)
	d.Prebuilts = union(d.Prebuilts, o.Prebuilts)
	d.Parts = union(d.Parts, o.Parts)
	d.Explicit = union(d.Explicit, o.Explicit)
	d.Any = d.Any || o.Any
	for _, v := range o.Values {
		if i := slices.IndexFunc(d.Values, func(h Value) bool { return h.Name == v.Name }); i >= 0 {
			d.Values[i].Synonyms = union(d.Values[i].Synonyms, v.Synonyms)
			continue
		}
		d.Values = append(d.Values, v)
	}
	for _, c := range o.Children {
		if _, ok := definition(d.Children, c.Name); !ok {
			d.Children = append(d.Children, c)
		}
	}
}

// union adds to a what it lacks of b.
func union(a, b []string) []string {
	have := map[string]bool{}
	for _, s := range a {
		have[s] = true
	}
	for _, s := range b {
		if !have[s] {
			have[s] = true
			a = append(a, s)
		}
	}
	return a
}

// clean brings the names in a definition into our form.
func (in *importer) clean(d Definition) Definition {
	d.Name = in.name("entity", d.Name)
	roles, children := d.Roles, d.Children
	d.Roles, d.Children = nil, nil
	for _, r := range roles {
		if r = in.name("role", r); r != "" {
			d.Roles = union(d.Roles, []string{r})
		}
	}
	for i := range d.Parts {
		d.Parts[i] = in.path("", d.Parts[i])
	}
	for i := range d.Uses {
		d.Uses[i] = in.path("", d.Uses[i])
	}
	if d.Of != "" {
		d.Of = in.path("", d.Of)
	}
	for _, c := range children {
		c = in.clean(c)
		if _, ok := definition(d.Children, c.Name); c.Name != "" && !ok {
			d.Children = append(d.Children, c)
		}
	}
	return d
}

// cleanValues brings together what stands under one name.
func (in *importer) cleanValues(d *Definition) {
	at := map[string]int{}
	values := d.Values
	d.Values = nil
	for _, v := range values {
		v.Name = strings.TrimSpace(v.Name)
		if v.Name == "" {
			in.lost.add("entity "+clip(d.Name), "a value without a name", "everything needs one")
			continue
		}
		i, ok := at[v.Name]
		if !ok {
			i = len(d.Values)
			at[v.Name] = i
			d.Values = append(d.Values, Value{Name: v.Name})
		}
		for k := range v.Synonyms {
			v.Synonyms[k] = strings.TrimSpace(v.Synonyms[k])
		}
		d.Values[i].Synonyms = slices.DeleteFunc(union(d.Values[i].Synonyms, v.Synonyms), func(s string) bool { return s == "" || s == v.Name })
	}
}

func (in *importer) addPattern(d *Definition, re string) {
	if err := checkPatternSyntax(re); err != nil {
		in.lost.add("entity "+clip(d.Name), "regular expression "+clip(re), "%v", err)
		return
	}
	d.Patterns = union(d.Patterns, []string{re})
}

func (in *importer) addPrebuilt(d *Definition, name string) {
	k, ok := prebuiltKind(name)
	if !ok {
		in.lost.add("entity "+clip(d.Name), "prebuilt "+clip(name), "there is no recogniser for it; the entity is learned from its labels now")
		return
	}
	d.Prebuilts = union(d.Prebuilts, []string{string(k)})
}

// definePhrases adds a phrase list. finish sees to its name.
func (in *importer) definePhrases(l Phrases) {
	if l.Name = in.name("phrase list", l.Name); l.Name != "" {
		in.p.Phrases = append(in.p.Phrases, l)
	}
}

// namePhrases gives phrase lists names that nothing else has, now that every
// entity is known. Other products keep the two apart.
func (in *importer) namePhrases() {
	lists := in.p.Phrases
	in.p.Phrases = nil
	taken := map[string]bool{}
	for _, d := range in.p.Entities {
		taken[d.Name] = true
	}
	for _, l := range lists {
		was := l.Name
		for taken[l.Name] {
			l.Name += " words"
		}
		switch {
		case checkName(l.Name) != nil:
			in.lost.add("", "phrase list "+clip(was), "something else has this name, and there is no short one left for it")
			continue
		case l.Name != was:
			in.lost.add("", "phrase list "+clip(was), "something else has this name: it is %q now", l.Name)
		}
		taken[l.Name] = true
		in.p.Phrases = append(in.p.Phrases, l)
	}
}

func (in *importer) pattern(where, intent, text string) {
	if i := in.intent(intent); i != nil {
		if err := in.p.checkPattern(text); err != nil {
			in.lost.add(where, "pattern "+clip(text), "%v", err)
			return
		}
		i.Patterns = append(i.Patterns, text)
	}
}

// utterance adds what somebody said, with as many of its marks as can stand.
func (in *importer) utterance(where, intent string, u Utterance, split Split) {
	i := in.intent(intent)
	if i == nil {
		in.lost.add(where, "utterance "+clip(u.Text), "it has no intent")
		return
	}
	if !utf8.ValidString(u.Text) {
		u.Text = strings.ToValidUTF8(u.Text, "\ufffd")
	}
	marks := u.Marks
	u.Marks = nil
	if err := u.check(); err != nil {
		in.lost.add(where, "utterance "+clip(u.Text), "%v", err)
		return
	}
	for k := range marks {
		in.known(where, &marks[k])
	}
	marks = slices.DeleteFunc(marks, func(m Entity) bool { return m.Type == "" })
	in.groupsFirst(marks)
	var dropped []Entity
	u.Marks, dropped = keepApart(u.Text, slices.Compact(marks))
	for _, m := range dropped {
		in.lost.add(where, "label "+clip(m.Type), "it crosses another label, or is empty, or there are more than %d", mostMarks)
	}
	if split == Test {
		i.Tests = append(i.Tests, u)
	} else {
		i.Utterances = append(i.Utterances, u)
	}
}

// groupsFirst sorts marks; of those on the same text composites come first,
// because the parts stand in them.
func (in *importer) groupsFirst(marks []Entity) {
	rank := func(m Entity) int {
		if d, ok := in.p.Definition(m.Type); ok && len(d.Parts) > 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(marks, func(a, b Entity) int { return cmp.Or(outerFirst(a, b), rank(a)-rank(b)) })
}

// known has the entity and the role of a label in the project.
func (in *importer) known(where string, m *Entity) {
	d, ok := in.p.Definition(m.Type)
	if !ok {
		name := in.name("entity", strings.ReplaceAll(m.Type, "/", "-"))
		if m.Type = name; name == "" {
			return
		}
		if d, ok = in.p.Definition(name); !ok {
			in.lost.add(where, "label "+clip(name), "the entity was not defined: it is a learned one now")
			in.define(Definition{Name: name})
			d, _ = in.p.Definition(name)
		}
	}
	if m.Role != "" {
		m.Role = in.name("role", m.Role)
	}
	if m.Role != "" && !slices.Contains(d.Roles, m.Role) {
		in.lost.add(where, "role "+clip(m.Role), "%s did not have it: it has now", m.Type)
		d.Roles = append(d.Roles, m.Role)
	}
}

// finish drops references to nothing, and returns a project that can be
// written and read again.
func (in *importer) finish() (*Project, []Lost, error) {
	p := &in.p
	in.namePhrases()
	drop := func(where string, uses []string) []string {
		return slices.DeleteFunc(uses, func(u string) bool {
			err := p.checkUses([]string{u})
			if err != nil {
				in.lost.add(clip(where), "feature "+clip(u), "it names nothing in the file")
			}
			return err != nil
		})
	}
	var walk func(ds []Definition)
	walk = func(ds []Definition) {
		for i := range ds {
			d := &ds[i]
			d.Uses = drop("entity "+d.Name, d.Uses)
			d.Parts = slices.DeleteFunc(d.Parts, func(part string) bool {
				_, ok := p.Definition(part)
				if !ok {
					in.lost.add("composite "+clip(d.Name), "part "+clip(part), "it names nothing in the file")
				}
				return !ok
			})
			if _, ok := p.Definition(d.Of); !ok && d.Of != "" {
				if k, known := prebuiltKind(d.Of); known {
					d.Prebuilts, d.Of = []string{string(k)}, ""
				} else {
					in.lost.add("entity "+clip(d.Name), "instance of "+clip(d.Of), "it names nothing in the file")
					d.Of = ""
				}
			}
			walk(d.Children)
		}
	}
	walk(p.Entities)
	for i := range p.Intents {
		p.Intents[i].Uses = drop("intent "+p.Intents[i].Name, p.Intents[i].Uses)
	}
	p.sort()
	return p, in.lost, p.Check()
}

// jsonOffset says where in the bytes a JSON error is.
func jsonOffset(err error) (int64, bool) {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset, true
	case errors.As(err, &kind):
		return kind.Offset, true
	}
	return 0, false
}

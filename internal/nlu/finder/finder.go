// Package finder finds the entities of a project in a text: it looks for the
// lists, patterns and prebuilt kinds that the project defines, and puts them
// together with what a model has learned to mark. What may live here: that,
// and matching a project's templates of whole utterances.
package finder

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// Kind says what found an entity.
type Kind int

// The kinds.
const (
	Learned Kind = iota
	Prebuilt
	List
	Regex
	Any
	Composite
	External // whoever asks found it
)

// Entity is a part of a text that means something.
type Entity struct {
	Start    int // Unicode code points
	End      int // Unicode code points, exclusive
	Name     string
	Role     string
	Kind     Kind
	Score    float64          // what the model gives it; 0: the model has no part in it
	Names    []string         // of a list's: the values that the text stands for
	Found    *prebuilt.Entity // of a prebuilt one: its kind and value
	Value    any              // of an external one: what came with it, nil for the text
	Children []Entity         // within Start and End
}

// Mark is what a model marked: an entity as Lessons names it.
type Mark struct {
	Start, End int // Unicode code points, End exclusive
	Type       string
	Score      float64
}

// Finder finds a project's entities. It is never changed and safe for use by
// many.
type Finder struct {
	p         *corpus.Project
	lists     lists
	more      *lists // of With, or nil
	patterns  []pattern
	kinds     []prebuilt.Kind // that any entity wants
	templates []template
}

// pattern is a regular expression with its entity.
type pattern struct {
	entity string
	re     *regexp.Regexp
}

// New prepares a project, which must not be changed afterwards.
func New(p *corpus.Project) (*Finder, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	f := &Finder{p: p, lists: lists{root: &node{}}}
	for _, d := range p.Entities {
		if err := f.add(d.Name, d); err != nil {
			return nil, err
		}
	}
	for _, in := range p.Intents {
		for _, s := range in.Patterns {
			t, err := newTemplate(p, in.Name, s)
			if err != nil {
				return nil, fmt.Errorf("intent %q: pattern %q: %w", in.Name, s, err)
			}
			f.templates = append(f.templates, t)
		}
	}
	return f, nil
}

// add prepares an entity and its children, which have finders of their own.
func (f *Finder) add(path string, d corpus.Definition) error {
	for _, v := range d.Values {
		if err := f.lists.add(path, v); err != nil {
			return fmt.Errorf("entity %q: %w", path, err)
		}
	}
	for _, s := range d.Patterns {
		re, err := regexp.Compile(s)
		if err != nil {
			return fmt.Errorf("entity %q: %w", path, err)
		}
		f.patterns = append(f.patterns, pattern{path, re})
	}
	for _, k := range d.Prebuilts {
		if !slices.Contains(f.kinds, prebuilt.Kind(k)) {
			f.kinds = append(f.kinds, prebuilt.Kind(k))
		}
	}
	for _, c := range d.Children {
		if err := f.add(path+"/"+c.Name, c); err != nil {
			return err
		}
	}
	return nil
}

// With returns a finder that knows more values of some lists, for a request or
// a conversation that brings its own. f stays as it is.
func (f *Finder) With(values map[string][]corpus.Value) (*Finder, error) {
	g := *f
	g.more = &lists{root: &node{}}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if d, ok := f.p.Definition(name); !ok || len(d.Values) == 0 {
			return nil, fmt.Errorf("there is no list entity %q", name)
		}
		for _, v := range values[name] {
			if err := g.more.add(name, v); err != nil {
				return nil, fmt.Errorf("entity %q: %w", name, err)
			}
		}
	}
	return &g, nil
}

// Lessons are the project's examples for a model that knows types only: one
// with a role is marked as "entity:role".
func Lessons(p *corpus.Project) []corpus.Example { return Joined(p.Examples()) }

// Joined brings the roles of examples into their types, in place.
func Joined(examples []corpus.Example) []corpus.Example {
	for i := range examples {
		for k := range examples[i].Entities {
			e := &examples[i].Entities[k]
			e.Type, e.Role = Join(e.Type, e.Role), ""
		}
	}
	return examples
}

// Join names an entity in a role as a model that knows types only has it.
func Join(name, role string) string {
	if role == "" {
		return name
	}
	return name + ":" + role
}

// Find returns the entities of a text: what the project's definitions find,
// with the role and score of the mark that overlaps it, what was only marked,
// and composites around them. Dates count from reference. Entities of
// different names may overlap, as they do in LUIS; Flat picks some that don't.
func (f *Finder) Find(text string, reference time.Time, marks []Mark) []Entity {
	found := f.candidates(text, reference)
	n := utf8.RuneCountInString(text)
	var top []Entity
	children := map[string][]Entity{} // by the name of the outermost parent
	for _, m := range marks {
		e, ok := f.marked(m, n, found)
		switch {
		case !ok:
		case strings.Contains(e.Name, "/"):
			parent, _, _ := strings.Cut(e.Name, "/")
			children[parent] = append(children[parent], e)
		default:
			top = append(top, e)
		}
	}
	for _, d := range f.p.Entities {
		for _, e := range found[d.Name] {
			if !slices.ContainsFunc(top, func(t Entity) bool { return t.Name == e.Name && overlap(t, e) }) {
				top = append(top, e)
			}
		}
		top = f.adopt(top, d.Name, children[d.Name])
	}
	top = f.composites(text, top)
	slices.SortStableFunc(top, inOrder)
	return top
}

func inOrder(a, b Entity) int {
	return cmp.Or(a.Start-b.Start, b.End-a.End, strings.Compare(a.Name, b.Name))
}

func overlap(a, b Entity) bool { return a.Start < b.End && b.Start < a.End }

// candidates are what the definitions find, by entity; of one entity the
// longest that are apart.
func (f *Finder) candidates(text string, reference time.Time) map[string][]Entity {
	out := map[string][]Entity{}
	add := func(e Entity) { out[e.Name] = append(out[e.Name], e) }
	f.lists.find(text, add)
	if f.more != nil {
		f.more.find(text, add)
	}
	runes := newRunes(text)
	for _, p := range f.patterns {
		for _, m := range p.re.FindAllStringIndex(text, -1) {
			if m[0] < m[1] {
				add(Entity{Start: runes.at(m[0]), End: runes.at(m[1]), Name: p.entity, Kind: Regex})
			}
		}
	}
	var pre []prebuilt.Entity
	if len(f.kinds) > 0 {
		pre = prebuilt.Find(text, reference, f.kinds...)
	}
	var walk func(prefix string, ds []corpus.Definition)
	walk = func(prefix string, ds []corpus.Definition) {
		for _, d := range ds {
			for i := range pre {
				if slices.Contains(d.Prebuilts, string(pre[i].Kind)) {
					add(Entity{Start: pre[i].Start, End: pre[i].End, Name: prefix + d.Name, Kind: Prebuilt, Found: &pre[i]})
				}
			}
			walk(prefix+d.Name+"/", d.Children)
		}
	}
	walk("", f.p.Entities)
	for name, es := range out {
		out[name] = longest(es)
	}
	return out
}

// longest keeps the longest of a list that are apart, in their order.
func longest(es []Entity) []Entity {
	if len(es) < 2 {
		return es
	}
	slices.SortStableFunc(es, func(a, b Entity) int { return cmp.Or((b.End-b.Start)-(a.End-a.Start), a.Start-b.Start) })
	return apart(es)
}

// apart keeps each that overlaps none of those before it, and sorts them.
func apart(es []Entity) []Entity {
	var kept []Entity // by place
	for _, e := range es {
		i, _ := slices.BinarySearchFunc(kept, e.Start, func(k Entity, start int) int { return k.Start - start })
		if i > 0 && kept[i-1].End > e.Start || i < len(kept) && kept[i].Start < e.End {
			continue
		}
		kept = slices.Insert(kept, i, e)
	}
	return kept
}

// marked makes an entity of a mark: what the definition finds there, with the
// mark's role, or the mark alone. ok is false for what the project does not
// know or what is off the text.
func (f *Finder) marked(m Mark, n int, found map[string][]Entity) (e Entity, ok bool) {
	name, role, _ := strings.Cut(m.Type, ":")
	d, known := f.p.Definition(name)
	if !known || m.Start < 0 || m.Start >= m.End || m.End > n {
		return Entity{}, false
	}
	e = Entity{Start: m.Start, End: m.End, Name: name, Role: role, Score: m.Score}
	switch {
	case d.Any:
		e.Kind = Any
	case len(d.Parts) > 0:
		e.Kind = Composite
	}
	best := -1
	from := found[name]
	if len(from) == 0 && d.Of != "" {
		from = found[d.Of] // a child that is an instance of another entity
	}
	for i, c := range from {
		if overlap(c, e) && (best < 0 || shared(c, e) > shared(from[best], e)) {
			best = i
		}
	}
	if best >= 0 {
		c := from[best]
		e.Start, e.End, e.Kind, e.Names, e.Found = c.Start, c.End, c.Kind, c.Names, c.Found
	}
	return e, true
}

func shared(a, b Entity) int { return min(a.End, b.End) - max(a.Start, b.Start) }

// adopt puts children into their parent: the marked one around them, or else
// one that reaches from the first to the last, where a child that comes again
// begins the next.
func (f *Finder) adopt(top []Entity, parent string, children []Entity) []Entity {
	slices.SortStableFunc(children, inOrder)
	var groups [][]Entity
	for _, c := range children {
		i := slices.IndexFunc(top, func(t Entity) bool { return t.Name == parent && t.Start <= c.Start && c.End <= t.End })
		if i >= 0 {
			top[i].Children = append(top[i].Children, c)
			continue
		}
		last := len(groups) - 1
		if last < 0 || slices.ContainsFunc(groups[last], func(o Entity) bool { return o.Name == c.Name }) {
			groups = append(groups, nil)
			last++
		}
		groups[last] = append(groups[last], c)
	}
	for _, g := range groups {
		e := Entity{Start: g[0].Start, Name: parent, Children: g}
		for _, c := range g {
			e.End, e.Score = max(e.End, c.End), max(e.Score, c.Score)
		}
		top = append(top, e)
	}
	return top
}

const farApart = 3 // words between the parts of a composite

// composites puts parts into the composite that was marked around them, or
// makes one of two or more different parts that stand together.
func (f *Finder) composites(text string, top []Entity) []Entity {
	for _, d := range f.p.Entities {
		if len(d.Parts) == 0 {
			continue
		}
		slices.SortStableFunc(top, inOrder)
		var group []int // of top
		var groups [][]int
		end := func() {
			if len(group) > 1 {
				groups = append(groups, group)
			}
			group = nil
		}
		for i, e := range top {
			if !slices.Contains(d.Parts, e.Name) {
				continue
			}
			if k := slices.IndexFunc(top, func(t Entity) bool { return t.Name == d.Name && t.Start <= e.Start && e.End <= t.End }); k >= 0 {
				top[k].Children = append(top[k].Children, e)
				top[i].Name = "" // it stands there now
				continue
			}
			if n := len(group); n > 0 {
				last := top[group[n-1]]
				again := slices.ContainsFunc(group, func(k int) bool { return top[k].Name == e.Name })
				if again || e.Start < last.End || wordsBetween(text, last.End, e.Start) > farApart {
					end()
				}
			}
			group = append(group, i)
		}
		end()
		for _, g := range groups {
			c := Entity{Start: top[g[0]].Start, End: top[g[len(g)-1]].End, Name: d.Name, Kind: Composite}
			for _, k := range g {
				c.Children = append(c.Children, top[k])
				c.Score = max(c.Score, top[k].Score)
				top[k].Name = ""
			}
			top = append(top, c)
		}
		top = slices.DeleteFunc(top, func(e Entity) bool { return e.Name == "" })
	}
	return top
}

func wordsBetween(text string, from, to int) int {
	r := []rune(text)
	return len(strings.Fields(string(r[from:to])))
}

// Flat picks entities that don't overlap, without composites and parents but
// with what stands in them: those that the model marked first, then the longer
// ones, then those that say more: a date is more than a number.
func Flat(es []Entity) []Entity {
	var out []Entity
	var walk func(es []Entity)
	walk = func(es []Entity) {
		for _, e := range es {
			if len(e.Children) > 0 {
				walk(e.Children)
				continue
			}
			out = append(out, e)
		}
	}
	walk(es)
	marked := func(e Entity) int {
		if e.Score > 0 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b Entity) int {
		return cmp.Or(marked(a)-marked(b), (b.End-b.Start)-(a.End-a.Start), plainness(a)-plainness(b), a.Start-b.Start)
	})
	return apart(out)
}

func plainness(e Entity) int {
	switch {
	case e.Found == nil:
		return 0
	case e.Found.Kind == prebuilt.Number:
		return 3
	case e.Found.Kind == prebuilt.Ordinal:
		return 2
	}
	return 1
}

// runes converts places in bytes, asked for in any order, to code points.
type runes []int

func newRunes(text string) runes {
	if utf8.RuneCountInString(text) == len(text) {
		return nil
	}
	r := make(runes, len(text)+1)
	n := 0
	for i := range text {
		r[i] = n
		n++
	}
	r[len(text)] = n
	return r
}

func (r runes) at(b int) int {
	if r == nil {
		return b
	}
	return r[b]
}

package corpus

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
	"github.com/parleyhq/parley/internal/yamlfile"
)

// Project is everything that a model is made from. Read makes it from a folder
// that people write and review; Import functions make it from other products'
// files. Intents are in the order of their names, definitions as they were
// written.
type Project struct {
	Name        string
	Description string
	Culture     string // language and perhaps region, "en" or "en-us"
	Version     string // whatever its people call it
	Intents     []Intent
	Entities    []Definition
	Phrases     []Phrases
}

// Intent is what somebody may want, and how they say it.
type Intent struct {
	Name        string
	Description string
	Uses        []string // entities and phrase lists that speak for this intent
	Utterances  []Utterance
	Patterns    []string    // templates of whole utterances, see ParsePattern
	Tests       []Utterance // what must be understood as this intent, with these marks; never trained on
}

// Utterance is what somebody said. Marks are in the order in which they open,
// the outer one first; two marks are apart or one stands in the other. A
// mark's Type is the entity's name, or the path to a child: "order/quantity".
type Utterance struct {
	Text  string
	Marks []Entity
}

// Definition says what an entity is and what finds it. One without any finder
// is learned from the marks alone; marks teach every other one as well.
type Definition struct {
	Name  string
	Roles []string // what it can be there for: from, to
	Uses  []string // entities and phrase lists that help to find it

	Values    []Value      // a list of what it can be
	Patterns  []string     // regular expressions, RE2
	Prebuilts []string     // kinds of internal/nlu/prebuilt
	Parts     []string     // a composite: the entities that stand in it
	Children  []Definition // the parts of a learned one, which exist only in it
	Of        string       // of a child: the entity that it is an instance of
	Any       bool         // any text where a pattern has it
	Explicit  []string     // of Any: texts that hold the pattern's own words and are one value all the same
}

// Value is an entry of a list.
type Value struct {
	Name     string // what programs get
	Synonyms []string
}

// Phrases is a list of words that mean or do the same: a hint for learning.
type Phrases struct {
	Name     string
	Words    []string
	Synonyms bool // the words can stand for each other
	Local    bool // a hint only for what names it in Uses
	Off      bool // kept, not used
}

// Intent finds an intent by its name.
func (p *Project) Intent(name string) (*Intent, bool) {
	i, ok := slices.BinarySearchFunc(p.Intents, name, func(in Intent, name string) int { return strings.Compare(in.Name, name) })
	if !ok {
		return nil, false
	}
	return &p.Intents[i], true
}

// Definition finds an entity, or a child by its path.
func (p *Project) Definition(path string) (*Definition, bool) {
	return definition(p.Entities, path)
}

func definition(in []Definition, path string) (*Definition, bool) {
	first, rest, deeper := strings.Cut(path, "/")
	for i := range in {
		if in[i].Name != first {
			continue
		}
		if deeper {
			return definition(in[i].Children, rest)
		}
		return &in[i], true
	}
	return nil, false
}

// Examples returns what a flat labeller learns from and is tested with: the
// utterances as Train, the tests as Test. Of marks in marks one remains: a
// composite is left to its parts, a learned entity to its children where they
// are marked, and anything else stands for what is marked in it.
func (p *Project) Examples() []Example {
	var out []Example
	for _, in := range p.Intents {
		for _, u := range in.Utterances {
			out = append(out, Example{Text: u.Text, Intent: in.Name, Entities: p.flat(u.Marks), Split: Train})
		}
		for _, u := range in.Tests {
			out = append(out, Example{Text: u.Text, Intent: in.Name, Entities: p.flat(u.Marks), Split: Test})
		}
	}
	return out
}

func (p *Project) flat(marks []Entity) []Entity {
	var out []Entity
	around := parents(marks)
	left := make([]bool, len(marks)) // to what stands in it
	for i, m := range marks {
		if a := around[i]; a >= 0 && !left[a] {
			continue // covered by one that was taken, or by what covers that
		}
		d, ok := p.Definition(m.Type)
		left[i] = ok && (len(d.Parts) > 0 && slices.Contains(around, i) ||
			slices.ContainsFunc(marks, func(c Entity) bool {
				return strings.HasPrefix(c.Type, m.Type+"/") && m.Start <= c.Start && c.End <= m.End
			}))
		if !left[i] {
			out = append(out, m)
		}
	}
	return out
}

// FromExamples makes a project out of labelled lines. Every type becomes a
// learned entity.
func FromExamples(name, culture string, examples []Example) (*Project, []Lost, error) {
	p := &Project{Name: name, Culture: culture}
	var lost losses
	var wrong Problems
	intents, index := map[string]*Intent{}, map[string]int{}
	dev := 0
	for i, e := range examples {
		if err := e.Check(); err != nil {
			wrong = append(wrong, Problem{File: fmt.Sprintf("examples[%d]", i), Text: err.Error()})
			continue
		}
		in := intents[e.Intent]
		if in == nil {
			in = &Intent{Name: e.Intent}
			intents[e.Intent] = in
		}
		u := Utterance{Text: e.Text, Marks: slices.Clone(e.Entities)}
		slices.SortStableFunc(u.Marks, outerFirst)
		for _, m := range u.Marks {
			at, ok := index[m.Type]
			if !ok {
				at, index[m.Type] = len(p.Entities), len(p.Entities)
				p.Entities = append(p.Entities, Definition{Name: m.Type})
			}
			if d := &p.Entities[at]; m.Role != "" && !slices.Contains(d.Roles, m.Role) {
				d.Roles = append(d.Roles, m.Role)
			}
		}
		switch e.Split {
		case Test:
			in.Tests = append(in.Tests, u)
			continue
		case Dev:
			dev++
		}
		in.Utterances = append(in.Utterances, u)
	}
	if dev > 0 {
		lost.add("", "the split dev", "a project knows training and tests only: its %d lines are for training now", dev)
	}
	for _, in := range intents {
		p.Intents = append(p.Intents, *in)
	}
	slices.SortFunc(p.Entities, func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
	p.sort()
	return p, lost, wrong.Err()
}

// Check says what is wrong with an example.
func (e Example) Check() error {
	if err := checkName(e.Intent); err != nil {
		return fmt.Errorf("intent %q: %w", clip(e.Intent), err)
	}
	if e.Split != "" && e.Split != Train && e.Split != Dev && e.Split != Test {
		return fmt.Errorf("split %q is none of train, dev, test", clip(string(e.Split)))
	}
	for _, m := range e.Entities {
		if err := checkName(m.Type); err != nil {
			return fmt.Errorf("entity %q: %w", clip(m.Type), err)
		}
		if m.Role == "" {
			continue
		}
		if err := checkName(m.Role); err != nil {
			return fmt.Errorf("role %q: %w", clip(m.Role), err)
		}
	}
	u := Utterance{Text: e.Text, Marks: slices.Clone(e.Entities)}
	slices.SortStableFunc(u.Marks, outerFirst)
	return u.check()
}

// Hold marks about a share of each intent's Train examples as Test and leaves
// the others alone. The same text is held by every call with the same seed,
// whatever stands around it. An intent always keeps an example to learn from.
func Hold(examples []Example, share float64, seed uint64) []Example {
	out := slices.Clone(examples)
	byIntent := map[string][]int{}
	for i, e := range out {
		if e.Split == "" || e.Split == Train {
			byIntent[e.Intent] = append(byIntent[e.Intent], i)
		}
	}
	for _, at := range byIntent {
		lot := func(i int) uint64 {
			h := fnv.New64a()
			fmt.Fprintf(h, "%d\x00%s", seed, out[i].Text)
			return h.Sum64() * 0x9e3779b97f4a7c15 // FNV mixes the last bytes too little
		}
		slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(lot(a), lot(b)) })
		n := int(math.Round(share * float64(len(at))))
		for _, i := range at[:max(0, min(n, len(at)-1))] {
			out[i].Split = Test
		}
	}
	return out
}

// sort brings intents into the order of their names.
func (p *Project) sort() {
	slices.SortFunc(p.Intents, func(a, b Intent) int { return strings.Compare(a.Name, b.Name) })
}

// Check says what is wrong with a project that a program put together, with
// all that Read would find in its files.
func (p *Project) Check() error {
	var out Problems
	say := func(place string, err error) {
		if err != nil {
			out = append(out, Problem{File: place, Text: err.Error()})
		}
	}
	if p.Culture != "" {
		say("culture", checkCulture(p.Culture))
	}
	seen := map[string]bool{}
	for _, in := range p.Intents {
		place := fmt.Sprintf("intent %q", in.Name)
		say(place, checkName(in.Name))
		if seen[in.Name] {
			say(place, fmt.Errorf("stands here twice"))
		}
		seen[in.Name] = true
		for _, us := range [][]Utterance{in.Utterances, in.Tests} {
			for _, u := range us {
				say(fmt.Sprintf("%s, %q", place, clip(u.Text)), cmp.Or(u.check(), p.checkMarks(u)))
			}
		}
		for _, t := range in.Patterns {
			say(fmt.Sprintf("%s, pattern %q", place, clip(t)), p.checkPattern(t))
		}
		say(place, p.checkUses(in.Uses))
	}
	for _, e := range p.checkDefinitions() {
		say(e.place, e.err)
	}
	return out.Err()
}

func (p *Project) checkMarks(u Utterance) error {
	for _, m := range u.Marks {
		d, ok := p.Definition(m.Type)
		if !ok {
			return p.unknown(m.Type)
		}
		if m.Role != "" && !slices.Contains(d.Roles, m.Role) {
			return unknownRole(m.Type, m.Role, d.Roles)
		}
	}
	return nil
}

func (p *Project) unknown(path string) error {
	var names []string
	for _, d := range p.Entities {
		names = append(names, d.Name)
	}
	return hinted{fmt.Errorf("there is no entity %q", clip(path)), cmp.Or(yamlfile.Near(path, names), "every entity stands under entities: in one of the files")}
}

func unknownRole(name, role string, roles []string) error {
	return hinted{fmt.Errorf("entity %q has no role %q", clip(name), clip(role)), cmp.Or(yamlfile.Near(role, roles), "its roles stand under roles: of its definition")}
}

// hinted is an error with a hint for a Problem.
type hinted struct {
	error
	hint string
}

func (p *Project) checkUses(uses []string) error {
	for _, u := range uses {
		_, ok := p.Definition(u)
		if !ok && !slices.ContainsFunc(p.Phrases, func(l Phrases) bool { return l.Name == u }) {
			return fmt.Errorf("uses: there is no entity or phrase list %q", clip(u))
		}
	}
	return nil
}

// placedError is an error of the thing that place names.
type placedError struct {
	place string
	err   error
}

// checkDefinitions says what is wrong with entities and phrase lists.
func (p *Project) checkDefinitions() []placedError {
	var out []placedError
	say := func(place string, err error) {
		if err != nil {
			out = append(out, placedError{place, err})
		}
	}
	var walk func(prefix string, ds []Definition)
	walk = func(prefix string, ds []Definition) {
		for i, d := range ds {
			path := prefix + d.Name
			say(path, checkName(d.Name))
			if slices.ContainsFunc(ds[:i], func(o Definition) bool { return o.Name == d.Name }) {
				say(path, fmt.Errorf("there are two entities %q", clip(path)))
			}
			say(path, d.check())
			say(path, p.checkUses(d.Uses))
			for _, part := range d.Parts {
				if _, ok := p.Definition(part); !ok {
					say(path, p.unknown(part))
				}
			}
			if _, ok := p.Definition(d.Of); !ok && d.Of != "" {
				say(path, p.unknown(d.Of))
			}
			if strings.Count(path, "/") >= mostDepth {
				say(path, fmt.Errorf("children stand in children more than %d deep", mostDepth))
				continue
			}
			walk(path+"/", d.Children)
		}
	}
	walk("", p.Entities)
	for i, l := range p.Phrases {
		say(l.Name, checkName(l.Name))
		if slices.ContainsFunc(p.Phrases[:i], func(o Phrases) bool { return o.Name == l.Name }) {
			say(l.Name, fmt.Errorf("there are two phrase lists %q", clip(l.Name)))
		}
		if _, ok := definition(p.Entities, l.Name); ok {
			say(l.Name, fmt.Errorf("%q is an entity and a phrase list", clip(l.Name)))
		}
	}
	return out
}

// check says what is wrong with the definition by itself.
func (d Definition) check() error {
	for i, r := range d.Roles {
		if err := checkName(r); err != nil {
			return fmt.Errorf("role %q: %w", clip(r), err)
		}
		if slices.Contains(d.Roles[:i], r) {
			return fmt.Errorf("role %q stands here twice", clip(r))
		}
	}
	for _, re := range d.Patterns {
		if err := checkPatternSyntax(re); err != nil {
			return err
		}
	}
	for _, k := range d.Prebuilts {
		if !slices.Contains(prebuilt.Kinds(), prebuilt.Kind(k)) {
			return hinted{fmt.Errorf("there is no prebuilt kind %q", clip(k)), "one of " + joined(prebuilt.Kinds())}
		}
	}
	seen := map[string]bool{}
	for _, v := range d.Values {
		if strings.TrimSpace(v.Name) == "" {
			return fmt.Errorf("one of its values is empty")
		}
		if seen[v.Name] {
			return fmt.Errorf("value %q stands here twice", clip(v.Name))
		}
		seen[v.Name] = true
	}
	if len(d.Explicit) > 0 && !d.Any {
		return fmt.Errorf("explicit texts belong to an entity with any: true")
	}
	return nil
}

func joined[T ~string](words []T) string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return strings.Join(s, ", ")
}

// checkPatternSyntax says whether re is a regular expression that takes linear
// time.
func checkPatternSyntax(re string) error {
	r, err := regexp.Compile(re)
	if err != nil && lookAround.MatchString(re) {
		return fmt.Errorf("the pattern %q looks around (?= ?! ?<= ?<!), which does not go in linear time: write it without", clip(re))
	}
	if err != nil {
		return fmt.Errorf("the pattern %q can't be read: %w", clip(re), err)
	}
	if r.MatchString("") {
		return fmt.Errorf("the pattern %q matches nothing at all: it would be found everywhere", clip(re))
	}
	return nil
}

func checkCulture(s string) error {
	if len(s) > 35 || !cultures.MatchString(s) {
		return fmt.Errorf(`culture %q is no language: write "en" or "en-us"`, clip(s))
	}
	return nil
}

var lookAround = regexp.MustCompile(`\(\?<?[=!]`)

var cultures = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

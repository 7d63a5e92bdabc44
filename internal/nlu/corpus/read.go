package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// Bounds on a project's folder.
const (
	mostFiles = 10_000
	mostFile  = 16 << 20 // bytes of one file
	mostBytes = 64 << 20 // bytes of all files

	mostDefined  = 5_000 // entities, children and phrase lists
	mostProblems = 500   // that are reported
)

// Place is where something stands.
type Place struct {
	File string
	Line int // from 1
}

// Read reads a project: all .yaml, .yml and .lu files of a folder and the
// folders in it, apart from those whose names begin with a dot. They are one
// project, so how it is cut into files makes no difference. The error is
// Problems, all of them at once, unless the folder itself can't be read.
func Read(dir string) (*Project, error) {
	p, _, err := ReadPlaces(dir)
	return p, err
}

// ReadPlaces is Read and tells where each of the project's Examples stands;
// files are named as they are in the folder.
func ReadPlaces(dir string) (*Project, []Place, error) {
	root, err := os.OpenRoot(dir) // links out of the folder are not followed
	if err != nil {
		return nil, nil, fmt.Errorf("read project: %w", err)
	}
	defer root.Close()
	d, err := readDraft(root.FS())
	if err != nil {
		return nil, nil, err
	}
	p, err := d.finish()
	if err != nil {
		return nil, nil, err
	}
	return p, d.places(), nil
}

// ReadFS is Read for a folder that is not on a disk.
func ReadFS(fsys fs.FS) (*Project, error) {
	d, err := readDraft(fsys)
	if err != nil {
		return nil, err
	}
	return d.finish()
}

func readDraft(fsys fs.FS) (*draft, error) {
	names, err := ProjectFiles(fsys)
	if err != nil {
		return nil, err
	}
	d := &draft{}
	size := 0
	for _, name := range names {
		b, err := readFile(fsys, name)
		if err != nil {
			at := place{file: name}
			if bad := (*badLine)(nil); errors.As(err, &bad) {
				at.line = bad.line
			} else if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
				err = fmt.Errorf("it can't be read: %w", pe.Err) // of a link: path escapes from parent
			}
			d.say(at, err)
			continue
		}
		if size += len(b); size > mostBytes {
			return nil, Problems{{File: name, Text: fmt.Sprintf("the project has more than %d MiB", mostBytes>>20)}}
		}
		if path.Ext(name) == ".lu" {
			d.readLU(name, b)
			continue
		}
		d.readYAML(name, b)
	}
	return d, nil
}

// ProjectFiles lists the files of a project's folder.
func ProjectFiles(fsys fs.FS) ([]string, error) {
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".lu"}, path.Ext(name)):
			return nil
		case len(names) == mostFiles:
			return Problems{{File: name, Text: fmt.Sprintf("the project has more than %d files", mostFiles)}}
		}
		names = append(names, name)
		return nil
	})
	switch ps := Problems(nil); {
	case errors.As(err, &ps):
		return nil, ps
	case err != nil:
		return nil, fmt.Errorf("read project: %w", err)
	case len(names) == 0:
		return nil, Problems{{File: ".", Text: "there is no .yaml or .lu file in this folder"}}
	}
	return names, nil
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written to it
	b, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > mostFile:
		return nil, fmt.Errorf("the file has more than %d MiB", mostFile>>20)
	case !utf8.Valid(b):
		return nil, &badLine{1 + bytes.Count(b[:validUTF8(b)], []byte("\n")), "this is not UTF-8 text"}
	}
	return b, nil
}

// badLine is what is wrong with a file before it is read any further.
type badLine struct {
	line int
	text string
}

func (b *badLine) Error() string { return b.text }

// validUTF8 is how many bytes there are before the first that is none.
func validUTF8(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// place is where something stands.
type place struct {
	file string
	line int
}

// draft is a project while its files are read. What refers to something that
// may come in a later file is kept with its place until finish.
type draft struct {
	project  Project
	problems Problems
	head     map[string]place // keys that may stand once, and where they do
	defined  map[string]place // entities, children by path, and phrase lists
	intents  map[string]int   // index in project.Intents
	said     []saying
	later    []laterCheck

	importing bool     // what can't be carried over is lost, not a problem
	lost      losses   // filled if importing
	includes  []string // files that .lu files name
}

// cannot notes what a project has no place for.
func (d *draft) cannot(at place, what, why string) {
	if d.importing {
		d.lost.add(fmt.Sprintf("%s:%d", at.file, at.line), what, "%s", why)
		return
	}
	d.sayf(at, "", "%s: %s", what, why)
}

// saying is an utterance, test or pattern with its place.
type saying struct {
	place
	intent string
	u      Utterance
	kind   sayingKind
	lu     bool // names are resolved as .lu has them
}

type sayingKind int

const (
	forTraining sayingKind = iota
	forTest
	asPattern
)

// laterCheck is done when the project is whole.
type laterCheck struct {
	place
	check func(*Project) error
}

func (d *draft) say(at place, err error) {
	if err == nil || len(d.problems) > mostProblems {
		return
	}
	if len(d.problems) == mostProblems {
		err = fmt.Errorf("there are more problems than %d; the others are not listed", mostProblems)
	}
	p := Problem{File: at.file, Line: at.line, Text: err.Error()}
	var h hinted
	if errors.As(err, &h) {
		p.Hint = h.hint
	}
	d.problems = append(d.problems, p)
}

func (d *draft) sayf(at place, hint, format string, args ...any) {
	d.say(at, hinted{fmt.Errorf(format, args...), hint})
}

// once says whether key stands here for the first time in the whole project.
func (d *draft) once(at place, key string) bool {
	if first, ok := d.head[key]; ok {
		d.sayf(at, "keep one", "%s stands at %s:%d already", key, first.file, first.line)
		return false
	}
	if d.head == nil {
		d.head = map[string]place{}
	}
	d.head[key] = at
	return true
}

// intent returns the intent of that name, and makes it if make is set.
func (d *draft) intent(name string) *Intent {
	i, ok := d.intents[name]
	if !ok {
		if d.intents == nil {
			d.intents = map[string]int{}
		}
		i = len(d.project.Intents)
		d.intents[name] = i
		d.project.Intents = append(d.project.Intents, Intent{Name: name})
	}
	return &d.project.Intents[i]
}

// define notes where an entity or a phrase list stands.
func (d *draft) define(at place, path string) bool {
	if first, ok := d.defined[path]; ok {
		d.sayf(at, "keep one of them", "%q is defined at %s:%d already", clip(path), first.file, first.line)
		return false
	}
	if len(d.defined) == mostDefined {
		d.sayf(at, "", "the project has more than %d entities and phrase lists", mostDefined)
		return false
	}
	if d.defined == nil {
		d.defined = map[string]place{}
	}
	d.defined[path] = at
	return true
}

func (d *draft) laterUses(at place, uses []string) {
	if len(uses) > 0 {
		d.later = append(d.later, laterCheck{at, func(p *Project) error { return p.checkUses(uses) }})
	}
}

// finish puts the utterances where they belong, now that every entity is
// known, and checks what refers to something else.
func (d *draft) finish() (*Project, error) {
	p := &d.project
	for _, s := range d.said {
		if s.lu {
			p.resolveLU(&s)
		}
		if s.kind == asPattern {
			in := d.intent(s.intent)
			d.say(s.place, p.checkPattern(s.u.Text))
			in.Patterns = append(in.Patterns, s.u.Text)
			continue
		}
		p.resolve(s.u.Marks)
		d.say(s.place, p.checkMarks(s.u))
		if _, ok := d.intents[s.intent]; s.kind == forTest && !ok && s.intent != None {
			var names []string
			for _, in := range p.Intents {
				names = append(names, in.Name)
			}
			d.sayf(s.place, yamlfile.Near(s.intent, names), "there is no intent %q to test", clip(s.intent))
			continue
		}
		in := d.intent(s.intent)
		if s.kind == forTest {
			in.Tests = append(in.Tests, s.u)
		} else {
			in.Utterances = append(in.Utterances, s.u)
		}
	}
	for _, l := range d.later {
		d.say(l.place, l.check(p))
	}
	for _, e := range p.checkDefinitions() {
		d.say(d.defined[e.place], e.err)
	}
	p.sort()
	if err := d.problems.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// places are where the project's Examples stand, in their order.
func (d *draft) places() []Place {
	said := map[string]*[2][]Place{} // by intent: utterances, tests
	for _, s := range d.said {
		if s.kind == asPattern {
			continue
		}
		if said[s.intent] == nil {
			said[s.intent] = new([2][]Place)
		}
		of := &said[s.intent][s.kind] // forTraining, forTest
		*of = append(*of, Place{s.file, s.line})
	}
	var out []Place
	for _, in := range d.project.Intents {
		if of := said[in.Name]; of != nil {
			out = append(append(out, of[0]...), of[1]...)
		}
	}
	return out
}

// resolve turns the names that marks were written with into paths: within the
// mark of an entity its children come first, by their short names. A path
// with a / in it is whole.
func (p *Project) resolve(marks []Entity) {
	around := parents(marks)
	for i := range marks {
		m := &marks[i]
		if strings.Contains(m.Type, "/") {
			m.Type = strings.TrimPrefix(m.Type, "/")
			continue
		}
		for a := around[i]; a >= 0; a = around[a] {
			if _, ok := p.Definition(marks[a].Type + "/" + m.Type); ok {
				m.Type = marks[a].Type + "/" + m.Type
				break
			}
		}
	}
}

// unresolve is the way back: the shortest names that resolve to the paths.
func (p *Project) unresolve(marks []Entity) []Entity {
	short := slices.Clone(marks)
	around := parents(marks)
	for i := range short {
		last := marks[i].Type[strings.LastIndexByte(marks[i].Type, '/')+1:]
		try := last
		for a := around[i]; a >= 0; a = around[a] {
			if _, ok := p.Definition(marks[a].Type + "/" + last); ok {
				try = marks[a].Type + "/" + last
				break
			}
		}
		switch {
		case try == marks[i].Type:
			short[i].Type = last
		case strings.Contains(marks[i].Type, "/"):
			short[i].Type = marks[i].Type
		default:
			short[i].Type = "/" + marks[i].Type
		}
	}
	return short
}

package corpus

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// addedDir is the folder, within a project's, of lines that were added by Add.
const addedDir = "learned"

// Add appends examples to a project's folder as utterances, or as tests where
// the split says so: to a file of their own for each intent in learned/, where
// people review them like everything else. Either all of them are in the project
// afterwards, or the folder is as it was. It returns the files that changed, as
// they are named in the folder.
func Add(dir string, examples []Example) ([]string, error) {
	p, err := Read(dir)
	if err != nil {
		return nil, err
	}
	blocks, err := p.added(examples)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("add to the project: %w", err)
	}
	defer root.Close()
	var done undo
	for _, b := range blocks {
		if err := done.append(root, b); err != nil {
			return nil, errors.Join(err, done.back(root))
		}
	}
	after, err := Read(dir)
	if err == nil && !grown(p, after, examples) {
		err = fmt.Errorf("add to the project: the files in %s were changed by hand so that lines can't be added: move what is in them to other files", addedDir)
	}
	if err != nil {
		return nil, errors.Join(err, done.back(root))
	}
	return done.names(), nil
}

// block is lines for one file.
type block struct {
	head  string // of the file: what stands above the lines
	base  string // of the file's name
	lines string
}

// added are the blocks that examples make, by intent, in their order.
func (p *Project) added(examples []Example) ([]block, error) {
	var out []block
	at := map[string]int{}
	for i, e := range examples {
		u := Utterance{Text: e.Text, Marks: slices.Clone(e.Entities)}
		slices.SortStableFunc(u.Marks, outerFirst)
		if err := cmp.Or(checkName(e.Intent), u.check(), p.checkMarks(u)); err != nil {
			return nil, Problems{{File: fmt.Sprintf("example %d, %q", i+1, clip(e.Text)), Text: err.Error()}}
		}
		key, base := "intents", fileName(e.Intent)
		if e.Split == Test {
			key, base = "tests", base+"-tests"
		}
		head := fmt.Sprintf("%s:\n  %s: |\n", key, yamlText(e.Intent))
		if _, ok := at[head]; !ok {
			at[head] = len(out)
			out = append(out, block{head: head, base: base})
		}
		out[at[head]].lines += p.block([]Utterance{u}, "    ")
	}
	return out, nil
}

// grown says whether a project became another by these examples and nothing
// else.
func grown(before, after *Project, examples []Example) bool {
	type kind struct {
		intent string
		test   bool
	}
	count := func(p *Project) map[kind]int {
		n := map[kind]int{}
		for _, in := range p.Intents {
			n[kind{in.Name, false}] += len(in.Utterances)
			n[kind{in.Name, true}] += len(in.Tests)
		}
		return n
	}
	want, got := count(before), count(after)
	for _, e := range examples {
		want[kind{e.Intent, e.Split == Test}]++
	}
	for k, n := range want {
		if got[k] != n {
			return false
		}
	}
	return true
}

// undo knows files as they were.
type undo []struct {
	name   string
	before []byte // nil: it was not there
}

func (u *undo) names() []string {
	var out []string
	for _, f := range *u {
		out = append(out, filepath.ToSlash(f.name))
	}
	return out
}

// append puts a block's lines behind those of the file that begins with its
// head, or into a new one.
func (u *undo) append(root *os.Root, b block) error {
	if err := root.Mkdir(addedDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("add to the project: %w", err)
	}
	for i := 1; ; i++ {
		name := filepath.Join(addedDir, b.base+".yaml")
		if i > 1 {
			name = filepath.Join(addedDir, fmt.Sprintf("%s-%d.yaml", b.base, i))
		}
		text, err := readFile(root.FS(), filepath.ToSlash(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			text = nil
		case err != nil:
			return fmt.Errorf("add to the project: %w", err)
		case !strings.HasPrefix(string(text), b.head):
			continue // of another intent with nearly the same name
		}
		whole := []byte(b.head)
		if text != nil {
			whole = slices.Clip(text)
			if !strings.HasSuffix(string(whole), "\n") {
				whole = append(whole, '\n')
			}
		}
		*u = append(*u, struct {
			name   string
			before []byte
		}{name, text})
		return replaceFile(root, name, append(whole, b.lines...))
	}
}

// back puts all files back.
func (u *undo) back(root *os.Root) error {
	var errs []error
	for _, f := range *u {
		if f.before == nil {
			if err := root.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		errs = append(errs, replaceFile(root, f.name, f.before))
	}
	_ = root.Remove(addedDir) // if nothing is in it
	return errors.Join(errs...)
}

// replaceFile gives a file its new content, or leaves it as it is.
func replaceFile(root *os.Root, name string, text []byte) error {
	draft := filepath.Join(filepath.Dir(name), ".draft") // begins with a dot: no project has it
	if err := root.WriteFile(draft, text, 0o644); err != nil {
		return fmt.Errorf("add to the project: %w", errors.Join(err, root.Remove(draft)))
	}
	if err := root.Rename(draft, name); err != nil {
		return fmt.Errorf("add to the project: %w", errors.Join(err, root.Remove(draft)))
	}
	return nil
}

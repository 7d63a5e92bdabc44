// Package arch reads the source tree and says which of the project's rules it
// breaks: who may import whom, who owns which dependency, what a function, a
// file, a test or a package-level variable may look like. Rules live here and
// nowhere else; the test beside them runs each over the tree and over a small
// example that breaks it. It also makes the package table of
// docs/ARCHITECTURE.md. Everything is read in-process, so that Go's test cache
// notices a change in any file.
package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Module is the import path of the tree's root.
const Module = "github.com/parleyhq/parley"

// Tree is what the rules look at. Read or Parse makes it; nothing changes it
// after.
type Tree struct {
	Fset     *token.FileSet
	Packages []*Package        // by Dir
	Texts    map[string][]byte // every text file by its slash path, Go files too
}

// Package is one folder with Go files.
type Package struct {
	Dir   string // slash path below the root, "." for the root
	Name  string
	Files []*File // by Path
}

// File is one Go file.
type File struct {
	Path  string // slash path below the root
	Test  bool   // its name ends in _test.go
	Lines int
	AST   *ast.File
}

// Finding is a place where a rule is broken.
type Finding struct {
	Path string
	Line int // 0 = the whole file or package
	Text string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text)
}

// FindRoot returns the folder of the module that holds the working directory.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find the module: no go.mod above the working directory")
		}
		dir = up
	}
}

// Read reads the tree below root: Go files are parsed, other text files kept
// as they are. Folders that hold what tools made or test data are left out,
// and so are modules of their own.
func Read(root string) (*Tree, error) {
	texts := map[string][]byte{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && leaveOut(root, rel, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !isText(d.Name()) {
			return nil
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a tool's temporary file
		}
		texts[rel] = b
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	return Parse(texts)
}

func leaveOut(root, rel, name string) bool {
	switch {
	case rel == ".ci" || rel == ".github":
		return false
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"):
		return true
	case name == "node_modules" || name == "testdata":
		return true
	case rel == "internal/web/dist" || rel == "bin":
		return true
	}
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(rel), "go.mod"))
	return err == nil
}

func isText(name string) bool {
	switch path.Ext(name) {
	case ".go", ".mod", ".md", ".yml", ".yaml", ".json", ".ts", ".tsx", ".mjs", ".js", ".css", ".html", ".sh", ".py", ".sql", ".txt", ".toml":
		return true
	}
	return name == "Makefile" || name == "run" || name == ".gitignore" || name == ".editorconfig" || name == ".npmrc"
}

// Parse makes a tree of texts by their slash paths.
func Parse(texts map[string][]byte) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet(), Texts: texts}
	paths := make([]string, 0, len(texts))
	for p := range texts {
		if path.Ext(p) == ".go" {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	byDir := map[string]*Package{}
	for _, p := range paths {
		f, err := parser.ParseFile(t.Fset, p, texts[p], parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse the tree: %w", err)
		}
		dir := path.Dir(p)
		pkg := byDir[dir]
		if pkg == nil {
			pkg = &Package{Dir: dir}
			byDir[dir] = pkg
			t.Packages = append(t.Packages, pkg)
		}
		file := &File{Path: p, Test: strings.HasSuffix(p, "_test.go"), Lines: strings.Count(string(texts[p]), "\n"), AST: f}
		if !file.Test {
			pkg.Name = f.Name.Name
		}
		pkg.Files = append(pkg.Files, file)
	}
	sort.Slice(t.Packages, func(i, j int) bool { return t.Packages[i].Dir < t.Packages[j].Dir })
	return t, nil
}

// files calls each with every Go file.
func (t *Tree) files(each func(*Package, *File)) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			each(p, f)
		}
	}
}

func (t *Tree) at(f *File, n ast.Node, format string, args ...any) Finding {
	return Finding{Path: f.Path, Line: t.Fset.Position(n.Pos()).Line, Text: fmt.Sprintf(format, args...)}
}

// imports returns what a file imports, with the nodes to point at.
func imports(f *File) map[string]ast.Node {
	out := map[string]ast.Node{}
	for _, s := range f.AST.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err == nil {
			out[p] = s
		}
	}
	return out
}

// Doc returns the package comment, "" if there is none.
func (p *Package) Doc() string {
	for _, f := range p.Files {
		if f.AST.Doc != nil && !f.Test {
			return f.AST.Doc.Text()
		}
	}
	return ""
}

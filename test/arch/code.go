package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	mostFileLines = 800
	mostFuncLines = 100
)

// Long lists the functions that may exceed 100 lines, each with its reason.
func Long() map[string]string {
	return map[string]string{
		"internal/lm/pull.libraries": "a table of pinned files, one row each",
	}
}

// Comments checks that every package says what may live in it.
func Comments(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		if !slices.ContainsFunc(p.Files, func(f *File) bool { return !f.Test }) {
			continue // a folder of tests only
		}
		doc := p.Doc()
		want := "Package " + p.Name
		if p.Name == "main" {
			want = "Command "
		}
		switch {
		case doc == "":
			out = append(out, Finding{Path: p.Dir, Text: "no package comment: say what may live here"})
		case !strings.HasPrefix(doc, want):
			out = append(out, Finding{Path: p.Dir, Text: fmt.Sprintf("the package comment begins with %q, not with %q", firstWords(doc), want)})
		case strings.Count(doc, " ") < 5:
			out = append(out, Finding{Path: p.Dir, Text: "the package comment does not say what may live here"})
		}
	}
	return out
}

func firstWords(s string) string {
	w := strings.Fields(s)
	return strings.Join(w[:min(3, len(w))], " ")
}

// Lengths checks files and functions against the limits.
func Lengths(t *Tree, long map[string]string) []Finding {
	var out []Finding
	t.files(func(p *Package, f *File) {
		if f.Lines > mostFileLines {
			out = append(out, Finding{Path: f.Path, Text: fmt.Sprintf("%d lines, at most %d: is it one room?", f.Lines, mostFileLines)})
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := t.Fset.Position(fn.End()).Line - t.Fset.Position(fn.Pos()).Line + 1
			if n > mostFuncLines && long[p.Dir+"."+funcName(fn)] == "" {
				out = append(out, t.at(f, fn, "%s has %d lines, at most %d", funcName(fn), n, mostFuncLines))
			}
		}
	})
	return out
}

// needless finds entries of long that nothing needs any more.
func needless(t *Tree, long map[string]string) []Finding {
	var out []Finding
	for name := range long {
		rest := maps.Clone(long)
		delete(rest, name)
		if len(Lengths(t, rest)) == len(Lengths(t, long)) {
			out = append(out, Finding{Path: name, Text: "is listed as long but is not"})
		}
	}
	return out
}

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// Inits finds init functions: nothing happens by importing a package.
func Inits(t *Tree) []Finding {
	var out []Finding
	t.files(func(_ *Package, f *File) {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, t.at(f, fn, "no init(): do it in a constructor"))
			}
		}
	})
	return out
}

// Contexts finds contexts that are kept in a struct.
func Contexts(t *Tree) []Finding {
	var out []Finding
	t.files(func(_ *Package, f *File) {
		ast.Inspect(f.AST, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				if isSelector(field.Type, "context", "Context") {
					out = append(out, t.at(f, field, "no context.Context in a struct: hand it to the method"))
				}
			}
			return true
		})
	})
	return out
}

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == pkg
}

// Vars checks package-level variables: each has a value from the start, is no
// lock, channel, pointer or fresh map, and nothing in the package changes it
// or takes its address. Left over are errors, regular expressions, embedded
// files and lookup tables. A sync.Pool is allowed: it holds memory, not
// meaning.
func Vars(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Packages {
		vars := map[string]*ast.ValueSpec{}
		for _, f := range p.Files {
			for _, d := range f.AST.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					spec, ok := s.(*ast.ValueSpec)
					if !ok {
						continue
					}
					if linked(g, spec) {
						continue
					}
					if why := badVar(g, spec); why != "" {
						out = append(out, t.at(f, spec, "package-level variable %s: %s", spec.Names[0].Name, why))
					}
					for _, n := range spec.Names {
						if n.Name != "_" {
							vars[n.Name] = spec
						}
					}
				}
			}
		}
		for _, f := range p.Files {
			out = append(out, changes(t, f, vars)...)
		}
	}
	return out
}

func badVar(g *ast.GenDecl, spec *ast.ValueSpec) string {
	if spec.Names[0].Name == "_" || embedded(g, spec) {
		return ""
	}
	if len(spec.Values) == 0 {
		return "it has no value from the start, so something changes it"
	}
	for _, v := range spec.Values {
		switch x := v.(type) {
		case *ast.UnaryExpr:
			if x.Op == token.AND {
				return "it points to something that can be changed"
			}
		case *ast.CallExpr:
			if id, ok := x.Fun.(*ast.Ident); ok && (id.Name == "new" || id.Name == "make") {
				return "it is made to be changed"
			}
		case *ast.CompositeLit:
			if s, ok := x.Type.(*ast.SelectorExpr); ok && (isPackage(s, "sync") && s.Sel.Name != "Pool" || isPackage(s, "atomic")) {
				return "it is state that goroutines share"
			}
		}
	}
	return ""
}

func isPackage(s *ast.SelectorExpr, name string) bool {
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == name
}

func embedded(g *ast.GenDecl, spec *ast.ValueSpec) bool { return directive(g, spec, "//go:embed ") }

// linked says that a variable is really another package's: it is that
// package's state, and whoever links it needs "unsafe", which has an owner.
func linked(g *ast.GenDecl, spec *ast.ValueSpec) bool { return directive(g, spec, "//go:linkname ") }

func directive(g *ast.GenDecl, spec *ast.ValueSpec, name string) bool {
	for _, doc := range []*ast.CommentGroup{g.Doc, spec.Doc} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, name) {
				return true
			}
		}
	}
	return false
}

// changes finds what writes to one of the variables or takes its address. The
// parser has resolved names within the file: a name that it bound to something
// local is not ours.
func changes(t *Tree, f *File, vars map[string]*ast.ValueSpec) []Finding {
	var out []Finding
	ours := func(e ast.Expr) string {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.SliceExpr:
				e = x.X
			case *ast.Ident:
				spec := vars[x.Name]
				// Types would tell better, but cost a build of everything.
				if spec == nil || x.Obj != nil && x.Obj.Decl != any(spec) {
					return ""
				}
				return x.Name
			default:
				return ""
			}
		}
	}
	report := func(n ast.Node, e ast.Expr, what string) {
		if name := ours(e); name != "" {
			out = append(out, t.at(f, n, "package-level variable %s is %s here", name, what))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.AssignStmt:
			if x.Tok != token.DEFINE {
				for _, e := range x.Lhs {
					report(n, e, "changed")
				}
			}
		case *ast.IncDecStmt:
			report(n, x.X, "changed")
		case *ast.UnaryExpr:
			if x.Op == token.AND {
				report(n, x.X, "handed out by address")
			}
		case *ast.CallExpr:
			if id, ok := x.Fun.(*ast.Ident); ok && len(x.Args) > 0 && slices.Contains([]string{"delete", "clear", "close"}, id.Name) {
				report(n, x.Args[0], "changed")
			}
		}
		return true
	})
	return out
}

// Exits checks that only the wiring ends the process.
func Exits(t *Tree, rooms []Room) []Finding {
	var out []Finding
	t.files(func(p *Package, f *File) {
		room, _ := roomOf(rooms, p.Dir)
		if f.Test || room.Kind == Wiring || room.Kind == Check {
			return
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && (isSelector(c.Fun, "os", "Exit") || isSelector(c.Fun, "log", "Fatal") || isSelector(c.Fun, "log", "Fatalf")) {
				out = append(out, t.at(f, n, "only wiring ends the process: return an error"))
			}
			return true
		})
	})
	return out
}

// Sleeps checks tests for time.Sleep. It is right between two looks at a
// condition, in a loop with a deadline; any other is listed with its file and
// how many there are.
func Sleeps(t *Tree, rooms []Room, allowed map[string]int) []Finding {
	var out []Finding
	t.files(func(p *Package, f *File) {
		room, _ := roomOf(rooms, p.Dir)
		if !f.Test && room.Kind != Suite || usesSynctest(f) { // time is not real there
			return
		}
		var found []ast.Node
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			polls := map[ast.Node]bool{}
			if len(calls(fn, "time", "Now")) > 0 {
				ast.Inspect(fn, func(n ast.Node) bool {
					if loop, ok := n.(*ast.ForStmt); ok {
						for _, c := range calls(loop, "time", "Sleep") {
							polls[c] = true
						}
					}
					return true
				})
			}
			for _, c := range calls(fn, "time", "Sleep") {
				if !polls[c] {
					found = append(found, c)
				}
			}
		}
		if len(found) > allowed[f.Path] {
			out = append(out, t.at(f, found[0], "%d time.Sleep, %d allowed: wait for a condition with a deadline, or use testing/synctest", len(found), allowed[f.Path]))
		}
	})
	return out
}

// calls finds the calls of a package's function below a node.
func calls(below ast.Node, pkg, name string) []ast.Node {
	var out []ast.Node
	ast.Inspect(below, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && isSelector(c.Fun, pkg, name) {
			out = append(out, c)
		}
		return true
	})
	return out
}

func usesSynctest(f *File) bool {
	_, ok := imports(f)["testing/synctest"]
	return ok
}

// Skips checks that a skipped test says what is missing.
func Skips(t *Tree) []Finding {
	var out []Finding
	t.files(func(_ *Package, f *File) {
		ast.Inspect(f.AST, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := c.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name) {
				return true
			}
			if id, ok := s.X.(*ast.Ident); !ok || !slices.Contains([]string{"t", "b", "f", "tb"}, id.Name) {
				return true
			}
			if len(c.Args) > 0 {
				lit, isLit := c.Args[0].(*ast.BasicLit)
				if !isLit {
					return true // a message made elsewhere
				}
				if text, err := strconv.Unquote(lit.Value); err == nil && strings.Count(strings.TrimSpace(text), " ") >= 1 {
					return true
				}
			}
			out = append(out, t.at(f, n, "a skipped test says what is missing and how to get it"))
			return true
		})
	})
	return out
}

package api_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The patterns that stand for whatever no other one takes.
var fallThrough = []string{"/", "/api/", "/luis/", "/language/", "/s/", "/plain", "/plain/", "/v1/", "/v3/", "/v3/directline/"}

// TestRoutes compares the routes in the source of the server with those of the
// description: both ways.
func TestRoutes(t *testing.T) {
	doc := load(t)
	var described []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	registered := slices.Concat(muxPatterns(t, "../internal/api"), muxPatterns(t, "../internal/channel/directline"), muxPatterns(t, "../internal/channel/connector"), muxPatterns(t, "../internal/channel/messenger"), muxPatterns(t, "../internal/channel/telegram"), gatewayRoutes(t))
	slices.Sort(described)
	slices.Sort(registered)
	registered = slices.Compact(registered) // the gateway's are those of the mux, too
	if d := cmp.Diff(registered, described); d != "" {
		t.Errorf("routes of the server (-) and of openapi.yaml (+) differ:\n%s", d)
	}
	if len(registered) < 25 {
		t.Errorf("only %d routes were found in the source: does this test still read it right?", len(registered))
	}
}

// muxPatterns are the first arguments of calls that register a route.
func muxPatterns(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, f := range sources(t, dir) {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) < 2 {
				return true
			}
			name := ""
			switch fun := c.Fun.(type) {
			case *ast.Ident:
				name = fun.Name
			case *ast.SelectorExpr:
				name = fun.Sel.Name
			}
			if !slices.Contains([]string{"Handle", "HandleFunc", "handle", "guests", "openai"}, name) {
				return true
			}
			pattern, ok := text(c.Args[0])
			switch {
			case !ok:
				if id, isIdent := c.Args[0].(*ast.Ident); !isIdent || id.Name != "pattern" { // our own helpers
					t.Errorf("a route is registered with something else than a text: this test can't read it")
				}
			case !slices.Contains(fallThrough, pattern):
				out = append(out, pattern)
			}
			return true
		})
	}
	return out
}

// gatewayRoutes are the operations of the gateway, which has no mux.
func gatewayRoutes(t *testing.T) []string {
	t.Helper()
	out := []string{"GET /v1/models", "GET /v1/models/{model}"} // TestSession asks for both
	for _, f := range sources(t, "../internal/lm/gateway") {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Op" {
				if path, ok := text(v.Values[0]); ok {
					out = append(out, "POST /v1/"+path)
				}
			}
			return true
		})
	}
	return out
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no source in %s (%v)", dir, err)
	}
	var out []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name) // read here, so that the test cache knows
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// TestGuide: the guide names every route that is described.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range load(t).Paths.Map() {
		if !bytes.Contains(guide, []byte(path)) {
			t.Errorf("docs/api.md does not name %s", path)
		}
	}
}

package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rule is one rule as both tests run it.
type rule struct {
	name  string
	check func(*Tree) []Finding
}

// Tests may sleep only here, each for the reason beside it.
func sleeps() map[string]int {
	return map[string]int{
		"internal/lm/llama/main_test.go": 1, // a fake model at work
		"internal/project/kill_test.go":  1, // the random moment of a kill
	}
}

func rules() []rule {
	rooms := Rooms()
	return []rule{
		{"imports", func(t *Tree) []Finding { return Imports(t, rooms) }},
		{"dependencies", func(t *Tree) []Finding { return Dependencies(t, rooms, Owners()) }},
		{"testing", func(t *Tree) []Finding { return Suites(t, rooms) }},
		{"comments", Comments},
		{"lengths", func(t *Tree) []Finding { return Lengths(t, Long()) }},
		{"inits", Inits},
		{"contexts", Contexts},
		{"vars", Vars},
		{"exits", func(t *Tree) []Finding { return Exits(t, rooms) }},
		{"sleeps", func(t *Tree) []Finding { return Sleeps(t, rooms, sleeps()) }},
		{"skips", Skips},
		{"leftovers", Leftovers},
		{"machine paths", MachinePaths},
		{"lock files", Locks},
		{"requirements", Requirements},
	}
}

// TestTree runs every rule over the tree.
func TestTree(t *testing.T) {
	tree := readTree(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) { report(t, r.check(tree)) })
	}
	t.Run("empty rooms", func(t *testing.T) { report(t, emptyRooms(tree, Rooms())) })
	t.Run("long but not", func(t *testing.T) { report(t, needless(tree, Long())) })
	if len(tree.Packages) < 20 {
		t.Errorf("only %d packages were found: is this the whole tree?", len(tree.Packages))
	}
}

func report(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func readTree(t *testing.T) *Tree {
	t.Helper()
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestTable compares the package table of the documentation with the package
// comments.
func TestTable(t *testing.T) {
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(TableFile)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := WithTable(string(got), PackageTable(readTree(t), Rooms()))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("the package table of %s is not what the package comments say: run `make generate`", TableFile)
	}
}

// TestRulesCatch proves of every rule that it finds what breaks it, and of the
// harmless twin that it doesn't.
func TestRulesCatch(t *testing.T) {
	many := strings.Repeat("\t_ = 0\n", mostFuncLines)
	tests := []struct {
		rule string
		path string
		bad  string
		good string
	}{
		{"imports", "internal/chat/x.go", `package chat; import _ "` + Module + `/internal/store/sqlite"`, `package chat; import _ "` + Module + `/internal/store"`},
		{"imports", "internal/store/sqlite/x.go", `package sqlite; import _ "` + Module + `/internal/eventlog"`, `package sqlite; import _ "` + Module + `/internal/event"`},
		{"imports", "internal/lm/llama/x.go", `package llama; import _ "` + Module + `/internal/lm/openai"`, `package llama; import _ "` + Module + `/internal/lm/llama/wire"`},
		{"imports", "internal/fault/x.go", `package fault; import _ "` + Module + `/internal/chat"`, `package fault; import _ "` + Module + `/internal/secret"`},
		{"imports", "internal/api/x.go", `package api; import _ "` + Module + `/internal/eventlog"`, `package api; import _ "` + Module + `/internal/chat"`},
		{"imports", "client/x.go", `package client; import _ "` + Module + `/internal/activity"`, `package client; import _ "net/http"`},
		{"imports", "internal/app/x.go", `package app; import _ "` + Module + `/internal/lm/lmtest"`, `package app; import _ "` + Module + `/internal/lm/demo"`},
		{"imports", "internal/util/x.go", `package util`, ``},
		{"dependencies", "internal/chat/x.go", `package chat; import _ "github.com/nats-io/nats.go"`, `package chat; import _ "strings"`},
		{"dependencies", "internal/app/x.go", `package app; import _ "modernc.org/sqlite"`, ``},
		{"dependencies", "internal/eventlog/x.go", `package eventlog; import _ "example.org/new"`, `package eventlog; import _ "github.com/nats-io/nats.go/jetstream"`},
		{"dependencies", "internal/api/x.go", `package api; import _ "unsafe"`, ``},
		{"dependencies", "internal/api/x.go", `package api; import _ "github.com/google/go-cmp/cmp"`, ``},
		{"testing", "internal/api/x.go", `package api; import _ "testing"`, ``},
		{"comments", "internal/api/x.go", "package api", "// Package api says to the world what is to be said to it.\npackage api"},
		{"comments", "cmd/parley/main.go", "package main", "// Command parley is one line that starts the program.\npackage main"},
		{"comments", "internal/api/x.go", "// Package api is nice.\npackage api", ""},
		{"lengths", "internal/api/x.go", "package api\nfunc f() {\n" + many + "}\n", "package api\nfunc f() {\n}\n"},
		{"lengths", "internal/api/x.go", "package api\n" + strings.Repeat("\n", mostFileLines), ""},
		{"inits", "internal/api/x.go", "package api\nfunc init() {}", "package api\ntype t int\nfunc (t) init() {}"},
		{"contexts", "internal/api/x.go", `package api; import "context"; type t struct{ ctx context.Context }`, `package api; import "context"; type t struct{ do func(context.Context) }`},
		{"vars", "internal/api/x.go", "package api; var n int", "package api; var _ any = 1"},
		{"vars", "internal/api/x.go", "package api; var n = 1; func f() { n++ }", "package api; var n = 1; func f() { n := 2; n++ }"},
		{"vars", "internal/api/x.go", "package api; var m = map[string]int{}; func f() { m[`a`] = 1 }", "package api; var m = map[string]int{`a`: 1}; func f() int { return m[`a`] }"},
		{"vars", "internal/api/x.go", "package api; var m = map[string]int{}; func f() { delete(m, ``) }", ""},
		{"vars", "internal/api/x.go", "package api; import `sync`; var mu = sync.Mutex{}", "package api; import `sync`; var p = sync.Pool{}"},
		{"vars", "internal/api/x.go", "package api; type t struct{}; var p = &t{}", "package api; import `errors`; var e = errors.New(``)"},
		{"vars", "internal/api/x.go", "package api; var c = make(chan int)", ""},
		{"vars", "internal/api/x.go", "package api; var n = 1; func f() *int { return &n }", ""},
		{"exits", "internal/chat/x.go", `package chat; import "os"; func f() { os.Exit(1) }`, `package chat; import "os"; func f() { os.Getpid() }`},
		{"sleeps", "internal/chat/x_test.go", `package chat; import "time"; func f() { time.Sleep(1) }`, `package chat; import ("time"; _ "testing/synctest"); func f() { time.Sleep(1) }`},
		{"sleeps", "internal/chat/x_test.go", `package chat; import "time"; func f() { for { time.Sleep(1) } }`, `package chat; import "time"; func f() { for end := time.Now(); time.Now().Before(end); { time.Sleep(1) } }`},
		{"skips", "internal/chat/x_test.go", "package chat; import `testing`; func f(t *testing.T) { t.SkipNow() }", "package chat; import `testing`; func f(t *testing.T) { t.Skip(`no model here`) }"},
		{"skips", "internal/chat/x_test.go", "package chat; import `testing`; func f(t *testing.T) { t.Skip() }", ""},
		{"leftovers", "internal/chat/x.go", "package chat // TO" + "DO: more", "package chat // mañana"},
		{"machine paths", "docs/x.md", "see /wo" + "rk/main", "see a/wo" + "rk/main and http://x/wo" + "rk"},
		{"requirements", "a/x.go", `package a; import _ "example.org/new"`, `package a; import _ "strings"`},
		{"requirements", "go.mod", "module m\n\nrequire (\n\texample.org/x v1.0.0\n)\n", "module m\n\nrequire (\n\texample.org/x v1.0.0 // indirect\n)\n"},
		{"lock files", "web/package-lock.json", `{"resolved": "x"}`, `{"integrity": "x"}`},
	}
	checks := map[string]func(*Tree) []Finding{}
	seen := map[string]bool{}
	for _, r := range rules() {
		checks[r.name] = r.check
	}
	for _, tt := range tests {
		seen[tt.rule] = true
		if found := checks[tt.rule](example(t, tt.path, tt.bad)); len(found) == 0 {
			t.Errorf("%s: nothing found in %s", tt.rule, tt.bad)
		}
		if tt.good == "" {
			continue
		}
		if found := checks[tt.rule](example(t, tt.path, tt.good)); len(found) != 0 {
			t.Errorf("%s: %v found in %s", tt.rule, found, tt.good)
		}
	}
	for name := range checks {
		if !seen[name] {
			t.Errorf("no example breaks the rule %q", name)
		}
	}
}

func example(t *testing.T, path, text string) *Tree {
	t.Helper()
	tree, err := Parse(map[string][]byte{path: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

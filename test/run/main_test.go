package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStages(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range stages() {
		for _, need := range s.after {
			if !seen[need] {
				t.Errorf("%s comes after %s, which is not before it in the table", s.name, need)
			}
		}
		if seen[s.name] || s.what == "" || s.do == nil {
			t.Errorf("%s is twice in the table, or without a word or an action", s.name)
		}
		seen[s.name] = true
	}
	got, err := choose(stages(), "test", "stories")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, s.name)
	}
	if want := "build vet race model stories"; strings.Join(names, " ") != want {
		t.Errorf("stories need %v, want %s", names, want)
	}
	for _, set := range []string{"check", "test", "nightly"} {
		got, err := choose(stages(), set, "")
		if err != nil {
			t.Fatal(err)
		}
		night := slices.ContainsFunc(got, func(s stage) bool { return s.night })
		if night != (set == "nightly") || len(got) < 4 {
			t.Errorf("%s has %d stages, and campaigns of hours among them: %v", set, len(got), night)
		}
	}
	if _, err := choose(stages(), "test", "nonsense"); err == nil {
		t.Error("a stage that is not there was accepted")
	}
}

// TestOrder runs stages that only note that they ran.
func TestOrder(t *testing.T) {
	var out bytes.Buffer
	m := &machine{root: t.TempDir(), logs: t.TempDir(), began: time.Now(), out: &out}
	var beside, most int
	enter, leave := make(chan int, 10), make(chan int, 10)
	ok := func(context.Context, *job) error { enter <- 1; defer func() { leave <- 1 }(); return nil }
	results := m.runAll(t.Context(), []stage{
		{name: "a", do: ok},
		{name: "b", do: func(context.Context, *job) error { return errors.New("broken") }},
		{name: "c", after: []string{"b"}, do: func(context.Context, *job) error { t.Error("c ran although b failed"); return nil }},
		{name: "d", after: []string{"c"}, do: func(context.Context, *job) error { t.Error("d ran although c did not"); return nil }},
		{name: "e", after: []string{"a"}, alone: true, do: func(context.Context, *job) error {
			beside = len(enter) - len(leave)
			most = max(most, beside)
			return nil
		}},
	})
	if most != 0 {
		t.Errorf("%d stages ran beside one that wants to be alone", most)
	}
	var b bytes.Buffer
	if code := summarize(&b, results, time.Second, "x"); code != 1 {
		t.Errorf("exit status %d with failures", code)
	}
	if !strings.HasSuffix(b.String(), "\n2 passed, 3 failed\n") {
		t.Errorf("last line of %q", b.String())
	}
}

func TestGoTests(t *testing.T) {
	in := `{"Action":"output","Package":"p","Test":"A","Output":"    x_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"B","Output":"=== RUN B\n"}
{"Action":"pass","Package":"p","Test":"B","Elapsed":61.25}
{"Action":"output","Package":"p","Test":"C","Output":"    x_test.go:9: no model here\n"}
{"Action":"output","Package":"p","Test":"C","Output":"--- SKIP: C (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"C"}
not json
{"Action":"output","Package":"p","Test":"D","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p","Elapsed":62}
`
	var log bytes.Buffer
	got, err := goTests(strings.NewReader(in), &log)
	if err != nil {
		t.Fatal(err)
	}
	if got.passed != 1 || got.failed != 2 || got.skipped != 1 || len(got.why) != 1 || got.why[0] != "C: x_test.go:9: no model here" {
		t.Errorf("got %+v", got)
	}
	if want := "    x_test.go:1: wrong\n 61.2 s B\nnot json\np D did not end:\npanic: test timed out\nfail p, 62.0 s\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

func TestPlainTests(t *testing.T) {
	tests := []struct {
		log            string
		passed, failed int
		found          bool
	}{
		{"ok\n3 passed, 1 failed\n", 3, 1, true},
		{"# tests 4\n# pass 4\n# fail 0\n", 4, 0, true},
		{"ℹ pass 7\nℹ fail 2\n", 7, 2, true},
		{"all good\n", 0, 0, false},
	}
	for _, tt := range tests {
		got, found := plainTests(tt.log)
		if got.passed != tt.passed || got.failed != tt.failed || found != tt.found {
			t.Errorf("plainTests(%q) = %v %v", tt.log, got, found)
		}
	}
}

// TestCommandEndsWithItsStage checks that what a stage started does not
// outlive it.
func TestCommandEndsWithItsStage(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PARLEY_RUN_TEST_CHILD") != "" {
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		<-c // until it is killed
	}
	m := &machine{root: t.TempDir(), logs: t.TempDir(), began: time.Now(), out: &bytes.Buffer{}}
	r := m.runOne(t.Context(), stage{name: "long", limit: 200 * time.Millisecond, do: func(ctx context.Context, j *job) error {
		return j.sh(ctx, sh(exe, "-test.run=^TestCommandEndsWithItsStage$").with("PARLEY_RUN_TEST_CHILD=1"))
	}})
	if r.err == nil || !strings.Contains(r.err.Error(), "not done after") {
		t.Errorf("a stage over its limit ended with %v", r.err)
	}
}

func TestBroken(t *testing.T) {
	log := strings.Join([]string{
		"=== RUN   TestA", `time=2026 level=ERROR msg="an error: of the program"`, "    a_test.go:12: got 3, want 4",
		"--- FAIL: TestA (0.1s)", "FAILED a menu opens (2.0 s)", "TimeoutError: locator.click: not seen", "    at run.mjs:12:3",
		"ok     another one", "  FAIL  polling", "✖ a story", "    --- FAIL: TestA (0.1s)",
	}, "\n")
	want := []string{
		"a_test.go:12: got 3, want 4", "--- FAIL: TestA (0.1s)", "FAILED a menu opens (2.0 s)",
		"TimeoutError: locator.click: not seen", "FAIL  polling", "✖ a story",
	}
	if got := broken(log); !slices.Equal(got, want) {
		t.Errorf("picked %q, want %q", got, want)
	}
	if got := broken(strings.Repeat("x_test.go:1: "+strings.Repeat("y", 1000)+"\n", 100)); len(got) != 1 || len(got[0]) > 320 {
		t.Errorf("%d lines, the first of %d bytes", len(got), len(got[0]))
	}
}

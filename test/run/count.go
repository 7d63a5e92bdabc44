package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tally counts tests.
type tally struct {
	passed, failed, skipped int
	why                     []string // of what was skipped
}

func (t tally) String() string {
	s := fmt.Sprintf("%d passed, %d failed", t.passed, t.failed)
	if t.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", t.skipped)
	}
	return s
}

func (t tally) plus(o tally) tally {
	return tally{t.passed + o.passed, t.failed + o.failed, t.skipped + o.skipped, append(t.why, o.why...)}
}

// goEvent is a line of `go test -json`.
type goEvent struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// long is how many seconds a test takes that is worth a line in the log.
const long = 5

// goTests reads the output of `go test -json`, counts, and writes to log what
// failed tests and packages said; of what passed, how long it took if it was
// long.
func goTests(in io.Reader, log io.Writer) (tally, error) {
	var t tally
	said := map[string][]string{} // what is running, by package and test
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e goEvent
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			fmt.Fprintln(log, scan.Text()) // a compiler's complaint
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			if len(said[key]) < 2000 {
				said[key] = append(said[key], e.Output)
			}
		case "build-output":
			fmt.Fprint(log, e.Output)
		case "pass", "skip", "fail":
			t = t.event(e, said[key])
			if e.Action == "fail" {
				fmt.Fprint(log, strings.Join(said[key], ""))
			}
			if e.Test == "" && e.Action == "fail" { // tests that never came to an end: a panic, or out of time
				for _, k := range slices.Sorted(maps.Keys(said)) {
					if k != key && strings.HasPrefix(k, key) {
						fmt.Fprintf(log, "%s did not end:\n%s", k, strings.Join(said[k], ""))
						delete(said, k)
					}
				}
			}
			switch {
			case e.Test == "":
				fmt.Fprintf(log, "%-4s %s, %.1f s\n", e.Action, e.Package, e.Elapsed)
			case e.Elapsed >= long:
				fmt.Fprintf(log, "%5.1f s %s\n", e.Elapsed, e.Test)
			}
			delete(said, key)
		}
	}
	if err := scan.Err(); err != nil {
		return t, fmt.Errorf("read test output: %w", err)
	}
	return t, nil
}

func (t tally) event(e goEvent, said []string) tally {
	switch {
	case e.Test == "" && e.Action == "fail":
		t.failed++ // the package: it may have failed outside of any test
	case e.Test == "":
	case e.Action == "pass":
		t.passed++
	case e.Action == "fail":
		t.failed++
	case e.Action == "skip":
		t.skipped++
		t.why = append(t.why, e.Test+": "+reason(said))
	}
	return t
}

// reason finds the message of t.Skip in what a test said.
func reason(said []string) string {
	for i := len(said) - 1; i >= 0; i-- {
		line := strings.TrimSpace(said[i])
		if line != "" && !strings.HasPrefix(line, "--- SKIP") && !strings.HasPrefix(line, "=== ") {
			return line
		}
	}
	return "no reason given"
}

// plainTests reads the closing lines of other runners: "3 passed, 0 failed",
// or those of Node's own.
func plainTests(log string) (tally, bool) {
	var t tally
	found := false
	last := func(pattern string) int {
		all := regexp.MustCompile(pattern).FindAllStringSubmatch(log, -1)
		if len(all) == 0 {
			return 0
		}
		found = true
		n, err := strconv.Atoi(all[len(all)-1][1])
		if err != nil {
			return 0
		}
		return n
	}
	t.passed = last(`(?m)\b(\d+) passed\b`)
	t.failed = last(`(?m)\b(\d+) failed\b`)
	if !found {
		t.passed = last(`(?m)^(?:#|ℹ) pass (\d+)$`)
		t.failed = last(`(?m)^(?:#|ℹ) fail (\d+)$`)
	}
	return t, found
}

// what a failure's line looks like: of Go's tests, of Node's, of our own runners
var failing = regexp.MustCompile(`^\s*(--- FAIL|FAILED|FAIL\s|not ok|✖|panic:|fatal error:|WARNING: DATA RACE|\S+_test\.go:\d+:|(\w*Error|error)\b.*:)`)

// broken picks the lines of a log that say what failed, without all that the
// program under test wrote meanwhile.
func broken(log string) []string {
	const most, long = 30, 300
	var out []string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if len(line) > long {
			line = line[:long] + " ..."
		}
		if !failing.MatchString(line) || slices.Contains(out, line) {
			continue
		}
		if out = append(out, line); len(out) == most {
			break
		}
	}
	return out
}

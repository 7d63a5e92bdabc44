package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// -update writes docs/cli.md anew: the golden file of all help texts.
var update = flag.Bool("update", false, "write the generated files")

const docsFile = "../../docs/cli.md"

func markdown() string {
	var b strings.Builder
	b.WriteString(`# The command line

<!-- Generated from the commands in internal/cli: go test ./internal/cli -update -->

The exit status is 0 when the command did what it is for, 1 when that failed, 2 when the command line or the configuration is wrong. Where a script would read, ` + "`--json`" + ` writes JSON to the standard output; sentences for people go to the standard error then. ` + "`parley COMMAND --help`" + ` prints what stands here.
`)
	var walk func(c *command, path string)
	walk = func(c *command, path string) {
		if c.hidden {
			return
		}
		b.WriteString("\n## " + path + "\n\n```text\n" + helpText(c, path) + "```\n")
		for _, s := range c.subs {
			walk(s, path+" "+s.name)
		}
	}
	walk(commands(), "parley")
	b.WriteString("\n## In the terminal client\n\nWhat begins with `/` is for `parley chat` itself; a message that begins so is typed with `//`.\n\n| command | |\n|---|---|\n")
	for _, c := range slashes() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimSpace("/"+c.name+" "+c.args), c.what)
	}
	return b.String()
}

func TestDocumentationIsCurrent(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/cli.md is not what help says; go test ./internal/cli -update writes it:\n%s", diff)
	}
}

// Every help text fits a terminal, and every command says what it is for.
func TestHelp(t *testing.T) {
	var walk func(c *command, path string)
	walk = func(c *command, path string) {
		if c.short == "" || strings.HasSuffix(c.short, ".") {
			t.Errorf("%s has no half sentence", path)
		}
		for line := range strings.Lines(helpText(c, path)) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 100 {
				t.Errorf("%s: %d columns: %s", path, n, line)
			}
		}
		for _, e := range c.examples {
			first := strings.Fields(strings.TrimSpace(e.line[max(strings.LastIndex(e.line, "parley "), 0):]))
			if first[0] != "parley" {
				t.Errorf("%s: the example %q is not of parley", path, e.line)
				continue
			}
			if _, _, _, err := find(commands(), first[1:]); err != nil {
				t.Errorf("%s: the example %q: %v", path, e.line, err)
			}
		}
		if (c.setup == nil) == (len(c.subs) == 0) {
			t.Errorf("%s is neither a group nor a command", path)
		}
		for _, s := range c.subs {
			walk(s, path+" "+s.name)
		}
	}
	walk(commands(), "parley")
}

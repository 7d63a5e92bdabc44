package corpus

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// -update writes what the importers make of testdata anew; read it before you
// commit it.
var update = flag.Bool("update", false, "write the golden files")

func importers(t testing.TB) map[string]func() (*Project, []Lost, error) {
	t.Helper()
	file := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return map[string]func() (*Project, []Lost, error){
		"v7.luis.json": func() (*Project, []Lost, error) { return ImportLUIS(file("v7.luis.json")) },
		"v2.luis.json": func() (*Project, []Lost, error) { return ImportLUIS(file("v2.luis.json")) },
		"bot.lu":       func() (*Project, []Lost, error) { return ImportLU(os.DirFS("testdata"), "bot.lu") },
		"clu.json":     func() (*Project, []Lost, error) { return ImportCLU(file("clu.json")) },
		"rasa.yml":     func() (*Project, []Lost, error) { return ImportRasa(file("rasa.yml"), "hotel") },
	}
}

// TestImports compares each project, as it is written, and the list of what is
// lost with the golden file, and then goes the whole way round.
func TestImports(t *testing.T) {
	for name, load := range importers(t) {
		t.Run(name, func(t *testing.T) {
			p, lost, err := load()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, shown(p, lost))
			throughFolder(t, p)

			// What LUIS and .lu have a place for comes back; the rest is listed.
			b, lost1, err := ExportLUIS(p)
			if err != nil {
				t.Fatal(err)
			}
			again, lost2, err := ImportLUIS(b)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".to-luis", string(b)+list(lost1)+list(lost2))
			if len(lost1)+len(lost2) == 0 {
				same(t, "what went through LUIS", ordered(p), ordered(again))
			}
			twice, _, err := ExportLUIS(again)
			if err != nil || string(twice) != string(b) {
				t.Errorf("the second export differs from the first, %v:\n%s", err, cmp.Diff(string(b), string(twice)))
			}
			lu, lost3, err := ExportLU(p)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".to-lu", string(lu)+list(lost3))
			again, lost4, err := ImportLU(fstest.MapFS{"a.lu": {Data: lu}}, "a.lu")
			if err != nil {
				t.Fatal(err)
			}
			if len(lost3)+len(lost4) == 0 {
				was, now := ordered(p), ordered(again)
				was.Version = now.Version // .lu files need not have one
				same(t, "what went through .lu", was, now)
			}
		})
	}
}

func list(lost []Lost) string {
	var b strings.Builder
	for _, l := range lost {
		fmt.Fprintln(&b, "lost:", l)
	}
	return b.String()
}

func shown(p *Project, lost []Lost) string {
	var b strings.Builder
	files := Files(p)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "--- %s\n%s", name, files[name])
	}
	return b.String() + list(lost)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

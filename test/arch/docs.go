package arch

import (
	"fmt"
	"go/doc"
	"strings"
)

// TableFile is the document that holds the package table.
const TableFile = "docs/ARCHITECTURE.md"

const (
	tableBegin = "<!-- packages: made by `make generate` from package comments -->\n"
	tableEnd   = "<!-- end of packages -->\n"
)

// PackageTable makes the table of the product's packages from their comments.
func PackageTable(t *Tree, rooms []Room) string {
	var b strings.Builder
	b.WriteString("| Package | Kind | What lives there |\n|---|---|---|\n")
	for _, p := range t.Packages {
		room, _ := roomOf(rooms, p.Dir)
		if room.Kind == Check || p.Doc() == "" {
			continue
		}
		text := new(doc.Package).Synopsis(p.Doc())
		for _, prefix := range []string{"Package " + p.Name + " ", "Command "} {
			if rest, ok := strings.CutPrefix(text, prefix); ok {
				text = strings.TrimPrefix(rest, "is ")
				break
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Dir, room.Kind, strings.ReplaceAll(text, "|", `\|`))
	}
	return b.String()
}

// WithTable returns the document with the table between its marks.
func WithTable(document, table string) (string, error) {
	before, rest, ok := strings.Cut(document, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("write the package table: its marks are not in %s", TableFile)
	}
	return before + tableBegin + table + tableEnd + after, nil
}

package arch

import (
	"bytes"
	"path"
	"regexp"
	"sort"
	"strings"
)

// The words are put together here so that this file does not break its own
// rule.
func leftovers() *regexp.Regexp {
	return regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
}

func machinePaths() *regexp.Regexp {
	return regexp.MustCompile(`(^|[^A-Za-z0-9_.$~])/(wo` + `rk|fa` + `rm|ro` + `ot)/`)
}

// Leftovers finds notes to oneself: an open end is an issue, not a comment.
func Leftovers(t *Tree) []Finding {
	return scan(t, leftovers(), func(p string) bool { return path.Base(p) != "package-lock.json" },
		"nothing is left to do in the tree: do it, or file an issue")
}

// MachinePaths finds absolute paths of the machine that somebody works on.
func MachinePaths(t *Tree) []Finding {
	return scan(t, machinePaths(), func(string) bool { return true }, "a path of somebody's machine")
}

// Locks checks that lock files of the npm client name packages, not where one
// machine got them from.
func Locks(t *Tree) []Finding {
	return scan(t, regexp.MustCompile(`"resolved":`), func(p string) bool { return path.Base(p) == "package-lock.json" },
		`no "resolved" in a lock file: set omit-lockfile-registry-resolved=true in .npmrc`)
}

// Requirements compares go.mod with what the tree imports: what is imported is
// required directly, and nothing else is. (The go command can only do that
// with the tests of all dependencies at hand.)
func Requirements(t *Tree) []Finding {
	direct := map[string]bool{} // by module, true once it is imported
	var all []string
	row := regexp.MustCompile(`(?m)^(?:require)?\s*([^\s/]+\.[^\s/]+/\S+|[^\s/]+\.[^\s/]+) v\S+( // indirect)?$`)
	for _, m := range row.FindAllStringSubmatch(string(t.Texts["go.mod"]), -1) {
		all = append(all, m[1])
		if m[2] == "" {
			direct[m[1]] = false
		}
	}
	var out []Finding
	t.files(func(_ *Package, f *File) {
		for imp, node := range imports(f) {
			first, _, _ := strings.Cut(imp, "/")
			if !strings.Contains(first, ".") || imp == Module || strings.HasPrefix(imp, Module+"/") {
				continue
			}
			module := ""
			for _, m := range all {
				if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(module) {
					module = m
				}
			}
			if _, ok := direct[module]; !ok {
				out = append(out, t.at(f, node, "go.mod does not require %s directly", imp))
				continue
			}
			direct[module] = true
		}
	})
	for m, used := range direct {
		if !used {
			out = append(out, Finding{Path: "go.mod", Text: m + " is required directly but nothing imports it"})
		}
	}
	return ordered(out)
}

func scan(t *Tree, bad *regexp.Regexp, in func(path string) bool, why string) []Finding {
	var out []Finding
	for p, b := range t.Texts {
		if !in(p) || !bad.Match(b) {
			continue
		}
		for i, line := range bytes.Split(b, []byte("\n")) {
			if bad.Match(line) {
				out = append(out, Finding{Path: p, Line: i + 1, Text: why + ": " + strings.TrimSpace(string(line[:min(len(line), 80)]))})
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

package corpus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// Write writes a project into a new folder, or into one that is there and
// empty: model.yaml, a file for each intent in intents/, and tests.yaml.
// Either all of it is there afterwards, or nothing of it.
func Write(dir string, p *Project) error {
	if err := p.Check(); err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	there, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write project: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("write project: %s is not empty: name a new folder", dir)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("write project: %w", err)
	}
	draft, err := os.MkdirTemp(parent, ".project-*")
	if err != nil {
		return fmt.Errorf("write project: %w", err)
	}
	defer os.RemoveAll(draft) // nothing is left of it when all went well
	for name, text := range Files(p) {
		file := filepath.Join(draft, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("write project: %w", err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write project: %w", err)
		}
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return fmt.Errorf("write project: %w", err)
	}
	os.Remove(dir) // the empty one: not every system renames over it
	if err := os.Rename(draft, dir); err != nil {
		return fmt.Errorf("write project: %w", err)
	}
	return nil
}

// Files returns the files of a project by their names in its folder. The same
// project makes the same files.
func Files(p *Project) map[string]string {
	files := map[string]string{"model.yaml": p.modelFile()}
	taken := map[string]bool{}
	var tests strings.Builder
	for _, in := range p.Intents {
		base := fileName(in.Name)
		name := base
		for i := 2; taken[strings.ToLower(name)]; i++ {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		taken[strings.ToLower(name)] = true
		files["intents/"+name+".yaml"] = p.intentFile(in)
		if len(in.Tests) > 0 {
			fmt.Fprintf(&tests, "\n  %s: |\n%s", yamlText(in.Name), p.block(in.Tests, "    "))
		}
	}
	if tests.Len() > 0 {
		files["tests.yaml"] = "# What must be understood, and never learned from.\ntests:" + tests.String()
	}
	return files
}

// fileName makes a name that every file system takes.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-' {
			return '-'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 50 { // in UTF-8, no file system takes more than 255 bytes
		s = string(r[:50])
	}
	return s
}

func (p *Project) modelFile() string {
	var b strings.Builder
	for _, l := range [][2]string{{"name", p.Name}, {"description", p.Description}, {"culture", p.Culture}, {"version", p.Version}} {
		if l[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", l[0], yamlText(l[1]))
		}
	}
	if b.Len() == 0 && len(p.Entities)+len(p.Phrases) == 0 {
		return "# A model with neither entities nor phrase lists.\n"
	}
	if len(p.Entities) > 0 {
		b.WriteString("\nentities:\n")
		for _, d := range p.Entities {
			d.write(&b, "  ")
		}
	}
	if len(p.Phrases) > 0 {
		b.WriteString("\nphrases:\n")
	}
	for _, l := range p.Phrases {
		if !l.Synonyms && !l.Local && !l.Off {
			fmt.Fprintf(&b, "  %s: %s\n", yamlText(l.Name), yamlList(l.Words))
			continue
		}
		fmt.Fprintf(&b, "  %s:\n    words: %s\n", yamlText(l.Name), yamlList(l.Words))
		writeFlags(&b, "    ", map[string]bool{"synonyms": l.Synonyms, "local": l.Local, "off": l.Off})
	}
	return b.String()
}

func writeFlags(b *strings.Builder, indent string, flags map[string]bool) {
	for _, name := range []string{"any", "synonyms", "local", "off"} {
		if flags[name] {
			fmt.Fprintf(b, "%s%s: true\n", indent, name)
		}
	}
}

func (d Definition) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s:\n", indent, yamlText(d.Name))
	indent += "  "
	if d.Of != "" {
		fmt.Fprintf(b, "%sof: %s\n", indent, yamlText(d.Of))
	}
	writeFlags(b, indent, map[string]bool{"any": d.Any})
	for _, l := range []struct {
		key   string
		texts []string
	}{{"prebuilt", d.Prebuilts}, {"pattern", d.Patterns}, {"parts", d.Parts}, {"roles", d.Roles}, {"uses", d.Uses}, {"explicit", d.Explicit}} {
		switch {
		case len(l.texts) == 1 && (l.key == "prebuilt" || l.key == "pattern"):
			fmt.Fprintf(b, "%s%s: %s\n", indent, l.key, yamlText(l.texts[0]))
		case len(l.texts) > 0:
			fmt.Fprintf(b, "%s%s: %s\n", indent, l.key, yamlList(l.texts))
		}
	}
	if len(d.Values) > 0 {
		fmt.Fprintf(b, "%svalues:\n", indent)
		for _, v := range d.Values {
			fmt.Fprintf(b, "%s  %s:", indent, yamlText(v.Name))
			if len(v.Synonyms) > 0 {
				b.WriteString(" " + yamlList(v.Synonyms))
			}
			b.WriteByte('\n')
		}
	}
	if len(d.Children) > 0 {
		fmt.Fprintf(b, "%schildren:\n", indent)
		for _, c := range d.Children {
			c.write(b, indent+"  ")
		}
	}
}

func (p *Project) intentFile(in Intent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "intents:\n  %s:", yamlText(in.Name))
	if in.Description == "" && len(in.Uses) == 0 && len(in.Patterns) == 0 {
		if len(in.Utterances) > 0 {
			b.WriteString(" |\n" + p.block(in.Utterances, "    "))
		} else {
			b.WriteByte('\n')
		}
		return b.String()
	}
	b.WriteByte('\n')
	if in.Description != "" {
		fmt.Fprintf(&b, "    description: %s\n", yamlText(in.Description))
	}
	if len(in.Uses) > 0 {
		fmt.Fprintf(&b, "    uses: %s\n", yamlList(in.Uses))
	}
	if len(in.Patterns) > 0 {
		b.WriteString("    patterns:\n")
		for _, t := range in.Patterns {
			fmt.Fprintf(&b, "      - %s\n", yamlText(t))
		}
	}
	if len(in.Utterances) > 0 {
		b.WriteString("    utterances: |\n" + p.block(in.Utterances, "      "))
	}
	return b.String()
}

func (p *Project) block(us []Utterance, indent string) string {
	var b strings.Builder
	for _, u := range us {
		b.WriteString(indent + "- " + Utterance{u.Text, p.unresolve(u.Marks)}.Line() + "\n")
	}
	return b.String()
}

// yamlText writes a text so that YAML reads that text: as it is if it is a
// plain word or two, in quotes otherwise. The reader takes every scalar for
// text, so no, null and 12 need none; only what YAML reads as structure does.
func yamlText(s string) string {
	if yamlPlain.MatchString(s) {
		return s
	}
	if strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") && !strings.ContainsFunc(s, oddSpace) {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case oddSpace(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

var yamlPlain = regexp.MustCompile(`^[\pL\pN_]([\pL\pN_ '.+/-]*[\pL\pN_'.+])?$`)

// oddSpace holds for what must be escaped in YAML.
func oddSpace(r rune) bool { return unprintable(r) || unicode.IsSpace(r) && r != ' ' }

func yamlList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = yamlText(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

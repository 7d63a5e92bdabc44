package teams

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
)

// render is an item's text and its format for Teams. What a bot that runs
// elsewhere wrote, it wrote for Teams; what a model wrote has marks that Teams
// does not know.
func render(it channel.Item) (text, format string) {
	a := it.Activity
	switch {
	case a.TextFormat == "plain", a.TextFormat == "xml":
		return strings.TrimSpace(a.Text), a.TextFormat
	case !ours(it):
		return strings.TrimSpace(a.Text), a.TextFormat
	}
	return markdown(a.Text), "markdown"
}

// ours reports whether a text is of a model or a script of this service.
func ours(it channel.Item) bool {
	m := it.Activity.Meta()
	if it.Activity.Type == activity.TypeTyping {
		return m.StreamType == ""
	}
	return m.Turn != "" && m.Engine != "bot"
}

var (
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$`)
	rule      = regexp.MustCompile(`^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$`)
	delimiter = regexp.MustCompile(`^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$`)
	task      = regexp.MustCompile(`^(\s*(?:[-*+]|\d+[.)])[ \t]+)\[([ xX])\][ \t]+`)
	picture   = regexp.MustCompile(`!\[([^\]]*)\]\(([^)\s]+)[^)]*\)`)
	fence     = regexp.MustCompile("^ {0,3}(```+|~~~+)")
	autolink  = regexp.MustCompile(`<(https?://[^<>\s]+|mailto:[^<>\s]+)>`)
	tag       = regexp.MustCompile(`<([A-Za-z/!?])`)
	marks     = strings.NewReplacer("**", "", "__", "", "`", "")
)

// markdown keeps of a text what Teams shows, and writes the rest in its words:
// headings in bold, tables in columns of letters of one width, pictures as
// links, and tags as the text that they are.
func markdown(text string) string {
	var (
		out   []string
		lines = strings.Split(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"), "\n")
		open  string // the fence of the block of code that is open
	)
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := fence.FindStringSubmatch(line); m != nil && (open == "" || strings.HasPrefix(m[1], open)) {
			if open == "" {
				open = m[1]
			} else {
				open = ""
			}
			out = append(out, line)
			continue
		}
		if open != "" {
			out = append(out, line)
			continue
		}
		switch {
		case heading.MatchString(line):
			title := strings.TrimSpace(marks.Replace(heading.FindStringSubmatch(line)[1]))
			if title != "" {
				out = apart(out, "**"+inline(title)+"**")
			}
		case strings.Contains(line, "|") && i+1 < len(lines) && strings.Contains(lines[i+1], "-") && delimiter.MatchString(lines[i+1]) && len(cells(line)) == len(cells(lines[i+1])):
			end := i + 2
			for end < len(lines) && strings.Contains(lines[end], "|") {
				end++
			}
			out = apart(out, table(append([]string{line}, lines[i+2:end]...)))
			i = end - 1
		case rule.MatchString(line) && (len(out) == 0 || strings.TrimSpace(out[len(out)-1]) == ""):
			// it stands alone, and Teams has none
		case strings.TrimSpace(line) == "" && len(out) > 0 && out[len(out)-1] == "":
		default:
			out = append(out, inline(task.ReplaceAllStringFunc(line, box)))
		}
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

// apart adds a paragraph of its own.
func apart(out []string, s string) []string {
	if n := len(out); n > 0 && out[n-1] != "" {
		out = append(out, "")
	}
	return append(out, s, "")
}

func box(s string) string {
	m := task.FindStringSubmatch(s)
	if m[2] == " " {
		return m[1] + "☐ "
	}
	return m[1] + "☑ "
}

// inline is a line with what stands outside of code in Teams' words.
func inline(line string) string {
	var b strings.Builder
	for line != "" {
		at := strings.IndexByte(line, '`')
		if at < 0 {
			at = len(line)
		}
		b.WriteString(words(line[:at]))
		line = line[at:]
		run := len(line) - len(strings.TrimLeft(line, "`"))
		code := line[:run]
		line = line[run:]
		if end := strings.Index(line, code); code != "" && end >= 0 {
			code, line = code+line[:end+run], line[end+run:]
		}
		b.WriteString(code)
	}
	return b.String()
}

func words(s string) string {
	s = picture.ReplaceAllStringFunc(s, func(m string) string {
		p := picture.FindStringSubmatch(m)
		if p[1] == "" {
			return p[2]
		}
		return "[" + p[1] + "](" + p[2] + ")"
	})
	return tag.ReplaceAllString(autolink.ReplaceAllString(s, "$1"), "&lt;$1")
}

// cells takes a row of a table apart.
func cells(row string) []string {
	row = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "|"), "|")
	var out []string
	for c := range strings.SplitSeq(strings.ReplaceAll(row, `\|`, "\x00"), "|") {
		out = append(out, strings.TrimSpace(strings.ReplaceAll(marks.Replace(c), "\x00", "|")))
	}
	return out
}

// mostColumn is the width to which a column is filled up.
const mostColumn = 40

func table(rows []string) string {
	var (
		all  [][]string
		wide []int
	)
	for _, r := range rows {
		line := cells(r)
		for j, c := range line {
			if j == len(wide) {
				wide = append(wide, 0)
			}
			wide[j] = max(wide[j], min(utf8.RuneCountInString(c), mostColumn))
		}
		all = append(all, line)
	}
	var b strings.Builder
	b.WriteString("```\n")
	for i, line := range all {
		for j, c := range line {
			if j > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(c)
			if j+1 < len(line) {
				b.WriteString(strings.Repeat(" ", max(0, wide[j]-utf8.RuneCountInString(c))))
			}
		}
		b.WriteByte('\n')
		if i == 0 {
			for j, w := range wide {
				if j > 0 {
					b.WriteString("-+-")
				}
				b.WriteString(strings.Repeat("-", w))
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString("```")
	return b.String()
}

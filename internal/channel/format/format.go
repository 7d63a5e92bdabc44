// Package format puts what bots say into the words of a channel. What may live
// here: what several channels do with markdown, long texts and cards; which of
// it a channel uses, and within what limits, is the channel's own.
package format

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Dialect is a way to write what markdown says. Texts that it is given to wrap
// are escaped already.
type Dialect struct {
	Escape func(string) string // of literal text
	Strong func(string) string
	Emph   func(string) string
	Strike func(string) string
	Code   func(string) string
	Pre    func(language, code string) string
	Quote  func(string) string
	Link   func(label, url string) string // label is "" where the text was the address; url is not escaped
	// Columns: code has letters of one width, so that tables are set in it.
	Columns bool
}

// Plain is for channels that show text as it is: the words stay, the marks go.
func Plain() Dialect {
	same := func(s string) string { return s }
	return Dialect{
		Escape: same, Strong: same, Emph: same, Strike: same, Code: same, Quote: quoted("> "),
		Pre: func(_, code string) string { return code },
		Link: func(label, url string) string {
			if label == "" {
				return url
			}
			return label + " (" + url + ")"
		},
	}
}

// Mrkdwn is Slack's own markup.
func Mrkdwn() Dialect {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	return Dialect{
		Escape: escape, Strong: wrap("*", "*"), Emph: wrap("_", "_"), Strike: wrap("~", "~"), Code: wrap("`", "`"), Quote: quoted("> "), Columns: true,
		Pre: func(_, code string) string { return "```\n" + code + "\n```" },
		Link: func(label, url string) string {
			url = strings.NewReplacer("&", "&amp;", "<", "%3C", ">", "%3E", "|", "%7C").Replace(url)
			if label == "" {
				return "<" + url + ">"
			}
			return "<" + url + "|" + strings.ReplaceAll(label, "|", "¦") + ">"
		},
	}
}

// HTML is the part of HTML that messengers take.
func HTML() Dialect {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace
	return Dialect{
		Escape: escape, Strong: wrap("<b>", "</b>"), Emph: wrap("<i>", "</i>"), Strike: wrap("<s>", "</s>"),
		Code: wrap("<code>", "</code>"), Quote: wrap("<blockquote>", "</blockquote>"), Columns: true,
		Pre: func(language, code string) string {
			if language == "" {
				return "<pre>" + code + "</pre>"
			}
			return `<pre><code class="language-` + escape(language) + `">` + code + "</code></pre>"
		},
		Link: func(label, url string) string {
			if label == "" {
				return escape(url)
			}
			return `<a href="` + escape(url) + `">` + label + "</a>"
		},
	}
}

func wrap(before, after string) func(string) string {
	return func(s string) string { return before + s + after }
}

func quoted(mark string) func(string) string {
	return func(s string) string { return mark + strings.ReplaceAll(s, "\n", "\n"+mark) }
}

// atOnce is how much markdown is read as one, in characters. Reading takes
// time by the square of the length, and worse, when a text is made for that.
const atOnce = 8000

// Render writes markdown in the dialect.
func (d Dialect) Render(markdown string) string {
	var out []string
	for _, part := range Split(markdown, atOnce) {
		if s := d.render(part); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n\n")
}

func (d Dialect) render(markdown string) string {
	src := []byte(strings.ToValidUTF8(markdown, "\uFFFD"))
	parser := goldmark.New(goldmark.WithExtensions(extension.Strikethrough, extension.Table, extension.TaskList)).Parser()
	r := renderer{d: d, src: src}
	return strings.TrimSpace(r.blocks(parser.Parse(text.NewReader(src)), "\n\n"))
}

// deepest is how deep quotes and lists are followed; what is deeper is left
// out. Nobody can read it, and a hostile text must not cost a stack.
const deepest = 32

type renderer struct {
	d     Dialect
	src   []byte
	depth int
	bold  bool // what is in bold already can't be made bolder
}

func (r *renderer) blocks(n ast.Node, between string) string {
	if r.depth++; r.depth > deepest {
		r.depth--
		return ""
	}
	defer func() { r.depth-- }()
	var out []string
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if s := r.block(c); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, between)
}

func (r *renderer) block(n ast.Node) string {
	switch n := n.(type) {
	case *ast.Paragraph, *ast.TextBlock:
		return r.inline(n)
	case *ast.Heading:
		return r.strong(n)
	case *ast.List:
		return r.list(n)
	case *ast.Blockquote:
		return r.d.Quote(r.blocks(n, "\n\n"))
	case *ast.FencedCodeBlock:
		return r.d.Pre(string(n.Language(r.src)), r.d.Escape(r.lines(n)))
	case *ast.CodeBlock:
		return r.d.Pre("", r.d.Escape(r.lines(n)))
	case *ast.ThematicBreak:
		return "———"
	case *ast.HTMLBlock:
		s := r.lines(n)
		if n.HasClosure() {
			s += "\n" + strings.TrimRight(string(n.ClosureLine.Value(r.src)), "\n")
		}
		return r.d.Escape(strings.Trim(s, "\n"))
	case *east.Table:
		return r.table(n)
	}
	return ""
}

func (r *renderer) lines(n ast.Node) string {
	var b strings.Builder
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		b.Write(line.Value(r.src))
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r *renderer) list(n *ast.List) string {
	var out []string
	number := n.Start
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		mark := "• "
		if n.IsOrdered() {
			mark = fmt.Sprintf("%d. ", number)
			number++
		}
		indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
		out = append(out, mark+strings.ReplaceAll(r.blocks(c, "\n"), "\n", "\n"+indent))
	}
	return strings.Join(out, "\n")
}

func (r *renderer) strong(n ast.Node) string {
	if r.bold {
		return r.inline(n)
	}
	r.bold = true
	s := r.inline(n)
	r.bold = false
	return around(s, r.d.Strong)
}

// around keeps white space outside of marks, where they would not be taken for
// any.
func around(s string, mark func(string) string) string {
	inner := strings.TrimSpace(s)
	if inner == "" {
		return s
	}
	before, after, _ := strings.Cut(s, inner)
	return before + mark(inner) + after
}

func (r *renderer) inline(n ast.Node) string {
	if r.depth++; r.depth > deepest {
		r.depth--
		return ""
	}
	defer func() { r.depth-- }()
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		b.WriteString(r.span(c))
	}
	return b.String()
}

func (r *renderer) span(n ast.Node) string {
	switch n := n.(type) {
	case *ast.Text:
		s := r.d.Escape(literal(n.Value(r.src), n.IsRaw()))
		if n.SoftLineBreak() || n.HardLineBreak() {
			s += "\n"
		}
		return s
	case *ast.String:
		return r.d.Escape(string(n.Value))
	case *ast.CodeSpan:
		return r.d.Code(r.d.Escape(r.raw(n)))
	case *ast.Emphasis:
		if n.Level > 1 {
			return r.strong(n)
		}
		return around(r.inline(n), r.d.Emph)
	case *east.Strikethrough:
		return around(r.inline(n), r.d.Strike)
	case *ast.Link:
		return r.link(n, n.Destination)
	case *ast.Image:
		return r.link(n, n.Destination)
	case *ast.AutoLink:
		return r.address("", string(n.URL(r.src)))
	case *ast.RawHTML:
		return r.html(n)
	case *east.TaskCheckBox:
		if n.IsChecked {
			return "☑ "
		}
		return "☐ "
	}
	return ""
}

func (r *renderer) link(n ast.Node, destination []byte) string {
	label, url := r.inline(n), literal(destination, false)
	if url == "" {
		return label
	}
	if label == r.d.Escape(url) {
		label = ""
	}
	return r.address(label, url)
}

// address links only to what people open: in some channels a link is also how
// everybody is called.
func (r *renderer) address(label, url string) string {
	switch {
	case Web(url):
		return r.d.Link(label, url)
	case label == "":
		return r.d.Escape(url)
	}
	return label + " (" + r.d.Escape(url) + ")"
}

// raw is the text below a node as it was written.
func (r *renderer) raw(n ast.Node) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Value(r.src))
		}
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

// html shows tags as what they are: text. Only a line break is taken at its
// word, since models like it in tables.
func (r *renderer) html(n *ast.RawHTML) string {
	var b strings.Builder
	for i := range n.Segments.Len() {
		s := n.Segments.At(i)
		b.Write(s.Value(r.src))
	}
	switch s := b.String(); strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "<br>", "<br/>":
		return "\n"
	default:
		return r.d.Escape(s)
	}
}

// literal resolves backslashes and entities.
func literal(b []byte, raw bool) string {
	if raw {
		return string(b)
	}
	var out []byte
	from := 0
	flush := func(to int) {
		out = append(out, util.ResolveEntityNames(util.ResolveNumericReferences(b[from:to]))...)
	}
	for i := 0; i+1 < len(b); i++ {
		if b[i] == '\\' && util.IsPunct(b[i+1]) {
			flush(i)
			out = append(out, b[i+1])
			i++
			from = i + 1
		}
	}
	flush(len(b))
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

// table sets a table in columns where letters can be made of one width, and
// else with bars between its cells.
func (r *renderer) table(n *east.Table) string {
	if !r.d.Columns {
		return r.barred(n)
	}
	plain := renderer{d: Plain(), src: r.src, depth: r.depth}
	var rows [][]string
	var wide []int
	for row := n.FirstChild(); row != nil; row = row.NextSibling() {
		var line []string
		for c := row.FirstChild(); c != nil; c = c.NextSibling() {
			s := strings.ReplaceAll(plain.inline(c), "\n", " ")
			if len(line) == len(wide) {
				wide = append(wide, 0)
			}
			wide[len(line)] = max(wide[len(line)], utf8.RuneCountInString(s))
			line = append(line, s)
		}
		rows = append(rows, line)
	}
	var b strings.Builder
	for i, line := range rows {
		for j, s := range line {
			if j > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(s)
			if j+1 < len(line) {
				b.WriteString(strings.Repeat(" ", wide[j]-utf8.RuneCountInString(s)))
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
	return r.d.Pre("", r.d.Escape(strings.TrimRight(b.String(), "\n")))
}

func (r *renderer) barred(n *east.Table) string {
	var out []string
	for row := n.FirstChild(); row != nil; row = row.NextSibling() {
		var line []string
		for c := row.FirstChild(); c != nil; c = c.NextSibling() {
			line = append(line, strings.ReplaceAll(r.inline(c), "\n", " "))
		}
		out = append(out, strings.Join(line, " | "))
	}
	return strings.Join(out, "\n")
}

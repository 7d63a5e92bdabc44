package plain

import (
	"bytes"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/parleyhq/parley/internal/channel/format"
)

// piece is how much markdown is read as one, in characters: reading takes time
// by the square of it.
const piece = 8000

// deepest is how deep quotes and lists may be nested: what is deeper is shown
// as it was written, for a hostile text must not cost a stack.
const deepest = 64

// markdown makes HTML of an answer. HTML in it is text, pictures are links, and
// links lead to addresses that people open, or nowhere.
func markdown(src string, until time.Time) template.HTML {
	md := goldmark.New(
		goldmark.WithExtensions(extension.Strikethrough, extension.TaskList, extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(own{}, 1))),
	)
	var out bytes.Buffer
	for _, part := range format.Split(strings.ToValidUTF8(src, "\uFFFD"), piece) {
		if time.Now().After(until) || !render(&out, md, []byte(part)) {
			out.WriteString("<pre>" + template.HTMLEscapeString(part) + "</pre>")
		}
	}
	return template.HTML(out.String()) //nolint:gosec // every text in it was escaped
}

func render(out *bytes.Buffer, md goldmark.Markdown, src []byte) bool {
	doc := md.Parser().Parse(text.NewReader(src), parser.WithContext(parser.NewContext()))
	return depth(doc) <= deepest && md.Renderer().Render(out, src, doc) == nil
}

// depth is how deep a tree is, told without going down it by calls.
func depth(n ast.Node) int {
	most := 0
	for d := 1; n != nil; {
		most = max(most, d)
		if n.FirstChild() != nil {
			n, d = n.FirstChild(), d+1
			continue
		}
		for n != nil && n.NextSibling() == nil {
			n, d = n.Parent(), d-1
		}
		if n != nil {
			n = n.NextSibling()
		}
	}
	return most
}

// own renders what is not to be as goldmark has it.
type own struct{}

// RegisterFuncs is for goldmark.
func (own) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHeading, heading)
	r.Register(ast.KindHTMLBlock, htmlBlock)
	r.Register(ast.KindRawHTML, rawHTML)
	r.Register(ast.KindLink, link)
	r.Register(ast.KindImage, image)
	r.Register(ast.KindAutoLink, autoLink)
}

// heading is two levels below the page's own.
func heading(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	level := "3456666"[n.(*ast.Heading).Level-1]
	if entering {
		_, _ = w.WriteString("<h" + string(level) + ">")
	} else {
		_, _ = w.WriteString("</h" + string(level) + ">\n")
	}
	return ast.WalkContinue, nil
}

func htmlBlock(w util.BufWriter, src []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	_, _ = w.WriteString("<p>")
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		escape(w, line.Value(src))
	}
	if b := n.(*ast.HTMLBlock); b.HasClosure() {
		escape(w, b.ClosureLine.Value(src))
	}
	_, _ = w.WriteString("</p>\n")
	return ast.WalkContinue, nil
}

func rawHTML(w util.BufWriter, src []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		for _, s := range n.(*ast.RawHTML).Segments.Sliced(0, n.(*ast.RawHTML).Segments.Len()) {
			escape(w, s.Value(src))
		}
	}
	return ast.WalkSkipChildren, nil
}

func link(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	return anchor(w, string(n.(*ast.Link).Destination), entering), nil
}

func image(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	return anchor(w, string(n.(*ast.Image).Destination), entering), nil
}

func autoLink(w util.BufWriter, src []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		a := n.(*ast.AutoLink)
		anchor(w, string(a.URL(src)), true)
		escape(w, a.Label(src))
		anchor(w, string(a.URL(src)), false)
	}
	return ast.WalkContinue, nil
}

// anchor begins or ends a link; where its address is none that may be opened,
// only the text stays.
func anchor(w util.BufWriter, to string, entering bool) ast.WalkStatus {
	u, err := url.Parse(to)
	if err != nil || !slices.Contains([]string{"http", "https", "mailto"}, u.Scheme) {
		return ast.WalkContinue
	}
	if entering {
		_, _ = w.WriteString(`<a rel="noopener noreferrer nofollow" href="`)
		escape(w, util.URLEscape([]byte(to), false))
		_, _ = w.WriteString(`">`)
	} else {
		_, _ = w.WriteString("</a>")
	}
	return ast.WalkContinue
}

func escape(w util.BufWriter, b []byte) { html.DefaultWriter.RawWrite(w, b) }

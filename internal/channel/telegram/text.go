package telegram

import (
	"html"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/parleyhq/parley/internal/channel/format"
)

// Telegram's limits, in UTF-16 units where they are of texts.
const (
	mostText     = 4096
	mostCaption  = 1024
	mostEntities = 100
)

// text is words, and which of them look how. Nothing in the words is markup:
// what a bot quotes can't be taken for any, and a text can be cut anywhere.
type text struct {
	words    string
	entities []entity
}

// entity says how some of a text looks. Offset and Length are UTF-16 units.
type entity struct {
	Type     string `json:"type"`
	Offset   int    `json:"offset"`
	Length   int    `json:"length"`
	URL      string `json:"url,omitempty"`
	Language string `json:"language,omitempty"`
}

func (e entity) end() int { return e.Offset + e.Length }

// whole reports whether an entity is one that is not to be cut: half a link is
// none.
func (e entity) whole() bool { return e.Type == "text_link" || e.Type == "code" }

// mostWhole is up to what length an entity is kept whole.
const mostWhole = 512

// formatted is markdown as Telegram shows it.
func formatted(markdown string) text { return unmarked(format.HTML().Render(markdown)) }

// plain is a text that is no markdown.
func plain(s string) text { return text{words: s} }

// bold is a heading: all of a text in bold.
func bold(s string) text {
	s = strings.TrimSpace(s)
	if s == "" {
		return text{}
	}
	return text{s, []entity{{Type: "bold", Length: format.Length(s)}}}
}

// looks is the entity of a tag that format.HTML writes.
func looks(tag string) string {
	switch tag {
	case "b":
		return "bold"
	case "i":
		return "italic"
	case "s":
		return "strikethrough"
	case "a":
		return "text_link"
	}
	return tag // code, pre, blockquote
}

// unmarked reads back what format.HTML wrote: all literal text is escaped there,
// so each < begins a tag of its own.
func unmarked(marked string) text {
	var (
		words strings.Builder
		r     reader
	)
	for marked != "" {
		at := strings.IndexByte(marked, '<')
		if at < 0 {
			at = len(marked)
		}
		s := clean(html.UnescapeString(marked[:at]))
		words.WriteString(s)
		r.at += format.Length(s)
		marked = marked[at:]
		if tag, rest, ok := strings.Cut(strings.TrimPrefix(marked, "<"), ">"); ok && marked != "" {
			r.tag(tag)
			marked = rest
		} else {
			marked = ""
		}
	}
	slices.SortStableFunc(r.done, func(a, b entity) int {
		if a.Offset != b.Offset {
			return a.Offset - b.Offset
		}
		return b.Length - a.Length
	})
	return text{words.String(), r.done}
}

// reader keeps the rules of what may be in what: code is in nothing but a quote
// and has nothing in it, a quote is in no other, and nothing is in its like.
type reader struct {
	at   int
	open []entity
	done []entity
}

func (r *reader) tag(tag string) {
	if strings.HasPrefix(tag, "/") {
		r.close()
		return
	}
	name, attribute, _ := strings.Cut(tag, " ")
	e := entity{Type: looks(name), Offset: r.at}
	_, value, _ := strings.Cut(attribute, `="`)
	value = html.UnescapeString(strings.TrimSuffix(value, `"`))
	switch {
	case name == "code" && r.within("pre") >= 0: // the language of a block
		if i := r.within("pre"); value != "" {
			r.open[i].Language = strings.TrimPrefix(value, "language-")
		}
		e.Type = ""
	case r.within(e.Type) >= 0, name == "code" && r.within("text_link") >= 0:
		e.Type = ""
	case name == "code" || name == "pre":
		r.part()
	case name == "a":
		e.URL = value
	}
	r.open = append(r.open, e)
}

// part ends what code can't be in, to go on behind it.
func (r *reader) part() {
	for i, e := range r.open {
		if e.Type != "blockquote" {
			r.add(e)
			r.open[i].Offset = r.at
		}
	}
}

func (r *reader) within(kind string) int {
	return slices.IndexFunc(r.open, func(e entity) bool { return e.Type == kind && kind != "" })
}

func (r *reader) close() {
	if len(r.open) == 0 {
		return
	}
	e := r.open[len(r.open)-1]
	r.open = r.open[:len(r.open)-1]
	r.add(e)
	if e.Type == "code" || e.Type == "pre" {
		for i := range r.open {
			if r.open[i].Type != "blockquote" {
				r.open[i].Offset = r.at
			}
		}
	}
}

func (r *reader) add(e entity) {
	if e.Length = r.at - e.Offset; e.Type != "" && e.Length > 0 {
		r.done = append(r.done, e)
	}
}

// clean leaves out what Telegram does, so that it counts as we do.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// join puts texts below each other.
func join(between string, all ...text) text {
	var out text
	for _, t := range all {
		if t.words == "" {
			continue
		}
		if out.words != "" {
			out.words += between
		}
		shift := format.Length(out.words)
		out.words += t.words
		for _, e := range t.entities {
			e.Offset += shift
			out.entities = append(out.entities, e)
		}
	}
	return out
}

// split cuts a text into parts of at most most units. Where it cuts depends only
// on what stands before that, so that a text that grows keeps its parts.
func (t text) split(most int) []text {
	units := utf16.Encode([]rune(t.words))
	var out []text
	for from := 0; from < len(units); {
		to := len(units)
		if to-from > most {
			to = t.border(units, from, from+most)
		}
		to = t.marked(from, to)
		if p := t.part(units, from, to); p.words != "" {
			out = append(out, p)
		}
		from = to
	}
	return out
}

// marked returns where a part ends before it has more links than Telegram takes
// entities: it would leave out the others, and with them where they lead.
func (t text) marked(from, to int) int {
	n := 0
	for _, e := range t.entities { // in the order of their beginnings
		if e.Type != "text_link" || e.end() <= from || e.Offset >= to {
			continue
		}
		if n++; n > mostEntities && e.Offset > from {
			return e.Offset
		}
	}
	return to
}

// border returns where a part ends that goes to most: behind a paragraph, a
// line or a word of its second half, and in no entity that is kept whole.
func (t text) border(units []uint16, from, most int) int {
	end := most
	for _, ends := range []func(i int) bool{
		func(i int) bool { return units[i-1] == '\n' && units[i-2] == '\n' },
		func(i int) bool { return units[i-1] == '\n' },
		func(i int) bool { return unicode.IsSpace(rune(units[i-1])) },
	} {
		i := most
		for i > from+(most-from)/2 && !ends(i) {
			i--
		}
		if ends(i) {
			end = i
			break
		}
	}
	for _, e := range t.entities {
		if e.whole() && e.Length <= mostWhole && e.Offset > from && e.Offset < end && e.end() > end {
			end = e.Offset
		}
	}
	if utf16.IsSurrogate(rune(units[end-1])) && units[end-1] < 0xDC00 { // the first half of a pair
		end--
	}
	return end
}

// part is a stretch of a text without white space around it.
func (t text) part(units []uint16, from, to int) text {
	for from < to && unicode.IsSpace(rune(units[from])) {
		from++
	}
	for to > from && unicode.IsSpace(rune(units[to-1])) {
		to--
	}
	p := text{words: string(utf16.Decode(units[from:to]))}
	for _, e := range t.entities {
		end := min(e.end(), to)
		e.Offset = max(e.Offset, from)
		if e.Length = end - e.Offset; e.Length > 0 {
			e.Offset -= from
			p.entities = append(p.entities, e)
		}
	}
	for i := len(p.entities) - 1; i >= 0 && len(p.entities) > mostEntities; i-- {
		if p.entities[i].Type != "text_link" {
			p.entities = slices.Delete(p.entities, i, i+1)
		}
	}
	return p
}

// short is a text for a place that has room for so many units.
func short(s string, most int) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if format.Length(s) <= most {
		return s
	}
	units := utf16.Encode([]rune(s))
	return strings.ToValidUTF8(strings.TrimRight(strings.TrimSuffix(string(utf16.Decode(units[:most-1])), "\uFFFD"), " "), "") + "…"
}

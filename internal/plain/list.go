package plain

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

// entry is a line of the list, or of what was found.
type entry struct {
	To      string
	Title   string
	Snippet template.HTML
	At      time.Time
}

// composer is the form in which things are said.
type composer struct {
	sheet
	Action  string
	Key     string
	Home    string // of a new conversation
	Bots    []bot  // to choose from
	Follows string
	Edits   string
	Text    string
	Files   int    // that may go with it
	Types   string // of them, as a form wants it
}

type bot struct{ ID, Name string }

func (p *pages) composer(s sheet, action string) composer {
	limits := p.opts.Chat.Limits()
	return composer{sheet: s, Action: action, Key: newKey(), Files: max(limits.Count, 0), Types: strings.Join(limits.Types, ",")}
}

// list shows the conversations, the newest first, or what a search finds.
func (p *pages) list(w http.ResponseWriter, r *http.Request, user string) error {
	const onPage = 50
	q := r.URL.Query()
	s := p.mine(r, user, "Parley")
	page := struct {
		sheet
		Composer composer
		Query    string
		Searched bool
		Archive  bool
		Entries  []entry
		Older    string
	}{sheet: s, Composer: p.composer(s, "/plain/new"), Query: q.Get("q"), Archive: q.Get("shelf") == string(store.Archived)}
	page.Composer.Home = p.opts.Region
	if bots := p.opts.Chat.Bots(); len(bots) > 1 {
		for _, b := range bots {
			page.Composer.Bots = append(page.Composer.Bots, bot{b.ID, b.Name})
		}
	}
	p.opts.Fresh(r.Context())
	if page.Query != "" {
		if len(page.Query) > 1000 {
			return fault.New(fault.TooLarge, "a search has at most 1000 bytes")
		}
		hits, err := p.opts.Store.Search(r.Context(), user, page.Query, "", onPage)
		if err != nil {
			return err
		}
		page.Searched = true
		for _, h := range hits {
			to := place(h.Conversation) + "?" + url.Values{"at": {h.Activity}}.Encode() + "#" + url.PathEscape(h.Activity)
			page.Entries = append(page.Entries, entry{to, h.Title, marked(h.Snippet), h.At.UTC()})
		}
		return p.show(w, http.StatusOK, "list", page)
	}
	shelf := store.Shown
	if page.Archive {
		shelf = store.Archived
	}
	all, next, err := p.opts.Store.Conversations(r.Context(), user, store.Filter{Shelf: shelf}, q.Get("cursor"), onPage)
	if err != nil {
		return err
	}
	for _, c := range all {
		page.Entries = append(page.Entries, entry{To: place(c.ID) + "#newest", Title: c.Title, At: c.Updated.UTC()})
	}
	if next != "" {
		page.Older = "/plain?" + url.Values{"cursor": {next}, "shelf": {string(shelf)}}.Encode()
	}
	return p.show(w, http.StatusOK, "list", page)
}

// marked makes HTML of a snippet with its hits.
func marked(snippet string) template.HTML {
	s := template.HTMLEscapeString(strings.ToValidUTF8(snippet, "\uFFFD"))
	opened := strings.Count(s, store.HitStart)
	if opened != strings.Count(s, store.HitEnd) {
		return template.HTML(strings.NewReplacer(store.HitStart, "", store.HitEnd, "").Replace(s)) //nolint:gosec // it was escaped
	}
	return template.HTML(strings.NewReplacer(store.HitStart, "<mark>", store.HitEnd, "</mark>").Replace(s)) //nolint:gosec // it was escaped
}

package plain

import (
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/fault"
)

// known finds out whose page it is. A browser that comes for the first time is
// given its session and comes again with it; one that keeps no cookies is who
// sits at the machine.
func (p *pages) known(f func(http.ResponseWriter, *http.Request, string) error) func(http.ResponseWriter, *http.Request) error {
	const came = "came"
	return func(w http.ResponseWriter, r *http.Request) error {
		if q := r.URL.Query(); !q.Has(came) && p.opts.Guard.Visit(w, r) {
			q.Set(came, "1")
			http.Redirect(w, r, r.URL.Path+"?"+q.Encode(), http.StatusSeeOther)
			return nil
		}
		user, err := p.opts.Guard.User(r)
		if fault.Is(err, fault.Unauthenticated) {
			http.Redirect(w, r, "/plain/login?"+url.Values{"to": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
			return nil
		}
		if err != nil {
			return err
		}
		return f(w, r, user)
	}
}

// mine is the sheet of a user's page.
func (p *pages) mine(r *http.Request, user, title string) sheet {
	s := p.sheet(r, title)
	s.Token, s.Keyed = p.opts.Guard.Form(user), strings.HasPrefix(user, "key-")
	return s
}

// newKey names what a form will do, so that it is done once, however often the
// form is posted.
func newKey() string { return rand.Text() }

// post is a form that came.
type post struct {
	url.Values
	user  string
	parts *multipart.Reader
	file  *multipart.Part // the first one that holds a file; nil = there is none
}

// text is a field as people wrote it: forms write the ends of lines otherwise.
func (f *post) text(name string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(f.Get(name), "\uFFFD"), "\r\n", "\n")
}

// form does what a form asks for and leads to a page that shows it, so that a
// reload of that does nothing again. What can't be done is shown with all that
// was written, to be sent once more.
func (p *pages) form(do func(r *http.Request, f *post) (to string, err error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		f := &post{Values: url.Values{}}
		user, err := p.opts.Guard.User(r)
		f.user = user
		if wrong := p.read(w, r, f); wrong != nil {
			return wrong // there is nothing whole to show again
		}
		if err == nil && !p.opts.Guard.Formed(user, f.Get("token")) {
			err = errForm
		}
		to := ""
		if err == nil {
			to, err = do(r, f)
		}
		if err != nil {
			if f.file != nil && user != "" { // who is still sending would not read why
				_, _ = io.Copy(io.Discard, r.Body)
			}
			return p.retry(w, r, f, err)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
}

// errForm is told in the reader's language.
var errForm = errors.New("the form is not one that was made here for this user, or too old")

// slowest is how many bytes of a file a second at least have to come.
const slowest = 16 << 10

// read reads a form's fields up to the first file: those come behind all others,
// so that whose they are and what for is known before.
func (p *pages) read(w http.ResponseWriter, r *http.Request, f *post) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/x-www-form-urlencoded":
		b, err := body.Read(w, r, p.opts.MaxBody)
		if err != nil {
			return err
		}
		f.Values, err = url.ParseQuery(string(b))
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the form can't be read")
		}
		return nil
	case err != nil || kind != "multipart/form-data":
		return fault.New(fault.Invalid, "this takes forms")
	}
	limits := p.opts.Chat.Limits()
	most := p.opts.MaxBody + int64(max(limits.Count, 0))*(limits.Size+4096)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(body.Time + time.Duration(most/slowest)*time.Second)) // unsupported only by test recorders
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if f.parts, err = r.MultipartReader(); err != nil {
		return fault.Wrap(err, fault.Invalid, "the form can't be read")
	}
	for left := p.opts.MaxBody; ; {
		part, err := f.parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return brokeOff(err)
		}
		if part.FormName() == "file" {
			f.file = part
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(part, left+1))
		if err != nil {
			return brokeOff(err)
		}
		if left -= int64(len(b)); left < 0 {
			return fault.New(fault.TooLarge, "the form holds more than %d bytes", p.opts.MaxBody)
		}
		f.Add(part.FormName(), string(b))
	}
}

func brokeOff(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fault.New(fault.TooLarge, "the form holds more than %d bytes", large.Limit)
	}
	return fault.Wrap(err, fault.Invalid, "the form broke off")
}

// upload is a file of a form.
type upload struct {
	name, kind string
	content    []byte
}

// files calls each with a form's files as they come, one in memory at a time. A
// field in which nothing was chosen comes as a file without a name.
func (f *post) files(most int64, each func(upload) error) error {
	for part := f.file; part != nil; {
		if name := part.FileName(); name != "" {
			content, err := io.ReadAll(io.LimitReader(part, most+1))
			if err != nil {
				return brokeOff(err)
			}
			if int64(len(content)) > most {
				return fault.New(fault.TooLarge, "the file %q has more than %d bytes", name, most)
			}
			if err := each(upload{name, part.Header.Get("Content-Type"), content}); err != nil {
				return err
			}
		}
		next, err := f.parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return brokeOff(err)
		}
		part = next
	}
	return nil
}

// retry shows a form again that could not be done, with what was written in it.
func (p *pages) retry(w http.ResponseWriter, r *http.Request, f *post, err error) error {
	s := p.mine(r, f.user, "Parley")
	status := http.StatusForbidden
	switch {
	case errors.Is(err, errForm):
		s.Problem = s.Words.Stale
	default:
		status, s.Problem = p.told(w, r, err)
	}
	if status == 0 {
		return nil
	}
	type field struct{ Name, Value string }
	page := struct {
		sheet
		Action, Back string
		Text, Name   *string // what people wrote
		Files        bool
		In           bool
		Fields       []field
	}{sheet: s, Action: r.URL.Path, Back: "/plain", In: !fault.Is(err, fault.Unauthenticated), Files: f.file != nil}
	if id := r.PathValue("id"); id != "" {
		page.Back = "/plain/c/" + url.PathEscape(id)
	}
	for _, name := range []string{"key", "home", "bot", "follows", "edits", "turn", "on", "is", "was"} {
		if v := f.Get(name); v != "" && utf8.ValidString(v) {
			if name == "key" && fault.Is(err, fault.Conflict) {
				v = newKey() // something else was done by this one
			}
			page.Fields = append(page.Fields, field{name, v})
		}
	}
	if f.Has("text") {
		t := f.text("text")
		page.Text = &t
	}
	if f.Has("title") {
		t := f.text("title")
		page.Name = &t
	}
	return p.show(w, status, "retry", page)
}

// local is where to go after something, if that is one of these pages.
func local(to string) string {
	if to == "/plain" || strings.HasPrefix(to, "/plain/") || strings.HasPrefix(to, "/plain?") {
		return to
	}
	return "/plain"
}

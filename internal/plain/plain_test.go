package plain_test

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/health"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/plain"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/secret"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/telemetry"
)

// node serves the pages over real parts and a canned engine.
func node(t *testing.T, canned demo.CannedOptions, keys ...auth.Key) (url string, engine *demo.Engine) {
	t.Helper()
	ctx := t.Context()
	log, err := eventlog.Open(ctx, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	st, err := sqlite.Open(ctx, sqlite.Options{Path: t.TempDir() + "/store.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	projector, err := project.New(project.Options{Log: log, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = projector.Run(run) }()
	t.Cleanup(func() { stop(); <-done })
	engine = demo.Canned(canned)
	engines := roster.New(fleet.Options{})
	engines.Expect("canned", "", nil).Serve(engine, "", nil)
	t.Cleanup(func() { _ = engines.Close() })
	svc, err := chat.New(chat.Options{Log: log, Engines: engines, Bots: []chat.Bot{{ID: "default"}}, Checkpoint: 2 * time.Millisecond, Files: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		svc.Stop(ctx)
	})
	guard, err := auth.New(auth.Options{Secret: []byte(strings.Repeat("s", 32)), Open: len(keys) == 0, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if last, err := log.Last(ctx, "CONV_local_0"); err == nil {
			_ = projector.WaitFor(ctx, "CONV_local_0", last)
		}
	}
	pages, err := plain.Handler(plain.Options{Chat: svc, Store: st, Guard: guard, Region: "local", Fresh: fresh, Style: "/plain.css", Dark: "/dark.css", MaxBody: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.New(api.Options{
		Chat: svc, Store: st, Guard: guard, Board: health.New(0), Metrics: telemetry.New("test", "local"), Fresh: fresh,
		Info: func() api.Info { return api.Info{Version: "test"} }, Plain: pages, Origins: []string{"https://elsewhere.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL, engine
}

// browser is one without JavaScript.
type browser struct {
	t    *testing.T
	http *http.Client
	base string
	name string // as it calls itself
	// Of the page that it shows.
	status int
	at     *url.URL
	page   string
}

func open(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, http: &http.Client{Jar: jar}, base: base, name: "w3m/0.5.3"}
}

func (b *browser) send(req *http.Request, err error) *browser {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("User-Agent", b.name)
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.status, b.at, b.page = resp.StatusCode, resp.Request.URL, string(page)
	return b
}

func (b *browser) get(path string) *browser {
	b.t.Helper()
	return b.send(http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, http.NoBody))
}

var (
	forms  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	areas  = regexp.MustCompile(`(?s)<textarea[^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>`)
	inputs = regexp.MustCompile(`<input[^>]*name="([^"]*)"[^>]*?(?: value="([^"]*)")?[^>]*>`)
)

// fields are those of the page's form that ends in a word, with what is
// written into it.
func (b *browser) fields(to string, written ...string) (action string, all url.Values) {
	b.t.Helper()
	for _, f := range forms.FindAllStringSubmatch(b.page, -1) {
		if !strings.HasSuffix(f[1], to) {
			continue
		}
		all = url.Values{}
		for _, i := range inputs.FindAllStringSubmatch(f[2], -1) {
			if i[1] != "file" {
				all.Set(html.UnescapeString(i[1]), html.UnescapeString(i[2]))
			}
		}
		for _, a := range areas.FindAllStringSubmatch(f[2], -1) {
			all.Set(html.UnescapeString(a[1]), html.UnescapeString(a[2]))
		}
		for i := 0; i+1 < len(written); i += 2 {
			all.Set(written[i], written[i+1])
		}
		return html.UnescapeString(f[1]), all
	}
	b.t.Fatalf("no form to %s in %s", to, b.page)
	return "", nil
}

// post sends fields as browsers do.
func (b *browser) post(action string, all url.Values, header ...string) *browser {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+action, strings.NewReader(all.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
	}
	return b.send(req, err)
}

func (b *browser) fill(to string, written ...string) *browser {
	b.t.Helper()
	action, all := b.fields(to, written...)
	return b.post(action, all)
}

// shows fails if the page is another one.
func (b *browser) shows(status int, texts ...string) {
	b.t.Helper()
	if b.status != status {
		b.t.Fatalf("%s: status %d, want %d: %s", b.at, b.status, status, b.page)
	}
	for _, s := range texts {
		if !strings.Contains(b.page, s) {
			b.t.Fatalf("%s: no %q in %s", b.at, s, b.page)
		}
	}
}

func answer(text string) demo.CannedOptions {
	return demo.CannedOptions{Answer: func(lm.Request) string { return text }}
}

func TestTalk(t *testing.T) {
	base, engine := node(t, answer("**So** it is.\n\n<script>x</script>"))
	b := open(t, base)
	b.get("/plain").shows(200, "New conversation", "No conversations here yet.")
	action, said := b.fields("/plain/new", "text", "How is it?\r\nSay <b>it</b>.")
	b.post(action, said).shows(200, "How is it?\nSay &lt;b&gt;it&lt;/b&gt;.", "<strong>So</strong> it is.", "&lt;script&gt;x&lt;/script&gt;")
	first := b.at.Path
	b.post(action, said).shows(200) // pressed twice, or reloaded
	if b.at.Path != first || engine.Calls().Generate != 1 {
		t.Errorf("the same form again led to %s, not %s; %+v", b.at.Path, first, engine.Calls())
	}
	action, said = b.fields("/say", "text", "And then?")
	b.post(action, said)
	b.post(action, said).shows(200, "And then?")
	if n := strings.Count(b.page, ">And then?<"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	said.Set("text", "Something else.") // the form was gone back to
	b.post(action, said).shows(409, "Not done yet", "Something else.")
	b.fill("/say", "text", "Something else.").shows(200, ">Something else.<")
	b.fill("/say", "text", "").shows(400, "nothing to send")

	b.get(first).fill("/think", "is", "like")
	b.shows(200, `value="like" aria-pressed="true"`)
	if b.fill("/think", "is", "like").shows(200); strings.Contains(b.page, `aria-pressed="true"`) {
		t.Errorf("it was not taken back: %s", b.page)
	}
	b.fill("/again").shows(200, "version 2 of 2", ">previous<")
	b.fill("/title", "title", "About <it>").shows(200, "<h1 dir=\"auto\">About &lt;it&gt;</h1>")
	b.fill("/title", "title", " ").shows(400, "a title has 1 to")
	b.get("/plain").shows(200, "About &lt;it&gt;")
	b.get("/plain?q=then").shows(200, "And <mark>then</mark>?")
	b.get("/plain?q=nowhere").shows(200, "Nothing found.")

	open(t, base).get(first).shows(404, "There is nothing here")
	b.get(first+"?seen=99999999").shows(503, "Try again in a while") // another region has seen more
	b.get(first+"/delete").shows(200, "Delete this conversation?", "About &lt;it&gt;")
	b.fill("/delete").shows(200, "No conversations here yet.")
	b.get(first).shows(404)
}

// What is edited begins another branch, and both can be looked at.
func TestBranches(t *testing.T) {
	base, _ := node(t, demo.CannedOptions{Answer: func(r lm.Request) string { return "To " + r.Messages[len(r.Messages)-1].Text + "!" }})
	b := open(t, base)
	b.get("/plain").fill("/plain/new", "text", "one")
	b.shows(200, "To one!")
	edit := regexp.MustCompile(`href="([^"]*edit=[^"]*)#text"`).FindStringSubmatch(b.page)
	if edit == nil {
		t.Fatalf("nothing can be edited in %s", b.page)
	}
	b.get(html.UnescapeString(edit[1])).shows(200, "\none</textarea>", "This begins another branch")
	b.fill("/say", "text", "two").shows(200, "To two!", "version 2 of 2")
	if strings.Contains(b.page, "To one!") {
		t.Errorf("both branches are on %s", b.page)
	}
	back := regexp.MustCompile(`href="([^"]*)#[^"]*">previous`).FindStringSubmatch(b.page)
	b.get(html.UnescapeString(back[1])).shows(200, "To one!", "version 1 of 2")
	b.fill("/say", "text", "three").shows(200, "To one!", "To three!")
}

// A form is good for whom it was made, and what can't be done is not lost.
func TestForms(t *testing.T) {
	base, engine := node(t, answer("So."))
	mine, theirs := open(t, base), open(t, base)
	_, theirForm := theirs.get("/plain").fields("/plain/new")
	action, said := mine.get("/plain").fields("/plain/new", "text", "Tell me", "token", theirForm.Get("token"))
	mine.post(action, said, "Origin", base).shows(403, "Nothing is lost", "Tell me")
	said.Del("token")
	mine.post(action, said, "Origin", "https://elsewhere.example").shows(403) // may call the API, by other means than this
	if n := engine.Calls().Generate; n != 0 {
		t.Errorf("%d answers to a forged form", n)
	}
	mine.post(action, said, "Sec-Fetch-Site", "cross-site", "Origin", "https://attacker.example").shows(403, "another origin")
	mine.post(action, said).fill("/plain/new").shows(200, "So.")
	mine.post("/plain/new", url.Values{"text": {strings.Repeat("x", 65<<10)}}).shows(413)
	mine.send(http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/plain/new", strings.NewReader("{}"))).shows(400)

	// A browser that keeps no cookies is who sits at the machine.
	poor := open(t, base)
	poor.http.Jar = nil
	poor.get("/plain").fill("/plain/new", "text", "Here?").shows(200, "So.")
}

func TestFiles(t *testing.T) {
	base, _ := node(t, answer("Seen."))
	b := open(t, base)
	action, said := b.get("/plain").fields("/plain/new")
	send := func(files map[string]string) *browser {
		var body bytes.Buffer
		m := multipart.NewWriter(&body)
		for name := range said {
			_ = m.WriteField(name, said.Get(name))
		}
		for name, content := range files {
			w, err := m.CreateFormFile("file", name)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(w, content)
		}
		_ = m.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+action, &body)
		if err == nil {
			req.Header.Set("Content-Type", m.FormDataContentType())
		}
		return b.send(req, err)
	}
	said.Set("text", "Look")
	send(map[string]string{"": ""}).shows(200, "Look", "Seen.") // no file was chosen
	b.get("/plain")
	action, said = b.fields("/plain/new", "text", "Look at this")
	files := map[string]string{"a.txt": "hello", "p.png": "\x89PNG\r\n\x1a\n0000"}
	send(files).shows(200, `download="a.txt"`, `alt="p.png"`)
	send(files).shows(200)
	if n := strings.Count(b.page, "download="); n != 1 {
		t.Errorf("the file is there %d times", n)
	}
	link := regexp.MustCompile(`href="(/api/v1/[^"]*)" download`).FindStringSubmatch(b.page)
	if b.get(link[1]); b.page != "hello" {
		t.Errorf("the file is %q", b.page)
	}
	b.get("/plain")
	action, said = b.fields("/plain/new", "text", "Too much")
	send(map[string]string{"big": strings.Repeat("x", 10<<20+1)}).shows(413, "Too much", "choose them again")
	many := map[string]string{}
	for i := range 11 {
		many[fmt.Sprint(i)] = "x"
	}
	send(many).shows(413, "at most 10")
}

// Who draws pages as they come in sees the answer grow; it stands there whole in
// the end, and the log has no more than one.
func TestGrowing(t *testing.T) {
	base, engine := node(t, demo.CannedOptions{Words: 60, Delay: 10 * time.Millisecond})
	b := open(t, base)
	b.name = "Mozilla/5.0"
	action, said := b.get("/plain").fields("/plain/new", "text", "Count")
	said.Set("text", "Count")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+action, strings.NewReader(said.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", b.name)
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page strings.Builder
	grew := 0
	for buf := make([]byte, 4096); err == nil; {
		var n int
		n, err = resp.Body.Read(buf)
		page.Write(buf[:n])
		if s := page.String(); strings.Contains(s, "w5 ") && !strings.Contains(s, "w50") {
			grew++
		}
	}
	whole := "w0 w1 w2 w3"
	if s := page.String(); grew < 5 || strings.Count(s, whole) != 2 || !strings.HasSuffix(strings.TrimSpace(s), "</html>") {
		t.Errorf("it grew %d times: %s", grew, s)
	}
	b.name = "w3m/0.5.3"
	if b.get(resp.Request.URL.Path).shows(200, "w59"); strings.Count(b.page, whole) != 1 || engine.Calls().Generate != 1 {
		t.Errorf("%+v: %s", engine.Calls(), b.page)
	}
}

func TestStop(t *testing.T) {
	base, _ := node(t, demo.CannedOptions{Words: 100000, Delay: 5 * time.Millisecond})
	b := open(t, base)
	action, said := b.get("/plain").fields("/plain/new", "text", "Count")
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.post(action, said)
	// A page that grows is not waited for: its form is read from the beginning.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+b.location(t, action, said), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0")
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	for buf := make([]byte, 512); err == nil && !strings.Contains(page.String(), "w2 w3"); {
		var n int
		n, err = resp.Body.Read(buf)
		page.Write(buf[:n])
	}
	_ = resp.Body.Close() // as a browser does that goes elsewhere
	b.page = page.String()
	action, stop := b.fields("/stop")
	b.http.CheckRedirect = nil
	b.post(action, stop).shows(200, "Stopped.", "w3")
}

// location posts a form again, which changes nothing, and says where to go.
func (b *browser) location(t *testing.T, action string, all url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+action, strings.NewReader(all.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, _, _ := strings.Cut(resp.Header.Get("Location"), "#")
	return to
}

func TestSignIn(t *testing.T) {
	base, _ := node(t, answer("So."), auth.Key{Name: "ann", Hash: secret.HashOf(secret.New("open sesame"))})
	b := open(t, base)
	b.get("/plain?q=x").shows(200, "Sign in")
	b.post("/plain/new", url.Values{"text": {"Hello?"}, "key": {"k"}}).shows(401, "You are not signed in", "Hello?")
	b.get("/plain?q=x").fill("/plain/login", "secret", "wrong").shows(401, "This key is not known here.")
	b.fill("/plain/login", "secret", "open sesame").shows(200, "Nothing found.")
	if b.at.RequestURI() != "/plain?q=x" {
		t.Errorf("signing in led to %s", b.at)
	}
	b.get("/plain").fill("/plain/new", "text", "Hello?").shows(200, "So.")
	b.fill("/plain/logout").shows(200, "Sign in")
	b.get("/plain").shows(200, "Sign in")
	b.get("/plain/login?to=https://attacker.example").shows(200, `name="to" value="/plain"`)
}

func TestLanguage(t *testing.T) {
	base, _ := node(t, answer("So."))
	b := open(t, base)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/plain", http.NoBody)
	if err == nil {
		req.Header.Set("Accept-Language", "fr, de-AT;q=0.8, en;q=0.5")
	}
	b.send(req, err).shows(200, `<html lang="de">`, "Neues Gespräch")
}

func TestPolicy(t *testing.T) {
	base, _ := node(t, answer("So."))
	for _, path := range []string{"/plain", "/plain/login", "/plain/c/local-0", "/plain/nowhere"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		h := resp.Header
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self'") || strings.Contains(csp, "script") || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

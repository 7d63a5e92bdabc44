package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, method, path string, header map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/index.html", 200, "text/html; charset=utf-8"},
		{"GET", "/c/local.abc", 200, "text/html; charset=utf-8"},
		{"GET", "/c/", 404, ""},
		{"GET", "/c/a/b", 404, ""},
		{"GET", "/learn", 200, "text/html; charset=utf-8"},
		{"GET", "/icon.svg", 200, "image/svg+xml"},
		{"GET", "/licenses.txt", 200, "text/plain; charset=utf-8"},
		{"GET", "/manifest.webmanifest", 200, "application/manifest+json"},
		{"GET", "/sw.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/icon-512.png", 200, "image/png"},
		{"GET", "/assets/app.js", 404, ""},
		{"GET", "/assets/../index.html", 404, ""},
		{"GET", "/index.html.gz", 404, ""},
		{"POST", "/", 405, ""},
	} {
		res := get(t, tc.method, tc.path, nil)
		if res.StatusCode != tc.status {
			t.Errorf("%s %s: status %d, want %d", tc.method, tc.path, res.StatusCode, tc.status)
		}
		if got := res.Header.Get("Content-Type"); tc.kind != "" && got != tc.kind {
			t.Errorf("%s %s: Content-Type %q, want %q", tc.method, tc.path, got, tc.kind)
		}
		if b := body(t, res); tc.method == "HEAD" && b != "" {
			t.Errorf("HEAD %s: has a body", tc.path)
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy"} {
			if res.Header.Get(name) == "" {
				t.Errorf("%s %s: no %s", tc.method, tc.path, name)
			}
		}
	}
}

func TestPolicyForbidsInline(t *testing.T) {
	csp := get(t, "GET", "/", nil).Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy lacks %q: %s", want, csp)
		}
	}
	for _, bad := range []string{"unsafe", "*", "http:", "https:", "blob:"} {
		if strings.Contains(csp, bad) {
			t.Errorf("the policy has %q: %s", bad, csp)
		}
	}
}

func TestPolicyNamesTheRegions(t *testing.T) {
	w := httptest.NewRecorder()
	Handler("https://kr.example.org", "https://sg.example.org").ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if csp := w.Result().Header.Get("Content-Security-Policy"); !strings.Contains(csp, "; connect-src 'self' https://kr.example.org https://sg.example.org; ") {
		t.Errorf("the policy: %s", csp)
	}
}

// The page names only files that exist, has nothing inline, and asks nobody else.
func TestPageRefersToItsOwnFiles(t *testing.T) {
	page := body(t, get(t, "GET", "/", nil))
	refs := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(refs) < 3 {
		t.Fatalf("the page refers to %d files, want script, style and icon", len(refs))
	}
	for _, m := range refs {
		if !strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "//") {
			t.Errorf("the page refers to %q outside of itself", m[1])
			continue
		}
		if m[1] == "/plain" { // a page of its own: see package plain
			continue
		}
		res := get(t, "GET", m[1], nil)
		if res.StatusCode != 200 {
			t.Errorf("%s: status %d", m[1], res.StatusCode)
		}
		if strings.HasPrefix(m[1], "/assets/") && !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: Cache-Control %q", m[1], res.Header.Get("Cache-Control"))
		}
	}
	if regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script[^>]*>[^<\s]`).MatchString(page) {
		t.Error("the page has inline script or style")
	}
}

// What a first visit loads, compressed, stays small.
func TestFirstLoad(t *testing.T) {
	const most = 200_000
	page := body(t, get(t, "GET", "/", nil))
	total := len(body(t, get(t, "GET", "/", map[string]string{"Accept-Encoding": "gzip"})))
	for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		total += len(body(t, get(t, "GET", m[1], map[string]string{"Accept-Encoding": "gzip"})))
	}
	if total > most || total < 10_000 {
		t.Errorf("the first load has %d bytes compressed, want at most %d", total, most)
	}
}

// A browser must ask for the service worker again at every visit, or a page of
// last year would stay for good.
func TestTheWorkerIsNeverOld(t *testing.T) {
	res := get(t, "GET", "/sw.js", nil)
	if got := res.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control %q", got)
	}
	worker := body(t, res)
	for _, m := range regexp.MustCompile(`"(/assets/[^"]+)"`).FindAllStringSubmatch(worker, -1) {
		if got := get(t, "GET", m[1], nil).StatusCode; got != 200 {
			t.Errorf("the worker keeps %s, which answers %d", m[1], got)
		}
	}
}

func TestCompressedAndRevalidated(t *testing.T) {
	plain := body(t, get(t, "GET", "/", nil))
	res := get(t, "GET", "/", map[string]string{"Accept-Encoding": "gzip"})
	if got := res.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q, want gzip", got)
	}
	zr, err := gzip.NewReader(strings.NewReader(body(t, res)))
	if err != nil {
		t.Fatal(err)
	}
	var unpacked bytes.Buffer
	if _, err := io.Copy(&unpacked, zr); err != nil {
		t.Fatal(err)
	}
	if unpacked.String() != plain {
		t.Error("the gzip body is not the plain body")
	}
	for accept, want := range map[string]string{
		"": "", "identity": "", "gzip, br": "br", "br;q=0, gzip": "gzip", "gzip;q=0": "", "BR": "br", "br;q=x": "", "zstd": "",
	} {
		if got := get(t, "GET", "/", map[string]string{"Accept-Encoding": accept}).Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: got %q, want %q", accept, got, want)
		}
	}
	tag := res.Header.Get("ETag")
	for _, tc := range []struct {
		header string
		status int
	}{{tag, 304}, {"W/" + tag, 304}, {`"x", ` + tag, 304}, {"*", 304}, {`"other"`, 200}, {"", 200}} {
		if got := get(t, "GET", "/", map[string]string{"If-None-Match": tc.header}).StatusCode; got != tc.status {
			t.Errorf("If-None-Match %q: status %d, want %d", tc.header, got, tc.status)
		}
	}
}

func TestLoadRefusesAnIncompleteBuild(t *testing.T) {
	for name, tree := range map[string]fstest.MapFS{
		"no index":        {"dist/a.js": {Data: []byte("1")}},
		"only compressed": {"dist/index.html": {Data: []byte("1")}, "dist/a.js.br": {Data: []byte("1")}},
		"nothing":         {},
	} {
		if _, err := load(tree); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

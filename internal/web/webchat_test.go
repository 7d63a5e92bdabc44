package web_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/web"
)

// What Web Chat itself does is shown by a story of test/browser; here the file
// only has to look like it.
func TestWebchat(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "webchat.js")
	if _, err := web.Webchat(bundle, web.Handler()); err == nil {
		t.Error("a bundle that is not there")
	}
	for text, ok := range map[string]bool{"alert('something else')": false, "": false, strings.Repeat("createDirectLine ", 1<<20): false, "createDirectLine": true} {
		if err := os.WriteFile(bundle, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := web.Webchat(bundle, web.Handler()); (err == nil) != ok {
			t.Errorf("a bundle of %d bytes: %v", len(text), err)
		}
	}
	if err := os.WriteFile(bundle, []byte("createDirectLine"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := web.Webchat(bundle, web.Handler())
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	for path, kind := range map[string]string{"/webchat": "text/html", "/webchat/page.js": "text/javascript", "/webchat/page.css": "text/css", "/webchat/webchat.js": "text/javascript"} {
		w := get(path)
		csp := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || !strings.Contains(csp, "script-src 'self';") || w.Header().Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := get("/webchat/../../etc/passwd"); w.Code != 404 {
		t.Errorf("a path out of it: %d", w.Code)
	}
	if own := get("/").Header().Get("Content-Security-Policy"); strings.Contains(own, "unsafe") {
		t.Errorf("the front page's policy became %s", own)
	}
	if w := get("/webchats"); w.Code != 404 {
		t.Errorf("another page: %d", w.Code)
	}
}

package api_test

import (
	"net/http"
	"testing"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// The page of another region reads and writes with a pass; a page of anybody
// else can do neither.
func TestPagesOfOtherRegions(t *testing.T) {
	const region, stranger = "https://sg.example.org", "https://evil.example"
	n := newNode(t, demo.CannedOptions{}, func(o *api.Options) { o.Origins = []string{region} })
	var p struct{ Pass, Until string }
	n.want(200, &p, "POST", "/api/v1/session/pass", "", "Cookie", "")
	ask := func(method, path, origin string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, n.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	for _, tc := range []struct {
		name, method, path, origin string
		header                     []string
		status                     int
		allowed                    bool
	}{
		{"before it asks", "OPTIONS", "/api/v1/conversations", region, []string{"Access-Control-Request-Method", "POST"}, 204, true},
		{"read", "GET", "/api/v1/conversations", region, []string{"Authorization", "Bearer " + p.Pass}, 200, true},
		{"write", "POST", "/api/v1/conversations", region, []string{"Authorization", "Bearer " + p.Pass}, 201, true},
		{"probe", "GET", "/readyz", region, nil, 200, true},
		{"refused, readable", "GET", "/api/v1/conversations", region, []string{"Authorization", "Bearer pass.x"}, 401, true},
		{"a stranger before it asks", "OPTIONS", "/api/v1/conversations", stranger, []string{"Access-Control-Request-Method", "POST"}, 405, false},
		{"a stranger writes", "POST", "/api/v1/conversations", stranger, []string{"Authorization", "Bearer " + p.Pass}, 403, false},
		{"a stranger reads", "GET", "/api/v1/info", stranger, nil, 200, false},
	} {
		resp := ask(tc.method, tc.path, tc.origin, tc.header...)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != tc.status || (got == tc.origin) != tc.allowed {
			t.Errorf("%s: status %d, want %d; allowed %q", tc.name, resp.StatusCode, tc.status, got)
		}
		if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: a cookie may be taken along", tc.name)
		}
	}
}

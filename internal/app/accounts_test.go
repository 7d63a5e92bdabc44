package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/config"
)

// A node with budgets says what is left, refuses what is over as OpenAI's API
// does, and forgets neither over a restart.
func TestBudgets(t *testing.T) {
	text := `
listen: 127.0.0.1:0
engine: echo
data: ` + t.TempDir() + `
keys:
  - {name: ann, key: ann-0123456789abcdef, tenant: acme}
  - {name: bob, key: bob-0123456789abcdef}
  - {name: ops, key: ops-0123456789abcdef, operator: true}
prices:
  - {model: "*", input: 1000, output: 1000}
budgets:
  - {name: acme, for: tenant, who: acme, day: {requests: 3}}
  - {name: each, for: key, month: {tokens: 100000, money: 100}}
`
	c, err := config.Parse("p.yaml", []byte(text), []string{"HOME=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, c)
	call := func(method, path, key, body string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, a.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key+"-0123456789abcdef")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	ask := func(key string) (*http.Response, string) {
		t.Helper()
		return call(http.MethodPost, "/v1/chat/completions", key, `{"model":"echo","max_tokens":50,"messages":[{"role":"user","content":"hello there"}]}`)
	}
	for _, left := range []string{"2", "1", "0"} {
		if left == "1" {
			stop(t, a)
			a = start(t, c)
		}
		resp, body := ask("ann")
		if resp.StatusCode != 200 || resp.Header.Get("X-Ratelimit-Limit-Requests") != "3" || resp.Header.Get("X-Ratelimit-Remaining-Requests") != left || resp.Header.Get("X-Ratelimit-Limit-Tokens") != "100000" {
			t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
		}
		if reset, err := time.ParseDuration(resp.Header.Get("X-Ratelimit-Reset-Requests")); err != nil || reset <= 0 || reset > 24*time.Hour {
			t.Errorf("reset %v: %v", reset, err)
		}
	}
	resp, body := ask("ann")
	var said struct {
		Error struct{ Message, Code string }
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil || resp.StatusCode != 429 || said.Error.Code != "insufficient_quota" ||
		!strings.Contains(said.Error.Message, `"acme"`) || !strings.Contains(said.Error.Message, "3 requests a day") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	if resp, body := ask("bob"); resp.StatusCode != 200 {
		t.Errorf("somebody else: %d %s", resp.StatusCode, body)
	}
	for _, x := range []struct{ key, path, want string }{
		{"ann", "/api/v1/usage?by=tenant,key,model&format=csv", "tenant,key,model,requests,prompt_tokens,cached_tokens,completion_tokens,cost,currency\nacme,ann,echo,3,18,0,9,0.027,USD\n"},
		{"bob", "/api/v1/usage?by=user&format=csv", "user,requests,prompt_tokens,cached_tokens,completion_tokens,cost,currency\nkey-bob,1,6,0,3,0.009,USD\n"},
		{"ops", "/api/v1/usage?by=tenant&format=csv", "tenant,requests,prompt_tokens,cached_tokens,completion_tokens,cost,currency\n,1,6,0,3,0.009,USD\nacme,3,18,0,9,0.027,USD\n"},
	} {
		if _, body := call(http.MethodGet, x.path, x.key, ""); body != x.want {
			t.Errorf("%s, %s:\n%s\nwant\n%s", x.key, x.path, body, x.want)
		}
	}
	stop(t, a)
}

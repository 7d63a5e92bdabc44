package cli

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	url, _ := startNode(t, filepath.Join(t.TempDir(), "data"), "--engine", "echo")
	env := []string{"PARLEY_URL=" + url}
	if status, _, text := typed(t, env, "", "usage"); status != 0 || !strings.Contains(text, "Nothing was spent from ") {
		t.Errorf("status %d: %s", status, text)
	}
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"messages":[{"role":"user","content":"one two three"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	today := time.Now().UTC().Format(time.DateOnly)
	status, table, text := typed(t, env, "", "usage")
	if lines := strings.Split(table, "\n"); status != 0 || len(lines) < 2 || strings.Join(strings.Fields(lines[0]), " ") != "DAY MODEL REQUESTS PROMPT CACHED ANSWER COST" || strings.Join(strings.Fields(lines[1]), " ") != today+" echo 1 7 0 4 0 USD" {
		t.Errorf("status %d: %s%s", status, table, text)
	}
	if status, csv, text := typed(t, env, "", "usage", "--by", "user", "--from", today, "--csv"); status != 0 || csv != "user,requests,prompt_tokens,cached_tokens,completion_tokens,cost,currency\nlocal,1,7,0,4,0,USD\n" {
		t.Errorf("status %d: %s%s", status, csv, text)
	}
	if status, out, text := typed(t, env, "", "usage", "--json"); status != 0 || !strings.Contains(out, `"requests": 1`) {
		t.Errorf("status %d: %s%s", status, out, text)
	}
	if status, _, text := typed(t, env, "", "usage", "--by", "colour"); status != 1 || !strings.Contains(text, "day, tenant, key, user, model") {
		t.Errorf("status %d: %s", status, text)
	}
}

package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// whole is an OpenAI-compatible server that answers at once.
func whole(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"echo","object":"model"}]}`)
			return
		}
		if b, _ := io.ReadAll(r.Body); strings.Contains(string(b), "bad") {
			http.Error(w, `{"error":{"message":"no"}}`, http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}]}`)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

func TestBatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, _ := startNode(t, filepath.Join(dir, "data"), "--engine", whole(t))
	env := []string{"PARLEY_URL=" + url}
	write := func(name string, says ...string) string {
		t.Helper()
		var b strings.Builder
		for i, text := range says {
			fmt.Fprintf(&b, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"%s"}]}}`+"\n", i, text)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lines := func(path string) int {
		b, _ := os.ReadFile(path)
		return strings.Count(string(b), "\n")
	}
	in, out := write("in.jsonl", "one", "two", "three"), filepath.Join(dir, "out.jsonl")
	status, _, first := typed(t, env, "", "batch", "run", in, "-o", out)
	if status != 0 || lines(out) != 3 || !strings.Contains(first, "completed, 3 of 3") {
		t.Fatalf("status %d, %d lines: %s", status, lines(out), first)
	}
	// Once more is the same batch, and its answers are written again.
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	status, _, second := typed(t, env, "", "batch", "run", in, "-o", out)
	if status != 0 || lines(out) != 3 || lastWord(first, "batch_") != lastWord(second, "batch_") {
		t.Errorf("status %d, %d lines: %s, before %s", status, lines(out), second, first)
	}
	status, _, said := typed(t, env, "", "batch", "run", write("mixed.jsonl", "good", "bad"), "-o", out)
	if status != 1 || lines(out) != 1 || lines(out+".errors") != 1 || !strings.Contains(said, "1 not") {
		t.Errorf("a good and a bad line: status %d: %s", status, said)
	}
	broken := write("broken.jsonl", "x", "y\"")
	if status, _, said = typed(t, env, "", "batch", "run", broken, "-o", out); status != 1 || !strings.Contains(said, broken+":2: ") || lines(out) != 1 {
		t.Errorf("a broken line: status %d: %s", status, said)
	}
	status, said, _ = typed(t, env, "", "batch", "list")
	if status != 0 || strings.Count(said, "batch_") != 3 || strings.Count(said, "completed") != 2 || strings.Count(said, "failed") != 1 {
		t.Errorf("list: %s", said)
	}
	id := lastWord(first, "batch_")
	if status, said, _ = typed(t, env, "", "batch", "show", id); status != 0 || !strings.Contains(said, "output: file-") {
		t.Errorf("show: %s", said)
	}
	if status, _, said = typed(t, env, "", "batch", "cancel", id); status != 1 || !strings.Contains(said, "completed already") {
		t.Errorf("cancel what is over: status %d: %s", status, said)
	}
}

// lastWord returns the last word that begins so, without a colon at its end.
func lastWord(text, prefix string) string {
	out := ""
	for _, w := range strings.Fields(text) {
		if strings.HasPrefix(w, prefix) {
			out = strings.TrimRight(w, ":,")
		}
	}
	return out
}

package app_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
	"github.com/parleyhq/parley/internal/config"
)

// What somebody writes to a page is answered there, also what was written just
// before the node stopped.
func TestMessenger(t *testing.T) {
	graph := &graphtest.Graph{Secret: "app-secret", Pages: map[string]string{"1": "page-token"}}
	meta := httptest.NewServer(graph)
	defer meta.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	settings := "listen: 127.0.0.1:0\nengine: echo\ndata: " + filepath.Join(dir, "data") + "\nchannels:\n  messenger:\n" +
		"    - {name: shop, page: \"1\", token: env:T, app_secret: env:S, verify_token: env:V, greeting: Welcome!, graph: " + meta.URL + "/" + graphtest.Version + "}\n"
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Input{Path: file, Environ: []string{"HOME=" + dir, "T=page-token", "S=app-secret", "V=verify"}})
	if err != nil {
		t.Fatal(err)
	}
	write := func(url, mid, event string) {
		t.Helper()
		graph.Wrote("1", "7", mid, mid, time.Now())
		b := graphtest.Escape([]byte(`{"object":"page","entry":[{"id":"1","messaging":[{"sender":{"id":"7"},"recipient":{"id":"1"},` + event + `}]}]}`))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/channels/messenger/shop", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Hub-Signature-256", graphtest.Sign("app-secret", b))
		r.Host = "chat.example.org" // as the edge hands it on
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	a := start(t, c)
	write(a.URL(), "m_1", `"postback":{"mid":"m_1","title":"Get Started","payload":"GET_STARTED"}`)
	write(a.URL(), "m_2", `"message":{"mid":"m_2","text":"Grüße"}`)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.Stop(stopped) // at once, whatever it is doing
	a = start(t, c)
	defer stop(t, a)
	write(a.URL(), "m_2", `"message":{"mid":"m_2","text":"Grüße"}`) // Meta was not sure
	write(a.URL(), "m_3", `"message":{"mid":"m_3","text":"noch da?"}`)
	var got []string
	for late := time.Now().Add(30 * time.Second); len(got) < 3 && time.Now().Before(late); {
		<-time.After(10 * time.Millisecond)
		got = graph.Texts("1", "7")
	}
	if len(got) != 3 || got[0] != "Welcome!" || !strings.Contains(got[1], "Grüße") || !strings.Contains(got[2], "noch da?") {
		t.Errorf("said: %q", got)
	}
	if wrong := graph.Wrong(); len(wrong) > 0 {
		t.Errorf("against the rules: %q", wrong)
	}
}

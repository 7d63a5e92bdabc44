package app_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/config"
)

// What somebody writes to a bot is fetched and answered, also what was written
// while no node ran.
func TestTelegram(t *testing.T) {
	api := &bottest.API{}
	bots := httptest.NewServer(api)
	defer bots.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	settings := "listen: 127.0.0.1:0\nengine: echo\ndata: " + filepath.Join(dir, "data") + "\nchannels:\n  telegram: [{name: shop, token: env:T, greeting: Welcome!, api: \"" + bots.URL + "\"}]\n"
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Input{Path: file, Environ: []string{"HOME=" + dir, "T=" + bottest.Token}})
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		api.Happen(`{"update_id":%d,"message":{"message_id":%d,"date":1,"from":{"id":7,"is_bot":false,"first_name":"Ann"},"chat":{"id":7,"type":"private"},"text":"` + text + `"}}`)
	}
	see := func(want ...string) {
		t.Helper()
		var got []string
		for late := time.Now().Add(30 * time.Second); len(got) < len(want) && time.Now().Before(late); {
			<-time.After(10 * time.Millisecond)
			got = api.Texts(7)
		}
		for i, w := range want {
			if len(got) != len(want) || !strings.Contains(got[i], w) {
				t.Fatalf("said: %q, want %q", got, want)
			}
		}
	}
	a := start(t, c)
	write("/start")
	write("Grüße")
	see("Welcome!", "Grüße")
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.Stop(stopped) // at once, whatever it is doing
	write("noch da?")
	a = start(t, c)
	defer stop(t, a)
	see("Welcome!", "Grüße", "noch da?")
	if wrong := api.Wrong(); len(wrong) > 0 {
		t.Errorf("against the rules: %q", wrong)
	}
}

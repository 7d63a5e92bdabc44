package cli

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const kioskKey = "a-key-of-thirty-two-bytes-for-it"

// kiosk is a program behind a webhook, which does what it is told.
type kiosk struct {
	*httptest.Server
	mu     sync.Mutex // guards all below
	status int
	tried  map[string]int      // by conversation
	got    map[string][]string // as above
}

func newKiosk(t *testing.T) *kiosk {
	k := &kiosk{status: http.StatusForbidden, tried: map[string]int{}, got: map[string][]string{}}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a struct {
			Text         string
			Conversation struct{ ID string }
		}
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			t.Error(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.tried[a.Conversation.ID]++
		if k.status == http.StatusNoContent {
			k.got[a.Conversation.ID] = append(k.got[a.Conversation.ID], a.Text)
		}
		w.WriteHeader(k.status)
	}))
	t.Cleanup(k.Close)
	return k
}

// says brings a message in, as the program does.
func says(t *testing.T, url, conversation, text string) {
	t.Helper()
	body := fmt.Sprintf(`{"type":"message","text":%q,"conversation":{"id":%q},"from":{"id":"ann"}}`, text, conversation)
	at := fmt.Sprint(time.Now().Unix())
	m := hmac.New(sha256.New, []byte(kioskKey))
	_, _ = io.WriteString(m, text+"."+at+"."+body)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/channels/webhook/kiosk", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Webhook-Id": {text}, "Webhook-Timestamp": {at}, "Webhook-Signature": {"v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))}}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
}

// TestDeadLetters lists what a program would not have, page by page, and posts
// it when the program takes it again.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	k := newKiosk(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	config := "engine: echo\nchannels: {webhook: [{name: kiosk, url: '" + k.URL + "', private: true, secret: whsec_" + base64.StdEncoding.EncodeToString([]byte(kioskKey)) + "}]}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _ := startNode(t, filepath.Join(dir, "data"), "-c", file)
	do := func(want int, line ...string) string {
		t.Helper()
		status, out, errs := typed(t, []string{"PARLEY_URL=" + url}, "", append([]string{"channel"}, line...)...)
		if status != want {
			t.Fatalf("%q: status %d: %s%s", line, status, out, errs)
		}
		return out + errs
	}
	if out := do(0, "dead"); !strings.Contains(out, "There are none") {
		t.Errorf("there is %s", out)
	}
	const people, each = 2, 12
	want := map[string][]string{}
	for i := range people * each {
		hall := fmt.Sprint("hall ", i%people)
		text := fmt.Sprint("message ", i)
		want[hall] = append(want[hall], "Echo: "+text)
		says(t, url, hall, text)
	}
	var whole string
	for late := time.Now().Add(30 * time.Second); strings.Count(whole, "\n") < people*each; whole = do(0, "dead", "--limit", "0") {
		if time.Now().After(late) {
			t.Fatalf("there is %s", whole)
		}
		<-time.After(20 * time.Millisecond)
	}

	// Pages of five are the same list.
	var pages string
	for after := ""; ; {
		out := do(0, "dead", "webhook", "--limit", "5", "--after", after)
		lines, more, _ := strings.Cut(out, "There are more: --after ")
		pages += lines
		if after = strings.TrimSpace(more); after == "" {
			break
		}
	}
	if pages != whole {
		t.Errorf("by pages:\n%s\nat once:\n%s", pages, whole)
	}

	k.mu.Lock()
	clear(k.tried)
	k.mu.Unlock()
	if out := do(1, "replay", "--all", "webhook"); strings.Count(out, "still refused") != people {
		t.Errorf("%s", out)
	}
	k.mu.Lock()
	if len(k.tried) != people || k.tried["hall 0"] != 1 || k.tried["hall 1"] != 1 {
		t.Errorf("behind one that is refused others were tried: %v", k.tried)
	}
	k.status = http.StatusNoContent
	k.mu.Unlock()
	first, _, _ := strings.Cut(whole, " ")
	do(0, "replay", first)
	do(0, "replay", "--all")
	k.mu.Lock()
	defer k.mu.Unlock()
	for hall := range want {
		if !slices.Equal(k.got[hall], want[hall]) {
			t.Errorf("%s got %q, want %q", hall, k.got[hall], want[hall])
		}
	}
	if out := do(0, "dead"); !strings.Contains(out, "There are none") {
		t.Errorf("left is %s", out)
	}
	do(2, "replay")
}

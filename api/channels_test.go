package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const webhookKey = "a-key-of-thirty-two-bytes-for-it"

// kiosk is the program that the webhook kiosk calls: it does what it is told.
type kiosk struct {
	url string

	mu     sync.Mutex // guards all below
	status int
	hold   chan struct{} // calls wait until they have sent to it twice
}

func newKiosk(t *testing.T) *kiosk {
	k := &kiosk{status: http.StatusNoContent}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		k.mu.Lock()
		status, hold := k.status, k.hold
		k.mu.Unlock()
		if hold != nil {
			hold <- struct{}{}
			hold <- struct{}{}
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	k.url = srv.URL
	return k
}

func (k *kiosk) be(status int, hold chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status, k.hold = status, hold
}

func (k *kiosk) settings() string {
	return "{name: kiosk, url: '" + k.url + "', private: true, secret: whsec_" + base64.StdEncoding.EncodeToString([]byte(webhookKey)) + ", bot: quick}"
}

// say brings something in as the kiosk does.
func (k *kiosk) say(t *testing.T, base, body string) {
	t.Helper()
	at := strconv.FormatInt(time.Now().Unix(), 10)
	m := hmac.New(sha256.New, []byte(webhookKey))
	_, _ = io.WriteString(m, at+"."+at+"."+body)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/channels/webhook/kiosk", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Webhook-Id", at)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
}

// channels looks after a channel that has to be called.
func channels(t *testing.T, c *caller, k *kiosk) {
	t.Helper()
	const base = "/api/v1/channels"
	if got := c.ok(200, "GET", base, ""); got.text("accounts.2.account") != "kiosk" || got.text("service") == "" {
		t.Errorf("%s", got.body)
	}
	check := base + "/webhook/accounts/kiosk/check"
	for i, what := range []string{"0", "1"} {
		if got := c.ok(200, "POST", check, ""); got.text("findings."+what+".what") == "" || got.get("findings."+what+".problem") != nil {
			t.Errorf("finding %d of %s", i, got.body)
		}
	}
	k.be(http.StatusUnauthorized, nil)
	if got := c.ok(200, "POST", check, ""); !strings.Contains(got.text("findings.0.problem"), "same secret") {
		t.Errorf("%s", got.body)
	}
	c.ok(404, "POST", base+"/webhook/accounts/nobody/check", "")
	c.ok(404, "POST", base+"/pigeons/accounts/kiosk/check", "")

	k.say(t, c.base, `{"type":"message","text":"hello","conversation":{"id":"counter 1"},"from":{"id":"ann"}}`)
	letters := base + "/letters"
	var id string
	for late := time.Now().Add(20 * time.Second); id == ""; {
		if got := c.ok(200, "GET", letters+"?channel=webhook", ""); got.get("letters.0.id") != nil {
			id = got.text("letters.0.id")
		}
		if time.Now().After(late) {
			t.Fatal("there is no dead letter")
		}
		<-time.After(20 * time.Millisecond)
	}
	if got := c.ok(200, "GET", letters, ""); !strings.Contains(got.text("letters.0.error"), "same secret") {
		t.Errorf("%s", got.body)
	}
	c.ok(400, "GET", letters+"?channel=*", "")
	c.bad(400, "GET", letters+"?limit=0", "")
	c.bad(400, "GET", letters+"?after="+strings.Repeat("0", 201), "")
	if got := c.ok(200, "GET", letters+"?limit=1&after="+id, ""); got.get("letters.0") != nil || got.text("next") != "" {
		t.Errorf("behind the last letter: %s", got.body)
	}
	replay := letters + "/" + id + "/replay"
	// It is kept before the log says that it is dead: 409 for a moment.
	first := c.send(c.request("POST", replay, ""))
	for late := time.Now().Add(20 * time.Second); first.status == 409 && time.Now().Before(late); <-time.After(20 * time.Millisecond) {
		first = c.send(c.request("POST", replay, ""))
	}
	if first.status != 200 || first.get("posted") != false || first.text("error") == "" {
		t.Errorf("%d %s", first.status, first.body)
	}
	hold := make(chan struct{})
	k.be(http.StatusNoContent, hold)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := c.ok(200, "POST", replay, ""); got.get("posted") != true {
			t.Errorf("%s", got.body)
		}
	})
	<-hold
	c.ok(409, "POST", replay, "")
	<-hold
	wg.Wait()
	c.ok(404, "POST", replay, "")
	c.ok(404, "DELETE", letters+"/"+id, "")

	k.be(http.StatusForbidden, nil)
	k.say(t, c.base, `{"type":"message","text":"again","conversation":{"id":"counter 2"},"from":{"id":"ann"}}`)
	for id = ""; id == ""; <-time.After(20 * time.Millisecond) {
		if got := c.ok(200, "GET", letters, ""); got.get("letters.0.id") != nil {
			id = got.text("letters.0.id")
		}
	}
	c.ok(204, "DELETE", letters+"/"+id, "")
}

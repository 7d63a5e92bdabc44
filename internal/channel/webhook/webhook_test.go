package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// The signature is what Standard Webhooks' own library for Python (1.1) makes of
// the same.
func TestSignature(t *testing.T) {
	key, err := Key(secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	if err != nil {
		t.Fatal(err)
	}
	h, body, now := http.Header{}, []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0)
	sign(h, body, [][]byte{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", now)
	if got, want := h.Get("webhook-signature"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signed with %q, want %q", got, want)
	}
	next := []byte("another-key-another-key-another!")
	for name, x := range map[string]struct {
		keys [][]byte
		at   time.Time
		ok   bool
	}{
		"now":             {[][]byte{key}, now, true},
		"one of two keys": {[][]byte{next, key}, now.Add(4 * time.Minute), true},
		"another key":     {[][]byte{next}, now, false},
		"late":            {[][]byte{key}, now.Add(6 * time.Minute), false},
	} {
		if err := verify(h, body, x.keys, x.at); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []string{"", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!"} {
		if _, err := Key(secret.New(s)); err == nil {
			t.Errorf("%q is taken for a secret", s)
		}
	}
}

// nowhere is a desk that nobody sits at.
type nowhere struct{}

func (nowhere) Place(context.Context, string, channel.Start) (string, error) {
	return "", fault.New(fault.Internal, "nobody is here")
}
func (nowhere) Take(context.Context, channel.Inbound) (uint64, error) { return 0, nil }
func (nowhere) Observer() channel.Observer                            { return nil }

// What a program answers decides what becomes of an item. The url, which may
// hold a key, is in no error.
func TestOutcomes(t *testing.T) {
	post := func(url string, private bool) error {
		t.Helper()
		s, err := New(Options{Desk: nowhere{}, Accounts: []Account{{Name: "a", URL: url, Private: private, Secret: secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = s.Post(ctx, channel.Post{
			Conversation: "local-1", Owner: Owner("a"), Last: &activity.Activity{ChannelData: []byte(`{"webhook":{"conversation":"room"}}`)},
			Item: channel.Item{Pos: 8, ID: 8, Activity: &activity.Activity{Type: activity.TypeMessage, Text: "hi"}},
		})
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error says too much: %v", err)
		}
		return err
	}
	for status, want := range map[int]fault.Code{
		200: "", 202: "", 204: "", 301: fault.Forbidden, 307: fault.Forbidden, 400: fault.Invalid, 401: fault.Forbidden, 404: fault.Invalid, 410: fault.Invalid,
		408: fault.Unavailable, 429: fault.Limited, 500: fault.Unavailable, 501: fault.Invalid, 503: fault.Unavailable,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}))
		err := post(srv.URL+"/?key=hush", true)
		if got := fault.CodeOf(err); got != want {
			t.Errorf("status %d is %q, want %q", status, got, want)
		}
		if after := fault.RetryAfterOf(err); (status == 429 || status == 503) && after != 7*time.Second {
			t.Errorf("status %d: come back after %v", status, after)
		}
		srv.Close()
		if got := fault.CodeOf(post(srv.URL+"/?key=hush", true)); got != fault.Unavailable {
			t.Errorf("nobody listens: %q", got)
		}
	}
	hangs := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	if got := fault.CodeOf(post(srv.URL+"/?key=hush", true)); got != fault.Timeout {
		t.Errorf("a program that hangs: %q", got)
	}
	close(hangs)
	srv.Close()
	for _, url := range []string{"https://127.0.0.1:1/", "https://localhost:1/", "https://[::1]:1/", "https://169.254.169.254/", "https://10.0.0.1/", "https://[::ffff:127.0.0.1]:1/"} {
		if err := post(url, false); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"", "ftp://x/", "http://example.org/", "https://", "https://u:p@example.org/", "//x"} {
		if CheckURL(url, false) == nil {
			t.Errorf("%q is taken for an address", url)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"type":"message","text":"x","conversation":{"id":"r"},"from":{"id":"a"}}`, `{"type":"ping"}`, `null`, `[]`,
		`{"type":"event","conversation":{"id":"r"},"from":{"id":"a"},"channelData":{"webhook":{"conversation":"other"},"parley":{"turn":"t"}}}`,
		`{"TYPE":"message","conversation":{"ID":"r"},"from":{"id":"a"},"channelData":null}`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, to, err := parse(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if a.Type == typePing {
			return
		}
		var back address
		if !read(a.ChannelData, &back) || back != to || a.From.ID == "" {
			t.Fatalf("%q is read as %+v, to %+v", b, a, to)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/channel/webhook"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/secret"
)

var (
	ours   = []byte("ours-ours-ours-ours-ours-ours-32")
	before = []byte("before-before-before-before-be32")
	others = []byte("others-others-others-others-ot32")
)

func whsec(key []byte) secret.String {
	return secret.New("whsec_" + base64.StdEncoding.EncodeToString(key))
}

// signature is Standard Webhooks', written from its specification.
func signature(key []byte, id, at string, body []byte) string {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%s.%s", id, at, body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true, Lease: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// program is what a webhook calls: a strict one, that knows what it has.
type program struct {
	t   *testing.T
	url string

	mu     sync.Mutex // guards all below
	has    map[string][]*said
	seen   map[string]bool // deliveries
	calls  int
	until  time.Time // no calls before
	limit  time.Duration
	reject bool
}

type said struct{ id, text string }

func newProgram(t *testing.T) *program {
	p := &program{t: t, has: map[string][]*said{}, seen: map[string]bool{}}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	p.url = srv.URL + "/from-parley"
	return p
}

func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(unix, 0)).Abs() > time.Minute || strings.Split(r.Header.Get("webhook-signature"), " ")[0] != signature(ours, id, at, body) {
		p.t.Errorf("a delivery that is not signed: %v", r.Header)
	}
	var a struct {
		Type, ID, Text, ChannelID string
		Conversation, From        struct{ ID, Role string }
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Type == "" {
		p.t.Errorf("a delivery that is no activity: %s", body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.calls++; {
	case a.Type == "ping", a.Type == "typing":
		return
	case a.ID == "" || a.Conversation.ID == "" || a.From.Role != "bot" || id == "":
		p.t.Errorf("an activity without names: %s", body)
	case time.Now().Before(p.until):
		p.t.Errorf("a call %v too early", time.Until(p.until))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case p.limit > 0:
		w.Header().Set("Retry-After", strconv.FormatFloat(p.limit.Seconds(), 'f', -1, 64))
		w.WriteHeader(http.StatusTooManyRequests)
		p.until, p.limit = time.Now().Add(p.limit), 0
		return
	case p.reject:
		w.WriteHeader(http.StatusForbidden)
		return
	case p.seen[id]: // a repetition
		return
	}
	p.seen[id] = true
	all := p.has[a.Conversation.ID]
	for _, x := range all {
		if x.id == a.ID {
			x.text = a.Text
			return
		}
	}
	if a.Type == "messageUpdate" {
		p.t.Errorf("an update of what is not there: %s", body)
	}
	p.has[a.Conversation.ID] = append(all, &said{a.ID, a.Text})
}

func (p *program) Posted(conv string) (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.has[conv] {
		out = append(out, x.text)
	}
	return out
}

func (p *program) Limit(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = after
}

func (p *program) Reject(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reject = on
}

// door is one of our nodes, as the program sees it.
type door struct {
	url    string
	outlet *channel.Outlet
	server *webhook.Server
}

func start(t *testing.T, log *eventlog.Log, name string, p *program, e lm.Engine, death *channeltest.Death, pace time.Duration) door {
	t.Helper()
	var s *webhook.Server
	n := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: webhook.Name, Worker: name, Log: log, Death: death, Engine: e, Rate: 10, Burst: 40,
		Attach: func(n *channeltest.Node) (err error) {
			if s, err = webhook.New(webhook.Options{Desk: n.Desk, Accounts: []webhook.Account{
				{Name: "shop", URL: p.url, Secret: whsec(ours), Previous: whsec(before), Private: true, Pace: pace},
				{Name: "other", URL: p.url, Secret: whsec(others), Private: true},
			}}); err == nil {
				n.Outlet.Add(n.Desk, s)
			}
			return err
		},
	})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return door{srv.URL, n.Outlet, s}
}

func (door) Begin(*testing.T) string { return rand.Text() }

func (d door) Deliver(t *testing.T, conv string, m channeltest.Message) error {
	return d.send(t, ours, m.Delivery, time.Now(), message(conv, m.Text))
}

func message(conv, text string) []byte {
	b, _ := json.Marshal(map[string]any{
		"type": "message", "text": text, "conversation": map[string]string{"id": conv}, "from": map[string]string{"id": "ann", "name": "Ann"},
	})
	return b
}

func (d door) send(t *testing.T, key []byte, id string, now time.Time, body []byte) error {
	at := strconv.FormatInt(now.Unix(), 10)
	return d.post(t, "shop", body, "Webhook-Id", id, "Webhook-Timestamp", at, "Webhook-Signature", signature(key, id, at, body))
}

func (d door) post(t *testing.T, account string, body []byte, headers ...string) error {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+webhook.Base+account, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode > 299 {
		return fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	return nil
}

func attacks() map[string]func(*testing.T, channeltest.Sender, string) error {
	type attack = func(*testing.T, channeltest.Sender, string) error
	with := func(f func(d door, t *testing.T, evil []byte) error) attack {
		return func(t *testing.T, s channeltest.Sender, conv string) error {
			return f(s.(door), t, message(conv, "evil"))
		}
	}
	body := func(b []byte) attack {
		return with(func(d door, t *testing.T, _ []byte) error { return d.send(t, ours, "evil", time.Now(), b) })
	}
	now := func() string { return strconv.FormatInt(time.Now().Unix(), 10) }
	return map[string]attack{
		"no signature":  with(func(d door, t *testing.T, b []byte) error { return d.post(t, "shop", b) }),
		"another's key": with(func(d door, t *testing.T, b []byte) error { return d.send(t, others, "evil", time.Now(), b) }),
		"no key":        with(func(d door, t *testing.T, b []byte) error { return d.send(t, nil, "evil", time.Now(), b) }),
		"too old": with(func(d door, t *testing.T, b []byte) error {
			return d.send(t, ours, "evil", time.Now().Add(-6*time.Minute), b)
		}),
		"from the future": with(func(d door, t *testing.T, b []byte) error {
			return d.send(t, ours, "evil", time.Now().Add(6*time.Minute), b)
		}),
		"no name": with(func(d door, t *testing.T, b []byte) error { return d.send(t, ours, "", time.Now(), b) }),
		"for another": with(func(d door, t *testing.T, b []byte) error {
			at := now()
			return d.post(t, "other", b, "Webhook-Id", "evil", "Webhook-Timestamp", at, "Webhook-Signature", signature(ours, "evil", at, b))
		}),
		"for nobody": with(func(d door, t *testing.T, b []byte) error {
			at := now()
			return d.post(t, "nobody", b, "Webhook-Id", "evil", "Webhook-Timestamp", at, "Webhook-Signature", signature(ours, "evil", at, b))
		}),
		"another name, old signature": with(func(d door, t *testing.T, b []byte) error {
			at := now()
			return d.post(t, "shop", b, "Webhook-Id", "evil2", "Webhook-Timestamp", at, "Webhook-Signature", signature(ours, "evil", at, b))
		}),
		"another version": with(func(d door, t *testing.T, b []byte) error {
			at := now()
			return d.post(t, "shop", b, "Webhook-Id", "evil", "Webhook-Timestamp", at, "Webhook-Signature", "v0"+signature(ours, "evil", at, b)[2:])
		}),
		"many signatures": with(func(d door, t *testing.T, b []byte) error {
			at := now()
			return d.post(t, "shop", b, "Webhook-Id", "evil", "Webhook-Timestamp", at, "Webhook-Signature", strings.Repeat("v1,AAAA ", 20)+signature(ours, "evil", at, b))
		}),
		"oversized":       body(bytes.Repeat([]byte(`{"type":"message","text":"`), 20000)),
		"not JSON":        body([]byte(`{"type":`)),
		"not UTF-8":       body([]byte("{\"type\":\"message\",\"text\":\"\xff\xfe\",\"conversation\":{\"id\":\"x\"},\"from\":{\"id\":\"x\"}}")),
		"null":            body([]byte(`null`)),
		"no conversation": body([]byte(`{"type":"message","text":"evil","from":{"id":"ann"}}`)),
		"nobody":          body([]byte(`{"type":"message","text":"evil","conversation":{"id":"x"},"from":null}`)),
		"a wrong kind":    body([]byte(`{"type":"message","text":"evil","conversation":7,"from":{"id":"ann"}}`)),
		"a long name":     body([]byte(`{"type":"message","text":"evil","conversation":{"id":"` + strings.Repeat("x", 300) + `"},"from":{"id":"ann"}}`)),
		"channelData":     body([]byte(`{"type":"message","text":"evil","conversation":{"id":"x"},"from":{"id":"ann"},"channelData":[]}`)),
	}
}

func TestChannel(t *testing.T) {
	for _, pace := range []time.Duration{0, 100 * time.Millisecond} {
		t.Run(fmt.Sprint("pace ", pace), func(t *testing.T) {
			t.Parallel()
			channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
				log, p, death := openLog(t), newProgram(t), channeltest.NewDeath()
				slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
				x, y := start(t, log, "x", p, demo.Echo("echo"), death, pace), start(t, log, "y", p, demo.Echo("echo"), death, pace)
				return channeltest.Posting{
					Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.outlet, y.outlet}, Death: death, Platform: p, Asks: true,
					Slow:    start(t, openLog(t), "slow", p, slow, channeltest.NewDeath(), 0),
					Attacks: attacks(), Flood: 200,
				}
			})
		})
	}
}

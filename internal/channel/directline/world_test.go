package directline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/directline"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	siteKey  = "the-site's-own-secret"
	otherKey = "somebody-else's-secret"
)

var shared = bytes.Repeat([]byte("s"), 32)

// one serves every model with one engine.
type one struct{ e lm.Engine }

func (o one) Find(ctx context.Context, _, _ string) (lm.Engine, lm.Model, error) {
	models, err := o.e.Models(ctx)
	if err != nil {
		return nil, lm.Model{}, err
	}
	return o.e, models[0], nil
}

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// node serves Direct Line over a log; change may be nil.
func node(t *testing.T, log *eventlog.Log, name string, e lm.Engine, change func(*channel.Options, *directline.Options)) *client {
	t.Helper()
	svc, err := chat.New(chat.Options{Log: log, Engines: one{e}, Bots: []chat.Bot{{ID: "bot", Name: "Bot"}}, Worker: name, Checkpoint: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		svc.Stop(ctx)
	})
	co := channel.Options{Name: directline.Name, Chat: svc}
	do := directline.Options{
		Files: log, Secret: shared, Region: log.Region(),
		Sites: []directline.Site{
			{Name: "shop", Secrets: []secret.Hash{secret.HashOf(secret.New(siteKey))}},
			{Name: "other", Secrets: []secret.Hash{secret.HashOf(secret.New(otherKey))}, Origins: []string{"https://other.example"}},
		},
	}
	if change != nil {
		change(&co, &do)
	}
	if do.Desk, err = channel.New(co); err != nil {
		t.Fatal(err)
	}
	s, err := directline.New(do)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &client{t: t, base: srv.URL + directline.Base}
}

func echo() lm.Engine { return demo.Echo("echo") }

// client speaks to a node as programs do.
type client struct {
	t    *testing.T
	base string
}

type answer struct {
	status int
	body   []byte
	header http.Header
}

func (a answer) err() error {
	if a.status < 300 {
		return nil
	}
	return fmt.Errorf("%d %s", a.status, a.body)
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil || a.status > 299 {
		t.Fatalf("status %d, body %s: %v", a.status, a.body, err)
	}
}

func (c *client) do(method, path, key string, body any, headers ...string) answer {
	c.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, b, resp.Header}
}

type token struct {
	ConversationID, Token, StreamURL string
	ExpiresIn                        int `json:"expires_in"`
}

func (c *client) generate(user string) token {
	c.t.Helper()
	var out token
	body := map[string]any{}
	if user != "" {
		body["user"] = map[string]string{"id": user}
	}
	c.do("POST", "/tokens/generate", siteKey, body).into(c.t, &out)
	return out
}

// begin makes a token and starts its conversation.
func (c *client) begin(user string) token {
	c.t.Helper()
	t := c.generate(user)
	var out token
	c.do("POST", "/conversations", t.Token, nil).into(c.t, &out)
	if out.ConversationID != t.ConversationID {
		c.t.Fatalf("started %s with a token for %s", out.ConversationID, t.ConversationID)
	}
	return out
}

type act struct {
	ID, Type, Text, ReplyToID string
	Timestamp                 time.Time
	From                      struct{ ID, Name, Role string }
	Recipient                 *struct{ ID, Role string }
	ChannelData               map[string]any
	Entities                  []map[string]any
	Attachments               []struct{ ContentType, ContentURL, Name string }
}

type page struct {
	Activities []act
	Watermark  string
}

func (c *client) poll(tok token, mark string) page {
	c.t.Helper()
	var out page
	c.do("GET", "/conversations/"+tok.ConversationID+"/activities?watermark="+mark, tok.Token, nil).into(c.t, &out)
	return out
}

func (c *client) say(tok token, text string) string {
	c.t.Helper()
	var out struct{ ID string }
	c.do("POST", "/conversations/"+tok.ConversationID+"/activities", tok.Token, map[string]any{"type": "message", "text": text, "from": map[string]string{"id": "u"}}).into(c.t, &out)
	return out.ID
}

// until polls until n messages of the bot are there.
func (c *client) until(tok token, n int) []act {
	c.t.Helper()
	var (
		all  []act
		mark string
		bots int
	)
	for late := time.Now().Add(30 * time.Second); bots < n; {
		p := c.poll(tok, mark)
		for _, a := range p.Activities {
			if a.From.Role == "bot" {
				bots++
			}
		}
		all, mark = append(all, p.Activities...), p.Watermark
		if time.Now().After(late) {
			c.t.Fatalf("%d of %d answers came: %+v", bots, n, all)
		}
		<-time.After(5 * time.Millisecond)
	}
	return all
}

package directline_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/channel/directline"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// door lets channeltest in.
type door struct {
	c      *client
	tokens map[string]token // by conversation, of both doors
}

func (d door) Begin(t *testing.T) string {
	t.Helper()
	tok := d.c.begin("dl_user")
	d.tokens[tok.ConversationID] = tok
	return tok.ConversationID
}

func (d door) Deliver(t *testing.T, conv string, m channeltest.Message) error {
	t.Helper()
	return d.c.do("POST", "/conversations/"+conv+"/activities", d.tokens[conv].Token, map[string]any{
		"type": "message", "text": m.Text, "from": map[string]string{"id": "dl_user"}, "channelData": map[string]string{"clientActivityID": m.Delivery},
	}).err()
}

func (d door) Receive(t *testing.T, conv, after string) (got []channeltest.Got, mark string) {
	t.Helper()
	p := d.c.poll(d.tokens[conv], after)
	for _, a := range p.Activities {
		got = append(got, channeltest.Got{ID: a.ID, Text: a.Text, Bot: a.From.Role == "bot", At: a.Timestamp})
	}
	return got, p.Watermark
}

func TestChannel(t *testing.T) {
	channeltest.Run(t, func(t *testing.T) channeltest.Harness {
		log := openLog(t)
		little := func(co *channel.Options, _ *directline.Options) {
			co.Rate, co.Burst, co.Patience = 20, 40, 20*time.Millisecond
		}
		slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
		tokens := map[string]token{}
		return channeltest.Harness{
			Doors:   [2]channeltest.Door{door{node(t, log, "a", echo(), little), tokens}, door{node(t, log, "b", echo(), little), tokens}},
			Slow:    door{node(t, openLog(t), "slow", slow, nil), tokens},
			Attacks: attacks(),
			Flood:   200,
		}
	})
}

// signed is a token as the server makes them, with another header or payload,
// signed with a key that an attacker may have.
func signed(h, p map[string]any, key []byte) string {
	hb, _ := json.Marshal(h)
	pb, _ := json.Marshal(p)
	body := base64.RawURLEncoding.EncodeToString(hb) + "." + base64.RawURLEncoding.EncodeToString(pb)
	m := hmac.New(sha256.New, key)
	m.Write([]byte(body))
	return body + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func opened(t *testing.T, tok string) (h, p map[string]any, sig string) {
	t.Helper()
	part := strings.Split(tok, ".")
	for i, into := range []*map[string]any{&h, &p} {
		b, err := base64.RawURLEncoding.DecodeString(part[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return h, p, part[2]
}

func attacks() map[string]func(*testing.T, channeltest.Door, string) error {
	say := func(d channeltest.Door, conv, key string) error {
		return d.(door).c.do("POST", "/conversations/"+conv+"/activities", key, map[string]any{"type": "message", "text": "evil", "from": map[string]string{"id": "dl_user"}}).err()
	}
	with := func(change func(t *testing.T, h, p map[string]any, sig string) string) func(*testing.T, channeltest.Door, string) error {
		return func(t *testing.T, d channeltest.Door, conv string) error {
			h, p, sig := opened(t, d.(door).tokens[conv].Token)
			return say(d, conv, change(t, h, p, sig))
		}
	}
	keyed := func(key []byte) func(*testing.T, channeltest.Door, string) error {
		return with(func(_ *testing.T, h, p map[string]any, _ string) string { return signed(h, p, key) })
	}
	raw := func(body []byte) func(*testing.T, channeltest.Door, string) error {
		return func(_ *testing.T, d channeltest.Door, conv string) error {
			return d.(door).c.do("POST", "/conversations/"+conv+"/activities", d.(door).tokens[conv].Token, body).err()
		}
	}
	return map[string]func(*testing.T, channeltest.Door, string) error{
		"no credential":         func(_ *testing.T, d channeltest.Door, conv string) error { return say(d, conv, "") },
		"a wrong secret":        func(_ *testing.T, d channeltest.Door, conv string) error { return say(d, conv, "guess") },
		"another site's secret": func(_ *testing.T, d channeltest.Door, conv string) error { return say(d, conv, otherKey) },
		"a token of another conversation": func(_ *testing.T, d channeltest.Door, conv string) error {
			return say(d, conv, d.(door).c.begin("dl_user").Token)
		},
		"a token for streams": func(t *testing.T, d channeltest.Door, conv string) error {
			_, key, _ := strings.Cut(d.(door).tokens[conv].StreamURL, "t=")
			key, _, _ = strings.Cut(key, "&")
			if key == "" {
				t.Fatal("no token in the stream's URL")
			}
			return say(d, conv, key)
		},
		"signed with the secret of the site": keyed([]byte(siteKey)),
		"signed with what the nodes share":   keyed(shared),
		"signed with nothing":                keyed(nil),
		"algorithm none, no signature": with(func(_ *testing.T, h, p map[string]any, _ string) string {
			h["alg"] = "none"
			return strings.Join(strings.Split(signed(h, p, nil), ".")[:2], ".") + "."
		}),
		"algorithm none, old signature": with(func(_ *testing.T, h, p map[string]any, sig string) string {
			h["alg"] = "none"
			return strings.Join(strings.Split(signed(h, p, nil), ".")[:2], ".") + "." + sig
		}),
		"another user, old signature": with(func(_ *testing.T, h, p map[string]any, sig string) string {
			p["user"] = "dl_admin"
			return strings.Join(strings.Split(signed(h, p, nil), ".")[:2], ".") + "." + sig
		}),
		"no key id": with(func(_ *testing.T, h, p map[string]any, _ string) string {
			delete(h, "kid")
			return signed(h, p, nil)
		}),
		"a later end, old signature": with(func(_ *testing.T, h, p map[string]any, sig string) string {
			p["exp"] = float64(1 << 40)
			return strings.Join(strings.Split(signed(h, p, nil), ".")[:2], ".") + "." + sig
		}),
		"too long a token": with(func(t *testing.T, h, p map[string]any, _ string) string {
			h = maps.Clone(h)
			h["x"] = strings.Repeat("x", 20000)
			return signed(h, p, nil)
		}),
		"oversized":     raw(bytes.Repeat([]byte(`{"type":"message","text":"`), 20000)),
		"not JSON":      raw([]byte(`{"type":`)),
		"not UTF-8":     raw([]byte("{\"type\":\"message\",\"text\":\"\xff\xfe\"}")),
		"UTF-16":        raw([]byte("\xff\xfe{\x00\"\x00t\x00")),
		"nothing":       raw([]byte{}),
		"null":          raw([]byte(`null`)),
		"an empty type": raw([]byte(`{"type":"","text":"evil"}`)),
		"a null type":   raw([]byte(`{"type":null,"text":"evil"}`)),
		"not an object": raw([]byte(`[]`)),
		"no type":       raw([]byte(`{"text":"evil"}`)),
		"a wrong kind":  raw([]byte(`{"type":5,"text":"evil"}`)),
		"deep":          raw(bytes.Repeat([]byte("["), 100_000)),
	}
}

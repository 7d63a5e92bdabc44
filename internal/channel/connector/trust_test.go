package connector

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// values are what two nodes share, and what may be out of reach.
type values struct {
	mu       sync.Mutex // guards all below
	value    []byte
	revision uint64
	away     bool
}

func (v *values) Load(context.Context, string) ([]byte, uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.away:
		return nil, 0, fault.New(fault.Unavailable, "no leader")
	case v.value == nil:
		return nil, 0, fault.New(fault.NotFound, "no value")
	}
	return v.value, v.revision, nil
}

func (v *values) Create(_ context.Context, _ string, value []byte) error {
	return v.write(value, 0)
}

func (v *values) Replace(_ context.Context, _ string, value []byte, revision uint64) error {
	return v.write(value, revision)
}

func (v *values) write(value []byte, revision uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.revision != revision {
		return fault.New(fault.Conflict, "somebody else wrote")
	}
	v.value, v.revision = value, revision+1
	return nil
}

// A year of rotations: whatever a bot has read in the last day verifies what is
// signed now, on every node, and old keys go.
func TestRotation(t *testing.T) {
	v := &values{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	a, b := NewKeys(v, clock), NewKeys(v, clock)
	seen := map[string]time.Time{} // by a bot that reads the set once a day
	used := map[string]bool{}
	for hour := range 120 * 24 / 6 {
		now = now.Add(6 * time.Hour)
		if hour%4 == 0 {
			set, err := b.public(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			clear(seen)
			for _, k := range set {
				seen[k.ID] = now
			}
		}
		signer := []*Keys{a, b}[hour%2]
		token, err := signer.sign(t.Context(), claims{Issuer: "i", Audience: "a"})
		if err != nil {
			t.Fatal(err)
		}
		var h wire.TokenHeader
		decode(strings.Split(token, ".")[0], &h)
		used[h.Key] = true
		if _, ok := seen[h.Key]; !ok && hour > 0 {
			t.Fatalf("at %v it signs with a key that a bot has not seen", now)
		}
		if _, err := []*Keys{b, a}[hour%2].verify(t.Context(), token, "i", "a", now.Add(30*time.Minute)); err != nil {
			t.Fatalf("at %v the other node refuses it: %v", now, err)
		}
		if set, _ := a.public(t.Context()); len(set) > 2 {
			t.Fatalf("%d keys are shown", len(set))
		}
	}
	if len(used) < 4 {
		t.Errorf("%d keys were used in 120 days", len(used))
	}
}

// Nodes that begin at the same moment agree on one key, and one that is cut off
// goes on.
func TestKeysAtOnce(t *testing.T) {
	v := &values{}
	var wg sync.WaitGroup
	nodes := make([]*Keys, 4)
	for i := range nodes {
		nodes[i] = NewKeys(v, nil)
		wg.Go(func() {
			if _, err := nodes[i].public(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want, _ := nodes[0].public(t.Context())
	for _, n := range nodes {
		if got, _ := n.public(t.Context()); len(got) != 1 || got[0] != want[0] {
			t.Errorf("%v, want %v", got, want)
		}
	}
	v.away = true
	if _, err := NewKeys(v, nil).sign(t.Context(), claims{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without any key: %v", err)
	}
	late := time.Now().Add(time.Hour)
	nodes[0].now = func() time.Time { return late }
	if _, err := nodes[0].sign(t.Context(), claims{}); err != nil {
		t.Errorf("cut off: %v", err)
	}
}

func TestVerify(t *testing.T) {
	k := NewKeys(&values{}, nil)
	now := time.Now()
	good, err := k.sign(t.Context(), claims{Issuer: "us", Audience: "connector", Subject: "shop", App: "app"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.verify(t.Context(), good, "us", "connector", now)
	if err != nil || c.Subject != "shop" || c.App != "app" {
		t.Fatalf("%+v %v", c, err)
	}
	part := strings.Split(good, ".")
	var h wire.TokenHeader
	decode(part[0], &h)
	own := k.set[0].parsed
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(h wire.TokenHeader, change func(*claims), key *rsa.PrivateKey, hash crypto.Hash) string {
		var c claims
		decode(part[1], &c)
		if change != nil {
			change(&c)
		}
		hb, _ := json.Marshal(h)
		cb, _ := json.Marshal(c)
		body := encode(hb) + "." + encode(cb)
		sum := hash.New()
		sum.Write([]byte(body))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, hash, sum.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		return body + "." + encode(sig)
	}
	hmacWith := func(key []byte) string {
		hb, _ := json.Marshal(wire.TokenHeader{Algorithm: "HS256", Key: h.Key, Type: "JWT"})
		body := encode(hb) + "." + part[1]
		m := hmac.New(sha256.New, key)
		m.Write([]byte(body))
		return body + "." + encode(m.Sum(nil))
	}
	pkix, _ := x509.MarshalPKIXPublicKey(&own.PublicKey)
	none, _ := json.Marshal(wire.TokenHeader{Algorithm: "none", Key: h.Key, Type: "JWT"})
	for what, token := range map[string]string{
		"nothing":                     "",
		"no token":                    "secret",
		"algorithm none":              encode(none) + "." + part[1] + ".",
		"algorithm none, a signature": encode(none) + "." + part[1] + "." + part[2],
		"the public key as a secret":  hmacWith(x509.MarshalPKCS1PublicKey(&own.PublicKey)),
		"the public key as a file":    hmacWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})),
		"another key, the same id":    with(h, nil, stranger, crypto.SHA256),
		"an unknown key":              with(wire.TokenHeader{Algorithm: wire.Algorithm, Key: "nope", Type: "JWT"}, nil, stranger, crypto.SHA256),
		"no key id":                   with(wire.TokenHeader{Algorithm: wire.Algorithm, Key: "", Type: "JWT"}, nil, own, crypto.SHA256),
		"another algorithm":           with(wire.TokenHeader{Algorithm: "RS384", Key: h.Key, Type: "JWT"}, nil, own, crypto.SHA384),
		"expired":                     with(h, func(c *claims) { c.Expires = now.Unix() }, own, crypto.SHA256),
		"no end":                      with(h, func(c *claims) { c.Expires = 0 }, own, crypto.SHA256),
		"not yet":                     with(h, func(c *claims) { c.From = now.Unix() + 600 }, own, crypto.SHA256),
		"another audience":            with(h, func(c *claims) { c.Audience = "app" }, own, crypto.SHA256),
		"another issuer":              with(h, func(c *claims) { c.Issuer = "https://api.botframework.com" }, own, crypto.SHA256),
		"another signature":           part[0] + "." + part[1] + "." + encode([]byte("x")),
		"padded":                      good + "=",
		"two of them":                 good + "." + good,
		"too long":                    good + strings.Repeat("A", wire.MostToken),
	} {
		if _, err := k.verify(t.Context(), token, "us", "connector", now); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAllowed(t *testing.T) {
	public, private, here := Bot{AppID: "a"}, Bot{AppID: "a", Private: true}, Bot{Private: true}
	for _, x := range []struct {
		at                      string
		public, private, nobody bool
	}{
		{"20.1.2.3", true, true, false},
		{"2603:1030::1", true, true, false},
		{"127.0.0.1", false, true, true},
		{"127.8.9.1", false, true, true},
		{"::1", false, true, true},
		{"::ffff:127.0.0.1", false, true, true},
		{"10.0.0.1", false, true, false},
		{"172.20.1.1", false, true, false},
		{"192.168.1.1", false, true, false},
		{"fd00::1", false, true, false},
		{"::ffff:10.0.0.1", false, true, false},
		{"100.64.0.1", false, true, false},
		{"169.254.169.254", false, false, false},
		{"fe80::1", false, false, false},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"0.1.2.3", false, false, false},
		{"224.0.0.1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"240.0.0.1", false, false, false},
		{"64:ff9b::7f00:1", false, false, false},
		{"2002:7f00:1::", false, false, false},
		{"::7f00:1", false, false, false},
		{"ff02::1", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"192.0.0.192", false, false, false},
		{"fec0::1", false, false, false},
	} {
		at := netip.MustParseAddr(x.at)
		for b, want := range map[Bot]bool{public: x.public, private: x.private, here: x.nobody} {
			if err := allowed(b, at); (err == nil) != want {
				t.Errorf("%s, private %v, app id %q: %v", x.at, b.Private, b.AppID, err)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"type":"message","text":"x"}`, `{"type":"typing","channelData":{"streamType":"streaming","streamId":"local-0|0000008"}}`,
		`{"type":"message","entities":[{"type":"streaminfo","streamType":"final","streamId":5},null,7]}`, `{"type":"message","channelData":null,"entities":{}}`,
		`{"type":"event","channelData":[1],"_x":1,"from":{"id":"a","role":"user"}}`, `null`, `[]`, `{"type":""}`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := read(b, "local-0")
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		out, err := json.Marshal(a)
		if err != nil || a.Type == "" || a.ID != "" {
			t.Fatalf("%q is read as %+v: %v", b, a, err)
		}
		m := a.Meta()
		if m.Turn != "" || m.Parent != "" {
			t.Fatalf("%q is read as %s", b, out)
		}
		if _, err := read(out, "local-0"); err != nil {
			t.Fatalf("%s can't be read again: %v", out, err)
		}
	})
}

func decode(part string, into any) {
	if b, err := base64.RawURLEncoding.DecodeString(part); err == nil {
		_ = json.Unmarshal(b, into)
	}
}

package connector

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// Values are what all nodes of a world share.
type Values interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) error
	Replace(ctx context.Context, key string, value []byte, revision uint64) error
}

// Keys are what this service signs with: one set for all regions. Bots read
// the public halves once a day, so a new one is shown for two days before
// anything is signed with it, and an old one for two days after.
type Keys struct {
	values Values
	now    func() time.Time

	mu   sync.Mutex // guards set, read
	set  []key      // the one to be used last is the last
	read time.Time
}

const (
	keysName  = "connector-keys"
	keySize   = 2048 // bits: what Microsoft's own channels have
	keyLife   = 30 * 24 * time.Hour
	keyEarly  = 48 * time.Hour // shown before it is used
	keyLate   = 48 * time.Hour // shown after the next one is used
	keysFresh = time.Minute    // after that they are read again
	keysAgain = 5 * time.Second
)

// key is one of them, as it is kept.
type key struct {
	ID      string    `json:"id"`
	From    time.Time `json:"from"` // when it may be used
	Private []byte    `json:"private"`

	parsed *rsa.PrivateKey
}

// NewKeys makes the set's reader; now = nil is the clock.
func NewKeys(v Values, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{values: v, now: now}
}

// current returns the set, read again when that is due, with what a rotation
// adds or drops. A node that is cut off from the others goes on with what it
// has.
func (k *Keys) current(ctx context.Context, fresh time.Duration) ([]key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.set) > 0 && k.now().Sub(k.read) < fresh {
		return k.set, nil
	}
	set, err := k.turn(ctx)
	switch {
	case err == nil:
		k.set, k.read = set, k.now()
	case len(k.set) == 0:
		return nil, fault.Wrap(err, fault.Unavailable, "the keys that all regions share can't be read at the moment; try again").After(time.Second)
	}
	return k.set, nil
}

// turn reads the set and writes it again if a rotation is due.
func (k *Keys) turn(ctx context.Context) ([]key, error) {
	for try := 0; ; try++ {
		var set []key
		value, revision, err := k.values.Load(ctx, keysName)
		switch {
		case err == nil:
			if err := json.Unmarshal(value, &set); err != nil {
				return nil, fmt.Errorf("read the connector's keys: %w", err)
			}
		case !fault.Is(err, fault.NotFound):
			return nil, err
		}
		next, err := rotated(set, k.now())
		if err != nil {
			return nil, err
		}
		if next == nil {
			return parsed(set)
		}
		b, err := json.Marshal(next)
		if err != nil {
			return nil, err
		}
		if len(set) == 0 {
			err = k.values.Create(ctx, keysName, b)
		} else {
			err = k.values.Replace(ctx, keysName, b, revision)
		}
		if err == nil {
			return parsed(next)
		}
		if !fault.Is(err, fault.Conflict) || try == 5 {
			if len(set) > 0 {
				return parsed(set) // what is there is good for now
			}
			return nil, err
		}
	}
}

// rotated returns the set as it has to be, nil if it is that already.
func rotated(set []key, now time.Time) ([]key, error) {
	next := slices.Clone(set)
	for len(next) > 1 && now.After(next[1].From.Add(keyLate)) {
		next = next[1:]
	}
	switch n := len(next); {
	case n == 0:
		made, err := newKey(now)
		return []key{made}, err
	case now.After(next[n-1].From.Add(keyLife - keyEarly)):
		made, err := newKey(now.Add(keyEarly))
		return append(next, made), err
	case n == len(set):
		return nil, nil
	}
	return next, nil
}

func newKey(from time.Time) (key, error) {
	private, err := rsa.GenerateKey(rand.Reader, keySize)
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&private.PublicKey))
	return key{ID: hex.EncodeToString(sum[:10]), From: from.UTC().Truncate(time.Second), Private: b}, nil
}

func parsed(set []key) ([]key, error) {
	for i := range set {
		p, err := x509.ParsePKCS8PrivateKey(set[i].Private)
		if err != nil {
			return nil, fmt.Errorf("read the connector's keys: %w", err)
		}
		private, ok := p.(*rsa.PrivateKey)
		if !ok {
			return nil, errors.New("read the connector's keys: one is not of RSA")
		}
		set[i].parsed = private
	}
	return set, nil
}

// jwk is a public key as bots read it.
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	N         string `json:"n"`
	E         string `json:"e"`
}

func (k *Keys) public(ctx context.Context) ([]jwk, error) {
	set, err := k.current(ctx, keysFresh)
	if err != nil {
		return nil, err
	}
	out := make([]jwk, len(set))
	for i, x := range set {
		p := x.parsed.PublicKey
		out[i] = jwk{"RSA", "sig", wire.Algorithm, x.ID, encode(p.N.Bytes()), encode(big.NewInt(int64(p.E)).Bytes())}
	}
	return out, nil
}

// claims of a token, ours for bots and those that bots have for us.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub,omitempty"`        // a bot's id
	App      string `json:"appid,omitempty"`      // a bot's app id
	Service  string `json:"serviceurl,omitempty"` // byte for byte as in the activity
	From     int64  `json:"nbf"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

const tokenLife = time.Hour

// sign makes a token that is good from now on.
func (k *Keys) sign(ctx context.Context, c claims) (string, error) {
	set, err := k.current(ctx, keysFresh)
	if err != nil {
		return "", err
	}
	now := k.now()
	with := set[0]
	for _, x := range set {
		if !x.From.After(now) {
			with = x
		}
	}
	c.From, c.Issued, c.Expires = now.Unix(), now.Unix(), now.Add(tokenLife).Unix()
	return wire.SignToken(wire.TokenHeader{Key: with.ID}, c, with.parsed)
}

var (
	errNoKey  = fault.New(fault.Unauthenticated, `a bot needs its token or its secret here: "Authorization: Bearer …"`)
	errBadKey = fault.New(fault.Unauthenticated, "this is no token of this service for a bot that it knows, or it has expired")
)

// verify returns the claims of a token that this service made.
func (k *Keys) verify(ctx context.Context, token, issuer, audience string, now time.Time) (claims, error) {
	var c claims
	err := wire.OpenToken(token, &c, func(id string) (*rsa.PublicKey, error) {
		with, err := k.find(ctx, id)
		if err != nil {
			return nil, err
		}
		return &with.parsed.PublicKey, nil
	})
	const tolerance = 60 // seconds that clocks may differ
	switch {
	case errors.Is(err, wire.ErrToken):
		return claims{}, errBadKey
	case err != nil:
		return claims{}, err
	case c.Issuer != issuer || c.Audience != audience || now.Unix() >= c.Expires || now.Unix() < c.From-tolerance:
		return claims{}, errBadKey
	}
	return c, nil
}

// find returns a key by its id, which another node may have just made.
func (k *Keys) find(ctx context.Context, id string) (key, error) {
	for _, fresh := range []time.Duration{keysFresh, keysAgain} {
		set, err := k.current(ctx, fresh)
		if err != nil {
			return key{}, err
		}
		if i := slices.IndexFunc(set, func(x key) bool { return x.ID == id }); i >= 0 {
			return set[i], nil
		}
	}
	return key{}, errBadKey
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

package teams

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// keys are those that Microsoft signs with. It shows a new one long before it
// uses it.
type keys struct {
	client   *http.Client
	metadata string
	now      func() time.Time

	mu    sync.Mutex // guards all below
	set   map[string]issuerKey
	read  time.Time     // when set was
	asked time.Time     // when it was asked for last
	busy  chan struct{} // closed when the asking is over; nil = nobody asks
}

// issuerKey is one of them.
type issuerKey struct {
	public       *rsa.PublicKey
	endorsements []string // the channels that it is for
}

const (
	keysOld    = 24 * time.Hour  // after that they are read again
	keysAgain  = 5 * time.Minute // between two readings, for a key that is not among them or when reading failed
	keysFirst  = 5 * time.Second // the same while there are none
	keysTime   = 10 * time.Second
	mostKeys   = 100
	mostIssuer = 1 << 20 // bytes of what Microsoft says of itself
	skew       = 5 * time.Minute
)

// claims of a token of Microsoft's.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Service  string `json:"serviceurl"`
	From     int64  `json:"nbf"`
	Expires  int64  `json:"exp"`
}

var (
	errNoToken  = fault.New(fault.Unauthenticated, `this address is for Microsoft Teams, whose requests have a token: "Authorization: Bearer …"`)
	errBadToken = fault.New(fault.Unauthenticated, "this is no token of the Bot Framework for this bot, or it has expired")
	errNoKeys   = fault.New(fault.Unavailable, "Microsoft's keys can't be read at the moment; try again").After(keysFirst)
)

// verify returns what Microsoft says of a request, by its token, and the
// channels for which it can.
func (a *account) verify(r *http.Request, now time.Time) (claims, []string, error) {
	h := r.Header.Get("Authorization")
	if len(h) < 7 || !strings.EqualFold(h[:7], "Bearer ") {
		return claims{}, nil, errNoToken
	}
	var (
		c  claims
		by issuerKey
	)
	err := wire.OpenToken(strings.TrimSpace(h[7:]), &c, func(id string) (*rsa.PublicKey, error) {
		var err error
		by, err = a.keys.find(r.Context(), id)
		return by.public, err
	})
	switch {
	case errors.Is(err, wire.ErrToken):
		return claims{}, nil, errBadToken
	case err != nil:
		return claims{}, nil, err
	case c.Issuer != a.Cloud.Issuer || c.Audience != a.AppID,
		now.Add(-skew).Unix() >= c.Expires, now.Add(skew).Unix() < c.From:
		return claims{}, nil, errBadToken
	}
	return c, by.endorsements, nil
}

// find returns a key by its id.
func (k *keys) find(ctx context.Context, id string) (issuerKey, error) {
	for {
		k.mu.Lock()
		key, ok := k.set[id]
		now, busy := k.now(), k.busy
		switch {
		case busy == nil && k.due(ok, now):
			busy = make(chan struct{})
			k.busy, k.asked = busy, now
			k.mu.Unlock()
			set, err := k.fetch(ctx)
			k.mu.Lock()
			if err == nil {
				k.set, k.read = set, now
			}
			k.busy = nil
			close(busy)
			k.mu.Unlock()
			if err != nil && !ok {
				return k.old(id, err)
			}
			continue
		case ok:
			k.mu.Unlock()
			return key, nil
		case busy == nil:
			none := len(k.set) == 0
			k.mu.Unlock()
			if none {
				return issuerKey{}, errNoKeys
			}
			return issuerKey{}, errBadToken
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return issuerKey{}, ctx.Err()
		}
	}
}

// due reports whether the keys are to be read again, for one that is among them
// or not. mu is held.
func (k *keys) due(known bool, now time.Time) bool {
	since := now.Sub(k.asked)
	switch {
	case len(k.set) == 0:
		return since >= keysFirst
	case known && now.Sub(k.read) < keysOld:
		return false
	}
	return since >= keysAgain
}

// old is find after a reading that failed.
func (k *keys) old(id string, err error) (issuerKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.set[id]; ok {
		return key, nil
	}
	if len(k.set) == 0 {
		return issuerKey{}, fault.Wrap(err, fault.Unavailable, "%s", errNoKeys.Message).After(keysFirst)
	}
	return issuerKey{}, errBadToken
}

// fetch reads the keys where Microsoft says that they are.
func (k *keys) fetch(ctx context.Context) (map[string]issuerKey, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTime) // others wait for it as well
	defer cancel()
	var where struct {
		Keys string `json:"jwks_uri"`
	}
	if err := k.get(ctx, k.metadata, &where); err != nil {
		return nil, err
	}
	from, err := url.Parse(where.Keys)
	if err != nil || from.Host == "" || from.Scheme != "https" && strings.HasPrefix(k.metadata, "https:") {
		return nil, errors.New("Microsoft's metadata names no address of its keys")
	}
	var all struct {
		Keys []jwk `json:"keys"`
	}
	if err := k.get(ctx, where.Keys, &all); err != nil {
		return nil, err
	}
	set := map[string]issuerKey{}
	for _, j := range all.Keys[:min(len(all.Keys), mostKeys)] {
		if public, ok := j.rsa(); ok {
			set[j.ID] = issuerKey{public, j.Endorsements}
		}
	}
	if len(set) == 0 {
		return nil, errors.New("Microsoft shows no keys")
	}
	return set, nil
}

func (k *keys) get(ctx context.Context, from string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	resp, err := k.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostIssuer))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers with status %d", from, resp.StatusCode)
	}
	return json.Unmarshal(b, into)
}

// jwk is a key as Microsoft shows it.
type jwk struct {
	Type         string   `json:"kty"`
	ID           string   `json:"kid"`
	N            string   `json:"n"`
	E            string   `json:"e"`
	Endorsements []string `json:"endorsements"`
}

func (j jwk) rsa() (*rsa.PublicKey, bool) {
	n, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(j.N, "="))
	if err != nil || j.Type != "RSA" || j.ID == "" {
		return nil, false
	}
	e, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(j.E, "="))
	if err != nil || len(e) > 4 {
		return nil, false
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if bits := key.N.BitLen(); bits < 2048 || bits > 8192 || key.E < 3 || key.E%2 == 0 {
		return nil, false
	}
	return key, true
}

// endorses reports whether a key with these endorsements may sign for Teams.
func (c Cloud) endorses(endorsements []string) bool {
	return slices.Contains(endorsements, channelID) || len(endorsements) == 0 && !c.Endorsed
}

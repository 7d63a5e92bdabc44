package directline

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// What a token is good for: the rest of the protocol, or one opening of a
// stream, whose URL carries it.
const (
	forCalls  = "directline"
	forStream = "directline/stream"
)

const (
	issuer   = "parley"
	maxToken = 4 << 10 // bytes; ours have a few hundred

	// streamLife is how long a stream's URL can be used.
	streamLife = time.Minute
)

// claims of a token. "user" is read by the clients themselves.
type claims struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	Site         string   `json:"site"`
	Conversation string   `json:"conv"`
	User         string   `json:"user,omitempty"`
	Name         string   `json:"name,omitempty"`
	Origins      []string `json:"origins,omitempty"` // of pages that may use it; none = as the site says
	Session      string   `json:"sid"`               // one client's: the same in its stream and in what its token is refreshed to
	Ends         int64    `json:"ends,omitempty"`    // of a stream: when the token expires that was given out with it; 0 = never
	Issued       int64    `json:"iat"`
	Expires      int64    `json:"exp"`
}

// The header of every token, but for the key's id. The client takes a token
// apart only to read its claims; nobody but us verifies it, so there is one
// algorithm and nothing to choose.
type header struct {
	Algorithm string `json:"alg"`
	Key       string `json:"kid"`
	Type      string `json:"typ"`
}

const algorithm = "HS256"

// signer signs for one secret of a site. Its key comes from what all regions
// share and from that secret: the same everywhere and after every restart, and
// gone when the secret is taken out of the configuration.
type signer struct {
	site   *Site
	secret secret.Hash
	id     string
	key    []byte
}

func newSigner(shared []byte, site *Site, h secret.Hash) signer {
	key := wire.MAC(shared, "directline\x00"+site.Name+"\x00"+string(h))
	return signer{site: site, secret: h, id: site.Name + "." + hex.EncodeToString(wire.MAC(key, "id")[:6]), key: key}
}

func (s signer) sign(c claims) (string, error) {
	h, err := json.Marshal(header{algorithm, s.id, "JWT"})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	body := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(b)
	return body + "." + base64.RawURLEncoding.EncodeToString(wire.MAC(s.key, body)), nil
}

var (
	errNoKey   = fault.New(fault.Unauthenticated, `a secret or a token is needed: send it as "Authorization: Bearer …"`)
	errBadKey  = fault.New(fault.Unauthenticated, "this is neither a secret nor a token of this service")
	errExpired = fault.New(fault.Forbidden, "the token has expired; get a new one from the page's own server")
	errOthers  = fault.New(fault.Forbidden, "this token is for another conversation")
)

// verify takes a token apart. Nothing in it is believed before its signature
// was checked. One that has expired comes back with errExpired.
func verify(signers []signer, token, audience string, now time.Time) (signer, claims, error) {
	part := strings.Split(token, ".")
	if len(token) > maxToken || len(part) != 3 {
		return signer{}, claims{}, errBadKey
	}
	var h header
	if !decodePart(part[0], &h) || h.Algorithm != algorithm {
		return signer{}, claims{}, errBadKey
	}
	i := slices.IndexFunc(signers, func(s signer) bool { return s.id == h.Key })
	if i < 0 {
		return signer{}, claims{}, errBadKey
	}
	s := signers[i]
	got, err := base64.RawURLEncoding.Strict().DecodeString(part[2])
	if err != nil || !hmac.Equal(got, wire.MAC(s.key, part[0]+"."+part[1])) {
		return signer{}, claims{}, errBadKey
	}
	var c claims
	if !decodePart(part[1], &c) || c.Issuer != issuer || c.Audience != audience || c.Site != s.site.Name {
		return signer{}, claims{}, errBadKey
	}
	if now.Unix() >= c.Expires {
		return s, c, errExpired
	}
	return s, c, nil
}

func decodePart(part string, into any) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	return d.Decode(into) == nil && !d.More()
}

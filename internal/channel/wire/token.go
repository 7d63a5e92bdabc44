package wire

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Algorithm is the one that tokens of the Bot Framework are signed with. There
// is no other, so there is nothing for a token to choose.
const Algorithm = "RS256"

// MostToken bounds a token; real ones have one or two thousand bytes.
const MostToken = 8 << 10

// ErrToken is of a token that nobody who matters has signed.
var ErrToken = errors.New("not a token that was signed with RS256 and a known key")

// TokenHeader is what a token says of itself.
type TokenHeader struct {
	Algorithm  string `json:"alg"`
	Type       string `json:"typ"`
	Key        string `json:"kid,omitempty"`
	Thumbprint string `json:"x5t#S256,omitempty"` // of a certificate, in the place of Key
}

// SignToken makes a token.
func SignToken(h TokenHeader, claims any, with *rsa.PrivateKey) (string, error) {
	h.Algorithm, h.Type = Algorithm, "JWT"
	head, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, with, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// OpenToken reads a token's claims. Nothing in it but the id of its key is
// looked at before the signature was checked; what the claims are worth is the
// caller's to say. An error that is not ErrToken is key's.
func OpenToken(token string, claims any, key func(id string) (*rsa.PublicKey, error)) error {
	part := strings.Split(token, ".")
	var h TokenHeader
	if len(token) > MostToken || len(part) != 3 || !openPart(part[0], &h) || h.Algorithm != Algorithm {
		return ErrToken
	}
	with, err := key(h.Key)
	if err != nil {
		return err
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(part[2])
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	if err != nil || rsa.VerifyPKCS1v15(with, crypto.SHA256, sum[:], sig) != nil || !openPart(part[1], claims) {
		return ErrToken
	}
	return nil
}

func openPart(part string, into any) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return err == nil && json.Unmarshal(b, into) == nil
}

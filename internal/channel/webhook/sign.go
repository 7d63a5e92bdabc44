package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// The headers and the form of secrets are those of Standard Webhooks, for which
// there are libraries in most languages.
const (
	hdrID        = "Webhook-Id" // names the delivery: the same in every repetition
	hdrTime      = "Webhook-Timestamp"
	hdrSignature = "Webhook-Signature"
	keyPrefix    = "whsec_"

	tolerance     = 5 * time.Minute // that clocks may differ, and that a delivery is old
	mostSignature = 10
)

// Key reads a secret: whsec_ and 24 to 64 bytes in base64.
func Key(s secret.String) ([]byte, error) {
	text, ok := strings.CutPrefix(s.Reveal(), keyPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, fault.New(fault.Invalid, "the secret must be whsec_ and 24 to 64 random bytes in base64; this makes one: echo whsec_$(openssl rand -base64 32)")
	}
	return key, nil
}

// sum is the signature of a delivery.
func sum(key []byte, id, at string, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + at + "."))
	m.Write(body)
	return m.Sum(nil)
}

// sign signs a delivery with all keys.
func sign(h http.Header, body []byte, keys [][]byte, id string, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	var all []string
	for _, k := range keys {
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(sum(k, id, at, body)))
	}
	h.Set(hdrID, id)
	h.Set(hdrTime, at)
	h.Set(hdrSignature, strings.Join(all, " "))
}

var errSignature = fault.New(fault.Unauthenticated, "the signature does not fit: Webhook-Id, Webhook-Timestamp and Webhook-Signature must be those of this body, by the secret of this webhook")

// verify returns nil if whoever has a key signed the body, now.
func verify(h http.Header, body []byte, keys [][]byte, now time.Time) error {
	id, at := h.Get(hdrID), h.Get(hdrTime)
	if id == "" || len(id) > mostName {
		return errSignature
	}
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return errSignature
	}
	signatures := strings.Split(h.Get(hdrSignature), " ")
	if len(signatures) > mostSignature {
		return errSignature
	}
	good := false
	for _, s := range signatures {
		text, ok := strings.CutPrefix(s, "v1,")
		got, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			continue
		}
		for _, k := range keys {
			good = good || hmac.Equal(got, sum(k, id, at, body))
		}
	}
	if !good {
		return errSignature
	}
	if away := now.Sub(time.Unix(unix, 0)).Abs(); away > tolerance {
		return fault.New(fault.Unauthenticated, "the delivery was signed %v from now by our clock; at most %v are taken. Sign it again with the time of now", away.Round(time.Second), tolerance)
	}
	return nil
}

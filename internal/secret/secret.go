// Package secret keeps keys out of sight: a string that no printer shows, where
// such strings are read from, the form in which keys are stored, and the
// removal of secrets from text that leaves the process.
package secret

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Redacted is what stands in the place of a secret wherever it is printed.
const Redacted = "[redacted]"

// String holds a secret. Every way of printing or encoding it gives Redacted;
// only Reveal gives the text. The zero String is no secret and prints as "".
type String struct{ s string }

// New makes a secret of s.
func New(s string) String { return String{s} }

// Reveal returns the text, for the one place that sends it.
func (s String) Reveal() string { return s.s }

// Empty reports whether there is no secret.
func (s String) Empty() bool { return s.s == "" }

func (s String) String() string {
	if s.s == "" {
		return ""
	}
	return Redacted
}

// GoString keeps %#v from showing the text.
func (s String) GoString() string { return fmt.Sprintf("secret.String(%q)", s.String()) }

// Format keeps every other verb from showing the text (%x, %q and the like).
func (s String) Format(f fmt.State, verb rune) {
	out := s.String()
	switch {
	case verb == 'v' && f.Flag('#'):
		out = s.GoString()
	case verb == 'q':
		out = fmt.Sprintf("%q", out)
	}
	_, _ = io.WriteString(f, out)
}

// MarshalText serves JSON, YAML and XML.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue serves slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// maxFile is the most that a file with a secret may hold: a key, not a disk.
const maxFile = 64 << 10

// Read follows a reference: "env:NAME" is that variable, "file:PATH" the
// file's text without white space around it, anything else the secret itself.
// getenv is os.LookupEnv's shape; nil means os.LookupEnv. An empty secret is
// an error, and so is one with control characters in it (it could not be sent
// in a header). No error shows the secret.
func Read(ref string, getenv func(string) (string, bool)) (String, error) {
	if getenv == nil {
		getenv = os.LookupEnv
	}
	text, place := ref, "the secret"
	switch {
	case strings.HasPrefix(ref, "env:"):
		name := strings.TrimPrefix(ref, "env:")
		v, ok := getenv(name)
		if !ok {
			return String{}, fmt.Errorf("the variable %s is not set", name)
		}
		text, place = strings.TrimSpace(v), "the variable "+name
	case strings.HasPrefix(ref, "file:"):
		path := strings.TrimPrefix(ref, "file:")
		b, err := readFile(path)
		if err != nil {
			return String{}, err
		}
		text, place = string(bytes.TrimSpace(b)), "the file "+path
	}
	switch {
	case text == "":
		return String{}, errors.New(place + " is empty")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return String{}, errors.New(place + " has control characters or line breaks in it")
	}
	return String{text}, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file %s is over %d bytes: not a secret", path, maxFile)
	}
	return b, nil
}

// Hash is how a key is stored: "sha256:" and 64 hexadecimal digits. Keys are
// random and long, so a plain digest can't be searched; passwords are not keys
// and must not be hashed like this.
type Hash string

const hashPrefix = "sha256:"

// HashOf returns a key's stored form.
func HashOf(key String) Hash {
	sum := sha256.Sum256([]byte(key.s))
	return Hash(hashPrefix + hex.EncodeToString(sum[:]))
}

// ParseHash checks the form of a stored key.
func ParseHash(s string) (Hash, error) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != sha256.Size {
		return "", errors.New(`a hashed key is "sha256:" and 64 hexadecimal digits`)
	}
	return Hash(hashPrefix + hex.EncodeToString(b)), nil
}

// IsHash reports whether s claims to be a stored key, well formed or not.
func IsHash(s string) bool { return strings.HasPrefix(s, hashPrefix) }

// Matches reports whether key is the one that was stored. The time it takes
// says nothing about either. The zero Hash matches nothing.
func (h Hash) Matches(key string) bool {
	want := string(h)
	if want == "" {
		return false
	}
	got := string(HashOf(String{key}))
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// keyPrefix makes a leaked key easy to find by scanners and people.
const keyPrefix = "pk_"

// NewKey makes a random key of at least 128 bits.
func NewKey() String { return String{keyPrefix + strings.ToLower(rand.Text())} }

// Redact replaces every secret in text. Secrets shorter than 6 bytes are left:
// they would turn plain words into noise, and no key is that short.
func Redact(text string, secrets ...String) string {
	sorted := slices.Clone(secrets)
	// The longest first, so that a key that contains another leaves no rest.
	slices.SortFunc(sorted, func(a, b String) int { return len(b.s) - len(a.s) })
	for _, s := range sorted {
		if len(s.s) >= 6 {
			text = strings.ReplaceAll(text, s.s, Redacted)
		}
	}
	return text
}

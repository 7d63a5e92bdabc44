// Package auth says who a request is from: the bearer of a key, the browser
// that holds a signed session cookie, or, on a loopback address, whoever sits
// at the machine.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Key is an API key as it is kept: only its digest.
type Key struct {
	Name     string
	Hash     secret.Hash
	Operator bool // its holder runs the service
}

// Options of a Guard.
type Options struct {
	// Secret signs cookies; the same on all nodes. At least 32 bytes.
	Secret []byte
	Keys   []Key
	// Open lets callers in without a key: only for a node that listens on
	// loopback addresses.
	Open     bool
	Lifetime time.Duration // of a session; 0 = 90 days
	Secure   bool          // cookies only over TLS
	Now      func() time.Time
}

// Guard tells callers apart. Its methods may be called from many goroutines.
type Guard struct{ opts Options }

// New checks the options.
func New(opts Options) (*Guard, error) {
	if len(opts.Secret) < 32 {
		return nil, errors.New("auth: the cookie secret needs 32 bytes")
	}
	if !opts.Open && len(opts.Keys) == 0 {
		return nil, errors.New("auth: without keys nobody could come in")
	}
	if opts.Lifetime == 0 {
		opts.Lifetime = 90 * 24 * time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Guard{opts}, nil
}

// Operator returns nil if a user, as User returned him, runs the service: he
// holds an operator's key, or sits at the machine and shows none.
func (g *Guard) Operator(user string) error {
	name, keyed := strings.CutPrefix(user, keyPrefix)
	if !keyed && g.opts.Open || keyed && slices.ContainsFunc(g.opts.Keys, func(k Key) bool { return k.Operator && k.Name == name }) {
		return nil
	}
	return fault.New(fault.Forbidden, "this needs an operator's key: one with operator: true in the node's configuration")
}

const (
	keyPrefix  = "key-" // of users who came with one
	cookieName = "parley_session"
	// LocalUser is who calls without any credential on loopback: scripts and
	// the command line of the person at the machine.
	LocalUser = "local"
)

// UserOf returns the user who is known by a key's name.
func UserOf(key string) string { return keyPrefix + key }

// User returns who a request is from. A guest is no user.
func (g *Guard) User(r *http.Request) (string, error) {
	if err := g.meant(r); err != nil {
		return "", err
	}
	if key, ok := bearer(r); ok {
		if strings.HasPrefix(key, guestPrefix) {
			return "", fault.New(fault.Forbidden, "a guest's pass is good for that guest's conversations, and nothing else")
		}
		if pass, ok := strings.CutPrefix(key, passPrefix); ok {
			if user, ok := g.open(passKind, pass); ok {
				return user, nil
			}
			return "", fault.New(fault.Unauthenticated, "this pass has run out, or is not of this service: ask for a new one")
		}
		name, ok := g.keyName(key)
		if ok {
			return keyPrefix + name, nil
		}
		if !g.opts.Open {
			return "", fault.New(fault.Unauthenticated, "this key is not known here")
		}
		// Clients of the OpenAI API always send some key; without keys
		// configured any will do.
		if len(g.opts.Keys) == 0 {
			return LocalUser, nil
		}
		return "", fault.New(fault.Unauthenticated, "this key is not known here")
	}
	if c, err := r.Cookie(cookieName); err == nil {
		if user, ok := g.open(sessionKind, c.Value); ok {
			return user, nil
		}
	}
	if g.opts.Open {
		return LocalUser, nil
	}
	return "", fault.New(fault.Unauthenticated, "a key is needed: send it as \"Authorization: Bearer KEY\", or sign in on the page")
}

// meant refuses a name that an attacker points at 127.0.0.1 to reach us.
func (g *Guard) meant(r *http.Request) error {
	if g.opts.Open && !loopbackHost(r.Host) {
		return fault.New(fault.Forbidden, "this node answers only to loopback names such as localhost and 127.0.0.1")
	}
	return nil
}

// Visit gives a browser that has no session one of its own, and reports whether
// it did: from the next request on the browser is another user than in this one.
// On a node with keys only SignIn does.
func (g *Guard) Visit(w http.ResponseWriter, r *http.Request) (fresh bool) {
	if !g.opts.Open || !loopbackHost(r.Host) {
		return false
	}
	if c, err := r.Cookie(cookieName); err == nil {
		if _, ok := g.open(sessionKind, c.Value); ok {
			return false
		}
	}
	g.set(w, r, "user-"+strings.ToLower(rand.Text()))
	return true
}

// SignIn turns a key into a session.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, key string) error {
	name, ok := g.keyName(key)
	if !ok {
		return fault.New(fault.Unauthenticated, "this key is not known here")
	}
	g.set(w, r, keyPrefix+name)
	return nil
}

// Pass returns a bearer for a user who is known here, and until when it is
// good. It is for the page: a browser takes the session's cookie to no other
// host, and the regions have hosts of their own.
func (g *Guard) Pass(user string) (value string, until time.Time) {
	until = g.opts.Now().Add(min(passLifetime, g.opts.Lifetime))
	return passPrefix + g.seal(passKind, user, until), until
}

// Form returns what a form shows that was made for a user here. A form can be
// posted from any page that the user's browser is on, and takes the session
// along: what such a page can't know is this.
func (g *Guard) Form(user string) string {
	return g.seal(formKind, user, g.opts.Now().Add(g.opts.Lifetime))
}

// Formed reports whether a form was made for the user here.
func (g *Guard) Formed(user, shown string) bool {
	by, ok := g.open(formKind, shown)
	return ok && by == user
}

// SignOut ends the browser's session.
func (g *Guard) SignOut(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: g.opts.Secure})
}

func (g *Guard) set(w http.ResponseWriter, r *http.Request, user string) {
	until := g.opts.Now().Add(g.opts.Lifetime)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: g.seal(sessionKind, user, until), Path: "/", Expires: until,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: g.opts.Secure || r.TLS != nil,
	})
}

// The kinds of what is sealed: one can't stand for the other.
const (
	sessionKind  = "session"
	formKind     = "form"
	passKind     = "pass"
	passPrefix   = "pass."
	passLifetime = 12 * time.Hour

	guestKind     = "guest"
	guestPrefix   = "guest."
	guestLifetime = 90 * 24 * time.Hour
)

// A sealed value is user.expiry.signature.
func (g *Guard) seal(kind, user string, until time.Time) string {
	body := user + "." + strconv.FormatInt(until.Unix(), 10)
	return body + "." + base64.RawURLEncoding.EncodeToString(g.sign(kind, body))
}

func (g *Guard) sign(kind, body string) []byte {
	m := hmac.New(sha256.New, g.opts.Secret)
	m.Write([]byte(kind + "\x00" + body))
	return m.Sum(nil)
}

func (g *Guard) open(kind, value string) (user string, ok bool) {
	body, sig, ok := cutLast(value, ".")
	if !ok || len(value) > 512 {
		return "", false
	}
	got, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || !hmac.Equal(got, g.sign(kind, body)) {
		return "", false
	}
	user, expiry, ok := cutLast(body, ".")
	unix, err := strconv.ParseInt(expiry, 10, 64)
	if !ok || err != nil || g.opts.Now().Unix() >= unix {
		return "", false
	}
	return user, true
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// keyName finds a key. Every digest is compared, whole, so that time tells
// nothing.
func (g *Guard) keyName(key string) (name string, ok bool) {
	for _, k := range g.opts.Keys {
		if k.Hash.Matches(key) {
			name, ok = k.Name, true
		}
	}
	return name, ok
}

func bearer(r *http.Request) (string, bool) {
	if h := r.Header.Get("Authorization"); len(h) > 7 && strings.EqualFold(h[:7], "Bearer ") {
		return strings.TrimSpace(h[7:]), true
	}
	for _, name := range []string{"Api-Key", "Ocp-Apim-Subscription-Key"} { // Azure's dialects
		if h := r.Header.Get(name); h != "" {
			return h, true
		}
	}
	return "", false
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// Values is where nodes keep what they share.
type Values interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Create(ctx context.Context, key string, value []byte) error
}

// Secret returns the secret that all nodes sign cookies with; the first node
// makes it.
func Secret(ctx context.Context, v Values) ([]byte, error) {
	const key = "auth.cookie-secret"
	for try := 0; ; try++ {
		b, err := v.Get(ctx, key)
		if err == nil {
			return hex.DecodeString(string(b))
		}
		if !fault.Is(err, fault.NotFound) || try == 5 {
			return nil, err
		}
		fresh := make([]byte, 32)
		_, _ = rand.Read(fresh) // never fails
		if err := v.Create(ctx, key, []byte(hex.EncodeToString(fresh))); err != nil && !fault.Is(err, fault.Conflict) {
			return nil, err
		}
	}
}

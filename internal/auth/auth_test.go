package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

var cookieSecret = []byte(strings.Repeat("s", 32))

func guard(t *testing.T, o auth.Options) *auth.Guard {
	t.Helper()
	o.Secret = cookieSecret
	g, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(host string, edit func(*http.Request)) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = host
	if edit != nil {
		edit(r)
	}
	return r
}

func TestUser(t *testing.T) {
	keys := []auth.Key{{Name: "ci", Hash: secret.HashOf(secret.New("right"))}}
	withKey := func(k string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+k) }
	}
	open, closed := guard(t, auth.Options{Open: true}), guard(t, auth.Options{Keys: keys})
	both := guard(t, auth.Options{Open: true, Keys: keys})
	for _, tc := range []struct {
		name string
		g    *auth.Guard
		r    *http.Request
		user string
		code fault.Code
	}{
		{"loopback, nothing", open, request("127.0.0.1:8470", nil), auth.LocalUser, ""},
		{"loopback v6", open, request("[::1]:8470", nil), auth.LocalUser, ""},
		{"localhost", open, request("localhost", nil), auth.LocalUser, ""},
		{"a name rebound to loopback", open, request("evil.example:8470", nil), "", fault.Forbidden},
		{"a name that only begins like one", open, request("127.0.0.1.evil.example", nil), "", fault.Forbidden},
		{"any key where none is configured", open, request("localhost", withKey("whatever")), auth.LocalUser, ""},
		{"a wrong key on loopback with keys", both, request("localhost", withKey("wrong")), "", fault.Unauthenticated},
		{"right key", closed, request("chat.example", withKey("right")), "key-ci", ""},
		{"azure's header", closed, request("chat.example", func(r *http.Request) { r.Header.Set("api-key", "right") }), "key-ci", ""},
		{"wrong key", closed, request("chat.example", withKey("wrong")), "", fault.Unauthenticated},
		{"no key", closed, request("chat.example", nil), "", fault.Unauthenticated},
		{"forged cookie", closed, request("chat.example", func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "parley_session", Value: "key-ci.99999999999.AAAA"})
		}), "", fault.Unauthenticated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			user, err := tc.g.User(tc.r)
			if user != tc.user || fault.CodeOf(err) != tc.code {
				t.Errorf("got %q, %v; want %q, %q", user, err, tc.user, tc.code)
			}
		})
	}
}

func TestOperator(t *testing.T) {
	keys := []auth.Key{{Name: "ann", Hash: secret.HashOf(secret.New("a")), Operator: true}, {Name: "bob", Hash: secret.HashOf(secret.New("b"))}}
	open, closed := guard(t, auth.Options{Open: true, Keys: keys}), guard(t, auth.Options{Keys: keys})
	for user, want := range map[string][2]bool{ // on a loopback address, elsewhere
		"key-ann": {true, true}, "key-bob": {false, false}, "key-gone": {false, false}, auth.LocalUser: {true, false}, "user-x": {true, false}, "": {true, false},
	} {
		if got := [2]bool{open.Operator(user) == nil, closed.Operator(user) == nil}; got != want {
			t.Errorf("%q: %v, want %v", user, got, want)
		}
	}
	if err := closed.Operator("key-bob"); fault.CodeOf(err) != fault.Forbidden {
		t.Errorf("%v", err)
	}
}

func TestSession(t *testing.T) {
	now := time.Now()
	g := guard(t, auth.Options{Open: true, Lifetime: time.Hour, Now: func() time.Time { return now }})
	visit := func() *http.Cookie {
		w := httptest.NewRecorder()
		g.Visit(w, request("localhost", nil))
		c := w.Result().Cookies()
		if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode {
			t.Fatalf("cookies: %v", c)
		}
		return c[0]
	}
	a, b := visit(), visit()
	userOf := func(c *http.Cookie) string {
		u, err := g.User(request("localhost", func(r *http.Request) { r.AddCookie(c) }))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if userOf(a) == userOf(b) || !strings.HasPrefix(userOf(a), "user-") {
		t.Errorf("users %q and %q", userOf(a), userOf(b))
	}
	w := httptest.NewRecorder()
	g.Visit(w, request("localhost", func(r *http.Request) { r.AddCookie(a) }))
	if len(w.Result().Cookies()) != 0 {
		t.Error("a browser with a session got another one")
	}
	tampered := *a
	tampered.Value = strings.Replace(a.Value, userOf(a), "local", 1)
	if got := userOf(&tampered); got != auth.LocalUser { // falls back to no session at all
		t.Errorf("tampered cookie gives %q", got)
	}
	now = now.Add(2 * time.Hour)
	if got := userOf(a); got != auth.LocalUser {
		t.Errorf("expired cookie gives %q", got)
	}
}

func FuzzCookie(f *testing.F) {
	g, err := auth.New(auth.Options{Secret: cookieSecret, Keys: []auth.Key{{Name: "k", Hash: secret.HashOf(secret.New("x"))}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.1.b")
	f.Add("...")
	f.Fuzz(func(t *testing.T, v string) {
		r := request("h", func(r *http.Request) { r.Header.Set("Cookie", "parley_session="+v) })
		if user, err := g.User(r); err == nil {
			t.Errorf("a made-up cookie is %q", user)
		}
	})
}

// A pass is good on every node that has the secret, for as long as it says, and
// is no session; a session is no pass.
// A form is good for whom it was made for, and nothing else that is sealed is
// one.
func TestForm(t *testing.T) {
	now := time.Now()
	g := guard(t, auth.Options{Open: true, Lifetime: time.Hour, Now: func() time.Time { return now }})
	form := g.Form("ann")
	pass, _ := g.Pass("ann")
	for shown, want := range map[string]bool{form: true, g.Form("bob"): false, "": false, pass: false, strings.TrimPrefix(pass, "pass."): false, form + "x": false} {
		if got := g.Formed("ann", shown); got != want {
			t.Errorf("%q is %v", shown, got)
		}
	}
	now = now.Add(2 * time.Hour)
	if g.Formed("ann", form) {
		t.Error("it is good for ever")
	}
}

func TestPass(t *testing.T) {
	now := time.Now()
	o := auth.Options{Keys: []auth.Key{{Name: "ci.team", Hash: secret.HashOf(secret.New("right"))}}, Now: func() time.Time { return now }}
	here, there := guard(t, o), guard(t, o)
	w := httptest.NewRecorder()
	if err := here.SignIn(w, request("chat.example", nil), "right"); err != nil {
		t.Fatal(err)
	}
	cookie := w.Result().Cookies()[0]
	pass, until := here.Pass("key-ci.team")
	bearer := func(v string) *http.Request {
		return request("kr.example", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+v) })
	}
	with := func(v string) *http.Request {
		return request("kr.example", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: v}) })
	}
	for _, tc := range []struct {
		name string
		r    *http.Request
		ok   bool
	}{
		{"elsewhere", bearer(pass), true},
		{"changed", bearer(pass[:len(pass)-2] + "AA"), false},
		{"somebody else's", bearer(strings.Replace(pass, "ci", "cj", 1)), false},
		{"as a cookie", with(strings.TrimPrefix(pass, "pass.")), false},
		{"a cookie as a pass", bearer("pass." + cookie.Value), false},
		{"a cookie", with(cookie.Value), true},
	} {
		if user, err := there.User(tc.r); (err == nil) != tc.ok || tc.ok && user != "key-ci.team" {
			t.Errorf("%s: %q, %v", tc.name, user, err)
		}
	}
	if until.Sub(now) > 13*time.Hour {
		t.Errorf("good until %v", until)
	}
	now = until
	if _, err := there.User(bearer(pass)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after its time: %v", err)
	}
}

func TestGuests(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g, err := auth.New(auth.Options{Secret: cookieSecret, Keys: []auth.Key{{Name: "alice", Hash: secret.HashOf(secret.New("alices-key-0123456789"))}}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	guest := auth.NewGuest("shop.helper")
	pass, until := g.GuestPass(guest)
	if got := until.Sub(now); got != 90*24*time.Hour {
		t.Errorf("good for %v", got)
	}
	show := func(bearer string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+bearer)
		return r
	}
	if got, err := g.Guest(show(pass)); err != nil || got != guest || !auth.ShowsGuest(show(pass)) {
		t.Errorf("the guest is %+v, want %+v (%v)", got, guest, err)
	}
	if user, err := g.User(show(pass)); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a guest is the user %q (%v)", user, err)
	}
	// What is sealed for one purpose is good for no other.
	asUser := strings.Replace(pass, "guest.", "pass.", 1)
	if user, err := g.User(show(asUser)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a guest's pass with another name is the user %q (%v)", user, err)
	}
	users, _ := g.Pass("key-alice")
	for _, bad := range []string{strings.Replace(users, "pass.", "guest.", 1), pass + "x", strings.Replace(pass, "shop.helper", "shop.other", 1), "guest.", "guest...", "alices-key-0123456789", ""} {
		if got, err := g.Guest(show(bad)); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%q is the guest %+v (%v)", bad, got, err)
		}
	}
	now = until
	if _, err := g.Guest(show(pass)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after 90 days: %v", err)
	}
}

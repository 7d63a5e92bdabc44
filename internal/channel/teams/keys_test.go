package teams

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestKeys(t *testing.T) {
	ms, c := newMicrosoft(t), newClock()
	ms.now = c.Now
	s, _ := open(t, ms, nil)
	try := func(want int, what string) {
		t.Helper()
		if w := ms.deliver(s, "shop", ms.sign(nil), ms.said("a:1", "1", "hi")); w.Code != want {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	var wg sync.WaitGroup
	for range 20 { // all at once, and they are read once
		wg.Go(func() { try(200, "at first") })
	}
	wg.Wait()
	if n := ms.times("keys"); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
	c.pass(23 * time.Hour)
	try(200, "the next day")
	if n := ms.times("keys"); n != 1 {
		t.Errorf("the keys were read %d times in a day", n)
	}
	ms.keys = append(ms.keys, signing{"second", testKeys()[1], []string{"msteams"}})
	try(200, "a new key")
	if n := ms.times("keys"); n != 2 {
		t.Errorf("the keys were read %d times, for a new one", n)
	}
	ms.keys = append(ms.keys, signing{"unknown", testKeys()[2], []string{"msteams"}})
	for i := range 50 { // somebody makes names up
		ms.keys[2].id = fmt.Sprintf("made up %d", i)
		try(401, "a flood of unknown keys")
	}
	if n := ms.times("keys"); n != 2 {
		t.Errorf("the keys were read %d times in a flood", n)
	}
	ms.keys = ms.keys[:2]
	ms.silent = true
	c.pass(48 * time.Hour)
	try(200, "the metadata is away, and the keys are old")
	ms.silent = false
	ms.keys = ms.keys[1:] // the first is withdrawn
	c.pass(keysAgain)
	try(200, "a key was withdrawn, and another is used")
	ms.keys = []signing{{"first", testKeys()[0], []string{"msteams"}}}
	a := s.accounts["shop"]
	if _, err := a.keys.find(t.Context(), "first"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the one that was withdrawn: %v", err)
	}
}

func TestNoKeys(t *testing.T) {
	ms, c := newMicrosoft(t), newClock()
	ms.now = c.Now
	ms.silent = true
	s, d := open(t, ms, nil)
	for range 10 {
		w := ms.deliver(s, "shop", ms.sign(nil), ms.said("a:1", "1", "hi"))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Fatalf("without keys: %d %s", w.Code, w.Body)
		}
	}
	if n := ms.times("metadata"); n != 1 {
		t.Errorf("the metadata was read %d times", n)
	}
	ms.silent = false
	c.pass(keysFirst)
	if w := ms.deliver(s, "shop", ms.sign(nil), ms.said("a:1", "1", "hi")); w.Code != 200 || len(d.taken) != 1 {
		t.Errorf("with keys: %d %s", w.Code, w.Body)
	}
}

func TestAccess(t *testing.T) {
	ms, c := newMicrosoft(t), newClock()
	ms.now = c.Now
	s, _ := open(t, ms, nil)
	x := s.accounts["shop"].access
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := x.get(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first, _ := x.get(t.Context(), "")
	c.pass(54 * time.Minute)
	if again, _ := x.get(t.Context(), ""); again != first || ms.times("token") != 1 {
		t.Errorf("the token was made %d times in an hour", ms.times("token"))
	}
	c.pass(time.Minute)
	second, err := x.get(t.Context(), "")
	if err != nil || second == first {
		t.Errorf("five minutes before its end it is used: %v", err)
	}
	if third, err := x.get(t.Context(), second); err != nil || third == second {
		t.Errorf("one that was refused is used again: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	<-x.turn // somebody else is asking
	if _, err := x.get(ended, ""); err == nil {
		t.Error("it waits for ever")
	}
	x.turn <- struct{}{}
}

func TestAccessRefused(t *testing.T) {
	ms, c := newMicrosoft(t), newClock()
	ms.now = c.Now
	for code, want := range map[int]string{7000215: "value, not its id", 7000222: "expired", 700016: "no app of this app_id", 90002: "no such tenant", 1: "does not say why"} {
		ms.codes = code
		s, _ := open(t, ms, nil)
		before := ms.times("token")
		for range 5 { // it is not asked again and again
			_, err := s.accounts["shop"].access.get(t.Context(), "")
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), testSecret) {
				t.Errorf("%d: %v", code, err)
			}
		}
		if n := ms.times("token") - before; n != 1 {
			t.Errorf("%d: asked %d times", code, n)
		}
		ms.codes = 0
		c.pass(accessAgain)
		if _, err := s.accounts["shop"].access.get(t.Context(), ""); err != nil {
			t.Errorf("after %d: %v", code, err)
		}
	}
	ms.srv.Close()
	s, _ := open(t, ms, nil)
	if _, err := s.accounts["shop"].access.get(t.Context(), ""); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAccessOfOneTenant(t *testing.T) {
	ms := newMicrosoft(t)
	ms.tenant = testTenant
	s, _ := open(t, ms, func(o *Options) { o.Accounts[0].Tenant = testTenant })
	if _, err := s.accounts["shop"].access.get(t.Context(), ""); err != nil {
		t.Error(err)
	}
	s, _ = open(t, ms, nil)
	if _, err := s.accounts["shop"].access.get(t.Context(), ""); err == nil {
		t.Error("a bot of one tenant gets a token of another")
	}
}

func TestAccessByCertificate(t *testing.T) {
	ms := newMicrosoft(t)
	with := certified(t)
	ms.certificate = leafOf(t, with)
	s, _ := open(t, ms, func(o *Options) { o.Accounts[0].Secret, o.Accounts[0].Certificate = secret.String{}, with })
	if _, err := s.accounts["shop"].access.get(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

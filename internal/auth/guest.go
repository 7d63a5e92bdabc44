package auth

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Guest is a visitor of somebody's web site: a user of his own whom nobody
// knows, and who may talk to one bot.
type Guest struct {
	ID  string // owner of his conversations; holds no dot
	Bot string
}

// NewGuest is one who was never here.
func NewGuest(bot string) Guest { return Guest{"guest-" + strings.ToLower(rand.Text()), bot} }

// GuestPass returns a guest's bearer, and until when it is good: showing it
// gets another one, so that who comes back stays the same guest.
func (g *Guard) GuestPass(guest Guest) (value string, until time.Time) {
	until = g.opts.Now().Add(guestLifetime)
	return guestPrefix + g.seal(guestKind, guest.ID+"."+guest.Bot, until), until
}

// ShowsGuest reports whether a request shows a guest's pass, good or not. Such
// a request acts for nobody else, whatever cookie it carries.
func ShowsGuest(r *http.Request) bool {
	key, ok := bearer(r)
	return ok && strings.HasPrefix(key, guestPrefix)
}

// Guest returns the guest whose pass a request shows; without a good one that
// is Unauthenticated.
func (g *Guard) Guest(r *http.Request) (Guest, error) {
	if err := g.meant(r); err != nil {
		return Guest{}, err
	}
	key, _ := bearer(r)
	pass, ok := strings.CutPrefix(key, guestPrefix)
	if ok {
		var who string
		if who, ok = g.open(guestKind, pass); ok {
			id, bot, _ := strings.Cut(who, ".")
			return Guest{id, bot}, nil
		}
	}
	return Guest{}, fault.New(fault.Unauthenticated, "this guest's pass has run out, or is not of this service: ask for a new one")
}

// Package dial calls addresses that somebody else chose: an HTTP client that
// goes where it may and nowhere else. What may live here: which addresses are
// what, and the bounds of such a client; whom to call, and how, is the caller's.
package dial

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Where says what an address is.
type Where int

// The kinds of address.
const (
	Nowhere  Where = iota // no host, or one that stands for another: link-local, reserved, translated
	Near                  // this machine, or a private network
	Internet              // anywhere else
)

// Of says what an address is.
func Of(at netip.Addr) Where {
	at = at.Unmap()
	switch {
	case at.Zone() != "":
		return Nowhere
	case at.IsLoopback(), at.IsPrivate(), shared.Contains(at):
		return Near
	case !at.IsGlobalUnicast(), at.IsLinkLocalUnicast(), special(at):
		return Nowhere
	}
	return Internet
}

// shared is between providers and their customers, and private as well.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// special reports whether an address is no host on the internet, or stands for
// another one that may be none.
func special(at netip.Addr) bool {
	for _, p := range [...]string{
		"0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(p).Contains(at) {
			return true
		}
	}
	return false
}

const (
	dialTime = 10 * time.Second
	idleTime = 3 * time.Second // less than servers wait, so that none closes as we write
)

// Client makes connections to addresses that may allows. The address is looked
// at when the connection is made, after its name was resolved, so a name that
// points elsewhere all of a sudden helps nobody. Nothing is redirected, and no
// proxy of the environment stands in between.
func Client(may func(netip.Addr) error) *http.Client {
	dialer := &net.Dialer{Timeout: dialTime, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fault.New(fault.Forbidden, "the address of a call can't be read")
		}
		return may(at.Addr())
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTime,
			MaxIdleConnsPerHost: 32, IdleConnTimeout: idleTime, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

package loopback

import (
	"net"
	"net/netip"
	"testing"
)

func TestFree(t *testing.T) {
	all, err := Free(200)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range all {
		at, err := netip.ParseAddrPort(addr)
		if err != nil || !at.Addr().IsLoopback() || at.Port() >= 32768 {
			t.Errorf("%s: %v", addr, err)
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Error(err) // also where it is there twice
			continue
		}
		defer l.Close()
	}
}

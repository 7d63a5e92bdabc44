package dial_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/dial"
	"github.com/parleyhq/parley/internal/fault"
)

// internet allows what a bot or a webhook of a stranger may have.
func internet(at netip.Addr) error {
	if dial.Of(at) != dial.Internet {
		return fault.New(fault.Forbidden, "%s is not on the internet", at)
	}
	return nil
}

func TestOf(t *testing.T) {
	for at, want := range map[string]dial.Where{
		"20.1.2.3": dial.Internet, "2603:1030::1": dial.Internet,
		"127.0.0.1": dial.Near, "127.8.9.1": dial.Near, "::1": dial.Near, "10.0.0.1": dial.Near, "172.16.0.1": dial.Near, "192.168.0.1": dial.Near,
		"fd00::1": dial.Near, "100.64.0.1": dial.Near, "::ffff:127.0.0.1": dial.Near, "::ffff:10.0.0.1": dial.Near,
		"169.254.169.254": dial.Nowhere, "fe80::1": dial.Nowhere, "0.0.0.0": dial.Nowhere, "::": dial.Nowhere, "64:ff9b::7f00:1": dial.Nowhere,
		"2002:7f00:1::": dial.Nowhere, "::7f00:1": dial.Nowhere, "224.0.0.1": dial.Nowhere, "255.255.255.255": dial.Nowhere,
	} {
		if got := dial.Of(netip.MustParseAddr(at)); got != want {
			t.Errorf("%s is %d, want %d", at, got, want)
		}
	}
}

func get(t *testing.T, c *http.Client, url string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// An address of this machine is not called, however it is written.
func TestForms(t *testing.T) {
	var asked atomic.Bool
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer inside.Close()
	port := inside.URL[strings.LastIndexByte(inside.URL, ':'):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f000001", "017700000001"} {
		if _, _, err := get(t, dial.Client(internet), "http://"+host+port+"/"); err == nil {
			t.Errorf("%s was called", host)
		}
	}
	if asked.Load() {
		t.Error("the inside was asked")
	}
}

// A redirect is handed back and not followed, wherever it leads.
func TestRedirects(t *testing.T) {
	var asked atomic.Bool
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer inside.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, status) }))
		got, _, err := get(t, dial.Client(func(netip.Addr) error { return nil }), outside.URL)
		outside.Close()
		if got != status || err != nil {
			t.Errorf("%d is answered as %d, %v", status, got, err)
		}
	}
	if asked.Load() {
		t.Error("the inside was asked")
	}
}

// A name that leads outside when it is looked at first, and inside from then on,
// gets nobody inside; nor does one that leads to both.
func TestRebinding(t *testing.T) {
	outside, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("this system has one loopback address only: ", err)
	}
	at := outside.Addr().(*net.TCPAddr).Port
	inside, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", at))
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	var asked atomic.Bool
	for l, h := range map[net.Listener]http.HandlerFunc{
		outside: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "outside")
		},
		inside: func(http.ResponseWriter, *http.Request) { asked.Store(true) },
	} {
		srv := &http.Server{Handler: h}
		go func() { _ = srv.Serve(l) }()
		defer func() { _ = srv.Close() }()
	}
	var leads atomic.Value
	leads.Store([]string{"127.0.0.2"})
	names(t, &leads)
	c := dial.Client(func(at netip.Addr) error {
		if at.Unmap() != netip.MustParseAddr("127.0.0.2") {
			return fault.New(fault.Forbidden, "%s is inside", at)
		}
		return nil
	})
	url := fmt.Sprintf("http://rebind.test.:%d/", at)
	if status, body, err := get(t, c, url); status != 200 || body != "outside" {
		t.Fatalf("outside: %d %q %v", status, body, err)
	}
	for _, to := range [][]string{{"127.0.0.1"}, {"127.0.0.1", "127.0.0.3"}} {
		leads.Store(to)
		var refused *net.OpError
		if status, _, err := get(t, c, url); err == nil || !errors.As(err, &refused) || !strings.Contains(err.Error(), "is inside") {
			t.Errorf("when it leads to %s: %d, %v", to, status, err)
		}
	}
	leads.Store([]string{"127.0.0.1", "127.0.0.2"})
	if status, body, err := get(t, c, url); status != 200 || body != "outside" {
		t.Errorf("when it leads to both: %d %q %v", status, body, err)
	}
	if asked.Load() {
		t.Error("the inside was asked")
	}
}

// names has this test's names answered by a server of its own, with no time to
// keep the answers.
func names(t *testing.T, leads *atomic.Value) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = was
		_ = conn.Close()
	})
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(answer(b[:n], leads.Load().([]string)), from)
		}
	}()
}

// answer is a DNS answer to a question: addresses of version 4, for no time.
func answer(q []byte, to []string) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	if binary.BigEndian.Uint16(q[end-4:]) != 1 {
		return out
	}
	for _, a := range to {
		out[7]++
		ip := netip.MustParseAddr(a).As4()
		out = append(append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
	}
	return out
}

package gslb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/parleyhq/parley/internal/edge"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func newEdge(t testing.TB) *edge.Edge {
	t.Helper()
	all := []edge.Target{{Region: "japaneast"}, {Region: "koreacentral"}, {Region: "southeastasia"}}
	e, err := edge.New(edge.Config{
		Regions: []edge.Region{
			{Name: "japaneast", Addresses: []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}, At: &edge.Point{Lat: 36, Lon: 140}},
			{Name: "koreacentral", Addresses: []netip.Addr{addr("192.0.2.2")}, At: &edge.Point{Lat: 37, Lon: 127}},
			{Name: "southeastasia", Addresses: []netip.Addr{addr("192.0.2.3"), addr("192.0.2.4")}, At: &edge.Point{Lat: 1, Lon: 104}},
		},
		Policies: []edge.Policy{
			{Name: "near", Method: edge.Performance, Targets: all},
			{Name: "prio", Method: edge.Priority, Targets: all},
			{Name: "all", Method: edge.MultiValue, Targets: all},
			{Name: "korea", Method: edge.Geographic, Targets: []edge.Target{{Region: "koreacentral", Places: []string{"KR"}}}},
		},
		Networks: []edge.Network{
			{Subnet: netip.MustParsePrefix("10.82.0.0/16"), Country: "KR"},
			{Subnet: netip.MustParsePrefix("10.65.0.0/16"), Country: "SG"},
			{Subnet: netip.MustParsePrefix("2001:db8:65::/48"), Country: "SG"},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	live(e, "ja ko so")
	return e
}

func live(e *edge.Edge, names string) {
	for _, r := range e.Regions() {
		var problem error
		if !strings.Contains(names, r.Name[:2]) {
			problem = errors.New("dead")
		}
		for range 2 {
			e.Observe(r.Name, edge.Ready, problem, time.Now())
		}
	}
}

func zones() []Zone {
	return []Zone{
		{
			Name: "chat.example.com", Servers: []string{"ns1.chat.example.com", "ns2.example.net."}, Contact: "dns@example.com",
			Names: []Name{
				{Name: "@", Policy: "near", TXT: []string{"v=parley1", strings.Repeat("long ", 100)}},
				{Name: "api", Policy: "prio"},
				{Name: "all", Policy: "all"},
				{Name: "kr", Policy: "korea"},
				{Name: "ns1", Addresses: []netip.Addr{addr("198.51.100.1")}},
				{Name: "deep.below", TXT: []string{""}},
				{Name: "big", TXT: []string{strings.Repeat("a", 900), strings.Repeat("b", 900)}},
			},
		},
		{Name: "inner.chat.example.com.", Servers: []string{"ns.example.net"}, TTL: 5 * time.Second, Names: []Name{{Name: "@", Policy: "prio"}}},
	}
}

func newServer(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Edge == nil {
		opts.Edge = newEdge(t)
	}
	if opts.Zones == nil {
		opts.Zones = zones()
	}
	opts.Listen, opts.Serial = []string{"127.0.0.1:0"}, 7
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t testing.TB, opts Options) (*Server, string) {
	t.Helper()
	s := newServer(t, opts)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s, s.Addrs()[0].String()
}

// ask packs a query, by somebody else's code. ecs is a subnet or "".
func ask(t testing.TB, name string, typ dnsmessage.Type, edns int, ecs string) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 4711, RecursionDesired: true})
	must(t, b.StartQuestions())
	must(t, b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}))
	if edns > 0 {
		must(t, b.StartAdditionals())
		var h dnsmessage.ResourceHeader
		must(t, h.SetEDNS0(edns, 0, true))
		var opt dnsmessage.OPTResource
		if ecs != "" {
			p := netip.MustParsePrefix(ecs)
			family := byte(1)
			if p.Addr().Is6() {
				family = 2
			}
			data := append([]byte{0, family, byte(p.Bits()), 0}, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
			opt.Options = append(opt.Options, dnsmessage.Option{Code: 10, Data: []byte("12345678")}, dnsmessage.Option{Code: optionSubnet, Data: data})
		}
		must(t, b.OPTResource(h, opt))
	}
	out, err := b.Finish()
	must(t, err)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told is what a response says, in words: "NOERROR aa: A 192.0.2.1 10; SOA".
func told(t testing.TB, resp []byte) (words string, scope int) {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(resp); err != nil {
		t.Fatalf("%v in %x", err, resp)
	}
	if !m.Response || m.RecursionAvailable {
		t.Errorf("header %+v", m.Header)
	}
	words = strings.ToUpper(strings.TrimPrefix(m.RCode.String(), "RCode"))
	if m.Authoritative {
		words += " aa"
	}
	if m.Truncated {
		words += " tc"
	}
	for _, r := range m.Answers {
		words += "; " + strings.TrimPrefix(r.Header.Type.String(), "Type") + " "
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			words += netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			words += netip.AddrFrom16(b.AAAA).String()
		case *dnsmessage.NSResource:
			words += b.NS.String()
		case *dnsmessage.TXTResource:
			words += fmt.Sprintf("%.4q", strings.Join(b.TXT, "|"))
		case *dnsmessage.SOAResource:
			words += fmt.Sprint(b.NS, " ", b.MBox, " ", b.Serial, " ", b.MinTTL)
		}
		words += fmt.Sprint(" ", r.Header.TTL)
	}
	for _, r := range m.Authorities {
		words += fmt.Sprint("; authority ", r.Header.Name, " ", r.Header.TTL)
	}
	scope = -1
	for _, r := range m.Additionals {
		if opt, ok := r.Body.(*dnsmessage.OPTResource); ok {
			for _, o := range opt.Options {
				scope = int(o.Data[3])
			}
		}
	}
	return words, scope
}

func TestAnswers(t *testing.T) {
	const (
		soa = "; authority chat.example.com. 10"
		a   = dnsmessage.TypeA
	)
	any := dnsmessage.TypeALL
	for _, c := range []struct {
		name  string
		typ   dnsmessage.Type
		edns  int
		ecs   string
		want  string
		scope int
	}{
		{"api.chat.example.com.", a, 0, "", "SUCCESS aa; A 192.0.2.1 10", -1},
		{"API.cHaT.example.COM.", a, 0, "", "SUCCESS aa; A 192.0.2.1 10", -1},
		{"api.chat.example.com.", dnsmessage.TypeAAAA, 0, "", "SUCCESS aa; AAAA 2001:db8::1 10", -1},
		{"kr.chat.example.com.", dnsmessage.TypeAAAA, 1232, "10.82.3.0/24", "SUCCESS aa" + soa, 16},
		{"kr.chat.example.com.", a, 1232, "10.82.3.0/24", "SUCCESS aa; A 192.0.2.2 10", 16},
		{"kr.chat.example.com.", a, 1232, "10.65.3.0/24", "SUCCESS aa" + soa, 16}, // nobody's
		{"chat.example.com.", a, 1232, "10.82.3.0/24", "SUCCESS aa; A 192.0.2.2 10", 16},
		{"chat.example.com.", a, 1232, "2001:db8:65::/56", "SUCCESS aa; A 192.0.2.3 10; A 192.0.2.4 10", 48},
		{"chat.example.com.", a, 1232, "0.0.0.0/0", "SUCCESS aa; A", 0},
		{"chat.example.com.", dnsmessage.TypeTXT, 1232, "10.82.3.0/24", `SUCCESS aa; TXT "v=pa" 300; TXT "long" 300`, 0},
		{"chat.example.com.", dnsmessage.TypeTXT, 0, "", "SUCCESS aa tc", -1},
		{"chat.example.com.", dnsmessage.TypeSOA, 0, "", "SUCCESS aa; SOA ns1.chat.example.com. dns.example.com. 7 10 300", -1},
		{"chat.example.com.", dnsmessage.TypeNS, 0, "", "SUCCESS aa; NS ns1.chat.example.com. 300; NS ns2.example.net. 300", -1},
		{"chat.example.com.", any, 0, "", "SUCCESS aa; HINFO  300", -1},
		{"chat.example.com.", dnsmessage.TypeMX, 0, "", "SUCCESS aa" + soa, -1},
		{"ns1.chat.example.com.", a, 0, "", "SUCCESS aa; A 198.51.100.1 300", -1},
		{"api.chat.example.com.", dnsmessage.TypeNS, 0, "", "SUCCESS aa" + soa, -1},
		{"below.chat.example.com.", a, 0, "", "SUCCESS aa" + soa, -1}, // it is there, for what is below it
		{"deep.below.chat.example.com.", dnsmessage.TypeTXT, 0, "", `SUCCESS aa; TXT "" 300`, -1},
		{"no.chat.example.com.", a, 0, "", "NAMEERROR aa" + soa, -1},
		{"x.api.chat.example.com.", a, 1232, "10.82.3.0/24", "NAMEERROR aa" + soa, 0},
		{"inner.chat.example.com.", a, 0, "", "SUCCESS aa; A 192.0.2.1 5", -1},
		{"no.inner.chat.example.com.", a, 0, "", "NAMEERROR aa; authority inner.chat.example.com. 5", -1},
		{"example.com.", a, 0, "", "REFUSED", -1},
		{"xchat.example.com.", a, 1232, "10.82.3.0/24", "REFUSED", 0},
		{".", dnsmessage.TypeNS, 0, "", "REFUSED", -1},
		{"chat.example.com.", dnsmessage.TypeAXFR, 0, "", "REFUSED", -1},
		{"big.chat.example.com.", dnsmessage.TypeTXT, 4096, "", "SUCCESS aa tc", -1}, // never more than what fits into one packet
	} {
		t.Run(fmt.Sprint(c.name, c.typ, c.edns, c.ecs), func(t *testing.T) {
			s := newServer(t, Options{})
			q := ask(t, c.name, c.typ, c.edns, c.ecs)
			resp := s.answer(q, addr("127.0.0.1"), 0, make([]byte, largestUDP), false, false)
			got, scope := told(t, resp)
			if !strings.HasPrefix(got, c.want) || len(got) > len(c.want) && !strings.HasSuffix(c.want, "; A") || scope != c.scope {
				t.Errorf("%s with scope %d, want %s with scope %d", got, scope, c.want, c.scope)
			}
			n := len(c.name) + 1 + 4
			if c.name == "." {
				n = 5
			}
			if !bytes.Equal(resp[headerLen:headerLen+n], q[headerLen:headerLen+n]) {
				t.Error("the question came back changed")
			}
			if !bytes.Equal(resp[:2], q[:2]) || resp[2]&1 == 0 {
				t.Error("id or RD came back changed")
			}
		})
	}
}

func TestFollowsTheRegions(t *testing.T) {
	e := newEdge(t)
	s := newServer(t, Options{Edge: e})
	get := func() string {
		got, _ := told(t, s.answer(ask(t, "api.chat.example.com.", dnsmessage.TypeA, 0, ""), addr("127.0.0.1"), 0, make([]byte, largestUDP), false, false))
		return got
	}
	for _, c := range []struct{ live, want string }{
		{"ko so", "SUCCESS aa; A 192.0.2.2 10"},
		{"", "SUCCESS aa; A 192.0.2.2 10"}, // the last good answer; so died after ko did
		{"so", "SUCCESS aa; A 192.0.2.3 10; A 192.0.2.4 10"},
		{"ja ko so", "SUCCESS aa; A 192.0.2.1 10"},
	} {
		if c.live == "" {
			live(e, "ko")
		}
		live(e, c.live)
		if got := get(); got != c.want {
			t.Errorf("with %q alive: %s, want %s", c.live, got, c.want)
		}
	}
}

func TestMultiValue(t *testing.T) {
	s := newServer(t, Options{})
	got, _ := told(t, s.answer(ask(t, "all.chat.example.com.", dnsmessage.TypeA, 0, ""), addr("127.0.0.1"), 5, make([]byte, largestUDP), false, false))
	for _, a := range []string{"192.0.2.1 ", "192.0.2.2 ", "192.0.2.3 ", "192.0.2.4 "} {
		if !strings.Contains(got, a) {
			t.Errorf("%s is not in %s", a, got)
		}
	}
}

func TestOddPackets(t *testing.T) {
	good := ask(t, "api.chat.example.com.", dnsmessage.TypeA, 1232, "10.82.3.0/24")
	edit := func(f func(p []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, c := range []struct {
		name   string
		packet []byte
		rcode  int // -1: no answer
	}{
		{"nothing", nil, -1},
		{"too short", good[:11], -1},
		{"a response", edit(func(p []byte) []byte { p[2] |= 0x80; return p }), -1},
		{"a header alone", edit(func(p []byte) []byte { return append(p[:4], 0, 0, 0, 0, 0, 0, 0, 0) }), rcodeFormat},
		{"a notify", edit(func(p []byte) []byte { p[2] |= 4 << 3; return p }), rcodeNotImpl},
		{"two questions", edit(func(p []byte) []byte { p[5] = 2; return p }), rcodeFormat},
		{"an answer in a query", edit(func(p []byte) []byte { p[7] = 1; return p }), rcodeFormat},
		{"cut in the name", good[:20], rcodeFormat},
		{"cut in OPT", good[:len(good)-1], rcodeFormat},
		{"more behind it", append(bytes.Clone(good), 0), rcodeFormat},
		{"a pointer in the question", edit(func(p []byte) []byte { p[12] = 0xc0; return p }), rcodeFormat},
		{"EDNS version 1", edit(func(p []byte) []byte { p[bytes.Index(p, []byte{0, 0, 41})+6] = 1; return p }), rcodeVersion},
		{"class chaos", edit(func(p []byte) []byte { p[bytes.Index(p, []byte{0, 1, 0, 1})+3] = 3; return p }), rcodeRefused},
		{"a subnet with a scope", edit(func(p []byte) []byte { p[len(p)-4] = 24; return p }), rcodeFormat},
		{"a subnet too long", edit(func(p []byte) []byte { p[len(p)-5] = 33; return p }), rcodeFormat},
		{"a subnet with bits behind", edit(func(p []byte) []byte { p[len(p)-5] = 17; p[len(p)-1] = 1; return p }), rcodeFormat},
		{"a subnet of no family", edit(func(p []byte) []byte { p[len(p)-6] = 9; return p }), rcodeFormat},
	} {
		resp := newServer(t, Options{}).answer(c.packet, addr("127.0.0.1"), 0, make([]byte, largestUDP), false, false)
		if c.rcode < 0 || resp == nil {
			if c.rcode >= 0 || resp != nil {
				t.Errorf("%s: %x", c.name, resp)
			}
			continue
		}
		var p dnsmessage.Parser
		h, err := p.Start(resp)
		if err != nil {
			t.Fatal(err)
		}
		got := int(h.RCode)
		if got == 0 && c.rcode == rcodeVersion {
			var m dnsmessage.Message
			must(t, m.Unpack(resp))
			got = int(m.Additionals[0].Header.ExtendedRCode(h.RCode))
		}
		if got != c.rcode || h.Authoritative {
			t.Errorf("%s: rcode %d, authoritative %v; want %d", c.name, got, h.Authoritative, c.rcode)
		}
	}
}

func exchange(t testing.TB, network, to string, q []byte) []byte {
	t.Helper()
	c, err := net.Dial(network, to)
	must(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "udp" {
		_, err := c.Write(q)
		must(t, err)
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		must(t, err)
		return buf[:n]
	}
	return tcpExchange(t, c, q)
}

func tcpExchange(t testing.TB, c net.Conn, q []byte) []byte {
	t.Helper()
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
	must(t, err)
	var size [2]byte
	_, err = io.ReadFull(c, size[:])
	must(t, err)
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(c, buf)
	must(t, err)
	return buf
}

func TestOverTheWire(t *testing.T) {
	_, at := start(t, Options{})
	q := ask(t, "api.chat.example.com.", dnsmessage.TypeA, 0, "")
	big := ask(t, "big.chat.example.com.", dnsmessage.TypeTXT, 0, "")
	if got, _ := told(t, exchange(t, "udp", at, q)); got != "SUCCESS aa; A 192.0.2.1 10" {
		t.Error(got)
	}
	if got, _ := told(t, exchange(t, "udp", at, big)); got != "SUCCESS aa tc" {
		t.Error(got)
	}
	c, err := net.Dial("tcp", at)
	must(t, err)
	defer c.Close()
	for range 3 { // one connection, several queries
		if resp := tcpExchange(t, c, big); len(resp) < 1800 {
			t.Errorf("%d bytes over TCP", len(resp))
		}
	}
}

func TestStop(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newServer(t, Options{Idle: time.Hour, MaxConns: 1})
	must(t, s.Start(t.Context()))
	at := s.Addrs()[0].String()
	idle, err := net.Dial("tcp", at)
	must(t, err)
	defer idle.Close()
	tcpExchange(t, idle, ask(t, "api.chat.example.com.", dnsmessage.TypeA, 0, ""))
	second, err := net.Dial("tcp", at) // one too many: closed at once
	must(t, err)
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("more connections than allowed")
	}
	s.Stop()
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("an idle connection after Stop: %v", err)
	}
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	u.Close()
	left := func() int { // one that has just ended may still be counted
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
			<-time.After(5 * time.Millisecond)
		}
		return runtime.NumGoroutine()
	}
	if n := left(); n > before {
		t.Errorf("%d goroutines before, %d after", before, n)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	s, err = New(Options{Edge: newEdge(t), Zones: zones(), Listen: []string{"127.0.0.1:0", taken.Addr().String()}})
	must(t, err)
	if err := s.Start(context.Background()); err == nil {
		t.Error("no error for a port that is taken")
	}
	if n := left(); n > before {
		t.Errorf("%d goroutines before, %d after a start that failed", before, n)
	}
}

func TestRate(t *testing.T) {
	l := newLimiter(10, 1)
	now := time.Now().UnixNano()
	count := func(a string, n int) (ok int) {
		for range n {
			if l.allow(addr(a), now) {
				ok++
			}
		}
		return ok
	}
	if n := count("203.0.113.7", 100); n != 10 {
		t.Errorf("%d of 100 at once, want 10", n)
	}
	if n := count("203.0.113.200", 100) + count("::ffff:203.0.113.9", 1); n != 0 {
		t.Errorf("%d more for its neighbours, want 0", n)
	}
	if n := count("198.51.100.1", 5) + count("2001:db8::1", 5); n != 10 {
		t.Errorf("%d of 10 for others", n)
	}
	now += int64(time.Second) / 2
	if n := count("203.0.113.7", 100); n != 5 {
		t.Errorf("%d after half a second, want 5", n)
	}
	if !newLimiter(-1, 1).allow(addr("::1"), now) {
		t.Error("no limit limits")
	}

	_, at := start(t, Options{Rate: 5})
	c, err := net.Dial("udp", at)
	must(t, err)
	defer c.Close()
	q := ask(t, "api.chat.example.com.", dnsmessage.TypeA, 0, "")
	for range 40 {
		_, err := c.Write(q)
		must(t, err)
	}
	whole, cut := 0, 0
	buf := make([]byte, 4096)
	for {
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		if got, _ := told(t, buf[:n]); strings.Contains(got, "tc") {
			cut++
		} else {
			whole++
		}
	}
	if whole < 5 || whole > 10 || cut < 10 || whole+cut > 30 {
		t.Errorf("of 40 queries %d were answered and %d truncated", whole, cut)
	}
	if got, _ := told(t, exchange(t, "tcp", at, q)); got != "SUCCESS aa; A 192.0.2.1 10" {
		t.Errorf("over TCP: %s", got)
	}
}

func TestZonesAreChecked(t *testing.T) {
	bad := []Zone{
		{Name: "", Servers: []string{"a.b"}},
		{
			Name: "x.org", Servers: []string{"ns.x.org"}, TTL: time.Minute, Contact: "nobody",
			Names: []Name{{Name: "a", Policy: "none"}, {Name: "a"}, {Name: ""}, {Name: "b", Policy: "near", Addresses: []netip.Addr{addr("::1")}}, {Name: "c", Addresses: []netip.Addr{{}}, TXT: []string{strings.Repeat("x", 1001)}}, {Name: "q w"}},
		},
		{Name: "x.ORG."},
	}
	_, err := New(Options{Edge: newEdge(t), Zones: bad, Listen: []string{"127.0.0.1:0"}})
	for _, key := range []string{
		"zones[0].name", "zones[1].servers[0]", "zones[1].ttl", "zones[1].contact", "zones[1].names[0].policy", "zones[1].names[1].name", "zones[1].names[2].name",
		"zones[1].names[3].addresses", "zones[1].names[4].addresses[0]", "zones[1].names[4].txt[0]", "zones[1].names[5].name", "zones[2].name", "zones[2].servers",
	} {
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("%s is not in: %v", key, err)
		}
	}
}

// TestDig asks with a client that has seen every server there is.
func TestDig(t *testing.T) {
	dig, err := exec.LookPath("dig")
	if err != nil {
		t.Skip("dig is not installed (Debian: bind9-dnsutils)")
	}
	_, at := start(t, Options{})
	_, port, _ := net.SplitHostPort(at)
	for _, c := range []struct {
		args string
		want []string
	}{
		{"api.chat.example.com A", []string{"status: NOERROR", "flags: qr aa rd;", "10\tIN\tA\t192.0.2.1"}},
		{"aPi.chat.Example.com A +norec", []string{"aPi.chat.Example.com.\t10"}},
		{"api.chat.example.com A +tcp", []string{"192.0.2.1"}},
		{"big.chat.example.com TXT", []string{"Truncated, retrying in TCP", "aaaa", "bbbb"}},
		{"chat.example.com A +subnet=10.65.3.0/24", []string{"CLIENT-SUBNET: 10.65.3.0/24/16", "192.0.2.3"}},
		{"chat.example.com SOA +noedns", []string{"ns1.chat.example.com. dns.example.com. 7 3600 600 604800 10"}},
		{"chat.example.com ANY +notcp", []string{`HINFO	"RFC8482" ""`}},
		{"no.chat.example.com A", []string{"status: NXDOMAIN", "AUTHORITY: 1"}},
		{"below.chat.example.com A", []string{"status: NOERROR", "ANSWER: 0, AUTHORITY: 1"}},
		{"example.com A", []string{"status: REFUSED"}},
		{"version.bind CH TXT", []string{"status: REFUSED"}},
		{"chat.example.com A +edns=1 +noednsnegotiation", []string{"status: BADVERS"}},
		{"chat.example.com A +opcode=notify", []string{"status: NOTIMP"}},
		{"chat.example.com A +header-only", []string{"status: FORMERR"}},
		{"chat.example.com AXFR", []string{"Transfer failed"}},
	} {
		args := append([]string{"@127.0.0.1", "-p", port, "+tries=1", "+time=3"}, strings.Fields(c.args)...)
		out, _ := exec.Command(dig, args...).CombinedOutput() // a failed transfer is an exit status
		for _, want := range append(c.want, "") {
			if !strings.Contains(string(out), want) {
				t.Errorf("dig %s: no %q in\n%s", c.args, want, out)
			}
		}
		if strings.Contains(string(out), "malformed") || strings.Contains(string(out), "extra bytes") {
			t.Errorf("dig %s complains:\n%s", c.args, out)
		}
	}
}

func TestAnswerAllocatesNothing(t *testing.T) {
	s := newServer(t, Options{})
	q := ask(t, "chat.example.com.", dnsmessage.TypeA, 1232, "10.82.3.0/24")
	buf, from := make([]byte, largestUDP), addr("127.0.0.1")
	if n := testing.AllocsPerRun(100, func() { s.answer(q, from, 1, buf, false, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzQuery holds whatever comes in to this: an answer can be read by somebody
// else's parser, has the query's id, is no larger than the client can take, and
// a query that the other parser takes for sound is not called malformed.
func FuzzQuery(f *testing.F) {
	f.Add(ask(f, "chat.example.com.", dnsmessage.TypeA, 1232, "10.82.3.0/24"), false)
	f.Add(ask(f, "big.chat.example.com.", dnsmessage.TypeTXT, 600, ""), true)
	f.Add(ask(f, "no.chat.example.com.", dnsmessage.TypeALL, 0, ""), false)
	f.Add(ask(f, "all.chat.example.com.", dnsmessage.TypeA, 4096, "2001:db8::/32"), false)
	s := newServer(f, Options{})
	f.Fuzz(func(t *testing.T, p []byte, tcp bool) {
		buf := make([]byte, largestUDP)
		if tcp {
			buf = make([]byte, 1<<16-1)
		}
		resp := s.answer(p, addr("203.0.113.1"), 1, buf, tcp, false)
		if resp == nil {
			if len(p) >= headerLen && p[2]&0x80 == 0 {
				t.Fatal("no answer to a query")
			}
			return
		}
		var own query
		if _, ok := own.parse(p); ok && bytes.ContainsRune(own.name(), '.') {
			return // the other parser refuses a label with a dot, which is odd but sound
		}
		var m dnsmessage.Message
		if err := m.Unpack(resp); err != nil {
			t.Fatalf("%v: %x", err, resp)
		}
		if !m.Response || m.ID != binary.BigEndian.Uint16(p) {
			t.Fatalf("header %+v", m.Header)
		}
		if !tcp && len(resp) > largestUDP || !tcp && len(m.Additionals) == 0 && len(resp) > plainUDP {
			t.Fatalf("%d bytes over UDP", len(resp))
		}
		var q dnsmessage.Message
		if q.Unpack(p) == nil && m.RCode == dnsmessage.RCodeFormatError {
			plain := len(q.Questions) == 1 && len(q.Answers)+len(q.Authorities)+len(q.Additionals) == 0
			if plain && len(p) == headerLen+len(packName(q.Questions[0].Name))+4 {
				t.Fatalf("a sound query is malformed: %x", p)
			}
		}
	})
}

func packName(n dnsmessage.Name) []byte {
	var out []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(n.String(), "."), ".") {
		if label != "" {
			out = append(append(out, byte(len(label))), label...)
		}
	}
	return append(out, 0)
}

func BenchmarkAnswer(b *testing.B) {
	s := newServer(b, Options{})
	for name, q := range map[string][]byte{
		"priority":        ask(b, "api.chat.example.com.", dnsmessage.TypeA, 0, ""),
		"nearest, subnet": ask(b, "chat.example.com.", dnsmessage.TypeA, 1232, "10.82.3.0/24"),
	} {
		b.Run(name, func(b *testing.B) {
			buf, from := make([]byte, largestUDP), addr("127.0.0.1")
			b.ReportAllocs()
			for b.Loop() {
				s.answer(q, from, 1, buf, false, false)
			}
		})
	}
}

package edge

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRanges(t *testing.T) {
	r, err := ReadRanges(
		strings.NewReader("# a comment\n1.0.4.0,1.0.7.255,AU\n\n\"1.0.0.0\",\"1.0.0.255\",\"AU\",\"more\"\r\n1.0.1.0,1.0.3.255,CN\n1.0.8.0,1.0.8.255,AU\n"),
		strings.NewReader("2001:db8::,2001:db8:0:0:7fff:ffff:ffff:ffff,JP\n2001:db8:0:0:8000::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,KR\n"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != 5 { // 1.0.4.0 to 1.0.8.255 is one
		t.Errorf("%d ranges, want 5", r.Len())
	}
	for _, c := range []struct {
		addr string
		want Country
		bits int
	}{
		{"1.0.0.7", "AU", 24},
		{"1.0.1.1", "CN", 24},
		{"1.0.2.1", "CN", 23},
		{"1.0.7.255", "AU", 22},
		{"1.0.8.0", "AU", 24},
		{"1.0.9.0", "", 24},
		{"1.0.10.0", "", 23},
		{"0.0.0.1", "", 8},
		{"200.0.0.1", "", 1},
		{"::ffff:1.0.2.1", "CN", 23},
		{"2001:db8::1", "JP", 64},
		{"2001:db8:1::1", "KR", 48},
		{"2001:db9::1", "", 32},
	} {
		if got, bits := r.Find(netip.MustParseAddr(c.addr)); got != c.want || bits != c.bits {
			t.Errorf("%s is in %q by %d bits, want %q by %d", c.addr, got, bits, c.want, c.bits)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"1.0.0.0,AU\n", "line 1"},
		{"\n1.0.0.9,1.0.0.0,AU\n", "line 2"},
		{"1.0.0.0,::1,AU\n", "no range"},
		{"1.0.0.0,1.0.0.1,AUS\n", "two letters"},
		{strings.Repeat("1", 300), "too long"},
		{"a,b,c", "unable to parse"},
	} {
		if _, err := ReadRanges(strings.NewReader(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v, want an error with %q", c.in, err, c.want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0-9A 3-4B", "0-2A 3-4B 5-9A"},
		{"3-4B 0-9A", "0-2A 3-4B 5-9A"},
		{"0-5A 3-9B", "0-2A 3-9B"},
		{"0-9A 0-3B 2-5C", "0-1B 2-5C 6-9A"},
		{"0-9A 0-9A 4-4A", "0-9A"},
		{"0-3A 4-9A", "0-9A"},
		{"0-3A 5-9A", "0-3A 5-9A"},
		{"0-18446744073709551615A 5-18446744073709551615B", "0-4A 5-18446744073709551615B"},
	} {
		var in []span
		for _, f := range strings.Fields(c.in) {
			var s span
			if _, err := fmt.Sscanf(f, "%d-%d%c", &s.from, &s.to, &s.country[0]); err != nil {
				t.Fatal(err)
			}
			in = append(in, s)
		}
		var got []string
		for _, s := range flat(in) {
			got = append(got, fmt.Sprintf("%d-%d%c", s.from, s.to, s.country[0]))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: %s, want %s", c.in, g, c.want)
		}
	}
}

// TestRealPlaces reads a real table, where somebody has one: see docs/edge.md.
func TestRealPlaces(t *testing.T) {
	dir := os.Getenv("PARLEY_TEST_PLACES")
	if dir == "" {
		t.Skip("set PARLEY_TEST_PLACES to a folder of *.csv files with first,last,country")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no .csv files there (%v)", err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := ReadRanges(f)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		unknown := map[string]bool{}
		for _, s := range append(r.v4, r.v6...) {
			if _, ok := countryOf(string(s.country[:])); !ok {
				unknown[string(s.country[:])] = true
			}
		}
		t.Logf("%s: %d ranges, letters that no country has: %v", filepath.Base(name), r.Len(), unknown)
	}
}

func FuzzRanges(f *testing.F) {
	f.Add("1.0.0.0,1.0.0.255,AU\n1.0.1.0,1.0.3.255,CN\n", uint32(0x01000102))
	f.Add("2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,JP", uint32(1))
	f.Add("0.0.0.0,255.255.255.255,KR", uint32(0xffffffff))
	f.Add("::,ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,KR\n", uint32(0))
	f.Fuzz(func(t *testing.T, text string, x uint32) {
		r, err := ReadRanges(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, a := range []netip.Addr{
			netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}),
			netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)}),
		} {
			code, bits := r.Find(a)
			p, err := a.Prefix(bits)
			if err != nil {
				t.Fatalf("%v: %d bits", a, bits)
			}
			if other, _ := r.Find(p.Addr()); other != code {
				t.Fatalf("%v is in %q and the first of its %d bits, %v, in %q", a, code, bits, p.Addr(), other)
			}
		}
	})
}

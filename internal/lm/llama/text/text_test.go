package text

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFilter(t *testing.T) {
	tests := []struct {
		name    string
		stops   []string
		in      []string
		shown   []string
		stopped bool
		flush   string
	}{
		{"plain", nil, []string{"a", "bc"}, []string{"a", "bc"}, false, ""},
		{"half a rune", nil, []string{"x\xe4\xb8", "\x96y"}, []string{"x", "世y"}, false, ""},
		{"emoji byte by byte", nil, []string{"\xf0", "\x9f", "\x98", "\x80"}, []string{"", "", "", "😀"}, false, ""},
		{"not UTF-8", nil, []string{"a\xff", "b"}, []string{"a\uFFFD", "b"}, false, ""},
		{"broken rune", nil, []string{"\xe4", "ab"}, []string{"", "\uFFFDab"}, false, ""},
		{"half a rune at the end is dropped", nil, []string{"a\xe4"}, []string{"a"}, false, ""},
		{"stop in one piece", []string{"END"}, []string{"abENDcd"}, []string{"ab"}, true, ""},
		{"stop over pieces", []string{"END"}, []string{"aE", "N", "Db"}, []string{"a", "", ""}, true, ""},
		{"false start", []string{"END"}, []string{"aE", "N", "x"}, []string{"a", "", "ENx"}, false, ""},
		{"restart inside", []string{"aab"}, []string{"a", "a", "a", "b"}, []string{"", "", "a", ""}, true, ""},
		{"held back to the end", []string{"END"}, []string{"abEN"}, []string{"ab"}, false, "EN"},
		{"first of two", []string{"yy", "x"}, []string{"axyy"}, []string{"a"}, true, ""},
		{"stop of more bytes", []string{"世界"}, []string{"a\xe4\xb8", "\x96\xe7", "\x95\x8c"}, []string{"a", "", ""}, true, ""},
		{"empty stop is none", []string{""}, []string{"abc"}, []string{"abc"}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFilter(tt.stops)
			stopped := false
			for i, in := range tt.in {
				got, s := f.Push([]byte(in))
				if got != tt.shown[i] {
					t.Errorf("push %d: got %q, want %q", i, got, tt.shown[i])
				}
				stopped = s
			}
			if stopped != tt.stopped {
				t.Errorf("stopped %v, want %v", stopped, tt.stopped)
			}
			if got := f.Flush(); got != tt.flush {
				t.Errorf("flush: got %q, want %q", got, tt.flush)
			}
		})
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("hello END world"), "END", "O w", uint64(1))
	f.Add([]byte("a\xe4\xb8\x96\xff\xf0\x9f"), "世", "\xff", uint64(2))
	f.Add([]byte("aaaaab"), "aab", "aaab", uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, stop1, stop2 string, seed uint64) {
		stops := []string{stop1, stop2}
		whole := NewFilter(stops)
		want, stopped := whole.Push(in)
		want += whole.Flush()
		if !utf8.ValidString(want) {
			t.Fatalf("not UTF-8: %q", want)
		}
		for _, s := range stops {
			// A stop string that is not UTF-8 itself can't occur in the text.
			if s != "" && utf8.ValidString(s) && strings.Contains(want, s) {
				t.Fatalf("%q contains the stop string %q", want, s)
			}
		}
		r := rand.New(rand.NewPCG(seed, 0))
		parts, got, gotStopped := NewFilter(stops), "", false
		for rest := in; len(rest) > 0 && !gotStopped; {
			n := 1 + r.IntN(len(rest))
			var s string
			s, gotStopped = parts.Push(rest[:n])
			got, rest = got+s, rest[n:]
		}
		got += parts.Flush()
		if got != want || gotStopped != stopped {
			t.Fatalf("in parts %q %v, at once %q %v", got, gotStopped, want, stopped)
		}
	})
}

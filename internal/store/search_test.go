package store_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

func texts(s string) []string {
	out := []string{}
	for _, t := range store.Terms(s) {
		out = append(out, t.Text)
	}
	return out
}

func TestTerms(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" .,;!?\n\t\"'()*", ""},
		{"Hello, World", "hello world"},
		{"CAFÉ cafe\u0301 Ångström", "cafe cafe angstrom"},
		{"Straße STRASSE ẞ", "strasse strasse ss"},
		{"Łódź Đà_Nẵng Øre œuvre", "lodz da nang ore oeuvre"},
		{"İstanbul ısı", "istanbul isi"},
		{"Ελλάς ΕΛΛΑΣ", "ελλασ ελλασ"},
		{"ёлка ЁЛКА", "елка елка"},
		{"don't foo-bar a_b", "don t foo bar a b"},
		{"ｆｕｌｌ ﬁne ２０２６", "full fine 2026"},
		{"x² 3.14 ½", "x2 3 14 1 2"},
		{"東京都", "東 京 都"},
		{"パーティー ﾊﾟｰﾃｨｰ", "パ ー テ ィ ー パ ー テ ィ ー"},
		{"か\u3099 が", "が が"},
		{"서울에서", "서 울 에 서"},
		{"iPhone手机", "iphone 手 机"},
		{"हिन्दी", "हिन्दी"},
		{"שָׁלוֹם", "שלום"},
		{"كِتَاب كتاب", "كتاب كتاب"},
		{"a\xffb \xc3", "a b"},
		{"a\x00b", "a b"},
		{strings.Repeat("x", 100), strings.Repeat("x", 64)},
	} {
		if diff := cmp.Diff(strings.Fields(c.want), texts(c.text)); diff != "" {
			t.Errorf("Terms(%q): %s", c.text, diff)
		}
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		text, query string
		want        bool
	}{
		{"The quick brown fox", "QUICK fo", true},
		{"The quick brown fox", "qui fox", false}, // only the last word is a prefix
		{"The quick brown fox", "fox quick", true},
		{"The quick brown fox", "quick AND NOT fox", false}, // no operators
		{"The quick brown fox", "", false},
		{"The quick brown fox", "***", false},
		{"The quick brown fox", `"quick* (brown)`, true},
		{"私は東京都に住んでいます", "東京", true},
		{"私は東京都に住んでいます", "京", true},
		{"私は東京都に住んでいます", "京東", false},
		{"私は東京都に住んでいます", "住 東京", true},
		{"오늘 서울에서 만나요", "서울", true},
		{"สวัสดีครับ", "ครับ", true},
		{"iPhone手机很贵", "手机 iph", true},
	} {
		if got := store.Holds(c.text, store.ParseQuery(c.query)); got != c.want {
			t.Errorf("Holds(%q, %q) = %v, want %v", c.text, c.query, got, c.want)
		}
	}
}

func TestSnippet(t *testing.T) {
	mark := strings.NewReplacer(store.HitStart, "[", store.HitEnd, "]")
	long := strings.Repeat("lorem ipsum ", 100)
	for _, c := range []struct{ text, query, want string }{
		{"The quick\nbrown fox", "fox brow", "The quick [brown] [fox]"},
		{"The quick\nbrown fox", "fox brown", "The quick [brown] [fox]"},
		{"Ein CAFÉ in der Straße", "strasse cafe", "Ein [CAFÉ] in der [Straße]"},
		{"私は東京都に住んでいます", "東京", "私は[東京]都に住んでいます"},
		{"a " + store.HitStart + "b" + store.HitEnd + " c", "c", "a  b  [c]"},
		{"nothing here", "else", "nothing here"},
	} {
		got := mark.Replace(store.Snippet(c.text, store.ParseQuery(c.query)))
		if got != c.want {
			t.Errorf("Snippet(%q, %q) = %q, want %q", c.text, c.query, got, c.want)
		}
	}
	got := mark.Replace(store.Snippet(long+"needle "+long+"thread "+long, store.ParseQuery("thread needle")))
	if !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "…") || !strings.Contains(got, "[needle]") || utf8.RuneCountInString(got) > 170 {
		t.Errorf("long snippet = %q", got)
	}
}

func TestCursor(t *testing.T) {
	c := store.Cursor{Updated: -5, ID: "local-abc"}
	got, err := store.ParseCursor(c.String())
	if err != nil || got != c {
		t.Errorf("ParseCursor(String) = %v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "%%", "AAAA", c.String() + "=", c.String()[:8], strings.Repeat("A", 9999)} {
		if _, err := store.ParseCursor(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseCursor(%q) = %v, want invalid", bad, err)
		}
	}
}

// FuzzTerms: places are in order and inside the text, terms hold nothing that
// an index could take for an operator, folding is stable, and a text is found
// by its own words.
func FuzzTerms(f *testing.F) {
	for _, s := range []string{"Hello, World", "Straße", "東京都", "か\u3099", "a\xffb", "\u0301\u0301", "ﷺ ㎏ ½", strings.Repeat("a\u0301", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		end := 0
		for _, term := range store.Terms(s) {
			if term.Start > term.End || term.End > len(s) || term.Start < 0 || term.End < end {
				t.Fatalf("term %+v of %q is out of place", term, s)
			}
			end = term.End
			if term.Text == "" || strings.ContainsFunc(term.Text, func(r rune) bool { return r < 0x80 && !('a' <= r && r <= 'z' || '0' <= r && r <= '9') }) {
				t.Fatalf("term %q of %q", term.Text, s)
			}
		}
		query := store.ParseQuery(s)
		if len(query) > 0 && !store.Holds(s, query) {
			t.Fatalf("%q does not hold itself: %+v", s, query)
		}
		if got := store.Snippet(s, query); !utf8.ValidString(got) || strings.Count(got, store.HitStart) != strings.Count(got, store.HitEnd) {
			t.Fatalf("Snippet(%q) = %q", s, got)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(store.Cursor{Updated: 1, ID: "x"}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := store.ParseCursor(s); err == nil && c.String() != s {
			t.Fatalf("%q is read as %+v, which is %q", s, c, c.String())
		}
	})
}

package files_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/files"
)

func TestCleanName(t *testing.T) {
	for name, want := range map[string]string{
		"notes.txt":                "notes.txt",
		"../../etc/passwd":         "passwd",
		`C:\Users\ann\photo.png`:   "photo.png",
		"..":                       "",
		"":                         "",
		"a\r\nSet-Cookie: x=1":     "aSet-Cookie: x=1",
		"invoice\u202egpj.exe":     "invoicegpj.exe",
		"\u2066a\u2069.txt":        "a.txt",
		"line\u2028end":            "lineend",
		"größe \xff.txt":           "größe .txt",
		strings.Repeat("ä", 10000): strings.Repeat("ä", 100),
	} {
		if got := files.CleanName(name); got != want {
			t.Errorf("%.40q: %q, want %q", name, got, want)
		}
	}
}

func TestTypeOf(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	for _, c := range []struct{ claimed, content, want string }{
		{"image/png", png, "image/png"},
		{"text/plain", png, "image/png"},
		{"image/jpeg", "<script>alert(1)</script>", "text/plain"},
		{"image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"},
		{"image/svg+xml", "\x00\x01", files.Unknown},
		{"image/png", "\x00\x01\x02", files.Unknown},
		{"text/html", "<b>x</b>", "text/html"},
		{"text/markdown; charset=utf-8", "# x", "text/markdown"},
		{"text/plain", "a\x00b", files.Unknown},
		{"text/plain", "caf\xe9", files.Unknown},
		{"application/pdf", "%PDF-1.7\n\x00", "application/pdf"},
		{"", "plain words", "text/plain"},
		{"nonsense", "\x00", files.Unknown},
		{strings.Repeat("a", 200) + "/b", "\x00", files.Unknown},
	} {
		if got := files.TypeOf(c.claimed, []byte(c.content)); got != c.want {
			t.Errorf("%q claimed as %.40q: %q, want %q", c.content, c.claimed, got, c.want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		kind string
		some []string
		want bool
	}{
		{"image/png", nil, true},
		{"image/png", []string{"image/*"}, true},
		{"image/png", []string{"text/plain", "image/png"}, true},
		{"application/pdf", []string{"image/*", "text/*"}, false},
	} {
		if got := files.Matches(c.kind, c.some); got != c.want {
			t.Errorf("%s of %v: %v", c.kind, c.some, got)
		}
	}
}

func TestID(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 20, 0, 0, time.UTC)
	f := files.File{Name: "a.txt", Type: "text/plain", Content: []byte("a")}
	id := files.NewID("local-1", "key", f, now)
	if again := files.NewID("local-1", "key", f, now.Add(39*time.Minute)); again != id {
		t.Errorf("the same upload is named %s and %s", id, again)
	}
	other := f
	other.Content = []byte("b")
	for what, x := range map[string]string{
		"another file":         files.NewID("local-1", "key", other, now),
		"another conversation": files.NewID("local-2", "key", f, now),
		"another key":          files.NewID("local-1", "key2", f, now),
		"no key":               files.NewID("local-1", "", f, now),
	} {
		if x == id {
			t.Errorf("%s has the same id", what)
		}
	}
	if age, ok := files.Age(id, now.Add(time.Hour)); !ok || age != 80*time.Minute {
		t.Errorf("age %v, %v", age, ok)
	}
	for _, x := range []string{"", "0123456789abcdef0123456789abcdef", strings.Repeat("z", 40)} {
		if _, ok := files.Age(x, now); ok {
			t.Errorf("%q has an age", x)
		}
	}
	if got := files.ID("local-1", files.URL("local-1", id)); got != id {
		t.Errorf("the address names %q", got)
	}
	if got := files.ID("local-1", "/v3/directline/attachments/local-1/abc/x.png"); got != "abc" {
		t.Errorf("Direct Line's address names %q", got)
	}
	for _, url := range []string{files.URL("local-2", id), "https://elsewhere.example" + files.URL("local-1", id), "", "data:text/plain,x"} {
		if got := files.ID("local-1", url); got != "" {
			t.Errorf("%s names %q", url, got)
		}
	}
}

func TestEncode(t *testing.T) {
	want := files.File{Name: "a\n.txt", Type: "text/plain", Content: []byte("one\ntwo\n")}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := files.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "{}", "x\ny", "[]\n"} {
		if _, err := files.Decode([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestOf(t *testing.T) {
	var a activity.Activity
	if err := a.UnmarshalJSON([]byte(`{"type":"message","attachments":[{"contentType":"a/b","contentUrl":"/x","name":"n","size":7},{"contentUrl":"/y","size":"big"},{"contentUrl":"/z","size":-1},{"contentUrl":1},{"content":{}},3]}`)); err != nil {
		t.Fatal(err)
	}
	want := []files.Attachment{{Type: "a/b", URL: "/x", Name: "n", Size: 7}, {URL: "/y"}, {URL: "/z"}}
	if diff := cmp.Diff(want, files.Of(&a)); diff != "" {
		t.Error(diff)
	}
}

func FuzzAttachments(f *testing.F) {
	for _, s := range []string{`[]`, `null`, `{}`, `[{"contentUrl":"/x","name":1}]`, `[{"contentUrl":"/api/v1/conversations/c/files/f","contentType":"a/b","name":"n"}, 3, null]`} {
		f.Add(s, "../x\u202e", "image/png")
	}
	f.Fuzz(func(t *testing.T, raw, name, kind string) {
		a := activity.Activity{Type: "message"}
		if a.UnmarshalJSON([]byte(`{"type":"message","attachments":`+raw+`}`)) == nil {
			for _, at := range files.Of(&a) {
				if at.URL == "" {
					t.Error("an attachment without an address")
				}
			}
		}
		if n := files.CleanName(name); len(n) > 200 || !utf8.ValidString(n) || strings.ContainsAny(n, "/\\\r\n\u202e") || n == ".." {
			t.Errorf("the name %q became %q", name, n)
		}
		if k := files.TypeOf(kind, []byte(raw)); !strings.Contains(k, "/") || strings.ContainsAny(k, "\r\n;") {
			t.Errorf("the type %q became %q", kind, k)
		}
	})
}

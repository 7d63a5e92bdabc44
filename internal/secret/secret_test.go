package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoPrinterShowsIt(t *testing.T) {
	const text = "pk_very-secret-key"
	s := New(text)
	holder := struct {
		Key  String
		Keys []String
		P    *String
	}{s, []String{s}, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%-40v|"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", holder)
	}
	b, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", s, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", s, "holder", holder)
	for _, bad := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the secret shows as %q in:\n%s", bad, out.String())
		}
	}
	if !strings.Contains(string(b), `"Key":"[redacted]"`) {
		t.Errorf("JSON is %s", b)
	}
	if s.Reveal() != text {
		t.Errorf("Reveal gives %q", s.Reveal())
	}
	if got := fmt.Sprint(String{}); got != "" {
		t.Errorf("no secret prints as %q", got)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, empty := write("good", "  from-a-file\n"), write("empty", "\n")
	two, big := write("two", "one\ntwo\n"), write("big", strings.Repeat("x", maxFile+1))
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"KEY": "from-the-environment", "NONE": ""}[name]
		return v, ok
	}
	for ref, want := range map[string]string{
		"literal": "literal", "env:KEY": "from-the-environment", "file:" + good: "from-a-file",
		"":         "error: empty",
		"env:NONE": "error: variable NONE is empty", "env:WHAT": "error: variable WHAT is not set",
		"file:" + empty: "error: is empty", "file:" + two: "error: line breaks", "file:" + big: "error: not a secret",
		"file:" + dir + "/none": "error: no such file", "a\x00b": "error: control", "a\xffb": "error: control",
	} {
		got, err := Read(ref, env)
		if wantErr, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("Read(%q) gives error %v, want one with %q", ref, err, wantErr)
			}
			continue
		}
		if err != nil || got.Reveal() != want {
			t.Errorf("Read(%q) = %q, %v, want %q", ref, got.Reveal(), err, want)
		}
	}
}

func TestHash(t *testing.T) {
	key := NewKey()
	h := HashOf(key)
	if !h.Matches(key.Reveal()) {
		t.Error("the key does not match its hash")
	}
	for _, wrong := range []string{"", key.Reveal() + "x", key.Reveal()[1:], string(h)} {
		if h.Matches(wrong) {
			t.Errorf("%q matches", wrong)
		}
	}
	if Hash("").Matches("") {
		t.Error("the zero Hash matches the empty key")
	}
	upper, err := ParseHash(hashPrefix + strings.ToUpper(strings.TrimPrefix(string(h), hashPrefix)))
	if err != nil || upper != h {
		t.Errorf("ParseHash of upper case gives %q, %v", upper, err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:zz", string(h)[:20], string(h) + "00", strings.TrimPrefix(string(h), hashPrefix)} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("ParseHash(%q) is fine", bad)
		}
	}
	if len(key.Reveal()) < 26 || NewKey() == key {
		t.Errorf("NewKey gives %q", key.Reveal())
	}
}

func TestRedact(t *testing.T) {
	got := Redact("key secret-long and secret- and abc", New("secret-"), New("secret-long"), New("abc"), String{})
	if want := "key [redacted] and [redacted] and abc"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(string(HashOf(New("x"))))
	f.Add("sha256:")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHash(s)
		if err != nil {
			return
		}
		if again, err := ParseHash(string(h)); err != nil || again != h {
			t.Errorf("ParseHash(%q) = %q, and of that %q, %v", s, h, again, err)
		}
	})
}

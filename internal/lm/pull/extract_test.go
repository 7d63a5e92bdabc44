package pull

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// entry of an archive for tests.
type entry struct {
	name string
	body []byte
	link string // a symbolic link to there
}

func tgz(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.body)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func zipped(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		body := e.body
		if e.link != "" {
			h.SetMode(os.ModeSymlink | 0o777)
			body = []byte(e.link)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := f.Write(body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	a, b := noise(5000, 1), noise(300, 2)
	members := []Member{{"p/a.bin", "a.bin", 5000}, {"p/b.bin", "b.bin", 300}}
	good := []entry{{name: "p/readme", body: []byte("hi")}, {name: "p/a.bin", body: a}, {name: "p/b.bin", body: b}}
	for _, tt := range []struct {
		name    string
		entries []entry
		wantErr bool
	}{
		{"as pinned", good, false},
		{"hostile names beside the wanted", append([]entry{
			{name: "../../evil", body: []byte("x")}, {name: "/etc/evil", body: []byte("x")}, {name: "p/../../a.bin", body: []byte("x")},
		}, good...), false},
		{"one is missing", good[:2], true},
		{"a link in place of a file", []entry{{name: "p/a.bin", link: "/etc/passwd"}, good[2]}, true},
		{"another size", []entry{{name: "p/a.bin", body: a[:4999]}, good[2]}, true},
		{"the same twice", []entry{good[1], good[1], good[2]}, true},
		{"nothing", nil, true},
	} {
		for format, make := range map[string]func(testing.TB, ...entry) []byte{"tgz": tgz, "zip": zipped} {
			t.Run(tt.name+" "+format, func(t *testing.T) {
				outer := t.TempDir()
				dir := filepath.Join(outer, "in", "dir")
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				archive := filepath.Join(t.TempDir(), "archive")
				if err := os.WriteFile(archive, make(t, tt.entries...), 0o600); err != nil {
					t.Fatal(err)
				}
				c := mustNew(t, Options{Dir: t.TempDir()})
				err := c.unpack(t.Context(), archive, Part{Members: members}, dir)
				if (err != nil) != tt.wantErr {
					t.Fatalf("unpack = %v, want error: %v", err, tt.wantErr)
				}
				if err != nil {
					if !errors.Is(err, errArchive) {
						t.Errorf("unpack = %v, want errArchive", err)
					}
					return
				}
				for name, want := range map[string][]byte{"a.bin": a, "b.bin": b} {
					if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes, %v", name, len(got), err)
					}
				}
				files, _ := filepath.Glob(filepath.Join(outer, "*"))
				inner, _ := filepath.Glob(filepath.Join(dir, "*"))
				if len(files) != 1 || len(inner) != 2 {
					t.Errorf("written: %v and %v", files, inner)
				}
			})
		}
	}
}

// A link is refused even if its size is the pinned one.
func TestUnpackLink(t *testing.T) {
	for name, b := range map[string][]byte{
		"zip": zipped(t, entry{name: "p", link: "/etc/passwd"}),
		"tgz": tgz(t, entry{name: "p", link: "/etc/passwd"}), // a tar link has no bytes
	} {
		size := map[string]int64{"zip": 11, "tgz": 0}[name]
		err := extract(t.Context(), bytes.NewReader(b), int64(len(b)), []Member{{"p", "p", size}}, discard)
		if !errors.Is(err, errArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A small archive that unpacks to more than it says is stopped.
func TestUnpackBomb(t *testing.T) {
	b := zipped(t, entry{name: "p", body: make([]byte, 1<<20)})
	err := extract(t.Context(), bytes.NewReader(b), int64(len(b)), []Member{{"p", "p", 10}}, discard)
	if !errors.Is(err, errArchive) {
		t.Errorf("zip: %v", err)
	}
	b = tgz(t, make([]entry, maxEntries+1)...)
	err = extract(t.Context(), bytes.NewReader(b), int64(len(b)), []Member{{"p", "p", 10}}, discard)
	if !errors.Is(err, errArchive) {
		t.Errorf("tgz: %v", err)
	}
	err = extract(t.Context(), bytes.NewReader([]byte("hello")), 5, []Member{{"p", "p", 10}}, discard)
	if !errors.Is(err, errNoArchive) {
		t.Errorf("text: %v", err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func discard(Member) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil }

// FuzzExtract: whatever the archive, only wanted members reach the sink, none
// twice, never more bytes than pinned plus one, and success means all of them.
func FuzzExtract(f *testing.F) {
	members := []Member{{"p/a", "a", 3}, {"p/b", "b", 0}}
	good := []entry{{name: "p/a", body: []byte("abc")}, {name: "p/b"}}
	f.Add(tgz(f, good...))
	f.Add(zipped(f, good...))
	f.Add(zipped(f, entry{name: "p/a", link: "x"}, entry{name: "../p/a", body: []byte("abc")}))
	f.Add([]byte("PK\x03\x04"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]*bytes.Buffer{}
		err := extract(t.Context(), bytes.NewReader(b), int64(len(b)), members, func(m Member) (io.WriteCloser, error) {
			if m != members[0] && m != members[1] {
				t.Fatalf("sink for %+v", m)
			}
			if got[m.File] != nil {
				t.Fatalf("%s twice", m.File)
			}
			got[m.File] = &bytes.Buffer{}
			return nopCloser{got[m.File]}, nil
		})
		for _, m := range members {
			w := got[m.File]
			if w != nil && int64(w.Len()) > m.Size+1 {
				t.Fatalf("%s: %d bytes", m.File, w.Len())
			}
			if err == nil && (w == nil || int64(w.Len()) != m.Size) {
				t.Fatalf("success without %s", m.File)
			}
		}
	})
}

// FuzzGGUF: a header that passes has true-looking counts.
func FuzzGGUF(f *testing.F) {
	f.Add([]byte("GGUF\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"), int64(1000))
	f.Add([]byte("GGUF"), int64(4))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		if err := checkGGUF(head, size); err == nil && (len(head) < 24 || size < 24 || string(head[:4]) != "GGUF") {
			t.Fatalf("accepted %q of %d bytes", head, size)
		}
	})
}

// FuzzOpenLibraries: whatever the archive, only plain library names reach the
// sink, each once, and links lead from such a name to another.
func FuzzOpenLibraries(f *testing.F) {
	f.Add(tgz(f, entry{name: "x/libllama.so.0", body: []byte("a")}, entry{name: "x/libllama.so", link: "libllama.so.0"}))
	f.Add(tgz(f, entry{name: "libggml-../../x.so", body: []byte("a")}, entry{name: "x/libggml.so", link: "/etc/passwd"}))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := map[string]bool{}
		plain := func(name string) bool {
			return filepath.Base(name) == name && filepath.IsLocal(name) && (name == "LICENSE" || libraryName.MatchString(name))
		}
		links, err := openLibraries(t.Context(), bytes.NewReader(b), func(name string) (io.WriteCloser, error) {
			if !plain(name) || seen[name] {
				t.Fatalf("sink for %q", name)
			}
			seen[name] = true
			return nopCloser{io.Discard}, nil
		})
		for name, target := range links {
			if !plain(name) || !plain(target) || seen[name] {
				t.Fatalf("link %q to %q", name, target)
			}
		}
		if err == nil && len(seen) == 0 {
			t.Fatal("success without a library")
		}
	})
}

func TestOpenLibrariesRefuses(t *testing.T) {
	lib := entry{name: "a/libllama.so", body: []byte("x")}
	for name, b := range map[string][]byte{
		"the same name twice":     tgz(t, lib, entry{name: "b/libllama.so", body: []byte("y")}),
		"a link of the same name": tgz(t, lib, entry{name: "b/libllama.so", link: "libggml.so"}),
		"nothing but the licence": tgz(t, entry{name: "LICENSE", body: []byte("MIT")}),
		"too many entries":        tgz(t, make([]entry, maxEntries+1)...),
		"cut":                     tgz(t, lib)[:40],
		"text":                    []byte("hello"),
	} {
		sink := func(string) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil }
		if _, err := openLibraries(t.Context(), bytes.NewReader(b), sink); !errors.Is(err, errArchive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

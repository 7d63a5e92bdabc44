package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entry is a file of a hand-made backup.
type entry struct{ name, text string }

func packed(tb testing.TB, m *manifest, entries ...entry) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	tw := tar.NewWriter(z)
	if m != nil {
		text, err := json.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		entries = append(entries, entry{manifestName, string(text)})
	}
	for _, e := range entries {
		if err := tw.WriteHeader(&tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.text)), Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.text)); err != nil {
			tb.Fatal(err)
		}
	}
	if tw.Close() != nil || z.Close() != nil {
		tb.Fatal("close")
	}
	return b.Bytes()
}

func hashed(entries ...entry) map[string]string {
	out := map[string]string{}
	for _, e := range entries {
		sum := sha256.Sum256([]byte(e.text))
		out[e.name] = hex.EncodeToString(sum[:])
	}
	return out
}

func TestUnpack(t *testing.T) {
	a, b := entry{"log/a/1.blk", "one"}, entry{"store.db", "two"}
	whole := &manifest{Format: 1, Log: true, Region: "local", Files: hashed(a, b)}
	good := packed(t, whole, a, b)
	dir := t.TempDir()
	if _, err := unpack(t.Context(), bytes.NewReader(good), dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "log", "a", "1.blk")); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x10
	for name, tt := range map[string]struct {
		bytes []byte
		err   string
	}{
		"no archive":   {[]byte("hello"), "read backup"},
		"empty":        {nil, "read backup"},
		"cut":          {good[:len(good)-20], ""},
		"flipped":      {flipped, ""},
		"no manifest":  {packed(t, nil, a, b), "cut off"},
		"missing":      {packed(t, whole, a), "store.db is missing or damaged"},
		"changed":      {packed(t, whole, entry{a.name, "three"}, b), "log/a/1.blk is missing or damaged"},
		"more":         {packed(t, whole, a, b, entry{"log/b", "x"}), "does not know"},
		"twice":        {packed(t, whole, a, a, b), "no backup has"},
		"other format": {packed(t, &manifest{Format: 2}, a), "format 2"},
		"upwards":      {packed(t, whole, entry{"../evil", "x"}), "no backup has"},
		"sideways":     {packed(t, whole, entry{"log/../../evil", "x"}), "no backup has"},
		"absolute":     {packed(t, whole, entry{"/etc/passwd", "x"}), "no backup has"},
		"elsewhere":    {packed(t, whole, entry{"parley.pid", "x"}), "no backup has"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "in")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := unpack(t.Context(), bytes.NewReader(tt.bytes), dir)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if left, _ := os.ReadDir(base); len(left) != 1 {
				t.Errorf("it wrote outside: %v", left)
			}
		})
	}
}

// A backup that is no good changes nothing.
func TestRestoreOfABrokenBackup(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "store.db"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(file, packed(t, nil, entry{"store.db", "theirs"}), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, errs := typed(t, nil, "", "store", "restore", file, "--data", data)
	if status != 1 || !strings.Contains(errs, "nothing was changed") {
		t.Errorf("status %d: %s", status, errs)
	}
	names := []string{}
	_ = filepath.WalkDir(data, func(p string, _ fs.DirEntry, _ error) error { names = append(names, filepath.Base(p)); return nil })
	if b, err := os.ReadFile(filepath.Join(data, "store.db")); err != nil || string(b) != "mine" || len(names) != 3 {
		t.Errorf("%q, %v, %v", b, err, names)
	}
	other := packed(t, &manifest{Format: 1, Log: true, Region: "elsewhere", Files: map[string]string{}})
	if err := os.WriteFile(file, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := typed(t, nil, "", "store", "restore", file, "--data", data); status != 1 || !strings.Contains(errs, "--region elsewhere") {
		t.Errorf("status %d: %s", status, errs)
	}
}

func FuzzUnpack(f *testing.F) {
	a := entry{"log/a", "one"}
	f.Add(packed(f, &manifest{Format: 1, Files: hashed(a)}, a))
	f.Add(packed(f, nil, entry{"../x", "y"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return // a bomb of zeros is large by right
		}
		base := t.TempDir()
		dir := filepath.Join(base, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(context.Background(), bytes.NewReader(b), dir)
		if left, _ := os.ReadDir(base); len(left) != 1 {
			t.Fatalf("it wrote outside: %v", left)
		}
	})
}

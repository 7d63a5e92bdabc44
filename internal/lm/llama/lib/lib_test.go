//go:build (linux && (amd64 || arm64)) || (darwin && (amd64 || arm64))

package lib

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindLibrary(t *testing.T) {
	for name, tt := range map[string]struct {
		files  []string
		suffix string
		want   string
	}{
		"plain":           {[]string{"libllama.so", "libggml.so"}, ".so", "libllama.so"},
		"with a version":  {[]string{"libllama-common.so", "libllama.v0.5.0.so"}, ".so", "libllama.v0.5.0.so"},
		"versioned links": {[]string{"libllama.so", "libllama.so.0"}, ".so", "libllama.so"},
		"mac":             {[]string{"libllama-common.dylib", "libllama.dylib"}, ".dylib", "libllama.dylib"},
		"helpers only":    {[]string{"libllama-common.so"}, ".so", ""},
		"nothing":         {nil, ".so", ""},
	} {
		dir := t.TempDir()
		for _, f := range tt.files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := findLibrary(dir, tt.suffix)
		if (err == nil) != (tt.want != "") || err == nil && filepath.Base(got) != tt.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if !Supported {
		t.Skip("no binding here")
	}
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no libllama") {
		t.Errorf("empty folder: %v", err)
	}
	for _, f := range []string{"libllama.so", "libllama.dylib"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("not a library"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "load library") {
		t.Errorf("not a library: %v", err)
	}
}

// TestLayoutReal opens the real library, and checks that defaults as those of
// another version would read are refused.
func TestLayoutReal(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") != "1" {
		t.Skip("PARLEY_TEST_REAL=1 and PARLEY_LLAMA_LIB run the real library")
	}
	l, err := Open(os.Getenv("PARLEY_LLAMA_LIB"))
	if err != nil {
		t.Fatal(err)
	}
	if l.Version() == "" {
		t.Error("no version")
	}
	m, c := l.modelDefaults(), l.contextDefaults()
	if err := checkDefaults("0", m, c); err != nil {
		t.Error(err)
	}
	shifted := c
	shifted.p.ctx, shifted.p.batch = c.p.batch, c.p.ubatch // as if a field came in before
	err = checkDefaults("0", m, shifted)
	if err == nil || !strings.Contains(err.Error(), "n_ctx is 2048, expected 512") {
		t.Errorf("%v", err)
	}
	longer := m
	longer.tail[0] = 1 // as if a field came in at the end
	if err := checkDefaults("0", longer, c); err == nil {
		t.Error("a longer struct was taken")
	}
}

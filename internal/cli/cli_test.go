package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typed runs a command line as a script would and returns what it wrote.
func typed(t *testing.T, env []string, stdin string, args ...string) (status int, out, err string) {
	t.Helper()
	var o, e bytes.Buffer
	term := &terminal{in: strings.NewReader(stdin), out: &o, err: &e, environ: append([]string{"HOME=" + t.TempDir()}, env...)}
	status = run(t.Context(), term, args)
	return status, o.String(), e.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "good.yaml")
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	for path, text := range map[string]string{good: "region: here\nheartbeat: 5s\n", broken: "regoin: here\nheartbeat: soon\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		line   string
		status int
		out    string // is in the output
		err    string // is in the error output
	}{
		{"", 0, "Commands:", ""},
		{"--help", 0, "Commands:", ""},
		{"help", 0, "Commands:", ""},
		{"help up", 0, "parley up: start a node", ""},
		{"up --help", 0, "--no-browser", ""},
		{"up -h", 0, "--no-browser", ""},
		{"store", 0, "rebuild  build the store again", ""},
		{"store --help", 0, "rebuild  build the store again", ""},
		{"--version", 0, "parley ", ""},
		{"version", 0, "llama.cpp", ""},
		{"stroe", 2, "", `did you mean "parley store"?`},
		{"store rebuid", 2, "", `did you mean "parley store rebuild"?`},
		{"xyzzy", 2, "", `there is no command "parley xyzzy"`},
		{"--listen x up", 2, "", "wants a command before --listen"},
		{"up --lisen x", 2, "", "did you mean --listen?"},
		{"up --listen", 2, "", "--listen wants a value"},
		{"up now", 2, "", `here is "now"`},
		{"up --offline=maybe", 2, "", "neither true nor false"},
		{"up --listen 0.0.0.0:0", 2, "", "a key is required"},
		{"serve", 2, "", "name the file: -c"},
		{"serve -c /does/not/exist.yaml", 2, "", "no such file"},
		{"config check", 0, "The configuration is good", ""},
		{"config check -c " + good, 0, "2 of them not the default", ""},
		{"config check -c " + broken, 2, "", "broken.yaml:1:1: regoin: there is no such setting (did you mean \"region\"?)"},
		{"config check --json -c " + broken, 2, `"line": 2`, ""},
		{"config print -c " + good + " --region there", 0, `region: "there" # --region`, ""},
		{"config print -c " + good, 0, "good.yaml:2:12", ""},
		{"config print --json", 0, `"key": "listen"`, ""},
		{"config print -- extra", 2, "", "extra"},
		{"key", 0, "sha256:", ""},
		{"key env:NOPE", 1, "", "the variable NOPE is not set"},
		{"key short", 2, "", "at least 16 characters"},
		{"model list", 0, "smollm2-135m-instruct", ""},
		{"model list --json", 0, `"state": "missing"`, ""},
		{"model remove", 2, "", "name what to remove"},
		{"model pull nonsense --offline", 1, "", "nonsense"},
		{"model verify", 0, "parley model pull", ""},
		{"store check", 1, "", "there is no store"},
		{"store rebuild", 1, "", "there is no data"},
		{"store backup", 2, "", "name the file"},
		{"store restore", 2, "", "name the backup"},
		{"chat --url http://127.0.0.1:1 hello", 1, "", `start one with "parley up"`},
		{"chat --url ftp://x hello", 2, "", "not a base URL"},
		{"chat --key sha256:00 hello", 2, "", "a key's hash"},
		{"chat --last --conversation x", 2, "", "exclude each other"},
		{"conversation show", 2, "", "the conversation's id"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			status, out, err := typed(t, nil, "", strings.Fields(tt.line)...)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if !strings.Contains(out, tt.out) {
				t.Errorf("output has no %q:\n%s", tt.out, out)
			}
			if !strings.Contains(err, tt.err) {
				t.Errorf("error output has no %q:\n%s", tt.err, err)
			}
			if tt.status == 0 && err != "" {
				t.Errorf("error output:\n%s", err)
			}
		})
	}
}

func TestCert(t *testing.T) {
	dir := t.TempDir()
	cert := func(node, out string) (int, string) {
		status, _, err := typed(t, nil, "", "cert", "--authority", filepath.Join(dir, "ca"), "--node", node, "--host", "10.0.0.1,kr.example.org", "--out", out)
		return status, err
	}
	if status, err := cert("koreacentral", filepath.Join(dir, "kr")); status != 0 || !strings.Contains(err, "node.pem of koreacentral in koreacentral, valid until 20") {
		t.Errorf("status %d: %s", status, err)
	}
	first, err := os.ReadFile(filepath.Join(dir, "kr", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if status, err := cert("sg2", filepath.Join(dir, "sg")); status != 0 {
		t.Errorf("status %d: %s", status, err)
	}
	if second, err := os.ReadFile(filepath.Join(dir, "sg", "ca.pem")); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the second certificate has another authority (%v)", err)
	}
	if status, err := cert("no such name", filepath.Join(dir, "x")); status != 2 || !strings.Contains(err, "--node and --region") {
		t.Errorf("status %d: %s", status, err)
	}
}

func TestKeyAndHashBelongTogether(t *testing.T) {
	_, out, _ := typed(t, nil, "", "key", "--json")
	var made struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	status, out, errs := typed(t, nil, made.Key+"\n", "key", "-", "--json")
	var again struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(out), &again); err != nil || status != 0 {
		t.Fatal(err, status, errs)
	}
	if again.Hash != made.Hash || again.Key != "" {
		t.Errorf("of the key %q, want %q", again, made.Hash)
	}
	if status, _, errs := typed(t, []string{"PARLEY_KEY=" + made.Hash}, "", "config", "check", "--listen", "0.0.0.0:1"); status != 0 {
		t.Errorf("the hash is not taken: %s", errs)
	}
}

func TestWarningsAreSaid(t *testing.T) {
	_, _, errs := typed(t, []string{"PARLEY_LISTN=1"}, "", "config", "check")
	if !strings.Contains(errs, "did you mean PARLEY_LISTEN?") {
		t.Errorf("said %q", errs)
	}
}

func TestCalm(t *testing.T) {
	in := "a\x1b[2Jb\r\n\tc\u009bd\u202ee\u2066f\x00é🙂"
	if got, want := calm(in), "a\uFFFD[2Jb\n\tc\uFFFDdef\uFFFDé🙂"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var o, e bytes.Buffer
	term := &terminal{in: strings.NewReader(""), out: &o, err: &e, environ: []string{"HOME=" + t.TempDir()}}
	if status := run(ctx, term, []string{"chat", "hello"}); status != statusFailed || !strings.Contains(e.String(), "interrupted") {
		t.Errorf("status %d, said %q", status, e.String())
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/secret"
)

var home = []string{"HOME=/home/u"}

// load writes text as a file and reads it with variables and flags.
func load(t *testing.T, text string, env []string, flags map[string]string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Input{Path: path, Environ: append(env, home...), Flags: flags})
}

func TestDefaults(t *testing.T) {
	c, err := Load(Input{Environ: home})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8470" || !c.Loopback() || !c.Auto() || len(c.Keys) != 0 || c.Region != "local" {
		t.Errorf("listen %s, auto %v, keys %v, region %s", c.Listen, c.Auto(), c.Keys, c.Region)
	}
	if len(c.Bots) != 1 || c.Bots[0].ID != "default" {
		t.Errorf("bots %v", c.Bots)
	}
	if c.Checkpoint != 40*time.Millisecond || c.Limits.Message != 256<<10 {
		t.Errorf("checkpoint %v, message %d", c.Checkpoint, c.Limits.Message)
	}
	// The defaults of items are set when a list is read, without a look at the error.
	for _, r := range engineSettings() {
		if r.Default != "" {
			var e Engine
			if err := r.set(&e, []string{r.Default}, newLoader(nil)); err != nil {
				t.Errorf("engines.%s: default %s: %v", r.Key, r.Default, err)
			}
		}
	}
}

func TestDirectories(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("Unix paths")
	}
	for _, tt := range []struct {
		env         []string
		data, cache string
	}{
		{[]string{"HOME=/h", "XDG_DATA_HOME=/d", "XDG_CACHE_HOME=/c"}, "/d/parley", "/c/parley"},
		{[]string{"HOME=/h", "XDG_DATA_HOME=/d", "XDG_CACHE_HOME=/c", "PARLEY_DATA=/x", "PARLEY_CACHE=~/y"}, "/x", "/h/y"},
	} {
		c, err := Load(Input{Environ: tt.env})
		if err != nil || c.Data != tt.data || c.Cache != tt.cache {
			t.Errorf("%v: data %s, cache %s, %v", tt.env, c.Data, c.Cache, err)
		}
	}
	_, err := Load(Input{})
	if err == nil || !strings.Contains(err.Error(), "PARLEY_DATA") || !strings.Contains(err.Error(), "PARLEY_CACHE") {
		t.Errorf("without a home: %v", err)
	}
	if _, err := Load(Input{Flags: map[string]string{"data": "/d", "cache": "/c"}}); err != nil {
		t.Errorf("without a home, but with flags: %v", err)
	}
}

func TestLaterWins(t *testing.T) {
	file := "listen: 127.0.0.1:1\nregion: filed\nheartbeat: 3s\n"
	c, err := load(t, file, []string{"PARLEY_LISTEN=127.0.0.1:2", "PARLEY_REGION=enved"}, map[string]string{"listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for _, v := range c.Values() {
		from[v.Key] = v.Value + " from " + filepath.Base(v.Source)
	}
	want := map[string]string{
		"listen": "127.0.0.1:3 from --listen", "region": "enved from PARLEY_REGION",
		"heartbeat": "3s from parley.yaml:3:12", "session": "720h from default",
	}
	for k, w := range want {
		if from[k] != w {
			t.Errorf("%s is %q, want %q", k, from[k], w)
		}
	}
}

func TestEverythingThatIsWrongAtOnce(t *testing.T) {
	file := `listn: 127.0.0.1:1
listen: 0.0.0.0:8470
region: Tokyo
checkpoint: 60
heartbeat: 1h
offline: "yes"
limits:
  mesage: 1KiB
  queue: many
  running: 0
  body: 3 potatoes
log: {level: verbose, format: jsn}
data:
session: [1h]
level: info
keys:
  - name: a
    key: short
  - name: a
    key: env:NOT_THERE
  - nme: b
engines:
  - {name: one, kind: opnai, url: example.org}
  - {name: one, kind: openai}
  - {name: x, kind: demo, url: "http://h"}
  - {name: y, kind: openai, url: "http://h/v1", resume: exact, threads: 2}
bots:
  - id: first
    temperature: hot
    top_p: 1.5
    stop: ["", "x"]
    seed: 1.5
  - id: first
  - just text
tls: {cert: a.pem}
region: twice
`
	_, err := load(t, file, []string{"PARLEY_LIMITS_QUEUE=-1"}, map[string]string{"log-level": "loud"})
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("error %v", err)
	}
	var got []string
	for _, p := range ps {
		p.Place.Name = filepath.Base(p.Place.Name)
		got = append(got, p.String())
	}
	want := []string{
		`parley.yaml:1:1: listn: there is no such setting (did you mean "listen"?)`,
		`parley.yaml:3:9: region: "Tokyo" is not 1 to 32 of a-z and 0-9 (wanted: 1 to 32 of a-z and 0-9)`,
		`parley.yaml:4:13: checkpoint: wanted a duration such as 15s, found a whole number, "60" (wanted: 10ms to 5s)`,
		`parley.yaml:5:12: heartbeat: 1h is out of bounds (wanted: 1s to 5m)`,
		`parley.yaml:6:10: offline: wanted true or false, found a text, "yes"`,
		`parley.yaml:8:3: limits.mesage: there is no such setting (did you mean "message"?)`,
		`parley.yaml:9:10: limits.queue: wanted a whole number, found a text, "many" (wanted: 1 to 1000000)`,
		`parley.yaml:10:12: limits.running: 0 is out of bounds (wanted: 1 to 100000)`,
		`parley.yaml:11:9: limits.body: "3 potatoes" is not a size such as 262144, 256KiB or 1MiB (wanted: 4KiB to 64MiB)`,
		`parley.yaml:12:14: log.level: "verbose" is not one of the words for it (wanted: debug, info, warn, error)`,
		`parley.yaml:12:31: log.format: "jsn" is not one of the words for it: did you mean "json"? (wanted: text, json)`,
		`parley.yaml:13:6: data: has no value (remove the line to take the default)`,
		`parley.yaml:14:10: session: wanted a duration such as 15s, found a list`,
		`parley.yaml:15:1: level: there is no such setting (did you mean "log.level"?)`,
		`parley.yaml:18:10: keys[0].key: a key has at least 16 characters: make one with "parley key"`,
		`parley.yaml:19:5: keys[1].name: "a" is the name of another key too`,
		`parley.yaml:20:10: keys[1].key: the variable NOT_THERE is not set`,
		`parley.yaml:21:5: keys[2].nme: there is no such setting (did you mean "name"?)`,
		`parley.yaml:21:5: keys[2].name: is missing`,
		`parley.yaml:21:5: keys[2].key: is missing`,
		`parley.yaml:23:23: engines[0].kind: "opnai" is not one of the words for it: did you mean "openai"? (wanted: openai, process, embedded, demo, echo)`,
		`parley.yaml:23:35: engines[0].url: "example.org" is not a URL with http:// or https:// (wanted: http(s)://host[:port]/path)`,
		`parley.yaml:24:5: engines[1].name: "one" is the name of another engine too`,
		`parley.yaml:24:5: engines[1].url: an engine of kind openai needs the base URL of its API (for example "http://127.0.0.1:11434/v1")`,
		`parley.yaml:25:5: engines[2]: an engine of kind demo has no server to reach (url and key belong to kind openai)`,
		`parley.yaml:26:5: engines[3]: an engine of kind openai decides that itself (context and threads belong to kind embedded)`,
		`parley.yaml:26:5: engines[3].resume: "exact" needs token ids, which only the embedded engine gives (prefill, restart or fail)`,
		`parley.yaml:29:18: bots[0].temperature: wanted a number, found a text, "hot" (wanted: 0 to 5)`,
		`parley.yaml:30:12: bots[0].top_p: 1.5 is out of bounds (wanted: 0 to 1)`,
		`parley.yaml:31:11: bots[0].stop: number 1 has 0 bytes: 1 to 256`,
		`parley.yaml:32:11: bots[0].seed: wanted a whole number, found a number with a fraction, "1.5" (wanted: -9223372036854775808 to 9223372036854775807)`,
		`parley.yaml:33:5: bots[1].id: "first" is the id of another bot too`,
		`parley.yaml:34:5: bots[2]: wanted keys and values (key: value), found "just text"`,
		`parley.yaml:35:13: tls: a certificate needs its key and a key its certificate (name both files, or neither)`,
		`parley.yaml:36:1: region: stands here twice`,
		`PARLEY_LIMITS_QUEUE: limits.queue: -1 is out of bounds (wanted: 1 to 1000000)`,
		`--log-level: log.level: "loud" is not one of the words for it (wanted: debug, info, warn, error)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOtherMachinesNeedAKey(t *testing.T) {
	key := secret.NewKey()
	for listen, open := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:80": true, "localhost:80": true, "127.9.9.9:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:80": false, ":80": false, "[::]:80": false, "10.0.0.1:80": false, "example.org:80": false, "localhost.evil.example:80": false,
	} {
		_, err := Load(Input{Environ: home, Flags: map[string]string{"listen": listen}})
		if open != (err == nil) {
			t.Errorf("%s without a key: %v", listen, err)
		}
		if err != nil && !strings.Contains(err.Error(), "parley key") {
			t.Errorf("%s: the refusal does not say what to do: %v", listen, err)
		}
		c, err := Load(Input{Environ: append(home, "PARLEY_KEY="+key.Reveal()), Flags: map[string]string{"listen": listen}})
		if err != nil || len(c.Keys) != 1 || !c.Keys[0].Hash.Matches(key.Reveal()) {
			t.Errorf("%s with a key: %v, %v", listen, c.Keys, err)
		}
	}
}

func TestShortcuts(t *testing.T) {
	list := "engines:\n  - {name: a, kind: demo}\n"
	c, err := load(t, list, nil, map[string]string{"engine": "http://127.0.0.1:11434/v1", "model": "m"})
	want := []Engine{{Name: "openai", Kind: OpenAI, URL: "http://127.0.0.1:11434/v1", Dialect: "auto", Models: []string{"m"}, Timeout: time.Minute}}
	if err != nil {
		t.Fatal(err)
	}
	opt := cmp.Comparer(func(a, b secret.String) bool { return a == b })
	if diff := cmp.Diff(want, c.Engines, opt); diff != "" {
		t.Errorf("the flag does not replace the list: %s", diff)
	}
	if _, err := load(t, list+"engine: demo\n", nil, nil); err == nil || !strings.Contains(err.Error(), "parley.yaml:3:9: engine:") {
		t.Errorf("both in the file: %v", err)
	}
	if _, err := load(t, "", nil, map[string]string{"engine": "embeded"}); err == nil || !strings.Contains(err.Error(), `did you mean "embedded"?`) {
		t.Errorf("misspelt: %v", err)
	}
	c, err = load(t, "engine_key: env:K\nengine: https://h/v1\n", []string{"K=hush-hush-hush"}, map[string]string{"system": "Be brief."})
	if err != nil || c.Engines[0].Key.Reveal() != "hush-hush-hush" || c.Bots[0].System != "Be brief." {
		t.Errorf("%v, %v, %v", c.Engines, c.Bots, err)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "etc", "parley.yaml")
	for name, text := range map[string]string{file: "data: ../var\nkeys:\n  - {name: a, key: 'file:key.txt'}\n", filepath.Join(dir, "etc", "key.txt"): "0123456789abcdef\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(Input{Path: file, Environ: home})
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != filepath.Join(dir, "var") || !c.Keys[0].Hash.Matches("0123456789abcdef") {
		t.Errorf("data %s, keys %v", c.Data, c.Keys)
	}
}

func TestWarnsOfMisspeltVariables(t *testing.T) {
	c, err := Load(Input{Environ: append(home, "PARLEY_LISTEM=1", "PARLEY_PORT=tcp://10.0.0.1:80", "PARLEY_TEST_REAL=1")})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"the variable PARLEY_LISTEM is not known and ignored: did you mean PARLEY_LISTEN?"}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestNotYAML(t *testing.T) {
	for text, want := range map[string]string{
		"listen: [":                 "parley.yaml:2:1: not YAML",
		"a: b: c":                   "parley.yaml:1",
		"- a\n- b":                  "wanted keys and values (key: value), found a list",
		"just words":                "found \"just words\"",
		"---\na: 1\n---\nb: 1":      "several documents",
		"region: &r x\ndata: *r":    "references (*name) are not used here",
		"<<: {region: a}":           "",
		"? [a, b]\n: c":             "only plain words",
		"\xff\xfe\xff":              "not YAML",
		"data: \"a\\0b\"":           "not a path",
		"key: 12345678901234567890": "wanted a text",
		"listen: " + strings.Repeat("x", maxFile): "over 1MiB",
	} {
		_, err := load(t, text, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "12345678901234567890") {
			t.Errorf("a secret of the wrong type is shown: %v", err)
		}
	}
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "null\n"} {
		if _, err := load(t, text, nil, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Load(Input{Path: filepath.Join(t.TempDir(), "none.yaml"), Environ: home}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
}

func TestPrintIsReadAgain(t *testing.T) {
	example, err := os.ReadFile("../../examples/parley.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := append(home, "PARLEY_LAPTOP_KEY=pk_0123456789abcdefghij", "OPENAI_API_KEY=sk-hush-hush", "DESK_TEAMS_SECRET=hush~hush", "DESK_SLACK_SIGNING=hush-hush-hush", "DESK_SLACK_TOKEN=xoxb-hush-hush")
	env = append(env, "KIOSK_SECRET=whsec_c2staHVzaC1odXNoLXNrLWh1c2gtaHVzaC1zaw==")
	for _, name := range []string{"SHOP_PAGE_TOKEN", "SHOP_APP_SECRET", "SHOP_VERIFY_TOKEN"} {
		env = append(env, name+"=sk-hush-hush")
	}
	env = append(env, "SHOP_TELEGRAM_TOKEN=123456:hush-hush-hush-hush-hush")
	c, err := Parse("parley.yaml", example, env)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"pk_0123456789", "sk-hush", "whsec_", string(c.Keys[0].Hash)} {
		if strings.Contains(out.String(), hidden) {
			t.Errorf("%q is printed:\n%s", hidden, out.String())
		}
	}
	again, err := Parse("printed", []byte(strings.ReplaceAll(out.String(), secret.Redacted, "whsec_YS1zZWNyZXQtb2YtZW5vdWdoLWxlbmd0aA==")), home)
	var ps Problems
	other := func(p Problem) bool {
		return !strings.Contains(p.Text, "same key stands here twice") && !strings.Contains(p.Text, "@BotFather")
	}
	if errors.As(err, &ps) && !slices.ContainsFunc(ps, other) {
		err = nil // all redacted keys read back alike, and none is a token
		again = c
	}
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	var second strings.Builder
	_ = again.Print(&second)
	strip := func(s string) string {
		var lines []string
		for l := range strings.Lines(s) {
			before, _, _ := strings.Cut(l, " # ")
			lines = append(lines, strings.TrimSpace(before))
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(strip(out.String()), strip(second.String())); diff != "" {
		t.Error(diff)
	}
}

// The example shows every setting of the file at least once, in force or as a
// comment.
func TestExampleShowsEverySetting(t *testing.T) {
	b, err := os.ReadFile("../../examples/parley.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var check func(rows []Row)
	check = func(rows []Row) {
		for _, r := range rows {
			key := r.Key[strings.LastIndex(r.Key, ".")+1:]
			if !strings.Contains(string(b), key+":") {
				t.Errorf("%s is not in the example", r.Key)
			}
			check(r.Items)
		}
	}
	check(Settings())
}

func TestTable(t *testing.T) {
	seen := map[string]string{}
	for _, r := range settings() {
		for _, name := range []string{r.Key, r.Env, r.Flag} {
			if name == "" || name == r.Key && r.Flag == r.Key && seen[name] == r.Key {
				continue
			}
			if other, ok := seen[name]; ok && other != r.Key {
				t.Errorf("%s is used by %s and %s", name, other, r.Key)
			}
			seen[name] = r.Key
		}
		if r.Doc == "" || !strings.HasSuffix(r.Doc, ".") {
			t.Errorf("%s has no sentence", r.Key)
		}
		if r.Env != "" && r.Env != "PARLEY_"+strings.ToUpper(strings.ReplaceAll(r.Key, ".", "_")) {
			t.Errorf("%s has the variable %s", r.Key, r.Env)
		}
		if r.Flag != "" && r.Flag != strings.NewReplacer(".", "-", "_", "-").Replace(r.Key) {
			t.Errorf("%s has the flag %s", r.Key, r.Flag)
		}
		if (r.items == nil) != (r.Kind != KindItems) || (r.items == nil) != (r.set != nil) {
			t.Errorf("%s has no way in", r.Key)
		}
	}
	if _, err := load(t, "", nil, map[string]string{"bots": "x"}); err == nil {
		t.Error("a flag that does not exist is taken")
	}
}

func TestValuesOfABot(t *testing.T) {
	c, err := load(t, "bots:\n  - {id: a, name: Ä, temperature: 0, top_k: 0, seed: -1, stop: [\"a, b\", \"\\n\"], resume: quick, max_tokens: 9}\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	zero, none, seed := 0.0, 0, int64(-1)
	want := []Bot{{ID: "a", Name: "Ä", Resume: lm.Quick, Params: lm.Params{Temperature: &zero, TopK: &none, Seed: &seed, Stop: []string{"a, b", "\n"}, MaxTokens: 9}}}
	if diff := cmp.Diff(want, c.Bots); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	if b, err := os.ReadFile("../../examples/parley.yaml"); err == nil {
		f.Add(b)
	}
	for _, s := range []string{"listen: 127.0.0.1:1", "limits: {queue: 1}", "bots: [{id: a}]", "a: &a [*a]", "keys: {}", "? a\n: b", "!!binary x: y", "engines:\n- {name: a, kind: demo, timeout: 1h}", "x: |\n  y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b, home)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("error %v is not a list of problems", err)
			}
			for _, p := range ps {
				if p.Text == "" || p.Place.Kind == FromFile && p.Place.Line < 0 {
					t.Fatalf("problem %+v", p)
				}
			}
			return
		}
		if !c.Loopback() && len(c.Keys) == 0 {
			t.Fatalf("open to the world: %s", c.Listen)
		}
		if c.Checkpoint <= 0 || c.Limits.Queue <= 0 || len(c.Bots) == 0 || c.Data == "" {
			t.Fatalf("out of bounds: %+v", c)
		}
		var out strings.Builder
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), secret.Redacted) {
			return // can't be read back as it is
		}
		if _, err := Parse("printed", []byte(out.String()), home); err != nil {
			t.Fatalf("%v in:\n%s", err, out.String())
		}
	})
}

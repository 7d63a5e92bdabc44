package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tools are built from source at these versions, once, into the cache.
func tools() map[string]string {
	return map[string]string{
		"mvdan.cc/gofumpt": "v0.12.0",
		"github.com/golangci/golangci-lint/v2/cmd/golangci-lint": "v2.15.0",
		"golang.org/x/vuln/cmd/govulncheck":                      "v1.8.0",
	}
}

// targets are what the product is built for.
func targets() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}
}

// stages lists every stage; one comes after those that it needs.
func stages() []stage {
	return []stage{
		{name: "tools", what: "build the pinned linters, unless they are in the cache", check: true, limit: 20 * time.Minute, do: installTools},
		{name: "build", what: "build the program", check: true, do: build},
		{name: "arch", what: "who may import whom, and the other rules of the tree", check: true, do: func(ctx context.Context, j *job) error {
			return j.goTest(ctx, nil, "./test/arch/...")
		}},
		{name: "vet", what: "go vet", check: true, after: []string{"build"}, do: func(ctx context.Context, j *job) error {
			return j.sh(ctx, sh("go", "vet", "./..."))
		}},
		{name: "generated", what: "what is made from something else is current", check: true, after: []string{"build"}, do: generated},
		{name: "page", what: "the page: types, unit tests, and built files as committed", check: true, do: page},
		{name: "race", what: "go test -race", check: true, after: []string{"vet"}, limit: 20 * time.Minute, do: race},
		{name: "format", what: "gofumpt", check: true, after: []string{"tools"}, do: format},
		{name: "lint", what: "golangci-lint", check: true, after: []string{"tools", "vet"}, limit: 20 * time.Minute, do: func(ctx context.Context, j *job) error {
			return j.sh(ctx, sh("golangci-lint", "run", "./..."))
		}},
		{name: "vuln", what: "govulncheck", check: true, after: []string{"tools", "build"}, do: vuln},

		{name: "cross", what: "build for linux, darwin and windows on amd64 and arm64", after: []string{"lint", "race"}, limit: 20 * time.Minute, do: cross},
		{name: "model", what: "fetch the engine's library and model into the cache", after: []string{"build"}, limit: 15 * time.Minute, do: model},
		{name: "clients", what: "the published clients of OpenAI, Direct Line, LUIS and CLU as judges", after: []string{"model"}, do: clients},
		{name: "real", what: "tests with the real engine", after: []string{"model", "race", "clients"}, alone: true, limit: 20 * time.Minute, do: realEngine},
		{name: "stories", what: "the program from outside: kills, full disk, bad input", after: []string{"model", "race"}, alone: true, limit: 20 * time.Minute, do: stories},
		{name: "sim", what: "a world of regions in one process, broken at random and judged", after: []string{"race", "stories"}, alone: true, limit: 5 * time.Minute, do: func(ctx context.Context, j *job) error {
			return j.goTest(ctx, []string{"PARLEY_TEST_REAL=1"}, "-count=1", "-timeout", "4m", "./test/sim")
		}},
		{name: "browser", what: "people's stories in a real browser", after: []string{"model", "page"}, alone: true, limit: 15 * time.Minute, do: browser},
		{name: "explore", what: "schemathesis asks the API what nobody thought of", after: []string{"clients"}, do: explore},

		{name: "faults", what: "a thousand random faults, judged", night: true, alone: true, limit: 2 * time.Hour, do: faults},
		{name: "drill", what: "fifty people in a world of regions that is broken a hundred times", night: true, after: []string{"build"}, alone: true, limit: 5 * time.Hour, do: drill},
		{name: "talk", what: "thirty minutes of talk on the page, which may not grow", night: true, after: []string{"build"}, alone: true, limit: time.Hour, do: talk},
		{name: "campaigns", what: "the stories, with as many kills, rotten bytes and power cuts as were promised", night: true, after: []string{"model"}, alone: true, limit: 350 * time.Minute, do: campaigns},
	}
}

func installTools(ctx context.Context, j *job) error {
	for pkg, version := range tools() {
		name := filepath.Base(pkg)
		if info, err := buildinfo.ReadFile(filepath.Join(j.cache, "bin", name)); err == nil && info.Main.Version == version && info.GoVersion == runtime.Version() {
			continue
		}
		j.say("tools: building %s %s", name, version)
		err := j.sh(ctx, sh("go", "install", pkg+"@"+version).with("GOBIN="+filepath.Join(j.cache, "bin"), "GOFLAGS="))
		if name == "govulncheck" && err != nil {
			j.note("govulncheck could not be built here; nothing was checked for known vulnerabilities")
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func build(ctx context.Context, j *job) error {
	return j.sh(ctx, sh("go", "build", "-o", j.bin, "./cmd/parley"), sh("go", "build", "./..."))
}

func format(ctx context.Context, j *job) error {
	var files []string
	err := filepath.WalkDir(j.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list Go files: %w", err)
	}
	out, err := j.output(ctx, sh(append([]string{"gofumpt", "-l"}, files...)...))
	if err == nil && strings.TrimSpace(out) != "" {
		err = errors.New("these files are not formatted; run: make format")
	}
	return err
}

// generated checks what `make generate` makes. The package table of the
// documentation and the requirements in go.mod are compared by stage arch.
func generated(ctx context.Context, j *job) error {
	return j.sh(ctx, sh("go", "mod", "verify"), sh("go", "run", "./test/licences", "-check"))
}

func page(ctx context.Context, j *job) error {
	if err := j.need(ctx, "npm", "nodejs", "npm"); err != nil {
		return err
	}
	return j.sh(ctx, sh("npm", "ci").in("web"), sh("npm", "run", "check").in("web"), sh("npm", "run", "check-built").in("web"), sh("npm", "test").in("web"))
}

func race(ctx context.Context, j *job) error {
	if err := j.need(ctx, "cc", "gcc", "libc6-dev"); err != nil { // the race detector's, not the product's
		return err
	}
	out, err := j.output(ctx, sh("go", "list", "./..."))
	if err != nil {
		return err
	}
	packages := slices.DeleteFunc(strings.Fields(out), func(p string) bool {
		return strings.HasSuffix(p, "/test/stories") // drives another process, in a stage of its own
	})
	return j.goTest(ctx, []string{"CGO_ENABLED=1"}, append([]string{"-race", "-timeout", "15m"}, packages...)...)
}

// vuln asks the vulnerability database. Where that can't be reached it says so
// and passes: the code is no worse for it.
func vuln(ctx context.Context, j *job) error {
	if _, err := os.Stat(filepath.Join(j.cache, "bin", "govulncheck")); err != nil {
		return nil // noted by tools
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	out, err := j.output(ctx, sh("govulncheck", "./..."))
	out += j.log.String()
	for _, sign := range []string{"vuln.go.dev", "dial tcp", "no such host", "403", "proxyconnect"} {
		if err != nil && strings.Contains(out, sign) && !strings.Contains(out, "Vulnerability #") {
			j.note("the vulnerability database can't be reached from here: NOT checked for known vulnerabilities")
			return nil
		}
	}
	return err
}

func cross(ctx context.Context, j *job) error {
	for _, t := range targets() {
		goos, arch, _ := strings.Cut(t, "/")
		if err := j.sh(ctx, sh("go", "build", "./...").with("GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0")); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		j.tally.passed++
	}
	return nil
}

// parts says where the library and the models are.
type parts struct {
	Model   string `json:"path"`
	Library string `json:"library"`
	Encoder string `json:"-"` // folder of the sentence encoder
}

// env is what tests of the real engine want to know. They measure nothing, so
// that a slow machine is no failure.
func (p parts) env(j *job) []string {
	return []string{"PARLEY_TEST_REAL=1", "PARLEY_LLAMA_LIB=" + p.Library, "PARLEY_LLAMA_MODEL=" + p.Model, "PARLEY_NLU_ENCODER=" + p.Encoder, "PARLEY_BIN=" + j.bin}
}

func (j *job) parts(ctx context.Context) (parts, error) {
	p, err := j.pull(ctx)
	if err != nil {
		return p, err
	}
	e, err := j.pull(ctx, "all-minilm-l6-v2")
	p.Encoder = e.Model
	if err == nil && p.Library == "" {
		err = errors.New("`parley model pull` did not say where the library is")
	}
	return p, err
}

// pull has a model on this machine; without a name the default one.
func (j *job) pull(ctx context.Context, name ...string) (parts, error) {
	var p parts
	out, err := j.output(ctx, sh(append([]string{j.bin, "model", "pull", "--json"}, name...)...))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		return p, fmt.Errorf("read where the model is: %w", err)
	}
	if p.Model == "" {
		return p, errors.New("`parley model pull` did not say where the model is")
	}
	return p, nil
}

func model(ctx context.Context, j *job) error {
	_, err := j.parts(ctx)
	return err
}

// realEngine runs the packages whose tests want the real engine or the sentence
// encoder, but for the stories.
func realEngine(ctx context.Context, j *job) error {
	p, err := j.parts(ctx)
	if err != nil {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(filepath.Join(j.root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(b), "PARLEY_TEST_REAL") || strings.Contains(string(b), "PARLEY_NLU_ENCODER")) {
			rel, relErr := filepath.Rel(j.root, filepath.Dir(path))
			if dir := "./" + filepath.ToSlash(rel); relErr == nil && (len(dirs) == 0 || dirs[len(dirs)-1] != dir) {
				dirs = append(dirs, dir)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("find tests of the real engine: %w", err)
	}
	python := filepath.Join(j.cache, "clients", "venv", "bin", "python3") // stage clients made it
	return j.goTest(ctx, append(p.env(j), "PARLEY_PYTHON="+python), append([]string{"-count=1", "-p=1", "-timeout", "18m"}, dirs...)...)
}

func stories(ctx context.Context, j *job) error {
	p, err := j.parts(ctx)
	if err != nil {
		return err
	}
	env := p.env(j)
	if os.Getenv("PARLEY_KILLS") == "" {
		env = append(env, "PARLEY_KILLS=10") // the promise was tested with 50
	}
	lib, err := kafka(ctx, j)
	if err != nil {
		return err
	}
	env = append(env, "PARLEY_KAFKA_LIB="+lib)
	return j.goTest(ctx, env, "-count=1", "-timeout", "18m", "./test/stories/...")
}

// kafka has a broker's published jars in the cache.
func kafka(ctx context.Context, j *job) (string, error) {
	lib := filepath.Join(j.cache, "kafka-4.1.0")
	whole := filepath.Join(lib, "all") // a new name when the list has changed
	if _, err := os.Stat(whole); err == nil {
		return lib, nil
	}
	if err := j.need(ctx, "java", "default-jre-headless"); err != nil {
		return "", err
	}
	if err := j.need(ctx, "mvn", "maven"); err != nil {
		return "", err
	}
	if err := j.sh(ctx, sh("mvn", "-q", "-B", "-f", "test/stories/kafka", "dependency:copy-dependencies", "-DoutputDirectory="+lib)); err != nil {
		return "", err
	}
	if err := os.WriteFile(whole, nil, 0o644); err != nil {
		return "", fmt.Errorf("note that Kafka is there: %w", err)
	}
	return lib, nil
}

// faults begins with another seed each day.
func faults(ctx context.Context, j *job) error {
	seed := time.Now().Unix() / 86400 * 100
	return j.sh(ctx, sh("go", "run", "./test/sim", "-faults", "1000", "-seed", strconv.FormatInt(seed, 10)))
}

func drill(ctx context.Context, j *job) error {
	return j.sh(ctx,
		sh(j.bin, "drill", "--users", "50", "--times", "100"),
		sh(j.bin, "drill", "--users", "50", "--times", "40", "--faults", "pause,isolate"),
		sh(j.bin, "drill", "--users", "10", "--times", "1", "--faults", "rough", "--hold", "1h"))
}

func campaigns(ctx context.Context, j *job) error {
	p, err := j.parts(ctx)
	if err != nil {
		return err
	}
	lib, err := kafka(ctx, j)
	if err != nil {
		return err
	}
	return j.goTest(ctx, append(p.env(j), "PARLEY_KILLS=50", "PARLEY_DAMAGES=50", "PARLEY_KAFKA_LIB="+lib), "-count=1", "-timeout", "345m", "./test/stories/...")
}

// talk measures a long conversation as test/browser/measure does by hand.
func talk(ctx context.Context, j *job) error {
	if err := chromium(ctx, j); err != nil {
		return err
	}
	return j.sh(ctx, sh("npm", "ci").in("test/browser"), sh("node", "measure/talk.mjs", "30").in("test/browser").with("PARLEY_BIN="+j.bin))
}

// chromium has what runs scripts in a browser.
func chromium(ctx context.Context, j *job) error {
	if err := j.need(ctx, "npm", "nodejs", "npm"); err != nil {
		return err
	}
	if os.Getenv("CHROMIUM") != "" {
		return nil
	}
	return j.need(ctx, "chromium", "chromium")
}

func browser(ctx context.Context, j *job) error {
	if err := chromium(ctx, j); err != nil {
		return err
	}
	p, err := j.parts(ctx)
	if err != nil {
		return err
	}
	bundle, err := webchat(ctx, j)
	if err != nil {
		return err
	}
	env := append(p.env(j), "OUT="+filepath.Join(j.logs, "browser"), "WEBCHAT_BUNDLE="+bundle)
	return j.sh(ctx, sh("npm", "ci").in("test/browser"), sh("npm", "test").in("test/browser").with(env...))
}

// webchat has Microsoft's Web Chat in the cache: one file of the published
// package, whose bytes are known.
func webchat(ctx context.Context, j *job) (string, error) {
	const (
		name = "botframework-webchat-4.18.1"
		sum  = "0a68ad0a64fc04d621197da10c3eec0f843e16f7d03f6bcbed29b47517cf9bff"
	)
	dir := filepath.Join(j.cache, name)
	bundle := filepath.Join(dir, "package", "dist", "webchat.js")
	check := func() error {
		b, err := os.ReadFile(bundle)
		if err == nil && fmt.Sprintf("%x", sha256.Sum256(b)) != sum {
			err = fmt.Errorf("%s has other bytes than those that were tested", bundle)
		}
		return err
	}
	if check() == nil {
		return bundle, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	err := j.sh(ctx, sh("npm", "pack", "--silent", "--pack-destination", dir, strings.Replace(name, "-4", "@4", 1)),
		sh("tar", "-xzf", filepath.Join(dir, name+".tgz"), "-C", dir, "package/dist/webchat.js"))
	if err != nil {
		return "", err
	}
	return bundle, check()
}

// clients runs the published clients for Python and Node against nodes.
func clients(ctx context.Context, j *job) error {
	if err := j.need(ctx, "npm", "nodejs", "npm"); err != nil {
		return err
	}
	if err := j.need(ctx, "python3", "python3", "python3-venv"); err != nil {
		return err
	}
	p, err := j.parts(ctx)
	if err != nil {
		return err
	}
	return j.sh(ctx, sh("bash", "test/clients/run.sh").with(append(p.env(j), "PARLEY_CI_CACHE="+filepath.Join(j.cache, "clients"))...))
}

// explore lets schemathesis read the description of the API for a minute.
func explore(ctx context.Context, j *job) error {
	return j.sh(ctx, sh("bash", "test/clients/schemathesis.sh", "60").with("PARLEY_BIN="+j.bin, "PARLEY_CI_CACHE="+filepath.Join(j.cache, "clients")))
}

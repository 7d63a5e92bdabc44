package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// stage is one step of checking.
type stage struct {
	name  string
	what  string
	check bool          // it belongs to `make check` too
	night bool          // it takes too long for every change: `make nightly` only
	after []string      // stages that must have passed
	alone bool          // it measures time or fills the machine: nothing runs beside it
	limit time.Duration // 0 = 10 min
	do    func(context.Context, *job) error
}

// result is how a stage ended.
type result struct {
	name  string
	err   error
	took  time.Duration
	tally tally
	notes []string // what the reader must know though nothing failed
	broke []string // the lines that say what failed
}

// machine runs stages.
type machine struct {
	root  string // of the repository
	cache string // kept from run to run
	logs  string // of this run
	bin   string // the built product
	began time.Time

	mu  sync.Mutex // guards out and apt
	out io.Writer
	apt sync.Mutex
}

func newMachine(out io.Writer, began time.Time) (*machine, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "test", "run")); err != nil {
		return nil, errors.New("run this from the root of the repository: go run ./test/run")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache: %w", err)
	}
	cache = filepath.Join(cache, "parley-ci")
	if err := os.MkdirAll(filepath.Join(cache, "bin"), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	logs, err := os.MkdirTemp("", "parley-run-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for logs: %w", err)
	}
	return &machine{root: root, cache: cache, logs: logs, bin: filepath.Join(logs, "parley"), began: began, out: out}, nil
}

func (m *machine) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(m.out, "[%5.0f s] %s\n", time.Since(m.began).Seconds(), fmt.Sprintf(format, args...))
}

// lanes is how many stages run at once.
const lanes = 2

// runAll runs the stages: each when those before it have passed and a lane is
// free, in the order of the table otherwise.
func (m *machine) runAll(ctx context.Context, all []stage) []result {
	var (
		done    = map[string]result{}
		waiting = slices.Clone(all)
		ended   = make(chan result)
		running []string
		alone   bool
		beat    = time.NewTicker(30 * time.Second)
	)
	defer beat.Stop()
	for len(waiting) > 0 || len(running) > 0 {
		for i := 0; i < len(waiting); i++ {
			s := waiting[i]
			ready, bad := s.ready(done)
			switch {
			case bad != "":
				m.say("%s: not run, because %s failed", s.name, bad)
				done[s.name] = result{name: s.name, err: fmt.Errorf("%s failed before it", bad), tally: tally{failed: 1}}
			case !ready || alone || len(running) == lanes || s.alone && len(running) > 0:
				continue
			default:
				running, alone = append(running, s.name), s.alone
				go func() { ended <- m.runOne(ctx, s) }()
			}
			waiting = slices.Delete(waiting, i, i+1)
			i = -1 // what waited for this one may go now
		}
		if len(running) == 0 {
			continue // only stages whose need failed were left
		}
		select {
		case r := <-ended:
			done[r.name] = r
			running = slices.DeleteFunc(running, func(n string) bool { return n == r.name })
			alone = false
		case <-beat.C:
			m.say("at work: %s", strings.Join(running, ", "))
		}
	}
	out := make([]result, 0, len(all))
	for _, s := range all {
		out = append(out, done[s.name])
	}
	return out
}

func (s stage) ready(done map[string]result) (ready bool, bad string) {
	for _, n := range s.after {
		r, ok := done[n]
		if !ok {
			return false, ""
		}
		if r.err != nil {
			return false, n
		}
	}
	return true, ""
}

func (m *machine) runOne(ctx context.Context, s stage) result {
	limit := s.limit
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()
	m.say("%s: %s", s.name, s.what)
	began := time.Now()
	j := &job{machine: m, name: s.name}
	err := s.do(ctx, j)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r := result{name: s.name, took: time.Since(began), tally: j.tally, notes: j.notes}
	if t, ok := plainTests(j.log.String()); ok && j.tally.passed+j.tally.failed == 0 {
		r.tally = t
	}
	if err == nil && r.tally.failed > 0 {
		err = fmt.Errorf("%d failed", r.tally.failed)
	}
	if err == nil && r.tally.passed == 0 {
		r.tally.passed = 1 // the stage itself
	}
	if err != nil && r.tally.failed == 0 {
		r.tally.failed = 1
	}
	r.err = err
	if writeErr := os.WriteFile(filepath.Join(m.logs, s.name+".log"), j.log.Bytes(), 0o644); writeErr != nil {
		r.notes = append(r.notes, writeErr.Error())
	}
	if err != nil {
		r.broke = broken(j.log.String())
		m.say("%s: FAILED after %.0f s: %v\n%s", s.name, r.took.Seconds(), err, tail(j.log.String(), 120))
	} else {
		m.say("%s: ok, %.0f s, %s", s.name, r.took.Seconds(), r.tally)
	}
	return r
}

// tail returns the last lines of a text, each a little indented.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("... %d lines before", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return "    " + strings.Join(all, "\n    ")
}

// job is a stage at work.
type job struct {
	*machine
	name  string
	log   lockedBuffer
	tally tally
	notes []string
}

// lockedBuffer takes both outputs of a command.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Bytes() []byte { return []byte(l.String()) }

func (j *job) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// command is what a job runs: env is added to the machine's.
type command struct {
	dir  string // below the repository
	env  []string
	args []string
}

func sh(args ...string) command { return command{args: args} }

func (c command) in(dir string) command { c.dir = dir; return c }

func (c command) with(env ...string) command { c.env = append(slices.Clone(c.env), env...); return c }

func (j *job) prepare(ctx context.Context, c command) *exec.Cmd {
	program := c.args[0]
	if tool := filepath.Join(j.cache, "bin", program); isFile(tool) {
		program = tool
	}
	cmd := exec.CommandContext(ctx, program, c.args[1:]...)
	cmd.Dir = filepath.Join(j.root, filepath.FromSlash(c.dir))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(j.cache, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"), "CI=true")
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Stderr = &j.log
	killGroup(cmd)
	cmd.WaitDelay = 10 * time.Second
	fmt.Fprintf(&j.log, "$ %s\n", strings.Join(append(slices.Clone(c.env), c.args...), " "))
	return cmd
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// sh runs commands one after another until one fails.
func (j *job) sh(ctx context.Context, cs ...command) error {
	for _, c := range cs {
		cmd := j.prepare(ctx, c)
		cmd.Stdout = &j.log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(c.args[0]), err)
		}
	}
	return nil
}

// output runs a command and returns what it printed.
func (j *job) output(ctx context.Context, c command) (string, error) {
	var b bytes.Buffer
	cmd := j.prepare(ctx, c)
	cmd.Stdout = io.MultiWriter(&b, &j.log)
	if err := cmd.Run(); err != nil {
		return b.String(), fmt.Errorf("%s: %w", filepath.Base(c.args[0]), err)
	}
	return b.String(), nil
}

// goTest runs `go test -json` with more arguments and counts.
func (j *job) goTest(ctx context.Context, env []string, args ...string) error {
	cmd := j.prepare(ctx, sh(append([]string{"go", "test", "-json"}, args...)...).with(env...))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	t, readErr := goTests(out, &j.log)
	j.tally = j.tally.plus(t)
	return errors.Join(readErr, cmd.Wait())
}

// need returns when a program is there, after installing Debian's packages for
// it if this machine lets us.
func (j *job) need(ctx context.Context, program string, packages ...string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	install := "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("%s is missing; on Debian as root: %s", program, install)
	}
	j.apt.Lock() // one apt-get at a time
	defer j.apt.Unlock()
	quiet := []string{"DEBIAN_FRONTEND=noninteractive"}
	j.say("%s: installing %s", j.name, strings.Join(packages, " "))
	return j.sh(ctx, sh("apt-get", "update", "-q").with(quiet...), sh(strings.Fields(install)...).with(quiet...))
}

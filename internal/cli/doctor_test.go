package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// healthy is a machine on which all is well.
func healthy(t *testing.T, flags map[string]string) doctor {
	t.Helper()
	all := map[string]string{"data": filepath.Join(t.TempDir(), "data")}
	for k, v := range flags {
		all[k] = v
	}
	c, err := config.Load(config.Input{Environ: []string{"HOME=" + t.TempDir()}, Flags: all})
	if err != nil {
		t.Fatal(err)
	}
	return doctor{
		cfg: c, environ: func(string) string { return "" },
		freeSpace: func(string) (int64, error) { return 10 << 30, nil },
		openFiles: func() (uint64, bool) { return 65536, true },
		lookPath:  func(name string) (string, error) { return "/bin/" + name, nil },
		now:       time.Now,
		listen:    func(string) error { return nil },
		node:      func(context.Context, string) (client.Info, error) { return client.Info{}, errors.New("nobody") },
		detect:    func(context.Context, openai.Options) (openai.Dialect, error) { return openai.Generic, nil },
		cache:     func() (cacheState, error) { return cacheState{present: true, model: "m"}, nil },
	}
}

func TestDoctor(t *testing.T) {
	used := errors.New("address already in use")
	for name, tt := range map[string]struct {
		flags map[string]string
		ill   func(d *doctor)
		want  []string // findings that are not good, "check: verdict", and a word of the fix
	}{
		"well":     {nil, func(d *doctor) {}, nil},
		"disk low": {nil, func(d *doctor) { d.freeSpace = func(string) (int64, error) { return 100 << 20, nil } }, []string{"disk: warning (--data)"}},
		"disk full": {nil, func(d *doctor) { d.freeSpace = func(string) (int64, error) { return 1 << 20, nil } }, []string{
			"disk: problem (--data)",
		}},
		"disk unknown": {nil, func(d *doctor) { d.freeSpace = func(string) (int64, error) { return 0, errors.New("no") } }, []string{"disk: warning ()"}},
		"few files":    {nil, func(d *doctor) { d.openFiles = func() (uint64, bool) { return 1024, true } }, []string{"open files: warning (ulimit -n)"}},
		"no limit":     {nil, func(d *doctor) { d.openFiles = func() (uint64, bool) { return 0, false } }, nil},
		"clock at zero": {nil, func(d *doctor) { d.now = func() time.Time { return time.Unix(0, 0) } }, []string{
			"clock: problem (timedatectl)",
		}},
		"clock away": {nil, func(d *doctor) { d.now = func() time.Time { return time.Now().Add(time.Hour) } }, []string{
			"clock: warning (timedatectl)",
		}},
		"port taken": {nil, func(d *doctor) { d.listen = func(string) error { return used } }, []string{"address: problem (--listen)"}},
		"node there": {nil, func(d *doctor) { d.listen = func(string) error { return used }; d.node = knows(nil) }, nil},
		"node closed": {nil, func(d *doctor) {
			d.listen = func(string) error { return used }
			d.node = knows(&client.Error{Code: "unauthenticated"})
		}, nil},
		"no model yet": {nil, func(d *doctor) { d.cache = state(cacheState{model: "m"}) }, []string{
			"model: warning (parley model pull)",
		}},
		"no clients": {nil, func(d *doctor) {
			d.cache = state(cacheState{model: "m"})
			d.lookPath = func(string) (string, error) { return "", errors.New("no") }
		}, []string{"model: warning (parley model pull)"}},
		"model damaged":    {nil, func(d *doctor) { d.cache = state(cacheState{damaged: errors.New("flipped")}) }, []string{"model: warning (parley model pull)"}},
		"model needed":     {map[string]string{"engine": "embedded"}, func(d *doctor) { d.cache = state(cacheState{damaged: errors.New("flipped")}) }, []string{"model: problem (parley model pull)"}},
		"no library":       {map[string]string{"engine": "embedded"}, func(d *doctor) { d.cache = state(cacheState{supported: errors.New("plan9")}) }, []string{"model: problem (--engine URL)"}},
		"offline":          {map[string]string{"engine": "embedded", "offline": "true"}, func(d *doctor) { d.cache = state(cacheState{}) }, []string{"model: problem (--model-source)"}},
		"model not needed": {map[string]string{"engine": "demo"}, func(d *doctor) { d.cache = nil }, nil},
		"server gone": {map[string]string{"engine": "http://127.0.0.1:9/v1"}, func(d *doctor) {
			d.cache = nil
			d.detect = func(context.Context, openai.Options) (openai.Dialect, error) { return "", errors.New("refused") }
		}, []string{"engine openai: problem (curl http://127.0.0.1:9/v1/models)"}},
		"key without server": {nil, func(d *doctor) {
			d.environ = func(name string) string { return map[string]string{"OPENAI_API_KEY": "sk-x"}[name] }
		}, []string{"engine: warning (--engine)"}},
		"in the open": {map[string]string{"listen": "0.0.0.0:80", "key": "0123456789abcdef"}, func(d *doctor) {}, []string{"tls: warning (tls.cert)"}},
		"no certificate": {map[string]string{"tls-cert": "/none.pem", "tls-key": "/none.key"}, func(d *doctor) {}, []string{
			"tls: problem (tls.cert)", "tls: problem (tls.cert)",
		}},
		"data is a file": {nil, func(d *doctor) {
			if err := os.WriteFile(d.cfg.Data, nil, 0o600); err != nil {
				panic(err)
			}
		}, []string{"data directory: problem (--data)"}},
		"data for all to see": {nil, func(d *doctor) {
			if err := errors.Join(os.MkdirAll(d.cfg.Data, 0o700), os.Chmod(d.cfg.Data, 0o755)); err != nil {
				panic(err)
			}
		}, []string{"privacy: warning (chmod 700)"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := healthy(t, tt.flags)
			tt.ill(&d)
			all := d.examine(t.Context())
			var got []string
			for i, f := range all {
				if f.Verdict == good {
					continue
				}
				fix := f.Fix
				if len(got) < len(tt.want) {
					if _, word, ok := strings.Cut(strings.TrimSuffix(tt.want[len(got)], ")"), "("); ok && strings.Contains(fix, word) {
						fix = word
					}
				}
				got = append(got, fmt.Sprintf("%s: %s (%s)", all[i].Check, f.Verdict, fix))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%+v", diff, all)
			}
		})
	}
}

func knows(err error) func(context.Context, string) (client.Info, error) {
	return func(context.Context, string) (client.Info, error) { return client.Info{Version: "1", Region: "r"}, err }
}

func state(s cacheState) func() (cacheState, error) {
	return func() (cacheState, error) { return s, nil }
}

func TestReport(t *testing.T) {
	for verdict, want := range map[string]struct {
		ok   bool
		said string
	}{good: {true, "All is well."}, warning: {true, "worth a look"}, bad: {false, "will not work"}} {
		var out bytes.Buffer
		err := report(&terminal{out: &out}, []finding{{"a", good, "fine", ""}, {"b", verdict, "text", "do this"}}, false)
		if (err == nil) != want.ok || !strings.Contains(out.String(), want.said) || !strings.Contains(out.String(), "-> do this") {
			t.Errorf("%s: %v, %s", verdict, err, out.String())
		}
		out.Reset()
		err = report(&terminal{out: &out}, []finding{{"b", verdict, "text", "do this"}}, true)
		var got struct {
			OK     bool
			Checks []finding
		}
		if jsonErr := json.Unmarshal(out.Bytes(), &got); jsonErr != nil || got.OK != want.ok || len(got.Checks) != 1 || (err == nil) != want.ok {
			t.Errorf("%s: %v, %v, %s", verdict, err, jsonErr, out.String())
		}
	}
}

// On this machine, whatever it is, doctor ends and says something of every
// part.
func TestDoctorHere(t *testing.T) {
	status, out, errs := typed(t, nil, "", "doctor", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--engine", "demo")
	for _, part := range []string{"data directory", "clock", "disk", "address"} {
		if !strings.Contains(out, part) {
			t.Errorf("nothing about %s in:\n%s", part, out)
		}
	}
	if status == statusMisused || errs != "" {
		t.Errorf("status %d, %s", status, errs)
	}
}

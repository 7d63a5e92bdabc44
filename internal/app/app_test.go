package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/fault"
)

func load(t *testing.T, flags map[string]string) config.Config {
	t.Helper()
	all := map[string]string{"engine": "demo", "listen": "127.0.0.1:0"}
	for k, v := range flags {
		all[k] = v
	}
	c, err := config.Load(config.Input{Flags: all, Environ: []string{"HOME=" + t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c config.Config) *app.App {
	t.Helper()
	a, err := app.New(app.Options{Config: c, Version: "test", Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

func stop(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := a.Wait(); err != nil {
		t.Errorf("wait: %v", err)
	}
}

func get(t *testing.T, url string, into any) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatalf("%s: %v in %s", url, err, b)
		}
	}
	return resp.StatusCode
}

// settled waits until no more goroutines run than before.
func settled(t *testing.T, before int) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines are left of %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestNodeStartsStopsAndLeavesNothing(t *testing.T) {
	stop(t, start(t, load(t, map[string]string{"data": t.TempDir()}))) // what libraries start once
	before := runtime.NumGoroutine()
	c := load(t, map[string]string{"data": t.TempDir()})
	for range 3 {
		a := start(t, c)
		var info struct {
			Engine struct {
				Demo  bool
				Ready bool
			}
		}
		if status := get(t, a.URL()+"/api/v1/info", &info); status != 200 || !info.Engine.Ready {
			t.Errorf("info: %d %+v", status, info)
		}
		var health struct{ Parts []struct{ Name string } }
		if status := get(t, a.URL()+"/healthz", &health); status != 200 || len(health.Parts) < 4 {
			t.Errorf("health: %d %+v", status, health)
		}
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/", "/v1/models"} {
			if status := get(t, a.URL()+path, nil); status != 200 {
				t.Errorf("%s: %d", path, status)
			}
		}
		if _, err := os.Stat(filepath.Join(c.Data, "parley.pid")); err != nil {
			t.Errorf("pid file: %v", err)
		}
		stop(t, a)
		if _, err := os.Stat(filepath.Join(c.Data, "parley.pid")); err == nil {
			t.Error("the pid file is left")
		}
	}
	settled(t, before)
}

func TestFailedStartLeavesNothing(t *testing.T) {
	stop(t, start(t, load(t, map[string]string{"data": t.TempDir()}))) // what libraries start once
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before := runtime.NumGoroutine()
	for name, flags := range map[string]map[string]string{
		"address taken":   {"data": t.TempDir(), "listen": taken.Addr().String()},
		"data not a file": {"data": "/dev/null/parley"},
	} {
		a, err := app.New(app.Options{Config: load(t, flags), Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	settled(t, before)
}

func TestTwoNodesCantShareADirectory(t *testing.T) {
	dir := t.TempDir()
	first := start(t, load(t, map[string]string{"data": dir}))
	defer stop(t, first)
	a, err := app.New(app.Options{Config: load(t, map[string]string{"data": dir}), Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.MessageOf(err), "another node") {
		t.Errorf("got %v", err)
	}
}

func TestAMissingModelIsSaid(t *testing.T) {
	a := start(t, load(t, map[string]string{"data": t.TempDir(), "engine": "embedded", "model": "/nowhere/x.gguf"}))
	defer stop(t, a)
	deadline := time.Now().Add(10 * time.Second)
	for {
		var info struct {
			Engine struct {
				Ready   bool
				Problem string
			}
		}
		get(t, a.URL()+"/api/v1/info", &info)
		if !info.Engine.Ready && strings.Contains(info.Engine.Problem, "/nowhere/x.gguf") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("info: %+v", info)
		}
		<-time.After(10 * time.Millisecond)
	}
}

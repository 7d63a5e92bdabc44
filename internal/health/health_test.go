package health_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/health"
)

func TestBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var engine error
		b := health.New(100*time.Millisecond,
			health.Check{Name: "log", Vital: true, Probe: func(context.Context) error { return nil }},
			health.Check{Name: "engine", Probe: func(context.Context) error { return engine }})
		first := b.Report(t.Context())
		if first.Status != "ok" || !first.Ready {
			t.Errorf("all well: %+v", first)
		}
		time.Sleep(time.Second)
		engine = fault.New(fault.Unavailable, "engine is down")
		r := b.Report(t.Context())
		if r.Status != "degraded" || !r.Ready || r.Parts[1].Problem != "engine is down" {
			t.Errorf("a part is down: %+v", r)
		}
		if !r.Parts[0].Since.Equal(first.Parts[0].Since) || !r.Parts[1].Since.After(first.Parts[1].Since) {
			t.Errorf("since: %+v", r.Parts)
		}
		b.Drain(true)
		if r := b.Report(t.Context()); r.Ready || r.Status != "draining" {
			t.Errorf("draining: %+v", r)
		}
		b.Drain(false)
		if r := b.Report(t.Context()); !r.Ready || r.Status != "degraded" {
			t.Errorf("back: %+v", r)
		}
	})
}

func TestHangingVitalPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		b := health.New(100*time.Millisecond, health.Check{Name: "log", Vital: true, Probe: func(context.Context) error { <-release; return nil }})
		if r := b.Report(t.Context()); r.Ready || r.Status != "down" || r.Parts[0].Problem == "" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestHangingPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		b := health.New(time.Second,
			health.Check{Name: "log", Vital: true, Probe: func(context.Context) error { return nil }},
			health.Check{Name: "engine", Probe: func(ctx context.Context) error {
				if hangs.Load() {
					<-ctx.Done()
				}
				return ctx.Err()
			}})
		if r := b.Report(t.Context()); r.Status != "ok" {
			t.Fatalf("all well: %+v", r)
		}
		time.Sleep(time.Second)
		hangs.Store(true)
		for n := range 20 {
			began := time.Now()
			r := b.Report(t.Context())
			if took := time.Since(began); !r.Ready || took > 100*time.Millisecond {
				t.Fatalf("look %d: ready %v after %v; who needs only the log waited for the engine", n, r.Ready, took)
			}
			if known := n > 4; known && (r.Status != "degraded" || r.Parts[1].Problem == "") {
				t.Errorf("look %d: %+v", n, r)
			}
			time.Sleep(250 * time.Millisecond)
		}
		hangs.Store(false)
		time.Sleep(time.Second)
		if r := b.Report(t.Context()); r.Status != "ok" {
			t.Errorf("back: %+v", r)
		}
	})
}

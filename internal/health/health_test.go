package health_test

import (
	"context"
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

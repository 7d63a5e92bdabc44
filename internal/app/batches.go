package app

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/batch"
	"github.com/parleyhq/parley/internal/lm/gateway"
)

// startBatches has the gateway answer the lines of batches with what people
// leave over.
func (a *App) startBatches(ctx context.Context) error {
	gw, err := gateway.New(gateway.Options{
		Catalog: a.roster, Wait: a.cfg.Limits.Wait, Observer: observer{a.metrics}, Admit: a.admit, MaxBody: a.cfg.Limits.Body, Batched: a.roster.Line, NoResume: !a.cfg.Resume, Log: a.lg,
		Cache: gateway.CacheOptions{Bytes: a.cfg.Responses.Size, Age: a.cfg.Responses.Age, Shared: a.cfg.Responses.Shared},
	})
	if err != nil {
		return err
	}
	svc, err := batch.New(batch.Options{
		Log: a.log, Node: a.cfg.Node, Logger: a.lg,
		Answer: func(ctx context.Context, owner, endpoint string, body []byte) batch.Answer {
			x := gw.Whole(ctx, owner, gateway.Op(strings.TrimPrefix(endpoint, "/v1/")), body)
			after, _ := strconv.Atoi(x.Header.Get("Retry-After"))
			return batch.Answer{Status: x.Status, After: time.Duration(after) * time.Second, Body: x.Body, Asked: x.Engine != ""}
		},
	})
	if err != nil {
		return err
	}
	a.gateway, a.batches = gw, svc
	a.metrics.Gauge("parley_batches_running", "Batches that this node works on now.", func() float64 { return float64(svc.Running()) })
	svc.Start(ctx)
	a.onStop("batches", func(ctx context.Context) error { svc.Stop(ctx); return nil })
	return nil
}

package app

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/parleyhq/parley/internal/batch"
	"github.com/parleyhq/parley/internal/batch/kafka"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/tlscert"
)

// kafkaUser is whose the requests of a topic are.
func kafkaUser(name string) string { return "kafka-" + name }

// startKafka takes requests from topics and puts their answers into others.
func (a *App) startKafka(ctx context.Context) error {
	for _, k := range a.cfg.Kafka {
		b, err := a.bridge(k)
		if err != nil {
			return err
		}
		b.Start(ctx)
		a.bridges = append(a.bridges, b)
		a.onStop("kafka "+k.Name, func(ctx context.Context) error { b.Stop(ctx); return nil })
	}
	return nil
}

func (a *App) bridge(k config.Kafka) (*kafka.Bridge, error) {
	o := kafka.Options{
		Name: k.Name, Node: a.cfg.Node, Brokers: k.Brokers, Intake: k.Intake, Outlet: k.Outlet, Group: k.Group, Parallel: k.Parallel,
		Mechanism: k.Mechanism, User: k.User, Password: k.Password, Observer: a.metrics, Logger: a.lg,
		Answer: func(ctx context.Context, r kafka.Request) (kafka.Answer, error) {
			out, well, err := a.batches.Single(ctx, batch.Request{User: kafkaUser(k.Name), From: k.Intake, ID: r.ID, Custom: r.Custom, Raw: r.Raw})
			return kafka.Answer{Raw: out, Well: well}, err
		},
		Refuse: func(r kafka.Request, code, message string) kafka.Answer {
			return kafka.Answer{Raw: batch.Refusal(r.ID, r.Custom, code, message)}
		},
	}
	if k.TLS {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if k.CA != "" {
			var err error
			if o.TLS, err = tlscert.Trusting(k.CA); err != nil {
				return nil, fmt.Errorf("the authorities of kafka %q: %w", k.Name, err)
			}
		}
	}
	return kafka.New(o)
}

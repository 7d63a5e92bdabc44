package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/understand"
)

// startUnderstanding reads the configuration's models, learning from projects
// that have none yet. Whatever is wrong with one stops the start: a node that
// silently understood nothing would be worse.
func (a *App) startUnderstanding(ctx context.Context) error {
	if len(a.cfg.Understanding) == 0 {
		return nil
	}
	opts := understand.Options{
		Values: a.log, Dir: filepath.Join(a.cfg.Data, "understanding"), Encoder: a.encoder(context.WithoutCancel(ctx)),
		Observer: a.metrics, Logger: a.lg,
	}
	for _, b := range a.cfg.Bots {
		opts.Bots = append(opts.Bots, b.ID)
	}
	for _, u := range a.cfg.Understanding {
		one := understand.App{Name: u.Name, IDs: u.IDs, Bots: u.Bots, Collect: u.Collect}
		if u.Model != "" {
			began := time.Now()
			pack, notes, err := understand.Make(ctx, understand.Source{Path: u.Model, Flows: u.Flows})
			if err == nil {
				one.Model, err = understand.Open(u.Name, pack, opts.Encoder)
			}
			if err != nil {
				return fmt.Errorf("understanding %s: %w", u.Name, err)
			}
			for _, n := range notes {
				a.opts.Console.Line("Understanding %s: %s", u.Name, n)
			}
			a.lg.Info("understanding", "app", u.Name, "version", one.Model.Version, "intents", len(one.Model.Intents()), "took", time.Since(began))
		}
		opts.Apps = append(opts.Apps, one)
	}
	svc, err := understand.New(opts)
	if err != nil {
		return err
	}
	if err := svc.Start(ctx); err != nil {
		return err
	}
	a.understanding = svc
	a.onStop("understanding", func(context.Context) error { svc.Stop(); return nil })
	return nil
}

// encoder has the accurate tier's sentence encoder on the machine when a model
// needs it, and reads it once. What failed is tried again by the next model.
func (a *App) encoder(ctx context.Context) understand.Encoder {
	var (
		mu   sync.Mutex // guards read
		read *encoder.Encoder
	)
	return func(uint32) (*encoder.Encoder, error) {
		mu.Lock()
		defer mu.Unlock()
		if read != nil {
			return read, nil
		}
		var err error
		read, err = a.readEncoder(ctx)
		return read, err
	}
}

func (a *App) readEncoder(ctx context.Context) (*encoder.Encoder, error) {
	cache, err := pull.New(pull.Options{Dir: a.cfg.Cache, Source: a.cfg.ModelSource, Offline: a.cfg.Offline, Log: a.lg})
	if err != nil {
		return nil, err
	}
	st, err := cache.Pull(ctx, pull.SentenceEncoder)
	if err != nil {
		return nil, fmt.Errorf("a model of the accurate tier needs its sentence encoder: %w", err)
	}
	var parts [2][]byte
	for i, name := range []string{"model.safetensors", "vocab.txt"} {
		if parts[i], err = os.ReadFile(filepath.Join(st.Path, name)); err != nil {
			return nil, fmt.Errorf("read the sentence encoder: %w", err)
		}
	}
	return encoder.Read(parts[0], parts[1])
}

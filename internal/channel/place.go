package channel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// places remembers what the replicated values say, which is asked for over a
// distance: where the conversations are that the other side has names for.
type places struct {
	mu sync.Mutex // guards of
	of map[string]string
}

const mostPlaces = 20_000

func (p *places) get(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[key]
}

func (p *places) put(key, conv string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil || len(p.of) >= mostPlaces {
		p.of = map[string]string{}
	}
	p.of[key] = conv
}

// Place returns the conversation that the other side calls name, and begins it
// if there is none or it was deleted. All regions find the same one, also when
// they are asked at the same moment. Start.ID is not used.
func (d *Desk) Place(ctx context.Context, name string, s Start) (conv string, err error) {
	if d.opts.Values == nil || d.opts.Region == "" {
		return "", errors.New("channel: Place needs Values and Region")
	}
	sum := sha256.Sum256([]byte(s.Owner + "\x00" + name))
	key := "place." + d.opts.Name + "." + hex.EncodeToString(sum[:])
	if conv = d.places.get(key); conv != "" {
		if _, err := d.Look(ctx, s.Owner, conv); !fault.Is(err, fault.NotFound) {
			return conv, err
		}
	}
	err = d.hold(ctx, func(ctx context.Context) error {
		conv, err = d.place(ctx, key, s)
		return err
	})
	if err == nil {
		d.places.put(key, conv)
	}
	return conv, err
}

// place writes the conversation's id down before it begins: who finds an id
// that nobody has begun yet begins it.
func (d *Desk) place(ctx context.Context, key string, s Start) (string, error) {
	for range 5 {
		value, revision, err := d.opts.Values.Load(ctx, key)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return "", err
		}
		if err == nil {
			s.ID = string(value)
			if _, err := d.Begin(ctx, s); !fault.Is(err, fault.NotFound) {
				return s.ID, err
			}
		}
		s.ID = event.NewConversation(d.opts.Region)
		if revision == 0 {
			err = d.opts.Values.Create(ctx, key, []byte(s.ID))
		} else {
			err = d.opts.Values.Replace(ctx, key, []byte(s.ID), revision)
		}
		if err != nil && !fault.Is(err, fault.Conflict) {
			return "", err
		}
	}
	return "", fault.New(fault.Unavailable, "the conversation is being begun and deleted by others; try again").After(time.Second)
}

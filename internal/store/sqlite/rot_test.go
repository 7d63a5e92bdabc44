package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/store"
)

// TestRot changes one bit of a store's file, anywhere: either it is noticed, or
// it is in bytes that nobody reads, and the store holds what it held.
func TestRot(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(ctx, Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 40 {
		conv := fmt.Sprint("c", i%5)
		if err := s.Apply(ctx, "s", store.Position{Seq: uint64(i + 1), Sum: uint64(i)}, []store.Change{
			{Conversation: &store.Conversation{ID: conv, Owner: "ann", Title: fmt.Sprint("t", i), Created: now, Updated: now}},
			{Activity: &store.ActivityRow{Conversation: conv, Seq: uint64(i + 1), At: now, Activity: activity.Activity{ID: fmt.Sprint("a", i), Text: strings.Repeat("word ", i)}}},
			{Turn: &store.TurnRow{Conversation: conv, ID: fmt.Sprint("t", i%7), Seq: uint64(i + 1), Claim: uint64(i)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	want := dumped(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a campaign, not a secret
	noticed, idle := 0, 0
	for range 150 {
		at, bit := rnd.IntN(len(whole)), byte(1)<<rnd.IntN(8)
		b := append([]byte(nil), whole...)
		b[at] ^= bit
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(ctx, Options{Path: path})
		if err == nil {
			err = s.Check(ctx)
		}
		switch {
		case errors.Is(err, ErrDamaged):
			noticed++
		case err != nil:
			t.Errorf("byte %d, bit %02x: said something else: %v", at, bit, err)
		default:
			idle++
			if got := dumped(t, s); got != want {
				t.Errorf("byte %d, bit %02x: not noticed, and the store holds something else", at, bit)
			}
		}
		if s != nil {
			_ = s.Close()
		}
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d noticed, %d in bytes that nobody reads", noticed, idle)
	if noticed == 0 {
		t.Error("nothing was noticed: this proves nothing")
	}
}

func dumped(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	if err := s.Dump(t.Context(), func(line string) error { b.WriteString(line + "\n"); return nil }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

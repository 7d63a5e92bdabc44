package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/parleyhq/parley/internal/store"
)

// Difference is the first place where two dumps differ.
type Difference struct {
	Line int    // from 1
	A, B string // what stands there, "" if that dump has ended
}

// String names both lines, shortened.
func (d *Difference) String() string {
	return fmt.Sprintf("line %d: %s | %s", d.Line, shorten(d.A), shorten(d.B))
}

func shorten(line string) string {
	if line == "" {
		return "(nothing more)"
	}
	if r := []rune(line); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return line
}

// Compare returns the first difference between the contents of two stores, nil
// if they are equal. Positions don't count: one store may have been copied
// further over entries that change nothing, or that were erased since. Lines hold what users said: mind where they are shown.
func Compare(ctx context.Context, a, b store.Store) (*Difference, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	var errB error
	go func() {
		defer close(lines)
		errB = b.Dump(ctx, func(line string) error {
			if store.IsPosition(line) {
				return nil
			}
			select {
			case lines <- line:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var diff *Difference
	n := 0
	errA := a.Dump(ctx, func(line string) error {
		if store.IsPosition(line) {
			return nil
		}
		n++
		other, ok := <-lines
		if !ok && errB != nil {
			return errB
		}
		if line != other {
			diff = &Difference{n, line, other}
			return errEnd
		}
		return nil
	})
	if errA == nil {
		if other, ok := <-lines; ok {
			diff = &Difference{n + 1, "", other}
		}
	}
	cancel()
	for range lines { // until the other dump has ended
	}
	switch {
	case diff != nil:
		return diff, nil
	case errA != nil && !errors.Is(errA, errEnd):
		return nil, fmt.Errorf("compare stores: %w", errA)
	case errB != nil:
		return nil, fmt.Errorf("compare stores: %w", errB)
	}
	return nil, nil
}

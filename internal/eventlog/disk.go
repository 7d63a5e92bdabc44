package eventlog

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// diskGuard refuses appends before the disk is really full: the engine below
// switches itself off when a write fails for want of room, and reads would go
// with it.
type diskGuard struct {
	dir     string
	reserve int64

	mu    sync.Mutex // guards at, full
	at    time.Time
	full  bool
	free  int64
	taken int64 // bytes appended since at
}

// room is check for an append of n bytes; it asks the system at most once in
// 200 ms or once in a sixteenth of the reserve.
func (d *diskGuard) room(n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken += int64(n)
	if time.Since(d.at) > 200*time.Millisecond || d.taken > d.reserve/16 {
		d.look()
	}
	return d.verdict()
}

func (d *diskGuard) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	return d.verdict()
}

func (d *diskGuard) look() {
	free, err := freeBytes(d.dir)
	d.at, d.taken = time.Now(), 0
	if err != nil {
		return // the append itself will tell
	}
	d.free, d.full = free, free < d.reserve
}

func (d *diskGuard) verdict() error {
	if !d.full {
		return nil
	}
	return fault.New(fault.StorageFull, "the disk is full (%d MiB free, %d MiB are kept in reserve): nothing new can be stored; free some space and it goes on by itself",
		d.free>>20, d.reserve>>20).After(5 * time.Second)
}

package account

import (
	"sync"
	"time"
)

const (
	slack    = 2 * time.Second // by which a clock may be put right without a word
	believed = time.Minute     // for which a moved clock must stand before it is followed
)

// clock is the machine's, but for jumps: one that goes forth and back opens no
// window. What has passed is measured by the clock that nobody sets.
type clock struct {
	wall  func() time.Time
	moved func(off time.Duration)

	mu    sync.Mutex // guards all below
	base  time.Time  // of the wall, when began was
	began time.Time
	by    time.Duration // the wall is off, 0 = it is not
	since time.Time     // when that was first seen
}

func newClock(wall func() time.Time, moved func(time.Duration)) *clock {
	return &clock{wall: wall, moved: moved, base: wall().Round(0), began: time.Now()}
}

func (c *clock) now() time.Time {
	wall := c.wall().Round(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	steady := c.base.Add(time.Since(c.began))
	off := wall.Sub(steady)
	switch {
	case off.Abs() < slack:
		c.base, c.began, c.by = wall, time.Now(), 0
		return wall
	case (off - c.by).Abs() >= slack:
		c.by, c.since = off, time.Now()
	case time.Since(c.since) > believed:
		c.base, c.began, c.by = wall, time.Now(), 0
		c.moved(off)
		return wall
	}
	return steady
}

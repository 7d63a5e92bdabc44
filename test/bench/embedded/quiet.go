package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// disturbed is how much of a core others may use in a round.
const disturbed = 0.2

// quiet waits for moments in which nobody else uses the processor. Where the
// system does not tell (there is no /proc), every moment is quiet.
type quiet struct {
	until    time.Time
	pids     func() []int // ours: this process, the embedded engine's, the llama-server's
	repeated int
	worst    float64
}

// look is the processor time spent so far.
type look struct {
	at        time.Time
	all, ours time.Duration
	pid       [3]time.Duration // of each of ours
}

const tick = 10 * time.Millisecond // of /proc

func (q *quiet) look() look {
	l := look{at: time.Now()}
	stat, _ := os.ReadFile("/proc/stat")
	first, _, _ := bytes.Cut(stat, []byte("\n"))
	for i, v := range bytes.Fields(first) {
		if n, err := strconv.Atoi(string(v)); err == nil && i <= 8 && i != 4 && i != 5 { // neither idle nor waiting
			l.all += time.Duration(n) * tick
		}
	}
	for i, pid := range q.pids() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if f := bytes.Fields(rest); len(f) > 12 {
			for _, v := range f[11:13] { // user and system time
				n, _ := strconv.Atoi(string(v))
				l.ours += time.Duration(n) * tick
				l.pid[i] += time.Duration(n) * tick
			}
		}
	}
	return l
}

// others is how many cores others used since before.
func (l look) others(before look) float64 {
	return float64((l.all-before.all)-(l.ours-before.ours)) / float64(l.at.Sub(before.at))
}

// wait returns when others were quiet for a second, or patience is over.
func (q *quiet) wait(ctx context.Context) {
	for before := q.look(); ctx.Err() == nil && time.Now().Before(q.until); {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		now := q.look()
		if now.others(before) < disturbed/2 {
			return
		}
		before = now
	}
}

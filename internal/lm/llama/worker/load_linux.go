package worker

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// systemLoad reads /proc/stat, whose unit is a hundredth of a second.
func systemLoad() (Load, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Load{}, false
	}
	var l Load
	for line := range bytes.Lines(stat) {
		f := bytes.Fields(line)
		if len(f) < 9 || !bytes.HasPrefix(f[0], []byte("cpu")) {
			continue
		}
		if len(f[0]) > len("cpu") {
			l.Cores++
			continue
		}
		// user nice system idle iowait irq softirq steal; guests are in user.
		for i, v := range f[1:9] {
			n, err := strconv.ParseInt(string(v), 10, 64)
			if err != nil {
				return Load{}, false
			}
			if i != 3 && i != 4 {
				l.All += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	// "0.20 0.18 0.12 1/80 11206": the fourth is runnable and all threads.
	if avg, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := bytes.Fields(avg); len(f) > 3 {
			running, _, _ := bytes.Cut(f[3], []byte("/"))
			l.Runnable, _ = strconv.Atoi(string(running)) // 0: not known, so nobody
		}
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil || l.Cores == 0 {
		return Load{}, false
	}
	l.Own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return l, true
}

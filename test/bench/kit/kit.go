// Package kit is what the benchmarks that compare programs have in common.
package kit

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/loopback"
)

// Main runs the command that the first argument names. It does not return.
func Main(help string, commands map[string]func(*flag.FlagSet, []string) error) {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	run, ok := commands[name]
	if !ok {
		fmt.Fprint(os.Stderr, help)
		os.Exit(2)
	}
	if err := run(flag.NewFlagSet(name, flag.ExitOnError), os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Free is an address on which nobody listens.
func Free() (string, error) {
	free, err := loopback.Free(1)
	if err != nil {
		return "", err
	}
	return free[0], nil
}

// Memory is what a process has resident, and had at the most, in KiB. Linux only.
func Memory(pid int) (now, peak float64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) //nolint:gosec // below /proc
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			now = kib
		case "VmHWM:":
			peak = kib
		}
	}
	return now, peak
}

// CPU is how long a process and its threads have run, in seconds, by the kernel's
// books, which are kept in hundredths. Linux only.
func CPU(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) //nolint:gosec // below /proc
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	sys, _ := strconv.ParseFloat(f[12], 64)
	return (user + sys) / 100
}

// Pinned makes a command that runs on one core, where that can be done.
func Pinned(core int, args ...string) *exec.Cmd {
	if path, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		args = append([]string{path, "-c", strconv.Itoa(core)}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...) // ended by who started it
	cmd.Stderr = os.Stderr
	return cmd
}

// Self is Pinned for another command of this program.
func Self(core int, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return Pinned(core, append([]string{self}, args...)...), nil
}

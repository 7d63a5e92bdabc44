package llama

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// childAttr makes the child die with its parent, however that ends, and keeps
// it away from signals meant for the terminal's foreground.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// physicalCores counts cores, not their threads.
func physicalCores() int {
	names, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
	if err != nil || len(names) == 0 {
		return runtime.NumCPU()
	}
	cores := map[string]bool{}
	for _, name := range names {
		if siblings, err := os.ReadFile(name); err == nil {
			cores[string(siblings)] = true
		}
	}
	return max(1, len(cores))
}

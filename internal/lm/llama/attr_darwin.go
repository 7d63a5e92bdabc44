package llama

import (
	"runtime"
	"syscall"
)

// childAttr keeps the child away from signals meant for the terminal's
// foreground; it learns of its parent's end from its closed pipe.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// physicalCores counts the fast cores, where there are two kinds.
func physicalCores() int {
	for _, name := range []string{"hw.perflevel0.physicalcpu", "hw.physicalcpu"} {
		if n, err := syscall.SysctlUint32(name); err == nil && n > 0 {
			return int(n)
		}
	}
	return runtime.NumCPU()
}

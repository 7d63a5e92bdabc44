//go:build !windows

package process

import (
	"os"
	"syscall"
)

// ask tells a process to end.
func ask(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

// kill ends a process' whole group; nothing may be left of it.
func kill(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

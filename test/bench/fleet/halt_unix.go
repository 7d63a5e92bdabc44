//go:build unix

package main

import (
	"os"
	"syscall"
)

// halt stops a process where it is, or lets it go on.
func halt(p *os.Process, on bool) error {
	if on {
		return p.Signal(syscall.SIGSTOP)
	}
	return p.Signal(syscall.SIGCONT)
}

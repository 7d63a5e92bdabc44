//go:build !linux && !windows

package process

import "syscall"

// attr puts the child into a group of its own. It outlives a node that is
// killed: nothing here tells it.
func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

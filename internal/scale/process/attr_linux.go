package process

import "syscall"

// attr makes the child die with the node, however that ends, and puts it into a
// group of its own, away from signals meant for the terminal's foreground.
func attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

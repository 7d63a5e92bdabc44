package world

import "syscall"

// childAttr makes a region die with this program, however that ends, and keeps
// it away from signals meant for the terminal's foreground.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

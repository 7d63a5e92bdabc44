//go:build !linux

package world

import "syscall"

func childAttr() *syscall.SysProcAttr { return nil }

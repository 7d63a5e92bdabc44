//go:build !linux && !darwin

package llama

import (
	"runtime"
	"syscall"
)

func childAttr() *syscall.SysProcAttr { return nil }

func physicalCores() int { return runtime.NumCPU() }

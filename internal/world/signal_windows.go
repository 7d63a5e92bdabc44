package world

import (
	"os"

	"github.com/parleyhq/parley/internal/fault"
)

func pause(*os.Process) error {
	return fault.New(fault.Unsupported, "a process can't be paused on Windows")
}

func resume(p *os.Process) error { return pause(p) }

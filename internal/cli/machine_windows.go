package cli

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// freeSpace returns the bytes that this user can still write at path.
func freeSpace(path string) (int64, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return int64(free), nil
}

// openFiles returns how many files a process may have open; ok is false where
// there is no such limit.
func openFiles() (limit uint64, ok bool) { return 0, false }

//go:build !windows

package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeSpace returns the bytes that this user can still write at path.
func freeSpace(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// openFiles returns how many files a process may have open; ok is false where
// there is no such limit.
func openFiles() (limit uint64, ok bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	// Go raises the soft limit to the hard one when a program starts.
	return uint64(l.Max), true
}

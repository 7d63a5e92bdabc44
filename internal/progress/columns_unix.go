//go:build unix

package progress

import (
	"os"

	"golang.org/x/sys/unix"
)

// columns of the terminal f, 80 if it does not say.
func columns(f *os.File) int {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 {
		return 80
	}
	return int(ws.Col)
}

package progress

import (
	"os"

	"golang.org/x/sys/windows"
)

// columns of the terminal f, 80 if it does not say.
func columns(f *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 80
	}
	if n := int(info.Window.Right) - int(info.Window.Left) + 1; n > 0 {
		return n
	}
	return 80
}

//go:build !linux

package worker

// systemLoad is not known here: all threads are used.
func systemLoad() (Load, bool) { return Load{}, false }

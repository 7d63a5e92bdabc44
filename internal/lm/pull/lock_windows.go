package pull

import (
	"errors"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// tryLock opens the file for nobody else, until it is closed or the process
// ends. false means somebody else has it.
func tryLock(path string) (unlock func(), ok bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharing) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return func() { syscall.CloseHandle(h) }, true, nil
}

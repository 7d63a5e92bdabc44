//go:build (linux && (amd64 || arm64)) || (darwin && (amd64 || arm64))

package lib

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// poolParams is the C struct ggml_threadpool_params.
type poolParams struct {
	cores    [512]bool
	threads  int32
	priority int32
	poll     uint32
	strict   bool
	paused   bool
}

// pollLevel is how long a pool's threads spin for the next decode before they
// sleep, in units of the library's: one is some milliseconds, longer than the
// time between two tokens and too short to be felt when an answer is over.
const pollLevel = 1

// pool makes threads that stay from one decode to the next. Without one, the
// library starts and ends its threads with every single token. It returns 0
// where the library has no such thing, or where its struct is laid out in
// another way than this build knows: decodes are slower then, not wrong.
func (l *Library) pool(threads int) uintptr {
	const cpu = 0
	device := l.call("ggml_backend_dev_by_type", cpu)
	if device == 0 || threads < 2 {
		return 0
	}
	name := cString("ggml_threadpool_new")
	create := l.call("ggml_backend_reg_get_proc_address", l.call("ggml_backend_dev_backend_reg", device), uintptr(unsafe.Pointer(&name[0])))
	if create == 0 {
		return 0
	}
	p := &struct {
		p    poolParams
		tail slack
	}{}
	l.call("ggml_threadpool_params_init", uintptr(unsafe.Pointer(p)), uintptr(threads))
	want := poolParams{threads: int32(threads), poll: 50}
	if p.p != want || p.tail != (slack{}) {
		return 0
	}
	p.p.poll = pollLevel
	r, _, _ := purego.SyscallN(create, uintptr(unsafe.Pointer(p)))
	return r
}

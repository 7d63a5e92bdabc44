// Package lib binds llama.cpp's shared library to Go without a C compiler.
// What may live here: symbols, struct layouts and the calls on them, each as
// thin as its types allow. No policy: batching, sampling and prompts are the
// worker's.
//
// The library is C++: a call that breaks its rules ends the process. That is
// why the engine runs in a child, and why this package checks what it can
// before a call rather than after it.
package lib

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
)

// ErrUnsupported says that this operating system or processor has no binding.
var ErrUnsupported = errors.New("the embedded engine is not built for this operating system and processor")

// ErrTemplate says that the library does not know the chat template.
var ErrTemplate = errors.New("the library does not know this model's chat template")

// ErrAborted says that Abort ended a Decode.
var ErrAborted = errors.New("decode aborted")

// ContextParams choose a context's size and use. Zero values take the
// library's default.
type ContextParams struct {
	Tokens     int  // cells of all sequences together
	Sequences  int  // sequences, each with Tokens/Sequences cells of its own
	Batch      int  // most tokens in one Decode
	Outputs    int  // most logit rows in one Decode
	Threads    int  // threads of a decode
	Pool       bool // keep the threads between decodes
	Embeddings bool // mean-pooled vectors in place of logits
	// NoFlash does without flash attention, which divides its work, and so
	// rounds, by the number of threads. It costs 10 to 20 % (one to eight
	// answers, one thread, up to a few hundred tokens of context).
	NoFlash bool
}

// TokenData is one candidate as the library's samplers take it: the C struct
// llama_token_data.
type TokenData struct {
	ID    int32
	Logit float32
	P     float32
}

// Message is one message for a chat template.
type Message struct{ Role, Content string }

// LayoutError says that the library's parameter structs are not laid out as
// this binding knows them.
type LayoutError struct {
	Struct  string
	Version string // what the library calls itself
	Field   string
	Got     any
	Want    any
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf("library %s does not fit this build: the default of %s.%s is %v, expected %v; install the library version that this build pins",
		e.Version, e.Struct, e.Field, e.Got, e.Want)
}

// findLibrary returns the path of llama's own library in dir: libllama.so,
// libllama.v1.2.3.so, libllama.dylib, but none of its helpers.
func findLibrary(dir, suffix string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "libllama*"+suffix+"*"))
	if err != nil {
		return "", fmt.Errorf("search library in %q: %w", dir, err)
	}
	sort.Strings(names)
	for _, name := range names {
		rest := strings.TrimPrefix(filepath.Base(name), "libllama")
		if strings.HasPrefix(rest, ".") {
			return name, nil
		}
	}
	return "", fmt.Errorf("no libllama%s in %q", suffix, dir)
}

//go:build (linux && (amd64 || arm64)) || (darwin && (amd64 || arm64))

package lib

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Supported says whether Open can work here at all.
const Supported = true

// modelParams is the C struct llama_model_params.
type modelParams struct {
	devices       uintptr
	overrides     uintptr
	gpuLayers     int32
	splitMode     int32
	loadMode      int32
	lazyMode      int32
	mainGPU       int32
	tensorSplit   uintptr
	progress      uintptr
	progressData  uintptr
	kvOverrides   uintptr
	vocabOnly     bool
	checkTensors  bool
	useExtraBufts bool
	noHost        bool
	noAlloc       bool
	loadMTP       bool
}

// contextParams is the C struct llama_context_params.
type contextParams struct {
	ctx, batch, ubatch    uint32
	seqMax, rsSeq         uint32
	outputs, outputsSeq   uint32
	threads, threadsBatch int32

	ctxType, ropeScaling, pooling, attention, flashAttn int32

	ropeBase, ropeScale                       float32
	yarnExt, yarnAttn, yarnFast, yarnSlow     float32
	yarnOrig                                  uint32
	defrag                                    float32
	evalCallback, evalData                    uintptr
	typeK, typeV                              int32
	abort, abortData                          uintptr
	embeddings, offloadKQV, noPerf, opOffload bool
	swaFull, kvUnified                        bool
	samplers, nSamplers                       uintptr
	other                                     uintptr
}

// slack is room behind a struct that the library fills in, so that a longer
// struct of another version is noticed instead of overwriting Go's memory.
type slack [64]uint64

type paddedModelParams struct {
	p    modelParams
	tail slack
}

type paddedContextParams struct {
	p    contextParams
	tail slack
}

// cBatch is the C struct llama_batch.
type cBatch struct {
	n      int32
	token  uintptr
	_      uintptr // embd
	pos    uintptr
	nSeq   uintptr
	seq    uintptr
	logits uintptr
}

// Library is the loaded shared library. Its methods may be called from any
// goroutine; what they return says its own rule.
type Library struct {
	path    string
	version string

	modelDefaults   func() paddedModelParams
	contextDefaults func() paddedContextParams
	loadModel       func(path string, p modelParams) uintptr
	newContext      func(model uintptr, p contextParams) uintptr
	decode          func(ctx uintptr, b cBatch) int32
	batchInit       func(tokens, embd, seqs int32) cBatch
	loadBackends    func(dir string)

	sym map[string]uintptr
}

// symbols are the functions that are called by address: all arguments and
// results are integers or pointers.
var symbols = [...]string{
	"llama_version", "llama_backend_init", "ggml_backend_load_all_from_path",
	"ggml_backend_dev_count", "ggml_backend_dev_by_type", "ggml_backend_dev_backend_reg", "ggml_backend_reg_get_proc_address",
	"ggml_threadpool_params_init", "llama_attach_threadpool", "llama_detach_threadpool",
	"llama_model_default_params", "llama_context_default_params",
	"llama_model_load_from_file", "llama_init_from_model", "llama_decode", "llama_batch_init",
	"llama_model_free", "llama_free", "llama_set_n_threads",
	"llama_model_get_vocab", "llama_model_n_ctx_train", "llama_model_n_embd",
	"llama_model_meta_val_str", "llama_model_desc", "llama_model_chat_template",
	"llama_model_has_encoder", "llama_model_is_recurrent", "llama_model_is_hybrid", "llama_model_n_swa",
	"llama_vocab_n_tokens", "llama_vocab_is_eog", "llama_vocab_is_control",
	"llama_tokenize", "llama_token_to_piece", "llama_chat_apply_template",
	"llama_n_ctx_seq", "llama_get_memory", "llama_memory_seq_rm", "llama_memory_clear", "llama_memory_seq_pos_max",
	"llama_get_logits_ith", "llama_get_embeddings_seq", "llama_set_abort_callback",
	"llama_sampler_init_grammar", "llama_sampler_accept", "llama_sampler_apply", "llama_sampler_free",
}

// Open loads the library in dir together with the compute backends beside it,
// and checks that its structs are laid out as this build knows them. A
// process opens one library, once: it cannot be unloaded.
func Open(dir string) (*Library, error) {
	suffix := ".so"
	if runtime.GOOS == "darwin" {
		suffix = ".dylib"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find library: %w", err)
	}
	path, err := findLibrary(dir, suffix)
	if err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("load library: %w", err)
	}
	l := &Library{path: path, sym: make(map[string]uintptr, len(symbols))}
	for _, name := range symbols {
		if l.sym[name], err = purego.Dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("library %q has no %s: %w", path, name, err)
		}
	}
	l.version = goString(l.call("llama_version"))
	purego.RegisterFunc(&l.modelDefaults, l.sym["llama_model_default_params"])
	purego.RegisterFunc(&l.contextDefaults, l.sym["llama_context_default_params"])
	if err := checkDefaults(l.version, l.modelDefaults(), l.contextDefaults()); err != nil {
		return nil, err
	}
	purego.RegisterFunc(&l.loadModel, l.sym["llama_model_load_from_file"])
	purego.RegisterFunc(&l.newContext, l.sym["llama_init_from_model"])
	purego.RegisterFunc(&l.decode, l.sym["llama_decode"])
	purego.RegisterFunc(&l.batchInit, l.sym["llama_batch_init"])
	purego.RegisterFunc(&l.loadBackends, l.sym["ggml_backend_load_all_from_path"])
	l.loadBackends(dir)
	l.call("llama_backend_init")
	if l.call("ggml_backend_dev_count") == 0 {
		return nil, fmt.Errorf("library in %q has no compute backend that fits this processor", dir)
	}
	return l, nil
}

// Version is what the library calls itself.
func (l *Library) Version() string { return l.version }

// call calls a function of the library. A pointer converted to uintptr in the
// argument list itself stays alive, and in its place, until call returns.
//
//go:uintptrescapes
func (l *Library) call(name string, args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(l.sym[name], args...)
	return r
}

// checkDefaults compares the library's default parameters with the values of
// the release this binding was written for: a field that moved shows up as a
// wrong default.
func checkDefaults(version string, m paddedModelParams, c paddedContextParams) error {
	type row struct {
		strct, field string
		got, want    any
	}
	rows := []row{
		{"model_params", "n_gpu_layers", m.p.gpuLayers, int32(-1)},
		{"model_params", "split_mode", m.p.splitMode, int32(1)},
		{"model_params", "load_mode", m.p.loadMode, int32(-1)},
		{"model_params", "lazy_mode", m.p.lazyMode, int32(1)},
		{"model_params", "main_gpu", m.p.mainGPU, int32(0)},
		{"model_params", "pointers", m.p.devices | m.p.overrides | m.p.tensorSplit | m.p.progress | m.p.progressData | m.p.kvOverrides, uintptr(0)},
		{
			"model_params", "flags",
			[6]bool{m.p.vocabOnly, m.p.checkTensors, m.p.useExtraBufts, m.p.noHost, m.p.noAlloc, m.p.loadMTP},
			[6]bool{false, false, true, false, false, false},
		},
		{"model_params", "size", m.tail, slack{}},
		{"context_params", "n_ctx", c.p.ctx, uint32(512)},
		{"context_params", "n_batch", c.p.batch, uint32(2048)},
		{"context_params", "n_ubatch", c.p.ubatch, uint32(512)},
		{"context_params", "n_seq_max", c.p.seqMax, uint32(1)},
		{"context_params", "n_rs_seq", c.p.rsSeq, uint32(0)},
		{"context_params", "n_outputs_max", c.p.outputs, uint32(0)},
		{"context_params", "n_outputs_max_per_seq", c.p.outputsSeq, uint32(1)},
		{"context_params", "threads", c.p.threads == c.p.threadsBatch && c.p.threads > 0 && c.p.threads <= 512, true},
		{"context_params", "ctx_type", c.p.ctxType, int32(0)},
		{"context_params", "rope_scaling_type", c.p.ropeScaling, int32(-1)},
		{"context_params", "pooling_type", c.p.pooling, int32(-1)},
		{"context_params", "attention_type", c.p.attention, int32(-1)},
		{"context_params", "flash_attn_type", c.p.flashAttn, int32(-1)},
		{"context_params", "rope", [2]float32{c.p.ropeBase, c.p.ropeScale}, [2]float32{}},
		{
			"context_params", "yarn",
			[4]float32{c.p.yarnExt, c.p.yarnAttn, c.p.yarnFast, c.p.yarnSlow},
			[4]float32{-1, -1, -1, -1},
		},
		{"context_params", "yarn_orig_ctx", c.p.yarnOrig, uint32(0)},
		{"context_params", "defrag_thold", c.p.defrag, float32(-1)},
		{"context_params", "cache types", [2]int32{c.p.typeK, c.p.typeV}, [2]int32{1, 1}},
		{"context_params", "pointers", c.p.evalCallback | c.p.evalData | c.p.abort | c.p.abortData | c.p.samplers | c.p.nSamplers | c.p.other, uintptr(0)},
		{
			"context_params", "flags",
			[6]bool{c.p.embeddings, c.p.offloadKQV, c.p.noPerf, c.p.opOffload, c.p.swaFull, c.p.kvUnified},
			[6]bool{false, true, true, true, true, false},
		},
		{"context_params", "size", c.tail, slack{}},
	}
	for _, r := range rows {
		if r.got != r.want {
			return &LayoutError{Struct: r.strct, Version: version, Field: r.field, Got: r.got, Want: r.want}
		}
	}
	return nil
}

// Model is a loaded model. Its methods only read and may be called from any
// goroutine until Close.
type Model struct {
	l      *Library
	model  uintptr
	vocab  uintptr
	tokens int
}

// LoadModel reads a GGUF file. progress is called with 0 to 1 on the calling
// goroutine.
func (l *Library) LoadModel(path string, progress func(float32)) (*Model, error) {
	p := l.modelDefaults().p
	if progress != nil {
		p.progress = purego.NewCallback(func(_ purego.CDecl, at float32, _ uintptr) bool {
			progress(at)
			return true
		})
	}
	h := l.loadModel(path, p)
	if h == 0 {
		return nil, fmt.Errorf("the library can't read the model file %q", filepath.Base(path))
	}
	m := &Model{l: l, model: h, vocab: l.call("llama_model_get_vocab", h)}
	m.tokens = int(int32(l.call("llama_vocab_n_tokens", m.vocab)))
	return m, nil
}

// Close frees the model; its contexts must be closed before.
func (m *Model) Close() { m.l.call("llama_model_free", m.model) }

// Tokens is the size of the vocabulary: ids are 0 to Tokens-1.
func (m *Model) Tokens() int { return m.tokens }

// TrainedWindow is the longest sequence that the model was trained for.
func (m *Model) TrainedWindow() int {
	return int(int32(m.l.call("llama_model_n_ctx_train", m.model)))
}

// Width is the length of an embedding vector.
func (m *Model) Width() int { return int(int32(m.l.call("llama_model_n_embd", m.model))) }

// PlainCache says whether a sequence's cache can be cut back to any length:
// true for ordinary attention, false for recurrent, hybrid or sliding-window
// models and for those with an encoder.
func (m *Model) PlainCache() bool {
	for _, f := range []string{"llama_model_is_recurrent", "llama_model_is_hybrid", "llama_model_has_encoder"} {
		if m.l.call(f, m.model)&0xff != 0 {
			return false
		}
	}
	return int32(m.l.call("llama_model_n_swa", m.model)) == 0
}

// Description is the library's one line about the model.
func (m *Model) Description() string {
	buf := make([]byte, 256)
	n := int32(m.l.call("llama_model_desc", m.model, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))))
	return string(buf[:max(0, min(int(n), len(buf)-1))])
}

// Meta returns a value of the file's metadata, or "".
func (m *Model) Meta(key string) string {
	buf, k := make([]byte, 4096), cString(key)
	n := int32(m.l.call("llama_model_meta_val_str", m.model, uintptr(unsafe.Pointer(&k[0])), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))))
	return string(buf[:max(0, min(int(n), len(buf)-1))])
}

// ChatTemplate is the template in the model's file, or "".
func (m *Model) ChatTemplate() string {
	return goString(m.l.call("llama_model_chat_template", m.model, 0))
}

// ApplyTemplate renders messages with tmpl (a template's source or the name
// of one the library knows), ready for the assistant's answer.
func (m *Model) ApplyTemplate(tmpl string, messages []Message) (string, error) {
	type cMessage struct{ role, content uintptr }
	var pin runtime.Pinner
	defer pin.Unpin()
	chat, size := make([]cMessage, len(messages)+1), 256
	for i, msg := range messages {
		role, content := cString(msg.Role), cString(msg.Content)
		pin.Pin(&role[0])
		pin.Pin(&content[0])
		chat[i] = cMessage{uintptr(unsafe.Pointer(&role[0])), uintptr(unsafe.Pointer(&content[0]))}
		size += 2 * (len(role) + len(content))
	}
	t := cString(tmpl)
	for {
		buf := make([]byte, size)
		n := int(int32(m.l.call("llama_chat_apply_template", uintptr(unsafe.Pointer(&t[0])), uintptr(unsafe.Pointer(&chat[0])),
			uintptr(len(messages)), 1, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))))
		switch {
		case n < 0:
			return "", ErrTemplate
		case n <= len(buf):
			return string(buf[:n]), nil
		}
		size = n
	}
}

// Tokenize returns text's token ids. special adds the model's begin (and end)
// tokens; parse reads control tokens in the text as such.
func (m *Model) Tokenize(text string, special, parse bool) []int32 {
	in := []byte(text)
	if len(in) == 0 {
		in = []byte{0}
	}
	out := make([]int32, len(text)+8)
	for {
		n := int32(m.l.call("llama_tokenize", m.vocab, uintptr(unsafe.Pointer(&in[0])), uintptr(len(text)),
			uintptr(unsafe.Pointer(&out[0])), uintptr(len(out)), flag(special), flag(parse)))
		switch {
		case n == math.MinInt32:
			return nil
		case n < 0:
			out = make([]int32, -n)
		default:
			return out[:n]
		}
	}
}

// Piece returns the bytes of a token, none for control tokens.
func (m *Model) Piece(token int32) []byte {
	buf := make([]byte, 64)
	for {
		n := int32(m.l.call("llama_token_to_piece", m.vocab, uintptr(token), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0))
		if n >= 0 {
			return buf[:n:n]
		}
		buf = make([]byte, -n)
	}
}

// IsEnd says whether the token ends an answer.
func (m *Model) IsEnd(token int32) bool {
	return m.l.call("llama_vocab_is_eog", m.vocab, uintptr(token))&0xff != 0
}

// Grammar holds an answer to a GBNF grammar. It belongs to one goroutine.
type Grammar struct {
	l *Library
	h uintptr
}

// NewGrammar parses a grammar whose start symbol is root. The reason of a
// failure is in the library's log only.
func (m *Model) NewGrammar(gbnf string) (*Grammar, error) {
	src, root := cString(gbnf), cString("root")
	h := m.l.call("llama_sampler_init_grammar", m.vocab, uintptr(unsafe.Pointer(&src[0])), uintptr(unsafe.Pointer(&root[0])))
	if h == 0 {
		return nil, errors.New("the grammar does not parse")
	}
	return &Grammar{l: m.l, h: h}, nil
}

// Filter sets the logit of every candidate that the grammar refuses here to
// minus infinity.
func (g *Grammar) Filter(candidates []TokenData) {
	if len(candidates) == 0 {
		return
	}
	var pin runtime.Pinner
	pin.Pin(&candidates[0])
	arr := &struct {
		data     uintptr
		size     uintptr
		selected int64
		sorted   bool
	}{uintptr(unsafe.Pointer(&candidates[0])), uintptr(len(candidates)), -1, false}
	g.l.call("llama_sampler_apply", g.h, uintptr(unsafe.Pointer(arr)))
	pin.Unpin()
}

// Allows says whether the token may come next.
func (g *Grammar) Allows(token int32) bool {
	one := []TokenData{{ID: token, Logit: 1}}
	g.Filter(one)
	return !math.IsInf(float64(one[0].Logit), -1)
}

// Accept moves on by a token that Allows approved; any other one would end
// the process.
func (g *Grammar) Accept(token int32) { g.l.call("llama_sampler_accept", g.h, uintptr(token)) }

// Close frees the grammar.
func (g *Grammar) Close() { g.l.call("llama_sampler_free", g.h) }

func flag(b bool) uintptr {
	if b {
		return 1
	}
	return 0
}

func cString(s string) []byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return b
}

func goString(p uintptr) string {
	if p == 0 {
		return ""
	}
	start := pointer(p)
	n := 0
	for *(*byte)(unsafe.Add(start, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(start), n))
}

// pointer turns an address in the library's own memory into a pointer. The
// detour keeps vet's check on for Go memory.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

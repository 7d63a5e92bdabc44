//go:build !((linux && (amd64 || arm64)) || (darwin && (amd64 || arm64)))

package lib

// Supported says whether Open can work here at all.
const Supported = false

// Library can't be opened on this system.
type Library struct{}

// Open returns ErrUnsupported.
func Open(string) (*Library, error) { return nil, ErrUnsupported }

func (l *Library) Version() string                                 { return "" }
func (l *Library) LoadModel(string, func(float32)) (*Model, error) { return nil, ErrUnsupported }
func (l *Library) NewBatch(int) *Batch                             { return &Batch{} }

// Model can't be loaded on this system.
type Model struct{}

func (m *Model) Close()                                          {}
func (m *Model) Tokens() int                                     { return 0 }
func (m *Model) TrainedWindow() int                              { return 0 }
func (m *Model) Width() int                                      { return 0 }
func (m *Model) PlainCache() bool                                { return false }
func (m *Model) Description() string                             { return "" }
func (m *Model) Meta(string) string                              { return "" }
func (m *Model) ChatTemplate() string                            { return "" }
func (m *Model) ApplyTemplate(string, []Message) (string, error) { return "", ErrUnsupported }
func (m *Model) Tokenize(string, bool, bool) []int32             { return nil }
func (m *Model) Piece(int32) []byte                              { return nil }
func (m *Model) IsEnd(int32) bool                                { return false }
func (m *Model) NewGrammar(string) (*Grammar, error)             { return nil, ErrUnsupported }
func (m *Model) NewContext(ContextParams) (*Context, error)      { return nil, ErrUnsupported }

// Grammar can't be made on this system.
type Grammar struct{}

func (g *Grammar) Filter([]TokenData) {}
func (g *Grammar) Allows(int32) bool  { return false }
func (g *Grammar) Accept(int32)       {}
func (g *Grammar) Close()             {}

// Context can't be made on this system.
type Context struct{}

func (c *Context) Abort(bool)              {}
func (c *Context) SetThreads(int)          {}
func (c *Context) Window() int             { return 0 }
func (c *Context) Close()                  {}
func (c *Context) Cut(int, int) bool       { return false }
func (c *Context) Len(int) int             { return 0 }
func (c *Context) Decode(*Batch) error     { return ErrUnsupported }
func (c *Context) Logits(int) []float32    { return nil }
func (c *Context) Embedding(int) []float32 { return nil }

// Batch can't be made on this system.
type Batch struct{}

func (b *Batch) Reset()                        {}
func (b *Batch) Len() int                      { return 0 }
func (b *Batch) Add(int32, int, int, bool) int { return 0 }

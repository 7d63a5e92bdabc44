package llama

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Bounds on what a child may send before it is taken for broken.
const (
	maxLogLine   = 4 << 10
	maxLog       = 16 << 20
	keptLog      = 40 // lines, to explain an exit with
	maxProgress  = 1000
	maxTextToken = 1 << 10 // bytes of text for a token, on average over an answer
)

// child is one process and the pipes to it.
type child struct {
	e    *Engine
	cmd  *exec.Cmd
	to   *os.File
	from *os.File
	errs *os.File
	out  chan outgoing
	gone chan struct{} // closed when the process has ended and all it sent was read

	pong  atomic.Pointer[wire.Pong]
	alive atomic.Int64 // time of the last frame, in nanoseconds since start
	began time.Time
	seq   atomic.Uint64 // of the last ping

	mu     sync.Mutex
	calls  map[uint64]*call // guarded by mu; nil when gone
	reason error            // guarded by mu; why it ended, the first that was noticed
	lines  []string         // guarded by mu; last lines of its log
	served bool             // guarded by mu
}

type outgoing struct {
	kind wire.Kind
	v    any
}

// call is one request to a child.
type call struct {
	id     uint64
	window int
	wake   chan struct{}

	// The waiting caller's own.
	began bool
	lost  bool      // the child ended
	done  wire.Done // valid when take said so
	count int       // tokens passed on

	mu     sync.Mutex
	tokens []int32 // guarded by mu, like all below: not taken yet
	text   strings.Builder
	total  int // tokens received
	bytes  int // of text received
	bare   int // chunks without tokens
	end    *wire.Done
	err    error
	broken bool
}

func newCall(id uint64, window int) *call {
	return &call{id: id, window: window, wake: make(chan struct{}, 1)}
}

func (c *call) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// put adds a chunk. An error means that no honest child would send it.
func (c *call) put(chunk wire.Chunk) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += len(chunk.Tokens)
	c.bytes += len(chunk.Text)
	if len(chunk.Tokens) == 0 {
		c.bare++
	}
	if c.total > c.window || c.bare > 4 || c.bytes > (c.window+1)*maxTextToken {
		return fmt.Errorf("answer %d has %d tokens and %d bytes, more than a window of %d can hold", c.id, c.total, c.bytes, c.window)
	}
	c.tokens = append(c.tokens, chunk.Tokens...)
	c.text.WriteString(chunk.Text)
	c.poke()
	return nil
}

func (c *call) finish(d *wire.Done, err error, broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end, c.err, c.broken = d, err, broken
	c.poke()
}

// take returns what came since the last take, and whether that was all.
func (c *call) take() (lm.Chunk, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chunk := lm.Chunk{Text: c.text.String(), Tokens: c.tokens}
	c.text.Reset()
	c.tokens = nil
	c.count += len(chunk.Tokens)
	c.lost = c.broken
	if c.end != nil {
		c.done = *c.end
	}
	return chunk, c.end != nil || c.err != nil, c.err
}

// usage is the child's count, or what was seen of it.
func (c *call) usage() lm.Usage {
	if c.done.ID != 0 {
		return c.done.Usage
	}
	return lm.Usage{Completion: c.count}
}

// spawn starts a process. The calling goroutine must keep its thread: where
// the system can, the child dies with it.
func (e *Engine) spawn() (*child, error) {
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	toR, toW, err1 := pipe()
	fromR, fromW, err2 := pipe()
	errR, errW, err3 := pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		closeAll()
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	args := append(append([]string{}, e.o.Command[1:]...), e.args()...)
	cmd := exec.Command(e.o.Command[0], args...) //nolint:noctx // the supervisor ends it
	cmd.Env = append(os.Environ(), e.o.Env...)
	cmd.Stdout, cmd.Stderr = errW, errW
	cmd.ExtraFiles = []*os.File{toR, fromW} // 3 and 4
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		closeAll()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	for _, f := range []*os.File{toR, fromW, errW} {
		f.Close()
	}
	c := &child{
		e: e, cmd: cmd, to: toW, from: fromR, errs: errR,
		out: make(chan outgoing, 64), gone: make(chan struct{}),
		calls: map[uint64]*call{}, began: time.Now(),
	}
	c.pong.Store(&wire.Pong{})
	return c, nil
}

// run reads and writes until the process has ended, and returns why.
func (c *child) run(ctx context.Context) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wg.Go(func() { c.write(ctx) })
	wg.Go(func() { c.watch(ctx) })
	wg.Go(c.readLog)
	stop := context.AfterFunc(ctx, func() { c.to.Close() }) // the child's sign to leave
	defer stop()
	wg.Go(func() {
		// A child that does not leave is made to.
		<-ctx.Done()
		select {
		case <-c.gone:
		case <-time.After(2 * time.Second):
			c.kill(errors.New("it did not leave"))
		}
	})
	if err := c.read(); err != nil {
		c.kill(err)
	}
	err := c.cmd.Wait()
	close(c.gone)
	cancel(nil)
	wg.Wait()
	for _, f := range []*os.File{c.to, c.from, c.errs} {
		f.Close()
	}
	return c.bury(err)
}

// isGone says that the process has ended; the engine may not know yet.
func (c *child) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// bury ends the calls and says why the child ended.
func (c *child) bury(exit error) error {
	c.mu.Lock()
	reason, lines, calls := c.reason, c.lines, c.calls
	c.calls = nil
	c.mu.Unlock()
	switch {
	case reason != nil:
	case exit != nil:
		reason = fmt.Errorf("engine process ended: %w", exit)
	default:
		reason = errors.New("engine process ended")
	}
	if last := telling(lines); exit != nil && last != "" && !strings.Contains(reason.Error(), last) {
		reason = fmt.Errorf("%w (its log: %q)", reason, last)
	}
	for _, call := range calls {
		call.finish(nil, fault.Wrap(reason, fault.Unavailable, "the embedded engine ended while it answered; it is being started again"), true)
	}
	return reason
}

// telling picks the log's last line that names an error, or the last one.
func telling(lines []string) string {
	pick := ""
	for _, l := range lines {
		if strings.Contains(l, "error") || strings.Contains(l, "invalid") || strings.Contains(l, "panic:") || strings.Contains(l, "ASSERT") {
			pick = l
		}
	}
	if pick == "" && len(lines) > 0 {
		pick = lines[len(lines)-1]
	}
	return strings.ToValidUTF8(pick[:min(len(pick), 300)], "")
}

// kill ends the process at once; the first reason counts.
func (c *child) kill(reason error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	_ = c.cmd.Process.Kill() // it may be gone already
}

// begin registers a call and sends its request.
func (c *child) begin(ctx context.Context, call *call, kind wire.Kind, v any) error {
	c.mu.Lock()
	if c.calls == nil {
		c.mu.Unlock()
		call.lost = true
		return fault.New(fault.Unavailable, "the embedded engine is being started again")
	}
	c.calls[call.id] = call
	c.mu.Unlock()
	select {
	case c.out <- outgoing{kind, v}:
		return nil
	case <-c.gone:
		call.lost = true
		return fault.New(fault.Unavailable, "the embedded engine is being started again")
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.calls, call.id)
		c.mu.Unlock()
		return canceled(ctx)
	}
}

// cancel tells the child to stop a call, which stays registered until the
// child says that it is done.
func (c *child) cancel(id uint64) {
	select {
	case c.out <- outgoing{wire.KindCancel, wire.Cancel{ID: id}}:
	case <-c.gone:
	}
}

func (c *child) write(ctx context.Context) {
	w := wire.NewWriter(c.to, wire.MaxToChild)
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-c.out:
			err := w.Send(o.kind, o.v)
			if errors.Is(err, wire.ErrTooLong) {
				c.refuse(o.v)
				continue
			}
			if err == nil && len(c.out) == 0 {
				err = w.Flush()
			}
			if err != nil {
				return // the reader sees why
			}
		}
	}
}

// refuse ends the call whose request does not fit into a frame.
func (c *child) refuse(v any) {
	var id uint64
	switch v := v.(type) {
	case wire.Generate:
		id = v.ID
	case wire.Embed:
		id = v.ID
	case wire.Count:
		id = v.ID
	}
	c.mu.Lock()
	call := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if call != nil {
		call.finish(nil, fault.New(fault.TooLarge, "the request is over %d MiB", wire.MaxToChild>>20), false)
	}
}

// read takes the child's frames in until its end. An error means that the
// child is broken.
func (c *child) read() error {
	r := wire.NewReader(c.from, wire.MaxToParent)
	progress, hello := 0, false
	for {
		kind, payload, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("engine sent garbage: %w", err)
		}
		c.alive.Store(int64(time.Since(c.began)))
		if hello != (kind != wire.KindHello) {
			return errors.New("engine sent garbage: no hello, or two")
		}
		switch kind {
		case wire.KindHello:
			var h wire.Hello
			if err := wire.Decode(payload, &h); err != nil || h.Version != wire.Version {
				return fmt.Errorf("engine speaks version %d, expected %d: was the executable replaced?", h.Version, wire.Version)
			}
			hello = true
		case wire.KindProgress:
			if progress++; progress > maxProgress {
				return errors.New("engine sent garbage: endless progress")
			}
			err = c.onProgress(payload)
		default:
			err = c.on(kind, payload)
		}
		if err != nil {
			return fmt.Errorf("engine sent garbage: %w", err)
		}
	}
}

func (c *child) onProgress(payload []byte) error {
	var p wire.Progress
	if err := wire.Decode(payload, &p); err != nil {
		return err
	}
	c.e.update(func(s *State) { s.Loaded = min(1, max(0, p.Loaded)) })
	return nil
}

func (c *child) on(kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.KindChunk:
		chunk, err := wire.DecodeChunk(payload)
		if err != nil {
			return err
		}
		call := c.call(chunk.ID, false)
		if call == nil {
			return fmt.Errorf("a chunk for request %d, which does not run", chunk.ID)
		}
		return call.put(chunk)
	case wire.KindDone:
		var d wire.Done
		if err := wire.Decode(payload, &d); err != nil {
			return err
		}
		call := c.call(d.ID, true)
		if call == nil {
			return fmt.Errorf("the end of request %d, which does not run", d.ID)
		}
		var err error
		if d.Code != "" {
			err = fault.New(d.Code, "%s", d.Message)
		}
		call.finish(&d, err, false)
		return nil
	case wire.KindPong:
		var p wire.Pong
		if err := wire.Decode(payload, &p); err != nil {
			return err
		}
		if p.Seq > c.seq.Load() {
			return errors.New("an answer to no ping")
		}
		c.pong.Store(&p)
		return nil
	case wire.KindReady:
		var r wire.Ready
		if err := wire.Decode(payload, &r); err != nil {
			return err
		}
		if r.Window < 1 || r.Slots < 1 {
			return fmt.Errorf("a window of %d, %d slots", r.Window, r.Slots)
		}
		c.e.onReady(c, &r)
		return nil
	case wire.KindFatal:
		var f wire.Fatal
		if err := wire.Decode(payload, &f); err != nil {
			return err
		}
		c.kill(fatalError{f.Message})
		return nil
	}
	return fmt.Errorf("unknown frame %d", kind)
}

// call finds a running call; last takes it off.
func (c *child) call(id uint64, last bool) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[id]
	if last {
		delete(c.calls, id)
	}
	return call
}

// readLog keeps the child's log: its own lines and the library's.
func (c *child) readLog() {
	r := bufio.NewReaderSize(c.errs, maxLogLine)
	total := 0
	for {
		line, err := r.ReadSlice('\n')
		total += len(line)
		if total > maxLog {
			c.kill(errors.New("engine floods its log"))
			_, _ = io.Copy(io.Discard, c.errs)
			return
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			c.mu.Lock()
			if len(c.lines) == keptLog {
				c.lines = append(c.lines[:0], c.lines[1:]...)
			}
			c.lines = append(c.lines, text)
			c.mu.Unlock()
			c.e.log.Debug("engine", "line", text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

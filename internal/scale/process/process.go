// Package process runs a server of somebody else's as a child of this node, on a
// port that is free: what it says is kept, it is asked to end before it is made
// to, and it does not outlive the node where the system can see to that.
package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Port stands for the free port in a command.
const Port = "{port}"

// Options of Start. Command is needed.
type Options struct {
	// Command is the program and its arguments. It must be the server itself: of
	// a shell around it the node knows nothing more.
	Command []string
	Grace   time.Duration // from being asked to end to being made to; 0 = 10 s
	Log     *slog.Logger  // nil = none; its lines are of level debug
}

const (
	longestLine = 4 << 10
	kept        = 40 // of its last lines, to explain an end with
)

// Process is a running server. Its methods may be called from many goroutines.
type Process struct {
	o    Options
	port int
	pid  int
	gone chan struct{}
	stop chan struct{}
	once sync.Once
	cmd  *exec.Cmd

	mu    sync.Mutex
	lines []string // guarded by mu; the last it said
	err   error    // guarded by mu; how it ended
}

// Start starts it.
func Start(o Options) (*Process, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, errors.New("there is no command to start")
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Process{o: o, gone: make(chan struct{}), stop: make(chan struct{})}
	port, err := free()
	if err != nil {
		return nil, err
	}
	p.port = port
	began := make(chan error)
	go p.run(began)
	if err := <-began; err != nil {
		return nil, err
	}
	return p, nil
}

// free finds a port. Whoever takes it before the server does makes it fail to
// start, and it is started again on another one.
func free() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// run starts the process, waits for it and ends it. It keeps its thread, for
// with it the child would die.
func (p *Process) run(began chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, in, err := os.Pipe()
	if err != nil {
		began <- fmt.Errorf("make a pipe: %w", err)
		return
	}
	args := make([]string, len(p.o.Command))
	for i, a := range p.o.Command {
		args[i] = strings.ReplaceAll(a, Port, strconv.Itoa(p.port))
	}
	p.cmd = exec.Command(args[0], args[1:]...) //nolint:noctx // run ends it
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.SysProcAttr = attr()
	err = p.cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		began <- fmt.Errorf("start %s: %w", args[0], err)
		return
	}
	p.pid = p.cmd.Process.Pid
	began <- nil
	var reading sync.WaitGroup
	reading.Go(func() { p.read(out) })
	ended := make(chan struct{})
	reading.Go(func() { p.end(ended) })
	err = p.cmd.Wait()
	close(ended)
	kill(p.pid) // what it has started itself
	_ = out.SetReadDeadline(time.Now().Add(time.Second))
	reading.Wait()
	_ = out.Close()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.gone)
}

// end asks the process to end when Stop was called, and then makes it.
func (p *Process) end(ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-p.stop:
	}
	ask(p.cmd.Process)
	limit := time.NewTimer(p.o.Grace)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		p.o.Log.Warn("a server did not end when it was asked to", "pid", p.pid, "after", p.o.Grace)
		kill(p.pid)
		_ = p.cmd.Process.Kill() // where there are no groups
	}
}

func (p *Process) read(out io.Reader) {
	r := bufio.NewReaderSize(out, longestLine)
	for {
		line, err := r.ReadSlice('\n')
		if text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "?"); text != "" {
			p.mu.Lock()
			if len(p.lines) == kept {
				p.lines = append(p.lines[:0], p.lines[1:]...)
			}
			p.lines = append(p.lines, text)
			p.mu.Unlock()
			p.o.Log.Debug("server", "pid", p.pid, "line", text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Port is where it shall listen.
func (p *Process) Port() int { return p.port }

// Pid is its process.
func (p *Process) Pid() int { return p.pid }

// Gone is closed when it has ended and nothing of it is left.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Why says how it ended, with the last of what it said.
func (p *Process) Why() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := "the process ended by itself"
	if p.err != nil {
		why = "the process ended: " + p.err.Error()
	}
	if last := telling(p.lines); last != "" {
		why += fmt.Sprintf(" (it said %q)", last)
	}
	return why
}

// telling picks the last line that names an error, or the last one.
func telling(lines []string) string {
	pick := ""
	for _, l := range lines {
		if low := strings.ToLower(l); strings.Contains(low, "error") || strings.Contains(low, "failed") || strings.Contains(low, "invalid") {
			pick = l
		}
	}
	if pick == "" && len(lines) > 0 {
		pick = lines[len(lines)-1]
	}
	return pick[:min(len(pick), 300)]
}

// Stop ends it and returns when nothing of it is left.
func (p *Process) Stop() {
	p.once.Do(func() { close(p.stop) })
	<-p.gone
}

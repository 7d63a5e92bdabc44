package world

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// grace is how long a region may take to stop by itself.
const grace = 12 * time.Second

// keep runs a region's process until ctx ends, and starts it again when it
// dies.
func (w *World) keep(ctx context.Context, n *node) {
	runtime.LockOSThread() // its end is the child's on Linux
	defer runtime.UnlockOSThread()
	for first := true; ctx.Err() == nil; first = false {
		switch {
		case n.Witness:
			w.opts.Console.Line("Region %s: witness (votes, serves nobody)", n.Name)
		case first:
			w.opts.Console.Line("Region %s: %s", n.Name, n.url)
		default:
			w.opts.Console.Line("Region %s starts again", n.Name)
		}
		err := w.run(ctx, n)
		if ctx.Err() != nil {
			return
		}
		if w.opts.Restart < 0 {
			w.opts.Console.Line("Region %s died (%v)", n.Name, err)
			return
		}
		w.opts.Console.Line("Region %s died (%v); it starts again in %v", n.Name, err, w.opts.Restart)
		select {
		case <-ctx.Done():
		case <-time.After(w.opts.Restart):
		}
	}
}

// run runs the process once. Its output goes to the region's log file.
func (w *World) run(ctx context.Context, n *node) error {
	out, err := os.OpenFile(filepath.Join(n.dir, "parley.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	args := append(w.opts.Command[1:len(w.opts.Command):len(w.opts.Command)], "-c", filepath.Join(n.dir, "parley.yaml"))
	cmd := exec.CommandContext(ctx, w.opts.Command[0], args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = w.opts.Environ, out, out
	cmd.SysProcAttr = childAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return err
	}
	n.set(cmd.Process)
	err = cmd.Wait()
	n.set(nil)
	if err != nil {
		return err
	}
	return errors.New("it ended by itself")
}

func (n *node) set(p *os.Process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = p
}

package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/cluster"
	"github.com/parleyhq/parley/internal/config"
)

// drainedFile stands in the data directory of a node that is out of service.
const drainedFile = "drained"

const leaveTime = 5 * time.Second // for the leaders of the log to move

// Drain takes the node of a data directory out of service, or back, while it
// runs and at its next start.
func Drain(data string, away bool) error {
	path := filepath.Join(data, drainedFile)
	if away {
		return atomicfile.Write(path, []byte("parley regions resume takes this node back into service\n"), 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// drained reports whether this node is out of service: because of Drain, or
// because the list says that it leaves.
func (a *App) drained() bool {
	if slices.ContainsFunc(a.cfg.Nodes, func(n config.Node) bool { return n.Name == a.cfg.Node && n.Leaves }) {
		return true
	}
	_, err := os.Stat(filepath.Join(a.cfg.Data, drainedFile))
	return err == nil
}

// leaves reports whether other nodes shall take over.
func (a *App) leaves() bool { return a.stopping.Load() || a.away.Load() }

// depart is the first step of the node's end: other nodes take the turns of its
// region and lead its log, while this one still answers whoever has not noticed
// yet that it is not ready.
func (a *App) depart(ctx context.Context) {
	a.stopping.Store(true)
	others := func(n cluster.State) bool { return n.Name != a.cfg.Node && n.Alive }
	if !slices.ContainsFunc(a.world.Load().States(time.Now()), others) {
		return
	}
	late := time.NewTimer(a.cfg.LameDuck)
	defer late.Stop()
	a.handOver(ctx)
	if a.cfg.Witness() {
		return // nobody was led here
	}
	select {
	case <-late.C:
	case <-ctx.Done():
	}
}

// stays reports whether a node is heard and says nothing of leaving.
func (a *App) stays(node string) bool {
	return slices.ContainsFunc(a.world.Load().States(time.Now()), func(n cluster.State) bool { return n.Name == node && n.Alive })
}

// handOver moves the log's leaders to other nodes.
func (a *App) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := a.log.Leave(ctx, a.stays); err != nil && !errors.Is(err, context.Canceled) {
		a.lg.Warn("not all leaders of the log could be handed over; others are elected when this node is gone", "err", err)
	}
}

// attend takes the node out of service, or back, as it has been told to.
func (a *App) attend(ctx context.Context) {
	away := a.drained()
	switch {
	case a.stopping.Load() || a.away.Swap(away) == away:
	case away:
		a.lg.Warn("out of service: other nodes take over; parley regions resume ends that")
		a.board.Drain(true)
		a.handOver(ctx)
	default:
		a.lg.Info("in service again")
		a.board.Drain(false)
		a.log.Return()
	}
}

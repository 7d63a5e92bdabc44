package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// adopt takes the log of a node that was alone into the cluster, if somebody has
// put it beside this node's own. It comes before everything that reads the log.
func (a *App) adopt(ctx context.Context) error {
	dir := filepath.Join(a.cfg.Data, eventlog.AloneDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !a.cfg.Clustered() {
		return fault.New(fault.Invalid, "%s waits to be taken into a cluster, but this node is alone; rename it to log to go on with it here", dir)
	}
	a.lg.Info("the log of a node that was alone is taken into the cluster", "dir", dir)
	if err := a.log.Adopt(ctx, dir); err != nil {
		return err
	}
	done := dir + "-taken-" + strconv.FormatInt(time.Now().Unix(), 10)
	if err := os.Rename(dir, done); err != nil {
		return err
	}
	a.lg.Info("its conversations are in the cluster; start the other nodes again, one by one, and they serve them too", "kept", done)
	return nil
}

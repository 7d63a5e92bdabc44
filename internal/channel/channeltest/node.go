package channeltest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/lm"
)

// One serves every model with one engine.
type One struct{ Engine lm.Engine }

// Find satisfies chat.Engines.
func (o One) Find(ctx context.Context, _, _ string) (lm.Engine, lm.Model, error) {
	models, err := o.Engine.Models(ctx)
	if err != nil {
		return nil, lm.Model{}, err
	}
	return o.Engine, models[0], nil
}

// Log is what a node needs of its log.
type Log interface {
	chat.Log
	channel.Values
}

// NodeOptions are a Node's. All but Through, Bots, GiveUp, Waiting and Queue are
// required.
type NodeOptions struct {
	Channel string
	Worker  string
	Log     Log
	Through chat.Log // stands between the node's chat and the log; nil = nothing
	Death   *Death
	Engine  lm.Engine
	Bots    []chat.Bot // nil = one
	Rate    float64    // as in channel.Options
	Burst   int
	GiveUp  time.Duration // as in channel.OutletOptions
	Waiting int           // as in channel.OutletOptions
	Queue   int           // as in chat.Options
	// Attach makes the channel on the node's desk and adds it to its outlet.
	Attach func(*Node) error
}

// Node is what a node has of a channel that has to be called.
type Node struct {
	Chat   *chat.Service
	Desk   *channel.Desk
	Outlet *channel.Outlet
	Halt   func() // stops it at once
}

// StartNode starts a node, which ends with the test.
func StartNode(t *testing.T, o NodeOptions) *Node {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := &Node{}
	n.Halt = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		n.Chat.Stop(ctx)
	})
	if o.Through == nil {
		o.Through = o.Log
	}
	if o.Bots == nil {
		o.Bots = []chat.Bot{{ID: "bot", Name: "Bot"}}
	}
	var err error
	n.Outlet, err = channel.NewOutlet(channel.OutletOptions{Values: o.Log, GiveUp: o.GiveUp, Waiting: o.Waiting, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(err)
	n.Chat, err = chat.New(chat.Options{
		Log: o.Death.Log(o.Through, n.Halt), Engines: One{o.Engine}, Worker: o.Worker, Checkpoint: 5 * time.Millisecond, Outlet: n.Outlet, Bots: o.Bots, Queue: o.Queue,
	})
	must(err)
	n.Desk, err = channel.New(channel.Options{
		Name: o.Channel, Chat: n.Chat, Rate: o.Rate, Burst: o.Burst, Patience: 20 * time.Millisecond, Values: o.Log, Region: o.Log.Region(),
	})
	must(err)
	must(o.Attach(n))
	must(n.Chat.Start(t.Context()))
	t.Cleanup(n.Halt)
	return n
}

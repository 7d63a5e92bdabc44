package eventlog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/pause"
)

const leaveLook = 50 * time.Millisecond

// Leave hands the leadership of every stream that this node leads to another
// one, and returns when they have it, or when ctx ends. This node takes none
// back before Return. Writers wait about two round trips for a new leader; they
// would wait an election for one that just goes away. Who does not stay is handed
// nothing: two that leave would hand it to each other.
func (l *Log) Leave(ctx context.Context, stays func(node string) bool) error {
	if l.cluster == nil {
		return nil
	}
	l.view.stay(true)
	for {
		led := ""
		for _, name := range l.allStreams() {
			st := l.lookAt(ctx, name, "")
			if st.Leader != l.opts.Node {
				continue
			}
			to := l.successor(st, stays)
			if to == "" {
				continue // nobody else can: better late than not at all
			}
			led = name
			if err := l.moveLeader(ctx, name, to); err != nil {
				l.lg.Debug("a stream's leader stays for now", "stream", name, "to", to, "err", err)
			}
		}
		if led == "" {
			return nil
		}
		if pause.For(ctx, leaveLook) != nil {
			return fmt.Errorf("leave: this node still leads %s: %w", led, ctx.Err())
		}
	}
}

// Return ends Leave: the log of this region comes home when all is well.
func (l *Log) Return() {
	if l.cluster != nil {
		l.view.stay(false)
	}
}

// allStreams names all that may be led.
func (l *Log) allStreams() []string {
	out := []string{kvStream, fileStream}
	for s := range l.streams() {
		out = append(out, s.name)
	}
	return out
}

// successor names the node that leads a stream when this one leaves: the next in
// the list that is fit and stays, a witness only if there is nobody else.
func (l *Log) successor(st StreamState, stays func(node string) bool) string {
	all := l.cluster.Nodes
	me := slices.IndexFunc(all, func(n Node) bool { return n.Name == l.opts.Node })
	witness := ""
	for _, n := range slices.Concat(all[me+1:], all[:me]) {
		i := slices.IndexFunc(st.Replicas, func(r Replica) bool { return r.Node == n.Name })
		if i < 0 || !stays(n.Name) || st.Replicas[i].Offline || st.Replicas[i].Lag > homeLag {
			continue
		}
		if !n.Witness {
			return n.Name
		}
		witness = n.Name
	}
	return witness
}

// preferred asks for a node to lead.
func preferred(node string) map[string]any {
	return map[string]any{"placement": map[string]any{"preferred": serverPrefix + node}}
}

// moveLeader makes a node the leader of a stream and of its queue.
func (l *Log) moveLeader(ctx context.Context, stream, node string) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	to := preferred(node)
	if err := l.ask(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, to, nil); err != nil {
		return fmt.Errorf("move leader of %s: %w", stream, err)
	}
	if !strings.HasPrefix(stream, streamPrefix) {
		return nil
	}
	if err := l.ask(ctx, "$JS.API.CONSUMER.LEADER.STEPDOWN."+stream+"."+turns, to, nil); err != nil {
		l.lg.Debug("the queue's leader stays", "stream", stream, "err", err)
	}
	return nil
}

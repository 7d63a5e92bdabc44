package eventlog

import (
	"context"
	"strings"
)

// Told makes followers believe that they have heard of an entry.
func (l *Log) Told(stream string, seq uint64) { l.view.tell(stream, seq) }

// Members counts the nodes of the cluster's own group; 0 for a node that does not
// lead it.
func (l *Log) Members() int {
	s := l.srv.Load()
	if !s.JetStreamIsLeader() {
		return 0
	}
	info, err := s.Jsz(nil)
	if err != nil || info.Meta == nil {
		return 0
	}
	return info.Meta.Size
}

// LeadQueue asks for a node to lead a stream's queue ("" = nobody else), and
// returns who does.
func (l *Log) LeadQueue(ctx context.Context, stream, node string) string {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	queue := stream + "." + turns
	if node != "" {
		_ = l.ask(ctx, "$JS.API.CONSUMER.LEADER.STEPDOWN."+queue, preferred(node), nil)
	}
	var info streamInfo
	if err := l.ask(ctx, "$JS.API.CONSUMER.INFO."+queue, nil, &info); err != nil || info.Cluster == nil {
		return ""
	}
	return strings.TrimPrefix(info.Cluster.Leader, serverPrefix)
}

// LeadValues asks for a node to lead what holds the values, and reports whether
// it does.
func (l *Log) LeadValues(ctx context.Context, node string) bool {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	_ = l.ask(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+kvStream, preferred(node), nil)
	return l.lookAt(ctx, kvStream, "").Leader == node
}

// Mark removes a value as somebody does who is killed in the middle of it.
func (l *Log) Mark(ctx context.Context, key string) error { return l.kv.Purge(ctx, key) }

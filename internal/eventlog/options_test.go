package eventlog_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

func pair() *eventlog.Cluster {
	return &eventlog.Cluster{Nodes: []eventlog.Node{
		{Region: "a", Name: "a1", Address: "127.0.0.1:7001"},
		{Region: "b", Name: "b1", Address: "127.0.0.1:7002"},
	}}
}

func TestClusterOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*eventlog.Cluster)
		want   string
	}{
		{"alone", func(c *eventlog.Cluster) { c.Nodes = c.Nodes[:1] }, "a single node needs none"},
		{"twice", func(c *eventlog.Cluster) { c.Nodes[1].Name = "a1" }, "every name once"},
		{"not in it", func(c *eventlog.Cluster) { c.Nodes[0].Name = "other" }, "not among the nodes"},
		{"another region", func(c *eventlog.Cluster) { c.Nodes[0].Region = "c" }, "not among the nodes"},
		{"region's form", func(c *eventlog.Cluster) { c.Nodes[1].Region = "b-2" }, "lower-case letters and digits only"},
		{"no port", func(c *eventlog.Cluster) { c.Nodes[1].Address = "127.0.0.1" }, "want host:port"},
		{"no user's region", func(c *eventlog.Cluster) { c.Nodes[0].Witness, c.Nodes[1].Witness = true, true }, "nobody serves users"},
		{"no TLS", func(c *eventlog.Cluster) { c.Nodes[1].Address = "192.0.2.1:7002" }, "need TLS"},
		{"listens to all", func(c *eventlog.Cluster) { c.Listen = "0.0.0.0:7001" }, "need TLS"},
		{"one-sided TLS", func(c *eventlog.Cluster) { c.TLS = &tls.Config{MinVersion: tls.VersionTLS13} }, "require and verify"},
		{"replicas", func(c *eventlog.Cluster) { c.Replicas = 3 }, "3 replicas of 2 nodes"},
		{"the moon", func(c *eventlog.Cluster) { c.RoundTrip = 2600 * time.Millisecond }, "at most 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := pair()
			c.change(cl)
			l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), Region: "a", Node: "a1", Cluster: cl})
			if err == nil {
				_ = l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A server that joins a cluster throws away streams which the cluster does not
// know, so one kind of directory must not be taken for the other.
func TestDirectoriesOfOneKind(t *testing.T) {
	single, member := t.TempDir(), t.TempDir()
	l := open(t, eventlog.Options{Dir: single, Region: "a", Node: "a1"})
	conv := event.NewConversation("a")
	if _, err := l.Append(t.Context(), titled(conv, "kept", nil, 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := eventlog.Open(t.Context(), eventlog.Options{Dir: single, Region: "a", Node: "a1", Cluster: pair()}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a single node's directory in a cluster: %v", err)
	}
	l = open(t, eventlog.Options{Dir: single, Region: "a", Node: "a1"})
	if got := titles(readAll(t, l, conv, 0)); len(got) != 1 {
		t.Errorf("after the refusal: %q", got)
	}
	cl := pair()
	cl.Wait = time.Millisecond // its only neighbour does not exist
	lonely := open(t, eventlog.Options{Dir: member, Region: "a", Node: "a1", Cluster: cl})
	if err := lonely.Health(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("health without a majority: %v", err)
	}
	if _, err := lonely.Get(t.Context(), "k"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a value without a majority: %v", err)
	}
	if err := lonely.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := eventlog.Open(t.Context(), eventlog.Options{Dir: member, Region: "a", Node: "a1"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a member's directory as a single node's: %v", err)
	}
	cl.Name = "another"
	if _, err := eventlog.Open(t.Context(), eventlog.Options{Dir: member, Region: "a", Node: "a1", Cluster: cl}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a member of one cluster in another: %v", err)
	}
}

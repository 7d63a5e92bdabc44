package eventlog_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/loopback"
)

// growing is a cluster whose list of nodes changes. Its nodes see each other
// without a distance: it is about who has what.
type growing struct {
	t    *testing.T
	dir  string
	addr map[string]string
	free []string // addresses that no node has yet

	mu   sync.Mutex // guards logs
	logs map[string]*eventlog.Log
}

func newGrowing(t *testing.T) *growing {
	t.Helper()
	free, err := loopback.Free(16)
	if err != nil {
		t.Fatal(err)
	}
	g := &growing{t: t, dir: t.TempDir(), addr: map[string]string{}, free: free, logs: map[string]*eventlog.Log{}}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, l := range g.logs {
			all.Go(func() { _ = l.Close() })
		}
		all.Wait()
	})
	return g
}

// node is a node of the list: its region has the same name.
func (g *growing) node(name string, leaves bool) eventlog.Node {
	g.t.Helper()
	if g.addr[name] == "" {
		g.addr[name], g.free = g.free[0], g.free[1:]
	}
	return eventlog.Node{Region: name, Name: name, Address: g.addr[name], Leaves: leaves}
}

func (g *growing) open(name string, list []eventlog.Node) {
	g.t.Helper()
	o := eventlog.Options{
		Dir: filepath.Join(g.dir, name), Region: name, Node: name, Lease: time.Second,
		Cluster: &eventlog.Cluster{Nodes: list, Wait: 20 * time.Second},
	}
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", name)
	}
	l, err := eventlog.Open(g.t.Context(), o)
	if err != nil {
		g.t.Errorf("open %s: %v", name, err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logs[name] = l
}

// start opens nodes side by side.
func (g *growing) start(list []eventlog.Node, names ...string) {
	g.t.Helper()
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() { g.open(name, list) })
	}
	all.Wait()
	if g.t.Failed() {
		g.t.FailNow()
	}
}

func (g *growing) log(name string) *eventlog.Log {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logs[name]
}

func (g *growing) close(name string) {
	g.t.Helper()
	l := g.log(name)
	g.mu.Lock()
	delete(g.logs, name)
	g.mu.Unlock()
	if err := l.Close(); err != nil {
		g.t.Error(err)
	}
}

// roll gives nodes a new list, one after the other.
func (g *growing) roll(list []eventlog.Node, names ...string) {
	g.t.Helper()
	for _, name := range names {
		if err := g.log(name).Leave(g.t.Context(), func(string) bool { return true }); err != nil {
			g.t.Error(err)
		}
		g.close(name)
		g.start(list, name)
		g.whole(name)
	}
}

// whole waits until a node is well and no copy is behind.
func (g *growing) whole(name string) {
	g.t.Helper()
	eventually(g.t, name+" is well", 30*time.Second, func() bool {
		if g.log(name).Health(g.t.Context()) != nil {
			return false
		}
		for _, s := range g.log(name).State().Streams {
			if !s.Missing && (!s.Quorum || slices.ContainsFunc(s.Replicas, func(r eventlog.Replica) bool { return r.Offline && r.Region != "" })) {
				return false
			}
		}
		return true
	})
}

// holders are the nodes that have a whole copy of a home's log, as a node sees
// it.
func (g *growing) holders(asked, home string) []string {
	var out []string
	for _, s := range g.log(asked).State().Streams {
		for _, r := range s.Replicas {
			if s.Home == home && r.Current && !r.Pending {
				out = append(out, r.Node)
			}
		}
	}
	return out
}

func (g *growing) held(asked, home string, want ...string) {
	g.t.Helper()
	var got []string
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if got = g.holders(asked, home); slices.Equal(got, want) {
			return
		}
		if time.Now().After(late) {
			g.t.Fatalf("the log of %s is held by %v, want %v", home, got, want)
		}
	}
}

// TestChangingWorlds tells its stories side by side: their nodes wait most of the
// time.
func TestChangingWorlds(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("nodes that start and stop take a minute: PARLEY_TEST_REAL=1 runs them")
	}
	t.Parallel() // most of it is waiting
	var all sync.WaitGroup
	for name, story := range map[string]func(*testing.T){
		"a list that changes": changingList, "two and three": secondAndThird,
		"a majority gone, and a week away": majorityGone, "from one node": adopted,
	} {
		all.Go(func() { t.Run(name, story) })
	}
	all.Wait()
}

// changingList adds a region and takes another one away while somebody
// writes: nothing is lost, and the log of the region that is no more is read and
// written as before.
func changingList(t *testing.T) {
	g := newGrowing(t)
	a, b, c, d := g.node("a", false), g.node("b", false), g.node("c", false), g.node("d", false)
	three := []eventlog.Node{a, b, c}
	g.start(three, "a", "b", "c")
	convs := map[string]string{}
	for _, home := range []string{"a", "b", "c"} {
		convs[home] = event.NewConversation(home)
	}
	n := 0
	write := func(node string, homes ...string) {
		t.Helper()
		for _, home := range homes {
			eventually(t, "append in "+node+" to a conversation of "+home, 20*time.Second, func() bool {
				_, err := g.log(node).Append(t.Context(), titled(convs[home], fmt.Sprint(n), nil, 0))
				return err == nil
			})
		}
		n++
	}
	read := func(node string, homes ...string) {
		t.Helper()
		for _, home := range homes {
			got := titles(readAll(t, g.log(node), convs[home], 0))
			if len(got) == 0 || got[len(got)-1] != fmt.Sprint(n-1) {
				t.Errorf("%s reads %v of a conversation of %s, want all up to %d", node, got, home, n-1)
			}
		}
	}
	write("a", "a", "b", "c")

	// A fourth one. It is started first and waits until the others know it.
	four := []eventlog.Node{a, b, c, d}
	waiting := make(chan struct{})
	go func() { defer close(waiting); g.open("d", four) }()
	g.roll(four, "a", "b", "c")
	write("b", "a", "b", "c")
	<-waiting
	g.held("a", "d", "a", "b", "d")
	g.whole("d")
	convs["d"] = event.NewConversation("d")
	write("d", "a", "b", "c", "d")
	read("c", "a", "b", "c", "d")

	// b goes. Its copies move while it is still there.
	leaving := []eventlog.Node{a, g.node("b", true), c, d}
	g.roll(leaving, "a", "b", "c", "d")
	for _, home := range []string{"a", "b", "c", "d"} {
		g.held("a", home, "a", "c", "d")
	}
	write("c", "a", "b", "c", "d")
	g.close("b")
	// Whoever leads from now on has never heard b.
	stay := []string{"a", "c", "d"}
	leads := func(n string) bool { return g.log(n).Members() > 0 }
	eventually(t, "the cluster has a leader without b", 20*time.Second, func() bool { return slices.ContainsFunc(stay, leads) })
	g.roll(leaving, stay[slices.IndexFunc(stay, leads)])
	eventually(t, "b is out of the cluster", time.Minute, func() bool {
		return slices.ContainsFunc(stay, func(n string) bool { return g.log(n).Members() == 3 })
	})
	write("d", "a", "b", "c", "d")
	read("a", "a", "b", "c", "d")
	without := []eventlog.Node{a, c, d}
	g.roll(without, "a", "c", "d")
	write("d", "a", "b", "c", "d")
	read("a", "a", "b", "c", "d")
	if got := g.log("c").Homes(); !slices.Equal(got, []string{"a", "c", "d", "b"}) {
		t.Errorf("the log holds conversations of %v", got)
	}

	// The majority is one of three now: any of them may die.
	g.close("a")
	g.writes("c", convs["b"], "without a")
}

// secondAndThird grows a cluster of two, which could not lose one, to three,
// and shrinks it again.
func secondAndThird(t *testing.T) {
	g := newGrowing(t)
	a, b, c := g.node("a", false), g.node("b", false), g.node("c", false)
	two, three := []eventlog.Node{a, b}, []eventlog.Node{a, b, c}
	g.start(two, "a", "b")
	conv := event.NewConversation("a")
	g.writes("b", conv, "two")
	g.close("b")
	g.refuses("a", conv, "the log of region a stores nothing since", 1)
	g.start(two, "b")
	g.writes("b", conv, "two again")

	waiting := make(chan struct{})
	go func() { defer close(waiting); g.open("c", three) }()
	g.roll(three, "a", "b")
	<-waiting
	for _, home := range []string{"a", "b", "c"} {
		g.held("a", home, "a", "b", "c")
	}
	g.close("a")
	g.writes("c", conv, "one of three is dead")
}

package eventlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/loopback"
	"github.com/parleyhq/parley/internal/tlscert"
)

const (
	japan     = "japaneast"
	korea     = "koreacentral"
	singapore = "southeastasia"
)

// world is a cluster of three regions in this process; every pair of nodes
// has two links, one for each that dials.
type world struct {
	t     testing.TB
	dir   string
	addr  map[string]string // where a node really listens
	links map[[2]string]*link.Link
	logs  map[string]*eventlog.Log
	ca    *tlscert.Authority
}

func regions() []string { return []string{japan, korea, singapore} }

func distance(a, b string) time.Duration {
	switch {
	case a == b:
		return 0
	case a != singapore && b != singapore:
		return 30 * time.Millisecond
	case a != korea && b != korea:
		return 70 * time.Millisecond
	}
	return 75 * time.Millisecond
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), addr: map[string]string{}, links: map[[2]string]*link.Link{}, logs: map[string]*eventlog.Log{}}
	var err error
	if w.ca, err = tlscert.OpenAuthority(filepath.Join(w.dir, "ca")); err != nil {
		t.Fatal(err)
	}
	free, err := loopback.Free(len(regions())) // nodes listen there, now and after a restart
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range regions() {
		w.addr[r] = free[i]
	}
	for _, from := range regions() {
		for _, to := range regions() {
			if from == to {
				continue
			}
			l, err := link.Open(t.Context(), w.addr[to], link.State{RoundTrip: distance(from, to)})
			if err != nil {
				t.Fatal(err)
			}
			w.links[[2]string{from, to}] = l
		}
	}
	t.Cleanup(func() {
		w.stopAll()
		for _, l := range w.links {
			_ = l.Close()
		}
	})
	return w
}

func (w *world) options(node string) eventlog.Options {
	c := &eventlog.Cluster{
		Listen: w.addr[node], Wait: 30 * time.Second,
		Advertise: fmt.Sprintf("127.0.0.1:%d", 1+slices.Index(regions(), node)), // nobody shall go round the links
	}
	for _, r := range regions() {
		addr := w.addr[r]
		if r != node {
			addr = w.links[[2]string{node, r}].Addr()
		}
		c.Nodes = append(c.Nodes, eventlog.Node{Region: r, Name: r, Address: addr, Witness: r == japan})
	}
	certs, err := tlscert.Open(tlscert.Options{
		Dir: filepath.Join(w.dir, node+"-tls"), Self: tlscert.Identity{Region: node, Node: node}, Hosts: []string{"127.0.0.1"},
		Authority: w.ca, Known: func(x tlscert.Identity) bool { return x.Region == x.Node && slices.Contains(regions(), x.Region) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c.TLS = certs.Config()
	o := eventlog.Options{Dir: filepath.Join(w.dir, node), Region: node, Node: node, Lease: time.Second, Cluster: c}
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node)
	}
	return o
}

// start opens nodes side by side: none is ready before there is a majority.
func (w *world) start(nodes ...string) {
	w.t.Helper()
	var (
		all sync.WaitGroup
		mu  sync.Mutex
	)
	begin := time.Now()
	for _, n := range nodes {
		all.Go(func() {
			l, err := eventlog.Open(w.t.Context(), w.options(n))
			if err != nil {
				w.t.Errorf("open %s: %v", n, err)
				return
			}
			mu.Lock()
			w.logs[n] = l
			mu.Unlock()
		})
	}
	all.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
	w.t.Logf("%v up after %s", nodes, time.Since(begin).Round(time.Millisecond))
}

func (w *world) stopAll() {
	var all sync.WaitGroup
	for _, l := range w.logs {
		all.Go(func() { _ = l.Close() })
	}
	all.Wait()
	clear(w.logs)
}

// cut changes all links from and to a node.
func (w *world) cut(node string, change func(*link.State)) {
	for pair, l := range w.links {
		if pair[0] == node || pair[1] == node {
			l.Change(change)
		}
	}
}

// well waits until all of these nodes call themselves well.
func (w *world) well(nodes ...string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprint(nodes, " are well"), 20*time.Second, func() bool {
		return !slices.ContainsFunc(nodes, func(n string) bool { return w.logs[n].Health(w.t.Context()) != nil })
	})
}

func down(s *link.State) { s.Down = true }
func up(s *link.State)   { s.Down, s.Hold = false, false }

// kill ends a node so that the others only see their connections break. Its
// own farewell comes when nobody hears it any more.
func (w *world) kill(node string) {
	w.t.Helper()
	w.cut(node, down)
	if err := w.logs[node].Close(); err != nil {
		w.t.Error(err)
	}
	delete(w.logs, node)
}

func eventually(t testing.TB, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(limit); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

func (w *world) stream(node, home string) eventlog.StreamState {
	for _, s := range w.logs[node].State().Streams {
		if s.Home == home {
			return s
		}
	}
	return eventlog.StreamState{}
}

// home waits until the leader of a home's log is at home.
func (w *world) home(region string) {
	w.t.Helper()
	eventually(w.t, "leader of "+region+" at home", 30*time.Second, func() bool {
		s := w.stream(region, region)
		return s.Region == region && s.Quorum && len(s.Replicas) == 3 &&
			!slices.ContainsFunc(s.Replicas, func(r eventlog.Replica) bool { return !r.Current })
	})
}

func delta(conversation string, offset int) event.Append {
	return event.Append{Conversation: conversation, Event: event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t", Offset: offset}}}
}

// TestRegions tells one long story: making a world of regions takes seconds.
func TestRegions(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("three regions with their distances take a minute: PARLEY_TEST_REAL=1 runs them")
	}
	w := newWorld(t)
	w.start(regions()...)
	w.home(korea)
	w.home(singapore)
	for _, chapter := range []struct {
		name string
		tell func(*testing.T, *world)
	}{
		{"every region sees one order", oneOrder},
		{"guards", guardsOverRegions},
		{"values", func(t *testing.T, w *world) { replaced(t, w.logs[korea], w.logs[singapore]) }},
		{"values that several write first", func(t *testing.T, w *world) { contended(t, w.logs[korea], w.logs[korea]) }},
		{"a pipeline keeps its order", pipeline},
		{"leader dies", leaderDies},
		{"leases of a dead region", leasesElsewhere},
		{"leader goes home", leaderGoesHome},
		{"isolated", isolated},
		{"a deposed leader", deposed},
		{"a list of values", listed},
		{"who was told can read it", toldThenRead},
		{"a queue leaves a copy that is behind", queueLeaves},
		{"restart of all", restartAll},
		{"wiped disk", wiped},
	} {
		if !t.Run(chapter.name, func(t *testing.T) { w.t = t; chapter.tell(t, w) }) {
			return
		}
	}
}

func oneOrder(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	for i, r := range []string{korea, singapore, japan, singapore, korea} {
		begin := time.Now()
		if _, err := w.logs[r].Append(t.Context(), titled(conv, fmt.Sprint(i), nil, 0)); err != nil {
			t.Fatalf("append in %s: %v", r, err)
		}
		t.Logf("append in %s to a conversation at home in %s: %s", r, korea, time.Since(begin).Round(time.Millisecond))
	}
	want := readAll(t, w.logs[korea], conv, 0)
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, titles(want)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, r := range regions() {
		if diff := cmp.Diff(want, readAll(t, w.logs[r], conv, 0)); diff != "" {
			t.Errorf("%s reads other entries (-want +got):\n%s", r, diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var got []event.Entry
		if err := w.logs[r].Follow(ctx, w.logs[r].StreamOf(conv), want[0].Seq-1, func(b []event.Entry) error {
			if got = append(got, b...); len(got) >= len(want) {
				cancel()
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s follows other entries (-want +got):\n%s", r, diff)
		}
	}
}

func guardsOverRegions(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	zero := uint64(0)
	type result struct {
		seq uint64
		err error
	}
	results := make(chan result, 2)
	for _, r := range []string{korea, singapore} {
		go func() {
			got, err := w.logs[r].Append(t.Context(), titled(conv, r, &zero, 0))
			results <- result{got.Seq, err}
		}()
	}
	var won uint64
	for range 2 {
		switch x := <-results; {
		case x.err == nil && won == 0:
			won = x.seq
		case x.err == nil:
			t.Errorf("both won: %d and %d", won, x.seq)
		case !fault.Is(x.err, fault.Conflict):
			t.Errorf("the loser got %v, want conflict", x.err)
		}
	}
	if won == 0 {
		t.Fatal("nobody won")
	}
	for _, r := range regions() {
		if got := readAll(t, w.logs[r], conv, 0); len(got) != 1 || got[0].Seq != won {
			t.Errorf("%s reads %v", r, got)
		}
	}
}

// A worker in another region sends without waiting.
func pipeline(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	waits := make([]func(context.Context) (event.Receipt, error), 0, 500)
	for i := range cap(waits) {
		_, wait, err := w.logs[singapore].AppendAsync(delta(conv, i))
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	var last uint64
	for i, wait := range waits {
		r, err := wait(t.Context())
		if err != nil || r.Seq <= last {
			t.Fatalf("append %d: sequence %d after %d, %v", i, r.Seq, last, err)
		}
		last = r.Seq
	}
	for i, e := range readAll(t, w.logs[japan], conv, 0) {
		if e.Event.Delta.Offset != i {
			t.Fatalf("entry %d has offset %d", i, e.Event.Delta.Offset)
		}
	}
}

// writer appends one entry after the other until stop is closed, in the way
// that a worker does: what is not known to be stored is looked for first.
type writer struct {
	conv  string
	acked []int // offsets
	// doubted are those whose first append was given up: it may be on its way
	// still when it is looked for, and stored beside the second one. Readers take
	// one of them, by its offset; where that can't be, a guard is asked for.
	doubted map[int]bool
	longest time.Duration
}

func write(t *testing.T, l *eventlog.Log, home string, stop <-chan struct{}) *writer {
	w := &writer{conv: event.NewConversation(home), doubted: map[int]bool{}}
	last := time.Now()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return w
		default:
		}
		for {
			_, err := l.Append(t.Context(), delta(w.conv, i))
			if err == nil {
				break
			}
			t.Logf("append: %v", err)
			w.doubted[i] = true
			if found := readAll(t, l, w.conv, 0); len(found) > 0 && found[len(found)-1].Event.Delta.Offset == i {
				break
			}
		}
		w.acked = append(w.acked, i)
		w.longest = max(w.longest, time.Since(last))
		last = time.Now()
	}
}

// piped appends with eight on their way, as an answer's worker does, until an
// append fails or stop is closed. It returns the offsets that were acknowledged.
func piped(t *testing.T, l *eventlog.Log, conv string, from int, stop <-chan struct{}) (acked []int, failed error) {
	type sent struct {
		offset int
		wait   func(context.Context) (event.Receipt, error)
	}
	var flight []sent
	for i := from; ; i++ {
		select {
		case <-stop:
			i = -1
		default:
			_, wait, err := l.AppendAsync(delta(conv, i))
			if err != nil {
				return acked, err
			}
			flight = append(flight, sent{i, wait})
		}
		for len(flight) > 0 && (i < 0 || len(flight) == 8) {
			if _, err := flight[0].wait(t.Context()); err == nil && failed == nil {
				acked = append(acked, flight[0].offset)
			} else if failed == nil {
				failed = err
			}
			flight = flight[1:]
		}
		if i < 0 || failed != nil {
			return acked, failed
		}
	}
}

// checkPiped reads as every reader of an answer does, taking an entry only
// where the one before ended: all that was acknowledged must be in it.
func checkPiped(t *testing.T, region string, l *eventlog.Log, conv string, acked []int) {
	t.Helper()
	next := 0
	for _, e := range readAll(t, l, conv, 0) {
		if e.Event.Delta.Offset == next {
			next++
		}
	}
	if len(acked) > 0 && acked[len(acked)-1] >= next {
		t.Errorf("%s: acknowledged up to %d, but a reader gets only up to %d", region, acked[len(acked)-1], next-1)
	}
}

// check compares what was acknowledged with what a region reads.
func (x *writer) check(t *testing.T, region string, l *eventlog.Log) {
	t.Helper()
	seen := map[int]int{}
	for _, e := range readAll(t, l, x.conv, 0) {
		if e.Damaged {
			t.Errorf("%s: entry %d is damaged", region, e.Seq)
			continue
		}
		seen[e.Event.Delta.Offset]++
	}
	lost, doubled := 0, 0
	for _, i := range x.acked {
		if seen[i] == 0 {
			lost++
		}
		if seen[i] > 1 && !x.doubted[i] {
			doubled++
		}
	}
	if lost > 0 || doubled > 0 {
		t.Errorf("%s: of %d acknowledged %d are lost and %d doubled", region, len(x.acked), lost, doubled)
	}
}

func leaderDies(t *testing.T, w *world) {
	const writers = 20
	stop := make(chan struct{})
	results := make(chan *writer, writers)
	for range writers {
		go func() { results <- write(t, w.logs[singapore], korea, stop) }()
	}
	before, err := w.logs[singapore].Last(t.Context(), "CONV_koreacentral_0")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "writers at work", 10*time.Second, func() bool {
		last, err := w.logs[singapore].Last(t.Context(), "CONV_koreacentral_0")
		return err == nil && last > before+200
	})
	type run struct {
		conv  string
		acked []int
		err   error
	}
	runs := make(chan run, writers)
	for range writers {
		go func() {
			x := run{conv: event.NewConversation(korea)}
			x.acked, x.err = piped(t, w.logs[singapore], x.conv, 0, stop)
			runs <- x
		}()
	}
	eventually(t, "pipelines at work", 10*time.Second, func() bool {
		last, err := w.logs[singapore].Last(t.Context(), "CONV_koreacentral_0")
		return err == nil && last > before+2000
	})
	calm := w.logs[singapore].Elections()
	w.kill(korea)
	eventually(t, "a new leader", 20*time.Second, func() bool {
		s := w.stream(singapore, korea)
		return s.Quorum && s.Region != korea
	})
	if now := w.logs[singapore].Elections(); now <= calm {
		t.Errorf("%d elections noticed before the death of a leader, and %d after it", calm, now)
	}
	died, err := w.logs[singapore].Last(t.Context(), "CONV_koreacentral_0")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "writers at work again", 10*time.Second, func() bool {
		last, err := w.logs[singapore].Last(t.Context(), "CONV_koreacentral_0")
		return err == nil && last > died+100
	})
	close(stop)
	acked := 0
	var longest time.Duration
	for range writers {
		x := <-results
		acked += len(x.acked)
		longest = max(longest, x.longest)
		x.check(t, singapore, w.logs[singapore])
		x.check(t, japan, w.logs[japan])
	}
	piped, broken := 0, 0
	for range writers {
		x := <-runs
		piped += len(x.acked)
		if x.err != nil {
			broken++
			if !fault.Is(x.err, fault.Unavailable) && !fault.Is(x.err, fault.Timeout) {
				t.Errorf("a pipeline ended with %v", x.err)
			}
		}
		checkPiped(t, singapore, w.logs[singapore], x.conv, x.acked)
		checkPiped(t, japan, w.logs[japan], x.conv, x.acked)
	}
	t.Logf("%d acknowledged, longest stall %s; in pipelines %d, %d of %d pipelines broke", acked, longest.Round(time.Millisecond), piped, broken, writers)
}

func leasesElsewhere(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	r, err := w.logs[singapore].Append(t.Context(), titled(conv, "work", nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	times := 0
	if err := w.logs[singapore].Leases(ctx, korea, 4, func(x event.Lease) {
		if x.Entry.Seq != r.Seq {
			_ = x.Ack()
			return
		}
		if times++; times == 1 {
			return // this worker dies
		}
		_ = x.Ack()
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	if times != 2 {
		t.Fatalf("the turn was handed out %d times, want 2", times)
	}
	t.Logf("a dead region's turn was taken, and taken again, within %s", time.Since(begin).Round(time.Millisecond))
}

func leaderGoesHome(t *testing.T, w *world) {
	w.cut(korea, up)
	w.start(korea)
	stop := make(chan struct{})
	result := make(chan *writer, 1)
	go func() { result <- write(t, w.logs[singapore], korea, stop) }()
	begin := time.Now()
	w.home(korea)
	t.Logf("at home again after %s", time.Since(begin).Round(time.Millisecond))
	close(stop)
	x := <-result
	t.Logf("%d acknowledged, longest stall %s", len(x.acked), x.longest.Round(time.Millisecond))
	for _, r := range regions() {
		x.check(t, r, w.logs[r])
	}
}

func isolated(t *testing.T, w *world) {
	conv := event.NewConversation(singapore)
	if _, err := w.logs[singapore].Append(t.Context(), titled(conv, "before", nil, 0)); err != nil {
		t.Fatal(err)
	}
	w.cut(singapore, func(s *link.State) { s.Hold = true })
	begin := time.Now()
	_, err := w.logs[singapore].Append(t.Context(), titled(conv, "lonely", nil, 0))
	if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
		t.Errorf("an isolated node's append: %v, want unavailable", err)
	}
	t.Logf("refused after %s: %v", time.Since(begin).Round(time.Millisecond), err)
	eventually(t, "the isolated node says so", 10*time.Second, func() bool {
		return fault.Is(w.logs[singapore].Health(t.Context()), fault.Unavailable)
	})
	t.Log(w.logs[singapore].Health(t.Context()))
	if got := titles(readAll(t, w.logs[singapore], conv, 0)); len(got) != 1 || got[0] != "before" {
		t.Errorf("the isolated node reads %q", got)
	}
	if _, err := w.logs[korea].Append(t.Context(), titled(conv, "meanwhile", nil, 0)); err != nil {
		t.Errorf("the majority: %v", err)
	}
	w.cut(singapore, up)
	w.well(singapore)
	var got []string
	eventually(t, "it has caught up", 20*time.Second, func() bool {
		got = titles(readAll(t, w.logs[singapore], conv, 0))
		return slices.Contains(got, "meanwhile")
	})
	if n := len(got); n > 3 || got[0] != "before" {
		t.Errorf("the log now: %q", got)
	}
	t.Logf("the log now: %q", got)
}

// A leader that is cut off goes on leading, for all it knows, while the others
// have another one. What it has nothing of may be there all the same.
func deposed(t *testing.T, w *world) {
	w.home(singapore)
	w.cut(singapore, func(s *link.State) { s.Hold = true })
	conv := event.NewConversation(singapore)
	begin := time.Now()
	eventually(t, "a new leader", 20*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := w.logs[korea].Append(ctx, titled(conv, "elsewhere", nil, 0))
		return err == nil
	})
	found := 0
	err := w.logs[singapore].Read(t.Context(), conv, 0, func(event.Entry) error { found++; return nil })
	t.Logf("%s after the cut: %v", time.Since(begin).Round(time.Millisecond), err)
	if err == nil && found == 0 {
		t.Error("the deposed leader says that there is no such conversation")
	}
	w.cut(singapore, up)
	w.well(singapore)
	if got := titles(readAll(t, w.logs[singapore], conv, 0)); len(got) == 0 || got[0] != "elsewhere" {
		t.Errorf("read %q", got)
	}
}

// Followers hear of an entry before the replica beside them has it: by much
// when it was asleep. Who reads then must not miss it, for nobody tells it
// again.
func toldThenRead(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	stream := w.logs[singapore].StreamOf(conv)
	r, err := w.logs[korea].Append(t.Context(), titled(conv, "first", nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is in singapore", 10*time.Second, func() bool { return len(readAll(t, w.logs[singapore], conv, 0)) == 1 })
	w.logs[singapore].Told(stream, r.Seq+1)
	if err := w.logs[singapore].Read(t.Context(), conv, 0, func(event.Entry) error { return nil }); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a replica that lacks what followers were told is read: %v", err)
	}
	if _, err := w.logs[korea].Append(t.Context(), titled(conv, "second", nil, 0)); err != nil {
		t.Fatal(err)
	}
	if got := titles(readAll(t, w.logs[singapore], conv, 0)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("read %q", got)
	}
	// A follower that begins behind an entry is as one that was told of it.
	last, err := w.logs[korea].Last(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		_ = w.logs[singapore].Follow(ctx, stream, last+1, func([]event.Entry) error { return nil })
	})
	eventually(t, "a replica that lacks what its follower began behind is not read", 10*time.Second, func() bool {
		return fault.Is(w.logs[singapore].Read(t.Context(), conv, 0, func(event.Entry) error { return nil }), fault.Unavailable)
	})
	cancel()
	following.Wait()
	if _, err := w.logs[korea].Append(t.Context(), titled(conv, "third", nil, 0)); err != nil {
		t.Fatal(err)
	}
	if got := titles(readAll(t, w.logs[singapore], conv, 0)); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("read %q", got)
	}
}

// A node whose copy of a stream gets no further says so, and does not go on
// leading the stream's queue: that would hand out nothing that is new.
func queueLeaves(t *testing.T, w *world) {
	w.home(korea)
	conv := event.NewConversation(korea)
	stream := w.logs[singapore].StreamOf(conv)
	eventually(t, "singapore leads korea's queue", 20*time.Second, func() bool {
		return w.logs[singapore].LeadQueue(t.Context(), stream, singapore) == singapore
	})
	last, err := w.logs[korea].Last(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	w.logs[singapore].Told(stream, last+5)
	eventually(t, "singapore says that its copy is behind", 20*time.Second, func() bool {
		err := w.logs[singapore].Health(t.Context())
		return fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), "behind")
	})
	eventually(t, "the queue is led by who leads the log", 20*time.Second, func() bool {
		return w.logs[singapore].LeadQueue(t.Context(), stream, "") == korea
	})
	for i := range 6 {
		if _, err := w.logs[korea].Append(t.Context(), titled(conv, fmt.Sprint(i), nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	w.well(singapore)
}

func restartAll(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	for i := range 50 {
		if _, err := w.logs[korea].Append(t.Context(), delta(conv, i)); err != nil {
			t.Fatal(err)
		}
	}
	want := readAll(t, w.logs[korea], conv, 0)
	begin := time.Now()
	w.stopAll()
	t.Logf("all down after %s", time.Since(begin).Round(time.Millisecond))
	w.start(regions()...)
	w.well(korea)
	for _, r := range regions() {
		if diff := cmp.Diff(want, readAll(t, w.logs[r], conv, 0)); diff != "" {
			t.Errorf("%s after the restart (-want +got):\n%s", r, diff)
		}
	}
}

func wiped(t *testing.T, w *world) {
	conv := event.NewConversation(korea)
	for i := range 50 {
		if _, err := w.logs[singapore].Append(t.Context(), delta(conv, i)); err != nil {
			t.Fatal(err)
		}
	}
	w.kill(korea)
	if err := os.RemoveAll(filepath.Join(w.dir, korea)); err != nil {
		t.Fatal(err)
	}
	w.cut(korea, up)
	w.start(korea)
	w.home(korea)
	want := readAll(t, w.logs[singapore], conv, 0)
	if len(want) != 50 {
		t.Fatalf("%d entries, want 50", len(want))
	}
	w.cut(korea, down) // what it says now is its own
	if diff := cmp.Diff(want, readAll(t, w.logs[korea], conv, 0)); diff != "" {
		t.Errorf("the wiped node (-want +got):\n%s", diff)
	}
	w.cut(korea, up)
}

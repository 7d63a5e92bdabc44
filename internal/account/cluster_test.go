package account_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/loopback"
)

// regions opens a real log in three regions, and returns how to cut one off.
func regions(t *testing.T, names ...string) (logs map[string]*eventlog.Log, cut func(region string, down bool)) {
	t.Helper()
	dir, addr, links := t.TempDir(), map[string]string{}, map[[2]string]*link.Link{}
	free, err := loopback.Free(len(names))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range names {
		addr[r] = free[i]
	}
	logs = map[string]*eventlog.Log{}
	t.Cleanup(func() {
		for _, l := range links {
			_ = l.Close()
		}
	})
	var mu sync.Mutex
	var work sync.WaitGroup
	for i, r := range names {
		c := &eventlog.Cluster{Listen: addr[r], Advertise: fmt.Sprintf("127.0.0.1:%d", 1+i), Wait: 30 * time.Second}
		for _, to := range names {
			at := addr[to]
			if to != r {
				l, err := link.Open(t.Context(), at, link.State{RoundTrip: 10 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				links[[2]string{r, to}] = l
				at = l.Addr()
			}
			c.Nodes = append(c.Nodes, eventlog.Node{Region: to, Name: to, Address: at})
		}
		work.Go(func() {
			l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: filepath.Join(dir, r), Region: r, Node: r, Cluster: c})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = l.Close() })
			mu.Lock()
			defer mu.Unlock()
			logs[r] = l
		})
	}
	if work.Wait(); t.Failed() {
		t.FailNow()
	}
	return logs, func(region string, down bool) {
		for pair, l := range links {
			if pair[0] == region || pair[1] == region {
				l.Change(func(s *link.State) { s.Down = down })
			}
		}
	}
}

// Eight nodes of three real regions hammer one budget, and one region is cut off
// for a while: not one request too many, and none too few when all is over.
func TestEightNodesOverARealLog(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("needs PARLEY_TEST_REAL=1: three regions of the real log, and some seconds")
	}
	names := []string{"japaneast", "koreacentral", "southeastasia"}
	logs, cut := regions(t, names...)
	const limit = 12_000
	b := account.Budget{Name: "all", For: account.Everyone}
	b.Limits[account.Month][account.Requests] = limit
	var in, apart atomic.Int64 // let in by all; by those who are cut off, while they are
	var alone atomic.Bool
	refused := make([]atomic.Bool, 8) // since all is whole again
	var whole atomic.Bool
	stop := make(chan struct{})
	var work sync.WaitGroup
	var nodes []*account.Service
	for i := range 8 {
		s, err := account.New(account.Options{Values: logs[names[i%3]], Node: fmt.Sprint("n", i), Nodes: 8, Budgets: []account.Budget{b}})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(t.Context())
		nodes = append(nodes, s)
		for range 4 {
			work.Go(func() {
				wait := time.Millisecond
				for {
					select {
					case <-stop:
						return
					case <-time.After(wait):
					}
					c, err := s.Begin(t.Context(), account.Ask{User: "u"})
					switch {
					case err == nil:
						in.Add(1)
						if alone.Load() && i%3 == 2 {
							apart.Add(1)
						}
						c.Settle(lm.Usage{Completion: 1})
						wait = time.Millisecond
					case fault.Is(err, fault.Limited):
						refused[i].Store(whole.Load())
						wait = 100 * time.Millisecond
					case fault.Is(err, fault.Unavailable):
						wait = 100 * time.Millisecond
					default:
						t.Error(err)
						return
					}
				}
			})
		}
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for late := time.Now().Add(40 * time.Second); !done(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s: not within 40 s; %d let in", what, in.Load())
			}
		}
	}
	until("a quarter is spent", func() bool { return in.Load() > limit/4 })
	cut(names[2], true)
	alone.Store(true)
	healed := time.Now().Add(3 * time.Second)
	until("three seconds of a split", func() bool { return time.Now().After(healed) })
	t.Logf("%d let in; in the split two nodes that were cut off let in %d", in.Load(), apart.Load())
	alone.Store(false)
	cut(names[2], false)
	whole.Store(true)
	until("nobody is let in any more", func() bool {
		for i := range refused {
			if !refused[i].Load() {
				return false
			}
		}
		return in.Load() >= limit
	})
	close(stop)
	work.Wait()
	if in.Load() != limit {
		t.Errorf("%d let in of %d", in.Load(), limit)
	}
	for _, s := range nodes {
		s.Stop(t.Context())
	}
	rows, err := nodes[0].Usage(t.Context(), account.Query{From: time.Now().Add(-24 * time.Hour), To: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || rows[0].Requests != in.Load() {
		t.Errorf("the books say %+v, and %d were let in", rows, in.Load())
	}
}

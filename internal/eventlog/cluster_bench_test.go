package eventlog_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/link"
)

// The figures of docs/benchmarks/regions.md, which says how each is run.
func BenchmarkRegions(b *testing.B) {
	w := newWorld(b)
	w.start(regions()...)
	w.home(korea)
	w.home(singapore)
	b.Run("link", benchLink)
	for _, r := range regions() {
		b.Run("append/home=korea/from="+r, func(b *testing.B) { benchAppend(b, w.logs[r], korea) })
	}
	b.Run("append/home=singapore/from="+singapore, func(b *testing.B) { benchAppend(b, w.logs[singapore], singapore) })
	b.Run("seen/from=korea/in=singapore", func(b *testing.B) { benchSeen(b, w) })
	b.Run("read/home=korea/from=korea", func(b *testing.B) { benchRead(b, w.logs[korea]) })
	b.Run("read/home=korea/from=singapore", func(b *testing.B) { benchRead(b, w.logs[singapore]) })
	b.Run("closed/1000", func(b *testing.B) { benchMany(b, w.logs[korea], 1) })
	b.Run("pipelined/1000", func(b *testing.B) { benchMany(b, w.logs[korea], 8) })
	b.Run("failover", func(b *testing.B) { benchFailover(b, w) })
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// The bare link's round trip, Korea to Japan: what no append can beat.
func benchLink(b *testing.B) {
	in, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	l, err := link.Open(b.Context(), in.Addr().String(), link.State{RoundTrip: distance(korea, japan)})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := new(net.Dialer).DialContext(b.Context(), "tcp", l.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var took []time.Duration
	buf := make([]byte, 300)
	for b.Loop() {
		begin := time.Now()
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

func benchAppend(b *testing.B, l *eventlog.Log, home string) {
	conv := event.NewConversation(home)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := l.Append(b.Context(), delta(conv, i)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

// From the call of Append in one region to the entry in another's Follow.
func benchSeen(b *testing.B, w *world) {
	conv := event.NewConversation(korea)
	after, err := w.logs[singapore].Last(b.Context(), "CONV_koreacentral_0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	seen := make(chan int, 1)
	go func() {
		_ = w.logs[singapore].Follow(ctx, "CONV_koreacentral_0", after, func(batch []event.Entry) error {
			for _, e := range batch {
				seen <- e.Event.Delta.Offset
			}
			return nil
		})
	}()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, _, err := w.logs[korea].AppendAsync(delta(conv, i)); err != nil {
			b.Fatal(err)
		}
		if got := <-seen; got != i {
			b.Fatalf("saw %d, want %d", got, i)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

func benchRead(b *testing.B, l *eventlog.Log) {
	conv := event.NewConversation(korea)
	for i := range 100 {
		if _, err := l.Append(b.Context(), delta(conv, i)); err != nil {
			b.Fatal(err)
		}
	}
	var took []time.Duration
	for b.Loop() {
		begin, n := time.Now(), 0
		if err := l.Read(b.Context(), conv, 0, func(event.Entry) error { n++; return nil }); err != nil || n != 100 {
			b.Fatalf("%d entries, %v", n, err)
		}
		took = append(took, time.Since(begin))
	}
	report(b, took)
}

// A thousand conversations, each with so many appends on their way.
func benchMany(b *testing.B, l *eventlog.Log, flight int) {
	const conversations = 1000
	var (
		left  atomic.Int64
		all   sync.WaitGroup
		mu    sync.Mutex
		took  []time.Duration
		begin = time.Now()
	)
	left.Store(int64(b.N))
	for range conversations {
		all.Go(func() {
			type sent struct {
				at   time.Time
				wait func(context.Context) (event.Receipt, error)
			}
			var (
				conv = event.NewConversation(korea)
				mine []time.Duration
				road []sent
			)
			for i := 0; ; i++ {
				more := left.Add(-1) >= 0
				if more {
					_, wait, err := l.AppendAsync(delta(conv, i))
					if err != nil {
						b.Error(err)
						return
					}
					road = append(road, sent{time.Now(), wait})
				}
				for len(road) > 0 && (!more || len(road) == flight) {
					if _, err := road[0].wait(b.Context()); err != nil {
						b.Error(err)
						return
					}
					mine = append(mine, time.Since(road[0].at))
					road = road[1:]
				}
				if !more {
					break
				}
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "appends/s")
	report(b, took)
}

// The leader's region dies under 50 writers of another region: the longest
// time that any of them waited for an append.
func benchFailover(b *testing.B, w *world) {
	var took []time.Duration
	for b.Loop() {
		stop := make(chan struct{})
		stalls := make(chan time.Duration, 50)
		var dead atomic.Bool
		for range cap(stalls) {
			go func() {
				conv, longest, late := event.NewConversation(korea), time.Duration(0), 0
				for i := 0; late < 5; i++ { // five more after the death
					begin := time.Now()
					if _, err := w.logs[singapore].Append(b.Context(), delta(conv, i)); err != nil {
						b.Error(err)
					}
					if longest = max(longest, time.Since(begin)); dead.Load() {
						late++
					}
				}
				<-stop
				stalls <- longest
			}()
		}
		before, err := w.logs[singapore].Last(b.Context(), "CONV_koreacentral_0")
		if err != nil {
			b.Fatal(err)
		}
		eventually(b, "writers at work", 10*time.Second, func() bool {
			last, err := w.logs[singapore].Last(b.Context(), "CONV_koreacentral_0")
			return err == nil && last > before+200
		})
		w.kill(korea)
		dead.Store(true)
		close(stop)
		longest := time.Duration(0)
		for range cap(stalls) {
			longest = max(longest, <-stalls)
		}
		took = append(took, longest)
		w.cut(korea, up)
		w.start(korea)
		w.home(korea)
	}
	report(b, took)
}

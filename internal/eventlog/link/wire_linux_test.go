package link_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/eventlog/link"
)

func wire(t testing.TB) *link.Wire {
	t.Helper()
	w, err := link.OpenWire()
	if err != nil {
		t.Skipf("needs root and /dev/net/tun: %v", err)
	}
	t.Cleanup(w.Close)
	return w
}

func TestWireDistance(t *testing.T) {
	l := over(t, wire(t), echo(t), link.State{RoundTrip: 60 * time.Millisecond})
	c := dial(t, l)
	if took := say(t, c, "connect"); took < 120*time.Millisecond {
		t.Errorf("connected and back in %s, want two round trips of 60ms", took)
	}
	if took := say(t, c, "hello"); took < 60*time.Millisecond {
		t.Errorf("back in %s, want 60ms or more", took)
	}
}

// The kernel sends again what was lost: all arrives, in order, and the end too.
func TestWireLoss(t *testing.T) {
	l := over(t, wire(t), echo(t), link.State{RoundTrip: 10 * time.Millisecond, Loss: 0.05})
	c := dial(t, l)
	said := make([]byte, 1<<20)
	_, _ = rand.Read(said)
	go func() {
		_, _ = c.Write(said)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	heard, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(heard, said) {
		t.Errorf("heard %d of %d bytes, or others: %v", len(heard), len(said), err)
	}
}

func TestWireHold(t *testing.T) {
	l := over(t, wire(t), echo(t), link.State{})
	c := dial(t, l)
	say(t, c, "one")
	for name, hold := range map[string]func(*link.State, bool){
		"both ways": func(s *link.State, on bool) { s.Hold = on },
		"to":        func(s *link.State, on bool) { s.HoldTo = on },
		"back":      func(s *link.State, on bool) { s.HoldBack = on },
	} {
		l.Change(func(s *link.State) { hold(s, true) })
		if _, err := io.WriteString(c, "two"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		b := make([]byte, 3)
		if n, err := c.Read(b); err == nil {
			t.Fatalf("%s: read %d bytes through a wire that holds", name, n)
		}
		l.Change(func(s *link.State) { hold(s, false) })
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "two" {
			t.Errorf("%s: after the hold: %q %v", name, b, err)
		}
	}
}

func TestWireDown(t *testing.T) {
	l := over(t, wire(t), echo(t), link.State{})
	c := dial(t, l)
	say(t, c, "one")
	l.Change(func(s *link.State) { s.Down = true })
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes from a link that was cut: %v", n, err)
	}
	l.Change(func(s *link.State) { s.Down = false })
	say(t, dial(t, l), "two")
}

// How late is what is said over a lossy way, by the link's model of TCP and by
// the kernel's? A hundred connections say a word every 20 ms.
func BenchmarkLoss(b *testing.B) {
	const (
		speakers = 100
		every    = 20 * time.Millisecond
	)
	const roundTrip, loss = 150 * time.Millisecond, 0.01
	for name, via := range map[string]func() *link.Wire{
		"model":  func() *link.Wire { return nil },
		"kernel": func() *link.Wire { return wire(b) },
	} {
		b.Run(name, func(b *testing.B) {
			late := make(chan time.Duration, b.N) // nobody waits
			l := over(b, via(), listener(b, late), link.State{})
			var start []func()
			for i := range speakers {
				c := dial(b, l)
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil { // it is through
					b.Fatal(err)
				}
				start = append(start, func() {
					tick := time.NewTicker(every)
					defer tick.Stop()
					word := make([]byte, 120)
					for range (b.N - i + speakers - 1) / speakers {
						now := <-tick.C
						binary.BigEndian.PutUint64(word, uint64(now.UnixNano()))
						if _, err := c.Write(word); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			l.Change(func(s *link.State) { s.RoundTrip, s.Loss = roundTrip, loss })
			b.ResetTimer()
			var all sync.WaitGroup
			for _, say := range start {
				all.Go(say)
			}
			all.Wait()
			b.StopTimer()
			heard := make([]time.Duration, b.N)
			for i := range heard {
				heard[i] = <-late - roundTrip/2
			}
			slices.Sort(heard)
			for _, q := range []struct {
				name string
				of   float64
			}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"worst", 1}} {
				b.ReportMetric(heard[min(len(heard)-1, int(q.of*float64(len(heard))))].Seconds()*1000, q.name+"-ms")
			}
		})
	}
}

// listener takes stamped words, and says how old each is.
func listener(b *testing.B, late chan<- time.Duration) string {
	b.Helper()
	return server(b, func(c net.Conn) {
		_, _ = c.Write([]byte{0})
		word := make([]byte, 120)
		for {
			if _, err := io.ReadFull(c, word); err != nil {
				return
			}
			late <- time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(word))))
		}
	})
}

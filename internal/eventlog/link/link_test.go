package link_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/eventlog/link"
)

// server does the same with every connection, and closes it.
func server(t testing.TB, each func(net.Conn)) string {
	t.Helper()
	in, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			go func() { each(c); c.Close() }()
		}
	}()
	return in.Addr().String()
}

// echo answers everything with itself.
func echo(t *testing.T) string {
	t.Helper()
	return server(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
}

func open(t *testing.T, s link.State) *link.Link {
	t.Helper()
	return over(t, nil, echo(t), s)
}

func over(t testing.TB, w *link.Wire, to string, s link.State) *link.Link {
	t.Helper()
	l, err := link.Over(t.Context(), w, to, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t testing.TB, l *link.Link) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends a word and returns how long its echo took.
func say(t *testing.T, c net.Conn, word string) time.Duration {
	t.Helper()
	begin := time.Now()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(word))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != word {
		t.Fatalf("echo: %q %v", b, err)
	}
	return time.Since(begin)
}

func TestDistance(t *testing.T) {
	l := open(t, link.State{RoundTrip: 60 * time.Millisecond})
	c := dial(t, l)
	if took := say(t, c, "hello"); took < 60*time.Millisecond {
		t.Errorf("round trip of %s, want 60ms or more", took)
	}
	l.Change(func(s *link.State) { s.RoundTrip = 0 })
	if took := say(t, c, "again"); took > 50*time.Millisecond {
		t.Errorf("round trip of %s on a short link", took)
	}
}

func TestHoldLosesNothing(t *testing.T) {
	l := open(t, link.State{})
	c := dial(t, l)
	say(t, c, "one")
	l.Change(func(s *link.State) { s.Hold = true })
	if _, err := io.WriteString(c, "two"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	b := make([]byte, 3)
	if n, err := c.Read(b); err == nil {
		t.Fatalf("read %d bytes through a link that holds", n)
	}
	l.Change(func(s *link.State) { s.Hold = false })
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "two" {
		t.Errorf("after the hold: %q %v", b, err)
	}
}

func TestDownCutsAndComesBack(t *testing.T) {
	l := open(t, link.State{})
	c := dial(t, l)
	say(t, c, "one")
	l.Change(func(s *link.State) { s.Down = true })
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("read %d bytes from a link that was cut", n)
	}
	if _, err := dial(t, l).Read(make([]byte, 1)); err == nil {
		t.Error("a connection through a link that is down")
	}
	l.Change(func(s *link.State) { s.Down = false })
	say(t, dial(t, l), "two")
}

func TestHoldOneWay(t *testing.T) {
	for name, hold := range map[string]func(*link.State){
		"to the far end": func(s *link.State) { s.HoldTo = true },
		"back":           func(s *link.State) { s.HoldBack = true },
	} {
		t.Run(name, func(t *testing.T) {
			far, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { far.Close() })
			l, err := link.Open(t.Context(), far.Addr().String(), link.State{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			here := dial(t, l)
			there, err := far.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { there.Close() })
			l.Change(hold)
			heard := func(from, by net.Conn) bool {
				if _, err := io.WriteString(from, "x"); err != nil {
					t.Fatal(err)
				}
				_ = by.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				_, err := by.Read(make([]byte, 1))
				return err == nil
			}
			if to := heard(here, there); to != (name == "back") {
				t.Errorf("the far end hears: %v", to)
			}
			if back := heard(there, here); back != (name == "to the far end") {
				t.Errorf("the near end hears: %v", back)
			}
		})
	}
}

func TestLeadElsewhere(t *testing.T) {
	l := open(t, link.State{})
	c := dial(t, l)
	say(t, c, "one")
	first := echo(t)
	l.Lead(first)
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("read %d bytes of a connection to the old end", n)
	}
	say(t, dial(t, l), "two")
}

// TestLoss: what is lost comes late, once, and in order.
func TestLoss(t *testing.T) {
	l := open(t, link.State{RoundTrip: 40 * time.Millisecond, Loss: 0.3})
	c := dial(t, l)
	var slowest time.Duration
	for range 10 {
		slowest = max(slowest, say(t, c, "hello"))
	}
	if slowest < 120*time.Millisecond {
		t.Errorf("of 20 segments none was lost at a loss of three in ten: the slowest round trip took %s", slowest)
	}
	l.Change(func(s *link.State) { s.Loss = 0 })
	if took := say(t, c, "again"); took > 150*time.Millisecond {
		t.Errorf("round trip of %s on a link that loses nothing", took)
	}
}

// Package link is a distance between two nodes on one machine: a TCP proxy
// that delays what passes, holds it back, or cuts it, so that a world of
// regions behaves on a laptop and in a test as it does on a map.
package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// State of a link.
type State struct {
	RoundTrip time.Duration // half of it in each direction
	Jitter    time.Duration // at most so much more, at random, in each direction; order is kept
	// Loss is the share of segments that are lost. TCP sends a lost one again, and
	// what follows waits for it: here always as if nothing followed that tells of
	// the loss, so by the tail loss probe (RFC 8985), and then by its timer. A
	// Wire's packets are lost in earnest.
	Loss     float64
	Down     bool // connections are closed and none is made, as if the other end had died
	Hold     bool // nothing passes and nobody is told, as if a cable were pulled or the other end stopped
	HoldTo   bool // Hold, but only of what goes to the far end
	HoldBack bool // Hold, but only of what comes back
}

// Link forwards connections to one address. Its methods may be called at any
// time from any goroutine.
type Link struct {
	in    net.Listener
	cross func(context.Context) (near, far net.Conn, err error) // nil: the link itself is the distance
	all   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	to      string
	state   State
	changed chan struct{} // closed and renewed when state changes
	conns   map[net.Conn]bool
	closed  bool
}

const (
	segment    = 1448                   // bytes that travel together
	leastProbe = 10 * time.Millisecond  // after which TCP asks whether the last one arrived
	resend     = 200 * time.Millisecond // TCP's least timer, behind a round trip
	chunk      = 32 << 10
	waiting    = 1024 // chunks under way in one direction
)

// Open listens on a free loopback port and forwards to an address.
func Open(ctx context.Context, to string, s State) (*Link, error) {
	return Over(ctx, nil, to, s)
}

// Over is Open over a wire; nil is none.
func Over(ctx context.Context, wire *Wire, to string, s State) (*Link, error) {
	in, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open link: %w", err)
	}
	l := &Link{to: to, in: in, state: s, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	if wire != nil {
		l.cross = wire.lay(l.State)
	}
	l.all.Go(l.accept)
	return l, nil
}

// Addr is where the link begins.
func (l *Link) Addr() string { return l.in.Addr().String() }

// State returns how the link is.
func (l *Link) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Change changes the link from now on; what is under way keeps its delay.
func (l *Link) Change(change func(*State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	close(l.changed)
	l.changed = make(chan struct{})
	if l.state.Down {
		l.hangUp()
	}
}

// Lead ends all connections and lets new ones lead to another address, as when
// what was at the far end is started again elsewhere.
func (l *Link) Lead(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
	l.hangUp()
}

// Close cuts the link for good.
func (l *Link) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.changed)
		l.changed = make(chan struct{})
		l.hangUp()
	}
	l.mu.Unlock()
	err := l.in.Close()
	l.all.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// hangUp closes all connections without a farewell. mu is held.
func (l *Link) hangUp() {
	for c := range l.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what is under way is lost
		}
		c.Close()
		delete(l.conns, c)
	}
}

// keep notes a connection so that it can be cut; false if it must not be.
func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.state.Down {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *Link) drop(c net.Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	c.Close()
}

func (l *Link) accept() {
	for {
		c, err := l.in.Accept()
		if err != nil {
			return
		}
		if !l.keep(c) {
			c.Close()
			continue
		}
		l.all.Go(func() { l.serve(c) })
	}
}

func (l *Link) serve(near net.Conn) {
	defer l.drop(near)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var here, there net.Conn // the ends of the wire
	if l.cross != nil {
		var err error
		if here, there, err = l.cross(ctx); err != nil {
			return
		}
		defer l.drop(here)
		defer l.drop(there)
		if !l.keep(here) || !l.keep(there) {
			return
		}
	}
	l.mu.Lock()
	to := l.to
	l.mu.Unlock()
	far, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer l.drop(far)
	if !l.keep(far) {
		return
	}
	if here == nil {
		done := make(chan struct{}, 2)
		l.all.Go(func() { l.pass(near, far, false); done <- struct{}{} })
		l.all.Go(func() { l.pass(far, near, true); done <- struct{}{} })
		<-done
		return
	}
	var all sync.WaitGroup
	for _, c := range [][2]net.Conn{{near, here}, {there, far}, {far, there}, {here, near}} {
		all.Go(func() { l.carry(c[0], c[1]) })
	}
	all.Wait()
}

// carry takes what comes from one connection to another, and its end too.
func (l *Link) carry(from, to net.Conn) {
	_, err := io.Copy(to, from)
	if end, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = end.CloseWrite()
	}
	if err != nil {
		l.drop(from)
		l.drop(to)
	}
}

type parcel struct {
	data []byte
	due  time.Time
}

// pass carries one direction: read at once, written when it is due.
func (l *Link) pass(from, to net.Conn, back bool) {
	road := make(chan parcel, waiting)
	stop := make(chan struct{})
	l.all.Go(func() {
		defer close(stop)
		for p := range road {
			if !l.wait(p.due, back) {
				return
			}
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	})
	var last time.Time
	for {
		b := make([]byte, chunk)
		n, err := from.Read(b)
		if n > 0 {
			due := time.Now().Add(l.delay(n))
			if due.Before(last) {
				due = last
			}
			last = due
			select {
			case road <- parcel{b[:n], due}:
			case <-stop:
				err = io.EOF
			}
		}
		if err != nil {
			break
		}
	}
	close(road)
	<-stop
	l.drop(from)
	l.drop(to)
}

// delay is how long n bytes take.
func (l *Link) delay(n int) time.Duration {
	s := l.State()
	d := s.RoundTrip / 2
	if s.Jitter > 0 {
		d += rand.N(s.Jitter)
	}
	for range (n + segment - 1) / segment {
		probe, again := max(2*s.RoundTrip, leastProbe), s.RoundTrip+resend
		for try := 0; s.Loss > 0 && rand.Float64() < s.Loss; try++ {
			if try == 0 {
				d += probe
			} else {
				d, again = d+again, 2*again
			}
		}
	}
	return d
}

// wait ends when something is due and nothing holds it; false if the link is
// closed or cut meanwhile.
func (l *Link) wait(due time.Time, back bool) bool {
	for {
		l.mu.Lock()
		s, changed, closed := l.state, l.changed, l.closed
		l.mu.Unlock()
		if closed || s.Down {
			return false
		}
		left := time.Until(due)
		held := s.Hold || s.HoldBack && back || s.HoldTo && !back
		if !held && left <= 0 {
			return true
		}
		if held {
			<-changed
			continue
		}
		time.Sleep(left)
	}
}

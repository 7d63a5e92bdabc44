package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleyhq/parley/internal/fault"
)

const (
	device  = "wire0"
	largest = 1500 // bytes of a packet
	queue   = 4096 // packets under way on a lane in one direction; more are lost, as in a router
)

// The ends' addresses (RFC 5737: for examples, so nobody's) are seen in their
// own namespaces only.
var (
	nearAddr = netip.MustParseAddr("192.0.2.1")
	farAddr  = netip.MustParseAddr("192.0.2.2")
	mask     = netip.MustParseAddr("255.255.255.0")
)

// Wire is a distance that this machine's own TCP has to cover: two network
// namespaces, and packets between them that are delayed, held back and lost.
type Wire struct {
	near, far *end
	done      chan struct{}
	all       sync.WaitGroup

	mu    sync.Mutex
	lanes map[uint16]*lane // by the port of a connection's far end
}

// end is a network namespace whose packets to the other one come out of a file.
type end struct {
	space int // descriptor
	tun   *os.File
}

// lane is the way of one link's packets.
type lane struct {
	state    func() State
	to, back chan packet
}

type packet struct {
	data []byte
	due  time.Time
}

// OpenWire makes the namespaces, which takes root. They are gone when the process
// is.
func OpenWire() (w *Wire, err error) {
	w = &Wire{done: make(chan struct{}), lanes: map[uint16]*lane{}}
	defer func() {
		if err != nil {
			w.Close()
			err = fault.Wrap(err, fault.Unavailable, "the kernel's own TCP over a distance needs root and /dev/net/tun, to make network namespaces")
		}
	}()
	if w.near, err = newEnd(nearAddr); err != nil {
		return nil, err
	}
	if w.far, err = newEnd(farAddr); err != nil {
		return nil, err
	}
	w.all.Go(func() { w.read(w.near.tun, false) })
	w.all.Go(func() { w.read(w.far.tun, true) })
	return w, nil
}

// Close ends all connections over the wire, if there is one.
func (w *Wire) Close() {
	if w == nil {
		return
	}
	close(w.done)
	for _, e := range []*end{w.near, w.far} {
		if e != nil {
			_ = e.tun.Close()
			_ = unix.Close(e.space)
		}
	}
	w.all.Wait()
}

// inThread calls f in a thread of its own, which is not used again: f may take
// it into another namespace.
func inThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func newEnd(addr netip.Addr) (e *end, err error) {
	err = inThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		tun, err := openTun(addr)
		if err != nil {
			return err
		}
		space, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("network namespace: %w", err), tun.Close())
		}
		e = &end{space: space, tun: tun}
		return nil
	})
	return e, err
}

// openTun makes the namespace's only interface. What is routed to it is read
// from the file, packet by packet.
func openTun(addr netip.Addr) (_ *os.File, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(s) }()
	for _, step := range []struct {
		fd  int
		req uint
		set func(*unix.Ifreq) error
	}{
		{fd, unix.TUNSETIFF, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI); return nil }},
		{s, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr.AsSlice()) }},
		{s, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask.AsSlice()) }},
		{s, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(largest); return nil }},
		{s, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(device)
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.req, r)
		}
		if err != nil {
			return nil, fmt.Errorf("set up %s: %w", device, err)
		}
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil // not earlier: the poller would hear of no packet
}

// lay returns what makes connections whose packets go along a lane of their own.
func (w *Wire) lay(state func() State) func(context.Context) (near, far net.Conn, err error) {
	l := &lane{state: state, to: make(chan packet, queue), back: make(chan packet, queue)}
	w.all.Go(func() { w.write(w.far.tun, l.to) })
	w.all.Go(func() { w.write(w.near.tun, l.back) })
	return func(ctx context.Context) (near, far net.Conn, err error) { return w.connect(ctx, l) }
}

// connect makes a connection whose packets go along a lane.
func (w *Wire) connect(ctx context.Context, l *lane) (near, far net.Conn, err error) {
	var in net.Listener
	if err := w.far.inside(func() (err error) {
		in, err = new(net.ListenConfig).Listen(ctx, "tcp4", netip.AddrPortFrom(farAddr, 0).String())
		return err
	}); err != nil {
		return nil, nil, err
	}
	defer in.Close()
	if until, ok := ctx.Deadline(); ok {
		if err := in.(*net.TCPListener).SetDeadline(until); err != nil {
			return nil, nil, err
		}
	}
	w.mu.Lock()
	w.lanes[in.Addr().(*net.TCPAddr).AddrPort().Port()] = l
	w.mu.Unlock()
	if err := w.near.inside(func() (err error) {
		near, err = new(net.Dialer).DialContext(ctx, "tcp4", in.Addr().String())
		return err
	}); err != nil {
		return nil, nil, err
	}
	if far, err = in.Accept(); err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	return near, far, nil
}

// inside calls f in the namespace.
func (e *end) inside(f func() error) error {
	return inThread(func() error {
		if err := unix.Setns(e.space, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// read sends on what one end says, as the lane's state is now.
func (w *Wire) read(tun *os.File, back bool) {
	for {
		b := make([]byte, largest)
		n, err := tun.Read(b)
		if err != nil {
			return
		}
		port, ok := farPort(b[:n], back)
		w.mu.Lock()
		l := w.lanes[port]
		w.mu.Unlock()
		if !ok || l == nil {
			continue
		}
		s := l.state()
		if s.Down || s.Hold || s.HoldTo && !back || s.HoldBack && back || rand.Float64() < s.Loss {
			continue
		}
		delay := s.RoundTrip / 2
		if s.Jitter > 0 {
			delay += rand.N(s.Jitter)
		}
		road := l.to
		if back {
			road = l.back
		}
		select {
		case road <- packet{b[:n], time.Now().Add(delay)}:
		default:
		}
	}
}

// write delivers packets when they are due, in their order.
func (w *Wire) write(tun *os.File, road <-chan packet) {
	for {
		select {
		case p := <-road:
			time.Sleep(time.Until(p.due))
			if _, err := tun.Write(p.data); errors.Is(err, os.ErrClosed) {
				return
			}
		case <-w.done:
			return
		}
	}
}

// farPort is the port of the far end of a packet's connection; false if it is
// no TCP.
func farPort(p []byte, back bool) (uint16, bool) {
	const tcp = 6
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != tcp {
		return 0, false
	}
	ports := int(p[0]&15) * 4
	if !back {
		ports += 2 // the destination's
	}
	if len(p) < ports+2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(p[ports:]), true
}

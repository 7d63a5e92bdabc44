// Package gslb answers DNS queries for the zones of a service with the
// addresses of living regions, as the edge decides. It is authoritative only:
// it asks nobody, and refuses what it is not responsible for. The wire format is
// written and read here; queries never hold more than a question and an OPT
// record.
package gslb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/edge"
)

// Observer counts what is answered. Its methods are called for every query and
// must not block.
type Observer interface {
	// Answered is a response; tcp says over what, stale that no region was
	// known to live.
	Answered(tcp bool, rcode int, truncated, stale bool)
	// Dropped is a packet that got no answer: "malformed" or "limited".
	Dropped(reason string)
}

// Options of a server. Edge, Zones and Listen are required.
type Options struct {
	Edge  *edge.Edge
	Zones []Zone
	// Listen are the addresses, each for UDP and TCP. On a machine with several
	// addresses name them one by one: an answer to a query on ":53" may leave
	// from another address than it came to.
	Listen []string
	// Serial is the zones' serial number; 0 = the time of New. Servers of one
	// zone should agree on it.
	Serial uint32
	// Rate is how many answers a second a network (/24, or /56 of IPv6) may get
	// over UDP. Of what is more every second one is truncated, so that who is
	// honest comes back over TCP, the rest dropped. 0 = 500, negative = no limit.
	Rate     int
	Workers  int           // goroutines for each UDP socket; 0 = one for each processor
	MaxConns int           // of TCP, together; 0 = 256
	Idle     time.Duration // until a quiet TCP connection is closed; 0 = 10 s
	// Seed decides what policies leave to chance; 0 = another one each time.
	Seed     uint64
	Observer Observer
	Logger   *slog.Logger
}

// Server answers DNS.
type Server struct {
	opts    Options
	lg      *slog.Logger
	zones   map[string]*zone
	regions []addresses
	limit   *limiter

	udp  []*net.UDPConn
	tcp  []net.Listener
	conn chan struct{} // a place for each TCP connection
	slip atomic.Uint64

	mu       sync.Mutex // guards conns and stopping
	conns    map[net.Conn]struct{}
	stopping bool
	done     sync.WaitGroup
}

// addresses of a region as data of A and AAAA records.
type addresses struct{ v4, v6 [][]byte }

type noObserver struct{}

func (noObserver) Answered(bool, int, bool, bool) {}
func (noObserver) Dropped(string)                 {}

// New checks the options; the error names all that is wrong with the zones. It
// opens nothing.
func New(opts Options) (*Server, error) {
	if opts.Edge == nil || len(opts.Listen) == 0 {
		return nil, errors.New("gslb: Edge and Listen are required")
	}
	if opts.Serial == 0 {
		opts.Serial = uint32(time.Now().Unix())
	}
	zones, ps := compile(opts.Zones, opts.Edge.HasPolicy, opts.Serial)
	if len(ps) > 0 {
		return nil, fmt.Errorf("gslb: %w", ps)
	}
	if opts.Rate == 0 {
		opts.Rate = 500
	}
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.MaxConns == 0 {
		opts.MaxConns = 256
	}
	if opts.Idle == 0 {
		opts.Idle = 10 * time.Second
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64()
	}
	if opts.Observer == nil {
		opts.Observer = noObserver{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: opts, lg: opts.Logger.With("part", "gslb"), zones: zones,
		limit: newLimiter(opts.Rate, rand.Uint64()),
		conn:  make(chan struct{}, opts.MaxConns), conns: map[net.Conn]struct{}{},
	}
	for _, r := range opts.Edge.Regions() {
		var a addresses
		for _, addr := range r.Addresses {
			if addr.Is4() {
				a.v4 = append(a.v4, addr.AsSlice())
			} else {
				a.v6 = append(a.v6, addr.AsSlice())
			}
		}
		s.regions = append(s.regions, a)
	}
	return s, nil
}

// Start binds all addresses and then answers. With an error nothing is bound.
func (s *Server) Start(ctx context.Context) error {
	for _, addr := range s.opts.Listen {
		u, l, err := bind(ctx, addr)
		if err != nil {
			s.close()
			return fmt.Errorf("gslb: listen on %s: %w", addr, err)
		}
		s.udp, s.tcp = append(s.udp, u), append(s.tcp, l)
	}
	for _, u := range s.udp {
		for i := range s.opts.Workers {
			s.done.Go(func() { s.serveUDP(u, s.opts.Seed+uint64(i)) })
		}
	}
	for _, l := range s.tcp {
		s.done.Go(func() { s.accept(l) })
	}
	return nil
}

// bind takes an address for both protocols. A port that is free for the one may
// not be for the other, so where any will do several are tried.
func bind(ctx context.Context, addr string) (u *net.UDPConn, l net.Listener, err error) {
	var lc net.ListenConfig
	_, port, err := net.SplitHostPort(addr)
	for try := 0; err == nil; try++ {
		var p net.PacketConn
		if p, err = lc.ListenPacket(ctx, "udp", addr); err != nil {
			break
		}
		u = p.(*net.UDPConn)         // that is what "udp" gives
		_ = u.SetReadBuffer(4 << 20) // as much as the system grants: bursts wait there
		if l, err = lc.Listen(ctx, "tcp", u.LocalAddr().String()); err == nil {
			return u, l, nil
		}
		_ = u.Close()
		if port == "0" && try < 10 {
			err = nil
		}
	}
	return nil, nil, err
}

// Addrs returns the addresses that are bound, as in Listen.
func (s *Server) Addrs() []netip.AddrPort {
	var out []netip.AddrPort
	for _, u := range s.udp {
		out = append(out, u.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return out
}

// Stop answers what has been read and returns when all is closed.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stopping = true
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Now()) // the answer under way still goes out
	}
	s.mu.Unlock()
	for _, u := range s.udp {
		_ = u.SetReadDeadline(time.Now())
	}
	for _, l := range s.tcp {
		_ = l.Close()
	}
	s.done.Wait()
	s.close()
}

func (s *Server) close() {
	for _, u := range s.udp {
		_ = u.Close()
	}
	for _, l := range s.tcp {
		_ = l.Close()
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

const longestQuery = 4096 // bytes; a real one has less than 400

func (s *Server) serveUDP(u *net.UDPConn, seed uint64) {
	chance := rand.NewPCG(seed, s.opts.Seed)
	in, out := make([]byte, longestQuery), make([]byte, largestUDP)
	for {
		n, from, err := u.ReadFromUDPAddrPort(in)
		if err != nil {
			if s.isStopping() || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an earlier answer
		}
		allowed := s.limit.allow(from.Addr(), time.Now().UnixNano())
		if !allowed && s.slip.Add(1)%2 == 0 {
			s.opts.Observer.Dropped("limited")
			continue
		}
		if resp := s.answer(in[:n], from.Addr(), chance.Uint64(), out, false, !allowed); resp != nil {
			_, _ = u.WriteToUDPAddrPort(resp, from) // it asks again
		}
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if s.isStopping() || errors.Is(err, net.ErrClosed) {
				return
			}
			s.lg.Warn("accept", "problem", err)
			time.Sleep(50 * time.Millisecond) // out of file descriptors: others must close first
			continue
		}
		select {
		case s.conn <- struct{}{}:
		default:
			_ = c.Close() // too many; UDP still answers
			continue
		}
		s.mu.Lock()
		if s.stopping {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.done.Go(func() { s.serveTCP(c) })
		s.mu.Unlock()
	}
}

func (s *Server) serveTCP(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		<-s.conn
	}()
	from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	in, out := make([]byte, longestQuery), make([]byte, 2+64<<10-1)
	for {
		s.mu.Lock()
		if !s.stopping { // else Stop's deadline must stay
			_ = c.SetDeadline(time.Now().Add(s.opts.Idle))
		}
		s.mu.Unlock()
		if _, err := io.ReadFull(c, in[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(in))
		if n > longestQuery {
			return
		}
		if _, err := io.ReadFull(c, in[:n]); err != nil {
			return
		}
		resp := s.answer(in[:n], from.Addr(), rand.Uint64(), out[2:], true, false)
		if resp == nil {
			return
		}
		binary.BigEndian.PutUint16(out, uint16(len(resp)))
		if _, err := c.Write(out[:2+len(resp)]); err != nil {
			return
		}
	}
}

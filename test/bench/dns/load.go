package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// tally is what a run found.
type tally struct {
	OK, Wrong, Lost int
	Seconds         float64
	P50, P99, P999  float64 // microseconds, from when a query was due; with -rate only
	latency         []float64
}

func (t *tally) add(u tally) {
	t.OK, t.Wrong, t.Lost = t.OK+u.OK, t.Wrong+u.Wrong, t.Lost+u.Lost
	t.latency = append(t.latency, u.latency...)
}

// question makes queries of one kind and judges the answers.
type question struct {
	packet []byte
	vary   func(packet []byte, rnd uint64) // makes each one another
	rcode  byte
}

const zone = "chat.example.com."

func questions() map[string]question {
	return map[string]question{
		"plain":  {packet: pack("api."+zone, nil), vary: func([]byte, uint64) {}},
		"subnet": {packet: pack(zone, []byte{0, 1, 24, 0, 0, 0, 0}), vary: func(p []byte, rnd uint64) { copy(p[len(p)-3:], []byte{10, byte(rnd), byte(rnd >> 8)}) }},
		"absent": {packet: pack("xxxxxxxx."+zone, nil), rcode: 3, vary: func(p []byte, rnd uint64) {
			for i := range 8 {
				p[13+i] = 'a' + byte(rnd>>(4*i))&15
			}
		}},
	}
}

func pack(name string, subnet []byte) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	var opt dnsmessage.OPTResource
	if subnet != nil {
		opt.Options = []dnsmessage.Option{{Code: 8, Data: subnet}}
	}
	var h dnsmessage.ResourceHeader
	var out []byte
	err := errors.Join(
		b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(), h.SetEDNS0(1232, 0, false), b.OPTResource(h, opt),
	)
	if err == nil {
		out, err = b.Finish()
	}
	if err != nil {
		panic(err) // the queries above can be packed
	}
	return out
}

// good says whether an answer is the one that was wanted.
func (q *question) good(p []byte) bool {
	return len(p) > 12 && p[2]&0x86 == 0x84 && p[3]&15 == q.rcode && (p[7] > 0) == (q.rcode == 0)
}

func load(fs *flag.FlagSet, args []string) error {
	addr := fs.String("addr", "127.0.0.1:5300", "the server")
	kind := fs.String("kind", "plain", "of query: plain, subnet or absent")
	secs := fs.Float64("secs", 3, "length of the run")
	window := fs.Int("window", 64, "queries in flight for each of 4 sockets")
	rate := fs.Int("rate", 0, "queries a second on a schedule, from one socket, instead of as many as are answered")
	_ = fs.Parse(args)
	if _, ok := questions()[*kind]; !ok {
		return fmt.Errorf("no kind of query is called %q", *kind)
	}
	var (
		mu  sync.Mutex // guards sum, bad
		sum tally
		bad error
		wg  sync.WaitGroup
	)
	length := time.Duration(*secs * float64(time.Second))
	began := time.Now()
	sockets := 4
	if *rate > 0 {
		sockets = 1
	}
	for range sockets {
		wg.Go(func() {
			t, err := drive(*addr, questions()[*kind], length, *window, *rate)
			mu.Lock()
			defer mu.Unlock()
			sum.add(t)
			bad = errors.Join(bad, err)
		})
	}
	wg.Wait()
	if bad != nil {
		return bad
	}
	sum.Seconds = time.Since(began).Seconds()
	if l := sum.latency; len(l) > 0 {
		slices.Sort(l)
		at := func(q float64) float64 { return l[int(q*float64(len(l)-1))] }
		sum.P50, sum.P99, sum.P999 = at(.5), at(.99), at(.999)
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}

func drive(addr string, q question, length time.Duration, window, rate int) (tally, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return tally{}, err
	}
	defer func() { _ = c.Close() }()
	d := &driver{udp: c.(*net.UDPConn), pc: ipv4.NewPacketConn(c.(*net.UDPConn)), q: q, rnd: rand.NewPCG(rand.Uint64(), 1)}
	for range max(window, 256) {
		d.out = append(d.out, ipv4.Message{Buffers: [][]byte{slices.Clone(q.packet)}})
		d.in = append(d.in, ipv4.Message{Buffers: [][]byte{make([]byte, 2048)}})
	}
	if rate > 0 {
		return d.paced(length, rate)
	}
	return d.full(length, window)
}

// driver loads a server through one socket, many packets to a system call.
type driver struct {
	udp     *net.UDPConn
	pc      *ipv4.PacketConn
	q       question
	rnd     *rand.PCG
	out, in []ipv4.Message
	id      uint16
	due     [1 << 16]time.Time // of what is in flight, by id
	tally   tally
}

// send sends n more queries that were due at the given time.
func (d *driver) send(n int, due time.Time) error {
	for i := range n {
		d.id++
		p := d.out[i].Buffers[0]
		binary.BigEndian.PutUint16(p, d.id)
		d.q.vary(p, d.rnd.Uint64())
		d.due[d.id] = due
	}
	for at := 0; at < n; {
		k, err := d.pc.WriteBatch(d.out[at:n], 0)
		if err != nil {
			return err
		}
		at += k
	}
	return nil
}

// receive takes what has come, or waits until then, and returns how much that
// was.
func (d *driver) receive(until time.Time) (int, error) {
	if err := d.udp.SetReadDeadline(until); err != nil {
		return 0, err
	}
	n, err := d.pc.ReadBatch(d.in, 0)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		return 0, err
	}
	now := time.Now()
	fresh := 0
	for i := range n {
		p := d.in[i].Buffers[0][:d.in[i].N]
		if len(p) < 12 {
			d.tally.Wrong++
			continue
		}
		due := &d.due[binary.BigEndian.Uint16(p)]
		if due.IsZero() {
			continue // given up before
		}
		d.tally.latency = append(d.tally.latency, float64(now.Sub(*due))/1e3)
		*due = time.Time{}
		fresh++
		if d.q.good(p) {
			d.tally.OK++
		} else {
			d.tally.Wrong++
		}
	}
	return fresh, nil
}

// full keeps window queries in flight.
func (d *driver) full(length time.Duration, window int) (tally, error) {
	end := time.Now().Add(length)
	if err := d.send(window, time.Now()); err != nil {
		return d.tally, err
	}
	for time.Now().Before(end) {
		n, err := d.receive(time.Now().Add(200 * time.Millisecond))
		if err != nil {
			return d.tally, err
		}
		d.tally.latency = d.tally.latency[:0] // it only says how long the queue was
		if n == 0 {
			d.tally.Lost += window
			clear(d.due[:])
			n = window
		}
		if err := d.send(n, time.Now()); err != nil {
			return d.tally, err
		}
	}
	return d.tally, nil
}

// paced sends on a schedule, whatever comes back.
func (d *driver) paced(length time.Duration, rate int) (tally, error) {
	began := time.Now()
	gap := time.Second / time.Duration(rate)
	sent := 0
	for total := int(length / gap); sent < total; {
		due := began.Add(time.Duration(sent) * gap)
		if wait := time.Until(due); wait > 0 {
			if _, err := d.receive(due); err != nil {
				return d.tally, err
			}
			continue
		}
		if err := d.send(1, due); err != nil {
			return d.tally, err
		}
		sent++
	}
	for last := time.Now().Add(300 * time.Millisecond); time.Now().Before(last); {
		if _, err := d.receive(last); err != nil {
			return d.tally, err
		}
	}
	d.tally.Lost = sent - d.tally.OK - d.tally.Wrong
	return d.tally, nil
}

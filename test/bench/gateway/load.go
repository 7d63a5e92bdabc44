package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// job is one run of the generator.
type job struct {
	addr   string
	stream bool
	tokens int
	rate   float64 // requests per second on a schedule; 0 = conc in flight
	conc   int
	secs   float64
	over   time.Duration // those in flight begin over so long
	stall  time.Duration

	mu   sync.Mutex // guards idle, out
	idle []*wire
	out  tally
}

// tally is what a run found. Times are in milliseconds and count from when a
// request was due, so that a server can't hide its delay by being late.
type tally struct {
	OK, Failed, Cut int     // Cut: failed as they should when the engine dies; a clean end would be OK
	Chunks, Stalls  int     // a stall is a gap between two chunks that is longer than it should be
	Longest         float64 // gap
	P50, P99        float64
	all             []float64
}

type wire struct {
	nc net.Conn
	br *bufio.Reader
}

func load(fs *flag.FlagSet, args []string) error {
	j := &job{}
	fs.StringVar(&j.addr, "addr", "127.0.0.1:9201", "address under test")
	fs.BoolVar(&j.stream, "stream", false, "ask for streams")
	fs.IntVar(&j.tokens, "tokens", 16, "words in each answer")
	fs.Float64Var(&j.rate, "rate", 0, "requests per second on a fixed schedule")
	fs.IntVar(&j.conc, "conc", 64, "requests in flight, if there is no rate")
	fs.Float64Var(&j.secs, "secs", 3, "how long")
	fs.DurationVar(&j.over, "over", 0, "time over which the first ones begin")
	fs.DurationVar(&j.stall, "stall", 100*time.Millisecond, "a gap that is longer is a stall")
	_ = fs.Parse(args)
	j.run()
	slices.Sort(j.out.all)
	if n := len(j.out.all); n > 0 {
		j.out.P50, j.out.P99 = j.out.all[n/2], j.out.all[n*99/100]
	}
	return json.NewEncoder(os.Stdout).Encode(&j.out)
}

func (j *job) run() {
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(time.Duration(j.secs * float64(time.Second)))
	if j.rate > 0 {
		for i := range int(j.rate * j.secs) {
			due := start.Add(time.Duration(float64(i) / j.rate * float64(time.Second)))
			time.Sleep(time.Until(due))
			wg.Go(func() { j.one(due) })
		}
	} else {
		for i := range j.conc {
			wg.Go(func() {
				time.Sleep(j.over / time.Duration(j.conc) * time.Duration(i))
				for now := time.Now(); now.Before(end); now = time.Now() {
					j.one(now)
				}
			})
		}
	}
	wg.Wait()
}

// one sends a request and judges the answer.
func (j *job) one(due time.Time) {
	c, err := j.get()
	if err != nil {
		j.note(func(t *tally) { t.Failed++ })
		return
	}
	_ = c.nc.SetDeadline(time.Now().Add(30*time.Second + time.Duration(j.secs*float64(time.Second))))
	body := fmt.Sprintf(`{"model":"mock","stream":%v,"max_tokens":%d,"messages":[{"role":"user","content":%q}]}`,
		j.stream, j.tokens, strings.Repeat("The quick brown fox jumps. ", 8))
	_, err = fmt.Fprintf(c.nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", j.addr, benchKey, len(body), body)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(c.br, nil)
	}
	var seen tally
	done := false
	if err == nil {
		done, err = j.read(resp.Body, &seen)
		_ = resp.Body.Close()
	}
	took := time.Since(due)
	ok := err == nil && resp.StatusCode == http.StatusOK && (!j.stream || done)
	if ok {
		j.put(c)
	} else {
		_ = c.nc.Close()
	}
	j.note(func(t *tally) {
		t.Chunks += seen.Chunks
		t.Stalls += seen.Stalls
		t.Longest = max(t.Longest, seen.Longest)
		switch {
		case ok:
			t.OK++
			t.all = append(t.all, took.Seconds()*1000)
		case err != nil && resp != nil:
			t.Cut++
		default:
			t.Failed++
		}
	})
}

// read counts what comes. It reports whether the answer had its end.
func (j *job) read(r io.Reader, t *tally) (done bool, err error) {
	buf := make([]byte, 4096)
	var last time.Time
	for {
		n, err := r.Read(buf)
		if n > 0 {
			now := time.Now()
			if gap := now.Sub(last); !last.IsZero() {
				t.Longest = max(t.Longest, gap.Seconds()*1000)
				if gap > j.stall {
					t.Stalls++
				}
			}
			last = now
			t.Chunks += bytes.Count(buf[:n], []byte("data: "))
			done = done || bytes.Contains(buf[:n], []byte("[DONE]"))
		}
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

func (j *job) note(f func(*tally)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f(&j.out)
}

func (j *job) get() (*wire, error) {
	j.mu.Lock()
	if n := len(j.idle); n > 0 {
		c := j.idle[n-1]
		j.idle = j.idle[:n-1]
		j.mu.Unlock()
		return c, nil
	}
	j.mu.Unlock()
	nc, err := net.DialTimeout("tcp", j.addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &wire{nc, bufio.NewReader(nc)}, nil
}

func (j *job) put(c *wire) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.idle = append(j.idle, c)
}

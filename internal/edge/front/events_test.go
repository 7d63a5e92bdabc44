package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const eventsPath = "/api/v1/conversations/local-1/events"

// entry is the event with an id, as every region has it in its log.
func entry(id int) string {
	return fmt.Sprintf("id: %d\nevent: delta\ndata: {\"n\":%d,\"text\":%q}\n\n", id, id, strings.Repeat("x", id%50))
}

const deleted = "id: 1000000\nevent: deleted\ndata: {}\n\n"

func behind(r *http.Request) int {
	v := r.Header.Get("Last-Event-ID")
	if v == "" {
		v = r.URL.Query().Get("after")
	}
	n, _ := strconv.Atoi(v)
	return n
}

func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	say(w, ": parley\n\n")
}

func say(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text)
	w.(http.Flusher).Flush()
}

// tells serves all events up to n and then deleted.
func tells(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		for id := behind(r) + 1; id <= n; id++ {
			_, _ = io.WriteString(w, entry(id))
		}
		say(w, deleted)
	}
}

// follow opens the stream.
func (r *rig) follow(t *testing.T, headers ...string) *http.Response {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.srv.URL+eventsPath, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// withoutComments is what an EventSource sees of a stream.
func withoutComments(b []byte) string {
	var out strings.Builder
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte(":")) {
			continue
		}
		if string(line) == "\n" && (out.Len() == 0 || strings.HasSuffix(out.String(), "\n\n")) {
			continue
		}
		out.Write(line)
	}
	return out.String()
}

func all(from, to int) string {
	var b strings.Builder
	for id := from; id <= to; id++ {
		b.WriteString(entry(id))
	}
	return b.String() + deleted
}

// TestStreamSurvivesDeaths lets regions die in the middle of events, over and
// over: the client sees each event once, whole and in order.
func TestStreamSurvivesDeaths(t *testing.T) {
	const last = 2000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	cuts := make(chan int, 60) // bytes until a death
	for range 60 {
		cuts <- rnd.IntN(2000)
	}
	close(cuts)
	mortal := func(w http.ResponseWriter, r *http.Request) {
		cut, ok := <-cuts
		if !ok {
			tells(last)(w, r)
			return
		}
		begin(w)
		var text strings.Builder
		for id := behind(r) + 1; id <= last; id++ {
			text.WriteString(entry(id))
		}
		s := text.String()
		say(w, s[:min(cut, len(s))])
		if cut%2 == 0 {
			die(w, r)
		} // else it ends as if that were all: chunks are complete, the event is not
	}
	a, b := newRegion(t), newRegion(t)
	a.answer(mortal)
	b.answer(mortal)
	rig := newRig(t, Options{}, a, b)
	got, err := io.ReadAll(rig.follow(t).Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := all(1, last); withoutComments(got) != want {
		t.Errorf("the client saw\n%s", withoutComments(got))
	}
	if a.got.Load() == 0 || b.got.Load() == 0 || len(cuts) > 0 {
		t.Errorf("a was asked %d times, b %d times, %d deaths are left", a.got.Load(), b.got.Load(), len(cuts))
	}
}

// TestStreamMoves holds one kind of loss after the other against the same
// promise.
func TestStreamMoves(t *testing.T) {
	hold := func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		say(w, entry(behind(r)+1)+"id: 99\nevent: del")
		<-r.Context().Done()
	}
	for _, c := range []struct {
		name string
		opts Options
		a    http.HandlerFunc
		b    http.HandlerFunc
		then func(*rig)
	}{
		{"it goes silent", Options{Silence: 100 * time.Millisecond}, hold, tells(9), nil},
		{"it is taken out", Options{Interval: time.Hour}, hold, tells(9), func(r *rig) { r.alive("b") }},
		{"the other one repeats what was seen", Options{Silence: 100 * time.Millisecond}, hold, func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			say(w, all(1, 9))
		}, nil},
		{"it sends an endless event", Options{}, func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			say(w, entry(behind(r)+1)+"id: 2\n")
			junk := bytes.Repeat([]byte("data: x\n"), 1<<13)
			for r.Context().Err() == nil {
				_, _ = w.Write(junk)
			}
		}, tells(9), nil},
		{"the other one answers garbage at first", Options{Silence: 100 * time.Millisecond}, hold, garbageFirst(tells(9)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newRegion(t), newRegion(t)
			a.answer(c.a)
			b.answer(c.b)
			rig := newRig(t, c.opts, a, b)
			if c.then != nil {
				rig.Start()
				eventually(t, "life", func() bool { return rig.edge.Live(0) && rig.edge.Live(1) })
			}
			resp := rig.follow(t)
			first := make([]byte, len(": parley\n\n"+entry(1)))
			if _, err := io.ReadFull(resp.Body, first); err != nil {
				t.Fatal(err)
			}
			if c.then != nil {
				c.then(rig)
			}
			rest, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := withoutComments(slices.Concat(first, rest)); got != all(1, 9) {
				t.Errorf("the client saw\n%s", got)
			}
		})
	}
}

// garbageFirst answers with a page, an error and a cut before it is well.
func garbageFirst(well http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			fmt.Fprint(w, "<html>hello</html>")
		case 2:
			http.Error(w, "no such conversation yet", http.StatusNotFound)
		case 3:
			die(w, r)
		default:
			well(w, r)
		}
	}
}

func TestStreamPositions(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		begin(w) // and it dies before the first event
		die(w, r)
	})
	b.answer(tells(9))
	rig := newRig(t, Options{}, a, b)
	got, err := io.ReadAll(rig.follow(t, "Last-Event-ID", "6").Body)
	if err != nil || withoutComments(got) != all(7, 9) {
		t.Errorf("%v, the client saw\n%s", err, got)
	}
}

func TestStreamRefused(t *testing.T) {
	a := newRegion(t)
	a.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not yours", http.StatusNotFound) })
	rig := newRig(t, Options{}, a)
	if status, _, body := rig.send(t, "GET", eventsPath, ""); status != 404 || body != "not yours\n" {
		t.Errorf("%d %q", status, body)
	}
}

func TestStreamWithoutAnyRegion(t *testing.T) {
	a := newRegion(t)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		if behind(r) > 0 {
			die(w, r)
		}
		begin(w)
		say(w, entry(1))
	})
	rig := newRig(t, Options{Reattach: 300 * time.Millisecond, Beat: 50 * time.Millisecond}, a)
	got, err := io.ReadAll(rig.follow(t).Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("it ended with %v: that must not look like the stream's end", err)
	}
	if withoutComments(got) != entry(1) || strings.Count(string(got), "moving") < 3 {
		t.Errorf("the client saw\n%s", got)
	}
}

func TestStreamEndsWithTheEdge(t *testing.T) {
	a := newRegion(t)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		<-r.Context().Done()
	})
	rig := newRig(t, Options{}, a)
	resp := rig.follow(t)
	rig.Stop()
	if b, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestSlowReader has one client that takes nothing beside one that does.
func TestSlowReader(t *testing.T) {
	a := newRegion(t)
	gone := make(chan struct{}, 2)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		defer func() { gone <- struct{}{} }()
		for id := 1; r.Context().Err() == nil && id < 4000; id++ {
			if _, err := io.WriteString(w, fmt.Sprintf("id: %d\ndata: %s\n\n", id, strings.Repeat("x", 16<<10))); err != nil {
				return
			}
		}
		say(w, deleted)
	})
	rig := newRig(t, Options{Stall: 150 * time.Millisecond}, a)
	slow, err := net.Dial("tcp", rig.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", eventsPath)
	if _, err := bufio.NewReaderSize(slow, 16).ReadByte(); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, rig.follow(t).Body)
	if err != nil || n < 3999*16<<10 {
		t.Errorf("the quick reader got %d bytes, %v", n, err)
	}
	<-gone
	select {
	case <-gone: // the slow one was cut, and its region knows
	case <-time.After(5 * time.Second):
		t.Error("the slow reader holds its region's stream for ever")
	}
}

// FuzzEvents cuts a stream into arbitrary pieces: what is handed on must not
// depend on them, must be whole events, and ids must grow.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(": parley\n\nid: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 2\ndata: b\n\nid: 3\nda"), uint8(3))
	f.Add([]byte("id: 1\r\ndata: a\r\n\r\nid:2\r\n\r\n"), uint8(1))
	f.Add([]byte("\n\n\nid\nid:\nid: x\n\nevent: deleted\n\nid: 9\n\n"), uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		feed := func(size int) string {
			var e events
			var out []byte
			for rest := stream; len(rest) > 0; {
				n := min(size, len(rest))
				e.in = append(e.in, rest[:n]...)
				rest = rest[n:]
				e.split()
				out = append(out, e.ready...)
				e.ready = nil
			}
			return string(out)
		}
		got := feed(len(stream) + 1)
		if pieces := feed(int(piece)%16 + 1); got != pieces {
			t.Fatalf("in pieces %q, else %q", pieces, got)
		}
		if got != "" && !strings.HasSuffix(got, "\n") {
			t.Fatalf("not whole: %q", got)
		}
		// Handed on once more it says nothing new: each id was there once.
		var again events
		again.in = []byte(got)
		again.split()
		if string(again.ready) != got {
			t.Fatalf("%q, of which %q is new", got, again.ready)
		}
	})
}

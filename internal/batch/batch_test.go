package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

const chat = "/v1/chat/completions"

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// mortal is the log as a node has it that may die: then nothing reaches it any
// more, and nobody hears what became of the last write.
type mortal struct {
	Log
	dead atomic.Bool
}

var errDead = fault.New(fault.Unavailable, "this node is dead")

func (m *mortal) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if m.dead.Load() {
		return nil, 0, errDead
	}
	return m.Log.Load(ctx, key)
}

func (m *mortal) List(ctx context.Context, below string) ([]string, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Log.List(ctx, below)
}

func (m *mortal) write(do func() error) error {
	if m.dead.Load() {
		return errDead
	}
	if err := do(); err != nil || !m.dead.Load() {
		return err
	}
	return errDead
}

func (m *mortal) Create(ctx context.Context, key string, v []byte) error {
	return m.write(func() error { return m.Log.Create(ctx, key, v) })
}

func (m *mortal) Replace(ctx context.Context, key string, v []byte, rev uint64) error {
	return m.write(func() error { return m.Log.Replace(ctx, key, v, rev) })
}

func (m *mortal) Remove(ctx context.Context, key string) error {
	return m.write(func() error { return m.Log.Remove(ctx, key) })
}

func (m *mortal) PutRecord(ctx context.Context, space, set, name string, b []byte) error {
	return m.write(func() error { return m.Log.PutRecord(ctx, space, set, name, b) })
}

// echo answers with the request's text.
func echo(_ context.Context, _ string, body []byte) Answer {
	return Answer{Status: 200, Body: body, Asked: true}
}

func start(t *testing.T, log Log, node string, answer func(context.Context, string, []byte) Answer, more ...func(*Options)) *Service {
	t.Helper()
	owned := func(ctx context.Context, owner, endpoint string, body []byte) Answer {
		if owner == "" {
			t.Error("a line without an owner is answered")
		}
		return answer(ctx, endpoint, body)
	}
	o := Options{Log: log, Node: node, Answer: owned, Lease: 300 * time.Millisecond, Again: time.Millisecond}
	for _, f := range more {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start(t.Context())
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s
}

func input(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"custom_id":"line-%d","method":"POST","url":"%s","body":{"n":%d}}`+"\n", i, chat, i)
	}
	return b.Bytes()
}

func begin(t *testing.T, s *Service, content []byte) Batch {
	t.Helper()
	f, err := s.Upload(t.Context(), "alice", "", "in.jsonl", content)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Create(t.Context(), "alice", "", Order{Endpoint: chat, Input: f.ID, Window: "24h"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits for something to be true of a batch.
func until(t *testing.T, s *Service, id string, what func(Batch) bool) Batch {
	t.Helper()
	var b Batch
	for range 3000 {
		var err error
		if b, err = s.Get(t.Context(), "alice", id); err == nil && what(b) {
			return b
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("it does not come to that: %+v", b)
	return b
}

func over(b Batch) bool { return b.Status.Final() }

// read returns a file's lines by their custom_id; one that is there twice is an
// error.
func read(t *testing.T, s *Service, id string) map[string]outLine {
	t.Helper()
	if id == "" {
		return nil
	}
	var b bytes.Buffer
	var said File
	if err := s.Content(t.Context(), "alice", id, func(f File) { said = f }, func(p []byte) error { b.Write(p); return nil }); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != said.Bytes {
		t.Errorf("%s has %d bytes and says %d", id, b.Len(), said.Bytes)
	}
	out := map[string]outLine{}
	for d := json.NewDecoder(&b); ; {
		var l outLine
		err := d.Decode(&l)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("?", len(out))
		if l.Custom != nil {
			name = *l.Custom
		}
		if _, twice := out[name]; twice && l.Error != nil {
			name = fmt.Sprint(name, " in line ", l.Error.Line)
		} else if twice {
			t.Errorf("%s is there twice", name)
		}
		out[name] = l
	}
}

// Three nodes die one after another in the middle of a batch, and one comes back
// without having died: each line is in the output, once, with its own answer.
func TestEachLineOnceWhoeverDies(t *testing.T) {
	const lines = 400
	log := openLog(t)
	var asked sync.Map // line: how often
	var nobody atomic.Bool
	answer := func(dead *atomic.Bool) func(context.Context, string, []byte) Answer {
		return func(ctx context.Context, _ string, body []byte) Answer {
			n, _ := asked.LoadOrStore(string(body), new(atomic.Int64))
			if !dead.Load() {
				n.(*atomic.Int64).Add(1)
			}
			select {
			case <-time.After(4 * time.Millisecond):
			case <-ctx.Done():
				return Answer{Status: 499}
			}
			return Answer{Status: 200, Body: body, Asked: true}
		}
	}
	eight := func(o *Options) { o.Parallel = 8 }
	var id string
	for i, upto := range []int{60, 160, 260} {
		m := &mortal{Log: log}
		s := start(t, m, fmt.Sprint("node-", i), answer(&m.dead), eight)
		if i == 0 {
			id = begin(t, s, input(lines)).ID
		}
		until(t, s, id, func(b Batch) bool { return b.Counts.Completed >= upto })
		m.dead.Store(true)
		if i == 1 { // it only seemed dead
			go func() {
				<-time.After(500 * time.Millisecond)
				m.dead.Store(false)
			}()
		}
	}
	last := start(t, log, "node-3", answer(&nobody), eight)
	b := until(t, last, id, over)
	if b.Status != Completed || b.Counts != (Counts{lines, lines, 0}) || b.ErrorFile != "" {
		t.Errorf("%+v", b)
	}
	out := read(t, last, b.Output)
	for i := range lines {
		l := out[fmt.Sprint("line-", i)]
		if l.Response == nil || string(l.Response.Body) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	most, again := int64(0), 0
	asked.Range(func(_, n any) bool {
		if k := n.(*atomic.Int64).Load(); k > 1 {
			again++
			most = max(most, k)
		}
		return true
	})
	t.Logf("%d of %d lines were asked more than once, at most %d times", again, lines, most)
	if again > 100 {
		t.Errorf("%d lines were asked again: what is done is not read", again)
	}
}

// A node that stops gives its batches back at once.
func TestStopHandsOver(t *testing.T) {
	log := openLog(t)
	slow := func(ctx context.Context, e string, body []byte) Answer {
		<-time.After(5 * time.Millisecond)
		return echo(ctx, e, body)
	}
	long := func(o *Options) { o.Lease, o.Parallel = time.Minute, 4 }
	one := start(t, log, "one", slow, long)
	b := begin(t, one, input(200))
	until(t, one, b.ID, func(b Batch) bool { return b.Counts.Completed > 10 })
	one.Stop(t.Context())
	two := start(t, log, "two", slow, long) // whose lease would be over in a minute
	if b = until(t, two, b.ID, over); b.Counts.Completed != 200 {
		t.Errorf("%+v", b)
	}
}

// Of more batches than may run, those begin that were ordered first, whatever
// their names.
func TestOldestFirst(t *testing.T) {
	log := openLog(t)
	s, err := New(Options{Log: log, Node: "one", Lease: time.Minute, Answer: func(ctx context.Context, _, _ string, _ []byte) Answer {
		<-ctx.Done()
		return Answer{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Upload(t.Context(), "alice", "", "in.jsonl", input(1))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	var want []string
	for i := range 4 * mostRunsOwner {
		j := job{Owner: "alice", Batch: Batch{
			ID: newID(batchPrefix, "alice", ""), Object: "batch", Endpoint: chat, Input: f.ID, Window: "24h", Status: Validating,
			Created: now - int64(i), Expires: now + 3600,
		}}
		if err := create(t.Context(), log, under(openKeys, "alice")+"."+j.ID, j); err != nil {
			t.Fatal(err)
		}
		want = append(want, j.ID)
	}
	want = want[len(want)-mostRunsOwner:]
	ctx, cancel := context.WithCancel(t.Context())
	defer s.all.Wait()
	defer cancel()
	if _, err := s.look(ctx); err != nil {
		t.Fatal(err)
	}
	var got []string
	s.mu.Lock()
	for key := range s.runs {
		got = append(got, nameOf(key))
	}
	s.mu.Unlock()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it works on %q, and those were first: %q", got, want)
	}
}

func TestBrokenLines(t *testing.T) {
	good := `{"custom_id":"%s","method":"POST","url":"` + chat + `","body":{"a":1}}`
	line := func(id string) string { return fmt.Sprintf(good, id) }
	for _, tc := range []struct {
		name, input string
		want        map[int]string // code by line
	}{
		{"sound", "\ufeff" + line("a") + "\r\n\n" + line("b"), nil},
		{"no JSON", line("a") + "\n{oops\n" + line("b") + "\n\"x\"\n[]\n7\nnull", map[int]string{2: "invalid_json_line", 4: "invalid_json_line", 5: "invalid_json_line", 6: "invalid_json_line", 7: "missing_required_parameter"}},
		{"cut", line("a") + "\n" + line("b")[:40], map[int]string{2: "invalid_json_line"}},
		{"twice", line("a") + "\n" + line("b") + "\n" + line("a"), map[int]string{3: "duplicate_custom_id"}},
		{"no UTF-8", line("a\xff"), map[int]string{1: "invalid_encoding"}},
		{"no custom_id", `{"method":"POST","url":"` + chat + `","body":{}}`, map[int]string{1: "missing_required_parameter"}},
		{"long custom_id", line(strings.Repeat("x", 600)), map[int]string{1: "invalid_value"}},
		{"numbers", strings.Replace(line("a"), `"a"`, "7", 1), map[int]string{1: "invalid_type"}},
		{"method", strings.Replace(line("a"), "POST", "GET", 1), map[int]string{1: "invalid_method"}},
		{"url", strings.Replace(line("a"), chat, "/v1/embeddings", 1), map[int]string{1: "mismatched_endpoint"}},
		{"no body", strings.Replace(line("a"), `,"body":{"a":1}`, "", 1), map[int]string{1: "missing_required_parameter"}},
		{"body", strings.Replace(line("a"), `{"a":1}`, `"x"`, 1), map[int]string{1: "invalid_type"}},
		{"stream", strings.Replace(line("a"), `"a":1`, `"stream":true`, 1), map[int]string{1: "invalid_value"}},
		{"nothing", "\n \n", map[int]string{0: "empty_file"}},
		{"too many", strings.Repeat(line("a")+"\n", 12), map[int]string{2: "duplicate_custom_id", 3: "duplicate_custom_id", 4: "duplicate_custom_id", 5: "duplicate_custom_id", 6: "duplicate_custom_id", 7: "duplicate_custom_id", 8: "duplicate_custom_id", 9: "duplicate_custom_id", 10: "duplicate_custom_id", 11: "too_many_tasks"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := atomic.Int64{}
			s := start(t, openLog(t), "n", func(ctx context.Context, e string, b []byte) Answer {
				asked.Add(1)
				return echo(ctx, e, b)
			}, func(o *Options) { o.Lines = 10 })
			b := until(t, s, begin(t, s, []byte(tc.input)).ID, over)
			if tc.want == nil {
				if b.Status != Completed || b.Counts.Completed != 2 {
					t.Errorf("%+v", b)
				}
				return
			}
			got := map[int]string{}
			if b.Errors != nil {
				for _, p := range b.Errors.Data {
					got[p.Line] = p.Code
				}
			}
			if b.Status != Failed || !maps.Equal(got, tc.want) || asked.Load() != 0 {
				t.Errorf("status %s, %d lines asked, problems %v, want %v", b.Status, asked.Load(), got, tc.want)
			}
			if n := len(read(t, s, b.ErrorFile)); n != len(tc.want) {
				t.Errorf("the error file has %d lines, want %d", n, len(tc.want))
			}
		})
	}
}

// What may pass is asked again; what will not is written down as it was
// answered.
func TestAnswersThatAreNone(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	s := start(t, openLog(t), "n", func(_ context.Context, _ string, body []byte) Answer {
		var in struct{ N int }
		_ = json.Unmarshal(body, &in)
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint("line-", in.N)
		seen[key]++
		switch {
		case in.N == 0: // its engine falls over each time
			return Answer{Status: 500, Body: []byte(`{"error":"ow"}`), Asked: true}
		case in.N == 1: // no engine is there for a while
			if seen[key] < 10 {
				return Answer{Status: 503, Body: []byte(`{}`)}
			}
		case in.N == 2:
			if seen[key] < 10 {
				return Answer{Status: 429, Body: []byte(`{}`), Asked: true}
			}
		case in.N == 3:
			return Answer{Status: 400, Body: []byte("{\n \"error\": \"no\"\n}"), Asked: true}
		case in.N == 4:
			return Answer{Status: 200, Body: []byte("<html>"), Asked: true}
		case in.N == 5:
			return Answer{Status: 200, Body: []byte(`"` + strings.Repeat("x", 5<<20) + `"`), Asked: true}
		}
		return Answer{Status: 200, Body: body, Asked: true}
	})
	b := until(t, s, begin(t, s, input(7)).ID, over)
	if b.Counts != (Counts{7, 4, 3}) {
		t.Errorf("%+v", b)
	}
	good, bad := read(t, s, b.Output), read(t, s, b.ErrorFile)
	if got, want := slices.Sorted(maps.Keys(bad)), []string{"line-0", "line-3", "line-5"}; !slices.Equal(got, want) {
		t.Errorf("not answered: %v, want %v", got, want)
	}
	if l := bad["line-3"]; l.Response == nil || l.Response.Status != 400 || string(l.Response.Body) != `{"error":"no"}` {
		t.Errorf("a refusal: %+v", l.Response)
	}
	if l := bad["line-5"]; l.Error == nil || l.Error.Code != "answer_too_large" || l.Error.Line != 6 {
		t.Errorf("an answer that is too large: %+v", l.Error)
	}
	if seen["line-0"] != mostTries || seen["line-1"] != 10 || seen["line-2"] != 10 || len(good) != 4 {
		t.Errorf("asked %v, answered %d", seen, len(good))
	}
}

func TestCancelAndExpire(t *testing.T) {
	for _, tc := range []struct {
		name, code string
		end        Status
	}{{"cancelled", "batch_cancelled", Cancelled}, {"expired", "batch_expired", Expired}} {
		t.Run(tc.name, func(t *testing.T) {
			log := openLog(t)
			s := start(t, log, "n", func(ctx context.Context, e string, body []byte) Answer {
				var in struct{ N int }
				_ = json.Unmarshal(body, &in)
				if in.N >= 5 {
					<-ctx.Done()
					return Answer{Status: 499}
				}
				return echo(ctx, e, body)
			})
			f, err := s.Upload(t.Context(), "alice", "", "in.jsonl", input(20))
			if err != nil {
				t.Fatal(err)
			}
			b := Batch{ID: newID(batchPrefix, "alice", ""), Object: "batch", Endpoint: chat, Input: f.ID, Window: "24h", Status: Validating, Created: time.Now().Unix(), Expires: time.Now().Unix() + 2}
			if tc.end == Cancelled {
				b.Expires += 86400
			}
			if err := create(t.Context(), log, under(openKeys, "alice")+"."+b.ID, job{Batch: b, Owner: "alice"}); err != nil {
				t.Fatal(err)
			}
			s.nudge()
			until(t, s, b.ID, func(b Batch) bool { return b.Counts.Completed == 5 })
			if tc.end == Cancelled {
				if b, err := s.Cancel(t.Context(), "alice", b.ID); err != nil || b.Status != Cancelling {
					t.Errorf("%+v %v", b, err)
				}
			}
			b = until(t, s, b.ID, over)
			bad := read(t, s, b.ErrorFile)
			if b.Status != tc.end || b.Counts != (Counts{20, 5, 15}) || len(read(t, s, b.Output)) != 5 || len(bad) != 15 {
				t.Errorf("%+v", b)
			}
			if e := bad["line-7"].Error; e == nil || e.Code != tc.code || e.Line != 8 {
				t.Errorf("a line that was not answered: %+v", e)
			}
			if _, err := s.Cancel(t.Context(), "alice", b.ID); !fault.Is(err, fault.Conflict) {
				t.Errorf("cancelled once more: %v", err)
			}
		})
	}
}

func TestFilesGo(t *testing.T) {
	log := openLog(t)
	s := start(t, log, "n", echo)
	b := until(t, s, begin(t, s, input(3)).ID, over)
	if all, err := s.Files(t.Context(), "alice"); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, id := range []string{b.Input, b.Output} {
		if _, err := s.File(t.Context(), "bob", id); !fault.Is(err, fault.NotFound) {
			t.Errorf("somebody else reads %s: %v", id, err)
		}
		if err := s.Delete(t.Context(), "alice", id); err != nil {
			t.Error(err)
		}
	}
	left := func() (n int) {
		keys, err := log.List(t.Context(), trashKeys)
		if err != nil {
			t.Fatal(err)
		}
		_ = log.Records(t.Context(), spaceOf(b.ID), lineSet, func(string, []byte) error { n++; return nil })
		if has, _ := log.HasFile(t.Context(), spaceOf(b.Input), inputSet); has {
			n++
		}
		return n + len(keys)
	}
	for range 1000 {
		if left() == 0 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if n := left(); n > 0 {
		t.Errorf("%d things are left of what was deleted", n)
	}
	if got, err := s.Get(t.Context(), "alice", b.ID); err != nil || got.Status != Completed {
		t.Errorf("the batch itself: %+v %v", got, err)
	}
}

// The next place is the one's who has the fewest.
func TestGateIsFair(t *testing.T) {
	g := newGate(3)
	ctx := t.Context()
	for range 3 {
		if err := g.enter(ctx, "greedy", "g1"); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	wait := func(owner, batch string) {
		before := len(g.queue())
		all.Go(func() {
			if g.enter(ctx, owner, batch) == nil {
				mu.Lock()
				order = append(order, batch)
				mu.Unlock()
			}
		})
		for len(g.queue()) == before {
			<-time.After(time.Millisecond)
		}
	}
	wait("greedy", "g1")
	wait("greedy", "g2")
	wait("modest", "m1")
	for i, batch := range []string{"m1", "g2", "g1"} {
		g.leave("greedy", "g1")
		for mu.Lock(); len(order) <= i; mu.Lock() {
			mu.Unlock()
			<-time.After(time.Millisecond)
		}
		if order[i] != batch {
			t.Errorf("place %d went to %s, want %s", i, order[i], batch)
		}
		mu.Unlock()
	}
	all.Wait()
	given, stop := context.WithCancel(ctx)
	stop()
	if g.enter(given, "x", "y") == nil && g.free < 0 {
		t.Error("who has gone has a place")
	}
}

func (g *gate) queue() []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.waiting)
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{string(input(1)), `{"custom_id":"a"}`, `{"custom_id":7,"body":[]}`, "null", "\xff", `{"body":{"stream":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, p := check(chat, raw)
		if p == nil && (l.Custom == "" || l.URL != chat || !json.Valid(l.Body)) {
			t.Errorf("taken as sound: %q", raw)
		}
		rec := refused(Batch{ID: "batch_x"}, 1, l.Custom, "x", "y")
		if !json.Valid(rec[1:]) || bytes.ContainsRune(rec, '\n') {
			t.Errorf("a record that is no line: %q", rec)
		}
	})
}

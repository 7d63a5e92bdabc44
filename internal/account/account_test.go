package account

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// log is a replicated log as nodes see it: each by a way of its own, which can
// be cut. It takes its time, and of some writes nobody hears what became of
// them.
type log struct {
	mu     sync.Mutex
	values map[string]string
	revs   map[string]uint64
	rev    uint64
	random *rand.Rand
	doubt  float64 // of writes whose answer is lost
	writes int
}

func newLog(seed uint64) *log {
	return &log{values: map[string]string{}, revs: map[string]uint64{}, random: rand.New(rand.NewPCG(seed, 1))}
}

// way is one node's.
type way struct {
	*log
	mu  sync.Mutex
	cut bool
}

var errCut = fault.New(fault.Unavailable, "no majority can be reached")

func (w *way) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

// pass is the way to the leader: long, or closed.
func (w *way) pass(ctx context.Context) error {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	if cut {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
			return errCut
		}
	}
	w.log.mu.Lock()
	d := time.Duration(1+w.random.IntN(20)) * time.Millisecond
	w.log.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *way) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := w.pass(ctx); err != nil {
		return nil, 0, err
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	v, ok := w.values[key]
	if !ok {
		return nil, 0, fault.New(fault.NotFound, "no value %q", key)
	}
	return []byte(v), w.revs[key], nil
}

func (w *way) Create(ctx context.Context, key string, value []byte) error {
	return w.Replace(ctx, key, value, 0)
}

func (w *way) Replace(ctx context.Context, key string, value []byte, revision uint64) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	w.log.mu.Lock()
	lost, late, after := w.random.Float64() < w.doubt, w.random.IntN(2) == 0, time.Duration(w.random.IntN(7))*time.Second
	w.log.mu.Unlock()
	if lost && late { // it arrives when nobody waits for it any more
		go func() {
			time.Sleep(after)
			_ = w.write(key, value, revision)
		}()
		return fault.New(fault.Timeout, "no answer")
	}
	err := w.write(key, value, revision)
	if lost {
		return fault.New(fault.Timeout, "no answer")
	}
	return err
}

func (w *way) write(key string, value []byte, revision uint64) error {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.writes++
	if w.revs[key] != revision {
		return fault.New(fault.Conflict, "%q was written by somebody else", key)
	}
	w.rev++
	w.values[key], w.revs[key] = string(value), w.rev
	return nil
}

func (w *way) Remove(ctx context.Context, key string) error {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	delete(w.values, key)
	delete(w.revs, key)
	return nil
}

func (w *way) List(ctx context.Context, below string) (out []string, err error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for key := range w.values {
		if strings.HasPrefix(key, below+".") {
			out = append(out, key)
		}
	}
	return out, nil
}

func service(t *testing.T, values Values, node string, o Options) *Service {
	t.Helper()
	o.Values, o.Node = values, node
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// given is what a ledger says is held of each window.
func (l *log) given(t *testing.T, b *Budget, subject string) (out [spans]Amounts) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	x, err := readLedger([]byte(l.values[newPurse(&Service{}, b, subject).key]))
	if err != nil {
		t.Fatal(err)
	}
	for s, w := range x.Windows {
		out[s] = w.given()
	}
	return out
}

// Eight nodes may not let in one request more than a small budget has, and let
// in all that it has, whoever asks.
func TestSmallBudgetIsExact(t *testing.T) {
	for _, limit := range []int64{1, 3, 17, 200} {
		synctest.Test(t, func(t *testing.T) {
			l := newLog(uint64(limit))
			b := Budget{Name: "all", For: Everyone}
			b.Limits[Minute][Requests] = limit
			nodes := make([]*Service, 8)
			for i := range nodes {
				nodes[i] = service(t, &way{log: l}, fmt.Sprint("n", i), Options{Nodes: 8, Budgets: []Budget{b}})
			}
			in := make([]int64, len(nodes))
			var work sync.WaitGroup
			until := time.Now().Truncate(time.Minute).Add(time.Minute)
			for i, s := range nodes {
				work.Go(func() {
					for time.Until(until) > 5*time.Second {
						c, err := s.Begin(t.Context(), Ask{User: "u"})
						if err == nil {
							c.Settle(lm.Usage{Completion: 1})
							in[i]++
							continue
						}
						if !fault.Is(err, fault.Limited) {
							t.Error(err)
						}
						if after := fault.RetryAfterOf(err); after <= 0 || after > time.Minute {
							t.Errorf("come back in %v", after)
						}
						time.Sleep(700 * time.Millisecond)
					}
				})
			}
			work.Wait()
			sum := int64(0)
			for _, n := range in {
				sum += n
			}
			if sum != limit {
				t.Errorf("%d let in of %d: by node %v", sum, limit, in)
			}
			time.Sleep(time.Until(until))
			c, err := nodes[0].Begin(t.Context(), Ask{User: "u"})
			if err != nil {
				t.Fatalf("in the next minute: %v", err)
			}
			c.Cancel()
			for _, s := range nodes {
				s.Start(t.Context())
				s.Stop(t.Context())
			}
		})
	}
}

// Eight nodes hammer one budget. Three of them are cut off for a while, and the
// answers to some writes are lost. Nobody spends what it does not hold, what is
// held is never more than the limit, and in the end the ledger says what the
// books say.
func TestEightNodesAndASplit(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) { eightNodes(t, seed) })
	}
}

func eightNodes(t *testing.T, seed uint64) {
	l := newLog(seed)
	b := Budget{Name: "all", For: Everyone}
	b.Limits[Day] = Amounts{0, 60_000, 9 * Unit}
	b.Limits[Month] = Amounts{0, 0, 50 * Unit}
	prices := Prices{{Model: "*", Input: 100 * Unit, Output: 200 * Unit}}
	const cutAt, healAt, end = 4 * time.Second, 25 * time.Second, 60 * time.Second
	if seed > 0 {
		l.doubt = 0.05
	}
	began := time.Now()
	var mu sync.Mutex
	var spent Amounts
	var apart [2]int64 // tokens spent by those who are cut off at times: before the split is over, and in it
	var work sync.WaitGroup
	var nodes []*Service
	for i := range 8 {
		w := &way{log: l}
		s := service(t, w, fmt.Sprint("n", i), Options{Nodes: 8, Budgets: []Budget{b}, Prices: prices})
		s.Start(t.Context())
		nodes = append(nodes, s)
		if i >= 5 {
			time.AfterFunc(cutAt, func() { w.set(true) })
			time.AfterFunc(healAt, func() { w.set(false) })
		}
		for j := range 4 {
			r := rand.New(rand.NewPCG(seed, uint64(i*10+j)))
			work.Go(func() {
				for time.Since(began) < end {
					c, err := s.Begin(t.Context(), Ask{User: "u", Model: "m", Prompt: 20, Most: 40})
					if err != nil {
						if !fault.Is(err, fault.Limited) && !fault.Is(err, fault.Unavailable) {
							t.Error(err)
						}
						time.Sleep(500 * time.Millisecond)
						continue
					}
					begun := time.Since(began)
					time.Sleep(time.Duration(20+r.IntN(400)) * time.Millisecond)
					u := lm.Usage{Prompt: 20, Completion: r.IntN(41)}
					c.Settle(u)
					mu.Lock()
					spent = spent.plus(Amounts{1, int64(u.Prompt + u.Completion), prices[0].Of(u)})
					if i >= 5 && begun < healAt {
						apart[0] += int64(u.Prompt + u.Completion)
						if begun > cutAt {
							apart[1] += int64(u.Prompt + u.Completion)
						}
					}
					mu.Unlock()
				}
			})
		}
	}
	for healed := false; time.Since(began) < end; time.Sleep(100 * time.Millisecond) {
		l.mu.Lock()
		x, err := readLedger([]byte(l.values[newPurse(&Service{}, &b, "").key]))
		l.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		for s, w := range x.Windows {
			for m, most := range b.Limits[s] {
				if got := w.given()[m]; most > 0 && got > most {
					t.Fatalf("%v: %d given of %d", Span(s), got, most)
				}
			}
		}
		if !healed && time.Since(began) >= healAt {
			healed = true
			held := int64(0)
			for id, a := range x.Windows[Day].Held {
				if id >= "n5" {
					held += a[Tokens]
				}
			}
			mu.Lock()
			if apart[0] > held {
				t.Errorf("those who were cut off spent %d and held %d", apart[0], held)
			}
			t.Logf("seed %d: cut off, three nodes spent %d tokens of a budget of %d", seed, apart[1], b.Limits[Day][Tokens])
			mu.Unlock()
		}
	}
	work.Wait()
	l.mu.Lock()
	l.doubt = 0
	l.mu.Unlock()
	time.Sleep(idleTime + 10*time.Second) // all is given back
	agree(t, l, &b, nodes[0], began, spent, seed == 0)
	for _, s := range nodes {
		s.Stop(t.Context())
	}
}

// agree holds what was spent against the limit, the books and the ledger.
func agree(t *testing.T, l *log, b *Budget, s *Service, began time.Time, spent Amounts, exactly bool) {
	t.Helper()
	limits := b.Limits[Day]
	if spent[Tokens] > limits[Tokens] || spent[Money] > limits[Money] {
		t.Errorf("spent %v of %v", spent, limits)
	}
	if spent[Tokens] < limits[Tokens]*95/100 && spent[Money] < limits[Money]*95/100 {
		t.Errorf("only %v spent of %v", spent, limits)
	}
	rows, err := s.Usage(t.Context(), Query{From: began, To: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || rows[0].Requests != spent[Requests] || rows[0].Prompt+rows[0].Completion != spent[Tokens] || rows[0].Money != spent[Money] {
		t.Errorf("the books say %+v, and %v was spent", rows, spent)
	}
	held := l.given(t, b, "")[Day]
	if lost := held.minus(spent); lost[Tokens] < 0 || lost[Money] < 0 || exactly && (lost[Tokens] > 0 || lost[Money] > 0) {
		t.Errorf("the ledger says %v, and %v was spent", held, spent)
	}
	t.Logf("spent %v of %v, the ledger says %v", spent, limits, held)
}

// A side that is cut off spends what it holds, and then says that it can't ask.
func TestCutOffSpendsWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(1)
		b := Budget{Name: "all", For: Everyone}
		b.Limits[Day][Requests] = 6400
		w := &way{log: l}
		s := service(t, w, "n", Options{Nodes: 4, Budgets: []Budget{b}})
		in := func() (n int, err error) {
			for {
				c, err := s.Begin(t.Context(), Ask{User: "u"})
				if err != nil {
					return n, err
				}
				c.Settle(lm.Usage{})
				n++
			}
		}
		if c, err := s.Begin(t.Context(), Ask{User: "u"}); err != nil {
			t.Fatal(err)
		} else {
			c.Settle(lm.Usage{})
		}
		w.set(true)
		held := l.given(t, &b, "")[Day][Requests]
		n, err := in()
		if !fault.Is(err, fault.Unavailable) || fault.RetryAfterOf(err) == 0 {
			t.Errorf("cut off: %v", err)
		}
		if int64(n)+1 != held {
			t.Errorf("%d let in, and %d were held", n+1, held)
		}
		began := time.Now()
		if _, err := s.Begin(t.Context(), Ask{User: "u"}); err == nil || time.Since(began) > 0 {
			t.Errorf("the next one waited %v: %v", time.Since(began), err)
		}
		w.set(false)
		time.Sleep(2 * time.Second)
		if _, err := s.Begin(t.Context(), Ask{User: "u"}); err != nil {
			t.Errorf("whole again: %v", err)
		}
		time.Sleep(drawTime)
	})
}

// What an idle node does not need the others get.
func TestGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(1)
		b := Budget{Name: "all", For: User}
		b.Limits[Day][Tokens] = 10_000
		a := service(t, &way{log: l}, "a", Options{Nodes: 2, Budgets: []Budget{b}})
		a.Start(t.Context())
		defer a.Stop(t.Context())
		c, err := a.Begin(t.Context(), Ask{User: "u", Prompt: 100, Most: 400})
		if err != nil {
			t.Fatal(err)
		}
		c.Settle(lm.Usage{Prompt: 90, Completion: 310})
		if got := l.given(t, &b, "u")[Day][Tokens]; got < 500 {
			t.Errorf("%d held while it ran", got)
		}
		time.Sleep(idleTime + 2*sweeps)
		if got := l.given(t, &b, "u")[Day][Tokens]; got != 400 {
			t.Errorf("%d held when it was idle, and 400 spent", got)
		}
		a.mu.Lock()
		if len(a.purses) != 0 {
			t.Errorf("%d purses are left", len(a.purses))
		}
		a.mu.Unlock()
		// The same node goes on where it was.
		c, err = a.Begin(t.Context(), Ask{User: "u", Prompt: 9500, Most: 100})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Standing().Tokens; got == nil || got.Limit != 10_000 || got.Left != 0 {
			t.Errorf("standing %+v", got)
		}
		c.Settle(lm.Usage{Prompt: 9700}) // more than was reserved
		if _, err := a.Begin(t.Context(), Ask{User: "u", Prompt: 1, Most: 1}); !fault.Is(err, fault.Limited) {
			t.Errorf("one more: %v", err)
		}
		time.Sleep(idleTime + 2*sweeps)
		if got := l.given(t, &b, "u")[Day][Tokens]; got != 10_100 {
			t.Errorf("%d in the ledger, and 10100 spent", got)
		}
	})
}

// A request that comes while an idle part is on its way back keeps the part
// where it is: what it reserves is not taken for spent.
func TestNotGivenBackInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(1)
		b := Budget{Name: "all", For: User}
		b.Limits[Day][Tokens] = 100_000
		a := service(t, &way{log: l}, "a", Options{Nodes: 2, Budgets: []Budget{b}})
		begin := func() *Charge {
			t.Helper()
			c, err := a.Begin(t.Context(), Ask{User: "u", Prompt: 10, Most: 50})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		begin().Settle(lm.Usage{Prompt: 10, Completion: 20})
		time.Sleep(2 * idleTime)
		done := make(chan struct{})
		go func() { a.sweep(t.Context(), idleTime); close(done) }()
		synctest.Wait() // the ledger is being read
		c := begin()
		<-done
		c.Settle(lm.Usage{Prompt: 10, Completion: 1})
		if got := l.given(t, &b, "u")[Day][Tokens]; got <= 60 {
			t.Errorf("%d held of a budget that is in use", got)
		}
		time.Sleep(2 * idleTime)
		a.sweep(t.Context(), idleTime)
		if got := l.given(t, &b, "u")[Day][Tokens]; got != 41 {
			t.Errorf("%d in the ledger, and 41 spent", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Budget{Name: "team", For: Tenant, Who: "acme"}
		b.Limits[Minute] = Amounts{2, 1000, 0}
		b.Limits[Month] = Amounts{0, 0, Unit / 1000}
		s := service(t, &way{log: newLog(1)}, "n", Options{
			Budgets: []Budget{b}, Tenants: map[string]string{"key-a": "acme"}, Prices: Prices{{Model: "m", Output: 2 * Unit}},
		})
		defer time.Sleep(drawTime)
		quota := func(err error) bool {
			var q interface{ Quota() bool }
			return errors.As(err, &q) && q.Quota()
		}
		_, err := s.Begin(t.Context(), Ask{User: "key-a", Prompt: 10, Most: 2000})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "may take 2000 tokens") || !strings.Contains(err.Error(), "has 1000 tokens a minute") {
			t.Errorf("more than a whole window: %v", err)
		}
		for i := range 3 {
			c, err := s.Begin(t.Context(), Ask{User: "key-a", Model: "free", Prompt: 10, Most: 100})
			if i < 2 {
				if err != nil {
					t.Fatal(err)
				}
				c.Settle(lm.Usage{Prompt: 10, Completion: 20})
				continue
			}
			if !fault.Is(err, fault.Limited) || !strings.Contains(err.Error(), `"team"`) || !strings.Contains(err.Error(), "2 requests a minute") || quota(err) {
				t.Errorf("the third: %v", err)
			}
		}
		if _, err := s.Begin(t.Context(), Ask{User: "key-b", Model: "m"}); err != nil {
			t.Errorf("somebody else: %v", err)
		}
		time.Sleep(time.Minute)
		c, err := s.Begin(t.Context(), Ask{User: "key-a", Model: "m", Prompt: 10, Most: 500})
		if err != nil {
			t.Fatal(err)
		}
		c.Settle(lm.Usage{Prompt: 10, Completion: 500})
		_, err = s.Begin(t.Context(), Ask{User: "key-a", Model: "m", Prompt: 10, Most: 10})
		if !fault.Is(err, fault.Limited) || !strings.Contains(err.Error(), "0.001 of money a month") || !quota(err) || fault.RetryAfterOf(err) < time.Hour {
			t.Errorf("no money: %v, come back in %v", err, fault.RetryAfterOf(err))
		}
		c, err = s.Begin(t.Context(), Ask{User: "key-a", Model: "free", Prompt: 10, Most: 10})
		if err != nil {
			t.Fatalf("what costs nothing: %v", err)
		}
		c.Cancel()
		c.Settle(lm.Usage{Prompt: 500}) // it is over
		if got := c.Standing().Requests; got == nil || got.Left != 1 || got.Limit != 2 {
			t.Errorf("standing %+v", got)
		}
	})
}

// A clock that jumps opens no window that was open before, and none before its
// time.
func TestClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var off time.Duration
		jump := func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			off = d
		}
		b := Budget{Name: "all", For: Everyone}
		b.Limits[Day][Requests] = 5
		s := service(t, &way{log: newLog(1)}, "n", Options{Budgets: []Budget{b}, Wall: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(off)
		}})
		defer time.Sleep(drawTime)
		in := func() (n int) {
			for range 10 {
				if c, err := s.Begin(t.Context(), Ask{User: "u"}); err == nil {
					c.Settle(lm.Usage{})
					n++
				}
			}
			return n
		}
		check := func(what string, want int) {
			t.Helper()
			time.Sleep(30 * time.Second)
			if got := in(); got != want {
				t.Errorf("%s: %d let in, want %d", what, got, want)
			}
		}
		check("at first", 5)
		jump(36 * time.Hour)
		check("for half a minute a day ahead", 0)
		jump(0)
		check("back again", 0)
		jump(-48 * time.Hour)
		check("behind", 0)
		time.Sleep(2 * time.Minute)
		check("long behind", 0)
		jump(0)
		check("back again", 0)
		time.Sleep(2 * time.Minute)
		jump(36 * time.Hour)
		check("ahead", 0)
		time.Sleep(2 * time.Minute)
		check("ahead for good", 5)
		jump(0)
		time.Sleep(2 * time.Minute)
		check("put right: the day has been", 0)
		time.Sleep(48 * time.Hour)
		check("two days on", 5)
	})
}

// A killed process leaves its journal behind, and its unspent part is nobody's
// until the window is over.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dir := newLog(1), t.TempDir()
		b := Budget{Name: "all", For: Everyone}
		b.Limits[Day][Requests] = 640
		o := Options{Dir: dir, Budgets: []Budget{b}}
		spend := func(s *Service, n int) {
			t.Helper()
			for range n {
				c, err := s.Begin(t.Context(), Ask{User: "u", Model: "m"})
				if err != nil {
					t.Fatal(err)
				}
				c.Settle(lm.Usage{Prompt: 3, Completion: 4})
			}
		}
		booked := func(s *Service) int64 {
			t.Helper()
			rows, err := s.Usage(t.Context(), Query{From: time.Now(), To: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				return 0
			}
			return rows[0].Requests
		}
		first := service(t, &way{log: l}, "n", o)
		spend(first, 3)
		if err := first.books.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		spend(first, 4) // and it is killed
		first.books.close()
		path := filepath.Join(dir, journalName)
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(`{"n":8,"day":"2000-0`) // in the middle of a line
		f.Close()

		cutOff := &way{log: l, cut: true}
		second := service(t, cutOff, "n", o)
		if second.books.flush(t.Context()) == nil {
			t.Error("written while it is cut off")
		}
		second.books.add(time.Now(), Who{User: "u"}, "m", lm.Usage{}, 0) // and it is killed again
		second.books.close()

		third := service(t, &way{log: l}, "n", o)
		if got := booked(third); got != 8 {
			t.Errorf("%d booked of 8", got)
		}
		spend(third, 1)
		if got := booked(third); got != 9 {
			t.Errorf("%d booked of 9", got)
		}
		upto := third.books.size
		spend(third, 1) // on no page
		third.books.mu.Lock()
		if err := third.books.shorten(upto); err != nil {
			t.Error(err)
		}
		third.books.mu.Unlock()
		spend(third, 1)
		third.books.close()

		fourth := service(t, &way{log: l}, "n", o)
		if got := booked(fourth); got != 11 {
			t.Errorf("%d booked of 11", got)
		}
		fourth.books.close()
		time.Sleep(drawTime)
	})
}

func TestUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(1)
		s := service(t, &way{log: l}, "n", Options{
			Prices: Prices{{Model: "gpt-*", Input: 2 * Unit, Cached: Unit, Output: 8 * Unit}}, Tenants: map[string]string{"key-a": "acme"},
		})
		other := service(t, &way{log: l}, "o", Options{})
		day := time.Now()
		for i := range 2 * pageRows {
			s.books.add(day, Who{User: fmt.Sprint("user-", i)}, "m", lm.Usage{Prompt: 1}, 0)
		}
		for _, who := range []string{"key-a", "key-a", "local"} {
			c, err := s.Begin(t.Context(), Ask{User: who, Model: "gpt-x"})
			if err != nil {
				t.Fatal(err)
			}
			c.Settle(lm.Usage{Prompt: 1000, Cached: 500, Completion: 100})
		}
		other.books.add(day.AddDate(0, 0, 1), Who{User: "key-a"}, "gpt-x", lm.Usage{Prompt: 7, Completion: -3}, 5)
		if err := other.books.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := s.Usage(t.Context(), Query{From: day, To: day.AddDate(0, 0, 1), By: []string{"model", "key", "tenant"}, User: "key-a"})
		if err != nil {
			t.Fatal(err)
		}
		want := []Total{
			{Row{Model: "gpt-x", Requests: 1, Prompt: 7, Completion: -3, Money: 5}, "a"},
			{Row{Tenant: "acme", Model: "gpt-x", Requests: 2, Prompt: 2000, Cached: 1000, Completion: 200, Money: 4_600_000}, "a"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		all, err := s.Usage(t.Context(), Query{From: day, To: day, By: []string{"user"}})
		if err != nil || len(all) != 2*pageRows+2 {
			t.Errorf("%d users: %v", len(all), err)
		}
		for _, bad := range []Query{
			{From: day, To: day.AddDate(0, 0, -1)}, {From: day, To: day.AddDate(3, 0, 0)}, {From: day, To: day, By: []string{"colour"}}, {From: day, To: day, By: []string{"day", "day"}},
		} {
			if _, err := s.Usage(t.Context(), bad); !fault.Is(err, fault.Invalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

func TestPrices(t *testing.T) {
	for _, x := range []struct {
		pattern, name string
		want          bool
	}{
		{"gpt-4o", "gpt-4o", true},
		{"gpt-4o", "gpt-4o-mini", false},
		{"gpt-4o*", "gpt-4o-mini", true},
		{"*", "", true},
		{"*llama*8b*", "meta/llama-3-8b-instruct", true},
		{"*llama*8b", "meta/llama-3-8b-instruct", false},
		{"a*a", "a", false},
	} {
		if got := fits(x.pattern, x.name); got != x.want {
			t.Errorf("%q fits %q: %v", x.name, x.pattern, got)
		}
	}
	p := Price{Input: 150_000_000, Cached: 75_000_000, Output: 600_000_000} // 0.15, 0.075 and 0.60
	if got := Decimal(p.Of(lm.Usage{Prompt: 1000, Cached: 400, Completion: 50})); got != "0.00015" {
		t.Errorf("cost %s", got)
	}
	dear := Price{Input: MostPrice, Cached: MostPrice, Output: MostPrice}
	if got := dear.Of(lm.Usage{Prompt: mostTokens, Completion: mostTokens}); got <= 0 {
		t.Errorf("the dearest: %d", got)
	}
	if got := Decimal(-12_500_000_000); got != "-12.5" {
		t.Errorf("decimal %s", got)
	}
}

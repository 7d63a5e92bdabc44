package account

import (
	"context"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// instant is a way to the log that takes no time.
type instant struct{ *log }

func (w *instant) Load(_ context.Context, key string) ([]byte, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.values[key]
	if !ok {
		return nil, 0, fault.New(fault.NotFound, "no value %q", key)
	}
	return []byte(v), w.revs[key], nil
}

func (w *instant) Create(_ context.Context, key string, value []byte) error {
	return (&way{log: w.log}).write(key, value, 0)
}

func (w *instant) Replace(_ context.Context, key string, value []byte, revision uint64) error {
	return (&way{log: w.log}).write(key, value, revision)
}

func (w *instant) Remove(context.Context, string) error           { return nil }
func (w *instant) List(context.Context, string) ([]string, error) { return nil, nil }

// What a request pays for being counted: three budgets, a price, the journal.
func BenchmarkRequest(b *testing.B) {
	o := Options{Values: &instant{log: newLog(1)}, Node: "n", Dir: b.TempDir(), Prices: Prices{{Model: "other"}, {Model: "*", Input: Unit, Output: Unit}}, Tenants: map[string]string{"key-a": "t"}}
	for name, scope := range map[string]Scope{"all": Everyone, "tenants": Tenant, "keys": Key} {
		x := Budget{Name: name, For: scope}
		x.Limits[Minute] = Amounts{MostRequests, MostTokens, 0}
		x.Limits[Month] = Amounts{0, 0, MostMoney}
		o.Budgets = append(o.Budgets, x)
	}
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.Begin(b.Context(), Ask{User: "key-a", Model: "m", Prompt: 500, Most: 200})
		if err != nil {
			b.Fatal(err)
		}
		c.Standing()
		c.Settle(lm.Usage{Prompt: 480, Completion: 100})
	}
	b.StopTimer()
	<-time.After(drawTime / 100)
}

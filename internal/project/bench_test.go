package project_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// conversations makes a log of n conversations with five turns each; an answer
// comes in twenty pieces.
func conversations(n int) (out []event.Entry) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 5000)
	for i := range words {
		words[i] = fmt.Sprintf("w%x", rng.Uint32()%1_000_000)
	}
	text := func(n int) string {
		s := ""
		for range n {
			s += words[int(float64(len(words))*rng.Float64()*rng.Float64()*rng.Float64())] + " "
		}
		return s
	}
	add := func(conv string, e event.Event) { out = append(out, entry(conv, uint64(len(out)+1), e)) }
	for i := range n {
		conv := fmt.Sprintf("local-%022d", i)
		add(conv, created(fmt.Sprintf("user%d", i%100)))
		for j := range 5 {
			turn := fmt.Sprint("t", j)
			add(conv, said(fmt.Sprint("a", j), text(20), turn))
			add(conv, claimed(turn, 1))
			for range 20 {
				add(conv, event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: turn, Attempt: 1, Text: "a piece of text"}})
			}
			add(conv, ended(turn, 1, text(150)))
		}
		add(conv, titled(text(4), true))
	}
	return out
}

func BenchmarkRebuild(b *testing.B) {
	const n = 400
	l := newLog(conversations(n)...)
	for b.Loop() {
		s := openStore(b, b.TempDir())
		if _, err := project.Rebuild(b.Context(), l, s, nil); err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
	b.ReportMetric(float64(b.N*n*5)/b.Elapsed().Seconds(), "turns/s")
	b.ReportMetric(float64(b.N*len(l.entries))/b.Elapsed().Seconds(), "entries/s")
}

func benchStore(b *testing.B) *sqlite.Store {
	s := openStore(b, b.TempDir())
	if _, err := project.Rebuild(b.Context(), newLog(conversations(2000)...), s, nil); err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if page, _, err := s.Conversations(b.Context(), "user7", store.Filter{}, "", 50); len(page) != 20 || err != nil {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("activities", func(b *testing.B) {
		for b.Loop() {
			if acts, err := s.Activities(b.Context(), "user7", fmt.Sprintf("local-%022d", 107)); len(acts) != 10 || err != nil {
				b.Fatal(len(acts), err)
			}
		}
	})
	for _, q := range []string{"w", "w1 w2", "nothing"} {
		b.Run("search "+q, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Search(b.Context(), "user7", q, "", 20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

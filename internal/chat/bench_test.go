package chat_test

import (
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// BenchmarkTurn is a whole durable turn: message, claim, answer of 32 tokens,
// end; each fsynced, many conversations at once.
func BenchmarkTurn(b *testing.B) {
	log, err := eventlog.Open(b.Context(), eventlog.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s, err := chat.New(chat.Options{Log: log, Engines: one{demo.Canned(demo.CannedOptions{Words: 32})}, Bots: []chat.Bot{{ID: "parley"}}})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer halt(s)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conv, _, err := s.Create(b.Context(), chat.NewConversation{Owner: "ann", Channel: "web"})
		if err != nil {
			b.Error(err)
			return
		}
		l, err := s.Open(b.Context(), conv)
		if err != nil {
			b.Error(err)
			return
		}
		defer l.Close()
		var pos uint64
		for pb.Next() {
			acc, err := s.Submit(b.Context(), message(conv, "How are you today?", ""))
			if err != nil {
				b.Error(err)
				return
			}
			for over := false; !over; {
				frames, more := l.Frames(pos)
				for _, f := range frames {
					pos = f.Pos
					if t, ok := f.Body.(conversation.TurnBody); ok && t.Turn == acc.Turn && t.State.Final() {
						over = true
					}
				}
				if !over {
					<-more
				}
			}
			n.Add(1)
		}
	})
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "turns/s")
}

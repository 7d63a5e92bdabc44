package chat_test

import (
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/understand"
)

// BenchmarkTurn is a whole durable turn: message, claim, answer of 32 tokens,
// end; each fsynced, many conversations at once.
func BenchmarkTurn(b *testing.B) {
	turns(b, "How are you today?", chat.Options{
		Engines: one{demo.Canned(demo.CannedOptions{Words: 32})}, Bots: []chat.Bot{{ID: "parley"}},
	})
}

// BenchmarkScript is a turn that a script answers: message with what was
// understood of it, claim, end; each fsynced.
func BenchmarkScript(b *testing.B) {
	m, err := cityguide()
	if err != nil {
		b.Fatal(err)
	}
	u, err := understand.New(understand.Options{Apps: []understand.App{{Name: "cityguide", Model: m}}, Bots: []string{"bookings"}})
	if err != nil {
		b.Fatal(err)
	}
	turns(b, "how much is a day ticket?", chat.Options{
		Engines: one{demo.Canned(demo.CannedOptions{})}, Bots: []chat.Bot{{ID: "parley"}}, Understanding: u,
	})
}

// turns measures whole turns of many conversations at once.
func turns(b *testing.B, text string, opts chat.Options) {
	b.Helper()
	log, err := eventlog.Open(b.Context(), eventlog.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	opts.Log = log
	s, err := chat.New(opts)
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
			acc, err := s.Submit(b.Context(), message(conv, text, ""))
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

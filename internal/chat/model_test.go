package chat_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// either serves one model, and another one by the same name from when it fell.
type either struct {
	first, second lm.Engine
	fell          atomic.Bool
}

func (x *either) Find(ctx context.Context, name, _ string) (lm.Engine, lm.Model, error) {
	e := x.first
	if x.fell.Load() && name != "first" {
		e = x.second
	}
	_, m, err := one{e}.Find(ctx, "", "")
	m.Varies = true
	return e, m, err
}

// An answer that one model began is finished by that one, or begun again: another
// model's tokens and words are not gone on with.
func TestACutAnswerStaysWithItsModel(t *testing.T) {
	canned := func(model string, words int) *demo.Engine {
		return demo.Canned(demo.CannedOptions{Model: model, Words: words, Delay: 200 * time.Microsecond, Answer: func(lm.Request) string { return model + " " + demo.Words(words) }})
	}
	for _, tc := range []struct {
		name     string
		times    int // that the first model cuts
		patience time.Duration
		model    string
	}{{"it comes back", 2, 10 * time.Minute, "first"}, {"it is gone", 1 << 20, 6 * time.Second, "second"}} {
		t.Run(tc.name, func(t *testing.T) {
			first, second := canned("first", 100), canned("second", 90)
			first.SetFault(demo.Fault{Kind: demo.Cut, After: 20, Times: 1})
			x := &either{first: first, second: second}
			s := start(t, openLog(t, t.TempDir()), first, func(o *chat.Options) { o.Engines, o.Patience = x, tc.patience })
			conv := newConversation(t, s)
			l, err := s.Open(t.Context(), conv)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			acc := say(t, s, conv, "go", "")
			for {
				shown := false
				more := l.View(func(st *conversation.State) { tn := st.Turn(acc.Turn); shown = tn != nil && tn.Model == "first" })
				if shown {
					break
				}
				<-more
			}
			first.SetFault(demo.Fault{Kind: demo.Cut, Times: tc.times})
			x.fell.Store(true)
			e := map[string]int{"first": 100, "second": 90}
			text, b := answer(t, s, conv, acc.Turn)
			if want := tc.model + " " + demo.Words(e[tc.model]); b.State != event.Ok || text != want {
				t.Errorf("%s: %q, want %q", b.State, text, want)
			}
		})
	}
}

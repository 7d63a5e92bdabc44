package conversation_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
)

func TestTitleFrom(t *testing.T) {
	for in, want := range map[string]string{
		"Hello":            "Hello",
		"  two\n lines\t ": "two lines",
		"This is a rather long first message, which must be cut at a word": "This is a rather long first message, which must…",
		strings.Repeat("x", 100): strings.Repeat("x", 48) + "…",
		strings.Repeat("界", 60):  strings.Repeat("界", 48) + "…",
	} {
		if got := conversation.TitleFrom(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// history makes entries out of fuzzed bytes: each pair is what happens and a
// number. Sensible and senseless orders come about alike.
func history(b []byte) []event.Entry {
	var out []event.Entry
	turns := []string{"t1", "t2"}
	for i := 0; i+1 < len(b) && i < 400; i += 2 {
		n := int(b[i+1])
		turn := turns[n%2]
		var e event.Event
		switch b[i] % 11 {
		case 0:
			e = event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: "ann"}}
		case 1:
			e = event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &activity.Activity{Type: "message", ID: "a" + turn[1:], Text: "hi"}, Turn: &event.Turn{ID: turn, ReplyTo: "a" + turn[1:]}, Title: "T"}}
		case 2:
			e = event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: turn, Attempt: n / 2 % 4}}
		case 3, 4, 5:
			text := []string{"a", "äö", "", "xyz"}[n/8%4]
			e = event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: turn, Attempt: n / 2 % 4, Offset: n / 16, Text: text, At: n / 16, Tokens: []int32{1, 2}[:n%3]}}
		case 6:
			policy := []lm.Policy{lm.Exact, lm.Restart}[n/8%2]
			e = event.Event{Kind: event.KindResumed, Resumed: &event.Resumed{Turn: turn, Attempt: n / 2 % 4, Offset: n / 16, Policy: policy}}
		case 7:
			e = event.Event{Kind: event.KindEnded, Ended: &event.Ended{Turn: turn, Attempt: n / 2 % 4, State: event.Ok, Activity: &activity.Activity{ID: "b" + turn[1:], Text: strings.Repeat("a", n/32), ReplyToID: "a" + turn[1:]}}}
		case 8:
			e = event.Event{Kind: event.KindStop, Stop: &event.Stop{Turn: turn}}
		case 9:
			e = event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: "x", Auto: n%2 == 0}}
		}
		if b[i]%11 == 1 && n > 128 { // the one goes on where the other ended
			e.Said.Turn.Continues = turns[(n+1)%2]
		}
		if b[i]%11 == 10 {
			on := n%2 == 0
			e = event.Event{Kind: event.KindSet, Set: &event.Set{Pinned: &on, Trashed: &on}}
		}
		out = append(out, event.Entry{Seq: uint64(i/2 + 1), Time: time.Unix(int64(i), 0), Event: e, Damaged: n == 255})
	}
	return out
}

// Whatever the log holds: positions grow, a delta begins where the text of its
// turn ends, nothing comes after a turn's end, and reading again from any
// position gives the same rest.
func FuzzFold(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 2, 3, 2, 3, 18, 6, 4, 7, 34})
	f.Add([]byte{0, 0, 1, 0, 2, 2, 3, 2, 7, 34, 1, 131, 2, 3, 3, 19, 7, 35})
	f.Add([]byte{0, 0, 1, 0, 1, 1, 2, 2, 3, 2, 2, 3, 3, 3, 3, 2, 7, 2, 7, 3, 8, 0, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries := history(b)
		st := conversation.New("local-000000000000000000000000")
		for _, e := range entries {
			st.Apply(e)
			st.Apply(e) // an overlap changes nothing
		}
		var pos uint64
		text := map[string]int{}
		over := map[string]bool{}
		for _, fr := range st.Frames {
			if fr.Pos <= pos {
				t.Fatalf("position %d after %d", fr.Pos, pos)
			}
			pos = fr.Pos
			switch body := fr.Body.(type) {
			case conversation.DeltaBody:
				if body.Offset != text[body.Turn] || over[body.Turn] {
					t.Fatalf("delta at %d, %d are there (over: %v)", body.Offset, text[body.Turn], over[body.Turn])
				}
				text[body.Turn] += utf8.RuneCountInString(body.Text)
			case conversation.ResumedBody:
				if body.Policy == lm.Restart {
					text[body.Turn] = 0
				}
				if body.Offset != text[body.Turn] || over[body.Turn] {
					t.Fatalf("resumed at %d, %d are there", body.Offset, text[body.Turn])
				}
			case conversation.TurnBody:
				if over[body.Turn] {
					t.Fatalf("turn %s moves after its end", body.Turn)
				}
				over[body.Turn] = body.State.Final()
			}
		}
		if rest := st.After(0); len(rest) != len(st.Frames) {
			t.Fatalf("after 0: %d of %d frames", len(rest), len(st.Frames))
		}
		if n := len(st.Frames) / 2; n > 0 {
			if rest := st.After(st.Frames[n-1].Pos); len(rest) != len(st.Frames)-n || rest[0].Pos != st.Frames[n].Pos {
				t.Fatalf("after the half: %d frames", len(rest))
			}
		}
	})
}

func TestAGapInTheChainIsNoticed(t *testing.T) {
	st := conversation.New("local-000000000000000000000000")
	entry := func(seq, prev, sum uint64) event.Entry {
		return event.Entry{Seq: seq, Prev: prev, Sum: sum, Event: event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: "x"}}}
	}
	st.Apply(entry(1, 0, 10))
	st.Apply(entry(2, 10, 20))
	if st.Missing != 0 {
		t.Errorf("a whole chain has %d gaps", st.Missing)
	}
	st.Apply(entry(4, 30, 40)) // 3 is gone
	if st.Missing != 1 {
		t.Errorf("%d gaps, want 1", st.Missing)
	}
}

// Places follow from the log alone, and times never run backwards: the writers
// of a conversation may be nodes with different clocks.
func TestPlaces(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	said := func(seq uint64, id string, when int) event.Entry {
		return event.Entry{Seq: seq, Time: at(when), Event: event.Event{Kind: event.KindSaid, Said: &event.Said{
			Activity: &activity.Activity{Type: "message", ID: id, Text: "x", Timestamp: at(when)}, Turn: &event.Turn{ID: "t" + id, ReplyTo: id},
		}}}
	}
	st := conversation.New("local-1")
	for _, e := range []event.Entry{
		{Seq: 1, Event: event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: "ann", User: "dl_ann"}}},
		said(5, "1", 100), said(6, "2", 90), said(9, "3", 101),
		{Seq: 10, Event: event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: "t1", Attempt: 1}}},
		{Seq: 12, Event: event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t1", Attempt: 1, Text: "a"}}},
		{Seq: 13, Event: event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t1", Attempt: 1, Offset: 1, Text: "b"}}},
		{Seq: 14, Time: at(50), Event: event.Event{Kind: event.KindEnded, Ended: &event.Ended{Turn: "t1", Attempt: 1, State: event.Ok, Activity: &activity.Activity{ID: "b1", Text: "ab"}}}},
	} {
		st.Apply(e)
	}
	for id, want := range map[string]conversation.Place{
		"1": {Pos: 40, At: at(100)}, "2": {Pos: 48, At: at(100)}, "3": {Pos: 72, At: at(101)}, "b1": {Pos: 113, At: at(101)}, "none": {},
	} {
		if got := st.Place(id); got != want {
			t.Errorf("%s stands at %+v, want %+v", id, got, want)
		}
	}
	if got := st.Turn("t1").Began; got != conversation.Position(12, 0) {
		t.Errorf("the answer began at %d", got)
	}
	if st.By.User != "dl_ann" || !st.Newest().Equal(at(101)) {
		t.Errorf("bound to %q, newest at %v", st.By.User, st.Newest())
	}
}

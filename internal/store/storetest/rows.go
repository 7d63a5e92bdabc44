package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/store"
)

func testApplyAndRead(t *testing.T, d Driver) {
	dir := t.TempDir()
	s := open(t, d, dir)
	conv := store.Conversation{ID: "c1", Owner: alice, Bot: "helper", Channel: "api", Title: "First", Hidden: true, Created: at(0), Updated: at(1)}
	first := activity.Activity{
		Type: "message", ID: "a1", Timestamp: at(2), ChannelID: "web", From: &activity.Account{ID: alice, Name: "A", Role: "user"},
		Recipient: &activity.Account{ID: "bot"}, Conversation: &activity.Account{ID: "c1"}, ReplyToID: "a0", Text: "hello", TextFormat: "plain",
		Locale: "en-GB", ChannelData: json.RawMessage(`{"x":[1,2]}`), Extra: map[string]json.RawMessage{"attachments": json.RawMessage(`[{"a":1}]`)},
	}
	second := activity.Activity{Type: "message", ID: "a0", Text: "sorts before, came later"}
	tr := store.TurnRow{
		Conversation: "c1", ID: "t1", Seq: 3, ReplyTo: "a1", Attempt: 2, Claim: 1 << 60, State: event.Failed, Finish: lm.FinishLength,
		Code: fault.Limited, Error: "too much", Usage: lm.Usage{Prompt: 1, Completion: 2, Cached: 3}, Model: "m", Engine: "e", Updated: at(9),
	}
	w := &writer{t: t, s: s}
	w.apply(store.Change{Conversation: &conv},
		store.Change{Activity: &store.ActivityRow{Conversation: "c1", Seq: 2, At: at(2), Activity: first}},
		store.Change{Activity: &store.ActivityRow{Conversation: "c1", Seq: 4, At: at(3), Activity: second}},
		store.Change{Turn: &tr})
	first.Text = "said anew"
	w.apply(store.Change{Changed: &store.ActivityRow{Conversation: "c1", Seq: 5, At: at(3), Activity: first}},
		store.Change{Changed: &store.ActivityRow{Conversation: "c1", Seq: 6, At: at(3), Activity: activity.Activity{ID: "nobody said it"}}},
		store.Change{Changed: &store.ActivityRow{Conversation: "none", Seq: 7, At: at(3), Activity: first}})
	conv.Updated = at(3)
	for range 2 { // the second time after a restart
		got, err := s.Conversation(t.Context(), alice, "c1")
		if diff := cmp.Diff(conv, got); diff != "" || err != nil {
			t.Errorf("conversation: %v %s", err, diff)
		}
		acts, err := s.Activities(t.Context(), alice, "c1")
		if diff := cmp.Diff([]activity.Activity{first, second}, acts); diff != "" || err != nil {
			t.Errorf("activities: %v %s", err, diff)
		}
		gotTurn, err := s.Turn(t.Context(), "c1", "t1")
		if diff := cmp.Diff(tr, gotTurn); diff != "" || err != nil {
			t.Errorf("turn: %v %s", err, diff)
		}
		for id, want := range map[string]bool{"c1": true, "c2": false, "C1": false, "": false} {
			if got, err := s.Known(t.Context(), id); got != want || err != nil {
				t.Errorf("known(%q) = %v, %v", id, got, err)
			}
		}
		if err := errors.Join(s.Health(t.Context()), s.Check(t.Context()), s.Close()); err != nil {
			t.Fatalf("health, check, close: %v", err)
		}
		s = open(t, d, dir)
	}
}

func testPosition(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	ctx := t.Context()
	expect := func(stream string, want store.Position) {
		t.Helper()
		if got, err := s.Position(ctx, stream); got != want || err != nil {
			t.Errorf("position of %s = %v, %v, want %v", stream, got, err, want)
		}
	}
	expect("S", store.Position{})
	big := store.Position{Seq: 1<<63 + 5, Sum: 1<<64 - 1}
	for _, step := range []struct {
		stream    string
		upTo      store.Position
		change    []store.Change
		want      store.Position
		wantRow   string
		wantThere bool
	}{
		{"S", store.Position{Seq: 5, Sum: 50}, []store.Change{conversation(alice, "c1", 1)}, store.Position{Seq: 5, Sum: 50}, "c1", true},
		{"S", store.Position{Seq: 5, Sum: 51}, []store.Change{conversation(alice, "c2", 1)}, store.Position{Seq: 5, Sum: 50}, "c2", false},
		{"S", store.Position{Seq: 4, Sum: 40}, []store.Change{{Delete: "c1"}}, store.Position{Seq: 5, Sum: 50}, "c1", true},
		{"S", store.Position{Seq: 6, Sum: 60}, nil, store.Position{Seq: 6, Sum: 60}, "c1", true},
		{"T", store.Position{Seq: 1, Sum: 10}, []store.Change{conversation(alice, "c3", 1)}, store.Position{Seq: 1, Sum: 10}, "c3", true},
		{"S", big, nil, big, "c1", true},
		{"S", store.Position{Seq: 7, Sum: 70}, []store.Change{{Delete: "c1"}}, big, "c1", true},
	} {
		if err := s.Apply(ctx, step.stream, step.upTo, step.change); err != nil {
			t.Fatalf("apply %v: %v", step.upTo, err)
		}
		expect(step.stream, step.want)
		if _, err := s.Conversation(ctx, alice, step.wantRow); (err == nil) != step.wantThere {
			t.Errorf("after %s %v: %s: %v, want there %v", step.stream, step.upTo, step.wantRow, err, step.wantThere)
		}
	}
	expect("T", store.Position{Seq: 1, Sum: 10})
}

// testAllOrNothing: a batch whose end is bad leaves nothing of its beginning.
func testAllOrNothing(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "kept", 1))
	before := dump(t, s)
	err := s.Apply(t.Context(), stream, store.Position{Seq: 100}, []store.Change{
		conversation(alice, "c2", 2), said("c1", "a2", "lost", 2), {Delete: "c1"}, {}, // a change without content
	})
	if err == nil {
		t.Fatal("a change without content was accepted")
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("a failed batch left something: %s", diff)
	}
	w.apply(said("c1", "a2", "goes on", 2))
	if got := found(t, s, alice, "kept"); len(got) != 1 {
		t.Errorf("search after a failed batch = %v", got)
	}
	if got := found(t, s, alice, "lost"); len(got) != 0 {
		t.Errorf("search finds a failed batch: %v", got)
	}
}

func testIdempotent(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	for _, c := range []store.Change{
		conversation(alice, "c1", 1), said("c1", "a1", "one", 2), turn("c1", "t1", 2, event.Queued), turn("c1", "t1", 2, event.Ok),
		{Title: &store.Title{Conversation: "c1", Title: "auto", Auto: true}},
		{Title: &store.Title{Conversation: "c1", Title: "mine"}},
		said("c1", "a1", "another text under an id that exists", 3), conversation(alice, "c2", 5),
		{Delete: "c2"},
	} {
		w.apply(c)
		once := dump(t, s)
		w.apply(c)
		twice := dump(t, s)
		if diff := cmp.Diff(once[:len(once)-1], twice[:len(twice)-1]); diff != "" { // the last line is the position
			t.Errorf("change %+v twice: %s", c, diff)
		}
	}
	acts, err := s.Activities(t.Context(), alice, "c1")
	if err != nil || len(acts) != 1 || acts[0].Text != "one" {
		t.Errorf("activities = %+v, %v", acts, err)
	}
	if got := found(t, s, alice, "another"); len(got) != 0 {
		t.Errorf("search finds an activity that was not kept: %v", got)
	}
	// A conversation that is written again keeps Created and does not go back.
	again := store.Conversation{ID: "c1", Owner: alice, Bot: "b2", Channel: "api", Title: "new", Hidden: true, Created: at(50), Updated: at(0)}
	w.apply(store.Change{Conversation: &again})
	again.Created, again.Updated = at(1), at(2)
	got, err := s.Conversation(t.Context(), alice, "c1")
	if diff := cmp.Diff(again, got); diff != "" || err != nil {
		t.Errorf("conversation written again: %v %s", err, diff)
	}
}

func testTitles(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	type step struct {
		title string
		auto  bool
		want  string
	}
	for i, c := range []struct {
		created string
		steps   []step
	}{
		{"", []step{{"a1", true, "a1"}, {"a2", true, "a2"}, {"u1", false, "u1"}, {"a3", true, "u1"}, {"u2", false, "u2"}}},
		{"mine", []step{{"a1", true, "mine"}, {"", false, ""}, {"a2", true, "a2"}}},
	} {
		id := fmt.Sprintf("c%d", i)
		w.apply(store.Change{Conversation: &store.Conversation{ID: id, Owner: alice, Title: c.created, Created: at(1), Updated: at(1)}})
		for _, step := range c.steps {
			w.apply(store.Change{Title: &store.Title{Conversation: id, Title: step.title, Auto: step.auto}})
			got, err := s.Conversation(t.Context(), alice, id)
			if got.Title != step.want || err != nil || !got.Updated.Equal(at(1)) {
				t.Errorf("%s after %+v: %+v, %v", id, step, got, err)
			}
		}
	}
}

func testMarks(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	for i, id := range []string{"c1", "c2", "c3", "c4"} {
		w.apply(conversation(alice, id, i), said(id, "a1", "apple", i))
	}
	yes, no := true, false
	shelves := func(want map[store.Shelf][]string, hits int) {
		t.Helper()
		got := map[store.Shelf][]string{}
		for shelf := range want {
			got[shelf] = []string{}
			for cursor := ""; ; {
				page, next, err := s.Conversations(t.Context(), alice, store.Filter{Shelf: shelf}, cursor, 1)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range page {
					got[shelf] = append(got[shelf], c.ID)
				}
				if cursor = next; next == "" {
					break
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("shelves (-want +got):\n%s", diff)
		}
		if got := found(t, s, alice, "apple"); len(got) != hits {
			t.Errorf("search finds %v, want %d", got, hits)
		}
	}
	shelves(map[store.Shelf][]string{store.Shown: {"c4", "c3", "c2", "c1"}, store.Pinned: {}, store.Archived: {}}, 4)
	w.apply(
		store.Change{Mark: &store.Mark{Conversation: "c1", Pinned: &yes}},
		store.Change{Mark: &store.Mark{Conversation: "c2", Archived: &yes, Pinned: &yes}},
		store.Change{Mark: &store.Mark{Conversation: "c3", Trashed: &yes}},
		store.Change{Mark: &store.Mark{Conversation: "gone", Pinned: &yes}},
	)
	shelves(map[store.Shelf][]string{store.Shown: {"c4", "c1"}, store.Pinned: {"c1"}, store.Archived: {"c2"}}, 3)
	c, err := s.Conversation(t.Context(), alice, "c2")
	if err != nil || !c.Pinned || !c.Archived || c.Trashed || !c.Updated.Equal(at(1)) {
		t.Errorf("marked: %+v, %v", c, err)
	}
	w.apply(store.Change{Mark: &store.Mark{Conversation: "c2", Archived: &no}}, store.Change{Mark: &store.Mark{Conversation: "c3", Trashed: &no}})
	shelves(map[store.Shelf][]string{store.Shown: {"c4", "c3", "c2", "c1"}, store.Pinned: {"c2", "c1"}, store.Archived: {}}, 4)
	if _, _, err := s.Conversations(t.Context(), alice, store.Filter{Shelf: "attic"}, "", 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("a shelf that is none: %v", err)
	}
}

func testKept(t *testing.T, d Driver) {
	dir := t.TempDir()
	s := open(t, d, dir)
	w := &writer{t: t, s: s}
	for i, id := range []string{"c1", "c2", "c3"} {
		w.apply(conversation(alice, id, i), said(id, "a1", "apple", i))
	}
	w.apply(conversation("bob", "b1", 9))
	tags := func(id string, tags ...string) store.Change {
		return store.Change{Mark: &store.Mark{Conversation: id, Tags: &tags}}
	}
	share := func(id string, s store.Share) store.Change {
		return store.Change{Mark: &store.Mark{Conversation: id, Share: &s}}
	}
	yes := true
	link := store.Share{Link: "c2.key", Live: true, At: at(7)}
	w.apply(tags("c1", "work"), tags("c2", "a trip", "work"), tags("c3", "wor_", "%"), tags("b1", "work"), tags("gone", "work"),
		share("c2", link), share("c3", store.Share{Link: "c3.key", At: at(8)}), share("gone", link))
	w.apply(share("c3", store.Share{}), store.Change{Mark: &store.Mark{Conversation: "c2", Archived: &yes}})
	ids := func(f store.Filter) (ids []string) {
		t.Helper()
		page, _, err := s.Conversations(t.Context(), alice, f, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		return ids
	}
	for _, c := range []struct {
		filter store.Filter
		want   []string
	}{
		{store.Filter{Tag: "work"}, []string{"c1"}},
		{store.Filter{Tag: "work", Shelf: store.Archived}, []string{"c2"}},
		{store.Filter{Tag: "wor"}, nil},
		{store.Filter{Tag: "trip"}, nil},
		{store.Filter{Tag: "%"}, []string{"c3"}},
		{store.Filter{Shelf: store.Shared}, []string{"c2"}},
	} {
		if diff := cmp.Diff(c.want, ids(c.filter)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.filter, diff)
		}
	}
	for tag, want := range map[string]int{"": 3, "work": 2, "a trip": 1, "nothing": 0} {
		if hits, err := s.Search(t.Context(), alice, "apple", tag, 10); len(hits) != want || err != nil {
			t.Errorf("found with the tag %q: %v, %v; want %d", tag, hits, err, want)
		}
	}
	got, err := s.Tags(t.Context(), alice)
	if diff := cmp.Diff([]store.Tag{{Name: "work", Conversations: 2}, {Name: "%", Conversations: 1}, {Name: "a trip", Conversations: 1}, {Name: "wor_", Conversations: 1}}, got); diff != "" || err != nil {
		t.Errorf("tags: %v (-want +got):\n%s", err, diff)
	}
	w.apply(tags("c1"), store.Change{Title: &store.Title{Conversation: "c2", Title: "Two"}}, said("c2", "a2", "pear", 9))
	c, err := s.Conversation(t.Context(), alice, "c2")
	if diff := cmp.Diff(&link, c.Share); diff != "" || err != nil || len(c.Tags) != 2 || c.Title != "Two" {
		t.Errorf("what is not changed stays: %+v, %v\n%s", c, err, diff)
	}
	if c, err := s.Conversation(t.Context(), alice, "c1"); c.Tags != nil || err != nil {
		t.Errorf("tags that were taken off: %q, %v", c.Tags, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("the store's own check: %v", err)
	}
}

func testNoGhosts(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "gone", 1), said("gone", "a1", "text", 1), turn("gone", "t1", 1, event.Running))
	w.apply(store.Change{Delete: "gone"}, store.Change{Delete: "never"})
	for _, id := range []string{"gone", "never"} {
		w.apply(said(id, "a2", "late", 2), turn(id, "t2", 2, event.Queued), store.Change{Title: &store.Title{Conversation: id, Title: "late"}},
			store.Change{Mark: &store.Mark{Conversation: id, Pinned: new(bool)}})
	}
	lines := dump(t, s)
	if len(lines) != 1 { // the position
		t.Errorf("rows without a conversation: %q", lines)
	}
	open, err := s.OpenTurns(t.Context())
	if len(open) != 0 || err != nil {
		t.Errorf("open turns = %v, %v", open, err)
	}
}

func testOddText(t *testing.T, d Driver) {
	dir := t.TempDir()
	s := open(t, d, dir)
	w := &writer{t: t, s: s}
	odd := "nul\x00 quote' \" back\\slash %s \u2028 \U0001F600 \uE000mark\uE001 \u0000 東京 e\u0301 <b>&amp;"
	w.apply(store.Change{Conversation: &store.Conversation{ID: "c'1", Owner: "o'" + odd, Bot: odd, Channel: odd, Title: odd, Created: at(1), Updated: at(1)}},
		said("c'1", "a'1", odd, 2))
	page, _, err := s.Conversations(t.Context(), "o'"+odd, store.Filter{}, "", 10)
	if err != nil || len(page) != 1 || page[0].Title != odd || page[0].Bot != odd {
		t.Errorf("conversations = %+v, %v", page, err)
	}
	acts, err := s.Activities(t.Context(), "o'"+odd, "c'1")
	if err != nil || len(acts) != 1 || acts[0].Text != odd {
		t.Errorf("activities = %+v, %v", acts, err)
	}
	// The zero time stays the zero time.
	w.apply(store.Change{Conversation: &store.Conversation{ID: "c2", Owner: alice}})
	if c, err := s.Conversation(t.Context(), alice, "c2"); err != nil || !c.Created.IsZero() || !c.Updated.IsZero() {
		t.Errorf("conversation without times = %+v, %v", c, err)
	}
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte('a' + i%23)
	}
	w.apply(said("c2", "big", string(big), 3))
	if acts, err := s.Activities(t.Context(), alice, "c2"); err != nil || len(acts) != 1 || acts[0].Text != string(big) {
		t.Errorf("an activity of 1 MiB did not come back: %v", err)
	}
}

func testOwnersApart(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "ca", 1), said("ca", "a1", "shared secret", 1), conversation(bob, "cb", 2), said("cb", "b1", "shared secret", 2),
		conversation("", "nobody", 3), said("nobody", "n1", "shared secret", 3))
	ctx := t.Context()
	for _, owner := range []string{bob, "", "ALICE", "alice ", "alic%", "%", "*"} {
		_, err := s.Conversation(ctx, owner, "ca")
		_, missing := s.Conversation(ctx, owner, "cx")
		if !fault.Is(err, fault.NotFound) || !fault.Is(missing, fault.NotFound) {
			t.Errorf("%q reads alice's conversation: %v; a missing one: %v", owner, err, missing)
		}
		if a, b := fault.MessageOf(err), fault.MessageOf(missing); a != "" && len(a) != len(b) {
			t.Errorf("a foreign and a missing conversation can be told apart: %q, %q", a, b)
		}
		if _, err := s.Activities(ctx, owner, "ca"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q reads alice's activities: %v", owner, err)
		}
		if _, err := s.Activities(ctx, owner, "cx"); !fault.Is(err, fault.NotFound) {
			t.Errorf("activities of a missing conversation: %v", err)
		}
		ids, err := list(ctx, s, owner, 10)
		if slices.Contains(ids, "ca") || err != nil {
			t.Errorf("%q lists %v, %v", owner, ids, err)
		}
		if got := found(t, s, owner, "secret"); slices.Contains(got, "a1") {
			t.Errorf("%q finds %v", owner, got)
		}
	}
	if got := found(t, s, alice, "secret"); !slices.Equal(got, []string{"a1"}) {
		t.Errorf("alice finds %v", got)
	}
}

func testTurns(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	ctx := t.Context()
	w.apply(conversation(alice, "c1", 1), conversation(bob, "c2", 1))
	claimed := func(c store.Change, claim uint64) store.Change { c.Turn.Claim, c.Turn.Attempt = claim, 1; return c }
	w.apply(turn("c1", "t3", 30, event.Queued), turn("c2", "t1", 10, event.Queued), claimed(turn("c1", "t2", 20, event.Running), 50), turn("c1", "t4", 5, event.Ok))
	ids := func() (out []string) {
		turns, err := s.OpenTurns(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range turns {
			out = append(out, tr.ID)
		}
		return out
	}
	if got := ids(); !slices.Equal(got, []string{"t1", "t2", "t3"}) {
		t.Errorf("open turns = %v", got)
	}
	if got, err := s.Claimed(ctx, "c1"); got.ID != "t2" || err != nil {
		t.Errorf("claimed = %+v, %v", got, err)
	}
	if _, err := s.Claimed(ctx, "c2"); !fault.Is(err, fault.NotFound) {
		t.Errorf("claimed of a conversation without claims: %v", err)
	}
	w.apply(claimed(turn("c1", "t3", 30, event.Running), 60), turn("c1", "t2", 20, event.Stopped), turn("c2", "t1", 10, event.Failed))
	if got := ids(); !slices.Equal(got, []string{"t3"}) {
		t.Errorf("open turns = %v", got)
	}
	if got, err := s.Claimed(ctx, "c1"); got.ID != "t3" || err != nil {
		t.Errorf("claimed = %+v, %v", got, err)
	}
	for _, id := range [][2]string{{"c1", "t1"}, {"c2", "t3"}, {"cx", "t1"}} {
		if _, err := s.Turn(ctx, id[0], id[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("turn %v: %v", id, err)
		}
	}
}

func testPaging(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	var want []string
	for i := range 120 {
		id := fmt.Sprintf("c%03d", i)
		w.apply(conversation(alice, id, i/3), conversation(bob, "b"+id, i)) // three at the same moment
		want = append(want, id)
	}
	w.apply(store.Change{Conversation: &store.Conversation{ID: "hidden", Owner: alice, Hidden: true, Created: at(1), Updated: at(1)}})
	slices.Reverse(want)
	for _, limit := range []int{1, 3, 7, 40, 119, 120, 121, 500, 10_000, 0, -1} {
		got, err := list(t.Context(), s, alice, limit)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("limit %d: %v %s", limit, err, diff)
		}
	}
	page, _, err := s.Conversations(t.Context(), alice, store.Filter{}, "", 0)
	if len(page) != 50 || err != nil {
		t.Errorf("a page without a limit holds %d, %v", len(page), err)
	}
	for _, bad := range []string{"x", "' OR 1=1 --", "AAAAAAAAAAAAAAAAAAAA", "\x00"} {
		if _, _, err := s.Conversations(t.Context(), alice, store.Filter{}, bad, 10); !fault.Is(err, fault.Invalid) {
			t.Errorf("cursor %q: %v, want invalid", bad, err)
		}
	}
	if page, next, err := s.Conversations(t.Context(), "nobody", store.Filter{}, "", 10); len(page) != 0 || next != "" || err != nil {
		t.Errorf("list of an unknown owner = %v, %q, %v", page, next, err)
	}
}

// testPagingWhileWriting: conversations that come or change during a walk
// neither repeat nor hide the others.
func testPagingWhileWriting(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	for i := range 30 {
		w.apply(conversation(alice, fmt.Sprintf("c%02d", i), i))
	}
	seen := map[string]int{}
	cursor, n := "", 0
	for {
		page, next, err := s.Conversations(t.Context(), alice, store.Filter{}, cursor, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			seen[c.ID]++
		}
		if next == "" {
			break
		}
		cursor = next
		n++
		w.apply(conversation(alice, fmt.Sprintf("new%02d", n), 100+n), said(page[0].ID, fmt.Sprintf("a%d", n), "an old one moves to the front", 100+n),
			store.Change{Delete: page[len(page)-1].ID}) // the row the cursor stands on
	}
	for i := range 30 {
		if id := fmt.Sprintf("c%02d", i); seen[id] != 1 {
			t.Errorf("%s was seen %d times", id, seen[id])
		}
	}
	if len(seen) != 30 {
		t.Errorf("saw %d conversations, want 30", len(seen))
	}
}

func testDump(t *testing.T, d Driver) {
	a, b := open(t, d, t.TempDir()), open(t, d, t.TempDir())
	changes := []store.Change{
		conversation(alice, "c2", 1), conversation(bob, "c1", 2), said("c2", "a2", "x", 4), said("c2", "a1", "y", 3), said("c1", "a1", "z", 5),
		turn("c2", "t1", 4, event.Ok), turn("c1", "t1", 5, event.Queued),
	}
	wa, wb := &writer{t: t, s: a}, &writer{t: t, s: b}
	wa.apply(changes...)
	for _, c := range []int{1, 0, 6, 4, 5, 3, 2} { // another order, other batches
		wb.apply(changes[c])
	}
	wb.seq, wa.seq = 99, 99
	wa.apply()
	wb.apply()
	la, lb := dump(t, a), dump(t, b)
	if diff := cmp.Diff(la, lb); diff != "" || len(la) != 8 {
		t.Errorf("equal content, unequal dumps (%d lines): %s", len(la), diff)
	}
	wb.apply(store.Change{Title: &store.Title{Conversation: "c1", Title: "t", Auto: true}})
	wa.apply(store.Change{Title: &store.Title{Conversation: "c1", Title: "t"}})
	if cmp.Equal(dump(t, a), dump(t, b)) {
		t.Error("a chosen title and an automatic one look the same")
	}
	stop := errors.New("stop")
	n := 0
	if err := a.Dump(t.Context(), func(string) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("dump stopped by its caller: %v after %d lines", err, n)
	}
	// One moment: what is applied during a dump is not in it.
	n = 0
	err := a.Dump(t.Context(), func(string) error {
		if n++; n == 1 {
			wa.apply(store.Change{Delete: "c2"}, conversation(alice, "c9", 9))
		}
		return nil
	})
	if err != nil || n != 8 {
		t.Errorf("a dump during Apply has %d lines, %v; want the 8 of its beginning", n, err)
	}
}

package understand

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/dialog"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

const (
	exampleModel = "../../examples/nlu/cityguide"
	exampleFlows = "../../examples/flows/cityguide.yaml"
)

// packs are the example with its script, and a small project of its own, each
// learned once.
var packs = sync.OnceValues(func() ([2][]byte, error) {
	var out [2][]byte
	dir, err := os.MkdirTemp("", "understand")
	if err != nil {
		return out, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	small := "name: Small\nculture: en\nintents:\n  tickets: |\n"
	for _, s := range []string{"how much is a day ticket", "what does a ticket cost", "price of a pass", "ticket prices please", "what do I pay", "is a pass expensive"} {
		small += "    - " + s + "\n"
	}
	small += "  thanks: |\n"
	for _, s := range []string{"thanks", "thank you", "cheers", "very kind", "many thanks to you", "that was nice"} {
		small += "    - " + s + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(small), 0o600); err != nil {
		return out, err
	}
	for i, src := range []Source{{Path: exampleModel, Flows: exampleFlows}, {Path: dir}} {
		if out[i], _, err = Make(context.Background(), src); err != nil {
			return out, err
		}
	}
	return out, nil
})

func both(t testing.TB) (guide, small []byte) {
	t.Helper()
	p, err := packs()
	if err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

func opened(t testing.TB, pack []byte) *Model {
	t.Helper()
	m, err := Open("city", pack, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUnderstand(t *testing.T) {
	guide, _ := both(t)
	m := opened(t, guide)
	s, err := New(Options{Apps: []App{{Name: "city", Model: m}}, Bots: []string{"bookings"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC)
	text := "🍰 can I book a table for four tomorrow at 8 pm"
	u := s.Understand(t.Context(), "any", "c", text, now)
	if u.Intent != "book_table" || u.Score < 0.5 || u.Model != "city@"+m.Version || len(m.Version) != 16 {
		t.Fatalf("%+v", u)
	}
	for i := range u.Entities {
		e := &u.Entities[i]
		if got := string([]rune(text)[e.Start:e.End]); got != e.Text {
			t.Errorf("%q is not where it stands: %q", e.Text, got)
		}
		e.Score, e.Role = 0, "" // as learned
	}
	want := []activity.Entity{
		{Start: 25, End: 29, Type: "people", Text: "four", Value: "4"},
		{Start: 30, End: 46, Type: "time", Text: "tomorrow at 8 pm", Value: "2026-03-05 20:00:00"},
	}
	if diff := cmp.Diff(want, u.Entities); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	heard := Heard(text, u)
	if heard.Intent != u.Intent || heard.Text != text || len(heard.Entities) != 2 || heard.Entities[0] != (dialog.Found{Entity: dialog.Entity{Type: "people"}, Value: dialog.Value{Said: "four", Value: "4"}}) {
		t.Errorf("%+v", heard)
	}
	for _, foreign := range []string{"", "   ", "🍰🍰🍰", strings.Repeat("x", 1<<20), "\xff\xfe\x00", "これは日本語です"} {
		if u := s.Understand(t.Context(), "any", "c", foreign, now); u == nil || u.Score > 1 {
			t.Errorf("%.20q: %+v", foreign, u)
		}
	}
}

func BenchmarkUnderstand(b *testing.B) {
	guide, _ := both(b)
	s, err := New(Options{Apps: []App{{Name: "city", Model: opened(b, guide)}}, Bots: []string{"bookings"}})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		s.Understand(b.Context(), "any", "c", "can I book a table for four tomorrow at 8 pm", now)
	}
}

func TestNobodyUnderstands(t *testing.T) {
	var s *Service
	if s.For("b", "c") != nil || s.Understand(t.Context(), "b", "c", "x", time.Now()) != nil {
		t.Error("a service that is not there understands")
	}
	if _, err := s.ForProgram("x", Production, ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := s.Publish(t.Context(), "x", nil, "me"); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	if states, err := s.States(t.Context()); err != nil || len(states) != 0 {
		t.Errorf("%v %v", states, err)
	}
	s.Stop()
}

func TestOpenRefuses(t *testing.T) {
	guide, small := both(t)
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/3] ^= 0x40; return b }
	file, err := Pack([]byte("PNLU and then nothing"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, pack := range map[string][]byte{
		"nothing": nil, "no zip": []byte("hello"), "cut": cut(guide), "one bit": flip(small), "a model that is none": file,
		"no model":              packed(t, map[string]string{"flows.yaml": "flows: {a: b}"}),
		"a stranger":            packed(t, map[string]string{"model.nlu": "x", "../../etc/passwd": "x"}),
		"flows that do not fit": withFlows(t, guide, "flows:\n  no_such_intent: hello\n"),
		"flows that are none":   withFlows(t, guide, "flows: [1, 2"),
	} {
		if m, err := Open("x", pack, nil); err == nil {
			t.Errorf("%s: opened as %s", name, m.Name())
		} else if len(err.Error()) > 2000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
	if _, err := New(Options{Apps: []App{{Name: "city", Model: opened(t, guide)}}}); err == nil || !strings.Contains(err.Error(), `"bookings"`) {
		t.Errorf("a script that hands to a bot that is not there: %v", err)
	}
	a, b := opened(t, guide), opened(t, withFlows(t, guide, "flows:\n  thanks: hello\n"))
	if a.Version == b.Version {
		t.Error("another script is the same version")
	}
}

func FuzzOpen(f *testing.F) {
	guide, small := both(f)
	f.Add(guide)
	f.Add(small)
	f.Add(packed(f, map[string]string{"model.nlu": "PNLU\x02\x00", "flows.yaml": "flows: {}"}))
	f.Fuzz(func(t *testing.T, pack []byte) {
		m, err := Open("x", pack, nil)
		if err != nil {
			return
		}
		s, err := New(Options{Apps: []App{{Name: "x", Model: m}}, Bots: m.bots()})
		if err != nil {
			t.Fatal(err)
		}
		s.Understand(t.Context(), "b", "c", "a table for two tomorrow at eight 🍰", time.Unix(0, 0))
	})
}

func TestWhichApp(t *testing.T) {
	guide, small := both(t)
	s, err := New(Options{Bots: []string{"bookings"}, Apps: []App{
		{Name: "rest", IDs: []string{"6034-ABC"}, Model: opened(t, small)},
		{Name: "city", Bots: []string{"guide"}, Model: opened(t, guide)},
		{Name: "empty", Bots: []string{"new"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if s.For("guide", "c").Script == nil || s.For("other", "c").Script != nil || s.For("new", "c") != nil {
		t.Error("the wrong model reads a bot's conversations")
	}
	for id, code := range map[string]fault.Code{"rest": "", "REST": "", "6034-abc": "", "city": "", "empty": fault.NotFound, "nobody": fault.NotFound} {
		if _, err := s.ForProgram(id, "Production", ""); fault.CodeOf(err) != code {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := s.ForProgram("city", Staging, ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty slot: %v", err)
	}
}

// watcher is an observer that counts.
type watcher struct {
	mu   sync.Mutex // guards all below
	seen map[string]int
}

func (w *watcher) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[what]++
}
func (w *watcher) Understood(app, version string, _ time.Duration) { w.note(version) }
func (w *watcher) Shadowed(app, version, differs string)           { w.note("shadow " + differs) }

// nodes are two nodes of one world: services with a disk of their own and
// values in common.
type nodes struct {
	log  *eventlog.Log
	dirs [2]string
	s    [2]*Service
	w    *watcher
}

func twoNodes(t *testing.T, own *Model) *nodes {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	n := &nodes{log: log, w: &watcher{seen: map[string]int{}}}
	for i := range n.s {
		n.dirs[i] = t.TempDir()
		n.s[i] = n.start(t, i, log, own)
	}
	return n
}

func (n *nodes) start(t *testing.T, i int, values Values, own *Model) *Service {
	t.Helper()
	s, err := New(Options{
		Apps: []App{{Name: "city", Model: own}}, Bots: []string{"bookings"},
		Values: values, Dir: n.dirs[i], Every: 5 * time.Millisecond, Observer: n.w,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// soon waits until ok holds.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: never came", what)
		}
	}
}

func version(s *Service, conversation string) string {
	if m := s.For("any", conversation); m != nil {
		return m.Version
	}
	return ""
}

func TestPublish(t *testing.T) {
	guide, small := both(t)
	own := opened(t, guide)
	n := twoNodes(t, own)
	ctx := t.Context()
	a, b := n.s[0], n.s[1]
	p, err := a.Publish(ctx, "city", small, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if version(a, "c") != own.Version || p.Intents != 2 || p.By != "ann" {
		t.Errorf("published, not activated: %s, %+v", version(a, "c"), p)
	}
	if again, err := b.Publish(ctx, "city", small, "bob"); err != nil || again != p {
		t.Errorf("published again: %+v %v", again, err)
	}

	// Some of the conversations, the same ones on every node.
	if err := a.Activate(ctx, "city", Activation{Role: Next, Version: p.Version, Percent: 30}, "ann"); err != nil {
		t.Fatal(err)
	}
	soon(t, "the other node has the next version", func() bool {
		m, err := b.ForProgram("city", Staging, "")
		return err == nil && m.Version == p.Version
	})
	fresh := 0
	for i := range 1000 {
		c := fmt.Sprint("conversation-", i)
		if version(a, c) != version(b, c) {
			t.Fatalf("%s is read by %s and %s", c, version(a, c), version(b, c))
		}
		if version(a, c) == p.Version {
			fresh++
		}
	}
	if fresh < 250 || fresh > 350 {
		t.Errorf("the next version reads %d of 1000 conversations, not 30 %%", fresh)
	}

	// Only listening.
	if err := b.Activate(ctx, "city", Activation{Role: Next}, "ann"); err != nil {
		t.Fatal(err)
	}
	if err := b.Activate(ctx, "city", Activation{Role: Shadow, Version: p.Version}, "ann"); err != nil {
		t.Fatal(err)
	}
	b.Understand(ctx, "any", "c", "thanks", time.Now())
	b.Understand(ctx, "any", "c", "how do I get to the castle", time.Now())
	if n.w.seen["shadow "] != 1 || n.w.seen["shadow intent"] != 1 || n.w.seen[own.Version] != 2 || n.w.seen[p.Version] != 0 {
		t.Errorf("seen: %v", n.w.seen)
	}

	// Live, and back.
	if err := a.Activate(ctx, "city", Activation{Version: p.Version}, "ann"); err != nil {
		t.Fatal(err)
	}
	soon(t, "live on the other node", func() bool { return version(b, "c") == p.Version })
	states, err := b.States(ctx)
	if err != nil || states[0].Live != p.Version || states[0].Source != "published" || states[0].Before != Configuration || len(states[0].Models) != 1 {
		t.Errorf("%+v %v", states, err)
	}
	if err := b.Activate(ctx, "city", Activation{Version: states[0].Before}, "ann"); err != nil {
		t.Fatal(err)
	}
	soon(t, "back on both", func() bool { return version(a, "c") == own.Version && version(b, "c") == own.Version })
	if states, err = a.States(ctx); err != nil || states[0].Before != p.Version {
		t.Errorf("%+v %v", states, err)
	}
}

func TestPublishRefuses(t *testing.T) {
	guide, small := both(t)
	own := opened(t, guide)
	n := twoNodes(t, own)
	ctx, a := t.Context(), n.s[0]
	if _, err := a.Publish(ctx, "city", guide[:1000], "ann"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a broken package: %v", err)
	}
	if _, err := a.Publish(ctx, "city", withFlows(t, guide, "flows:\n  thanks: {hand: bot nobody}\n"), "ann"); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.MessageOf(err), `"nobody"`) {
		t.Errorf("a bot that is not there: %v", err)
	}
	if _, _, err := n.log.Load(ctx, planKey); !fault.Is(err, fault.NotFound) {
		t.Errorf("something was stored: %v", err)
	}
	p, err := a.Publish(ctx, "city", small, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for _, act := range []Activation{
		{},
		{Version: "0123456789abcdef"},
		{Role: "boss", Version: p.Version},
		{Role: Next, Version: p.Version},
		{Role: Next, Version: p.Version, Percent: 100},
		{Role: Shadow, Version: Configuration},
	} {
		if err := a.Activate(ctx, "city", act, "ann"); err == nil || fault.Is(err, fault.Internal) {
			t.Errorf("%+v: %v", act, err)
		}
	}
	if version(a, "c") != own.Version {
		t.Error("what was refused is live")
	}
}

// A part that is damaged on its way, or gone, leaves what was at work.
func TestDamagedPartChangesNothing(t *testing.T) {
	guide, small := both(t)
	own := opened(t, small)
	n := twoNodes(t, own)
	ctx, a := t.Context(), n.s[0]
	p, err := a.Publish(ctx, "city", guide, "ann")
	if err != nil {
		t.Fatal(err)
	}
	part, revision, err := n.log.Load(ctx, partKey(p.Sum, 0))
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(part)
	bad[len(bad)/2] ^= 1
	if err := n.log.Replace(ctx, partKey(p.Sum, 0), bad, revision); err != nil {
		t.Fatal(err)
	}
	if err := a.Activate(ctx, "city", Activation{Version: p.Version}, "ann"); err == nil || version(a, "c") != own.Version {
		t.Fatalf("a damaged version is live: %v", err)
	}
	if err := n.log.Replace(ctx, partKey(p.Sum, 0), part, revision); !fault.Is(err, fault.Conflict) {
		t.Errorf("an old revision: %v", err)
	}
	// Should it be named all the same, nodes say so and go on.
	if err := a.change(ctx, "city", func(pl *appPlan) error { pl.Live = p.Version; return nil }); err != nil {
		t.Fatal(err)
	}
	soon(t, "the node says what it lacks", func() bool { return n.s[1].Health(ctx) != nil })
	if version(n.s[1], "c") != own.Version {
		t.Error("a damaged version is at work")
	}
}

// A node that can't ask anybody begins with what it had.
func TestStartAlone(t *testing.T) {
	guide, small := both(t)
	n := twoNodes(t, opened(t, guide))
	ctx := t.Context()
	p, err := n.s[0].Publish(ctx, "city", small, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.s[0].Activate(ctx, "city", Activation{Version: p.Version}, "ann"); err != nil {
		t.Fatal(err)
	}
	soon(t, "live on the other node", func() bool { return version(n.s[1], "c") == p.Version })
	n.s[1].Stop()
	if s := n.start(t, 1, cutOff{}, opened(t, guide)); version(s, "c") != p.Version {
		t.Error("the node forgot what was published")
	}
	// Without the file, or with a damaged one, it has the configuration's.
	if err := os.WriteFile(filepath.Join(n.dirs[1], p.Sum+".zip"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := n.start(t, 1, cutOff{}, opened(t, guide))
	if version(s, "c") != opened(t, guide).Version || s.Health(ctx) == nil {
		t.Errorf("version %s, health %v", version(s, "c"), s.Health(ctx))
	}
}

// A publisher that dies at any part leaves what was there; the next try goes on.
func TestPublishBreaksOff(t *testing.T) {
	guide, small := both(t)
	own := opened(t, small)
	n := twoNodes(t, own)
	ctx := t.Context()
	for least := 0; ; least++ {
		dying := &fewWrites{Values: n.log, left: least}
		s := n.start(t, 0, dying, own)
		p, err := s.Publish(ctx, "city", guide, "ann")
		if err == nil {
			if states, err := n.s[1].States(ctx); err != nil || len(states[0].Models) != 1 || states[0].Models[0] != p {
				t.Errorf("%+v %v", states, err)
			}
			if least == 0 {
				t.Error("nothing was written")
			}
			break
		}
		if _, _, err := n.log.Load(ctx, planKey); !fault.Is(err, fault.NotFound) {
			t.Fatalf("after %d writes there is a plan: %v", least, err)
		}
	}
}

// fewWrites fails all writes after some.
type fewWrites struct {
	Values
	left int
}

func (f *fewWrites) Create(ctx context.Context, key string, value []byte) error {
	if f.left == 0 {
		return errCutOff
	}
	f.left--
	return f.Values.Create(ctx, key, value)
}

// cutOff are values that nobody can reach.
type cutOff struct{}

var errCutOff = fault.New(fault.Unavailable, "cut off")

func (cutOff) Load(context.Context, string) ([]byte, uint64, error)  { return nil, 0, errCutOff }
func (cutOff) Create(context.Context, string, []byte) error          { return errCutOff }
func (cutOff) Replace(context.Context, string, []byte, uint64) error { return errCutOff }
func (cutOff) Remove(context.Context, string) error                  { return errCutOff }

func TestOldVersionsAreForgotten(t *testing.T) {
	guide, small := both(t)
	n := twoNodes(t, opened(t, small))
	ctx, a := t.Context(), n.s[0]
	var all []Published
	for i := range mostKept + 3 {
		p, err := a.Publish(ctx, "city", withFlows(t, guide, fmt.Sprintf("flows:\n  thanks: number %d\n", i)), "ann")
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, p); i == 0 {
			if err := a.Activate(ctx, "city", Activation{Version: p.Version}, "ann"); err != nil {
				t.Fatal(err)
			}
		}
	}
	states, err := a.States(ctx)
	if err != nil || len(states[0].Models) != mostKept || states[0].Live != all[0].Version {
		t.Fatalf("%d kept, %v", len(states[0].Models), err)
	}
	if _, _, err := n.log.Load(ctx, partKey(all[1].Sum, 0)); !fault.Is(err, fault.NotFound) {
		t.Errorf("a part of a forgotten version: %v", err)
	}
	if _, err := a.Publish(ctx, "city", withFlows(t, guide, "flows:\n  thanks: number 1\n"), "ann"); err != nil {
		t.Errorf("published anew: %v", err)
	}
	if err := a.Activate(ctx, "city", Activation{Version: all[1].Version}, "ann"); err != nil {
		t.Errorf("live anew: %v", err)
	}
	soon(t, "live on the other node", func() bool { return version(n.s[1], "c") == all[1].Version })
}

func TestMake(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Make(t.Context(), Source{Path: filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte("name: x\nintents: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Make(t.Context(), Source{Path: dir}); err == nil || !strings.Contains(err.Error(), "model.yaml") {
		t.Errorf("a project with problems: %v", err)
	}
	flows := filepath.Join(dir, "my-flows.yml")
	if err := os.WriteFile(flows, []byte("flows:\n  a: \"{nothing}\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Make(t.Context(), Source{Path: exampleModel, Flows: flows}); err == nil || !strings.Contains(err.Error(), "my-flows.yml:2") {
		t.Errorf("a script with problems: %v", err)
	}
	a, _, err := Make(t.Context(), Source{Path: exampleModel, Flows: exampleFlows})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := both(t); !bytes.Equal(a, b) {
		t.Error("the same project twice makes two packages")
	}
}

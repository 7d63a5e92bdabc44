//go:build linux

package stories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/understand"
	"github.com/parleyhq/parley/internal/world"
)

// guide is the example: a city guide that understands by itself and leads
// people to a table. No language model has a part in these stories.
func guide(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`engine: demo
bots: [{id: guide}, {id: bookings}]
understanding:
  - {name: cityguide, model: %q, flows: %q}
`, filepath.Join(root, "examples/nlu/cityguide"), filepath.Join(root, "examples/flows/cityguide.yaml"))
}

// booking is what a person says, and what the script has to answer.
var booking = []struct{ says, answer string }{
	{"a table for four, please", "At what time?"},
	{"tomorrow at 8 pm", "Would you like to sit inside or outside?"},
	{"outside", "Under which name?"},
	{"Kim", "A table for four, tomorrow at 8 pm, outside, for Kim. Is that right?"},
	{"no, make it six", "A table for six, tomorrow at 8 pm, outside, for Kim. Is that right?"},
}

// TestScriptAfterKill kills the node in the middle of filling slots: before the
// answer, after it, and just when it is on its way. The next question is still
// the right one, and is asked once.
func TestScriptAfterKill(t *testing.T) {
	n := newNode(t)
	file := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(file, []byte(guide(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"serve", "-c", file}
	n.start()
	for round := range max(1, kills(t, 4)/len(booking)) {
		u := newUser(t, n.url)
		conv := u.conversation(t.Context())
		s := newShown()
		for i, x := range booking {
			turn := u.say(t.Context(), conv, x.says, fmt.Sprint("k", i)).Turn
			if i%3 == 0 { // at once: the answer may be in the log or not
				wait(time.Duration(round*7%23) * time.Millisecond)
				n.kill()
				n.start()
			}
			if err := u.follow(t.Context(), conv, turn, s, nil); err != nil {
				t.Fatal(err)
			}
			if i%3 == 1 { // when it was heard
				n.kill()
				n.start()
			}
			if s.text[turn] != x.answer || s.state[turn] != "done" {
				t.Fatalf("%q was answered %q (%s %s), want %q", x.says, s.text[turn], s.state[turn], s.problem[turn], x.answer)
			}
		}
		acts := u.activities(t.Context(), conv)
		if len(acts) != 2*len(booking) {
			t.Errorf("%d activities, want %d", len(acts), 2*len(booking))
		}
	}
}

// TestScriptInAnotherRegion kills the region that leads the conversation, in
// the middle of filling slots; another one asks the next question.
func TestScriptInAnotherRegion(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	w, err := world.New(world.Options{
		Regions: []world.Region{{Name: "japaneast", Witness: true}, {Name: "koreacentral"}, {Name: "southeastasia"}},
		Dir:     t.TempDir(), Listen: "127.0.0.1:0", Command: []string{bin, "serve"}, Environ: os.Environ(), Restart: -1, Settings: guide(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := client.New(client.Options{BaseURLs: []string{w.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	home := bothServe(ctx, t, c)
	everywhere(ctx, t, w, c)
	conv, err := c.Create(ctx, client.NewConversation{})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range booking {
		if i == 2 { // two slots are filled, two are not
			if err := w.Kill(home(conv.ID)); err != nil {
				t.Fatal(err)
			}
		}
		sent, err := c.Send(ctx, conv.ID, client.Message{Text: x.says})
		if err != nil {
			t.Fatalf("%q: %v", x.says, err)
		}
		a, err := c.Follow(ctx, conv.ID, sent.Turn, 0, nil)
		if err != nil || a.Text != x.answer {
			t.Fatalf("%q was answered %q (%v), want %q", x.says, a.Text, err, x.answer)
		}
	}
	acts, err := c.Activities(ctx, conv.ID)
	if err != nil || len(acts) != 2*len(booking) {
		t.Errorf("%d activities, want %d, %v", len(acts), 2*len(booking), err)
	}
	if by := acts[len(acts)-1].Meta().Region; by == home(conv.ID) {
		t.Errorf("the dead region %s gave the last answer", by)
	}
}

// everywhere publishes a version to one region and waits until all have it live.
func everywhere(ctx context.Context, t *testing.T, w *world.World, c *client.Client) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	flows, err := os.ReadFile(filepath.Join(root, "examples/flows/cityguide.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "flows.yaml")
	if err := os.WriteFile(file, append(flows, "\n# another version\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	pack, _, err := understand.Make(ctx, understand.Source{Path: filepath.Join(root, "examples/nlu/cityguide"), Flows: file})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Publish(ctx, "cityguide", pack)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Activate(ctx, "cityguide", client.Activation{Version: m.Version}); err != nil {
		t.Fatal(err)
	}
	for region, url := range w.Addresses() {
		one, err := client.New(client.Options{BaseURLs: []string{url}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			apps, err := one.Apps(ctx)
			if err == nil && apps[0].Live == m.Version {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s has %+v, not version %s: %v", region, apps, m.Version, err)
			}
			wait(50 * time.Millisecond)
		}
	}
}

// bothServe waits until every region serves, and returns the home of a
// conversation.
func bothServe(ctx context.Context, t *testing.T, c *client.Client) func(id string) string {
	t.Helper()
	for {
		regions, err := c.Regions(ctx)
		serving := 0
		for _, r := range regions {
			if r.State == client.RegionServing || r.State == client.RegionWitness {
				serving++
			}
		}
		if err == nil && serving == 3 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(errors.Join(ctx.Err(), err))
		}
		wait(100 * time.Millisecond)
	}
	return func(id string) string {
		for i, r := range id {
			if r == '-' {
				return id[:i]
			}
		}
		return id
	}
}

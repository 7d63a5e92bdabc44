//go:build linux

package stories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The node is killed again and again while three people talk. Every answer is
// finished; nothing acknowledged is lost; nothing is there twice.
func TestKillTheNode(t *testing.T) {
	n := newNode(t, "PARLEY_ENGINE=demo", "PARLEY_CHECKPOINT=20ms")
	n.start()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	var over atomic.Bool
	var wg sync.WaitGroup
	people := make([]*person, 3)
	for i := range people {
		people[i] = &person{u: newUser(t, n.url), name: fmt.Sprint("p", i)}
		wg.Go(func() { people[i].talk(ctx, &over) })
	}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) //nolint:gosec // a campaign, not a secret
	count := kills(t, 3)
	for range count {
		wait(time.Duration(100+rnd.IntN(900)) * time.Millisecond)
		n.kill()
		n.start()
	}
	over.Store(true)
	wg.Wait()
	turns, cuts := 0, 0
	for _, p := range people {
		turns += len(p.turns)
		cuts += len(p.seen.joints)
		p.check(ctx)
	}
	t.Logf("%d kills, %d answers, %d of them cut and resumed", count, turns, cuts)
	if turns == 0 || cuts == 0 {
		t.Error("no answer was hit: this campaign proves nothing")
	}
}

// person asks one question after another.
type person struct {
	u     *user
	name  string
	conv  string
	seen  *shown
	turns []said
	asked []string
}

func (p *person) talk(ctx context.Context, over *atomic.Bool) {
	p.conv, p.seen = p.u.conversation(ctx), newShown()
	for i := 0; !over.Load() && ctx.Err() == nil; i++ {
		text := fmt.Sprintf("question %d of %s", i, p.name)
		s := p.u.say(ctx, p.conv, text, fmt.Sprintf("%s-%d", p.name, i))
		p.asked, p.turns = append(p.asked, text), append(p.turns, s)
		if err := p.u.follow(ctx, p.conv, s.Turn, p.seen, nil); err != nil {
			p.u.t.Errorf("%s: %v", p.name, err)
			return
		}
		if p.seen.state[s.Turn] != "done" {
			p.u.t.Errorf("%s: turn %s is %s: %s", p.name, s.Turn, p.seen.state[s.Turn], p.seen.problem[s.Turn])
		}
	}
}

// check compares what was acknowledged, what was shown and what is there.
func (p *person) check(ctx context.Context) {
	t := p.u.t
	want := make([]string, 0, 2*len(p.turns))
	for _, s := range p.turns {
		want = append(want, s.ID, "b"+s.Turn[1:])
	}
	got := []string{}
	for i, a := range p.u.activities(ctx, p.conv) {
		got = append(got, a.ID)
		if i%2 == 0 && i/2 < len(p.asked) && a.Text != p.asked[i/2] {
			t.Errorf("%s: activity %d is %q, said was %q", p.name, i, a.Text, p.asked[i/2])
		}
		if a.From.Role == "bot" {
			if a.Text != p.seen.text[a.Data.Parley.Turn] {
				t.Errorf("%s: the log holds %q, shown was %q", p.name, a.Text, p.seen.text[a.Data.Parley.Turn])
			}
			// The demonstration says the same every time but for one sentence.
			if first := p.seen.text[p.turns[0].Turn]; counted.ReplaceAllString(a.Text, "") != counted.ReplaceAllString(first, "") {
				t.Errorf("%s: an answer differs from the first:\n%q\n%q", p.name, a.Text, first)
			}
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: activities\n got %v\nwant %v", p.name, got, want)
	}
}

var counted = regexp.MustCompile(` It is message \d+ of yours[^.]*\.`)

var questions = []string{
	"What is the capital of France?", "Write three sentences about the sea.", "Explain what a list is in Python.",
	"Tell me a short story about a fox.", "Why is the sky blue?", "Give me five words about winter.",
	"How do I boil an egg?", "What is a database index?", "Describe a rainy day in a city.", "What does a gardener do?",
}

// greedy writes a configuration whose bot answers the same every time.
func greedy(t *testing.T, resume string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "parley.yaml")
	text := "engine: embedded\nbots:\n  - id: default\n    name: Parley\n    system: You are a helpful assistant.\n    temperature: 0\n    max_tokens: 96\n    resume: " + resume + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// embedded starts a node with the real engine and returns the undisturbed
// answers to the questions.
func embedded(t *testing.T, ctx context.Context, resume string) (*node, *user, map[string]string) {
	t.Helper()
	real(t)
	n := newNode(t, "PARLEY_CHECKPOINT=30ms")
	n.args = []string{"serve", "-c", greedy(t, resume)}
	n.start()
	u := newUser(t, n.url)
	want := map[string]string{}
	for _, q := range questions {
		want[q], _ = u.ask(ctx, q, nil)
		again, _ := u.ask(ctx, q, nil)
		if want[q] == "" || again != want[q] {
			t.Fatalf("undisturbed answers to %q differ:\n%q\n%q", q, want[q], again)
		}
	}
	return n, u, want
}

// ask puts a question in a new conversation and returns the whole answer.
func (u *user) ask(ctx context.Context, q string, grown func(*shown)) (string, *shown) {
	conv, seen := u.conversation(ctx), newShown()
	s := u.say(ctx, conv, q, "")
	if err := u.follow(ctx, conv, s.Turn, seen, grown); err != nil {
		u.t.Fatalf("%q: %v", q, err)
	}
	if seen.state[s.Turn] != "done" {
		u.t.Errorf("%q: the turn is %s: %s", q, seen.state[s.Turn], seen.problem[s.Turn])
	}
	text := seen.text[s.Turn]
	acts := u.activities(ctx, conv)
	if len(acts) != 2 || acts[1].Text != text {
		u.t.Errorf("%q: shown %q, there is %v", q, text, acts)
	}
	return text, seen
}

// campaign asks until count answers were hit in the middle, and says how many
// came out as the undisturbed ones.
func campaign(t *testing.T, ctx context.Context, n *node, u *user, want map[string]string, strike func()) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2)) //nolint:gosec // a campaign, not a secret
	count, equal, hit := kills(t, 3), 0, 0
	for tries := 0; hit < count && tries < 3*count && !t.Failed(); tries++ {
		q := questions[rnd.IntN(len(questions))]
		at := 1 + rnd.IntN(len(want[q])) // bytes shown when it strikes
		struck := false
		got, seen := u.ask(ctx, q, func(s *shown) {
			for _, text := range s.text {
				if !struck && len(text) >= at {
					struck = true
					strike()
				}
			}
		})
		if len(seen.joints) == 0 {
			continue // it was over already
		}
		hit++
		if got == want[q] {
			equal++
		}
		j := seen.joints[0]
		runes := []rune(got)
		t.Logf("cut %d: %s at %d: …%q | %q… equal %v", hit, j.policy, j.offset,
			string(runes[max(0, j.offset-40):j.offset]), string(runes[j.offset:min(len(runes), j.offset+40)]), got == want[q])
		checkJoint(t, q, got, want[q], j)
	}
	t.Logf("%d answers were cut, %d came out as the undisturbed ones", hit, equal)
	if hit < count {
		t.Errorf("only %d of %d strikes hit an answer", hit, count)
	}
}

// checkJoint: what was shown before the cut stays, the text after it begins
// neither with the answer's beginning nor with what stands before the joint.
func checkJoint(t *testing.T, q, got, want string, j joint) {
	t.Helper()
	if j.policy == "exact" && got != want {
		t.Errorf("%q: an exact continuation differs:\n got %q\nwant %q", q, got, want)
	}
	if j.policy == "restart" {
		if j.offset != 0 {
			t.Errorf("%q: restarted at %d", q, j.offset)
		}
		return
	}
	runes, whole := []rune(got), []rune(want)
	before, after := string(runes[:j.offset]), string(runes[j.offset:])
	if j.offset > len(whole) || before != string(whole[:j.offset]) {
		t.Errorf("%q: the text before the joint is not the undisturbed one's: %q", q, before)
	}
	if rest := string(whole[min(j.offset, len(whole)):]); strings.HasPrefix(rest, after) || strings.HasPrefix(after, rest) {
		return // as if nothing had happened
	}
	const long = 24 // characters that don't come twice by chance
	if start := string(runes[:min(long, len(runes))]); j.offset >= long && strings.HasPrefix(strings.TrimSpace(after), start) {
		t.Errorf("%q: the answer begins again at the joint: %q | %q", q, before, after)
	}
	if n := min(long, j.offset, len(runes)-j.offset); n == long && strings.HasSuffix(before, string(runes[j.offset:j.offset+n])) {
		t.Errorf("%q: the joint repeats a phrase: %q | %q", q, before, after)
	}
}

func TestKillTheEngineExact(t *testing.T) { killTheEngine(t, "exact") }

func TestKillTheEngineQuick(t *testing.T) { killTheEngine(t, "quick") }

func killTheEngine(t *testing.T, resume string) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	n, u, want := embedded(t, ctx, resume)
	campaign(t, ctx, n, u, want, func() {
		pid := n.engine()
		if pid == 0 {
			t.Error("the engine's process is not found")
			return
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill engine: %v", err)
		}
	})
}

func TestKillTheNodeWithTheRealEngine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	n, u, want := embedded(t, ctx, "exact")
	campaign(t, ctx, n, u, want, func() {
		n.kill()
		n.start() // the client comes back by itself
	})
}

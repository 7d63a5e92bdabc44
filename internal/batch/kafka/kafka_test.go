package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The brokers here are simulated by the client's authors; test/stories has real
// ones.
func brokers(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in", "out"), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// say puts requests into the intake.
func say(t *testing.T, brokers []string, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// heard reads n answers from the outlet, as whoever reads what is committed,
// and a moment longer.
func heard(t *testing.T, brokers []string, n int) (out []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(out) < n {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d answers, want %d", len(out), n)
		}
		out = append(out, f.Records()...)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return append(out, cl.PollFetches(ctx).Records()...)
}

// clerk answers, and counts.
type clerk struct {
	mu     sync.Mutex
	asked  map[string]int
	during func(r Request) // an answer
}

func (c *clerk) answer(ctx context.Context, r Request) (Answer, error) {
	c.mu.Lock()
	if c.asked == nil {
		c.asked = map[string]int{}
	}
	c.asked[r.ID]++
	c.mu.Unlock()
	if c.during != nil {
		c.during(r)
	}
	if ctx.Err() != nil {
		return Answer{}, ctx.Err()
	}
	return Answer{Raw: fmt.Appendf(nil, "%s|%s|%s", r.ID, r.Custom, r.Raw), Well: string(r.Raw) != "bad"}, nil
}

func refuse(r Request, code, message string) Answer {
	return Answer{Raw: fmt.Appendf(nil, "%s|%s|%s: %s", r.ID, r.Custom, code, message)}
}

// tally is whoever watches.
type tally struct {
	mu                sync.Mutex
	well, bad, aborts int
}

func (x *tally) KafkaAnswered(_ string, well, bad int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.well, x.bad = x.well+well, x.bad+bad
}

func (x *tally) KafkaAborted(string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborts++
}

func bridge(t *testing.T, brokers []string, node string, c *clerk, x Observer) *Bridge {
	t.Helper()
	b, err := New(Options{Name: "k", Node: node, Brokers: brokers, Intake: "in", Outlet: "out", Answer: c.answer, Refuse: refuse, Observer: x})
	if err != nil {
		t.Fatal(err)
	}
	b.Start(t.Context())
	t.Cleanup(func() { b.Stop(context.Background()) })
	return b
}

func TestEachRequestIsAnswered(t *testing.T) {
	at := brokers(t)
	say(t, at,
		&kgo.Record{Key: []byte("ann"), Value: []byte("hello"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("7")}}},
		&kgo.Record{Value: []byte("bad")},
		&kgo.Record{Value: []byte(strings.Repeat("x", 900_000)), Headers: []kgo.RecordHeader{{Key: "large", Value: make([]byte, 97_000)}}},
		&kgo.Record{Key: []byte("\xff"), Value: nil},
	)
	x := &tally{}
	b := bridge(t, at, "one", &clerk{}, x)
	got := map[string]string{}
	for _, r := range heard(t, at, 4) {
		v := string(r.Value)
		switch {
		case string(r.Key) == "ann":
			if len(r.Headers) != 1 || r.Headers[0].Key != "trace" || string(r.Headers[0].Value) != "7" {
				t.Errorf("headers %v", r.Headers)
			}
			if !strings.HasPrefix(v, "kafka_in_") || !strings.HasSuffix(v, "|ann|hello") {
				t.Errorf("the answer with a key is %q", v)
			}
		case strings.Contains(v, "answer_too_large"):
		case strings.HasSuffix(v, "|bad"), strings.HasSuffix(v, "|"):
			id, rest, _ := strings.Cut(v, "|")
			if custom, _, _ := strings.Cut(rest, "|"); custom != id {
				t.Errorf("without a good key the custom id is %q, want %q", custom, id)
			}
		default:
			t.Errorf("an answer of %d bytes: %.100q", len(v), v)
		}
		got[v] = ""
	}
	if len(got) != 4 {
		t.Errorf("%d answers that differ, want 4", len(got))
	}
	if err := b.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.well != 2 || x.bad != 2 {
		t.Errorf("%d well and %d bad, want 2 and 2", x.well, x.bad)
	}
}

// Nodes come and go while requests are answered: each has one answer.
func TestNodesComeAndGo(t *testing.T) {
	at := brokers(t)
	const n = 300
	for i := range n {
		say(t, at, &kgo.Record{Key: fmt.Appendf(nil, "r%d", i), Value: fmt.Appendf(nil, "%d", i)})
	}
	slow := func(Request) { <-time.After(30 * time.Millisecond) }
	one, two, three := &clerk{during: slow}, &clerk{during: slow}, &clerk{during: slow}
	first := bridge(t, at, "one", one, nil)
	<-time.After(200 * time.Millisecond)
	bridge(t, at, "two", two, nil)
	<-time.After(300 * time.Millisecond)
	first.Stop(t.Context())
	bridge(t, at, "one", three, nil) // the same node once more: it ends what the first began
	times := map[string]int{}
	for _, r := range heard(t, at, n) {
		times[string(r.Key)]++
	}
	for i := range n {
		if k := fmt.Sprintf("r%d", i); times[k] != 1 {
			t.Errorf("%s has %d answers", k, times[k])
		}
	}
}

func TestHealthSaysWhatIsMissing(t *testing.T) {
	at := brokers(t)
	b, err := New(Options{Name: "k", Node: "n", Brokers: at, Intake: "nowhere", Outlet: "out", Answer: (&clerk{}).answer, Refuse: refuse})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Health(t.Context()); err == nil {
		t.Error("a bridge that was not started is well")
	}
	b.Start(t.Context())
	t.Cleanup(func() { b.Stop(context.Background()) })
	said := ""
	for range 300 {
		if err := b.Health(t.Context()); err != nil {
			if said = err.Error(); strings.Contains(said, `"nowhere"`) {
				return
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Errorf("of a topic that is missing health says %q", said)
}

func TestOptions(t *testing.T) {
	good := Options{Name: "k", Node: "n", Brokers: []string{"127.0.0.1:1"}, Intake: "in", Outlet: "out", Answer: (&clerk{}).answer, Refuse: refuse}
	for what, change := range map[string]func(*Options){
		"no broker":       func(o *Options) { o.Brokers = nil },
		"its own answers": func(o *Options) { o.Outlet = "in" },
		"mechanism":       func(o *Options) { o.Mechanism = "GSSAPI" },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	b, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	b.note(errors.New("no way there"))
	if err := b.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "no way there") {
		t.Errorf("health: %v", err)
	}
}

package replay_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/scale"
	"github.com/parleyhq/parley/internal/scale/replay"
)

func engine() replay.Engine {
	return replay.Engine{Slots: 2, Starts: 8 * time.Second, First: 50 * time.Millisecond, Prefill: 1000, Decode: 50}
}

func play(t *testing.T, traffic []replay.Request, p replay.Policy, o replay.Options) replay.Run {
	t.Helper()
	r, err := replay.Play(t.Context(), traffic, p, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What can be worked out on paper must come out.
func TestByHand(t *testing.T) {
	e := engine()
	one := []replay.Request{{At: 10 * time.Second, Prompt: 100, Answer: 51}}
	alone := 0.05 + 0.1 + 1.0/50 // first, prompt, one token

	r := play(t, one, replay.Fixed(1), replay.Options{Engine: e, Price: 2, For: time.Hour})
	near(t, "first token of a request that is alone", r.P50, alone)
	near(t, "hours of one replica in an hour", r.Hours, 1)
	near(t, "cost", r.Cost, 2)

	zero := replay.Policy{Name: "zero", Limits: scale.Limits{Max: 2, Target: 2, Idle: time.Minute}}
	r = play(t, one, zero, replay.Options{Engine: e, For: time.Hour})
	near(t, "first token behind a cold start", r.P50, 8+alone)
	// Starts 8 s, answers until 19.17 s, gone at the first second with a minute of silence before it.
	if secs := r.Hours * 3600; r.Cold != 1 || r.Starts != 1 || secs < 68 || secs > 71 {
		t.Errorf("%d cold, %d starts, %.2f s of a replica", r.Cold, r.Starts, secs)
	}

	// Two slots: the third waits until the first two are through.
	three := []replay.Request{{0, 100, 51}, {0, 100, 51}, {0, 100, 51}}
	r = play(t, three, replay.Fixed(1), replay.Options{Engine: e, For: time.Minute})
	near(t, "first token of the third of three at two slots", r.Longest, alone+1+alone)

	// Answers in one replica slow each other: two at half speed each.
	e.Batch = 1
	r = play(t, three[:2], replay.Fixed(1), replay.Options{Engine: e, For: time.Minute})
	near(t, "first token of two that share a replica", r.Longest, 2*alone)

	// So do replicas that share a machine.
	e.Batch, e.Cores, e.Slots = 0, 1, 1
	r = play(t, three[:2], replay.Fixed(2), replay.Options{Engine: e, For: time.Minute})
	near(t, "first token of two replicas on one core", r.Longest, 2*alone)
}

func TestNobodyIsLost(t *testing.T) {
	for _, shape := range replay.Shapes() {
		traffic, err := replay.Generate{Shape: shape.Name, Peak: 1, For: 30 * time.Minute, Prompt: 200, Answer: 100, Seed: 3}.Traffic()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []replay.Policy{
			replay.Fixed(4),
			{Name: "zero", Limits: scale.Limits{Max: 6, Target: 2, Idle: time.Minute, Hold: time.Minute, Start: 8 * time.Second}},
		} {
			r := play(t, traffic, p, replay.Options{Engine: engine()})
			if r.Requests != len(traffic) || r.Waiting != 0 {
				t.Errorf("%s, %s: %d of %d answered, %d wait", shape.Name, p.Name, r.Requests, len(traffic), r.Waiting)
			}
			if r.Most > p.Max {
				t.Errorf("%s, %s: %d replicas at once", shape.Name, p.Name, r.Most)
			}
		}
	}
}

func TestScalingSavesAndForecastHelps(t *testing.T) {
	traffic, err := replay.Generate{Shape: "office", Peak: 1.5, For: 4 * time.Hour, Prompt: 300, Answer: 150, Seed: 1}.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	e := engine()
	e.Starts = time.Minute
	l := scale.Limits{Max: 6, Target: 2} // the day in a sixth of its time
	now := play(t, traffic, replay.Policy{Name: "now", Limits: l}, replay.Options{Engine: e, For: 4 * time.Hour})
	l.Start = e.Starts
	ahead := play(t, traffic, replay.Policy{Name: "ahead", Limits: l}, replay.Options{Engine: e, For: 4 * time.Hour})
	fixed := play(t, traffic, replay.Fixed(6), replay.Options{Engine: e, For: 4 * time.Hour})
	if now.Hours > 0.7*fixed.Hours {
		t.Errorf("%.1f replica hours, fixed %.1f", now.Hours, fixed.Hours)
	}
	if ahead.P95 > now.P95 {
		t.Errorf("p95 %.2f s with a forecast, %.2f s without", ahead.P95, now.P95)
	}
	if fixed.P95 > now.P95 {
		t.Errorf("p95 %.2f s with 6 replicas all day, %.2f s with fewer", fixed.P95, now.P95)
	}
}

func TestTheSameSeedIsTheSameDay(t *testing.T) {
	g := replay.Generate{Shape: "bursts", Peak: 2, For: time.Hour, Prompt: 100, Answer: 100, Seed: 7}
	a, _ := g.Traffic()
	b, _ := g.Traffic()
	g.Seed = 8
	c, _ := g.Traffic()
	if diff := cmp.Diff(a, b); diff != "" || len(a) == 0 || cmp.Equal(a, c) {
		t.Errorf("%d and %d requests, with another seed %d: %s", len(a), len(b), len(c), diff)
	}
	for _, bad := range []replay.Generate{{Shape: "no such"}, {Shape: "office"}, {Shape: "office", Peak: math.NaN(), For: time.Hour}, {Shape: "office", Peak: 1, Answer: 1}, {Shape: "office", Peak: 1e9, For: time.Hour, Answer: 1}} {
		if _, err := bad.Traffic(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestReads(t *testing.T) {
	want := []replay.Request{{0, 10, 20}, {1500 * time.Millisecond, 30, 1}}
	for name, text := range map[string]string{
		"a.csv":    "at,prompt,answer\n100,10,20\n101.5,30,1\n",
		"b.csv":    "answer,who,at,prompt\n1,x,2026-03-02T09:30:01.5Z,30\n20,y,2026-03-02T09:30:00Z,10\n",
		"c.jsonl":  `{"at":"2026-03-02T09:30:00Z","prompt":10,"answer":20}` + "\n\n" + `{"at":"2026-03-02T10:30:01.5+01:00","prompt":30,"answer":1,"model":"x"}`,
		"d.ndjson": `{"at":5,"prompt":10,"answer":20}` + "\n" + `{"at":6.5,"prompt":30,"answer":0}`,
	} {
		got, err := replay.Read(name, strings.NewReader(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for text, says := range map[string]string{
		"":                                    "line 1",
		"at,prompt\n1,2\n":                    "answer",
		"at,prompt,answer\n":                  "no request",
		"at,prompt,answer\n1,2,3\nx,2,3\n":    "line 3",
		"at,prompt,answer\n1,2,-3\n":          "line 2",
		"at,prompt,answer\n1,2\n":             "line 2",
		"at,prompt,answer\n1,2,3\n1e11,2,3\n": "31 days",
		"at,prompt,answer\n" + strings.Repeat("9", 70_000) + ",1,1\n": "more than",
	} {
		if _, err := replay.Read("x.csv", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, want %q in it", text, err, says)
		}
	}
	if _, err := replay.Read("x.jsonl", strings.NewReader("{\"at\":1,\"prompt\":1,\"answer\":1}\n{\"at\":\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("broken JSON: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"at,prompt,answer\n1,2,3\n", "{\"at\":1,\"prompt\":1,\"answer\":1}\n", "at,prompt,answer\n2026-03-02T09:30:00Z,2,3\n", "\ufeffat,prompt,answer\nNaN,1,1", "{\"at\":1e400}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"x.csv", "x.jsonl"} {
			got, err := replay.Read(name, bytes.NewReader(b))
			if err != nil {
				continue
			}
			for i, r := range got {
				if r.At < 0 || r.Prompt < 0 || r.Answer < 1 || i > 0 && r.At < got[i-1].At || r.At > 63*24*time.Hour {
					t.Fatalf("%s: %+v", name, r)
				}
			}
		}
	})
}

func TestPolicies(t *testing.T) {
	p, err := replay.ParsePolicy("small: min=1 max=4 target=2.5 idle=90s hold=2m spare=1", 8*time.Second)
	want := replay.Policy{Name: "small", Limits: scale.Limits{Min: 1, Max: 4, Target: 2.5, Idle: 90 * time.Second, Hold: 2 * time.Minute, Spare: 1, Start: 8 * time.Second}}
	if err != nil || p != want {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := replay.ParsePolicy("x: fixed=3 forecast=off", time.Second); err != nil || p.Min != 3 || p.Max != 3 || p.Start != 0 {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"", "max=3", ": max=3", "x: maxi=3", "x: max=three", "x: max=0", "x: min=3 max=2", "x: max=2000", "x: max=2 forecast=maybe", "x: max=2 target=-1"} {
		if _, err := replay.ParsePolicy(bad, 0); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The drawing is well-formed, says that it is simulated, and takes any name.
func TestDraws(t *testing.T) {
	traffic, err := replay.Generate{Shape: "ramp", Peak: 1, For: time.Hour, Prompt: 100, Answer: 100, Seed: 1}.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	r := play(t, traffic, replay.Fixed(2), replay.Options{Engine: engine(), Price: 1})
	r.Policy = `<a & "b">`
	svg := replay.Draw("a day & more", "<sub>", []replay.Run{r, {Policy: "nothing", P50: math.NaN(), P95: math.NaN()}})
	d := xml.NewDecoder(strings.NewReader(svg))
	paths := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "path" {
			paths++
		}
	}
	if paths != 5 || !strings.Contains(svg, "Simulated: ") || strings.Contains(svg, "NaN") {
		t.Errorf("%d lines in the drawing; NaN in it: %v", paths, strings.Contains(svg, "NaN"))
	}
	measured := r
	measured.Measured = true
	if s := replay.Draw("x", "", []replay.Run{measured}); strings.Contains(s, "Simulated") {
		t.Error("what was measured is called simulated")
	}
	if s := replay.Draw("x", "", []replay.Run{measured, r}); !strings.Contains(s, "Measured and simulated: x") {
		t.Error("both are not told apart")
	}
}

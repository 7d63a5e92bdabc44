package replay

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Shape is how traffic comes and goes.
type Shape struct {
	Name string
	What string // half a sentence
	// at is the rate at a moment of the day, or of however long it goes on (0 to
	// 1), as a share of the peak.
	at func(r *rand.Rand) func(x float64) float64
}

// Shapes are those there are.
func Shapes() []Shape {
	hump := func(x, at, width float64) float64 { return math.Exp(-(x - at) * (x - at) / (2 * width * width)) }
	plain := func(f func(float64) float64) func(*rand.Rand) func(float64) float64 {
		return func(*rand.Rand) func(float64) float64 { return f }
	}
	return []Shape{
		{"office", "a working day: up from eight, a hole at lunch, nobody at night", plain(func(x float64) float64 {
			h := 24 * x
			if h < 6 || h > 21 {
				return 0
			}
			return min(1, hump(h, 10.5, 1.2)+0.9*hump(h, 14.8, 1.4)+0.08*hump(h, 18.5, 1))
		})},
		{"evening", "people at home: little by day, most at nine in the evening", plain(func(x float64) float64 {
			h := 24 * x
			return min(1, 0.03+hump(h, 21, 1.8)+0.25*hump(h, 12.5, 3))
		})},
		{"steady", "the same all the time", plain(func(float64) float64 { return 1 })},
		{"ramp", "up from nothing to the peak and down again, with quiet before and after", plain(func(x float64) float64 {
			switch {
			case x < 0.1 || x > 0.8:
				return 0
			case x < 0.45:
				return (x - 0.1) / 0.35
			}
			return (0.8 - x) / 0.35
		})},
		{"bursts", "little, and now and then many at once", func(r *rand.Rand) func(float64) float64 {
			var begin, end []float64
			for range 12 {
				b := r.Float64()
				begin, end = append(begin, b), append(end, b+0.002+0.008*r.Float64())
			}
			return func(x float64) float64 {
				for i := range begin {
					if x >= begin[i] && x < end[i] {
						return 1
					}
				}
				return 0.05
			}
		}},
	}
}

// Generate describes traffic that nobody has had.
type Generate struct {
	Shape          string
	Peak           float64 // requests in a second
	For            time.Duration
	Prompt, Answer int // tokens on average
	Seed           uint64
}

// Most is how many requests traffic may have.
const Most = 5_000_000

// Traffic makes it: the same for the same description. Requests come on their
// own (a Poisson process); tokens are spread as those of chats are, many short
// and a few long.
func (g Generate) Traffic() ([]Request, error) {
	i := slices.IndexFunc(Shapes(), func(s Shape) bool { return s.Name == g.Shape })
	switch {
	case i < 0:
		return nil, fmt.Errorf("there is no shape %q: office, evening, steady, ramp and bursts are known", g.Shape)
	case !(g.Peak > 0) || math.IsInf(g.Peak, 0):
		return nil, fmt.Errorf("a peak of %v requests in a second: more than 0 are needed", g.Peak)
	case g.For < time.Second || g.For > 31*24*time.Hour:
		return nil, fmt.Errorf("%v is no time to replay: a second to 31 days", g.For)
	case g.Prompt < 0 || g.Answer < 1 || g.Prompt > 1<<20 || g.Answer > 1<<20:
		return nil, fmt.Errorf("%d tokens of prompt and %d of answer: up to a million, and at least one of answer", g.Prompt, g.Answer)
	case g.Peak*g.For.Seconds() > Most:
		return nil, fmt.Errorf("that may be %.0f requests; at most %d are replayed", g.Peak*g.For.Seconds(), Most)
	}
	r := rand.New(rand.NewPCG(g.Seed, 0x5ca1e))
	rate := Shapes()[i].at(r)
	day := min(g.For, 24*time.Hour).Seconds()
	var out []Request
	for t := 0.0; ; {
		t += r.ExpFloat64() / g.Peak
		if t >= g.For.Seconds() {
			return out, nil
		}
		if r.Float64() >= rate(math.Mod(t, day)/day) {
			continue
		}
		out = append(out, Request{time.Duration(t * float64(time.Second)), spread(r, g.Prompt), max(1, spread(r, g.Answer))})
	}
}

// spread draws from a log-normal distribution around mean.
func spread(r *rand.Rand, mean int) int {
	const sigma = 0.6
	return int(math.Min(float64(mean)*math.Exp(sigma*r.NormFloat64()-sigma*sigma/2), 8*float64(mean)))
}

const longestLine = 64 << 10

// Read reads traffic that was recorded: CSV with a first line that names at,
// prompt and answer, or JSON objects with these names, one a line. at is a time
// (RFC 3339) or seconds; prompt and answer are tokens. The name says which it is
// (.csv, .jsonl). What is wrong is reported with its line.
func Read(name string, in io.Reader) ([]Request, error) {
	next := readCSV
	if strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".ndjson") {
		next = readJSON
	}
	var out []Request
	var began float64
	err := next(in, func(line int, at, prompt, answer string) error {
		t, err := moment(at)
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		p, err1 := tokens(prompt)
		a, err2 := tokens(answer)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if len(out) == 0 {
			began = t
		}
		if len(out) >= Most {
			return fmt.Errorf("line %d: at most %d requests are replayed", line, Most)
		}
		d := t - began
		if math.Abs(d) > 31*24*3600 {
			return fmt.Errorf("line %d: more than 31 days from the first line", line)
		}
		out = append(out, Request{time.Duration(d * float64(time.Second)), p, max(1, a)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read %s: there is no request in it", name)
	}
	slices.SortStableFunc(out, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	first := out[0].At
	for i := range out {
		out[i].At -= first
	}
	return out, nil
}

// moment reads a time as seconds.
func moment(s string) (float64, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return float64(t.UnixNano()) / 1e9, nil
	}
	if x, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(x) < 1e12 {
		return x, nil
	}
	return 0, fmt.Errorf("%q is neither a time such as 2026-03-02T09:30:00Z nor a number of seconds", clip(s))
}

func tokens(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1<<20 {
		return 0, fmt.Errorf("%q is not a number of tokens", clip(s))
	}
	return n, nil
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 60)], "?") }

func readCSV(in io.Reader, each func(line int, at, prompt, answer string) error) error {
	r := csv.NewReader(bounded(in))
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	var at [3]int
	for i, name := range []string{"at", "prompt", "answer"} {
		if at[i] = slices.IndexFunc(head, func(s string) bool { return strings.TrimSpace(strings.TrimPrefix(s, "\ufeff")) == name }); at[i] < 0 {
			return fmt.Errorf("line 1 names no column %q: at, prompt and answer are needed", name)
		}
	}
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		if err := each(line, rec[at[0]], rec[at[1]], rec[at[2]]); err != nil {
			return err
		}
	}
}

func readJSON(in io.Reader, each func(line int, at, prompt, answer string) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 4096), longestLine)
	line := 0
	for s.Scan() {
		line++
		if len(strings.TrimSpace(s.Text())) == 0 {
			continue
		}
		var x struct {
			At     any         `json:"at"`
			Prompt json.Number `json:"prompt"`
			Answer json.Number `json:"answer"`
		}
		if err := json.Unmarshal(s.Bytes(), &x); err != nil {
			return fmt.Errorf("line %d: not an object with at, prompt and answer: %w", line, err)
		}
		at, ok := x.At.(string)
		if f, number := x.At.(float64); number {
			at, ok = strconv.FormatFloat(f, 'f', -1, 64), true
		}
		if !ok {
			return fmt.Errorf("line %d: at is missing", line)
		}
		if err := each(line, at, x.Prompt.String(), x.Answer.String()); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("line %d: %w", line+1, err)
	}
	return nil
}

// bounded ends a line that is no line.
func bounded(in io.Reader) io.Reader { return &lines{in: in} }

type lines struct {
	in  io.Reader
	run int
}

func (l *lines) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	for _, c := range p[:n] {
		if l.run++; c == '\n' {
			l.run = 0
		}
		if l.run > longestLine {
			return 0, fmt.Errorf("a line of more than %d bytes", longestLine)
		}
	}
	return n, err
}

package progress

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestDraw(t *testing.T) {
	model := Bar{Title: "SmolLM2 135M", Note: "pip", Done: 41_300_000, Total: 98_362_432, Rate: 12.1e6}
	for _, tt := range []struct {
		name  string
		bar   Bar
		width int
		want  string
	}{
		{"wide", model, 120, "SmolLM2 135M (pip)   41%  [############..................]  41.3 of 98.4 MB  12.1 MB/s  5 s left"},
		{"usual", model, 79, "SmolLM2 135M (pip)   41%  [#####........]  41.3 of 98.4 MB  12.1 MB/s  5 s left"},
		{"no room for the drawing", model, 70, "SmolLM2 135M (pip)   41%  41.3 of 98.4 MB  12.1 MB/s  5 s left"},
		{"nor for the time", model, 52, "SmolLM2 135M (pip)   41%  41.3 of 98.4 MB  12.1 MB/s"},
		{"nor for the rate", model, 45, "SmolLM2 135M (pip)   41%  41.3 of 98.4 MB"},
		{"nor for the amount", model, 30, "SmolLM2 135M (pip)   41%"},
		{"nor for the title", model, 15, "SmolLM2 135M..."},
		{"tiny", model, 2, "Sm"},
		{"none", model, 0, ""},
		{"negative", model, -5, ""},
		{"begin", Bar{Title: "x", Total: 2000}, 60, "x    0%  [..............................]  0 B of 2.0 kB"},
		{"end", Bar{Title: "x", Done: 2000, Total: 2000, Rate: 5}, 60, "x  100%  [###########################]  2.0 of 2.0 kB  5 B/s"},
		{"more than all", Bar{Title: "x", Done: 3000, Total: 2000}, 40, "x  100%  [##############]  3.0 of 2.0 kB"},
		{"total not known", Bar{Title: "x", Done: 1_234_567, Rate: 1000}, 40, "x  1.2 MB  1.0 kB/s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Draw(tt.bar, tt.width)
			if got != tt.want {
				t.Errorf("Draw at %d:\n got %q\nwant %q", tt.width, got, tt.want)
			}
			if n := utf8.RuneCountInString(got); n > max(tt.width, 0) {
				t.Errorf("Draw at %d takes %d columns", tt.width, n)
			}
		})
	}
}

func TestBytesAndLeft(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "0 B", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 99_951: "100 kB", 999_499: "999 kB",
		999_600: "1.0 MB", 98_362_432: "98.4 MB", 253_113_024: "253 MB", 4e9: "4.0 GB", 7e12: "7.0 TB", 9e18: "9000000 TB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for _, tt := range []struct {
		left int64
		want string
	}{{500, "1 s left"}, {58_000, "59 s left"}, {60_000, "2 min left"}, {3600_000, "2 h left"}, {1e10, "days left"}, {0, ""}} {
		if got := left(Bar{Total: 1e12, Done: 1e12 - tt.left, Rate: 1000}); got != tt.want {
			t.Errorf("left(%d) = %q, want %q", tt.left, got, tt.want)
		}
	}
}

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestConsoleMoving(t *testing.T) {
	var out bytes.Buffer
	clk := &clock{time.Unix(0, 0)}
	c := New(Options{Out: &out, Moving: true, Width: func() int { return 31 }, Now: clk.now})
	c.Line("Parley %s", "1.0")
	c.Bar(Bar{Title: "model", Done: 0, Total: 100})
	c.Bar(Bar{Title: "model", Done: 10, Total: 100}) // too soon
	clk.t = clk.t.Add(frame)
	c.Bar(Bar{Title: "model", Done: 50, Total: 100})
	c.Line("a line above")
	c.Bar(Bar{Title: "model", Done: 100, Total: 100}) // whole: at once
	c.Clear()
	c.Line("done")
	want := strings.Join([]string{
		"Parley 1.0\n",
		"\rmodel    0%  0 of 100 B",
		"\rmodel   50%  50 of 100 B",
		"\r" + strings.Repeat(" ", 24) + "\r",
		"a line above\n",
		"model   50%  50 of 100 B",
		"\rmodel  100%  100 of 100 B",
		"\r" + strings.Repeat(" ", 25) + "\r",
		"done\n",
	}, "")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestConsolePlain(t *testing.T) {
	var out bytes.Buffer
	clk := &clock{time.Unix(0, 0)}
	c := New(Options{Out: &out, Now: clk.now})
	for i := range int64(25) {
		c.Bar(Bar{Title: "model", Note: "npm", Done: i * 1e6, Total: 24e6, Rate: 1e6})
		clk.t = clk.t.Add(time.Second)
	}
	c.Clear()
	c.Line("done")
	want := `model (npm): 0%, 0 B of 24.0 MB, 1.0 MB/s, 25 s left
model (npm): 41%, 10.0 of 24.0 MB, 1.0 MB/s, 15 s left
model (npm): 83%, 20.0 of 24.0 MB, 1.0 MB/s, 5 s left
done
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestFor(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if For(f, func(string) string { return "" }).Moving {
		t.Error("a bar would move in a plain file")
	}
	if got := For(f, func(string) string { return "" }).Width(); got != 80 {
		t.Errorf("width of a file = %d, want 80", got)
	}
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminal here")
	}
	defer tty.Close()
	for env, want := range map[string]bool{"": true, "NO_COLOR=1": false, "CI=true": false, "TERM=dumb": false} {
		get := func(k string) string {
			if v, ok := strings.CutPrefix(env, k+"="); ok {
				return v
			}
			return ""
		}
		if got := For(tty, get).Moving; got != want {
			t.Errorf("terminal with %q: Moving = %v, want %v", env, got, want)
		}
	}
}

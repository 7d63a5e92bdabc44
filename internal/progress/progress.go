// Package progress tells a person at a console what is going on: calm lines
// that stay, and below them at most one bar that moves. On anything but a
// terminal the bar becomes a plain line now and then. Only the look of such
// lines may live here; what they say comes from the caller.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// Options of a Console. For fills them in for a file.
type Options struct {
	// Out gets all bytes. Nil means nowhere. Errors of it are ignored: what
	// is told is not worth failing for.
	Out io.Writer
	// Moving draws a bar in place. False writes plain lines only.
	Moving bool
	// Width returns the terminal's columns now. Nil means 80.
	Width func() int
	// Every is the time between two plain lines about the same thing; 0 means
	// 10 s.
	Every time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// For returns the options for f: a moving bar if f is a terminal and neither
// NO_COLOR nor CI is set and TERM is not "dumb".
func For(f *os.File, getenv func(string) string) Options {
	tty := isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
	quiet := getenv("NO_COLOR") != "" || getenv("CI") != "" || getenv("TERM") == "dumb"
	return Options{Out: f, Moving: tty && !quiet, Width: func() int { return columns(f) }}
}

// Console writes lines and a bar. Its methods may be called from many
// goroutines.
type Console struct {
	opt Options

	mu    sync.Mutex // guards what follows and writes to opt.Out
	bar   string     // what is on the terminal's last line
	title string     // of the last bar
	at    time.Time  // when the last bar was written
}

// New returns a console.
func New(opt Options) *Console {
	if opt.Out == nil {
		opt.Out = io.Discard
	}
	if opt.Width == nil {
		opt.Width = func() int { return 80 }
	}
	if opt.Every <= 0 {
		opt.Every = 10 * time.Second
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Console{opt: opt}
}

// Bar is something that takes long.
type Bar struct {
	Title string
	Done  int64   // bytes
	Total int64   // bytes; 0 if not known
	Rate  float64 // bytes a second; 0 if not known
	Note  string  // after the title, such as where it comes from; may be ""
	Unit  string  // what Done, Total and Rate count in the place of bytes, such as "lines"; "" = bytes
}

// frame is the shortest time between two drawings of the bar.
const frame = 80 * time.Millisecond

// Line writes a line above the bar.
func (c *Console) Line(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bar := c.bar
	c.erase()
	c.print(fmt.Sprintf(format, args...) + "\n")
	if bar != "" {
		c.print(bar)
		c.bar = bar
	}
}

// Bar shows b in place of the bar before.
func (c *Console) Bar(b Bar) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	fresh := b.Title != c.title
	pause := c.opt.Every
	if c.opt.Moving {
		pause = frame
	}
	whole := c.opt.Moving && b.Total > 0 && b.Done >= b.Total
	if !fresh && !whole && now.Sub(c.at) < pause {
		return
	}
	c.title, c.at = b.Title, now
	if !c.opt.Moving {
		c.print(Plain(b) + "\n")
		return
	}
	// One column stays free: some terminals wrap when the last is written.
	text := Draw(b, c.opt.Width()-1)
	if text == c.bar {
		return
	}
	pad := max(utf8.RuneCountInString(c.bar)-utf8.RuneCountInString(text), 0)
	c.print("\r" + text + strings.Repeat(" ", pad))
	c.bar = text
}

// Clear takes the bar away; the next Bar begins anew.
func (c *Console) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.erase()
	c.title = ""
}

// erase empties the terminal's last line. Spaces, not an escape sequence:
// they work on every console.
func (c *Console) erase() {
	if c.bar == "" {
		return
	}
	c.print("\r" + strings.Repeat(" ", utf8.RuneCountInString(c.bar)) + "\r")
	c.bar = ""
}

func (c *Console) print(s string) { _, _ = io.WriteString(c.opt.Out, s) }

// Plain is b as a line of text.
func Plain(b Bar) string {
	parts := []string{amount(b)}
	if b.Total > 0 {
		parts = append([]string{percent(b)}, parts...)
	}
	if b.Rate > 0 {
		parts = append(parts, rate(b))
	}
	if left := left(b); left != "" {
		parts = append(parts, left)
	}
	return head(b) + ": " + strings.Join(parts, ", ")
}

// Draw is b as a bar of at most width columns. When there is little room, the
// drawing goes first, then the time left, the rate and the amount; the title
// is cut last.
func Draw(b Bar, width int) string {
	tail := []string{amount(b)}
	if b.Rate > 0 {
		tail = append(tail, rate(b))
	}
	if left := left(b); left != "" {
		tail = append(tail, left)
	}
	begin := head(b)
	if b.Total > 0 {
		begin += fmt.Sprintf("  %4s", percent(b))
	}
	const least, most = 10, 30
	for ; len(tail) > 0; tail = tail[:len(tail)-1] {
		text := begin + "  " + strings.Join(tail, "  ")
		room := width - utf8.RuneCountInString(text)
		if room < 0 {
			continue
		}
		if cells := min(room-4, most); b.Total > 0 && cells >= least {
			return begin + "  " + gauge(b, cells) + "  " + strings.Join(tail, "  ")
		}
		return text
	}
	return cut(begin, width)
}

// gauge is [####......] with so many cells.
func gauge(b Bar, cells int) string {
	full := min(max(int(float64(b.Done)/float64(b.Total)*float64(cells)), 0), cells)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

func head(b Bar) string {
	if b.Note == "" {
		return b.Title
	}
	return b.Title + " (" + b.Note + ")"
}

func percent(b Bar) string {
	return fmt.Sprintf("%d%%", min(max(int(float64(b.Done)/float64(b.Total)*100), 0), 100))
}

func rate(b Bar) string {
	if b.Unit != "" {
		return fmt.Sprintf("%.1f/s", b.Rate)
	}
	return Bytes(int64(b.Rate)) + "/s"
}

func amount(b Bar) string {
	switch {
	case b.Unit != "" && b.Total <= 0:
		return fmt.Sprintf("%d %s", b.Done, b.Unit)
	case b.Unit != "":
		return fmt.Sprintf("%d of %d %s", b.Done, b.Total, b.Unit)
	}
	if b.Total <= 0 {
		return Bytes(b.Done)
	}
	done, total := Bytes(b.Done), Bytes(b.Total)
	if n, unit, ok := strings.Cut(total, " "); ok && strings.HasSuffix(done, " "+unit) {
		return strings.TrimSuffix(done, " "+unit) + " of " + n + " " + unit
	}
	return done + " of " + total
}

func left(b Bar) string {
	if b.Rate <= 0 || b.Total <= 0 || b.Done >= b.Total {
		return ""
	}
	s := int64(float64(b.Total-b.Done)/b.Rate) + 1
	switch {
	case s < 60:
		return fmt.Sprintf("%d s left", s)
	case s < 3600:
		return fmt.Sprintf("%d min left", (s+59)/60)
	case s < 100*3600:
		return fmt.Sprintf("%d h left", (s+3599)/3600)
	}
	return "days left"
}

// Bytes is a size for people: 812 B, 4.2 kB, 98 MB.
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", max(n, 0))
	}
	f, unit := float64(n)/1000, "kB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if f < 999.5 {
			break
		}
		f, unit = f/1000, next
	}
	if f < 99.95 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// cut shortens s to width columns.
func cut(s string, width int) string {
	r := []rune(s)
	if len(r) <= max(width, 0) {
		return s
	}
	if width < 4 {
		return string(r[:max(width, 0)])
	}
	return string(r[:width-3]) + "..."
}

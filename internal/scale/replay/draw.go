package replay

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// The drawing's measures, in its own units.
const (
	width, left, right = 960, 64, 936
	head, panel, gap   = 64, 150, 46
	inkColor           = "#1f2937"
	ruleColor          = "#d1d5db"
)

// chart is one of the drawing's panels.
type chart struct {
	title  string
	values func(Point) []float64 // the lines of a run; the first is thick
	steps  bool
	log    bool
	format func(float64) string
}

// Draw draws runs over the same time, one color for each, as an SVG document.
// title and subtitle say what was played; that it is simulated stands there
// unless all of it was measured.
func Draw(title, subtitle string, runs []Run) string {
	charts := []chart{
		{title: "requests running and waiting", values: func(p Point) []float64 { return []float64{p.Load} }, format: short},
		{title: "replicas", values: func(p Point) []float64 { return []float64{p.Replicas} }, steps: true, format: short},
		{title: "time to the first token: p95, thin p50", values: func(p Point) []float64 { return []float64{p.P95, p.P50} }, log: true, format: Seconds},
	}
	if slices.ContainsFunc(runs, func(r Run) bool { return r.Cost > 0 }) {
		charts = append(charts, chart{title: "cost so far", values: func(p Point) []float64 { return []float64{p.Cost} }, format: short})
	}
	height := head + len(runs)*18 + len(charts)*(panel+gap) + 12
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" fill="%s">`+"\n", width, height, inkColor)
	measured := func(r Run) bool { return r.Measured }
	switch {
	case !slices.ContainsFunc(runs, measured):
		title = "Simulated: " + title
	case slices.ContainsFunc(runs, func(r Run) bool { return !r.Measured }):
		title = "Measured and simulated: " + title
	}
	fmt.Fprintf(&b, `<title>%s</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", html.EscapeString(title), width, height)
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="17" font-weight="600">%s</text><text x="%d" y="48" fill="#4b5563">%s</text>`+"\n", left, html.EscapeString(title), left, html.EscapeString(subtitle))
	for i, r := range runs {
		y := head + 12 + i*18
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n", left, left+22, y-4, y-4, color(i), left+30, y, html.EscapeString(r.legend()))
	}
	end := time.Duration(0)
	for _, r := range runs {
		if len(r.Points) > 0 {
			end = max(end, r.Points[len(r.Points)-1].At)
		}
	}
	for i, c := range charts {
		c.draw(&b, head+len(runs)*18+gap+i*(panel+gap), end, runs)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (r Run) legend() string {
	what := "simulated"
	if r.Measured {
		what = "measured"
	}
	s := fmt.Sprintf("%s (%s): first token p50 %s, p95 %s; %.2f replica hours", r.Policy, what, Seconds(r.P50), Seconds(r.P95), r.Hours)
	if r.Cost > 0 {
		s += fmt.Sprintf(", cost %.2f", r.Cost)
	}
	return s
}

func color(i int) string {
	colors := []string{"#2563eb", "#b45309", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f", "#be185d"}
	return colors[i%len(colors)]
}

func (c chart) draw(b *strings.Builder, top int, end time.Duration, runs []Run) {
	least, most := math.Inf(1), 0.0
	for _, r := range runs {
		for _, p := range r.Points {
			for _, v := range c.values(p) {
				if v > 0 {
					least, most = min(least, v), max(most, v)
				}
			}
		}
	}
	if most == 0 {
		least, most = 1, 1
	}
	bottom := float64(top + panel)
	y := func(v float64) float64 { return bottom - panel*v/nice(most) }
	marks := []float64{0, nice(most) / 2, nice(most)}
	if c.log {
		low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most)+1e-9)
		y = func(v float64) float64 { return bottom - panel*(math.Log10(max(v, math.Pow(10, low)))-low)/(high-low) }
		marks = nil
		for e := low; e <= high; e++ {
			marks = append(marks, math.Pow(10, e))
		}
	}
	x := func(t time.Duration) float64 { return left + (right-left)*float64(t)/float64(max(end, 1)) }
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="600">%s</text>`+"\n", left, top-8, c.title)
	for _, v := range marks {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, right, y(v), y(v), ruleColor, left-8, y(v)+4, c.format(v))
	}
	for i := range 7 {
		t := end * time.Duration(i) / 6
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10" fill="#6b7280">%s</text>`+"\n", x(t), bottom+13, clock(t, end))
	}
	for i, r := range runs {
		c.lines(b, r, color(i), x, y)
	}
}

// lines draws a run. Where there is no value, the line has a hole.
func (c chart) lines(b *strings.Builder, r Run, color string, x func(time.Duration) float64, y func(float64) float64) {
	if len(r.Points) == 0 {
		return
	}
	for k := range c.values(r.Points[0]) {
		var path strings.Builder
		pen, before := "M", time.Duration(0)
		for _, p := range r.Points {
			v := c.values(p)[k]
			switch {
			case math.IsNaN(v):
				pen = "M"
			case c.steps:
				fmt.Fprintf(&path, "%s%.1f %.1fH%.1f", pen, x(before), y(v), x(p.At))
				pen = "L"
			default:
				fmt.Fprintf(&path, "%s%.1f %.1f", pen, x((before+p.At)/2), y(v))
				pen = "L"
			}
			before = p.At
		}
		stroke := "2"
		if k > 0 {
			stroke = "0.8"
		}
		dash := ""
		if r.Measured {
			dash = ` stroke-dasharray="6 3"`
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="%s"%s stroke-linejoin="round" stroke-linecap="round"/>`+"\n", path.String(), color, stroke, dash)
	}
}

// nice is the next round number.
func nice(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 5, 6, 8} {
		if m*p >= v {
			return m * p
		}
	}
	return 10 * p
}

func short(v float64) string { return fmt.Sprintf("%.3g", v) }

// Seconds is a time as people write it; a dash where there is none.
func Seconds(s float64) string {
	switch {
	case math.IsNaN(s):
		return "-"
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 120:
		return fmt.Sprintf("%.3g s", s)
	}
	return fmt.Sprintf("%.3g min", s/60)
}

func clock(t, end time.Duration) string {
	if end >= 2*time.Hour {
		return fmt.Sprintf("%.3g h", t.Hours())
	}
	if end >= 4*time.Minute {
		return fmt.Sprintf("%.3g min", t.Minutes())
	}
	return fmt.Sprintf("%.0f s", t.Seconds())
}

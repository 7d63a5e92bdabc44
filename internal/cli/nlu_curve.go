package cli

import (
	"fmt"
	"math"
	"strings"

	"github.com/parleyhq/parley/internal/nlu"
)

// curveSVG draws accuracy, and entities if there are any, over the number of
// examples. It needs nothing but a browser to look at.
func curveSVG(points []nlu.CurvePoint, entities bool) string {
	const (
		width, height             = 640, 360
		left, right, top, bottom  = 56, 616, 40, 312
		ink, rule, first, another = "#1f2937", "#d1d5db", "#2563eb", "#b45309"
	)
	lowest := 1.0
	for _, p := range points {
		lowest = min(lowest, p.Accuracy)
		if entities {
			lowest = min(lowest, p.Overlap)
		}
	}
	floor := math.Floor(lowest*10) / 10
	if floor > 0.9 {
		floor = 0.9
	}
	least, most := 1.0, 2.0
	if len(points) > 0 {
		least, most = float64(points[0].Examples), float64(points[len(points)-1].Examples)
	}
	x := func(n int) float64 { // each step to the right is twice as many
		if most <= least {
			return (left + right) / 2
		}
		return left + (right-left)*math.Log(float64(n)/least)/math.Log(most/least)
	}
	y := func(v float64) float64 { return bottom - (bottom-top)*(v-floor)/(1-floor) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" fill="%s">`+"\n", width, height, ink)
	fmt.Fprintf(&b, `<title>Learning curve</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	for i := range 6 {
		v := floor + (1-floor)*float64(i)/5
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/><text x="%d" y="%.1f" text-anchor="end">%.2f</text>`+"\n", left, right, y(v), y(v), rule, left-8, y(v)+4, v)
	}
	for _, p := range points {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(p.Examples), bottom+20, p.Examples)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">examples learned</text>`+"\n", (left+right)/2, height-8)
	line := func(name, color string, place int, value func(nlu.CurvePoint) float64) {
		var path []string
		for _, p := range points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(p.Examples), y(value(p))))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%d examples: %.3f</title></circle>`+"\n", x(p.Examples), y(value(p)), color, p.Examples, value(p))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="24" fill="%s">%s</text>`+"\n", strings.Join(path, " "), color, place, color, name)
	}
	line("intents right", first, left, func(p nlu.CurvePoint) float64 { return p.Accuracy })
	if entities {
		line("entities, F1 by overlap", another, left+140, func(p nlu.CurvePoint) float64 { return p.Overlap })
	}
	b.WriteString("</svg>\n")
	return b.String()
}

package dialog

import (
	"strconv"

	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// Entities turns what was found in a text into what fills slots: entities that
// don't overlap, each with what people said and what programs get. Of a date
// that can mean several programs get the coming one.
func Entities(text string, found []finder.Entity) []Found {
	var out []Found
	r := []rune(text)
	for _, e := range finder.Flat(found) {
		f := Found{Entity: Entity{Type: e.Name, Role: e.Role}, Value: Value{Said: string(r[e.Start:e.End])}}
		if len(e.Names) > 0 {
			f.Name = e.Names[0]
		}
		if e.Found != nil {
			f.Value.Value = programs(*e.Found)
		}
		out = append(out, f)
	}
	return out
}

// programs is what programs get of a prebuilt entity.
func programs(e prebuilt.Entity) string {
	number := strconv.FormatFloat(e.Value.Number, 'f', -1, 64)
	switch e.Kind {
	case prebuilt.Number, prebuilt.Ordinal, prebuilt.Percentage:
		return number
	case prebuilt.Money:
		return number + " " + e.Value.Unit
	case prebuilt.Duration:
		return e.Value.Times[0].Timex
	case prebuilt.Datetime:
		t := e.Value.Times[len(e.Value.Times)-1]
		if t.Start != "" {
			return t.Start + "/" + t.End
		}
		return t.Value
	}
	return e.Value.Text
}

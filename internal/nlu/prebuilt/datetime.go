package prebuilt

import (
	"fmt"
	"strings"
)

var (
	untilWords = []string{"to", "until", "till", "-", "–", "through"}
	andWords   = []string{"and"}
	oftenWords = map[string]string{"daily": "P1D", "weekly": "P1W", "monthly": "P1M", "yearly": "P1Y", "annually": "P1Y", "hourly": "PT1H"}
)

// datetimes finds dates, times, both together, and ranges of them.
func (s *scan) datetimes() []Entity {
	return s.each(func(i int) (Entity, int) {
		for _, read := range []func(int) (moment, int, int){s.readRange, s.readMoment, s.readSet} {
			if m, from, next := read(i); next > 0 && len(m.times) > 0 {
				e := s.entity(from, next, Datetime, Value{Times: m.times})
				e.Subtype = m.subtype
				return e, next
			}
		}
		return Entity{}, 0
	})
}

// moment is what was read of a date and time, as values.
type moment struct {
	subtype string
	times   []Time
}

// readMoment reads a date, a time or both, in either order. It returns where
// the words of it begin: prepositions are left out.
func (s *scan) readMoment(i int) (m moment, from, next int) {
	if s.is(i, "now") || s.is(i, "right") && s.is(i+1, "now") {
		n := 1 + len(s.at(i))/len("right") // right now are two words
		return moment{"datetime", []Time{{Timex: "PRESENT_REF", Value: s.ref.Format("2006-01-02 15:04:05")}}}, i, i + n
	}
	if t, onlyDays, next := s.away(i); next > 0 && !onlyDays {
		return moment{"datetime", []Time{{Timex: t.Format("2006-01-02T15:04:05"), Value: t.Format("2006-01-02 15:04:05")}}}, i, next
	}
	if m, next := s.readPartOfToday(i); next > 0 {
		return m, i, next
	}
	if d := s.readDay(i); d.next > 0 {
		m, next := s.withTime(d)
		return m, i, next
	}
	if st := s.readStretch(i); st.next > 0 {
		out := moment{subtype: "daterange"}
		for _, r := range st.ranges {
			out.times = append(out.times, Time{Timex: st.timex, Start: isoDay(r[0]), End: isoDay(r[1])})
		}
		return out, i, st.next
	}
	if c := s.readClock(i); c.next > 0 && (!c.bare || s.meansTime(i, c.next)) {
		return s.withDay(c, i)
	}
	if p, next := s.readPartOfDay(i); next > 0 && !s.is(i-1, "good") {
		return moment{"timerange", []Time{{Timex: p.timex, Start: hms(p.from), End: hms(p.to)}}}, i, next
	}
	return moment{}, 0, 0
}

// meansTime says whether a number alone is a time: something before it says
// so, and nothing behind it makes it a number of things; or it is 8 in the
// morning, or seven thirty tomorrow.
func (s *scan) meansTime(i, next int) bool {
	if _, after := s.readPartOfDay(next); after > next+1 {
		return true
	}
	if !s.isDigits(i) && s.number[i].next > 0 && s.number[i].next < next {
		_, isDay := s.weekdayAt(next)
		_, isPart := partsOfDay[s.at(next)]
		if isDay || isPart || s.is(next, "today", "tomorrow", "tonight", "on") {
			return true
		}
	}
	if !s.is(i-1, "at", "until", "till", "by", "around", "before", "after", "since", "about") {
		return false
	}
	if next >= len(s.toks) || s.toks[next].kind == other && !s.is(next, "%", "$", "€", "£", "°") {
		return true
	}
	_, isDay := s.weekdayAt(next)
	_, isPart := partsOfDay[s.at(next)]
	return isDay || isPart || s.is(next, "on", "in", "tomorrow", "today", "tonight", "and", "or", "to", "please", "for", "with", "the", "this", "next", "then", "sharp", "at", "from", "if", "so", "i", "we", "but", "because", "until", "till", "when")
}

// withTime joins a date with the time or part of the day that follows it.
func (s *scan) withTime(d day) (moment, int) {
	j := d.next
	if s.is(j, ",") {
		j++
	}
	if s.is(j, "t") && s.glued(j) {
		j++ // 2026-03-05T14:00
	}
	at := j
	if s.is(at, "at", "around", "about", "by") {
		at++
	}
	if c := s.readClock(at); c.next > 0 && (!c.bare || s.meansTime(at, c.next)) {
		if p, next := s.readPartOfDay(c.next); next > 0 {
			c, c.next = c.within(p), next
		}
		return d.at(c), c.next
	}
	if p, next := s.readPartOfDay(j); next > 0 {
		k := next
		if s.is(k, "at") {
			k++
		}
		if c := s.readClock(k); c.next > 0 && (!c.bare || s.meansTime(k, c.next)) {
			return d.at(c.within(p)), c.next
		}
		return d.during(p), next
	}
	out := moment{subtype: "date"}
	for _, t := range d.dates {
		out.times = append(out.times, Time{Timex: d.timex, Value: isoDay(t)})
	}
	return out, d.next
}

// within settles an open time by the part of the day it is in.
func (c clock) within(p partOfDay) clock {
	if c.open {
		c.open = false
		if late := c.seconds + 12*3600; p.timex != "TMO" && (p.timex != "TNI" || c.seconds >= 5*3600) {
			c.seconds = late
		}
	}
	return c
}

func (d day) at(c clock) moment {
	out := moment{subtype: "datetime"}
	for _, seconds := range c.times() {
		for _, t := range d.dates {
			out.times = append(out.times, Time{Timex: d.timex + c.timexOf(seconds), Value: isoDay(t) + " " + hms(seconds)})
		}
	}
	return out
}

func (d day) during(p partOfDay) moment {
	out := moment{subtype: "datetimerange"}
	for _, t := range d.dates {
		out.times = append(out.times, Time{Timex: d.timex + p.timex, Start: isoDay(t) + " " + hms(p.from), End: isoDay(t) + " " + hms(p.to)})
	}
	return out
}

// withDay joins a time with the part of the day or the date that follows it.
func (s *scan) withDay(c clock, i int) (m moment, from, next int) {
	if p, after := s.readPartOfDay(c.next); after > 0 {
		c, c.next = c.within(p), after
	}
	j := c.next
	if s.is(j, "on", ",") {
		j++
	}
	if s.is(j, "tonight") {
		return fixed(s.today(), j+1).at(c.within(partsOfDay["night"])), i, j + 1
	}
	if s.is(j, "this") {
		if p, ok := partsOfDay[s.at(j+1)]; ok {
			return fixed(s.today(), j+2).at(c.within(p)), i, j + 2
		}
	}
	if d := s.readDay(j); d.next > 0 {
		if p, after := s.readPartOfDay(d.next); after > 0 {
			c, d.next = c.within(p), after
		}
		return d.at(c), i, d.next
	}
	out := moment{subtype: "time"}
	for _, seconds := range c.times() {
		out.times = append(out.times, Time{Timex: c.timexOf(seconds), Value: hms(seconds)})
	}
	return out, i, c.next
}

// readPartOfToday reads tonight, this morning, last night, with a time behind.
func (s *scan) readPartOfToday(i int) (moment, int) {
	d := s.today()
	var p partOfDay
	var next int
	switch {
	case s.is(i, "tonight"):
		p, next = partsOfDay["night"], i+1
	case s.is(i, "this") && partsOfDay[s.at(i+1)].timex != "":
		p, next = partsOfDay[s.at(i+1)], i+2
	case s.is(i, "last") && s.is(i+1, "night"):
		d, p, next = d.AddDate(0, 0, -1), partsOfDay["night"], i+2
	default:
		return moment{}, 0
	}
	j := next
	if s.is(j, "at", "around", "by") {
		j++
	}
	if c := s.readClock(j); c.next > 0 && (!c.bare || s.meansTime(j, c.next)) {
		return fixed(d, c.next).at(c.within(p)), c.next
	}
	return fixed(d, next).during(p), next
}

// readRange reads from A to B, between A and B, and A - B for two times or two
// dates.
func (s *scan) readRange(i int) (m moment, from, next int) {
	if m, next := s.readClockRange(i); next > 0 {
		on := next
		if s.is(on, "on", ",") {
			on++
		}
		if d := s.readDay(on); d.next > 0 {
			return d.overDay(m), i, d.next
		}
		return m, i, next
	}
	j, joint, _ := s.rangeWords(i)
	a := s.readDay(j)
	if a.next == 0 {
		return moment{}, 0, 0
	}
	if s.is(a.next, joint...) {
		b := s.readDay(a.next + 1)
		if b.next > 0 && len(b.dates) > 0 {
			return s.dayRange(a, b), i, b.next
		}
	}
	if r, next := s.readClockRange(a.next); next > 0 && s.is(a.next, "from", "between") {
		return a.overDay(r), i, next // tomorrow from 5 to 7pm
	}
	return moment{}, 0, 0
}

// readClockRange reads a range of two times.
func (s *scan) readClockRange(i int) (moment, int) {
	j, joint, said := s.rangeWords(i)
	a := s.readClock(j)
	if a.next == 0 || !s.is(a.next, joint...) {
		return moment{}, 0
	}
	b := s.readClock(a.next + 1)
	if b.next == 0 || !said && b.bare || b.bare && !s.endsTime(b.next) {
		return moment{}, 0
	}
	if a.bare && !b.open && a.open { // from 5 to 7 pm: 5 is in the same half
		a = a.before(b)
	}
	return s.clockRange(a, b), b.next
}

// rangeWords says where the first part of a range begins, and what can stand
// behind it. said is false where no word before it says that it is a range.
func (s *scan) rangeWords(i int) (start int, joint []string, said bool) {
	switch {
	case s.is(i, "from"):
		return i + 1, untilWords, true
	case s.is(i, "between"):
		return i + 1, andWords, true
	}
	return i, untilWords, false
}

// endsTime says that nothing behind a number makes it a number of things.
func (s *scan) endsTime(next int) bool {
	return !s.isWord(next) || spans[s.at(next)].letter == "" && currencyWords[s.at(next)] == "" && scaleWords[s.at(next)] == 0
}

// before takes the half of the day in which c comes before b.
func (c clock) before(b clock) clock {
	c.open = false
	if late := c.seconds + 12*3600; late < b.seconds {
		c.seconds = late
	}
	return c
}

func (s *scan) clockRange(a, b clock) moment {
	out := moment{subtype: "timerange"}
	if !a.open && b.open {
		b.open = false
		if b.seconds < a.seconds {
			b.seconds += 12 * 3600
		}
	}
	later := b.times()
	for k, from := range a.times() {
		to := later[min(k, len(later)-1)]
		if a.open && to < from && b.open {
			to = (to + 12*3600) % aDay
		}
		minutes := ((to-from)%aDay + aDay) % aDay / 60
		long := fmt.Sprintf("PT%dM", minutes)
		if minutes%60 == 0 {
			long = fmt.Sprintf("PT%dH", minutes/60)
		} else if minutes > 60 {
			long = fmt.Sprintf("PT%dH%dM", minutes/60, minutes%60)
		}
		out.times = append(out.times, Time{Timex: fmt.Sprintf("(%s,%s,%s)", a.timexOf(from), b.timexOf(to), long), Start: hms(from), End: hms(to)})
	}
	return out
}

// dayRange pairs the dates of two days: the last ones that are past, and the
// next ones.
func (s *scan) dayRange(a, b day) moment {
	out := moment{subtype: "daterange"}
	for k, from := range a.dates {
		to := b.dates[min(k, len(b.dates)-1)]
		switch {
		case !to.Before(from):
		case strings.HasPrefix(b.timex, "XXXX-WXX"):
			to = to.AddDate(0, 0, 7)
		case strings.HasPrefix(b.timex, "XXXX-XX"):
			to = months(to, 1)
		case strings.HasPrefix(b.timex, "XXXX"):
			to = months(to, 12)
		}
		if to.Before(from) {
			continue
		}
		days := int(to.Sub(from).Hours()/24 + 0.5)
		out.times = append(out.times, Time{Timex: fmt.Sprintf("(%s,%s,P%dD)", a.timex, b.timex, days), Start: isoDay(from), End: isoDay(to)})
	}
	return out
}

// overDay puts a range of times on a day.
func (d day) overDay(r moment) moment {
	out := moment{subtype: "datetimerange"}
	for _, t := range r.times {
		parts := strings.Split(strings.Trim(t.Timex, "()"), ",")
		for _, at := range d.dates {
			end, endTimex := at, d.timex
			if t.End < t.Start { // over midnight
				end = at.AddDate(0, 0, 1)
				if endTimex = isoDay(end); d.timex != isoDay(at) {
					endTimex = "XXXX-XX-XX" // the day after one that is open
				}
			}
			out.times = append(out.times, Time{
				Timex: "(" + d.timex + parts[0] + "," + endTimex + parts[1] + "," + parts[2] + ")",
				Start: isoDay(at) + " " + t.Start, End: isoDay(end) + " " + t.End,
			})
		}
	}
	return out
}

// readSet reads what comes again and again: every day, each Monday, weekly.
func (s *scan) readSet(i int) (m moment, from, next int) {
	set := func(timex string, next int) (moment, int, int) {
		return moment{"set", []Time{{Timex: timex, Value: "not resolved"}}}, i, next
	}
	if t := oftenWords[s.at(i)]; t != "" {
		return set(t, i+1)
	}
	if !s.is(i, "every", "each") {
		return m, 0, 0
	}
	if w, ok := s.weekdayAt(i + 1); ok {
		return set(fmt.Sprintf("XXXX-WXX-%d", (int(w)+6)%7+1), i+2)
	}
	if p, ok := partsOfDay[s.at(i+1)]; ok {
		return set(p.timex, i+2)
	}
	if u, ok := spans[s.at(i+1)]; ok {
		timex, _ := length{amount: []float64{u.times}, units: []span{u}}.timex()
		return set(timex, i+2)
	}
	if l := s.readLength(i + 1); l.next > 0 {
		timex, _ := l.timex()
		return set(timex, l.next)
	}
	return m, 0, 0
}

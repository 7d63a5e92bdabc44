package prebuilt

import (
	"fmt"
	"strconv"
)

// clock is a time of day, in minutes and seconds from midnight.
type clock struct {
	seconds int
	open    bool // half a day later is meant as well
	bare    bool // a number alone, which something around it must make a time
	parts   int  // 1 for hours only, 2 with minutes, 3 with seconds
	next    int
}

// partOfDay is morning, afternoon, evening, night.
type partOfDay struct {
	timex    string
	from, to int // seconds
}

var partsOfDay = map[string]partOfDay{
	"morning": {"TMO", 8 * 3600, 12 * 3600}, "afternoon": {"TAF", 12 * 3600, 16 * 3600},
	"evening": {"TEV", 16 * 3600, 20 * 3600}, "night": {"TNI", 20 * 3600, 24*3600 - 1},
}

// clockAt says whether the digits at i are those of a time: 5:30, 5pm.
func (s *scan) clockAt(i int) bool {
	if s.is(i+1, ":") && s.glued(i+1) {
		return true
	}
	_, half := s.half(i + 1)
	return half != 0
}

// half reads am and pm, a.m. and p.m.
func (s *scan) half(i int) (next, half int) {
	switch s.at(i) {
	case "am":
		return i + 1, 1
	case "pm":
		return i + 1, 2
	case "a":
		half = 1
	case "p":
		half = 2
	default:
		return i + 1, 0
	}
	if s.is(i+1, ".") && s.is(i+2, "m") && s.glued(i+1) && s.glued(i+2) {
		if s.is(i+3, ".") && s.glued(i+3) && s.isWord(i+4) { // not the sentence's end
			return i + 4, half
		}
		return i + 3, half
	}
	return i, 0
}

// readClock reads a time of day at token i.
func (s *scan) readClock(i int) clock {
	if s.glued(i) && (s.isWord(i-1) && !s.is(i-1, "t") || s.is(i-1, ":", ".", "/", "$", "€", "£")) {
		return clock{}
	}
	switch {
	case s.is(i, "noon", "midday"):
		return clock{seconds: 12 * 3600, parts: 1, next: i + 1}
	case s.is(i, "midnight"):
		return clock{parts: 1, next: i + 1}
	}
	if c := s.readHalfPast(i); c.next > 0 {
		return c
	}
	var h, m, sec, j int
	c := clock{parts: 1}
	leading := false
	switch {
	case s.isDigits(i) && len(s.at(i)) <= 2:
		h, j = s.two(i), i+1
		leading = len(s.at(i)) == 2 && s.at(i)[0] == '0'
		if s.is(j, ":") && s.glued(j) && s.glued(j+1) && s.isDigits(j+1) && len(s.at(j+1)) == 2 {
			m, j, c.parts = s.two(j+1), j+2, 2
			if s.is(j, ":") && s.glued(j) && s.glued(j+1) && s.isDigits(j+1) && len(s.at(j+1)) == 2 {
				sec, j, c.parts = s.two(j+1), j+2, 3
			}
		} else if s.is(j, ".") && s.glued(j) && s.glued(j+1) && s.isDigits(j+1) && len(s.at(j+1)) == 2 {
			if _, half := s.half(j + 2); half != 0 {
				m, j, c.parts = s.two(j+1), j+2, 2
			}
		}
	case i < len(s.toks) && s.number[i].next == i+1 && !s.number[i].digits && s.number[i].value >= 1 && s.number[i].value <= 12:
		h, j = int(s.number[i].value), i+1
		if j < len(s.toks) && !s.number[j].digits && s.number[j].next > 0 && s.number[j].value >= 10 && s.number[j].value < 60 {
			m, j, c.parts = int(s.number[j].value), s.number[j].next, 2 // five thirty
		}
	default:
		return clock{}
	}
	next, half := s.half(j)
	switch {
	case h > 24 || m > 59 || sec > 59 || h == 24 && m+sec > 0 || half != 0 && (h == 0 || h > 12):
		return clock{}
	case half != 0:
		h, j = h%12+12*(half-1), next
	case s.is(j, "o") && s.is(j+1, "'", "’") && s.is(j+2, "clock"):
		c.open, j = h <= 12 && h > 0, j+3
	case s.is(j, "oclock"):
		c.open, j = h <= 12 && h > 0, j+1
	default:
		c.open = h <= 12 && h > 0 && !leading
		c.bare = c.parts == 1 || !s.isDigits(i)
	}
	if s.glued(j) && (s.isWord(j) || s.is(j, "%") || s.is(j, ":", "/") && s.isDigits(j+1)) {
		return clock{}
	}
	c.seconds, c.next = (h%24)*3600+m*60+sec, j
	if c.open && h == 12 {
		c.seconds -= 12 * 3600 // half past twelve is in the night or at noon
	}
	return c
}

func (s *scan) two(i int) int {
	v, err := strconv.Atoi(s.at(i))
	if err != nil {
		return 99
	}
	return v
}

// readHalfPast reads half past six, quarter to five, ten past six.
func (s *scan) readHalfPast(i int) clock {
	var minutes int
	j := i
	if s.is(j, "a") && s.is(j+1, "quarter") {
		j++
	}
	quarter, said := s.is(j, "quarter"), false // said: minutes, so that digits may follow
	switch {
	case s.is(j, "half"):
		minutes, j = 30, j+1
	case quarter:
		minutes, j = 15, j+1
	case i < len(s.toks) && s.number[i].next > 0 && !s.number[i].decimal && s.number[i].value >= 1 && s.number[i].value < 60:
		minutes, j = int(s.number[i].value), s.number[i].next
		if said = s.is(j, "minutes", "minute"); said {
			j++
		}
	default:
		return clock{}
	}
	sign := 1
	switch {
	case s.is(j, "past"), quarter && s.is(j, "after"):
	case quarter && s.is(j, "to", "before", "till"), said && s.is(j, "to"):
		sign = -1
	case s.is(j, "to") && !s.isDigits(i) && !s.isDigits(j+1) && !s.is(i-1, "from", "between"): // 5 to 7 is a range
		sign = -1
	default:
		return clock{}
	}
	if j++; j >= len(s.toks) {
		return clock{}
	}
	n := s.number[j]
	if n.next == 0 || n.decimal || n.value < 1 || n.value > 12 {
		return clock{}
	}
	c := clock{seconds: (int(n.value)*60 + sign*minutes) % (12 * 60) * 60, open: true, parts: 2, next: n.next}
	if next, half := s.half(n.next); half != 0 {
		c.seconds, c.open, c.next = (c.seconds+(half-1)*12*3600)%aDay, false, next
	}
	return c
}

// times are the seconds that a clock can mean.
func (c clock) times() []int {
	if c.open {
		return []int{c.seconds, c.seconds + 12*3600}
	}
	return []int{c.seconds}
}

// timexOf writes T17, T17:30 or T17:30:15.
func (c clock) timexOf(seconds int) string {
	h, m, sec := seconds/3600%24, seconds/60%60, seconds%60
	switch {
	case c.parts == 3:
		return fmt.Sprintf("T%02d:%02d:%02d", h, m, sec)
	case m > 0 || c.parts == 2:
		return fmt.Sprintf("T%02d:%02d", h, m)
	}
	return fmt.Sprintf("T%02d", h)
}

func hms(seconds int) string {
	return fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// readPartOfDay reads morning, in the evening, at night.
func (s *scan) readPartOfDay(i int) (p partOfDay, next int) {
	j := i
	if s.is(j, "in") && s.is(j+1, "the") {
		j += 2
	} else if s.is(j, "at") && s.is(j+1, "night") {
		j++
	}
	p, ok := partsOfDay[s.at(j)]
	if !ok {
		return p, 0
	}
	return p, j + 1
}

package prebuilt

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// span is a unit of time: its letter in a TIMEX, and about how long it is.
type span struct {
	letter  string // Y M W D, or TH TM TS
	seconds float64
	times   float64 // of the letter: a fortnight is two weeks
}

const aDay = 24 * 60 * 60

var (
	year   = span{"Y", 365 * aDay, 1}
	month  = span{"M", 30 * aDay, 1}
	week   = span{"W", 7 * aDay, 1}
	oneDay = span{"D", aDay, 1}
	hour   = span{"TH", 60 * 60, 1}
	minute = span{"TM", 60, 1}
	second = span{"TS", 1, 1}
)

var spans = map[string]span{
	"year": year, "years": year, "yr": year, "yrs": year, "decade": {"Y", 365 * aDay, 10}, "decades": {"Y", 365 * aDay, 10},
	"month": month, "months": month, "week": week, "weeks": week, "wk": week, "wks": week, "fortnight": {"W", 7 * aDay, 2}, "fortnights": {"W", 7 * aDay, 2},
	"day": oneDay, "days": oneDay, "nights": oneDay, "hour": hour, "hours": hour, "hr": hour, "hrs": hour,
	"minute": minute, "minutes": minute, "min": minute, "mins": minute, "second": second, "seconds": second, "sec": second, "secs": second,
}

// gluedSpans are units right behind digits: 2h, 90s.
var gluedSpans = map[string]span{"h": hour, "m": minute, "s": second, "d": oneDay, "w": week}

// length is a duration: how much of each unit.
type length struct {
	amount []float64
	units  []span
	next   int
}

// readLength reads "2 hours and 15 minutes", "half an hour", "an hour and a
// half", "1h30m".
func (s *scan) readLength(i int) length {
	var l length
	listed := false // a comma stands before, behind which only the next smaller unit goes on
	for j := i; ; {
		n, u, next := s.readPart(j, l)
		if next == 0 {
			return l
		}
		if k := len(l.units); k > 0 {
			if u.seconds >= l.units[k-1].seconds || listed && l.units[k-1].seconds > 60*u.seconds {
				return l
			}
		}
		l.amount, l.units, l.next = append(l.amount, n*u.times), append(l.units, u), next
		if after, ok := s.seq(next, "and", "a", "half"); ok {
			l.amount[len(l.amount)-1] += 0.5 * u.times
			l.next = after
			return l
		}
		j = next
		if listed = s.is(j, ","); listed {
			j++
		}
		if s.is(j, "and") {
			j++
		}
	}
}

func (s *scan) readPart(i int, before length) (n float64, u span, next int) {
	if i >= len(s.toks) {
		return 0, u, 0
	}
	var j int
	switch num := s.number[i]; {
	case num.next > 0 && num.value >= 0:
		n, j = num.value, num.next
		if after, ok := s.seq(j, "of", "a"); ok {
			j = after
		}
		if u, ok := gluedSpans[s.at(j)]; ok && num.digits && s.glued(j) && (!s.is(j, "m") || before.next > 0) {
			return n, u, j + 1
		}
	case s.is(i, "half") && s.is(i+1, "a", "an"):
		n, j = 0.5, i+2
	case s.is(i, "half"):
		n, j = 0.5, i+1
	case s.is(i, "quarter") && s.is(i+1, "of") && s.is(i+2, "an") && s.is(i+3, "hour"):
		return 0.25, hour, i + 4
	case s.is(i, "a", "an") && s.is(i+1, "couple"):
		if n, j = 2, i+2; s.is(j, "of") {
			j++
		}
	case s.is(i, "a", "an", "another"):
		n, j = 1, i+1
	default:
		// minutes without their word, as in 1h30
		return 0, u, 0
	}
	if s.is(j, "-") && s.glued(j) && s.glued(j+1) {
		j++ // a 30-minute walk
	}
	u, ok := spans[s.at(j)]
	if !ok {
		return 0, u, 0
	}
	return n, u, j + 1
}

// timex writes P1DT2H, and seconds what that comes to.
func (l length) timex() (timex string, seconds float64) {
	var date, clock strings.Builder
	for i, u := range l.units {
		seconds += l.amount[i] * u.seconds
		b, letter := &date, u.letter
		if rest, ok := strings.CutPrefix(letter, "T"); ok {
			b, letter = &clock, rest
		}
		b.WriteString(plain(l.amount[i]) + letter)
	}
	timex = "P" + date.String()
	if clock.Len() > 0 {
		timex += "T" + clock.String()
	}
	return timex, seconds
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (s *scan) durations() []Entity {
	return s.each(func(i int) (Entity, int) {
		if s.glued(i) && s.isWord(i-1) {
			return Entity{}, 0
		}
		l := s.readLength(i)
		if l.next == 0 {
			return Entity{}, 0
		}
		timex, seconds := l.timex()
		return s.entity(i, l.next, Duration, Value{Times: []Time{{Timex: timex, Value: plain(seconds)}}}), l.next
	})
}

// add moves a moment by whole units, forwards or back; false for what the
// calendar can't say.
func (l length) add(t time.Time, sign float64) (moved time.Time, onlyDays, ok bool) {
	onlyDays = true
	for i, u := range l.units {
		n := l.amount[i] * sign
		if math.Abs(n*u.seconds) > 1e5*365*aDay {
			return t, false, false
		}
		whole := int(n)
		switch fraction := n != math.Trunc(n); {
		case fraction || strings.HasPrefix(u.letter, "T"):
			t = t.Add(time.Duration(n * u.seconds * float64(time.Second)))
			onlyDays = false
		case u.letter == "Y":
			t = months(t, 12*whole)
		case u.letter == "M":
			t = months(t, whole)
		case u.letter == "W":
			t = t.AddDate(0, 0, 7*whole)
		default:
			t = t.AddDate(0, 0, whole)
		}
	}
	return t, onlyDays, t.Year() >= 0 && t.Year() <= 9999
}

// months moves a date by months and stays within the month it comes to: a
// month after January 31 is the last of February.
func months(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), 0, t.Location())
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

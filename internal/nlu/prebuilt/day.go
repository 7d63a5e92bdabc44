package prebuilt

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// day is a date, or two where the year or week is open: the past one first.
type day struct {
	timex string
	dates []time.Time
	next  int
}

// stretch is a range of days: a week, a month, a year.
type stretch struct {
	timex  string
	ranges [][2]time.Time
	next   int
}

var (
	monthNames = map[string]time.Month{
		"january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7, "august": 8, "september": 9, "october": 10, "november": 11, "december": 12,
		"jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11, "dec": 12,
	}
	weekdays = map[string]time.Weekday{
		"monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6, "sunday": 0,
		"mon": 1, "tue": 2, "tues": 2, "wed": 3, "thu": 4, "thur": 4, "thurs": 4, "fri": 5, "sat": 6, "sun": 0,
		"mondays": 1, "tuesdays": 2, "wednesdays": 3, "thursdays": 4, "fridays": 5, "saturdays": 6, "sundays": 0,
	}
)

// nearDays are the days that have a name of their own.
var nearDays = []struct {
	words []string
	days  int
}{
	{[]string{"the", "day", "after", "tomorrow"}, 2},
	{[]string{"day", "after", "tomorrow"}, 2},
	{[]string{"the", "day", "before", "yesterday"}, -2},
	{[]string{"day", "before", "yesterday"}, -2},
	{[]string{"today"}, 0},
	{[]string{"tomorrow"}, 1},
	{[]string{"tmrw"}, 1},
	{[]string{"yesterday"}, -1},
}

// shifts say which of several weeks, months or days is meant, counted from
// this one.
var shifts = map[string]int{"this": 0, "current": 0, "next": 1, "coming": 1, "following": 1, "last": -1, "past": -1, "previous": -1}

func (s *scan) today() time.Time {
	y, m, d := s.ref.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, s.ref.Location())
}

func isoDay(t time.Time) string { return t.Format("2006-01-02") }

func fixed(t time.Time, next int) day { return day{isoDay(t), []time.Time{t}, next} }

// weekdayAt tells the days of the week from words that look like them: sat and
// sun are days only where something says so.
func (s *scan) weekdayAt(i int) (time.Weekday, bool) {
	w, ok := weekdays[s.at(i)]
	if !ok || !s.is(i, "sat", "sun", "mon", "wed") || s.is(i-1, "on", "this", "next", "last", "until", "till", "by", "from", "to", "-", "every") {
		return w, ok
	}
	_, listed := weekdays[s.at(i-2)]
	return w, listed && s.is(i-1, ",", "and", "or")
}

// readDay reads a date at token i.
func (s *scan) readDay(i int) day {
	for _, near := range nearDays {
		if next, ok := s.seq(i, near.words...); ok {
			return fixed(s.today().AddDate(0, 0, near.days), next)
		}
	}
	for _, read := range []func(int) day{s.readWeekday, s.readWritten, s.readNumeric, s.readOfMonth, s.readAway} {
		if d := read(i); d.next > 0 {
			return d
		}
	}
	return day{}
}

// readWeekday reads Monday, this Monday, next Monday: the one of this week or
// the next, where weeks begin on Mondays.
func (s *scan) readWeekday(i int) day {
	monday := startOfWeek(s.today())
	shift, named := shifts[s.at(i)]
	j := i
	if named {
		j++
	}
	w, ok := s.weekdayAt(j)
	if !ok || s.glued(i) && s.isDigits(i-1) {
		return day{}
	}
	nth := (int(w) + 6) % 7
	if named {
		if s.is(i, "coming") { // the next one that there is
			shift = 0
			if nth < (int(s.today().Weekday())+6)%7 {
				shift = 1
			}
		}
		return fixed(monday.AddDate(0, 0, 7*shift+nth), j+1)
	}
	if d := s.readDateOf(j + 1); d.next > 0 {
		return d
	}
	d := monday.AddDate(0, 0, nth)
	past, coming := d, d
	if d.Before(s.today()) {
		coming = d.AddDate(0, 0, 7)
	} else {
		past = d.AddDate(0, 0, -7)
	}
	return day{fmt.Sprintf("XXXX-WXX-%d", nth+1), []time.Time{past, coming}, j + 1}
}

// readDateOf reads the date behind a day of the week: Monday, March 9th.
func (s *scan) readDateOf(i int) day {
	if s.is(i, ",") {
		i++
	}
	if d := s.readWritten(i); d.next > 0 {
		return d
	}
	return s.readNumeric(i)
}

func startOfWeek(t time.Time) time.Time { return t.AddDate(0, 0, -(int(t.Weekday())+6)%7) }

// dayNumber reads 5, 5th, fifth, twenty-first as the day of a month.
func (s *scan) dayNumber(i int) (n, next int) {
	if i < 0 || i >= len(s.toks) {
		return 0, 0
	}
	if o := s.order[i]; o.next > 0 && o.value <= 31 {
		return int(o.value), o.next
	}
	if s.isDigits(i) && len(s.at(i)) <= 2 && (!s.isWord(i+1) || !s.glued(i+1)) && !s.is(i+1, ":", "/") && !s.clockAt(i) {
		v, err := strconv.Atoi(s.at(i))
		if err == nil && v >= 1 && v <= 31 {
			return v, i + 1
		}
	}
	return 0, 0
}

// yearAt reads a year of four digits.
func (s *scan) yearAt(i int) (int, bool) {
	if !s.isDigits(i) || len(s.at(i)) != 4 || s.isWord(i+1) && s.glued(i+1) || s.is(i+1, ":") {
		return 0, false
	}
	y, err := strconv.Atoi(s.at(i))
	return y, err == nil && y >= 1000 && y < 3000
}

// readWritten reads March 5th, 5 March 2026, the fifth of March.
func (s *scan) readWritten(i int) day {
	var m time.Month
	var n int
	j := i
	if named, ok := monthNames[s.at(i)]; ok {
		m, j = named, i+1
		if s.is(j, ".") && s.glued(j) {
			j++
		}
		if s.is(j, "the") {
			j++
		}
		n, j = s.dayNumber(j)
	} else {
		if s.is(j, "the") {
			j++
		}
		if n, j = s.dayNumber(j); n > 0 {
			if s.is(j, "of", ".") {
				j++
			}
			m = monthNames[s.at(j)]
			j++
		}
	}
	if n == 0 || m == 0 {
		return day{}
	}
	k := j
	if s.is(k, ",", "of", "in") {
		k++
	}
	if y, ok := s.yearAt(k); ok {
		return s.dated(y, m, n, k+1)
	}
	return s.anyYear(m, n, j)
}

// dated is a whole date, or none if the calendar has no such day.
func (s *scan) dated(y int, m time.Month, n, next int) day {
	t := time.Date(y, m, n, 0, 0, 0, 0, s.ref.Location())
	if t.Day() != n || t.Month() != m {
		return day{}
	}
	return fixed(t, next)
}

// anyYear is a day of a month in the last such year and in the next one.
func (s *scan) anyYear(m time.Month, n, next int) day {
	d := day{timex: fmt.Sprintf("XXXX-%02d-%02d", m, n), next: next}
	today := s.today()
	for back := 0; back <= 8 && len(d.dates) == 0; back++ { // February 29 may be eight years off
		if t := s.dated(today.Year()-back, m, n, next); t.next > 0 && t.dates[0].Before(today) {
			d.dates = t.dates
		}
	}
	for on := range 9 {
		if t := s.dated(today.Year()+on, m, n, next); t.next > 0 && !t.dates[0].Before(today) {
			d.dates = append(d.dates, t.dates[0])
			return d
		}
	}
	return day{}
}

// readNumeric reads 2026-03-05, 3/5/2026, 3/5 (the month first, as in en-us)
// and 5.3.2026 (the day first).
func (s *scan) readNumeric(i int) day {
	if !s.isDigits(i) || s.glued(i) && s.is(i-1, "/", "-", ".", ":") || s.glued(i) && s.isWord(i-1) {
		return day{}
	}
	sep := s.at(i + 1)
	if !s.glued(i+1) || !s.glued(i+2) || !s.isDigits(i+2) || sep != "-" && sep != "/" && sep != "." {
		return day{}
	}
	parts := []int{0, 0, 0}
	lengths := []int{0, 0, 0}
	n := 2
	if s.is(i+3, sep) && s.glued(i+3) && s.glued(i+4) && s.isDigits(i+4) {
		n = 3
	}
	for k := range n {
		text := s.at(i + 2*k)
		v, err := strconv.Atoi(text)
		if err != nil || len(text) > 4 || len(text) == 3 || k == 2 && len(text) == 1 { // 1.2.3 is a version
			return day{}
		}
		parts[k], lengths[k] = v, len(text)
	}
	next := i + 2*n - 1
	if s.is(next, sep, ":") && s.glued(next) && s.glued(next+1) && s.isDigits(next+1) {
		return day{}
	}
	if s.glued(next) && s.isWord(next) && !s.is(next, "t") {
		return day{}
	}
	switch {
	case n == 3 && lengths[0] == 4:
		return s.dated(parts[0], time.Month(parts[1]), parts[2], next)
	case n == 3 && sep == ".":
		return s.dated(century(parts[2], lengths[2]), time.Month(parts[1]), parts[0], next)
	case n == 3 && (sep == "/" || lengths[2] == 4):
		if d := s.dated(century(parts[2], lengths[2]), time.Month(parts[0]), parts[1], next); d.next > 0 {
			return d
		}
		return s.dated(century(parts[2], lengths[2]), time.Month(parts[1]), parts[0], next)
	case n == 2 && sep == "/" && parts[0] >= 1 && parts[0] <= 12 && parts[1] >= 1 && parts[1] <= 31 && lengths[1] <= 2:
		return s.anyYear(time.Month(parts[0]), parts[1], next)
	}
	return day{}
}

func century(y, digits int) int {
	switch {
	case digits > 2:
		return y
	case y < 70:
		return 2000 + y
	}
	return 1900 + y
}

// readOfMonth reads "the 5th" where a preposition says that it is a day.
func (s *scan) readOfMonth(i int) day {
	if !s.is(i, "the") || !s.is(i-1, "on", "by", "until", "till", "from", "to", "before", "after", "since") || !s.isDigits(i+1) {
		return day{}
	}
	o := s.order[i+1]
	if o.next == 0 || o.value > 31 || s.is(o.next, "floor", "time", "street", "avenue", "of") {
		return day{}
	}
	d := day{timex: fmt.Sprintf("XXXX-XX-%02d", int(o.value)), next: o.next}
	today := s.today()
	var past, coming time.Time
	for m := -3; m <= 3; m++ { // no three months in a row lack a day
		first := time.Date(today.Year(), today.Month()+time.Month(m), 1, 0, 0, 0, 0, today.Location())
		t := s.dated(first.Year(), first.Month(), int(o.value), o.next)
		if t.next == 0 {
			continue
		}
		if t.dates[0].Before(today) {
			past = t.dates[0]
		} else if coming.IsZero() {
			coming = t.dates[0]
		}
	}
	d.dates = []time.Time{past, coming}
	return d
}

// away is a moment some time from now: in 3 days, two hours ago.
func (s *scan) away(i int) (t time.Time, onlyDays bool, next int) {
	j, sign := i, 0.0
	if s.is(i, "in", "within") {
		j, sign = i+1, 1
	}
	l := s.readLength(j)
	if l.next == 0 {
		return t, false, 0
	}
	next = l.next
	if sign == 0 {
		switch {
		case s.is(next, "ago"):
			sign, next = -1, next+1
		case s.is(next, "from") && s.is(next+1, "now", "today"):
			sign, next = 1, next+2
		case s.is(next, "later"):
			sign, next = 1, next+1
		default:
			return t, false, 0
		}
	}
	t, onlyDays, ok := l.add(s.ref, sign)
	if !ok {
		return t, false, 0
	}
	return t, onlyDays, next
}

func (s *scan) readAway(i int) day {
	t, onlyDays, next := s.away(i)
	if next == 0 || !onlyDays {
		return day{}
	}
	y, m, d := t.Date()
	return fixed(time.Date(y, m, d, 0, 0, 0, 0, t.Location()), next)
}

// readStretch reads this week, next month, the weekend, in March, 2026, the
// next 3 days.
func (s *scan) readStretch(i int) stretch {
	j := i
	if s.is(j, "the") {
		j++
	}
	shift, named := shifts[s.at(j)]
	if named {
		j++
		if s.isDigits(j) || s.isWord(j) {
			if st := s.countedStretch(j, shift); st.next > 0 {
				return st
			}
		}
	}
	today := s.today()
	if m, ok := monthNames[s.at(j)]; ok {
		return s.monthStretch(i, j, m, shift, named)
	}
	if y, ok := s.yearAt(j); ok && !named && s.is(i-1, "in", "since", "of", "until", "till", "year") && y > 1900 && y < 2200 {
		return stretch{strconv.Itoa(y), [][2]time.Time{{s.first(y, 1), s.first(y+1, 1)}}, j + 1}
	}
	monday := startOfWeek(today).AddDate(0, 0, 7*shift)
	year, number := monday.ISOWeek()
	switch {
	case s.is(j, "weekend") && (named || s.is(i-1, "at", "on", "over", "for") || s.is(i, "the")):
		return stretch{fmt.Sprintf("%d-W%02d-WE", year, number), [][2]time.Time{{monday.AddDate(0, 0, 5), monday.AddDate(0, 0, 7)}}, j + 1}
	case !named:
	case s.is(j, "week"):
		return stretch{fmt.Sprintf("%d-W%02d", year, number), [][2]time.Time{{monday, monday.AddDate(0, 0, 7)}}, j + 1}
	case s.is(j, "month"):
		first := s.first(today.Year(), today.Month()+time.Month(shift))
		return stretch{first.Format("2006-01"), [][2]time.Time{{first, first.AddDate(0, 1, 0)}}, j + 1}
	case s.is(j, "year"):
		first := s.first(today.Year()+shift, 1)
		return stretch{first.Format("2006"), [][2]time.Time{{first, first.AddDate(1, 0, 0)}}, j + 1}
	}
	return stretch{}
}

func (s *scan) first(y int, m time.Month) time.Time {
	return time.Date(y, m, 1, 0, 0, 0, 0, s.ref.Location())
}

// countedStretch reads the "3 days" of "the next 3 days".
func (s *scan) countedStretch(j, shift int) stretch {
	l := s.readLength(j)
	if l.next == 0 || shift == 0 {
		return stretch{}
	}
	to, onlyDays, ok := l.add(s.today(), math.Copysign(1, float64(shift)))
	if !onlyDays || !ok {
		return stretch{}
	}
	timex, _ := l.timex()
	from := s.today()
	if shift > 0 {
		from, to = from.AddDate(0, 0, 1), to.AddDate(0, 0, 1)
	} else {
		from, to = to, from
	}
	return stretch{fmt.Sprintf("(%s,%s,%s)", isoDay(from), isoDay(to), timex), [][2]time.Time{{from, to}}, l.next}
}

// monthStretch reads a month by its name. May and March are months only where
// something says so.
func (s *scan) monthStretch(i, j int, m time.Month, shift int, named bool) stretch {
	today := s.today()
	k := j + 1
	if s.is(k, ",", "of") {
		k++
	}
	whole := func(y int) [2]time.Time { return [2]time.Time{s.first(y, m), s.first(y, m).AddDate(0, 1, 0)} }
	if y, ok := s.yearAt(k); ok && !named {
		return stretch{fmt.Sprintf("%d-%02d", y, m), [][2]time.Time{whole(y)}, k + 1}
	}
	if named {
		y := today.Year()
		switch {
		case shift > 0 && m <= today.Month():
			y++
		case shift < 0 && m >= today.Month():
			y--
		}
		return stretch{fmt.Sprintf("%d-%02d", y, m), [][2]time.Time{whole(y)}, j + 1}
	}
	if i != j || !s.is(i-1, "in", "since", "until", "till", "during", "by", "of", "for", "from", "through") && len(s.at(j)) <= 5 {
		return stretch{}
	}
	y := today.Year()
	if m > today.Month() {
		y--
	}
	return stretch{fmt.Sprintf("XXXX-%02d", m), [][2]time.Time{whole(y), whole(y + 1)}, j + 1}
}

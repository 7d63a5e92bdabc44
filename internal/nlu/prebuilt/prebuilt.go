// Package prebuilt finds what needs no teaching: numbers, dates, amounts of
// money, addresses. It is for English, answers the same for the same text and
// reference time, and takes time that grows with the text. What may live here:
// recognisers of such kinds and the values they resolve to.
package prebuilt

import (
	"cmp"
	"slices"
	"time"
)

// Kind is a kind of entity that needs no teaching.
type Kind string

// The kinds.
const (
	Number     Kind = "number"
	Ordinal    Kind = "ordinal"
	Percentage Kind = "percentage"
	Money      Kind = "money"
	Datetime   Kind = "datetime"
	Duration   Kind = "duration"
	Email      Kind = "email"
	URL        Kind = "url"
	Phone      Kind = "phone"
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{Number, Ordinal, Percentage, Money, Datetime, Duration, Email, URL, Phone}
}

// Entity is something that was found.
type Entity struct {
	Start   int // Unicode code points
	End     int // Unicode code points, exclusive
	Kind    Kind
	Subtype string // of a Datetime: date, time, datetime, daterange, timerange, datetimerange or set
	Value   Value
}

// Value is what an entity means. Which fields count depends on the kind.
type Value struct {
	Number float64 // Number, Percentage, Money; Ordinal: the place, from 1
	Unit   string  // Money: Dollar, Euro, ...; "" where only a sign says so
	Times  []Time  // Datetime, Duration: what it can mean, the past one before the coming one
	Text   string  // Email, URL: as programs want it; Phone: digits, and a + in front if there was one
}

// Time is one meaning of a date, time or duration.
type Time struct {
	Timex string // TIMEX3: 2026-03-05, XXXX-WXX-1, T17:30, (T18,T19,PT1H), PT2H
	Value string // 2026-03-05, 17:30:00, 2026-03-05 17:30:00; a Duration: its seconds
	Start string // of a range, as Value
	End   string // of a range, as it was said; of a week, month or part of a day: the first moment after it
}

// Find returns what a text has of some kinds, or of all if none is named, in
// the order in which they begin. Dates count from reference: "tomorrow" is the
// day after it, in its time zone. Two of one kind never overlap; two of
// different kinds may ("5 euros" has a number in it).
func Find(text string, reference time.Time, kinds ...Kind) []Entity {
	want := func(k Kind) bool { return len(kinds) == 0 || slices.Contains(kinds, k) }
	s := newScan(text, reference)
	var out []Entity
	add := func(k Kind, find func() []Entity) {
		if want(k) {
			out = append(out, find()...)
		}
	}
	add(Number, s.numbers)
	add(Ordinal, s.ordinals)
	add(Percentage, s.percentages)
	add(Money, s.amounts)
	if want(Datetime) || want(Duration) {
		dates := s.datetimes()
		add(Datetime, func() []Entity { return dates })
		add(Duration, func() []Entity { return apart(s.durations(), dates) })
	}
	add(Email, s.emails)
	add(URL, s.urls)
	add(Phone, s.phones)
	slices.SortStableFunc(out, func(a, b Entity) int { return cmp.Or(a.Start-b.Start, b.End-a.End) })
	return out
}

// apart keeps those of a that overlap none of b. Both are in order.
func apart(a, b []Entity) []Entity {
	var out []Entity
	for _, e := range a {
		for len(b) > 0 && b[0].End <= e.Start {
			b = b[1:]
		}
		if len(b) == 0 || b[0].Start >= e.End {
			out = append(out, e)
		}
	}
	return out
}

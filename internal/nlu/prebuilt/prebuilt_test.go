package prebuilt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wednesday is what "tomorrow" counts from, in a place that is not UTC.
var wednesday = time.Date(2026, 3, 4, 10, 30, 0, 0, time.FixedZone("Here", 3*3600))

// told writes what was found in one line: the text, and what it means.
func told(text string, e Entity) string {
	out := string([]rune(text)[e.Start:e.End]) + " ="
	switch e.Kind {
	case Number, Ordinal, Percentage, Money:
		out += " " + plain(e.Value.Number)
		if e.Value.Unit != "" {
			out += " " + e.Value.Unit
		}
	case Email, URL, Phone:
		out += " " + e.Value.Text
	}
	if e.Subtype != "" {
		out += " " + e.Subtype
	}
	for i, t := range e.Value.Times {
		if i > 0 {
			out += ";"
		}
		out += " " + t.Timex
		if t.Value != "" {
			out += " " + t.Value
		}
		if t.Start != "" {
			out += " " + t.Start + ".." + t.End
		}
	}
	return out
}

type found struct {
	text string
	want []string
}

func check(t *testing.T, k Kind, tests []found) {
	t.Helper()
	for _, tt := range tests {
		var got []string
		for _, e := range Find(tt.text, wednesday, k) {
			if e.Kind != k {
				t.Errorf("%s: asked for %s, got %s", tt.text, k, e.Kind)
			}
			got = append(got, told(tt.text, e))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestNumbers(t *testing.T) {
	check(t, Number, []found{
		{"", nil},
		{"no number in here", nil},
		{"3 apples and twelve pears", []string{"3 = 3", "twelve = 12"}},
		{"two hundred and five thousand three hundred", []string{"two hundred and five thousand three hundred = 205300"}},
		{"one million and one", []string{"one million and one = 1000001"}},
		{"forty-two", []string{"forty-two = 42"}},
		{"Twenty three SHEEP", []string{"Twenty three = 23"}},
		{"five six", []string{"five = 5", "six = 6"}},
		{"a dozen eggs, half a dozen buns, two dozen, 3 dozen", []string{"a dozen = 12", "half a dozen = 6", "two dozen = 24", "3 dozen = 36"}},
		{"-5 degrees and minus seven", []string{"-5 = -5", "minus seven = -7"}},
		{"3-5", nil}, // a score, a date, pages: nobody knows
		{"1,234.56 or .5 or 3.14.", []string{"1,234.56 = 1234.56", ".5 = 0.5", "3.14 = 3.14"}},
		{"1,2,3", []string{"1 = 1"}},
		{"one point two five and one point five million", []string{"one point two five = 1.25", "one point five million = 1500000"}},
		{"2 and a half, two and a half", []string{"2 and a half = 2.5", "two and a half = 2.5"}},
		{"5k and 3 million and 2bn", []string{"5k = 5000", "3 million = 3000000", "2bn = 2000000000"}},
		{"a hundred, a thousand", []string{"a hundred = 100", "a thousand = 1000"}},
		{"version 1.2.3, 10.0.0.1, B12, room 12b, 3f2a", nil},
		{"5kg and 3pm", []string{"5 = 5", "3 = 3"}},
		{"(7) \"8\" #9 $10", []string{"7 = 7", "8 = 8", "9 = 9", "10 = 10"}},
		{"🍰 zero", []string{"zero = 0"}},
		{"someone told bone stone", nil},
		{"1" + strings.Repeat("0", 500), nil},
	})
}

func TestOrdinals(t *testing.T) {
	check(t, Ordinal, []found{
		{"the first and the 22nd", []string{"first = 1", "22nd = 22"}},
		{"twenty-first, twenty third", []string{"twenty-first = 21", "twenty third = 23"}},
		{"one hundred and fifth", []string{"one hundred and fifth = 105"}},
		{"two hundredth", []string{"two hundredth = 200"}},
		{"wait a second, 30 second, the second one", []string{"second = 2"}},
		{"1ST 2nd 3Rd 4th", []string{"1ST = 1", "2nd = 2", "3Rd = 3", "4th = 4"}},
		{"0th and 12345678901th", nil},
	})
}

func TestPercentagesAndMoney(t *testing.T) {
	check(t, Percentage, []found{
		{"5% or twenty percent or 3 per cent, 2.5 pct", []string{"5% = 5", "twenty percent = 20", "3 per cent = 3", "2.5 pct = 2.5"}},
		{"percent", nil},
	})
	check(t, Money, []found{
		{"$5 and €3.50 or 20 dollars", []string{"$5 = 5 Dollar", "€3.50 = 3.5 Euro", "20 dollars = 20 Dollar"}},
		{"ten euros and 50 cents", []string{"ten euros and 50 cents = 10.5 Euro"}},
		{"50 cents, 20 pence", []string{"50 cents = 50 Cent", "20 pence = 20 Penny"}},
		{"5k euros, $3 million, 100 usd, USD 100", []string{"5k euros = 5000 Euro", "$3 million = 3000000 Dollar", "100 usd = 100 US Dollar", "USD 100 = 100 US Dollar"}},
		{"a dollar, half a euro, three quid", []string{"a dollar = 1 Dollar", "half a euro = 0.5 Euro", "three quid = 3 Pound"}},
		{"15€ 12eur £1,200", []string{"15€ = 15 Euro", "12eur = 12 Euro", "£1,200 = 1200 Pound"}},
		{"100 swiss", nil},
	})
}

func TestAddresses(t *testing.T) {
	check(t, Email, []found{
		{"mail ann.lee+x@mail.example.org, please", []string{"ann.lee+x@mail.example.org = ann.lee+x@mail.example.org"}},
		{"é ann@example.com.", []string{"ann@example.com = ann@example.com"}},
		{"@ann ann@ ann@example a@b.c", nil},
	})
	check(t, URL, []found{
		{"see https://example.org/path_(x)) and (http://a.b/c)!", []string{"https://example.org/path_(x) = https://example.org/path_(x)", "http://a.b/c = http://a.b/c"}},
		{"www.example.com/a?b=c. example.com!", []string{"www.example.com/a?b=c = www.example.com/a?b=c", "example.com = example.com"}},
		{"🍰🍰 example.org", []string{"example.org = example.org"}},
		{"ann@example.org wrote. Then he left", nil},
	})
	check(t, Phone, []found{
		{"+31 20 555 0123 or (020) 555-0123", []string{"+31 20 555 0123 = +31205550123", "(020) 555-0123 = 0205550123"}},
		{"0205550123, 555-0123", []string{"0205550123 = 0205550123", "555-0123 = 5550123"}},
		{"2026-03-05 and 05.03.2026 and 1234567", nil},
		{"1234567.25 or 12345678901234567", nil},
	})
}

func TestDurations(t *testing.T) {
	check(t, Duration, []found{
		{"two hours and 15 minutes", []string{"two hours and 15 minutes = PT2H15M 8100"}},
		{"an hour and a half, half an hour", []string{"an hour and a half = PT1.5H 5400", "half an hour = PT0.5H 1800"}},
		{"2 and a half hours", []string{"2 and a half hours = PT2.5H 9000"}},
		{"1h30m or 90s or 2d", []string{"1h30m = PT1H30M 5400", "90s = PT90S 90", "2d = P2D 172800"}},
		{"1 day, 2 hours, 3 minutes", []string{"1 day, 2 hours, 3 minutes = P1DT2H3M 93780"}},
		{"a fortnight, 30-minute walk", []string{"a fortnight = P2W 1209600", "30-minute = PT30M 1800"}},
		{"a couple of days or quarter of an hour", []string{"a couple of days = P2D 172800", "quarter of an hour = PT0.25H 900"}},
		{"3 nights, ten years", []string{"3 nights = P3D 259200", "ten years = P10Y 315360000"}},
		{"in 3 days", nil}, // a date
		{"hours and hours", nil},
	})
}

func TestDates(t *testing.T) {
	check(t, Datetime, []found{
		{"today, tomorrow, yesterday", []string{"today = date 2026-03-04 2026-03-04", "tomorrow = date 2026-03-05 2026-03-05", "yesterday = date 2026-03-03 2026-03-03"}},
		{"the day after tomorrow", []string{"the day after tomorrow = date 2026-03-06 2026-03-06"}},
		{"on Friday", []string{"Friday = date XXXX-WXX-5 2026-02-27; XXXX-WXX-5 2026-03-06"}},
		{"on wednesday", []string{"wednesday = date XXXX-WXX-3 2026-02-25; XXXX-WXX-3 2026-03-04"}},
		{"this friday, next friday, last friday", []string{"this friday = date 2026-03-06 2026-03-06", "next friday = date 2026-03-13 2026-03-13", "last friday = date 2026-02-27 2026-02-27"}},
		{"the coming tuesday", []string{"coming tuesday = date 2026-03-10 2026-03-10"}},
		{"the coming friday", []string{"coming friday = date 2026-03-06 2026-03-06"}},
		{"the sun shines, we sat down, mon ami", nil},
		{"on sat, fri, sun", []string{"sat = date XXXX-WXX-6 2026-02-28; XXXX-WXX-6 2026-03-07", "fri = date XXXX-WXX-5 2026-02-27; XXXX-WXX-5 2026-03-06", "sun = date XXXX-WXX-7 2026-03-01; XXXX-WXX-7 2026-03-08"}},
		{"March 5th, 5 March 2026, the fifth of march", []string{"March 5th = date XXXX-03-05 2025-03-05; XXXX-03-05 2026-03-05", "5 March 2026 = date 2026-03-05 2026-03-05", "the fifth of march = date XXXX-03-05 2025-03-05; XXXX-03-05 2026-03-05"}},
		{"Feb 29", []string{"Feb 29 = date XXXX-02-29 2024-02-29; XXXX-02-29 2028-02-29"}},
		{"February 30, 31 April 2026, 2026-02-29", []string{"February = daterange XXXX-02 2026-02-01..2026-03-01; XXXX-02 2027-02-01..2027-03-01", "April 2026 = daterange 2026-04 2026-04-01..2026-05-01"}},
		{"3/5, 3/5/2026, 25/12/2026, 5.3.2026, 2026-03-05, 12/25/26", []string{
			"3/5 = date XXXX-03-05 2025-03-05; XXXX-03-05 2026-03-05", "3/5/2026 = date 2026-03-05 2026-03-05", "25/12/2026 = date 2026-12-25 2026-12-25",
			"5.3.2026 = date 2026-03-05 2026-03-05", "2026-03-05 = date 2026-03-05 2026-03-05", "12/25/26 = date 2026-12-25 2026-12-25",
		}},
		{"24/7, 50/50, version 1.2.3, 10.0.0.1, 1/2/3/4", nil},
		{"Friday, March 6", []string{"Friday, March 6 = date XXXX-03-06 2025-03-06; XXXX-03-06 2026-03-06"}},
		{"by the 15th, the 15th floor", []string{"the 15th = date XXXX-XX-15 2026-02-15; XXXX-XX-15 2026-03-15"}},
		{"on the 31st", []string{"the 31st = date XXXX-XX-31 2026-01-31; XXXX-XX-31 2026-03-31"}},
		{"in 3 days, two weeks ago, 3 months from now", []string{"in 3 days = date 2026-03-07 2026-03-07", "two weeks ago = date 2026-02-18 2026-02-18", "3 months from now = date 2026-06-04 2026-06-04"}},
		{"may I march in", nil},
		{"in 999999999 years, 999999999999999 days ago", nil},
	})
}

func TestTimes(t *testing.T) {
	check(t, Datetime, []found{
		{"at 5, by seven.", []string{"5 = time T05 05:00:00; T17 17:00:00", "seven = time T07 07:00:00; T19 19:00:00"}},
		{"17:30, 5:30pm, 5.30 pm, 5 p.m., 05:15, 12:30:45", []string{
			"17:30 = time T17:30 17:30:00", "5:30pm = time T17:30 17:30:00", "5.30 pm = time T17:30 17:30:00", "5 p.m = time T17 17:00:00",
			"05:15 = time T05:15 05:15:00", "12:30:45 = time T00:30:45 00:30:45; T12:30:45 12:30:45",
		}},
		{"noon, midnight, 5 o'clock", []string{"noon = time T12 12:00:00", "midnight = time T00 00:00:00", "5 o'clock = time T05 05:00:00; T17 17:00:00"}},
		{"12am 12pm 0:15", []string{"12am = time T00 00:00:00", "12pm = time T12 12:00:00", "0:15 = time T00:15 00:15:00"}},
		{"at half past six, at a quarter to five in the afternoon", []string{"half past six = time T06:30 06:30:00; T18:30 18:30:00", "a quarter to five in the afternoon = time T16:45 16:45:00"}},
		{"ten past six pm, twenty to nine, half past twelve", []string{"ten past six pm = time T18:10 18:10:00", "twenty to nine = time T08:40 08:40:00; T20:40 20:40:00", "half past twelve = time T00:30 00:30:00; T12:30 12:30:00"}},
		{"8 in the morning, 10 at night", []string{"8 in the morning = time T08 08:00:00", "10 at night = time T22 22:00:00"}},
		{"5 to feed, two kids, at 5 dollars, at 25:00, 13pm, 9:75", nil},
		{"in the afternoon, good morning, good night", []string{"in the afternoon = timerange TAF 12:00:00..16:00:00"}},
		{"now, right now", []string{"now = datetime PRESENT_REF 2026-03-04 10:30:00", "right now = datetime PRESENT_REF 2026-03-04 10:30:00"}},
		{"in 20 minutes, an hour ago", []string{"in 20 minutes = datetime 2026-03-04T10:50:00 2026-03-04 10:50:00", "an hour ago = datetime 2026-03-04T09:30:00 2026-03-04 09:30:00"}},
	})
}

func TestDatesWithTimes(t *testing.T) {
	check(t, Datetime, []found{
		{"tomorrow at 8 pm", []string{"tomorrow at 8 pm = datetime 2026-03-05T20 2026-03-05 20:00:00"}},
		{"tomorrow at 8", []string{"tomorrow at 8 = datetime 2026-03-05T08 2026-03-05 08:00:00; 2026-03-05T20 2026-03-05 20:00:00"}},
		{"tomorrow evening at eight", []string{"tomorrow evening at eight = datetime 2026-03-05T20 2026-03-05 20:00:00"}},
		{"Friday at noon", []string{"Friday at noon = datetime XXXX-WXX-5T12 2026-02-27 12:00:00; XXXX-WXX-5T12 2026-03-06 12:00:00"}},
		{"9am on tuesday", []string{"9am on tuesday = datetime XXXX-WXX-2T09 2026-03-03 09:00:00; XXXX-WXX-2T09 2026-03-10 09:00:00"}},
		{"seven thirty tomorrow", []string{"seven thirty tomorrow = datetime 2026-03-05T07:30 2026-03-05 07:30:00; 2026-03-05T19:30 2026-03-05 19:30:00"}},
		{"next monday morning", []string{"next monday morning = datetimerange 2026-03-09TMO 2026-03-09 08:00:00..2026-03-09 12:00:00"}},
		{"tonight, tonight at 8, this evening, last night", []string{
			"tonight = datetimerange 2026-03-04TNI 2026-03-04 20:00:00..2026-03-04 23:59:59", "tonight at 8 = datetime 2026-03-04T20 2026-03-04 20:00:00",
			"this evening = datetimerange 2026-03-04TEV 2026-03-04 16:00:00..2026-03-04 20:00:00", "last night = datetimerange 2026-03-03TNI 2026-03-03 20:00:00..2026-03-03 23:59:59",
		}},
		{"a table for 4 tonight", []string{"tonight = datetimerange 2026-03-04TNI 2026-03-04 20:00:00..2026-03-04 23:59:59"}},
		{"8 tonight? at 8 tonight", []string{
			"tonight = datetimerange 2026-03-04TNI 2026-03-04 20:00:00..2026-03-04 23:59:59", "8 tonight = datetime 2026-03-04T20 2026-03-04 20:00:00",
		}},
		{"2026-03-05T14:00 and 12/25/2026 8:00 AM", []string{"2026-03-05T14:00 = datetime 2026-03-05T14:00 2026-03-05 14:00:00", "12/25/2026 8:00 AM = datetime 2026-12-25T08:00 2026-12-25 08:00:00"}},
		{"the day after tomorrow at 9 in the morning", []string{"the day after tomorrow at 9 in the morning = datetime 2026-03-06T09 2026-03-06 09:00:00"}},
		{"5 p.m. today", []string{"5 p.m. today = datetime 2026-03-04T17 2026-03-04 17:00:00"}},
		{"the 5th of May at noon", []string{"the 5th of May at noon = datetime XXXX-05-05T12 2025-05-05 12:00:00; XXXX-05-05T12 2026-05-05 12:00:00"}},
	})
}

func TestRangesAndSets(t *testing.T) {
	check(t, Datetime, []found{
		{"next week, last month, this year", []string{"next week = daterange 2026-W11 2026-03-09..2026-03-16", "last month = daterange 2026-02 2026-02-01..2026-03-01", "this year = daterange 2026 2026-01-01..2027-01-01"}},
		{"the weekend, next weekend", []string{"the weekend = daterange 2026-W10-WE 2026-03-07..2026-03-09", "next weekend = daterange 2026-W11-WE 2026-03-14..2026-03-16"}},
		{"in March, May 2027, last december, since 2019", []string{
			"March = daterange XXXX-03 2026-03-01..2026-04-01; XXXX-03 2027-03-01..2027-04-01", "May 2027 = daterange 2027-05 2027-05-01..2027-06-01",
			"last december = daterange 2025-12 2025-12-01..2026-01-01", "2019 = daterange 2019 2019-01-01..2020-01-01",
		}},
		{"the next 3 days, the last two weeks", []string{"the next 3 days = daterange (2026-03-05,2026-03-08,P3D) 2026-03-05..2026-03-08", "the last two weeks = daterange (2026-02-18,2026-03-04,P2W) 2026-02-18..2026-03-04"}},
		{"from 5 to 7 pm", []string{"from 5 to 7 pm = timerange (T17,T19,PT2H) 17:00:00..19:00:00"}},
		{"from 9 to 17, 5-7pm", []string{"from 9 to 17 = timerange (T09,T17,PT8H) 09:00:00..17:00:00", "5-7pm = timerange (T17,T19,PT2H) 17:00:00..19:00:00"}},
		{"between 10:00 and 12:30", []string{"between 10:00 and 12:30 = timerange (T10:00,T12:30,PT2H30M) 10:00:00..12:30:00; (T22:00,T00:30,PT2H30M) 22:00:00..00:30:00"}},
		{"5 to 7, from 5 to 7 apples, from 5 to 7 dollars", []string{"from 5 to 7 = timerange (T05,T07,PT2H) 05:00:00..07:00:00; (T17,T19,PT2H) 17:00:00..19:00:00"}},
		{"monday to wednesday", []string{"monday to wednesday = daterange (XXXX-WXX-1,XXXX-WXX-3,P2D) 2026-03-02..2026-03-04; (XXXX-WXX-1,XXXX-WXX-3,P2D) 2026-03-09..2026-03-11"}},
		{"from monday to friday", []string{"from monday to friday = daterange (XXXX-WXX-1,XXXX-WXX-5,P4D) 2026-03-02..2026-03-06; (XXXX-WXX-1,XXXX-WXX-5,P4D) 2026-03-09..2026-03-13"}},
		{"from december 30 to january 2", []string{"from december 30 to january 2 = daterange (XXXX-12-30,XXXX-01-02,P3D) 2025-12-30..2026-01-02; (XXXX-12-30,XXXX-01-02,P3D) 2026-12-30..2027-01-02"}},
		{"tomorrow from 10pm to 2am", []string{"tomorrow from 10pm to 2am = datetimerange (2026-03-05T22,2026-03-06T02,PT4H) 2026-03-05 22:00:00..2026-03-06 02:00:00"}},
		{"from 5 to 7 pm tomorrow", []string{"from 5 to 7 pm tomorrow = datetimerange (2026-03-05T17,2026-03-05T19,PT2H) 2026-03-05 17:00:00..2026-03-05 19:00:00"}},
		{"every day, each monday, weekly, every two weeks, every morning", []string{
			"every day = set P1D not resolved", "each monday = set XXXX-WXX-1 not resolved", "weekly = set P1W not resolved",
			"every two weeks = set P2W not resolved", "every morning = set TMO not resolved",
		}},
	})
}

// The same text may hold several kinds at once, which LUIS' clients expect.
func TestFindAllKinds(t *testing.T) {
	text := "😀 book 2 seats for €30 tomorrow at 8, ring +31 20 555 0123"
	var got []string
	for _, e := range Find(text, wednesday) {
		got = append(got, fmt.Sprintf("%s %s", e.Kind, string([]rune(text)[e.Start:e.End])))
	}
	want := []string{
		"number 2", "money €30", "number 30", "datetime tomorrow at 8", "number 8",
		"phone +31 20 555 0123", "number 31", "number 20", "number 555", "number 0123",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(Kinds(), slices.Compact(Kinds())) || len(Kinds()) != 9 {
		t.Errorf("kinds %v", Kinds())
	}
}

// A lot of the worst is read in time that grows with it, not with its square.
func TestHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped by -short: it reads two megabytes")
	}
	size := 1 << 16
	if raced {
		size = 1 << 12 // nothing that grows shows with so little
	}
	for _, part := range []string{
		"tomorrow from ", "from 5 to ", "one point ", "five ", "1,", "1,234,", "a.", "a@", "a@b.", "((((", "http://a)", ")", "1-", "1/", "+1 ", "the next ", "two hundred and ",
		"1h", "an hour and ", "every ", "monday, ", "at 5 in ", "12:", "é", "a dozen ", "-", "half past ", "march 5 to ",
	} {
		text := strings.Repeat(part, size/len(part))
		done := make(chan int, 1)
		go func() { done <- len(Find("http://x"+text, wednesday)) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%q again and again takes more than 20 s", part)
		}
	}
}

func FuzzFind(f *testing.F) {
	for _, s := range []string{
		"a table for two tomorrow at half past six under 50 euros", "+31 20 555 0123 or ann@example.org, www.example.com/(a)", "1h30m from 5 to 7 pm on the 31st",
		"twenty-first of february 29 2027 12:60", "\xff 5\u0301 -.5e9 🍰12", "next 3 weeks 999999999999 years ago",
	} {
		f.Add(s, int64(1772609400))
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		ref := time.Unix(at%4e10, 0).UTC()
		found := Find(text, ref)
		n := len([]rune(text))
		end := map[Kind]int{}
		for i, e := range found {
			if e.Start < 0 || e.End > n || e.Start >= e.End {
				t.Fatalf("%+v is off %q", e, text)
			}
			if i > 0 && found[i-1].Start > e.Start {
				t.Fatalf("%+v comes after %+v", e, found[i-1])
			}
			if e.Start < end[e.Kind] {
				t.Fatalf("two of kind %s overlap at %d in %q", e.Kind, e.Start, text)
			}
			end[e.Kind] = e.End
			if (e.Kind == Datetime || e.Kind == Duration) && len(e.Value.Times) == 0 {
				t.Fatalf("%+v means nothing", e)
			}
			for _, m := range e.Value.Times {
				if m.Timex == "" || (m.Value == "") == (m.Start == "" && m.End == "") {
					t.Fatalf("%+v means nothing or too much", e)
				}
			}
		}
		if again := Find(text, ref); !cmp.Equal(found, again) {
			t.Fatalf("%q: %v, and then %v", text, found, again)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Find("please book a table for two at seven tomorrow evening under 50 euros", wednesday)
	}
}

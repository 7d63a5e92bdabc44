package account

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Measure is what is counted.
type Measure int

// The measures. Money is in billionths of the currency.
const (
	Requests Measure = iota
	Tokens
	Money
	measures
)

// Amounts are so much of each measure.
type Amounts [measures]int64

func (a Amounts) plus(b Amounts) Amounts {
	for m := range a {
		a[m] += b[m]
	}
	return a
}

func (a Amounts) minus(b Amounts) Amounts {
	for m := range a {
		a[m] -= b[m]
	}
	return a
}

// Span is how long a window is.
type Span int

// The spans, in UTC.
const (
	Minute Span = iota
	Day
	Month
	spans
)

func (s Span) String() string { return [...]string{"minute", "day", "month"}[s] }

// begin is when the window began that t is in.
func (s Span) begin(t time.Time) int64 {
	t = t.UTC()
	switch s {
	case Minute:
		return t.Truncate(time.Minute).Unix()
	case Day:
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix()
	default:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix()
	}
}

// end is when a window is over.
func (s Span) end(start int64) time.Time {
	t := time.Unix(start, 0).UTC()
	switch s {
	case Minute:
		return t.Add(time.Minute)
	case Day:
		return t.AddDate(0, 0, 1)
	default:
		return t.AddDate(0, 1, 0)
	}
}

// Scope says whose a budget is.
type Scope string

// The scopes.
const (
	Everyone Scope = "everyone"
	Tenant   Scope = "tenant"
	Key      Scope = "key"
	User     Scope = "user"
)

// Budget limits what somebody may spend in each window.
type Budget struct {
	Name   string
	For    Scope
	Who    string         // one of them; "" = each has such a budget
	Limits [spans]Amounts // 0 = no limit
}

// Limits of limits: sums of them must not overflow.
const (
	MostRequests = 1_000_000_000_000
	MostTokens   = 1_000_000_000_000_000
	MostMoney    = 1_000_000_000 * Unit
)

// Unit is one of the currency.
const Unit = 1_000_000_000

// Check returns what is wrong with a budget.
func (b *Budget) Check() error {
	any := false
	for s, limits := range b.Limits {
		for m, most := range limits {
			if most < 0 || most > [...]int64{MostRequests, MostTokens, MostMoney}[m] {
				return fmt.Errorf("budget %q: a limit of %d by the %v is out of bounds", b.Name, most, Span(s))
			}
			any = any || most > 0
		}
	}
	switch {
	case b.Name == "":
		return fmt.Errorf("a budget needs a name")
	case !any:
		return fmt.Errorf("the budget %q limits nothing", b.Name)
	case b.For == Everyone && b.Who != "":
		return fmt.Errorf("the budget %q is for everyone, so it can't be for %q", b.Name, b.Who)
	}
	return nil
}

// subject is whose purse a caller spends from under this budget.
func (b *Budget) subject(w Who) (string, bool) {
	var name string
	switch b.For {
	case Everyone:
		return "", true
	case Tenant:
		name = w.Tenant
	case Key:
		name = w.Key
	case User:
		name = w.User
	}
	return name, name != "" && (b.Who == "" || b.Who == name)
}

// least is the smallest limit of a measure, 0 if there is none.
func (b *Budget) least(m Measure) int64 {
	out := int64(0)
	for _, limits := range b.Limits {
		if n := limits[m]; n > 0 && (out == 0 || n < out) {
			out = n
		}
	}
	return out
}

// reserves is what a request is held to take until it is known. What it asks
// for is reserved whole. What is guessed never asks for more than there can be:
// a small budget would let nobody in.
func (b *Budget) reserves(p Price, prompt, most int64) Amounts {
	answer, guessed := most, most == 0
	if guessed {
		answer = guess
	}
	out := Amounts{1, prompt + answer, p.cost(prompt, 0, answer)}
	firm := Amounts{1, most, p.cost(0, 0, most)}
	for m := Tokens; m < measures; m++ {
		if limit := b.least(m); limit > 0 {
			out[m] = max(firm[m], min(out[m], limit))
		}
	}
	return out
}

// shortage is why a budget lets somebody not in.
type shortage struct {
	span    Span
	measure Measure
	start   int64 // of the window
	never   bool  // not even a fresh window has that much
	need    int64
}

// fault is a shortage in words.
func (b *Budget) fault(x shortage, now time.Time) error {
	limit := b.amount(x.span, x.measure)
	if x.never {
		return fault.New(fault.Invalid, "this request may take %s, and the budget %q has %s a %v: ask for a shorter answer",
			show(x.measure, x.need), b.Name, limit, x.span)
	}
	end := x.span.end(x.start)
	f := fault.New(fault.Limited, "the budget %q has not got that much left of %s a %v; it begins again on %s", b.Name, limit, x.span, end.Format("2006-01-02 at 15:04:05 UTC"))
	return refused{f.After(max(end.Sub(now), time.Second)), x.span != Minute}
}

func (b *Budget) amount(s Span, m Measure) string { return show(m, b.Limits[s][m]) }

func show(m Measure, n int64) string {
	switch m {
	case Requests:
		return strconv.FormatInt(n, 10) + " requests"
	case Tokens:
		return strconv.FormatInt(n, 10) + " tokens"
	}
	return Decimal(n) + " of money"
}

// refused is a fault that says whether waiting a little helps.
type refused struct {
	fault *fault.Error
	long  bool
}

func (r refused) Error() string { return r.fault.Error() }
func (r refused) Unwrap() error { return r.fault }

// Quota reports whether a quota is used up, and not a rate.
func (r refused) Quota() bool { return r.long }

// Decimal writes an amount of money.
func Decimal(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%s%d.%09d", sign, n/Unit, n%Unit)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

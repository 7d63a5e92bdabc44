package account

import (
	"math/bits"
	"strings"

	"github.com/parleyhq/parley/internal/lm"
)

// Price is what a million tokens cost, in billionths of the currency.
type Price struct {
	Model  string // its name; * stands for any text
	Input  int64
	Cached int64 // of the prompt, taken from a prefix cache
	Output int64
}

// MostPrice is the highest price of a million tokens.
const MostPrice = 1_000_000 * Unit

// Prices are tried in order.
type Prices []Price

// Of returns the first price whose pattern fits a model.
func (p Prices) Of(model string) (Price, bool) {
	for _, x := range p {
		if fits(x.Model, model) {
			return x, true
		}
	}
	return Price{}, false
}

// fits reports whether a name is what a pattern says.
func fits(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	for _, part := range parts[:len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

// Of is what an answer cost.
func (p Price) Of(u lm.Usage) int64 {
	return p.cost(int64(u.Prompt-u.Cached), int64(u.Cached), int64(u.Completion))
}

func (p Price) cost(input, cached, output int64) int64 {
	return per(input, p.Input) + per(cached, p.Cached) + per(output, p.Output)
}

// per is what some tokens cost at the price of a million, rounded up. Both are
// bounded, so the result fits.
func per(tokens, price int64) int64 {
	if tokens <= 0 || price <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(tokens), uint64(price))
	lo, carry := bits.Add64(lo, 999_999, 0)
	q, _ := bits.Div64(hi+carry, lo, 1_000_000)
	return int64(q)
}

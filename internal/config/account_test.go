package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/config"
)

func TestBudgetsAndPrices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(file, []byte("prices:\n  - {model: \"*\", input: 1, output: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `
keys:
  - {name: a, key: 0123456789abcdef0, tenant: acme}
currency: EUR
prices:
  - {model: "gpt-4o*", input: 0.15, cached: 0.075, output: 0.6}
price_file: ` + file + `
budgets:
  - {name: all, for: everyone, month: {money: 500.25}}
  - name: acme
    for: tenant
    who: acme
    minute: {requests: 60, tokens: 100000}
    day: {money: 20}
  - {name: visitors, for: user, day.requests: 50}
`
	c, err := config.Parse("p.yaml", []byte(text), []string{"HOME=/home/x"})
	if err != nil {
		t.Fatal(err)
	}
	var got []account.Budget
	for _, b := range c.Budgets {
		got = append(got, b.Account())
	}
	want := []account.Budget{
		{Name: "all", For: account.Everyone, Limits: [3]account.Amounts{{}, {}, {0, 0, 500_250_000_000}}},
		{Name: "acme", For: account.Tenant, Who: "acme", Limits: [3]account.Amounts{{60, 100_000, 0}, {0, 0, 20_000_000_000}, {}}},
		{Name: "visitors", For: account.User, Limits: [3]account.Amounts{{}, {50, 0, 0}, {}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var prices []account.Price
	for _, p := range c.Prices {
		prices = append(prices, p.Account())
	}
	if diff := cmp.Diff([]account.Price{
		{Model: "gpt-4o*", Input: 150_000_000, Cached: 75_000_000, Output: 600_000_000},
		{Model: "*", Input: 1_000_000_000, Cached: 1_000_000_000, Output: 2_000_000_000},
	}, prices); diff != "" {
		t.Error(diff)
	}
	if c.Currency != "EUR" || c.Keys[0].Tenant != "acme" {
		t.Errorf("%q, %+v", c.Currency, c.Keys)
	}
	var printed strings.Builder
	if err := c.Print(&printed); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(printed.String(), "minute.requests: 60") {
		t.Errorf("printed:\n%s", printed.String())
	}
}

// Whatever is wrong with them is told, with its line, and all at once.
func TestWrongBudgetsAndPrices(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(bad, []byte("prices:\n  - {model: a, input: 1, output: 2}\n  - {model: b, input: -1}\ncurrency: EUR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, map[string][]string{
		"budgets:\n  - {name: a, for: everyone}":                                                               {"p.yaml:2", "limits nothing"},
		"budgets:\n  - {name: a, for: everybody, day.requests: 1}":                                             {"did you mean \"everyone\"?"},
		"budgets:\n  - {name: a, for: everyone, who: x, day.requests: 1}":                                      {"can't be for"},
		"budgets:\n  - {name: a, for: everyone, day: {requests: -5}}":                                          {"p.yaml:2", "-5 is out of bounds"},
		"budgets:\n  - {name: a, for: everyone, day: {requests: 0}}":                                           {"0 is out of bounds"},
		"budgets:\n  - {name: a, for: everyone, day: {tokens: 9999999999999999999}}":                           {"out of bounds"},
		"budgets:\n  - {name: a, for: everyone, day: {money: 1}}":                                              {"needs prices"},
		"budgets:\n  - {name: a, for: everyone, hour: {requests: 1}}":                                          {"no such setting"},
		"budgets:\n  - {name: a, for: tenant, who: b, day.requests: 1}":                                        {"belongs to a tenant"},
		"budgets:\n  - {name: a, for: key, who: b, day.requests: 1}":                                           {"there is no key"},
		"budgets:\n  - {name: a, for: user, day.requests: 1}\n  - {name: a, for: everyone, day.requests: 1.5}": {"another budget too", "p.yaml:3", "a number with a fraction"},
		"prices:\n  - {model: a, input: 1}\n  - {input: .inf, output: -1}":                                     {"p.yaml:2", "prices[0].output: is missing", "p.yaml:3", "prices[1].model: is missing", "out of bounds"},
		"prices:\n  - {model: a, input: nothing, output: 1}":                                                   {"wanted a number"},
		"currency: dollars":        {"not a currency"},
		"price_file: ./nowhere":    {"can't be read"},
		"price_file: " + bad:       {"prices.yaml:3", "-1 is out of bounds", "output", "prices.yaml:4", "no such setting"},
		"budgets: 3\nprices: true": {"p.yaml:1", "p.yaml:2"},
	})
}

// refused reads configurations that are wrong; each error says all that is listed.
func refused(t *testing.T, wrong map[string][]string) {
	t.Helper()
	for text, says := range wrong {
		_, err := config.Parse("p.yaml", []byte(text), []string{"HOME=/home/x"})
		var all config.Problems
		if !errors.As(err, &all) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, want := range says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s:\n%v\nwant %q in it", text, err, want)
			}
		}
	}
}

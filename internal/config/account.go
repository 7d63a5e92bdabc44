package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/internal/account"
)

// Price is what a million tokens of some models cost, in the configuration's
// currency.
type Price struct {
	Model  string // * stands for any text
	Input  *float64
	Cached *float64 // nil = as Input
	Output *float64
}

// Budget limits what somebody may spend.
type Budget struct {
	Name               string
	For                account.Scope
	Who                string // "" = each of them has one
	Minute, Day, Month Limit
}

// Limit is that of a window; 0 and nil: there is none.
type Limit struct {
	Requests, Tokens int64
	Money            *float64
}

func (l Limit) amounts() account.Amounts { return account.Amounts{l.Requests, l.Tokens, nano(l.Money)} }

// Account is a budget in the words of package account.
func (b Budget) Account() account.Budget {
	return account.Budget{
		Name: b.Name, For: b.For, Who: b.Who,
		Limits: [...]account.Amounts{account.Minute: b.Minute.amounts(), account.Day: b.Day.amounts(), account.Month: b.Month.amounts()},
	}
}

func (b Budget) money() bool {
	return b.Minute.Money != nil || b.Day.Money != nil || b.Month.Money != nil
}

// Account is a price in the words of package account.
func (p Price) Account() account.Price {
	cached := p.Cached
	if cached == nil {
		cached = p.Input
	}
	return account.Price{Model: p.Model, Input: nano(p.Input), Cached: nano(cached), Output: nano(p.Output)}
}

func nano(f *float64) int64 {
	if f == nil {
		return 0
	}
	return int64(math.Round(*f * account.Unit))
}

func accountSettings() []row[Config] {
	return []row[Config]{
		itemList(Row{Key: "budgets", Doc: "What callers may spend (docs/accounts.md). A request is let in when every budget that it is under has enough left. The same list on all nodes."},
			budgetSettings(), 1000, func(c *Config) *[]Budget { return &c.Budgets }),
		itemList(Row{Key: "prices", Doc: "What models cost. The first entry whose pattern fits counts; a model that none fits costs nothing."},
			priceSettings(), 1000, func(c *Config) *[]Price { return &c.Prices }),
		path(Row{
			Key: "price_file", Env: "PARLEY_PRICE_FILE",
			Doc: "A YAML file with further prices, to be kept beside the configuration: prices as here, and nothing else. They are tried after those that stand here.",
		},
			func(c *Config) *string { return &c.PriceFile }),
		text(Row{Key: "currency", Default: "USD", Env: "PARLEY_CURRENCY", Bounds: "3 capital letters", Doc: "What prices and amounts of money are in. It is shown, and nothing is converted."},
			func(c *Config) *string { return &c.Currency }, func(v string) error {
				if len(v) != 3 || strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
					return fmt.Errorf("%q is not a currency such as USD or EUR", clip(v))
				}
				return nil
			}),
	}
}

func priceSettings() []row[Price] {
	const most = account.MostPrice / account.Unit
	return []row[Price]{
		text(Row{Key: "model", Required: true, Doc: "Name of the model, as its engine knows it; * stands for any text."}, func(p *Price) *string { return &p.Model }, atMost(1024)),
		decimal(Row{Key: "input", Required: true, Doc: "Of a million tokens of prompts."}, func(p *Price) **float64 { return &p.Input }, 0, most),
		decimal(Row{Key: "cached", Doc: "Of a million tokens of prompts that the engine had in its cache. Without it, as input."}, func(p *Price) **float64 { return &p.Cached }, 0, most),
		decimal(Row{Key: "output", Required: true, Doc: "Of a million tokens of answers."}, func(p *Price) **float64 { return &p.Output }, 0, most),
	}
}

func budgetSettings() []row[Budget] {
	rows := []row[Budget]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, in what callers are told. What was spent is kept under it: another name begins anew."},
			func(b *Budget) *string { return &b.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		required(choice(Row{Key: "for", Doc: "Whose it is: of everyone together, of a tenant (keys: tenant), of a key, or of a user, who may be without a key."},
			func(b *Budget) *account.Scope { return &b.For }, account.Everyone, account.Tenant, account.Key, account.User)),
		text(Row{Key: "who", Doc: "Name of the tenant, key or user. Without it, each of them has such a budget of its own."}, func(b *Budget) *string { return &b.Who }, atMost(300)),
	}
	for _, x := range []struct {
		name string
		at   func(*Budget) *Limit
	}{
		{"minute", func(b *Budget) *Limit { return &b.Minute }},
		{"day", func(b *Budget) *Limit { return &b.Day }},
		{"month", func(b *Budget) *Limit { return &b.Month }},
	} {
		rows = append(rows,
			count(Row{Key: x.name + ".requests", Doc: "Requests in a " + x.name + ". Windows begin by the clock, in UTC."}, func(b *Budget) *int64 { return &x.at(b).Requests }, account.MostRequests),
			count(Row{Key: x.name + ".tokens", Doc: "Tokens of prompts and answers in a " + x.name + "."}, func(b *Budget) *int64 { return &x.at(b).Tokens }, account.MostTokens),
			decimal(Row{Key: x.name + ".money", Doc: "Money in a " + x.name + ", by prices."}, func(b *Budget) **float64 { return &x.at(b).Money }, 0.000001, account.MostMoney/account.Unit),
		)
	}
	return rows
}

// count is a number that may be large.
func count[T any](r Row, at func(*T) *int64, most int64) row[T] {
	r.Kind, r.Bounds = KindNumber, fmt.Sprintf("1 to %d", most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		n, err := whole(v, 1, most)
		if err == nil {
			*at(t) = n
		}
		return err
	}, func(t *T) string { return zeroEmpty(*at(t)) })
}

func (l *loader) finishAccounts(c *Config) {
	if c.PriceFile != "" {
		l.at = c.from["price_file"]
		l.priceFile(c)
	}
	names, tenants, keys := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, k := range c.Keys {
		keys[k.Name], tenants[k.Tenant] = true, true
	}
	for _, k := range c.Kafka {
		tenants[k.Tenant] = true
	}
	for i, b := range c.Budgets {
		key := fmt.Sprintf("budgets[%d]", i)
		l.at = sourceOf(c, key, "budgets")
		if b.Name != "" && names[b.Name] {
			l.problem(key+".name", "", "%q is the name of another budget too", b.Name)
		}
		names[b.Name] = true
		a := b.Account()
		err := a.Check()
		switch {
		case slices.ContainsFunc(l.problems, func(p Problem) bool { return strings.HasPrefix(p.Key, key+".") }): // it may be what is missing here
		case err != nil:
			l.problem(key, "minute: {requests: 60} or so, minute, day or month, each with requests, tokens or money", "%v", err)
		case b.For == account.Tenant && b.Who != "" && !tenants[b.Who]:
			l.problem(key+".who", "keys and kafka have the setting tenant", "no key and no kafka belongs to a tenant %q", b.Who)
		case b.For == account.Key && b.Who != "" && !keys[b.Who]:
			l.problem(key+".who", "", "there is no key %q", b.Who)
		case b.money() && len(c.Prices) == 0 && !l.failed("price"):
			l.problem(key, "say under prices what models cost", "a budget of money needs prices")
		}
	}
}

// priceFile adds the prices of a file of their own.
func (l *loader) priceFile(c *Config) {
	f, err := os.Open(c.PriceFile)
	if err != nil {
		l.problem("price_file", "", "%s can't be read: %v", c.PriceFile, errors.Unwrap(err))
		return
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		l.problem("price_file", "", "%s can't be read: %v", c.PriceFile, err)
		return
	}
	l.at = Source{Kind: FromFile, Name: c.PriceFile}
	n, ok := l.load(b)
	if !ok {
		return
	}
	more := Config{from: map[string]Source{}}
	rows := []row[Config]{itemList(Row{Key: "prices"}, priceSettings(), 10_000, func(c *Config) *[]Price { return &c.Prices })}
	before := len(l.problems)
	readMapping(l, &more, n, "", "", rows, func(r row[Config], key string, n *yaml.Node) { r.items.read(l, &more, n, key) })
	if len(more.Prices) == 0 && len(l.problems) == before {
		l.problem("prices", "", "there are none in this file")
	}
	c.Prices = append(c.Prices, more.Prices...)
}

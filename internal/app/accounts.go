package app

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/gateway"
)

// startAccounts begins to say what callers may spend. It stops after whatever
// spends.
func (a *App) startAccounts(ctx context.Context) error {
	o := account.Options{
		Values: a.log, Node: a.cfg.Node, Dir: a.cfg.Data, Tenants: map[string]string{}, Observer: a.metrics.Accounts(), Logger: a.lg,
	}
	for _, n := range a.cfg.Nodes {
		if !n.Witness {
			o.Nodes++
		}
	}
	for _, b := range a.cfg.Budgets {
		o.Budgets = append(o.Budgets, b.Account())
	}
	for _, p := range a.cfg.Prices {
		o.Prices = append(o.Prices, p.Account())
	}
	for _, k := range a.cfg.Keys {
		if k.Tenant != "" {
			o.Tenants[auth.UserOf(k.Name)] = k.Tenant
		}
	}
	for _, k := range a.cfg.Kafka {
		if k.Tenant != "" {
			o.Tenants[kafkaUser(k.Name)] = k.Tenant
		}
	}
	svc, err := account.New(o)
	if err != nil {
		return err
	}
	a.accounts = svc
	svc.Start(ctx)
	a.onStop("accounts", func(ctx context.Context) error { svc.Stop(ctx); return nil })
	return nil
}

// admit lets requests of the gateway in.
func (a *App) admit(ctx context.Context, r *gateway.Record, n gateway.Need) (gateway.Admission, error) {
	c, err := a.accounts.Begin(ctx, account.Ask{User: r.User, Model: r.Model, Prompt: n.Prompt, Most: n.Most})
	return admission{c, n}, err
}

// admission is a charge as the gateway knows it.
type admission struct {
	*account.Charge
	need gateway.Need
}

// Header says what is left as OpenAI's API does.
func (x admission) Header(h http.Header) {
	left := x.Standing()
	room(h, "Requests", left.Requests)
	room(h, "Tokens", left.Tokens)
}

func room(h http.Header, of string, r *account.Room) {
	if r == nil {
		return
	}
	h["X-Ratelimit-Limit-"+of] = []string{strconv.FormatInt(r.Limit, 10)}
	h["X-Ratelimit-Remaining-"+of] = []string{strconv.FormatInt(r.Left, 10)}
	h["X-Ratelimit-Reset-"+of] = []string{r.Reset.Round(time.Millisecond).String()}
}

// Done books what the answer took. Of an engine that does not say, what was sent
// and what came is counted; a request that got nothing costs nothing, unless its
// caller went away from an engine that was at work.
func (x admission) Done(r *gateway.Record) {
	u, seen := r.Usage, max(r.Events, r.Pieces)
	switch {
	case u != lm.Usage{}:
	case r.Code != "" && r.Code != fault.Canceled && seen == 0, r.Status >= http.StatusBadRequest && r.Code != fault.Canceled:
		x.Cancel()
		return
	default:
		u = lm.Usage{Prompt: x.need.Prompt, Completion: seen}
	}
	x.Settle(u)
}

// meter lets turns in.
func (a *App) meter(ctx context.Context, owner, model string, prompt, most int) (chat.Charge, error) {
	return a.accounts.Begin(ctx, account.Ask{User: owner, Model: model, Prompt: prompt, Most: most})
}

package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/messenger"
	"github.com/parleyhq/parley/internal/channel/slack"
	"github.com/parleyhq/parley/internal/channel/teams"
	"github.com/parleyhq/parley/internal/channel/telegram"
	"github.com/parleyhq/parley/internal/channel/webhook"
	"github.com/parleyhq/parley/internal/config"
)

// called is a channel that has to be called: what takes in what it sends, below
// a path, and brings out what bots say.
type called struct {
	name, path string
	accounts   []string
	open       func(*channel.Desk) (carrier, error)
}

// carrier is both sides of such a channel.
type carrier interface {
	http.Handler
	channel.Poster
}

// calledChannels are all there can be; one without accounts is off.
func (a *App) calledChannels() []called {
	return []called{
		{webhook.Name, webhook.Base, names(a.cfg.Webhooks, func(w config.Webhook) string { return w.Name }), a.webhooks},
		{slack.Name, slack.Base, names(a.cfg.Slack, func(x config.Slack) string { return x.Name }), a.slack},
		{teams.Name, teams.Base, names(a.cfg.Teams, func(t config.Teams) string { return t.Name }), a.teams},
		{messenger.Name, messenger.Base, names(a.cfg.Messenger, func(m config.Messenger) string { return m.Name }), a.messenger},
		{telegram.Name, telegram.Base, names(a.cfg.Telegram, func(t config.Telegram) string { return t.Name }), a.telegram},
	}
}

func names[T any](all []T, name func(T) string) []string {
	out := make([]string, len(all))
	for i, x := range all {
		out[i] = name(x)
	}
	return out
}

// openCalled opens the channels that have to be called, before the chat starts.
func (a *App) openCalled() error {
	a.doors = map[string]http.Handler{}
	for _, c := range a.calledChannels() {
		if len(c.accounts) == 0 {
			continue
		}
		desk, err := channel.New(channel.Options{
			Name: c.name, Chat: a.chat, Values: a.log, Region: a.cfg.Region, Node: a.cfg.Node, Dead: a.dead, Observer: a.metrics,
		})
		if err != nil {
			return err
		}
		server, err := c.open(desk)
		if err != nil {
			return err
		}
		a.outlet.Add(desk, server, c.accounts...)
		a.doors[strings.TrimSuffix(c.path, "/")+"/"] = server
		if r, ok := server.(runner); ok {
			a.runners = append(a.runners, r)
		}
	}
	return nil
}

// runner is a channel that fetches what people say.
type runner interface{ Run(ctx context.Context) }

// runCalled has them fetch, while the chat runs.
func (a *App) runCalled() {
	run, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, r := range a.runners {
		all.Go(func() { r.Run(run) })
	}
	a.onStop("channels", func(context.Context) error {
		cancel()
		all.Wait()
		return nil
	})
}

// letIn lets in what channels send that have to be called.
func (a *App) letIn(o *api.Options) {
	o.Outlet, o.Service = a.outlet, a.service()
	if o.Channels == nil {
		o.Channels = map[string]http.Handler{}
	}
	maps.Copy(o.Channels, a.doors)
}

func (a *App) teams(desk *channel.Desk) (carrier, error) {
	o := teams.Options{Desk: desk, Public: a.cfg.Service, MaxActivity: min(a.cfg.Limits.Body, 256<<10), Logger: a.lg}
	for _, t := range a.cfg.Teams {
		account := teams.Account{Name: t.Name, AppID: t.AppID, Tenant: t.Tenant, Secret: t.Secret, Tenants: t.Tenants, Bot: t.Bot, Cloud: teams.Clouds()[t.Cloud]}
		if t.Certificate != "" {
			var err error
			if account.Certificate, err = tls.LoadX509KeyPair(t.Certificate, t.Certificate); err != nil {
				return nil, fmt.Errorf("the certificate of the Teams account %q: %w", t.Name, err)
			}
		}
		c := &account.Cloud
		if len(t.Services) > 0 {
			c.Services = t.Services
		}
		if t.Login != "" {
			c.Login = t.Login
		}
		if t.Metadata != "" {
			c.Metadata = t.Metadata
		}
		o.Accounts = append(o.Accounts, account)
	}
	return teams.New(o)
}

func (a *App) webhooks(desk *channel.Desk) (carrier, error) {
	o := webhook.Options{Desk: desk, Service: a.service(), MaxBody: min(a.cfg.Limits.Body, 256<<10), Logger: a.lg}
	for _, w := range a.cfg.Webhooks {
		o.Accounts = append(o.Accounts, webhook.Account{Name: w.Name, Bot: w.Bot, URL: w.URL, Secret: w.Secret, Previous: w.Previous, Private: w.Private, Pace: w.Pace})
	}
	return webhook.New(o)
}

func (a *App) messenger(desk *channel.Desk) (carrier, error) {
	o := messenger.Options{Desk: desk, Service: a.cfg.Service, Logger: a.lg}
	for _, m := range a.cfg.Messenger {
		o.Accounts = append(o.Accounts, messenger.Account{
			Name: m.Name, Bot: cmp.Or(m.Bot, a.cfg.Bots[0].ID), AppSecret: m.AppSecret, VerifyToken: m.VerifyToken, Page: m.Page, Token: m.Token, Graph: m.Graph, Greeting: m.Greeting,
		})
	}
	return messenger.New(o)
}

func (a *App) slack(desk *channel.Desk) (carrier, error) {
	o := slack.Options{Desk: desk, API: a.cfg.SlackAPI, Public: a.cfg.Service, Logger: a.lg}
	for _, x := range a.cfg.Slack {
		o.Accounts = append(o.Accounts, slack.Account{Name: x.Name, Team: x.Team, Signing: x.Signing, Token: x.Token, Bot: x.Bot})
	}
	return slack.New(o)
}

func (a *App) telegram(desk *channel.Desk) (carrier, error) {
	o := telegram.Options{Desk: desk, Service: a.cfg.Service, MaxFile: a.cfg.Limits.File, Logger: a.lg}
	for _, t := range a.cfg.Telegram {
		o.Accounts = append(o.Accounts, telegram.Account{
			Name: t.Name, Bot: cmp.Or(t.Bot, a.cfg.Bots[0].ID), Token: t.Token, Secret: t.Secret, Greeting: t.Greeting, API: t.API,
		})
	}
	return telegram.New(o)
}

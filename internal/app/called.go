package app

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/teams"
	"github.com/parleyhq/parley/internal/chat"
)

// called is a channel that has to be called: what takes in what it sends, below
// a path, and brings out what is said.
type called struct {
	name, path string
	on         bool
	open       func(*channel.Desk) (carrier, error)
}

// carrier is both sides of such a channel.
type carrier interface {
	http.Handler
	channel.Poster
}

func (a *App) calledChannels() []called {
	return []called{
		{teams.Name, teams.Base, len(a.cfg.Teams) > 0, a.teams},
	}
}

// newOutlet makes where what bots say leaves for channels that have to be called; nil
// if there are none.
func (a *App) newOutlet() (*channel.Outlet, error) {
	for _, c := range a.calledChannels() {
		if c.on {
			return channel.NewOutlet(channel.OutletOptions{Values: a.log, Logger: a.lg})
		}
	}
	return nil, nil
}

// openCalled opens the channels that have to be called, before the chat starts.
func (a *App) openCalled(svc *chat.Service, outlet *channel.Outlet) error {
	a.doors = map[string]http.Handler{}
	for _, c := range a.calledChannels() {
		if !c.on {
			continue
		}
		desk, err := channel.New(channel.Options{Name: c.name, Chat: svc, Values: a.log, Region: a.cfg.Region, Observer: a.metrics})
		if err != nil {
			return err
		}
		server, err := c.open(desk)
		if err != nil {
			return err
		}
		outlet.Add(desk, server)
		a.doors[c.path+"/"] = server
	}
	return nil
}

// letIn lets in what channels send that have to be called.
func (a *App) letIn(o *api.Options) {
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

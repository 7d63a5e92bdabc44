package app

import (
	"net/http"
	"slices"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/directline"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/secret"
)

// channels opens the ways in that the configuration asks for.
func (a *App) channels(o *api.Options, shared []byte) error {
	if len(a.cfg.DirectLine) == 0 {
		return nil
	}
	desk, err := channel.New(channel.Options{Name: directline.Name, Chat: a.chat, Observer: a.metrics})
	if err != nil {
		return err
	}
	var sites []directline.Site
	for _, s := range a.cfg.DirectLine {
		site := directline.Site{Name: s.Name, Secrets: []secret.Hash{s.Secret}, Bot: s.Bot, Origins: s.Origins, Life: s.Token}
		if s.Previous != "" {
			site.Secrets = append(site.Secrets, s.Previous)
		}
		sites = append(sites, site)
	}
	server, err := directline.New(directline.Options{
		Desk: desk, Files: a.log, Sites: sites, Secret: shared, Region: a.cfg.Region, MaxActivity: min(a.cfg.Limits.Body, 256<<10),
		Heartbeat: a.cfg.Heartbeat, Stopping: o.Stopping, Logger: a.lg,
	})
	if err != nil {
		return err
	}
	o.Channels, o.PageToken = map[string]http.Handler{directline.Base + "/": server}, server.PageToken
	return nil
}

// widget says who may show the chat bubble.
func (a *App) widget(regions []string) api.Widget {
	c := a.cfg.Widget
	w := api.Widget{
		Origins: c.Origins, Own: a.cfg.Loopback(), Region: a.cfg.Region, Regions: slices.Clone(regions),
		Message: int(c.Message), Guests: c.Guests, Messages: c.Messages,
	}
	for _, id := range c.Bots {
		i := slices.IndexFunc(a.cfg.Bots, func(b config.Bot) bool { return b.ID == id })
		w.Bots = append(w.Bots, api.BotInfo{ID: id, Name: a.cfg.Bots[i].Name})
	}
	return w
}

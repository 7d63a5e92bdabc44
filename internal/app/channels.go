package app

import (
	"net/http"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/directline"
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

package app

import (
	"net/http"
	"time"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/connector"
	"github.com/parleyhq/parley/internal/channel/directline"
	"github.com/parleyhq/parley/internal/chat"
)

// elsewhere has the bots of the configuration that run elsewhere reached, and
// returns nil if there are none.
func (a *App) elsewhere() (chat.Courier, error) {
	for _, b := range a.cfg.Bots {
		if b.Elsewhere() {
			a.distant = append(a.distant, connector.Bot{ID: b.ID, Name: b.Name, URL: b.URL, AppID: b.AppID, Secret: b.Secret, Private: b.Private, Inline: b.Inline})
		}
	}
	if len(a.distant) == 0 {
		return nil, nil
	}
	a.keys = connector.NewKeys(a.log, nil)
	return connector.NewCourier(connector.CourierOptions{Bots: a.distant, Service: a.service(), Keys: a.keys, Observer: a.metrics, Logger: a.lg})
}

// service is the address by which bots reach us.
func (a *App) service() string {
	if a.cfg.Service != "" {
		return a.cfg.Service
	}
	return a.URL()
}

// connector lets bots in that run elsewhere.
func (a *App) connector(o *api.Options, shared []byte) error {
	if len(a.distant) == 0 {
		return nil
	}
	desk, err := channel.New(channel.Options{
		Name: connector.Name, Chat: a.chat, Rate: 200, Burst: 1000, Patience: time.Minute,
		Hold:     45 * time.Second, // a bot of the Agents SDK never tries again
		Observer: a.metrics,
	})
	if err != nil {
		return err
	}
	server, err := connector.New(connector.Options{
		Desk: desk, Chat: a.chat, Bots: a.distant, Keys: a.keys, Files: a.log, Secret: shared, Region: a.cfg.Region, Service: a.service(),
		Begun: a.begunBy, MaxActivity: min(a.cfg.Limits.Body, 256<<10), Observer: a.metrics, Logger: a.lg,
	})
	if err != nil {
		return err
	}
	if o.Channels == nil {
		o.Channels = map[string]http.Handler{}
	}
	for _, path := range connector.Paths() {
		o.Channels[path] = server
	}
	return nil
}

// begunBy says whose the conversations are that a bot begins: of the Direct
// Line site that has this bot, whose server can hand them to a page.
func (a *App) begunBy(bot string) (owner, channel string) {
	for _, s := range a.cfg.DirectLine {
		has := s.Bot
		if has == "" {
			has = a.cfg.Bots[0].ID
		}
		if has == bot {
			return directline.Owner(s.Name), directline.Name
		}
	}
	return "bot-" + bot, "bot"
}

// chatBots are the configuration's bots in chat's words.
func (a *App) chatBots() ([]chat.Bot, error) {
	courier, err := a.elsewhere()
	if err != nil {
		return nil, err
	}
	bots := make([]chat.Bot, 0, len(a.cfg.Bots))
	for _, b := range a.cfg.Bots {
		bot := chat.Bot{ID: b.ID, Name: b.Name, System: b.System, Model: b.Model, Params: b.Params, Resume: b.Resume, History: b.History, Limit: b.Timeout}
		if b.Elsewhere() {
			bot.Courier = courier
		}
		bots = append(bots, bot)
	}
	return bots, nil
}

package config

import (
	"fmt"
	"slices"

	"github.com/parleyhq/parley/internal/secret"
)

// Teams is a bot as it is registered with Microsoft.
type Teams struct {
	Name        string
	Bot         string // who answers; "" = the default one
	AppID       string
	Tenant      string // of a bot of one tenant; "" = of many
	Secret      secret.String
	Certificate string   // file of certificate and key, in the place of Secret; absolute
	Tenants     []string // whose people it serves; none = everybody's
	Cloud       string   // Microsoft's: public, usgov or china
	Services    []string // addresses of Teams in the place of the cloud's; none = the cloud's
	Login       string   // the same for the login and for the keys' metadata; "" = the cloud's
	Metadata    string
}

// The clouds that Microsoft has.
const (
	CloudPublic     = "public"
	CloudGovernment = "usgov"
	CloudChina      = "china"
)

func teamsSettings() []row[Teams] {
	return []row[Teams]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, which stands in the address that Microsoft sends to. Conversations belong to it: another name does not see them."},
			func(t *Teams) *string { return &t.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "app_id", Required: true, Doc: "Microsoft's id of the bot's app."},
			func(t *Teams) *string { return &t.AppID }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "tenant", Doc: "Id of the organisation that the app is registered in, if it is of that one only, as new ones are. Without it, it is an app of many."},
			func(t *Teams) *string { return &t.Tenant }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		hidden(Row{Key: "secret", Doc: "The app's client secret: env:NAME, file:PATH, or the secret itself."},
			func(t *Teams, s secret.String) { t.Secret = s }, func(t *Teams) bool { return !t.Secret.Empty() }),
		path(Row{Key: "certificate", Doc: "In the place of a secret, a file with the app's certificate and its RSA key, in PEM."},
			func(t *Teams) *string { return &t.Certificate }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(t *Teams) *string { return &t.Bot }, atMost(64)),
		texts(Row{Key: "tenants", Doc: "Ids of the organisations whose people it serves. Without any, whoever may add the app."},
			func(t *Teams) *[]string { return &t.Tenants }, 1000, 64, nil),
		choice(Row{Key: "cloud", Doc: "Which of Microsoft's clouds the bot is in. Without it, public."},
			func(t *Teams) *string { return &t.Cloud }, CloudPublic, CloudGovernment, CloudChina),
		texts(Row{Key: "services", Bounds: "scheme://host[:port]", Doc: "Addresses of Teams that the bot's token may be shown to, in the place of those that Microsoft publishes for the cloud. Needed for china, for which it publishes none."},
			func(t *Teams) *[]string { return &t.Services }, 20, 300, checkOrigin),
		text(Row{Key: "login", Bounds: "http(s)://host[:port]", Doc: "Address of Microsoft's login. Without it, the cloud's."},
			func(t *Teams) *string { return &t.Login }, checkURL),
		text(Row{Key: "metadata", Bounds: "http(s)://host[:port]/path", Doc: "Address of the metadata of the keys that Microsoft signs with. Without it, the cloud's."},
			func(t *Teams) *string { return &t.Metadata }, checkURL),
	}
}

func (l *loader) finishTeams(c *Config) {
	names := map[string]bool{}
	for i := range c.Teams {
		t, key := &c.Teams[i], fmt.Sprintf("channels.teams[%d]", i)
		l.at = sourceOf(c, key, "channels.teams")
		if t.Name != "" && names[t.Name] {
			l.problem(key+".name", "", "%q is the name of another account too", t.Name)
		}
		names[t.Name] = true
		if t.Cloud == "" {
			t.Cloud = CloudPublic
		}
		switch {
		case l.failedAt(key+".secret") || l.failedAt(key+".certificate"):
		case t.Secret.Empty() && t.Certificate == "":
			l.problem(key+".secret", "make a client secret in the app's registration, and write secret: env:NAME", "without a secret or a certificate the bot can't answer")
		case !t.Secret.Empty() && t.Certificate != "":
			l.problem(key+".certificate", "leave one of them out", "there is a secret and a certificate")
		}
		if t.Cloud == CloudChina && len(t.Services) == 0 && !l.failedAt(key+".services") {
			l.problem(key+".services", "write the scheme and host of the serviceUrl that your bot is sent", "Microsoft publishes no addresses of Teams in China")
		}
		if t.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == t.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", t.Bot)
		}
	}
}

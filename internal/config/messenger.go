package config

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/parleyhq/parley/internal/secret"
)

// Messenger is a page that people write to, and the app that answers for it.
type Messenger struct {
	Name        string
	Bot         string // who answers; "" = the default one
	Page        string // its id
	Token       secret.String
	AppSecret   secret.String
	VerifyToken secret.String
	Greeting    string
	Graph       string // address of Meta's Graph; "" = the usual one
}

var pageForm = regexp.MustCompile(`^[0-9]{1,32}$`)

func messengerSettings() []row[Messenger] {
	return []row[Messenger]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, which stands in the webhook's address. Conversations belong to it: another name does not see them."},
			func(m *Messenger) *string { return &m.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "page", Required: true, Bounds: "digits", Doc: "Id of the page."},
			func(m *Messenger) *string { return &m.Page }, matches(pageForm, "a number of 1 to 32 digits")),
		hidden(Row{Key: "token", Required: true, Doc: "The page's access token: env:NAME, file:PATH, or the token itself."},
			func(m *Messenger, s secret.String) { m.Token = s }, func(m *Messenger) bool { return !m.Token.Empty() }),
		hidden(Row{Key: "app_secret", Required: true, Doc: "The secret of the app at Meta. Pages of one app have the same, and share its webhook."},
			func(m *Messenger, s secret.String) { m.AppSecret = s }, func(m *Messenger) bool { return !m.AppSecret.Empty() }),
		hidden(Row{Key: "verify_token", Required: true, Doc: "What Meta has to show when the webhook is set up. Make one up: `parley key`."},
			func(m *Messenger, s secret.String) { m.VerifyToken = s }, func(m *Messenger) bool { return !m.VerifyToken.Empty() }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(m *Messenger) *string { return &m.Bot }, atMost(64)),
		text(Row{Key: "greeting", Doc: "What the bot says to whoever presses Get Started. Without it, that press is a message like others."},
			func(m *Messenger) *string { return &m.Greeting }, atMost(2000)),
		text(Row{Key: "graph", Bounds: "http(s)://host[:port]/version", Doc: "Address of Meta's Graph with its version. Without it, https://graph.facebook.com/v25.0."},
			func(m *Messenger) *string { return &m.Graph }, checkURL),
	}
}

func (l *loader) finishMessenger(c *Config) {
	names, pages := map[string]bool{}, map[string]bool{}
	for i, m := range c.Messenger {
		key := fmt.Sprintf("channels.messenger[%d]", i)
		l.at = sourceOf(c, key, "channels.messenger")
		if m.Name != "" && names[m.Name] {
			l.problem(key+".name", "", "%q is the name of another page's entry too", m.Name)
		}
		if m.Page != "" && pages[m.Page] {
			l.problem(key+".page", "", "the page %s stands here twice", m.Page)
		}
		names[m.Name], pages[m.Page] = true, true
		if m.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == m.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", m.Bot)
		}
	}
}

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/secret"
)

// Slack is an app in a workspace.
type Slack struct {
	Name    string
	Bot     string // who answers; "" = the default one
	Team    string // id of the workspace
	Signing secret.String
	Token   secret.String // the bot's
}

var teamForm = regexp.MustCompile(`^T[A-Z0-9]{1,63}$`)

func slackSettings() []row[Slack] {
	return []row[Slack]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, which stands in the addresses that Slack sends to. Conversations belong to it: another name does not see them."},
			func(s *Slack) *string { return &s.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "team", Required: true, Bounds: "T...", Doc: "Id of the workspace. What comes from another one is refused."},
			func(s *Slack) *string { return &s.Team }, matches(teamForm, "the id of a workspace, T and capital letters and digits")),
		hidden(Row{Key: "signing_secret", Required: true, Doc: "The app's signing secret: env:NAME, file:PATH, or the secret itself."},
			func(s *Slack, v secret.String) { s.Signing = v }, func(s *Slack) bool { return !s.Signing.Empty() }),
		hidden(Row{Key: "token", Required: true, Doc: "The bot's token, xoxb-...: env:NAME, file:PATH, or the token itself."},
			func(s *Slack, v secret.String) { s.Token = v }, func(s *Slack) bool { return !s.Token.Empty() }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(s *Slack) *string { return &s.Bot }, atMost(64)),
	}
}

func (l *loader) finishSlack(c *Config) {
	names := map[string]bool{}
	for i := range c.Slack {
		s, key := &c.Slack[i], fmt.Sprintf("channels.slack[%d]", i)
		l.at = sourceOf(c, key, "channels.slack")
		if s.Name != "" && names[s.Name] {
			l.problem(key+".name", "", "%q is the name of another account too", s.Name)
		}
		names[s.Name] = true
		if t := s.Token.Reveal(); strings.HasPrefix(t, "x") && !strings.HasPrefix(t, "xoxb-") { // xapp-, xoxp-, xoxe-
			l.problem(key+".token", "take the Bot User OAuth Token of the app's page, under OAuth & Permissions", "this is no bot's token: those begin with xoxb-")
		}
		if s.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == s.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", s.Bot)
		}
	}
}

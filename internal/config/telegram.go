package config

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/parleyhq/parley/internal/secret"
)

// Telegram is a bot in Telegram.
type Telegram struct {
	Name     string
	Bot      string        // who answers; "" = the default one
	Token    secret.String // @BotFather's
	Secret   secret.String // of the webhook; empty = there is none, and Telegram is asked for news
	Greeting string
	API      string // address of the Bot API; "" = Telegram's
}

var (
	botTokenForm  = regexp.MustCompile(`^[0-9]{1,18}:[A-Za-z0-9_-]{20,200}$`)
	botSecretForm = regexp.MustCompile(`^[A-Za-z0-9_-]{16,256}$`)
)

func telegramSettings() []row[Telegram] {
	return []row[Telegram]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, which stands in the webhook's address. Conversations belong to it: another name does not see them."},
			func(t *Telegram) *string { return &t.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		hidden(Row{Key: "token", Required: true, Doc: "The bot's token, as @BotFather gives it: env:NAME, file:PATH, or the token itself."},
			func(t *Telegram, s secret.String) { t.Token = s }, func(t *Telegram) bool { return !t.Token.Empty() }),
		hidden(Row{Key: "secret", Doc: "What Telegram has to show when it calls the webhook (secret_token), 16 letters or more: `parley key`. Without it there is no webhook: one node asks Telegram for news, and needs no address on the internet."},
			func(t *Telegram, s secret.String) { t.Secret = s }, func(t *Telegram) bool { return !t.Secret.Empty() }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(t *Telegram) *string { return &t.Bot }, atMost(64)),
		text(Row{Key: "greeting", Doc: "What the bot says to whoever presses Start. Without it, that press is a message like others."},
			func(t *Telegram) *string { return &t.Greeting }, atMost(2000)),
		text(Row{Key: "api", Bounds: "http(s)://host[:port][/path]", Doc: "Address of the Bot API, of a server of your own for example. Without it, https://api.telegram.org."},
			func(t *Telegram) *string { return &t.API }, checkURL),
	}
}

func (l *loader) finishTelegram(c *Config) {
	names, tokens := map[string]bool{}, map[secret.String]bool{}
	for i, t := range c.Telegram {
		key := fmt.Sprintf("channels.telegram[%d]", i)
		l.at = sourceOf(c, key, "channels.telegram")
		if t.Name != "" && names[t.Name] {
			l.problem(key+".name", "", "%q is the name of another bot's entry too", t.Name)
		}
		if !t.Token.Empty() && tokens[t.Token] {
			l.problem(key+".token", "", "this bot stands here twice, and Telegram gives its news to one of them only")
		}
		names[t.Name], tokens[t.Token] = true, true
		if !t.Token.Empty() && !botTokenForm.MatchString(t.Token.Reveal()) {
			l.problem(key+".token", "", "it must be a token as @BotFather gives it, like 123456:ABC-DEF")
		}
		if !t.Secret.Empty() && !botSecretForm.MatchString(t.Secret.Reveal()) {
			l.problem(key+".secret", "", "it must have 16 to 256 letters of A-Z, a-z, 0-9, _ and -, as Telegram takes them; `parley key` makes one")
		}
		if t.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == t.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", t.Bot)
		}
	}
}

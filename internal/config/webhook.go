package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/secret"
)

// Webhook is a program that brings what people say and is called with what bots
// say.
type Webhook struct {
	Name     string
	URL      string
	Secret   secret.String
	Previous secret.String // is taken as well; empty = none
	Bot      string        // who answers; "" = the default one
	Private  bool          // URL may be on this machine or in a private network, and without TLS
	Pace     time.Duration // how often a growing answer is told; 0 = never
}

func webhookSettings() []row[Webhook] {
	return []row[Webhook]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, which stands in its address. Conversations belong to it: another name does not see them."},
			func(w *Webhook) *string { return &w.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "url", Required: true, Bounds: "https://host[:port]/path", Doc: "Is called with what bots say."},
			func(w *Webhook) *string { return &w.URL }, checkURL),
		hidden(Row{Key: "secret", Required: true, Doc: "What both sides sign with, whsec_ and base64 as Standard Webhooks has it: env:NAME, file:PATH, or the secret itself."},
			func(w *Webhook, s secret.String) { w.Secret = s }, func(w *Webhook) bool { return !w.Secret.Empty() }),
		hidden(Row{Key: "previous", Doc: "The secret before that, still taken, and signed with as well, while the program changes to the new one."},
			func(w *Webhook, s secret.String) { w.Previous = s }, func(w *Webhook) bool { return !w.Previous.Empty() }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(w *Webhook) *string { return &w.Bot }, atMost(64)),
		toggle(Row{Key: "private", Doc: "url may lead to this machine or a private network, and may be http://."}, func(w *Webhook) *bool { return &w.Private }),
		duration(Row{Key: "pace", Doc: "How often an answer that is being written is told, with the whole text so far. Without it, an answer comes once, when it is whole."},
			func(w *Webhook) *time.Duration { return &w.Pace }, 100*time.Millisecond, time.Minute),
	}
}

func (l *loader) finishWebhooks(c *Config) {
	names := map[string]bool{}
	for i, w := range c.Webhooks {
		key := fmt.Sprintf("channels.webhook[%d]", i)
		l.at = sourceOf(c, key, "channels.webhook")
		if w.Name != "" && names[w.Name] {
			l.problem(key+".name", "", "%q is the name of another webhook too", w.Name)
		}
		names[w.Name] = true
		if !w.Private && strings.HasPrefix(w.URL, "http:") {
			l.problem(key+".url", "", "it must begin with https://, or private must be true")
		}
		if err := checkWebhookSecret(w.Secret); err != nil {
			l.problem(key+".secret", "", "%v", err)
		}
		if err := checkWebhookSecret(w.Previous); err != nil {
			l.problem(key+".previous", "", "%v", err)
		}
		if w.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == w.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", w.Bot)
		}
	}
}

func checkWebhookSecret(s secret.String) error {
	if s.Empty() || strings.HasPrefix(s.Reveal(), "whsec_") {
		return nil
	}
	return errors.New("it must begin with whsec_; this makes one: echo whsec_$(openssl rand -base64 32)")
}

package telegram

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// Check satisfies channel.Checker: whose the token is, where Telegram delivers,
// and whether that comes in.
func (s *Server) Check(ctx context.Context, name, service string) []channel.Finding {
	a := s.accounts[name]
	if a == nil {
		return channel.NoAccount(name)
	}
	out := []channel.Finding{s.checkToken(ctx, a)}
	if out[0].Problem != "" {
		return out
	}
	if a.Secret.Empty() {
		return append(out, s.checkNoHook(ctx, a), s.checkPolling(ctx))
	}
	return append(out, s.checkHook(ctx, a, service), s.checkIn(ctx, a, service))
}

func (s *Server) checkToken(ctx context.Context, a *account) channel.Finding {
	f := channel.Finding{What: "Telegram knows the bot's token"}
	var me user
	switch err := s.call(ctx, a, "getMe", struct{}{}, &me); {
	case err != nil:
		f.Problem = fault.MessageOf(err)
	case me.ID != a.id || !me.Bot:
		f.Problem = "somebody else answered in Telegram's place: look at api in the configuration"
	default:
		f.What = "Telegram knows the bot's token: it is @" + short(me.Username, 64)
	}
	return f
}

// hook is what Telegram knows of a bot's webhook.
type hook struct {
	URL     string
	Pending int      `json:"pending_update_count"`
	ErrorAt int64    `json:"last_error_date"`
	Error   string   `json:"last_error_message"`
	Allowed []string `json:"allowed_updates"`
}

const setHook = "set it again as docs/channels/telegram.md says"

func (s *Server) checkHook(ctx context.Context, a *account, service string) channel.Finding {
	at := service + Base + a.Name
	f := channel.Finding{What: "Telegram delivers to " + at}
	var h hook
	err := s.call(ctx, a, "getWebhookInfo", struct{}{}, &h)
	lacking := slices.DeleteFunc(wanted()[:2], func(kind string) bool { return slices.Contains(h.Allowed, kind) })
	switch {
	case err != nil:
		f.Problem = fault.MessageOf(err)
	case !strings.HasPrefix(at, "https://"):
		f.Problem = service + " is not https, and Telegram calls no other: set channels.service to the address on the internet, or leave the secret out and Telegram is asked instead"
	case h.URL == "":
		f.Problem = "Telegram has no webhook for this bot: " + setHook
	case h.URL != at:
		f.Problem = "Telegram delivers to another address, " + short(h.URL, 200) + ": " + setHook
	case len(h.Allowed) > 0 && len(lacking) > 0:
		f.Problem = "the webhook leaves out " + strings.Join(lacking, ", ") + ": " + setHook
	case h.Error != "" && time.Since(time.Unix(h.ErrorAt, 0)) < time.Hour:
		f.Problem = fmt.Sprintf("Telegram could not deliver at %s: %s (%d updates wait)", time.Unix(h.ErrorAt, 0).UTC().Format("15:04:05 MST"), short(h.Error, 200), h.Pending)
	}
	return f
}

func (s *Server) checkNoHook(ctx context.Context, a *account) channel.Finding {
	f := channel.Finding{What: "Telegram lets itself be asked for news"}
	var h hook
	switch err := s.call(ctx, a, "getWebhookInfo", struct{}{}, &h); {
	case err != nil:
		f.Problem = fault.MessageOf(err)
	case h.URL != "":
		f.Problem = "a webhook is set, " + short(h.URL, 200) + ", and Telegram answers 409 to whoever asks for news: take it away (deleteWebhook), or name its secret in the configuration"
	}
	return f
}

func (s *Server) checkPolling(ctx context.Context) channel.Finding {
	f := channel.Finding{What: "a node asks for news"}
	switch region, err := s.opts.Desk.AloneAt(ctx, polling); {
	case err != nil:
		f.Problem = fault.MessageOf(err)
	case region == "":
		f.Problem = "no node does at the moment; if that stays so for half a minute, look into the nodes' logs"
	default:
		f.What += ", in the region " + region
	}
	return f
}

// checkIn delivers an update with nothing in it by the address that Telegram
// knows.
func (s *Server) checkIn(ctx context.Context, a *account, service string) channel.Finding {
	header := http.Header{"Content-Type": {"application/json"}, hdrSecret: {a.Secret.Reveal()}}
	return channel.Knock(ctx, s.client, "a delivery comes in by", service+Base+a.Name, header, []byte(`{"update_id":1}`), func(status int, answer []byte) bool {
		return status == http.StatusOK && strings.TrimSpace(string(answer)) == `{"ok":true}`
	})
}

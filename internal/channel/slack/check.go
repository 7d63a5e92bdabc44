package slack

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// scopes are what the app needs; docs/channels/slack.md says for what.
var scopes = []string{"app_mentions:read", "chat:write", "im:history"}

// Check satisfies channel.Checker.
func (s *Server) Check(ctx context.Context, name, service string) []channel.Finding {
	acc := s.accounts[name]
	if acc == nil {
		return channel.NoAccount(name)
	}
	token := channel.Finding{What: "the token, by Slack's auth.test"}
	rights := channel.Finding{What: "what the token may do"}
	who, err := acc.api.AuthTestContext(ctx)
	switch {
	case err != nil:
		token.Problem = fault.MessageOf(meaning(err))
		return []channel.Finding{token, s.ping(ctx, acc, service)}
	case who.TeamID != acc.Team:
		token.Problem = fmt.Sprintf("it is for another workspace than %s, which is configured", acc.Team)
	}
	if given := strings.Split(who.Header.Get("X-OAuth-Scopes"), ","); len(given) > 1 || given[0] != "" {
		var missing []string
		for _, x := range scopes {
			if !slices.Contains(given, x) {
				missing = append(missing, x)
			}
		}
		if len(missing) > 0 {
			rights.Problem = "add these scopes on the app's page under OAuth & Permissions, and install the app again: " + strings.Join(missing, ", ")
		}
	}
	return []channel.Finding{token, rights, s.ping(ctx, acc, service)}
}

// ping asks this service as Slack does when the app's address is set up.
func (s *Server) ping(ctx context.Context, acc *account, service string) channel.Finding {
	challenge := rand.Text()
	body := []byte(`{"type":"url_verification","challenge":"` + challenge + `"}`)
	at := strconv.FormatInt(time.Now().Unix(), 10)
	m := hmac.New(sha256.New, []byte(acc.Signing.Reveal()))
	_, _ = fmt.Fprintf(m, "v0:%s:%s", at, body)
	header := http.Header{
		"Content-Type":              {"application/json"},
		"X-Slack-Request-Timestamp": {at},
		"X-Slack-Signature":         {"v0=" + hex.EncodeToString(m.Sum(nil))},
	}
	return channel.Knock(ctx, s.caller, "a signed url_verification in by", service+Base+acc.Name+"/events", header, body, func(status int, answer []byte) bool {
		var back struct{ Challenge string }
		return status == http.StatusOK && json.Unmarshal(answer, &back) == nil && back.Challenge == challenge
	})
}

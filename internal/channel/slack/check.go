package slack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
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
	f := channel.Finding{What: "a signed url_verification in by " + service + Base + acc.Name + "/events"}
	challenge := rand.Text()
	body := []byte(`{"type":"url_verification","challenge":"` + challenge + `"}`)
	at := strconv.FormatInt(time.Now().Unix(), 10)
	m := hmac.New(sha256.New, []byte(acc.Signing.Reveal()))
	_, _ = fmt.Fprintf(m, "v0:%s:%s", at, body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, service+Base+acc.Name+"/events", bytes.NewReader(body))
	if err != nil {
		f.Problem = "this is no address: set channels.service to that of the edge"
		return f
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Slack-Request-Timestamp", at)
	r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(m.Sum(nil)))
	resp, err := s.caller.Do(r)
	if err != nil {
		f.Problem = "nobody answers there: Slack does not get through either"
		return f
	}
	defer func() { _ = resp.Body.Close() }()
	var back struct{ Challenge string }
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, &back) != nil || back.Challenge != challenge {
		f.Problem = fmt.Sprintf("status %d, and not from this channel: does the address lead to this service?", resp.StatusCode)
	}
	return f
}

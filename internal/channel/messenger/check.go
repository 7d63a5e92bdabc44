package messenger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// Check satisfies channel.Checker: it asks Meta whose the token is, and delivers
// nothing, signed, to itself by the address that Meta knows.
func (s *Server) Check(ctx context.Context, name, service string) []channel.Finding {
	a := s.accounts[name]
	if a == nil {
		return channel.NoAccount(name)
	}
	out := []channel.Finding{s.checkToken(ctx, a), s.checkWebhook(ctx, a, service)}
	if !strings.HasPrefix(service, "https://") {
		out = append(out, channel.Finding{What: "the address for Meta", Problem: service + " is not https, and Meta calls no other: set channels.service to the address on the internet"})
	}
	return out
}

func (s *Server) checkToken(ctx context.Context, a *account) channel.Finding {
	f := channel.Finding{What: "Meta knows the page's token and the app's secret"}
	var me struct{ ID, Name string }
	err := s.call(ctx, a, http.MethodGet, "/me", url.Values{"fields": {"id,name"}}, nil, &me)
	switch {
	case err != nil:
		f.Problem = fault.MessageOf(err)
	case me.ID != a.Page:
		f.Problem = fmt.Sprintf("the token is of page %s, and the configuration says %s", clip(me.ID, 32), a.Page)
	}
	return f
}

func (s *Server) checkWebhook(ctx context.Context, a *account, service string) channel.Finding {
	body := []byte(`{"object":"page","entry":[]}`)
	m := hmac.New(sha256.New, []byte(a.AppSecret.Reveal()))
	m.Write(body)
	header := http.Header{"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(m.Sum(nil))}}
	return channel.Knock(ctx, s.client, "a signed delivery comes in by", service+Base+"/"+a.Name, header, body, func(status int, answer []byte) bool {
		return status == http.StatusOK && string(answer) == received
	})
}

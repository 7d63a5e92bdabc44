package messenger

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
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
	at := service + Base + "/" + a.Name
	f := channel.Finding{What: "a signed delivery comes in by " + at}
	body := []byte(`{"object":"page","entry":[]}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		f.Problem = "channels.service is no address"
		return f
	}
	m := hmac.New(sha256.New, []byte(a.AppSecret.Reveal()))
	m.Write(body)
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(m.Sum(nil)))
	resp, err := s.client.Do(r)
	if err != nil {
		f.Problem = "this address can't be reached from here: is channels.service the edge's?"
		return f
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode != http.StatusOK || string(answer) != received {
		f.Problem = fmt.Sprintf("somebody else answered there, with status %d", resp.StatusCode)
	}
	return f
}

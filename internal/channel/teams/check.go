package teams

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// Check satisfies channel.Checker: Microsoft's login, its keys, and the address
// that Microsoft sends to. What Teams itself would say only somebody who writes
// there can find out.
func (s *Server) Check(ctx context.Context, name, service string) []channel.Finding {
	a := s.accounts[name]
	if a == nil {
		return channel.NoAccount(name)
	}
	login := channel.Finding{What: "a token from Microsoft's login"}
	if _, err := a.access.get(ctx, ""); err != nil {
		login.Problem = fault.MessageOf(err)
	}
	keys := channel.Finding{What: "the keys that Microsoft signs with"}
	if _, err := a.keys.find(ctx, ""); !fault.Is(err, fault.Unauthenticated) { // none has an empty id
		keys.Problem = fault.MessageOf(err)
	}
	return []channel.Finding{login, keys, s.knock(ctx, service+Base+"/"+name+"/messages")}
}

// knock asks the address that Microsoft sends to for what it must refuse: nobody
// but Microsoft can make a token for it.
func (s *Server) knock(ctx context.Context, at string) channel.Finding {
	f := channel.Knock(ctx, s.client, "the messaging endpoint", at, http.Header{}, []byte("{}"), func(status int, answer []byte) bool {
		return status == http.StatusUnauthorized && bytes.Contains(answer, []byte("Microsoft Teams"))
	})
	if f.Problem == "" && !strings.HasPrefix(at, "https:") {
		f.Problem = "it answers, but Microsoft sends to https addresses only: set channels.service to the one that Azure has"
	}
	return f
}

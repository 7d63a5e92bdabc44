package teams

import (
	"bytes"
	"context"
	"io"
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
	f := channel.Finding{What: "the messaging endpoint " + at}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader("{}"))
	if err != nil {
		f.Problem = "channels.service is no address"
		return f
	}
	resp, err := s.client.Do(r)
	if err != nil {
		f.Problem = "this address can't be reached from here: is channels.service the edge's?"
		return f
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case resp.StatusCode != http.StatusUnauthorized || !bytes.Contains(answer, []byte("Microsoft Teams")):
		f.Problem = "somebody else answers there (status " + resp.Status + ")"
	case !strings.HasPrefix(at, "https:"):
		f.Problem = "it answers, but Microsoft sends to https addresses only: set channels.service to the one that Azure has"
	}
	return f
}

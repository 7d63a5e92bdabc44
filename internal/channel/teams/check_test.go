package teams

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/secret"
)

func TestCheck(t *testing.T) {
	var _ channel.Checker = (*Server)(nil)
	ms := newMicrosoft(t)
	s, _ := open(t, ms, nil)
	here := httptest.NewTLSServer(s)
	t.Cleanup(here.Close)
	s.client = here.Client() // knows the test's certificate
	problems := func(s *Server, account, service string) (out string) {
		t.Helper()
		for _, f := range s.Check(t.Context(), account, service) {
			if out += f.Problem + ";"; strings.Contains(f.Problem+f.What, testSecret) {
				t.Errorf("%+v", f)
			}
		}
		return out
	}
	if got := problems(s, "shop", here.URL); got != ";;;" {
		t.Errorf("all is well: %q", got)
	}
	if got := problems(s, "nobody", here.URL); !strings.Contains(got, "no such account") {
		t.Errorf("%q", got)
	}
	plain := httptest.NewServer(s)
	t.Cleanup(plain.Close)
	if got := problems(s, "shop", plain.URL); !strings.Contains(got, "https addresses only") {
		t.Errorf("%q", got)
	}
	if got := problems(s, "shop", ms.srv.URL); !strings.Contains(got, "somebody else answers") {
		t.Errorf("%q", got)
	}
	ms.silent = true
	wrong, _ := open(t, ms, func(o *Options) { o.Accounts[0].Secret = secret.New("wrong") })
	plain.Close()
	if got := problems(wrong, "shop", plain.URL); strings.Count(got, ";;") != 0 || !strings.Contains(got, "value, not its id") || !strings.Contains(got, "keys can't be read") || !strings.Contains(got, "nobody answers") {
		t.Errorf("%q", got)
	}
}

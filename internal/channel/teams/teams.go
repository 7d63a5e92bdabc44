// Package teams is the channel for Microsoft Teams: the bot's side of the Bot
// Framework's protocol. What people say there comes from Microsoft with a token
// of its own, and what is said to them goes to the address that came along.
// What may live here: that protocol, Microsoft's tokens, and what Teams shows.
package teams

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// Name is the channel's name in conversations and metrics.
const Name = "teams"

// Base is the path below which Microsoft reaches the channel.
const Base = "/channels/teams"

// Account is a bot as it is registered with Microsoft. Its secret or its
// certificate is required.
type Account struct {
	Name        string
	AppID       string
	Tenant      string // of a bot of one tenant; "" = of many
	Secret      secret.String
	Certificate tls.Certificate // in the place of Secret
	Tenants     []string        // whose people it serves; none = everybody's
	Bot         string          // who answers; "" = the default one
	Cloud       Cloud
}

// Cloud is where Microsoft is, as it says in its documentation.
type Cloud struct {
	Login    string   // makes the tokens that we show
	Tenant   string   // there, of a bot of many tenants
	Scope    string   // of those tokens
	Metadata string   // of the keys that sign the tokens which Microsoft shows us
	Issuer   string   // of those
	Services []string // the addresses that we show our tokens to, each scheme and host
	// Endorsed: its keys say which channels they are for.
	Endorsed bool
}

// Clouds are Microsoft's, by the names that the configuration has for them.
// The addresses of China's services are nowhere published: they are configured.
func Clouds() map[string]Cloud {
	government := Cloud{
		Login: "https://login.microsoftonline.us", Tenant: "MicrosoftServices.onmicrosoft.us", Scope: "https://api.botframework.us/.default",
		Metadata: "https://login.botframework.azure.us/v1/.well-known/openidconfiguration", Issuer: "https://api.botframework.us",
		Services: []string{"https://smba.infra.gov.teams.microsoft.us", "https://smba.infra.dod.teams.microsoft.us"},
	}
	return map[string]Cloud{
		"public": {
			Login: "https://login.microsoftonline.com", Tenant: "botframework.com", Scope: "https://api.botframework.com/.default",
			Metadata: "https://login.botframework.com/v1/.well-known/openidconfiguration", Issuer: "https://api.botframework.com",
			Services: []string{"https://smba.trafficmanager.net", "https://smba.infra.gcc.teams.microsoft.com"}, Endorsed: true,
		},
		"usgov": government,
		"china": {
			Login: "https://login.partner.microsoftonline.cn", Tenant: "microsoftservices.partner.onmschina.cn", Scope: "https://api.botframework.azure.cn/.default",
			Metadata: "https://login.botframework.azure.cn/v1/.well-known/openidconfiguration", Issuer: "https://api.botframework.azure.cn",
		},
	}
}

// Desk is what the channel needs of Parley: *channel.Desk has it.
type Desk interface {
	Place(ctx context.Context, name string, s channel.Start) (conversation string, err error)
	Take(ctx context.Context, in channel.Inbound) (pos uint64, err error)
	Invoked(ctx context.Context, conv string, pos uint64) (value json.RawMessage, err error)
	Observer() channel.Observer
}

// Options of the channel. Desk and Accounts are required.
type Options struct {
	Desk     Desk
	Accounts []Account
	// Public is the address by which people reach this service, for the files
	// that it keeps; "" = such files are named only.
	Public string

	MaxActivity int64 // bytes of one activity; 0 = 256 KiB
	Now         func() time.Time
	Logger      *slog.Logger
}

// Server takes what Microsoft sends and posts what is to be seen in Teams. It
// is an http.Handler for everything below Base, and a channel.Poster.
type Server struct {
	opts     Options
	lg       *slog.Logger
	mux      *http.ServeMux
	client   *http.Client
	accounts map[string]*account // by name

	mu    sync.Mutex       // guards shown
	shown map[string]shown // what only this node knows of conversations it posts to
}

// account is an Account with what is read of Microsoft for it.
type account struct {
	Account
	keys   *keys
	access *access
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Desk == nil || len(o.Accounts) == 0 {
		return nil, errors.New("teams: Desk and Accounts are required")
	}
	if o.MaxActivity == 0 {
		o.MaxActivity = 256 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, lg: o.Logger.With("part", Name), client: newClient(), accounts: map[string]*account{}, shown: map[string]shown{}}
	issuers := map[string]*keys{}
	for _, a := range o.Accounts {
		if err := a.check(); err != nil {
			return nil, err
		}
		if s.accounts[a.Name] != nil {
			return nil, fmt.Errorf("teams: two accounts are named %q", a.Name)
		}
		if issuers[a.Cloud.Metadata] == nil {
			issuers[a.Cloud.Metadata] = &keys{client: s.client, metadata: a.Cloud.Metadata, now: o.Now}
		}
		s.accounts[a.Name] = &account{Account: a, keys: issuers[a.Cloud.Metadata], access: newAccess(s.client, a, o.Now)}
	}
	s.mux = http.NewServeMux()
	s.handle("POST /channels/teams/{name}/messages", s.messages)
	s.handle("/channels/teams/{name}/messages", s.method)
	s.handle("/", s.none)
	return s, nil
}

func (a Account) check() error {
	switch {
	case a.Name == "" || a.AppID == "":
		return errors.New("teams: every account needs a name and an app id")
	case a.Secret.Empty() == (a.Certificate.PrivateKey == nil):
		return fmt.Errorf("teams: account %q needs a secret or a certificate, one of them", a.Name)
	case a.Certificate.PrivateKey != nil && !isRSA(a.Certificate):
		return fmt.Errorf("teams: the certificate of account %q must be of RSA", a.Name)
	case a.Cloud.Login == "" || a.Cloud.Metadata == "" || a.Cloud.Issuer == "" || a.Cloud.Scope == "" || len(a.Cloud.Services) == 0:
		return fmt.Errorf("teams: account %q needs all of its cloud: Login, Metadata, Issuer, Scope and Services", a.Name)
	}
	return nil
}

func isRSA(c tls.Certificate) bool {
	_, ok := c.PrivateKey.(*rsa.PrivateKey)
	return ok && len(c.Certificate) > 0
}

// callTime is how long Microsoft may take for an answer.
const callTime = 15 * time.Second

// newClient calls the hosts of a Cloud only, so that a proxy of the environment
// may stand in between. Nothing is redirected: a token is for its address.
func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.MaxResponseHeaderBytes = 32, 64<<10
	return &http.Client{
		Transport: t, Timeout: callTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *Server) handle(pattern string, f func(http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// ServeHTTP answers a request of Microsoft's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Server) method(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", http.MethodPost)
	return wire.WriteError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method+" is not for this address, POST only")
}

func (s *Server) none(_ http.ResponseWriter, r *http.Request) error {
	return fault.New(fault.NotFound, "there is nothing at %s %s", r.Method, r.URL.Path)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := fault.CodeOf(err)
	s.opts.Desk.Observer().Refused(Name, string(code))
	if code == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if code == fault.Unauthenticated || code == fault.Forbidden {
		s.lg.Info("a request was refused", "err", fault.MessageOf(err), "from", r.RemoteAddr)
	}
	wire.Fail(w, r, s.lg, err, "")
}

// serves reports whether our tokens may be shown to an address.
func (c Cloud) serves(service string) bool {
	u, err := url.Parse(service)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(u.Path, "..") {
		return false
	}
	at := strings.ToLower(u.Scheme + "://" + u.Host)
	if u.Scheme == "https" {
		at = strings.TrimSuffix(at, ":443")
	}
	return slices.ContainsFunc(c.Services, func(known string) bool { return strings.EqualFold(strings.TrimSuffix(known, "/"), at) })
}

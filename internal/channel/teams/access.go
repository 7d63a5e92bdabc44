package teams

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// access has the token that we show Microsoft.
type access struct {
	client  *http.Client
	account Account
	from    string // where tokens are made
	now     func() time.Time

	turn  chan struct{} // holds one: whoever has it may use what is below
	token string
	until time.Time
	err   error // of the last asking, and when to ask again
	again time.Time
}

const (
	accessEarly = 5 * time.Minute // before its end a token is not used any more
	accessAgain = 5 * time.Second // after a refusal
	mostAccess  = 64 << 10        // bytes of an answer with a token
	assertLife  = 5 * time.Minute
)

func newAccess(client *http.Client, a Account, now func() time.Time) *access {
	tenant := a.Tenant
	if tenant == "" {
		tenant = a.Cloud.Tenant
	}
	x := &access{
		client: client, account: a, now: now, turn: make(chan struct{}, 1),
		from: strings.TrimSuffix(a.Cloud.Login, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token",
	}
	x.turn <- struct{}{}
	return x
}

// get returns a token, other than the one that Microsoft did not take.
func (x *access) get(ctx context.Context, refused string) (string, error) {
	select {
	case <-x.turn:
		defer func() { x.turn <- struct{}{} }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	now := x.now()
	if x.token != "" && x.token != refused && now.Before(x.until) {
		return x.token, nil
	}
	if x.err != nil && now.Before(x.again) {
		return "", x.err
	}
	token, life, err := x.ask(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if x.err = err; err != nil {
		x.token, x.again = "", now.Add(accessAgain)
		return "", err
	}
	x.token, x.until = token, now.Add(life-min(accessEarly, life/2))
	return token, nil
}

func (x *access) ask(ctx context.Context) (token string, life time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {x.account.AppID}, "scope": {x.account.Cloud.Scope}}
	if x.account.Certificate.PrivateKey == nil {
		form.Set("client_secret", x.account.Secret.Reveal())
	} else {
		assertion, err := x.assertion()
		if err != nil {
			return "", 0, err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, x.from, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := x.client.Do(r)
	if err != nil {
		return "", 0, fault.Wrap(err, fault.Unavailable, "Microsoft's login can't be reached")
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostAccess))
	if err != nil {
		return "", 0, fault.Wrap(err, fault.Unavailable, "Microsoft's login broke off")
	}
	var out struct {
		Type    string `json:"token_type"`
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Codes   []int  `json:"error_codes"`
	}
	wrong := json.Unmarshal(b, &out) != nil
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return "", 0, fault.New(fault.Limited, "Microsoft's login has too much to do").After(retryAfter(resp, x.now()))
	case resp.StatusCode != http.StatusOK:
		return "", 0, fault.New(fault.Unavailable, "Microsoft's login gives the bot no token: %s (status %d)", whyNot(out.Codes), resp.StatusCode)
	case wrong || !strings.EqualFold(out.Type, "Bearer") || out.Token == "" || out.Expires <= 0 || len(out.Token) > mostAccess/2:
		return "", 0, fault.New(fault.Unavailable, "Microsoft's login gives something else than a token")
	}
	return out.Token, time.Duration(min(out.Expires, 24*3600)) * time.Second, nil
}

// whyNot puts into words what operators can do about. The login's own text has
// names in it that are nobody's business.
func whyNot(codes []int) string {
	for _, c := range codes {
		switch c {
		case 7000215:
			return "the secret is wrong; it is the client secret's value, not its id (AADSTS7000215)"
		case 7000222:
			return "the secret has expired; make a new one in the app's registration (AADSTS7000222)"
		case 700016:
			return "no app of this app_id is in the tenant; a bot of one tenant needs its tenant, one of many tenants must not have one (AADSTS700016)"
		case 90002, 900023:
			return "there is no such tenant (AADSTS90002)"
		case 700027:
			return "the certificate is not among those of the app's registration (AADSTS700027)"
		case 7000112:
			return "the app has been disabled (AADSTS7000112)"
		}
	}
	return "it does not say why in words that are known here"
}

// assertion shows that we have the certificate's key.
func (x *access) assertion() (string, error) {
	key := x.account.Certificate.PrivateKey.(*rsa.PrivateKey) // check has seen to that
	thumb := sha256.Sum256(x.account.Certificate.Certificate[0])
	now := x.now()
	return wire.SignToken(wire.TokenHeader{Thumbprint: base64.RawURLEncoding.EncodeToString(thumb[:])}, map[string]any{
		"aud": x.from, "iss": x.account.AppID, "sub": x.account.AppID, "jti": rand.Text(),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(assertLife).Unix(),
	}, key)
}

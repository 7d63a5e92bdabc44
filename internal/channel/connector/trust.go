package connector

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// Issuer is who signs tokens for bots, where Service is the address of all
// regions. Its metadata lies below it.
func Issuer(service string) string { return service + "/v3/bots" }

// forConnector is whom a bot's tokens for us are made out to.
func forConnector(service string) string { return service + "/v3/conversations" }

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) error {
	return writePublic(w, map[string]any{
		"issuer": s.issuer, "jwks_uri": s.issuer + "/keys", "token_endpoint": s.issuer + "/token",
		"id_token_signing_alg_values_supported": []string{wire.Algorithm},
	})
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.opts.Keys.public(r.Context())
	if err != nil {
		return err
	}
	return writePublic(w, map[string]any{"keys": keys})
}

func writePublic(w http.ResponseWriter, v any) error {
	w.Header().Set("Cache-Control", "public, max-age=300")
	return wire.WriteJSON(w, http.StatusOK, v)
}

// token gives a bot that shows its app id and secret a token for the connector,
// as OAuth's client credentials have it.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	body, err := body.Read(w, r, 16<<10)
	if err != nil {
		return err
	}
	id, password, err := credentials(r, body)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.opts.Bots, func(b Bot) bool { return b.AppID != "" && b.AppID == id })
	if i < 0 || s.opts.Bots[i].Secret == "" || !s.opts.Bots[i].Secret.Matches(password) {
		return fault.New(fault.Unauthenticated, "no bot has this client_id and client_secret")
	}
	token, err := s.forBot(r.Context(), s.opts.Bots[i])
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(tokenLife.Seconds()), "access_token": token})
}

func credentials(r *http.Request, body []byte) (id, password string, err error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "client_credentials" {
		return "", "", errGrant
	}
	id, password = form.Get("client_id"), form.Get("client_secret")
	if user, pass, ok := r.BasicAuth(); ok && id == "" {
		id, password = user, pass
	}
	return id, password, nil
}

var errGrant = fault.New(fault.Invalid, "send grant_type=client_credentials with client_id and client_secret as a form")

func (s *Server) forBot(ctx context.Context, b Bot) (string, error) {
	return s.opts.Keys.sign(ctx, claims{Issuer: s.issuer, Audience: forConnector(s.opts.Service), Subject: b.ID, App: b.AppID})
}

// sidecar plays the container that the Agents SDK asks for tokens, so that a
// bot of it needs configuration only. The SDK shows no credential, so only
// programs on this machine are answered.
func (s *Server) sidecar(w http.ResponseWriter, r *http.Request) error {
	i := slices.IndexFunc(s.opts.Bots, func(b Bot) bool { return b.ID == r.PathValue("bot") && b.AppID != "" })
	if i < 0 {
		return fault.New(fault.NotFound, "no bot of this id has an app id")
	}
	if !local(r) {
		return fault.New(fault.Forbidden, "this route gives tokens without asking for a secret, so it answers programs on the node's own machine only; docs/channels/bots.md says what a bot elsewhere does")
	}
	token, err := s.forBot(r.Context(), s.opts.Bots[i])
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]string{"authorizationHeader": "Bearer " + token})
}

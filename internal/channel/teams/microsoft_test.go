package teams

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/channel/wire"
)

// microsoft stands in for Microsoft: its login, its keys and Teams' connector,
// as strict as what it publishes. What breaks a rule fails the test.
type microsoft struct {
	t   *testing.T
	srv *httptest.Server
	now func() time.Time

	appID, secret, tenant string
	certificate           *x509.Certificate // in the place of secret

	mu     sync.Mutex // guards all below
	keys   []signing
	asked  map[string]int // how often something was, by its path's end
	silent bool           // the metadata can't be had
	codes  int            // the login refuses with this code
	life   int            // seconds of a token
	tokens map[string]time.Time
	calls  []call
	plan   []answer // what the next calls get
	rooms  map[string]*room
	last   int

	limit  time.Duration // the next message is refused, and all for so long
	until  time.Time     // no messages before
	reject bool          // no messages at all
	deaths bool          // nodes die: who comes after them does not know what they did a moment ago, and is refused
}

// signing is a key of Microsoft's.
type signing struct {
	id           string
	key          *rsa.PrivateKey
	endorsements []string
}

// call is one that the connector got.
type call struct {
	method, conversation, id string
	activity                 map[string]json.RawMessage
}

// answer is what a call gets in the place of the usual.
type answer struct {
	status int
	after  string
	body   string
	done   bool // Teams does what was asked all the same
	cut    bool // the connection breaks
}

// room is a conversation as people see it.
type room struct {
	messages []*posted
	stream   *posted
	began    time.Time
	sequence int
	last     time.Time
}

type posted struct {
	id, text string
	cards    int
	buttons  []string
	growing  bool
	edited   bool
	deleted  bool
}

var testKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	var out []*rsa.PrivateKey
	for range 3 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		out = append(out, k)
	}
	return out
})

const (
	testApp    = "11111111-2222-3333-4444-555555555555"
	testSecret = "s3cret~of.the-app"
	testTenant = "99999999-8888-7777-6666-555555555555"
	testBot    = "28:" + testApp
)

func newMicrosoft(t *testing.T) *microsoft {
	t.Helper()
	ms := &microsoft{
		t: t, now: time.Now, appID: testApp, secret: testSecret, tenant: "botframework.com", life: 3600,
		keys:  []signing{{"first", testKeys()[0], []string{"msteams", "webchat"}}},
		asked: map[string]int{}, tokens: map[string]time.Time{}, rooms: map[string]*room{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/.well-known/openidconfiguration", ms.metadata)
	mux.HandleFunc("GET /v1/.well-known/keys", ms.jwks)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", ms.token)
	mux.HandleFunc("/amer/v3/conversations/{conversation}/activities", ms.connector)
	mux.HandleFunc("/amer/v3/conversations/{conversation}/activities/{id}", ms.connector)
	ms.srv = httptest.NewServer(mux)
	t.Cleanup(ms.srv.Close)
	return ms
}

// service is the connector's address, as activities name it.
func (ms *microsoft) service() string { return ms.srv.URL + "/amer/" }

func (ms *microsoft) cloud() Cloud {
	c := Clouds()["public"]
	c.Login, c.Metadata, c.Services = ms.srv.URL, ms.srv.URL+"/v1/.well-known/openidconfiguration", []string{ms.srv.URL}
	return c
}

func (ms *microsoft) count(what string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.asked[what]++
}

func (ms *microsoft) times(what string) int {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.asked[what]
}

func (ms *microsoft) metadata(w http.ResponseWriter, _ *http.Request) {
	ms.count("metadata")
	if ms.silent {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"issuer": "https://api.botframework.com", "authorization_endpoint": "https://invalid.botframework.com",
		"jwks_uri": ms.srv.URL + "/v1/.well-known/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
	})
}

func (ms *microsoft) jwks(w http.ResponseWriter, _ *http.Request) {
	ms.count("keys")
	ms.mu.Lock()
	defer ms.mu.Unlock()
	all := []map[string]any{{"kty": "EC", "kid": "other", "crv": "P-256"}, {"kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB"}}
	for _, k := range ms.keys {
		all = append(all, map[string]any{
			"kty": "RSA", "use": "sig", "kid": k.id, "x5t": k.id, "endorsements": k.endorsements,
			"n": base64.RawURLEncoding.EncodeToString(k.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.key.E)).Bytes()),
		})
	}
	answerJSON(w, http.StatusOK, map[string]any{"keys": all})
}

// token is the login: OAuth's client credentials, as Entra checks them.
func (ms *microsoft) token(w http.ResponseWriter, r *http.Request) {
	ms.count("token")
	no := func(status, code int, text string) {
		answerJSON(w, status, map[string]any{"error": "invalid_client", "error_description": fmt.Sprintf("AADSTS%d: %s", code, text), "error_codes": []int{code}})
	}
	if ms.codes != 0 {
		no(http.StatusUnauthorized, ms.codes, "as the test wants it")
		return
	}
	if err := r.ParseForm(); err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		ms.t.Errorf("the login was asked with %q and the query %q: %v", r.Header.Get("Content-Type"), r.URL.RawQuery, err)
	}
	f := r.PostForm
	if f.Get("grant_type") != "client_credentials" || f.Get("scope") != "https://api.botframework.com/.default" {
		ms.t.Errorf("the login was asked for %q of %q", f.Get("grant_type"), f.Get("scope"))
	}
	switch {
	case r.PathValue("tenant") != ms.tenant:
		no(http.StatusBadRequest, 90002, "Tenant not found.")
	case f.Get("client_id") != ms.appID:
		no(http.StatusBadRequest, 700016, "Application was not found in the directory.")
	case ms.certificate == nil && f.Get("client_secret") != ms.secret:
		no(http.StatusUnauthorized, 7000215, "Invalid client secret provided.")
	case ms.certificate != nil && !ms.asserted(f.Get("client_assertion_type"), f.Get("client_assertion")):
		no(http.StatusUnauthorized, 700027, "The certificate is not registered.")
	default:
		ms.mu.Lock()
		token := "access." + rand.Text()
		ms.tokens[token] = ms.now().Add(time.Duration(ms.life) * time.Second)
		ms.mu.Unlock()
		answerJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": ms.life, "ext_expires_in": ms.life, "access_token": token})
	}
}

func (ms *microsoft) asserted(kind, token string) bool {
	var c struct {
		Audience, Issuer, Subject, ID string
		From, Expires                 int64
	}
	var raw map[string]any
	err := wire.OpenToken(token, &raw, func(string) (*rsa.PublicKey, error) { return ms.certificate.PublicKey.(*rsa.PublicKey), nil })
	if err != nil || kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return false
	}
	c.Audience, _ = raw["aud"].(string)
	c.Issuer, _ = raw["iss"].(string)
	c.Subject, _ = raw["sub"].(string)
	c.ID, _ = raw["jti"].(string)
	exp, _ := raw["exp"].(float64)
	nbf, _ := raw["nbf"].(float64)
	now := ms.now().Unix()
	sum := sha256.Sum256(ms.certificate.Raw)
	head, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	var h map[string]string
	_ = json.Unmarshal(head, &h)
	return c.Audience == ms.srv.URL+"/"+ms.tenant+"/oauth2/v2.0/token" && c.Issuer == ms.appID && c.Subject == ms.appID && c.ID != "" &&
		int64(nbf) <= now && now < int64(exp) && int64(exp)-now <= 600 && h["x5t#S256"] == base64.RawURLEncoding.EncodeToString(sum[:])
}

// next plans what calls to the connector get.
func (ms *microsoft) next(all ...answer) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.plan = append(ms.plan, all...)
}

func (ms *microsoft) made() []call {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return slices.Clone(ms.calls)
}

// Posted, Limit and Reject satisfy channeltest.Platform.
func (ms *microsoft) Posted(conversation string) []string {
	return slices.DeleteFunc(ms.seen(conversation), func(s string) bool { return strings.HasSuffix(s, "…") })
}

func (ms *microsoft) Limit(after time.Duration) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.limit = after
}

func (ms *microsoft) Reject(on bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.reject = on
}

// seen is what people see in a conversation.
func (ms *microsoft) seen(conversation string) []string {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var out []string
	for _, p := range ms.room(conversation).messages {
		s := p.text
		if p.cards > 0 {
			s += fmt.Sprintf("[%d cards]", p.cards)
		}
		for _, b := range p.buttons {
			s += "[" + b + "]"
		}
		switch {
		case p.deleted:
			continue
		case p.growing:
			s += "…"
		case p.edited:
			s += " (edited)"
		}
		out = append(out, s)
	}
	return out
}

func (ms *microsoft) room(conversation string) *room {
	if ms.rooms[conversation] == nil {
		ms.rooms[conversation] = &room{}
	}
	return ms.rooms[conversation]
}

// no refuses as Teams does.
type no struct {
	status int
	code   string
	text   string
}

func (ms *microsoft) connector(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		ms.t.Errorf("a call broke off: %v", err)
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var a map[string]json.RawMessage
	if len(b) > 0 && json.Unmarshal(b, &a) != nil {
		ms.t.Errorf("a call brought %q", b)
	}
	c := call{r.Method, r.PathValue("conversation"), r.PathValue("id"), a}
	ms.calls = append(ms.calls, c)
	until, ok := ms.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok || !ms.now().Before(until) {
		fail(w, no{http.StatusUnauthorized, "Unauthorized", "Authorization has been denied for this request."})
		return
	}
	if len(ms.plan) > 0 {
		plan := ms.plan[0]
		ms.plan = ms.plan[1:]
		if plan.done {
			_, _ = ms.do(c, b)
		}
		if plan.cut {
			panic(http.ErrAbortHandler)
		}
		if plan.status != 0 {
			if plan.after != "" {
				w.Header().Set("Retry-After", plan.after)
			}
			w.WriteHeader(plan.status)
			_, _ = io.WriteString(w, plan.body)
			return
		}
	}
	if c.method != http.MethodDelete && str(a["type"]) == "message" || infoIn(a) {
		switch now := ms.now(); {
		case now.Before(ms.until):
			ms.t.Errorf("a call %v too early", ms.until.Sub(now))
			ms.throttle(w, ms.until.Sub(now))
			return
		case ms.limit > 0:
			ms.throttle(w, ms.limit)
			ms.until, ms.limit = now.Add(ms.limit), 0
			return
		case ms.reject:
			fail(w, no{http.StatusForbidden, "BotNotInConversationRoster", "The bot is not part of the conversation roster."})
			return
		}
	}
	out, not := ms.do(c, b)
	if not.status != 0 {
		fail(w, not)
		return
	}
	status := http.StatusOK
	if out["id"] != nil {
		status = http.StatusCreated
	}
	answerJSON(w, status, out)
}

func (ms *microsoft) throttle(w http.ResponseWriter, after time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	fail(w, no{http.StatusTooManyRequests, "Throttled", "Too many requests."})
}

func infoIn(a map[string]json.RawMessage) bool {
	_, ok := infoOf(a)
	return ok
}

func fail(w http.ResponseWriter, n no) {
	answerJSON(w, n.status, map[string]any{"error": map[string]string{"code": n.code, "message": n.text}})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// do is what Teams does.
func (ms *microsoft) do(c call, b []byte) (map[string]any, no) {
	in := ms.room(c.conversation)
	var p *posted
	if c.id != "" {
		i := slices.IndexFunc(in.messages, func(p *posted) bool { return p.id == c.id && !p.deleted })
		if i < 0 {
			return nil, no{http.StatusNotFound, "ActivityNotFoundInConversation", "Conversation not found."}
		}
		p = in.messages[i]
	}
	if c.method == http.MethodDelete {
		p.deleted = true
		return nil, no{}
	}
	ms.wellFormed(c, b)
	if size := 2 * len(utf16.Encode([]rune(string(b)))); size > 28<<10 {
		return nil, no{http.StatusRequestEntityTooLarge, "MessageSizeTooBig", "Message size too large."}
	}
	switch {
	case c.method == http.MethodPut:
		fill(p, c.activity)
		p.edited, p.growing = true, false
		if in.stream == p {
			in.stream = nil
		}
		return map[string]any{"id": p.id}, no{}
	case c.method != http.MethodPost || c.id != "":
		ms.t.Errorf("%s of the activity %q", c.method, c.id)
	}
	if info, ok := infoOf(c.activity); ok {
		return ms.streams(c, in, info)
	}
	if str(c.activity["type"]) == "typing" {
		return map[string]any{"id": ms.id()}, no{}
	}
	p = &posted{id: ms.id()}
	fill(p, c.activity)
	in.messages = append(in.messages, p)
	return map[string]any{"id": p.id}, no{}
}

func (ms *microsoft) id() string {
	ms.last++
	return fmt.Sprintf("17%011d", ms.last)
}

func fill(p *posted, a map[string]json.RawMessage) {
	p.text = str(a["text"])
	var cards []attachment
	_ = json.Unmarshal(a["attachments"], &cards)
	p.cards, p.buttons = len(cards), nil
	var s suggested
	_ = json.Unmarshal(a["suggestedActions"], &s)
	for _, b := range s.Actions {
		p.buttons = append(p.buttons, b.Title)
	}
}

func str(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

func infoOf(a map[string]json.RawMessage) (streamInfo, bool) {
	var all []streamInfo
	_ = json.Unmarshal(a["entities"], &all)
	for _, e := range all {
		if e.Type == "streaminfo" {
			return e, true
		}
	}
	return streamInfo{}, false
}

// streams is Teams' streaming: one to one, one at a time, from 1 on, not faster
// than once a second, for two minutes.
func (ms *microsoft) streams(c call, in *room, info streamInfo) (map[string]any, no) {
	t, now := ms.t, ms.now()
	if !strings.HasPrefix(c.conversation, "a:") {
		t.Errorf("a stream in the conversation %q of many", c.conversation)
	}
	kind, text := str(c.activity["type"]), str(c.activity["text"])
	if kind == "message" != (info.Kind == "final") || info.Kind == "final" && info.Sequence != 0 || info.Kind != "final" && info.Sequence < 1 {
		t.Errorf("a %s with %+v", kind, info)
	}
	if info.Kind == "informative" && (len([]rune(text)) > 1000 || len(text) > 1024) || text == "" {
		t.Errorf("%s of %d bytes", info.Kind, len(text))
	}
	if c.activity["attachments"] != nil && info.Kind != "final" {
		t.Errorf("attachments in the middle of a stream")
	}
	if info.ID == "" {
		if info.Sequence != 1 || info.Kind == "final" {
			t.Errorf("a stream begins with %+v", info)
		}
		if in.stream != nil && ms.deaths {
			return nil, no{http.StatusForbidden, "ContentStreamNotAllowed", "Content stream is not allowed"}
		}
		if in.stream != nil {
			t.Errorf("a second stream begins before the first one has ended")
		}
		in.stream, in.began, in.sequence, in.last = &posted{id: ms.id(), text: text, growing: true}, now, 1, now
		in.messages = append(in.messages, in.stream)
		return map[string]any{"id": in.stream.id}, no{}
	}
	const not = "ContentStreamNotAllowed"
	switch {
	case in.stream == nil || in.stream.id != info.ID:
		return nil, no{http.StatusForbidden, not, "Content stream is not allowed on an already completed streamed message"}
	case now.Sub(in.began) > 2*time.Minute:
		return nil, no{http.StatusForbidden, not, "Content stream finished due to exceeded streaming time."}
	case info.Kind != "final" && info.Sequence <= in.sequence:
		t.Errorf("part %d comes after part %d", info.Sequence, in.sequence)
	case info.Kind != "final" && now.Sub(in.last) < time.Second && ms.deaths:
		return nil, no{http.StatusTooManyRequests, "Throttled", "API calls quota exceeded"}
	case info.Kind != "final" && now.Sub(in.last) < time.Second:
		t.Errorf("two parts within %v", now.Sub(in.last))
	}
	in.stream.text, in.sequence, in.last = text, info.Sequence, now
	if info.Kind == "final" {
		fill(in.stream, c.activity)
		in.stream.growing, in.stream = false, nil
	}
	return nil, no{}
}

// wellFormed checks what Microsoft says of activities.
func (ms *microsoft) wellFormed(c call, b []byte) {
	t := ms.t
	known := []string{
		"type", "from", "recipient", "conversation", "text", "textFormat", "locale", "summary", "importance", "attachments", "attachmentLayout", "suggestedActions", "entities", "channelData",
	}
	for name, v := range c.activity {
		if !slices.Contains(known, name) || string(v) == "null" || string(v) == `""` || string(v) == "[]" {
			t.Errorf("an activity with %s: %s", name, v)
		}
		if slices.Contains([]string{"from", "recipient", "conversation"}, name) && (bytes.Contains(v, []byte(`:""`)) || bytes.Contains(v, []byte(":null"))) {
			t.Errorf("%s is %s: Microsoft's SDKs take no empty fields", name, v)
		}
	}
	var a struct {
		Type         string
		From         party
		Conversation place
		Text         string
		TextFormat   string
		Attachments  []attachment
		Suggested    *suggested `json:"suggestedActions"`
		Entities     []struct{ Type string }
	}
	if err := json.Unmarshal(b, &a); err != nil {
		t.Errorf("an activity %s: %v", b, err)
	}
	if a.Type != "message" && a.Type != "typing" || a.From.ID != testBot || a.Conversation.ID != c.conversation {
		t.Errorf("an activity of type %q from %q in %q, sent to %q", a.Type, a.From.ID, a.Conversation.ID, c.conversation)
	}
	if a.Type == "message" && a.Text == "" && len(a.Attachments) == 0 {
		t.Errorf("an empty message")
	}
	if a.Text != "" && len(a.Attachments) > 0 {
		t.Errorf("text and attachments in one: Teams splits that and names neither")
	}
	if !slices.Contains([]string{"", "markdown", "plain", "xml"}, a.TextFormat) {
		t.Errorf("textFormat %q", a.TextFormat)
	}
	if format.Length(a.Text) > mostText {
		t.Errorf("a text of %d units", format.Length(a.Text))
	}
	for _, x := range a.Attachments {
		checkCard(t, x)
	}
	if a.Suggested != nil {
		if len(a.Attachments) > 0 || len(a.Suggested.Actions) > 6 || !strings.HasPrefix(c.conversation, "a:") {
			t.Errorf("%d suggestions in %q with %d attachments", len(a.Suggested.Actions), c.conversation, len(a.Attachments))
		}
		for _, x := range a.Suggested.Actions {
			if x.Type != "imBack" || x.Title == "" {
				t.Errorf("the suggestion %+v", x)
			}
		}
	}
	for _, e := range a.Entities {
		if e.Type == "" {
			t.Errorf("an entity without a type")
		}
	}
}

func checkCard(t *testing.T, x attachment) {
	kinds := []string{"adaptive", "hero", "thumbnail", "receipt", "signin", "oauth"}
	kind, ok := strings.CutPrefix(x.Type, "application/vnd.microsoft.card.")
	if ok && !slices.Contains(kinds, kind) || !ok && !strings.HasPrefix(x.Type, "image/") && !strings.HasPrefix(x.Type, "application/vnd.microsoft.teams.") {
		t.Errorf("an attachment of type %q", x.Type)
	}
	if kind != "hero" && kind != "thumbnail" {
		return
	}
	var c card
	if json.Unmarshal(x.Content, &c) != nil || len(c.Buttons) > 6 {
		t.Errorf("the card %s", x.Content)
	}
	for _, b := range c.Buttons {
		if !slices.Contains([]string{"openUrl", "messageBack", "imBack", "invoke", "signin"}, b.Type) || b.Title == "" {
			t.Errorf("the button %+v", b)
		}
	}
}

// sign makes a token of Microsoft's for a bot.
func (ms *microsoft) sign(change func(map[string]any)) string {
	ms.mu.Lock()
	k := ms.keys[len(ms.keys)-1]
	ms.mu.Unlock()
	c := map[string]any{
		"iss": "https://api.botframework.com", "aud": testApp, "serviceurl": ms.service(),
		"nbf": ms.now().Add(-time.Minute).Unix(), "exp": ms.now().Add(time.Hour).Unix(),
	}
	if change != nil {
		change(c)
	}
	token, err := wire.SignToken(wire.TokenHeader{Key: k.id}, c, k.key)
	if err != nil {
		ms.t.Fatal(err)
	}
	return token
}

// said is a message as Teams sends it.
func (ms *microsoft) said(conversation, id, text string) map[string]any {
	kind := "personal"
	switch {
	case strings.HasSuffix(conversation, "@thread.v2"):
		kind = "groupChat"
	case strings.Contains(conversation, "@thread.tacv2"):
		kind = "channel"
	}
	return map[string]any{
		"type": "message", "id": id, "timestamp": "2026-02-01T21:10:07.437Z", "localTimestamp": "2026-02-01T14:10:07.437-07:00",
		"serviceUrl": ms.service(), "channelId": "msteams", "textFormat": "plain", "locale": "en-US", "text": text,
		"from":         map[string]any{"id": "29:megan", "name": "Megan Bowen", "aadObjectId": "7faf8ab2-3d56-4244-b585-20c8a42ed2b8"},
		"conversation": map[string]any{"conversationType": kind, "tenantId": testTenant, "id": conversation},
		"recipient":    map[string]any{"id": testBot, "name": "Parley"},
		"attachments":  []any{map[string]any{"contentType": "text/html", "content": "<div>" + text + "</div>"}},
		"entities":     []any{map[string]any{"type": "clientInfo", "locale": "en-US", "country": "US", "platform": "Windows"}},
		"channelData":  map[string]any{"tenant": map[string]any{"id": testTenant}},
	}
}

// deliver hands something in as Microsoft does.
func (ms *microsoft) deliver(h http.Handler, account, token string, activity any) *httptest.ResponseRecorder {
	b, ok := activity.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(activity); err != nil {
			ms.t.Fatal(err)
		}
	}
	r := httptest.NewRequest("POST", Base+"/"+account+"/messages", bytes.NewReader(b))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// certified makes a certificate for the login.
func certified(t *testing.T) tls.Certificate {
	t.Helper()
	key := testKeys()[2]
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Package openai is the driver for servers that speak OpenAI's HTTP API:
// OpenAI and Azure OpenAI themselves, vLLM, llama-server, Ollama and whatever
// else is compatible. What differs between them is in dialect.go, and what they
// do with an answer that was cut in table.go. The package
// also says to the gateway how to hand a client's request through untouched.
// It knows nothing of conversations.
package openai

import (
	"context"
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

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/gateway"
)

// Options of New. The zero value of all but BaseURL works for a server that
// needs no key.
type Options struct {
	Name    string // "" = the dialect's name
	BaseURL string // such as http://127.0.0.1:8080 or https://api.openai.com/v1; without a path, /v1 is added
	// Key returns the key. It is asked at every request, so that a key may be
	// replaced; a func, so that printing Options shows none. Nil: no key.
	Key     func() string
	Dialect Dialect // "" = Generic; see Detect
	Model   string  // for requests that name none; "" = the server's first (of Azure: required)

	Header     map[string]string // further headers of every request
	APIVersion string            // Azure: "" = 2024-10-21
	Resume     lm.Policy         // "" = the dialect's
	// Models replaces asking the server. Zero fields are filled in by asking.
	Models []lm.Model

	Dial   time.Duration // to connect; 0 = 5 s
	First  time.Duration // to the first byte of an answer: queue and prefill; 0 = 5 min
	Stall  time.Duration // between two pieces of an answer; 0 = 2 min
	Answer int           // bytes of text in one answer; 0 = 16 MiB

	Log *slog.Logger // nil = none
}

// Engine is a lm.Engine on an OpenAI-compatible server.
type Engine struct {
	o      Options
	d      traits
	base   *url.URL // API root, without a slash at its end
	root   *url.URL // server root, for what is not part of OpenAI's API
	rt     http.RoundTripper
	own    *transport // nil if rt is net/http's
	client *http.Client

	mu      sync.Mutex // guards all below
	models  []lm.Model
	asked   time.Time
	running map[*context.CancelCauseFunc]struct{} // answers to be ended by Close
	gone    bool
	ups     map[upstreamKey]gateway.Upstream
}

var _ lm.Engine = (*Engine)(nil)

var errEngineClosed = errors.New("the engine is closed")

// New checks the options; it does not connect.
func New(o Options) (*Engine, error) {
	if o.Dialect == "" {
		o.Dialect = Generic
	}
	d, ok := dialects()[o.Dialect]
	if !ok {
		return nil, fault.New(fault.Invalid, "unknown dialect %q of an OpenAI-compatible server", o.Dialect)
	}
	if o.Name == "" {
		o.Name = string(o.Dialect)
	}
	u, err := url.Parse(strings.TrimRight(o.BaseURL, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fault.New(fault.Invalid, "the engine %q needs a base URL such as http://127.0.0.1:8080", o.Name)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "the base URL of engine %q must have no user, query or fragment; give a key as key", o.Name)
	}
	if o.Dialect == Azure && o.Model == "" {
		return nil, fault.New(fault.Invalid, "the engine %q needs the name of its Azure deployment as model", o.Name)
	}
	if o.Resume == "" {
		o.Resume = continuation(o.Dialect).Chat
	}
	setDefaults(&o)
	e := &Engine{o: o, d: d, root: &url.URL{Scheme: u.Scheme, Host: u.Host}, base: u}
	switch {
	case o.Dialect == Azure:
		e.root = u
	case u.Path == "":
		e.base = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/v1"}
	default:
		e.root.Path = strings.TrimSuffix(u.Path, "/v1")
	}
	e.running = map[*context.CancelCauseFunc]struct{}{}
	e.ups = map[upstreamKey]gateway.Upstream{}
	e.connect()
	return e, nil
}

func setDefaults(o *Options) {
	if o.Dial == 0 {
		o.Dial = 5 * time.Second
	}
	if o.First == 0 {
		o.First = 5 * time.Minute
	}
	if o.Stall == 0 {
		o.Stall = 2 * time.Minute
	}
	if o.Answer == 0 {
		o.Answer = 16 << 20
	}
	if o.APIVersion == "" {
		o.APIVersion = "2024-10-21"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// connect chooses the transport: our own for plain HTTP without a proxy,
// net/http's for the rest.
func (e *Engine) connect() {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: e.base})
	if e.base.Scheme == "http" && proxy == nil && err == nil {
		addr := e.base.Host
		if e.base.Port() == "" {
			addr = e.base.Hostname() + ":80"
			if strings.Contains(e.base.Hostname(), ":") {
				addr = "[" + e.base.Hostname() + "]:80"
			}
		}
		e.own = newTransport(addr, e.o.Dial, e.o.First, e.o.Stall)
		e.rt = e.own
	} else {
		e.rt = &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: e.o.Dial, ResponseHeaderTimeout: e.o.First, DisableCompression: true, ForceAttemptHTTP2: true,
		}
	}
	e.client = &http.Client{Transport: e.rt, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			return errRedirect
		}
		return nil
	}}
}

// Name is the engine's name.
func (e *Engine) Name() string { return e.o.Name }

// Close ends all answers and connections.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.gone = true
	for cancel := range e.running {
		(*cancel)(errEngineClosed)
	}
	e.mu.Unlock()
	if e.own != nil {
		e.own.close()
	}
	e.client.CloseIdleConnections()
	return nil
}

// Health asks the server's health address, or for its models.
func (e *Engine) Health(ctx context.Context) error {
	u := e.base.JoinPath("models")
	switch {
	case e.o.Dialect == Azure:
		u = e.azure("models")
	case e.d.health != "":
		u = e.root.JoinPath(e.d.health)
	}
	return e.get(ctx, u, nil)
}

// Models lists the server's models. The answer is kept for a few seconds.
func (e *Engine) Models(ctx context.Context) ([]lm.Model, error) {
	if e.isClosed() {
		return nil, e.closed()
	}
	e.mu.Lock()
	if e.models != nil && time.Since(e.asked) < 10*time.Second {
		defer e.mu.Unlock()
		return append([]lm.Model(nil), e.models...), nil
	}
	e.mu.Unlock()
	all, err := e.askModels(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.models, e.asked = all, time.Now()
	return append([]lm.Model(nil), all...), nil
}

func (e *Engine) askModels(ctx context.Context) ([]lm.Model, error) {
	all := append([]lm.Model(nil), e.o.Models...)
	switch {
	case len(all) > 0:
	case e.o.Dialect == Azure: // its list is of base models, not of deployments
		all = []lm.Model{{ID: e.o.Model}}
	default:
		var list modelList
		if err := e.get(ctx, e.base.JoinPath("models"), &list); err != nil {
			return nil, err
		}
		for _, m := range list.Data {
			if m.ID != "" {
				all = append(all, lm.Model{ID: m.ID, Window: int(max(m.Window, m.Meta.Train)), Vision: m.sees()})
			}
		}
		if len(all) == 0 {
			return nil, fault.New(fault.Unavailable, "the engine %q lists no models", e.o.Name)
		}
		all = e.first(all)
	}
	if e.d.ask != nil {
		e.d.ask(ctx, e, all)
	}
	for i := range all {
		if all[i].Resume == "" {
			all[i].Resume = e.o.Resume
		}
	}
	return all, nil
}

// first puts the configured model in front.
func (e *Engine) first(all []lm.Model) []lm.Model {
	for i, m := range all {
		if m.ID == e.o.Model {
			copy(all[1:i+1], all[:i])
			all[0] = m
			break
		}
	}
	return all
}

type modelList struct {
	Data []listedModel `json:"data"`
}

type listedModel struct {
	ID     string `json:"id"`
	Owner  string `json:"owned_by"`
	Window count  `json:"max_model_len"`
	Meta   struct {
		Train count `json:"n_ctx_train"`
	} `json:"meta"`
	// What some services tell beyond OpenAI's API, in forms of their own.
	Capabilities json.RawMessage `json:"capabilities"` // Mistral: {"vision":true}
	Architecture json.RawMessage `json:"architecture"` // OpenRouter: {"input_modalities":["text","image"]}
}

// sees reports whether a server says that a model reads pictures.
func (m listedModel) sees() bool {
	var can struct {
		Vision bool     `json:"vision"`
		Input  []string `json:"input_modalities"`
	}
	// What has another form says nothing.
	_ = json.Unmarshal(m.Capabilities, &can)
	_ = json.Unmarshal(m.Architecture, &can)
	return can.Vision || slices.Contains(can.Input, "image")
}

// model resolves "" to the default model.
func (e *Engine) model(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if e.o.Model != "" {
		return e.o.Model, nil
	}
	all, err := e.Models(ctx)
	if err != nil {
		return "", err
	}
	return all[0].ID, nil
}

// azure is the address of an operation that belongs to no deployment.
func (e *Engine) azure(op string) *url.URL {
	u := e.base.JoinPath("openai", op)
	if e.azureV1() {
		u = e.base.JoinPath(op)
	}
	u.RawQuery = e.query()
	return u
}

// azureV1 reports whether the base is Azure's newer address, which is shaped
// as OpenAI's own.
func (e *Engine) azureV1() bool { return strings.HasSuffix(e.base.Path, "/openai/v1") }

func (e *Engine) query() string {
	if e.o.Dialect != Azure || e.azureV1() {
		return ""
	}
	return "api-version=" + url.QueryEscape(e.o.APIVersion)
}

// address is where an operation such as chat/completions is served.
func (e *Engine) address(op, model string) *url.URL {
	if e.o.Dialect == Azure && !e.azureV1() {
		u := e.base.JoinPath("openai", "deployments", url.PathEscape(model), op)
		u.RawQuery = e.query()
		return u
	}
	return e.base.JoinPath(op)
}

// authorize sets the key and the configured headers.
func (e *Engine) authorize(h http.Header) {
	for k, v := range e.o.Header {
		h.Set(k, v)
	}
	key := e.key()
	switch {
	case key == "":
	case e.o.Dialect == Azure:
		h.Set("Api-Key", key)
	default:
		h.Set("Authorization", "Bearer "+key)
	}
}

func (e *Engine) key() string {
	if e.o.Key == nil {
		return ""
	}
	return e.o.Key()
}

func (e *Engine) closed() error {
	return fault.Wrap(errEngineClosed, fault.Unavailable, "the engine %q is closed", e.o.Name)
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gone
}

// live ends with ctx and with the engine.
func (e *Engine) live(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		cancel(errEngineClosed)
		return ctx, cancel
	}
	e.running[&cancel] = struct{}{}
	return ctx, func(err error) {
		cancel(err)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.running, &cancel)
	}
}

func (e *Engine) String() string {
	return fmt.Sprintf("%s (%s at %s)", e.o.Name, e.o.Dialect, e.base.Host)
}

// Package config reads what a node shall be: one file, the PARLEY_* variables
// and the flags, checked strictly and all at once. One table says for every
// setting its key, type, default, bounds, variable and flag; the file reader,
// the flags, the documentation and the schema are made from it. What may live
// here: that table, its readers and writers. What a setting does belongs to
// the part that it sets.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/secret"
)

// Config is one node's settings, complete and checked. Load makes it.
type Config struct {
	Listen     string // HOST:PORT; port 0 takes a free one
	Data       string // directory of log, store and pid file; absolute
	Cache      string // directory of the embedded engine's parts; absolute
	Region     string
	Node       string   // this node's name among Nodes; the region's where none is given
	Nodes      []Node   // of the whole world, this one included; empty: this node alone
	Cluster    Cluster  // how this node meets the others
	Keys       []Key    // who may use the API; empty only on loopback
	Engines    []Engine // the first is the default; empty: find one (see Auto)
	Models     []Model  // what is said of models, and other names for them
	Bots       []Bot    // at least one; the first is the default
	DirectLine []Site   // who uses the Direct Line channel; empty: nobody, and it is off
	Slack      []Slack  // apps in Slack; empty: the channel is off
	SlackAPI   string   // where Slack's Web API is; "" = slack.com
	Teams      []Teams  // bots in Microsoft Teams; empty: the channel is off
	Webhooks   []Webhook
	Messenger  []Messenger
	Telegram   []Telegram
	Service    string   // the address by which bots that run elsewhere reach all regions, without a slash at its end; "" = this node's own
	Webchat    string   // file of Web Chat's bundle, to serve the page /webchat; absolute; "" = no such page
	Origins    []string // other web origins whose pages may call the API, as "https://host[:port]"
	Widget     Widget   // web sites that show the chat bubble
	Budgets    []Budget // what callers may spend
	Prices     []Price  // those of PriceFile behind
	PriceFile  string
	Currency   string // of prices and of money in Budgets
	TLS        TLS
	Log        Log
	Limits     Limits
	Responses  Responses
	Kafka      []Kafka
	Checkpoint time.Duration // between two checkpoints of an answer
	Heartbeat  time.Duration // between two signs of life on an event stream
	Session    time.Duration // lifetime of a browser's session
	Patience   time.Duration // how long an answer waits for an engine to come back
	Drain      time.Duration // how long a stopping node waits for what runs
	LameDuck   time.Duration // how long a stopping node of a cluster still serves

	Understanding []Understanding // what is understood without a language model

	Model       string // wanted of the engine that Auto finds, or of the shortcut; "" = its default
	ModelSource string // asked first for the embedded engine's parts: a directory or URL
	Offline     bool   // fetch nothing
	Resume      bool   // streams through /v1 go on after their engine has failed

	// Warnings are sentences about what is legal but looks like a mistake.
	Warnings []string

	engine    string // the shortcut: "", "embedded", "demo" or a URL
	engineKey secret.String
	system    string
	key       Key  // the shortcut
	site      Site // the shortcut

	from map[string]Source // of every key of the table that is set
}

// Node is a process of the world.
type Node struct {
	Name    string
	Region  string
	Address string // HOST:PORT for the other nodes
	URL     string // where users reach it; "" = not told to anybody
	Witness bool   // votes and holds replicas, serves nobody
	Leaves  bool   // its copies move to the others, so that it can be taken out of the list
}

// Cluster is how a node meets the others.
type Cluster struct {
	Listen    string        // HOST:PORT; "" = this node's Address
	Advertise string        // HOST:PORT that others hear of; "" = this node's Address
	RoundTrip time.Duration // the longest that is normal between two nodes
	Certs     string        // directory of this node's certificate; "" = none
	Authority string        // directory of the authority that signs it here; "" = somebody else does
}

// Clustered reports whether this node is one of several.
func (c Config) Clustered() bool { return len(c.Nodes) > 0 }

// Witness reports whether this node serves nobody.
func (c Config) Witness() bool {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == c.Node })
	return i >= 0 && c.Nodes[i].Witness
}

// Key may use the API.
type Key struct {
	Name     string
	Hash     secret.Hash
	Tenant   string // "" = none
	Operator bool   // its holder runs the service
}

// The kinds of engine.
const (
	OpenAI   = "openai"   // any server with the OpenAI API
	Embedded = "embedded" // llama.cpp in a child process of this node
	Process  = "process"  // servers with the OpenAI API that this node starts and stops
	Demo     = "demo"     // canned text, and says so
	Echo     = "echo"     // says what it was told
)

// Engine is one engine to use.
type Engine struct {
	Name    string
	Kind    string        // OpenAI, Process, Embedded, Demo or Echo
	URL     string        // OpenAI: the API's base, for example http://127.0.0.1:11434/v1
	Key     secret.String // OpenAI: sent to the server
	Dialect string        // OpenAI: "auto", "generic", "openai", "azure", "vllm", "llama-server", "ollama", "tgi" or "anthropic"; "" is "auto"
	Models  []string      // served under these names; empty: what the engine lists. Embedded: one id or path
	Resume  lm.Policy     // "" = what kind and dialect promise; Embedded: never "" once loaded
	Region  string        // OpenAI: where it is; "" = this node's
	Slots   int           // answers at once; 0 = the engine's own
	Tokens  int           // of prompts and answers in flight; 0 = no such limit
	Weight  int           // beside others with the same model; 0 = 1
	Context int           // Embedded: tokens of one conversation's window; 0 = the model's own, within reason
	Vision  bool          // OpenAI: reads pictures, whatever the server says of itself
	Threads int           // Embedded: processor threads; 0 = one for each physical core
	Timeout time.Duration // longest silence in the middle of an answer
	Command []string      // Process: starts a server on the port that stands for {port}
	Scale   Scale         // Process, Embedded; OpenAI: for others to follow
}

// Bot says how answers are made.
type Bot struct {
	ID      string
	Name    string
	System  string
	Model   string // "" = the default engine's first
	Params  lm.Params
	Resume  lm.Policy // "" = the engine's
	History int       // most tokens of prompt; 0 = as many as fit

	// Of a bot that runs elsewhere:
	URL     string // where it takes activities; "" = it is this node's own
	AppID   string // whom tokens for it are made out to; "" = none, on this machine only
	Secret  secret.Hash
	Private bool          // URL may be on this machine or in a private network
	Inline  bool          // it answers in its response
	Timeout time.Duration // how long a message is its affair
}

// Elsewhere reports whether a bot runs elsewhere.
func (b Bot) Elsewhere() bool { return b.URL != "" }

// Understanding is a model that understands what is said to some bots, and the
// script that leads their conversations.
type Understanding struct {
	Name  string
	Model string   // a model's file, or a project's folder; "" = whatever is published
	Flows string   // a script's file; "" = none
	Bots  []string // ids; empty: all that no other entry names
	IDs   []string // other names under which LUIS' and CLU's clients ask for it

	Collect bool // messages that were not understood may be collected
}

// Site is a web site or an app that uses the Direct Line channel.
type Site struct {
	Name     string
	Secret   secret.Hash
	Previous secret.Hash   // is taken as well; "" = none
	Bot      string        // who answers; "" = the default one
	Origins  []string      // of pages that may use it; none = all
	Token    time.Duration // lifetime of a token
}

// Widget says which web sites may show the chat bubble, whose visitors come
// without a key, and what one of them may do.
type Widget struct {
	Origins  []string // of the sites; none: nobody, and it is off
	Bots     []string // ids; empty: the first bot alone
	Message  int64    // bytes of one message
	Guests   int      // new visitors from one address in a minute
	Messages int      // of one visitor in a minute
}

// TLS names the certificate to serve with; both or none.
type TLS struct{ Cert, Key string }

// Log says what the node writes about itself.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text or json
}

// Limits bound what one client may ask for.
type Limits struct {
	Message int64 // bytes of one message's text
	File    int64 // bytes of one file
	Files   *int  // of one message; 0 = none are taken
	// FileTypes are such as image/png or text/*; none: all are taken.
	FileTypes []string
	Body      int64         // bytes of one request's body
	Queue     int           // turns held or queued before new ones are refused
	Running   int           // turns worked on at once
	Wait      time.Duration // of a request for an engine; 0 = 1 min
	Reserve   int64         // bytes kept free on the data directory's disk
}

// Auto reports whether no engine is named, so that one is to be looked for.
func (c Config) Auto() bool { return len(c.Engines) == 0 }

// Loopback reports whether only this machine can reach Listen.
func (c Config) Loopback() bool { return loopback(c.Listen) }

// Addr returns what to bind: Listen with its port.
func (c Config) Addr() string { return c.Listen }

// Source returns where a setting of the table came from.
func (c Config) Source(key string) Source { return c.from[key] }

// Input is what Load reads. The zero Input gives the defaults.
type Input struct {
	Path    string            // of the file; "" = none
	Environ []string          // as os.Environ; only PARLEY_*, XDG_*, HOME and what references name are read
	Flags   map[string]string // by flag name, only those that were given
}

// Load reads file, variables and flags, later ones winning. If anything is
// wrong the error is Problems, with everything that is.
func Load(in Input) (Config, error) {
	l := newLoader(in.Environ)
	c := l.defaults()
	if in.Path != "" {
		l.file(&c, in.Path)
	}
	l.environment(&c)
	l.flags(&c, in.Flags)
	l.finish(&c)
	if len(l.problems) > 0 {
		return Config{}, l.problems.sorted()
	}
	return c, nil
}

// Parse is Load of a file's bytes; name stands in the problems' places.
func Parse(name string, text []byte, environ []string) (Config, error) {
	l := newLoader(environ)
	c := l.defaults()
	l.text(&c, name, text)
	l.environment(&c)
	l.finish(&c)
	if len(l.problems) > 0 {
		return Config{}, l.problems.sorted()
	}
	return c, nil
}

// Default returns the settings of a node without file, flags or PARLEY_*
// variables.
func Default() Config {
	l := newLoader(os.Environ())
	l.ignorePrefix = true
	c := l.defaults()
	l.finish(&c)
	return c
}

// loader is one reading. Everything that is wrong is added to problems.
type loader struct {
	env          map[string]string
	ignorePrefix bool // no PARLEY_* variable counts
	base         string
	at           Source           // of what is being read
	lost         map[string]error // defaults that can't be had here
	problems     Problems
}

func newLoader(environ []string) *loader {
	l := &loader{env: map[string]string{}, lost: map[string]error{}}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			l.env[k] = v
		}
	}
	return l
}

func (l *loader) getenv(name string) (string, bool) {
	v, ok := l.env[name]
	return v, ok
}

func (l *loader) problem(key, hint, format string, args ...any) {
	l.problems = append(l.problems, Problem{Place: l.at, Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *loader) defaults() Config {
	c := Config{from: map[string]Source{}}
	for _, r := range settings() {
		if r.set == nil || r.Default == "" {
			continue
		}
		v, err := r.fallback(l)
		if err == nil {
			err = r.set(&c, v, l)
		}
		if err != nil {
			l.lost[r.Key] = err // a problem only if nothing else is given
		}
		c.from[r.Key] = Source{Kind: FromDefault}
	}
	return c
}

// maxFile bounds the file; a real one has a few KiB.
const maxFile = 1 << 20

func (l *loader) file(c *Config, path string) {
	l.at = Source{Kind: FromFile, Name: path}
	f, err := os.Open(path)
	if err != nil {
		l.problem("", "", "the file can't be read: %v", errors.Unwrap(err))
		return
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		l.problem("", "", "the file can't be read: %v", err)
		return
	}
	if abs, err := filepath.Abs(path); err == nil {
		l.base = filepath.Dir(abs)
	}
	l.text(c, path, b)
	l.base = ""
}

func (l *loader) environment(c *Config) {
	if l.ignorePrefix {
		return
	}
	known := map[string]bool{}
	var words []string
	for _, r := range settings() {
		known[r.Env] = true
		words = append(words, strings.TrimPrefix(r.Env, "PARLEY_"))
		v, ok := l.env[r.Env]
		if r.Env == "" || !ok || v == "" {
			continue
		}
		l.at = Source{Kind: FromEnv, Name: r.Env}
		l.setText(c, r, v)
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if !strings.HasPrefix(name, "PARLEY_") || known[name] {
			continue
		}
		// An orchestrator sets PARLEY_PORT and the like for a service named
		// parley, so an unknown variable is only worth a word if it looks like
		// one of ours.
		if near := Nearest(strings.TrimPrefix(name, "PARLEY_"), words); near != "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("the variable %s is not known and ignored: did you mean PARLEY_%s?", name, near))
		}
	}
}

func (l *loader) flags(c *Config, flags map[string]string) {
	rows := settings()
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		l.at = Source{Kind: FromFlag, Name: "--" + name}
		i := slices.IndexFunc(rows, func(r row[Config]) bool { return r.Flag == name })
		if i < 0 {
			l.problem("", "", "there is no such flag")
			continue
		}
		l.setText(c, rows[i], flags[name])
	}
}

// setText sets a row from a variable or flag, where a list is written with
// commas.
func (l *loader) setText(c *Config, r row[Config], text string) {
	values := []string{text}
	if r.Kind == KindTexts {
		values = nil
		for v := range strings.SplitSeq(text, ",") {
			if v = strings.TrimSpace(v); v != "" {
				values = append(values, v)
			}
		}
	}
	if err := r.set(c, values, l); err != nil {
		l.problem(r.Key, r.hint(), "%v", err)
		return
	}
	c.from[r.Key] = l.at
}

// finish turns the shortcuts into what they stand for and checks what spans
// several settings.
func (l *loader) finish(c *Config) {
	l.finishEngines(c)
	l.finishModels(c)
	l.finishBots(c)
	l.finishUnderstanding(c)
	l.finishKeys(c)
	l.finishNodes(c)
	l.finishSites(c)
	l.finishSlack(c)
	l.finishTeams(c)
	l.finishWebhooks(c)
	l.finishKafka(c)
	l.finishMessenger(c)
	l.finishTelegram(c)
	l.finishWidget(c)
	l.finishAccounts(c)
	for _, key := range slices.Sorted(maps.Keys(l.lost)) {
		if l.at = c.from[key]; l.at.Kind == FromDefault && !l.failed(key) {
			l.problem(key, "", "%v", l.lost[key])
		}
	}
	l.at = c.from["listen"]
	if c.Listen != "" && !loopback(c.Listen) && len(c.Keys) == 0 && !l.failed("key") {
		l.problem("listen", `make a key with "parley key", then set PARLEY_KEY, give --key, or put it under keys: in the file; or listen on 127.0.0.1`,
			"other machines can reach %s, so a key is required", c.Listen)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		l.at = c.from["tls.cert"]
		if c.TLS.Cert == "" {
			l.at = c.from["tls.key"]
		}
		l.problem("tls", "name both files, or neither", "a certificate needs its key and a key its certificate")
	}
	if c.Limits.Message > c.Limits.Body {
		l.at = c.from["limits.message"]
		l.problem("limits.message", "", "%s is more than limits.body (%s) lets through", showSize(c.Limits.Message), showSize(c.Limits.Body))
	}
	if c.Session > 0 && c.Heartbeat > 0 && c.Session < c.Heartbeat {
		l.at = c.from["session"]
		l.problem("session", "", "shorter than heartbeat")
	}
}

// finishNodes checks that the list of nodes is one world with this node in it.
func (l *loader) finishNodes(c *Config) {
	if c.Node == "" {
		c.Node = c.Region
	}
	if len(c.Nodes) == 0 {
		return
	}
	seen, self := map[string]bool{}, false
	for i, n := range c.Nodes {
		key := fmt.Sprintf("nodes[%d]", i)
		l.at = sourceOf(c, key, "nodes")
		if n.Name != "" && seen[n.Name] {
			l.problem(key+".name", "", "%q is the name of another node too", n.Name)
		}
		seen[n.Name] = true
		if n.Name == c.Node {
			self = true
			if n.Region != c.Region {
				l.problem(key+".region", "set region to the one it is in", "this node is in region %q here, and region says %q", n.Region, c.Region)
			}
		}
	}
	l.at = c.from["nodes"]
	if !self {
		l.problem("node", "give the name that this node has under nodes", "%q is not one of the nodes", c.Node)
	}
	if len(c.Nodes) == 1 {
		l.problem("nodes", "leave nodes out", "one node needs no list")
	}
	l.at = c.from["cluster.authority"]
	if c.Cluster.Authority != "" && c.Cluster.Certs == "" {
		l.problem("cluster.certs", "name a directory for this node's certificate", "cluster.authority has nowhere to put what it signs")
	}
}

// failed reports whether a problem with this key, or one below it, is known.
func (l *loader) failed(key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool {
		return p.Key == key || strings.HasPrefix(p.Key, key+"s[") || p.Key == key+"s"
	})
}

func (l *loader) finishEngines(c *Config) {
	short, list := c.from["engine"], c.from["engines"]
	if c.engine != "" && len(c.Engines) > 0 {
		if short.Kind == FromFile {
			l.at = short
			l.problem("engine", "keep one of the two", "engine is the short form of engines, which is here too (line %d)", list.Line)
			return
		}
		// A flag or variable replaces the file's list for this run.
	}
	if c.engine != "" {
		c.from["engines"] = short
	}
	switch c.engine {
	case "":
	case Embedded, Demo, Echo:
		c.Engines = []Engine{{Name: c.engine, Kind: c.engine, Models: one(c.Model), Timeout: defaultStall}}
	default:
		c.Engines = []Engine{{Name: "openai", Kind: OpenAI, URL: c.engine, Key: c.engineKey, Dialect: "auto", Models: one(c.Model), Timeout: defaultStall}}
	}
	if !c.engineKey.Empty() && (c.engine == "" || c.engine == Embedded || c.engine == Demo || c.engine == Echo) {
		l.at = c.from["engine_key"]
		l.problem("engine_key", "name the server with engine: URL, or give the entry under engines: its own key", "there is no engine to send the key to")
	}
	seen := map[string]bool{}
	for i, e := range c.Engines {
		key := fmt.Sprintf("engines[%d]", i)
		l.at = sourceOf(c, key, "engines")
		if e.Name != "" && seen[e.Name] {
			l.problem(key+".name", "", "%q is the name of another engine too", e.Name)
		}
		seen[e.Name] = true
		l.checkEngine(key, e)
		if e.Kind == Embedded && e.Resume == "" {
			c.Engines[i].Resume = embeddedResume(c.Bots)
		}
		if e.Kind == Process && e.Scale.Max == 0 {
			c.Engines[i].Scale.Max = 1
		}
	}
}

// embeddedResume is quick, which computes faster, unless a bot needs exact.
func embeddedResume(bots []Bot) lm.Policy {
	if slices.ContainsFunc(bots, func(b Bot) bool { return b.Resume == lm.Exact }) {
		return lm.Exact
	}
	return lm.Quick
}

func (l *loader) checkEngine(key string, e Engine) {
	openAI, embedded := e.Kind == OpenAI, e.Kind == Embedded
	if e.Kind == "" {
		return // that is a problem already
	}
	l.checkScale(key, e)
	if openAI && e.URL == "" && !l.failedAt(key+".url") {
		l.problem(key+".url", `for example "http://127.0.0.1:11434/v1"`, "an engine of kind openai needs the base URL of its API")
	}
	if !openAI && (e.URL != "" || !e.Key.Empty()) {
		l.problem(key, "url and key belong to kind openai", "an engine of kind %s has no server to reach", e.Kind)
	}
	speaks := openAI || e.Kind == Process
	if !speaks && (e.Dialect != "" || e.Vision) {
		l.problem(key, "dialect and vision belong to the kinds openai and process", "an engine of kind %s has no server", e.Kind)
	}
	if !openAI && e.Region != "" {
		l.problem(key+".region", "leave it out", "an engine of kind %s is where this node is", e.Kind)
	}
	if !embedded && (e.Context != 0 || e.Threads != 0) {
		l.problem(key, "context and threads belong to kind embedded", "an engine of kind %s decides that itself", e.Kind)
	}
	if embedded && len(e.Models) > 1 {
		l.problem(key+".models", "make one engine for each model", "an embedded engine serves one model")
	}
	if speaks && (e.Resume == lm.Exact || e.Resume == lm.Quick) {
		l.problem(key+".resume", "prefill, restart or fail", "%q needs token ids, which only the embedded engine gives", e.Resume)
	}
	if embedded && e.Resume == lm.Prefill {
		l.problem(key+".resume", "exact, quick, restart or fail", "the embedded engine continues by token ids, not by text")
	}
}

func (l *loader) failedAt(key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == key })
}

func (l *loader) finishBots(c *Config) {
	if len(c.Bots) == 0 {
		c.Bots = []Bot{{ID: "default", Name: "Parley", System: "You are a helpful assistant."}}
	}
	if c.system != "" {
		c.Bots[0].System = c.system
	}
	seen := map[string]bool{}
	for i := range c.Bots {
		b := &c.Bots[i]
		key := fmt.Sprintf("bots[%d]", i)
		if b.ID != "" && seen[b.ID] {
			l.at = sourceOf(c, key, "bots")
			l.problem(key+".id", "", "%q is the id of another bot too", b.ID)
		}
		seen[b.ID] = true
		if b.Name == "" {
			b.Name = b.ID
		}
		l.checkElsewhere(c, key, b)
	}
}

// checkElsewhere checks what a bot that runs elsewhere needs.
func (l *loader) checkElsewhere(c *Config, key string, b *Bot) {
	l.at = sourceOf(c, key, "bots")
	if !b.Elsewhere() {
		if b.AppID != "" || b.Secret != "" || b.Private || b.Inline || b.Timeout != 0 {
			l.problem(key, "name its url, or leave app_id, secret, private, inline and timeout out", "these are of bots that run elsewhere")
		}
		return
	}
	if b.Timeout == 0 {
		b.Timeout = time.Minute
	}
	c.Service = strings.TrimRight(c.Service, "/")
	u, err := url.Parse(b.URL)
	if err != nil {
		return // that is a problem already
	}
	ip, notIP := netip.ParseAddr(u.Hostname())
	here := strings.EqualFold(u.Hostname(), "localhost") || notIP == nil && ip.Unmap().IsLoopback()
	switch {
	case !b.Private && (here || notIP == nil && ip.Unmap().IsPrivate()):
		l.problem(key+".url", "set private: true if that is meant", "this is an address of this machine or of a private network")
	case !b.Private && u.Scheme != "https":
		l.problem(key+".url", "https://, or private: true for a bot in a network of your own", "what people say would go over the internet in the clear")
	case b.AppID == "" && !here:
		l.problem(key+".app_id", "give both the same app id", "a bot on another machine has to know who calls it")
	case b.AppID == "" && b.Secret != "":
		l.problem(key+".secret", "give it an app_id as well", "a secret is for bots that have an app id")
	case c.Service == "" && c.Clustered():
		l.problem("channels.service", "the address of the edge, for example https://chat.example.org", "bots that run elsewhere must reach every region under one address")
	}
}

func (l *loader) finishUnderstanding(c *Config) {
	names, bots := map[string]bool{}, map[string]string{}
	for i, u := range c.Understanding {
		key := fmt.Sprintf("understanding[%d]", i)
		l.at = sourceOf(c, key, "understanding")
		for _, name := range append([]string{u.Name}, u.IDs...) {
			if name = strings.ToLower(name); name != "" && names[name] {
				l.problem(key+".name", "", "%q is the name or id of another entry too", name)
			}
			names[name] = true
		}
		if u.Flows != "" && u.Model == "" {
			l.problem(key+".flows", "name the model too; a published one brings its flows along", "a script needs the model that understands for it")
		}
		mine := u.Bots
		if len(mine) == 0 {
			mine = []string{""} // the rest
		}
		for _, b := range mine {
			if b != "" && !slices.ContainsFunc(c.Bots, func(o Bot) bool { return o.ID == b }) {
				l.problem(key+".bots", "", "there is no bot %q", b)
			}
			if other, twice := bots[b]; twice {
				l.problem(key+".bots", "name the bots of each", "%q understands for the same bots already", other)
			}
			bots[b] = u.Name
		}
	}
}

func (l *loader) finishKeys(c *Config) {
	if c.key.Hash != "" {
		c.key.Name, c.key.Operator = "default", true
		if _, ok := c.from["keys"]; !ok {
			c.from["keys"] = c.from["key"]
		}
		c.Keys = append(c.Keys, c.key)
	}
	names, hashes := map[string]bool{}, map[secret.Hash]bool{}
	for i, k := range c.Keys {
		key := fmt.Sprintf("keys[%d]", i)
		l.at = sourceOf(c, key, "keys")
		if k.Name != "" && names[k.Name] {
			l.problem(key+".name", "", "%q is the name of another key too", k.Name)
		}
		if k.Hash != "" && hashes[k.Hash] {
			l.problem(key+".key", "", "the same key stands here twice")
		}
		names[k.Name], hashes[k.Hash] = true, true
	}
}

func (l *loader) finishSites(c *Config) {
	if c.Webchat != "" && c.site.Secret == "" && len(c.DirectLine) == 0 && !l.failed("channels.directline") {
		l.at = c.from["channels.webchat"]
		l.problem("channels.webchat", "name a site under channels.directline, or set directline_secret", "Web Chat talks by Direct Line, which is off")
	}
	if c.site.Secret != "" {
		c.site.Name, c.site.Token = "default", time.Hour
		if _, ok := c.from["channels.directline"]; !ok {
			c.from["channels.directline"] = c.from["directline_secret"]
		}
		c.DirectLine = append(c.DirectLine, c.site)
	}
	names, secrets := map[string]bool{}, map[secret.Hash]bool{}
	for i, s := range c.DirectLine {
		key := fmt.Sprintf("channels.directline[%d]", i)
		l.at = sourceOf(c, key, "channels.directline")
		if s.Name != "" && names[s.Name] {
			l.problem(key+".name", "", "%q is the name of another site too", s.Name)
		}
		names[s.Name] = true
		for _, h := range []secret.Hash{s.Secret, s.Previous} {
			if h != "" && secrets[h] {
				l.problem(key+".secret", "", "the same secret stands here twice: it must tell one site from another")
			}
			secrets[h] = true
		}
		if s.Bot != "" && !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == s.Bot }) {
			l.problem(key+".bot", "", "there is no bot with the id %q", s.Bot)
		}
		if s.Token == 0 {
			c.DirectLine[i].Token = time.Hour
		}
	}
}

func (l *loader) finishWidget(c *Config) {
	if len(c.Widget.Bots) == 0 {
		c.Widget.Bots = []string{c.Bots[0].ID}
	}
	l.at = c.from["widget.bots"]
	for _, id := range c.Widget.Bots {
		if !slices.ContainsFunc(c.Bots, func(b Bot) bool { return b.ID == id }) {
			l.problem("widget.bots", "", "there is no bot with the id %q", id)
		}
	}
	if l.at = c.from["widget.message"]; l.at.Kind == FromDefault {
		c.Widget.Message = min(c.Widget.Message, c.Limits.Message)
	} else if c.Widget.Message > c.Limits.Message {
		l.problem("widget.message", "", "%s is more than limits.message (%s)", showSize(c.Widget.Message), showSize(c.Limits.Message))
	}
}

func sourceOf(c *Config, keys ...string) Source {
	for _, k := range keys {
		if s, ok := c.from[k]; ok {
			return s
		}
	}
	return Source{}
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// loopback reports whether only this machine can reach HOST:PORT. Names other
// than localhost are not trusted: what they mean can change.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("the port of %q is not a number from 0 to 65535", s)
	}
	if strings.ContainsAny(host, " /?#@") {
		return fmt.Errorf("the host of %q is not a name or an address", s)
	}
	return nil
}

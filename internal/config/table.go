package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/secret"
)

// defaultStall is the longest silence in the middle of an answer.
const defaultStall = 60 * time.Second

// Settings describes every setting, in the order of the documentation.
func Settings() []Row {
	rows := settings()
	out := make([]Row, len(rows))
	for i, r := range rows {
		out[i] = r.Row
	}
	return out
}

// settings is the table. It is a function so that nobody can change it.
func settings() []row[Config] {
	return slices.Concat(nodeSettings(), modelSettings(), channelSettings(), accountSettings(), clusterSettings(), tuningSettings())
}

func nodeSettings() []row[Config] {
	return []row[Config]{
		text(Row{
			Key: "listen", Default: "127.0.0.1:8470", Env: "PARLEY_LISTEN", Flag: "listen", Bounds: "HOST:PORT",
			Doc: "Where the page and the API answer. Port 0 takes a free one. An address that other machines can reach needs a key.",
		},
			func(c *Config) *string { return &c.Listen }, checkListen),
		within(path(Row{
			Key: "data", Default: "the user's data directory + /parley", Env: "PARLEY_DATA", Flag: "data",
			Doc: "Directory of everything that is said: log, store and pid file. One running node to a directory.",
		},
			func(c *Config) *string { return &c.Data }), (*loader).dataDir),
		within(path(Row{
			Key: "cache", Default: "the user's cache directory + /parley", Env: "PARLEY_CACHE", Flag: "cache",
			Doc: "Directory of the embedded engine's library and models. It can be thrown away.",
		},
			func(c *Config) *string { return &c.Cache }), (*loader).cacheDir),
		text(Row{
			Key: "region", Default: "local", Env: "PARLEY_REGION", Flag: "region", Bounds: "1 to 32 of a-z and 0-9",
			Doc: "Name of this node's region. It stands in the ids of new conversations and never changes afterwards.",
		},
			func(c *Config) *string { return &c.Region }, matches(regionForm, "1 to 32 of a-z and 0-9")),
		apiKey(Row{
			Key: "key", Env: "PARLEY_KEY", Flag: "key",
			Doc: "One API key, named default: the short form of keys. `parley key` makes one and its hash.",
		},
			func(c *Config) *secret.Hash { return &c.key.Hash }),
		itemList(Row{Key: "keys", Doc: "Who may use the API."}, keySettings(), 1000, func(c *Config) *[]Key { return &c.Keys }),
		texts(Row{
			Key: "origins", Env: "PARLEY_ORIGINS", Bounds: "scheme://host[:port]",
			Doc: "Web origins, besides the node's own and those of its nodes, whose pages may call the API; they show a key or a pass.",
		},
			func(c *Config) *[]string { return &c.Origins }, 100, 300, checkOrigin),
		path(Row{
			Key: "tls.cert", Env: "PARLEY_TLS_CERT", Flag: "tls-cert",
			Doc: "Certificate chain to serve HTTPS with, as a PEM file. Without it the node speaks HTTP.",
		},
			func(c *Config) *string { return &c.TLS.Cert }),
		path(Row{Key: "tls.key", Env: "PARLEY_TLS_KEY", Flag: "tls-key", Doc: "The certificate's private key, as a PEM file."},
			func(c *Config) *string { return &c.TLS.Key }),
		duration(Row{
			Key: "session", Default: "720h", Env: "PARLEY_SESSION",
			Doc: "How long a browser that does not come back keeps its conversations' session.",
		},
			func(c *Config) *time.Duration { return &c.Session }, time.Minute, 400*24*time.Hour),
	}
}

func modelSettings() []row[Config] {
	return []row[Config]{
		text(Row{
			Key: "engine", Env: "PARLEY_ENGINE", Flag: "engine", Bounds: "embedded, demo, echo, or the base URL of an OpenAI-compatible API",
			Doc: "The engine: the short form of engines. Without either, an engine that runs on this machine or is named by OPENAI_BASE_URL and OPENAI_API_KEY is used, else the embedded one.",
		},
			func(c *Config) *string { return &c.engine }, checkEngineWord),
		hidden(Row{Key: "engine_key", Env: "PARLEY_ENGINE_KEY", Doc: "Key that is sent to the server that engine names."},
			func(c *Config, s secret.String) { c.engineKey = s }, func(c *Config) bool { return !c.engineKey.Empty() }),
		text(Row{
			Key: "model", Env: "PARLEY_MODEL", Flag: "model",
			Doc: "Model of that engine: a name that the server knows, an id of `parley model list`, or the path of a GGUF file. Without it, the engine's first.",
		},
			func(c *Config) *string { return &c.Model }, atMost(1024)).relative(),
		text(Row{Key: "system", Env: "PARLEY_SYSTEM", Flag: "system", Doc: "System prompt of the first bot: what it is and how it shall answer."},
			func(c *Config) *string { return &c.system }, atMost(64<<10)),
		itemList(Row{Key: "engines", Doc: "The engines. The first is the default; a model is looked for in all of them, in this order."},
			engineSettings(), 100, func(c *Config) *[]Engine { return &c.Engines }),
		itemList(Row{Key: "models", Doc: "Names that clients may ask for, and what is said of models: canaries, fallbacks, shadows (docs/routing.md)."},
			modelsSettings(), 100, func(c *Config) *[]Model { return &c.Models }),
		itemList(Row{Key: "bots", Doc: "Who answers. The first is the default. Without any there is one, with id default."},
			botSettings(), 100, func(c *Config) *[]Bot { return &c.Bots }),
		itemList(Row{Key: "understanding", Doc: "What is understood of messages without a language model: intents, entities, and the scripts that answer them. Each entry is for some bots."},
			understandingSettings(), 100, func(c *Config) *[]Understanding { return &c.Understanding }),
		text(Row{
			Key: "model_source", Env: "PARLEY_MODEL_SOURCE", Flag: "model-source",
			Doc: "Directory or base URL that is asked first for the embedded engine's library and models, for machines without a way out.",
		},
			func(c *Config) *string { return &c.ModelSource }, atMost(4096)),
		toggle(Row{
			Key: "offline", Default: "false", Env: "PARLEY_OFFLINE", Flag: "offline",
			Doc: "Fetch nothing from outside (model_source is still asked).",
		},
			func(c *Config) *bool { return &c.Offline }),
		toggle(Row{
			Key: "resume_streams", Default: "true", Env: "PARLEY_RESUME_STREAMS",
			Doc: "Have another engine go on with a stream through /v1 whose engine fails in the middle, where that can be done unseen (docs/continuation.md). Off: it ends with an error.",
		},
			func(c *Config) *bool { return &c.Resume }),
		size(Row{
			Key: "response_cache.size", Default: "0", Env: "PARLEY_RESPONSE_CACHE_SIZE",
			Doc: "Memory for answers through /v1, so that the very same request, to the byte, gets the same answer again without an engine (docs/routing.md). 0: none are kept.",
		},
			func(c *Config) *int64 { return &c.Responses.Size }, 0, 1<<40),
		duration(Row{Key: "response_cache.age", Default: "1h", Env: "PARLEY_RESPONSE_CACHE_AGE", Doc: "How long an answer is given again."},
			func(c *Config) *time.Duration { return &c.Responses.Age }, time.Second, 400*24*time.Hour),
		toggle(Row{Key: "response_cache.shared", Default: "false", Env: "PARLEY_RESPONSE_CACHE_SHARED", Doc: "Give what one user was answered to the others who ask the same, too."},
			func(c *Config) *bool { return &c.Responses.Shared }),
		itemList(Row{Key: "kafka", Doc: "Topics of Kafka clusters with requests that nobody waits for, and others for their answers (docs/batch.md#kafka). The same list on all nodes."},
			kafkaSettings(), 100, func(c *Config) *[]Kafka { return &c.Kafka }),
	}
}

func channelSettings() []row[Config] {
	return []row[Config]{
		apiKey(Row{
			Key: "directline_secret", Env: "PARLEY_DIRECTLINE_SECRET",
			Doc: "Secret of one Direct Line site, named default: the short form of channels.directline.",
		},
			func(c *Config) *secret.Hash { return &c.site.Secret }),
		itemList(Row{Key: "channels.directline", Doc: "Web sites and apps that talk to bots by Direct Line 3.0, each with a secret of its own. Without any, the channel is off."},
			siteSettings(), 100, func(c *Config) *[]Site { return &c.DirectLine }),
		itemList(Row{Key: "channels.slack", Doc: "Apps in Slack (docs/channels/slack.md). Without any, the channel is off."},
			slackSettings(), 100, func(c *Config) *[]Slack { return &c.Slack }),
		text(Row{Key: "channels.slack_api", Bounds: "http(s)://host[:port]/path", Doc: "Address of Slack's Web API, of GovSlack for example https://slack-gov.com/api/. Without it, https://slack.com/api/."},
			func(c *Config) *string { return &c.SlackAPI }, checkURL),
		itemList(Row{Key: "channels.teams", Doc: "Bots in Microsoft Teams (docs/channels/teams.md). Without any, the channel is off."},
			teamsSettings(), 100, func(c *Config) *[]Teams { return &c.Teams }),
		itemList(Row{Key: "channels.webhook", Doc: "Programs of your own that bring what people say and are called with what bots say (docs/channels/own.md). Without any, the channel is off."},
			webhookSettings(), 100, func(c *Config) *[]Webhook { return &c.Webhooks }),
		itemList(Row{Key: "channels.messenger", Doc: "Facebook pages that people write to by Messenger (docs/channels/messenger.md). Without any, the channel is off."},
			messengerSettings(), 100, func(c *Config) *[]Messenger { return &c.Messenger }),
		itemList(Row{Key: "channels.telegram", Doc: "Bots in Telegram (docs/channels/telegram.md). Without any, the channel is off."},
			telegramSettings(), 100, func(c *Config) *[]Telegram { return &c.Telegram }),
		text(Row{
			Key: "channels.service", Env: "PARLEY_CHANNELS_SERVICE", Bounds: "http(s)://host[:port][/path]",
			Doc: "Address by which bots that run elsewhere (bots: url:) reach this service, the same for all regions: the edge's. They keep it for days. Without it, this node's own.",
		},
			func(c *Config) *string { return &c.Service }, checkURL),
		path(Row{
			Key: "channels.webchat", Env: "PARLEY_CHANNELS_WEBCHAT",
			Doc: "File of Microsoft's Web Chat (webchat.js of the package botframework-webchat). With it the node serves a page with it at /webchat, for the first site.",
		},
			func(c *Config) *string { return &c.Webchat }),
		texts(Row{
			Key: "widget.origins", Env: "PARLEY_WIDGET_ORIGINS", Bounds: "scheme://host[:port]",
			Doc: "Web sites that may show the chat bubble (docs/channels/widget.md). Their visitors need no key. Without any, only the page /widget of a node on loopback shows it.",
		},
			func(c *Config) *[]string { return &c.Widget.Origins }, 100, 300, checkOrigin),
		texts(Row{Key: "widget.bots", Env: "PARLEY_WIDGET_BOTS", Doc: "Ids of the bots that these visitors may talk to; a page chooses among them. Without any, the first bot alone."},
			func(c *Config) *[]string { return &c.Widget.Bots }, 100, 64, nil),
		size(Row{Key: "widget.message", Default: "4KiB", Env: "PARLEY_WIDGET_MESSAGE", Doc: "Longest text of a visitor's message."},
			func(c *Config) *int64 { return &c.Widget.Message }, 64, 2<<20),
		number(Row{Key: "widget.guests", Default: "10", Env: "PARLEY_WIDGET_GUESTS", Doc: "New visitors from one address in a minute; more are told to wait. Every node counts for itself."},
			func(c *Config) *int { return &c.Widget.Guests }, 1, 100_000),
		number(Row{Key: "widget.messages", Default: "20", Env: "PARLEY_WIDGET_MESSAGES", Doc: "Messages of one visitor in a minute. All who share an address may send ten times as many."},
			func(c *Config) *int { return &c.Widget.Messages }, 1, 100_000),
	}
}

func siteSettings() []row[Site] {
	return []row[Site]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name. Conversations belong to it: another name does not see them."},
			func(s *Site) *string { return &s.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		apiKey(Row{Key: "secret", Required: true, Doc: "What its server makes tokens with: a hash as `parley key` prints it, env:NAME, file:PATH, or the secret itself."},
			func(s *Site) *secret.Hash { return &s.Secret }),
		apiKey(Row{Key: "previous", Doc: "The secret before that, still taken while servers change to the new one. Tokens made with it end when it is removed."},
			func(s *Site) *secret.Hash { return &s.Previous }),
		text(Row{Key: "bot", Doc: "Id of the bot that answers. Without it, the first."}, func(s *Site) *string { return &s.Bot }, atMost(64)),
		texts(Row{Key: "origins", Bounds: "scheme://host[:port]", Doc: "Web origins whose pages may use it. Without any, all may, with a token."},
			func(s *Site) *[]string { return &s.Origins }, 100, 300, checkOrigin),
		duration(Row{Key: "token", Doc: "Lifetime of a token, which its client renews in time. Without it, 1h."},
			func(s *Site) *time.Duration { return &s.Token }, time.Second, 7*24*time.Hour),
	}
}

func clusterSettings() []row[Config] {
	return []row[Config]{
		text(Row{
			Key: "node", Env: "PARLEY_NODE", Flag: "node", Bounds: "letters, digits, _ -",
			Doc: "Which of nodes this one is. Without it, the one with the region's name.",
		},
			func(c *Config) *string { return &c.Node }, matches(nodeForm, "1 to 63 letters, digits, underscores or hyphens")),
		itemList(Row{Key: "nodes", Doc: "Every node of a world of several regions, the same list in each of them. Without it, this node is alone."},
			memberSettings(), 64, func(c *Config) *[]Node { return &c.Nodes }),
		text(Row{
			Key: "cluster.listen", Env: "PARLEY_CLUSTER_LISTEN", Bounds: "HOST:PORT",
			Doc: "Where the other nodes' connections come in. Without it, this node's address under nodes.",
		},
			func(c *Config) *string { return &c.Cluster.Listen }, checkListen),
		text(Row{
			Key: "cluster.advertise", Env: "PARLEY_CLUSTER_ADVERTISE", Bounds: "HOST:PORT",
			Doc: "What nodes tell each other about where this one is. Without it, its address under nodes.",
		},
			func(c *Config) *string { return &c.Cluster.Advertise }, checkListen),
		duration(Row{
			Key: "cluster.round_trip", Default: "150ms", Env: "PARLEY_CLUSTER_ROUND_TRIP",
			Doc: "The longest round trip between two nodes that is normal. How soon a dead leader is replaced follows from it.",
		},
			func(c *Config) *time.Duration { return &c.Cluster.RoundTrip }, time.Millisecond, time.Second),
		path(Row{
			Key: "cluster.certs", Env: "PARLEY_CLUSTER_CERTS",
			Doc: "Directory with this node's certificate and key for the other nodes (node.pem) and who signs them all (ca.pem); read again when they change. Needed unless all nodes are on one machine.",
		},
			func(c *Config) *string { return &c.Cluster.Certs }),
		path(Row{
			Key: "cluster.authority", Env: "PARLEY_CLUSTER_AUTHORITY",
			Doc: "Directory of an authority, made when there is none, that signs this node's certificate and renews it every day. For development: whoever has it can be any node.",
		},
			func(c *Config) *string { return &c.Cluster.Authority }),
	}
}

func memberSettings() []row[Node] {
	return []row[Node]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, _ -", Doc: "Its name, once in the world."},
			func(n *Node) *string { return &n.Name }, matches(nodeForm, "1 to 63 letters, digits, underscores or hyphens")),
		text(Row{Key: "region", Required: true, Bounds: "1 to 32 of a-z and 0-9", Doc: "The region it is in."},
			func(n *Node) *string { return &n.Region }, matches(regionForm, "1 to 32 of a-z and 0-9")),
		text(Row{Key: "address", Required: true, Bounds: "HOST:PORT", Doc: "Where the other nodes reach it."},
			func(n *Node) *string { return &n.Address }, checkListen),
		text(Row{Key: "url", Bounds: "http(s)://host[:port]", Doc: "Where users reach it: told to pages and clients, so that they can move there."},
			func(n *Node) *string { return &n.URL }, checkURL),
		toggle(Row{Key: "witness", Doc: "It votes and holds replicas of the log, and serves nobody: the small third region of two."},
			func(n *Node) *bool { return &n.Witness }),
		toggle(Row{Key: "leaves", Doc: "It is going to be taken out of the list: it serves nobody any more, and its copies of the log move to the others."},
			func(n *Node) *bool { return &n.Leaves }),
	}
}

func tuningSettings() []row[Config] {
	return []row[Config]{
		choice(Row{Key: "log.level", Default: "info", Env: "PARLEY_LOG_LEVEL", Flag: "log-level", Doc: "The least severe lines that the node writes about itself."},
			func(c *Config) *string { return &c.Log.Level }, "debug", "info", "warn", "error"),
		choice(Row{Key: "log.format", Default: "text", Env: "PARLEY_LOG_FORMAT", Flag: "log-format", Doc: "How these lines are written, to standard error."},
			func(c *Config) *string { return &c.Log.Format }, "text", "json"),
		size(Row{Key: "limits.message", Default: "256KiB", Env: "PARLEY_LIMITS_MESSAGE", Doc: "Longest text of one message."},
			func(c *Config) *int64 { return &c.Limits.Message }, 1<<10, 2<<20),
		size(Row{Key: "limits.body", Default: "4MiB", Env: "PARLEY_LIMITS_BODY", Doc: "Longest body of one request."},
			func(c *Config) *int64 { return &c.Limits.Body }, 4<<10, 64<<20),
		size(Row{Key: "limits.file", Default: "10MiB", Env: "PARLEY_LIMITS_FILE", Doc: "Largest file that comes with a message."},
			func(c *Config) *int64 { return &c.Limits.File }, 1<<10, 100<<20),
		optNumber(Row{Key: "limits.files", Default: "10", Env: "PARLEY_LIMITS_FILES", Doc: "Files of one message. 0 takes none."},
			func(c *Config) **int { return &c.Limits.Files }, 0, 50),
		texts(Row{Key: "limits.file_types", Env: "PARLEY_LIMITS_FILE_TYPES", Bounds: "such as image/png or text/*", Doc: "Types of the files that are taken, by their bytes. Without any, all; what an engine can't read it is told the name of."},
			func(c *Config) *[]string { return &c.Limits.FileTypes }, 100, 100, checkFileType),
		number(Row{Key: "limits.running", Default: "256", Env: "PARLEY_LIMITS_RUNNING", Doc: "Answers that this node works on at once; more wait in the queue."},
			func(c *Config) *int { return &c.Limits.Running }, 1, 100_000),
		number(Row{Key: "limits.queue", Default: "4096", Env: "PARLEY_LIMITS_QUEUE", Doc: "Answers that may wait or run before new messages are refused for a while."},
			func(c *Config) *int { return &c.Limits.Queue }, 1, 1_000_000),
		duration(Row{Key: "limits.wait", Default: "1m", Env: "PARLEY_LIMITS_WAIT", Doc: "Longest time that a request waits for an engine to have started and to be free. One through /v1 that would wait longer is refused at once, and told when to come back; a client may state a shorter time (Prefer: wait=10)."},
			func(c *Config) *time.Duration { return &c.Limits.Wait }, time.Second, 10*time.Minute),
		size(Row{Key: "limits.reserve", Default: "64MiB", Env: "PARLEY_LIMITS_RESERVE", Doc: "Room kept free on the data directory's disk: below it nothing new is taken in, reading goes on."},
			func(c *Config) *int64 { return &c.Limits.Reserve }, 1<<20, 1<<40),
		duration(Row{Key: "checkpoint", Default: "40ms", Env: "PARLEY_CHECKPOINT", Doc: "How often a running answer is made durable and shown. Shorter is smoother, longer costs less disk."},
			func(c *Config) *time.Duration { return &c.Checkpoint }, 10*time.Millisecond, 5*time.Second),
		duration(Row{Key: "heartbeat", Default: "15s", Env: "PARLEY_HEARTBEAT", Doc: "Pause after which a silent event stream carries a sign of life, so that proxies keep it open and clients notice its death."},
			func(c *Config) *time.Duration { return &c.Heartbeat }, time.Second, 5*time.Minute),
		duration(Row{Key: "patience", Default: "2m", Env: "PARLEY_PATIENCE", Doc: "How long an answer waits for an engine that is down before it fails."},
			func(c *Config) *time.Duration { return &c.Patience }, time.Second, time.Hour),
		duration(Row{Key: "drain", Default: "10s", Env: "PARLEY_DRAIN", Doc: "How long a stopping node waits for running requests before it cuts them. Answers go on after the next start."},
			func(c *Config) *time.Duration { return &c.Drain }, 100*time.Millisecond, 10*time.Minute),
		duration(Row{Key: "lame_duck", Default: "1s", Env: "PARLEY_LAME_DUCK", Doc: "How long a stopping node of a cluster still serves while it says that it is not ready, so that an edge, a balancer or DNS leads nobody to it any more when it closes. A part of drain."},
			func(c *Config) *time.Duration { return &c.LameDuck }, 10*time.Millisecond, 5*time.Minute),
	}
}

func keySettings() []row[Key] {
	return []row[Key]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Who holds it; shown in logs, and owner of what it creates."},
			func(k *Key) *string { return &k.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		apiKey(Row{Key: "key", Required: true, Doc: "The key: its hash as `parley key` prints it, env:NAME, file:PATH, or the key itself."},
			func(k *Key) *secret.Hash { return &k.Hash }),
		text(Row{Key: "tenant", Bounds: "letters, digits, . _ -", Doc: "Whom its holder belongs to, for budgets and usage."},
			func(k *Key) *string { return &k.Tenant }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		toggle(Row{Key: "operator", Doc: "Its holder runs the service: publishes models, reads and labels what was not understood, sees everybody's usage. The key of PARLEY_KEY and --key is one."},
			func(k *Key) *bool { return &k.Operator }),
	}
}

func engineSettings() []row[Engine] {
	return append([]row[Engine]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name in metrics, messages and answers."},
			func(e *Engine) *string { return &e.Name }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		required(choice(Row{Key: "kind", Doc: "Any server with the OpenAI API; such servers started and stopped by this node; llama.cpp inside it; canned text that says so; or the user's own words, for trying a client."},
			func(e *Engine) *string { return &e.Kind }, OpenAI, Process, Embedded, Demo, Echo)),
		text(Row{Key: "url", Bounds: "http(s)://host[:port]/path", Doc: "openai: the base of the API, usually ending in /v1."},
			func(e *Engine) *string { return &e.URL }, checkURL),
		hidden(Row{Key: "key", Doc: "openai: key that is sent to the server: env:NAME, file:PATH, or the key itself."},
			func(e *Engine, s secret.String) { e.Key = s }, func(e *Engine) bool { return !e.Key.Empty() }),
		choice(Row{Key: "dialect", Doc: "openai: whose habits the server has. auto asks it."},
			func(e *Engine) *string { return &e.Dialect }, "auto", "generic", "openai", "azure", "vllm", "llama-server", "ollama", "tgi", "anthropic"),
		texts(Row{Key: "models", Doc: "Models to serve, by the engine's names. Without it, all that the server lists. embedded: one id of `parley model list`, or the path of a GGUF file."},
			func(e *Engine) *[]string { return &e.Models }, 100, 1024, nil).relative(),
		policy(Row{Key: "resume", Doc: "How an answer that was cut is continued. Without it, the best that the engine can promise; embedded: quick, or exact if a bot asks for it. Exact gives the same text as undisturbed, and computes slower (docs/benchmarks/embedded.md)."},
			func(e *Engine) *lm.Policy { return &e.Resume }),
		text(Row{Key: "region", Bounds: "1 to 32 of a-z and 0-9", Doc: "openai: the region that it is in, if that is another one than the node's. It gets what the near ones can't begin sooner, the way there and back counted in (docs/routing.md)."},
			func(e *Engine) *string { return &e.Region }, matches(regionForm, "1 to 32 of a-z and 0-9")),
		number(Row{Key: "slots", Doc: "Answers at once; more wait. Without it, what the engine says."},
			func(e *Engine) *int { return &e.Slots }, 1, 4096),
		number(Row{Key: "tokens", Doc: "Tokens of all prompts and answers that it has at once, about: what its cache of keys and values holds. More wait. Without it, slots alone count."},
			func(e *Engine) *int { return &e.Tokens }, 256, 1<<30),
		number(Row{Key: "weight", Doc: "How much work it gets beside other engines with the same model (docs/routing.md). Without it, 1: what is measured decides."},
			func(e *Engine) *int { return &e.Weight }, 1, 1000),
		number(Row{Key: "context", Doc: "embedded: tokens of prompt and answer together."},
			func(e *Engine) *int { return &e.Context }, 256, 1<<20),
		toggle(Row{Key: "vision", Doc: "openai: its models read pictures. llama-server, Ollama and services whose list of models tells are asked; say it of the others."},
			func(e *Engine) *bool { return &e.Vision }),
		number(Row{Key: "threads", Doc: "embedded: processor threads. Without it, one for each physical core."},
			func(e *Engine) *int { return &e.Threads }, 1, 1024),
		duration(Row{Key: "timeout", Default: "1m", Doc: "Longest silence in the middle of an answer before the engine counts as hung."},
			func(e *Engine) *time.Duration { return &e.Timeout }, 100*time.Millisecond, time.Hour),
	}, scaleSettings()...)
}

func botSettings() []row[Bot] {
	return []row[Bot]{
		text(Row{Key: "id", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its id in the API."},
			func(b *Bot) *string { return &b.ID }, matches(nameForm, "1 to 64 letters, digits, dots, underscores or hyphens")),
		text(Row{Key: "name", Doc: "What people see. Without it, the id."}, func(b *Bot) *string { return &b.Name }, atMost(200)),
		text(Row{Key: "system", Doc: "System prompt: what it is and how it shall answer."}, func(b *Bot) *string { return &b.System }, atMost(64<<10)),
		text(Row{Key: "model", Doc: "Without it, the default engine's first."}, func(b *Bot) *string { return &b.Model }, atMost(1024)),
		decimal(Row{Key: "temperature", Doc: "0 always takes the likeliest token."}, func(b *Bot) **float64 { return &b.Params.Temperature }, 0, 5),
		decimal(Row{Key: "top_p", Doc: "Samples from the likeliest tokens that make up this share."}, func(b *Bot) **float64 { return &b.Params.TopP }, 0, 1),
		optNumber(Row{Key: "top_k", Doc: "Samples from this many of the likeliest tokens; 0 from all."}, func(b *Bot) **int { return &b.Params.TopK }, 0, 1_000_000),
		decimal(Row{Key: "min_p", Doc: "Drops tokens less likely than this share of the likeliest."}, func(b *Bot) **float64 { return &b.Params.MinP }, 0, 1),
		decimal(Row{Key: "repeat_penalty", Doc: "Over 1 makes repetition less likely."}, func(b *Bot) **float64 { return &b.Params.RepeatPenalty }, 0.1, 10),
		decimal(Row{Key: "presence_penalty", Doc: "Over 0 makes tokens that occurred less likely."}, func(b *Bot) **float64 { return &b.Params.PresencePenalty }, -2, 2),
		decimal(Row{Key: "frequency_penalty", Doc: "Over 0 makes tokens less likely the more often they occurred."}, func(b *Bot) **float64 { return &b.Params.FrequencyPenalty }, -2, 2),
		number(Row{Key: "max_tokens", Doc: "Longest answer. Without it, as much as the window holds."}, func(b *Bot) *int { return &b.Params.MaxTokens }, 1, 1<<20),
		texts(Row{Key: "stop", Doc: "Texts that end the answer and are not shown."}, func(b *Bot) *[]string { return &b.Params.Stop }, 16, 256, nil),
		optNumber(Row{Key: "seed", Doc: "Makes sampling repeatable where the engine can."}, func(b *Bot) **int64 { return &b.Params.Seed }, -1<<63, 1<<63-1),
		policy(Row{Key: "resume", Doc: "How its cut answers are continued, where the engine offers a choice."}, func(b *Bot) *lm.Policy { return &b.Resume }),
		text(Row{Key: "url", Bounds: "https://host/path", Doc: "Where it runs, if that is elsewhere: a bot of the Bot Framework or the Agents SDK (docs/channels/bots.md). Then it answers, and the settings above are for what it leaves to the language model."},
			func(b *Bot) *string { return &b.URL }, checkURL),
		text(Row{Key: "app_id", Doc: "url: the id that the bot has in its own configuration. Tokens for it are made out to that. Without one it runs on this machine."},
			func(b *Bot) *string { return &b.AppID }, atMost(200)),
		apiKey(Row{Key: "secret", Doc: "url: what the bot shows, or changes for a token, when it speaks: a hash as `parley key` prints it, env:NAME, file:PATH, or the secret itself."},
			func(b *Bot) *secret.Hash { return &b.Secret }),
		toggle(Row{Key: "private", Doc: "url: it may lead to this machine or into a private network, and be http://."}, func(b *Bot) *bool { return &b.Private }),
		toggle(Row{Key: "inline", Doc: "url: it answers in its response (expectReplies), because it can't call back."}, func(b *Bot) *bool { return &b.Inline }),
		duration(Row{Key: "timeout", Doc: "url: how long it may take for a message until the person is told that no answer came. Without it, 1m."},
			func(b *Bot) *time.Duration { return &b.Timeout }, time.Second, time.Hour),
		number(Row{Key: "history", Doc: "Most tokens of the conversation that are sent. Without it, as many as fit."}, func(b *Bot) *int { return &b.History }, 64, 1<<20),
	}
}

func understandingSettings() []row[Understanding] {
	const names = "1 to 64 letters, digits, dots, underscores or hyphens"
	return []row[Understanding]{
		text(Row{Key: "name", Required: true, Bounds: "letters, digits, . _ -", Doc: "Its name, in the API, in metrics and with what was understood."},
			func(u *Understanding) *string { return &u.Name }, matches(nameForm, names)),
		path(Row{Key: "model", Doc: "A model's file, or the folder of its project: with a model.nlu in it that one is used, else the project is learned from at every start. Without it, nothing is understood until a model is published."},
			func(u *Understanding) *string { return &u.Model }),
		path(Row{Key: "flows", Doc: "The script: what is answered, and what is asked for first (docs/dialog.md). Without it, or where it hands over, the language model answers."},
			func(u *Understanding) *string { return &u.Flows }),
		texts(Row{Key: "bots", Doc: "Ids of the bots whose conversations it reads. Without it, all that no other entry names."},
			func(u *Understanding) *[]string { return &u.Bots }, 100, 64, nil),
		texts(Row{Key: "ids", Doc: "Other names under which clients of LUIS and CLU ask for it: the app id or project name that stands in them."},
			func(u *Understanding) *[]string { return &u.IDs }, 100, 64, matches(nameForm, names)),
		toggle(Row{Key: "collect", Doc: "Messages that are not understood from now on are marked, and can be read and labelled with an operator's key to learn from them, without addresses, long numbers and keys; names stay in them. People should know."},
			func(u *Understanding) *bool { return &u.Collect }),
	}
}

func within(r row[Config], f func(*loader) (string, error)) row[Config] {
	r.defaultFunc = f
	return r
}

func required[T any](r row[T]) row[T] {
	r.Required = true
	return r
}

func checkEngineWord(v string) error {
	if v == Embedded || v == Demo || v == Echo {
		return nil
	}
	if near := Nearest(v, []string{Embedded, Demo, Echo}); near != "" {
		return fmt.Errorf("%q is no engine: did you mean %q?", clip(v), near)
	}
	if checkURL(v) != nil {
		return fmt.Errorf("%q is no engine", clip(v))
	}
	return nil
}

// dataDir is where this kind of system keeps what a program must not lose.
func (l *loader) dataDir() (string, error) {
	switch home := l.home(); {
	case runtime.GOOS == "windows" && l.env["LOCALAPPDATA"] != "":
		return filepath.Join(l.env["LOCALAPPDATA"], "parley"), nil
	case filepath.IsAbs(l.env["XDG_DATA_HOME"]):
		return filepath.Join(l.env["XDG_DATA_HOME"], "parley"), nil
	case home != "" && runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Application Support", "parley"), nil
	case home != "":
		return filepath.Join(home, ".local", "share", "parley"), nil
	}
	return "", errors.New("this user has no home directory: set PARLEY_DATA or --data")
}

func (l *loader) cacheDir() (string, error) {
	switch home := l.home(); {
	case runtime.GOOS == "windows" && l.env["LOCALAPPDATA"] != "":
		return filepath.Join(l.env["LOCALAPPDATA"], "parley", "cache"), nil
	case filepath.IsAbs(l.env["XDG_CACHE_HOME"]):
		return filepath.Join(l.env["XDG_CACHE_HOME"], "parley"), nil
	case home != "" && runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Caches", "parley"), nil
	case home != "":
		return filepath.Join(home, ".cache", "parley"), nil
	}
	return "", errors.New("this user has no home directory: set PARLEY_CACHE or --cache")
}

func (l *loader) home() string {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if h := l.env[name]; filepath.IsAbs(h) {
			return h
		}
	}
	return ""
}

package arch

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Kind says what a package is for, and by that what it may import.
type Kind string

// The kinds.
const (
	Vocab   Kind = "vocab"   // words that everybody uses
	Core    Kind = "core"    // the rules of the product
	Adapter Kind = "adapter" // one technology behind a core contract
	Surface Kind = "surface" // HTTP and the page
	Wiring  Kind = "wiring"  // puts the parts together
	Public  Kind = "public"  // for other people's programs
	Suite   Kind = "suite"   // a conformance suite beside its contract; only tests import it
	Check   Kind = "check"   // tests, tools and benchmarks of this repository; nobody imports them
)

// mayImport lists, for each kind, the kinds that its non-test files may
// import. Adapters may also import packages of their own folder.
func mayImport() map[Kind][]Kind {
	return map[Kind][]Kind{
		Vocab:   {Vocab},
		Core:    {Vocab, Core},
		Adapter: {Vocab, Core},
		Surface: {Vocab, Core},
		Wiring:  {Vocab, Core, Adapter, Surface, Wiring, Public},
		Public:  {},
		Suite:   {Vocab, Core},
		Check:   {Vocab, Core, Adapter, Surface, Wiring, Public, Suite, Check},
	}
}

// Room assigns a kind to a package, or with "/..." to all packages of a
// folder, which then may import each other.
type Room struct {
	Path string
	Kind Kind
	Why  string // where it isn't plain
}

// Rooms is the one table of packages. A package that is not in it fails the
// test: give it a room here, and think twice before adding one.
func Rooms() []Room {
	return []Room{
		{"internal/activity", Vocab, ""},
		{"internal/files", Vocab, ""},
		{"internal/fault", Vocab, ""},
		{"internal/secret", Vocab, ""},
		{"internal/atomicfile", Vocab, ""},
		{"internal/pause", Vocab, ""},
		{"internal/body", Vocab, ""},
		{"internal/channel/wire", Vocab, "what two protocols have in common as HTTP"},
		{"internal/loopback", Vocab, ""},
		{"internal/dial", Vocab, "what may be called, for whoever calls what others named"},
		{"internal/channel/format", Vocab, "markdown, long texts and cards, as several channels write them"},
		{"internal/progress", Vocab, ""},
		{"internal/foreign", Vocab, ""},
		{"internal/lm", Vocab, "the engine contract is words: messages, parameters, policies; the log's events are made of them"},
		{"internal/event", Vocab, ""},
		{"internal/telemetry", Vocab, "owns the metrics library so that nobody else meets it"},

		{"internal/auth", Core, ""},
		{"internal/health", Core, ""},
		{"internal/edge", Core, ""},
		{"internal/conversation", Core, ""},
		{"internal/chat", Core, ""},
		{"internal/snippets", Core, ""},
		{"internal/store", Core, "the contract"},
		{"internal/channel", Core, "the contract, and what all channels have in common"},
		{"internal/project", Core, ""},
		{"internal/config", Core, ""},
		{"internal/balance", Core, ""},
		{"internal/batch", Core, ""},
		{"internal/batch/kafka", Adapter, ""},
		{"internal/account", Core, ""},
		{"internal/scale", Core, ""},
		{"internal/scale/replay", Core, ""},
		{"internal/scale/crew", Core, ""},
		{"internal/lm/fleet", Core, "the contract of an engine, kept by several"},
		{"internal/lm/roster", Core, ""},
		{"internal/cluster", Core, ""},
		{"internal/nlu", Core, ""},
		{"internal/nlu/corpus", Core, ""},
		{"internal/nlu/finder", Core, ""},
		{"internal/nlu/learn", Core, ""},
		{"internal/nlu/luis", Core, ""},
		{"internal/nlu/model", Core, ""},
		{"internal/nlu/prebuilt", Core, ""},
		{"internal/yamlfile", Core, ""},
		{"internal/dialog", Core, ""},
		{"internal/understand", Core, ""},
		{"internal/nlu/vectors", Core, ""},
		{"internal/nlu/lanes", Core, ""},
		{"internal/nlu/encoder", Core, ""},
		{"internal/lm/gateway", Core, "who may answer what is a rule of the product; the page and api only hand requests to it"},

		{"internal/edge/gslb", Adapter, "DNS"},
		{"internal/edge/front", Adapter, "HTTP towards the regions"},
		{"internal/eventlog/...", Adapter, "NATS JetStream, and its files"},
		{"internal/tlscert", Adapter, "X.509"},
		{"internal/eventlog/link", Adapter, "TCP with a distance, for worlds on one machine"},
		{"internal/store/sqlite", Adapter, "SQLite"},
		{"internal/lm/openai", Adapter, "any OpenAI-compatible server"},
		{"internal/lm/llama/...", Adapter, "llama.cpp"},
		{"internal/lm/pull", Adapter, "downloads and package clients"},
		{"internal/lm/demo", Adapter, "no technology at all, but a driver like the others"},
		{"internal/scale/process", Adapter, "processes of the system"},

		{"internal/channel/directline", Adapter, "Direct Line 3.0 over HTTP and WebSockets"},
		{"internal/channel/connector", Adapter, "the Bot Framework's connector over HTTP, and its tokens"},
		{"internal/channel/slack", Adapter, "Slack's Events API and Web API"},
		{"internal/channel/webhook", Adapter, "signed JSON over HTTP, both ways"},
		{"internal/channel/teams", Adapter, "Microsoft Teams over the Bot Framework, from the bot's end"},
		{"internal/channel/messenger", Adapter, "webhooks of Meta's Messenger Platform, and its Send API"},
		{"internal/channel/telegram", Adapter, "Telegram's Bot API, by polling or webhook"},

		{"internal/api", Surface, ""},
		{"internal/web", Surface, ""},
		{"internal/plain", Surface, ""},

		{"internal/app", Wiring, ""},
		{"internal/world", Wiring, ""},
		{"internal/drill", Wiring, "breaks what internal/world runs, and talks to it as a client"},
		{"internal/edge/alone", Wiring, "the edge as a program of its own"},
		{"internal/cli", Wiring, ""},
		{"cmd/parley", Wiring, ""},

		{"client", Public, ""},

		{"internal/store/storetest", Suite, ""},
		{"internal/lm/lmtest", Suite, ""},
		{"internal/channel/channeltest", Suite, ""},
		{"internal/channel/messenger/graphtest", Suite, "Meta's side, by the rules that Meta has published"},
		{"internal/channel/telegram/bottest", Suite, "the Bot API's side, by its published reference"},

		{"api", Check, "the description of the API and its judge"},
		{"test/...", Check, ""},
	}
}

// Owner says who alone may import a dependency.
type Owner struct {
	Import string   // path, or a prefix that ends in "/"
	Rooms  []string // as in Rooms; tests of other packages need an entry too
	Tests  bool     // any test and suite may import it as well
}

// Owners lists every dependency outside the standard library, and the parts of
// the standard library that are dangerous. One that is not in it fails the
// test: choose its one owner first.
func Owners() []Owner {
	return []Owner{
		{Import: "github.com/nats-io/", Rooms: []string{"internal/eventlog"}},
		{Import: "github.com/minio/highwayhash", Rooms: []string{"internal/eventlog/rot"}},
		{Import: "modernc.org/", Rooms: []string{"internal/store/sqlite"}},
		{Import: "github.com/ebitengine/purego", Rooms: []string{"internal/lm/llama/..."}},
		{Import: "github.com/prometheus/", Rooms: []string{"internal/telemetry"}},
		{Import: "go.yaml.in/yaml/v4", Rooms: []string{"internal/config", "internal/yamlfile", "internal/edge/alone"}},
		{Import: "github.com/coder/websocket", Rooms: []string{"internal/channel/directline", "test/bench/directline"}, Tests: true},
		{Import: "github.com/coder/websocket", Rooms: []string{"internal/channel/directline"}, Tests: true},
		{Import: "github.com/slack-go/slack", Rooms: []string{"internal/channel/slack"}},
		{Import: "github.com/twmb/franz-go/", Rooms: []string{"internal/batch/kafka"}},
		{Import: "github.com/maypok86/otter/", Rooms: []string{"internal/lm/gateway"}},
		{Import: "github.com/yuin/goldmark", Rooms: []string{"internal/channel/format", "internal/plain"}},
		{Import: "github.com/mattn/go-isatty", Rooms: []string{"internal/progress", "internal/cli"}},
		{Import: "github.com/google/go-cmp/", Rooms: nil, Tests: true},
		{Import: "github.com/getkin/kin-openapi/", Rooms: nil, Tests: true},
		{Import: "github.com/anishathalye/porcupine", Rooms: nil, Tests: true},  // a known checker, to hold test/sim's judge against
		{Import: "golang.org/x/net/", Rooms: []string{"test/..."}, Tests: true}, // somebody else's DNS parser, to hold ours against
		{Import: "golang.org/x/text/", Rooms: []string{"internal/store"}},
		{Import: "golang.org/x/sys/", Rooms: []string{"internal/nlu/lanes", "internal/app", "internal/cli", "internal/eventlog", "internal/eventlog/link", "internal/progress", "internal/lm/llama/...", "internal/lm/pull"}},

		{Import: "unsafe", Rooms: []string{"internal/lm/llama/...", "internal/eventlog"}},
		{Import: "os/exec", Rooms: []string{"internal/lm/llama/...", "internal/lm/pull", "internal/app", "internal/cli", "internal/world", "internal/scale/process", "test/..."}, Tests: true},
		{Import: "C", Rooms: nil},
		{Import: "plugin", Rooms: nil},
	}
}

func (r Room) holds(dir string) bool {
	base, all := strings.CutSuffix(r.Path, "/...")
	return dir == base || all && strings.HasPrefix(dir, base+"/")
}

// roomOf finds the room of a folder; the longest path wins.
func roomOf(rooms []Room, dir string) (Room, bool) {
	var best Room
	for _, r := range rooms {
		if r.holds(dir) && len(r.Path) > len(best.Path) {
			best = r
		}
	}
	return best, best.Path != ""
}

// Imports checks who imports whom, and that every package has its room.
func Imports(t *Tree, rooms []Room) []Finding {
	var out []Finding
	allowed := mayImport()
	for _, p := range t.Packages {
		room, ok := roomOf(rooms, p.Dir)
		if !ok {
			out = append(out, Finding{Path: p.Dir, Text: "this package has no room: add it to Rooms in test/arch/kinds.go"})
			continue
		}
		for _, f := range p.Files {
			for imp, node := range imports(f) {
				dir, ours := strings.CutPrefix(imp, Module+"/")
				if !ours || f.Test && room.Kind != Public {
					continue
				}
				other, ok := roomOf(rooms, dir)
				if !ok || other.Path == room.Path || slices.Contains(allowed[room.Kind], other.Kind) {
					continue
				}
				out = append(out, t.at(f, node, "%s is %s and must not import %s, which is %s", p.Dir, room.Kind, dir, other.Kind))
			}
		}
	}
	return ordered(out)
}

// Rooms without a package are named too, or the table would go stale.
func emptyRooms(t *Tree, rooms []Room) []Finding {
	var out []Finding
	for _, r := range rooms {
		if !slices.ContainsFunc(t.Packages, func(p *Package) bool { return r.holds(p.Dir) }) {
			out = append(out, Finding{Path: r.Path, Text: "the table of rooms names it, but no package lives there"})
		}
	}
	return out
}

// Dependencies checks that each dependency is imported by its owner only.
func Dependencies(t *Tree, rooms []Room, owners []Owner) []Finding {
	var out []Finding
	t.files(func(p *Package, f *File) {
		room, _ := roomOf(rooms, p.Dir)
		for imp, node := range imports(f) {
			if imp == Module || strings.HasPrefix(imp, Module+"/") {
				continue
			}
			i := slices.IndexFunc(owners, func(o Owner) bool {
				return imp == o.Import || strings.HasPrefix(imp, strings.TrimSuffix(o.Import, "/")+"/")
			})
			if i < 0 {
				if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
					out = append(out, t.at(f, node, "%s has no owner: add it to Owners in test/arch/kinds.go", imp))
				}
				continue
			}
			o := owners[i]
			mine := slices.ContainsFunc(o.Rooms, func(path string) bool { return (Room{Path: path}).holds(p.Dir) })
			if !mine && !(o.Tests && (f.Test || room.Kind == Suite)) {
				out = append(out, t.at(f, node, "%s belongs to %s alone", imp, ownersName(o)))
			}
		}
	})
	return ordered(out)
}

func ownersName(o Owner) string {
	if len(o.Rooms) == 0 && o.Tests {
		return "tests"
	}
	if len(o.Rooms) == 0 {
		return "nobody"
	}
	return strings.Join(o.Rooms, ", ")
}

// Suites checks that conformance suites are imported by tests only; the rule
// of kinds lets checks import them, but not wiring.
func Suites(t *Tree, rooms []Room) []Finding {
	var out []Finding
	t.files(func(p *Package, f *File) {
		room, _ := roomOf(rooms, p.Dir)
		for imp, node := range imports(f) {
			if imp == "testing" && !f.Test && room.Kind != Suite && room.Kind != Check {
				out = append(out, t.at(f, node, "only tests and suites import %s", imp))
			}
		}
	})
	return ordered(out)
}

func ordered(f []Finding) []Finding {
	sort.Slice(f, func(i, j int) bool { return fmt.Sprint(f[i]) < fmt.Sprint(f[j]) })
	return f
}

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/secret"
)

// defaultURL is where "parley up" answers.
const defaultURL = "http://127.0.0.1:8470"

// connection is the flags that say which node to talk to.
type connection struct{ url, key string }

func bindConnection(fs *flag.FlagSet) *connection {
	c := &connection{}
	fs.StringVar(&c.url, "url", "", "`URL` of the node, or several with commas (default "+defaultURL+"; PARLEY_URL)")
	fs.StringVar(&c.key, "key", "", "API `KEY`: env:NAME, file:PATH, or the key itself (PARLEY_KEY)")
	return c
}

// open makes a client and asks the node what it is, so that a wrong address is
// told at once.
func (c *connection) open(ctx context.Context, t *terminal) (*client.Client, client.Info, error) {
	url := c.url
	if url == "" {
		url = t.getenv("PARLEY_URL")
	}
	if url == "" {
		url = defaultURL
	}
	ref := c.key
	if ref == "" {
		ref = t.getenv("PARLEY_KEY")
	}
	opts := client.Options{UserAgent: "parley-cli/" + version(), Patience: 2 * time.Minute}
	for u := range strings.SplitSeq(url, ",") {
		if u = strings.TrimSpace(u); !strings.Contains(u, "://") {
			u = "http://" + u
		}
		opts.BaseURLs = append(opts.BaseURLs, u)
	}
	if ref != "" {
		if secret.IsHash(ref) {
			return nil, client.Info{}, usagef("that is a key's hash, which only the node can use: give the key itself")
		}
		key, err := secret.Read(ref, t.lookup)
		if err != nil {
			return nil, client.Info{}, usagef("--key: %v", err)
		}
		opts.Key = key.Reveal()
	}
	first := opts
	first.Patience, first.Timeout = time.Second, 5*time.Second
	cl, err := client.New(first)
	if err != nil {
		return nil, client.Info{}, usagef("%v", strings.TrimPrefix(err.Error(), "client: "))
	}
	info, err := cl.Info(ctx)
	if err != nil {
		return nil, info, connectError(err, url)
	}
	opts.OnRetry = outages(t)
	cl, err = client.New(opts)
	return cl, info, err
}

// outages tells a person once for each outage why nothing happens.
func outages(t *terminal) func(error, time.Duration) {
	const apart = 10 * time.Second // pauses within one outage are shorter
	var mu sync.Mutex
	var last time.Time
	return func(err error, pause time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		fresh := time.Since(last) > apart
		last = time.Now().Add(pause)
		switch {
		case !fresh:
		case client.CodeOf(err) == client.CodeUnreachable:
			t.say("(the connection is lost; trying again, nothing gets lost)")
		default:
			t.say("(%s; trying again)", calm(err.Error()))
		}
	}
}

func connectError(err error, url string) error {
	switch client.CodeOf(err) {
	case client.CodeUnreachable:
		return fmt.Errorf("no node answers at %s: start one with \"parley up\", or name another with --url (%w)", url, errors.Unwrap(err))
	case client.CodeProtocol:
		return fmt.Errorf("what answers at %s is not a Parley node: name another with --url", url)
	case "unauthenticated":
		return fmt.Errorf("%w: give it with --key or PARLEY_KEY", err)
	}
	return err
}

// calm takes out of a text what a terminal would obey instead of showing: what
// a model or another person wrote must not move the cursor or worse.
func calm(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case unicode.IsControl(r):
			return unicode.ReplacementChar
		case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069: // would turn the line around
			return -1
		}
		return r
	}, s)
}

func conversationCommand() *command {
	return &command{
		name: "conversation", short: "list, search, read, export and delete conversations",
		subs: []*command{
			{
				name: "list", short: "your conversations, the latest first",
				setup: func(fs *flag.FlagSet) action {
					limit := fs.Int("limit", 50, "show at most `N`; 0 for all")
					return withNode(fs, 0, func(ctx context.Context, n call) error { return n.list(ctx, *limit) })
				},
			},
			{
				name: "search", short: "find what was said", args: "WORDS...",
				examples: []example{{"parley conversation search tax form", "messages that hold both words"}},
				setup: func(fs *flag.FlagSet) action {
					limit := fs.Int("limit", 20, "show at most `N`")
					return withNode(fs, -1, func(ctx context.Context, n call) error { return n.search(ctx, *limit) })
				},
			},
			{
				name: "show", short: "print one", args: "ID",
				setup: func(fs *flag.FlagSet) action {
					return withNode(fs, 1, func(ctx context.Context, n call) error { return n.show(ctx) })
				},
			},
			{
				name: "export", short: "write one to the standard output", args: "ID",
				examples: []example{{"parley conversation export ID --format md > talk.md", "to keep or to send"}},
				setup: func(fs *flag.FlagSet) action {
					format := fs.String("format", "md", "md or json")
					return withNode(fs, 1, func(ctx context.Context, n call) error {
						return n.client.Export(ctx, n.args[0], *format, n.t.out)
					})
				},
			},
			{
				name: "delete", short: "have one forgotten, for good", args: "ID",
				setup: func(fs *flag.FlagSet) action {
					return withNode(fs, 1, func(ctx context.Context, n call) error {
						if err := n.client.Delete(ctx, n.args[0]); err != nil {
							return err
						}
						if n.json {
							return n.t.json(map[string]any{"deleted": n.args[0]})
						}
						n.t.printf("Deleted.\n")
						return nil
					})
				},
			},
		},
	}
}

// call is one call of a node.
type call struct {
	client *client.Client
	t      *terminal
	args   []string
	json   bool
}

// withNode wraps an action that needs a node and want arguments (-1: at least
// one).
func withNode(fs *flag.FlagSet, want int, do func(context.Context, call) error) action {
	conn, asJSON := bindConnection(fs), fs.Bool("json", false, "write JSON")
	return func(ctx context.Context, t *terminal, args []string) error {
		switch {
		case want == 0 && len(args) > 0:
			return none(args)
		case want < 0 && len(args) == 0:
			return usagef("it wants something to look for")
		case want > 0 && len(args) != want:
			return usagef("it wants the conversation's id; \"parley conversation list\" shows them")
		}
		cl, _, err := conn.open(ctx, t)
		if err != nil {
			return err
		}
		return do(ctx, call{cl, t, args, *asJSON})
	}
}

func (n call) list(ctx context.Context, limit int) error {
	all := []client.Conversation{}
	for c, err := range n.client.All(ctx) {
		if err != nil {
			return err
		}
		if all = append(all, c); limit > 0 && len(all) >= limit {
			break
		}
	}
	if n.json {
		return n.t.json(map[string]any{"conversations": all})
	}
	for _, c := range all {
		n.t.printf("%s  %s  %s\n", c.ID, c.Updated.Local().Format("2006-01-02 15:04"), calm(titleOf(c.Title)))
	}
	if len(all) == 0 {
		n.t.say("There are none yet: parley chat")
	}
	return nil
}

func titleOf(title string) string {
	if title == "" {
		return "(no title yet)"
	}
	return title
}

func (n call) search(ctx context.Context, limit int) error {
	hits, err := n.client.Search(ctx, strings.Join(n.args, " "), limit)
	if err != nil {
		return err
	}
	if n.json {
		if hits == nil {
			hits = []client.Hit{}
		}
		return n.t.json(map[string]any{"hits": hits})
	}
	for _, h := range hits {
		n.t.printf("%s  %s  %s\n    %s\n", h.Conversation, h.At.Local().Format("2006-01-02 15:04"), calm(titleOf(h.Title)), marked(h.Snippet, n.t.outTTY))
	}
	if len(hits) == 0 {
		n.t.say("Nothing was found.")
	}
	return nil
}

// marked shows a snippet's hits: bold on a terminal, else between asterisks.
func marked(snippet string, tty bool) string {
	from, to := "*", "*"
	if tty {
		from, to = "\x1b[1m", "\x1b[0m"
	}
	line := strings.Join(strings.Fields(calm(snippet)), " ")
	return strings.NewReplacer(client.HitStart, from, client.HitEnd, to).Replace(line)
}

func (n call) show(ctx context.Context) error {
	acts, err := n.client.Activities(ctx, n.args[0])
	if err != nil {
		return err
	}
	if n.json {
		if acts == nil {
			acts = []client.Activity{}
		}
		return n.t.json(map[string]any{"activities": acts})
	}
	writeHistory(n.t.out, acts)
	return nil
}

func writeHistory(w io.Writer, acts []client.Activity) {
	for _, a := range acts {
		if a.Type != "message" {
			continue
		}
		lead := "> "
		if a.FromBot() {
			lead = ""
		}
		fmt.Fprintf(w, "%s%s\n\n", lead, calm(strings.TrimSpace(a.Text)))
	}
}

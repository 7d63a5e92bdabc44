package alone

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/edge/front"
	"github.com/parleyhq/parley/internal/edge/gslb"
)

// File is an edge's settings as people write them down. Paths in it are
// relative to its directory until Load returns it.
type File struct {
	HTTP   HTTP   `yaml:"http"`
	DNS    DNS    `yaml:"dns"`
	Status string `yaml:"status"` // HOST:PORT of health, metrics and the regions' states; "" = nowhere
	Check  Probe  `yaml:"check"`
	// Places are files of "first,last,country" lines (see edge.ReadRanges).
	Places []string `yaml:"places"`

	edge.Config `yaml:",inline"`
}

// HTTP is the proxy to a living region.
type HTTP struct {
	Listen  string         `yaml:"listen"` // HOST:PORT; "" = no proxy
	Cert    string         `yaml:"cert"`   // PEM files, read anew when they change; without them it speaks HTTP
	Key     string         `yaml:"key"`
	Policy  string         `yaml:"policy"`  // "" = the first one
	Trusted []netip.Prefix `yaml:"trusted"` // proxies before this one whose X-Forwarded-For counts
	CA      string         `yaml:"ca"`      // PEM file of who signs the regions' certificates; "" = the system's
}

// DNS is the name server.
type DNS struct {
	Listen []string    `yaml:"listen"` // IP:PORT, each for UDP and TCP; none = no name server
	Rate   int         `yaml:"rate"`   // answers a second to one network over UDP; 0 = 500, -1 = any number
	Serial uint32      `yaml:"serial"` // of the zones; 0 = the time of the start
	Zones  []gslb.Zone `yaml:"zones"`
}

// Probe is how regions are measured: GET /readyz of each one's url.
type Probe struct {
	Interval time.Duration `yaml:"interval"` // 0 = 250ms
	Timeout  time.Duration `yaml:"timeout"`  // 0 = 1s
}

// longestFile bounds the file; latency tables may be long.
const longestFile = 8 << 20

// Load reads a file and checks all of it but what its paths lead to. What is
// wrong is a config.Problems with everything that is.
func Load(path string) (File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var at *os.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return File{}, config.Problems{{Place: config.Source{Kind: config.FromFile, Name: path}, Text: fmt.Sprintf("the file can't be read: %v", err)}}
	}
	f, err := Parse(path, text)
	if err != nil {
		return File{}, err
	}
	for _, p := range f.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return f, nil
}

func (f *File) paths() []*string {
	out := []*string{&f.HTTP.Cert, &f.HTTP.Key, &f.HTTP.CA}
	for i := range f.Places {
		out = append(out, &f.Places[i])
	}
	return out
}

// Parse is Load of a file's bytes; name stands in the problems' places.
func Parse(name string, text []byte) (f File, err error) {
	var ps config.Problems
	add := func(line, column int, key, text string) {
		ps = append(ps, config.Problem{Place: config.Source{Kind: config.FromFile, Name: name, Line: line, Column: column}, Key: key, Text: text})
	}
	root := &yaml.Node{}
	switch err := decode(text, root, &f); {
	case len(text) > longestFile:
		add(0, 0, "", fmt.Sprintf("the file is over %d MiB: not an edge's settings", longestFile>>20))
	case err != nil:
		for _, e := range loadErrors(err) {
			add(e.Mark.Line, e.Mark.Column, "", inWords(e.Message))
		}
	default:
		for _, p := range f.problems() {
			at := find(root, p.Key)
			add(at.Line, at.Column, p.Key, p.Text)
		}
	}
	if len(ps) == 0 {
		return f, nil
	}
	slices.SortStableFunc(ps, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Column, b.Place.Column))
	})
	return File{}, ps
}

// decode reads the only document. The parser is foreign code on foreign bytes:
// a panic of it is an error here.
func decode(text []byte, root *yaml.Node, f *File) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	if len(text) > longestFile || len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	if err := yaml.Load(text, root); err != nil {
		return err
	}
	return yaml.Load(text, f, yaml.WithKnownFields())
}

// loadErrors lists what the parser found; anything else is an error without a
// place.
func loadErrors(err error) []*yaml.LoadError {
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many) && len(many.Errors) > 0:
		return many.Errors
	case errors.As(err, &one):
		return []*yaml.LoadError{one}
	}
	return []*yaml.LoadError{{Message: err.Error()}}
}

// inWords takes what only Go programmers know out of the parser's sentences.
func inWords(text string) string {
	if m := regexp.MustCompile(`field (\S+) not found`).FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no key %q here", m[1])
	}
	if m := regexp.MustCompile(`Parse(Addr|Prefix)\((".*")\): (.*)`).FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s is no %s: %s", m[2], map[string]string{"Addr": "address", "Prefix": "subnet"}[m[1]], m[3])
	}
	m := regexp.MustCompile("cannot construct !!\\S+ (?:`(.*)` )?into (\\S+)").FindStringSubmatch(text)
	if m == nil {
		return strings.TrimPrefix(text, "yaml: ")
	}
	want := "a mapping (key: value)"
	switch kind := m[2]; {
	case kind == "time.Duration":
		want = "a time such as 500ms"
	case kind == "string":
		want = "a text"
	case kind == "float64":
		want = "a number"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		want = "a whole number"
	case strings.HasPrefix(kind, "[]"):
		want = "a list"
	}
	if m[1] == "" {
		return want + " is wanted here"
	}
	return fmt.Sprintf("%s is wanted here, not %q", want, m[1])
}

// find returns the node of a key such as "dns.zones[0].name", or the nearest
// one above it that is there.
func find(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, part := range strings.FieldsFunc(key, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		i, err := strconv.Atoi(part)
		switch {
		case n.Kind == yaml.SequenceNode && err == nil && i < len(n.Content):
			n = n.Content[i]
		case n.Kind == yaml.MappingNode:
			k := 0
			for k < len(n.Content) && n.Content[k].Value != part {
				k += 2
			}
			if k+1 >= len(n.Content) {
				return n
			}
			n = n.Content[k+1]
		default:
			return n
		}
	}
	return n
}

// problems is all that is wrong with the settings themselves.
func (f *File) problems() edge.Problems {
	var ps edge.Problems
	add := func(key, format string, args ...any) {
		ps = append(ps, edge.Problem{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if f.HTTP.Listen == "" && len(f.DNS.Listen) == 0 {
		add("", "nothing to serve: set http.listen, dns.listen or both")
	}
	if err := f.Config.Check(); err != nil {
		var all edge.Problems
		_ = errors.As(err, &all) // that is what Check returns
		ps = append(ps, all...)
	}
	hasPolicy := func(name string) bool {
		return slices.ContainsFunc(f.Policies, func(p edge.Policy) bool { return p.Name == name })
	}
	ps = append(ps, front.Check(f.Regions)...) // regions are measured by their URL, whatever is served
	if f.HTTP.Listen != "" {
		checkListen(add, "http.listen", f.HTTP.Listen)
		if f.HTTP.Policy != "" && !hasPolicy(f.HTTP.Policy) {
			add("http.policy", "no policy is called %q", f.HTTP.Policy)
		}
	}
	if (f.HTTP.Cert == "") != (f.HTTP.Key == "") {
		add("http", "a certificate needs its key and a key its certificate: name both files, or neither")
	}
	if len(f.DNS.Listen) > 0 {
		for i, at := range f.DNS.Listen {
			checkListen(add, fmt.Sprintf("dns.listen[%d]", i), at)
		}
		for _, p := range gslb.Check(f.DNS.Zones, hasPolicy) {
			add("dns."+p.Key, "%s", p.Text)
		}
		for i, r := range f.Regions {
			if len(r.Addresses) == 0 {
				add(fmt.Sprintf("regions[%d]", i), "region %q needs addresses, because DNS answers with them", r.Name)
			}
		}
	}
	if f.DNS.Rate < -1 || f.DNS.Rate > 10_000_000 {
		add("dns.rate", "must be between 1 and 10000000, 0 for the default or -1 for any number, not %d", f.DNS.Rate)
	}
	if f.Status != "" {
		checkListen(add, "status", f.Status)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"check.interval", f.Check.Interval}, {"check.timeout", f.Check.Timeout}} {
		if d.value != 0 && (d.value < 10*time.Millisecond || d.value > time.Minute) {
			add(d.key, "must be between 10ms and 1m, not %v", d.value)
		}
	}
	return ps
}

func checkListen(add func(string, string, ...any), key, at string) {
	_, port, err := net.SplitHostPort(at)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		add(key, "must be HOST:PORT, not %q", at)
	}
}

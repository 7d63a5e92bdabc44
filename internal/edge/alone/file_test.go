package alone

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/config"
)

const example = "../../../examples/edge.yaml"

func TestExample(t *testing.T) {
	f, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Regions) != 3 || len(f.DNS.Zones) != 1 || f.HTTP.Listen == "" || f.Regions[2].At.Lon != 104 {
		t.Errorf("%+v", f)
	}
	// Each line that is commented out is right, too.
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "# "); ok && strings.Contains(rest, ": ") && !strings.Contains(rest, "`") {
			if key, _, _ := strings.Cut(rest, ":"); !strings.Contains(key, " ") {
				line = line[:len(line)-len(strings.TrimLeft(line, " "))] + rest
			}
		}
		lines = append(lines, line)
	}
	f, err = Parse("all", []byte(strings.Join(lines, "")))
	if err != nil || len(f.Places) != 2 || f.HTTP.CA == "" || len(f.Needs) != 1 || f.DNS.Serial == 0 {
		t.Errorf("%v: %+v", err, f)
	}
}

// TestDocumented: the least there can be, as the documentation has it, is right.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	least, _, ok := strings.Cut(rest, "```")
	if f, err := Parse("edge.md", []byte(least)); !ok || err != nil || len(f.Regions) != 2 {
		t.Error(ok, err)
	}
}

func TestProblems(t *testing.T) {
	const rest = "regions: [{name: a, url: \"http://a\", addresses: [192.0.2.1]}]\npolicies: [{name: p, method: priority, targets: [{region: a}]}]\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"f: nothing to serve", "f: regions:", "f: policies:"}},
		{"no YAML", "a: [", []string{"f:2:1: did not find expected"}},
		{"a list", "- x", []string{"f:1:1: a mapping (key: value) is wanted here"}},
		{"two documents", "status: a\n---\nstatus: b\n", []string{"f: expected single document"}},
		{"a key twice", "status: a\nstatus: b\n", []string{`f:2:1: mapping key "status" already`}},
		{
			"wrong forms", "htpp: {}\nregions: 3\nhttp: {listen: [], trusted: [x], foo: 1}\ncheck: {interval: 3}\nfall: x\ndns: {listen: [\"[::1]:53\"], zones: [{names: [{addresses: [1.2.3]}]}]}\n",
			[]string{
				`f:1:1: there is no key "htpp" here`, `f:2:10: a list is wanted here, not "3"`, "f:3:16: a text is wanted here", `f:3:30: "x" is no subnet`,
				`f:3:34: there is no key "foo" here`, `f:4:19: a time such as 500ms is wanted here, not "3"`, `f:5:7: a whole number is wanted here, not "x"`, `f:6:59: "1.2.3" is no address`,
			},
		},
		{
			"wrong values", "http: {listen: \"8080\", policy: q, cert: c.pem}\nstatus: \":x\"\ncheck: {timeout: 1h}\nregions: [{name: a, url: \"ftp://a\"}, {name: a, url: \"http://a\"}]\n" +
				"policies: [{name: p, method: best, targets: [{region: b}]}]\ndns: {rate: -2, listen: [\":53\", \"x\"], zones: [{name: example.org, servers: [ns.example.org], names: [{name: w, policy: q}]}]}\n",
			[]string{
				`f:1:16: http.listen: must be HOST:PORT, not "8080"`, `f:1:7: http: a certificate needs its key`, `f:1:32: http.policy: no policy is called "q"`, "f:2:9: status:", "f:3:18: check.timeout:",
				"f:4:26: regions[0].url:", "f:4:11: regions[0]: region \"a\" needs addresses", "f:4:45: regions[1].name: two regions", "f:5:30: policies[0].method:", "policies[0].targets[0].region:",
				"f:6:13: dns.rate:", "dns.listen[1]:", "dns.zones[0].servers[0]:", "dns.zones[0].names[0].policy:",
			},
		},
		{"a zone is wanted", "dns: {listen: [\"127.0.0.1:53\"]}\n" + rest, []string{"f:1:6: dns.zones: at least one zone"}},
		{"too long", strings.Repeat("#", longestFile+1), []string{"over 8 MiB"}},
		{"right", "http: {listen: \":80\"}\n" + rest, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f", []byte(c.text))
			var ps config.Problems
			if errors.As(err, &ps) != (len(c.want) > 0) || len(ps) < len(c.want) {
				t.Fatalf("%d problems, want %d: %v", len(ps), len(c.want), err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml: the file can't be read") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("regions: &a [*a]"))
	f.Add([]byte("dns: {zones: [{}], listen: [\":1\"]}\nregions: [{}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := Parse("f", text)
		var ps config.Problems
		if err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Errorf("no problems in %v", err)
		}
	})
}

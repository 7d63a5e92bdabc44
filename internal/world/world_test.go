package world

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/config"
)

func TestParse(t *testing.T) {
	got, err := Parse("japaneast:witness, koreacentral,southeastasia")
	want := []Region{{"japaneast", true}, {"koreacentral", false}, {"southeastasia", false}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for list, problem := range map[string]string{
		"":                               "no name for a region",
		"one":                            "1 regions",
		"a,a":                            "named twice",
		"a,b:king":                       "no role",
		"a:witness,b:witness":            "every region is a witness",
		"a,Korea Central":                "no name for a region",
		"a,b,c,d,e,f,g,h,i,j":            "10 regions",
		"a,b," + strings.Repeat("x", 33): "no name for a region",
	} {
		if _, err := Parse(list); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v, want %q", list, err, problem)
		}
	}
}

// TestNodeFiles lets the configuration's own reader judge what a world writes
// for its nodes.
func TestNodeFiles(t *testing.T) {
	w, err := New(Options{
		Regions: []Region{{"japaneast", true}, {"koreacentral", false}, {"southeastasia", false}},
		Dir:     t.TempDir(), Listen: "127.0.0.1:0", Command: []string{"parley"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.place(); err != nil {
		t.Fatal(err)
	}
	if err := w.configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if len(w.links) != 6 {
		t.Errorf("%d links between three regions, want 6", len(w.links))
	}
	for _, n := range w.nodes {
		c, err := config.Load(config.Input{Path: n.dir + "/parley.yaml", Environ: []string{"HOME=" + t.TempDir()}})
		if err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		if c.Region != n.Name || c.Witness() != n.Witness || len(c.Nodes) != 3 || c.Data != n.dir || c.Cluster.RoundTrip > 75*time.Millisecond {
			t.Errorf("%s: %+v", n.Name, c)
		}
	}
	if err := w.Kill("mars"); err == nil {
		t.Error("a region that does not exist was killed")
	}
	if err := w.Pause("koreacentral"); err == nil {
		t.Error("a process that is not there was stopped")
	}
}

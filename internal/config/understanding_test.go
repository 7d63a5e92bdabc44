package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnderstanding(t *testing.T) {
	const wrong = `bots: [{id: a}, {id: b}]
understanding:
  - {name: one, model: m, bots: [a, nobody], ids: [ABC]}
  - {name: One, bots: [b]}
  - {name: two, flows: f.yaml, bots: [a]}
  - {name: three, model: m}
  - {name: four, model: m, ids: [abc]}
  - {model: m, bots: [c]}
`
	_, err := Parse("parley.yaml", []byte(wrong), []string{"HOME=" + t.TempDir()})
	var got Problems
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	want := []string{
		`parley.yaml:3:5: understanding[0].bots: there is no bot "nobody"`,
		`parley.yaml:4:5: understanding[1].name: "one" is the name or id of another entry too`,
		`parley.yaml:5:5: understanding[2].flows: a script needs the model that understands for it (name the model too; a published one brings its flows along)`,
		`parley.yaml:5:5: understanding[2].bots: "one" understands for the same bots already (name the bots of each)`,
		`parley.yaml:7:5: understanding[4].name: "abc" is the name or id of another entry too`,
		`parley.yaml:7:5: understanding[4].bots: "three" understands for the same bots already (name the bots of each)`,
		`parley.yaml:8:5: understanding[5].name: is missing`,
		`parley.yaml:8:5: understanding[5].bots: there is no bot "c"`,
	}
	var lines []string
	for _, p := range got {
		lines = append(lines, strings.TrimSpace(p.String()))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScaleSimulates(t *testing.T) {
	dir := t.TempDir()
	svg := filepath.Join(dir, "day.svg")
	out := ok(t, "", "scale", "simulate", "--draw", svg, "--price", "1", "--for", "4h")
	for _, want := range []string{"Simulated: ", "fixed 6", "down to zero", "REPLICA HOURS"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if b, err := os.ReadFile(svg); err != nil || !strings.Contains(string(b), "Simulated: ") {
		t.Errorf("the drawing: %v", err)
	}

	day := filepath.Join(dir, "day.csv")
	if err := os.WriteFile(day, []byte("at,prompt,answer\n0,10,41\n60,10,41\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got simulated
	text := ok(t, "", "scale", "simulate", day, "--json", "--policy", "one: fixed=1", "--starts", "5s", "--policy", "zero: max=1 idle=20s")
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Simulated || got.Requests != 2 || len(got.Policies) != 2 || got.Policies[0].Cold != 0 || got.Policies[1].Cold != 2 || got.Policies[1].Starts != 2 {
		t.Errorf("%+v", got.Policies)
	}

	for _, bad := range [][]string{
		{"--shape", "weekend"}, {"--peak", "-1"}, {"--policy", "max=3"}, {"--policy", "x: max=0"}, {"--max", "0"}, {"--draw", "day.png"}, {"a.csv", "b.csv"},
	} {
		if status, _, errs := typed(t, nil, "", append([]string{"scale", "simulate"}, bad...)...); status != statusMisused || errs == "" {
			t.Errorf("%v: status %d: %s", bad, status, errs)
		}
	}
	if status, _, errs := typed(t, nil, "", "scale", "simulate", "--slots", "0"); status != statusFailed || !strings.Contains(errs, "slots") {
		t.Errorf("no slots: status %d: %s", status, errs)
	}
	broken := filepath.Join(dir, "broken.csv")
	if err := os.WriteFile(broken, []byte("at,prompt,answer\n0,10,41\n?,10,41\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := typed(t, nil, "", "scale", "simulate", broken); status != statusFailed || !strings.Contains(errs, "line 3") {
		t.Errorf("a broken line: status %d: %s", status, errs)
	}
}

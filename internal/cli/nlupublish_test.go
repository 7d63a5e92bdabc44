package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/client"
)

// TestPublish gives a running node another model, takes it back, and reads what
// it did not understand.
func TestPublish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	model, flows := filepath.Join(root, "examples/nlu/cityguide"), filepath.Join(root, "examples/flows/cityguide.yaml")
	file := filepath.Join(dir, "parley.yaml")
	config := "engine: demo\nbots: [{id: guide}, {id: bookings}]\nunderstanding:\n  - {name: cityguide, model: " + model + ", flows: " + flows + ", collect: true}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	url, _ := startNode(t, filepath.Join(dir, "data"), "-c", file)
	env := []string{"PARLEY_URL=" + url}
	do := func(line ...string) (out, errs string) {
		t.Helper()
		status, out, errs := typed(t, env, "", line...)
		if status != 0 {
			t.Fatalf("%q: status %d: %s%s", line, status, out, errs)
		}
		return out, errs
	}
	refused := func(why string, line ...string) {
		t.Helper()
		if status, out, errs := typed(t, env, "", line...); status == 0 || !strings.Contains(errs, why) {
			t.Errorf("%q: status %d: %s%s, want %q", line, status, out, errs, why)
		}
	}
	asked := func(want string) {
		t.Helper()
		if got, _ := do("chat", "how much is a day ticket"); !strings.Contains(got, want) {
			t.Errorf("answered %q, want %q", got, want)
		}
	}
	asked("seven euros")
	do("chat", "purple monkey dishwasher")
	if got, _ := do("nlu", "unknown"); !strings.Contains(got, `"text":"purple monkey dishwasher"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("not understood:\n%s", got)
	}
	if got, _ := do("nlu", "learn", model, "--json"); !strings.Contains(got, `"text": "purple monkey dishwasher"`) {
		t.Errorf("to learn from:\n%s", got)
	}

	labelled(t, url, model, func(line ...string) string { out, _ := do(line...); return out })
	refused("leave --jsonl", "nlu", "learn", model, "--labelled", "--yes")

	mine := filepath.Join(dir, "flows.yaml")
	if err := os.WriteFile(mine, []byte("flows:\n  tickets: Tickets are free today.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("exclude each other", "nlu", "publish", model, "--shadow", "--hold")
	refused("no app", "nlu", "publish", model, "--app", "nobody")
	refused("no such file", "nlu", "publish", filepath.Join(dir, "nothing"))
	refused("never published", "nlu", "activate", "0000000000000000")
	refused("nothing was live before", "nlu", "activate", "--back")
	var told struct{ Published client.PublishedModel }
	out, _ := do("nlu", "publish", model, "--flows", mine, "--hold", "--json")
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	asked("seven euros")
	do("nlu", "activate", told.Published.Version)
	asked("free today")
	if got, _ := do("nlu", "models"); !strings.Contains(got, told.Published.Version+"  live") {
		t.Errorf("models:\n%s", got)
	}
	do("nlu", "activate", "--back")
	asked("seven euros")
	if got, errs := do("nlu", "publish", model, "--shadow"); !strings.Contains(got, "listening only") || !strings.Contains(errs, "this version none") {
		t.Errorf("%s%s", got, errs)
	}
	do("nlu", "activate", "--none", "shadow")
	if got, _ := do("nlu", "models"); strings.Contains(got, "shadow") {
		t.Errorf("models:\n%s", got)
	}

	w := &watch{
		learning: learning{seed: 1, tier: "fast"}, dir: model, out: filepath.Join(dir, modelFile),
		publish: true, to: &publishing{conn: &connection{url: url}, flows: mine},
	}
	next, stop := watching(t, w)
	if line := next(); !strings.Contains(line, "tests passed") {
		t.Errorf("watch: %s", line)
	}
	if line := next(); !strings.Contains(line, " is live") {
		t.Errorf("watch: %s", line)
	}
	asked("free today")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// labelled labels what was not understood, as the page does: it is added to a
// project once, and is no question any more.
func labelled(t *testing.T, url, model string, do func(line ...string) string) {
	t.Helper()
	project := filepath.Join(t.TempDir(), "project")
	if err := os.CopyFS(project, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	node, err := client.New(client.Options{BaseURLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	missed, _, err := node.Unknown(t.Context(), "", 10)
	if err != nil || len(missed) != 1 || missed[0].Label != "" {
		t.Fatalf("%+v, %v", missed, err)
	}
	if err := node.Label(t.Context(), []client.Label{{ID: missed[0].ID, Intent: "chit_chat"}}); err != nil {
		t.Fatal(err)
	}
	if got := do("nlu", "learn", project, "--labelled"); !strings.Contains(got, "1 lines were added") {
		t.Errorf("labelled: %s", got)
	}
	if b, err := os.ReadFile(filepath.Join(project, "learned", "chit_chat.yaml")); err != nil || !strings.Contains(string(b), "- purple monkey dishwasher") {
		t.Errorf("%s, %v", b, err)
	}
	if got := do("nlu", "learn", project, "--labelled"); !strings.Contains(got, "Nothing was added") {
		t.Errorf("labelled again: %s", got)
	}
	if got := do("nlu", "learn", project, "--json"); strings.Contains(got, "purple") {
		t.Errorf("asked again: %s", got)
	}
}

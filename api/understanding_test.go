package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/understand"
)

const analysis = `{"kind":"Conversation","analysisInput":{"conversationItem":{"id":"1","participantId":"1","text":"🍰 when does the fortress open"}},` +
	`"parameters":{"projectName":"cityguide","deploymentName":"production","stringIndexType":"Utf16CodeUnit"}}`

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// understandings asks what texts mean, in the words of LUIS and CLU, and gives
// the node another model.
func understandings(t *testing.T, c *caller) {
	t.Helper()
	v3 := "/luis/prediction/v3.0/apps/cityguide/slots/production/predict"
	if got := c.ok(200, "GET", v3+"?query=how+much+is+a+day+ticket&verbose=true&show-all-intents=true&log=false", ""); got.text("prediction.topIntent") != "tickets" {
		t.Errorf("%s", got.body)
	}
	c.ok(200, "POST", v3+"?verbose=true", `{"query":"a table for two tomorrow at 8","options":{"datetimeReference":"2026-03-04T10:00:00Z"}}`)
	version := c.ok(200, "GET", "/api/v1/understanding/models", "").text("apps.0.live")
	of := "/luis/prediction/v3.0/apps/cityguide/versions/"
	c.ok(200, "GET", of+version+"/predict?query=thanks", "")
	c.ok(200, "POST", of+version+"/predict", `{"query":"thanks"}`)
	v2 := "/luis/v2.0/apps/cityguide"
	if got := c.ok(200, "GET", v2+"?q=how+much+is+a+day+ticket&verbose=true&timezoneOffset=60", ""); got.text("topScoringIntent.intent") != "tickets" {
		t.Errorf("%s", got.body)
	}
	c.ok(200, "POST", v2, `"a table for two tomorrow at 8"`)
	if got := c.ok(200, "POST", "/language/:analyze-conversations?api-version=2023-04-01", analysis); got.get("result.prediction.entities.0.offset") != 17.0 {
		t.Errorf("%s", got.body)
	}
	long := strings.Repeat("x", 70_000)
	for _, path := range []string{v3, of + version + "/predict", v2} {
		other := strings.Replace(path, "cityguide", "nobody", 1)
		c.ok(400, "GET", path, "")
		c.ok(404, "GET", other+"?query=x&q=x", "")
		if path == v2 {
			c.bad(400, "POST", path, `{"q":"x"}`)
			c.ok(404, "POST", other, `"x"`)
			c.ok(413, "POST", path, `"`+long+`"`)
			continue
		}
		c.bad(400, "POST", path, `{}`)
		c.bad(400, "POST", path, `{"query":7}`)
		c.ok(404, "POST", other, `{"query":"x"}`)
		c.ok(413, "POST", path, `{"query":"`+long+`"}`)
	}
	clu := "/language/:analyze-conversations"
	c.bad(400, "POST", clu, `{"kind":"Poem"}`)
	c.ok(404, "POST", clu, strings.Replace(analysis, "cityguide", "nobody", 1))
	c.ok(413, "POST", clu, strings.Replace(analysis, "fortress", long, 1))
	c.ok(404, "GET", strings.Replace(v3, "production", "staging", 1)+"?query=x", "")

	flows := filepath.Join(t.TempDir(), "flows.yaml")
	if err := os.WriteFile(flows, []byte("flows:\n  thanks: You are welcome.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pack, _, err := understand.Make(t.Context(), understand.Source{Path: "../examples/nlu/cityguide", Flows: flows})
	if err != nil {
		t.Fatal(err)
	}
	zip := c.with("Content-Type", "application/zip")
	models := "/api/v1/understanding/models/"
	published := zip.ok(200, "PUT", models+"cityguide", string(pack)).text("version")
	zip.ok(400, "PUT", models+"cityguide", "this is no package")
	c.bad(400, "PUT", models+"cityguide", `{}`)
	zip.ok(404, "PUT", models+"nobody", string(pack))
	c.ok(400, "POST", models+"cityguide/activate", `{}`)
	c.ok(404, "POST", models+"cityguide/activate", `{"version":"0000000000000000"}`)
	c.ok(413, "POST", models+"cityguide/activate", `{"version":"`+long+`"}`)
	if got := c.ok(200, "POST", models+"cityguide/activate", `{"version":"`+published+`","role":"shadow"}`); got.text("apps.0.shadow") != published {
		t.Errorf("%s", got.body)
	}
	c.ok(200, "GET", strings.Replace(v3, "production", "staging", 1)+"?query=thanks", "")
	c.ok(200, "POST", models+"cityguide/activate", `{"role":"shadow"}`)

	unknown := "/api/v1/understanding/unknown"
	c.ok(400, "GET", unknown+"?cursor=nonsense", "")

	// A message carries what was understood of it.
	path := "/api/v1/conversations/" + c.ok(201, "POST", "/api/v1/conversations", `{"bot":"slow"}`).text("id")
	turn := c.ok(202, "POST", path+"/activities", `{"type":"message","text":"how much is a day ticket to the castle"}`).text("turn")
	c.ok(202, "POST", path+"/turns/"+turn+"/stop", "")
	c.until("GET", path+"/events", "", func(e sse) bool {
		return e.name == "turn" && !strings.Contains(e.data, "queued") && !strings.Contains(e.data, "running")
	})
	turn = c.ok(202, "POST", path+"/activities", `{"type":"message","text":"zzxq wvvk to ann.lee@corp.example pqrj"}`).text("turn")
	c.until("GET", path+"/events", "", turnIs(turn, "done"))
	missed := c.ok(200, "GET", unknown, "")
	if !strings.Contains(missed.body, "zzxq wvvk to someone") || strings.Contains(missed.body, "ann.lee") || missed.get("items.0.label") != "" {
		t.Errorf("%s", missed.body)
	}
	sort := models + "cityguide/groups"
	sorted := c.ok(200, "POST", sort, `{"texts":["purple monkey dishwasher","how much is a day ticket","zzxq wvvk","Purple monkey dishwasher "]}`)
	if diff := cmp.Diff([]any{0.0, 3.0}, sorted.get("groups.0.texts")); diff != "" {
		t.Errorf("%s\n%s", diff, sorted.body)
	}
	c.ok(404, "POST", models+"nobody/groups", `{"texts":["x"]}`)
	c.bad(400, "POST", sort, `{"texts":"x"}`)
	c.ok(413, "POST", sort, `{"texts":["`+long+`"]}`)
	labels, id := "/api/v1/understanding/labels", missed.text("items.0.id")
	c.ok(204, "POST", labels, `{"labels":[{"id":"`+id+`","intent":"opening_hours"}]}`)
	if got := c.ok(200, "GET", unknown, ""); got.get("items.0.label") != "opening_hours" || got.get("items.0.taken") != false {
		t.Errorf("%s", got.body)
	}
	c.ok(400, "POST", labels, `{"labels":[{"id":"`+id+`","intent":"a/b"}]}`)
	c.ok(413, "POST", labels, `{"labels":[{"id":"`+id+`","intent":"`+long+`"}]}`)
	if got := c.ok(200, "GET", path+"/activities", ""); got.text("activities.0.channelData.parley.understanding.model") != "cityguide@"+version {
		t.Errorf("%s", got.body)
	}
}

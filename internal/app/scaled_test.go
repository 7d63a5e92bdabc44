package app_test

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/config"
)

// An engine that sleeps is no reason to say that the node is not well, and is
// told of.
func TestANodeWhoseEngineSleeps(t *testing.T) {
	c, err := config.Parse("parley.yaml", []byte("listen: 127.0.0.1:0\ndata: "+t.TempDir()+`
engines:
  - {name: nap, kind: process, command: [/no/such/server, "{port}"], models: [m], scale: {max: 2}}
  - {name: demo, kind: demo}
`), []string{"HOME=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, c)
	defer stop(t, a)
	var info struct {
		Engine struct {
			Name, Model, Problem string
			Ready                bool
		}
	}
	if status := get(t, a.URL()+"/api/v1/info", &info); status != 200 || info.Engine.Ready || info.Engine.Model != "m" || !strings.Contains(info.Engine.Problem, "sleeps") {
		t.Errorf("info: %d %+v", status, info)
	}
	if status := get(t, a.URL()+"/readyz", nil); status != 200 {
		t.Errorf("ready: %d", status)
	}
	var scale struct {
		Engines []struct {
			Name     string
			Wanted   int
			Replicas *struct{ Ready int }
		}
	}
	if status := get(t, a.URL()+"/api/v1/scale", &scale); status != 200 || len(scale.Engines) != 1 || scale.Engines[0].Name != "nap" || scale.Engines[0].Replicas == nil {
		t.Errorf("scale: %d %+v", status, scale)
	}
}

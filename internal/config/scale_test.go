package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/scale"
)

func TestScaledEngines(t *testing.T) {
	c, err := config.Parse("p.yaml", []byte(`
engines:
  - {name: a, kind: process, command: [server, "--port={port}"], models: [m], slots: 2}
  - {name: b, kind: embedded, scale: {max: 3, min: 1, target: 5, spare: 1, hold: 1m, idle: 2m}}
`), []string{"HOME=/home/x"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Engines[0].Limits(), (scale.Limits{Max: 1, Target: 2, Hold: 5 * time.Minute, Idle: 5 * time.Minute}); got != want || !c.Engines[0].Scaled() {
		t.Errorf("%+v", got)
	}
	if got, want := c.Engines[1].Limits(), (scale.Limits{Min: 1, Max: 3, Target: 5, Spare: 1, Hold: time.Minute, Idle: 2 * time.Minute}); got != want {
		t.Errorf("%+v", got)
	}
	for line, says := range map[string]string{
		"kind: process, models: [m]":                                                      "needs the command",
		"kind: process, models: [m], command: [server]":                                   "{port}",
		"kind: process, command: [server, \"{port}\"]":                                    "name the model",
		"kind: process, command: [server, \"{port}\"], models: [m], url: \"http://x/v1\"": "no server to reach",
		"kind: process, command: [server, \"{port}\"], models: [m], scale: {min: 2}":      "0 <= min <= max",
		"kind: process, command: [server, \"{port}\"], models: [m], scale: {max: -1}":     "out of bounds",
		"kind: process, command: [server, \"{port}\"], models: [m], resume: exact":        "token ids",
		"kind: embedded, scale: {min: 1}":                                                 "scale.max",
		"kind: embedded, scale: {max: 2, spare: 2}":                                       "spare",
		"kind: embedded, command: [x, \"{port}\"]":                                        "kind process",
		"kind: demo, scale: {max: 2}":                                                     "not scaled",
		"kind: openai, url: \"http://x/v1\", scale: {max: 2}":                             "counted by model",
		"kind: demo, region: north":                                                       "is where this node is",
		"kind: embedded, scale: 3":                                                        "keys and values",
		"kind: embedded, scale: {maxx: 3}":                                                "did you mean",
	} {
		_, err := config.Parse("p.yaml", []byte("engines:\n  - {name: a, "+line+"}\n"), []string{"HOME=/home/x"})
		var all config.Problems
		if !errors.As(err, &all) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q in it", line, err, says)
		}
	}
}

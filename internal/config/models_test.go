package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/config"
)

func TestModels(t *testing.T) {
	const engines = `
engines:
  - {name: a, kind: openai, url: "http://x/v1", models: [main, next]}
  - {name: b, kind: openai, url: "http://y/v1", models: [spare]}
models:
`
	c, err := config.Parse("p.yaml", []byte(engines+`
  - {name: smart, serve: [main, next 5%], fallback: [spare, b/spare], on: [down, refused], wait: 2s}
  - {name: main, shadow: next 10%}
  - {name: next, serve: [next, main 12.5 %]}
`), []string{"HOME=/home/x"})
	if err != nil || len(c.Models) != 3 {
		t.Fatalf("%+v %v", c.Models, err)
	}
	if s, err := config.ShareOf(c.Models[2].Serve[1]); err != nil || s != (config.Share{Model: "main", Percent: 12.5}) {
		t.Errorf("%+v %v", s, err)
	}
	for line, says := range map[string]string{
		"{serve: [main]}":                                             "name",
		"{name: x, serve: [main, other]}":                             "no engine serves the model \"other\"",
		"{name: x, serve: [main, next]}":                              "only one can get",
		"{name: x, serve: [main 50%, next 40%]}":                      "90%",
		"{name: x, serve: [main, next 100%]}":                         "leaves nothing",
		"{name: x, serve: [main 60%, main 40%]}":                      "twice",
		"{name: x, serve: [main 0%, next]}":                           "more than 0%",
		"{name: x, serve: [main -5%, next]}":                          "its share",
		"{name: x, serve: [main NaN%, next]}":                         "its share",
		"{name: x, serve: [main 1000%, next]}":                        "at most 100%",
		"{name: x, serve: [main], fallback: [nobody]}":                "no engine serves",
		"{name: x, serve: [main], fallback: [next], on: [sometimes]}": "not one of the words",
		"{name: x, serve: [main], on: [down]}":                        "there is none",
		"{name: x, serve: [main], fallback: [next], wait: 1h}":        "out of bounds",
		"{name: x, serve: [main], shadow: main}":                      "answers these requests already",
		"{name: x, serve: [main], shadow: next 0%}":                   "more than 0%",
		"{name: main, hedge: 100}":                                    "out of bounds",
		"{name: main, hedge_share: 5}":                                "is not there",
		"{name: x}":                                                   "no engine serves",
		"{name: x, serve: [main]}\n  - {name: y, serve: [x]}":         "itself a name",
		"{name: x, serve: [main]}\n  - {name: x, serve: [next]}":      "another entry",
		"{name: x, server: [main]}":                                   "did you mean",
	} {
		_, err := config.Parse("p.yaml", []byte(engines+"  - "+line+"\n"), []string{"HOME=/home/x"})
		var all config.Problems
		if !errors.As(err, &all) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q in it", line, err, says)
		}
	}
}

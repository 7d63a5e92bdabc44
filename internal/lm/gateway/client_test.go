package gateway_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/gateway"
)

// OpenAI's published Python client is the judge of the translated surface.
// PARLEY_PYTHON names a Python that has the package openai.
func TestOpenAIsOwnClient(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("needs PARLEY_TEST_REAL=1 and a Python with the package openai")
	}
	python := os.Getenv("PARLEY_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import openai").CombinedOutput(); err != nil {
		t.Skipf("%s has no package openai (pip install openai): %s", python, out)
	}
	url := serve(t, gateway.Options{}, demo.Canned(demo.CannedOptions{Words: 8}), demo.Canned(demo.CannedOptions{
		Name: "fragile", Model: "fragile", Resume: lm.Restart, Fault: demo.Fault{Kind: demo.Cut, After: 3},
	}))
	out, err := exec.CommandContext(t.Context(), python, "testdata/client.py", url).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := strings.Join([]string{
		`{"name": "whole", "text": "w0 w1 w2 w3 ", "finish": "length", "tokens": 10}`,
		`{"name": "stream", "text": "w0 w1 w2 w3 w4 w5 w6 w7 ", "finish": "stop", "tokens": 8}`,
		`{"name": "plain", "text": "w0 w1 ", "finish": "length"}`,
		`{"name": "embeddings", "count": 2, "size": 64}`,
		`{"name": "models", "ids": ["canned", "fragile"]}`,
		`{"name": "unknown model", "error": "NotFoundError", "code": "model_not_found"}`,
		`{"name": "tools", "error": "BadRequestError", "code": "unsupported"}`,
		`{"name": "cut", "error": "APIError", "code": "engine_unavailable"}`,
	}, "\n") + "\n"
	if d := cmp.Diff(want, string(out)); d != "" {
		t.Error(d)
	}
}

package openai

import (
	"context"
	"net/http"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Embed asks for one vector for each input.
func (e *Engine) Embed(ctx context.Context, model string, inputs []string) ([][]float32, lm.Usage, error) {
	if len(inputs) == 0 {
		return nil, lm.Usage{}, fault.New(fault.Invalid, "nothing to embed")
	}
	model, err := e.model(ctx, model)
	if err != nil {
		return nil, lm.Usage{}, err
	}
	if err := pathSafe(model); err != nil {
		return nil, lm.Usage{}, err
	}
	var out struct {
		Data []struct {
			Index  int       `json:"index"`
			Vector []float32 `json:"embedding"`
		} `json:"data"`
		Usage usage `json:"usage"`
	}
	in := map[string]any{"model": model, "input": inputs, "encoding_format": "float"}
	if _, err := e.call(ctx, http.MethodPost, e.address("embeddings", model), in, &out); err != nil {
		return nil, lm.Usage{}, e.noEmbeddings(err)
	}
	vec := make([][]float32, len(inputs))
	for _, d := range out.Data {
		if d.Index < 0 || d.Index >= len(vec) {
			return nil, lm.Usage{}, fault.New(fault.Unavailable, "the engine %q numbered its embeddings wrongly", e.o.Name)
		}
		vec[d.Index] = d.Vector
	}
	if slices.ContainsFunc(vec, func(v []float32) bool { return len(v) == 0 }) {
		return nil, lm.Usage{}, fault.New(fault.Unavailable, "the engine %q left embeddings out", e.o.Name)
	}
	u := out.Usage.counts()
	return vec, lm.Usage{Prompt: u.Prompt, Cached: u.Cached}, nil
}

// noEmbeddings turns "no such address" into Unsupported: servers without
// embeddings say 404, unknown models too, but then the engine still answers.
func (e *Engine) noEmbeddings(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(err, fault.Unsupported, "the engine %q makes no embeddings with this model", e.o.Name)
	}
	return err
}

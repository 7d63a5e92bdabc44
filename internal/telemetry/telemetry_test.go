package telemetry_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/telemetry"
)

// The names, labels and buckets that the GenAI conventions give.
func TestConventions(t *testing.T) {
	m := telemetry.New("v1", "north")
	m.FirstToken("gpu-1", "llama", 70*time.Millisecond)
	m.NextToken("gpu-1", "llama", 20*time.Millisecond)
	m.TurnEnded("gpu-1", "llama", event.Ok, time.Second, lm.Usage{Prompt: 100, Completion: 20, Cached: 60})
	m.Answered("text_completion", "gpu-1", "llama", "unavailable", time.Second, lm.Usage{Prompt: -5, Completion: -7, Cached: 1 << 60})
	m.Answered("embeddings", "gpu-1", "llama", "", time.Second, lm.Usage{Prompt: 10, Cached: 1 << 60}) // an engine that lies
	m.Resumed("gpu-1", "llama", lm.Prefill)
	m.Listened("gpu-2", "next", "answered", time.Second, 2*time.Second, lm.Usage{Prompt: 9, Completion: 3})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	const by = `gen_ai_provider_name="gpu-1",gen_ai_request_model="llama"`
	for _, want := range []string{
		`gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_operation_name="chat",` + by + `,region="north",le="0.08"} 1`,
		`gen_ai_server_time_per_output_token_seconds_bucket{gen_ai_operation_name="chat",` + by + `,region="north",le="0.025"} 1`,
		`gen_ai_client_operation_duration_seconds_count{error_type="",gen_ai_operation_name="chat",` + by + `,region="north"} 1`,
		`gen_ai_client_operation_duration_seconds_count{error_type="unavailable",gen_ai_operation_name="text_completion",` + by + `,region="north"} 1`,
		`gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",` + by + `,gen_ai_token_type="input",region="north"} 100`,
		`gen_ai_client_token_usage_bucket{gen_ai_operation_name="chat",` + by + `,gen_ai_token_type="output",region="north",le="6.7108864e+07"} 1`,
		`parley_engine_prompt_tokens_total{cache="hit",` + by + `,region="north"} 70`,
		`parley_engine_prompt_tokens_total{cache="miss",` + by + `,region="north"} 40`,
		`parley_turns_resumed_total{` + by + `,policy="prefill",region="north"} 1`,
		`parley_shadow_requests_total{gen_ai_provider_name="gpu-2",gen_ai_request_model="next",outcome="answered",region="north"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(w.Body.String()) {
			if strings.HasPrefix(line, "gen_ai") || strings.HasPrefix(line, "parley_") {
				fmt.Print(line)
			}
		}
	}
}

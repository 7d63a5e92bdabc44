package openai

import (
	"fmt"
	"strings"

	"github.com/parleyhq/parley/internal/lm"
)

// Row says what one kind of server does when it is to go on with an answer that
// another one began. Continue is Prefill; Restart and Fail are what is done
// instead: never a text that is put together blindly.
type Row struct {
	Dialect Dialect
	Server  string
	How     string // what the driver sends
	Chat    lm.Policy
	Raw     lm.Policy // completions without a template
	Schema  lm.Policy // JSON schema or grammar
	Think   lm.Policy // text after reasoning that the client has seen or not
	Tools   lm.Policy
	Why     string // the facts, with where they are from
	Judge   string // what keeps the row true
}

// Continuations is the table, one row for each dialect.
//
// Nobody continues an answer with tools: what came so far may be half a call,
// and the parser of calls does not see the text before the cut.
func Continuations() []Row {
	const mock = "a mock of its manners"
	return []Row{
		{
			Dialect: LlamaServer, Server: "llama-server (llama.cpp)",
			How:  "`/apply-template` with the text so far as last message; what it renders must end in that text; then `/v1/completions`",
			Chat: lm.Prefill, Raw: lm.Prefill, Schema: lm.Restart, Think: lm.Prefill, Tools: lm.Fail,
			Why:   "Older versions render a closed message: there the text is put behind the generation prompt, unless that opens a thought. `/v1/completions` begins a grammar anew; chat goes on in it, in recent versions only (seen), and sends the text back first.",
			Judge: "real server (v0.5.0, SmolLM2) and mocks of the older manners",
		},
		{
			Dialect: VLLM, Server: "vLLM",
			How:  "the text so far as last message, `continue_final_message: true`, `add_generation_prompt: false`",
			Chat: lm.Prefill, Raw: lm.Prefill, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "Extra parameters of [its chat API](https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html); without them it [answers anew](https://github.com/vllm-project/vllm/issues/6772). A reasoning parser takes what follows for a thought, and a grammar begins with the first new token.",
			Judge: mock,
		},
		{
			Dialect: TGI, Server: "Text Generation Inference",
			How:  "the text so far as last message",
			Chat: lm.Prefill, Raw: lm.Prefill, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "It cuts the rendered prompt behind a last assistant message ([#2733](https://github.com/huggingface/text-generation-inference/pull/2733)), white space at its end included.",
			Judge: mock,
		},
		{
			Dialect: Ollama, Server: "Ollama",
			How:  "the text so far as last message, after `/api/chat` with `_debug_render_only` has shown that the model's template leaves it open",
			Chat: lm.Prefill, Raw: lm.Restart, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "[Meant to continue](https://github.com/ollama/ollama/issues/6778), but it is up to the template: its own `chatml`, which imported models get, and `llama3-instruct` close the message and begin another one (seen). A format begins anew (seen). `/v1/completions` puts the prompt into a template as well.",
			Judge: "real server (v0.17.4, SmolLM2 with a template of each kind) and a mock of both",
		},
		{
			Dialect: OpenAI, Server: "OpenAI",
			How:  "nothing",
			Chat: lm.Restart, Raw: lm.Restart, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "A last assistant message is history; [the API](https://platform.openai.com/docs/api-reference/chat/create) has nothing to continue one.",
			Judge: mock,
		},
		{
			Dialect: Azure, Server: "Azure OpenAI",
			How:  "nothing",
			Chat: lm.Restart, Raw: lm.Restart, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "As OpenAI.",
			Judge: mock,
		},
		{
			Dialect: Anthropic, Server: "Anthropic, by its OpenAI-compatible address",
			How:  "nothing; with `resume: prefill`, for models before 4.6, the text so far as last message",
			Chat: lm.Restart, Raw: lm.Fail, Schema: lm.Fail, Think: lm.Restart, Tools: lm.Fail,
			Why:   "[Since Claude 4.6](https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6) a last assistant message is refused (400), before that one that ends in white space. `response_format` is [ignored](https://platform.claude.com/docs/en/api/openai-sdk): the driver refuses a schema, cut or not.",
			Judge: mock,
		},
		{
			Dialect: Generic, Server: "any other",
			How:  "nothing; with `resume: prefill` the text so far as last message",
			Chat: lm.Restart, Raw: lm.Restart, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail,
			Why:   "Nothing is known of it.",
			Judge: mock,
		},
	}
}

// continuation is the dialect's row.
func continuation(d Dialect) Row {
	for _, r := range Continuations() {
		if r.Dialect == d {
			return r
		}
	}
	return Row{Chat: lm.Restart, Raw: lm.Restart, Schema: lm.Restart, Think: lm.Restart, Tools: lm.Fail}
}

// ContinuationTable is the table as docs/continuation.md has it.
func ContinuationTable() string {
	var b strings.Builder
	word := func(p lm.Policy) string {
		if p == lm.Prefill {
			return "**continue**"
		}
		return string(p)
	}
	b.WriteString("| `dialect` | text | raw prompt | schema, grammar | after reasoning | tools | what is sent | judged by |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range Continuations() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", r.Dialect, word(r.Chat), word(r.Raw), word(r.Schema), word(r.Think), word(r.Tools), r.How, r.Judge)
	}
	b.WriteString("\n")
	for _, r := range Continuations() {
		fmt.Fprintf(&b, "- **%s.** %s\n", r.Server, r.Why)
	}
	return b.String()
}

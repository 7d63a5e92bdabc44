package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// wireRequest are the fields of chat/completions and completions that engines
// without HTTP can follow, and those that they must refuse. Others are ignored,
// as OpenAI's own servers ignore what does not change the answer.
type wireRequest struct {
	Model         string        `json:"model"`
	Messages      []wireMessage `json:"messages"`
	Prompt        text          `json:"prompt"`
	Stream        bool          `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens        *int     `json:"max_tokens"`
	MaxCompletion    *int     `json:"max_completion_tokens"`
	Temperature      *float64 `json:"temperature"`
	TopP             *float64 `json:"top_p"`
	TopK             *int     `json:"top_k"`
	MinP             *float64 `json:"min_p"`
	RepeatPenalty    *float64 `json:"repeat_penalty"`
	Repetition       *float64 `json:"repetition_penalty"`
	PresencePenalty  *float64 `json:"presence_penalty"`
	FrequencyPenalty *float64 `json:"frequency_penalty"`
	Seed             *int64   `json:"seed"`
	Stop             texts    `json:"stop"`
	Grammar          string   `json:"grammar"`
	ResponseFormat   *struct {
		Type   string `json:"type"`
		Schema *struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`

	N           *int            `json:"n"`
	BestOf      *int            `json:"best_of"`
	Echo        bool            `json:"echo"`
	Suffix      string          `json:"suffix"`
	Logprobs    json.RawMessage `json:"logprobs"`
	TopLogprobs json.RawMessage `json:"top_logprobs"`
	LogitBias   json.RawMessage `json:"logit_bias"`
	Tools       []anyObject     `json:"tools"`
	ToolChoice  json.RawMessage `json:"tool_choice"`
	Functions   []anyObject     `json:"functions"`
	Audio       json.RawMessage `json:"audio"`
}

// anyObject is one whose fields nobody here reads.
type anyObject map[string]json.RawMessage

type wireMessage struct {
	Role      string          `json:"role"`
	Content   text            `json:"content"`
	ToolCalls []anyObject     `json:"tool_calls"`
	Function  json.RawMessage `json:"function_call"`
}

// errKind is returned by our own readers of fields.
var errKind = errors.New("wrong type")

// text is a string, null, a list of one string, or content parts of type text.
type text struct {
	s     string
	there bool
	plain bool   // a list of strings, as prompts may be and content may not
	other string // kind of a content part that is no text
}

// UnmarshalJSON reads any of the forms.
func (t *text) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	t.there = true
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.s)
	}
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		return errKind
	}
	var out strings.Builder
	for i, raw := range list {
		var s *string
		if json.Unmarshal(raw, &s) == nil {
			if s == nil {
				return errKind
			}
			if i > 0 {
				t.other = "a list of prompts"
			}
			t.plain = true
			out.WriteString(*s)
			continue
		}
		var part struct {
			Type string  `json:"type"`
			Text *string `json:"text"`
		}
		switch err := json.Unmarshal(raw, &part); {
		case err != nil && bytes.ContainsAny(raw[:1], "0123456789["):
			t.other = "a list of token ids"
		case err != nil:
			return errKind
		case part.Text != nil && (part.Type == "text" || part.Type == "input_text" || part.Type == "output_text"):
			out.WriteString(*part.Text)
		default:
			t.other = "content of type " + short(part.Type)
		}
	}
	t.s = out.String()
	return nil
}

// texts is a string, null, or a list of strings.
type texts []string

// UnmarshalJSON reads any of the forms.
func (t *texts) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil && *s != "" {
			*t = texts{*s}
		}
		return nil
	}
	var list []string
	if json.Unmarshal(b, &list) != nil {
		return errKind
	}
	*t = list
	return nil
}

// decode reads JSON into v; the error names the field.
func decode(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind) && kind.Field != "":
		return about(kind.Field, bad("%s must not be a JSON %s", kind.Field, kind.Value))
	case errors.Is(err, errKind):
		return bad("a field of the request that takes a text or a list of texts has something else")
	}
	return fault.Wrap(err, fault.Invalid, "the request is not valid JSON")
}

// parse makes a lm.Request of a request for chat or for a plain completion.
func parse(op Op, body []byte) (wireRequest, lm.Request, error) {
	var in wireRequest
	var out lm.Request
	if err := decode(body, &in); err != nil {
		return in, out, err
	}
	if err := in.refuse(); err != nil {
		return in, out, err
	}
	var err error
	if out.Params, err = in.params(op); err != nil {
		return in, out, err
	}
	if op == Completions {
		switch {
		case in.Prompt.other != "":
			return in, out, cant("prompt", in.Prompt.other)
		case in.Prompt.s == "":
			return in, out, about("prompt", bad("the field prompt is missing or empty"))
		}
		out.Prompt = in.Prompt.s
		return in, out, nil
	}
	if len(in.Messages) == 0 {
		return in, out, about("messages", bad("the field messages is missing or empty"))
	}
	for i, m := range in.Messages {
		msg, err := m.message(i)
		if err != nil {
			return in, out, err
		}
		out.Messages = append(out.Messages, msg)
	}
	return in, out, nil
}

func cant(param, what string) error {
	return about(param, fault.New(fault.Unsupported, "this model's engine does not support %s", what))
}

// set reports whether a field is there and says more than nothing.
func set(raw json.RawMessage) bool {
	switch s := string(bytes.TrimSpace(raw)); s {
	case "", "null", "false", "[]", "{}", "0":
		return false
	}
	return true
}

// refuse names what the request asks for and no translated engine can do: a
// silent half answer would be worse.
func (in *wireRequest) refuse() error {
	noTools := string(in.ToolChoice) == `"none"`
	switch {
	case in.N != nil && *in.N != 1:
		return cant("n", "more than one answer to a request")
	case in.BestOf != nil && *in.BestOf > 1:
		return cant("best_of", "more than one answer to a request")
	case set(in.Logprobs):
		return cant("logprobs", "log probabilities")
	case set(in.TopLogprobs):
		return cant("top_logprobs", "log probabilities")
	case set(in.LogitBias):
		return cant("logit_bias", "a bias of tokens")
	case len(in.Tools) > 0 && !noTools:
		return cant("tools", "tools")
	case len(in.Functions) > 0:
		return cant("functions", "functions")
	case set(in.Audio):
		return cant("audio", "audio")
	case in.Echo:
		return cant("echo", "echo")
	case in.Suffix != "":
		return cant("suffix", "a suffix")
	}
	return nil
}

// params checks the sampling parameters.
func (in *wireRequest) params(op Op) (lm.Params, error) {
	p := lm.Params{
		Temperature: in.Temperature, TopP: in.TopP, TopK: in.TopK, MinP: in.MinP, RepeatPenalty: in.RepeatPenalty,
		PresencePenalty: in.PresencePenalty, FrequencyPenalty: in.FrequencyPenalty, Seed: in.Seed, Stop: in.Stop, Grammar: in.Grammar,
	}
	if p.RepeatPenalty == nil {
		p.RepeatPenalty = in.Repetition
	}
	if name, why := p.OutOfRange(); name != "" {
		return p, about(name, bad("%s", why))
	}
	limit := in.MaxTokens
	if in.MaxCompletion != nil {
		limit = in.MaxCompletion
	}
	switch {
	case limit != nil && *limit < 1:
		return p, about("max_tokens", bad("max_tokens must be 1 or more"))
	case limit != nil:
		p.MaxTokens = *limit
	case op == Completions:
		p.MaxTokens = 16 // OpenAI's default for this operation
	}
	return p, in.format(&p)
}

// format reads response_format.
func (in *wireRequest) format(p *lm.Params) error {
	f := in.ResponseFormat
	if f == nil {
		return nil
	}
	if f.Schema != nil && len(f.Schema.Schema) > 0 && f.Schema.Schema[0] != '{' {
		return about("response_format", bad("response_format.json_schema.schema must be a JSON schema"))
	}
	switch f.Type {
	case "text":
	case "json_object":
		p.Schema = json.RawMessage(`{"type":"object"}`)
	case "json_schema":
		if f.Schema == nil || len(f.Schema.Schema) == 0 {
			return about("response_format", bad("response_format.json_schema.schema is missing"))
		}
		p.Schema = f.Schema.Schema
	default:
		return cant("response_format", "answers of type "+short(f.Type))
	}
	return nil
}

func (m *wireMessage) message(i int) (lm.Message, error) {
	out := lm.Message{Text: m.Content.s}
	switch m.Role {
	case "system", "developer":
		out.Role = lm.System
	case "user":
		out.Role = lm.User
	case "assistant":
		out.Role = lm.Assistant
	case "tool", "function":
		out.Role = lm.Tool
	default:
		return out, about("messages", bad("message %d has the role %q; it must be system, developer, user, assistant or tool", i+1, short(m.Role)))
	}
	switch {
	case len(m.ToolCalls) > 0 || set(m.Function):
		return out, cant("messages", "calls of tools")
	case m.Content.plain:
		return out, about("messages", bad("message %d: content must be a text or a list of parts, each an object with a type", i+1))
	case m.Content.other != "":
		return out, cant("messages", m.Content.other)
	case !m.Content.there:
		return out, about("messages", bad("message %d has no content", i+1))
	}
	return out, nil
}

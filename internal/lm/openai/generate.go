package openai

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// request is the body of a completion. Fields that no compatible server but
// one knows are left out of requests to the others.
type request struct {
	Model            string   `json:"model"`
	Messages         []any    `json:"messages,omitempty"`
	Prompt           *string  `json:"prompt,omitempty"`
	Stream           bool     `json:"stream"`
	StreamOptions    any      `json:"stream_options,omitempty"`
	Temperature      *float64 `json:"temperature,omitempty"`
	TopP             *float64 `json:"top_p,omitempty"`
	TopK             *int     `json:"top_k,omitempty"`
	MinP             *float64 `json:"min_p,omitempty"`
	PresencePenalty  *float64 `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64 `json:"frequency_penalty,omitempty"`
	Seed             *int64   `json:"seed,omitempty"`
	Stop             []string `json:"stop,omitempty"`
	ResponseFormat   any      `json:"response_format,omitempty"`

	AddPrompt *bool `json:"add_generation_prompt,omitempty"`
	Continue  *bool `json:"continue_final_message,omitempty"`

	further map[string]any
}

// MarshalJSON adds the fields whose name depends on the dialect.
func (r request) MarshalJSON() ([]byte, error) {
	type plain request
	b, err := json.Marshal(plain(r))
	if err != nil || len(r.further) == 0 {
		return b, err
	}
	f, err := json.Marshal(r.further)
	if err != nil {
		return nil, err
	}
	b[len(b)-1] = ','
	return append(b, f[1:]...), nil
}

// messages are those of a request, raw ones as they are.
func messages(r lm.Request) ([]any, error) {
	out := make([]any, 0, len(r.Messages)+1)
	for i, m := range r.Messages {
		if len(m.Raw) > 0 {
			if !json.Valid(m.Raw) {
				return nil, fault.New(fault.Invalid, "message %d is not valid JSON", i+1)
			}
			out = append(out, m.Raw)
			continue
		}
		if len(m.Pictures) > 0 {
			out = append(out, pictured(m))
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

// pictured is a message whose content is a list of parts.
func pictured(m lm.Message) map[string]any {
	var parts []any
	for _, p := range m.Pictures {
		url := "data:" + p.Type + ";base64," + base64.StdEncoding.EncodeToString(p.Content)
		parts = append(parts, map[string]any{"type": "image_url", "image_url": map[string]string{"url": url}})
	}
	if m.Text != "" {
		parts = append(parts, map[string]any{"type": "text", "text": m.Text})
	}
	return map[string]any{"role": m.Role, "content": parts}
}

// compose makes the body and names the operation.
func (e *Engine) compose(model string, r lm.Request) (request, string, error) {
	p := r.Params
	q := request{
		Model: model, Stream: true, Temperature: p.Temperature, TopP: p.TopP,
		PresencePenalty: p.PresencePenalty, FrequencyPenalty: p.FrequencyPenalty, Seed: p.Seed, Stop: p.Stop,
		further: map[string]any{},
	}
	if e.d.usage {
		q.StreamOptions = map[string]bool{"include_usage": true}
	}
	if p.MaxTokens > 0 {
		q.further[e.d.maxField] = p.MaxTokens
	}
	if err := e.extras(&q, p); err != nil {
		return q, "", err
	}
	if len(r.Messages) == 0 {
		if r.Prompt == "" {
			return q, "", fault.New(fault.Invalid, "the request has neither messages nor a prompt")
		}
		return q, "completions", e.rawPrompt(&q, r)
	}
	msgs, err := messages(r)
	if err != nil {
		return q, "", err
	}
	q.Messages = msgs
	return q, "chat/completions", e.prefix(&q, r)
}

// extras sets what goes beyond OpenAI's API, or says that it can't.
func (e *Engine) extras(q *request, p lm.Params) error {
	if !e.d.sampling && (p.TopK != nil || p.MinP != nil || p.RepeatPenalty != nil) {
		return fault.New(fault.Unsupported, "the engine %q takes no top_k, min_p or repeat_penalty", e.o.Name)
	}
	q.TopK, q.MinP = p.TopK, p.MinP
	if p.RepeatPenalty != nil {
		q.further[e.d.repeat] = *p.RepeatPenalty
	}
	if len(p.Schema) > 0 {
		if !json.Valid(p.Schema) {
			return fault.New(fault.Invalid, "the schema is not valid JSON")
		}
		q.ResponseFormat = map[string]any{"type": "json_schema", "json_schema": map[string]any{
			"name": "answer", "strict": true, "schema": p.Schema,
		}}
	}
	if p.Grammar != "" {
		if e.d.grammar == "" {
			return fault.New(fault.Unsupported, "the engine %q takes no grammar", e.o.Name)
		}
		q.further[e.d.grammar] = p.Grammar
	}
	return nil
}

// prefix makes the server continue the answer so far.
func (e *Engine) prefix(q *request, r lm.Request) error {
	if r.Prefix == nil {
		return nil
	}
	how := e.prefills()
	if r.Prefix.Policy != lm.Prefill || how == noPrefill {
		return fault.New(fault.Unsupported, "the engine %q can't continue an answer by %q", e.o.Name, r.Prefix.Policy)
	}
	if r.Params.Constrained() {
		return fault.New(fault.Unsupported, "an answer that follows a grammar or schema can't be continued by its text")
	}
	if r.Prefix.Text == "" {
		return nil // nothing was shown: a new answer is its continuation
	}
	q.Messages = append(q.Messages, lm.Message{Role: lm.Assistant, Text: r.Prefix.Text})
	if how == continueFlags {
		yes, no := true, false
		q.Continue, q.AddPrompt = &yes, &no
	}
	return nil
}

// rawPrompt continues by the prompt's own end: any server can do that.
func (e *Engine) rawPrompt(q *request, r lm.Request) error {
	prompt := r.Prompt
	if r.Prefix != nil {
		if r.Prefix.Policy != lm.Prefill || e.prefills() == noPrefill {
			return fault.New(fault.Unsupported, "the engine %q can't continue an answer by %q", e.o.Name, r.Prefix.Policy)
		}
		prompt += r.Prefix.Text
	}
	q.Prompt = &prompt
	return nil
}

// Generate streams one answer.
func (e *Engine) Generate(ctx context.Context, r lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	ctx, cancel := e.live(ctx)
	defer cancel(nil)
	if ctx.Err() != nil {
		return lm.Result{}, e.broken(ctx, ctx.Err())
	}
	// An empty request is refused before any question to the server.
	if _, _, err := e.compose("", r); err != nil {
		return lm.Result{}, err
	}
	model, err := e.model(ctx, r.Model)
	if err != nil {
		return lm.Result{}, err
	}
	if err := pathSafe(model); err != nil {
		return lm.Result{}, err
	}
	if r, err = e.rendered(ctx, r); err != nil {
		return lm.Result{}, err
	}
	q, op, err := e.compose(model, r)
	if err != nil {
		return lm.Result{}, err
	}
	limit := e.watch(cancel)
	defer limit.Stop()
	resp, err := e.send(ctx, http.MethodPost, e.address(op, model), q, "text/event-stream")
	if err != nil {
		return lm.Result{Model: model}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return lm.Result{Model: model}, e.refused(resp)
	}
	s := &stream{e: e, emit: emit, stop: stopFilter{stops: r.Params.Stop}, echo: echoFilter{of: e.mayEcho(r)}, res: lm.Result{Model: model}}
	err = s.read(ctx, &patient{r: resp.Body, t: limit, d: e.o.Stall})
	return s.res, err
}

// rendered turns a continuation into a raw prompt for servers that render.
func (e *Engine) rendered(ctx context.Context, r lm.Request) (lm.Request, error) {
	if r.Prefix == nil || r.Prefix.Text == "" || len(r.Messages) == 0 || e.prefills() != renderedPrompt {
		return r, nil
	}
	if slices.ContainsFunc(r.Messages, func(m lm.Message) bool { return len(m.Pictures) > 0 }) {
		return r, nil // a prompt is a text: a trailing message has to do
	}
	prompt, err := e.render(ctx, r)
	switch {
	case fault.Is(err, fault.NotFound):
		return r, nil // a version before that address: a trailing message will do
	case err != nil:
		return r, err
	}
	r.Messages, r.Prompt = nil, prompt
	return r, nil
}

// mayEcho is the text that a server might send back before it continues.
func (e *Engine) mayEcho(r lm.Request) string {
	if r.Prefix == nil || len(r.Messages) == 0 || e.prefills() == continueFlags {
		return ""
	}
	return r.Prefix.Text
}

// watch ends the answer if nothing comes for too long, whatever the transport.
func (e *Engine) watch(cancel context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(e.o.First, func() { cancel(errStall) })
}

// patient starts the time limit anew with every read that brings bytes.
type patient struct {
	r io.Reader
	t *time.Timer
	d time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.t.Reset(p.d)
	}
	return n, err
}

// part is one event of a stream, of chat or of plain completions.
type part struct {
	Model   string `json:"model"`
	Choices []struct {
		Index  int     `json:"index"`
		Text   string  `json:"text"`
		Finish *string `json:"finish_reason"`
		Delta  struct {
			Content   *string         `json:"content"`
			ToolCalls json.RawMessage `json:"tool_calls"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// stream is an answer on its way.
type stream struct {
	e     *Engine
	emit  func(lm.Chunk) error
	stop  stopFilter
	echo  echoFilter
	res   lm.Result
	bytes int
}

// errDone ends reading where no more is wanted.
var errDone = errors.New("done")

func (s *stream) read(ctx context.Context, body io.Reader) error {
	ev := newEvents(body)
	for {
		data, err := ev.next()
		if err == nil {
			err = s.event(data)
		}
		var mine emitError
		switch {
		case err == nil:
			if ctx.Err() != nil {
				return s.e.broken(ctx, ctx.Err())
			}
			continue
		case errors.As(err, &mine):
			return mine.error
		case errors.Is(err, errDone):
			return s.end()
		case errors.Is(err, errEventTooLong):
			return fault.Wrap(err, fault.Unavailable, "the engine %q flooded the answer", s.e.o.Name)
		case s.res.Finish != "":
			return s.end() // the answer was whole; only its farewell is missing
		case errors.Is(err, io.EOF):
			return fault.Wrap(errCut, fault.Unavailable, "the engine %q cut the answer off", s.e.o.Name)
		}
		return s.e.broken(ctx, err)
	}
}

// event takes one event. Its errors are faults, errDone or an emitError.
func (s *stream) event(data []byte) error {
	if string(data) == "[DONE]" {
		if s.res.Finish == "" {
			// Nobody said why it ended, but the server says that it did.
			s.res.Finish = lm.FinishStop
		}
		return errDone
	}
	var p part
	if err := json.Unmarshal(data, &p); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the engine %q sent something that is not JSON in its answer", s.e.o.Name)
	}
	if len(p.Error) > 0 && string(p.Error) != "null" {
		return s.failed(data)
	}
	if p.Model != "" {
		s.res.Model = p.Model
	}
	if p.Usage != nil {
		s.res.Usage = lm.Usage{Prompt: p.Usage.Prompt, Completion: p.Usage.Completion, Cached: p.Usage.Details.Cached}
	}
	for _, c := range p.Choices {
		if c.Index != 0 {
			continue
		}
		text := c.Text
		if c.Delta.Content != nil {
			text = *c.Delta.Content
		}
		if s.res.Finish == "" && text != "" {
			if err := s.show(text); err != nil {
				return err
			}
		}
		if c.Finish != nil && s.res.Finish == "" {
			s.res.Finish = finish(*c.Finish)
		}
	}
	return nil
}

// failed reads an error in the middle of a stream. Its code may be a status.
func (s *stream) failed(data []byte) error {
	a, _ := readError(data)
	status := atoi(a.Code, 0)
	if status < 400 || status > 599 {
		status = http.StatusBadGateway
	}
	f := s.e.fault(status, a)
	if f.Code == fault.Invalid || f.Code == fault.NotFound {
		if s.bytes > 0 { // the request was good enough to begin with
			f.Code = fault.Unavailable
		}
	}
	return f
}

func (s *stream) show(text string) error {
	if s.bytes += len(text); s.bytes > s.e.o.Answer {
		return fault.New(fault.Unavailable, "the engine %q flooded the answer: more than %d bytes", s.e.o.Name, s.e.o.Answer)
	}
	out, hit := s.stop.next(s.echo.next(text))
	if out != "" {
		if err := s.emit(lm.Chunk{Text: out}); err != nil {
			return emitError{err}
		}
	}
	if hit {
		s.res.Finish = lm.FinishStop
		return errDone
	}
	return nil
}

// end shows what was held back for a stop string that did not come.
func (s *stream) end() error {
	out, hit := s.stop.next(s.echo.held)
	s.echo.held = ""
	if out += s.stop.rest(); out != "" {
		if err := s.emit(lm.Chunk{Text: out}); err != nil {
			return err
		}
	}
	if hit {
		s.res.Finish = lm.FinishStop
	}
	return nil
}

// emitError marks an error of the caller's emit, which is returned as it is.
type emitError struct{ error }

func finish(s string) lm.Finish {
	switch s {
	case "", "stop", "eos", "stop_sequence", "end_turn":
		return lm.FinishStop
	case "length", "max_tokens":
		return lm.FinishLength
	case "tool_calls", "function_call":
		return lm.FinishTools
	case "content_filter":
		return lm.FinishFiltered
	}
	return lm.FinishStop
}

// echoFilter leaves out the answer so far if the server sends it back before it
// goes on. Very short ones pass: a real continuation may look like them.
type echoFilter struct {
	of   string
	held string // what came so far and is the beginning of of
}

const echoLeast = 16

func (f *echoFilter) next(text string) string {
	if len(f.of) < echoLeast {
		return text
	}
	all := f.held + text
	switch {
	case strings.HasPrefix(all, f.of):
		text = all[len(f.of):]
	case strings.HasPrefix(f.of, all):
		f.held = all
		return ""
	default:
		text = all
	}
	f.of, f.held = "", ""
	return text
}

// stopFilter keeps stop strings out of the text, also of servers that do not
// know them or send their first half.
type stopFilter struct {
	stops []string
	held  string
	over  bool
}

// next returns what may be shown after text came, and whether a stop string
// ended the answer.
func (f *stopFilter) next(text string) (string, bool) {
	if len(f.stops) == 0 {
		return text, false
	}
	all := f.held + text
	at := -1
	for _, s := range f.stops {
		if i := strings.Index(all, s); s != "" && i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		f.held, f.over = "", true
		return all[:at], true
	}
	hold := 0
	for _, s := range f.stops {
		for k := min(len(s)-1, len(all)); k > hold; k-- {
			if strings.HasSuffix(all, s[:k]) {
				hold = k
				break
			}
		}
	}
	// Whole code points: a held-back part never begins inside one, as both
	// strings are valid UTF-8.
	f.held = all[len(all)-hold:]
	return all[:len(all)-hold], false
}

func (f *stopFilter) rest() string {
	if f.over {
		return ""
	}
	return f.held
}

// pathSafe refuses model names that would change the address they go into.
func pathSafe(model string) error {
	if model == "." || model == ".." || strings.ContainsAny(model, "\x00\r\n") {
		return fault.New(fault.NotFound, "there is no model %q", model)
	}
	return nil
}

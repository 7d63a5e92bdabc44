package openai

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
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
	if p.Constrained() && e.d.freeform {
		return fault.New(fault.Unsupported, "the engine %q keeps to no schema: it would ignore it without a word", e.o.Name)
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
	asked := r
	if r, err = e.ready(ctx, model, r); err != nil {
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
	s := &stream{
		e: e, emit: emit, echo: echoFilter{of: e.mayEcho(r)}, space: spaceFilter{of: maySpace(asked)}, stop: stopFilter{stops: r.Params.Stop},
		res: lm.Result{Model: model},
	}
	if asked.Prefix != nil {
		s.seam = asked.Prefix.Text != ""
		s.stop.after(asked.Prefix.Text)
	}
	err = s.read(ctx, &patient{r: resp.Body, t: limit, d: e.o.Stall})
	return s.res, err
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
			Reasoning json.RawMessage `json:"reasoning_content"`
			Thinking  json.RawMessage `json:"reasoning"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *usage          `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type usage struct {
	Prompt     count `json:"prompt_tokens"`
	Completion count `json:"completion_tokens"`
	Details    struct {
		Cached count `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// UnmarshalJSON takes what it can read.
func (u *usage) UnmarshalJSON(b []byte) error {
	type plain usage
	_ = json.Unmarshal(b, (*plain)(u))
	return nil
}

func (u *usage) counts() lm.Usage {
	return lm.Usage{Prompt: int(u.Prompt), Completion: int(u.Completion), Cached: int(min(u.Details.Cached, u.Prompt))}
}

// count is what a server says that it counted. What can't be true counts as
// nothing: it is no reason to lose an answer.
type count int

// mostCount is far above any prompt, window or answer.
const mostCount = 1 << 30

// UnmarshalJSON takes whatever is there.
func (c *count) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 || n > mostCount {
		n = 0
	}
	*c = count(n)
	return nil
}

// stream is an answer on its way.
type stream struct {
	e     *Engine
	emit  func(lm.Chunk) error
	echo  echoFilter
	space spaceFilter
	stop  stopFilter
	seam  bool // it continues an answer
	res   lm.Result
	bytes int // of text
	idle  int // of events since the last text
}

// muteLimit leaves room for a long thought, whose text is none of the answer's.
const muteLimit = 256 << 20

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
	if s.idle += len(data); s.idle > muteLimit {
		return fault.New(fault.Unavailable, "the engine %q floods the answer with events that say nothing", s.e.o.Name)
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
		s.res.Usage = p.Usage.counts()
	}
	for _, c := range p.Choices {
		if c.Index != 0 {
			continue
		}
		if s.seam && (said(c.Delta.Reasoning) || said(c.Delta.Thinking)) {
			return fault.New(fault.Unsupported, "the engine %q thinks anew instead of continuing an answer", s.e.o.Name)
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

// said reports whether a field holds a text.
func said(raw json.RawMessage) bool { return len(raw) > 2 && raw[0] == '"' }

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
	s.idle = 0
	out, hit := s.stop.next(s.space.next(s.echo.next(text)))
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
	out, hit := s.stop.next(s.space.next(s.echo.held))
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

// pathSafe refuses model names that would change the address they go into.
func pathSafe(model string) error {
	if model == "." || model == ".." || strings.ContainsAny(model, "\x00\r\n") {
		return fault.New(fault.NotFound, "there is no model %q", model)
	}
	return nil
}

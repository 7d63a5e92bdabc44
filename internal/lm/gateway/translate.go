package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/pause"
)

// translate serves an engine that speaks Go, not HTTP.
func (g *Gateway) translate(w http.ResponseWriter, r *http.Request, rec *Record, e lm.Engine, m lm.Model, body []byte) {
	if rec.Op == Embeddings {
		g.embed(w, r, rec, e, m, body)
		return
	}
	in, req, err := parse(rec.Op, body)
	if err != nil {
		g.fail(w, rec, err)
		return
	}
	req.Model, req.Batch, req.Within = m.ID, rec.Batch, g.within(r.Header)
	a := &answer{
		g: g, rec: rec, chat: rec.Op == Chat, usage: in.StreamOptions.IncludeUsage,
		engine: e, id: newID(rec.Op), created: time.Now().Unix(), model: m.ID, resume: m.Resume,
	}
	if in.Stream {
		a.out = &sender{w: w, rc: http.NewResponseController(w), slow: g.o.Slow}
		g.stream(w, r, e, m, req, a)
		return
	}
	res, err := g.whole(r.Context(), e, m, req, a)
	rec.Usage = res.Usage
	if note(w, rec, e); err != nil {
		g.fail(w, rec, err)
		return
	}
	rec.Status = http.StatusOK
	writeJSON(w, http.StatusOK, a.object(res))
}

// answer is one translated answer on its way.
type answer struct {
	g       *Gateway
	rec     *Record
	out     *sender // nil: not streamed
	engine  lm.Engine
	chat    bool
	usage   bool // the client wants a last event with the usage
	id      string
	created int64
	model   string
	resume  lm.Policy // of that model

	text   strings.Builder // all so far, for a continuation
	tokens []int32
	pieces int // that text came in
	last   time.Time
	begun  bool
	failed string // the engine whose answer is gone on with; "" = it is one engine's
}

// take gets every chunk of the engine.
func (a *answer) take(c lm.Chunk) error {
	a.tokens = append(a.tokens, c.Tokens...)
	if c.Text == "" {
		return nil
	}
	a.text.WriteString(c.Text)
	a.pieces++
	if a.rec.Engine = a.engine.Name(); a.rec.Pieces == 0 { // of several, the one that has begun
		a.settle()
	}
	a.observe()
	if a.out == nil {
		return nil
	}
	if err := a.tell(); err != nil {
		return err
	}
	return a.event(&c.Text, "")
}

// settle takes the model down that answers, where another one was to.
func (a *answer) settle() {
	if t, ok := a.engine.(*fleet.Turn); ok {
		if l := t.Route(); l != nil {
			a.rec.Model, a.model, a.resume = l.Model.ID, l.Model.ID, t.Model().Resume
		}
	}
}

// tell says in a comment that another engine goes on, or the same one anew.
func (a *answer) tell() error {
	if !a.begun {
		a.failed = "" // there is no seam
	}
	if a.failed == "" {
		return nil
	}
	msg := fmt.Sprintf(": the engine %q failed, %q goes on\n\n", a.failed, a.rec.Engine)
	a.failed = ""
	return a.out.send([]byte(msg))
}

func (a *answer) observe() {
	a.rec.Pieces++
	o := a.g.o.Observer
	if o == nil {
		return
	}
	now := time.Now()
	if a.rec.Pieces == 1 {
		o.First(a.rec, now.Sub(a.rec.Start))
	} else {
		o.Next(a.rec, now.Sub(a.last))
	}
	a.last = now
}

// mostResumes bounds what an answer may cost whose engines all die after a word.
const mostResumes = 50

// whole runs the answer to its end, over the engine's deaths if there are any.
func (g *Gateway) whole(ctx context.Context, e lm.Engine, m lm.Model, first lm.Request, a *answer) (res lm.Result, err error) {
	prompt := 0
	for attempt := 1; ; attempt++ {
		req, over, ok := a.onward(first, a.resume)
		had := a.had()
		switch {
		case over:
			res.Finish, res.Model = lm.FinishLength, cmp.Or(res.Model, m.ID)
			return res, nil
		case !ok:
			return res, cmp.Or(err, error(fault.New(fault.Unsupported, "the engine %q can't continue this answer by %q", e.Name(), a.resume)))
		case req.Prefix != nil:
			a.rec.Resume++
			a.rec.By, a.failed = a.resume, cmp.Or(a.failed, a.rec.Engine)
			g.o.Log.Info("answer continued after its engine failed", "engine", a.rec.Engine, "model", m.ID, "policy", a.resume, "attempt", attempt, "error", err)
		}
		so := a.text.Len()
		res, err = e.Generate(ctx, req, a.take)
		if a.text.Len() > so && a.rec.Resume < mostResumes {
			attempt = 0 // it comes on: those that bring nothing count
		}
		if req.Prefix != nil && res.Usage.Completion > 0 {
			res.Usage.Completion += had // the engine counts its own part
		}
		switch {
		case prompt > 0:
		case req.Prefix != nil:
			prompt = max(res.Usage.Prompt-had, 0) // it holds the answer so far
		default:
			prompt = res.Usage.Prompt
		}
		res.Usage.Prompt = prompt
		res.Usage.Cached = min(res.Usage.Cached, prompt)
		if attempt >= g.o.Attempts || !fault.Passing(err) || ctx.Err() != nil {
			return res, err
		}
		if _, over, ok := a.onward(first, a.resume); ok && !over && !g.revived(ctx, e) {
			return res, err
		}
	}
}

// onward is the first request, changed to continue after what came so far. It is not ok if
// the declared policy can't do that unseen; over says that nothing is left.
func (a *answer) onward(req lm.Request, p lm.Policy) (next lm.Request, over, ok bool) {
	next = req
	if a.text.Len() == 0 && len(a.tokens) == 0 {
		return next, false, true // nothing was shown: begin again
	}
	switch {
	case !p.Continues(), p == lm.Prefill && req.Params.Constrained():
		return next, false, false
	case p != lm.Prefill && len(a.tokens) == 0:
		return next, false, false
	}
	next.Prefix = &lm.Prefix{Text: a.text.String(), Tokens: a.tokens, Policy: p}
	if limit := req.Params.MaxTokens; limit > 0 {
		if a.had() >= limit {
			return next, true, false
		}
		next.Params.MaxTokens = limit - a.had()
	}
	return next, false, true
}

// had is how many tokens the answer has; without ids a piece is the best guess.
func (a *answer) had() int {
	if len(a.tokens) > 0 {
		return len(a.tokens)
	}
	return a.pieces
}

// revived waits until the engine can take a request again.
func (g *Gateway) revived(ctx context.Context, e lm.Engine) bool {
	ctx, stop := context.WithTimeout(ctx, g.o.Recover)
	defer stop()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		if e.Health(ctx) == nil {
			return true
		}
		if pause.For(ctx, wait) != nil {
			return false
		}
	}
}

// stream runs the answer into server-sent events.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request, e lm.Engine, m lm.Model, req lm.Request, a *answer) {
	res, err := g.whole(r.Context(), e, m, req, a)
	a.rec.Usage = res.Usage
	if err != nil && !a.begun {
		g.fail(w, a.rec, err)
		return
	}
	a.rec.Status = http.StatusOK
	if err == nil {
		err = a.end(res)
	}
	if err != nil {
		a.rec.Code = fault.CodeOf(err)
		if r.Context().Err() == nil {
			_ = a.out.send(errorEvent(err))
		}
		panic(http.ErrAbortHandler) // never a clean end of half an answer
	}
	a.out.done()
}

type choice struct {
	Index    int     `json:"index"`
	Delta    any     `json:"delta,omitempty"`
	Message  any     `json:"message,omitempty"`
	Text     *string `json:"text,omitempty"`
	Logprobs any     `json:"logprobs"`
	Finish   any     `json:"finish_reason"`
}

type usageObject struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    *struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details,omitempty"`
}

func usageOf(u lm.Usage) *usageObject {
	o := &usageObject{Prompt: u.Prompt, Completion: u.Completion, Total: u.Prompt + u.Completion}
	if u.Cached > 0 {
		o.Details = &struct {
			Cached int `json:"cached_tokens"`
		}{u.Cached}
	}
	return o
}

type object struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []choice     `json:"choices"`
	Usage   *usageObject `json:"usage,omitempty"`
}

func (a *answer) shell(kind string) object {
	return object{ID: a.id, Object: kind, Created: a.created, Model: a.model, Choices: []choice{}}
}

// object is the answer to a request without stream.
func (a *answer) object(res lm.Result) object {
	s := a.text.String()
	o := a.shell("text_completion")
	c := choice{Text: &s, Finish: res.Finish}
	if a.chat {
		o.Object = "chat.completion"
		c.Text = nil
		c.Message = map[string]any{"role": "assistant", "content": s, "refusal": nil}
	}
	o.Choices = append(o.Choices, c)
	o.Usage = usageOf(res.Usage)
	return o
}

// event sends one piece of text, or the end with its reason.
func (a *answer) event(text *string, why lm.Finish) error {
	if !a.begun {
		a.begun = true
		note(a.out.w, a.rec, a.engine)
		h := a.out.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h["X-Accel-Buffering"] = noBuffering
		if a.chat {
			empty := ""
			if err := a.send(map[string]any{"role": "assistant", "content": empty}, nil, nil); err != nil {
				return err
			}
		}
	}
	var reason any
	if why != "" {
		reason = why
	}
	if !a.chat {
		return a.send(nil, text, reason)
	}
	delta := map[string]any{}
	if why == "" {
		delta["content"] = *text
	}
	return a.send(delta, nil, reason)
}

func (a *answer) send(delta any, text *string, reason any) error {
	o := a.shell("text_completion")
	if a.chat {
		o.Object = "chat.completion.chunk"
	}
	o.Choices = append(o.Choices, choice{Delta: delta, Text: text, Finish: reason})
	return a.put(o)
}

func (a *answer) put(o object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "encode event")
	}
	msg := make([]byte, 0, len(b)+8)
	return a.out.send(append(append(append(msg, "data: "...), b...), "\n\n"...))
}

// end sends the reason, the usage and the farewell.
func (a *answer) end(res lm.Result) error {
	empty := ""
	if err := a.event(&empty, res.Finish); err != nil {
		return err
	}
	if a.usage {
		o := a.shell("text_completion")
		if a.chat {
			o.Object = "chat.completion.chunk"
		}
		o.Usage = usageOf(res.Usage)
		if err := a.put(o); err != nil {
			return err
		}
	}
	return a.out.send([]byte("data: [DONE]\n\n"))
}

// newID is unguessable, in the form that the API's ids have.
func newID(op Op) string {
	if op == Chat {
		return "chatcmpl-" + rand.Text()
	}
	return "cmpl-" + rand.Text()
}

// embed serves embeddings.
func (g *Gateway) embed(w http.ResponseWriter, r *http.Request, rec *Record, e lm.Engine, m lm.Model, body []byte) {
	var in struct {
		Input      inputs `json:"input"`
		Format     string `json:"encoding_format"`
		Dimensions *int   `json:"dimensions"`
	}
	err := decode(body, &in)
	switch {
	case err != nil:
	case in.Input.ids:
		err = cant("input", "a list of token ids")
	case len(in.Input.list) == 0:
		err = about("input", bad("the field input is missing or empty"))
	case in.Dimensions != nil:
		err = cant("dimensions", "a choice of dimensions")
	case in.Format != "" && in.Format != "float" && in.Format != "base64":
		err = about("encoding_format", bad("encoding_format must be float or base64"))
	}
	if err != nil {
		g.fail(w, rec, err)
		return
	}
	vec, use, err := e.Embed(r.Context(), m.ID, in.Input.list)
	if note(w, rec, e); err != nil {
		g.fail(w, rec, err)
		return
	}
	data := make([]map[string]any, len(vec))
	for i, v := range vec {
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": v}
		if in.Format == "base64" {
			data[i]["embedding"] = packed(v)
		}
	}
	rec.Status, rec.Usage = http.StatusOK, use
	writeJSON(w, http.StatusOK, map[string]any{
		"object": "list", "data": data, "model": m.ID,
		"usage": map[string]int{"prompt_tokens": use.Prompt, "total_tokens": use.Prompt},
	})
}

// packed is the vector as base64 of little-endian floats, which OpenAI's own
// clients ask for.
func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// inputs is a string or a list of them.
type inputs struct {
	list []string
	ids  bool
}

// UnmarshalJSON reads either form, and knows token ids when it sees them.
func (in *inputs) UnmarshalJSON(b []byte) error {
	var t texts
	if t.UnmarshalJSON(b) == nil {
		in.list = t
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil || len(list) == 0 {
		return errKind
	}
	for _, raw := range list {
		if len(raw) > 0 && raw[0] != '[' && raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return errKind
		}
	}
	in.ids = true
	return nil
}

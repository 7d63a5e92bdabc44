// Package gateway is the OpenAI-compatible HTTP surface over engines: chat
// completions, completions, embeddings and models. A request for an engine that
// speaks the same API goes through it byte for byte; for any other engine it is
// translated. Conversations, keys and quotas are none of its business:
// middleware in front of it sees to who may call.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// Op is an operation of the API, named as its path below /v1.
type Op string

// The operations that generate.
const (
	Chat        Op = "chat/completions"
	Completions Op = "completions"
	Embeddings  Op = "embeddings"
)

// Catalog finds the engine for a model. Engines makes a plain one.
type Catalog interface {
	// Find returns the engine for a model name ("" = the default) and the model
	// as that engine knows it: its ID differs from name if name is an alias.
	// It is called for every request and answers from memory when it can. A name
	// may stand for several models: a conversation gets the same one each time.
	Find(ctx context.Context, name, conversation string) (lm.Engine, lm.Model, error)
	// Models lists what clients may ask for.
	Models(ctx context.Context) ([]lm.Model, error)
}

// Passthrough is what an engine has whose server speaks the same API.
type Passthrough interface {
	Upstream(op Op, model string) (Upstream, error)
}

// Upstream is where a request goes on to. All of it may be shared between
// requests: the gateway changes nothing of it.
type Upstream struct {
	URL       *url.URL
	Header    http.Header       // set over the client's, such as the engine's key
	Transport http.RoundTripper // its bodies' WriteTo, if any, hands pieces on as they come
}

// Observer hears how requests go, from their own goroutines. It must be quick.
type Observer interface {
	First(r *Record, after time.Duration) // the first piece of an answer
	Next(r *Record, gap time.Duration)    // each further piece of a stream
	End(r *Record)                        // the request is over; r is not used afterwards
}

// Need is what a request may take, before it is answered.
type Need struct {
	Prompt int // tokens, estimated
	Most   int // tokens of all its answers at most; 0 = it does not say
}

// Admission is a request that may be answered.
type Admission interface {
	Header(h http.Header) // says what is left
	Done(r *Record)       // hears what came of it, once
}

// Record is what is known of one request.
type Record struct {
	Op     Op
	User   string // who asks; "" = nobody that is known
	Model  string // as the engine knows it
	Engine string
	Stream bool
	Batch  bool // of the batch lane
	Start  time.Time
	Status int        // of HTTP
	Code   fault.Code // "" = it went well
	Usage  lm.Usage   // zero if the engine did not say
	Pieces int
	Events int       // of a stream that was handed on
	Resume int       // times that an answer was continued after its engine had failed
	By     lm.Policy // how it was
	Cached Cached    // "" = there is no cache
}

// Options of New.
type Options struct {
	Catalog  Catalog
	Observer Observer // nil = none
	// Admit says whether a request may be answered, when its model is known. Of
	// one that is refused Done is not called. Nil: all may.
	Admit func(ctx context.Context, r *Record, n Need) (Admission, error)

	Cache    CacheOptions  // the zero value: every request is answered anew
	MaxBody  int64         // bytes of a request; 0 = 8 MiB
	Attempts int           // at a translated answer, or to go on with one, that bring no text; 0 = 4
	NoResume bool          // a stream whose engine fails ends with an error; else another one goes on where that can be
	Recover  time.Duration // how long a dead engine may take to come back in mid-answer; 0 = 15 s
	Wait     time.Duration // how long a request may take to begin, at the most; 0 = 1 min
	Slow     time.Duration // how long a client may take to read a piece; 0 = 1 min
	// Batched is called before a request of the batch lane finds its engine, so
	// that there is a line before it. Nil: there always is.
	Batched func()
	Log     *slog.Logger // nil = none
}

// Gateway is a http.Handler for the paths below /v1/ that it knows.
type Gateway struct {
	o       Options
	answers *answers // nil = none are kept
}

// New checks the options.
func New(o Options) (*Gateway, error) {
	if o.Catalog == nil {
		return nil, fault.New(fault.Invalid, "the gateway needs a catalog of engines")
	}
	if o.MaxBody == 0 {
		o.MaxBody = 8 << 20
	}
	if o.Attempts == 0 {
		o.Attempts = 4
	}
	if o.Recover == 0 {
		o.Recover = 15 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = time.Minute
	}
	if o.Slow == 0 {
		o.Slow = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	kept, err := newAnswers(o.Cache)
	if err != nil {
		return nil, err
	}
	return &Gateway{o: o, answers: kept}, nil
}

// ServeHTTP is For nobody that is known.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.For("", w, r) }

// For answers a user's request on the four paths; anything else is 404 in the
// API's shape.
func (g *Gateway) For(user string, w http.ResponseWriter, r *http.Request) {
	path, _ := strings.CutPrefix(r.URL.Path, "/v1/")
	switch {
	case path == string(Chat), path == string(Completions), path == string(Embeddings):
		if r.Method != http.MethodPost {
			g.wrongMethod(w, http.MethodPost)
			return
		}
		g.generate(w, r, &Record{Op: Op(path), User: user, Start: time.Now()})
	case path == "models" || strings.HasPrefix(path, "models/"):
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			g.wrongMethod(w, http.MethodGet)
			return
		}
		g.models(w, r, strings.TrimPrefix(strings.TrimPrefix(path, "models"), "/"))
	default:
		writeError(w, http.StatusNotFound, Error{Message: "there is no such address in this API", Type: "invalid_request_error", Code: "unknown_url"}, 0)
	}
}

func (g *Gateway) wrongMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	writeError(w, http.StatusMethodNotAllowed, Error{
		Message: "this address takes " + allowed + " only", Type: "invalid_request_error", Code: "method_not_allowed",
	}, 0)
}

// generate reads the request, finds its engine, and answers.
func (g *Gateway) generate(w http.ResponseWriter, r *http.Request, rec *Record) {
	if g.o.Observer != nil {
		defer g.o.Observer.End(rec)
	}
	body, err := readBody(r, g.o.MaxBody)
	if err != nil {
		g.fail(w, rec, err)
		return
	}
	head, err := scan(body.Bytes())
	if err != nil {
		body.free()
		g.fail(w, rec, err)
		return
	}
	rec.Stream, rec.Batch = head.stream, head.batch || rec.Batch
	if head.batch = rec.Batch; head.batch && g.o.Batched != nil {
		g.o.Batched()
	}
	engine, model, err := g.find(r, head)
	if err != nil {
		body.free()
		g.fail(w, rec, err)
		return
	}
	rec.Model, rec.Engine = model.ID, engine.Name()
	w, keep, done := g.answers.again(w, r, rec, model.ID, body.Bytes())
	if done {
		body.free()
		return
	}
	g.answer(w, r, rec, head, body, engine, model)
	keep()
}

// find returns the engine for a request. One that is starting is waited for, as
// a free one is.
func (g *Gateway) find(r *http.Request, h head) (lm.Engine, lm.Model, error) {
	ctx, cancel := context.WithTimeout(r.Context(), g.within(r.Header))
	defer cancel()
	return g.o.Catalog.Find(ctx, h.model, h.conversation)
}

// answer has a request admitted and chooses the way to its engine.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, rec *Record, head head, body *buffer, engine lm.Engine, model lm.Model) {
	if g.o.Admit != nil {
		a, err := g.o.Admit(r.Context(), rec, head.need(model))
		if a != nil {
			a.Header(w.Header())
		}
		if err != nil {
			body.free()
			g.fail(w, rec, err)
			return
		}
		defer a.Done(rec)
	}
	if t, ok := engine.(*fleet.Turn); ok && passes(t) {
		g.route(w, r, rec, t, head, body)
		return
	}
	if p, ok := engine.(Passthrough); ok {
		up, err := p.Upstream(rec.Op, model.ID)
		if err != nil {
			body.free()
			g.fail(w, rec, err)
			return
		}
		note(w, rec, engine)
		g.pass(w, r, rec, engine, model, up, head.rewrite(body, model.ID))
		return
	}
	defer body.free()
	g.translate(w, r, rec, engine, model, body.Bytes())
}

// fail answers with an error if nothing was sent yet.
func (g *Gateway) fail(w http.ResponseWriter, rec *Record, err error) {
	rec.Code = fault.CodeOf(err)
	rec.Status = WriteError(w, err)
	if rec.Status == http.StatusInternalServerError {
		g.o.Log.Error("request failed", "op", rec.Op, "model", rec.Model, "engine", rec.Engine, "error", err)
	}
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Owner   string `json:"owned_by"`
	Window  int    `json:"max_model_len,omitempty"`
	Demo    bool   `json:"demo,omitempty"`   // not a language model
	Vision  bool   `json:"vision,omitempty"` // reads pictures
}

// models lists all, or shows the one that id names.
func (g *Gateway) models(w http.ResponseWriter, r *http.Request, id string) {
	all, err := g.o.Catalog.Models(r.Context())
	if err != nil {
		WriteError(w, err)
		return
	}
	list := make([]modelObject, 0, len(all))
	for _, m := range all {
		o := modelObject{ID: m.ID, Object: "model", Owner: "parley", Window: m.Window, Demo: m.Demo, Vision: m.Vision}
		if m.ID == id {
			writeJSON(w, http.StatusOK, o)
			return
		}
		list = append(list, o)
	}
	if id != "" {
		WriteError(w, fault.New(fault.NotFound, "there is no model %q; GET /v1/models lists those there are", id))
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

// Package api_test checks the node against its description, openapi.yaml: every
// route is described, and what a whole node answers is what stands there. What
// may live here: the description and its judge.
package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// load reads the description and closes its objects: what a schema does not
// say must not be there, unless it says that other fields may be.
func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatalf("read the description: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the description is not sound: %v", err)
	}
	for _, s := range doc.Components.Schemas {
		seal(s.Value)
	}
	return doc
}

func seal(s *openapi3.Schema) {
	if s == nil {
		return
	}
	if s.Type.Is("object") && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		if p.Ref == "" {
			seal(p.Value)
		}
	}
	if s.Items != nil && s.Items.Ref == "" {
		seal(s.Items.Value)
	}
}

// expectation is how a request looks to the description.
type expectation struct{}

// wrong marks requests that the description must find wrong, too.
func wrong(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), expectation{}, true))
}

// judge is a http.RoundTripper that reads along and compares with the
// description. Deviations are errors of the test.
type judge struct {
	t      *testing.T
	doc    *openapi3.T
	router routers.Router

	mu   sync.Mutex     // guards seen
	seen map[string]int // "operation status": times
}

func newJudge(t *testing.T, doc *openapi3.T) *judge {
	t.Helper()
	doc.Servers = nil // any address
	openapi3filter.RegisterBodyDecoder("text/markdown", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("application/zip", openapi3filter.FileBodyDecoder)
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatalf("make a router of the description: %v", err)
	}
	return &judge{t: t, doc: doc, router: router, seen: map[string]int{}}
}

// RoundTrip sends r and judges both ways.
func (j *judge) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	in, sound := j.request(r, body)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || in == nil {
		return resp, err
	}
	j.mu.Lock()
	j.seen[in.Route.Operation.OperationID+" "+strconv.Itoa(resp.StatusCode)]++
	j.mu.Unlock()
	name := fmt.Sprintf("%s %s -> %d", r.Method, r.URL, resp.StatusCode)
	expected, _ := r.Context().Value(expectation{}).(bool)
	switch {
	case sound != nil && !expected:
		j.t.Errorf("%s: the description does not allow the request: %v", name, sound)
	case sound == nil && expected:
		j.t.Errorf("%s: the description allows a request that the node refuses", name)
	case sound != nil && resp.StatusCode < 300:
		j.t.Errorf("%s: the node takes what its description does not allow: %v", name, sound)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		j.response(name, in, resp, nil)
		resp.Body = &listener{ReadCloser: resp.Body, end: func(b []byte) { j.events(name, in, b) }}
		return resp, nil
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	j.response(name, in, resp, b)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}

func (j *judge) request(r *http.Request, body []byte) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := j.router.FindRoute(r)
	if err != nil {
		return nil, nil // not described: the routes have a test of their own
	}
	c := r.Clone(r.Context())
	c.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) > 0 && c.Header.Get("Content-Type") == "" {
		c.Header.Set("Content-Type", "application/json") // the node's default
	}
	in := &openapi3filter.RequestValidationInput{Request: c, Route: route, PathParams: params, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, IncludeResponseStatus: true,
	}}
	return in, openapi3filter.ValidateRequest(r.Context(), in)
}

func (j *judge) response(name string, in *openapi3filter.RequestValidationInput, resp *http.Response, body []byte) {
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, ExcludeResponseBody: body == nil,
			SchemaValidationOptions: []openapi3.SchemaValidationOption{openapi3.EnableFormatValidation()},
		},
	})
	if err != nil {
		j.t.Errorf("%s: %v\nbody: %.2000s", name, err, body)
	}
	if r := in.Route.Operation.Responses.Status(resp.StatusCode); r != nil && len(r.Value.Content) == 0 && len(body) > 0 && resp.StatusCode < 300 {
		j.t.Errorf("%s: has a body of %d bytes, and none is described", name, len(body))
	}
}

// events judges the complete events of a stream.
func (j *judge) events(name string, in *openapi3filter.RequestValidationInput, b []byte) {
	schemas, err := j.sse(in.Route.Operation)
	if err != nil {
		j.t.Errorf("%s: %v", name, err)
		return
	}
	for _, e := range parseEvents(b) {
		if e.data == "[DONE]" && e.name == "message" {
			continue
		}
		s, ok := schemas[e.name]
		if !ok {
			j.t.Errorf("%s: the event %q is not described", name, e.name)
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(e.data), &v); err != nil {
			j.t.Errorf("%s: the data of %q is not JSON: %v\n%s", name, e.name, err, e.data)
			continue
		}
		if m, ok := v.(map[string]any); ok && m["error"] != nil && e.name == "message" {
			s = j.doc.Components.Schemas["OpenAIError"].Value
		}
		if err := s.VisitJSON(v, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation()); err != nil {
			j.t.Errorf("%s: event %q: %v\n%s", name, e.name, err, e.data)
		}
		j.mu.Lock()
		j.seen[in.Route.Operation.OperationID+" event "+e.name]++
		j.mu.Unlock()
	}
}

// sse reads x-sse-events of the operation's event stream.
func (j *judge) sse(op *openapi3.Operation) (map[string]*openapi3.Schema, error) {
	media := op.Responses.Status(http.StatusOK).Value.Content["text/event-stream"]
	if media == nil {
		return nil, fmt.Errorf("%s answers with a stream that is not described", op.OperationID)
	}
	raw, ok := media.Extensions["x-sse-events"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: x-sse-events is missing", op.OperationID)
	}
	out := map[string]*openapi3.Schema{}
	for event, v := range raw {
		m, _ := v.(map[string]any)
		ref, _ := m["$ref"].(string)
		s := j.doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if s == nil {
			return nil, fmt.Errorf("%s: the event %q has no schema", op.OperationID, event)
		}
		out[event] = s.Value
	}
	return out, nil
}

// unseen lists what the description promises and no request saw.
func (j *judge) unseen(want func(op *openapi3.Operation) []string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, p := range j.doc.Paths.Map() {
		for _, op := range p.Operations() {
			for _, w := range want(op) {
				if j.seen[op.OperationID+" "+w] == 0 {
					out = append(out, op.OperationID+" "+w)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// listener keeps what is read and tells at the end.
type listener struct {
	io.ReadCloser
	got  bytes.Buffer
	once sync.Once
	end  func([]byte)
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.got.Write(p[:n])
	return n, err
}

func (l *listener) Close() error {
	l.once.Do(func() { l.end(l.got.Bytes()) })
	return l.ReadCloser.Close()
}

// sse is one event as it stood on the wire.
type sse struct{ id, name, data string }

// parseEvents reads the complete events of b.
func parseEvents(b []byte) []sse {
	var out []sse
	blocks := strings.Split(string(b), "\n\n")
	for _, block := range blocks[:len(blocks)-1] {
		e, any := sse{name: "message"}, false
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch field {
			case "id":
				e.id, any = value, true
			case "event":
				e.name, any = value, true
			case "data":
				e.data, any = e.data+value, true
			}
		}
		if any {
			out = append(out, e)
		}
	}
	return out
}

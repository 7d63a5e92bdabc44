package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// follower reads along while an answer's stream passes, so that another engine
// can go on where this one fails. It lets whole events through only: half a one
// could not be gone on with.
type follower struct {
	held []byte // of an event that is not whole yet

	id, model string
	created   int64
	text      []byte // of the answer so far
	pieces    int    // that it came in
	thought   bool   // reasoning text came
	other     string // what else came, and can't be continued; "" = nothing
	ended     bool   // it was said why the answer ended
	says      []byte // the engine's own event about its failure
}

const (
	eventLimit  = 1 << 20 // of one event
	followLimit = 1 << 20 // of text: a longer answer is not continued
)

var (
	errGarbage = errors.New("an event of the stream is not what it should be")
	errFlood   = errors.New("an event of the stream is too long")
	errSaid    = errors.New("the engine says that it failed")
)

// feed takes what came. pass may go to the client; rest is to be held until
// more has come. An error is about the engine: of pass the client may still
// have all.
func (f *follower) feed(p []byte) (pass, rest []byte, err error) {
	all := p
	if len(f.held) > 0 {
		f.held = append(f.held, p...)
		all = f.held
	}
	from := 0 // of the event
	for at := 0; ; {
		i := bytes.IndexByte(all[at:], '\n')
		if i < 0 {
			break
		}
		blank := i == 0 || i == 1 && all[at] == '\r'
		at += i + 1
		if !blank {
			continue
		}
		if err := f.event(all[from:at]); err != nil {
			return all[:from], nil, err
		}
		from = at
	}
	if len(all)-from > eventLimit {
		return all[:from], nil, errFlood
	}
	return all[:from], all[from:], nil
}

// event reads one event with its empty line.
func (f *follower) event(b []byte) error {
	var data []byte
	for line := range bytes.Lines(b) {
		v, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:"))
		switch {
		case !ok:
		case data == nil:
			data = v
		default:
			data = append(append(bytes.Clone(data), '\n'), v...)
		}
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil
	}
	if string(data) == "[DONE]" {
		f.ended = true
		return nil
	}
	var failed bool
	s := scanner{b: data}
	whole := s.fields(func(name, v []byte) {
		switch string(name) {
		default:
			f.plain(name)
		case "id":
			f.first(&f.id, v)
		case "model":
			f.first(&f.model, v)
		case "created":
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && f.created == 0 {
				f.created = n
			}
		case "choices":
			s := scanner{b: v}
			s.elements(f.choice)
		case "error":
			failed = set(v)
		}
	})
	switch {
	case !whole || s.end() != nil:
		return errGarbage
	case failed:
		f.says = bytes.Clone(b[:min(len(b), refusalLimit)])
		return errSaid
	}
	return nil
}

// plain looks at a name that says nothing to us: escaped, it might.
func (f *follower) plain(name []byte) {
	if bytes.IndexByte(name, '\\') >= 0 {
		f.other = "names in escapes"
	}
}

func (f *follower) first(s *string, v []byte) {
	if *s == "" && v[0] == '"' {
		_ = json.Unmarshal(v, s)
	}
}

func (f *follower) choice(v []byte) {
	s := scanner{b: v}
	s.fields(func(name, v []byte) {
		switch string(name) {
		default:
			f.plain(name)
		case "index":
			if string(v) != "0" {
				f.other = "more than one answer"
			}
		case "finish_reason":
			f.ended = f.ended || v[0] == '"'
		case "text":
			f.add(v)
		case "logprobs":
			if set(v) {
				f.other = "log probabilities"
			}
		case "delta":
			s := scanner{b: v}
			s.fields(f.delta)
		}
	})
}

func (f *follower) delta(name, v []byte) {
	switch string(name) {
	case "role":
	case "content":
		f.add(v)
	case "reasoning_content", "reasoning":
		f.thought = f.thought || set(v) && string(v) != `""`
	case "tool_calls", "function_call":
		if set(v) {
			f.other = "a call of a tool"
		}
	default:
		if set(v) && string(v) != `""` {
			f.other = short(string(name))
		}
	}
}

// add takes the next piece of text, a JSON string.
func (f *follower) add(v []byte) {
	switch {
	case string(v) == "null" || string(v) == `""`:
		return
	case v[0] != '"':
		f.other = "content that is no text"
		return
	case bytes.IndexByte(v, '\\') < 0:
		f.text = append(f.text, v[1:len(v)-1]...)
	default:
		var s string
		if json.Unmarshal(v, &s) != nil {
			f.other = "content that is no text"
			return
		}
		f.text = append(f.text, s...)
	}
	f.pieces++
	if len(f.text) > followLimit {
		f.text, f.other = nil, "its length"
	}
}

// harmless are the fields of a request that don't bear on how an answer goes on,
// or that a continuation can keep. With any other it would be another answer.
var harmless = map[string]bool{
	"model": true, "messages": true, "prompt": true, "stream": true, "stream_options": true, "max_tokens": true, "max_completion_tokens": true,
	"temperature": true, "top_p": true, "top_k": true, "min_p": true, "repeat_penalty": true, "repetition_penalty": true,
	"presence_penalty": true, "frequency_penalty": true, "seed": true, "stop": true, "n": true, "best_of": true, "echo": true, "suffix": true,
	"logprobs": true, "top_logprobs": true, "logit_bias": true, "response_format": true, "tools": true, "tool_choice": true, "functions": true,
	"function_call": true, "audio": true, "parallel_tool_calls": true,
	"user": true, "metadata": true, "store": true, "service_tier": true, "safety_identifier": true, "prompt_cache_key": true,
}

// request is what another engine is asked, so that it goes on with the answer;
// usage tells whether the client wants to know it. The error says why not.
func (f *follower) request(op Op, body []byte) (req lm.Request, usage bool, err error) {
	cant := func(what string) error { return fault.New(fault.Unsupported, "%s can't be continued", what) }
	switch {
	case f.other != "":
		return req, false, cant("an answer with " + f.other)
	case f.thought && len(f.text) == 0:
		return req, false, cant("a thought")
	case !utf8.Valid(f.text):
		return req, false, cant("an answer that is not valid UTF-8")
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return req, false, fault.Wrap(err, fault.Invalid, "the request is not valid JSON")
	}
	for name, v := range all {
		if !harmless[name] && set(v) {
			return req, false, cant("an answer to a request with the field " + short(name))
		}
	}
	var in wireRequest
	if err := json.Unmarshal(body, &in); err != nil {
		return req, false, cant("an answer to such a request")
	}
	if err := in.refuse(); err != nil {
		return req, false, err
	}
	if req.Params, err = in.params(op); err != nil {
		return req, false, err
	}
	switch {
	case len(in.Tools) > 0:
		return req, false, cant("an answer with tools")
	case req.Params.Constrained():
		return req, false, cant("an answer that follows a schema or grammar")
	case op == Completions && in.MaxTokens == nil:
		return req, false, cant("a completion without max_tokens, for which every engine takes its own,")
	case op == Completions && (in.Prompt.other != "" || in.Prompt.s == ""):
		return req, false, cant("an answer to such a prompt")
	case op == Completions:
		req.Prompt = in.Prompt.s
		return req, in.StreamOptions.IncludeUsage, nil
	}
	req.Messages, err = asTheyCame(all["messages"])
	return req, in.StreamOptions.IncludeUsage, err
}

// asTheyCame are messages with all that a client wrote into them.
func asTheyCame(list []byte) ([]lm.Message, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(list, &raw); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "messages is not a list")
	}
	var out []lm.Message
	for _, b := range raw {
		var m wireMessage
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "a message is none")
		}
		out = append(out, lm.Message{Role: lm.Role(m.Role), Text: m.Content.s, Raw: b})
	}
	if n := len(out); n == 0 || out[n-1].Role == lm.Assistant {
		return nil, fault.New(fault.Unsupported, "an answer that the request begins itself can't be continued")
	}
	return out, nil
}

// fields calls do with the name, as it is written, and the value of every field
// of an object. False: it is none.
func (s *scanner) fields(do func(name, value []byte)) bool {
	s.space()
	if !s.take('{') {
		return false
	}
	for first := true; ; first = false {
		s.space()
		if first && s.take('}') {
			return true
		}
		key, ok := s.str()
		if !ok {
			return false
		}
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		from := s.at
		if !s.value(0) {
			return false
		}
		do(key[1:len(key)-1], s.b[from:s.at])
		s.space()
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// elements calls do with every element of an array.
func (s *scanner) elements(do func(value []byte)) {
	s.space()
	if !s.take('[') {
		return
	}
	for {
		s.space()
		from := s.at
		if s.take(']') || !s.value(0) {
			return
		}
		do(s.b[from:s.at])
		s.space()
		if !s.take(',') {
			return
		}
	}
}

// counted is a figure of an engine's, if it can be true.
func counted(n int) int {
	if n > math.MaxInt32/2 {
		return 0
	}
	return n
}

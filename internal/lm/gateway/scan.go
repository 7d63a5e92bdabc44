package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// buffer is a request's body. It is an io.ReadCloser for a transport; Close
// gives its memory back, once.
type buffer struct {
	b     []byte
	at    int
	freed atomic.Bool
	lent  bool // the memory is somebody else's
}

var memory = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Bytes is the whole body. It is valid until Close or free.
func (b *buffer) Bytes() []byte { return b.b }

func (b *buffer) Read(p []byte) (int, error) {
	if b.at >= len(b.b) {
		return 0, io.EOF
	}
	n := copy(p, b.b[b.at:])
	b.at += n
	return n, nil
}

// Close is called by transports when they will not read any more.
func (b *buffer) Close() error {
	b.free()
	return nil
}

func (b *buffer) free() {
	if !b.lent && b.freed.CompareAndSwap(false, true) && cap(b.b) <= 256<<10 {
		p := b.b[:0]
		memory.Put(&p)
	}
}

// readBody reads the request's body within the limit.
func readBody(r *http.Request, limit int64) (*buffer, error) {
	tooBig := func() error {
		return fault.Wrap(errTooBig, fault.TooLarge, "the request is larger than the limit of %d bytes", limit)
	}
	if r.ContentLength > limit {
		return nil, tooBig()
	}
	buf := &buffer{b: (*memory.Get().(*[]byte))[:0]}
	for {
		if len(buf.b) == cap(buf.b) {
			size := 2 * cap(buf.b)
			// One byte more than is announced, so that the end needs no growth;
			// but no trust in an announcement of megabytes.
			if n := r.ContentLength + 1; n > int64(size) {
				size = int(min(n, 1<<20))
				size = max(size, 2*cap(buf.b))
			}
			buf.b = append(make([]byte, 0, size), buf.b...)
		}
		n, err := r.Body.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		switch {
		case int64(len(buf.b)) > limit:
			buf.free()
			return nil, tooBig()
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			buf.free()
			var much *http.MaxBytesError
			if errors.As(err, &much) {
				return nil, fault.Wrap(errTooBig, fault.TooLarge, "the request is larger than the limit of %d bytes", much.Limit)
			}
			if r.Context().Err() != nil {
				return nil, fault.Wrap(err, fault.Canceled, "the request was given up by its caller")
			}
			return nil, fault.Wrap(err, fault.Invalid, "the request ended before its body did")
		}
	}
}

// head is what the gateway has to know of a request before it chooses an engine.
type head struct {
	model    string
	stream   bool
	batch    bool   // it may wait until nobody else needs the engine
	from, to int    // where model's value stands in the body, quotes included; 0, 0: nowhere
	prompt   [2]int // where messages, prompt or input stands
	most     int    // tokens of an answer; 0 = it does not say
	answers  int    // wanted; 0 = one
	object   int    // after the opening brace
	empty    bool
	// conversation names what the request is a turn of: as the client does, or by
	// what stays the same along it.
	conversation string
}

func bad(msg string, args ...any) *fault.Error { return fault.New(fault.Invalid, msg, args...) }

// scan walks over the top level of a JSON object. What lies deeper is skipped
// without a look, as the engine reads it anyway; but brackets and strings must
// match, and model and stream may not be there twice: two readers would differ
// about which one counts.
func scan(b []byte) (head, error) {
	var h head
	if !utf8.Valid(b) {
		return h, bad("the request is not valid UTF-8")
	}
	s := scanner{b: b}
	s.space()
	if !s.take('{') {
		if len(b) == 0 {
			return h, bad("the request has no body")
		}
		return h, bad("the request is not a JSON object")
	}
	h.object = s.at
	s.space()
	if s.take('}') {
		h.empty = true
		return h, s.end()
	}
	var seen [2]bool
	for {
		s.space()
		key, ok := s.str()
		if !ok {
			return h, s.broken()
		}
		s.space()
		if !s.take(':') {
			return h, s.broken()
		}
		s.space()
		from := s.at
		if !s.value(0) {
			return h, s.broken()
		}
		if err := h.note(key, b[from:s.at], from, &seen); err != nil {
			return h, err
		}
		s.space()
		if s.take('}') {
			if h.conversation == "" {
				h.conversation = opening(b[h.prompt[0]:h.prompt[1]])
			}
			return h, s.end()
		}
		if !s.take(',') {
			return h, s.broken()
		}
	}
}

// note takes a top-level field.
func (h *head) note(key, value []byte, from int, seen *[2]bool) error {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(key, &plain) != nil {
			return bad("the request has a field whose name is not valid JSON")
		}
		name = []byte(plain)
	}
	switch string(name) {
	case "model":
		if seen[0] {
			return about("model", bad("the field model is there twice"))
		}
		seen[0] = true
		h.from, h.to = from, from+len(value)
		if string(value) == "null" {
			return nil
		}
		if value[0] != '"' || json.Unmarshal(value, &h.model) != nil {
			return about("model", bad("model must be a string"))
		}
	case "messages", "prompt", "input":
		h.prompt = [2]int{from, from + len(value)}
	case "prompt_cache_key":
		if value[0] == '"' { // the engine says what is wrong with others
			h.conversation = string(value)
		}
	case "max_tokens", "max_completion_tokens": // of two, the engine chooses: the larger one is reserved
		h.most = max(h.most, count(value))
	case "n":
		h.answers = count(value)
	case "service_tier":
		if value[0] != '"' && string(value) != "null" {
			return about("service_tier", bad("service_tier must be a string"))
		}
		h.batch = string(value) == `"flex"`
	case "stream":
		if seen[1] {
			return about("stream", bad("the field stream is there twice"))
		}
		seen[1] = true
		switch string(value) {
		case "true":
			h.stream = true
		case "false", "null":
		default:
			return about("stream", bad("stream must be true or false"))
		}
	}
	return nil
}

// count is a whole number that is not negative; 0 if it is something else, which
// the engine will say.
func count(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// mostAnswers is what is believed of how many answers are wanted.
const mostAnswers = 128

// need is what the request may take. A token is about four bytes of the prompt
// as it stands, and there are never more than the window holds.
func (h *head) need(m lm.Model) Need {
	n := Need{Prompt: (h.prompt[1] - h.prompt[0]) / 4, Most: h.most}
	if m.Window > 0 {
		n.Prompt, n.Most = min(n.Prompt, m.Window), min(n.Most, m.Window)
	}
	n.Most = min(n.Most, 1<<32) * min(max(h.answers, 1), mostAnswers)
	return n
}

// ask is what the choice of an engine needs to know: the conversation, and the
// beginning of the prompt as it stands in the request.
func (h *head) ask(b []byte) balance.Ask {
	var c, key balance.Chain
	c.Write(b[h.prompt[0]:h.prompt[1]])
	key.WriteString(h.conversation)
	return balance.Ask{Key: key.Key(), Prefix: c.Sums(), Batch: h.batch, Tokens: fleet.Tokens(c.Len(), h.most)}
}

// opening names a conversation by all of its prompt up to the first thing that
// the user says.
func opening(prompt []byte) string {
	var c balance.Chain
	s := scanner{b: prompt}
	if !s.take('[') {
		c.Write(s.b[:min(len(s.b), beginning)]) // a prompt that is a text
		return strconv.FormatUint(c.Key(), 36)
	}
	for user := false; !user; s.take(',') {
		s.space()
		from := s.at
		if !s.value(0) {
			break
		}
		message := s.b[from:s.at]
		c.Write(message)
		user = role(message) == `"user"`
		s.space()
	}
	return strconv.FormatUint(c.Key(), 36)
}

// beginning is how many bytes of a plain prompt tell it from others.
const beginning = 512

// role is a message's, with its quotes.
func role(message []byte) string {
	s := scanner{b: message}
	for ok := s.take('{'); ok; ok = s.take(',') {
		s.space()
		key, is := s.str()
		if s.space(); !is || !s.take(':') {
			break
		}
		s.space()
		from := s.at
		if !s.value(0) {
			break
		}
		if string(key) == `"role"` {
			return string(s.b[from:s.at])
		}
		s.space()
	}
	return ""
}

// rewrite puts the engine's own model name into the body if it differs.
func (h *head) rewrite(b *buffer, model string) *buffer {
	out := h.named(b.Bytes(), model)
	if &out[0] == &b.b[0] {
		return b
	}
	b.free()
	return &buffer{b: out}
}

// named is the body with the engine's own model name: the same one, or a copy.
func (h *head) named(old []byte, model string) []byte {
	if h.model == model && h.to > 0 {
		return old
	}
	name, err := json.Marshal(model)
	if err != nil {
		return old
	}
	out := make([]byte, 0, len(old)+len(name)+12)
	if h.to > 0 {
		out = append(append(append(out, old[:h.from]...), name...), old[h.to:]...)
	} else {
		out = append(append(append(out, old[:h.object]...), `"model":`...), name...)
		if !h.empty {
			out = append(out, ',')
		}
		out = append(out, old[h.object:]...)
	}
	return out
}

// scanner steps over JSON without reading it.
type scanner struct {
	b  []byte
	at int
}

const depthLimit = 512

func (s *scanner) broken() error {
	if s.at >= len(s.b) {
		return bad("the request breaks off: its JSON has no end")
	}
	return bad("the request is not valid JSON (near byte %d)", s.at)
}

func (s *scanner) end() error {
	s.space()
	if s.at != len(s.b) {
		return bad("the request has something after its JSON object")
	}
	return nil
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

// str steps over a string and returns it with its quotes.
func (s *scanner) str() ([]byte, bool) {
	from := s.at
	if !s.take('"') {
		return nil, false
	}
	for {
		i := bytes.IndexByte(s.b[s.at:], '"')
		if i < 0 {
			s.at = len(s.b)
			return nil, false
		}
		end := s.at + i
		back := 0
		for j := end - 1; j > from && s.b[j] == '\\'; j-- {
			back++
		}
		s.at = end + 1
		if back%2 == 0 {
			return s.b[from:s.at], true
		}
	}
}

// value steps over any value.
func (s *scanner) value(depth int) bool {
	if s.at >= len(s.b) || depth > depthLimit {
		return false
	}
	switch c := s.b[s.at]; c {
	case '"':
		_, ok := s.str()
		return ok
	case '{', '[':
		return s.nested(c, depth)
	}
	from := s.at
	for s.at < len(s.b) {
		switch c := s.b[s.at]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			s.at++
			continue
		}
		break
	}
	return json.Valid(s.b[from:s.at])
}

// nested steps over an object or array.
func (s *scanner) nested(open byte, depth int) bool {
	s.at++
	shut := open + 2 // '}' is '{'+2, ']' is '['+2
	s.space()
	if s.take(shut) {
		return true
	}
	for {
		s.space()
		if open == '{' {
			if _, ok := s.str(); !ok {
				return false
			}
			s.space()
			if !s.take(':') {
				return false
			}
			s.space()
		}
		if !s.value(depth + 1) {
			return false
		}
		s.space()
		if s.take(shut) {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

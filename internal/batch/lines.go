package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// line is a request of an input file.
type line struct {
	Custom string          `json:"custom_id"`
	Method string          `json:"method"`
	URL    string          `json:"url"`
	Body   json.RawMessage `json:"body"`
}

const (
	mostProblems = 1000 // of one file; after that many it is not read further
	shownFirst   = 100  // of these, in the batch itself
	mostCustom   = 512  // bytes
)

// check says what is wrong with a line of a batch, nil if nothing is.
func check(endpoint string, raw []byte) (line, *Problem) {
	l, p := parse(raw)
	if p == nil {
		p = l.check(endpoint)
	}
	return l, p
}

func (l *line) wrong(code, param, format string, args ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, args...), Param: param, custom: l.Custom}
}

func parse(raw []byte) (l line, p *Problem) {
	wrong := func(code, param, format string, args ...any) (line, *Problem) {
		return l, l.wrong(code, param, format, args...)
	}
	if !utf8.Valid(raw) {
		return wrong("invalid_encoding", "", "this line is not valid UTF-8")
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		var kind *json.UnmarshalTypeError
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &kind) && kind.Field != "":
			return wrong("invalid_type", kind.Field, "%q must be a string, not %s", kind.Field, kind.Value)
		case errors.As(err, &syntax):
			return wrong("invalid_json_line", "", "this line is not valid JSON: %s at byte %d", syntax.Error(), syntax.Offset)
		}
		return wrong("invalid_json_line", "", "this line is not a JSON object")
	}
	return l, nil
}

// check says what is wrong with what stands in the line.
func (l *line) check(endpoint string) *Problem {
	var body struct {
		Stream json.RawMessage `json:"stream"`
	}
	wrong := l.wrong
	switch {
	case l.Custom == "":
		return wrong("missing_required_parameter", "custom_id", `"custom_id" is missing: it names the line in the output`)
	case len(l.Custom) > mostCustom:
		long := l.Custom
		l.Custom = ""
		return wrong("invalid_value", "custom_id", `"custom_id" has %d bytes; at most %d are taken`, len(long), mostCustom)
	case l.Method == "":
		return wrong("missing_required_parameter", "method", `"method" is missing: it must be POST`)
	case l.Method != "POST":
		return wrong("invalid_method", "method", `"method" must be POST`)
	case l.URL == "":
		return wrong("missing_required_parameter", "url", `"url" is missing: it must be the batch's endpoint, %s`, endpoint)
	case l.URL != endpoint:
		return wrong("mismatched_endpoint", "url", `"url" must be the batch's endpoint, %s`, endpoint)
	case len(l.Body) == 0 || string(l.Body) == "null":
		return wrong("missing_required_parameter", "body", `"body" is missing: it is the request itself`)
	case l.Body[0] != '{':
		return wrong("invalid_type", "body", `"body" must be an object`)
	case json.Unmarshal(l.Body, &body) != nil:
		return wrong("invalid_type", "body", `"body" can't be read`)
	case len(body.Stream) > 0 && string(body.Stream) != "null" && string(body.Stream) != "false":
		return wrong("invalid_value", "body.stream", "a batch has nobody to stream to: leave stream out")
	}
	return nil
}

var errEnough = errors.New("enough was read")

// lines calls each with the lines of a batch's input and their numbers; empty
// ones are counted and left out. raw is valid during the call only.
func (s *Service) lines(ctx context.Context, b Batch, each func(n int, raw []byte) error) error {
	var rest []byte
	n := 0
	give := func(raw []byte) error {
		n++
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			return nil
		}
		return each(n, raw)
	}
	err := s.o.Log.FilePieces(ctx, spaceOf(b.Input), inputSet, func(piece []byte) error {
		if n == 0 && len(rest) == 0 {
			piece = bytes.TrimPrefix(piece, []byte("\ufeff"))
		}
		for {
			i := bytes.IndexByte(piece, '\n')
			if i < 0 {
				rest = append(rest, piece...)
				return nil
			}
			raw := piece[:i]
			if len(rest) > 0 {
				raw = append(rest, raw...)
				rest = nil
			}
			if err := give(raw); err != nil {
				return err
			}
			piece = piece[i+1:]
		}
	})
	if err != nil {
		return err
	}
	return give(rest)
}

// validate reads the whole input before any of it is asked.
func (s *Service) validate(ctx context.Context, b Batch) (total int, problems []Problem, err error) {
	first := map[string]int{} // line of each custom_id
	err = s.lines(ctx, b, func(n int, raw []byte) error {
		if total++; total > s.o.Lines {
			problems = append(problems, Problem{Code: "too_many_tasks", Message: fmt.Sprintf("the file has more than %d lines with requests", s.o.Lines), Line: n})
			return errEnough
		}
		l, p := check(b.Endpoint, raw)
		if p == nil {
			if before := first[l.Custom]; before > 0 {
				p = &Problem{Code: "duplicate_custom_id", Message: fmt.Sprintf("%q is the custom_id of line %d, too", l.Custom, before), Param: "custom_id", custom: l.Custom}
			}
		}
		if p == nil {
			first[l.Custom] = n
			return nil
		}
		p.Line = n
		if problems = append(problems, *p); len(problems) == mostProblems {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && total == 0 {
		problems = append(problems, Problem{Code: "empty_file", Message: "the file has no line with a request"})
	}
	return total, problems, err
}

// The lines of output and error files.
type (
	outLine struct {
		ID       string       `json:"id"`
		Custom   *string      `json:"custom_id"`
		Response *outResponse `json:"response"`
		Error    *outError    `json:"error"`
	}
	outResponse struct {
		Status  int             `json:"status_code"`
		Request string          `json:"request_id"`
		Body    json.RawMessage `json:"body"`
	}
	outError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Line    int    `json:"line,omitempty"` // of the input
	}
)

// answered makes the record of a line that was asked.
func answered(id string, l line, a Answer) []byte {
	kind := byte(good)
	if a.Status < 200 || a.Status > 299 {
		kind = bad
	}
	if !json.Valid(a.Body) {
		a.Body = []byte(`{"error":{"message":"the engine's answer is no JSON","type":"server_error","param":null,"code":"internal"}}`)
	}
	return record(kind, outLine{ID: id, Custom: &l.Custom, Response: &outResponse{a.Status, id, a.Body}})
}

// refused makes the record of a line without an answer.
func refused(b Batch, n int, custom, code, message string) []byte {
	return unanswered(requestID(b, n), custom, outError{code, message, n})
}

func unanswered(id, custom string, why outError) []byte {
	out := outLine{ID: id, Error: &why}
	if custom != "" {
		out.Custom = &custom
	}
	return record(bad, out)
}

func requestID(b Batch, n int) string {
	return fmt.Sprintf("batch_req_%s_%d", b.ID[len(batchPrefix):], n)
}

func record(kind byte, l outLine) []byte {
	var buf bytes.Buffer
	buf.WriteByte(kind)
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(l); err != nil { // only a body that is no JSON could do that
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

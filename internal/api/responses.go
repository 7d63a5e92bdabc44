package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// The Responses API over the conversation log: a response is a turn, so it is
// finished whatever dies, and a stream can be read again from any place. Event
// numbers are counted from the log and are the same for every reader.

// responseRequest is what POST /v1/responses takes. Tools and media are
// refused, not ignored.
type responseRequest struct {
	Model           string            `json:"model"`
	Input           json.RawMessage   `json:"input"`
	Instructions    *string           `json:"instructions"`
	Background      bool              `json:"background"`
	Stream          bool              `json:"stream"`
	Store           *bool             `json:"store"`
	Previous        string            `json:"previous_response_id"`
	Temperature     *float64          `json:"temperature"`
	TopP            *float64          `json:"top_p"`
	MaxOutputTokens *int              `json:"max_output_tokens"`
	Metadata        map[string]string `json:"metadata"`
	Tools           []json.RawMessage `json:"tools"`
	Text            *struct {
		Format *struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"text"`
}

// responseID ties a response to its conversation and turn.
func responseID(conv, turn string) string { return "resp_" + conv + "_" + turn }

func splitResponseID(id string) (conv, turn string, err error) {
	rest, ok := strings.CutPrefix(id, "resp_")
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 0 || !event.ValidConversation(rest[:i]) {
		return "", "", fault.New(fault.NotFound, "there is no response %q", id)
	}
	return rest[:i], rest[i+1:], nil
}

// input reads the messages of a request: the last one is what is asked, those
// before it are its context.
func (q *responseRequest) input() (before []lm.Message, text string, err error) {
	if json.Unmarshal(q.Input, &text) == nil {
		return nil, text, nil
	}
	var items []struct {
		Type    string          `json:"type"`
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(q.Input, &items); err != nil || len(items) == 0 {
		return nil, "", fault.New(fault.Invalid, `"input" must be a text or a list of messages`)
	}
	for i, it := range items {
		if it.Type != "" && it.Type != "message" {
			return nil, "", fault.New(fault.Unsupported, "input[%d]: items of type %q are not supported; messages with text are", i, it.Type)
		}
		t, err := contentText(it.Content)
		if err != nil {
			return nil, "", fault.New(fault.CodeOf(err), "input[%d]: %s", i, fault.MessageOf(err))
		}
		role := lm.Role(it.Role)
		switch role {
		case lm.User, lm.Assistant, lm.System:
		case "developer":
			role = lm.System
		default:
			return nil, "", fault.New(fault.Invalid, "input[%d]: unknown role %q", i, it.Role)
		}
		before = append(before, lm.Message{Role: role, Text: t})
	}
	last := before[len(before)-1]
	if last.Role != lm.User {
		return nil, "", fault.New(fault.Invalid, "the last input message must be the user's")
	}
	return before[:len(before)-1], last.Text, nil
}

// params checks the ranges that the API names and fills in the rest.
func (q *responseRequest) params(p *lm.Params) (err error) {
	switch {
	case q.Temperature != nil && (*q.Temperature < 0 || *q.Temperature > 2):
		return fault.New(fault.Invalid, `"temperature" must be a number from 0 to 2`)
	case q.TopP != nil && (*q.TopP < 0 || *q.TopP > 1):
		return fault.New(fault.Invalid, `"top_p" must be a number from 0 to 1`)
	case q.MaxOutputTokens != nil && *q.MaxOutputTokens < 1:
		return fault.New(fault.Invalid, `"max_output_tokens" must be at least 1`)
	case q.MaxOutputTokens != nil:
		p.MaxTokens = *q.MaxOutputTokens
	}
	p.Schema, err = q.schema()
	return err
}

// schema returns what the answer must satisfy, nil for plain text.
func (q *responseRequest) schema() (json.RawMessage, error) {
	if q.Text == nil || q.Text.Format == nil {
		return nil, nil
	}
	switch f := q.Text.Format; f.Type {
	case "", "text":
		return nil, nil
	case "json_object":
		return json.RawMessage(`{"type":"object"}`), nil
	case "json_schema":
		var object map[string]json.RawMessage
		if err := json.Unmarshal(f.Schema, &object); err != nil || object == nil {
			return nil, fault.New(fault.Invalid, `"text.format.schema" must be a JSON schema: an object`)
		}
		return f.Schema, nil
	default:
		return nil, fault.New(fault.Unsupported, "text.format of type %q is not supported; text, json_object and json_schema are", f.Type)
	}
}

func contentText(raw json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", fault.New(fault.Invalid, `"content" must be a text or a list of parts`)
	}
	for _, p := range parts {
		if p.Type != "input_text" && p.Type != "output_text" && p.Type != "text" {
			return "", fault.New(fault.Unsupported, "content of type %q is not supported; text is", p.Type)
		}
		text += p.Text
	}
	return text, nil
}

func (s *server) createResponse(w http.ResponseWriter, r *http.Request, user string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	b, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return err
	}
	var q responseRequest
	if err := decode(b, &q, false); err != nil { // clients send fields that we need not know
		return err
	}
	if len(q.Tools) > 0 {
		return fault.New(fault.Unsupported, "tools are not supported by /v1/responses here; /v1/chat/completions passes them through")
	}
	before, text, err := q.input()
	if err != nil {
		return err
	}
	conv, follows, err := s.responseConversation(r.Context(), user, q.Previous, k)
	if err != nil {
		return err
	}
	extra, err := json.Marshal(requestExtra{q.Background, q.Previous, q.Metadata})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	turn := event.Turn{
		Model: q.Model, System: q.Instructions, Context: before, NoRestart: true, Plain: true, Extra: extra,
		Params: &lm.Params{Temperature: q.Temperature, TopP: q.TopP},
	}
	if err := q.params(turn.Params); err != nil {
		return err
	}
	acc, err := s.opts.Chat.Submit(r.Context(), chat.Message{
		Owner: user, Conversation: conv, Follows: follows, Key: k, Turn: turn,
		Activity: activity.Activity{Type: activity.TypeMessage, Text: text},
	})
	if err != nil {
		return err
	}
	l, err := s.opts.Chat.Open(r.Context(), conv)
	if err != nil {
		return err
	}
	defer l.Close()
	view := newResponse(l, conv, acc.Turn)
	view.wait(r.Context())
	if q.Background && !q.Stream {
		return writeJSON(w, http.StatusOK, view.object())
	}
	defer s.afterResponse(r, user, conv, acc.Turn, q)
	if q.Stream {
		return s.streamResponse(w, r, l, view, -1)
	}
	if err := lastFrame(r.Context(), l, view.step); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, view.object())
}

// requestExtra is what a response's object repeats of its request.
type requestExtra struct {
	Background bool              `json:"background,omitempty"`
	Previous   string            `json:"previous,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// afterResponse stops what nobody waits for any more and forgets what was not
// to be kept.
func (s *server) afterResponse(r *http.Request, user, conv, turn string, q responseRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
	defer cancel()
	if r.Context().Err() != nil && !q.Background {
		if err := s.opts.Chat.StopTurn(ctx, user, conv, turn); err != nil {
			s.note(r, err)
		}
	}
	if q.Store != nil && !*q.Store && !q.Background && q.Previous == "" {
		if _, err := s.opts.Chat.Delete(ctx, user, conv); err != nil {
			s.note(r, err)
		}
	}
}

// responseConversation returns the conversation to answer in and the activity
// to follow there: the earlier response's, or a new one that no list shows.
func (s *server) responseConversation(ctx context.Context, user, previous, k string) (conv, follows string, err error) {
	if previous == "" {
		if k != "" {
			k = "response\x00" + k
		}
		id, _, err := s.opts.Chat.Create(ctx, chat.NewConversation{Owner: user, Channel: "responses", Hidden: true, Key: k})
		return id, "", err
	}
	conv, turn, err := splitResponseID(previous)
	if err != nil {
		return "", "", err
	}
	l, err := s.openResponse(ctx, user, conv, turn)
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		if follows = event.AnswerOf(turn); st.Activity(follows) == nil {
			follows = st.Turn(turn).ReplyTo // it has no answer (yet)
		}
	})
	return conv, follows, nil
}

func (s *server) openResponse(ctx context.Context, user, conv, turn string) (*chat.Live, error) {
	l, err := s.opts.Chat.Open(ctx, conv)
	if err != nil {
		return nil, err
	}
	ok := false
	l.View(func(st *conversation.State) {
		ok = st.Exists && !st.Deleted && st.By.Owner == user && st.Turn(turn) != nil
	})
	if !ok {
		l.Close()
		return nil, fault.New(fault.NotFound, "there is no response %q", responseID(conv, turn))
	}
	return l, nil
}

func (s *server) theResponse(r *http.Request, user string) (*chat.Live, *response, error) {
	conv, turn, err := splitResponseID(r.PathValue("id"))
	if err != nil {
		return nil, nil, err
	}
	l, err := s.openResponse(r.Context(), user, conv, turn)
	if err != nil {
		return nil, nil, err
	}
	return l, newResponse(l, conv, turn), nil
}

func (s *server) getResponse(w http.ResponseWriter, r *http.Request, user string) error {
	l, view, err := s.theResponse(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	stream, after := r.URL.Query().Get("stream"), -1
	if v := r.URL.Query().Get("starting_after"); v != "" {
		if after, err = strconv.Atoi(v); err != nil || after < 0 || stream != "true" {
			return fault.New(fault.Invalid, `"starting_after" must be the sequence_number of an event, with stream=true`)
		}
	}
	if stream != "" && stream != "true" && stream != "false" {
		return fault.New(fault.Invalid, `"stream" must be true or false`)
	}
	if stream != "true" {
		frames, _ := l.Frames(0)
		for _, f := range frames {
			view.step(f)
		}
		return writeJSON(w, http.StatusOK, view.object())
	}
	return s.streamResponse(w, r, l, view, after)
}

func (s *server) deleteResponse(w http.ResponseWriter, r *http.Request, user string) error {
	l, view, err := s.theResponse(r, user)
	if err != nil {
		return err
	}
	l.Close()
	if _, err := s.opts.Chat.Delete(r.Context(), user, view.conv); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"id": r.PathValue("id"), "object": "response", "deleted": true})
}

func (s *server) cancelResponse(w http.ResponseWriter, r *http.Request, user string) error {
	l, view, err := s.theResponse(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := s.opts.Chat.StopTurn(r.Context(), user, view.conv, view.turn); err != nil {
		return err
	}
	if err := lastFrame(r.Context(), l, view.step); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, view.object())
}

// streamResponse sends the events behind a number. If the node stops first the
// connection is cut, because to a client a clean end would look like the last
// event.
func (s *server) streamResponse(w http.ResponseWriter, r *http.Request, l *chat.Live, view *response, after int) error {
	s.opts.Metrics.Reader(+1)
	defer s.opts.Metrics.Reader(-1)
	out := newStream(w)
	view.emit = func(name string, n int, body map[string]any) {
		if n <= after {
			return
		}
		body["type"], body["sequence_number"] = name, n
		if b, err := json.Marshal(body); err == nil { // plain maps and strings
			out.event("", name, b)
		}
	}
	if err := s.follow(r.Context(), l, 0, out, func() {}, view.step); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// response folds a turn's frames into a Response object and its events.
type response struct {
	live       *chat.Live
	conv, turn string
	emit       func(name string, number int, body map[string]any) // nil: nobody reads events

	number  int // of the next event
	begun   bool
	opened  bool // the output item was announced
	created time.Time
	text    strings.Builder
	state   event.State
	fail    conversation.TurnBody
	end     *event.Ended
	asked   event.Turn
	extra   requestExtra
}

func newResponse(l *chat.Live, conv, turn string) *response {
	return &response{live: l, conv: conv, turn: turn, state: event.Queued}
}

// wait returns when the turn is known here.
func (v *response) wait(ctx context.Context) {
	_ = lastFrame(ctx, v.live, func(f conversation.Frame) bool {
		b, ok := f.Body.(conversation.TurnBody)
		return !ok || b.Turn != v.turn
	})
}

// step takes a frame; false means that it was the turn's last.
func (v *response) step(f conversation.Frame) bool {
	switch b := f.Body.(type) {
	case conversation.DeltaBody:
		if b.Turn == v.turn {
			v.delta(b.Text)
		}
	case conversation.TurnBody:
		if b.Turn == v.turn {
			return v.moved(b)
		}
	}
	return true
}

func (v *response) event(name string, body map[string]any) {
	if v.emit != nil {
		v.emit(name, v.number, body)
	}
	v.number++
}

func (v *response) moved(b conversation.TurnBody) bool {
	v.state = b.State
	switch {
	case b.State == event.Queued:
		v.event("response.created", map[string]any{"response": v.object()})
	case b.State == event.Running && !v.begun:
		v.begun = true
		v.event("response.in_progress", map[string]any{"response": v.object()})
	case b.State.Final():
		v.fail = b
		v.look()
		v.finish()
		return false
	}
	return true
}

func (v *response) item() string { return "msg_" + event.AnswerOf(v.turn) }

func (v *response) delta(text string) {
	if !v.opened {
		v.opened = true
		v.event("response.output_item.added", map[string]any{"output_index": 0, "item": v.message("in_progress", false)})
		v.event("response.content_part.added", map[string]any{"item_id": v.item(), "output_index": 0, "content_index": 0, "part": part("")})
	}
	v.text.WriteString(text)
	v.event("response.output_text.delta", map[string]any{"item_id": v.item(), "output_index": 0, "content_index": 0, "delta": text, "logprobs": []any{}})
}

func (v *response) finish() {
	text := v.text.String()
	if v.opened {
		v.event("response.output_text.done", map[string]any{"item_id": v.item(), "output_index": 0, "content_index": 0, "text": text, "logprobs": []any{}})
		v.event("response.content_part.done", map[string]any{"item_id": v.item(), "output_index": 0, "content_index": 0, "part": part(text)})
		v.event("response.output_item.done", map[string]any{"output_index": 0, "item": v.message(v.itemStatus(), true)})
	}
	name := "response." + v.status()
	if v.status() == "cancelled" { // the API has no such event; the object says it
		name = "response.incomplete"
	}
	v.event(name, map[string]any{"response": v.object()})
}

func part(text string) map[string]any {
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func (v *response) message(status string, whole bool) map[string]any {
	content := []any{}
	if whole {
		content = append(content, part(v.text.String()))
	}
	return map[string]any{"type": "message", "id": v.item(), "status": status, "role": "assistant", "content": content}
}

// look reads from the state what frames don't carry.
func (v *response) look() {
	v.live.View(func(st *conversation.State) {
		if t := st.Turn(v.turn); t != nil {
			v.asked, v.end = t.Turn, t.End
			_ = json.Unmarshal(t.Extra, &v.extra) // our own, written above
			if a := st.Activity(t.ReplyTo); a != nil {
				v.created = a.Timestamp
			}
		}
	})
}

func (v *response) status() string {
	switch v.state {
	case event.Queued:
		return "queued"
	case event.Running:
		return "in_progress"
	case event.Failed:
		return "failed"
	case event.Stopped:
		return "cancelled"
	}
	if v.end != nil && v.end.Finish == lm.FinishLength {
		return "incomplete"
	}
	return "completed"
}

func (v *response) itemStatus() string {
	if v.status() == "completed" {
		return "completed"
	}
	return "incomplete"
}

// object is the Response as the API shows it.
func (v *response) object() map[string]any {
	v.look()
	o := map[string]any{
		"id": responseID(v.conv, v.turn), "object": "response", "created_at": v.created.Unix(), "status": v.status(),
		"background": v.extra.Background, "error": nil, "incomplete_details": nil, "instructions": v.asked.System, "max_output_tokens": nil,
		"model": v.asked.Model, "output": []any{}, "parallel_tool_calls": true, "previous_response_id": nil,
		"temperature": nil, "top_p": nil, "tool_choice": "auto", "tools": []any{}, "usage": nil, "metadata": map[string]string{},
		"text": map[string]any{"format": map[string]any{"type": "text"}}, "truncation": "auto", "store": true,
	}
	if v.extra.Previous != "" {
		o["previous_response_id"] = v.extra.Previous
	}
	if len(v.extra.Metadata) > 0 {
		o["metadata"] = v.extra.Metadata
	}
	if p := v.asked.Params; p != nil {
		o["temperature"], o["top_p"] = p.Temperature, p.TopP
		if p.MaxTokens > 0 {
			o["max_output_tokens"] = p.MaxTokens
		}
	}
	if v.state.Final() && v.text.Len() > 0 {
		o["output"] = []any{v.message(v.itemStatus(), true)}
		o["output_text"] = v.text.String()
	}
	if v.status() == "incomplete" {
		o["incomplete_details"] = map[string]any{"reason": "max_output_tokens"}
	}
	if v.state == event.Failed {
		o["error"] = map[string]any{"code": "server_error", "message": fmt.Sprintf("%s (%s)", v.fail.Error, v.fail.Code)}
	}
	if e := v.end; e != nil && v.state.Final() {
		if e.Model != "" {
			o["model"] = e.Model
		}
		o["usage"] = map[string]any{
			"input_tokens": e.Usage.Prompt, "input_tokens_details": map[string]any{"cached_tokens": e.Usage.Cached},
			"output_tokens": e.Usage.Completion, "output_tokens_details": map[string]any{"reasoning_tokens": 0},
			"total_tokens": e.Usage.Prompt + e.Usage.Completion,
		}
	}
	return o
}

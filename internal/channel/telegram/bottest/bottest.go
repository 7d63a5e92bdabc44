// Package bottest plays Telegram's Bot API for tests: it takes what the
// published reference allows and refuses the rest with the errors that the Bot
// API has for it. It is not Telegram: what is not in the reference it does not
// know.
package bottest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Username of the bot, whose id is ID.
const (
	Username = "parley_test_bot"
	ID       = 7000001
	Token    = "7000001:AAF-parley-test-token-0123456789abc"
)

// API is the Bot API for one bot. The zero value is ready; it is an
// http.Handler below any address.
type API struct {
	mu      sync.Mutex // guards all below
	n       int64
	update  int64
	chats   map[int64][]*Message
	calls   []Call
	wrong   []string
	answer  Answer
	queue   []json.RawMessage // updates by their number, not yet confirmed
	first   int64             // number of the first of them
	more    chan struct{}     // closed when there are more
	poll    chan struct{}     // closed when another one asks for news
	hook    Hook
	files   map[string][]byte
	getting int // times that news were asked for
}

// Hook is the bot's webhook as Telegram knows it.
type Hook struct {
	URL     string   `json:"url"`
	Pending int      `json:"pending_update_count"`
	ErrorAt int64    `json:"last_error_date,omitempty"`
	Error   string   `json:"last_error_message,omitempty"`
	Allowed []string `json:"allowed_updates,omitempty"`
}

// Call is one that broke no rule.
type Call struct {
	Method string
	Fields map[string]json.RawMessage
	Chat   int64
	File   string // name of what was uploaded
	At     time.Time
}

// Message is one that the bot sent.
type Message struct {
	ID     int64
	Text   string // or caption
	Kind   string // photo, document, ...; "" = a text
	File   string // address or name
	Fields map[string]json.RawMessage
	Edits  int
}

// Answer may answer a call in place of the API: it returns true then.
type Answer func(w http.ResponseWriter, c Call) bool

// Let has calls answered by a; nil = by the API.
func (x *API) Let(a Answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = a
}

// Hooked sets what is known of a webhook.
func (x *API) Hooked(h Hook) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hook = h
}

// File puts a file there that somebody sent, by its id.
func (x *API) File(id string, content []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.files == nil {
		x.files = map[string][]byte{}
	}
	x.files[id] = content
}

// Next is the number of the next update, for those that are delivered.
func (x *API) Next() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin()
	x.update++
	return x.update
}

// Happen queues an update for whoever asks for news. %d in it is its number.
func (x *API) Happen(update string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin()
	x.update++
	if len(x.queue) == 0 {
		x.first = x.update
	}
	x.queue = append(x.queue, json.RawMessage(strings.ReplaceAll(update, "%d", fmt.Sprint(x.update))))
	close(x.more)
	x.more = make(chan struct{})
}

// Waiting returns how many updates nobody has confirmed.
func (x *API) Waiting() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue)
}

// Asked returns how often news were asked for.
func (x *API) Asked() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.getting
}

// Message adds one of a person's to a chat and returns its number, which the
// bot can answer.
func (x *API) Message() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin()
	x.n++
	return x.n
}

// Texts returns what the bot said in a chat, in the order in which it stands
// there.
func (x *API) Texts(chat int64) (out []string) {
	for _, m := range x.Chat(chat) {
		out = append(out, strings.TrimSpace(m.Kind+" "+m.Text))
	}
	return out
}

// Chat returns copies of what the bot said in a chat.
func (x *API) Chat(chat int64) (out []Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.chats[chat] {
		out = append(out, *m)
	}
	return out
}

// Calls returns all calls of a method that broke no rule; "" = of all methods
// but getUpdates.
func (x *API) Calls(method string) (out []Call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.calls {
		if c.Method == method || method == "" && c.Method != "getUpdates" {
			out = append(out, c)
		}
	}
	return out
}

// Wrong returns the rules that were broken. A test that expects none checks
// that at its end.
func (x *API) Wrong() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.wrong)
}

func (x *API) begin() {
	if x.chats == nil {
		x.chats, x.more, x.n, x.update = map[int64][]*Message{}, make(chan struct{}), 100, 900_000
	}
}

// Fail answers as the Bot API does when it refuses something. retry and moved
// are its parameters, 0 = it has none.
func Fail(w http.ResponseWriter, code int, description string, retry int, moved int64) {
	parameters := map[string]any{}
	if retry > 0 {
		parameters["retry_after"] = retry
	}
	if moved != 0 {
		parameters["migrate_to_chat_id"] = moved
	}
	out := map[string]any{"ok": false, "error_code": code, "description": description}
	if len(parameters) > 0 {
		out["parameters"] = parameters
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out)
}

func give(w http.ResponseWriter, result any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "result": result})
}

func (x *API) broke(w http.ResponseWriter, rule string, args ...any) {
	rule = fmt.Sprintf(rule, args...)
	x.mu.Lock()
	x.wrong = append(x.wrong, rule)
	x.mu.Unlock()
	Fail(w, http.StatusBadRequest, "Bad Request: "+rule, 0, 0)
}

// ServeHTTP answers a call.
func (x *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	x.begin()
	x.mu.Unlock()
	_, path, _ := strings.Cut(r.URL.Path, "/bot")
	if id, ok := strings.CutPrefix(path, Token+"/stored/"); ok && strings.HasPrefix(r.URL.Path, "/file/") {
		x.mu.Lock()
		b, ok := x.files[id]
		x.mu.Unlock()
		if !ok {
			Fail(w, http.StatusNotFound, "Not Found", 0, 0)
			return
		}
		_, _ = w.Write(b)
		return
	}
	method, ok := strings.CutPrefix(path, Token+"/")
	if !ok {
		Fail(w, http.StatusUnauthorized, "Unauthorized", 0, 0)
		return
	}
	c, err := fields(r)
	if err != nil {
		x.broke(w, "the body can't be read: %v", err)
		return
	}
	c.Method = method
	if rule := Check(c); rule != "" {
		x.broke(w, "%s: %s", method, rule)
		return
	}
	x.mu.Lock()
	x.calls = append(x.calls, c)
	answer := x.answer
	x.mu.Unlock()
	if answer == nil || !answer(w, c) {
		x.do(w, r, c)
	}
}

// fields reads what a method is given: JSON, or a form with a file.
func fields(r *http.Request) (Call, error) {
	c := Call{At: time.Now(), Fields: map[string]json.RawMessage{}}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || r.Method != http.MethodPost {
		return c, fmt.Errorf("%s %s", r.Method, kind)
	}
	switch kind {
	case "application/json":
		err = json.NewDecoder(r.Body).Decode(&c.Fields)
	case "multipart/form-data":
		form, err := multipart.NewReader(r.Body, params["boundary"]).ReadForm(64 << 20)
		if err != nil {
			return c, err
		}
		for name, v := range form.Value {
			c.Fields[name] = json.RawMessage(v[0])
			if !json.Valid(c.Fields[name]) || name == "caption" {
				c.Fields[name], _ = json.Marshal(v[0])
			}
		}
		for name, v := range form.File {
			f, err := v[0].Open()
			if err != nil {
				return c, err
			}
			b, _ := io.ReadAll(f)
			if len(b) == 0 {
				return c, fmt.Errorf("the file is empty")
			}
			c.File = v[0].Filename
			c.Fields[name], _ = json.Marshal("attach://" + c.File)
		}
	default:
		err = fmt.Errorf("%s", kind)
	}
	_ = json.Unmarshal(c.Fields["chat_id"], &c.Chat)
	return c, err
}

func (x *API) do(w http.ResponseWriter, r *http.Request, c Call) {
	switch kind, sends := strings.CutPrefix(c.Method, "send"); {
	case c.Method == "getMe":
		give(w, map[string]any{"id": ID, "is_bot": true, "first_name": "Parley", "username": Username, "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false})
	case c.Method == "getWebhookInfo":
		x.mu.Lock()
		defer x.mu.Unlock()
		give(w, map[string]any{"url": x.hook.URL, "has_custom_certificate": false, "pending_update_count": x.hook.Pending, "last_error_date": x.hook.ErrorAt, "last_error_message": x.hook.Error, "allowed_updates": x.hook.Allowed})
	case c.Method == "getUpdates":
		x.news(w, r, c)
	case c.Method == "getFile":
		x.mu.Lock()
		defer x.mu.Unlock()
		id := c.text("file_id")
		if b, ok := x.files[id]; ok {
			give(w, map[string]any{"file_id": id, "file_unique_id": "u" + id, "file_size": len(b), "file_path": "stored/" + id})
			return
		}
		Fail(w, 400, "Bad Request: invalid file_id", 0, 0)
	case c.Method == "sendChatAction", c.Method == "answerCallbackQuery":
		give(w, true)
	case sends:
		x.send(w, c, strings.ToLower(strings.TrimPrefix(kind, "Message")))
	case c.Method == "editMessageText":
		x.edit(w, c)
	case c.Method == "deleteMessage":
		x.delete(w, c)
	default:
		Fail(w, http.StatusNotFound, "Not Found", 0, 0)
	}
}

func (c Call) text(field string) (s string) {
	_ = json.Unmarshal(c.Fields[field], &s)
	return s
}

func (c Call) number(field string) (n int64) {
	_ = json.Unmarshal(c.Fields[field], &n)
	return n
}

// shown is a message as methods return it.
func (x *API) shown(chat int64, m *Message) map[string]any {
	kind := "private"
	if chat < 0 {
		kind = "supergroup"
	}
	out := map[string]any{
		"message_id": m.ID, "date": time.Now().Unix(), "chat": map[string]any{"id": chat, "type": kind, "first_name": "Ann", "title": "Group"},
		"from": map[string]any{"id": ID, "is_bot": true, "first_name": "Parley", "username": Username},
	}
	if m.Kind == "" {
		out["text"] = m.Text
	}
	if k := m.Fields["reply_markup"]; k != nil {
		out["reply_markup"] = k
	}
	return out
}

func (x *API) send(w http.ResponseWriter, c Call, kind string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.n++
	m := &Message{ID: x.n, Kind: kind, Text: c.text("text") + c.text("caption"), Fields: c.Fields}
	if kind != "" {
		m.File = c.text(kind)
	}
	x.chats[c.Chat] = append(x.chats[c.Chat], m)
	give(w, x.shown(c.Chat, m))
}

func (x *API) find(c Call) (*Message, int) {
	for i, m := range x.chats[c.Chat] {
		if m.ID == c.number("message_id") {
			return m, i
		}
	}
	return nil, 0
}

func (x *API) edit(w http.ResponseWriter, c Call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch m, _ := x.find(c); {
	case m == nil:
		Fail(w, 400, "Bad Request: message to edit not found", 0, 0)
	case m.Kind != "":
		Fail(w, 400, "Bad Request: there is no text in the message to edit", 0, 0)
	case m.Text == c.text("text") && string(m.Fields["reply_markup"]) == string(c.Fields["reply_markup"]) && string(m.Fields["entities"]) == string(c.Fields["entities"]):
		Fail(w, 400, "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message", 0, 0)
	default:
		m.Text, m.Fields = c.text("text"), c.Fields
		m.Edits++
		give(w, x.shown(c.Chat, m))
	}
}

func (x *API) delete(w http.ResponseWriter, c Call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m, i := x.find(c)
	if m == nil {
		Fail(w, 400, "Bad Request: message to delete not found", 0, 0)
		return
	}
	x.chats[c.Chat] = slices.Delete(x.chats[c.Chat], i, i+1)
	give(w, true)
}

// news gives what nobody has confirmed, and waits for it as long as it is asked
// to. Whoever asks later gets it instead.
func (x *API) news(w http.ResponseWriter, r *http.Request, c Call) {
	late := time.After(time.Duration(c.number("timeout")) * time.Second)
	x.mu.Lock()
	x.getting++
	if x.hook.URL != "" {
		x.mu.Unlock()
		Fail(w, http.StatusConflict, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first", 0, 0)
		return
	}
	if x.poll != nil {
		close(x.poll)
	}
	mine := make(chan struct{})
	x.poll = mine
	for offset := c.number("offset"); len(x.queue) > 0 && x.first < offset; x.first++ {
		x.queue = x.queue[1:]
	}
	done := func(end func()) {
		if x.poll == mine {
			x.poll = nil
		}
		x.mu.Unlock()
		end()
	}
	for len(x.queue) == 0 {
		more := x.more
		x.mu.Unlock()
		select {
		case <-more:
			x.mu.Lock()
		case <-mine:
			x.mu.Lock()
			done(func() {
				Fail(w, http.StatusConflict, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running", 0, 0)
			})
			return
		case <-r.Context().Done():
			x.mu.Lock()
			done(func() {})
			return
		case <-late:
			x.mu.Lock()
			done(func() { give(w, []string{}) })
			return
		}
	}
	out := slices.Clone(x.queue[:min(len(x.queue), 100)])
	done(func() { give(w, out) })
}

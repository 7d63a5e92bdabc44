// Package graphtest plays Meta for tests: a Graph that takes what the Messenger
// Platform's reference allows and refuses the rest with the errors that Meta
// has for it, and the sender of webhooks. What may live here: rules that Meta
// has published.
package graphtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Version is the only one that the Graph speaks.
const Version = "v25.0"

// Graph is Meta's side. Its zero value has no page.
type Graph struct {
	Secret  string            // the app's
	Pages   map[string]string // tokens by page
	mu      sync.Mutex        // guards what follows
	wrote   map[string]time.Time
	threads map[string][]Said
	calls   []Call
	wrong   []string
	n       int
	blind   bool

	one    sync.Mutex // guards answer, and is held while it runs
	answer Answer
}

// Answer may answer a call to the Send API in place of the Graph: it returns
// true then. take has the Graph take the call all the same.
type Answer func(w http.ResponseWriter, c Call, take func()) bool

// Let has calls answered by a, one after the other; nil = by the Graph.
func (g *Graph) Let(a Answer) {
	g.one.Lock()
	defer g.one.Unlock()
	g.answer = a
}

// Blind keeps conversations from being read, as for an app without the
// permission.
func (g *Graph) Blind(blind bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blind = blind
}

// Call is one to the Send API.
type Call struct {
	Page, User string
	Action     string // "" = a message
	Message    Message
	At         time.Time
}

// Said is a message in a conversation.
type Said struct {
	ID, From string
	Message  Message
	At       time.Time
}

// Message is what the Send API takes. Fields that are not here do not exist.
type Message struct {
	Text         string       `json:"text,omitempty"`
	Attachment   *Attachment  `json:"attachment,omitempty"`
	QuickReplies []QuickReply `json:"quick_replies,omitempty"`
	Metadata     string       `json:"metadata,omitempty"`
}

// Attachment is a file by its address, or a template.
type Attachment struct {
	Type    string `json:"type"`
	Payload struct {
		URL          string    `json:"url,omitempty"`
		IsReusable   bool      `json:"is_reusable,omitempty"`
		TemplateType string    `json:"template_type,omitempty"`
		Text         string    `json:"text,omitempty"`
		Elements     []Element `json:"elements,omitempty"`
		Buttons      []Button  `json:"buttons,omitempty"`
	} `json:"payload"`
}

// Element is a card.
type Element struct {
	Title    string   `json:"title"`
	Subtitle string   `json:"subtitle,omitempty"`
	ImageURL string   `json:"image_url,omitempty"`
	Buttons  []Button `json:"buttons,omitempty"`
}

// Button is below a card or a text.
type Button struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	URL     string `json:"url,omitempty"`
	Payload string `json:"payload,omitempty"`
}

// QuickReply is below a message.
type QuickReply struct {
	ContentType string `json:"content_type"`
	Title       string `json:"title,omitempty"`
	Payload     string `json:"payload,omitempty"`
	ImageURL    string `json:"image_url,omitempty"`
}

// Sign signs a delivery as Meta does: over the bytes as they are sent.
func Sign(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// Escape writes JSON as Meta's webhooks have it: other letters than ASCII's and
// slashes are escaped.
func Escape(body []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(body) {
		switch {
		case r == '/':
			out.WriteString(`\/`)
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// Wrote notes that a person wrote to a page, once for each mid: the window is
// open from then on.
func (g *Graph) Wrote(page, user, mid, text string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin()
	if slices.ContainsFunc(g.threads[page+":"+user], func(s Said) bool { return s.ID == mid }) {
		return
	}
	g.wrote[page+":"+user] = at
	g.threads[page+":"+user] = append(g.threads[page+":"+user], Said{ID: mid, From: user, Message: Message{Text: text}, At: at})
}

// Said notes that a page said something without a call, as people do in its
// inbox.
func (g *Graph) Said(page, user, text string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begin()
	g.n++
	who := page + ":" + user
	g.threads[who] = append(g.threads[who], Said{ID: fmt.Sprintf("m_%06d", g.n), From: page, Message: Message{Text: text}, At: at})
}

func (g *Graph) begin() {
	if g.wrote == nil {
		g.wrote, g.threads = map[string]time.Time{}, map[string][]Said{}
	}
}

// Thread returns what was said between a page and a person.
func (g *Graph) Thread(page, user string) []Said {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.threads[page+":"+user])
}

// Texts returns what a page said to a person, the text of templates included.
func (g *Graph) Texts(page, user string) []string {
	var out []string
	for _, s := range g.Thread(page, user) {
		if s.From != page {
			continue
		}
		text := s.Message.Text
		if a := s.Message.Attachment; a != nil {
			text = a.Type + " " + a.Payload.URL + a.Payload.TemplateType
		}
		out = append(out, text)
	}
	return out
}

// Calls returns all calls to the Send API that broke no rule.
func (g *Graph) Calls() []Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// Wrong returns the rules that were broken. A test that expects none checks
// that at its end.
func (g *Graph) Wrong() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.wrong)
}

// Fail answers as the Graph does when it refuses something.
func Fail(w http.ResponseWriter, status, code, subcode int, message string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"message": fmt.Sprintf("(#%d) %s", code, message), "type": "OAuthException", "code": code, "error_subcode": subcode, "fbtrace_id": "BLBz/WZt8dN",
	}})
}

func (g *Graph) broke(w http.ResponseWriter, code, subcode int, rule string, args ...any) {
	rule = fmt.Sprintf(rule, args...)
	g.mu.Lock()
	g.wrong = append(g.wrong, rule)
	g.mu.Unlock()
	Fail(w, http.StatusBadRequest, code, subcode, rule)
}

// ServeHTTP answers a call.
func (g *Graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, ok := g.caller(w, r)
	if !ok {
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /" + Version + "/me/messages":
		g.send(w, r, page)
	case "GET /" + Version + "/me/conversations":
		g.read(w, r, page)
	case "GET /" + Version + "/me":
		_ = json.NewEncoder(w).Encode(map[string]string{"id": page, "name": "Page " + page})
	default:
		g.broke(w, 2500, 0, "Unknown path components: %s %s", r.Method, r.URL.Path)
	}
}

// caller finds out whose token was shown. The token belongs in a header, and
// the proof that the caller has the app's secret beside it.
func (g *Graph) caller(w http.ResponseWriter, r *http.Request) (string, bool) {
	q := r.URL.Query()
	if q.Has("access_token") {
		g.broke(w, 190, 0, "the token stands in the address")
		return "", false
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for page, t := range g.Pages {
		if t != token {
			continue
		}
		m := hmac.New(sha256.New, []byte(g.Secret))
		m.Write([]byte(token))
		if q.Get("appsecret_proof") != hex.EncodeToString(m.Sum(nil)) {
			g.broke(w, 100, 0, "Invalid appsecret_proof provided in the API argument")
			return "", false
		}
		return page, true
	}
	Fail(w, http.StatusUnauthorized, 190, 463, "Error validating access token: "+token+" has expired")
	return "", false
}

func (g *Graph) send(w http.ResponseWriter, r *http.Request, page string) {
	b, err := io.ReadAll(r.Body)
	kind := r.Header.Get("Content-Type")
	in, rule := Check(b)
	if err != nil || !strings.HasPrefix(kind, "application/json") || rule != "" {
		g.broke(w, 100, 0, "%s (%s)", rule, kind)
		return
	}
	at, known := g.last(page, in.Recipient.ID)
	if !known {
		Fail(w, http.StatusBadRequest, 100, 2018001, "No matching user found")
		return
	}
	c := Call{Page: page, User: in.Recipient.ID, Action: in.SenderAction, At: time.Now()}
	if in.Message != nil {
		c.Message = *in.Message
	}
	mid := ""
	take := func() { mid = g.took(c) }
	if g.answered(w, c, take) {
		return
	}
	if in.Message != nil && time.Since(at) > 24*time.Hour { // sender actions are taken at any time
		Fail(w, http.StatusBadRequest, 10, 2018278, "This message is sent outside of allowed window.")
		return
	}
	take()
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	out := map[string]string{"recipient_id": c.User}
	if c.Action == "" {
		out["message_id"] = mid
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (g *Graph) answered(w http.ResponseWriter, c Call, take func()) bool {
	g.one.Lock()
	defer g.one.Unlock()
	return g.answer != nil && g.answer(w, c, take)
}

func (g *Graph) last(page, user string) (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.wrote[page+":"+user]
	return at, ok
}

func (g *Graph) took(c Call) (mid string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, c)
	if c.Action != "" {
		return ""
	}
	g.n++
	mid = fmt.Sprintf("m_%06d", g.n)
	who := c.Page + ":" + c.User
	g.threads[who] = append(g.threads[who], Said{ID: mid, From: c.Page, Message: c.Message, At: c.At})
	return mid
}

// read answers with the newest messages of a conversation, the newest first.
func (g *Graph) read(w http.ResponseWriter, r *http.Request, page string) {
	q := r.URL.Query()
	g.mu.Lock()
	blind := g.blind
	g.mu.Unlock()
	if blind {
		Fail(w, http.StatusForbidden, 200, 0, "Requires pages_read_engagement permission to manage the object")
		return
	}
	if q.Get("platform") != "messenger" || q.Get("user_id") == "" || !strings.HasPrefix(q.Get("fields"), "messages.limit(") {
		g.broke(w, 100, 0, "conversations are read with platform=messenger, user_id and fields=messages...")
		return
	}
	type message struct {
		ID      string            `json:"id"`
		Message string            `json:"message"`
		From    map[string]string `json:"from"`
		Created string            `json:"created_time"`
	}
	out := []message{}
	for _, s := range slices.Backward(g.Thread(page, q.Get("user_id"))) {
		if len(out) < 25 {
			out = append(out, message{s.ID, s.Message.Text, map[string]string{"id": s.From, "name": "somebody"}, s.At.UTC().Format("2006-01-02T15:04:05-0700")})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": []any{map[string]any{"id": "t_1", "messages": map[string]any{"data": out}}}})
}

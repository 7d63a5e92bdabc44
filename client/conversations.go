package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Info says what a node is.
type Info struct {
	Version string     `json:"version"`
	Region  string     `json:"region"`
	Engine  EngineInfo `json:"engine"`
	Bots    []Bot      `json:"bots"`
	Limits  struct {
		MessageBytes int64 `json:"message_bytes"`
	} `json:"limits"`
}

// EngineInfo says what answers.
type EngineInfo struct {
	Name    string `json:"name"`
	Model   string `json:"model"`
	Demo    bool   `json:"demo"` // canned text, not a language model
	Ready   bool   `json:"ready"`
	Problem string `json:"problem"` // why it is not what was wanted, for people
}

// Bot is who can be asked.
type Bot struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Conversation is one of the caller's own.
type Conversation struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Bot     string    `json:"bot"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// Hit is one found activity. Snippet marks hits with HitStart and HitEnd.
type Hit struct {
	Conversation string    `json:"conversation"`
	Title        string    `json:"title"`
	Activity     string    `json:"activity"`
	Snippet      string    `json:"snippet"`
	At           time.Time `json:"at"`
}

// Marks around a hit in a snippet.
const (
	HitStart = "\uE000"
	HitEnd   = "\uE001"
)

// Account says who said something.
type Account struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Role string `json:"role,omitempty"` // "user" or "bot"
}

// Activity is one thing said or done, in the Bot Framework's schema.
type Activity struct {
	Type        string          `json:"type"`
	ID          string          `json:"id,omitempty"`
	Timestamp   time.Time       `json:"timestamp,omitzero"`
	From        *Account        `json:"from,omitempty"`
	ReplyToID   string          `json:"replyToId,omitempty"`
	Text        string          `json:"text,omitempty"`
	ChannelData json.RawMessage `json:"channelData,omitempty"`
}

// Meta is what Parley says about an activity.
type Meta struct {
	Parent string `json:"parent"`
	Turn   string `json:"turn"`
	Edits  string `json:"edits"`
	Model  string `json:"model"`
	Engine string `json:"engine"`
	Region string `json:"region"`
	Finish string `json:"finish"`
	Demo   bool   `json:"demo"`
}

// Meta reads it; zero if there is none.
func (a Activity) Meta() Meta {
	var d struct {
		Parley Meta `json:"parley"`
	}
	if len(a.ChannelData) > 0 && json.Unmarshal(a.ChannelData, &d) != nil {
		return Meta{}
	}
	return d.Parley
}

// FromBot reports whether a bot said it.
func (a Activity) FromBot() bool { return a.From != nil && a.From.Role == "bot" }

// Info asks what the node is.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var out Info
	err := c.do(ctx, request{method: http.MethodGet, path: "/info"}, &out)
	return out, err
}

// NewConversation asks for a conversation. The zero value is the default bot
// and no title yet.
type NewConversation struct {
	Bot   string `json:"bot,omitempty"`
	Title string `json:"title,omitempty"`
	// Home is the region that it belongs to; "" = the one that is reached. Only
	// with it a try that reaches another region makes the same conversation.
	Home string `json:"home,omitempty"`
	Key  string `json:"-"` // idempotency; "" = a new one
}

// Create begins a conversation.
func (c *Client) Create(ctx context.Context, n NewConversation) (Conversation, error) {
	if n.Key == "" {
		n.Key = NewKey()
	}
	var out Conversation
	err := c.do(ctx, request{method: http.MethodPost, path: "/conversations", body: n, key: n.Key}, &out)
	return out, err
}

// List returns a page of conversations, the most recently updated first, and
// the cursor of the next page, "" on the last. limit 0 is the node's default.
func (c *Client) List(ctx context.Context, cursor string, limit int) ([]Conversation, string, error) {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out struct {
		Conversations []Conversation `json:"conversations"`
		Next          string         `json:"next"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: "/conversations", query: q}, &out)
	return out.Conversations, out.Next, err
}

// All walks all pages of List.
func (c *Client) All(ctx context.Context) iter.Seq2[Conversation, error] {
	return func(yield func(Conversation, error) bool) {
		for cursor := ""; ; {
			page, next, err := c.List(ctx, cursor, 0)
			if err != nil {
				yield(Conversation{}, err)
				return
			}
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if next == "" || next == cursor {
				return
			}
			cursor = next
		}
	}
}

func conversationPath(id, rest string) string { return "/conversations/" + url.PathEscape(id) + rest }

// Conversation returns one.
func (c *Client) Conversation(ctx context.Context, id string) (Conversation, error) {
	var out Conversation
	err := c.do(ctx, request{method: http.MethodGet, path: conversationPath(id, ""), of: id}, &out)
	return out, err
}

// Rename gives a conversation a title.
func (c *Client) Rename(ctx context.Context, id, title string) error {
	body := struct {
		Title string `json:"title"`
	}{title}
	return c.do(ctx, request{method: http.MethodPatch, path: conversationPath(id, ""), body: body}, nil)
}

// Delete has a conversation forgotten. One that is gone already is no error if
// a try before may have done it.
func (c *Client) Delete(ctx context.Context, id string) error {
	tries := 0
	return c.try(ctx, false, func(base string) error {
		tries++
		ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
		resp, err := c.send(ctx, base, request{method: http.MethodDelete, path: conversationPath(id, "")})
		if err == nil {
			return resp.Body.Close()
		}
		if CodeOf(err) == "not_found" && tries > 1 {
			return nil
		}
		return err
	})
}

// Activities returns what was said in a conversation, in order: at the least all
// that this client has said or seen there, whichever region answers.
func (c *Client) Activities(ctx context.Context, id string) ([]Activity, error) {
	var out struct {
		Activities []Activity `json:"activities"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: conversationPath(id, "/activities"), of: id}, &out)
	return out.Activities, err
}

// Search finds activities that hold all words of the query, best first. limit
// 0 is the node's default.
func (c *Client) Search(ctx context.Context, query string, limit int) ([]Hit, error) {
	q := url.Values{"q": {query}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out struct {
		Hits []Hit `json:"hits"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: "/search", query: q}, &out)
	return out.Hits, err
}

// Export writes a conversation to w, as "md" or "json". An error may come
// after part of it was written.
func (c *Client) Export(ctx context.Context, id, format string, w io.Writer) error {
	return c.copy(ctx, request{method: http.MethodGet, path: conversationPath(id, "/export"), query: url.Values{"format": {format}}, accept: "*/*", of: id}, w)
}

// copy writes what a request is answered, whatever that is.
func (c *Client) copy(ctx context.Context, r request, w io.Writer) error {
	wrote := false
	return c.try(ctx, false, func(base string) error {
		ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
		resp, err := c.send(ctx, base, r)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		n, err := io.Copy(w, resp.Body)
		wrote = wrote || n > 0
		if err != nil && !wrote {
			return &Error{Code: CodeUnreachable, Message: "the answer of " + base + " was cut", Cause: err}
		}
		if err != nil {
			return &Error{Code: CodeProtocol, Message: "the answer was cut: take it again", Cause: err}
		}
		return nil
	})
}

// Message is something to say.
type Message struct {
	Text  string
	Edits string // id of the user's activity that this one replaces in a new branch; "" = none
	Key   string // idempotency; "" = a new one. The same key and text never say it twice.
	// After is a position in the conversation's events that the caller knows to
	// be before this message; Ask reads from there. 0 is always right.
	After int64
}

// Sent says what became of a message. It is durable now.
type Sent struct {
	ID       string `json:"id"`       // of the activity
	Turn     string `json:"turn"`     // that answers it; "" if nothing will
	Position int64  `json:"position"` // behind the activity in the conversation's events
}

// Send says something and returns when it is durable. Whatever connections
// break, it is said once.
func (c *Client) Send(ctx context.Context, conversation string, m Message) (Sent, error) {
	return c.say(ctx, "message", conversation, m)
}

// Note is Send for something that nobody answers: an event.
func (c *Client) Note(ctx context.Context, conversation string, m Message) (Sent, error) {
	return c.say(ctx, "event", conversation, m)
}

func (c *Client) say(ctx context.Context, kind, conversation string, m Message) (Sent, error) {
	if m.Key == "" {
		m.Key = NewKey()
	}
	body := Activity{Type: kind, Text: m.Text}
	if m.Edits != "" {
		b, err := json.Marshal(map[string]any{"parley": map[string]string{"edits": m.Edits}})
		if err != nil {
			return Sent{}, err
		}
		body.ChannelData = b
	}
	var out Sent
	err := c.do(ctx, request{method: http.MethodPost, path: conversationPath(conversation, "/activities"), body: body, key: m.Key}, &out)
	if err == nil && out.ID == "" {
		err = &Error{Code: CodeProtocol, Message: "the node did not say what became of the message"}
	}
	if err == nil {
		c.seen.note(conversation, out.Position)
	}
	return out, err
}

// Stop ends a turn where it is. A turn that has ended is no error.
func (c *Client) Stop(ctx context.Context, conversation, turn string) error {
	err := c.do(ctx, request{method: http.MethodPost, path: conversationPath(conversation, "/turns/"+url.PathEscape(turn)+"/stop")}, nil)
	var e *Error
	if errors.As(err, &e) && e.Code == "conflict" {
		return nil
	}
	return err
}

// Regenerate asks for another answer in the place of a turn's, and returns the
// new turn. key "" is a new one; the same key asks once.
func (c *Client) Regenerate(ctx context.Context, conversation, turn, key string) (Sent, error) {
	if key == "" {
		key = NewKey()
	}
	var out Sent
	err := c.do(ctx, request{method: http.MethodPost, path: conversationPath(conversation, "/turns/"+url.PathEscape(turn)+"/regenerate"), key: key}, &out)
	if err == nil && out.Turn == "" {
		err = &Error{Code: CodeProtocol, Message: "the node did not name the new turn"}
	}
	return out, err
}

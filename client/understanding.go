package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// App understands what is said to some bots, as the node that was asked sees
// it.
type App struct {
	App     string           `json:"app"`
	IDs     []string         `json:"ids"`
	Bots    []string         `json:"bots"`   // none: all that no other app names
	Live    string           `json:"live"`   // version; "" = none
	Flows   int              `json:"flows"`  // of Live's script
	Source  string           `json:"source"` // of Live: "published" or "configuration"
	Before  string           `json:"before"` // was live before, for going back; "" = nothing was
	Next    string           `json:"next"`   // reads Percent of the conversations
	Percent int              `json:"percent"`
	Shadow  string           `json:"shadow"`  // only listens
	Problem string           `json:"problem"` // why the node has not what is published
	Models  []PublishedModel `json:"models"`  // the newest first
}

// PublishedModel is a version that all nodes have.
type PublishedModel struct {
	Version string    `json:"version"`
	Sum     string    `json:"sum"` // SHA-256 of the package
	Size    int       `json:"size"`
	Parts   int       `json:"parts"`
	Intents int       `json:"intents"`
	Flows   int       `json:"flows"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// Activation gives a version a role.
type Activation struct {
	Version string `json:"version"`           // "configuration" = the configuration's own; "" = nobody, not for live
	Role    string `json:"role"`              // "live", "next" or "shadow"; "" = live
	Percent int    `json:"percent,omitempty"` // of the conversations, for next
}

// Unknown is a message that was not understood.
type Unknown struct {
	ID      string    `json:"id"`   // of the activity
	Text    string    `json:"text"` // without addresses, long numbers and keys
	Intent  string    `json:"intent"`
	Score   float64   `json:"score"`
	Version string    `json:"version"` // APP@VERSION that read it
	At      time.Time `json:"at"`
	Label   string    `json:"label"` // the intent that an operator says it has; "" = none yet
	Taken   bool      `json:"taken"` // a project has that label
}

// Label says what a message means.
type Label struct {
	ID     string `json:"id"`     // of the activity
	Intent string `json:"intent"` // "" takes the label away
	Taken  bool   `json:"taken"`  // a project has it
}

// Label labels messages that were not understood, all or none of them.
func (c *Client) Label(ctx context.Context, labels []Label) error {
	return c.do(ctx, request{method: http.MethodPost, path: "/understanding/labels", body: map[string]any{"labels": labels}}, nil)
}

// Unknown lists messages that were not understood, where that is collected,
// from a cursor on ("" = the beginning). next is "" at the end.
func (c *Client) Unknown(ctx context.Context, cursor string, limit int) (items []Unknown, next string, err error) {
	var out struct {
		Items []Unknown `json:"items"`
		Next  string    `json:"next"`
	}
	q := url.Values{"cursor": {cursor}, "limit": {strconv.Itoa(limit)}}
	err = c.do(ctx, request{method: http.MethodGet, path: "/understanding/unknown", query: q}, &out)
	return out.Items, out.Next, err
}

// Apps lists what understands, and what is published.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	var out struct {
		Apps []App `json:"apps"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: "/understanding/models"}, &out)
	return out.Apps, err
}

// Publish gives a package to all nodes. It is the same version when it is sent
// again.
func (c *Client) Publish(ctx context.Context, app string, pack []byte) (PublishedModel, error) {
	var out PublishedModel
	err := c.do(ctx, request{method: http.MethodPut, path: "/understanding/models/" + url.PathEscape(app), body: zipped(pack)}, &out)
	return out, err
}

// Activate gives a published version a role and returns the apps as they are
// then.
func (c *Client) Activate(ctx context.Context, app string, a Activation) ([]App, error) {
	var out struct {
		Apps []App `json:"apps"`
	}
	err := c.do(ctx, request{method: http.MethodPost, path: "/understanding/models/" + url.PathEscape(app) + "/activate", body: a}, &out)
	return out.Apps, err
}

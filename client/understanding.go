package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// App understands what is said to some bots, as the node that was asked sees
// it.
type App struct {
	App     string           `json:"app"`
	IDs     []string         `json:"ids"`
	Bots    []string         `json:"bots"`   // none: all that no other app names
	Live    string           `json:"live"`   // version; "" = none
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

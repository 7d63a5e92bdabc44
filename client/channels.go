package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ChannelAccount is set up on a channel that has to be called.
type ChannelAccount struct {
	Channel string `json:"channel"`
	Account string `json:"account"`
}

// Finding is a step of a channel's check.
type Finding struct {
	What    string `json:"what"`
	Problem string `json:"problem"` // "" = it is well
}

// DeadLetter is something that a bot said and that a channel's other side would
// not have.
type DeadLetter struct {
	ID           string    `json:"id"`
	Channel      string    `json:"channel"`
	Conversation string    `json:"conversation"`
	Position     uint64    `json:"position"`
	At           time.Time `json:"at"`   // when it was said
	Dead         time.Time `json:"dead"` // when it was given up
	Error        string    `json:"error"`
	Doubt        bool      `json:"doubt"` // the other side may have it all the same
}

// Channels lists the accounts on channels that have to be called, and the
// address by which those reach the service.
func (c *Client) Channels(ctx context.Context) (accounts []ChannelAccount, service string, err error) {
	var out struct {
		Accounts []ChannelAccount `json:"accounts"`
		Service  string           `json:"service"`
	}
	err = c.do(ctx, request{method: http.MethodGet, path: "/channels"}, &out)
	return out.Accounts, out.Service, err
}

// CheckChannel tries whether the way to an account's other side and back is
// free.
func (c *Client) CheckChannel(ctx context.Context, a ChannelAccount) ([]Finding, error) {
	var out struct {
		Findings []Finding `json:"findings"`
	}
	err := c.do(ctx, request{method: http.MethodPost, path: "/channels/" + url.PathEscape(a.Channel) + "/accounts/" + url.PathEscape(a.Account) + "/check"}, &out)
	return out.Findings, err
}

// DeadLetters lists up to limit of a channel's, "" = of all channels', by their
// ids, from the one behind after on; "" = from the first, 0 = as many as the
// node gives at once. next is what to go on after; "" = these were the last.
func (c *Client) DeadLetters(ctx context.Context, channel, after string, limit int) (page []DeadLetter, next string, err error) {
	q := url.Values{"channel": {channel}, "after": {after}}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out struct {
		Letters []DeadLetter `json:"letters"`
		Next    string       `json:"next"`
	}
	err = c.do(ctx, request{method: http.MethodGet, path: "/channels/letters", query: q}, &out)
	return out.Letters, out.Next, err
}

// ReplayLetter posts a dead letter now. why says why the other side still won't
// have it, "" = it has it.
func (c *Client) ReplayLetter(ctx context.Context, id string) (why string, err error) {
	var out struct {
		Error string `json:"error"`
	}
	err = c.do(ctx, request{method: http.MethodPost, path: "/channels/letters/" + url.PathEscape(id) + "/replay", once: true}, &out)
	return out.Error, err
}

// DropLetter takes a dead letter away.
func (c *Client) DropLetter(ctx context.Context, id string) error {
	return c.do(ctx, request{method: http.MethodDelete, path: "/channels/letters/" + url.PathEscape(id)}, nil)
}

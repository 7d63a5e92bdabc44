package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Usage is what was spent.
type Usage struct {
	From  string  `json:"from"` // days, both included, as 2006-01-02 in UTC
	To    string  `json:"to"`
	Rows  []Spent `json:"rows"`
	Total Spent   `json:"total"`
}

// Spent is what answers took: those of a day, tenant, key, user or model where it
// was asked for by these.
type Spent struct {
	Day        string `json:"day,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
	Key        string `json:"key,omitempty"`
	User       string `json:"user,omitempty"`
	Model      string `json:"model,omitempty"`
	Requests   int64  `json:"requests"`
	Prompt     int64  `json:"prompt_tokens"`
	Cached     int64  `json:"cached_tokens"` // of Prompt
	Completion int64  `json:"completion_tokens"`
	Cost       string `json:"cost"` // a decimal number
	Currency   string `json:"currency"`
}

// UsageQuery asks for usage. The zero query is this month by day and model.
type UsageQuery struct {
	From, To string
	By       []string // of day, tenant, key, user, model
	User     string   // of this user only; "" = of all that the caller may see
}

func (q UsageQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"from": q.From, "to": q.To, "by": strings.Join(q.By, ","), "user": q.User} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// Usage sums up what was spent.
func (c *Client) Usage(ctx context.Context, q UsageQuery) (Usage, error) {
	var out Usage
	err := c.do(ctx, request{method: http.MethodGet, path: "/usage", query: q.values()}, &out)
	return out, err
}

// UsageCSV writes what was spent as CSV.
func (c *Client) UsageCSV(ctx context.Context, q UsageQuery, w io.Writer) error {
	v := q.values()
	v.Set("format", "csv")
	return c.copy(ctx, request{method: http.MethodGet, path: "/usage", query: v, accept: "*/*"}, w)
}

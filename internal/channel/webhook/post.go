package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// typeUpdate stands in the place of what the program has under the same id.
const typeUpdate = "messageUpdate"

// Pace satisfies channel.Poster.
func (s *Server) Pace() time.Duration { return s.pace }

// Post satisfies channel.Poster. A repetition has the id of what it repeats, so
// doubt is the program's to resolve, as with every webhook.
func (s *Server) Post(ctx context.Context, p channel.Post) (ref string, err error) {
	a, ok := s.owners[p.Owner]
	if !ok {
		return "", fault.New(fault.NotFound, "the webhook of this conversation is no longer in the configuration")
	}
	var to address
	if p.Last == nil || !read(p.Last.ChannelData, &to) {
		return "", fault.New(fault.Invalid, "nobody has written in this conversation, so it has no name over there")
	}
	passing := p.Item.Activity.Type == activity.TypeTyping // a part, or that somebody writes
	if passing && a.Pace == 0 {
		return "", nil
	}
	act := shape(p, to, s.opts.Service)
	body, err := json.Marshal(act)
	if err != nil {
		return "", err
	}
	id := channel.ActivityID(p.Conversation, p.Item.Pos)
	if passing {
		id += "-passing"
	}
	if err := s.call(ctx, a, id, body); err != nil {
		return "", err
	}
	if act.Type == activity.TypeTyping {
		return "", nil
	}
	return act.ID, nil
}

func read(data json.RawMessage, to *address) bool {
	var all map[string]json.RawMessage
	return json.Unmarshal(data, &all) == nil && json.Unmarshal(all[Name], to) == nil && to.Conversation != ""
}

// shape is an activity as programs get it.
func shape(p channel.Post, to address, service string) activity.Activity {
	a := *p.Item.Activity
	a.ID, a.ChannelID, a.Timestamp = p.Ref, Name, p.Item.At.UTC().Truncate(time.Millisecond)
	a.Conversation, a.ChannelData = &activity.Account{ID: to.Conversation}, nil
	if a.ReplyToID = ""; p.Item.ReplyTo > 0 {
		a.ReplyToID = channel.ActivityID(p.Conversation, p.Item.ReplyTo)
	}
	a.Recipient = p.Item.To
	if raw, ok := a.Extra["attachments"]; ok && service != "" {
		a.Extra = clone(a.Extra)
		a.Extra["attachments"] = channel.WithBase(raw, service)
	}
	name := p.Item.ID
	if s := p.Item.Stream; s != nil {
		name = s.ID // also of the whole answer: in doubt it finds what was shown of it
		if !s.Final {
			a.Type, a.ChannelData = activity.TypeMessage, json.RawMessage(`{"webhook":{"growing":true}}`)
		}
	}
	if a.ID != "" && a.Type == activity.TypeMessage {
		a.Type = typeUpdate
	}
	if a.ID == "" {
		a.ID = channel.ActivityID(p.Conversation, name)
	}
	return a
}

func clone(m map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// call brings a body to the program.
func (s *Server) call(ctx context.Context, a *account, id string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.Invalid, "the webhook's url can't be used")
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "Parley")
	sign(r.Header, body, a.keys, id, s.opts.Now())
	resp, err := a.client.Do(r)
	if err != nil {
		return broken(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return judge(resp)
}

// broken says what a call that came to nothing means. The url is the operator's,
// and may have a key in it.
func broken(err error) error {
	var (
		refused *fault.Error
		call    *url.Error
	)
	if errors.As(err, &refused) {
		return refused
	}
	if errors.As(err, &call) {
		err = call.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Timeout, "the webhook's program did not answer in time")
	}
	return fault.Wrap(err, fault.Unavailable, "the webhook's program can't be reached")
}

// judge reads a program's answer: what it will take another time, and what
// never.
func judge(resp *http.Response) error {
	switch status := resp.StatusCode; {
	case status/100 == 2:
		return nil
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Limited, "the webhook's program wants a pause (status %d)", status).After(retryAfter(resp))
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status/100 == 5 && status != http.StatusNotImplemented:
		return fault.New(fault.Unavailable, "the webhook's program is not well (status %d)", status).After(retryAfter(resp))
	case status/100 == 3:
		return fault.New(fault.Forbidden, "the webhook's url redirects to another one, which is not followed (status %d); name that one", status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault.New(fault.Forbidden, "the webhook's program does not trust this service (status %d): do both have the same secret?", status)
	default:
		return fault.New(fault.Invalid, "the webhook's program refused this (status %d)", status)
	}
}

func retryAfter(resp *http.Response) time.Duration {
	h := resp.Header.Get("Retry-After")
	if s, err := strconv.ParseFloat(h, 64); err == nil && s > 0 && !math.IsInf(s, 0) {
		return time.Duration(min(s, 24*3600) * float64(time.Second))
	}
	if at, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// Check satisfies channel.Checker: a signed ping out, and one in by the address
// that programs use.
func (s *Server) Check(ctx context.Context, name, service string) []channel.Finding {
	a, ok := s.accounts[name]
	if !ok {
		return channel.NoAccount(name)
	}
	body := []byte(`{"type":"ping"}`)
	out := channel.Finding{What: "a signed ping to the program"}
	if err := s.call(ctx, a, "ping-"+strconv.FormatInt(s.opts.Now().UnixNano(), 36), body); err != nil {
		out.Problem = fault.MessageOf(err)
	}
	return []channel.Finding{out, s.ping(ctx, a, service, body)}
}

// ping comes in by the address of all regions, as a program's deliveries do.
func (s *Server) ping(ctx context.Context, a *account, service string, body []byte) channel.Finding {
	header := http.Header{}
	sign(header, body, a.keys, "ping", s.opts.Now())
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return channel.Knock(ctx, client, "a signed ping in by", service+Base+a.Name, header, body, func(status int, answer []byte) bool {
		return status == http.StatusOK && bytes.Contains(answer, []byte(`"pong"`))
	})
}

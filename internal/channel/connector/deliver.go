package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/dial"
	"github.com/parleyhq/parley/internal/fault"
)

// CourierOptions are a Courier's. Bots and Service are required, and Keys if a
// bot has an app id.
type CourierOptions struct {
	Bots     []Bot
	Service  string // as of a Server
	Keys     *Keys
	Observer Observer
	Logger   *slog.Logger
}

// Courier gives activities to bots.
type Courier struct {
	opts CourierOptions
	lg   *slog.Logger
	bots map[string]*address
}

// address is where a bot is, and the connections to it.
type address struct {
	Bot
	client *http.Client
}

// NewCourier checks the options.
func NewCourier(o CourierOptions) (*Courier, error) {
	if len(o.Bots) == 0 || o.Service == "" {
		return nil, errors.New("connector: Bots and Service are required")
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Courier{opts: o, lg: o.Logger.With("part", Name), bots: map[string]*address{}}
	for _, b := range o.Bots {
		if b.AppID != "" && o.Keys == nil {
			return nil, errors.New("connector: a bot with an app id needs Keys")
		}
		c.bots[b.ID] = &address{b, dial.Client(func(at netip.Addr) error { return allowed(b, at) })}
	}
	return c, nil
}

const mostAnswer = 1 << 20 // bytes of a bot's response

var errAddress = fault.New(fault.Forbidden, "the bot's URL leads to an address that this service does not call")

// allowed refuses addresses that a bot on the internet does not have. Those of
// this machine and of private networks need private: true. A bot without
// credentials is on this machine.
func allowed(b Bot, at netip.Addr) error {
	where := dial.Of(at)
	switch {
	case at.Zone() != "":
		return errAddress
	case b.AppID == "" && !at.Unmap().IsLoopback():
		return fault.New(fault.Forbidden, "a bot without an app id is called on this machine only")
	case where == dial.Near && !b.Private:
		return fault.New(fault.Forbidden, "the bot's URL leads to this machine or to a private network; its setting private: true allows that")
	case where == dial.Nowhere:
		return errAddress
	}
	return nil
}

// Deliver satisfies chat.Courier.
func (c *Courier) Deliver(ctx context.Context, d chat.Delivery, sending func() error) ([]activity.Activity, error) {
	to, ok := c.bots[d.Bot]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no bot %q that runs elsewhere", d.Bot)
	}
	began := time.Now()
	replies, err := c.post(ctx, to, d, sending)
	outcome := "taken"
	if err != nil {
		outcome = string(fault.CodeOf(err))
	}
	c.opts.Observer.Given(d.Bot, outcome, time.Since(began))
	return replies, err
}

func (c *Courier) post(ctx context.Context, to *address, d chat.Delivery, sending func() error) ([]activity.Activity, error) {
	body, err := json.Marshal(shape(to.Bot, d, c.opts.Service))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := false
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		if err := sending(); err != nil {
			cancel(err)
			return
		}
		sent = true
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the bot's URL can't be used")
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "Parley")
	r.Header.Set("X-Ms-Conversation-Id", d.Conversation)
	if to.AppID != "" {
		token, err := c.opts.Keys.sign(ctx, claims{Issuer: Issuer(c.opts.Service), Audience: to.AppID, Service: c.opts.Service})
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := to.client.Do(r)
	if err != nil {
		return nil, c.broken(ctx, err, sent)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	switch {
	case err != nil:
		return nil, c.broken(ctx, err, true)
	case len(b) > mostAnswer:
		return nil, fault.New(fault.TooLarge, "the bot's response has more than %d bytes", mostAnswer)
	}
	return c.answer(to.Bot, d, resp, b)
}

// broken says what a connection's end means.
func (c *Courier) broken(ctx context.Context, err error, sent bool) error {
	var refused *fault.Error
	switch cause := context.Cause(ctx); {
	case ctx.Err() != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded):
		return cause // of sending
	case errors.As(err, &refused):
		return refused
	case ctx.Err() != nil:
		return ctx.Err()
	case sent:
		return fault.Wrap(err, fault.Internal, "the connection to the bot broke; it is not certain that the bot has got this")
	}
	return fault.Wrap(err, fault.Unavailable, "the bot can't be reached")
}

// answer reads a bot's response.
func (c *Courier) answer(b Bot, d chat.Delivery, resp *http.Response, body []byte) ([]activity.Activity, error) {
	status := resp.StatusCode
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		// Nobody who has done something with an activity says come back later.
		after := time.Second
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			after = time.Duration(min(s, 3600)) * time.Second
		}
		return nil, fault.New(fault.Unavailable, "the bot is not ready (status %d)", status).After(after)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return nil, fault.New(fault.Forbidden, "the bot does not trust this service (status %d)", status)
	case d.Activity.Type == activity.TypeInvoke && status != http.StatusBadGateway && status != http.StatusGatewayTimeout && status/100 != 3:
		return invoked(status, body)
	case status/100 == 3:
		return nil, fault.New(fault.Forbidden, "the bot's URL redirects to another one, which is not followed (status %d)", status)
	case status/100 == 4:
		return nil, fault.New(fault.Invalid, "the bot refused this (status %d)", status)
	case status/100 != 2:
		return nil, fault.New(fault.Internal, "the bot failed (status %d)", status)
	}
	if !inline(b, d.Activity) {
		return nil, nil
	}
	var in struct {
		Activities []json.RawMessage `json:"activities"`
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if json.Unmarshal(body, &in) != nil || len(in.Activities) > mostHistory {
		return nil, fault.New(fault.Invalid, "the bot's response is not one with activities in it")
	}
	var out []activity.Activity
	for _, raw := range in.Activities {
		a, err := read(raw, d.Conversation)
		if err != nil {
			return nil, fmt.Errorf("read a bot's response: %w", err)
		}
		if a.Type == activity.TypeInvokeResponse {
			continue
		}
		out = append(out, a)
		c.opts.Observer.BotSaid(b.ID, kindOf(a.Type))
	}
	return out, nil
}

// invoked makes what a bot answers to an invoke an activity.
func invoked(status int, body []byte) ([]activity.Activity, error) {
	value := map[string]any{"status": status}
	if len(body) > 0 && json.Valid(body) {
		value["body"] = json.RawMessage(body)
	}
	v, err := json.Marshal(value)
	return []activity.Activity{{Type: activity.TypeInvokeResponse, Extra: map[string]json.RawMessage{"value": v}}}, err
}

func inline(b Bot, a *activity.Activity) bool {
	return b.Inline || string(a.Extra["deliveryMode"]) == `"expectReplies"`
}

// shape is an activity as bots get it. The Agents SDK answers null and empty
// texts with an error, so what says nothing is left out.
func shape(b Bot, d chat.Delivery, service string) activity.Activity {
	a := *d.Activity
	a.ID, a.ChannelID, a.Timestamp = channel.ActivityID(d.Conversation, d.Pos), channelID(d.Channel), d.At.UTC().Truncate(time.Millisecond)
	a.Conversation, a.Recipient = &activity.Account{ID: d.Conversation}, &activity.Account{ID: b.ID, Name: b.Name, Role: "bot"}
	if d.ReplyTo > 0 {
		a.ReplyToID = channel.ActivityID(d.Conversation, d.ReplyTo)
	}
	a.ChannelData = withoutOurs(a.ChannelData)
	extra := map[string]json.RawMessage{}
	for name, v := range a.Extra {
		if s := string(v); s != "null" && s != `""` {
			extra[name] = v
		}
	}
	keepKinds(extra)
	if raw, ok := extra["attachments"]; ok {
		extra["attachments"] = channel.WithBase(forBots(raw, d.Conversation), service)
	}
	if b.Inline {
		extra["deliveryMode"] = json.RawMessage(`"expectReplies"`)
	}
	extra["serviceUrl"], _ = json.Marshal(service) // a string can always be encoded
	a.Extra = extra
	return a
}

// channelID is the channel's name that bots know. Their SDKs stream only to
// some of those.
func channelID(name string) string {
	switch name {
	case "web", "api", "responses", "bot", "":
		return "webchat"
	case "teams":
		return "msteams"
	}
	return name
}

// withoutOurs is a user's channelData without what Parley notes there.
func withoutOurs(data json.RawMessage) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil || all == nil {
		return data
	}
	delete(all, "parley")
	if len(all) == 0 {
		return nil
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

// texts are the fields of an activity that hold text and nothing else.
var texts = [...]string{
	"action", "attachmentLayout", "callerId", "code", "deliveryMode", "expiration", "importance", "inputHint", "label", "localTimestamp", "localTimezone",
	"name", "speak", "summary", "topicName", "valueType",
}

// states are those of a semantic action.
var states = [...]string{"start", "continue", "done"}

// keepKinds leaves out what is of another kind than the Activity schema says.
// The Agents SDK answers such an activity with an error, and who wrote it may be
// anybody.
func keepKinds(extra map[string]json.RawMessage) {
	for _, name := range texts {
		if !hasText(extra[name]) {
			delete(extra, name)
		}
	}
	keepList(extra, "attachments", "contentType")
	keepList(extra, "entities", "type")
	keepList(extra, "membersAdded", "id")
	keepList(extra, "membersRemoved", "id")
	keepList(extra, "reactionsAdded", "type")
	keepList(extra, "reactionsRemoved", "type")
	if v := string(extra["historyDisclosed"]); v != "true" && v != "false" {
		delete(extra, "historyDisclosed")
	}
	var does struct {
		ID, State string
		Entities  map[string]json.RawMessage
	}
	if json.Unmarshal(extra["semanticAction"], &does) != nil || does.ID == "" || !slices.Contains(states[:], does.State) || does.Entities == nil {
		delete(extra, "semanticAction")
	}
	for _, name := range [...]string{"suggestedActions", "listenFor", "textHighlights", "relatesTo"} { // are for people and channels
		delete(extra, name)
	}
}

// keepList keeps of a list the objects that have a text in a field, without
// their empty fields.
func keepList(extra map[string]json.RawMessage, name, needs string) {
	var all, kept []map[string]json.RawMessage
	raw := extra[name]
	delete(extra, name)
	if json.Unmarshal(raw, &all) != nil {
		return
	}
	for _, x := range all {
		for field, v := range x {
			if s := strings.TrimSpace(string(v)); s == "null" || s == `""` {
				delete(x, field)
			}
		}
		if hasText(x[needs]) {
			kept = append(kept, x)
		}
	}
	if b, err := json.Marshal(kept); err == nil && len(kept) > 0 {
		extra[name] = b
	}
}

func hasText(v json.RawMessage) bool {
	var s string
	return json.Unmarshal(v, &s) == nil && s != ""
}

package teams

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// channelID is Teams' name in the Bot Framework.
const channelID = "msteams"

// native is what is needed of an activity besides its content.
type native struct {
	Type         string `json:"type"`
	ID           string `json:"id"`
	Name         string `json:"name"`
	Action       string `json:"action"`
	Timestamp    string `json:"timestamp"`
	Service      string `json:"serviceUrl"`
	Channel      string `json:"channelId"`
	ReplyToID    string `json:"replyToId"`
	User         party  `json:"from"`
	Bot          party  `json:"recipient"`
	Conversation struct {
		ID     string `json:"id"`
		Type   string `json:"conversationType"`
		Tenant string `json:"tenantId"`
	} `json:"conversation"`
	Added []party `json:"membersAdded"`
	Data  struct {
		Tenant struct {
			ID string `json:"id"`
		} `json:"tenant"`
	} `json:"channelData"`
	Entities []struct {
		Type      string `json:"type"`
		Text      string `json:"text"`
		Mentioned party  `json:"mentioned"`
	} `json:"entities"`
}

type party struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Object string `json:"aadObjectId,omitempty"`
}

// address is where answers go to. It stands in the channelData of what came in.
type address struct {
	Account      string `json:"account"`
	Service      string `json:"service"`
	Conversation string `json:"conversation"`
	Type         string `json:"type,omitempty"` // personal, groupChat or channel
	Tenant       string `json:"tenant,omitempty"`
	Bot          string `json:"bot,omitempty"`
	User         string `json:"user,omitempty"`
	Object       string `json:"aadObjectId,omitempty"`
	Activity     string `json:"activity,omitempty"`  // Teams' name for it
	ReplyTo      string `json:"replyToId,omitempty"` // and for what it is about
}

const (
	personal   = "personal"
	mostName   = 512 // bytes of an id or an address in Teams
	mostNative = 16 << 10
	// invokeTime is how long Teams waits for what a bot answers to an invoke.
	invokeTime = 10 * time.Second
)

var errActivity = fault.New(fault.Invalid, "the body must be an activity of Teams: a JSON object in UTF-8 with id, from, recipient, conversation and serviceUrl")

// messages takes an activity.
func (s *Server) messages(w http.ResponseWriter, r *http.Request) error {
	a, ok := s.accounts[r.PathValue("name")]
	if !ok {
		return fault.New(fault.NotFound, "there is no Teams account of this name")
	}
	c, endorsements, err := a.verify(r, s.opts.Now())
	if err != nil {
		return err
	}
	b, err := body.Read(w, r, s.opts.MaxActivity)
	if err != nil {
		return err
	}
	n, err := readNative(b)
	if err != nil {
		return err
	}
	if err := a.trusts(n, c, endorsements); err != nil {
		return err
	}
	return s.take(w, r, a, n, b)
}

func readNative(b []byte) (native, error) {
	var n native
	if !utf8.Valid(b) || json.Unmarshal(b, &n) != nil || n.Type == "" || n.Conversation.ID == "" || n.Service == "" {
		return n, errActivity
	}
	for _, id := range []string{n.ID, n.Service, n.ReplyToID, n.User.ID, n.User.Name, n.User.Object, n.Bot.ID, n.Conversation.ID, n.Conversation.Type, n.Conversation.Tenant, n.Timestamp} {
		if len(id) > mostName {
			return n, fault.New(fault.Invalid, "an id or an address in the activity has more than %d bytes", mostName)
		}
	}
	return n, nil
}

// trusts refuses what Microsoft does not vouch for with this token.
func (a *account) trusts(n native, c claims, endorsements []string) error {
	switch {
	case n.Channel != channelID:
		return fault.New(fault.Forbidden, "this address takes activities of Microsoft Teams only")
	case !a.Cloud.endorses(endorsements):
		return fault.New(fault.Forbidden, "the key that signed the token is not for Microsoft Teams")
	case c.Service != n.Service:
		return fault.New(fault.Forbidden, "the activity names another service than its token")
	case !a.Cloud.serves(n.Service):
		return fault.New(fault.Forbidden, "the activity's service is none of Microsoft's known ones; if it is right, name it in the account's setting services")
	case len(a.Tenants) > 0 && !slices.Contains(a.Tenants, n.tenant()):
		return fault.New(fault.Forbidden, "the account's setting tenants does not name this organisation")
	}
	return nil
}

// tenant is the organisation that a conversation belongs to; "" if the two
// places that say so don't agree.
func (n native) tenant() string {
	switch of, in := n.Data.Tenant.ID, n.Conversation.Tenant; {
	case in == "":
		return of
	case of == "" || of == in:
		return in
	}
	return ""
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, a *account, n native, b []byte) error {
	in, use, err := translate(a, n, b)
	if err != nil {
		return err
	}
	if use == useNothing {
		return wire.WriteJSON(w, http.StatusOK, struct{}{})
	}
	if use == useRefuse {
		return notImplemented(w)
	}
	begin := channel.Start{Owner: Owner(a.Name), Bot: a.Bot, Data: in.Activity.ChannelData}
	if n.Conversation.Type == personal {
		begin.User = n.User.ID
	}
	if in.Conversation, err = s.opts.Desk.Place(r.Context(), n.Conversation.ID, begin); err != nil || use == useBegin {
		if err != nil {
			return err
		}
		return wire.WriteJSON(w, http.StatusOK, struct{}{})
	}
	in.Owner = begin.Owner
	pos, err := s.opts.Desk.Take(r.Context(), in)
	if n.Type == activity.TypeReaction && fault.Is(err, fault.NotFound) {
		return wire.WriteJSON(w, http.StatusOK, struct{}{}) // to something that was never said here
	}
	if err != nil {
		return err
	}
	if use == useInvoke {
		return s.invoked(w, r, in.Conversation, pos)
	}
	return wire.WriteJSON(w, http.StatusOK, struct{}{})
}

// Owner is whose the conversations of an account are.
func Owner(account string) string { return Name + "-" + account }

// use is what an activity is good for.
type use int

const (
	useNothing use = iota
	useRefuse      // an invoke that nobody here can answer, or must not keep
	useBegin       // it begins the conversation, and no more
	useTake
	useInvoke
)

// translate makes an activity of Teams one of Parley's.
func translate(a *account, n native, b []byte) (in channel.Inbound, to use, err error) {
	if to = n.use(); to == useNothing || to == useRefuse {
		return in, to, nil
	}
	if n.User.ID == "" || n.Bot.ID == "" {
		return in, to, errActivity
	}
	act, err := channel.Read(b)
	if err != nil {
		return in, to, err
	}
	act.From = &activity.Account{ID: n.User.ID, Name: n.User.Name, Role: "user"}
	act.Text = n.spoken(act.Text)
	clean(&act)
	at := address{
		Account: a.Name, Service: n.Service, Conversation: n.Conversation.ID, Type: n.Conversation.Type, Tenant: n.tenant(),
		Bot: n.Bot.ID, User: n.User.ID, Object: n.User.Object, Activity: n.ID, ReplyTo: n.ReplyToID,
	}
	if act.ChannelData, err = at.into(act.ChannelData); err != nil {
		return in, to, err
	}
	return channel.Inbound{Activity: act, Key: n.key(b)}, to, nil
}

func (n native) use() use {
	switch n.Type {
	case activity.TypeMessage, activity.TypeReaction, activity.TypeEvent, "messageUpdate", activity.TypeDelete:
		return useTake
	case activity.TypeUpdate:
		if slices.ContainsFunc(n.Added, func(p party) bool { return p.ID == n.Bot.ID }) {
			return useBegin
		}
	case "installationUpdate":
		if strings.HasPrefix(n.Action, "add") {
			return useBegin
		}
	case activity.TypeInvoke:
		// What has to do with signing in or with somebody's files brings tokens
		// along, which must not be kept.
		for _, known := range []string{"adaptiveCard/", "task/", "composeExtension/", "message/"} {
			if strings.HasPrefix(n.Name, known) {
				return useInvoke
			}
		}
		return useRefuse
	}
	return useNothing
}

// key names the delivery. A message that is changed keeps its id.
func (n native) key(b []byte) string {
	if n.ID == "" {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:16])
	}
	if n.Type == activity.TypeMessage {
		return n.ID
	}
	return n.Type + "\x00" + n.ID + "\x00" + n.Timestamp
}

// spoken is a text as it was meant: without the bot's name, by which a message
// in a channel reaches it, and with other people's as they are.
func (n native) spoken(text string) string {
	for _, e := range n.Entities {
		if !strings.EqualFold(e.Type, "mention") || e.Text == "" {
			continue
		}
		name := ""
		if e.Mentioned.ID != n.Bot.ID {
			name = strings.TrimSuffix(strings.TrimPrefix(e.Text, "<at>"), "</at>")
		}
		text = strings.ReplaceAll(text, e.Text, name)
	}
	return trim(text)
}

// trim takes off the spaces that Teams writes around a name.
func trim(s string) string {
	for {
		was := s
		s = strings.TrimSpace(s)
		s = strings.TrimPrefix(strings.TrimSuffix(s, "&nbsp;"), "&nbsp;")
		if s == was {
			return s
		}
	}
}

// clean takes out what must not be kept, and what a text is sent along as a
// second time.
func clean(a *activity.Activity) {
	edit(a.Extra, "value", func(v map[string]json.RawMessage) bool {
		delete(v, "authentication")
		delete(v, "state")
		return true
	})
	var all, kept []map[string]json.RawMessage
	if json.Unmarshal(a.Extra["attachments"], &all) != nil {
		delete(a.Extra, "attachments")
	}
	for _, x := range all {
		if string(x["contentType"]) == `"text/html"` {
			continue
		}
		edit(x, "content", func(v map[string]json.RawMessage) bool {
			delete(v, "downloadUrl") // opens the file to whoever has it
			return true
		})
		if x != nil {
			kept = append(kept, x)
		}
	}
	delete(a.Extra, "attachments")
	if b, err := json.Marshal(kept); err == nil && len(kept) > 0 {
		a.Extra["attachments"] = b
	}
}

// edit changes a field that is an object; another one stays as it is.
func edit(in map[string]json.RawMessage, field string, change func(map[string]json.RawMessage) bool) {
	var v map[string]json.RawMessage
	if json.Unmarshal(in[field], &v) != nil || v == nil || !change(v) {
		return
	}
	if b, err := json.Marshal(v); err == nil {
		in[field] = b
	}
}

// into puts the address into what Teams says itself in channelData, which bots
// that were made for Teams read.
func (at address) into(data json.RawMessage) (json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	if len(data) > mostNative || json.Unmarshal(data, &all) != nil || all == nil {
		all = map[string]json.RawMessage{}
	}
	delete(all, "parley")
	b, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	all[Name] = b
	return json.Marshal(all)
}

// addressOf is where what came in last came from.
func addressOf(a *activity.Activity) (address, bool) {
	var data struct {
		At address `json:"teams"`
	}
	if a == nil || json.Unmarshal(a.ChannelData, &data) != nil {
		return address{}, false
	}
	return data.At, data.At.Conversation != "" && data.At.Service != ""
}

// invoked answers with what the bot answers. Only bots that run elsewhere do.
func (s *Server) invoked(w http.ResponseWriter, r *http.Request, conv string, pos uint64) error {
	ctx, cancel := context.WithTimeout(r.Context(), invokeTime)
	defer cancel()
	value, err := s.opts.Desk.Invoked(ctx, conv, pos)
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.WriteError(w, http.StatusGatewayTimeout, "GatewayTimeout", "the bot did not answer within 10 s")
	}
	if err != nil {
		return err
	}
	var out struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	}
	if len(value) == 0 || json.Unmarshal(value, &out) != nil {
		return notImplemented(w)
	}
	if out.Status < 200 || out.Status > 599 {
		out.Status = http.StatusOK
	}
	if len(bytes.TrimSpace(out.Body)) == 0 {
		out.Body = json.RawMessage("{}")
	}
	return wire.WriteJSON(w, out.Status, out.Body)
}

func notImplemented(w http.ResponseWriter) error {
	return wire.WriteError(w, http.StatusNotImplemented, "NotImplemented", "this bot answers no such request")
}

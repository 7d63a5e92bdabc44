package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// interaction is what Slack sends when somebody presses something.
type interaction struct {
	Type       string               `json:"type"`
	Enterprise bool                 `json:"is_enterprise_install"`
	User       struct{ ID string }  `json:"user"`
	Team       *struct{ ID string } `json:"team"`
	Channel    *struct{ ID string } `json:"channel"`
	Container  struct {
		TS     string `json:"message_ts"`
		Thread string `json:"thread_ts"`
	} `json:"container"`
	In struct {
		Thread string `json:"thread_ts"`
	} `json:"message"`
	Actions []struct {
		ID    string `json:"action_id"`
		Block string `json:"block_id"`
		Value string `json:"value"`
		TS    string `json:"action_ts"`
	} `json:"actions"`
}

// ourAction begins the id of every button of ours.
const ourAction = "parley."

// press is what a button carries.
type press struct {
	Said string          `json:"s,omitempty"`
	Back json.RawMessage `json:"b,omitempty"`
	For  string          `json:"f,omitempty"` // whose conversation it is in, where the place does not tell
}

// maxValue is the most that a button carries, in characters.
const maxValue = 2000

// carried is a button's press as Slack keeps it; ok is false if it is too long.
func carried(b format.Button, whose string) (value string, ok bool) {
	var p press
	p.Said, p.Back = b.Said()
	p.For = whose
	v, err := json.Marshal(p)
	return string(v), err == nil && format.Length(string(v)) <= maxValue
}

var errNotAction = fault.New(fault.Invalid, "the body must be an interaction or a command as Slack sends it: a form in UTF-8")

func formOf(b []byte) (url.Values, error) {
	form, err := url.ParseQuery(string(b))
	if err != nil || !utf8.Valid(b) {
		return nil, errNotAction
	}
	return form, nil
}

// pressed takes the press of a button.
func (s *Server) pressed(w http.ResponseWriter, r *http.Request, acc *account, b []byte) error {
	form, err := formOf(b)
	if err != nil {
		return err
	}
	if form.Get("ssl_check") == "1" {
		return ack(w)
	}
	payload := form.Get("payload")
	var in interaction
	if !utf8.ValidString(payload) || json.Unmarshal([]byte(payload), &in) != nil || in.Type == "" {
		return errNotAction
	}
	p, a, key := in.read(json.RawMessage(payload))
	if key == "" {
		return ack(w)
	}
	if err := acc.ours(p.Team, in.Enterprise); err != nil {
		return err
	}
	if err := s.take(r.Context(), acc, p, a, key); err != nil {
		return err
	}
	return ack(w)
}

// read translates an interaction; key is "" for those that are nothing to a
// bot, such as the press of a button that opens an address.
func (in interaction) read(payload json.RawMessage) (p place, a activity.Activity, key string) {
	if in.Type != "block_actions" || len(in.Actions) == 0 || in.Team == nil || in.Channel == nil {
		return p, a, ""
	}
	act := in.Actions[0]
	var did press
	if !strings.HasPrefix(act.ID, ourAction) || json.Unmarshal([]byte(act.Value), &did) != nil {
		return p, a, ""
	}
	p = place{Team: in.Team.ID, Channel: in.Channel.ID, User: in.User.ID, For: did.For, Thread: in.In.Thread, TS: in.Container.TS}
	if p.Thread == "" {
		p.Thread = in.Container.Thread
	}
	if !p.direct() && p.Thread == "" && p.For == "" {
		p.For = p.User
	}
	p.Event = native(slimmed(payload))
	a = activity.Activity{Type: activity.TypeMessage, Text: did.Said}
	if len(did.Back) > 0 {
		a.Extra = map[string]json.RawMessage{"value": did.Back}
	}
	return p, a, fmt.Sprintf("action %s %s %s", p.TS, act.TS, p.User)
}

// slimmed is an interaction without the message that it was on: that is ours.
func slimmed(payload json.RawMessage) json.RawMessage {
	var all map[string]json.RawMessage
	if json.Unmarshal(payload, &all) != nil {
		return nil
	}
	delete(all, "message")
	b, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

// command takes a slash command. The one who typed it hears at once that it
// was taken; the answer comes into the channel like any other.
func (s *Server) command(w http.ResponseWriter, r *http.Request, acc *account, b []byte) error {
	form, err := formOf(b)
	if err != nil {
		return err
	}
	if form.Get("ssl_check") == "1" {
		return ack(w)
	}
	if err := acc.ours(form.Get("team_id"), form.Get("is_enterprise_install") == "true"); err != nil {
		return err
	}
	text := strings.TrimSpace(plain(form.Get("text"), ""))
	if !utf8.ValidString(text) || form.Get("trigger_id") == "" {
		return errNotAction
	}
	if text == "" {
		return whisper(w, "Write behind the command what you want to say: "+form.Get("command")+" …")
	}
	ctx, cancel := context.WithTimeout(r.Context(), quick)
	defer cancel()
	user := form.Get("user_id")
	p := place{Team: form.Get("team_id"), Channel: form.Get("channel_id"), User: user, Event: native(commandEvent(form))}
	if !p.direct() {
		p.For = user
	}
	err = s.take(ctx, acc, p, activity.Activity{Type: activity.TypeMessage, Text: text}, "command "+form.Get("trigger_id"))
	switch {
	case fault.Is(err, fault.Invalid):
		return err
	case fault.Is(err, fault.Timeout) || fault.Is(err, fault.Canceled):
		return whisper(w, "This takes longer than usual. If no answer comes within a minute, send it again.")
	case err != nil:
		// Slack shows nothing but a 200 to the one who typed.
		s.lg.Warn("a command could not be taken", "account", acc.Name, "err", err)
		s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
		return whisper(w, "That could not be taken: "+fault.MessageOf(err)+".")
	}
	return whisper(w, "You asked: "+text)
}

func commandEvent(form url.Values) json.RawMessage {
	out := map[string]string{}
	for _, name := range []string{"command", "text", "user_name", "channel_name"} {
		out[name] = form.Get(name)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil
	}
	return b
}

// whisper answers so that only the one who typed sees it.
func whisper(w http.ResponseWriter, text string) error {
	if parts := format.Split(text, 500); len(parts) > 1 {
		text = parts[0] + " …"
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]string{"response_type": "ephemeral", "text": format.Mrkdwn().Escape(text)})
}

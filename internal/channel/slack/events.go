package slack

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// envelope is what every request of the Events API is. It is read here and not
// by slack-go, because that refuses an event whole when one block of the
// message has a form that it does not know yet.
type envelope struct {
	Type           string          `json:"type"`
	Challenge      string          `json:"challenge"`
	Team           string          `json:"team_id"`
	Event          json.RawMessage `json:"event"`
	Authorizations []authorization `json:"authorizations"`
}

// authorization says for whom an event is: our app in a workspace.
type authorization struct {
	User       string `json:"user_id"`
	Enterprise bool   `json:"is_enterprise_install"`
}

// happening is an event, as far as it is looked at.
type happening struct {
	Type        string `json:"type"`
	Subtype     string `json:"subtype"`
	Hidden      bool   `json:"hidden"`
	Channel     string `json:"channel"`
	ChannelType string `json:"channel_type"`
	User        string `json:"user"`
	Bot         string `json:"bot_id"`
	Text        string `json:"text"`
	TS          string `json:"ts"`
	Thread      string `json:"thread_ts"`
	Files       []file `json:"files"`
	Assistant   *struct {
		User    string `json:"user_id"`
		Channel string `json:"channel_id"`
		Thread  string `json:"thread_ts"`
	} `json:"assistant_thread"`
}

type file struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Type      string `json:"mimetype"`
	Permalink string `json:"permalink"`
}

// event takes a request of the Events API.
func (s *Server) event(w http.ResponseWriter, r *http.Request, acc *account, b []byte) error {
	var e envelope
	if !utf8.Valid(b) || json.Unmarshal(b, &e) != nil {
		return errNotEvent
	}
	switch e.Type {
	case "url_verification":
		return wire.WriteJSON(w, http.StatusOK, map[string]string{"challenge": e.Challenge})
	case "app_rate_limited":
		s.lg.Warn("Slack holds events back: this app gets more than 30,000 in an hour", "account", acc.Name)
		return ack(w)
	case "event_callback":
	default:
		return errNotEvent
	}
	var to authorization
	if len(e.Authorizations) > 0 {
		to = e.Authorizations[0]
	}
	if err := acc.ours(e.Team, to.Enterprise); err != nil {
		return err
	}
	var h happening
	if json.Unmarshal(e.Event, &h) != nil {
		return errNotEvent
	}
	p, a, key := h.read(e, to.User)
	if key == "" {
		s.noted(acc, h.Type)
		return ack(w)
	}
	if err := s.take(r.Context(), acc, p, a, key); err != nil {
		return err
	}
	return ack(w)
}

var errNotEvent = fault.New(fault.Invalid, "the body must be a request of Slack's Events API: a JSON object in UTF-8")

// ours refuses what is for another workspace: our token would not open it.
func (a *account) ours(team string, enterprise bool) error {
	switch {
	case enterprise:
		return fault.New(fault.Forbidden, "the app is installed for a whole enterprise; install it in the workspace %s", a.Team)
	case team != a.Team:
		return fault.New(fault.Forbidden, "this comes from another workspace than the one that is configured")
	}
	return nil
}

// noted tells the operator of events that end the channel.
func (s *Server) noted(acc *account, kind string) {
	if kind == "app_uninstalled" || kind == "tokens_revoked" {
		s.lg.Error("the app was taken out of the workspace: install it again and configure its new token", "account", acc.Name, "event", kind)
	}
}

// read translates an event. key is "" for those that are nothing to a bot: its
// own messages and those of other bots, edits, deletions, joins, and what
// people say to each other in channels. What was said before an edit stays
// said: it has been answered.
func (h happening) read(e envelope, self string) (p place, a activity.Activity, key string) {
	p = place{Team: e.Team, Channel: h.Channel, Thread: h.Thread, User: h.User, TS: h.TS, Event: native(e.Event)}
	switch h.Type {
	case "message", "app_mention":
		if h.Bot != "" || h.Hidden || h.User == "" || h.User == self || !h.said() {
			return p, a, ""
		}
		if h.Type == "message" && h.ChannelType != "im" {
			return p, a, "" // who means the app in a channel mentions it, and that comes as app_mention
		}
		if !p.direct() && p.Thread == "" {
			p.Thread = h.TS // the answer opens a thread
		}
		a = activity.Activity{Type: activity.TypeMessage, Text: plain(h.Text, self)}
		if len(h.Files) > 0 {
			a.Extra = map[string]json.RawMessage{"attachments": attached(h.Files)}
		}
		// Both events of one message have its time, and so has every retry.
		return p, a, "message " + h.Channel + " " + h.TS
	case "app_home_opened":
		return p, event("app_home_opened"), "home"
	case "assistant_thread_started":
		if h.Assistant == nil {
			return p, a, ""
		}
		p.Channel, p.Thread, p.User = h.Assistant.Channel, h.Assistant.Thread, h.Assistant.User
		return p, event("assistant_thread_started"), "home"
	}
	return p, a, ""
}

// said reports whether the message is one that somebody wrote.
func (h happening) said() bool {
	switch h.Subtype {
	case "", "file_share", "thread_broadcast", "me_message":
		return true
	}
	return false
}

func event(name string) activity.Activity {
	return activity.Activity{Type: activity.TypeEvent, Extra: map[string]json.RawMessage{"name": json.RawMessage(`"` + name + `"`)}}
}

// attached says which files came along. Their contents stay in Slack: whoever
// may see them there opens the link.
func attached(files []file) json.RawMessage {
	type attachment struct {
		ContentType string `json:"contentType"`
		ContentURL  string `json:"contentUrl,omitempty"`
		Name        string `json:"name,omitempty"`
	}
	var out []attachment
	for _, f := range files[:min(len(files), 20)] {
		x := attachment{ContentType: f.Type, ContentURL: f.Permalink, Name: f.Name}
		if x.ContentType == "" {
			x.ContentType = "application/octet-stream"
		}
		out = append(out, x)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil
	}
	return b
}

// maxNative is how large an event may be to be kept along with what it means.
const maxNative = 16 << 10

// native returns what Slack sent without what gives access to something: a
// bot elsewhere gets it, and it stands in the log. nil if it is too large.
func native(raw json.RawMessage) json.RawMessage {
	var v map[string]any
	if len(raw) > maxNative || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	cleaned(v, 0)
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

func cleaned(v any, depth int) {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			if access(name) || depth > 32 {
				delete(v, name)
				continue
			}
			cleaned(below, depth+1)
		}
	case []any:
		for _, below := range v {
			cleaned(below, depth+1)
		}
	}
}

// access reports whether a field lets its holder do something.
func access(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "token") || strings.HasSuffix(name, "secret") || name == "trigger_id" || name == "response_url" || name == "response_urls"
}

package connector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

type idJSON struct {
	ID string `json:"id"`
}

const (
	mostKey = 255 // characters of an Idempotency-Key
	// repeats is how long ago a bot may have said the same that it says now so
	// that this is a repetition, unless we know better: the SDKs try again for
	// some seconds, and a request may be held for a while.
	repeats = 90 * time.Second
)

// speak takes what a bot says.
func (s *Server) speak(w http.ResponseWriter, r *http.Request) error {
	sp, body, err := s.speaker(w, r)
	if err != nil {
		return err
	}
	to := r.PathValue("activity")
	if to == "" {
		to = sp.Activity.ReplyToID
	}
	sp.ReplyTo, sp.Within = channel.PositionOf(sp.Conversation, to), repeats
	if sp.Activity.Type == activity.TypeTyping {
		pos, err := s.opts.Desk.Type(r.Context(), sp)
		if err != nil {
			return err
		}
		s.opts.Observer.BotSaid(sp.Bot, activity.TypeTyping)
		return wire.WriteJSON(w, http.StatusOK, idJSON{channel.ActivityID(sp.Conversation, pos)})
	}
	return s.once(w, r, sp, digest(sp.Bot, sp.Conversation, to, body))
}

// once has a repetition of a request be one activity.
func (s *Server) once(w http.ResponseWriter, r *http.Request, sp chat.Spoken, key string) error {
	one := s.sends.begin(r.Context(), key, s.opts.Now())
	sp.Key, sp.From = "said\x00"+key, one.number
	if k := r.Header.Get("Idempotency-Key"); len(k) > mostKey {
		return fault.New(fault.Invalid, "the Idempotency-Key must have at most %d characters", mostKey)
	} else if k != "" {
		sp.Key, sp.From, sp.Within = "key\x00"+sp.Bot+"\x00"+k, 0, 0
	}
	pos, err := s.opts.Desk.Speak(r.Context(), sp)
	if err != nil {
		return err
	}
	s.opts.Observer.BotSaid(sp.Bot, kindOf(sp.Activity.Type))
	err = wire.WriteJSON(w, http.StatusOK, idJSON{channel.ActivityID(sp.Conversation, pos)})
	if http.NewResponseController(w).Flush() == nil && r.Context().Err() == nil {
		s.sends.answered(one)
	}
	return err
}

// digest names what a bot says by all of it.
func digest(bot, conv, to string, body []byte) string {
	h := sha256.New()
	for _, part := range []string{bot, conv, to} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) error {
	sp, _, err := s.speaker(w, r)
	if err != nil {
		return err
	}
	id := r.PathValue("activity")
	if err := s.opts.Desk.Change(r.Context(), sp, channel.PositionOf(sp.Conversation, id)); err != nil {
		return err
	}
	s.opts.Observer.BotSaid(sp.Bot, "update")
	return wire.WriteJSON(w, http.StatusOK, idJSON{id})
}

func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) error {
	bot, conv, err := s.reader(r)
	if err != nil {
		return err
	}
	id := r.PathValue("activity")
	gone := chat.Spoken{Bot: bot.ID, Conversation: conv, Activity: activity.Activity{Type: activity.TypeDelete}}
	if err := s.opts.Desk.Change(r.Context(), gone, channel.PositionOf(conv, id)); err != nil {
		return err
	}
	s.opts.Observer.BotSaid(bot.ID, "delete")
	return wire.WriteJSON(w, http.StatusOK, idJSON{id})
}

// mostHistory bounds a transcript.
const mostHistory = 200

// history takes a transcript. Whoever said what stands in it, the bot says it
// now: only people themselves speak as people.
func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	bot, conv, err := s.reader(r)
	if err != nil {
		return err
	}
	body, err := body.Read(w, r, 8*s.opts.MaxActivity)
	if err != nil {
		return err
	}
	var in struct {
		Activities []json.RawMessage `json:"activities"`
	}
	if json.Unmarshal(body, &in) != nil || len(in.Activities) == 0 || len(in.Activities) > mostHistory {
		return fault.New(fault.Invalid, `a transcript is {"activities": [1 to %d of them]}`, mostHistory)
	}
	all := make([]activity.Activity, len(in.Activities))
	for i, b := range in.Activities {
		if all[i], err = read(b, conv); err != nil {
			return err
		}
	}
	key, last := digest(bot.ID, conv, "history", body), len(all)-1
	for i, a := range all[:last] { // the last one is answered
		sp := chat.Spoken{Bot: bot.ID, Conversation: conv, Activity: a, Key: "history\x00" + key + "\x00" + strconv.Itoa(i)}
		if _, err = s.opts.Desk.Speak(r.Context(), sp); err != nil {
			return err
		}
	}
	return s.once(w, r, chat.Spoken{Bot: bot.ID, Conversation: conv, Activity: all[last], Within: repeats}, key)
}

// create begins a conversation that a bot wants to have.
func (s *Server) create(w http.ResponseWriter, r *http.Request) error {
	bots, err := s.caller(r)
	if err != nil {
		return err
	}
	body, err := body.Read(w, r, s.opts.MaxActivity)
	if err != nil {
		return err
	}
	var in struct {
		Bot      activity.Account    `json:"bot"`
		Agent    activity.Account    `json:"agent"`
		Members  []*activity.Account `json:"members"`
		Topic    string              `json:"topicName"`
		Activity json.RawMessage     `json:"activity"`
	}
	if json.Unmarshal(body, &in) != nil || string(bytes.TrimSpace(body)) == "null" || slices.Contains(in.Members, nil) {
		return errBody
	}
	bot := bots[0]
	for _, b := range bots {
		if b.ID == in.Bot.ID || b.ID == in.Agent.ID {
			bot = b
		}
	}
	n := chat.NewConversation{ID: event.NewConversation(s.opts.Region), Bot: bot.ID, Title: clip(in.Topic)}
	if len(in.Members) > 0 {
		if n.User = in.Members[0].ID; len(n.User) > 256 {
			return errBody
		}
	}
	n.Owner, n.Channel = s.opts.Begun(bot.ID)
	say := activity.Activity{}
	if len(in.Activity) > 0 && string(in.Activity) != "null" {
		if say, err = read(in.Activity, n.ID); err != nil {
			return err
		}
	}
	if err := s.opts.Desk.Open(r.Context(), n); err != nil {
		return err
	}
	out := struct {
		ID       string `json:"id"`
		Activity string `json:"activityId,omitempty"`
		Service  string `json:"serviceUrl"`
	}{ID: n.ID, Service: s.opts.Service}
	if say.Type != "" {
		var pos uint64
		err := s.opts.Desk.Hold(r.Context(), func(ctx context.Context) error {
			if _, err := s.opts.Chat.Party(ctx, n.ID, []string{bot.ID}); err != nil {
				return err
			}
			_, pos, err = s.opts.Chat.Speak(ctx, chat.Spoken{Bot: bot.ID, Conversation: n.ID, Activity: say, Key: "first"})
			return err
		})
		if err != nil {
			return err
		}
		out.Activity = channel.ActivityID(n.ID, pos)
		s.opts.Observer.BotSaid(bot.ID, kindOf(say.Type))
	}
	return wire.WriteJSON(w, http.StatusCreated, out)
}

// clip keeps a title short.
func clip(s string) string {
	if r := []rune(strings.ToValidUTF8(s, "")); len(r) > 100 {
		return string(r[:100])
	}
	return strings.ToValidUTF8(s, "")
}

func (s *Server) members(w http.ResponseWriter, r *http.Request) error {
	all, err := s.who(r)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, all)
}

func (s *Server) pagedMembers(w http.ResponseWriter, r *http.Request) error {
	all, err := s.who(r)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, http.StatusOK, map[string]any{"members": all})
}

func (s *Server) member(w http.ResponseWriter, r *http.Request) error {
	all, err := s.who(r)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.ID == r.PathValue("member") {
			return wire.WriteJSON(w, http.StatusOK, a)
		}
	}
	return fault.New(fault.NotFound, "nobody of that id has a part in this conversation")
}

func (s *Server) who(r *http.Request) ([]activity.Account, error) {
	bot, conv, err := s.reader(r)
	if err != nil {
		return nil, err
	}
	return s.opts.Desk.Members(r.Context(), bot.ID, conv)
}

var errBody = fault.New(fault.Invalid, "the body must be a JSON object, as the Bot Framework's connector describes it")

// read reads an activity of a bot's. Which stream it is a piece of, however the
// bot's SDK says that, stands in its Meta then, and nowhere else.
func read(b []byte, conv string) (activity.Activity, error) {
	a, err := channel.Read(b)
	if err != nil {
		return a, err
	}
	stream := takeStream(&a)
	meta := activity.Meta{StreamType: stream.Type, Stream: channel.PositionOf(conv, stream.ID)}
	switch {
	case a.Type == activity.TypeTyping && (stream.Type == activity.StreamNote || stream.Type == activity.StreamPart):
	case a.Type != activity.TypeTyping && stream.Type == activity.StreamEnd && meta.Stream > 0:
	default:
		meta = activity.Meta{}
	}
	return a, a.SetMeta(meta)
}

// stream is what both ways of telling of one have.
type stream struct {
	Type string `json:"streamType"`
	ID   string `json:"streamId"`
}

// takeStream takes what an activity says of its stream out of it: bots of the
// Bot Framework say it in channelData, those of the Agents SDK in an entity.
func takeStream(a *activity.Activity) (out stream) {
	var data map[string]json.RawMessage
	if json.Unmarshal(a.ChannelData, &data) == nil && data != nil {
		_ = json.Unmarshal(a.ChannelData, &out) // of a wrong kind: then there is none
		for _, name := range []string{"streamType", "streamId", "streamSequence"} {
			delete(data, name)
		}
		a.ChannelData = nil
		if b, err := json.Marshal(data); err == nil && len(data) > 0 {
			a.ChannelData = b
		}
	}
	var entities []json.RawMessage
	if json.Unmarshal(a.Extra["entities"], &entities) != nil {
		return out
	}
	kept := entities[:0]
	for _, e := range entities {
		var of struct {
			Kind string `json:"type"`
			stream
		}
		if json.Unmarshal(e, &of) != nil || !strings.EqualFold(of.Kind, "streaminfo") {
			kept = append(kept, e)
		} else if out.Type == "" {
			out = of.stream
		}
	}
	delete(a.Extra, "entities")
	if b, err := json.Marshal(kept); err == nil && len(kept) > 0 {
		a.Extra["entities"] = b
	}
	return out
}

func kindOf(t string) string {
	switch t {
	case activity.TypeMessage, activity.TypeEvent, activity.TypeTyping:
		return t
	}
	return "other"
}

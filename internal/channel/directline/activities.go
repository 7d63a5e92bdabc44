package directline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

type idJSON struct {
	ID    string          `json:"id"`
	Value json.RawMessage `json:"value,omitempty"` // what a bot answers to an invoke
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	c, id, err := s.access(r)
	if err != nil {
		return err
	}
	b, err := body.Read(w, r, s.opts.MaxActivity)
	if err != nil {
		return err
	}
	a, err := channel.Read(b)
	if err != nil {
		return err
	}
	return s.take(w, r, c, id, a, digest(a))
}

// mostKey bounds an Idempotency-Key.
const mostKey = 255

// take stores what a client said and answers with its id.
func (s *Server) take(w http.ResponseWriter, r *http.Request, c caller, id string, a activity.Activity, key string) error {
	from, err := c.speaker(a.From)
	if err != nil {
		return err
	}
	a.From = from
	if key != "" {
		key = from.ID + "\x00" + key
	}
	if k := r.Header.Get("Idempotency-Key"); len(k) > mostKey {
		return fault.New(fault.Invalid, "the Idempotency-Key must have at most %d characters", mostKey)
	} else if k != "" {
		key = "header\x00" + from.ID + "\x00" + k
	}
	var pos uint64
	err = s.begun(r.Context(), c, func() error {
		if a.Type == activity.TypeTyping { // is for this moment: nobody reads it later, so it is not kept
			_, err := s.opts.Desk.Look(r.Context(), c.owner(), id)
			return err
		}
		pos, err = s.opts.Desk.Take(r.Context(), channel.Inbound{Conversation: id, Owner: c.owner(), Activity: a, Key: key})
		return err
	})
	if err != nil {
		return err
	}
	out := idJSON{ID: channel.ActivityID(id, pos)}
	if a.Type == activity.TypeInvoke {
		return s.invoked(w, r, id, pos, out)
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

// invoked answers with what the bot answers. A client takes an error from 500
// on for a bot that has no use for what it was asked.
func (s *Server) invoked(w http.ResponseWriter, r *http.Request, conv string, pos uint64, out idJSON) error {
	value, err := s.opts.Desk.Invoked(r.Context(), conv, pos)
	var of struct {
		Status int `json:"status"`
	}
	if err == nil && len(value) > 0 {
		err = json.Unmarshal(value, &of)
	}
	if err != nil || of.Status >= http.StatusBadRequest {
		return wire.WriteJSON(w, http.StatusBadGateway, map[string]any{"error": map[string]string{"code": "BotError", "message": "the bot did not take this"}})
	}
	out.Value = value
	return wire.WriteJSON(w, http.StatusOK, out)
}

// speaker is who says what a caller sends. A client can't speak as a bot, nor
// as somebody else than its token says; ids of the form that tokens bind
// ("dl_…") need a token that does.
func (c caller) speaker(from *activity.Account) (*activity.Account, error) {
	out := activity.Account{ID: "user", Role: "user"}
	if from != nil {
		out.Name = from.Name
		if from.ID != "" {
			out.ID = from.ID
		}
	}
	switch {
	case c.token != nil && c.token.User != "":
		out.ID = c.token.User
		if out.Name == "" {
			out.Name = c.token.Name
		}
	case c.token != nil && strings.HasPrefix(out.ID, "dl_"):
		return nil, fault.New(fault.Forbidden, `a user id that begins with "dl_" needs a token that was made for it`)
	}
	return &out, user{out.ID, out.Name}.check()
}

// poll answers with what came after the watermark, one page of it.
func (s *Server) poll(w http.ResponseWriter, r *http.Request) error {
	c, id, err := s.access(r)
	if err != nil {
		return err
	}
	mark := r.URL.Query().Get("watermark")
	after, err := position(mark)
	if err != nil {
		return err
	}
	out := struct {
		Activities []activity.Activity `json:"activities"`
		Watermark  string              `json:"watermark"`
	}{[]activity.Activity{}, mark}
	var feed *channel.Feed
	err = s.begun(r.Context(), c, func() error {
		feed, err = s.opts.Desk.Feed(r.Context(), c.owner(), id, after, false)
		return err
	})
	switch {
	case fault.Passing(err):
		// Any answer but a page would end the published client's polling for good.
		// By the watermark that it has, nothing is left out of its next one.
		w.Header().Set("Retry-After", "1")
		return wire.WriteJSON(w, http.StatusOK, out)
	case err != nil:
		return err
	}
	defer feed.Close()
	now := s.opts.Now()
	for _, it := range feed.Next().Items {
		if len(out.Activities) == mostPolled {
			break
		}
		if shown(it.Activity.Type) {
			out.Activities = append(out.Activities, shape(it, id, host(r)))
		}
		after = it.Pos
	}
	if n := len(out.Activities); n > 0 {
		wait := rest(mark, now)
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
		out.Watermark = fmt.Sprintf("%d-%d-%d", after, n, now.Add(wait).UnixMilli())
	}
	return wire.WriteJSON(w, http.StatusOK, out)
}

// A polling client shows the activities of a page one by one, on a timer, and
// mixes them with those of the next page if that comes meanwhile. So a page's
// watermark says how many there were and when, and what comes next waits until
// the client, slow as it may be, is through: for less than a second, as some
// give an answer no more than two.
const (
	mostPolled = 40
	showing    = 20 * time.Millisecond // of one activity
)

// rest returns how long the next page has to wait.
func rest(mark string, now time.Time) time.Duration {
	var (
		pos, at int64
		n       int
	)
	if _, err := fmt.Sscanf(mark, "%d-%d-%d", &pos, &n, &at); err != nil {
		return 0
	}
	whole := time.Duration(min(max(n, 0), mostPolled)) * showing
	return min(max(time.UnixMilli(at).Add(whole).Sub(now), 0), whole)
}

// shown reports whether clients get activities of a type.
func shown(t string) bool {
	switch t {
	case activity.TypeUpdate, "trace", activity.TypeInvoke, activity.TypeInvokeResponse, "installationUpdate":
		return false
	}
	return true
}

// digest names a delivery: Web Chat gives every message an id of its own, and
// sends the same one when it tries again. The rest of the message counts too,
// so that a client which always sends the same id loses nothing.
func digest(a activity.Activity) string {
	var data struct {
		ID string `json:"clientActivityID"`
	}
	if json.Unmarshal(a.ChannelData, &data) != nil || data.ID == "" {
		return ""
	}
	a.From = nil
	b, err := json.Marshal(a)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return data.ID + "\x00" + hex.EncodeToString(sum[:])
}

// shape is an item as clients get it. base is how they reach us.
func shape(it channel.Item, conv, base string) activity.Activity {
	a := *it.Activity
	a.ID, a.ChannelID, a.Timestamp = channel.ActivityID(conv, it.ID), Name, it.At.UTC().Truncate(time.Millisecond)
	a.Conversation, a.Recipient = &activity.Account{ID: conv}, nil
	if it.ReplyTo > 0 {
		a.ReplyToID = channel.ActivityID(conv, it.ReplyTo)
	}
	if a.FromBot() {
		a.Recipient = it.To
	}
	a.ChannelData = channelData(a.ChannelData, it, conv)
	a.Extra = extra(a.Extra, it, conv, base)
	return a
}

// sequence orders activities exactly, where their times are equal or clocks
// differ.
const sequence = "webchat:sequence-id"

// channelData is the sender's, without what Parley notes there for itself, and
// with the order and the stream.
func channelData(data json.RawMessage, it channel.Item, conv string) json.RawMessage {
	all := map[string]json.RawMessage{}
	if len(data) > 0 && (json.Unmarshal(data, &all) != nil || all == nil) {
		return data // not an object: then there is nothing of ours in it
	}
	delete(all, "parley")
	at := it.Pos
	if it.Stream == nil {
		at = it.ID // a new version of something old stands where the old one was
	}
	all[sequence] = json.RawMessage(strconv.FormatUint(at, 10))
	for name, v := range streamInfo(it, conv) {
		all[name] = v
	}
	b, err := json.Marshal(all)
	if err != nil {
		return data
	}
	return b
}

// streamInfo says which stream an item is part of. Web Chat reads it in
// channelData, the Agents SDK in an entity.
func streamInfo(it channel.Item, conv string) map[string]json.RawMessage {
	st := it.Stream
	if st == nil {
		return nil
	}
	kind := activity.StreamPart
	switch {
	case st.Final:
		kind = activity.StreamEnd
	case st.Note:
		kind = activity.StreamNote
	}
	out := map[string]json.RawMessage{"streamType": json.RawMessage(`"` + kind + `"`)}
	if !st.Final {
		out["streamSequence"] = json.RawMessage(strconv.Itoa(st.Part))
	}
	if st.Final || !st.First {
		out["streamId"] = json.RawMessage(`"` + channel.ActivityID(conv, st.ID) + `"`)
	}
	return out
}

// extra is the sender's other fields, with the stream as an entity, and with
// whole addresses of files that we keep.
func extra(in map[string]json.RawMessage, it channel.Item, conv, base string) map[string]json.RawMessage {
	info := streamInfo(it, conv)
	files := strings.Contains(string(in["attachments"]), `"/`)
	if info == nil && !files {
		return in
	}
	out := map[string]json.RawMessage{}
	for name, v := range in {
		out[name] = v
	}
	if info != nil {
		info["type"] = json.RawMessage(`"streaminfo"`)
		var all []json.RawMessage
		if raw := in["entities"]; len(raw) > 0 && json.Unmarshal(raw, &all) != nil {
			all = nil
		}
		if b, err := json.Marshal(info); err == nil {
			all = append(all, b)
		}
		if b, err := json.Marshal(all); err == nil {
			out["entities"] = b
		}
	}
	if files {
		out["attachments"] = channel.WithBase(in["attachments"], base)
	}
	return out
}

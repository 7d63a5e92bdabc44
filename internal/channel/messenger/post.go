package messenger

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// window is how long after a person wrote a page may write to them.
const window = 24 * time.Hour

// Pace satisfies channel.Poster: what was said in Messenger can't be changed, so
// answers are shown when they are whole.
func (s *Server) Pace() time.Duration { return 0 }

// to is a person, as a page knows them.
type to struct {
	*account
	user string
	mid  string // the newest that they wrote; "" = it has no name
}

// Post satisfies channel.Poster.
//
// A long answer is several messages, and the Send API takes each for itself.
// When one of them fails, those before it have arrived: the ref that comes with
// the error says so, and given back it makes the next try go on behind them.
func (s *Server) Post(ctx context.Context, p channel.Post) (ref string, err error) {
	a := p.Item.Activity
	if !a.FromBot() || a.Type != activity.TypeMessage && a.Type != activity.TypeTyping {
		return p.Ref, nil // nothing that Messenger could show, or take back
	}
	who, err := s.address(p)
	if err != nil {
		return p.Ref, err
	}
	if a.Type == activity.TypeTyping {
		s.typing(ctx, who, p)
		return p.Ref, nil
	}
	if !p.LastAt.IsZero() && s.opts.Now().Sub(p.LastAt) >= window {
		return p.Ref, errWindow
	}
	pieces := render(a, s.opts.Service)
	if len(pieces) == 0 {
		return p.Ref, fault.New(fault.Unsupported, "there is nothing in this that Messenger can show: no text, no card and no file with an address")
	}
	done := reached(p.Ref)
	if p.Doubt {
		done = max(done, s.arrived(ctx, who, p, pieces))
	}
	kind := "UPDATE"
	if p.Item.ReplyTo > 0 {
		kind = "RESPONSE"
	}
	mids := known(p.Ref)
	for i := min(done, len(pieces)); i < len(pieces); i++ {
		var got struct {
			MID string `json:"message_id"`
		}
		err := s.send(ctx, who, map[string]any{"messaging_type": kind, "message": pieces[i]}, &got)
		if err != nil {
			return behind(mids, i, len(pieces), err)
		}
		mids = append(mids, got.MID)
	}
	return strings.Join(mids, " "), nil
}

// address finds who is meant, by what was put there when they wrote.
func (s *Server) address(p channel.Post) (to, error) {
	var in struct{ Messenger data }
	if p.Last == nil || json.Unmarshal(p.Last.ChannelData, &in) != nil || in.Messenger.User == "" {
		return to{}, fault.New(fault.NotFound, "nobody has written in this conversation by Messenger, so there is nobody to write to")
	}
	at := s.pages[in.Messenger.Page]
	if at == nil {
		return to{}, fault.New(fault.NotFound, "the configuration does not name page %s (any more): add it under channels.messenger and replay this", in.Messenger.Page)
	}
	return to{at, in.Messenger.User, in.Messenger.MID}, nil
}

func (s *Server) send(ctx context.Context, who to, what map[string]any, out any) error {
	what["recipient"] = map[string]string{"id": who.user}
	return s.call(ctx, who.account, http.MethodPost, "/me/messages", nil, what, out)
}

// typingTime is how often Messenger is told that somebody writes, which it shows
// for 20 s.
const typingTime = 15 * time.Second

// typing shows that the message was read and somebody writes. It is for the
// moment: what fails is not tried again.
func (s *Server) typing(ctx context.Context, who to, p channel.Post) {
	if _, ok := s.shown.Take(p.Conversation+p.LastAt.String(), s.opts.Now()); !ok {
		return
	}
	for _, act := range []string{"mark_seen", "typing_on"} {
		var got struct{}
		if err := s.send(ctx, who, map[string]any{"sender_action": act}, &got); err != nil {
			s.lg.Debug("that somebody is writing could not be shown", "page", who.Page, "err", err)
			return
		}
	}
}

// partly begins the ref of an item of which some pieces have arrived: how many,
// and what Messenger calls those of which that is known. A whole one's ref is
// the names of all its pieces.
const partly = "arrived "

// reached reads how many pieces of an item arrived before a try failed.
func reached(ref string) int {
	var n int
	if rest, ok := strings.CutPrefix(ref, partly); !ok {
		return 0
	} else if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0
	}
	return max(n, 0)
}

// known reads what Messenger calls these pieces.
func known(ref string) []string {
	if reached(ref) == 0 {
		return nil
	}
	return strings.Fields(ref)[2:]
}

// behind adds to an error that comes after some pieces that these have arrived.
func behind(mids []string, done, of int, err error) (ref string, _ error) {
	if done == 0 {
		return "", err
	}
	words := fault.Wrap(err, fault.CodeOf(err), "%d of %d messages have arrived, then: %s", done, of, fault.MessageOf(err))
	return strings.TrimSpace(fmt.Sprint(partly, done, " ", strings.Join(mids, " "))), words.After(fault.RetryAfterOf(err))
}

// arrived asks which of an item's pieces are there already. The Send API takes
// no name for a message, but a page can read its conversations: what it said
// since the person wrote last is held against the pieces. Where reading is not
// allowed, nothing is known, and they are sent again: twice is better than
// never.
func (s *Server) arrived(ctx context.Context, who to, p channel.Post, pieces []piece) int {
	var in struct {
		Data []struct {
			Messages struct{ Data []said }
		}
	}
	query := url.Values{"platform": {"messenger"}, "user_id": {who.user}, "fields": {"messages.limit(25){id,message,from,created_time}"}}
	if err := s.call(ctx, who.account, http.MethodGet, "/me/conversations", query, nil, &in); err != nil {
		s.lg.Warn("it can't be found out whether a message has arrived; it is sent again", "page", who.Page, "err", err)
		return 0
	}
	if len(in.Data) == 0 {
		return 0
	}
	return matched(since(in.Data[0].Messages.Data, who, p), pieces)
}

// said is a message as the Conversations API has it.
type said struct {
	ID      string
	Message string
	From    struct{ ID string }
	Created string `json:"created_time"`
}

// apart is how much Meta's clock may differ from ours, without a message being
// taken for one that it is not.
const apart = 2 * time.Second

// since returns what the page has said that may be the item, the oldest first:
// what stands behind the message that the person wrote before the item was said,
// or, if they have written again, what is no older than the item. all has the
// newest first.
func since(all []said, who to, p channel.Post) []string {
	end := -1
	if who.mid != "" && !p.LastAt.After(p.Item.At) {
		end = slices.IndexFunc(all, func(m said) bool { return m.ID == who.mid })
	}
	if end < 0 {
		end = slices.IndexFunc(all, func(m said) bool {
			created, err := time.Parse("2006-01-02T15:04:05-0700", m.Created)
			return err != nil || created.Before(p.Item.At.Truncate(time.Second).Add(-apart))
		})
	}
	if end < 0 {
		end = len(all)
	}
	var out []string
	for _, m := range slices.Backward(all[:end]) {
		if m.From.ID == who.Page {
			out = append(out, m.Message)
		}
	}
	return out
}

// matched returns how many of the pieces, from the first on, are among what
// was said, in this order. One without text is anything without text.
func matched(there []string, pieces []piece) int {
	done := 0
	for _, text := range there {
		if done < len(pieces) && strings.Join(strings.Fields(text), " ") == strings.Join(strings.Fields(pieces[done].Text), " ") {
			done++
		}
	}
	return done
}

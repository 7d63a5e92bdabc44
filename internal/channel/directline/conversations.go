package directline

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/body"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

type conversationJSON struct {
	tokenJSON
	Stream string `json:"streamUrl"`
}

// start begins the token's conversation, or with the secret always a new one.
func (s *Server) start(w http.ResponseWriter, r *http.Request) error {
	c, err := s.caller(r)
	if err != nil {
		return err
	}
	var in struct {
		User user `json:"user"` // the locale beside it is the bot's affair
	}
	if err := readJSON(w, r, 16<<10, &in); err != nil {
		return err
	}
	if err := in.User.check(); err != nil {
		return err
	}
	say := claims{Audience: forCalls, Conversation: event.NewConversation(s.opts.Region), User: in.User.ID, Name: in.User.Name}
	if c.token != nil {
		say = *c.token
	}
	fresh, err := s.begin(r.Context(), c, say)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	}
	return s.answerConversation(w, r, status, c, say, "")
}

func (s *Server) begin(ctx context.Context, c caller, say claims) (fresh bool, err error) {
	return s.opts.Desk.Begin(ctx, channel.Start{ID: say.Conversation, Owner: c.owner(), Bot: c.site.Bot, User: say.User})
}

// begun does what needs a conversation. One that a token is for is begun if it
// was not: whoever holds it came by it from us, and "there is no such
// conversation" would make the client give up for good.
func (s *Server) begun(ctx context.Context, c caller, f func() error) error {
	err := f()
	if c.token == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, err := s.begin(ctx, c, *c.token); err != nil {
		return err
	}
	return f()
}

// reconnect gives a new stream to a client that has lost its own.
func (s *Server) reconnect(w http.ResponseWriter, r *http.Request) error {
	c, id, err := s.access(r)
	if err != nil {
		return err
	}
	mark := r.URL.Query().Get("watermark")
	if _, err := position(mark); err != nil {
		return err
	}
	say := claims{Audience: forCalls, Conversation: id}
	if c.token != nil {
		say = *c.token
	}
	err = s.begun(r.Context(), c, func() error {
		user, err := s.opts.Desk.Look(r.Context(), c.owner(), id)
		if say.User == "" {
			say.User = user
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.answerConversation(w, r, http.StatusOK, c, say, mark)
}

func (s *Server) answerConversation(w http.ResponseWriter, r *http.Request, status int, c caller, say claims, mark string) error {
	say.Session = rand.Text() // clients take over the token that comes with a stream
	token, life, err := s.issue(c.signer, say)
	if err != nil {
		return err
	}
	if say.Audience = forStream; c.token != nil { // who has the secret needs no token
		say.Ends = s.opts.Now().Add(life).Unix()
	}
	key, _, err := s.issue(c.signer, say)
	if err != nil {
		return err
	}
	return wire.WriteJSON(w, status, conversationJSON{
		tokenJSON: tokenJSON{say.Conversation, token, int(life.Seconds())},
		Stream:    "ws" + strings.TrimPrefix(host(r), "http") + Base + "/conversations/" + say.Conversation + "/stream?" + url.Values{"watermark": {mark}, "t": {key}}.Encode(),
	})
}

// host is how the client reached us, a proxy in between or not. It only ever
// goes back to the client itself.
func host(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// position reads a watermark; "" is the beginning.
func position(mark string) (uint64, error) {
	if mark == "" {
		return 0, nil
	}
	number, paging, paged := strings.Cut(mark, "-") // see rest
	pos, err := strconv.ParseUint(number, 10, 64)
	if err != nil || paged && len(paging) > 40 {
		return 0, fault.New(fault.Invalid, "the watermark must be one that this service gave")
	}
	return pos, nil
}

// readJSON reads a small object; no body at all is an empty one, and fields
// that are not known are somebody else's.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	b, err := body.Read(w, r, limit)
	if err != nil || len(b) == 0 {
		return err
	}
	if !utf8.Valid(b) || string(bytes.TrimSpace(b)) == "null" || json.Unmarshal(b, into) != nil {
		return fault.New(fault.Invalid, "the body must be a JSON object, as Direct Line 3.0 describes it")
	}
	return nil
}

// PageToken makes a token for the node's own Web Chat page: of the first site,
// for somebody whom this node knows already. With a conversation it is a new
// token for that one, if it is that user's; "" is a new conversation.
func (s *Server) PageToken(ctx context.Context, who, conversation string) (any, error) {
	by := s.signers[0]
	say := claims{Audience: forCalls, Conversation: conversation, User: "dl_" + who}
	if conversation == "" {
		say.Conversation = event.NewConversation(s.opts.Region)
	} else {
		bound, err := s.opts.Desk.Look(ctx, caller{signer: by}.owner(), conversation)
		if err != nil {
			return nil, err
		}
		if bound != say.User {
			return nil, fault.New(fault.NotFound, "there is no conversation %q", clip(conversation))
		}
	}
	token, life, err := s.issue(by, say)
	if err != nil {
		return nil, err
	}
	return tokenJSON{say.Conversation, token, int(life.Seconds())}, nil
}

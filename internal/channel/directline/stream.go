package directline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

const (
	// maxStreams bounds how many may watch one conversation: a few tabs do.
	maxStreams = 32
	// stalled is how long a receiver may take nothing before it is cut off; it
	// comes back by its watermark.
	stalled = 30 * time.Second
	// maxHeard is the most that a client may send in one frame. All it has to
	// say there is that it lives.
	maxHeard = 4 << 10
)

// stream sends everything after the watermark, then what comes, one activity
// to a frame: the client takes the activities of a frame one by one and would
// mix those of a large one with the next.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) error {
	id, q := r.PathValue("id"), r.URL.Query()
	if !event.ValidConversation(id) {
		return fault.New(fault.NotFound, "there is no conversation %q", clip(id))
	}
	by, claims, err := verify(s.signers, q.Get("t"), forStream, s.opts.Now())
	over := claims.Ends > 0 && s.opts.Now().Unix() >= claims.Ends
	if err != nil && !(over && errors.Is(err, errExpired)) {
		return err
	}
	if claims.Conversation != id {
		return errOthers
	}
	c, err := s.fromOrigin(r, caller{signer: by, token: &claims})
	if err != nil {
		return err
	}
	after, err := position(q.Get("watermark"))
	if err != nil {
		return err
	}
	x := &socket{s: s, claims: claims, base: host(r), began: s.opts.Now(), mute: make(chan struct{})}
	if over {
		close(x.mute)
	}
	if !s.join(x, over) {
		return fault.New(fault.Limited, "%d clients watch this conversation already", maxStreams).After(time.Minute)
	}
	defer s.leave(x)
	feed, err := s.opts.Desk.Feed(r.Context(), c.owner(), id, after, true)
	if err != nil {
		return err
	}
	defer feed.Close()
	x.ws, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // fromOrigin is stricter, and knows the site
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil // Accept has answered
	}
	s.opts.Desk.Observer().Connected(Name, +1)
	defer s.opts.Desk.Observer().Connected(Name, -1)
	ctx, gone := context.WithCancel(context.WithoutCancel(r.Context())) // the connection is no longer the request's
	defer gone()                                                        // after Close: it cuts the connection
	go func() {
		defer gone()
		x.listen(ctx)
	}()
	code, why := x.serve(ctx, feed)
	_ = x.ws.Close(code, why)
	return nil
}

// socket is one client's connection.
type socket struct {
	s      *Server
	ws     *websocket.Conn
	claims claims
	base   string
	began  time.Time
	mute   chan struct{} // closed when the client was told that its token has expired
}

// join counts a stream. The newest of a session is the one that speaks.
func (s *Server) join(x *socket, over bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[x.claims.Conversation] >= maxStreams {
		return false
	}
	s.streams[x.claims.Conversation]++
	if over {
		return true
	}
	if before := s.sessions[x.claims.Session]; before != nil {
		close(before.mute)
	}
	s.sessions[x.claims.Session] = x
	return true
}

func (s *Server) leave(x *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[x.claims.Conversation]--; s.streams[x.claims.Conversation] == 0 {
		delete(s.streams, x.claims.Conversation)
	}
	if s.sessions[x.claims.Session] == x {
		delete(s.sessions, x.claims.Session)
	}
}

// mute ends what a client gets whose token has expired, but leaves it its
// connection. When the client is told so it opens further streams by the old
// address, and one more with the next token that its page gives it; where one of
// them is refused or closed, it asks for another until it gets one. Whatever more
// than one of them carried would come twice, so all but the last one are open
// and say nothing.
func (s *Server) mute(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions[session]; x != nil {
		close(x.mute)
		delete(s.sessions, session)
	}
}

// serve sends until one side ends it; ctx ends when the client has.
func (x *socket) serve(ctx context.Context, feed *channel.Feed) (websocket.StatusCode, string) {
	beat := time.NewTimer(x.s.opts.Heartbeat)
	defer beat.Stop()
	var part <-chan time.Time
	for {
		next := channel.Next{}
		select {
		case <-x.mute:
		default:
			next = feed.Next()
		}
		for _, it := range next.Items {
			if err := x.send(ctx, it); err != nil {
				return websocket.StatusGoingAway, ""
			}
			beat.Reset(x.s.opts.Heartbeat)
		}
		if next.Over {
			return websocket.StatusNormalClosure, "the conversation was deleted"
		}
		if part = nil; next.Wait > 0 {
			part = time.After(next.Wait)
		}
		select {
		case <-next.More: // never, of one that is mute
		case <-part:
		case <-beat.C:
			if err := x.write(ctx, nil); err != nil {
				return websocket.StatusGoingAway, ""
			}
			beat.Reset(x.s.opts.Heartbeat)
		case <-ctx.Done():
			return websocket.StatusNormalClosure, ""
		case <-x.s.opts.Stopping:
			return websocket.StatusGoingAway, "this node is stopping; another one goes on"
		}
	}
}

// listen reads what the client sends, which is nothing but signs of life, so
// that pings and the close frame are answered.
func (x *socket) listen(ctx context.Context) {
	x.ws.SetReadLimit(maxHeard)
	for {
		_, r, err := x.ws.Reader(ctx)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return
		}
	}
}

type frameJSON struct {
	Activities []activity.Activity `json:"activities"`
	Watermark  string              `json:"watermark"`
}

func (x *socket) send(ctx context.Context, it channel.Item) error {
	if !shown(it.Activity.Type) {
		return nil
	}
	b, err := json.Marshal(frameJSON{[]activity.Activity{shape(it, x.claims.Conversation, x.base)}, strconv.FormatUint(it.Pos, 10)})
	if err != nil {
		return err
	}
	if err := x.write(ctx, b); err != nil {
		return err
	}
	if it.At.After(x.began) && it.Activity.Type != activity.TypeTyping {
		x.s.opts.Desk.Observer().Delivered(Name, x.s.opts.Now().Sub(it.At))
	}
	return nil
}

func (x *socket) write(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, stalled)
	defer cancel()
	return x.ws.Write(ctx, websocket.MessageText, b)
}

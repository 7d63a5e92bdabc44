package api

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
)

// stalled is how long a reader may take nothing, at the least, before its
// connection is cut; it comes back by position.
const stalled = 30 * time.Second

// stream is a Server-Sent Events answer.
type stream struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	buf      []byte
	sent     time.Time // when something was last sent
	deadline time.Time // of writes, as set
}

func newStream(w http.ResponseWriter) *stream {
	if sw, ok := w.(*statusWriter); ok {
		sw.stream = true
		w = sw.ResponseWriter
		sw.status = http.StatusOK
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that buffer would hide every delta
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, rc: http.NewResponseController(w)}
}

// event adds one event. data must be one line, as JSON is.
func (s *stream) event(id, name string, data []byte) {
	if id != "" {
		s.buf = append(append(append(s.buf, "id: "...), id...), '\n')
	}
	if name != "" {
		s.buf = append(append(append(s.buf, "event: "...), name...), '\n')
	}
	s.buf = append(append(append(s.buf, "data: "...), data...), '\n', '\n')
}

func (s *stream) comment(text string) {
	s.buf = append(append(append(s.buf, ": "...), text...), '\n', '\n')
}

// flush sends what was added, in one write.
func (s *stream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	// The deadline moves now and then, not with every piece: that costs more
	// than it is worth.
	s.sent = time.Now()
	if s.deadline.Sub(s.sent) < stalled {
		s.deadline = s.sent.Add(2 * stalled)
		if err := s.rc.SetWriteDeadline(s.deadline); err != nil {
			return err
		}
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if cap(s.buf) > 64<<10 {
		s.buf = nil
	}
	if err != nil {
		return err
	}
	return s.rc.Flush()
}

// position reads where a client wants to go on: Last-Event-ID, or ?after=.
func position(r *http.Request) (uint64, error) {
	v := r.Header.Get("Last-Event-ID")
	if v == "" {
		v = r.URL.Query().Get("after")
	}
	if v == "" {
		return 0, nil
	}
	pos, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "the position must be the id of an event (a whole number), not %q", v)
	}
	return pos, nil
}

func (s *server) events(w http.ResponseWriter, r *http.Request, user string) error {
	pos, err := position(r)
	if err != nil {
		return err
	}
	l, err := s.own(r, user)
	if err != nil {
		return err
	}
	defer l.Close()
	s.opts.Metrics.Reader(+1)
	defer s.opts.Metrics.Reader(-1)
	out := newStream(w)
	out.comment("parley")
	_ = s.follow(r.Context(), l, pos, out, waiting(l, out), func(f conversation.Frame) bool {
		out.event(strconv.FormatUint(f.Pos, 10), f.Event, f.Data)
		return f.Event != "deleted"
	})
	return nil // the client left, was too slow, or the conversation is gone
}

// waitingBody is the event waiting: a turn's place in the line before its engines,
// 0 when it waits no more, and, once that is known, between how many seconds it
// will probably begin.
type waitingBody struct {
	Turn  string `json:"turn"`
	Place int    `json:"place"`
	Soon  int    `json:"soon,omitempty"`
	Late  int    `json:"late,omitempty"`
}

// waiting tells of a turn that is in line whenever that has changed. The event has
// no id: it is no part of the conversation.
func waiting(l *chat.Live, out *stream) func() {
	var last waitingBody
	return func() {
		w := l.Waits()
		b := waitingBody{Turn: w.Turn, Place: w.Number, Soon: int(w.Soon.Seconds()), Late: int(math.Ceil(w.Late.Seconds()))}
		if b == last {
			return
		}
		if b.Turn == "" {
			b.Turn = last.Turn // it waits no more
		}
		last = waitingBody{Turn: w.Turn, Place: w.Number, Soon: b.Soon, Late: b.Late}
		if data, err := json.Marshal(b); err == nil {
			out.event("", "waiting", data)
		}
	}
}

// follow gives every frame behind pos to each, in batches that are sent
// together, until each says that it was the last one or the client is gone.
// beside may add something between batches.
func (s *server) follow(ctx context.Context, l *chat.Live, pos uint64, out *stream, beside func(), each func(conversation.Frame) bool) error {
	const most = 256 // frames of one write
	beat := time.NewTimer(s.opts.Heartbeat)
	defer beat.Stop()
	for {
		frames, more := l.Frames(pos)
		for len(frames) > 0 {
			n := min(len(frames), most)
			for _, f := range frames[:n] {
				pos = f.Pos
				if !each(f) {
					return out.flush()
				}
			}
			if err := out.flush(); err != nil {
				return err
			}
			frames = frames[n:]
		}
		beside()
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case <-more:
		case <-beat.C:
			quiet := time.Since(out.sent)
			if quiet >= s.opts.Heartbeat {
				out.comment("alive")
				quiet = 0
			}
			beat.Reset(s.opts.Heartbeat - quiet)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.opts.Stopping:
			return errStopping
		}
	}
}

// lastFrame waits, without writing anything, until each returns false.
func lastFrame(ctx context.Context, l *chat.Live, each func(conversation.Frame) bool) error {
	var pos uint64
	for {
		frames, more := l.Frames(pos)
		for _, f := range frames {
			pos = f.Pos
			if !each(f) {
				return nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

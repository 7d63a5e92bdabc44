package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Event is one thing that happened in a conversation. Exactly one of the
// pointers is set, but for Deleted and unknown kinds.
type Event struct {
	Position int64  // grows along a conversation; give it to Events to go on
	Kind     string // "activity", "delta", "turn", "resumed", "title", "deleted", or one that is newer than this client

	Activity *Activity
	Delta    *Delta
	Turn     *Turn
	Resumed  *Resumed
	Title    *Title
}

// Delta is the next piece of an answer.
type Delta struct {
	Turn   string `json:"turn"`
	Offset int    `json:"offset"` // Unicode code points of the answer before Text
	Text   string `json:"text"`
}

// The states of a turn.
const (
	Queued  = "queued"
	Running = "running"
	Done    = "done"
	Failed  = "failed"
	Stopped = "stopped"
)

// Turn says where an answer is.
type Turn struct {
	Turn     string `json:"turn"`
	State    string `json:"state"`
	Position int    `json:"position"` // turns before it in the queue
	Attempt  int    `json:"attempt"`
	ReplyTo  string `json:"replyTo"`
	Region   string `json:"region"`
	Code     string `json:"code"`  // of a failed turn
	Error    string `json:"error"` // of a failed turn, for people
}

// Final reports whether the turn is over.
func (t Turn) Final() bool { return t.State == Done || t.State == Failed || t.State == Stopped }

// Resumed says that an answer goes on after its engine or node was lost.
type Resumed struct {
	Turn    string `json:"turn"`
	Attempt int    `json:"attempt"`
	Offset  int    `json:"offset"`
	Policy  string `json:"policy"` // "restart": the text begins anew
}

// Title names the conversation.
type Title struct {
	Title string `json:"title"`
}

// Events yields what happened in a conversation after a position (0: from its
// beginning) and what happens, each event once and in order, and attaches
// itself again when a connection breaks. It ends with an error: the context's,
// the node's refusal, or that no address could be reached for as long as
// Options.Patience. A deleted conversation ends without one.
func (c *Client) Events(ctx context.Context, conversation string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at, began, pause := after, time.Now(), c.opts.Backoff
		failed, garbled := 0, 0 // attempts since the last good one
		for {
			i, before, opened, ended := c.at.Load()%int64(len(c.urls)), at, time.Now(), false
			err := c.attach(ctx, c.urls[i], conversation, at, func(e Event) bool {
				if e.Position <= at {
					return true // told before
				}
				at = e.Position
				c.seen.note(conversation, at)
				ended = !yield(e, nil) || e.Kind == "deleted"
				return !ended
			})
			if ended {
				return
			}
			if ctx.Err() != nil {
				yield(Event{}, ctx.Err())
				return
			}
			wait := time.Duration(0)
			if at != before || time.Since(opened) > c.opts.Stall/2 {
				// It was good until now: soon again, at the same address.
				began, pause, failed, garbled = time.Now(), c.opts.Backoff, 0, 0
				wait = c.opts.Backoff / 4
			} else {
				failed++
				c.at.CompareAndSwap(i, (i+1)%int64(len(c.urls)))
				if failed%len(c.urls) == 0 {
					wait = c.pause(err, &pause)
				}
			}
			if CodeOf(err) == CodeProtocol {
				garbled++ // perhaps something between here and there spoilt it
			}
			final := !temporary(err) && CodeOf(err) != CodeProtocol
			if final || garbled > 2 || time.Since(began)+wait > c.opts.Patience {
				yield(Event{}, err)
				return
			}
			if wait > 0 {
				if err := c.sleep(ctx, err, wait); err != nil {
					yield(Event{}, err)
					return
				}
			}
		}
	}
}

// attach reads one stream until it breaks or each returns false. The error is
// never nil but then.
func (c *Client) attach(ctx context.Context, base, conversation string, after int64, each func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(c.opts.Stall, cancel)
	defer stalled.Stop()
	resp, err := c.send(ctx, base, request{
		method: http.MethodGet, path: conversationPath(conversation, "/events"),
		query: url.Values{"after": {strconv.FormatInt(after, 10)}}, accept: "text/event-stream",
	})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return &Error{Status: resp.StatusCode, Code: CodeProtocol, Message: base + " did not answer with an event stream"}
	}
	in := newFrames(watched{resp.Body, stalled, c.opts.Stall})
	for {
		f, err := in.next()
		if errors.Is(err, errEventTooLarge) {
			return &Error{Code: CodeProtocol, Message: base + " sent too much at once", Cause: err}
		}
		if err != nil {
			return &Error{Code: CodeUnreachable, Message: "the connection to " + base + " broke", Cause: err}
		}
		e, err := decode(f)
		if err != nil {
			return &Error{Code: CodeProtocol, Message: base + " sent what is not an event", Cause: err}
		}
		if !each(e) {
			return nil
		}
	}
}

// watched puts the alarm off with every read.
type watched struct {
	r     io.Reader
	alarm *time.Timer
	after time.Duration
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.alarm.Reset(w.after)
	}
	return n, err
}

func decode(f frame) (Event, error) {
	at, err := strconv.ParseInt(f.id, 10, 64)
	if err != nil || at < 0 {
		return Event{}, fmt.Errorf("position %q", clip(f.id))
	}
	e := Event{Position: at, Kind: f.event}
	var into any
	switch f.event {
	case "activity":
		e.Activity = &Activity{}
		into = e.Activity
	case "delta":
		e.Delta = &Delta{}
		into = e.Delta
	case "turn":
		e.Turn = &Turn{}
		into = e.Turn
	case "resumed":
		e.Resumed = &Resumed{}
		into = e.Resumed
	case "title":
		e.Title = &Title{}
		into = e.Title
	default:
		return e, nil
	}
	if err := json.Unmarshal([]byte(f.data), into); err != nil {
		return Event{}, fmt.Errorf("decode %s: %w", f.event, err)
	}
	return e, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

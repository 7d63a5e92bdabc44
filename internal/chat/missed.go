package chat

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/nlu/learn"
)

// Missed is a message that was not understood, of a bot whose people agreed to
// having such messages collected.
type Missed struct {
	ID     string    `json:"id"`   // of the activity
	Text   string    `json:"text"` // without addresses, long numbers and keys
	Intent string    `json:"intent"`
	Score  float64   `json:"score"`
	Model  string    `json:"version"` // APP@VERSION
	At     time.Time `json:"at"`
}

// missedLimit is how long one reading takes at most; the next one goes on.
const missedLimit = 5 * time.Second

var errEnough = errors.New("enough")

// Missed reads the logs from a cursor on ("" = the beginning) for messages that
// were not understood, until there are limit of them. next is the cursor to go
// on from, "" at the end. What was deleted is not found.
func (s *Service) Missed(ctx context.Context, cursor string, limit int) (missed []Missed, next string, err error) {
	at, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	streams, err := s.opts.Log.Streams(ctx)
	if err != nil {
		return nil, "", err
	}
	slices.Sort(streams)
	read, cancel := context.WithTimeout(ctx, missedLimit)
	defer cancel()
	for _, stream := range streams {
		last, err := s.opts.Log.Last(ctx, stream)
		if err != nil {
			return nil, "", err
		}
		if at[stream] >= last {
			continue
		}
		err = s.opts.Log.Follow(read, stream, at[stream], func(batch []event.Entry) error {
			for _, e := range batch {
				if end := e.Event.Ended; !e.Damaged && end != nil && end.Missed {
					if m, ok := s.missed(ctx, e.Conversation, end.Turn); ok {
						missed = append(missed, m)
					}
				}
				if at[stream] = e.Seq; e.Seq >= last || len(missed) == limit {
					return errEnough
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, "", err
		}
		if len(missed) == limit || read.Err() != nil {
			b, err := json.Marshal(at)
			return missed, base64.RawURLEncoding.EncodeToString(b), err
		}
	}
	return missed, "", ctx.Err()
}

func parseCursor(cursor string) (map[string]uint64, error) {
	at := map[string]uint64{}
	if cursor == "" {
		return at, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil || at == nil {
		return nil, fault.New(fault.Invalid, `"cursor" is not one that this call gave`)
	}
	return at, nil
}

// missed finds the message that a turn answered.
func (s *Service) missed(ctx context.Context, conv, turn string) (m Missed, ok bool) {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return m, false
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		t := st.Turn(turn)
		if t == nil || st.Deleted || turn != event.TurnOf(t.ReplyTo) { // another answer to what was missed before
			return
		}
		a := st.Activity(t.ReplyTo)
		if a == nil {
			return
		}
		if u := a.Meta().Understanding; u != nil {
			m, ok = Missed{ID: a.ID, Text: learn.Redact(a.Text), Intent: u.Intent, Score: u.Score, Model: u.Model, At: a.Timestamp}, true
		}
	})
	return m, ok
}

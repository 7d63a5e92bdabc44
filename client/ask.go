package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Piece is news of an answer. At most one of Text, Restart and State is set.
type Piece struct {
	Text    string // to be put after all texts so far
	Restart bool   // all texts so far are void: the answer begins anew
	State   string // "queued" (Position says how far back) or "running"

	Position int // turns before it in the queue
	Attempt  int
	Region   string
}

// Answer is how a turn ended.
type Answer struct {
	Turn     string
	State    string // Done, Failed or Stopped
	Text     string // whole; what the pieces add up to
	Activity *Activity
	Attempts int
	Region   string
	Position int64 // of the last event that was read; for the next Message's After
}

// errGap says that events between a position and now are not to be had, so
// that the answer's text has to be read from the beginning.
var errGap = errors.New("a piece of the answer is missing")

// Ask says something and reads the answer to its end. on is told of every
// piece as it comes (nil: nobody); its error ends the reading, not the answer.
//
// What on was given is at any moment a prefix of the answer in the node's log,
// and in the end all of it. A failed turn is an *Error with the turn's code,
// and the Answer holds the text that there is. If ctx ends, the answer goes on
// without a reader: Follow finds it again.
func (c *Client) Ask(ctx context.Context, conversation string, m Message, on func(Piece) error) (Answer, error) {
	sent, err := c.Send(ctx, conversation, m)
	if err != nil {
		return Answer{}, err
	}
	if sent.Turn == "" {
		return Answer{}, &Error{Code: CodeProtocol, Message: "the node took the message but does not answer it"}
	}
	return c.Follow(ctx, conversation, sent.Turn, m.After, on)
}

// Follow reads the answer of a turn to its end, from its first piece. after is
// a position before the turn; 0 is always right.
func (c *Client) Follow(ctx context.Context, conversation, turn string, after int64, on func(Piece) error) (Answer, error) {
	if on == nil {
		on = func(Piece) error { return nil }
	}
	s := sight{turn: turn, on: on}
	for {
		answer, err := c.read(ctx, conversation, after, &s)
		if errors.Is(err, errGap) && after > 0 {
			after = 0
			s.log = telling{}
			continue
		}
		if errors.Is(err, errGap) {
			err = &Error{Code: CodeProtocol, Message: "the node left out a piece of the answer", Cause: err}
		}
		return answer, err
	}
}

func (c *Client) read(ctx context.Context, conversation string, after int64, s *sight) (Answer, error) {
	a := Answer{Turn: s.turn}
	for e, err := range c.Events(ctx, conversation, after) {
		if err != nil {
			a.Text = string(s.shown.text)
			return a, err
		}
		a.Position = e.Position
		if err := s.take(e, &a); err != nil {
			a.Text = string(s.shown.text)
			return a, err
		}
		if a.State == "" {
			continue
		}
		a.Text = string(s.shown.text)
		if a.State == Failed {
			return a, &Error{Code: or(e.Turn.Code, "internal"), Message: or(e.Turn.Error, "the answer failed")}
		}
		return a, nil
	}
	a.Text = string(s.shown.text)
	return a, &Error{Code: "not_found", Message: "the conversation was deleted"}
}

// telling is a text as it grows.
type telling struct {
	restarts int
	text     []byte
	runes    int
}

// sight is what the caller was shown of one turn, beside what the log tells.
// The two differ only after reading from the beginning again.
type sight struct {
	turn  string
	on    func(Piece) error
	log   telling
	shown telling
}

// take applies an event and shows what is new.
func (s *sight) take(e Event, a *Answer) error {
	switch {
	case e.Delta != nil && e.Delta.Turn == s.turn:
		if err := s.log.put(*e.Delta); err != nil {
			return err
		}
		return s.show()
	case e.Resumed != nil && e.Resumed.Turn == s.turn:
		s.log.resume(*e.Resumed)
		return s.show()
	case e.Activity != nil && e.Activity.FromBot() && e.Activity.Meta().Turn == s.turn:
		a.Activity = e.Activity
		if !strings.HasPrefix(e.Activity.Text, string(s.log.text)) {
			return disagree("the whole answer does not begin with its pieces")
		}
		s.log.text = []byte(e.Activity.Text)
		s.log.runes = utf8.RuneCount(s.log.text)
		return s.show()
	case e.Turn != nil && e.Turn.Turn == s.turn:
		a.Attempts, a.Region = e.Turn.Attempt, or(e.Turn.Region, a.Region)
		if e.Turn.Final() {
			a.State = e.Turn.State
			if len(s.log.text) < len(s.shown.text) || s.log.restarts != s.shown.restarts {
				return disagree("the answer ended before what was shown of it")
			}
			return nil
		}
		return s.on(Piece{State: e.Turn.State, Position: e.Turn.Position, Attempt: e.Turn.Attempt, Region: e.Turn.Region})
	}
	return nil
}

// show tells the caller what the log has more than was shown.
func (s *sight) show() error {
	if s.log.restarts > s.shown.restarts {
		s.shown = telling{restarts: s.log.restarts}
		if err := s.on(Piece{Restart: true}); err != nil {
			return err
		}
	}
	if s.log.restarts < s.shown.restarts || len(s.log.text) <= len(s.shown.text) {
		return nil // reading again what was shown; compared when it goes on
	}
	if string(s.log.text[:len(s.shown.text)]) != string(s.shown.text) {
		return disagree("the answer does not begin with what was shown of it")
	}
	rest := string(s.log.text[len(s.shown.text):])
	s.shown.text = append(s.shown.text, rest...)
	return s.on(Piece{Text: rest})
}

// put adds a piece at its offset. A part that is there already must be the
// same.
func (t *telling) put(d Delta) error {
	if d.Offset > t.runes {
		return errGap
	}
	if d.Offset < 0 {
		return disagree("a piece of the answer has no place")
	}
	if d.Offset == t.runes { // all but always
		t.text = append(t.text, d.Text...)
		t.runes += utf8.RuneCountInString(d.Text)
		return nil
	}
	at := byteAt(t.text, d.Offset)
	known := t.text[at:]
	switch {
	case strings.HasPrefix(string(known), d.Text):
		return nil
	case strings.HasPrefix(d.Text, string(known)):
		t.text = append(t.text[:at:at], d.Text...)
		t.runes = utf8.RuneCount(t.text)
		return nil
	}
	return disagree("two pieces of the answer differ")
}

func (t *telling) resume(r Resumed) {
	if r.Policy == "restart" {
		*t = telling{restarts: t.restarts + 1}
		return
	}
	if r.Offset >= 0 && r.Offset < t.runes {
		t.text = t.text[:byteAt(t.text, r.Offset):byteAt(t.text, r.Offset)]
		t.runes = r.Offset
	}
}

// byteAt returns where the nth code point begins.
func byteAt(text []byte, n int) int {
	at := 0
	for ; n > 0 && at < len(text); n-- {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return at
}

func disagree(what string) error {
	return &Error{Code: CodeProtocol, Message: fmt.Sprintf("the node contradicts itself: %s", what)}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

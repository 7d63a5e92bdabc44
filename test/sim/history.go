package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
)

// history is what people were told: every acknowledgement, every list that was
// read, every character of an answer. The judge holds it against the logs.
type history struct {
	mu       sync.Mutex      // guards what follows
	flaws    map[string]flaw // of all conversations
	order    []string        // of conversations
	acked    map[string][]*said
	reads    map[string][]read
	sights   map[string][]*sight
	titles   map[string]string // that were acknowledged
	deleted  map[string]bool   // somebody asked for it
	solitary []solitude
	odd      []string
}

// said is a message that was acknowledged.
type said struct {
	by, text, id, turn string
	region             string // that acknowledged it
	call, ret          time.Time

	answer  *client.Answer // nil: none was wanted
	shown   string         // what its reader saw of the answer, piece by piece
	stopped bool           // its reader asked for the answer's end
}

// read is a list of a conversation's activities that somebody was given.
type read struct {
	by, region string
	call       time.Time
	ids        []string
}

// sight is what one reader of a conversation's events was sent, from the first.
type sight struct {
	positions []int64
	lines     []string
}

// solitude is a time in which a region was cut off from all others.
type solitude struct {
	region   string
	from, to time.Time
}

func newHistory() *history {
	return &history{flaws: map[string]flaw{}, acked: map[string][]*said{}, reads: map[string][]read{}, sights: map[string][]*sight{}, titles: map[string]string{}, deleted: map[string]bool{}}
}

func (h *history) begun(conv string, f flaw) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flaws[conv] = f
	h.order = append(h.order, conv)
}

func (h *history) said(conv string, s said) *said {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked[conv] = append(h.acked[conv], &s)
	return &s
}

func (h *history) answered(s *said, a *client.Answer, shown string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.answer, s.shown = a, shown
}

func (h *history) stopped(s *said) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.stopped = true
}

func (h *history) named(conv, title string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.titles[conv] = title
}

func (h *history) forgotten(conv string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deleted[conv] = true
}

func (h *history) gone(conv string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deleted[conv]
}

func (h *history) read(conv string, r read) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads[conv] = append(h.reads[conv], r)
}

func (h *history) sight(conv string) *sight {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &sight{}
	h.sights[conv] = append(h.sights[conv], s)
	return s
}

func (h *history) saw(s *sight, e client.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.positions, s.lines = append(s.positions, e.Position), append(s.lines, lineOfEvent(e))
}

func (h *history) alone(region string, from, to time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.solitary = append(h.solitary, solitude{region, from, to})
}

func (h *history) strange(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.odd = append(h.odd, fmt.Sprintf(format, args...))
}

func (h *history) conversations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.order...)
}

// lineOfEvent and lineOfFrame say the same of what a reader was sent and of
// what the log makes.
func lineOfEvent(e client.Event) string {
	switch {
	case e.Activity != nil:
		return fmt.Sprintf("activity %s %q", e.Activity.ID, e.Activity.Text)
	case e.Delta != nil:
		return fmt.Sprintf("delta %s %d %q", e.Delta.Turn, e.Delta.Offset, e.Delta.Text)
	case e.Turn != nil:
		return fmt.Sprintf("turn %s %s %d", e.Turn.Turn, e.Turn.State, e.Turn.Attempt)
	case e.Resumed != nil:
		return fmt.Sprintf("resumed %s %d %d", e.Resumed.Turn, e.Resumed.Attempt, e.Resumed.Offset)
	case e.Title != nil:
		return fmt.Sprintf("title %q", e.Title.Title)
	}
	return e.Kind
}

func lineOfFrame(f conversation.Frame) string {
	switch b := f.Body.(type) {
	case *activity.Activity:
		return fmt.Sprintf("activity %s %q", b.ID, b.Text)
	case conversation.DeltaBody:
		return fmt.Sprintf("delta %s %d %q", b.Turn, b.Offset, b.Text)
	case conversation.TurnBody:
		return fmt.Sprintf("turn %s %s %d", b.Turn, b.State, b.Attempt)
	case conversation.ResumedBody:
		return fmt.Sprintf("resumed %s %d %d", b.Turn, b.Attempt, b.Offset)
	case conversation.TitleBody:
		return fmt.Sprintf("title %q", b.Title)
	}
	return f.Event
}

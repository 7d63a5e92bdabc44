package chat

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// maxSystem bounds the system prompt of a conversation, in bytes: it is in
// every prompt.
const maxSystem = 32 << 10

// longestStop bounds a text that stops an answer, in bytes.
const longestStop = 200

// checkSet refuses what can't be set, and tidies what can.
func (s *Service) checkSet(ctx context.Context, c *event.Set) error {
	if c.Share != nil {
		return fault.New(fault.Invalid, "a link is not a setting: share the conversation to get one")
	}
	if c.Tags != nil {
		tags, err := tidyTags(*c.Tags)
		if err != nil {
			return err
		}
		c.Tags = &tags
	}
	if c.System != nil && (len(*c.System) > maxSystem || !utf8.ValidString(*c.System)) {
		return fault.New(fault.TooLarge, "a system prompt has at most %d bytes", maxSystem)
	}
	if c.Model != nil {
		if err := s.checkModel(ctx, *c.Model); err != nil {
			return err
		}
	}
	if c.Params == nil {
		return nil
	}
	p := *c.Params
	if p.Constrained() {
		return fault.New(fault.Invalid, "a grammar or schema is for one request, not for a conversation")
	}
	if p.MaxTokens < 0 || p.MaxTokens > 1<<20 {
		return fault.New(fault.Invalid, "max_tokens must be from 1 to %d", 1<<20)
	}
	if name, why := p.OutOfRange(); name != "" {
		return fault.New(fault.Invalid, "%s", why)
	}
	for _, text := range p.Stop {
		if text == "" || len(text) > longestStop {
			return fault.New(fault.Invalid, "a text in \"stop\" has 1 to %d bytes", longestStop)
		}
	}
	return nil
}

// over fills what a request for a turn leaves open with the conversation's
// settings. It is written into the log with the request, so that every worker
// makes the answer that was asked for, whatever is set later.
func over(t event.Turn, set conversation.Settings) event.Turn {
	if t.Model == "" {
		t.Model = set.Model
	}
	if t.System == nil && set.System != "" {
		t.System = &set.System
	}
	own := lm.Params{}
	if t.Params != nil {
		own = *t.Params
	}
	if p := own.Over(set.Params); !p.IsZero() {
		t.Params = &p
	}
	return t
}

// trashes reports whether an event puts its conversation into the trash.
func trashes(e event.Event) bool {
	return e.Set != nil && e.Set.Trashed != nil && *e.Set.Trashed
}

// discard deletes a conversation that has been in the trash for long enough, or
// says how long to wait. The lease of the entry that put it there stands for
// it, so that a restart and the loss of a region forget none.
func (s *Service) discard(ctx context.Context, e event.Entry) (wait time.Duration, err error) {
	l, err := s.Open(ctx, e.Conversation)
	if fault.Is(err, fault.NotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer l.Close()
	if err := l.Wait(ctx, e.Seq); err != nil {
		return 0, err
	}
	var owner string
	still := false
	l.View(func(st *conversation.State) {
		owner, still = st.By.Owner, st.Exists && !st.Deleted && st.Set.Trashed && st.Trashed == e.Seq
	})
	place := Orphan{e.Conversation, e.Seq}
	s.mu.Lock()
	since, known := s.trash[place]
	if !known {
		since = time.Now()
	}
	// By this worker's own clock: the entry's time is another one's, and what is
	// erased too early can't be taken back.
	wait = s.opts.Undo - time.Since(since)
	if still && wait > 0 {
		s.trash[place] = since
	} else {
		delete(s.trash, place)
	}
	s.mu.Unlock()
	if !still {
		return 0, nil // taken back, or deleted already
	}
	if wait > 0 {
		return wait, nil
	}
	if _, err := s.Delete(ctx, owner, e.Conversation); err != nil && !fault.Is(err, fault.NotFound) {
		return 0, err
	}
	return 0, nil
}

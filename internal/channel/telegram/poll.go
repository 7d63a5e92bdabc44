package telegram

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// polling names what one node of all does.
const polling = "poll"

// Run asks for news of the bots without a webhook, on one node of all, until
// ctx ends.
func (s *Server) Run(ctx context.Context) {
	var polled []*account
	for _, a := range s.accounts {
		if a.Secret.Empty() {
			polled = append(polled, a)
		}
	}
	if len(polled) == 0 {
		return
	}
	err := s.opts.Desk.Alone(ctx, polling, func(ctx context.Context) {
		var all sync.WaitGroup
		for _, a := range polled {
			all.Go(func() { s.poll(ctx, a) })
		}
		all.Wait()
	})
	if ctx.Err() == nil {
		s.lg.Error("nobody asks Telegram for news", "err", err)
	}
}

const (
	mostUpdates = 100 // that come at once
	sideBySide  = 16  // chats of which something is taken at once
	pollAgain   = time.Second
	mostAgain   = 30 * time.Second
)

// poll asks for what is new again and again. By naming the next update it tells
// Telegram to forget those before it, so it names none behind one that is not
// durable yet. What comes twice, because another node asks as well, is known by
// its name.
func (s *Server) poll(ctx context.Context, a *account) {
	var next int64
	again := pollAgain
	for ctx.Err() == nil {
		var raw []json.RawMessage
		in := map[string]any{"timeout": int(pollTime.Seconds()), "limit": mostUpdates, "allowed_updates": wanted()}
		if next > 0 {
			in["offset"] = next
		}
		err := s.call(ctx, a, "getUpdates", in, &raw)
		if err == nil {
			next, err = s.batch(ctx, a, next, raw)
		}
		if err == nil {
			again = pollAgain
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
		s.lg.Warn("what people write in Telegram does not come in at the moment; it is asked for again", "account", a.Name, "in", again, "err", err)
		if pause.For(ctx, max(again, fault.RetryAfterOf(err))) != nil {
			return
		}
		again = min(2*again, mostAgain)
	}
}

// batch takes updates, those of a chat in their order, and returns the first
// one that Telegram has to keep.
func (s *Server) batch(ctx context.Context, a *account, next int64, raw []json.RawMessage) (int64, error) {
	var (
		order []int64
		chats = map[int64][]update{}
		was   = next
	)
	for _, b := range raw {
		u, err := read(b)
		if err != nil {
			u.ID = number(b)
			s.opts.Desk.Observer().Refused(Name, string(fault.CodeOf(err)))
			s.lg.Warn("an update has a form that this version does not know; it is left out", "account", a.Name, "update", u.ID)
		} else {
			if chats[u.chat()] == nil {
				order = append(order, u.chat())
			}
			chats[u.chat()] = append(chats[u.chat()], u)
		}
		next = max(next, u.ID+1)
	}
	var (
		mu    sync.Mutex // guards next, first
		first error
		all   sync.WaitGroup
		room  = make(chan struct{}, sideBySide)
	)
	for _, chat := range order {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			for _, u := range chats[chat] {
				if err := s.take(ctx, a, u); err != nil {
					mu.Lock()
					defer mu.Unlock()
					next, first = min(next, u.ID), err
					return
				}
			}
		})
	}
	all.Wait()
	if len(raw) > 0 && next == was && first == nil {
		first = errUpdate // it would come again at once, for ever
	}
	return next, first
}

// number is the update_id of what can't be read otherwise; 0 = it has none.
func number(b []byte) int64 {
	var u struct {
		ID int64 `json:"update_id"`
	}
	_ = json.Unmarshal(b, &u) // 0 then
	return u.ID
}

// chat is where an update happened; 0 = nowhere.
func (u *update) chat() int64 {
	switch {
	case u.Message != nil:
		return u.Message.Chat.ID
	case u.Callback != nil && u.Callback.Message != nil:
		return u.Callback.Message.Chat.ID
	case u.Reaction != nil:
		return u.Reaction.Chat.ID
	}
	return 0
}

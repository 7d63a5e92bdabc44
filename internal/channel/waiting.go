package channel

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/chat"
)

// waiting is what this node has given back to wait for an other side. Each
// holds a place in the queue of its home until it is out, so accounts share a
// number of places, or one platform that is down would keep everybody else's
// messages from being handed out.
type waiting struct {
	mu    sync.Mutex // guards until
	until map[string]map[chat.Orphan]time.Time
	most  int // of all accounts together
}

// waitingLong is how long after its time an entry counts that did not come back
// to this node: another one has it.
const waitingLong = time.Minute

func newWaiting(most int) *waiting {
	return &waiting{until: map[string]map[chat.Orphan]time.Time{}, most: most}
}

func (w *waiting) add(account string, entry chat.Orphan, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until[account] == nil {
		w.until[account] = map[chat.Orphan]time.Time{}
	}
	w.until[account][entry] = until
}

func (w *waiting) remove(account string, entry chat.Orphan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(account, entry)
}

func (w *waiting) drop(account string, entry chat.Orphan) {
	if delete(w.until[account], entry); len(w.until[account]) == 0 {
		delete(w.until, account)
	}
}

// full returns how many wait for an account, if that is its share: as much as
// each other account's for which something waits.
func (w *waiting) full(account string, now time.Time) (n int, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = len(w.until[account])
	if n < w.share(account) {
		return n, false
	}
	for a, entries := range w.until {
		for e, until := range entries {
			if now.Sub(until) > waitingLong {
				w.drop(a, e)
			}
		}
	}
	n = len(w.until[account])
	return n, n >= w.share(account)
}

// share is at least one: the others' make room as theirs come back.
func (w *waiting) share(account string) int {
	accounts := len(w.until)
	if w.until[account] == nil {
		accounts++
	}
	return max(1, w.most/accounts)
}

package pull

import (
	"sync"
	"time"
)

// Stage is what is being done to an item.
type Stage string

// The stages, in the order in which they come; Failed is about one source and
// the next one may follow.
const (
	Waiting   Stage = "waiting"   // another process is fetching it
	Fetching  Stage = "fetching"  // bytes are coming in
	Unpacking Stage = "unpacking" // archive to files
	Verifying Stage = "verifying" // files against the catalogue's hashes
	Done      Stage = "done"      // in the cache
	Failed    Stage = "failed"    // this source did not have it; Text says why
)

// Progress is one thing to tell a person.
type Progress struct {
	ID     string // catalogue id
	Title  string // of the item
	Kind   Kind
	Stage  Stage
	Source string  // in words: a host, "npm", "pip", a path; "" while Waiting
	Done   int64   // bytes so far, of Total
	Total  int64   // bytes of this transfer; 0 if not known
	Rate   float64 // bytes a second over the last seconds; 0 if not known
	Text   string  // a sentence, for Failed only
}

// reporter passes progress on, thinned out to a few a second.
type reporter struct {
	fn  func(Progress)
	now func() time.Time

	mu    sync.Mutex // guards what follows and calls of fn
	last  Progress
	at    time.Time // when last was passed on
	marks []mark    // the last seconds of this transfer
}

type mark struct {
	at   time.Time
	done int64
}

const (
	reportEvery = 100 * time.Millisecond
	rateWindow  = 5 * time.Second
)

func newReporter(fn func(Progress), now func() time.Time) *reporter {
	return &reporter{fn: fn, now: now}
}

// stage begins a stage of an item and always reports it.
func (r *reporter) stage(it Item, s Stage, source string, total int64, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = nil
	r.pass(Progress{ID: it.ID, Title: it.Title, Kind: it.Kind, Stage: s, Source: source, Total: total, Text: text})
}

// done sets how many bytes of the stage are done.
func (r *reporter) done(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if len(r.marks) == 0 || n < r.marks[len(r.marks)-1].done {
		r.marks = []mark{{now, n}} // the first bytes may come from an earlier run
	} else if last := r.marks[len(r.marks)-1]; now.Sub(last.at) >= reportEvery {
		r.marks = append(r.marks, mark{now, n})
	}
	for len(r.marks) > 2 && now.Sub(r.marks[0].at) > rateWindow {
		r.marks = r.marks[1:]
	}
	p := r.last
	p.Done = n
	if span := now.Sub(r.marks[0].at); span >= reportEvery {
		p.Rate = float64(n-r.marks[0].done) / span.Seconds()
	}
	if now.Sub(r.at) >= reportEvery || (p.Total > 0 && n >= p.Total) {
		r.pass(p)
	}
}

func (r *reporter) pass(p Progress) {
	r.last, r.at = p, r.now()
	if r.fn != nil {
		r.fn(p)
	}
}

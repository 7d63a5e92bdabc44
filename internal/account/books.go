package account

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// The books are replicated values, usage.DAY.NODE-LIFE.PAGE: what was spent on
// one node in one life of it. Only that node writes them, every few seconds,
// always the whole page. Before that an answer stands in the node's journal, a
// file that a killed process leaves behind and the next one reads.
const (
	bookKeys    = "usage"
	journalName = "parley.usage" // in the data directory
	flushEvery  = 5 * time.Second
	pageRows    = 500     // of a page; further ones stand on the next
	mostJournal = 4 << 20 // bytes of a journal, before what is in the books is left out
	keepDays    = 800     // of the books
)

// Row is what somebody spent on a model.
type Row struct {
	Day        string `json:"day,omitempty"` // UTC, 2006-01-02
	User       string `json:"user,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
	Model      string `json:"model,omitempty"`
	Requests   int64  `json:"requests"`
	Prompt     int64  `json:"prompt_tokens"`
	Cached     int64  `json:"cached_tokens"` // of Prompt
	Completion int64  `json:"completion_tokens"`
	Money      int64  `json:"money"` // in billionths
}

// spender is who and what a row is about.
func (r Row) spender() Row { return Row{Day: r.Day, User: r.User, Tenant: r.Tenant, Model: r.Model} }

func (r Row) plus(o Row) Row {
	r.Requests += o.Requests
	r.Prompt += o.Prompt
	r.Cached += o.Cached
	r.Completion += o.Completion
	r.Money += o.Money
	return r
}

// page is a value of the books.
type page struct {
	Upto uint64 `json:"upto"` // number of the last entry of the journal that is in it
	Rows []Row  `json:"rows"`
}

// entry is a line of the journal: an answer, or the beginning of a life.
type entry struct {
	N    uint64 `json:"n,omitempty"`
	Life string `json:"life,omitempty"`
	Row
}

// life is what a process has in its journal.
type life struct {
	name    string
	entries []entry
}

// books collects what is spent on this node and writes it.
type books struct {
	values Values
	lg     *slog.Logger
	path   string // of the journal; "" = none
	life   string // this process's, after the node's name

	writing sync.Mutex // held by the one that writes pages
	former  []life     // that may not be on pages yet; only the writer's

	mu      sync.Mutex          // guards all below
	open    map[string][]*sheet // by day; only the last one is added to
	journal *os.File
	size    int64
	n       uint64 // of the last entry
	broken  bool   // the journal can't be written
}

// sheet is a page that is not done with.
type sheet struct {
	day   string
	no    int
	last  uint64      // entry that is on it
	rows  map[Row]Row // by spender
	dirty bool
}

func (s *sheet) key(life string) string {
	return strings.Join([]string{bookKeys, s.day, life, strconv.Itoa(s.no)}, ".")
}

// openBooks reads the journal that the process before this one left, and goes on
// with it.
func openBooks(values Values, lg *slog.Logger, node, path string) (*books, error) {
	b := &books{values: values, lg: lg, path: path, life: node + "-" + strings.ToLower(rand.Text()[:10]), open: map[string][]*sheet{}}
	if path == "" {
		return b, nil
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open the journal of the books: %w", err)
	}
	b.former = readJournal(old)
	if b.journal, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the journal of the books: %w", err)
	}
	b.size = int64(len(old))
	first := append(encode(entry{Life: b.life}), '\n')
	if len(old) > 0 && old[len(old)-1] != '\n' { // it was killed in the middle of a line
		first = append([]byte{'\n'}, first...)
	}
	b.write(first)
	return b, nil
}

// encode never fails: an entry is numbers and texts.
func encode(e entry) []byte {
	line, _ := json.Marshal(e)
	return line
}

// readJournal returns what a journal holds. Lines that are none of ours, such as
// half of one, are left out.
func readJournal(b []byte) (out []life) {
	for line := range bytes.Lines(b) {
		var e entry
		if json.Unmarshal(line, &e) != nil || !e.sound() {
			continue
		}
		if e.Life != "" {
			out = append(out, life{name: e.Life})
			continue
		}
		if len(out) == 0 {
			continue
		}
		if l := &out[len(out)-1]; len(l.entries) == 0 || e.N > l.entries[len(l.entries)-1].N {
			l.entries = append(l.entries, e)
		}
	}
	return out
}

// sound reports whether an entry may be one of ours: it becomes part of a key.
func (e entry) sound() bool {
	if e.Life != "" {
		return !strings.ContainsFunc(e.Life, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
	}
	_, err := time.Parse(time.DateOnly, e.Day)
	return err == nil && min(e.Requests, e.Prompt, e.Cached, e.Completion, e.Money) >= 0
}

// write adds to the journal. mu is held, or nobody else knows of the books.
func (b *books) write(lines []byte) {
	if b.journal == nil {
		return
	}
	n, err := b.journal.Write(lines)
	b.size += int64(n)
	if err != nil && !b.broken {
		b.lg.Error("the journal of the books can't be written: a kill would lose what was spent in the last seconds", "err", err)
	}
	b.broken = err != nil
}

// shorten leaves out of the journal all up to there. mu is held: it must not take
// longer than copying what was added since.
func (b *books) shorten(upto int64) error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	added, err := io.ReadAll(io.NewSectionReader(f, upto, math.MaxInt64-upto))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	rest := slices.Concat(encode(entry{Life: b.life}), []byte("\n"), added)
	_ = b.journal.Close() // not everywhere can a file be replaced that is open
	b.journal = nil
	if err = atomicfile.Write(b.path, rest, 0o600); err == nil {
		b.size = int64(len(rest))
	}
	journal, again := os.OpenFile(b.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if again != nil {
		return errors.Join(err, again)
	}
	b.journal = journal
	return err
}

// add books an answer.
func (b *books) add(now time.Time, w Who, model string, u lm.Usage, money int64) {
	row := Row{
		Day: now.UTC().Format(time.DateOnly), User: w.User, Tenant: w.Tenant, Model: model, Requests: 1,
		Prompt: int64(u.Prompt), Cached: int64(u.Cached), Completion: int64(u.Completion), Money: money,
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	b.book(row)
	b.write(append(encode(entry{N: b.n, Row: row}), '\n'))
}

// book puts a row on the day's newest sheet. mu is held.
func (b *books) book(r Row) {
	all, who := b.open[r.Day], r.spender()
	var s *sheet
	if len(all) > 0 {
		s = all[len(all)-1]
	}
	if s == nil || len(s.rows) >= pageRows && s.rows[who] == (Row{}) {
		no := 1
		if s != nil {
			no = s.no + 1
		}
		s = &sheet{day: r.Day, no: no, rows: map[Row]Row{}}
		b.open[r.Day] = append(all, s)
	}
	s.rows[who] = who.plus(s.rows[who]).plus(r)
	s.last, s.dirty = b.n, true
}

// keep writes the books until ctx ends.
func (b *books) keep(ctx context.Context) {
	var swept string
	for pause.For(ctx, flushEvery) == nil {
		if err := b.flush(ctx); err != nil {
			b.lg.Debug("the books are not written yet", "err", err)
			continue
		}
		if today := time.Now().UTC().Format(time.DateOnly); swept != today {
			swept = today
			if err := b.sweep(ctx); err != nil {
				b.lg.Debug("old books were not thrown away", "err", err)
			}
		}
	}
}

// flush writes what no page has yet.
func (b *books) flush(ctx context.Context) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	for len(b.former) > 0 {
		if err := b.inherit(ctx, b.former[0]); err != nil {
			return err
		}
		b.former = b.former[1:]
	}
	b.mu.Lock()
	upto := b.size // of the journal: until there all is on the pages
	var dirty []*sheet
	var pages []page
	for _, all := range b.open {
		for _, s := range all {
			if s.dirty {
				dirty, pages = append(dirty, s), append(pages, page{s.last, sorted(s.rows)})
				s.dirty = false
			}
		}
	}
	b.mu.Unlock()
	for i, s := range dirty { // a day's in their order: what is on one says that those before it are there
		if err := b.put(ctx, s.key(b.life), pages[i]); err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, s := range dirty[i:] {
				s.dirty = true
			}
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tidy()
	if b.journal != nil && b.size > mostJournal {
		if err := b.shorten(upto); err != nil {
			b.lg.Error("the journal of the books can't be made shorter", "err", err)
		}
	}
	return nil
}

// tidy forgets sheets that nothing is added to any more. mu is held.
func (b *books) tidy() {
	recent := time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)
	for day, all := range b.open {
		last := len(all) - 1
		kept := slices.DeleteFunc(all[:last:last], func(s *sheet) bool { return !s.dirty })
		if b.open[day] = append(kept, all[last]); day < recent && !all[last].dirty && len(kept) == 0 {
			delete(b.open, day)
		}
	}
}

// inherit books what a process before this one had in its journal and on no
// page: once, however often it is tried.
func (b *books) inherit(ctx context.Context, was life) error {
	if len(was.entries) == 0 {
		return nil
	}
	keys, err := b.values.List(ctx, bookKeys)
	if err != nil {
		return err
	}
	upto := map[string]uint64{} // by day
	for _, key := range keys {
		day, of, ok := bookOf(key)
		if !ok || of != was.name {
			continue
		}
		p, err := b.get(ctx, key)
		if err != nil {
			return err
		}
		upto[day] = max(upto[day], p.Upto)
	}
	rest := map[string]*sheet{}
	for _, e := range was.entries {
		if e.N <= upto[e.Day] {
			continue
		}
		s := rest[e.Day]
		if s == nil {
			s = &sheet{day: e.Day, rows: map[Row]Row{}}
			rest[e.Day] = s
		}
		who := e.spender()
		s.rows[who], s.last = who.plus(s.rows[who]).plus(e.Row), e.N
	}
	for _, s := range rest {
		value, err := json.Marshal(page{s.last, sorted(s.rows)})
		if err != nil {
			return err
		}
		if err := b.values.Create(ctx, s.key(was.name), value); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return nil
}

// put writes a page that is this node's alone, so the latest it has is the right
// one whatever became of the write before.
func (b *books) put(ctx context.Context, key string, p page) error {
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, rev, err := b.values.Load(ctx, key)
	switch {
	case fault.Is(err, fault.NotFound):
		return b.values.Create(ctx, key, value)
	case err != nil:
		return err
	}
	return b.values.Replace(ctx, key, value, rev)
}

func (b *books) get(ctx context.Context, key string) (p page, err error) {
	value, _, err := b.values.Load(ctx, key)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return p, fmt.Errorf("read the books at %s: %w", key, err)
	}
	return p, nil
}

func (b *books) sweep(ctx context.Context) error {
	keys, err := b.values.List(ctx, bookKeys)
	if err != nil {
		return err
	}
	oldest := time.Now().UTC().AddDate(0, 0, -keepDays).Format(time.DateOnly)
	for _, key := range keys {
		if day, _, ok := bookOf(key); ok && day < oldest {
			if err := b.values.Remove(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *books) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.journal != nil {
		_ = b.journal.Close()
		b.journal = nil
	}
}

// bookOf reads a page's key.
func bookOf(key string) (day, life string, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) != 4 || parts[0] != bookKeys {
		return "", "", false
	}
	return parts[1], parts[2], true
}

func sorted(rows map[Row]Row) []Row {
	out := make([]Row, 0, len(rows))
	for _, r := range rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Day, b.Day), strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.User, b.User), strings.Compare(a.Model, b.Model))
	})
	return out
}

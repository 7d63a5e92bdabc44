package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	mostTries = 8 // of a line that fails at an engine each time
	longWait  = 30 * time.Second
	lastWords = 2 * time.Second // to give a batch back when the node stops
)

// run is a batch in this node's hands.
type run struct {
	s    *Service
	key  string
	poke chan struct{} // holds one: somebody has changed the batch

	saving sync.Mutex // held by the one that writes to the log

	mu     sync.Mutex // guards all below
	job    job
	done   map[int]bool // lines that have a record
	counts Counts
}

// claim takes the batch if it is still as it was seen.
func (r *run) claim(ctx context.Context, rev uint64) error {
	b, err := json.Marshal(r.job)
	if err != nil {
		return err
	}
	return r.s.o.Log.Replace(ctx, r.key, b, rev)
}

// save changes the batch as everybody sees it. Fenced: it is not in this node's
// hands any more.
func (r *run) save(ctx context.Context, change func(*job)) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	mine := r.now()
	for {
		j, rev, err := load[job](ctx, r.s.o.Log, r.key)
		if fault.Is(err, fault.NotFound) || err == nil && (j.Holder != mine.Holder || j.Epoch != mine.Epoch) {
			return fault.New(fault.Fenced, "another node has the batch, or it is over")
		}
		if err != nil {
			return err
		}
		j.Beat++
		change(&j)
		b, err := json.Marshal(j)
		if err != nil {
			return err
		}
		err = r.s.o.Log.Replace(ctx, r.key, b, rev)
		if fault.Is(err, fault.Conflict) {
			continue // somebody cancels it
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.job = j
		return nil
	}
}

// release gives the batch to whoever looks next.
func (r *run) release() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := r.save(ctx, func(j *job) { j.Holder = "" }); err != nil && !fault.Is(err, fault.Fenced) {
		r.s.lg.Debug("a batch could not be given back; it is taken over when its time is over", "batch", nameOf(r.key), "err", err)
	}
}

// prod has the holder of a batch look at it, if that is this node.
func (s *Service) prod(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runs[key]; r != nil {
		call(r.poke)
	}
}

func (r *run) now() job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job
}

// counted is how far it is.
func (r *run) counted(before Counts) Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	before.Completed, before.Failed = max(before.Completed, r.counts.Completed), max(before.Failed, r.counts.Failed)
	return before
}

// beat gives signs of life and says how far it is; it ends the work when the
// batch is lost, and the asking when it is cancelled.
func (r *run) beat(ctx context.Context, lost, cancelled func()) {
	tick := time.NewTicker(r.s.o.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.poke:
		}
		err := r.save(ctx, func(j *job) { j.Counts = r.counted(j.Counts) })
		switch {
		case fault.Is(err, fault.Fenced):
			lost()
			return
		case err != nil:
			r.s.lg.Debug("a batch's sign of life", "err", err)
		case r.now().Status == Cancelling:
			cancelled()
		}
	}
}

// work brings the batch to its end, from wherever it is.
func (r *run) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	asking, stop := context.WithDeadline(ctx, time.Unix(r.job.Expires, 0))
	var beating sync.WaitGroup
	beating.Go(func() { r.beat(ctx, cancel, stop) })
	defer func() {
		stop()
		cancel()
		beating.Wait()
	}()
	if r.now().Status == Cancelling {
		stop()
	}
	if b := r.now(); b.Began == 0 {
		total, problems, err := r.s.validate(ctx, b.Batch)
		if fault.Is(err, fault.NotFound) {
			problems, err = []Problem{{Code: "file_not_found", Message: "the input file is not there any more"}}, nil
		}
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			return r.fail(ctx, problems)
		}
		err = r.save(ctx, func(j *job) {
			if j.Status == Validating {
				j.Status = InProgress
			}
			j.Began, j.Counts.Total = time.Now().Unix(), total
		})
		if err != nil {
			return err
		}
	}
	if _, err := r.tally(ctx); err != nil {
		return err
	}
	if err := r.ask(ctx, asking); err != nil {
		return err
	}
	end := r.now().End
	switch b := r.now(); {
	case end != "":
	case b.Status == Cancelling:
		end = Cancelled
	case asking.Err() != nil && !r.whole():
		end = Expired
	default:
		end = Completed
	}
	if err := r.rest(ctx, end); err != nil {
		return err
	}
	return r.finish(ctx, end, nil)
}

// whole reports whether each line has its record.
func (r *run) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.done) >= r.job.Counts.Total
}

func (r *run) has(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done[n]
}

// sums are what the records come to.
type sums struct {
	Counts
	good, bad int64 // bytes of the output and of the error file
}

// tally reads the records: what is done is what is there.
func (r *run) tally(ctx context.Context) (x sums, err error) {
	done := map[int]bool{}
	b := r.now()
	x.Total = b.Counts.Total
	err = r.s.o.Log.Records(ctx, spaceOf(b.ID), lineSet, func(name string, record []byte) error {
		if len(record) == 0 {
			return nil
		}
		n, _ := strconv.Atoi(name) // a record's name is a number
		done[n] = true
		if record[0] == good {
			x.Completed++
			x.good += int64(len(record))
		} else {
			x.Failed++
			x.bad += int64(len(record))
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done, r.counts = done, x.Counts
	return x, nil
}

// ask has every line answered that has no record, until asking ends.
func (r *run) ask(ctx, asking context.Context) error {
	b := r.now().Batch
	owner := ownerOf(r.key)
	begun := make(chan struct{}, mostDelayed)
	var under sync.WaitGroup
	defer under.Wait()
	err := r.s.lines(asking, b, func(n int, raw []byte) error {
		if r.has(n) {
			return nil
		}
		select {
		case begun <- struct{}{}:
		case <-asking.Done():
			return errEnough
		}
		if r.s.gate.enter(asking, owner, b.ID) != nil {
			return errEnough
		}
		raw = bytes.Clone(raw)
		under.Go(func() {
			defer func() { <-begun }()
			r.line(ctx, asking, b, n, raw)
		})
		return nil
	})
	if errors.Is(err, errEnough) || asking.Err() != nil {
		err = ctx.Err()
	}
	return err
}

// line has one answered and writes it down. It has a place in the gate when it
// begins.
func (r *run) line(ctx, asking context.Context, b Batch, n int, raw []byte) {
	owner := ownerOf(r.key)
	l, p := check(b.Endpoint, raw)
	if p != nil { // the file was whole and sound when it was read before
		r.s.gate.leave(owner, b.ID)
		r.put(ctx, b, n, refused(b, n, p.custom, p.Code, p.Message))
		return
	}
	if a, ok := r.s.asked(asking, r.now().Owner, owner, b.ID, b.Endpoint, l.Body); ok {
		r.put(ctx, b, n, answered(requestID(b, n), l, a))
	}
}

// asked has a request answered, again and again where that may help. The caller
// has a place in the gate, by these names; it is given back. False: ctx is over.
func (s *Service) asked(ctx context.Context, user, owner, batch, endpoint string, body []byte) (Answer, bool) {
	for tries, wait := 0, s.o.Again; ; wait = min(2*wait, longWait) {
		a := s.o.Answer(ctx, user, endpoint, body)
		s.gate.leave(owner, batch)
		if ctx.Err() != nil && (a.Status < 200 || a.Status > 299) {
			return a, false
		}
		if a.Asked && a.Status != http.StatusTooManyRequests {
			tries++
		}
		if !passing(a.Status) || tries >= mostTries {
			return a, true
		}
		if pause.For(ctx, max(wait/2+rand.N(wait/2), min(a.After, longWait))) != nil {
			return a, false
		}
		if s.gate.enter(ctx, owner, batch) != nil {
			return a, false
		}
	}
}

// passing reports whether an answer with this status may be another one later.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 499 || status == 0
}

// put writes a line's record, however long that takes.
func (r *run) put(ctx context.Context, b Batch, n int, record []byte) {
	for {
		err := r.s.o.Log.PutRecord(ctx, spaceOf(b.ID), lineSet, strconv.Itoa(n), record)
		switch {
		case err == nil:
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.done[n] {
				return
			}
			r.done[n] = true
			if record[0] == good {
				r.counts.Completed++
			} else {
				r.counts.Failed++
			}
			return
		case fault.Is(err, fault.TooLarge):
			record = refused(b, n, customOf(record), "answer_too_large", fault.MessageOf(err))
			continue
		}
		if pause.For(ctx, 500*time.Millisecond) != nil {
			return
		}
	}
}

func customOf(record []byte) string {
	var l struct {
		Custom string `json:"custom_id"`
	}
	_ = json.Unmarshal(record[1:], &l) // our own
	return l.Custom
}

// rest writes down why the lines without an answer have none.
func (r *run) rest(ctx context.Context, end Status) error {
	if r.whole() {
		return nil
	}
	b := r.now().Batch
	code, why := "batch_cancelled", "the batch was cancelled before this line was answered"
	if end == Expired {
		code, why = "batch_expired", "this line was not answered within the batch's completion_window"
	}
	places := make(chan struct{}, 32)
	var under sync.WaitGroup
	err := r.s.lines(ctx, b, func(n int, raw []byte) error {
		if r.has(n) {
			return nil
		}
		l, _ := check(b.Endpoint, raw)
		places <- struct{}{}
		under.Go(func() {
			defer func() { <-places }()
			r.put(ctx, b, n, refused(b, n, l.Custom, code, why))
		})
		return ctx.Err()
	})
	under.Wait()
	return err
}

// fail ends a batch whose input is not sound: none of its lines is asked.
func (r *run) fail(ctx context.Context, problems []Problem) error {
	b := r.now().Batch
	for _, p := range problems {
		r.put(ctx, b, p.Line, refused(b, p.Line, p.custom, p.Code, p.Message))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.finish(ctx, Failed, &Problems{Object: "list", Data: problems[:min(len(problems), shownFirst)]})
}

// finish makes the files of the records and ends the batch. All of it can be
// done twice.
func (r *run) finish(ctx context.Context, end Status, problems *Problems) error {
	err := r.save(ctx, func(j *job) {
		if end != Failed {
			j.Status = Finalizing
		}
		j.End = end
		if j.Finalizing == 0 && end != Failed {
			j.Finalizing = time.Now().Unix()
		}
	})
	if err != nil {
		return err
	}
	x, err := r.tally(ctx)
	if err != nil {
		return err
	}
	b := r.now().Batch
	if end == Failed {
		x.Counts = Counts{} // nothing was asked
	} else if x.Completed+x.Failed < x.Total {
		return fault.New(fault.Unavailable, "%d of the batch's %d lines have a result", x.Completed+x.Failed, x.Total)
	}
	now := time.Now().Unix()
	b.Status, b.Counts, b.Errors = end, x.Counts, problems
	*map[Status]*int64{Completed: &b.Completed, Failed: &b.Failed, Expired: &b.Expired, Cancelled: &b.Cancelled}[end] = now
	if b.Output, err = r.file(ctx, b, good, "output", x.good, now); err != nil {
		return err
	}
	if b.ErrorFile, err = r.file(ctx, b, bad, "error", x.bad, now); err != nil {
		return err
	}
	done := doneKeys + r.key[len(openKeys):]
	if err := create(ctx, r.s.o.Log, done, b); err != nil {
		return err
	}
	r.s.lg.Info("a batch is over", "batch", b.ID, "status", b.Status, "lines", x.Total, "completed", x.Completed, "failed", x.Failed)
	return r.s.o.Log.Remove(ctx, r.key)
}

// file names what the records come to; "" if there are none.
func (r *run) file(ctx context.Context, b Batch, kind byte, name string, size, now int64) (string, error) {
	if size == 0 {
		return "", nil
	}
	owner := ownerOf(r.key)
	f := file{
		File:  File{ID: newID(filePrefix, owner, b.ID+name), Object: "file", Bytes: size, Created: now, Name: b.ID + "_" + name + ".jsonl", Purpose: "batch_output", Status: "processed"},
		Batch: b.ID, Kind: string(kind),
	}
	return f.ID, create(ctx, r.s.o.Log, fileKeys+"."+owner+"."+f.ID, f)
}

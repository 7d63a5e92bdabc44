package worker

import "github.com/parleyhq/parley/internal/lm"

// slot is one sequence of the model's cache. It belongs to the loop.
type slot struct {
	seq     int
	toks    []int32 // what the cache holds
	canon   int     // of toks, whole chunks computed as a prompt's
	want    []int32 // what the cache should hold when there is time
	session string
	used    uint64 // tick of the last start
	job     *job
}

// choose returns an idle slot for j, or nil: the one of its session; else,
// for prompts without a session, one that holds most of the same text; else
// the one that was used least recently.
func choose(slots []*slot, j *job) *slot {
	var best, oldest *slot
	most := 0
	for _, s := range slots {
		if s.job != nil {
			continue
		}
		if j.session != "" && s.session == j.session {
			return s
		}
		if n := common(s.toks, j.feed); s.session == "" && j.session == "" && n > most && 2*n >= len(s.toks) {
			best, most = s, n
		}
		if oldest == nil || s.used < oldest.used {
			oldest = s
		}
	}
	if best != nil {
		return best
	}
	return oldest
}

func common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// start gives the slot to a job and keeps what its prompt can use.
func (s *slot) start(j *job, w *Worker) {
	s.job, j.slot = j, s
	s.session, s.used, s.want = j.session, w.tick, nil
	keep := 0
	if w.o.Reuse {
		keep = min(common(s.toks, j.feed), len(j.feed)-1)
		if !w.o.Loose {
			keep = min(keep, s.canon)
			keep -= keep % w.o.Chunk
		}
	}
	s.cut(keep, w)
	j.cached = min(len(s.toks), j.prompt)
	if text := j.show(j.pending); text != "" || j.stopped {
		w.o.Out.chunk(j.id, nil, text)
	}
	j.pending = ""
	switch {
	case j.stopped:
		w.finish(j, lm.FinishStop, nil)
	case len(j.answer) > 0 && j.full(w.o.Decoder.Window()):
		w.o.Out.chunk(j.id, nil, j.show(j.filter.Flush()))
		w.finish(j, lm.FinishLength, nil)
	}
}

// end frees the slot. A conversation's tokens that were not computed as a
// prompt's are remembered, to be computed so before the next turn asks.
func (s *slot) end(w *Worker) {
	s.job = nil
	if w.o.Loose || !w.o.Reuse || s.session == "" {
		return
	}
	if whole := len(s.toks) - len(s.toks)%w.o.Chunk; whole > s.canon {
		s.want = s.toks[:whole]
	}
}

// cut forgets the cache from position n on.
func (s *slot) cut(n int, w *Worker) {
	if n == len(s.toks) {
		return
	}
	if !w.o.Decoder.Cut(s.seq, n) {
		n = 0
		w.o.Decoder.Cut(s.seq, 0)
	}
	s.toks = s.toks[:n]
	s.canon = min(s.canon, n)
}

// settle computes, while there is nothing else to do, one chunk of what a
// conversation's next turn will need.
func (w *Worker) settle() (bool, error) {
	for _, s := range w.slots {
		if s.job != nil || s.want == nil {
			continue
		}
		want := s.want
		if len(s.toks) > s.canon {
			s.toks = append([]int32(nil), s.toks...) // want shares its memory
			s.cut(s.canon, w)
		}
		from := len(s.toks)
		if from+w.o.Chunk > len(want) {
			s.want = nil
			continue
		}
		if err := w.decodeChunk(s, want[from:from+w.o.Chunk], false, nil); err != nil {
			return false, err
		}
		return true, nil
	}
	return false, nil
}

package nlu

import (
	"math"
	"slices"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/vectors"
)

const (
	shortestGram = 2
	longestGram  = 5

	// How much of a line's length the words, the letters and the meaning
	// have.
	wordShare  = 1.0
	charShare  = 0.7
	denseShare = 1.3
	// Of a whole sentence's meaning, which knows more than its words.
	sentenceShare = 1.8
)

// space turns a text into the point that the classifier sees: TF-IDF of its
// words, word pairs and letter groups, each group brought to length 1, and
// behind them its meaning: the sum of its words' vectors, or what a sentence
// encoder makes of it. Training makes it; nothing changes it after.
type space struct {
	lex       lexicon
	idf       []float32 // by feature
	hints     hints
	words     *vectors.Table   // nil = none
	sentences *encoder.Encoder // nil = none
	dim       int              // of the meaning; 0 = none
}

// learn numbers the features that at least so many texts have.
func (p *space) learn(s *scratch, texts []string, least int32) {
	var (
		df    = map[uint32]int32{}
		last  = map[uint32]int32{}
		order []uint32 // as met, so that numbers don't depend on the map
	)
	for i, text := range texts {
		s.split(text, mostTokens)
		s.features(&p.hints)
		for _, feats := range [][]uint32{s.wordFeats, s.charFeats} {
			for _, h := range feats {
				if df[h] == 0 {
					order = append(order, h)
				} else if last[h] == int32(i) {
					continue
				}
				df[h]++
				last[h] = int32(i)
			}
		}
	}
	if least > 1 {
		order = slices.DeleteFunc(order, func(h uint32) bool { return df[h] < least })
	}
	p.lex = newLexicon(order)
	p.idf = make([]float32, len(order))
	for id, h := range order {
		p.idf[id] = float32(math.Log(float64(1+len(texts))/float64(1+df[h])) + 1)
	}
}

// lexicon numbers features by their hash.
type lexicon struct {
	keys []uint32 // 0 = empty
	ids  []int32
	list []uint32 // hashes by number
}

func newLexicon(list []uint32) lexicon {
	size := 16
	for size < 2*len(list) {
		size *= 2
	}
	l := lexicon{keys: make([]uint32, size), ids: make([]int32, size), list: list}
	for id, h := range list {
		at := h & uint32(size-1)
		for l.keys[at] != 0 {
			at = (at + 1) & uint32(size-1)
		}
		l.keys[at], l.ids[at] = h, int32(id)
	}
	return l
}

// find returns a feature's number, or -1.
func (l *lexicon) find(h uint32) int32 {
	mask := uint32(len(l.keys) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		switch l.keys[at] {
		case h:
			return l.ids[at]
		case 0:
			return -1
		}
	}
}

// Feature hashes: FNV-1a, folded to 32 bits, never 0.
const (
	fnvStart = 14695981039346656037
	fnvPrime = 1099511628211
)

func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

func hashMore(h, x uint64) uint64 { return (h ^ x) * fnvPrime }

func finish(h uint64) uint32 {
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return max(uint32(h), 1)
}

// Name spaces of features.
const (
	nsWord uint64 = iota + 1
	nsPair
	nsGram
	nsHint
)

const edge = '\x02' // before and behind a word

// features lists the hashes of the words, pairs and hints, and of the letter
// groups, of the tokens in s.
func (s *scratch) features(h *hints) {
	s.wordFeats, s.charFeats = s.wordFeats[:0], s.charFeats[:0]
	before := uint64(edge)
	for i := range s.tokens {
		w := s.word(i)
		h := hashBytes(hashMore(fnvStart, nsWord), w)
		s.wordFeats = append(s.wordFeats, finish(h))
		if s.tokens[i].kind == kindMark {
			continue
		}
		s.wordFeats = append(s.wordFeats, finish(hashMore(hashMore(before, nsPair), h)))
		before = h
		s.grams(w)
	}
	if before != edge {
		s.wordFeats = append(s.wordFeats, finish(hashMore(hashMore(before, nsPair), edge)))
	}
	h.find(s, func(_, _, list int) {
		s.wordFeats = append(s.wordFeats, finish(hashMore(hashMore(fnvStart, nsHint), uint64(list))))
	})
}

// grams lists the letter groups of a word between its edges.
func (s *scratch) grams(w []byte) {
	s.runes = append(s.runes[:0], edge)
	for len(w) > 0 && len(s.runes) < longestWord {
		r, n := utf8.DecodeRune(w)
		s.runes = append(s.runes, r)
		w = w[n:]
	}
	s.runes = append(s.runes, edge)
	for i := range s.runes {
		h := hashMore(fnvStart, nsGram)
		for j, r := range s.runes[i:min(i+longestGram, len(s.runes))] {
			h = hashMore(h, uint64(r))
			if j+1 >= shortestGram {
				s.charFeats = append(s.charFeats, finish(h))
			}
		}
	}
}

// longestWord is where the letter groups of a word end; what is longer is no
// word.
const longestWord = 48

// project puts the tokens in s into the space: s.idx, s.val and s.dense.
func (p *space) project(s *scratch) {
	p.surface(s)
	p.meaning(s)
}

// surface sets s.idx, s.val and s.heard.
func (p *space) surface(s *scratch) {
	s.features(&p.hints)
	s.idx, s.val = s.idx[:0], s.val[:0]
	p.weigh(s, s.wordFeats, wordShare)
	words := len(s.idx)
	p.weigh(s, s.charFeats, charShare)
	s.heard = len(s.idx) > words
}

// weigh appends a group of features with sublinear TF-IDF at length share.
func (p *space) weigh(s *scratch, hashes []uint32, share float64) {
	first := len(s.idx)
	if len(s.count) < len(p.idf) {
		s.count = make([]uint16, len(p.idf))
	}
	for _, h := range hashes {
		id := p.lex.find(h)
		if id < 0 {
			continue
		}
		if s.count[id] == 0 {
			s.idx = append(s.idx, id)
		}
		if s.count[id] < math.MaxUint16 {
			s.count[id]++
		}
	}
	var sum float64
	for _, id := range s.idx[first:] {
		v := p.idf[id]
		if n := s.count[id]; n > 1 {
			v *= 1 + float32(math.Log(float64(n)))
		}
		s.count[id] = 0
		s.val = append(s.val, v)
		sum += float64(v) * float64(v)
	}
	scale(s.val[first:], share, sum)
}

// meaning sets s.dense.
func (p *space) meaning(s *scratch) {
	s.dense = slices.Grow(s.dense[:0], p.dim)[:p.dim]
	clear(s.dense)
	share := denseShare
	switch {
	case p.dim == 0 || len(s.tokens) == 0:
		return
	case p.sentences != nil:
		s.text = s.text[:0]
		for i := range s.tokens {
			s.text = append(append(s.text, s.word(i)...), ' ')
		}
		p.sentences.Encode(s.dense, s.text)
		share = sentenceShare
	default:
		for i := range s.tokens {
			if s.tokens[i].kind != kindMark {
				p.words.Add(s.dense, s.word(i))
			}
		}
	}
	var sum float64
	for _, v := range s.dense {
		sum += float64(v) * float64(v)
	}
	scale(s.dense, share, sum)
}

// scale brings values whose squares add up to sum to the length share.
func scale(val []float32, share, sum float64) {
	if sum == 0 {
		return
	}
	f := float32(share / math.Sqrt(sum))
	for i := range val {
		val[i] *= f
	}
}

package nlu

import "slices"

// shortestTypo is the shortest word that may be a misspelt one.
const shortestTypo = 4

// correct replaces words that nobody knows by a known one that is one slip
// away: a letter too many, too few, wrong, or swapped with its neighbour. Words
// of the training lines come first, the more frequent before the others, then
// those of the hints and of the vectors. A word that one of them has is never
// changed.
func (p *space) correct(s *scratch) {
	for i := range s.tokens {
		w := s.word(i)
		if s.tokens[i].kind != kindWord || len(w) < shortestTypo || len(w) > longestWord || p.knows(w) {
			continue
		}
		if p.nearest(s, w) {
			t := &s.tokens[i]
			t.from = int32(len(s.norm))
			s.norm = append(s.norm, s.best...)
			t.to = int32(len(s.norm))
		}
	}
}

func (p *space) knows(w []byte) bool {
	h := wordHash(w)
	return p.lex.find(h) >= 0 || p.hints.knows(h) || p.words != nil && p.words.Has(w)
}

func wordHash(w []byte) uint32 { return finish(hashBytes(hashMore(fnvStart, nsWord), w)) }

// nearest sets s.best to the best word that is one slip from w.
func (p *space) nearest(s *scratch, w []byte) bool {
	found := false
	var bestRank float32
	take := func(c []byte, rank float32) {
		if !found || rank < bestRank {
			found, bestRank = true, rank
			s.best = append(s.best[:0], c...)
		}
	}
	try := func(c []byte) {
		h := wordHash(c)
		if id := p.lex.find(h); id >= 0 {
			take(c, p.idf[id])
		} else if p.hints.knows(h) {
			take(c, 99)
		} else if p.words != nil {
			if weight := p.words.Weight(c); weight > 0 {
				take(c, 100+weight)
			}
		}
	}
	c := append(s.typo[:0], w...)
	for i := range len(w) - 1 { // swapped
		if c[i] != c[i+1] {
			c[i], c[i+1] = c[i+1], c[i]
			try(c)
			c[i], c[i+1] = c[i+1], c[i]
		}
	}
	for i := range w { // wrong
		for l := byte('a'); l <= 'z'; l++ {
			if l != w[i] {
				c[i] = l
				try(c)
			}
		}
		c[i] = w[i]
	}
	c = append(c[:0], w[1:]...) // one too many
	for i := range w {
		if i > 0 {
			c[i-1] = w[i-1]
		}
		if i == 0 || w[i] != w[i-1] {
			try(c)
		}
	}
	c = slices.Insert(append(c[:0], w...), 0, 'a') // one too few
	for i := range len(w) + 1 {
		if i > 0 {
			c[i-1] = w[i-1]
		}
		for l := byte('a'); l <= 'z'; l++ {
			c[i] = l
			try(c)
		}
	}
	s.typo = c
	return found
}

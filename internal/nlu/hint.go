package nlu

const (
	mostHints   = 5000
	mostPhrases = 1 << 20
)

// hints are lists of words and phrases that mean or do the same, as a text is
// looked through for them: by the hash of a phrase the lists that have it. The
// words in phrases stand there too, without a list of their own, so that they
// are known for words.
type hints struct {
	lists int
	lex   lexicon
	start []uint32 // of a phrase's lists in of; one more than phrases
	of    []uint16
}

// newHints prepares lists. Phrases of more than mostName words are left out.
func newHints(s *scratch, all [][]string) hints {
	h := hints{lists: len(all)}
	if h.lists == 0 {
		return h
	}
	var order []uint32
	have := map[uint32][]uint16{}
	put := func(hash uint32) {
		if _, ok := have[hash]; !ok {
			order, have[hash] = append(order, hash), nil
		}
	}
	for list, phrases := range all {
		for _, phrase := range phrases {
			s.split(phrase, mostName+1)
			if n := len(s.tokens); n == 0 || n > mostName {
				continue
			}
			for i := range s.tokens {
				put(wordHash(s.word(i)))
			}
			whole := s.hashOf(0, len(s.tokens)-1)
			put(whole)
			if of := have[whole]; len(of) == 0 || of[len(of)-1] != uint16(list) {
				have[whole] = append(of, uint16(list))
			}
		}
	}
	h.lex, h.start = newLexicon(order), make([]uint32, 1, len(order)+1)
	for _, hash := range order {
		h.of = append(h.of, have[hash]...)
		h.start = append(h.start, uint32(len(h.of)))
	}
	return h
}

// knows says whether a word stands in a phrase.
func (h *hints) knows(word uint32) bool { return h.lists > 0 && h.lex.find(word) >= 0 }

// find calls each for every phrase in the tokens of s: from token i to token j
// it is one of a list.
func (h *hints) find(s *scratch, each func(i, j, list int)) {
	if h.lists == 0 {
		return
	}
	for i := range s.tokens {
		hash := uint64(fnvStart)
		for j := i; j < min(i+mostName, len(s.tokens)); j++ {
			hash = nameHash(hash, s.word(j))
			if id := h.lex.find(finish(hash)); id >= 0 {
				for _, list := range h.of[h.start[id]:h.start[id+1]] {
					each(i, j, int(list))
				}
			}
		}
	}
}

func (h *hints) encode(b []byte) []byte {
	b = append(b, byte(h.lists), byte(h.lists>>8))
	if h.lists == 0 {
		return b
	}
	b = appendHashes(b, h.lex.list)
	b = appendCounts(b, h.start)
	return appendShorts(b, h.of)
}

func (h *hints) decode(c *cursor) {
	n := c.take(2)
	if n == nil {
		return
	}
	if h.lists = int(n[0]) | int(n[1])<<8; h.lists == 0 {
		return
	}
	h.lex = newLexicon(c.hashes())
	h.start = c.counts(len(h.lex.list))
	h.of = c.shorts(h.lists)
	if c.err == nil && int(h.start[len(h.start)-1]) != len(h.of) {
		c.fail("its lists of phrases don't fit together")
	}
}

package nlu

import (
	"slices"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// A tag says how a token stands to an entity: outside, at the beginning of one
// of type t, or inside it.
const outside = 0

func beginTag(typ int) int  { return 1 + 2*typ }
func insideTag(typ int) int { return 2 + 2*typ }
func isInside(tag int) bool { return tag > 0 && tag%2 == 0 }
func typeOf(tag int) int    { return (tag - 1) / 2 }

// tagger is a conditional random field over the tokens of a text. Which tags
// it may give depends on the intent: those that its training lines have.
type tagger struct {
	types     []string
	allowed   [][]uint16 // by intent: types, sorted
	names     lexicon    // values met in training, by hash
	nameStart []uint32
	nameTypes []uint16
	lex       lexicon // features
	// Weights of a feature: for the tags in tag[start[f]:start[f+1]],
	// weight × scale[f].
	start  []uint32
	tag    []uint16
	weight []int8
	scale  []float32
	follow []float32 // tags × tags: the weight of the second after the first
}

func (t *tagger) tags() int { return 1 + 2*len(t.types) }

// tagScratch is the memory of one labelling.
type tagScratch struct {
	words   []uint64 // by token: hash of its word
	classes [][2]uint64
	names   [][]uint64 // by token: the names it is part of
	feats   []uint32   // of one token
	emit    []float32  // of one token, by tag
	tags    []int      // that may be given
	types   []int
	lat     lattice
	grad    []float32
}

// Name spaces of the labeller's features.
const (
	nsBias uint64 = 64 + iota
	nsIntent
	nsHere
	nsLeft1
	nsLeft2
	nsRight1
	nsRight2
	nsLeftHere
	nsHereRight
	nsAround
	nsHereIntent
	nsLeftIntent
	nsRightIntent
	nsPrefix
	nsSuffix
	nsShape
	nsShapes
	nsPlace
	nsCoarse
	nsFine
	nsFineLeft
	nsFineRight
	nsName
	nsNameIntent
	nsNameLeft
	nsNameRight
	nsNewWord
	nsLeftFar
)

const (
	nowhere  = 7 // stands for the word before the first and after the last
	mostName = 6 // tokens of a value that is kept as a name
)

// hinted is added to what a token is part of where a hint says so.
const hinted = 1 << 32

// look prepares what the features of all tokens need. spared says which names
// not to see: in training those that only the line itself knows.
func (t *tagger) look(s *scratch, sp *space, spared func(i, j, typ int) bool) {
	g, n := &s.tag, len(s.tokens)
	g.words = slices.Grow(g.words[:0], n)[:n]
	g.classes = slices.Grow(g.classes[:0], n)[:n]
	for len(g.names) < n {
		g.names = append(g.names, nil)
	}
	for i := range s.tokens {
		w := s.word(i)
		g.words[i] = hashBytes(fnvStart, w)
		if s.tokens[i].kind == kindNumber {
			g.words[i] = hashMore(hashMore(fnvStart, '0'), uint64(len(w)))
		}
		g.classes[i] = [2]uint64{}
		if sp.words != nil {
			c := sp.words.Classes(w)
			g.classes[i] = [2]uint64{uint64(c.Coarse), uint64(c.Fine)}
		}
		g.names[i] = g.names[i][:0]
	}
	for i := range s.tokens {
		h := uint64(fnvStart)
		for j := i; j < min(i+mostName, n); j++ {
			h = nameHash(h, s.word(j))
			id := t.names.find(finish(h))
			if id < 0 {
				continue
			}
			for _, typ := range t.nameTypes[t.nameStart[id]:t.nameStart[id+1]] {
				if spared != nil && spared(i, j, int(typ)) {
					continue
				}
				g.part(i, j, uint64(typ))
			}
		}
	}
	sp.hints.find(s, func(i, j, list int) { g.part(i, j, hinted|uint64(list)) })
}

// part notes that tokens i to j are a name of some kind.
func (g *tagScratch) part(i, j int, kind uint64) {
	for k := i; k <= j; k++ {
		place := kind<<2 | uint64(btoi(k > i))<<1 | uint64(btoi(k == j))
		if !slices.Contains(g.names[k], place) {
			g.names[k] = append(g.names[k], place)
		}
	}
}

func nameHash(h uint64, word []byte) uint64 { return hashBytes(hashMore(h, ' '), word) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// features lists the features of token i, given the intent.
func (g *tagScratch) features(s *scratch, i, intent int) []uint32 {
	f := g.feats[:0]
	put := func(ns, a, b uint64) { f = append(f, finish(hashMore(hashMore(hashMore(fnvStart, ns), a), b))) }
	at := func(k int) uint64 {
		if k < 0 || k >= len(s.tokens) {
			return nowhere
		}
		return g.words[k]
	}
	class := func(k int) [2]uint64 {
		if k < 0 || k >= len(s.tokens) {
			return [2]uint64{}
		}
		return g.classes[k]
	}
	in, here, left, right := uint64(intent), at(i), at(i-1), at(i+1)
	put(nsBias, 0, 0)
	put(nsIntent, in, 0)
	put(nsHere, here, 0)
	put(nsLeft1, left, 0)
	put(nsLeft2, at(i-2), 0)
	put(nsRight1, right, 0)
	put(nsRight2, at(i+2), 0)
	put(nsLeftHere, left, here)
	put(nsHereRight, here, right)
	put(nsAround, left, right)
	put(nsLeftFar, at(i-2), left)
	put(nsHereIntent, here, in)
	put(nsLeftIntent, left, in)
	put(nsRightIntent, right, in)
	w := s.word(i)
	for _, n := range [...]int{2, 3, 4} {
		if len(w) > n {
			put(nsPrefix, hashBytes(fnvStart, w[:n]), 0)
			put(nsSuffix, hashBytes(fnvStart, w[len(w)-n:]), 0)
		}
	}
	shape := func(k int) uint64 {
		if k < 0 || k >= len(s.tokens) {
			return nowhere
		}
		t := &s.tokens[k]
		return uint64(t.kind)<<4 | uint64(t.upper)<<1 | uint64(btoi(g.classes[k][0] == 0))
	}
	put(nsShape, shape(i), in)
	put(nsShapes, shape(i-1)<<8|shape(i), shape(i+1))
	put(nsPlace, uint64(btoi(i == 0)<<1|btoi(i == len(s.tokens)-1)), in)
	if c := class(i); c[0] > 0 {
		put(nsCoarse, c[0], in)
		put(nsFine, c[1], 0)
		put(nsFineLeft, class(i - 1)[1], c[1])
	}
	if c := class(i - 1); c[0] > 0 {
		put(nsFineLeft, c[1], 0)
	}
	if c := class(i + 1); c[0] > 0 {
		put(nsFineRight, c[1], 0)
	}
	for _, n := range g.names[i] {
		put(nsName, n, 0)
		put(nsNameIntent, n, in)
	}
	if i > 0 {
		for _, n := range g.names[i-1] {
			put(nsNameLeft, n, 0)
		}
	}
	if i+1 < len(s.tokens) {
		for _, n := range g.names[i+1] {
			put(nsNameRight, n, 0)
		}
	}
	g.feats = f
	return f
}

// mayGive sets the tags and types that may be given to a text of the intents.
func (t *tagger) mayGive(g *tagScratch, intents ...int) {
	g.types = g.types[:0]
	for _, i := range intents {
		for _, typ := range t.allowed[i] {
			if !slices.Contains(g.types, int(typ)) {
				g.types = append(g.types, int(typ))
			}
		}
	}
	g.tags = append(g.tags[:0], outside)
	for _, typ := range g.types {
		g.tags = append(g.tags, beginTag(typ), insideTag(typ))
	}
}

// findEntities labels the tokens in s, given u's intents, and sets u.Entities.
func (m *Model) findEntities(s *scratch, u *Understanding) {
	u.Entities = u.Entities[:0]
	t, g := &m.tags, &s.tag
	first, second := s.leaders(m.none)
	if len(t.types) == 0 || len(s.tokens) == 0 || first < 0 {
		return
	}
	if u.Intent == corpus.None && m.none >= 0 {
		first, second = m.none, -1
	}
	if second >= 0 && u.Intents[1].Score > likely*u.Intents[0].Score {
		t.mayGive(g, first, second)
	} else {
		t.mayGive(g, first)
	}
	if len(g.types) == 0 {
		return
	}
	t.look(s, &m.space, nil)
	n, all, c := len(s.tokens), t.tags(), len(g.tags)
	l := &g.lat
	l.reset(n, c)
	g.emit = slices.Grow(g.emit[:0], all)[:all]
	for i := range n {
		clear(g.emit)
		for _, h := range g.features(s, i, first) {
			id := t.lex.find(h)
			if id < 0 {
				continue
			}
			from, to := t.start[id], t.start[id+1]
			by, tag := t.scale[id], t.tag[from:to]
			for k, w := range t.weight[from:to] {
				g.emit[tag[k]] += by * float32(w)
			}
		}
		for k, tag := range g.tags {
			l.emit[i*c+k] = float64(g.emit[tag])
		}
	}
	for a, from := range g.tags {
		for b, to := range g.tags {
			l.follow[a*c+b] = float64(t.follow[from*all+to])
		}
	}
	l.forbid(g.tags)
	l.best()
	l.sums()
	for i := 0; i < n; {
		k := l.path[i]
		if g.tags[k] == outside {
			i++
			continue
		}
		end, score := i+1, l.chance(i, k)
		for end < n && isInside(g.tags[l.path[end]]) {
			score = min(score, l.chance(end, l.path[end]))
			end++
		}
		u.Entities = append(u.Entities, Entity{
			Start: int(s.tokens[i].start), End: int(s.tokens[end-1].end),
			Type: t.types[typeOf(g.tags[k])], Score: score,
		})
		i = end
	}
}

// likely is how near the second intent must be for its entities to be looked
// for as well.
const likely = 0.3

// leaders returns the two intents with the best scores, -1 for none.
func (s *scratch) leaders(none int) (first, second int) {
	first, second = -1, -1
	for i, v := range s.scores {
		switch {
		case i == none:
		case first < 0 || v > s.scores[first]:
			first, second = i, first
		case second < 0 || v > s.scores[second]:
			second = i
		}
	}
	return first, second
}

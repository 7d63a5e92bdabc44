package nlu

import (
	"context"
	"errors"
	"math"
	"slices"
)

// The labeller's settings, chosen like those of the classifier.
const (
	tagEpochs  = 8
	tagRate    = 0.1
	tagRidge   = 0.001
	mostTagRow = 64 << 20 // weights during training
)

// tagLine is a training line as the labeller sees it.
type tagLine struct {
	intent int
	feats  []int32 // numbers of features, of one token after another
	ends   []int32 // by token: where its features end
	gold   []int   // by token: its tag
}

// field is the labeller while it learns: dense rows of weights.
type field struct {
	all    int       // tags
	w, sq  []float32 // features × tags: weights, and sums of squared gradients
	follow []float32 // tags × tags
	fsq    []float32
}

// learnTags trains the labeller on the lines whose intent has entities.
func (t *trainer) learnTags(ctx context.Context) error {
	tg := &t.m.tags
	tg.types = t.set.types
	tg.allowed = make([][]uint16, len(t.set.intents))
	for _, l := range t.set.lines {
		for _, sp := range l.spans {
			if a := &tg.allowed[l.intent]; !slices.Contains(*a, uint16(sp.typ)) {
				*a = append(*a, uint16(sp.typ))
			}
		}
	}
	for _, a := range tg.allowed {
		slices.Sort(a)
	}
	if len(tg.types) == 0 {
		return nil
	}
	lines := t.tagLines()
	f := &field{all: tg.tags()}
	f.w = make([]float32, len(tg.lex.list)*f.all)
	f.sq = make([]float32, len(f.w))
	f.follow = make([]float32, f.all*f.all)
	f.fsq = make([]float32, len(f.follow))
	rng, g := t.rand(3), new(tagScratch)
	for range tagEpochs {
		rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		for i := range lines {
			if i%256 == 0 && ctx.Err() != nil {
				return errors.Join(errors.New("train: stopped before the end"), ctx.Err())
			}
			tg.mayGive(g, lines[i].intent)
			f.learn(&lines[i], g)
		}
		t.step("entities", tagEpochs)
	}
	tg.keep(f)
	return nil
}

// tagLines numbers the features of all lines, and the names in them.
func (t *trainer) tagLines() []tagLine {
	tg, s := &t.m.tags, new(scratch)
	known := t.names(s)
	var (
		out    []tagLine
		raw    [][]uint32
		counts = map[uint32]int32{}
		order  []uint32
	)
	for i := range t.set.lines {
		l := &t.set.lines[i]
		if len(tg.allowed[l.intent]) == 0 {
			continue
		}
		s.split(l.text, mostTokens)
		if len(s.tokens) == 0 {
			continue
		}
		gold := l.gold(s.tokens)
		// A value that only this line has is none that it could know from
		// elsewhere.
		tg.look(s, &t.m.space, func(i, j, typ int) bool {
			n := known[nameKey{s.hashOf(i, j), typ}]
			if gold[i] == beginTag(typ) && endOf(gold, i) == j+1 {
				n--
			}
			return n <= 0
		})
		line := tagLine{intent: l.intent, gold: gold}
		var hashes []uint32
		for k := range s.tokens {
			hashes = append(hashes, s.tag.features(s, k, l.intent)...)
			line.ends = append(line.ends, int32(len(hashes)))
		}
		for _, h := range hashes {
			if counts[h]++; counts[h] == 1 {
				order = append(order, h)
			}
		}
		out, raw = append(out, line), append(raw, hashes)
	}
	// Rare features go first where there are too many.
	for least := int32(2); len(order)*tg.tags() > mostTagRow; least++ {
		order = slices.DeleteFunc(order, func(h uint32) bool { return counts[h] < least })
	}
	tg.lex = newLexicon(order)
	for i := range out {
		kept, at := out[i].feats, 0
		for k, end := range out[i].ends {
			for ; at < int(end); at++ {
				if id := tg.lex.find(raw[i][at]); id >= 0 {
					kept = append(kept, id)
				}
			}
			out[i].ends[k] = int32(len(kept))
		}
		out[i].feats = kept
	}
	return out
}

type nameKey struct {
	hash uint32
	typ  int
}

// names collects the values of the training lines and counts them.
func (t *trainer) names(s *scratch) map[nameKey]int {
	tg, known := &t.m.tags, map[nameKey]int{}
	types := map[uint32][]uint16{}
	var order []uint32
	for i := range t.set.lines {
		l := &t.set.lines[i]
		if len(l.spans) == 0 {
			continue
		}
		s.split(l.text, mostTokens)
		gold := l.gold(s.tokens)
		for i, tag := range gold {
			end := endOf(gold, i)
			if tag == outside || isInside(tag) || end-i > mostName {
				continue
			}
			h, typ := s.hashOf(i, end-1), typeOf(tag)
			if types[h] == nil {
				order = append(order, h)
			}
			if known[nameKey{h, typ}]++; known[nameKey{h, typ}] == 1 {
				types[h] = append(types[h], uint16(typ))
			}
		}
	}
	tg.names = newLexicon(order)
	tg.nameStart = []uint32{0}
	for _, h := range order {
		tg.nameTypes = append(tg.nameTypes, types[h]...)
		tg.nameStart = append(tg.nameStart, uint32(len(tg.nameTypes)))
	}
	return known
}

// hashOf is the hash of tokens i to j as a name.
func (s *scratch) hashOf(i, j int) uint32 {
	h := uint64(fnvStart)
	for k := i; k <= j; k++ {
		h = nameHash(h, s.word(k))
	}
	return finish(h)
}

// gold returns the tokens' tags. A token that a mark cuts belongs to it.
func (l *line) gold(tokens []token) []int {
	out := make([]int, len(tokens))
	for _, sp := range l.spans {
		tag := beginTag(sp.typ)
		for i, t := range tokens {
			if int(t.start) < sp.end && sp.start < int(t.end) {
				out[i] = tag
				tag = insideTag(sp.typ)
			}
		}
	}
	// Two marks in one token leave the second's end without a beginning.
	for i, tag := range out {
		if isInside(tag) && (i == 0 || out[i-1] == outside || typeOf(out[i-1]) != typeOf(tag)) {
			out[i] = beginTag(typeOf(tag))
		}
	}
	return out
}

// endOf is where the entity that begins at token i ends.
func endOf(gold []int, i int) int {
	end := i + 1
	for end < len(gold) && isInside(gold[end]) {
		end++
	}
	return end
}

// learn goes one step up the likelihood of a line (AdaGrad).
func (f *field) learn(line *tagLine, g *tagScratch) {
	l, c, n := &g.lat, len(g.tags), len(line.gold)
	l.reset(n, c)
	clear(l.emit)
	g.grad = slices.Grow(g.grad[:0], c)[:c]
	at := 0
	for i, end := range line.ends {
		row := l.emit[i*c : (i+1)*c]
		for ; at < int(end); at++ {
			w := f.w[int(line.feats[at])*f.all:][:f.all]
			for k, tag := range g.tags {
				row[k] += float64(w[tag])
			}
		}
	}
	for a, from := range g.tags {
		for b, to := range g.tags {
			l.follow[a*c+b] = float64(f.follow[from*f.all+to])
		}
	}
	l.forbid(g.tags)
	l.sums()

	at = 0
	for i, end := range line.ends {
		for k, tag := range g.tags {
			g.grad[k] = float32(l.chance(i, k)) - float32(btoi(line.gold[i] == tag))
		}
		for ; at < int(end); at++ {
			base := int(line.feats[at]) * f.all
			for k, tag := range g.tags {
				step(&f.w[base+tag], &f.sq[base+tag], g.grad[k])
			}
		}
	}
	for a, from := range g.tags {
		for b, to := range g.tags {
			if math.IsInf(l.follow[a*c+b], -1) {
				continue
			}
			sum := 0.0
			for i := range n - 1 {
				sum += l.chanceOf(i, a, b) - float64(btoi(line.gold[i] == from && line.gold[i+1] == to))
			}
			step(&f.follow[from*f.all+to], &f.fsq[from*f.all+to], float32(sum))
		}
	}
}

// step moves a weight against its gradient, the less the more it has moved.
func step(w, sq *float32, grad float32) {
	if grad > -1e-4 && grad < 1e-4 {
		return
	}
	grad += tagRidge * *w
	*sq += grad * grad
	*w -= tagRate * grad / float32(math.Sqrt(float64(*sq)+1e-2))
}

// keep takes over the weights, as signed bytes with a scale for each feature.
// Those that would be 0 are left out, and so are features without any other.
func (t *tagger) keep(f *field) {
	var list []uint32
	t.follow, t.start = f.follow, []uint32{0}
	for id, h := range t.lex.list {
		row := f.w[id*f.all : (id+1)*f.all]
		var top float32
		for _, w := range row {
			top = max(top, w, -w)
		}
		if top < 0.01 {
			continue
		}
		unit := top / 127
		for tag, w := range row {
			if q := int8(math.Round(float64(w / unit))); q != 0 {
				t.tag, t.weight = append(t.tag, uint16(tag)), append(t.weight, q)
			}
		}
		list, t.scale, t.start = append(list, h), append(t.scale, unit), append(t.start, uint32(len(t.tag)))
	}
	t.lex = newLexicon(list)
}

package nlu

import (
	"cmp"
	"slices"

	"github.com/parleyhq/parley/internal/nlu/vectors"
)

// Group is texts that say much the same, by their places in the list. The first
// is the one that the others are like.
type Group struct {
	Texts []int
}

// MostGrouped bounds the texts that Groups compares: each with each.
const MostGrouped = 4000

// alike is how near two texts of a group are, as the cosine of their points.
// It was chosen by hand, looking at groups.
const alike = 0.5

// Groups sorts texts by likeness, the largest group first. It takes the text
// that most of the others are like, with those, and goes on with the rest: so
// everything in a group is like its first text, and the same texts make the
// same groups. plain leaves out the English word vectors. Of more than
// MostGrouped texts it looks at the first ones.
func Groups(texts []string, plain bool) ([]Group, error) {
	texts = texts[:min(len(texts), MostGrouped)]
	var sp space
	if !plain {
		table, err := vectors.English()
		if err != nil {
			return nil, err
		}
		sp.words, sp.dim = table, table.Dim()
	}
	near := sp.neighbours(texts)
	var out []Group
	taken := make([]bool, len(texts))
	free := make([]int, len(texts)) // neighbours that no group has
	for i, n := range near {
		free[i] = len(n)
	}
	for range texts {
		center := -1
		for i := range texts {
			if !taken[i] && (center < 0 || free[i] > free[center]) {
				center = i
			}
		}
		if center < 0 {
			break
		}
		g := Group{Texts: []int{center}}
		for _, j := range near[center] {
			if !taken[j] {
				g.Texts = append(g.Texts, j)
			}
		}
		for _, i := range g.Texts {
			taken[i] = true
			for _, j := range near[i] {
				free[j]--
			}
		}
		out = append(out, g)
	}
	slices.SortStableFunc(out, func(a, b Group) int { return cmp.Compare(len(b.Texts), len(a.Texts)) })
	return out, nil
}

// neighbours lists for each text the others that are alike, the nearest first.
func (p *space) neighbours(texts []string) [][]int {
	s := new(scratch)
	p.learn(s, texts, 1)
	type entry struct {
		text int32
		val  float32
	}
	type neighbour struct {
		text int
		near float32
	}
	var (
		have  = make([][]entry, len(p.idf)) // by feature: the texts before that have it
		dense = make([]float32, 0, len(texts)*p.dim)
		sum   = make([]float32, len(texts))
		found = make([][]neighbour, len(texts))
	)
	for i, text := range texts {
		s.split(text, mostTokens)
		p.project(s)
		square := dot(s.val, s.val) + dot(s.dense, s.dense)
		scale(s.val, 1, float64(square))
		scale(s.dense, 1, float64(square))
		clear(sum[:i])
		for k, f := range s.idx {
			for _, e := range have[f] {
				sum[e.text] += s.val[k] * e.val
			}
			have[f] = append(have[f], entry{int32(i), s.val[k]})
		}
		for j := range i {
			near := sum[j] + dot(s.dense, dense[j*p.dim:(j+1)*p.dim])
			if near >= alike {
				found[i] = append(found[i], neighbour{j, near})
				found[j] = append(found[j], neighbour{i, near})
			}
		}
		dense = append(dense, s.dense...)
	}
	out := make([][]int, len(texts))
	for i, ns := range found {
		slices.SortFunc(ns, func(a, b neighbour) int { return cmp.Or(cmp.Compare(b.near, a.near), a.text-b.text) })
		for _, n := range ns {
			out[i] = append(out[i], n.text)
		}
	}
	return out
}

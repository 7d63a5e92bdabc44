package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// set is a published set and how it is cut.
type set struct {
	name string
	// test returns what is trained and measured with the published split,
	// dev what stands in for it while choices are made.
	test, dev func(dir string) ([]part, error)
}

func (s *set) parts(dir string, dev bool) ([]part, error) {
	if dev {
		return s.dev(dir)
	}
	return s.test(dir)
}

func sets() []set {
	return []set{
		{"chatbot", whole("chatbot.jsonl"), crossed("chatbot.jsonl")},
		{"askubuntu", whole("askubuntu.jsonl"), crossed("askubuntu.jsonl")},
		{"hwu64", whole("hwu64.jsonl"), between("hwu64.jsonl")},
		{"clinc150", published("clinc150.jsonl"), between("clinc150.jsonl")},
		{"saas10", whole("fewshot/hwu64_saas10.jsonl"), rest("fewshot/hwu64_saas10.jsonl", "hwu64.jsonl")},
		{"saas30", whole("fewshot/hwu64_saas30.jsonl"), rest("fewshot/hwu64_saas30.jsonl", "hwu64.jsonl")},
		{"hwu64-5", few("fewshot/hwu64_5shot_train.jsonl", "hwu64.jsonl", corpus.Test), few("fewshot/hwu64_5shot_train.jsonl", "hwu64.jsonl", corpus.Dev)},
		{"hwu64-10", few("fewshot/hwu64_10shot_train.jsonl", "hwu64.jsonl", corpus.Test), few("fewshot/hwu64_10shot_train.jsonl", "hwu64.jsonl", corpus.Dev)},
		{"clinc150-10", few("fewshot/clinc150_10shot_train.jsonl", "clinc150.jsonl", corpus.Test), few("fewshot/clinc150_10shot_train.jsonl", "clinc150.jsonl", corpus.Dev)},
		{"small", small("clinc150.jsonl", 0, corpus.Test), small("clinc150.jsonl", 0, corpus.Dev)},
		{"small+None", small("clinc150.jsonl", 8, corpus.Test), small("clinc150.jsonl", 8, corpus.Dev)},
		{"snips7", whole("snips7.jsonl"), crossed("snips7.jsonl")},
		{"snips7-70", draws(false), draws(true)},
	}
}

// whole trains on all lines that are not for testing.
func whole(file string) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		all, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		return []part{{append(of(all, corpus.Train), of(all, corpus.Dev)...), of(all, corpus.Test)}}, nil
	}
}

// published leaves the dev lines out, as the published runs did.
func published(file string) func(string) ([]part, error) { return split(file, corpus.Test) }

func between(file string) func(string) ([]part, error) { return split(file, corpus.Dev) }

func split(file string, on corpus.Split) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		all, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		return []part{{of(all, corpus.Train), of(all, on)}}, nil
	}
}

// crossed is five folds over the training lines.
func crossed(file string) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		all, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		lines := shuffled(of(all, corpus.Train), 1)
		const folds = 5
		parts := make([]part, folds)
		for i, l := range lines {
			for f := range parts {
				if i%folds == f {
					parts[f].test = append(parts[f].test, l)
				} else {
					parts[f].train = append(parts[f].train, l)
				}
			}
		}
		return parts, nil
	}
}

// two reads a small set and a large one.
func two(dir, small, large string) (s, l []corpus.Example, err error) {
	if s, err = read(dir, small); err == nil {
		l, err = read(dir, large)
	}
	return s, l, err
}

// rest measures on lines of the large set's training part that the small set
// does not have at all.
func rest(small, large string) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		s, l, err := two(dir, small, large)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, e := range append(slices.Clone(s), of(l, corpus.Test)...) {
			seen[e.Text] = true
		}
		train := of(s, corpus.Train)
		known := map[string]bool{}
		for _, e := range train {
			known[e.Intent] = true
		}
		pool := slices.DeleteFunc(of(l, corpus.Train), func(e corpus.Example) bool { return seen[e.Text] || !known[e.Intent] })
		pool = shuffled(pool, 1)
		return []part{{train, pool[:min(len(pool), 2000)]}}, nil
	}
}

// few measures a small choice of training lines on the large set's lines.
func few(small, large string, on corpus.Split) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		s, l, err := two(dir, small, large)
		if err != nil {
			return nil, err
		}
		test := slices.DeleteFunc(of(l, on), func(e corpus.Example) bool { return e.Intent == corpus.None })
		return []part{{of(s, corpus.Train), test}}, nil
	}
}

// small are forty projects as people begin them: eight intents of a large set
// with ten lines each, and perhaps some of None. They are tried on lines of
// those intents and on as many of None, which are of other intents than those
// that None was taught with.
func small(file string, none int, on corpus.Split) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		all, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		by := map[string][2][]corpus.Example{} // lines to learn and to try
		for k, lines := range [][]corpus.Example{of(all, corpus.Train), of(all, on)} {
			for _, l := range shuffled(lines, 1) {
				if l.Intent != corpus.None {
					of := by[l.Intent]
					of[k] = append(of[k], l)
					by[l.Intent] = of
				}
			}
		}
		names := slices.Sorted(maps.Keys(by))
		parts := make([]part, 40)
		for i := range parts {
			rng := rand.New(rand.NewPCG(uint64(i), 8))
			rng.Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
			const intents, lines, tries = 8, 10, 10
			p := &parts[i]
			for k, name := range names {
				of := by[name]
				switch {
				case k < intents:
					p.train = append(p.train, of[0][:lines]...)
					p.test = append(p.test, of[1][:tries]...)
				case k < 2*intents:
					p.test = append(p.test, asNone(of[1][:tries])...)
				case k < 2*intents+none:
					p.train = append(p.train, asNone(of[0][:1])...)
				}
			}
		}
		return parts, nil
	}
}

func asNone(lines []corpus.Example) []corpus.Example {
	out := slices.Clone(lines)
	for i := range out {
		out[i].Intent, out[i].Entities = corpus.None, nil
	}
	return out
}

// draws are five draws of 70 lines for each intent of Snips, as its authors
// published them: intents and slots learned from few lines.
func draws(dev bool) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		all, err := read(dir, "snips7_300.jsonl")
		if err != nil {
			return nil, err
		}
		var parts []part
		for seed := range uint64(5) {
			p := part{test: of(all, corpus.Test)}
			if dev {
				p.test = nil
			}
			got := map[string]int{}
			for _, l := range shuffled(of(all, corpus.Train), seed+1) {
				got[l.Intent]++
				switch n := got[l.Intent]; {
				case n <= 70:
					p.train = append(p.train, l)
				case dev && n <= 170:
					p.test = append(p.test, l)
				}
			}
			parts = append(parts, p)
		}
		return parts, nil
	}
}

func of(all []corpus.Example, split corpus.Split) []corpus.Example {
	var out []corpus.Example
	for _, e := range all {
		if e.Split == split || e.Split == "" && split == corpus.Train {
			out = append(out, e)
		}
	}
	return out
}

func shuffled(lines []corpus.Example, seed uint64) []corpus.Example {
	out := slices.Clone(lines)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for i := range out {
		out[i].Split = corpus.Train
	}
	return out
}

func read(dir, name string) ([]corpus.Example, error) {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("read a set: %w", err)
	}
	defer f.Close()
	var out []corpus.Example
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var e corpus.Example
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read %s, line %d: %w", name, len(out)+1, err)
		}
		out = append(out, e)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

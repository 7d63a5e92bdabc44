package main

import (
	"bufio"
	"encoding/json"
	"fmt"
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

// rest measures on lines of the large set's training part that the small set
// does not have at all.
func rest(small, large string) func(string) ([]part, error) {
	return func(dir string) ([]part, error) {
		s, err := read(dir, small)
		if err != nil {
			return nil, err
		}
		l, err := read(dir, large)
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
		s, err := read(dir, small)
		if err != nil {
			return nil, err
		}
		l, err := read(dir, large)
		if err != nil {
			return nil, err
		}
		test := slices.DeleteFunc(of(l, on), func(e corpus.Example) bool { return e.Intent == corpus.None })
		return []part{{of(s, corpus.Train), test}}, nil
	}
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

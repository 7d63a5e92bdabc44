// Command nlu measures the understanding on published sets: how often it is
// right, how long it learns and answers, how large its model is, and what
// misspelt words cost. It prints a Markdown table:
//
//	go run ./test/bench/nlu --data DIR
//
// DIR holds the sets as .jsonl files; docs/benchmarks/nlu.md says where they
// come from. It lives here and not in the product, which needs none of it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
)

func main() {
	data := flag.String("data", "", "folder of the sets")
	on := flag.String("on", "test", "test: the published splits; dev: lines held out of training, to choose by")
	only := flag.String("only", "", "names of sets, separated by commas; empty = all")
	seed := flag.Uint64("seed", 1, "seed of training and misspelling")
	plain := flag.Bool("plain", false, "without word vectors")
	enc := flag.String("encoder", "", "folder of a sentence encoder (model.safetensors, vocab.txt): the accurate tier")
	workers := flag.Int("workers", 1, "threads of training")
	flag.Parse()
	opt := nlu.Options{Seed: *seed, Workers: *workers, Plain: *plain}
	var err error
	if *enc != "" {
		opt.Encoder, err = readEncoder(*enc)
	}
	if err == nil {
		err = run(*data, *on, *only, opt)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func readEncoder(dir string) (*encoder.Encoder, error) {
	weights, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return nil, fmt.Errorf("read the encoder: %w", err)
	}
	words, err := os.ReadFile(filepath.Join(dir, "vocab.txt"))
	if err != nil {
		return nil, fmt.Errorf("read the encoder: %w", err)
	}
	return encoder.Read(weights, words)
}

func run(data, on, only string, opt nlu.Options) error {
	if data == "" || on != "test" && on != "dev" {
		return fmt.Errorf("usage: nlu --data DIR [--on test|dev]: DIR holds hwu64.jsonl and the other sets")
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(out, "|set\tlines\tintent F1\taccuracy\tin scope\tNone found\tmisspelt\tentities exact\toverlap\tmacro\ttrain\tp50\tp99\tmodel\tload\t")
	fmt.Fprintln(out, "|--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t")
	for _, s := range sets() {
		if only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
			continue
		}
		parts, err := s.parts(data, on == "dev")
		if err != nil {
			return err
		}
		row, err := measure(parts, opt)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(out, "|%s\t%s\t\n", s.name, strings.Join(row, "\t"))
		_ = out.Flush()
	}
	return out.Flush()
}

// part is one training with what it is measured on. Their figures are
// averaged.
type part struct{ train, test []corpus.Example }

// measure trains on each part and returns the row's cells.
func measure(parts []part, opt nlu.Options) ([]string, error) {
	var f1, acc, in, none, typo, exact, overlap, macro, train, size, load mean
	var lines int
	var took []time.Duration
	for _, p := range parts {
		start := time.Now()
		m, _, err := nlu.Train(context.Background(), p.train, opt)
		if err != nil {
			return nil, err
		}
		train.add(time.Since(start).Seconds(), 1)
		r := m.Evaluate(p.test)
		n := float64(len(p.test))
		lines += len(p.test)
		f1.add(r.Intents.F1(), n)
		acc.add(r.Accuracy, n)
		in.add(r.InScope, float64(r.Lines-r.NoneLines))
		none.add(r.NoneFound, float64(r.NoneLines))
		typo.add(m.Evaluate(misspell(p.test, opt.Seed)).Accuracy, n)
		if r.Exact.Right+r.Exact.Missing > 0 {
			exact.add(r.Exact.F1(), n)
			overlap.add(r.Overlap.F1(), n)
			macro.add(r.Macro, n)
		}
		took = append(took, latencies(m, p.test)...)
		var file bytes.Buffer
		if _, err := m.WriteTo(&file); err != nil {
			return nil, err
		}
		size.add(float64(file.Len())/1e6, 1)
		start = time.Now()
		find := func(uint32) (*encoder.Encoder, error) { return opt.Encoder, nil }
		if _, err := nlu.ReadWith(bytes.NewReader(file.Bytes()), find); err != nil {
			return nil, err
		}
		load.add(float64(time.Since(start).Microseconds())/1e3, 1)
	}
	slices.Sort(took)
	at := func(share float64) string {
		return fmt.Sprintf("%d us", took[int(share*float64(len(took)-1))].Microseconds())
	}
	return []string{
		fmt.Sprint(lines), f1.cell(), acc.cell(), in.cell(), none.cell(), typo.cell(), exact.cell(), overlap.cell(), macro.cell(),
		fmt.Sprintf("%.2f s", train.value()), at(0.5), at(0.99), fmt.Sprintf("%.1f MB", size.value()), fmt.Sprintf("%.0f ms", load.value()),
	}, nil
}

// latencies times single understandings, one after another.
func latencies(m *nlu.Model, lines []corpus.Example) []time.Duration {
	runtime.GC()
	var u nlu.Understanding
	out := make([]time.Duration, 0, len(lines))
	for i := range lines {
		start := time.Now()
		m.PredictInto(lines[i].Text, &u)
		out = append(out, time.Since(start))
	}
	return out
}

type mean struct{ sum, weight float64 }

func (m *mean) add(v, weight float64) { m.sum, m.weight = m.sum+v*weight, m.weight+weight }

func (m *mean) value() float64 { return m.sum / m.weight }

func (m *mean) cell() string {
	if m.weight == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", m.value())
}

// misspell puts one error into every fourth word of three letters or more: a
// letter left out, doubled, swapped with the next, or replaced. Entities are
// dropped: their places move.
func misspell(lines []corpus.Example, seed uint64) []corpus.Example {
	rng := rand.New(rand.NewPCG(seed, 25))
	out := make([]corpus.Example, len(lines))
	for i, l := range lines {
		words := strings.Split(l.Text, " ")
		for j, w := range words {
			if r := []rune(w); len(r) >= 3 && rng.IntN(4) == 0 {
				words[j] = string(slip(r, rng))
			}
		}
		out[i] = corpus.Example{Text: strings.Join(words, " "), Intent: l.Intent}
	}
	return out
}

func slip(w []rune, rng *rand.Rand) []rune {
	at := rng.IntN(len(w) - 1)
	switch rng.IntN(4) {
	case 0:
		return slices.Delete(w, at, at+1)
	case 1:
		return slices.Insert(w, at, w[at])
	case 2:
		w[at], w[at+1] = w[at+1], w[at]
	default:
		w[at] = 'a' + rng.Int32N(26)
	}
	return w
}

package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/learn"
	"github.com/parleyhq/parley/internal/nlu/model"
	"github.com/parleyhq/parley/internal/yamlfile"
)

func nluLearnCommand() *command {
	return &command{
		name: "learn", short: "label what a model did not understand, and add it to its project", args: "[DIR]",
		long: "The texts are what a node did not understand and kept (collect: true in its configuration), or lines of JSON, {\"text\": ...}. Those that the model does not understand, or is not sure of, are sorted into groups that say much the same, and each group is shown with the intent that the model would take it for. " +
			"Answer with Enter for that one, a number or a name for another, s to skip the group, q to end. What is accepted is added to learned/ in the folder, as lines that people review like all others; addresses, telephone and other long numbers are replaced before. " +
			"Without a person at the terminal, --json shows the groups, --yes accepts, and --add takes lines that are labelled already.",
		examples: []example{
			{"parley nlu learn my-bot", "what the node at --url did not understand, group by group"},
			{"parley nlu learn my-bot --jsonl unknown.jsonl", "what is in a file"},
			{"parley nlu learn my-bot --jsonl unknown.jsonl --json > groups.json", "for a program that labels"},
			{"parley nlu learn my-bot --labelled", "add what operators labelled on the node's page"},
			{"parley nlu learn my-bot --add labelled.jsonl", "add lines {\"text\", \"intent\"} as they are"},
		},
		setup: func(fs *flag.FlagSet) action {
			l := learner{}
			l.bind(fs)
			l.node = bindConnection(fs)
			fs.StringVar(&l.jsonl, "jsonl", "", "read the texts from this `FILE` instead of asking a node; - is the input")
			fs.StringVar(&l.add, "add", "", "add the labelled lines of this `FILE` and ask nothing")
			fs.StringVar(&l.model, "model", "", "ask the model in this `FILE` instead of learning one from the folder")
			fs.Float64Var(&l.below, "below", learn.Understood, "texts whose intent has a `SCORE` below that count as not understood")
			fs.BoolVar(&l.labelled, "labelled", false, "add what was labelled on the node's page /learn, and ask nothing")
			fs.BoolVar(&l.yes, "yes", false, "accept the proposal of each group that is sure enough, and skip the others")
			fs.Float64Var(&l.least, "least", 0.8, "the `SCORE` of a proposal that is sure enough for --yes")
			fs.BoolVar(&l.keep, "keep", false, "add texts as they were said, with addresses and numbers")
			fs.BoolVar(&l.json, "json", false, "write JSON: the groups, or with --yes and --add what was added")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := l.check(args); err != nil {
					return err
				}
				dir, err := source(args, "")
				if err != nil {
					return err
				}
				l.dir = dir
				return l.run(ctx, t)
			}
		},
	}
}

// learner is one run of learn.
type learner struct {
	learning
	node                   *connection
	dir, jsonl, add, model string
	below, least           float64
	labelled               bool
	yes, keep, json        bool

	taken  []corpus.Example // accepted, not yet in the project
	added  int
	files  []string
	asking *bufio.Reader
}

func (l *learner) check(args []string) error {
	if err := l.learning.check(); err != nil {
		return err
	}
	switch {
	case len(args) > 1:
		return usagef("it takes one folder")
	case l.jsonl != "" && l.add != "":
		return usagef("--jsonl and --add exclude each other")
	case l.add != "" && l.yes:
		return usagef("--add asks nothing: leave --yes out")
	case l.labelled && (l.jsonl != "" || l.add != "" || l.yes):
		return usagef("--labelled takes what the node has: leave --jsonl, --add and --yes out")
	}
	return nil
}

func (l *learner) run(ctx context.Context, t *terminal) error {
	if st, err := os.Stat(l.dir); err != nil || !st.IsDir() {
		return fmt.Errorf("%s is no folder: name the project's", l.dir)
	}
	if l.add != "" {
		return l.addLabelled(t)
	}
	project, err := readProject(l.dir)
	if err != nil {
		return err
	}
	if l.labelled {
		return l.takeLabelled(ctx, t, project)
	}
	groups, left, err := l.groups(ctx, t, project)
	if err != nil {
		return err
	}
	if left > 0 {
		t.say("%d more texts were said more seldom: they come when these are done.", left)
	}
	if l.yes {
		for _, g := range groups {
			if len(g.Proposals) > 0 && g.Proposals[0].Score >= l.least {
				l.take(g, g.Proposals[0].Intent)
			}
		}
		return l.finish(t)
	}
	if l.json || !t.inTTY {
		return t.json(map[string]any{"groups": groups, "left": left})
	}
	if err := l.ask(t, project, groups); err != nil {
		return err
	}
	return l.finish(t)
}

// groups are the texts that are not understood, sorted.
func (l *learner) groups(ctx context.Context, t *terminal, project *lessons) ([]learn.Group, int, error) {
	texts, err := l.texts(ctx, t)
	if err != nil {
		return nil, 0, err
	}
	m, err := l.ready(ctx, t, project)
	if err != nil {
		return nil, 0, err
	}
	var unknown, known []string
	for _, text := range texts {
		u := m.Understand(text, time.Now())
		if u.Intent != corpus.None && u.Score >= l.below {
			continue
		}
		if !l.keep {
			text = learn.Redact(text)
		}
		unknown = append(unknown, text)
	}
	for _, e := range project.examples {
		known = append(known, e.Text)
	}
	groups, left, err := learn.Groups(m, unknown, known)
	if groups == nil {
		groups = []learn.Group{}
	}
	return groups, left, err
}

// texts are those of a file, or those that a node kept.
func (l *learner) texts(ctx context.Context, t *terminal) ([]string, error) {
	var out []string
	if l.jsonl != "" {
		all, err := readTexts(t, l.jsonl)
		if err != nil {
			return nil, err
		}
		for _, e := range all.examples {
			out = append(out, e.Text)
		}
		return out, nil
	}
	cl, _, err := l.node.open(ctx, t)
	if err != nil {
		return nil, err
	}
	err = eachUnknown(ctx, cl, func(m client.Unknown) error {
		if m.Label == "" {
			out = append(out, m.Text)
		}
		return nil
	})
	return out, err
}

// takeLabelled adds what was labelled on the node's page, and tells the node
// that the project has it.
func (l *learner) takeLabelled(ctx context.Context, t *terminal, project *lessons) error {
	cl, _, err := l.node.open(ctx, t)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range project.examples {
		known[learn.Key(e.Text)+"\x00"+e.Intent] = true
	}
	var taken []client.Label
	err = eachUnknown(ctx, cl, func(m client.Unknown) error {
		if m.Label == "" || m.Taken {
			return nil
		}
		taken = append(taken, client.Label{ID: m.ID, Intent: m.Label, Taken: true})
		e := corpus.Example{Text: clipText(m.Text), Intent: m.Label}
		if key := learn.Key(e.Text) + "\x00" + e.Intent; e.Text != "" && !known[key] {
			known[key] = true
			l.taken = append(l.taken, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.save(); err != nil {
		return err
	}
	if len(taken) > 0 {
		if err := cl.Label(ctx, taken); err != nil {
			return fmt.Errorf("the lines are added, and the node was not told: %w", err)
		}
	}
	return l.finish(t)
}

// ready is the model to ask.
func (l *learner) ready(ctx context.Context, t *terminal, project *lessons) (*model.Model, error) {
	if l.model != "" {
		return l.readModel(ctx, t, l.model)
	}
	m, _, err := l.train(ctx, t, project, l.json)
	return m, err
}

// addLabelled adds lines that say what they are.
func (l *learner) addLabelled(t *terminal) error {
	f, err := os.Open(l.add)
	if err != nil {
		return fmt.Errorf("read examples: %w", err)
	}
	defer f.Close()
	all, err := corpus.ReadAll(f, l.add)
	if err != nil {
		return err
	}
	for _, e := range all {
		if !l.keep && len(e.Entities) == 0 { // marks would not fit any more
			e.Text = learn.Redact(e.Text)
		}
		l.taken = append(l.taken, e)
	}
	return l.finish(t)
}

// take accepts a group as an intent's.
func (l *learner) take(g learn.Group, intent string) {
	for _, s := range g.Texts {
		l.taken = append(l.taken, corpus.Example{Text: clipText(s.Text), Intent: intent})
	}
}

// clipText keeps a text to what a project takes.
func clipText(s string) string {
	if r := []rune(s); len(r) > corpus.MostText {
		s = string(r[:corpus.MostText])
	}
	return strings.TrimSpace(strings.ToValidUTF8(s, ""))
}

// ask goes through the groups with a person.
func (l *learner) ask(t *terminal, project *lessons, groups []learn.Group) error {
	const shown = 6
	l.asking = bufio.NewReader(t.in)
	intents := map[string]bool{}
	for _, in := range project.project.Intents {
		intents[in.Name] = true
	}
	for i, g := range groups {
		t.printf("\n%d of %d: said %s\n", i+1, len(groups), times(g.Times))
		for _, s := range g.Texts[:min(len(g.Texts), shown)] {
			t.printf("  %s\n", short(s.Text))
		}
		if n := len(g.Texts) - shown; n > 0 {
			t.printf("  and %d more\n", n)
		}
		for k, p := range g.Proposals {
			t.printf("  [%d] %s %.2f", k+1, calm(p.Intent), p.Score)
		}
		if len(g.Proposals) > 0 {
			t.printf("\n")
		}
		intent, end, err := l.answer(t, g.Proposals, intents)
		if err != nil {
			return err
		}
		if end {
			break
		}
		if intent != "" {
			l.take(g, intent)
			intents[intent] = true
			if err := l.save(); err != nil { // what was answered is not lost by Ctrl-C
				return err
			}
		}
	}
	return nil
}

// answer reads what a person makes of a group: an intent, or "" to skip it.
func (l *learner) answer(t *terminal, proposals []nlu.Ranked, intents map[string]bool) (intent string, end bool, err error) {
	for {
		t.printf("intent> ")
		line, err := l.asking.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			t.printf("\n")
			return "", true, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return "", false, fmt.Errorf("read the answer: %w", err)
		}
		line = strings.TrimSpace(line)
		k, notNumber := strconv.Atoi(line)
		switch {
		case line == "s" || line == "" && len(proposals) == 0:
			return "", false, nil
		case line == "q":
			return "", true, nil
		case line == "":
			return proposals[0].Intent, false, nil
		case notNumber == nil && k >= 1 && k <= len(proposals):
			return proposals[k-1].Intent, false, nil
		case intents[line] || line == corpus.None:
			return line, false, nil
		}
		if err := (corpus.Example{Text: "x", Intent: line}).Check(); err != nil {
			t.printf("%s\n", err)
			continue
		}
		if l.confirm(t, line, intents) {
			return line, false, nil
		}
	}
}

// confirm asks whether an intent that there is not is meant to be new.
func (l *learner) confirm(t *terminal, name string, intents map[string]bool) bool {
	var names []string
	for n := range intents {
		names = append(names, n)
	}
	slices.Sort(names)
	hint := ""
	if near := yamlfile.Near(name, names); near != "" {
		hint = " (" + near + ")"
	}
	t.printf("There is no intent %s%s. Make it? y/n> ", calm(name), calm(hint))
	line, _ := l.asking.ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// save adds what was accepted to the project.
func (l *learner) save() error {
	if len(l.taken) == 0 {
		return nil
	}
	files, err := corpus.Add(l.dir, l.taken)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f = filepath.Join(l.dir, filepath.FromSlash(f)); !slices.Contains(l.files, f) {
			l.files = append(l.files, f)
		}
	}
	l.added, l.taken = l.added+len(l.taken), nil
	return nil
}

func (l *learner) finish(t *terminal) error {
	if err := l.save(); err != nil {
		return err
	}
	switch {
	case l.json:
		return t.json(map[string]any{"added": l.added, "files": append([]string{}, l.files...)})
	case l.added == 0:
		t.printf("Nothing was added.\n")
	default:
		t.printf("%d lines were added: %s. Next: parley nlu test %s\n", l.added, strings.Join(l.files, ", "), l.dir)
	}
	return nil
}

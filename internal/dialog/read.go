package dialog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/yamlfile"
)

// Bounds on a script.
const (
	mostFile  = 4 << 20 // bytes
	mostFlows = 1000
	mostSlots = 50   // of a flow
	mostText  = 4096 // characters of a text
	mostTries = 10   // of a slot
	mostItems = 1000 // of any list
	mostWrong = 500  // problems that are reported

	defaultTries      = 2
	defaultUnderstand = 0.5
	defaultInterrupt  = 0.7
)

// defaults are what a script says and takes for an answer unless it says so
// itself.
func defaults() Script {
	return Script{
		Understand: defaultUnderstand, Interrupt: defaultInterrupt, Fallback: []Hand{{To: Ask}, {To: Model}},
		Say: Sayings{Unclear: []string{"Sorry, I did not understand that."}, Cancelled: []string{"All right, never mind."}},
		Words: Words{
			Yes:    []string{"yes", "yeah", "yep", "yup", "sure", "of course", "ok", "okay", "right", "thats right", "correct", "exactly", "please do", "go ahead", "fine", "perfect", "sounds good", "no problem"},
			No:     []string{"no", "nope", "nah", "not really", "not quite", "not now", "wrong", "thats wrong", "dont", "do not", "better not"},
			Cancel: []string{"cancel", "stop", "never mind", "nevermind", "forget it", "forget about it", "abort", "quit"},
		},
	}
}

// Read reads a script. The error is yamlfile.Problems, all of them at once,
// unless the file itself can't be read.
func Read(file string) (*Script, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	if err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	return Parse(file, b)
}

// Parse reads a script from memory; name is what problems call it.
func Parse(name string, b []byte) (*Script, error) {
	switch {
	case len(b) > mostFile:
		return nil, yamlfile.Problems{{File: name, Text: fmt.Sprintf("the file has more than %d MiB", mostFile>>20)}}
	case !utf8.Valid(b):
		return nil, yamlfile.Problems{{File: name, Text: "this is not UTF-8 text"}}
	}
	root, line, err := yamlfile.Parse(b)
	if err != nil {
		return nil, yamlfile.Problems{{File: name, Line: line, Text: err.Error(), Hint: `put quotes around a text that has ": " or begins with { or [`}}
	}
	r := &reader{script: defaults()}
	r.Reader = yamlfile.Reader{Say: func(line int, hint, text string) {
		switch n := len(r.problems); {
		case n < mostWrong:
			r.problems = append(r.problems, yamlfile.Problem{File: name, Line: line, Text: text, Hint: hint})
		case n == mostWrong:
			r.problems = append(r.problems, yamlfile.Problem{File: name, Line: line, Text: fmt.Sprintf("there are more problems than %d; the others are not listed", mostWrong)})
		}
	}}
	if root != nil {
		r.root(root)
	}
	r.whole()
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	return &r.script, nil
}

type reader struct {
	yamlfile.Reader
	script   Script
	problems yamlfile.Problems
	thanLine int // of interrupt:, or understand:
}

func (r *reader) root(n *yamlfile.Node) {
	s := &r.script
	r.Mapping(n, "", map[string]func(*yamlfile.Node){
		"name":       func(n *yamlfile.Node) { s.Name, _ = r.Text(n, "name") },
		"understand": func(n *yamlfile.Node) { s.Understand = r.score(n, "understand") },
		"interrupt":  func(n *yamlfile.Node) { s.Interrupt = r.score(n, "interrupt") },
		"fallback": func(n *yamlfile.Node) {
			s.Fallback = nil
			for _, h := range r.list(n, "fallback") {
				s.Fallback = append(s.Fallback, r.hand(n, h, true))
			}
			if len(s.Fallback) == 0 {
				r.Sayf(n, "write [ask, model]", "fallback: somebody has to go on")
			}
		},
		"say": func(n *yamlfile.Node) {
			r.Mapping(n, "say", map[string]func(*yamlfile.Node){
				"unclear": r.plain(&s.Say.Unclear, "unclear"), "cancelled": r.plain(&s.Say.Cancelled, "cancelled"),
				"resume": r.plain(&s.Say.Resume, "resume"), "person": r.plain(&s.Say.Person, "person"),
			})
		},
		"words": func(n *yamlfile.Node) {
			r.Mapping(n, "words", map[string]func(*yamlfile.Node){
				"yes": r.words(&s.Words.Yes, "yes"), "no": r.words(&s.Words.No, "no"), "cancel": r.words(&s.Words.Cancel, "cancel"),
			})
		},
		"flows": func(n *yamlfile.Node) {
			r.Pairs(n, "flows", func(k, v *yamlfile.Node) {
				if r.name(k, "flow") && r.room(k, len(s.Flows), mostFlows, "flows") {
					r.flow(k, v)
				}
			})
		},
	})
}

// whole checks what is about the script as a whole.
func (r *reader) whole() {
	s := &r.script
	if s.Interrupt < s.Understand {
		r.Say(r.thanLine, "a flow is harder to interrupt than to begin", fmt.Sprintf("interrupt (%v) is less than understand (%v)", s.Interrupt, s.Understand))
	}
	if len(s.Flows) == 0 && len(r.problems) == 0 {
		r.Say(0, "write them under flows:", "there is no flow in it")
	}
	owner := map[string]string{}
	for _, f := range s.Flows {
		for _, in := range f.Intents {
			if other, ok := owner[in]; ok {
				r.Say(f.line, "an intent begins one flow", fmt.Sprintf("intent %q begins the flow %q already", yamlfile.Clip(in), yamlfile.Clip(other)))
			}
			owner[in] = f.Name
		}
	}
}

func (r *reader) room(n *yamlfile.Node, have, most int, what string) bool {
	if have < most {
		return true
	}
	if have == most {
		r.Sayf(n, "", "there are more %s than %d", what, most)
	}
	return false
}

func (r *reader) name(n *yamlfile.Node, what string) bool {
	s := n.Value
	if s == "" || strings.TrimSpace(s) != s || utf8.RuneCountInString(s) > 100 || strings.ContainsAny(s, "{}|:\n\r") {
		r.Sayf(n, "", "%q is no name of a %s: it has up to 100 characters, none of {}|: and no blanks around it", yamlfile.Clip(s), what)
		return false
	}
	return true
}

func (r *reader) score(n *yamlfile.Node, what string) float64 {
	r.thanLine = n.Line
	v, err := strconv.ParseFloat(n.Value, 64)
	if !yamlfile.IsText(n) || err != nil || !(v >= 0 && v <= 1) {
		r.Sayf(n, "", "%s: wanted a number from 0 to 1, found %s", what, yamlfile.Found(n))
		return 0
	}
	return v
}

func (r *reader) list(n *yamlfile.Node, what string) []string {
	texts := r.Texts(n, what)
	if len(texts) > mostItems {
		r.Sayf(n, "", "%s: there are more than %d", what, mostItems)
		return nil
	}
	return texts
}

// plain reads texts that have no slots to tell of.
func (r *reader) plain(into *[]string, what string) func(*yamlfile.Node) {
	return func(n *yamlfile.Node) { *into = r.templates(n, what, nil) }
}

// words reads words that are compared.
func (r *reader) words(into *[]string, what string) func(*yamlfile.Node) {
	return func(n *yamlfile.Node) {
		*into = r.list(n, what)
		for _, w := range *into {
			if normal(w) == "" {
				r.Sayf(n, "", "%s: there is no word in %q", what, yamlfile.Clip(w))
			}
		}
	}
}

// templates reads one text or several; their slots are the flow's.
func (r *reader) templates(n *yamlfile.Node, what string, flow *Flow) []string {
	texts := r.list(n, what)
	for _, s := range texts {
		pieces, err := parseTemplate(s)
		if err == nil && strings.TrimSpace(s) == "" {
			err = errors.New("it says nothing")
		}
		if err == nil && utf8.RuneCountInString(s) > mostText {
			err = fmt.Errorf("it has more than %d characters", mostText)
		}
		if err != nil {
			r.Sayf(n, "", "%s: %v", what, err)
		}
		for _, p := range pieces {
			if p.slot != "" {
				r.slotOf(n, what, p.slot, flow)
			}
		}
	}
	return texts
}

func (r *reader) slotOf(n *yamlfile.Node, what, name string, flow *Flow) {
	if flow == nil {
		r.Sayf(n, "write {{ for the brace itself", "%s: there are no slots here, such as {%s}", what, yamlfile.Clip(name))
		return
	}
	if flow.slot(name) != nil {
		return
	}
	var names []string
	for _, s := range flow.Slots {
		names = append(names, s.Name)
	}
	r.Sayf(n, cmp.Or(yamlfile.Near(name, names), "slots of this flow stand under slots:"), "%s: the flow has no slot %q", what, yamlfile.Clip(name))
}

// hand reads model, person or bot NAME; as a fallback also ask.
func (r *reader) hand(n *yamlfile.Node, s string, fallback bool) Hand {
	to, bot, _ := strings.Cut(s, " ")
	bot = strings.TrimSpace(bot)
	h := Hand{To: To(to), Bot: bot}
	switch {
	case h == Hand{To: Model}, h == Hand{To: Person}, fallback && h == Hand{To: Ask}, h.To == Bot && bot != "":
		return h
	case fallback:
		r.Sayf(n, "", "fallback: %q is none of ask, model, person, bot NAME", yamlfile.Clip(s))
	default:
		r.Sayf(n, "", "hand: %q is none of model, person, bot NAME", yamlfile.Clip(s))
	}
	return Hand{}
}

func (r *reader) flow(k, n *yamlfile.Node) {
	f := Flow{Name: k.Value, Intents: []string{k.Value}, line: k.Line}
	if yamlfile.IsText(n) || yamlfile.IsList(n) { // thanks: You are welcome.
		f.Reply.Texts = r.templates(n, f.Name, &f)
		r.script.Flows = append(r.script.Flows, f)
		return
	}
	late := func(into **yamlfile.Node) func(*yamlfile.Node) { return func(n *yamlfile.Node) { *into = n } }
	var confirm, declined, reply *yamlfile.Node // they name slots, which may stand below
	r.Mapping(n, f.Name, map[string]func(*yamlfile.Node){
		"intent":   func(n *yamlfile.Node) { f.Intents = r.list(n, "intent") },
		"slots":    func(n *yamlfile.Node) { r.slots(n, &f) },
		"confirm":  late(&confirm),
		"declined": late(&declined),
		"reply":    late(&reply),
		"hand": func(n *yamlfile.Node) {
			if s, ok := r.Text(n, "hand"); ok {
				f.Hand = r.hand(n, s, false)
			}
		},
		"whole": func(n *yamlfile.Node) { f.Whole = r.Flag(n, "whole") },
	})
	if confirm != nil {
		f.Confirm = r.templates(confirm, "confirm", &f)
	}
	if declined != nil {
		f.Declined = r.templates(declined, "declined", &f)
		if confirm == nil {
			r.Sayf(declined, "write confirm: as well", "declined: there is nothing to decline")
		}
	}
	if reply != nil {
		f.Reply = r.reply(reply, &f)
	}
	if reply == nil && f.Hand.To == "" {
		r.Sayf(k, "write reply: or hand:", "the flow %q comes to nothing", yamlfile.Clip(f.Name))
	}
	r.script.Flows = append(r.script.Flows, f)
}

// reply reads texts, or the texts for each value of a slot.
func (r *reader) reply(n *yamlfile.Node, f *Flow) Reply {
	var out Reply
	if !yamlfile.IsMapping(n) {
		out.Texts = r.templates(n, "reply", f)
		return out
	}
	r.Pairs(n, "reply", func(k, v *yamlfile.Node) {
		switch k.Value {
		case "by":
			if s, ok := r.Text(v, "by"); ok {
				out.By = s
				r.slotOf(v, "by", s, f)
			}
		case "else":
			out.Texts = r.templates(v, "else", f)
		default:
			out.Cases = append(out.Cases, Case{k.Value, r.templates(v, k.Value, f)})
		}
	})
	if out.By == "" {
		r.Sayf(n, "write by: SLOT", "reply: which slot decides?")
	}
	if len(out.Texts) == 0 {
		r.Sayf(n, "write else: TEXT", "reply: what is said for any other value?")
	}
	return out
}

func (r *reader) slots(n *yamlfile.Node, f *Flow) {
	r.Pairs(n, "slots", func(k, _ *yamlfile.Node) { // questions may name any slot, so all names come first
		if r.name(k, "slot") && r.room(k, len(f.Slots), mostSlots, "slots") {
			f.Slots = append(f.Slots, Slot{Name: k.Value, Tries: defaultTries, line: k.Line})
		}
	})
	if !yamlfile.IsMapping(n) {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if s := f.slot(n.Content[i].Value); s != nil && s.line == n.Content[i].Line {
			r.slot(n.Content[i+1], s, f)
		}
	}
}

func (r *reader) slot(n *yamlfile.Node, s *Slot, f *Flow) {
	r.Mapping(n, s.Name, map[string]func(*yamlfile.Node){
		"entity": func(n *yamlfile.Node) {
			for _, e := range r.list(n, "entity") {
				kind, role, _ := strings.Cut(e, ":")
				s.Entities = append(s.Entities, Entity{kind, role})
			}
		},
		"choices": func(n *yamlfile.Node) { s.Choices = r.choices(n) },
		"text":    func(n *yamlfile.Node) { s.Text = r.Flag(n, "text") },
		"ask":     func(n *yamlfile.Node) { s.Ask = r.templates(n, "ask", f) },
		"again":   func(n *yamlfile.Node) { s.Again = r.templates(n, "again", f) },
		"optional": func(n *yamlfile.Node) {
			s.Optional = r.Flag(n, "optional")
		},
		"tries": func(n *yamlfile.Node) {
			v, err := strconv.Atoi(n.Value)
			if err != nil || v < 0 || v > mostTries {
				r.Sayf(n, "", "tries: wanted a number from 0 to %d, found %s", mostTries, yamlfile.Found(n))
				return
			}
			s.Tries = v
		},
	})
	ways := 0
	for _, has := range []bool{len(s.Entities) > 0, len(s.Choices) > 0, s.Text} {
		if has {
			ways++
		}
	}
	switch {
	case ways != 1:
		r.Say(s.line, "write one of entity:, choices:, text: true", fmt.Sprintf("what fills the slot %q?", yamlfile.Clip(s.Name)))
	case s.Optional && s.Text:
		r.Say(s.line, "", fmt.Sprintf("the slot %q takes any text, so it has to be asked for", yamlfile.Clip(s.Name)))
	case !s.Optional && len(s.Ask) == 0:
		r.Say(s.line, "write ask: QUESTION, or optional: true", fmt.Sprintf("how is the slot %q asked for?", yamlfile.Clip(s.Name)))
	}
}

// choices reads a list of words, or names with the words that mean them.
func (r *reader) choices(n *yamlfile.Node) []Choice {
	var out []Choice
	add := func(n *yamlfile.Node, c Choice) {
		for _, w := range slices.Concat([]string{c.Name}, c.Words) {
			if normal(w) == "" {
				r.Sayf(n, "", "choices: there is no word in %q", yamlfile.Clip(w))
			}
		}
		out = append(out, c)
	}
	if yamlfile.IsMapping(n) {
		r.Pairs(n, "choices", func(k, v *yamlfile.Node) {
			c := Choice{Name: k.Value}
			if !yamlfile.Empty(v) {
				c.Words = r.list(v, k.Value)
			}
			if r.room(k, len(out), mostItems, "choices") {
				add(k, c)
			}
		})
		return out
	}
	for _, s := range r.list(n, "choices") {
		add(n, Choice{Name: s})
	}
	return out
}

// CheckModel says what of the script a model's project does not have: intents
// that begin flows, and entities that fill slots.
func (s *Script) CheckModel(file string, p *corpus.Project) error {
	var out yamlfile.Problems
	var intents, entities []string
	for _, in := range p.Intents {
		intents = append(intents, in.Name)
	}
	for _, d := range p.Entities {
		entities = append(entities, d.Name)
	}
	for _, f := range s.Flows {
		for _, in := range f.Intents {
			if _, ok := p.Intent(in); !ok {
				out = append(out, yamlfile.Problem{File: file, Line: f.line, Text: fmt.Sprintf("the model has no intent %q", yamlfile.Clip(in)), Hint: cmp.Or(yamlfile.Near(in, intents), "name one with intent:")})
			}
		}
		for _, slot := range f.Slots {
			for _, e := range slot.Entities {
				d, ok := p.Definition(e.Type)
				switch {
				case !ok:
					out = append(out, yamlfile.Problem{File: file, Line: slot.line, Text: fmt.Sprintf("the model has no entity %q", yamlfile.Clip(e.Type)), Hint: yamlfile.Near(e.Type, entities)})
				case e.Role != "" && !slices.Contains(d.Roles, e.Role):
					out = append(out, yamlfile.Problem{File: file, Line: slot.line, Text: fmt.Sprintf("the model's entity %q has no role %q", yamlfile.Clip(e.Type), yamlfile.Clip(e.Role)), Hint: yamlfile.Near(e.Role, d.Roles)})
				}
			}
		}
	}
	return out.Err()
}

package dialog

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/yamlfile"
)

const example = "../../examples/flows/cityguide.yaml"

func script(t testing.TB, text string) *Script {
	t.Helper()
	s, err := Parse("x.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange is a text with what was understood of it, in the short form of
// parse, and what follows: replies, then the action as "> bot bookings".
type exchange struct {
	text, understood string
	want             []string
}

// parse reads "intent 0.9 type:role=said/name/value ...", of which anything
// may be missing; blanks in words are written as _.
func parse(t testing.TB, text, s string) Input {
	t.Helper()
	in := Input{Text: text, Intent: corpus.None, Score: 0.9}
	for i, f := range strings.Fields(s) {
		kind, value, isEntity := strings.Cut(f, "=")
		if i == 0 && !isEntity {
			in.Intent = f
			continue
		}
		if !isEntity {
			if err := json.Unmarshal([]byte(f), &in.Score); err != nil {
				t.Fatal(err)
			}
			continue
		}
		e := Found{}
		e.Type, e.Role, _ = strings.Cut(kind, ":")
		for k, part := range strings.Split(strings.ReplaceAll(value, "_", " "), "/") {
			*[]*string{&e.Said, &e.Name, &e.Value.Value}[k] = part
		}
		in.Entities = append(in.Entities, e)
	}
	return in
}

func told(replies []string, a Action) []string {
	out := append([]string{}, replies...)
	if a.Hand.To != "" {
		line := "> " + strings.TrimSpace(string(a.Hand.To)+" "+a.Hand.Bot)
		if a.Why != "" {
			line += ", " + string(a.Why)
		}
		for _, name := range []string{"people", "time", "where", "name", "place", "kitchen"} {
			if v, ok := a.Slots[name]; ok {
				line += " " + name + "=" + v.shown()
			}
		}
		out = append(out, line)
	}
	for _, s := range a.Then {
		out = append(out, "then "+s)
	}
	return out
}

// play takes every step through JSON, as the log does, and takes it twice.
func play(t *testing.T, sc *Script, s State, story []exchange) State {
	t.Helper()
	for _, x := range story {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		before, err := ParseState(b)
		if err != nil {
			t.Fatal(err)
		}
		in := parse(t, x.text, x.understood)
		next, replies, action := Step(sc, before, in)
		if diff := cmp.Diff(x.want, told(replies, action)); diff != "" {
			t.Fatalf("%q (%s) (-want +got):\n%s\nstate %+v", x.text, x.understood, diff, next)
		}
		if after, err := json.Marshal(before); err != nil || string(after) != string(b) {
			t.Fatalf("%q: the step changed the state that it was given: %s, was %s", x.text, after, b)
		}
		again, replies2, action2 := Step(sc, before, in)
		if !cmp.Equal(next, again) || !cmp.Equal(replies, replies2) || !cmp.Equal(action, action2) {
			t.Fatalf("%q: two steps from the same place differ", x.text)
		}
		s = next
	}
	return s
}

func TestCityGuide(t *testing.T) {
	sc, err := Read(example)
	if err != nil {
		t.Fatal(err)
	}
	for name, story := range map[string][]exchange{
		"an intent and what to say": {
			{"thanks", "thanks", []string{"You are welcome."}},
			{"thank you", "thanks", []string{"My pleasure."}},
			{"how much is a ticket", "tickets 0.5", []string{"A day ticket is seven euros. It is good for trams and ferries."}},
		},
		"all at once, and a reply by the slot": {
			{"when does the fortress open", "opening_hours place=fortress/Castle", []string{"The Castle is open from nine to six, on Fridays until ten."}},
			{"and the bridge?", "opening_hours place=the_bridge/Old_Bridge", []string{"I don't have the hours of Old Bridge, I am afraid."}},
			{"from the station to the port", "directions place:from=the_station/Central_Station place:to=the_port/Harbour", []string{"You get from Central Station to Harbour by tram T4. It leaves every ten minutes."}},
			{"how do I get to the port", "directions place:to=the_port/Harbour", []string{"You get from here to Harbour by tram T4. It leaves every ten minutes."}},
		},
		"slots, an interruption, a change of mind, the bot": {
			{"a table for two please", "book_table people=two//2", []string{"At what time?"}},
			{"when does the castle open on sundays?", "opening_hours place=castle/Castle", []string{"The Castle is open from nine to six, on Fridays until ten.", "Now, back to where we were.", "At what time?"}},
			{"tomorrow at eight", "None time=tomorrow_at_eight//2026-03-05", []string{"Would you like to sit inside or outside?"}},
			{"in the garden, please", "directions 0.3", []string{"Under which name?"}},
			{"Ann Lee", "opening_hours 0.99", []string{"A table for two, tomorrow at eight, outside, for Ann Lee. Is that right?"}},
			{"no, make it three", "None people=three//3", []string{"A table for three, tomorrow at eight, outside, for Ann Lee. Is that right?"}},
			{"and inside", "", []string{"A table for three, tomorrow at eight, inside, for Ann Lee. Is that right?"}},
			{"yes please", "", []string{"Thank you, I am passing that on.", "> bot bookings, scripted people=three time=tomorrow at eight where=inside name=Ann Lee"}},
			{"hello?", "thanks", []string{"> bot bookings"}},
		},
		"declined": {
			{"a table for two at eight outside", "book_table people=two time:when=at_eight", []string{"Under which name?"}},
			{"Bo", "", []string{"A table for two, at eight, outside, for Bo. Is that right?"}},
			{"Hm", "", []string{"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table.", "A table for two, at eight, outside, for Bo. Is that right?"}},
			{"No.", "", []string{"Very well, I have not booked anything."}},
		},
		"reprompts, and then a way out": {
			{"I want a table", "book_table", []string{"A table for how many people?"}},
			{"a few", "", []string{"Please tell me a number of people, such as four."}},
			{"some", "", []string{"Please tell me a number of people, such as four."}},
			{"I told you", "", []string{"> model, given up"}},
			{"thanks", "thanks", []string{"You are welcome."}},
		},
		"each reprompt in its turn": {
			{"a table for 3", "book_table people=3", []string{"At what time?"}},
			{"x", "", []string{"Please tell me a time. Tomorrow at eight is one."}},
			{"y", "", []string{"When should the table be ready, for example at half past seven?"}},
			{"z", "", []string{"When should the table be ready, for example at half past seven?"}},
			{"at 7", "None time=7", []string{"Would you like to sit inside or outside?"}},
		},
		"three in a row that are not understood": {
			{"asdf", "", []string{"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table."}},
			{"who won the election", "tickets 0.49", []string{"> model, unclear"}},
			{"write a poem", "", []string{"One moment please, I am getting a colleague from the tourist office.", "> person, unclear"}},
			{"anybody there?", "thanks", []string{"> person"}},
		},
		"understanding once begins the count anew": {
			{"asdf", "", []string{"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table."}},
			{"thanks", "thanks", []string{"My pleasure."}},
			{"asdf", "", []string{"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table."}},
		},
		"giving up": {
			{"never mind", "", []string{"Sorry, I did not get that. You can ask me for the way, for opening hours or for a table."}},
			{"I want a table", "book_table", []string{"A table for how many people?"}},
			{"Never mind!", "", []string{"All right, never mind. Is there anything else?"}},
			{"two", "None people=two", []string{"I still don't understand. Could you say it in other words?"}},
		},
		"the model answers, then the question comes again": {
			{"a table for two", "book_table people=two", []string{"At what time?"}},
			{"recommend me a good place for pizza", "find_restaurant kitchen=pizza", []string{"Let me think about a place for pizza.", "> model, scripted kitchen=pizza", "then Now, back to where we were.", "then At what time?"}},
			{"at 8", "None time=at_8", []string{"Would you like to sit inside or outside?"}},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, sc, State{}, story) })
	}
}

func TestResume(t *testing.T) {
	sc, err := Read(example)
	if err != nil {
		t.Fatal(err)
	}
	s := play(t, sc, State{}, []exchange{{"a table for two", "book_table people=two", []string{"At what time?"}}})
	s.With = Hand{To: Person}
	s = play(t, sc, s, []exchange{{"I have a question", "thanks", []string{"> person"}}})
	s, replies := Resume(sc, s)
	if want := []string{"Now, back to where we were.", "At what time?"}; !cmp.Equal(replies, want) || s.With.To != "" {
		t.Errorf("given back with %q, %+v", replies, s)
	}
	play(t, sc, s, []exchange{{"at 8", "None time=at_8", []string{"Would you like to sit inside or outside?"}}})
	if _, replies := Resume(sc, State{With: Hand{To: Bot, Bot: "b"}, Misses: 3}); replies != nil {
		t.Errorf("nothing waits, but it says %q", replies)
	}
}

// The rules that the example has no use for.
func TestRules(t *testing.T) {
	const flows = `
fallback: [ask]
flows:
  a: {slots: {n: {entity: n, ask: [n?, "n, please?"]}, m: {entity: [m, n], optional: true}}, confirm: "{n} and {m|none}?", reply: done}
  b: {slots: {n: {entity: n, ask: b n?, tries: 0}}, reply: 'b {n}'}
  c: {slots: {x: {choices: [red, dark red], ask: colour?}}, whole: true, reply: "{x}"}
  d: {intent: [d, other], slots: {y: {entity: y, ask: y?}}, reply: 'd {{y}}'}
  e: {slots: {z: {entity: z, ask: z?}}, hand: person}
`
	long := "please tell me about something else now"
	for name, story := range map[string][]exchange{
		"two entities of a type fill two slots": {
			{"1 2", "a n=1 n=2", []string{"1 and 2?"}},
			{"ok", "", []string{"done"}},
		},
		"said again is no change": {
			{"1", "a n=1//1", []string{"1 and none?"}},
			{"yes, one", "None n=one//1", []string{"done"}},
		},
		"questions take turns": {
			{"a", "a", []string{"n?"}},
			{"b", "", []string{"Sorry, I did not understand that.", "n, please?"}},
		},
		"a bare answer is no interruption, a question is": {
			{"a", "a", []string{"n?"}},
			{"it is 5", "b n=5", []string{"5 and none?"}},
			{long + " 5", "b n=5", []string{"b 5", "5 and none?"}},
			{long, "b 0.69", []string{"Sorry, I did not understand that.", "5 and none?"}},
		},
		"a short text that fills nothing may interrupt": {
			{"a", "a", []string{"n?"}},
			{"other", "other", []string{"y?"}},
			{"y", "None y=y", []string{"d {y}", "n?"}},
		},
		"no flow twice, and not more than three": {
			{"a", "a", []string{"n?"}},
			{"b", "b", []string{"b n?"}},
			{long, "a", []string{"All right, never mind."}},
			{"a", "a", []string{"n, please?"}},
			{"b", "b", []string{"b n?"}},
			{"d", "d", []string{"y?"}},
			{"e", "e", []string{"Sorry, I did not understand that.", "y?"}},
		},
		"whole": {
			{"c", "c", []string{"colour?"}},
			{long, "b", []string{"Sorry, I did not understand that.", "colour?"}},
			{"Dark, red!", "", []string{"dark red"}},
		},
		"cancel is not a word among many": {
			{"c", "c", []string{"colour?"}},
			{"stop at the red house over there", "", []string{"red"}},
			{"c", "c", []string{"colour?"}},
			{"stop it now please", "", []string{"All right, never mind."}},
		},
		"a person without a saying": {
			{"e", "e z=1", []string{"> person, scripted"}},
		},
		"nothing said": {
			{"", "", []string{"Sorry, I did not understand that."}},
			{"🍰", "", []string{"Sorry, I did not understand that."}},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, script(t, flows), State{}, story) })
	}
}

// A state of another script is taken as far as it fits.
func TestOldStates(t *testing.T) {
	sc := script(t, "flows:\n  a: {slots: {n: {entity: n, ask: n?}, m: {entity: m, ask: m?}}, reply: '{n} {m}'}\n")
	for state, want := range map[string][]string{
		`{"open":[{"flow":"gone","asked":"n"}]}`:                                                      {"1 2"},
		`{"open":[{"flow":"a","asked":"gone"}]}`:                                                      {"1 2"},
		`{"open":[{"flow":"a","confirm":true}]}`:                                                      {"1 2"},
		`{"open":[{"flow":"a","asked":"m","slots":{"n":{"said":"7"},"gone":{"said":"x"}}}],"turn":5}`: {"1 2"},
		`{"turn":-5,"misses":-7}`:                                                                     {"1 2"},
		`{"open":[{"flow":"a","asked":"m"},{"flow":"a","asked":"m"},{"flow":"a","asked":"m"},{"flow":"a","asked":"m"}]}`: {"1 2", "m?"},
	} {
		s, err := ParseState([]byte(state))
		if err != nil {
			t.Fatal(err)
		}
		_, replies, _ := Step(sc, s, parse(t, "1 2", "a n=1 m=2"))
		if !cmp.Equal(replies, want) {
			t.Errorf("%s: %q, want %q", state, replies, want)
		}
	}
	if _, err := ParseState([]byte("{")); err == nil {
		t.Error("broken JSON is a state")
	}
}

func TestProblems(t *testing.T) {
	_, err := Parse("x.yaml", []byte(`name: [x]
understand: 0.9
interrupt: 0.3
colour: red
fallback: [model, nobody, bot]
say: {unclear: "{x}", resume: ""}
words: {yes: ["!"]}
flows:
  a: hello {name}
  b: {slots: {n: {entity: n}}, reply: x}
  c: {slots: {n: {ask: n?}, m: {entity: m, text: true, ask: m?}, o: {text: true, optional: true}}, reply: '{o} {p} }'}
  d: {}
  e: {intent: [a, d], declined: no, hand: ask}
  f: {slots: {place: {entity: p, ask: '{plcae}', tries: 11, agan: x}}, reply: {by: x, y: '{', z: [w]}}
  "g:": x
  h: {whole: maybe, hand: bot}
  i: {slots: [x], reply: {else: x}}
`))
	var got yamlfile.Problems
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	want := []string{
		"x.yaml:1: name: wanted a text", `x.yaml:3: interrupt (0.3) is less than understand (0.9)`, `x.yaml:4: there is no key "colour"`,
		`x.yaml:5: fallback: "nobody" is none of ask, model, person, bot NAME`, `x.yaml:5: fallback: "bot" is none of`,
		"x.yaml:6: unclear: there are no slots here, such as {x}", "x.yaml:6: resume: it says nothing", `x.yaml:7: yes: there is no word in "!"`,
		`x.yaml:9: a: the flow has no slot "name"`, `x.yaml:10: how is the slot "n" asked for?`,
		`x.yaml:11: what fills the slot "n"?`, `x.yaml:11: what fills the slot "m"?`, `x.yaml:11: the slot "o" takes any text`, `x.yaml:11: reply: } closes nothing`,
		`x.yaml:12: the flow "d" comes to nothing`, `x.yaml:13: intent "a" begins the flow "a" already`, `x.yaml:13: intent "d" begins the flow "d" already`,
		"x.yaml:13: declined: there is nothing to decline", `x.yaml:13: hand: "ask" is none of model, person, bot NAME`,
		`x.yaml:14: ask: the flow has no slot "plcae" (did you mean "place"?)`, "x.yaml:14: tries: wanted a number from 0 to 10", `x.yaml:14: there is no key "agan" here (did you mean "again"?)`,
		`x.yaml:14: by: the flow has no slot "x"`, "x.yaml:14: y: { has no }", "x.yaml:14: reply: what is said for any other value?",
		`x.yaml:15: "g:" is no name of a flow`, "x.yaml:16: whole: wanted true or false", `x.yaml:16: hand: "bot" is none of`,
		"x.yaml:17: slots: wanted keys and values", "x.yaml:17: reply: which slot decides?", `x.yaml:16: the flow "h" comes to nothing`, `x.yaml:13: the flow "e" comes to nothing`,
	}
	for _, w := range want {
		i := -1
		for k, p := range got {
			if strings.HasPrefix(p.String(), w) {
				i = k
			}
		}
		if i < 0 {
			t.Errorf("nobody says %s", w)
			continue
		}
		got = append(got[:i:i], got[i+1:]...)
	}
	for _, p := range got {
		t.Errorf("unexpected: %s", p)
	}
	for text, want := range map[string]string{
		"":                      "there is no flow",
		"flows: {}":             "there is no flow",
		"a: [":                  "x.yaml:2: YAML: ",
		"\xff":                  "UTF-8",
		"flows: {a: {b: c: d}}": "YAML",
	} {
		if _, err := Parse("x.yaml", []byte(text)); err == nil && text != "a: [" || err != nil && !strings.Contains(err.Error(), want) && text != "a: [" {
			t.Errorf("%q: %v; want it to say %q", text, err, want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// The example fits the model that it goes with, and a script that does not fit
// is told so.
func TestCheckModel(t *testing.T) {
	sc, err := Read(example)
	if err != nil {
		t.Fatal(err)
	}
	p, err := corpus.Read("../../examples/nlu/cityguide")
	if err != nil {
		t.Fatal(err)
	}
	if err := sc.CheckModel("cityguide.yaml", p); err != nil {
		t.Error(err)
	}
	err = script(t, "flows:\n  book_tabel: x\n  thanks:\n    slots:\n      a: {entity: plaec, ask: x}\n      b: {entity: 'place:fron', ask: x}\n    reply: x\n").CheckModel("y", p)
	want := `y:2: the model has no intent "book_tabel" (did you mean "book_table"?)
y:5: the model has no entity "plaec" (did you mean "place"?)
y:6: the model's entity "place" has no role "fron" (did you mean "from"?)`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// The documentation shows what can be read, and says something of every key.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../../docs/dialog.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```yaml\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/dialog.md has no block of yaml")
	}
	sc := script(t, block)
	understood := map[string]string{
		"a table for two please": "book_table people=two//2", "when does the castle open?": "opening_hours",
		"tomorrow at eight": "None time=tomorrow_at_eight", "no, make it three people": "None people=three//3", "yes": "None",
	}
	var story []exchange
	_, rows, _ := strings.Cut(string(b), "|---|---|\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	for row := range strings.SplitSeq(rows, "\n") {
		cells := strings.Split(row, " | ")
		if len(cells) != 2 {
			t.Fatalf("%q is no line of a conversation", row)
		}
		who, text := strings.TrimPrefix(cells[0], "| "), strings.TrimSuffix(cells[1], " |")
		if who == "person" {
			story = append(story, exchange{text, understood[text], nil})
			continue
		}
		last := &story[len(story)-1]
		last.want = append(last.want, text)
	}
	last := &story[len(story)-1]
	last.want = append(last.want, "> bot bookings, scripted people=three time=tomorrow at eight")
	play(t, sc, State{}, story)
	for _, key := range []string{"name", "understand", "interrupt", "fallback", "say", "words", "flows", "intent", "slots", "confirm", "declined", "reply", "hand", "whole: true", "entity", "choices", "text: true", "ask", "again", "tries", "optional: true"} {
		if !strings.Contains(string(b), "`"+key+"`") && !strings.Contains(string(b), "`"+key+":") {
			t.Errorf("docs/dialog.md says nothing of %s", key)
		}
	}
}

func TestTemplates(t *testing.T) {
	slots := map[string]Value{"a": {Said: "x", Name: "X"}, "b": {Said: "{c}"}}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "{a} {b}": "X {c}", "{c|nothing} {c}.": "nothing .", "{{a}}": "{a}", "{a|y}": "X", "é{a}é": "éXé",
	} {
		if got := fill(text, slots); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"{", "}", "{a", "a}", "{}", "{|x}", "{a{b}}"} {
		if _, err := parseTemplate(text); err == nil {
			t.Errorf("%q can be parsed", text)
		}
	}
}

// FuzzStep reads any script and takes steps from any state.
func FuzzStep(f *testing.F) {
	b, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b), `{"open":[{"flow":"book_table","asked":"time","slots":{"people":{"said":"two"}}}],"misses":1,"turn":3}`, "tomorrow at 8", "thanks")
	f.Add("flows: {a: {slots: {n: {choices: {x: [y]}, ask: '{n|z}?'}}, reply: {by: n, x: '{{', else: b}, hand: model}}", `{"with":{"to":"bot","bot":"b"}}`, "y", "a")
	f.Add("flows: {a: b}", "", "", "")
	f.Fuzz(func(t *testing.T, file, state, text, intent string) {
		sc, err := Parse("fuzz", []byte(file))
		if err != nil {
			var ps yamlfile.Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		s, err := ParseState([]byte(state))
		if err != nil {
			return
		}
		for range 8 {
			next, replies, a := Step(sc, s, Input{Text: text, Intent: intent, Score: 1, Entities: []Found{{Entity{"n", ""}, Value{Said: text}}}})
			if len(replies) == 0 && a.Hand.To == "" && len(next.Open) > 0 {
				t.Fatalf("a flow waits and nobody says a word: %+v, %q", next, file)
			}
			if len(next.Open) > mostOpen {
				t.Fatalf("%d flows wait", len(next.Open))
			}
			b, err := json.Marshal(next)
			if err != nil {
				t.Fatal(err)
			}
			if s, err = ParseState(b); err != nil {
				t.Fatal(err)
			}
			s, _ = Resume(sc, s)
		}
	})
}

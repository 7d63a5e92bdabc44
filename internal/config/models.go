package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Responses says which answers through /v1 are kept.
type Responses struct {
	Size   int64 // bytes; 0 = none are kept
	Age    time.Duration
	Shared bool // between users
}

// Model is what is said of a model, or a name for one or several of them.
type Model struct {
	Name     string   // what clients ask for
	Serve    []string // models, as "NAME" or "NAME N%"; empty: the model of this name
	Fallback []string
	On       []string // when the next of Fallback is asked; empty: down and full
	Wait     time.Duration
	Shadow   string // "" = none
	Hedge    int    // percentile; 0 = never
	Hedges   int    // percent of the requests; 0 = 5
}

// Share is a model and how much of something it gets.
type Share struct {
	Model   string
	Percent float64 // 0: none was given
}

var shareForm = regexp.MustCompile(`^(.*\S)\s+([0-9.]+)\s*%$`)

// ShareOf reads "NAME" or "NAME N%".
func ShareOf(v string) (Share, error) {
	m := shareForm.FindStringSubmatch(v)
	if m == nil {
		if strings.HasSuffix(v, "%") {
			return Share{}, fmt.Errorf("%q is not a model and its share, such as llama-next 5%%", clip(v))
		}
		return Share{Model: strings.TrimSpace(v)}, nil
	}
	n, err := strconv.ParseFloat(m[2], 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n > 100 {
		return Share{}, fmt.Errorf("%q: a share is more than 0%% and at most 100%%", clip(v))
	}
	return Share{Model: m[1], Percent: n}, nil
}

func checkShare(v string) error {
	_, err := ShareOf(v)
	return err
}

func modelsSettings() []row[Model] {
	return []row[Model]{
		text(Row{Key: "name", Required: true, Doc: "What clients ask for: a new name, or that of a model of the engines."},
			func(m *Model) *string { return &m.Name }, atMost(200)),
		texts(Row{Key: "serve", Bounds: "NAME or NAME N%", Doc: "The models behind the name. Each gets its share of the conversations, one without a share what is left; a conversation stays with its model. Without it, the model of this name."},
			func(m *Model) *[]string { return &m.Serve }, 20, 1024, checkShare),
		texts(Row{Key: "fallback", Doc: "Models that are asked instead, one after the other, when that one can't answer. The answer says so."},
			func(m *Model) *[]string { return &m.Fallback }, 10, 1024, nil),
		texts(Row{Key: "on", Bounds: "down, full, refused", Doc: "When that is: no engine of the model is well, all have too much to do, or it does not take the request (too long, or something it can't do). Without it, down and full."},
			func(m *Model) *[]string { return &m.On }, 3, 10, checkCause),
		duration(Row{Key: "wait", Doc: "full: how long a request waits in line before the next model is asked. Without it, 5s."},
			func(m *Model) *time.Duration { return &m.Wait }, 10*time.Millisecond, time.Minute),
		text(Row{Key: "shadow", Bounds: "NAME or NAME N%", Doc: "A model that gets the requests too, or a share of them, in slots that nobody needs. Nobody gets its answers; metrics tell how it did."},
			func(m *Model) *string { return &m.Shadow }, checkShare),
		number(Row{Key: "hedge", Doc: "A request that begins later than so many of a hundred is asked of a second engine too, if one is idle; the first to begin goes on. 95 is usual. Without it, never."},
			func(m *Model) *int { return &m.Hedge }, 50, 99),
		number(Row{Key: "hedge_share", Doc: "Percent of the requests that may be asked twice. Without it, 5."},
			func(m *Model) *int { return &m.Hedges }, 1, 50),
	}
}

func checkCause(v string) error {
	if !slices.Contains([]string{"down", "full", "refused"}, v) {
		return fmt.Errorf("%q is not one of the words for it", clip(v))
	}
	return nil
}

// finishModels checks what spans several entries.
func (l *loader) finishModels(c *Config) {
	serves, known := served(c)
	names, own := map[string]bool{}, map[string]bool{} // own: stand for a model of the same name
	for _, m := range c.Models {
		names[m.Name] = true
		own[m.Name] = len(m.Serve) == 0 || slices.ContainsFunc(m.Serve, func(v string) bool { s, _ := ShareOf(v); return s.Model == m.Name })
	}
	seen := map[string]bool{}
	for i, m := range c.Models {
		key := fmt.Sprintf("models[%d]", i)
		l.at = sourceOf(c, key, "models")
		if m.Name != "" && seen[m.Name] {
			l.problem(key+".name", "", "%q is the name of another entry too", m.Name)
		}
		seen[m.Name] = true
		shadow, _ := ShareOf(m.Shadow)
		for _, at := range []struct {
			key    string
			models []string
		}{{".serve", targets(m)}, {".fallback", m.Fallback}, {".shadow", []string{shadow.Model}}} {
			for _, name := range at.models {
				switch {
				case name == "" || l.failedAt(key+at.key):
				case names[name] && !own[name]:
					l.problem(key+at.key, "name models of engines", "%q is itself a name for others", name)
				case known && !serves[name]:
					l.problem(key+at.key, "", "no engine serves the model %q", name)
				}
			}
		}
		if err := shares(m.Serve); err != nil {
			l.problem(key+".serve", "for example [llama, llama-next 5%]", "%v", err)
		}
		if shadow.Model != "" && slices.Contains(targets(m), shadow.Model) {
			l.problem(key+".shadow", "", "%q answers these requests already", shadow.Model)
		}
		if m.Hedges > 0 && m.Hedge == 0 {
			l.problem(key+".hedge", "95 is usual", "hedge_share bounds what hedge allows, and that is not there")
		}
		if len(m.Fallback) == 0 && (len(m.On) > 0 || m.Wait > 0) {
			l.problem(key+".fallback", "name the models that are asked instead", "on and wait say when a fallback is asked, and there is none")
		}
	}
}

// targets are the models behind a name.
func targets(m Model) []string {
	if len(m.Serve) == 0 {
		return []string{m.Name}
	}
	var out []string
	for _, v := range m.Serve {
		s, _ := ShareOf(v)
		out = append(out, s.Model)
	}
	return out
}

// shares checks that they make up a whole.
func shares(all []string) error {
	sum, open := 0.0, 0
	seen := map[string]bool{}
	for _, v := range all {
		s, err := ShareOf(v)
		if err != nil {
			return nil // that is a problem already
		}
		if seen[s.Model] {
			return fmt.Errorf("%q is there twice", s.Model)
		}
		seen[s.Model] = true
		if sum += s.Percent; s.Percent == 0 {
			open++
		}
	}
	switch {
	case len(all) == 0:
		return nil
	case open > 1:
		return errors.New("only one can get what the others leave: give the rest a share")
	case open == 1 && sum >= 100:
		return fmt.Errorf("the shares make %g%%, which leaves nothing for the model without one", sum)
	case open == 0 && math.Abs(sum-100) > 0.01:
		return fmt.Errorf("the shares make %g%% and not 100%%", sum)
	}
	return nil
}

// served are the names of models that engines serve; known is false where an
// engine lists them itself, so that nobody knows before it runs.
func served(c *Config) (names map[string]bool, known bool) {
	names, known = map[string]bool{}, len(c.Engines) > 0
	for _, e := range c.Engines {
		names[e.Name] = true
		if len(e.Models) == 0 || e.Kind == Embedded { // whose file has a name of its own
			known = false
		}
		for _, m := range e.Models {
			names[m], names[e.Name+"/"+m] = true, true
		}
	}
	return names, known
}

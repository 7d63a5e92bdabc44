package corpus

import (
	"fmt"
	"slices"
	"strings"
)

// cluExport is the part of a CLU project's export that a project has a place
// for.
type cluExport struct {
	Version  string `json:"projectFileVersion"`
	Index    string `json:"stringIndexType"`
	Metadata struct {
		Kind         string         `json:"projectKind"`
		Name         string         `json:"projectName"`
		Description  string         `json:"description"`
		Language     string         `json:"language"`
		Multilingual bool           `json:"multilingual"`
		Settings     map[string]any `json:"settings"`
	} `json:"metadata"`
	Assets struct {
		Intents []struct {
			Category    string `json:"category"`
			Description string `json:"description"`
		} `json:"intents"`
		Entities   []cluEntity `json:"entities"`
		Utterances []struct {
			Text     string `json:"text"`
			Language string `json:"language"`
			Intent   string `json:"intent"`
			Dataset  string `json:"dataset"` // Train, Test or missing
			Entities []struct {
				Category string `json:"category"`
				Offset   int    `json:"offset"`
				Length   int    `json:"length"`
			} `json:"entities"`
		} `json:"utterances"`
	} `json:"assets"`
}

type cluEntity struct {
	Category    string `json:"category"`
	Composition string `json:"compositionSetting"`
	List        *struct {
		Sublists []struct {
			Key      string `json:"listKey"`
			Synonyms []struct {
				Language string   `json:"language"`
				Values   []string `json:"values"`
			} `json:"synonyms"`
		} `json:"sublists"`
	} `json:"list"`
	Prebuilts []struct {
		Category string `json:"category"`
	} `json:"prebuilts"`
	Regex *struct {
		Expressions []struct {
			Key     string `json:"regexKey"`
			Pattern string `json:"regexPattern"`
		} `json:"expressions"`
	} `json:"regex"`
	Required []string `json:"requiredComponents"`
}

// ImportCLU reads the export of a project of Conversational Language
// Understanding, LUIS' successor.
func ImportCLU(b []byte) (*Project, []Lost, error) {
	var x cluExport
	if err := decodeJSON(b, "CLU project", &x); err != nil {
		return nil, nil, err
	}
	if k := x.Metadata.Kind; !strings.EqualFold(k, "Conversation") {
		return nil, nil, Problems{{File: "CLU project", Text: fmt.Sprintf("the project's kind is %q", clip(k)), Hint: `only "Conversation" can be read; export the project in its newest form`}}
	}
	in := newImporter(x.Metadata.Name, x.Metadata.Description, x.Metadata.Language, "")
	for name, value := range x.Metadata.Settings {
		in.lost.add("settings", clip(name), "it is %v there; thresholds and the like are set where the model is used", value)
	}
	slices.SortFunc(in.lost, func(a, b Lost) int { return strings.Compare(a.What, b.What) })
	for _, i := range x.Assets.Intents {
		if intent := in.intent(i.Category); intent != nil {
			intent.Description = i.Description
		}
	}
	for _, e := range x.Assets.Entities {
		in.define(e.definition(in))
	}
	for i, u := range x.Assets.Utterances {
		where := fmt.Sprintf("utterances[%d]", i)
		if u.Language != "" && x.Metadata.Language != "" && !sameLanguage(u.Language, x.Metadata.Language) {
			in.lost.add(where, "language "+clip(u.Language), "a project has one language: the line is read as %s", x.Metadata.Language)
		}
		units := newUnits(u.Text)
		if strings.EqualFold(x.Index, "UnicodeCodePoint") {
			units.at = nil
		}
		var marks []Entity
		for _, l := range u.Entities {
			start, ok1 := units.toRune(l.Offset)
			end, ok2 := units.toRune(l.Offset + l.Length)
			if !ok1 || !ok2 {
				in.lost.add(where, "label "+clip(l.Category), "offset %d and length %d are no part of the text", l.Offset, l.Length)
				continue
			}
			marks = append(marks, Entity{Start: start, End: end, Type: cleanName(l.Category)})
		}
		split := Train
		if strings.EqualFold(u.Dataset, "Test") {
			split = Test
		}
		in.utterance(where, u.Intent, Utterance{Text: u.Text, Marks: marks}, split)
	}
	return in.finish()
}

func sameLanguage(a, b string) bool {
	a, _, _ = strings.Cut(a, "-")
	b, _, _ = strings.Cut(b, "-")
	return strings.EqualFold(a, b)
}

func (e cluEntity) definition(in *importer) Definition {
	d := Definition{Name: e.Category}
	if e.List != nil {
		for _, s := range e.List.Sublists {
			v := Value{Name: s.Key}
			for _, syn := range s.Synonyms {
				v.Synonyms = append(v.Synonyms, syn.Values...)
			}
			d.Values = append(d.Values, v)
		}
		in.cleanValues(&d)
	}
	for _, p := range e.Prebuilts {
		in.addPrebuilt(&d, p.Category)
	}
	if e.Regex != nil {
		for _, r := range e.Regex.Expressions {
			in.addPattern(&d, r.Pattern)
		}
	}
	if len(e.Required) > 0 {
		in.lost.add("entity "+clip(e.Category), "requiredComponents "+strings.Join(e.Required, ", "), "each finder of an entity works by itself here")
	}
	if e.Composition != "" && !strings.EqualFold(e.Composition, "combineComponents") {
		in.lost.add("entity "+clip(e.Category), "compositionSetting "+clip(e.Composition), "each finder of an entity works by itself here")
	}
	return d
}

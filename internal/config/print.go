package config

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Value is one setting as it is in force.
type Value struct {
	Key    string              `json:"key"`
	Value  string              `json:"value,omitempty"`
	Values []string            `json:"values,omitempty"` // of a list of texts
	Items  []map[string]string `json:"items,omitempty"`  // of a list of items
	Source string              `json:"source"`

	kind  string
	pairs [][]pair
}

// Values returns every setting that has a value, in the table's order, with
// secrets redacted, and where each came from.
func (c Config) Values() []Value {
	var out []Value
	for _, r := range settings() {
		v := Value{Key: r.Key, Source: c.from[r.Key].String(), kind: r.Kind}
		if r.items != nil {
			v.pairs = r.items.show(&c)
			for _, item := range v.pairs {
				m := map[string]string{}
				for _, p := range item {
					m[p.key] = strings.Join(p.values, ", ")
				}
				v.Items = append(v.Items, m)
			}
			if len(v.Items) > 0 {
				out = append(out, v)
			}
			continue
		}
		got := r.get(&c)
		switch {
		case len(got) == 0 || shortcut(r.Key):
			continue
		case r.Kind == KindTexts:
			v.Values = got
		default:
			v.Value = got[0]
		}
		out = append(out, v)
	}
	return out
}

// shortcut reports whether a setting is shown as what it stands for.
func shortcut(key string) bool {
	return key == "key" || key == "engine" || key == "engine_key" || key == "system" || key == "directline_secret"
}

// Print writes the settings in force as a file that Load would read (but for
// what is redacted), each with its source.
func (c Config) Print(w io.Writer) error {
	b := bufio.NewWriter(w)
	section := ""
	for _, v := range c.Values() {
		key, indent := v.Key, ""
		if before, after, ok := strings.Cut(v.Key, "."); ok {
			if before != section {
				fmt.Fprintf(b, "%s:\n", before)
			}
			section, key, indent = before, after, "  "
		} else {
			section = ""
		}
		switch {
		case v.pairs != nil:
			fmt.Fprintf(b, "%s%s: # %s\n", indent, key, v.Source)
			for _, item := range v.pairs {
				for i, p := range item {
					lead := "    "
					if i == 0 {
						lead = "  - "
					}
					fmt.Fprintf(b, "%s%s%s: %s\n", indent, lead, p.key, yamlOf(p.kind, p.values))
				}
			}
		case v.Values != nil:
			fmt.Fprintf(b, "%s%s: %s # %s\n", indent, key, yamlOf(KindTexts, v.Values), v.Source)
		default:
			fmt.Fprintf(b, "%s%s: %s # %s\n", indent, key, yamlOf(v.kind, []string{v.Value}), v.Source)
		}
	}
	return b.Flush()
}

// yamlOf writes a value so that YAML reads it back as the same text.
func yamlOf(kind string, values []string) string {
	switch kind {
	case KindNumber, KindDecimal, KindSwitch, KindDuration, KindSize:
		return values[0]
	case KindTexts:
		quoted := make([]string, len(values))
		for i, v := range values {
			quoted[i] = quote(v)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return quote(values[0])
}

// quote writes a text in YAML's double quotes, whose escapes JSON's are a part
// of.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // no string fails
		return strconv.Quote(s)
	}
	return string(b)
}

package gbnf

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestFromSchema(t *testing.T) {
	for name, tt := range map[string]struct{ schema, want string }{
		"object": {
			`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name"]}`,
			`root ::= r6
r1 ::= "\"name\"" ws ":" ws string
r2 ::= "\"age\"" ws ":" ws integer
r3 ::= r2
r4 ::= ("," ws r2)?
r5 ::= "," ws r1 r4
r6 ::= "{" ws r1 r4 ws "}"
`,
		},
		"enum": {`{"enum":["a\"b",1,null]}`, `root ::= r1
r1 ::= "\"a\\\"b\"" | "1" | "null"
`},
		"array": {`{"type":"array","items":{"type":"boolean"},"minItems":1,"maxItems":3}`, `root ::= r1
r1 ::= "[" ws ("true" | "false") (ws "," ws ("true" | "false")){0,2} ws "]"
`},
		"string": {`{"type":"string","minLength":2,"maxLength":4}`, `root ::= r1
r1 ::= "\"" char{2,4} "\""
`},
		"itself": {`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["next"]}}}`, `root ::= r1
r1 ::= r5
r2 ::= r1 | "null"
r3 ::= "\"next\"" ws ":" ws r2
r4 ::= "," ws r3
r5 ::= "{" ws r3 ws "}"
`},
	} {
		got, err := FromSchema(json.RawMessage(tt.schema))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
		wellFormed(t, got)
	}
}

// wellFormed checks that every rule that is used exists, once.
func wellFormed(t *testing.T, grammar string) {
	t.Helper()
	defined := map[string]bool{}
	var used []string
	strip := regexp.MustCompile(`"(\\.|[^"\\])*"|\[(\\.|[^\]\\])*\]|\{[0-9,]*\}`)
	for line := range strings.Lines(grammar) {
		name, body, ok := strings.Cut(line, " ::=")
		if !ok {
			t.Fatalf("no rule: %q", line)
		}
		if defined[name] {
			t.Errorf("rule %s twice", name)
		}
		defined[name] = true
		used = append(used, regexp.MustCompile(`[a-z][a-z0-9-]*`).FindAllString(strip.ReplaceAllString(body, " "), -1)...)
	}
	for _, u := range used {
		if !defined[u] {
			t.Errorf("rule %s is not defined in\n%s", u, grammar)
		}
	}
}

func TestRefused(t *testing.T) {
	for schema, want := range map[string]fault.Code{
		`{`:                                   fault.Invalid,
		`[]`:                                  fault.Invalid,
		`{"type":"banana"}`:                   fault.Invalid,
		`{"type":"object","required":"x"}`:    fault.Invalid,
		`{"$ref":"#/$defs/none"}`:             fault.Invalid,
		`{"$ref":"#"}`:                        fault.Invalid,
		`{"enum":[]}`:                         fault.Invalid,
		`false`:                               fault.Unsupported,
		`{"type":"integer","minimum":3}`:      fault.Unsupported,
		`{"type":"string","pattern":"a+"}`:    fault.Unsupported,
		`{"$ref":"https://example.org/x"}`:    fault.Unsupported,
		`{"type":"array","uniqueItems":true}`: fault.Unsupported,
		`{"type":"array","minItems":100000}`:  fault.Unsupported,
		`{"not":{}}`:                          fault.Unsupported,
		`{"allOf":[{},{}]}`:                   fault.Unsupported,
		`{"anyOf":[{"type":"null"}],"type":"string"}`:                    fault.Unsupported,
		`{"type":"object","required":["a"]}`:                             fault.Unsupported,
		strings.Repeat(`{"items":`, 70) + `{}` + strings.Repeat(`}`, 70): fault.TooLarge,
		`"` + strings.Repeat("x", MaxSchema) + `"`:                       fault.TooLarge,
	} {
		got, err := FromSchema(json.RawMessage(schema))
		if !fault.Is(err, want) {
			t.Errorf("%.60s: got %q, %v, want %s", schema, got, err, want)
		}
	}
}

func FuzzFromSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"prefixItems":[{"type":"number"},{"const":{"x":1}}]}},"additionalProperties":false}`)
	f.Add(`{"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#/$defs/a"}}}}`)
	f.Add(`{"type":"object","additionalProperties":{"type":"string","format":"date-time"}}`)
	f.Fuzz(func(t *testing.T, schema string) {
		got, err := FromSchema(json.RawMessage(schema))
		switch fault.CodeOf(err) {
		case "":
			wellFormed(t, got)
		case fault.Invalid, fault.Unsupported, fault.TooLarge:
		default:
			t.Fatalf("%v", err)
		}
	})
}

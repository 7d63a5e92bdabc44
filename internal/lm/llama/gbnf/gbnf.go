// Package gbnf turns a JSON schema into a grammar in the library's notation
// (GBNF). What may live here: that conversion.
//
// The grammar accepts only documents that satisfy the schema, and not all of
// them: properties come in the schema's order, whitespace is short, and
// properties that the schema does not name are left out if it names any.
//
// Understood: boolean schemas (true), type (one or a list), properties,
// required, additionalProperties, items, prefixItems, minItems, maxItems,
// minLength, maxLength, enum, const, anyOf, oneOf (as anyOf), allOf of one,
// $ref within the document, format date, time, date-time and uuid.
// Annotations are ignored. Every other keyword is Unsupported, by name.
package gbnf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits of a schema.
const (
	MaxSchema     = 64 << 10 // bytes
	maxDepth      = 64
	maxRules      = 2000
	maxRepetition = 1000
)

// FromSchema returns a grammar whose start symbol is root. The error is a
// fault: Invalid if it is not a schema, Unsupported if it says more than this
// package understands, TooLarge over a limit.
func FromSchema(schema json.RawMessage) (string, error) {
	if len(schema) > MaxSchema {
		return "", fault.New(fault.TooLarge, "the schema has %d bytes; the limit is %d", len(schema), MaxSchema)
	}
	if !json.Valid(schema) {
		return "", fault.New(fault.Invalid, "the schema is not JSON")
	}
	c := &converter{document: schema, refs: map[string]string{}, used: map[string]bool{}}
	body, err := c.schema(schema, "schema", 0)
	if err != nil {
		return "", err
	}
	c.rules = append([]string{"root ::= " + body}, c.rules...)
	c.terminals()
	return strings.Join(c.rules, "\n") + "\n", nil
}

type converter struct {
	document json.RawMessage
	rules    []string
	refs     map[string]string // $ref -> rule
	used     map[string]bool   // terminals in use
	n        int
}

// annotations say nothing about what is valid.
var annotations = []string{
	"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
	"$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "contentMediaType", "contentEncoding",
}

func unsupported(path, what string) error {
	return fault.New(fault.Unsupported, "the embedded engine can't hold an answer to %s (at %s of the schema)", what, path)
}

func invalid(path, what string) error {
	return fault.New(fault.Invalid, "the schema is wrong at %s: %s", path, what)
}

// rule adds a rule and returns its name.
func (c *converter) rule(body string) (string, error) {
	c.n++
	if c.n > maxRules {
		return "", fault.New(fault.TooLarge, "the schema needs more than %d grammar rules", maxRules)
	}
	name := "r" + strconv.Itoa(c.n)
	c.rules = append(c.rules, name+" ::= "+body)
	return name, nil
}

func (c *converter) use(terminal string) string {
	c.used[terminal] = true
	return terminal
}

// schema returns an expression, safe to stand in a sequence, for raw.
func (c *converter) schema(raw json.RawMessage, path string, depth int) (string, error) {
	if depth > maxDepth {
		return "", fault.New(fault.TooLarge, "the schema is nested deeper than %d", maxDepth)
	}
	switch string(bytes.TrimSpace(raw)) {
	case "true":
		return c.use("value"), nil
	case "false":
		return "", unsupported(path, "a schema that nothing satisfies")
	}
	keys, m, err := object(raw)
	if err != nil {
		return "", invalid(path, "a schema is an object or true")
	}
	for _, k := range annotations {
		delete(m, k)
	}
	keys = slices.DeleteFunc(keys, func(k string) bool { return m[k] == nil })
	if len(keys) == 0 {
		return c.use("value"), nil
	}
	s := &node{c: c, m: m, path: path, depth: depth}
	body, err := s.body()
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		if m[k] != nil {
			return "", unsupported(path, strconv.Quote(k))
		}
	}
	return body, nil
}

// node is one schema; take removes the keywords that were understood.
type node struct {
	c     *converter
	m     map[string]json.RawMessage
	path  string
	depth int
}

func (s *node) take(key string) json.RawMessage {
	raw := s.m[key]
	delete(s.m, key)
	return raw
}

func (s *node) body() (string, error) {
	if raw := s.take("$ref"); raw != nil {
		return s.ref(raw)
	}
	if raw := s.take("const"); raw != nil {
		delete(s.m, "type")
		return literal(raw)
	}
	if raw := s.take("enum"); raw != nil {
		delete(s.m, "type")
		return s.enum(raw)
	}
	for _, k := range []string{"anyOf", "oneOf", "allOf"} {
		if raw := s.take(k); raw != nil {
			if k != "allOf" {
				// A type beside the alternatives would have to be met too.
				return s.alternatives(raw, k)
			}
			return s.all(raw)
		}
	}
	raw := s.take("type")
	if raw == nil {
		switch {
		case s.m["properties"] != nil:
			return s.object()
		case s.m["items"] != nil || s.m["prefixItems"] != nil:
			return s.array()
		}
		return "", unsupported(s.path, "a schema without a type")
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return s.typed(one)
	}
	var many []string
	if json.Unmarshal(raw, &many) != nil || len(many) == 0 {
		return "", invalid(s.path, "type is a name or a list of names")
	}
	alts := make([]string, len(many))
	for i, t := range many {
		var err error
		if alts[i], err = s.typed(t); err != nil {
			return "", err
		}
	}
	return s.c.rule(strings.Join(alts, " | "))
}

func (s *node) typed(name string) (string, error) {
	switch name {
	case "object":
		return s.object()
	case "array":
		return s.array()
	case "string":
		return s.str()
	case "integer", "number":
		return s.c.use(name), nil
	case "boolean":
		return `("true" | "false")`, nil
	case "null":
		return `"null"`, nil
	}
	return "", invalid(s.path, "unknown type "+strconv.Quote(name))
}

func (s *node) ref(raw json.RawMessage) (string, error) {
	var ref string
	if json.Unmarshal(raw, &ref) != nil {
		return "", invalid(s.path, "$ref is a string")
	}
	if name, ok := s.c.refs[ref]; ok {
		return name, nil
	}
	if ref != "#" && !strings.HasPrefix(ref, "#/") {
		return "", unsupported(s.path, "a $ref out of the document")
	}
	target := s.c.document
	for _, part := range strings.Split(ref, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		_, m, err := object(target)
		if err != nil || m[part] == nil {
			return "", invalid(s.path, "$ref "+strconv.Quote(ref)+" leads nowhere")
		}
		target = m[part]
	}
	// The name is known before the body, so that a schema may contain itself.
	name, err := s.c.rule("")
	if err != nil {
		return "", err
	}
	s.c.refs[ref] = name
	at := len(s.c.rules) - 1
	body, err := s.c.schema(target, ref, s.depth+1)
	if err != nil {
		return "", err
	}
	if body == name {
		return "", invalid(s.path, "$ref "+strconv.Quote(ref)+" refers to itself alone")
	}
	s.c.rules[at] = name + " ::= " + body
	return name, nil
}

func (s *node) enum(raw json.RawMessage) (string, error) {
	var values []json.RawMessage
	if json.Unmarshal(raw, &values) != nil || len(values) == 0 {
		return "", invalid(s.path, "enum is a list of at least one value")
	}
	alts := make([]string, len(values))
	for i, v := range values {
		var err error
		if alts[i], err = literal(v); err != nil {
			return "", err
		}
	}
	return s.c.rule(strings.Join(alts, " | "))
}

func (s *node) alternatives(raw json.RawMessage, key string) (string, error) {
	var schemas []json.RawMessage
	if json.Unmarshal(raw, &schemas) != nil || len(schemas) == 0 {
		return "", invalid(s.path, key+" is a list of at least one schema")
	}
	alts := make([]string, len(schemas))
	for i, raw := range schemas {
		var err error
		if alts[i], err = s.c.schema(raw, fmt.Sprintf("%s/%s/%d", s.path, key, i), s.depth+1); err != nil {
			return "", err
		}
	}
	return s.c.rule(strings.Join(alts, " | "))
}

func (s *node) all(raw json.RawMessage) (string, error) {
	var schemas []json.RawMessage
	if json.Unmarshal(raw, &schemas) != nil || len(schemas) != 1 {
		return "", unsupported(s.path, "allOf of several schemas")
	}
	return s.c.schema(schemas[0], s.path+"/allOf/0", s.depth+1)
}

func (s *node) object() (string, error) {
	c := s.c
	extra := s.take("additionalProperties")
	required, err := s.required()
	if err != nil {
		return "", err
	}
	props := s.take("properties")
	keys, m, err := object(props)
	if props != nil && err != nil {
		return "", invalid(s.path, "properties is an object")
	}
	if len(keys) == 0 {
		if len(required) > 0 {
			return "", unsupported(s.path, "required properties without a schema")
		}
		return s.dictionary(extra)
	}
	for _, r := range required {
		if m[r] == nil {
			return "", unsupported(s.path, "the required property "+strconv.Quote(r)+" without a schema")
		}
	}
	pairs := make([]string, len(keys))
	for i, k := range keys {
		value, err := c.schema(m[k], s.path+"/properties/"+k, s.depth+1)
		if err != nil {
			return "", err
		}
		name, err := json.Marshal(k)
		if err != nil {
			return "", fmt.Errorf("encode property name: %w", err)
		}
		if pairs[i], err = c.rule(quote(string(name)) + " " + c.use("ws") + ` ":" ws ` + value); err != nil {
			return "", err
		}
	}
	// tail is what may follow once something stands before it; first is what
	// may follow the opening brace, built from the last property backwards.
	tail, first, empty := "", "", true
	for i := len(keys) - 1; i >= 0; i-- {
		here := strings.TrimSpace(pairs[i] + " " + tail)
		if slices.Contains(required, keys[i]) {
			first, empty = here, false
			tail = strings.TrimSpace(`"," ws ` + pairs[i] + " " + tail)
		} else {
			if first != "" {
				here += " | " + first
			}
			if first, err = c.rule(here); err != nil {
				return "", err
			}
			tail = strings.TrimSpace(`("," ws ` + pairs[i] + ")? " + tail)
		}
		if tail, err = c.rule(tail); err != nil {
			return "", err
		}
	}
	if empty {
		first = "(" + first + ")?"
	}
	return c.rule(`"{" ws ` + first + ` ws "}"`)
}

func (s *node) required() ([]string, error) {
	raw := s.take("required")
	if raw == nil {
		return nil, nil
	}
	var required []string
	if json.Unmarshal(raw, &required) != nil {
		return nil, invalid(s.path, "required is a list of names")
	}
	return required, nil
}

// dictionary is an object that names no properties.
func (s *node) dictionary(extra json.RawMessage) (string, error) {
	value := s.c.use("value")
	switch string(bytes.TrimSpace(extra)) {
	case "", "true":
	case "false":
		return s.c.rule(`"{" ` + s.c.use("ws") + ` "}"`)
	default:
		var err error
		if value, err = s.c.schema(extra, s.path+"/additionalProperties", s.depth+1); err != nil {
			return "", err
		}
	}
	pair, err := s.c.rule(s.c.use("string") + " " + s.c.use("ws") + ` ":" ws ` + value)
	if err != nil {
		return "", err
	}
	return s.c.rule(`"{" ws (` + pair + ` ("," ws ` + pair + `)*)? ws "}"`)
}

func (s *node) array() (string, error) {
	lo, hi, err := s.bounds("minItems", "maxItems")
	if err != nil {
		return "", err
	}
	ws := s.c.use("ws")
	items := s.take("items")
	if raw := s.take("prefixItems"); raw != nil {
		return s.tuple(raw, items, lo, hi)
	}
	item := s.c.use("value")
	if items != nil {
		if item, err = s.c.schema(items, s.path+"/items", s.depth+1); err != nil {
			return "", err
		}
	}
	more := fmt.Sprintf(`(ws "," %s %s)`, ws, item)
	list := item + " " + more + repeat(max(0, lo-1), hi-1)
	switch {
	case hi == 0:
		list = ""
	case hi == 1:
		list = item
	}
	if lo == 0 && list != "" {
		list = "(" + list + ")?"
	}
	return s.c.rule(`"[" ws ` + list + ` ws "]"`)
}

// tuple is an array with a schema for each place, all of them present.
func (s *node) tuple(raw, items json.RawMessage, lo, hi int) (string, error) {
	var schemas []json.RawMessage
	if json.Unmarshal(raw, &schemas) != nil || len(schemas) == 0 {
		return "", invalid(s.path, "prefixItems is a list of at least one schema")
	}
	if lo > len(schemas) || hi >= 0 && hi < len(schemas) || items != nil && string(bytes.TrimSpace(items)) != "false" && lo > 0 {
		return "", unsupported(s.path, "a number of items other than that of prefixItems")
	}
	parts := make([]string, len(schemas))
	for i, raw := range schemas {
		var err error
		if parts[i], err = s.c.schema(raw, fmt.Sprintf("%s/prefixItems/%d", s.path, i), s.depth+1); err != nil {
			return "", err
		}
	}
	return s.c.rule(`"[" ws ` + strings.Join(parts, ` ws "," ws `) + ` ws "]"`)
}

func (s *node) str() (string, error) {
	lo, hi, err := s.bounds("minLength", "maxLength")
	if err != nil {
		return "", err
	}
	var format string
	if raw := s.take("format"); raw != nil && json.Unmarshal(raw, &format) != nil {
		return "", invalid(s.path, "format is a string")
	}
	if terminal, ok := formats[format]; ok && lo == 0 && hi < 0 {
		return s.c.use(terminal), nil
	}
	if lo == 0 && hi < 0 {
		return s.c.use("string"), nil
	}
	return s.c.rule(`"\"" ` + s.c.use("char") + repeat(lo, hi) + ` "\""`)
}

// bounds reads two numbers; the upper one is -1 if there is none.
func (s *node) bounds(lower, upper string) (lo, hi int, err error) {
	hi = -1
	for key, dst := range map[string]*int{lower: &lo, upper: &hi} {
		raw := s.take(key)
		if raw == nil {
			continue
		}
		var n float64
		if json.Unmarshal(raw, &n) != nil || n < 0 || n != float64(int(n)) {
			return 0, 0, invalid(s.path, key+" is a whole number")
		}
		if n > maxRepetition {
			return 0, 0, unsupported(s.path, fmt.Sprintf("%s over %d", key, maxRepetition))
		}
		*dst = int(n)
	}
	if hi >= 0 && lo > hi {
		return 0, 0, invalid(s.path, lower+" is over "+upper)
	}
	return lo, hi, nil
}

func repeat(lo, hi int) string {
	switch {
	case hi < 0 && lo == 0:
		return "*"
	case hi < 0:
		return fmt.Sprintf("{%d,}", lo)
	case lo == hi:
		return fmt.Sprintf("{%d}", lo)
	}
	return fmt.Sprintf("{%d,%d}", lo, hi)
}

var formats = map[string]string{"date": "date", "time": "time", "date-time": "date-time", "uuid": "uuid"}

// library holds the terminals and, after the arrow, the ones they need.
var library = []struct{ name, body, needs string }{
	{"value", `object | array | string | number | "true" | "false" | "null"`, "object array string number"},
	{"object", `"{" ws (string ws ":" ws value (ws "," ws string ws ":" ws value)*)? ws "}"`, "string ws"},
	{"array", `"[" ws (value (ws "," ws value)*)? ws "]"`, "ws"},
	{"string", `"\"" char* "\""`, "char"},
	{"char", `[^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})`, ""},
	{"number", `integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?`, "integer"},
	{"integer", `"-"? ("0" | [1-9] [0-9]{0,14})`, ""},
	{"date-time", `"\"" day "T" clock "\""`, "day clock"},
	{"date", `"\"" day "\""`, "day"},
	{"time", `"\"" clock "\""`, "clock"},
	{"day", `[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])`, ""},
	{"clock", `([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,3})? ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])`, ""},
	{"uuid", `"\"" [0-9a-fA-F]{8} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{12} "\""`, ""},
	{"ws", `| " " | "\n" [ \t]{0,20}`, ""},
}

// terminals adds those in use, and the ones they need.
func (c *converter) terminals() {
	for range library {
		for _, t := range library {
			if c.used[t.name] {
				for _, n := range strings.Fields(t.needs) {
					c.used[n] = true
				}
			}
		}
	}
	for _, t := range library {
		if c.used[t.name] {
			c.rules = append(c.rules, t.name+" ::= "+t.body)
		}
	}
}

// literal is the JSON value itself, compact.
func literal(raw json.RawMessage) (string, error) {
	var buf bytes.Buffer
	if err := json.Compact(&buf, raw); err != nil {
		return "", fmt.Errorf("compact value: %w", err)
	}
	return quote(buf.String()), nil
}

// quote writes s as a literal of the grammar.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// object decodes a JSON object and keeps the order of its keys.
func object(raw json.RawMessage) ([]string, map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	tok, err := dec.Token()
	if err != nil || tok != json.Delim('{') {
		return nil, nil, errors.New("not an object")
	}
	var keys []string
	m := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("read key: %w", err)
		}
		key, ok := tok.(string)
		if !ok {
			return nil, nil, errors.New("key is not a string")
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, nil, fmt.Errorf("read value: %w", err)
		}
		if _, twice := m[key]; !twice {
			keys = append(keys, key)
		}
		m[key] = v
	}
	return keys, m, nil
}

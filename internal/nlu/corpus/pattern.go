package corpus

import (
	"fmt"
	"slices"
	"strings"
)

// ParsePattern reads a template of a whole utterance:
//
//	^(book|reserve) a table [for {people}] at {time:when}
//
// {entity} and {entity:role} stand for any text of that entity, [x] may be
// missing, (a|b) is one of them, ^ at either end ties the template to that end
// of the utterance; a backslash makes one of them plain. Groups and options
// nest three deep. It returns the entities that the template has, in order.
func ParsePattern(s string) ([]Entity, error) {
	var found []Entity
	var open []byte
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("the pattern is empty")
	}
	if len(s) > 4*MostText {
		return nil, fmt.Errorf("the pattern is longer than %d bytes", 4*MostText)
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			i++
		case '{':
			name, _, ok := strings.Cut(s[i+1:], "}")
			if !ok {
				return nil, fmt.Errorf("{ has no }")
			}
			i += len(name) + 1
			e := Entity{}
			e.Type, e.Role, _ = strings.Cut(strings.TrimPrefix(name, "@"), ":")
			if err := checkName(strings.ReplaceAll(e.Type, "/", ".")); err != nil {
				return nil, fmt.Errorf("entity %q: %w", clip(e.Type), err)
			}
			found = append(found, e)
		case '[', '(':
			if open = append(open, c); len(open) > 3 {
				return nil, fmt.Errorf("groups and options stand more than three deep")
			}
		case ']', ')':
			want := byte('[')
			if c == ')' {
				want = '('
			}
			if len(open) == 0 || open[len(open)-1] != want {
				return nil, fmt.Errorf("%c closes nothing", c)
			}
			open = open[:len(open)-1]
		case '|':
			if !slices.Contains(open, '(') {
				return nil, fmt.Errorf("| stands outside of ( )")
			}
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("%c has no end", open[len(open)-1])
	}
	return found, nil
}

func (p *Project) checkPattern(s string) error {
	found, err := ParsePattern(s)
	if err != nil {
		return err
	}
	return p.checkMarks(Utterance{Marks: found})
}

package nlu

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Texts of three kinds come apart, whatever order they come in; what is like
// nothing else stands alone.
func TestGroups(t *testing.T) {
	texts := []string{
		"where can I park my car",
		"is there a car park near by",
		"my invoice is wrong",
		"where do I park the car",
		"xyzzy",
		"there is a mistake on my invoice",
		"can I park my car here",
		"the invoice you sent is wrong",
		"",
	}
	kind := func(i int) string {
		for _, w := range []string{"park", "invoice"} {
			if strings.Contains(texts[i], w) {
				return w
			}
		}
		return texts[i]
	}
	for range 3 {
		groups, err := Groups(texts, false)
		if err != nil {
			t.Fatal(err)
		}
		var all []int
		sizes := map[string]int{}
		for _, g := range groups {
			for _, i := range g.Texts {
				if kind(i) != kind(g.Texts[0]) {
					t.Errorf("%q stands with %q", texts[i], texts[g.Texts[0]])
				}
			}
			sizes[kind(g.Texts[0])] = max(sizes[kind(g.Texts[0])], len(g.Texts))
			all = append(all, g.Texts...)
		}
		if slices.Sort(all); len(all) != len(texts) || len(slices.Compact(all)) != len(texts) {
			t.Errorf("not each text once: %v", groups)
		}
		if sizes["park"] < 3 || sizes["invoice"] < 3 || len(groups[0].Texts) < 3 {
			t.Errorf("groups are too small: %v", groups)
		}
		texts = append(texts[1:], texts[0])
	}
	none, err := Groups(nil, true)
	if err != nil || len(none) != 0 {
		t.Errorf("of nothing: %v, %v", none, err)
	}
	a, _ := Groups(texts, false)
	b, _ := Groups(texts, false)
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("the same texts make two sorts of groups: %s", d)
	}
}

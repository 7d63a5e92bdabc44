package finder

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

const mostWords = 50 // of a list's value or synonym

// lists has the words of all lists' values as a tree.
type lists struct{ root *node }

type node struct {
	next map[string]*node
	hits []hit
}

// hit is a value that ends here.
type hit struct{ entity, name string }

func (l *lists) add(entity string, v corpus.Value) error {
	for _, s := range append([]string{v.Name}, v.Synonyms...) {
		words := wordsOf(s)
		if len(words) > mostWords {
			return fmt.Errorf("value %q has %d words, at most %d are looked for", v.Name, len(words), mostWords)
		}
		if len(words) == 0 {
			continue // nothing that a text could have
		}
		at := l.root
		for _, w := range words {
			if at.next == nil {
				at.next = map[string]*node{}
			}
			if at.next[w.text] == nil {
				at.next[w.text] = &node{}
			}
			at = at.next[w.text]
		}
		if h := (hit{entity, v.Name}); !slices.Contains(at.hits, h) {
			at.hits = append(at.hits, h)
		}
	}
	return nil
}

// find calls add for the longest value of each entity at each word.
func (l *lists) find(text string, add func(Entity)) {
	if l.root.next == nil {
		return
	}
	words := wordsOf(text)
	free := map[string]int{} // by entity: the first word that none of its values covers
	for i := range words {
		at := l.root
		var found []Entity // of different entities
		for j := i; j < len(words) && at.next != nil; j++ {
			if at = at.next[words[j].text]; at == nil {
				break
			}
			for _, h := range at.hits {
				if free[h.entity] > i {
					continue
				}
				k := slices.IndexFunc(found, func(e Entity) bool { return e.Name == h.entity })
				if k < 0 {
					k = len(found)
					found = append(found, Entity{Start: words[i].start, Name: h.entity, Kind: List})
				}
				if e := &found[k]; e.End != words[j].end {
					e.End, e.Names = words[j].end, nil
				}
				found[k].Names = append(found[k].Names, h.name)
			}
		}
		for _, e := range found {
			for j := i; j < len(words) && words[j].end <= e.End; j++ {
				free[e.Name] = j + 1
			}
			add(e)
		}
	}
}

// listWord is a word, or another character that is no space, with its place in
// code points.
type listWord struct {
	text       string // in lower case
	start, end int
}

// wordsOf cuts a text into words and signs. Hyphens and apostrophes don't
// count: plant-based is plant based.
func wordsOf(s string) []listWord {
	out := make([]listWord, 0, len(s)/4+1)
	at := 0 // code point of byte i
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		end, n := i+size, 1
		switch {
		case isWord(r):
			for end < len(s) {
				if r, size = utf8.DecodeRuneInString(s[end:]); !isWord(r) {
					break
				}
				end, n = end+size, n+1
			}
		case unicode.IsSpace(r) || strings.ContainsRune("-'’", r):
			i, at = end, at+1
			continue
		}
		out = append(out, listWord{strings.ToLower(s[i:end]), at, at + n})
		i, at = end, at+n
	}
	return out
}

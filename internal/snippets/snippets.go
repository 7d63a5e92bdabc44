// Package snippets keeps the texts that a person puts into messages again and
// again, each under a short name. They are that person's on every device and in
// every region: one replicated value for each person. What may live here: the
// rules of names and sizes, and how two devices write at once; nothing of HTTP,
// nothing of how a text gets into a message.
package snippets

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits: all snippets of a person are one value, which every region keeps.
const (
	Most        = 100     // of a person
	LongestName = 32      // characters
	LongestText = 8000    // characters
	largest     = 256_000 // bytes of all of them together
)

// Snippet is a text with the name by which it is called.
type Snippet struct {
	Name string `json:"name"` // small letters, digits, "-" and "_"
	Text string `json:"text"`
}

// Values is where nodes keep what they share. Load says NotFound for a key that
// has no value; Create and Replace say Conflict when somebody else was first.
type Values interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) error
	Replace(ctx context.Context, key string, value []byte, revision uint64) error
}

// Book holds everybody's snippets.
type Book struct{ values Values }

// New returns the book that lies in values.
func New(values Values) *Book { return &Book{values} }

// Of lists a person's snippets by name.
func (b *Book) Of(ctx context.Context, owner string) ([]Snippet, error) {
	all, _, err := b.load(ctx, owner)
	return all, err
}

// Put keeps a snippet, in the place of one that has its name, and returns all
// of the person's.
func (b *Book) Put(ctx context.Context, owner string, s Snippet) ([]Snippet, error) {
	name, err := tidyName(s.Name)
	if err != nil {
		return nil, err
	}
	switch n := utf8.RuneCountInString(s.Text); {
	case strings.TrimSpace(s.Text) == "":
		return nil, fault.New(fault.Invalid, "a snippet needs a text")
	case n > LongestText:
		return nil, fault.New(fault.TooLarge, "a snippet has at most %d characters; this one has %d", LongestText, n)
	}
	return b.change(ctx, owner, func(all []Snippet) ([]Snippet, error) {
		i, there := find(all, name)
		if there {
			all[i].Text = s.Text
			return all, nil
		}
		if len(all) == Most {
			return nil, fault.New(fault.Invalid, "there are %d snippets, and no room for more; remove one first", Most)
		}
		return slices.Insert(all, i, Snippet{name, s.Text}), nil
	})
}

// Drop forgets a snippet. One that is not there is NotFound.
func (b *Book) Drop(ctx context.Context, owner, name string) error {
	name, err := tidyName(name)
	if err != nil {
		return err
	}
	_, err = b.change(ctx, owner, func(all []Snippet) ([]Snippet, error) {
		i, there := find(all, name)
		if !there {
			return nil, fault.New(fault.NotFound, "there is no snippet %q", name)
		}
		return slices.Delete(all, i, i+1), nil
	})
	return err
}

var names = regexp.MustCompile(`^[\p{L}\p{N}\p{M}_-]+$`)

// tidyName is a name as it is kept: who types it need not mind small and large.
func tidyName(name string) (string, error) {
	name = strings.ToLower(name)
	if !names.MatchString(name) || utf8.RuneCountInString(name) > LongestName {
		return "", fault.New(fault.Invalid, "a snippet's name has 1 to %d letters, digits, - and _", LongestName)
	}
	return name, nil
}

func find(all []Snippet, name string) (int, bool) {
	return slices.BinarySearchFunc(all, name, func(s Snippet, name string) int { return cmp.Compare(s.Name, name) })
}

// change writes what to makes of a person's snippets. Two devices that write at
// once do it one after the other.
func (b *Book) change(ctx context.Context, owner string, to func([]Snippet) ([]Snippet, error)) ([]Snippet, error) {
	for range 5 {
		all, revision, err := b.load(ctx, owner)
		if err != nil {
			return nil, err
		}
		if all, err = to(all); err != nil {
			return nil, err
		}
		value, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		if len(value) > largest {
			return nil, fault.New(fault.TooLarge, "all snippets together have at most %d kB; shorten or remove one first", largest/1000)
		}
		if revision == 0 {
			err = b.values.Create(ctx, key(owner), value)
		} else {
			err = b.values.Replace(ctx, key(owner), value, revision)
		}
		if !fault.Is(err, fault.Conflict) {
			return all, err
		}
	}
	return nil, fault.New(fault.Unavailable, "your snippets are being changed elsewhere; try again")
}

func (b *Book) load(ctx context.Context, owner string) (all []Snippet, revision uint64, err error) {
	value, revision, err := b.values.Load(ctx, key(owner))
	if fault.Is(err, fault.NotFound) {
		return []Snippet{}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, 0, fmt.Errorf("read snippets: %w", err)
	}
	return all, revision, nil
}

// key is where a person's snippets lie. Names of people may hold characters
// that keys can't.
func key(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return "snippets." + hex.EncodeToString(sum[:])
}

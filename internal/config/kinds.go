package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/secret"
)

// Kinds of value, as people read them.
const (
	KindText     = "text"
	KindTexts    = "list of texts"
	KindNumber   = "number"        // whole
	KindDecimal  = "decimal"       // with a fraction
	KindSwitch   = "true/false"    //
	KindSize     = "size"          // bytes, or with KiB, MiB, GiB
	KindDuration = "duration"      // 250ms, 15s, 2m, 720h
	KindPath     = "path"          // relative to the file that names it
	KindSecret   = "secret"        // env:NAME, file:PATH or the text
	KindItems    = "list of items" // each with keys of its own
)

// Row describes a setting.
type Row struct {
	Key      string // in the file; a dot opens a section
	Kind     string
	Default  string // as written in a file; "" = none
	Bounds   string // in words, "" = none
	Doc      string // one or two sentences
	Env      string // variable, "" = file only
	Flag     string // without dashes, "" = none
	Required bool   // of an item
	Items    []Row  // of KindItems: an item's keys
}

// row is a Row of a T and the way into it.
type row[T any] struct {
	Row
	set   func(*T, []string, *loader) error
	get   func(*T) []string // nil = not set
	items itemReader        // KindItems only

	defaultFunc func(*loader) (string, error) // computes Default, which then only describes it
}

func (r row[T]) fallback(l *loader) ([]string, error) {
	if r.defaultFunc == nil {
		return []string{r.Default}, nil
	}
	v, err := r.defaultFunc(l)
	return []string{v}, err
}

func (r Row) hint() string {
	if r.Bounds == "" {
		return ""
	}
	return "wanted: " + r.Bounds
}

// scalar makes a row of one value.
func scalar[T any](r Row, set func(*T, string, *loader) error, get func(*T) string) row[T] {
	return row[T]{
		Row: r,
		set: func(t *T, v []string, l *loader) error { return set(t, v[0], l) },
		get: func(t *T) []string { return one(get(t)) },
	}
}

func text[T any](r Row, at func(*T) *string, check func(string) error) row[T] {
	r.Kind = or(r.Kind, KindText)
	return scalar(r, func(t *T, v string, _ *loader) error {
		if err := plain(v); err != nil {
			return err
		}
		if check != nil {
			if err := check(v); err != nil {
				return err
			}
		}
		*at(t) = v
		return nil
	}, func(t *T) string { return *at(t) })
}

// choice is a text out of a few.
func choice[T any, S ~string](r Row, at func(*T) *S, of ...S) row[T] {
	words := make([]string, len(of))
	for i, o := range of {
		words[i] = string(o)
	}
	r.Kind, r.Bounds = KindText, strings.Join(words, ", ")
	return scalar(r, func(t *T, v string, _ *loader) error {
		if !slices.Contains(words, v) {
			if near := Nearest(v, words); near != "" {
				return fmt.Errorf("%q is not one of the words for it: did you mean %q?", clip(v), near)
			}
			return fmt.Errorf("%q is not one of the words for it", clip(v))
		}
		*at(t) = S(v)
		return nil
	}, func(t *T) string { return string(*at(t)) })
}

func number[T any](r Row, at func(*T) *int, least, most int) row[T] {
	r.Kind, r.Bounds = KindNumber, fmt.Sprintf("%d to %d", least, most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		n, err := whole(v, int64(least), int64(most))
		if err == nil {
			*at(t) = int(n)
		}
		return err
	}, func(t *T) string { return zeroEmpty(int64(*at(t))) })
}

func optNumber[T any, N int | int64](r Row, at func(*T) **N, least, most int64) row[T] {
	r.Kind, r.Bounds = KindNumber, fmt.Sprintf("%d to %d", least, most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		n, err := whole(v, least, most)
		if err == nil {
			w := N(n)
			*at(t) = &w
		}
		return err
	}, func(t *T) string {
		if p := *at(t); p != nil {
			return strconv.FormatInt(int64(*p), 10)
		}
		return ""
	})
}

func decimal[T any](r Row, at func(*T) **float64, least, most float64) row[T] {
	r.Kind, r.Bounds = KindDecimal, fmt.Sprintf("%g to %g", least, most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(f) {
			return fmt.Errorf("%q is not a number", clip(v))
		}
		if f < least || f > most {
			return fmt.Errorf("%s is out of bounds", v)
		}
		*at(t) = &f
		return nil
	}, func(t *T) string {
		if p := *at(t); p != nil {
			return strconv.FormatFloat(*p, 'g', -1, 64)
		}
		return ""
	})
}

func toggle[T any](r Row, at func(*T) *bool) row[T] {
	r.Kind = KindSwitch
	return scalar(r, func(t *T, v string, _ *loader) error {
		switch v {
		case "true", "1":
			*at(t) = true
		case "false", "0":
			*at(t) = false
		default:
			return fmt.Errorf("%q is neither true nor false", clip(v))
		}
		return nil
	}, func(t *T) string { return strconv.FormatBool(*at(t)) })
}

func size[T any](r Row, at func(*T) *int64, least, most int64) row[T] {
	r.Kind, r.Bounds = KindSize, showSize(least)+" to "+showSize(most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		n, err := parseSize(v)
		if err != nil {
			return err
		}
		if n < least || n > most {
			return fmt.Errorf("%s is out of bounds", v)
		}
		*at(t) = n
		return nil
	}, func(t *T) string { return showSize(*at(t)) })
}

func duration[T any](r Row, at func(*T) *time.Duration, least, most time.Duration) row[T] {
	r.Kind, r.Bounds = KindDuration, showDuration(least)+" to "+showDuration(most)
	return scalar(r, func(t *T, v string, _ *loader) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 250ms, 15s, 2m or 720h", clip(v))
		}
		if d < least || d > most {
			return fmt.Errorf("%s is out of bounds", v)
		}
		*at(t) = d
		return nil
	}, func(t *T) string {
		if *at(t) == 0 {
			return ""
		}
		return showDuration(*at(t))
	})
}

func path[T any](r Row, at func(*T) *string) row[T] {
	r.Kind = KindPath
	return scalar(r, func(t *T, v string, l *loader) error {
		p, err := l.path(v)
		if err == nil {
			*at(t) = p
		}
		return err
	}, func(t *T) string { return *at(t) })
}

func texts[T any](r Row, at func(*T) *[]string, most, longest int, check func(string) error) row[T] {
	r.Kind = KindTexts
	return row[T]{Row: r, set: func(t *T, v []string, _ *loader) error {
		if len(v) > most {
			return fmt.Errorf("%d are too many: at most %d", len(v), most)
		}
		for i, s := range v {
			if err := plain(s); err != nil {
				return fmt.Errorf("number %d: %w", i+1, err)
			}
			if s == "" || len(s) > longest {
				return fmt.Errorf("number %d has %d bytes: 1 to %d", i+1, len(s), longest)
			}
			if check != nil {
				if err := check(s); err != nil {
					return err
				}
			}
		}
		*at(t) = slices.Clone(v)
		return nil
	}, get: func(t *T) []string { return *at(t) }}
}

// relative makes the path of a model file absolute, where the value is one and
// not a name.
func (r row[T]) relative() row[T] {
	set := r.set
	r.set = func(t *T, values []string, l *loader) error {
		values = slices.Clone(values)
		for i, v := range values {
			if strings.EqualFold(filepath.Ext(v), ".gguf") {
				abs, err := l.path(v)
				if err != nil {
					return err
				}
				values[i] = abs
			}
		}
		return set(t, values, l)
	}
	return r
}

func policy[T any](r Row, at func(*T) *lm.Policy) row[T] {
	return choice(r, at, lm.Exact, lm.Quick, lm.Prefill, lm.Restart, lm.Fail)
}

// hidden is a secret by reference.
func hidden[T any](r Row, set func(*T, secret.String), get func(*T) bool) row[T] {
	r.Kind = KindSecret
	return scalar(r, func(t *T, v string, l *loader) error {
		s, err := l.secret(v)
		if err == nil {
			set(t, s)
		}
		return err
	}, func(t *T) string {
		if get(t) {
			return secret.Redacted
		}
		return ""
	})
}

// apiKey is hidden, but may stand in its stored form, and only that is kept.
func apiKey[T any](r Row, at func(*T) *secret.Hash) row[T] {
	r.Kind = KindSecret
	return scalar(r, func(t *T, v string, l *loader) error {
		if !secret.IsHash(v) {
			s, err := l.secret(v)
			if err != nil {
				return err
			}
			if v = s.Reveal(); !secret.IsHash(v) {
				if len(v) < 16 {
					return errors.New(`a key has at least 16 characters: make one with "parley key"`)
				}
				*at(t) = secret.HashOf(s)
				return nil
			}
		}
		h, err := secret.ParseHash(v)
		if err == nil {
			*at(t) = h
		}
		return err
	}, func(t *T) string {
		if *at(t) == "" {
			return ""
		}
		return secret.Redacted
	})
}

func (l *loader) secret(ref string) (secret.String, error) {
	if p, ok := strings.CutPrefix(ref, "file:"); ok {
		abs, err := l.path(p)
		if err != nil {
			return secret.String{}, err
		}
		ref = "file:" + abs
	}
	return secret.Read(ref, l.getenv)
}

// path makes a path absolute: relative to the file that names it, or to the
// working directory if a variable or flag does.
func (l *loader) path(v string) (string, error) {
	switch {
	case v == "" || strings.ContainsRune(v, 0) || !utf8.ValidString(v):
		return "", errors.New("that is not a path")
	case v == "~" || strings.HasPrefix(v, "~/"):
		home := l.home()
		if home == "" {
			return "", errors.New("this user has no home directory to put in the place of ~")
		}
		v = filepath.Join(home, v[1:])
	case !filepath.IsAbs(v) && l.base != "":
		v = filepath.Join(l.base, v)
	}
	abs, err := filepath.Abs(v)
	if err != nil {
		return "", fmt.Errorf("find path: %w", err)
	}
	return abs, nil
}

func plain(v string) error {
	if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
		return errors.New("that is not plain text")
	}
	return nil
}

func whole(v string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is out of bounds", clip(v))
	case err != nil:
		return 0, fmt.Errorf("%q is not a whole number", clip(v))
	case n < least || n > most:
		return 0, fmt.Errorf("%d is out of bounds", n)
	}
	return n, nil
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,15})\s*(|B|KiB|MiB|GiB|TiB)$`)

func parseSize(v string) (int64, error) {
	m := sizeForm.FindStringSubmatch(v)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 262144, 256KiB or 1MiB", clip(v))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%s is out of bounds", v)
	}
	return n << shift, nil
}

func showSize(n int64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift && n&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// showDuration is Duration.String without the zero parts at the end.
func showDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func checkURL(v string) error {
	u, err := url.Parse(v)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return fmt.Errorf("%q is not a URL with http:// or https://", clip(v))
	case u.User != nil:
		return errors.New("a URL must not carry a password: use the key setting")
	case u.Fragment != "":
		return fmt.Errorf("%q has a #fragment, which no server sees", clip(v))
	}
	return nil
}

func checkOrigin(v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is not an origin such as https://chat.example.org", clip(v))
	}
	return nil
}

// fileType is a type, or all of a group.
var fileType = regexp.MustCompile(`^[a-z0-9.+-]{1,60}/([a-z0-9.+-]{1,90}|\*)$`)

func checkFileType(v string) error {
	if !fileType.MatchString(v) {
		return fmt.Errorf("%q is not a type such as image/png, or image/* for all of them", clip(v))
	}
	return nil
}

var (
	regionForm = regexp.MustCompile(`^[a-z0-9]{1,32}$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	nodeForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
)

func matches(form *regexp.Regexp, what string) func(string) error {
	return func(v string) error {
		if !form.MatchString(v) {
			return fmt.Errorf("%q is not %s", clip(v), what)
		}
		return nil
	}
}

func atMost(n int) func(string) error {
	return func(v string) error {
		if len(v) > n {
			return fmt.Errorf("%d bytes are too many: at most %d", len(v), n)
		}
		return nil
	}
}

// clip keeps a message short whatever the file holds.
func clip(v string) string {
	const most = 60
	if len(v) <= most {
		return v
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(v[cut]) {
		cut--
	}
	return v[:cut] + "..."
}

func zeroEmpty(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

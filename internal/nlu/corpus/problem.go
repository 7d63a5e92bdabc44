package corpus

import (
	"fmt"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// Problem is one thing that is wrong with a file.
type Problem = yamlfile.Problem

// Problems is everything that is wrong, in the order of files and lines.
type Problems = yamlfile.Problems

// Lost is something that a conversion could not carry over.
type Lost struct {
	What  string `json:"what"`            // "phrase list cities: disabled"
	Where string `json:"where,omitempty"` // "utterances[17]", "bot.lu:12"
	Why   string `json:"why"`
}

func (l Lost) String() string {
	if l.Where == "" {
		return l.What + ": " + l.Why
	}
	return l.Where + ": " + l.What + ": " + l.Why
}

// losses collects what a conversion could not carry over.
type losses []Lost

func (ls *losses) add(where, what, why string, args ...any) {
	*ls = append(*ls, Lost{What: what, Where: where, Why: fmt.Sprintf(why, args...)})
}

func clip(s string) string { return yamlfile.Clip(s) }

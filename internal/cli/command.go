package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/config"
)

// command is one word of the command line: a group of commands, or one that
// does something.
type command struct {
	name     string
	args     string // what follows the flags, for people: "ID [FILE]"
	short    string // half a sentence
	long     string // paragraphs
	examples []example
	subs     []*command
	hidden   bool
	raw      bool // takes its arguments as they are, flags included
	// setup declares flags and returns what the command does. Nil for a group.
	setup func(fs *flag.FlagSet) action
}

// example is a command line and what it is for.
type example struct{ line, what string }

// action does what a command is for, with the arguments behind its flags.
type action func(ctx context.Context, t *terminal, args []string) error

// usageError is a mistake on the command line itself.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// errSilent ends a command with status 1 after it has said all there is.
var errSilent = errors.New("failed")

// errMisused is errSilent with status 2.
var errMisused = errors.New("misused")

// find walks down to the command that args name. path is its full name.
func find(root *command, args []string) (cmd *command, path string, rest []string, err error) {
	cmd, path = root, root.name
	for {
		if cmd.setup != nil {
			return cmd, path, args, nil
		}
		if len(args) == 0 || isHelp(args[0]) {
			return cmd, path, args, nil
		}
		word := args[0]
		i := slices.IndexFunc(cmd.subs, func(c *command) bool { return c.name == word })
		if i < 0 {
			if strings.HasPrefix(word, "-") {
				return cmd, path, nil, usagef("%s wants a command before %s", path, word)
			}
			var names []string
			for _, c := range cmd.subs {
				if !c.hidden {
					names = append(names, c.name)
				}
			}
			if near := nearest(word, names); near != "" {
				return cmd, path, nil, usagef("there is no command %q: did you mean %q?", path+" "+word, path+" "+near)
			}
			return cmd, path, nil, usagef("there is no command %q", path+" "+word)
		}
		cmd, path, args = cmd.subs[i], path+" "+word, args[1:]
	}
}

func isHelp(word string) bool { return word == "-h" || word == "--help" || word == "-help" }

// parse reads flags wherever they stand between the other arguments; what
// follows "--" is no flag.
func parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			return nil, flagError(fs, err)
		}
		left := fs.Args()
		if cut := len(args) - len(left); cut > 0 && args[cut-1] == "--" {
			return append(rest, left...), nil
		}
		if len(left) == 0 {
			break
		}
		rest, args = append(rest, left[0]), left[1:]
	}
	return rest, nil
}

// flagError says what package flag found in our words.
func flagError(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		var names []string
		fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if near := nearest(name, names); near != "" {
			return usagef("there is no flag --%s: did you mean --%s?", name, near)
		}
		return usagef("there is no flag --%s", name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef("--%s wants a value", strings.TrimLeft(name, "-"))
	}
	return usagef("%s", strings.ReplaceAll(text, "flag -", "flag --"))
}

// helpText is all that help says of a command.
func helpText(c *command, path string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", path, c.short)
	fs := flag.NewFlagSet(path, flag.ContinueOnError)
	usage := path + " COMMAND"
	if c.setup != nil {
		c.setup(fs)
		usage = path
		if hasFlags(fs) {
			usage += " [flags]"
		}
		if c.args != "" {
			usage += " " + c.args
		}
	}
	if c.long != "" {
		b.WriteString("\n" + wrap(c.long, 78, "") + "\n")
	}
	fmt.Fprintf(&b, "\nUsage:\n  %s\n", usage)
	if len(c.subs) > 0 {
		b.WriteString("\nCommands:\n")
		width := 0
		for _, s := range c.subs {
			if !s.hidden {
				width = max(width, len(s.name))
			}
		}
		for _, s := range c.subs {
			if !s.hidden {
				fmt.Fprintf(&b, "  %-*s  %s\n", width, s.name, s.short)
			}
		}
	}
	if len(c.examples) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range c.examples {
			fmt.Fprintf(&b, "  %s\n      %s\n", e.line, e.what)
		}
	}
	if hasFlags(fs) {
		b.WriteString("\nFlags:\n")
		fs.VisitAll(func(f *flag.Flag) { b.WriteString(flagHelp(f)) })
	}
	if len(c.subs) > 0 {
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" says more about one.\n", path)
	}
	return b.String()
}

func hasFlags(fs *flag.FlagSet) bool {
	any := false
	fs.VisitAll(func(*flag.Flag) { any = true })
	return any
}

// flagHelp is a flag's lines: its name, the word for its value (see wordEnd; else
// between back quotes in the usage), and what it does.
func flagHelp(f *flag.Flag) string {
	word, usage, ok := strings.Cut(f.Usage, wordEnd)
	if !ok {
		word, usage = flag.UnquoteUsage(f)
	}
	head := "--" + f.Name
	if len(f.Name) == 1 {
		head = "-" + f.Name
	}
	if word != "" {
		head += " " + word
	}
	return fmt.Sprintf("  %s\n%s\n", head, wrap(usage, 78, "      "))
}

// wrap breaks paragraphs anew at width, each line after indent. Lines that begin
// with a space stay as they are.
func wrap(text string, width int, indent string) string {
	var out []string
	line := indent
	end := func() {
		if len(line) > len(indent) {
			out = append(out, line)
		}
		line = indent
	}
	for l := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(l, " ") || l == "" {
			end()
			out = append(out, strings.TrimRight(indent+l, " "))
			continue
		}
		for word := range strings.FieldsSeq(l) {
			if len(line) > len(indent) && len(line)+1+len(word) > width {
				end()
			}
			if len(line) > len(indent) {
				line += " "
			}
			line += word
		}
	}
	end()
	return strings.Join(out, "\n")
}

// nearest returns the name that word begins or misspells, or "".
func nearest(word string, names []string) string {
	for _, n := range names {
		if strings.HasPrefix(n, word) && len(word) > 1 {
			return n
		}
	}
	return config.Nearest(word, names)
}

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/client"
)

// slash is a command of the terminal client.
type slash struct {
	name, args, what string
	do               func(s *session, ctx context.Context, arg string) (leave bool, err error)
}

func slashes() []slash {
	return []slash{
		{"new", "[TITLE]", "begin a new conversation", (*session).slashNew},
		{"list", "", "your conversations, the latest first", (*session).slashList},
		{"open", "N or ID", "go on with one of them", (*session).slashOpen},
		{"history", "", "what was said in this one", (*session).slashHistory},
		{"search", "WORDS", "find what was said in any", (*session).slashSearch},
		{"title", "TEXT", "name this one", (*session).slashTitle},
		{"again", "", "another answer to the last message", (*session).slashAgain},
		{"stop", "", "stop the running answer (or Ctrl-C)", (*session).slashStop},
		{"export", "FILE", "write this one into a .md or .json file", (*session).slashExport},
		{"delete", "", "have this one forgotten, for good", (*session).slashDelete},
		{"help", "", "this list", (*session).slashHelp},
		{"quit", "", "leave (or Ctrl-D)", func(*session, context.Context, string) (bool, error) { return true, nil }},
	}
}

// obey sends a line or does what it commands.
func (s *session) obey(ctx context.Context, line string) (leave bool) {
	text := strings.TrimSpace(line)
	var err error
	switch {
	case text == "":
	case strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//"):
		leave, err = s.command(ctx, text[1:])
	default:
		if strings.HasPrefix(text, "//") {
			text = text[1:]
		}
		err = s.send(ctx, text)
	}
	if err != nil {
		s.t.say("%s", calm(err.Error()))
	}
	return leave
}

func (s *session) send(ctx context.Context, text string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	sent, err := s.cl.Send(ctx, s.conversation.ID, client.Message{Text: text})
	if err != nil {
		return err
	}
	s.turn = sent.Turn
	s.watch(ctx)
	return nil
}

func (s *session) command(ctx context.Context, text string) (bool, error) {
	name, arg, _ := strings.Cut(text, " ")
	var names []string
	for _, c := range slashes() {
		if c.name == name {
			return c.do(s, ctx, strings.TrimSpace(arg))
		}
		names = append(names, c.name)
	}
	if near := nearest(name, names); near != "" {
		return false, fmt.Errorf("there is no /%s: did you mean /%s?", name, near)
	}
	return false, fmt.Errorf("there is no /%s; /help lists what there is, and a message that begins with / begins with //", name)
}

func (s *session) slashHelp(context.Context, string) (bool, error) {
	for _, c := range slashes() {
		s.t.printf("  %-16s %s\n", strings.TrimSpace("/"+c.name+" "+c.args), c.what)
	}
	s.t.printf("A line that ends in \\ goes on in the next one.\n")
	return false, nil
}

func (s *session) slashNew(_ context.Context, title string) (bool, error) {
	s.conversation, s.position, s.turn = client.Conversation{Title: title}, 0, ""
	s.t.printf("A new conversation.\n")
	return false, nil
}

// listed is how many conversations /list shows and /open counts.
const listed = 20

func (s *session) slashList(ctx context.Context, _ string) (bool, error) {
	page, _, err := s.cl.List(ctx, "", listed)
	if err != nil {
		return false, err
	}
	for i, c := range page {
		mark := " "
		if c.ID == s.conversation.ID {
			mark = "*"
		}
		s.t.printf("%s%3d  %s  %s\n", mark, i+1, c.Updated.Local().Format("2006-01-02 15:04"), calm(titleOf(c.Title)))
	}
	if len(page) == 0 {
		s.t.printf("There are none yet.\n")
	}
	return false, nil
}

func (s *session) slashOpen(ctx context.Context, which string) (bool, error) {
	id := which
	if n, err := strconv.Atoi(which); err == nil {
		page, _, err := s.cl.List(ctx, "", listed)
		if err != nil {
			return false, err
		}
		if n < 1 || n > len(page) {
			return false, fmt.Errorf("/list shows 1 to %d", len(page))
		}
		id = page[n-1].ID
	}
	if id == "" {
		return false, fmt.Errorf("/open wants a number of /list, or an id")
	}
	c, err := s.cl.Conversation(ctx, id)
	if err != nil {
		return false, err
	}
	s.conversation, s.position, s.turn = c, 0, ""
	return s.slashHistory(ctx, "")
}

func (s *session) slashHistory(ctx context.Context, _ string) (bool, error) {
	if err := s.begun(); err != nil {
		return false, err
	}
	acts, err := s.cl.Activities(ctx, s.conversation.ID)
	if err != nil {
		return false, err
	}
	s.t.printf("%s\n\n", calm(titleOf(s.conversation.Title)))
	writeHistory(s.t.out, acts)
	return false, nil
}

func (s *session) begun() error {
	if s.conversation.ID == "" {
		return fmt.Errorf("nothing was said yet in this conversation")
	}
	return nil
}

func (s *session) slashSearch(ctx context.Context, words string) (bool, error) {
	if words == "" {
		return false, fmt.Errorf("/search wants words to look for")
	}
	return false, call{s.cl, s.t, strings.Fields(words), false}.search(ctx, listed)
}

func (s *session) slashTitle(ctx context.Context, title string) (bool, error) {
	switch {
	case title == "" && s.conversation.ID == "":
		s.t.printf("%s\n", calm(titleOf(s.conversation.Title)))
		return false, nil
	case title == "": // it may have been given one by its first message
		c, err := s.cl.Conversation(ctx, s.conversation.ID)
		if err == nil {
			s.conversation = c
			s.t.printf("%s\n", calm(titleOf(c.Title)))
		}
		return false, err
	case s.conversation.ID != "":
		if err := s.cl.Rename(ctx, s.conversation.ID, title); err != nil {
			return false, err
		}
	}
	s.conversation.Title = title
	return false, nil
}

func (s *session) slashAgain(ctx context.Context, _ string) (bool, error) {
	if err := s.begun(); err != nil {
		return false, err
	}
	if s.turn == "" { // opened, not asked here: the last answer says its turn
		acts, err := s.cl.Activities(ctx, s.conversation.ID)
		if err != nil {
			return false, err
		}
		for _, a := range acts {
			if a.Meta().Turn != "" {
				s.turn = a.Meta().Turn
			}
		}
	}
	if s.turn == "" {
		return false, fmt.Errorf("there is no answer yet")
	}
	sent, err := s.cl.Regenerate(ctx, s.conversation.ID, s.turn, "")
	if err != nil {
		return false, err
	}
	s.turn = sent.Turn
	s.watch(ctx)
	return false, nil
}

func (s *session) slashStop(context.Context, string) (bool, error) {
	return false, fmt.Errorf("no answer is running")
}

func (s *session) slashExport(ctx context.Context, file string) (bool, error) {
	if err := s.begun(); err != nil {
		return false, err
	}
	format := "md"
	switch {
	case file == "":
		return false, fmt.Errorf("/export wants a file name ending in .md or .json")
	case strings.HasSuffix(file, ".json"):
		format = "json"
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, fmt.Errorf("write export: %w", err)
	}
	err = s.cl.Export(ctx, s.conversation.ID, format, f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		s.t.printf("Written to %s.\n", file)
	}
	return false, err
}

func (s *session) slashDelete(ctx context.Context, _ string) (bool, error) {
	if err := s.begun(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.cl.Delete(ctx, s.conversation.ID); err != nil {
		return false, err
	}
	s.t.printf("Deleted. ")
	return s.slashNew(ctx, "")
}

// jsonLine writes a value in one line.
func jsonLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s\n", b); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

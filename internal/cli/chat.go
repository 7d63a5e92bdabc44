package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
)

func chatCommand() *command {
	return &command{
		name: "chat", short: "talk in this terminal", args: "[QUESTION...]",
		long: "Without a question it is a conversation: what you type is sent, the answer appears as it is made, and Ctrl-C stops an answer (or leaves, when none is running). " +
			"/help shows the other commands.\n\n" +
			"With a question, or with text on its standard input, it writes the one answer and ends. Both together make one message: first the question, then the text. " +
			"The answer is whole or the status is not 0: when a connection breaks it is picked up where it was.",
		examples: []example{
			{"parley chat", "a conversation"},
			{"parley chat What is a quorum?", "one question, one answer"},
			{"git diff | parley chat Write a commit message", "a text to work on"},
			{"parley chat --conversation ID And in one sentence?", "go on with one that you have"},
		},
		setup: func(fs *flag.FlagSet) action {
			conn := bindConnection(fs)
			o := chatOptions{}
			fs.StringVar(&o.bot, "bot", "", "talk with this `BOT`; the node's first one without it")
			fs.StringVar(&o.conversation, "conversation", "", "go on with the conversation of this `ID`")
			fs.BoolVar(&o.last, "last", false, "go on with the latest conversation")
			fs.BoolVar(&o.lines, "lines", false, "each line of the input is a message of its own")
			fs.BoolVar(&o.json, "json", false, "write one line of JSON for each answer")
			return func(ctx context.Context, t *terminal, args []string) error {
				if o.conversation != "" && o.last {
					return usagef("--conversation and --last exclude each other")
				}
				if o.bot != "" && (o.conversation != "" || o.last) {
					return usagef("a conversation keeps its bot: --bot is for a new one")
				}
				cl, info, err := conn.open(ctx, t)
				if err != nil {
					return err
				}
				return startChat(ctx, t, cl, info, o, strings.Join(args, " "))
			}
		},
	}
}

type chatOptions struct {
	bot, conversation string
	last, lines, json bool
}

// talk is one conversation from a terminal.
type talk struct {
	t    *terminal
	cl   *client.Client
	info client.Info
	o    chatOptions

	conversation client.Conversation // ID "" until something is said
	position     int64               // of its events that were read
	turn         string              // of the last answer
}

func startChat(ctx context.Context, t *terminal, cl *client.Client, info client.Info, o chatOptions, question string) error {
	k := &talk{t: t, cl: cl, info: info, o: o}
	var err error
	switch {
	case o.conversation != "":
		k.conversation, err = cl.Conversation(ctx, o.conversation)
	case o.last:
		var page []client.Conversation
		if page, _, err = cl.List(ctx, "", 1); err == nil && len(page) == 0 {
			err = errors.New("there is no conversation yet")
		}
		if err == nil {
			k.conversation = page[0]
		}
	}
	if err != nil {
		return err
	}
	if t.inTTY && question == "" {
		return k.interactive(ctx)
	}
	return k.script(ctx, question)
}

// script answers what the arguments and the input say, and ends. A Ctrl-C
// stops the answer.
func (k *talk) script(ctx context.Context, question string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-k.t.interrupts:
			cancel(context.Canceled)
		case <-ctx.Done():
		}
	}()
	if k.info.Engine.Demo {
		k.t.say("(a demonstration answers here, not a language model)")
	}
	if k.t.inTTY {
		return k.one(ctx, question)
	}
	if k.o.lines {
		if question != "" {
			if err := k.one(ctx, question); err != nil {
				return err
			}
		}
		in := bufio.NewScanner(k.t.in)
		in.Buffer(nil, maxInput)
		for in.Scan() {
			if strings.TrimSpace(in.Text()) == "" {
				continue
			}
			if err := k.one(ctx, in.Text()); err != nil {
				return err
			}
		}
		return in.Err()
	}
	b, err := io.ReadAll(io.LimitReader(k.t.in, maxInput+1))
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	if len(b) > maxInput {
		return fmt.Errorf("the input has more than %d bytes", maxInput)
	}
	text := strings.TrimSpace(strings.Join([]string{question, strings.ToValidUTF8(string(b), "\uFFFD")}, "\n\n"))
	if text == "" {
		return usagef("there is no question: give one as an argument or on the standard input")
	}
	return k.one(ctx, text)
}

// stopLimit is how long to wait until the node has taken a stop.
const stopLimit = 5 * time.Second

// maxInput bounds what is read from a pipe; the node has its own limit.
const maxInput = 8 << 20

// one asks and writes the whole answer when it is there: a script must not see
// text that a restart makes void.
func (k *talk) one(ctx context.Context, text string) error {
	live := k.t.outTTY && !k.o.json
	out := &screen{w: k.t.out}
	a, err := k.ask(ctx, text, func(p client.Piece) error {
		if live {
			out.show(p)
		}
		return nil
	})
	switch {
	case k.o.json && (err == nil || a.Turn != ""):
		if jsonErr := k.writeJSON(a, err); jsonErr != nil {
			return jsonErr
		}
	case live:
		out.end()
	case a.Text != "":
		k.t.printf("%s\n", strings.TrimRight(a.Text, "\n"))
	}
	if err == nil && a.State == client.Stopped {
		k.t.say("(the answer was stopped)")
	}
	return err
}

func (k *talk) writeJSON(a client.Answer, err error) error {
	line := map[string]any{"conversation": k.conversation.ID, "turn": a.Turn, "state": a.State, "text": a.Text}
	if a.Activity != nil {
		m := a.Activity.Meta()
		line["model"], line["engine"], line["finish"], line["demo"] = m.Model, m.Engine, m.Finish, m.Demo
	}
	if a.Region != "" {
		line["region"] = a.Region
	}
	if err != nil {
		line["error"] = map[string]string{"code": client.CodeOf(err), "message": err.Error()}
	}
	return jsonLine(k.t.out, line)
}

// begin makes the conversation when the first thing is said in it.
func (k *talk) begin(ctx context.Context) error {
	if k.conversation.ID != "" {
		return nil
	}
	c, err := k.cl.Create(ctx, client.NewConversation{Bot: k.o.bot, Title: k.conversation.Title})
	if err == nil {
		k.conversation, k.position, k.turn = c, 0, ""
	}
	return err
}

// ask says text and follows the answer. If ctx ends in the middle, the answer
// is stopped.
func (k *talk) ask(ctx context.Context, text string, on func(client.Piece) error) (client.Answer, error) {
	if err := k.begin(ctx); err != nil {
		return client.Answer{}, err
	}
	sent, err := k.cl.Send(ctx, k.conversation.ID, client.Message{Text: text})
	if err != nil {
		return client.Answer{}, err
	}
	k.turn = sent.Turn
	return k.follow(ctx, on)
}

func (k *talk) follow(ctx context.Context, on func(client.Piece) error) (client.Answer, error) {
	a, err := k.cl.Follow(ctx, k.conversation.ID, k.turn, k.position, on)
	if ctx.Err() != nil && a.State == "" {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		if stopErr := k.cl.Stop(stop, k.conversation.ID, k.turn); stopErr != nil {
			return a, errors.Join(err, stopErr)
		}
		return a, err
	}
	if a.Position > 0 {
		k.position = a.Position
	}
	return a, err
}

// screen writes an answer as it comes.
type screen struct {
	w     io.Writer
	wrote bool
	last  byte
}

func (s *screen) show(p client.Piece) {
	switch {
	case p.Restart:
		s.write("\n[the answer begins anew]\n")
	case p.State == client.Queued && p.Position > 0:
		s.write(fmt.Sprintf("[%d before this one]\n", p.Position))
	case p.Text != "":
		s.write(calm(p.Text))
	}
}

func (s *screen) write(text string) {
	if text == "" {
		return
	}
	s.wrote, s.last = true, text[len(text)-1]
	_, _ = io.WriteString(s.w, text) // a terminal that is gone ends the process
}

// end leaves the cursor at the beginning of a line.
func (s *screen) end() {
	if s.wrote && s.last != '\n' {
		s.write("\n")
	}
}

// answering is an answer that is being written.
type answering struct {
	pieces chan client.Piece
	done   chan result
	cancel context.CancelFunc
	out    *screen
}

type result struct {
	answer client.Answer
	err    error
}

// session is a conversation with a person at the keyboard. One goroutine reads
// the keyboard, one follows the answer; everything else, all writing included,
// happens in the loop of interactive.
type session struct {
	*talk
	now     *answering // nil while nothing is being answered
	waiting []string   // typed meanwhile
	more    string     // lines before this one that ended in a backslash
}

func (k *talk) interactive(ctx context.Context) error {
	s := &session{talk: k}
	s.greet()
	typed, stopReading := readLines(k.t.in)
	defer stopReading()
	defer func() {
		if s.now != nil {
			s.now.cancel()
		}
	}()
	s.prompt()
	for {
		var pieces <-chan client.Piece
		var done <-chan result
		if s.now != nil {
			pieces, done = s.now.pieces, s.now.done
		}
		leave := false
		select {
		case <-ctx.Done():
			return nil
		case <-k.t.interrupts:
			if leave = s.now == nil; !leave {
				s.stop(ctx)
			}
		case p := <-pieces:
			s.now.out.show(p)
		case r := <-done:
			s.finish(r)
			leave = s.next(ctx)
			if !leave && s.now == nil && typed == nil {
				leave = true // the input had ended before the answer
			}
			if !leave {
				s.prompt()
			}
		case line, ok := <-typed:
			switch {
			case !ok && s.now == nil:
				leave = true
			case !ok:
				typed = nil
			default:
				leave = s.line(ctx, line)
			}
		}
		if leave {
			k.t.printf("\n")
			return nil
		}
	}
}

func (s *session) prompt() {
	if s.now == nil {
		s.t.printf("\n> ")
	}
}

// line takes what was typed. It reports whether to leave.
func (s *session) line(ctx context.Context, line string) bool {
	if before, goesOn := strings.CutSuffix(line, "\\"); goesOn {
		s.more += before + "\n"
		return false
	}
	line, s.more = s.more+line, ""
	if s.now != nil {
		switch strings.TrimSpace(line) {
		case "":
		case "/stop":
			s.stop(ctx)
		default:
			s.waiting = append(s.waiting, line)
		}
		return false
	}
	leave := s.obey(ctx, line)
	if !leave {
		s.prompt()
	}
	return leave
}

// next does what was typed during the last answer.
func (s *session) next(ctx context.Context) (leave bool) {
	for s.now == nil && len(s.waiting) > 0 && !leave {
		line := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.t.printf("\n> %s\n", calm(line))
		leave = s.obey(ctx, line)
	}
	return leave
}

func (k *talk) greet() {
	who := k.info.Engine.Model
	if who == "" {
		who = k.info.Engine.Name
	}
	k.t.printf("Parley %s, region %s, %s. /help shows the commands.\n", calm(k.info.Version), calm(k.info.Region), calm(who))
	if k.info.Engine.Demo {
		k.t.printf("This is a demonstration: no language model answers.\n")
	}
	if k.info.Engine.Problem != "" {
		k.t.printf("Engine: %s\n", calm(k.info.Engine.Problem))
	}
	if k.conversation.ID != "" {
		k.t.printf("%s\n", calm(titleOf(k.conversation.Title)))
	}
}

// stop asks the node to end the running answer; its end comes as any other.
func (k *talk) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := k.cl.Stop(ctx, k.conversation.ID, k.turn); err != nil {
		k.t.say("it can't be stopped: %v", err)
	}
}

// watch follows the answer to the current turn in the background.
func (s *session) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	a := &answering{pieces: make(chan client.Piece), done: make(chan result, 1), cancel: cancel, out: &screen{w: s.t.out}}
	conversation, turn, position := s.conversation.ID, s.turn, s.position
	go func() {
		answer, err := s.cl.Follow(ctx, conversation, turn, position, func(p client.Piece) error {
			select {
			case a.pieces <- p:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		a.done <- result{answer, err}
	}()
	s.now = a
}

func (s *session) finish(r result) {
	s.now.cancel()
	s.now.out.end()
	s.now = nil
	if r.answer.Position > 0 {
		s.position = r.answer.Position
	}
	switch {
	case r.err != nil:
		s.t.say("[%s]", calm(r.err.Error()))
	case r.answer.State == client.Stopped:
		s.t.printf("[stopped]\n")
	}
}

// readLines reads lines in the background until stop is called or the input
// ends. A read that is under way when stop is called ends with the process.
func readLines(r io.Reader) (lines <-chan string, stop func()) {
	out, end := make(chan string), make(chan struct{})
	go func() {
		defer close(out)
		in := bufio.NewScanner(r)
		in.Buffer(nil, maxInput)
		for in.Scan() {
			select {
			case out <- strings.ToValidUTF8(in.Text(), "\uFFFD"):
			case <-end:
				return
			}
		}
	}()
	return out, sync.OnceFunc(func() { close(end) })
}

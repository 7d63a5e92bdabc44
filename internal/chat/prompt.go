package chat

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/lm"
)

// How much of the window is kept free for the answer when the bot sets no
// limit: a quarter, within these bounds.
const (
	leastAnswer = 64
	mostAnswer  = 1024
)

// prompt makes the request for a turn. What does not fit into the model's
// window is left out from the oldest message on; the system prompt and the
// message to answer always stay, and if those two alone don't fit the turn
// fails with TooLarge. A kept history never begins with an answer.
func (a *attempt) prompt(ctx context.Context, bot Bot) (lm.Request, error) {
	req := lm.Request{Model: a.model.ID, Params: bot.Params.Over(a.model.Advice), Session: a.l.id}
	if p := a.v.turn.Params; p != nil {
		req.Params = p.Over(req.Params)
	}
	system := bot.System
	if a.v.turn.System != nil {
		system = *a.v.turn.System
	}
	if a.line.knows != "" {
		system = paragraphs(system, a.line.knows)
	}
	var head []lm.Message
	if system != "" {
		head = []lm.Message{{Role: lm.System, Text: system}}
	}
	if len(a.v.path) == 0 {
		return req, fault.New(fault.Invalid, "there is no message to answer")
	}
	budget := a.budget(bot, req.Params.MaxTokens)
	tail, err := a.carried(ctx, budget)
	if err != nil {
		return req, err
	}
	with := func(from int) lm.Request {
		r := req
		r.Messages = append(append([]lm.Message{}, head...), tail[from:]...)
		return r
	}
	if budget == 0 {
		return with(0), nil // nothing is known of the window
	}
	// The size only shrinks as more is left out: search for the first start
	// that fits.
	lo, hi := 0, len(tail)-1
	for lo < hi {
		mid := (lo + hi) / 2
		n, err := count(ctx, a.engine, with(mid))
		if err != nil {
			return req, err
		}
		if n <= budget {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for lo < len(tail)-1 && tail[lo].Role == lm.Assistant {
		lo++
	}
	if lo == len(tail)-1 {
		n, err := count(ctx, a.engine, with(lo))
		if err != nil {
			return req, err
		}
		if n > budget {
			return req, fault.New(fault.TooLarge, "the message does not fit: with its files and the system prompt it takes %d tokens, and the model %s has room for %d "+
				"(window %d, the rest is kept for the answer); shorten it or choose a model with a larger window", n, a.model.ID, budget, a.model.Window)
		}
	}
	return with(lo), nil
}

// budget is how many tokens the prompt may take; 0 = no limit is known.
func (a *attempt) budget(bot Bot, maxTokens int) int {
	window := a.model.Window
	if window == 0 {
		return bot.History
	}
	answer := maxTokens
	if answer == 0 {
		answer = min(max(window/4, leastAnswer), mostAnswer)
	}
	budget := max(window-min(answer, window/2), 1)
	if bot.History > 0 {
		budget = min(budget, bot.History)
	}
	return budget
}

// count asks the engine, or estimates. What pictures take no engine tells.
func count(ctx context.Context, e lm.Engine, req lm.Request) (int, error) {
	pictures := 0
	for i, m := range req.Messages { // of the request's own list
		pictures += len(m.Pictures)
		req.Messages[i].Pictures = nil
	}
	n, err := e.Count(ctx, req)
	n += pictures * lm.PictureTokens
	if !fault.Is(err, fault.Unsupported) {
		return n, err
	}
	for _, m := range req.Messages {
		n += lm.Estimate(m.Text) + 4 // a template's marks around a message
	}
	return n, nil
}

// passage is a message with the files that came along.
type passage struct {
	lm.Message
	files []files.Attachment
}

// passages lists what was said on the branch that leads to a turn, with the
// context that API clients put before their own.
func passages(st *conversation.State, t *conversation.Turn) []passage {
	var out []passage
	for _, a := range st.Path(t.ReplyTo) {
		if a.Type != activity.TypeMessage {
			continue
		}
		if a.FromBot() {
			if a.Text != "" {
				out = append(out, passage{Message: lm.Message{Role: lm.Assistant, Text: a.Text}})
			}
			continue
		}
		ours := slices.DeleteFunc(files.Of(a), func(at files.Attachment) bool { return files.ID(st.ID, at.URL) == "" })
		if a.Text == "" && len(ours) == 0 {
			continue
		}
		if asked := st.Turn(a.Meta().Turn); asked != nil {
			for _, m := range asked.Context {
				out = append(out, passage{Message: m})
			}
		}
		out = append(out, passage{lm.Message{Role: lm.User, Text: a.Text}, ours})
	}
	return out
}

// What the files of a conversation may bring into one prompt, at most.
const (
	carriedText     = 4 << 20  // bytes, where the window is not known
	carriedPictures = 32 << 20 // bytes
	bytesOfToken    = 16       // no vocabulary has many tokens that are longer
)

// carried puts the files into the messages that they came with: texts quoted,
// pictures for engines that see, of others the name. Newer ones count before
// older ones, of which only the name is left when there is no more room; those
// of the message to answer must fit.
func (a *attempt) carried(ctx context.Context, budget int) ([]lm.Message, error) {
	texts, pictures := carriedText, carriedPictures
	if budget > 0 {
		texts = min(texts, budget*bytesOfToken)
	}
	out := make([]lm.Message, len(a.v.path))
	for i := len(out) - 1; i >= 0; i-- {
		p := a.v.path[i]
		m, newest := p.Message, i == len(out)-1
		var before []string
		for _, at := range p.files {
			f, err := a.attached(ctx, at)
			if err != nil {
				return nil, err
			}
			text, kind := files.IsText(f.Content), files.IsPicture(f.Type)
			switch size := len(f.Content); {
			case len(f.Content) == 0:
				before = append(before, fmt.Sprintf("[The attached file %q is not there any more.]", at.Name))
			case newest && (text && size > texts || kind && a.model.Vision && size > pictures):
				return nil, fault.New(fault.TooLarge, "the file %q does not fit into what the model %s can read at once; send a part of it, or choose a model with a larger window",
					at.Name, a.model.ID)
			case text && size <= texts:
				texts -= size
				before = append(before, quote(at.Name, string(f.Content)))
			case kind && a.model.Vision && size <= pictures:
				pictures -= size
				m.Pictures = append(m.Pictures, lm.Picture{Type: f.Type, Content: f.Content})
			case text || kind && a.model.Vision:
				before = append(before, named(at.Name, f, "was shown before and is not shown again, for want of room"))
			case kind:
				before = append(before, named(at.Name, f, "is a picture, which you can't see"))
			default:
				before = append(before, named(at.Name, f, "can't be read here"))
			}
		}
		m.Text = paragraphs(strings.Join(before, "\n\n"), m.Text)
		out[i] = m
	}
	return out, nil
}

// attached reads a file; one that is gone has no bytes.
func (a *attempt) attached(ctx context.Context, at files.Attachment) (files.File, error) {
	if a.s.opts.Files == nil {
		return files.File{Type: at.Type}, nil
	}
	f, err := a.s.file(ctx, a.l.id, files.ID(a.l.id, at.URL))
	if fault.Is(err, fault.NotFound) {
		return files.File{Type: at.Type}, nil
	}
	return f, err
}

func named(name string, f files.File, why string) string {
	return fmt.Sprintf("[The attached file %q (%s, %d bytes) %s.]", name, f.Type, len(f.Content), why)
}

// quote puts a text between fences that are longer than any in it.
func quote(name, text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	text = strings.TrimPrefix(text, "\ufeff")
	return fmt.Sprintf("The attached file %q:\n%s\n%s\n%s", name, fence, strings.TrimRight(text, "\n"), fence)
}

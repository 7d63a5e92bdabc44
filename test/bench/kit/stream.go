package kit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Piece is a part of a streamed answer.
type Piece struct {
	Text           string
	Comment        string // for nobody's eyes; nothing else comes with it
	Prompt, Cached int    // tokens, where the engine says it
}

// Stream reads a streamed chat completion to its end. One that says an error, or
// has no end, is an error.
func Stream(r io.Reader, each func(Piece) error) error {
	over := false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p Piece
		if comment, ok := strings.CutPrefix(lines.Text(), ": "); ok {
			p.Comment = comment
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); !ok {
			continue
		} else if data == "[DONE]" {
			over = true
			continue
		} else if err := p.read(data); err != nil {
			return err
		}
		if err := each(p); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil || !over {
		return fmt.Errorf("the stream has no end: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}

func (p *Piece) read(data string) error {
	var e struct {
		Choices []struct{ Delta struct{ Content string } }
		Error   *struct{ Message string }
		Usage   struct {
			Prompt  int `json:"prompt_tokens"`
			Details struct {
				Cached int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		}
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fmt.Errorf("not an event: %q: %w", data, err)
	}
	if e.Error != nil {
		return errors.New(e.Error.Message)
	}
	if len(e.Choices) > 0 {
		p.Text = e.Choices[0].Delta.Content
	}
	p.Prompt, p.Cached = e.Usage.Prompt, e.Usage.Details.Cached
	return nil
}

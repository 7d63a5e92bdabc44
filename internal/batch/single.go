package batch

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// Request is a single line that came by another way than a file.
type Request struct {
	User string // whose it is
	From string // the way; those that come by one share their turns in the gate
	ID   string // names it in the output
	// Custom is its custom_id if it has none itself.
	Custom string
	Raw    []byte // the line; its method may be missing
}

// Single answers a request with what people leave over, however long that takes,
// and returns the line that a batch would have in its output, or, if it is not
// well, in its error file. An error says that ctx is over.
func (s *Service) Single(ctx context.Context, r Request) (out []byte, well bool, err error) {
	l, p := parse(r.Raw)
	if p == nil {
		if l.Custom == "" {
			l.Custom = r.Custom
		}
		if l.Method == "" {
			l.Method = "POST"
		}
		if slices.Contains(Endpoints(), l.URL) {
			p = l.check(l.URL)
		} else {
			p = l.wrong("mismatched_endpoint", "url", "%q must be one of %s", "url", strings.Join(Endpoints(), ", "))
		}
	}
	if p != nil {
		return Refusal(r.ID, cmp.Or(p.custom, r.Custom), p.Code, p.Message), false, nil
	}
	if s.gate.enter(ctx, r.User, r.From) != nil {
		return nil, false, ended(ctx)
	}
	a, ok := s.asked(ctx, r.User, r.User, r.From, l.URL, l.Body)
	if !ok {
		return nil, false, ended(ctx)
	}
	kept := answered(r.ID, l, a)
	return kept[1:], kept[0] == good, nil
}

// Refusal is the line of a request without an answer.
func Refusal(id, custom, code, message string) []byte {
	return unanswered(id, custom, outError{Code: code, Message: message})[1:]
}

func ended(ctx context.Context) error {
	return fault.Wrap(context.Cause(ctx), fault.CodeOf(ctx.Err()), "the request was given up")
}

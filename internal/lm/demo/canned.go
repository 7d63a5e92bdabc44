package demo

import (
	"context"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// CannedOptions of a deterministic engine for tests. The zero value answers
// 64 words `w0 w1 ...` at once, knows token ids and continues by every policy.
type CannedOptions struct {
	Name  string // "" = "canned"
	Model string // "" = "canned"
	// Answer is the whole answer to a request. It must depend on nothing else,
	// as a continuation asks again. Nil: Words words, `w0 w1 ...`.
	Answer   func(lm.Request) string
	Words    int           // of an answer if Answer is nil; 0 = 64
	Delay    time.Duration // before each token
	Prefill  time.Duration // before the first token
	Window   int           // tokens; 0 = 4096
	Slots    int           // answers at once, the others wait; 0 = no limit
	NoTokens bool          // report no token ids, and refuse to continue by them
	Resume   lm.Policy     // declared; "" = Exact, with NoTokens Prefill
	Schema   bool          // take schemas; the Answer must keep them itself
	NoEmbed  bool
	Fault    Fault // of the first answers; see SetFault
}

// Canned makes an engine for tests.
func Canned(o CannedOptions) *Engine {
	if o.Name == "" {
		o.Name = "canned"
	}
	if o.Model == "" {
		o.Model = "canned"
	}
	if o.Words == 0 {
		o.Words = 64
	}
	if o.Window == 0 {
		o.Window = 4096
	}
	if o.Answer == nil {
		text := Words(o.Words)
		o.Answer = func(lm.Request) string { return text }
	}
	return newEngine(o.declared(), false)
}

func (o CannedOptions) declared() CannedOptions {
	if o.Resume == "" && o.NoTokens {
		o.Resume = lm.Prefill
	} else if o.Resume == "" {
		o.Resume = lm.Exact
	}
	return o
}

// Words is the text `w0 w1 ... w(n-1) `: each word has its number, so that a
// lost, doubled or moved one shows.
func Words(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("w" + strconv.Itoa(i) + " ")
	}
	return b.String()
}

// Scripted answers the n-th user message of a conversation with answers[n-1];
// after the last it begins again.
func Scripted(answers ...string) func(lm.Request) string {
	return func(r lm.Request) string {
		n := 0
		for _, m := range r.Messages {
			if m.Role == lm.User {
				n++
			}
		}
		return answers[max(n-1, 0)%len(answers)]
	}
}

// FaultKind is what goes wrong.
type FaultKind string

// The kinds.
const (
	Cut     FaultKind = "cut"     // the answer breaks off with Unavailable
	Hang    FaultKind = "hang"    // nothing comes any more until the context ends
	Flood   FaultKind = "flood"   // endless text without a pause, in large pieces
	Garbage FaultKind = "garbage" // control characters, markup and a huge line: valid UTF-8, nothing else
	Refuse  FaultKind = "refuse"  // Limited, to be tried again after a second
)

// Fault breaks answers.
type Fault struct {
	Kind  FaultKind // "" = none
	After int       // tokens of this call before it
	Times int       // how many answers it strikes; 0 = all
}

// SetFault breaks the answers that begin from now on.
func (e *Engine) SetFault(f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

// Calls counts what was asked of the engine.
type Calls struct {
	Generate int
	Running  int
	Canceled int // answers whose context ended
	Tokens   int // sampled, shown or not
	Last     lm.Request
}

// Calls returns the counts so far.
func (e *Engine) Calls() Calls {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

// begin counts a call and returns the fault that strikes it.
func (e *Engine) begin(r lm.Request) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls.Generate++
	e.calls.Running++
	e.calls.Last = r
	f := e.fault
	if f.Kind != "" && f.Times > 0 {
		if e.fault.Times--; e.fault.Times == 0 {
			e.fault = Fault{}
		}
	}
	return f
}

func (e *Engine) end(sampled int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls.Running--
	e.calls.Tokens += sampled
	if fault.Is(err, fault.Canceled) {
		e.calls.Canceled++
	}
}

// Generate streams the scripted answer.
func (e *Engine) Generate(ctx context.Context, r lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	prompt, err := e.check(r)
	if err != nil {
		return lm.Result{}, err
	}
	if err := e.wait(ctx, 0); err != nil {
		return lm.Result{}, err
	}
	f := e.begin(r)
	a := &run{e: e, emit: emit, stop: r.Params.Stop, fault: f}
	res := lm.Result{Model: e.o.Model}
	err = e.take(ctx)
	if err == nil {
		err = a.all(ctx, r, prompt, &res)
		e.give()
	}
	res.Usage = lm.Usage{Prompt: prompt, Completion: a.sampled}
	e.end(a.sampled, err)
	return res, err
}

func (e *Engine) take(ctx context.Context) error {
	if e.slots == nil {
		return nil
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	case <-e.done:
		return e.gone()
	}
}

func (e *Engine) give() {
	if e.slots != nil {
		<-e.slots
	}
}

// wait waits for d, the end of the context or Close.
func (e *Engine) wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx)
	}
	if d <= 0 {
		return e.gone()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	case <-e.done:
		return e.gone()
	}
}

func ended(ctx context.Context) error {
	err := ctx.Err()
	return fault.Wrap(err, fault.CodeOf(err), "the answer was given up by its caller")
}

// run is one answer on its way.
type run struct {
	e       *Engine
	emit    func(lm.Chunk) error
	stop    []string
	fault   Fault
	sampled int

	held    []byte  // sampled bytes that were not shown yet
	ids     []int32 // sampled since the last chunk
	stopped bool    // a stop string came
}

// all runs the answer from its beginning or its prefix.
func (a *run) all(ctx context.Context, r lm.Request, prompt int, res *lm.Result) error {
	pieces := split(a.e.o.Answer(r))
	if r.Prefix != nil {
		var err error
		if pieces, err = a.skip(pieces, *r.Prefix); err != nil {
			return err
		}
	}
	room := a.e.o.Window - prompt
	if r.Prefix != nil {
		room -= len(r.Prefix.Tokens)
	}
	if m := r.Params.MaxTokens; m > 0 && (a.e.o.Window == 0 || m < room) {
		room = m
	}
	if err := a.e.wait(ctx, a.e.o.Prefill); err != nil {
		return err
	}
	for _, p := range pieces {
		if a.fault.Kind != "" && a.sampled >= a.fault.After {
			return a.broken(ctx)
		}
		if a.sampled >= room {
			res.Finish = lm.FinishLength
			return a.flush()
		}
		if err := a.e.wait(ctx, a.e.o.Delay); err != nil {
			return err
		}
		if err := a.next(p); err != nil {
			return err
		}
		if a.stopped {
			break
		}
	}
	res.Finish = lm.FinishStop
	return a.flush()
}

// skip leaves out what the prefix has and puts its bytes that were not shown
// yet into held.
func (a *run) skip(pieces []piece, pre lm.Prefix) ([]piece, error) {
	var text strings.Builder
	for _, p := range pieces {
		text.WriteString(p.text)
	}
	if !strings.HasPrefix(text.String(), pre.Text) {
		return nil, fault.New(fault.Invalid, "the text to continue is not the beginning of this answer")
	}
	switch pre.Policy {
	case lm.Prefill:
		rest := split(text.String()[len(pre.Text):])
		return rest, nil
	case lm.Exact, lm.Quick:
		if a.e.o.NoTokens {
			break
		}
		if len(pre.Tokens) == 0 {
			return nil, fault.New(fault.Unsupported, "to continue by %q the ids of the answer so far are needed", pre.Policy)
		}
		n := 0
		for i, id := range pre.Tokens {
			if i >= len(pieces) || pieces[i].id != id {
				return nil, fault.New(fault.Invalid, "the ids to continue are not those of this answer")
			}
			n += len(pieces[i].text)
		}
		if n < len(pre.Text) {
			return nil, fault.New(fault.Invalid, "the ids to continue are fewer than their text")
		}
		a.held = append(a.held, text.String()[len(pre.Text):n]...)
		return pieces[len(pre.Tokens):], nil
	}
	return nil, fault.New(fault.Unsupported, "the engine %q can't continue by %q", a.e.o.Name, pre.Policy)
}

// next samples one token and shows what may be shown.
func (a *run) next(p piece) error {
	a.sampled++
	if !a.e.o.NoTokens {
		a.ids = append(a.ids, p.id)
	}
	a.held = append(a.held, p.text...)
	for _, s := range a.stop {
		if i := strings.Index(string(a.held), s); s != "" && i >= 0 {
			a.held, a.stopped = a.held[:i], true
		}
	}
	if a.stopped {
		return nil
	}
	return a.show(len(a.held) - a.unsure())
}

// unsure is how many held bytes may be the beginning of a stop string or of a
// character.
func (a *run) unsure() int {
	n := 0
	for _, s := range a.stop {
		for k := min(len(s)-1, len(a.held)); k > n; k-- {
			if string(a.held[len(a.held)-k:]) == s[:k] {
				n = k
				break
			}
		}
	}
	for n < len(a.held) {
		cut := a.held[:len(a.held)-n]
		r, size := utf8.DecodeLastRune(cut)
		if r != utf8.RuneError || size > 1 {
			break
		}
		n++
	}
	return n
}

// show emits the first n held bytes, and the ids even if n is 0.
func (a *run) show(n int) error {
	c := lm.Chunk{Text: string(a.held[:n]), Tokens: a.ids}
	if c.Text == "" && len(c.Tokens) == 0 {
		return nil
	}
	a.held = a.held[n:]
	a.ids = nil
	return a.emit(c)
}

// flush shows what was held back for a stop string that did not come; half a
// character stays unseen.
func (a *run) flush() error {
	n := len(a.held)
	for n > 0 && !utf8.Valid(a.held[:n]) {
		n--
	}
	return a.show(n)
}

// broken plays the fault.
func (a *run) broken(ctx context.Context) error {
	switch a.fault.Kind {
	case Hang:
		select {
		case <-ctx.Done():
			return ended(ctx)
		case <-a.e.done:
			return a.e.gone()
		}
	case Flood:
		text := strings.Repeat("flood ", 4096)
		for {
			if err := a.e.wait(ctx, 0); err != nil {
				return err
			}
			a.sampled += 4096
			if err := a.emit(lm.Chunk{Text: text}); err != nil {
				return err
			}
		}
	case Garbage:
		a.sampled++
		text := "\x00\x1b[2J\u202e<script>alert(1)</script>\ufffd\r\n" + strings.Repeat("x", 1<<16)
		if err := a.emit(lm.Chunk{Text: text}); err != nil {
			return err
		}
		return fault.New(fault.Unavailable, "the engine %q broke the answer off (a fault on demand)", a.e.o.Name)
	case Refuse:
		return fault.New(fault.Limited, "the engine %q is busy (a fault on demand)", a.e.o.Name).After(time.Second)
	}
	return fault.New(fault.Unavailable, "the engine %q broke the answer off (a fault on demand)", a.e.o.Name)
}

// piece is a token: its text may be part of a character.
type piece struct {
	id   int32
	text string
}

// split cuts text into words with the white space after them; a character of
// more than one byte comes in two halves, as byte-pair vocabularies do. Ids
// hash place and text, so that they are the same after a restart.
func split(text string) []piece {
	var out []piece
	add := func(s string) {
		if s == "" {
			return
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(strconv.Itoa(len(out)) + ":" + s))
		out = append(out, piece{id: int32(h.Sum32() & 0x7fffffff), text: s})
	}
	from := 0
	for i, r := range text {
		if size := utf8.RuneLen(r); size > 1 && r != utf8.RuneError {
			add(text[from : i+1])
			add(text[i+1 : i+size])
			from = i + size
			continue
		}
		if (r == ' ' || r == '\n') && i+1 < len(text) && text[i+1] != ' ' && text[i+1] != '\n' {
			add(text[from : i+1])
			from = i + 1
		}
	}
	if from < len(text) {
		add(text[from:])
	}
	return out
}

func hashed(text string) []float32 {
	v := make([]float32, 64)
	sum := 0.0
	for w := range strings.FieldsSeq(strings.ToLower(text)) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(w))
		v[h.Sum32()%64]++
	}
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		v[0], sum = 1, 1
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
	return v
}

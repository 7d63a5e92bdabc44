package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// run is the work on one turn by one worker.
type run struct {
	s     *Service
	l     *Live
	id    string
	began time.Time
	// leased: nobody else has the turn, so a claim of another worker is that of
	// a dead one. Without a lease the other one may be alive.
	leased bool
	first  int // number of this worker's first attempt
	given  given
	charge Charge // nil = nothing was asked of an engine
	asked  int    // tokens of prompt, estimated

	// Of the attempts so far on this worker:
	idle   int       // in a row without a new character
	since  time.Time // when the first of those began
	closed bool      // the engine said that it can't go on with its text
}

// view is what an attempt knows of the turn after its claim.
type view struct {
	turn    event.Turn
	by      event.Created
	state   event.State
	attempt int
	text    string
	runes   int
	lead    int // bytes of text that the script said before the engine
	carried int // bytes of text that the turn it continues has written
	tokens  []int32
	noIDs   bool
	model   string // whose text it is, if that is not known from the turn
	stop    bool
	gone    bool // the conversation was deleted
	claimAt uint64
	sum     uint64    // of the newest claim
	sent    int       // the first attempt by which a bot may have got the activity; 0 = none
	sentAt  time.Time // when that was last so
	path    []passage // from the conversation's first to the one to answer
	heard   heard
}

func (r *run) look() view {
	var v view
	r.l.View(func(st *conversation.State) {
		t := st.Turn(r.id)
		v.gone = st.Deleted || !st.Exists || t == nil
		v.by, v.claimAt, v.sum = st.By, st.ClaimAt, st.ClaimSum
		if t == nil {
			return
		}
		v.turn, v.state, v.attempt, v.stop = t.Turn, t.State, t.Attempt, t.Stop
		v.model, v.carried, v.sent, v.sentAt = t.Model, t.Carried, t.Sent, t.SentAt
		v.text, v.runes, v.tokens, v.noIDs = string(t.Text), t.Runes, append([]int32(nil), t.Tokens...), t.TokensUnknown()
		v.lead, v.path = t.Lead, passages(st, t)
		if r.s.opts.Understanding != nil {
			v.heard = hear(st, t)
		}
	})
	return v
}

// attempt claims the turn and works on it until it is over, the worker must
// stop (err), or the next attempt is due after wait.
func (r *run) attempt(ctx context.Context) (over bool, wait time.Duration, err error) {
	v := r.look()
	if v.gone || v.state.Final() {
		return true, 0, nil
	}
	claim, err := r.s.opts.Log.Append(ctx, event.Append{
		Conversation: r.l.id, Expect: &v.claimAt, Prev: v.sum,
		Event: event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{
			Turn: r.id, Attempt: v.attempt + 1, Worker: r.s.opts.Worker, Region: r.s.opts.Log.Region(),
		}},
	})
	switch {
	case fault.Is(err, fault.Conflict) && !r.leased:
		return false, 0, errOvertaken
	case fault.Is(err, fault.Conflict):
		// Another worker, or our own earlier claim whose answer was lost: look again.
		return false, 100 * time.Millisecond, r.l.until(ctx, func(st *conversation.State) bool { return st.ClaimAt != v.claimAt })
	case err != nil:
		r.s.lg.Warn("a turn waits for the log", "turn", r.id, "err", err)
		return false, time.Second, nil
	}
	if err := r.l.Wait(ctx, claim.Seq); err != nil {
		return false, 0, err
	}
	if v = r.look(); v.gone || v.state.Final() {
		return true, 0, nil
	}
	if v.claimAt != claim.Seq {
		return false, 0, errOvertaken
	}
	if r.first == 0 {
		r.first = v.attempt
	}
	a := &attempt{run: r, v: v, claim: claim, sum: claim.Sum, bot: r.s.bot(v.by.Bot)}
	return a.work(ctx)
}

// attempt is one claim of a turn.
type attempt struct {
	*run
	v      view
	claim  event.Receipt
	sum    uint64 // of the last Out entry, or the claim
	bot    Bot    // that answers
	line   line   // what the script has of the answer
	engine lm.Engine
	model  lm.Model
	had    int  // tokens of the answer before this attempt
	joined bool // it goes on with the engine's own text
	out    *checkpoints
	away   bool // a bot answers that runs elsewhere
	marked bool // it may have got the activity by this attempt
}

func (a *attempt) work(ctx context.Context) (over bool, wait time.Duration, err error) {
	if a.v.stop {
		return a.end(ctx, event.Stopped, a.v.text, lm.Result{}, nil)
	}
	if err := a.step(); err != nil {
		return false, 0, err
	}
	if a.v.turn.Continues != "" {
		if a.line.alone || a.line.then != "" && strings.HasSuffix(a.v.text, a.line.then) {
			return a.end(ctx, event.Failed, a.v.text, lm.Result{}, fault.New(fault.Unsupported, "the script has said all of this that it has to say: there is nothing to go on with"))
		}
		if lead := a.line.says + "\n\n"; a.line.says != "" && strings.HasPrefix(a.v.text, lead) {
			a.v.lead = len(lead) // and is not the engine's
		}
		a.line.says = "" // what is written on has been led already
	}
	if a.line.alone {
		return a.recite(ctx)
	}
	if a.bot.Courier != nil && !a.v.turn.Plain {
		if goesOn, over, wait, err := a.deliver(ctx); !goesOn {
			return over, wait, err
		}
	}
	gen, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go a.watch(gen, cancel)
	req, err := a.prepared(gen, a.bot)
	if err == nil {
		if err = a.charged(gen, req); fault.Is(err, fault.Limited) {
			return a.end(ctx, event.Failed, a.v.text, lm.Result{}, err) // to wait for a budget is for people to decide
		}
	}
	if err != nil {
		return a.outcome(ctx, gen, a.v.text, lm.Result{}, err)
	}
	if a.v.attempt > 1 {
		if done, over, wait, err := a.resume(ctx, &req, a.bot); done {
			return over, wait, err
		}
	} else if a.v.carried > 0 {
		if !a.model.Resume.Continues() {
			return a.end(ctx, event.Failed, a.v.text, lm.Result{}, fault.New(fault.Unsupported, "this engine can't write on where an answer ended; ask for another answer"))
		}
		if own := a.v.text[a.v.lead:]; own != "" {
			req.Prefix = &lm.Prefix{Text: own, Policy: lm.Prefill}
		}
	}
	return a.generate(ctx, gen, cancel, req)
}

// prepared is prepare, again and again while the engine is away: nothing was
// asked of it yet, so that takes no new attempt.
func (a *attempt) prepared(ctx context.Context, bot Bot) (lm.Request, error) {
	for try := 0; ; try++ {
		req, err := a.prepare(ctx, bot)
		if err == nil || ctx.Err() != nil || !passing(err) || time.Since(a.since) > a.s.opts.Patience && a.idle > 0 {
			return req, err
		}
		if a.idle == 0 {
			a.idle, a.since = 1, time.Now()
			a.s.lg.Info("an answer waits for its engine", "turn", a.id, "err", err)
		}
		_ = pause.For(ctx, min(20*time.Millisecond<<min(try, 5), 500*time.Millisecond))
	}
}

// passing reports whether an engine's error may be gone in a while.
func passing(err error) bool {
	switch fault.CodeOf(err) {
	case fault.Unavailable, fault.Timeout, fault.Limited, fault.Internal:
		return true
	}
	return false
}

// loyalty is the part of Patience, 5 s as it is by default, for which a cut answer
// waits for the model that began it, where its name stands for others too.
const loyalty = 24

// prepare finds the engine, waiting while it starts, and makes the prompt.
func (a *attempt) prepare(ctx context.Context, bot Bot) (req lm.Request, err error) {
	model := a.v.turn.Model
	if model == "" {
		model = bot.Model
	}
	if a.v.model != "" && (a.idle == 0 || time.Since(a.since) < a.s.opts.Patience/loyalty) {
		model = a.v.model // a cut answer is its own model's to go on with, as long as that may come back
	}
	if a.engine, a.model, err = a.s.opts.Engines.Find(ctx, model, a.l.id); err != nil {
		return req, err
	}
	return a.prompt(ctx, bot)
}

// resume decides how a cut answer goes on and says so in the log. done means
// that the attempt is over with it.
func (a *attempt) resume(ctx context.Context, req *lm.Request, bot Bot) (done, over bool, wait time.Duration, err error) {
	policy := a.choose(req, bot)
	if policy == lm.Restart && a.v.turn.NoRestart && a.v.runes > 0 {
		policy = lm.Fail
	}
	a.s.opts.Observer.Resumed(a.engine.Name(), a.model.ID, policy)
	offset := a.v.runes
	switch policy {
	case lm.Fail:
		over, wait, err = a.end(ctx, event.Failed, a.v.text, lm.Result{},
			fault.New(fault.Unavailable, "the answer was cut and this engine can't continue it; the text so far is kept"))
		return true, over, wait, err
	case lm.Restart:
		offset, a.v.text, a.v.runes, a.v.lead, a.v.carried, a.v.tokens = 0, "", 0, 0, 0, nil
	default:
		if own := a.v.text[a.v.lead:]; own != "" || len(a.v.tokens) > 0 {
			req.Prefix = &lm.Prefix{Text: own, Tokens: a.v.tokens, Policy: policy}
			a.joined = policy == lm.Prefill && a.v.carried == 0
			a.had = len(a.v.tokens)
			if a.had == 0 {
				a.had = 1 + utf8.RuneCountInString(a.v.text[max(a.v.lead, a.v.carried):])/4 // a guess
			}
		}
	}
	if !a.goesOn(ctx, offset, policy, a.engine.Name()) {
		return true, false, time.Second, nil
	}
	return false, false, 0, nil
}

// choose names the policy for this cut: what the turn or bot asked for, as far
// as the engine and what is known of the answer allow it.
func (a *attempt) choose(req *lm.Request, bot Bot) lm.Policy {
	if a.v.runes == 0 && len(a.v.tokens) == 0 {
		return lm.Restart // nothing was shown: beginning again hides nothing
	}
	if a.v.lead == len(a.v.text) && len(a.v.tokens) == 0 {
		return lm.Prefill // of the engine's part nothing was shown
	}
	p := a.v.turn.Resume
	if p == "" {
		p = bot.Resume
	}
	if p == "" {
		p = a.model.Resume
	}
	if a.v.model != "" && a.v.model != a.model.ID && p != lm.Fail {
		return lm.Restart // another model's words are not gone on with
	}
	byID := a.model.Resume == lm.Exact || a.model.Resume == lm.Quick
	switch {
	case p == lm.Fail || p == lm.Restart:
	case byID && !a.v.noIDs && len(a.v.tokens) > 0:
		if p == lm.Prefill {
			p = lm.Quick
		}
	case req.Params.Constrained():
		p = lm.Restart // text can't be spliced into a grammar
	case a.model.Resume == lm.Prefill, a.v.carried > 0 && a.model.Resume.Continues():
		p = lm.Prefill
	default:
		p = lm.Restart
	}
	if p == lm.Prefill && a.closed {
		p = lm.Restart
	}
	return p
}

// generate streams the answer into the log and ends the turn, or says when to
// try again. gen is the generation's own context below ctx.
func (a *attempt) generate(ctx, gen context.Context, cancel context.CancelCauseFunc, req lm.Request) (over bool, wait time.Duration, err error) {
	a.out = newCheckpoints(a, cancel)
	if a.line.says != "" && a.v.runes == 0 {
		a.out.lead(a.line.says + "\n\n")
	}
	if most := req.Params.MaxTokens; most > 0 && a.had > 0 {
		if req.Params.MaxTokens = most - a.had; req.Params.MaxTokens <= 0 {
			return a.end(ctx, event.Ok, a.v.text, lm.Result{Finish: lm.FinishLength, Model: a.model.ID, Usage: lm.Usage{Completion: a.had}}, nil)
		}
	}
	began, last := time.Now(), time.Time{}
	stalled := time.AfterFunc(a.s.opts.Stall, func() {
		cancel(fault.New(fault.Timeout, "the engine sent nothing for %v", a.s.opts.Stall))
	})
	req.Waiting = func(at lm.Place) {
		stalled.Reset(a.s.opts.Stall) // who waits in line is not silent
		a.l.wait(a.id, at)
	}
	res, err := a.engine.Generate(gen, req, func(c lm.Chunk) error {
		stalled.Reset(a.s.opts.Stall)
		if now := time.Now(); len(c.Text) > 0 {
			if last.IsZero() {
				a.s.opts.Observer.FirstToken(a.engine.Name(), a.model.ID, now.Sub(began))
			} else {
				a.s.opts.Observer.NextToken(a.engine.Name(), a.model.ID, now.Sub(last))
			}
			last = now
		}
		return a.out.add(c)
	})
	stalled.Stop()
	res.Usage.Completion += a.had
	cause := context.Cause(gen)
	ending := err == nil || errors.Is(cause, errStopped)
	text, grew, logErr := a.out.finish(!ending && !errors.Is(cause, errOvertaken))
	if grew {
		a.idle = 0
	}
	if err == nil {
		cause = nil // it came to its end just before it was to be cut
	}
	if logErr != nil && cause == nil {
		a.s.lg.Warn("an answer waits for the log", "turn", a.id, "err", logErr)
		return false, time.Second, nil
	}
	return a.outcome(ctx, gen, text, res, err)
}

// outcome ends the attempt by how its work came out.
func (a *attempt) outcome(ctx, gen context.Context, text string, res lm.Result, err error) (over bool, wait time.Duration, _ error) {
	if err == nil {
		return a.end(ctx, event.Ok, text, res, nil)
	}
	cause := context.Cause(gen)
	switch {
	case errors.Is(cause, errStopped):
		return a.end(ctx, event.Stopped, text, res, nil)
	case errors.Is(cause, errOvertaken):
		return false, 0, errOvertaken
	case ctx.Err() != nil:
		return false, 0, ctx.Err()
	case fault.Is(cause, fault.StorageFull), errors.Is(cause, errLog):
		a.s.lg.Warn("an answer waits for the log", "turn", a.id, "err", cause)
		return false, time.Second, nil
	case cause != nil:
		err = cause // the stall
	}
	return a.failed(ctx, err)
}

var (
	errStopped = errors.New("the user stopped the answer")
	errLog     = errors.New("the log can't be written")
)

// watch ends the generation when the user stops it, deletes the conversation,
// or another worker takes the turn.
func (a *attempt) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	var why error
	err := a.l.until(ctx, func(st *conversation.State) bool {
		t := st.Turn(a.id)
		switch {
		case st.Deleted || st.ClaimAt != a.claim.Seq || t == nil:
			why = errOvertaken
		case t.Stop:
			why = errStopped
		default:
			return false
		}
		return true
	})
	if err == nil {
		cancel(why)
	}
}

// failed decides what becomes of a turn whose engine gave err.
func (a *attempt) failed(ctx context.Context, err error) (over bool, wait time.Duration, _ error) {
	code := fault.CodeOf(err)
	if a.idle == 0 {
		a.since = time.Now()
	}
	a.idle++
	if code == fault.Unsupported && a.joined {
		a.closed = true
		a.s.lg.Warn("an answer can't be continued and begins again", "turn", a.id, "attempt", a.v.attempt, "err", err)
		return false, 0, nil
	}
	enough := a.idle > 3 && code == fault.Internal || time.Since(a.since) > a.s.opts.Patience
	if passing(err) && !enough {
		a.s.lg.Warn("an answer was cut and goes on", "turn", a.id, "attempt", a.v.attempt, "err", err)
		wait := min(time.Duration(1<<min(a.idle-1, 6))*25*time.Millisecond, 2*time.Second)
		return false, min(max(wait, fault.RetryAfterOf(err)), a.s.opts.Patience), nil
	}
	a.s.lg.Error("a turn failed", "turn", a.id, "conversation", a.l.id, "attempt", a.v.attempt, "err", err)
	text := a.v.text
	if a.out != nil {
		text, _ = a.out.so()
	}
	return a.end(ctx, event.Failed, text, lm.Result{}, err)
}

// end writes the whole answer and the turn's last state. The log refuses it if
// the turn was claimed again meanwhile.
func (a *attempt) end(ctx context.Context, state event.State, text string, res lm.Result, cause error) (over bool, wait time.Duration, err error) {
	end := &event.Ended{Turn: a.id, Attempt: a.v.attempt, State: state, Finish: res.Finish, Usage: res.Usage, Model: a.modelName(res), Dialog: a.line.state, Script: a.line.script, Missed: a.line.miss && a.s.opts.Understanding.Collects(a.v.by.Bot)}
	switch {
	case a.engine != nil:
		end.Engine = a.engine.Name()
	case a.line.alone:
		end.Engine = scriptEngine
	case a.away:
		end.Engine, end.Model = botEngine, a.bot.ID
	}
	if state == event.Failed {
		end.Code, end.Error = fault.CodeOf(cause), fault.MessageOf(cause)
	}
	if state == event.Ok {
		text = paragraphs(text, a.line.then)
	}
	if text != "" || state == event.Ok && !a.line.alone && !a.away {
		answer, err := a.answer(text, end)
		if err != nil {
			return false, 0, err
		}
		end.Activity = answer
	}
	prev := a.sum
	if a.out != nil {
		_, prev = a.out.so()
	}
	r, err := a.s.opts.Log.Append(ctx, event.Append{
		Conversation: a.l.id, Prev: prev, Expect: &a.claim.Seq, ExpectClass: event.Claim,
		Event: event.Event{Kind: event.KindEnded, Ended: end},
	})
	switch {
	case fault.Is(err, fault.Conflict):
		return false, 0, errOvertaken
	case fault.Is(err, fault.TooLarge):
		return false, 0, fmt.Errorf("end turn: %w", err)
	case err != nil:
		a.s.lg.Warn("the end of a turn waits for the log", "turn", a.id, "err", err)
		return false, time.Second, nil // the next attempt continues at the end of the text
	}
	a.settle(res.Usage, text)
	switch {
	case a.engine != nil:
		a.s.opts.Observer.TurnEnded(a.engine.Name(), a.model.ID, state, time.Since(a.began), res.Usage)
	case a.line.alone:
		a.s.opts.Observer.TurnEnded(scriptEngine, a.line.app, state, time.Since(a.began), res.Usage)
	case a.away:
		a.s.opts.Observer.TurnEnded(botEngine, a.bot.ID, state, time.Since(a.began), res.Usage)
	}
	_ = a.l.Wait(ctx, r.Seq)
	return true, 0, nil
}

func (a *attempt) modelName(res lm.Result) string {
	if res.Model != "" {
		return res.Model
	}
	return a.model.ID
}

func (a *attempt) answer(text string, end *event.Ended) (*activity.Activity, error) {
	bot := a.bot
	act := &activity.Activity{
		Type: activity.TypeMessage, ID: event.AnswerOf(a.id), Timestamp: time.Now().UTC(), ChannelID: a.v.by.Channel,
		From:         &activity.Account{ID: bot.ID, Name: bot.Name, Role: "bot"},
		Recipient:    &activity.Account{ID: a.v.by.Owner, Role: "user"},
		Conversation: &activity.Account{ID: a.l.id},
		ReplyToID:    a.v.turn.ReplyTo, Text: text, TextFormat: "markdown",
	}
	a.l.View(func(st *conversation.State) {
		if st.Activity(act.ID) != nil { // a bot has answered, and somebody else has the last word
			act.ID = event.NewActivity(a.l.id, "last\x00"+a.id)
		}
	})
	return act, act.SetMeta(activity.Meta{
		Parent: a.v.turn.ReplyTo, Turn: a.id, Model: end.Model, Engine: end.Engine,
		Region: a.s.opts.Log.Region(), Finish: string(end.Finish), Attempt: a.v.attempt, Demo: a.model.Demo, Continues: a.model.Resume.Continues(),
	})
}

// bot returns a bot by id; one that was taken out of the configuration is
// replaced by the default one, so that old conversations can go on.
func (s *Service) bot(id string) Bot {
	if b, ok := s.bots[id]; ok {
		return b
	}
	return s.opts.Bots[0]
}

package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/parleyhq/parley/internal/fault"
)

// replicator sends the appends of one replicated stream. Many are on their way
// at once: the raft log gathers their flushes and their round trips itself.
//
// A leader's death leaves appends in doubt: stored, or lost with the leader, or
// still on their way. Each has an id that the stream remembers, so it can be
// sent again until it is certain, and is stored once. What must not happen is
// that an append is stored after one that was sent later: its reader would take
// neither. So appends of one subject are sent again one by one, each guarded by
// the one before, and where one has lost its place, the rest fail with it.
type replicator struct {
	l      *Log
	name   string        // of the stream
	in     chan *pending // from the callers
	stop   chan struct{} // closed by Close
	inbox  string
	acks   chan *nats.Msg
	doubt  chan struct{} // holds one: the stream has a new leader
	landed chan *lane    // lanes that are certain again

	// What follows belongs to run.
	lanes  map[string]*lane
	flying map[string]*pending // by the last part of the reply subject
	held   int                 // appends that wait in a lane
	next   uint64
}

// lane is the appends of one subject that are not certain yet. While it is
// settling, its flight belongs to settle.
type lane struct {
	subject  string
	flight   []*pending // sent, in that order
	settling bool
	queue    []*pending // come while it settles
	broken   error      // why the end of the flight failed
}

const (
	replicaWindow = 1024            // appends on their way side by side
	silence       = 2 * time.Second // without an answer an append is in doubt
	settlePause   = 50 * time.Millisecond

	// A sequence that no entry has: a guard that lets nothing pass but an entry
	// that is stored already, which the server looks for first.
	neverStored = 1 << 62
)

var (
	errNoQuorum = fault.New(fault.Unavailable, "the log has no majority of its replicas within reach and stores nothing; it goes on by itself when they are back").After(time.Second)
	errOvertook = fault.New(fault.Unavailable, "the log changed its leader and lost this entry's place; read, then write it again")
)

func newReplicator(l *Log, stream string) (*replicator, error) {
	r := &replicator{
		l: l, name: stream, in: make(chan *pending, 1024), stop: make(chan struct{}),
		inbox: l.nc.NewInbox(), acks: make(chan *nats.Msg, 8*replicaWindow),
		doubt: make(chan struct{}, 1), landed: make(chan *lane, 64),
		lanes: map[string]*lane{}, flying: map[string]*pending{},
	}
	if _, err := l.nc.ChanSubscribe(r.inbox+".*", r.acks); err != nil {
		return nil, readFault(err)
	}
	return r, nil
}

// add queues an append, or refuses it when the log is closed.
func (r *replicator) add(p *pending) error {
	p.stop = r.stop
	select {
	case <-r.stop:
		return errClosed
	default:
	}
	select {
	case r.in <- p:
		return nil
	case <-r.stop:
		return errClosed
	}
}

func (r *replicator) close() { close(r.stop) }

// newLeader says that what is on its way may have been lost.
func (r *replicator) newLeader() {
	select {
	case r.doubt <- struct{}{}:
	default:
	}
}

func (r *replicator) run() {
	tick := time.NewTicker(silence / 4)
	defer tick.Stop()
	again := time.NewTimer(silence)
	defer again.Stop()
	for {
		in := r.in
		if len(r.flying)+r.held >= replicaWindow {
			in = nil
		}
		select {
		case p := <-in:
			r.take(p)
		case m := <-r.acks:
			r.answered(m)
		case l := <-r.landed:
			r.settled(l)
		case <-r.doubt:
			r.settleOlder(0)
			again.Reset(r.l.leaderKnown())
		case <-again.C: // what went to the old leader when there was a new one already
			r.settleOlder(r.l.leaderKnown() / 2)
		case <-tick.C:
			r.settleOlder(silence)
		case <-r.stop:
			return
		}
	}
}

func (r *replicator) take(p *pending) {
	p.since = time.Now()
	p.msg.Header[jetstream.MsgIDHeader] = []string{nuid.Next()}
	l := r.lanes[p.msg.Subject]
	if l == nil {
		l = &lane{subject: p.msg.Subject}
		r.lanes[p.msg.Subject] = l
	}
	if l.settling {
		l.queue = append(l.queue, p)
		r.held++
		return
	}
	r.send(l, p)
}

func (r *replicator) send(l *lane, p *pending) {
	r.next++
	p.token = strconv.FormatUint(r.next, 36)
	p.msg.Reply = r.inbox + "." + p.token
	l.flight = append(l.flight, p)
	r.flying[p.token] = p
	if err := r.l.nc.PublishMsg(p.msg); err != nil { // too large for the connection's buffer while it is down
		r.settle(l)
	}
}

// answered takes one answer to a first try.
func (r *replicator) answered(m *nats.Msg) {
	token := m.Subject[len(r.inbox)+1:]
	p := r.flying[token]
	if p == nil {
		return // settled meanwhile
	}
	l := r.lanes[p.msg.Subject]
	seq, err := parseAck(m)
	switch verdictOf(err) {
	case stored:
		r.certain(l, p, outcome{seq: seq})
	case refused:
		r.certain(l, p, outcome{err: appendFault(err)})
	case unclear:
		r.settle(l)
	}
}

// certain ends an append. Those of its subject that were sent before it and
// have no answer are lost: the answers of one leader come in order.
func (r *replicator) certain(l *lane, p *pending, o outcome) {
	for i, q := range l.flight {
		if q != p {
			continue
		}
		lost := l.flight[:i]
		if o.err != nil {
			lost = nil // a refusal comes before the answers to what is being stored
		}
		for _, q := range lost {
			delete(r.flying, q.token)
			q.done <- outcome{err: errOvertook}
		}
		l.flight = append(l.flight[len(lost):i:i], l.flight[i+1:]...)
		break
	}
	delete(r.flying, p.token)
	p.done <- o
	if len(l.flight) == 0 && !l.settling {
		delete(r.lanes, l.subject)
	}
}

// settleOlder settles all lanes that have waited for so long.
func (r *replicator) settleOlder(age time.Duration) {
	for _, l := range r.lanes {
		if !l.settling && len(l.flight) > 0 && time.Since(l.flight[0].since) >= age {
			r.settle(l)
		}
	}
}

func (r *replicator) settle(l *lane) {
	l.settling = true
	for _, p := range l.flight {
		delete(r.flying, p.token)
	}
	r.held += len(l.flight)
	late := time.Now().Add(silence)
	if len(l.flight) > 0 {
		late = l.flight[0].since.Add(ioTimeout)
	}
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), late)
		defer cancel()
		l.broken = r.resend(ctx, l)
		select {
		case r.landed <- l:
		case <-r.stop:
		}
	}()
}

// settled sends what came meanwhile. It fails what came after an unguarded
// append that is missing: readers would not take it.
func (r *replicator) settled(l *lane) {
	r.held -= len(l.flight) + len(l.queue)
	l.flight, l.settling = nil, false
	queue := l.queue
	l.queue = nil
	for i, p := range queue {
		if l.settling { // sending failed
			l.queue = queue[i:]
			r.held += len(l.queue)
			return
		}
		if l.broken != nil && !p.guarded {
			p.done <- outcome{err: l.broken}
			continue
		}
		r.send(l, p)
	}
	l.broken = nil
	if len(l.flight) == 0 {
		delete(r.lanes, l.subject)
	}
}

// resend makes the appends of a lane certain, in order.
func (r *replicator) resend(ctx context.Context, l *lane) (broken error) {
	var (
		after uint64 // sequence of the subject's newest entry
		have  = -1   // the newest entry is this one of ours
	)
	alone := len(l.flight) == 1 // has no place to lose
	if !alone {
		var sum uint64
		after, sum, broken = r.newest(ctx, l.subject)
		for i, p := range l.flight {
			if after != 0 && p.sum == sum {
				have = i
			}
		}
	}
	for i, p := range l.flight {
		if broken != nil && !p.guarded {
			p.done <- outcome{err: broken}
			continue
		}
		if !p.guarded && !alone {
			guard := after
			if i <= have {
				guard = neverStored
			}
			p.msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(guard, 10)}
		}
		seq, err := r.once(ctx, p)
		if err == nil {
			after = max(after, seq)
			p.done <- outcome{seq: seq}
			continue
		}
		if !p.guarded {
			if verdictOf(err) == refused {
				err = errOvertook
			}
			broken = err
		}
		p.done <- outcome{err: appendFault(err)}
	}
	return broken
}

// once sends an append again until its answer is certain.
func (r *replicator) once(ctx context.Context, p *pending) (uint64, error) {
	for limit := r.l.leaderKnown(); ; {
		try, end := r.l.try(ctx, r.name, limit)
		m, err := r.l.nc.RequestMsgWithContext(try, p.msg)
		limit = end()
		var seq uint64
		if err == nil {
			seq, err = parseAck(m)
		}
		switch verdictOf(err) {
		case stored:
			return seq, nil
		case refused:
			return 0, err
		case unclear:
		}
		if err := r.pause(ctx); err != nil {
			return 0, err
		}
	}
}

// newest returns a subject's newest entry as the leader knows it.
func (r *replicator) newest(ctx context.Context, subject string) (seq, sum uint64, err error) {
	for {
		seq, sum, err = r.l.newest(ctx, r.name, subject)
		if err == nil {
			return seq, sum, nil
		}
		if err := r.pause(ctx); err != nil {
			return 0, 0, err
		}
	}
}

// pause waits a little, or returns why there is no time left.
func (r *replicator) pause(ctx context.Context) error {
	select {
	case <-time.After(settlePause):
		return nil
	case <-ctx.Done():
		return errNoQuorum
	case <-r.stop:
		return errClosed
	}
}

type verdict int

const (
	stored  verdict = iota
	refused         // it was not stored and will not be
	unclear         // it may have been, or may be: ask again
)

// verdictOf reads what an answer says about the entry.
func verdictOf(err error) verdict {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return stored
	case !errors.As(err, &api):
		return unclear
	case api.ErrorCode == errBusy || api.ErrorCode == errInProcess || api.Code == 503:
		return unclear
	}
	return refused
}

// Codes of answers that are no verdict: another append under this guard, or
// this very one, is on its way, and may be stored or not.
const (
	errBusy      = 10164
	errInProcess = 10158
)

func parseAck(m *nats.Msg) (uint64, error) {
	if m.Header.Get("Status") == "503" {
		return 0, nats.ErrNoResponders
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, err
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 {
		return 0, errors.New("the log acknowledged without a sequence")
	}
	return ack.Seq, nil
}

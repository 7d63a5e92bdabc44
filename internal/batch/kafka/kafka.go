// Package kafka takes requests from a topic of a Kafka cluster, has them
// answered, and puts the answers into another one. Both are one transaction with
// the consumer group's offsets: whoever reads the answers with
// isolation.level=read_committed finds one for each request, whatever died on
// the way; only the asking may have been done twice.
//
// What may live here: the talk with Kafka. What a request means and how long it
// may wait is package batch's affair.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/secret"
)

// Request is a record of the intake.
type Request struct {
	ID     string // kafka_TOPIC_PARTITION_OFFSET
	Custom string // its custom_id if it does not say one itself
	Raw    []byte
}

// Answer is a record for the outlet.
type Answer struct {
	Raw  []byte
	Well bool
}

// Options of New. The first six are required.
type Options struct {
	Name    string // of this pair of topics
	Node    string // no two nodes have the same
	Brokers []string
	Intake  string
	Outlet  string
	// Answer answers a request, however long that takes. An error says that ctx
	// is over. It is called from many goroutines.
	Answer func(ctx context.Context, r Request) (Answer, error)
	// Refuse is an answer that says why there is none.
	Refuse func(r Request, code, message string) Answer

	Group     string // of consumers; "" = parley-NAME
	Parallel  int    // requests that are answered at once, and put out together; 0 = 32
	TLS       *tls.Config
	Mechanism string // of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; "" = none
	User      string
	Password  secret.String

	Observer Observer     // nil = nobody
	Logger   *slog.Logger // nil = discard
}

// Observer hears what happens, for metrics. Every method is cheap.
type Observer interface {
	// KafkaAnswered: this many records were put out by a committed transaction.
	KafkaAnswered(name string, well, bad int)
	// KafkaAborted: a transaction was not committed; its records come again.
	KafkaAborted(name string)
}

const (
	groupTime   = 10 * time.Second // after which the partitions of a silent node go to the others
	putTime     = 30 * time.Second // for a transaction, from its first record
	againFirst  = time.Second
	againMost   = 30 * time.Second
	mostAnswer  = 1_000_000 // bytes of a record: what brokers take unless told otherwise
	recordExtra = 4 << 10   // of it for the key, headers and framing
	mostCustom  = 512
)

// Bridge leads from the intake to the outlet until Stop.
type Bridge struct {
	o    Options
	lg   *slog.Logger
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex // guards all below
	client  *kgo.Client
	problem error // why it does not work now; nil: it does
}

// New checks the options.
func New(o Options) (*Bridge, error) {
	if o.Name == "" || o.Node == "" || len(o.Brokers) == 0 || o.Intake == "" || o.Outlet == "" || o.Answer == nil || o.Refuse == nil {
		return nil, errors.New("kafka: Name, Node, Brokers, Intake, Outlet, Answer and Refuse are required")
	}
	if o.Intake == o.Outlet {
		return nil, fault.New(fault.Invalid, "the answers would be taken in as requests: intake and outlet are both %q", o.Intake)
	}
	if _, err := mechanism(o); err != nil {
		return nil, err
	}
	if o.Group == "" {
		o.Group = "parley-" + o.Name
	}
	if o.Parallel == 0 {
		o.Parallel = 32
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return &Bridge{o: o, lg: o.Logger.With("part", "kafka", "kafka", o.Name), problem: errors.New("it has not been asked yet")}, nil
}

func mechanism(o Options) (sasl.Mechanism, error) {
	switch o.Mechanism {
	case "":
		return nil, nil //nolint:nilnil // there is none
	case "PLAIN":
		return plain.Auth{User: o.User, Pass: o.Password.Reveal()}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: o.User, Pass: o.Password.Reveal()}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: o.User, Pass: o.Password.Reveal()}.AsSha512Mechanism(), nil
	}
	return nil, fault.New(fault.Invalid, "%q is no SASL mechanism that is known here", o.Mechanism)
}

// Start begins the work.
func (b *Bridge) Start(ctx context.Context) {
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.all.Go(func() {
		for wait := againFirst; ctx.Err() == nil; wait = min(2*wait, againMost) {
			began := time.Now()
			err := b.session(ctx)
			if ctx.Err() != nil {
				return
			}
			b.note(err)
			b.lg.Warn("the work with Kafka was interrupted and begins anew", "err", err)
			if time.Since(began) > againMost {
				wait = againFirst
			}
			if pause.For(ctx, wait) != nil {
				return
			}
		}
	})
}

// Stop ends the work; what is under way comes again, to whoever is there. It
// waits until the group knows, or ctx is over.
func (b *Bridge) Stop(ctx context.Context) {
	if b.stop == nil {
		return
	}
	b.stop()
	left := make(chan struct{})
	go func() {
		b.all.Wait()
		close(left)
	}()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

func (b *Bridge) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem = err
}

// Health asks the cluster for the two topics.
func (b *Bridge) Health(ctx context.Context) error {
	b.mu.Lock()
	cl, problem := b.client, b.problem
	b.mu.Unlock()
	if cl == nil {
		return fault.Wrap(problem, fault.Unavailable, "Kafka: %v", problem)
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range []string{b.o.Intake, b.o.Outlet} {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "no broker of %v answers", b.o.Brokers)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the topic %q: %v", *t.Topic, err)
		}
	}
	return nil
}

// session is a member of the consumer group, until something goes wrong.
func (b *Bridge) session(ctx context.Context) error {
	opts := []kgo.Opt{
		kgo.SeedBrokers(b.o.Brokers...),
		kgo.ClientID("parley-" + b.o.Node),
		kgo.TransactionalID("parley." + b.o.Group + "." + b.o.Node), // who comes after a death ends what that one began
		kgo.TransactionTimeout(putTime),
		kgo.ConsumerGroup(b.o.Group),
		kgo.ConsumeTopics(b.o.Intake),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // a group that is new begins with what is there
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.SessionTimeout(groupTime),
		kgo.HeartbeatInterval(groupTime / 5),
		kgo.ProducerBatchMaxBytes(mostAnswer),
		kgo.WithLogger(logger{b.lg}),
	}
	if b.o.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(b.o.TLS))
	}
	if m, err := mechanism(b.o); err != nil {
		return err
	} else if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	s, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	defer s.Close()
	b.mu.Lock()
	b.client = s.Client()
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.client = nil
	}()
	kept := map[place]Answer{} // of transactions that were not committed
	for {
		fetches := s.PollRecords(ctx, b.o.Parallel)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %q: %w", b.o.Intake, err)
		}
		if kept, err = b.turn(ctx, s, fetches.Records(), kept); err != nil {
			return err
		}
	}
}

// place is where a record lies in the intake.
type place struct {
	partition int32
	offset    int64
}

// turn answers records and puts all answers out, or none of them. What it returns
// need not be asked again.
func (b *Bridge) turn(ctx context.Context, s *kgo.GroupTransactSession, records []*kgo.Record, kept map[place]Answer) (map[place]Answer, error) {
	if len(records) == 0 {
		return kept, nil
	}
	answers := make([]Answer, len(records))
	errs := make([]error, len(records))
	var under sync.WaitGroup
	for i, r := range records {
		if a, ok := kept[place{r.Partition, r.Offset}]; ok {
			answers[i] = a
			continue
		}
		under.Go(func() { answers[i], errs[i] = b.answer(ctx, r) })
	}
	under.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	kept = map[place]Answer{}
	if err := s.Begin(); err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	var mu sync.Mutex
	var failed error
	well := 0
	for i, r := range records {
		kept[place{r.Partition, r.Offset}] = answers[i]
		if answers[i].Well {
			well++
		}
		out := &kgo.Record{Topic: b.o.Outlet, Key: r.Key, Value: answers[i].Raw, Headers: r.Headers}
		s.Produce(ctx, out, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	if err := s.Client().Flush(ctx); err != nil {
		return nil, fmt.Errorf("put answers out: %w", err)
	}
	mu.Lock()
	err := failed
	mu.Unlock()
	committed, endErr := s.End(ctx, kgo.TransactionEndTry(err == nil))
	switch {
	case endErr != nil:
		return nil, fmt.Errorf("end a transaction: %w", errors.Join(err, endErr))
	case err != nil:
		return nil, fmt.Errorf("put answers into %q: %w", b.o.Outlet, err)
	case !committed: // the partitions are being given to others
		b.o.Observer.KafkaAborted(b.o.Name)
		return kept, nil
	}
	b.o.Observer.KafkaAnswered(b.o.Name, well, len(records)-well)
	return nil, nil
}

// answer has a record answered.
func (b *Bridge) answer(ctx context.Context, r *kgo.Record) (Answer, error) {
	req := Request{ID: fmt.Sprintf("kafka_%s_%d_%d", r.Topic, r.Partition, r.Offset), Raw: r.Value}
	if req.Custom = string(r.Key); req.Custom == "" || len(req.Custom) > mostCustom || !utf8.ValidString(req.Custom) {
		req.Custom = req.ID
	}
	a, err := b.o.Answer(ctx, req)
	if err != nil {
		return a, err
	}
	room := mostAnswer - recordExtra - len(r.Key)
	for _, h := range r.Headers {
		room -= len(h.Key) + len(h.Value)
	}
	if len(a.Raw) > room {
		a = b.o.Refuse(req, "answer_too_large", fmt.Sprintf("the answer has %d bytes, and a record of the outlet at most %d", len(a.Raw), max(room, 0)))
	}
	return a, nil
}

// logger hands on what the client says.
type logger struct{ lg *slog.Logger }

func (logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	about := slices.Concat([]any{"what", msg}, keyvals)
	if level == kgo.LogLevelError {
		l.lg.Warn("the client says", about...)
		return
	}
	l.lg.Debug("the client says", about...)
}

type nobody struct{}

func (nobody) KafkaAnswered(string, int, int) {}
func (nobody) KafkaAborted(string)            {}

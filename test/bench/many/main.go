// Command many measures what conversations cost a node that has a great number
// of them: disk, memory, the time to start, and what a message takes then. It
// writes them into a log as a node does, but without flushing each one, starts
// the binary on it, and measures from outside. The engine is a canned one.
//
//	go build -o /tmp/parley ./cmd/parley
//	go run ./test/bench/many -parley /tmp/parley -n 10000,100000
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/test/bench/kit"
)

func main() {
	parley := flag.String("parley", "parley", "the binary to measure")
	counts := flag.String("n", "10000,100000", "how many conversations, one measurement for each")
	flag.Parse()
	fmt.Printf("%-14s %9s %9s %9s %9s %9s %9s %9s %9s %9s\n", "conversations", "log MiB", "copy MiB", "store MiB", "ready", "history", "ready 2", "MiB", "ack p50", "list p50")
	for _, c := range strings.Split(*counts, ",") {
		n, err := strconv.Atoi(c)
		if err == nil {
			err = measure(*parley, n)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func measure(parley string, n int) error {
	dir, err := os.MkdirTemp("", "parley-many-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := fill(filepath.Join(dir, "log"), n); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	first, err := start(parley, dir)
	if err != nil {
		return err
	}
	defer first.stop()
	history, err := first.settled()
	if err != nil {
		return err
	}
	first.stop()
	second, err := start(parley, dir)
	if err != nil {
		return err
	}
	defer second.stop()
	if _, err := second.settled(); err != nil {
		return err
	}
	acks, lists, err := second.talk()
	if err != nil {
		return err
	}
	fmt.Printf("%-14d %9.0f %9.0f %9.0f %9v %9v %9v %9.0f %9v %9v\n", n,
		size(filepath.Join(dir, "log", "jetstream")), size(filepath.Join(dir, "log", eventlog.TwinDir)), size(filepath.Join(dir, "store.db")),
		first.ready.Round(10*time.Millisecond), history.Round(10*time.Millisecond), second.ready.Round(10*time.Millisecond),
		second.memory(), median(acks), median(lists))
	return nil
}

// fill writes conversations of one question and one answer in four pieces. What
// is in the queue is taken and found answered, as a node does.
func fill(dir string, n int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log, err := eventlog.Open(ctx, eventlog.Options{Dir: dir, Region: "local", Node: "local", MemoryOnly: true})
	if err != nil {
		return err
	}
	var taken atomic.Int64
	var queue sync.WaitGroup
	queue.Go(func() {
		for ctx.Err() == nil {
			_ = log.Leases(ctx, "local", 1000, func(l event.Lease) {
				if l.Ack() == nil {
					taken.Add(1)
				}
			})
		}
	})
	var next atomic.Int64
	errs := make(chan error, 256)
	var writers sync.WaitGroup
	for range cap(errs) {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := write(ctx, log, int(i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	writers.Wait()
	for late := time.Now().Add(time.Minute); taken.Load() < int64(2*n) && time.Now().Before(late); {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	queue.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return log.Close()
	}
}

const answer = "There are three trains before noon, and the one at half past nine has a dining car. "

func write(ctx context.Context, log *eventlog.Log, i int) error {
	conv := event.NewConversation("local")
	sums := map[event.Class]uint64{}
	put := func(e event.Event) error {
		class := event.ClassOf(e.Kind)
		r, err := log.Append(ctx, event.Append{Conversation: conv, Prev: sums[class], Event: e})
		sums[class] = r.Sum
		return err
	}
	say := func(id, role, text string) *activity.Activity {
		return &activity.Activity{Type: activity.TypeMessage, ID: id, Text: text, From: &activity.Account{ID: role, Role: role}, Timestamp: time.Now().UTC()}
	}
	all := []event.Event{
		{Kind: event.KindCreated, Created: &event.Created{Owner: fmt.Sprint("user", i%1000), Bot: "default", Channel: "web"}},
		{Kind: event.KindSaid, Said: &event.Said{
			Activity: say("q"+strconv.Itoa(i), "user", fmt.Sprintf("When is the next train to city %d, please?", i)),
			Turn:     &event.Turn{ID: "t" + strconv.Itoa(i), ReplyTo: "q" + strconv.Itoa(i)}, Title: fmt.Sprint("City ", i),
		}},
		{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: "t" + strconv.Itoa(i), Attempt: 1, Worker: "local", Region: "local"}},
	}
	for k := range 4 {
		all = append(all, event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t" + strconv.Itoa(i), Attempt: 1, Offset: k * len(answer), Text: answer}})
	}
	all = append(all, event.Event{Kind: event.KindEnded, Ended: &event.Ended{
		Turn: "t" + strconv.Itoa(i), Attempt: 1, State: event.Ok, Activity: say("a"+strconv.Itoa(i), "bot", strings.Repeat(answer, 4)),
	}})
	for _, e := range all {
		if err := put(e); err != nil {
			return err
		}
	}
	return nil
}

type node struct {
	cmd    *exec.Cmd
	url    string
	client *http.Client
	began  time.Time
	ready  time.Duration
	ended  bool
}

func start(parley, dir string) (*node, error) {
	addr, err := kit.Free()
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	n := &node{
		cmd: exec.Command(parley, "up", "--no-browser", "--listen", addr, "--data", dir, "--engine", "demo"),
		url: "http://" + addr, client: &http.Client{Jar: jar}, began: time.Now(),
	}
	n.cmd.Stderr = os.Stderr
	n.cmd.Env = append(os.Environ(), "CI=true", "PARLEY_LOG_LEVEL=error")
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(n.began) < 10*time.Minute {
		if resp, err := http.Get(n.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				n.ready = time.Since(n.began)
				return n, nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.stop()
	return nil, fmt.Errorf("the node at %s is not ready", addr)
}

func (n *node) stop() {
	if n.ended {
		return
	}
	n.ended = true
	_ = n.cmd.Process.Signal(os.Interrupt)
	_ = n.cmd.Wait()
}

// settled waits until the store has all that the log holds.
func (n *node) settled() (time.Duration, error) {
	caughtUp := regexp.MustCompile(`(?m)^parley_store_lag_entries\{[^}]*\} 0$`)
	for time.Since(n.began) < time.Hour {
		resp, err := http.Get(n.url + "/metrics")
		if err != nil {
			return 0, err
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return 0, err
		}
		if caughtUp.Match(b) {
			return time.Since(n.began), nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0, fmt.Errorf("the store does not reach the log's end")
}

// talk says things that nobody answers in a conversation of its own, and lists.
func (n *node) talk() (acks, lists []time.Duration, err error) {
	var c struct{ ID string }
	if _, err := n.call("POST", "/api/v1/conversations", "{}", &c); err != nil {
		return nil, nil, err
	}
	for i := range 200 {
		took, err := n.call("POST", "/api/v1/conversations/"+c.ID+"/activities", fmt.Sprintf(`{"type":"event","text":"note %d"}`, i), nil)
		if err != nil {
			return nil, nil, err
		}
		acks = append(acks, took)
		if took, err = n.call("GET", "/api/v1/conversations", "", nil); err != nil {
			return nil, nil, err
		}
		lists = append(lists, took)
	}
	return acks, lists, nil
}

func (n *node) call(method, path, body string, into any) (time.Duration, error) {
	began := time.Now()
	req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode >= 300:
		return 0, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, b)
	case into != nil:
		err = json.Unmarshal(b, into)
	}
	return took, err
}

// memory is what the node has resident, in MiB.
func (n *node) memory() float64 {
	now, _ := kit.Memory(n.cmd.Process.Pid)
	return now / 1024
}

// size is what a directory or file holds, in MiB.
func size(path string) float64 {
	var all int64
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			all += st.Size()
		}
		return err
	})
	return float64(all) / (1 << 20)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2].Round(10 * time.Microsecond)
}

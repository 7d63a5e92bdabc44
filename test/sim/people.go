package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
)

// group is people whose conversations have the same flaw, or none.
type group struct {
	flaw     flaw
	talkers  int // ask and read the answer; each is watched by somebody in another region
	noters   int // say what nobody answers, several to a conversation, and read it in other regions
	perNotes int // noters of a conversation; 0 = 2
}

// person is one client, who knows all regions and prefers one.
type person struct {
	w    *world
	name string
	flaw flaw
	rand *rand.Rand
	c    *client.Client
	road *road
}

const (
	perTalk  = 3 // messages to a conversation
	perNotes = 60
	lastTry  = 60 * time.Second // what is not done by then never will be
)

func (w *world) person(name string, f flaw, home int, seed uint64) (*person, error) {
	p := &person{w: w, name: name, flaw: f, rand: rand.New(rand.NewPCG(seed, 2))}
	var urls []string
	p.road = &road{flaw: f, regions: map[string]string{}, open: map[int]context.CancelFunc{}}
	for i := range w.names {
		region := w.names[(home+i)%len(w.names)]
		address := w.doors[region].Addr()
		p.road.regions[address] = region
		urls = append(urls, "http://"+address)
	}
	p.road.to = &http.Transport{MaxIdleConnsPerHost: 2}
	var err error
	p.c, err = client.New(client.Options{
		BaseURLs: urls, HTTPClient: &http.Client{Transport: p.road}, Timeout: 2500 * time.Millisecond, Stall: 2500 * time.Millisecond,
		Backoff: 50 * time.Millisecond, Patience: lastTry,
	})
	return p, err
}

// settleIn lets all people of a group talk until talking ends; what they have
// begun they finish until ctx ends.
func (w *world) settleIn(ctx, talking, watching context.Context, g group, seed uint64, people, watchers *sync.WaitGroup) error {
	who := func(kind string, i, home int) (*person, error) {
		id := seed
		for _, c := range kind + string(g.flaw) {
			id = id*31 + uint64(c)
		}
		return w.person(fmt.Sprintf("%s %d", kind, i), g.flaw, home, id*31+uint64(i))
	}
	for i := range g.talkers {
		p, err := who("talker", i, i)
		if err != nil {
			return err
		}
		q, err := who("watcher", i, i+1)
		if err != nil {
			return err
		}
		begun := make(chan string, 64)
		people.Go(func() { p.talk(ctx, talking, begun); close(begun) })
		watchers.Go(func() { q.watch(watching, begun) })
	}
	each := max(g.perNotes, 2)
	for first := 0; first < g.noters; first += each {
		var book notebook
		for i := first; i < min(first+each, g.noters); i++ {
			p, err := who("noter", i, i)
			if err != nil {
				return err
			}
			people.Go(func() { p.note(ctx, talking, &book) })
		}
	}
	return nil
}

// begin makes a conversation.
func (p *person) begin(ctx context.Context) (string, error) {
	c, err := p.c.Create(ctx, client.NewConversation{})
	if err != nil {
		return "", err
	}
	p.w.flaws.plant(c.ID, p.flaw)
	p.w.h.begun(c.ID, p.flaw)
	return c.ID, nil
}

// talk asks, reads the answer to its end, and asks the next thing; now and then
// it moves to another region in the middle of an answer.
func (p *person) talk(ctx, talking context.Context, begun chan<- string) {
	conv := ""
	for i := 0; talking.Err() == nil; i++ {
		if i%perTalk == 0 {
			if conv != "" {
				p.leaveOff(ctx, conv, fmt.Sprintf("%s, talk %d", p.name, i/perTalk))
			}
			var err error
			if conv, err = p.begin(talking); err != nil {
				p.complain(talking, "can't begin a conversation", err)
				return
			}
			begun <- conv
		}
		text := fmt.Sprintf("%s, message %d%s", p.name, i, strings.Repeat(" and so on", p.rand.IntN(3)))
		try, cancel := context.WithTimeout(ctx, lastTry)
		p.ask(try, conv, text)
		cancel()
	}
}

// leaveOff names a conversation that is over, or has it forgotten.
func (p *person) leaveOff(ctx context.Context, conv, title string) {
	ctx, cancel := context.WithTimeout(ctx, lastTry)
	defer cancel()
	if p.rand.IntN(4) == 0 {
		p.w.h.forgotten(conv)
		if err := p.c.Delete(ctx, conv); err != nil {
			p.complain(ctx, conv+" can't be deleted", err)
		}
		return
	}
	if err := p.c.Rename(ctx, conv, title); err != nil {
		p.complain(ctx, conv+" can't be named", err)
		return
	}
	p.w.h.named(conv, title)
}

func (p *person) ask(ctx context.Context, conv, text string) {
	said := p.say(ctx, conv, text, p.c.Send)
	if said == nil {
		return
	}
	shown, moves, stops := "", p.rand.IntN(3) == 0, p.rand.IntN(6) == 0
	answer, err := p.c.Follow(ctx, conv, said.turn, 0, func(x client.Piece) error {
		if x.Restart {
			shown = ""
		}
		shown += x.Text
		if moves && len(shown) > 100 {
			moves = false
			p.road.leave()
		}
		if stops && len(shown) > 200 {
			stops = false
			p.w.h.stopped(said)
			return p.c.Stop(ctx, conv, said.turn)
		}
		return nil
	})
	if err != nil {
		p.complain(ctx, fmt.Sprintf("the answer to %q in %s", text, conv), err)
	}
	p.w.h.answered(said, &answer, shown)
}

// say says something and notes that it was acknowledged, and by whom.
func (p *person) say(ctx context.Context, conv, text string, how func(context.Context, string, client.Message) (client.Sent, error)) *said {
	call := time.Now()
	sent, err := how(ctx, conv, client.Message{Text: text})
	if err != nil {
		p.complain(ctx, fmt.Sprintf("%q in %s was not acknowledged", text, conv), err)
		return nil
	}
	return p.w.h.said(conv, said{by: p.name, text: text, id: sent.ID, turn: sent.Turn, region: p.road.last(), call: call, ret: time.Now()})
}

// notebook is a conversation that several noters share.
type notebook struct {
	mu    sync.Mutex // guards what follows
	conv  string
	notes int
}

func (b *notebook) page(ctx context.Context, p *person) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conv == "" || b.notes >= perNotes {
		conv, err := p.begin(ctx)
		if err != nil {
			return "", err
		}
		b.conv, b.notes = conv, 0
	}
	b.notes++
	return b.conv, nil
}

// note says one thing after the other; often it then moves to another region
// and reads what it said.
func (p *person) note(ctx, talking context.Context, book *notebook) {
	for i := 0; talking.Err() == nil; i++ {
		conv, err := book.page(talking, p)
		if err != nil {
			p.complain(talking, "can't begin a conversation", err)
			return
		}
		try, cancel := context.WithTimeout(ctx, lastTry)
		p.say(try, conv, fmt.Sprintf("%s, note %d", p.name, i), p.c.Note)
		if p.rand.IntN(3) == 0 {
			p.road.leave()
			call := time.Now()
			acts, err := p.c.Activities(try, conv)
			if err != nil {
				p.complain(try, "can't read "+conv, err)
			} else {
				r := read{by: p.name, region: p.road.last(), call: call}
				for _, a := range acts {
					r.ids = append(r.ids, a.ID)
				}
				p.w.h.read(conv, r)
			}
		}
		cancel()
		pause(talking, time.Duration(20+p.rand.IntN(60))*time.Millisecond)
	}
}

// watch reads conversations that somebody else leads, from the first event to
// the last, moving from region to region by position.
func (p *person) watch(ctx context.Context, begun <-chan string) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case conv, more := <-begun:
			if !more {
				return
			}
			all.Go(func() { p.events(ctx, conv) })
		}
	}
}

func (p *person) events(ctx context.Context, conv string) {
	sight := p.w.h.sight(conv)
	seen := 0
	for e, err := range p.c.Events(ctx, conv, 0) {
		if err != nil {
			if ctx.Err() == nil && !(client.CodeOf(err) == "not_found" && p.w.h.gone(conv)) {
				p.complain(ctx, "lost sight of "+conv, err)
			}
			return
		}
		p.w.h.saw(sight, e)
		if seen++; seen%40 == 0 {
			p.road.leave()
		}
	}
}

// complain notes what should not have happened; the end of the run is none.
func (p *person) complain(ctx context.Context, what string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	p.w.h.strange("%s (%s): %s: %v", p.name, p.flaw, what, err)
}

// road is how a person's requests travel. It knows which region they reach, and
// can leave one.
type road struct {
	to      *http.Transport
	flaw    flaw
	regions map[string]string // by address

	mu      sync.Mutex // guards what follows
	at      string     // the address that answered last
	left    string     // an address that is not gone to once
	next    int
	open    map[int]context.CancelFunc // requests under way
	answers string                     // the region of the last good answer that was no stream
}

var errLeft = errors.New("the user has moved to another region")

// leave breaks what is under way and refuses the address once, so that the
// client moves on.
func (r *road) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = r.at
	for _, cut := range r.open {
		cut()
	}
}

func (r *road) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers
}

// RoundTrip sends a request, spoilt by the flaw.
func (r *road) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	r.mu.Lock()
	if r.left == host {
		r.left = ""
		r.mu.Unlock()
		return nil, errLeft
	}
	r.next++
	mine := r.next
	ctx, cancel := context.WithCancel(req.Context())
	r.open[mine] = cancel
	r.mu.Unlock()
	req = req.Clone(ctx)
	spoilRequest(req, r.flaw)
	resp, err := r.to.RoundTrip(req)
	if err != nil {
		r.close(mine)
		return nil, err
	}
	r.mu.Lock()
	r.at = host
	if resp.StatusCode < 300 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		r.answers = r.regions[host]
	}
	r.mu.Unlock()
	resp.Body = &body{ReadCloser: resp.Body, end: func() { r.close(mine) }}
	return resp, nil
}

func (r *road) close(request int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cut := r.open[request]; cut != nil {
		cut()
		delete(r.open, request)
	}
}

// body tells when a response was read.
type body struct {
	io.ReadCloser
	end func()
}

func (b *body) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

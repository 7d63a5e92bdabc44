package drill

import (
	"context"
	"fmt"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	probers     = 4 // for each region
	perTalk     = 3 // messages to a conversation
	probesEach  = 200
	probePause  = 20 * time.Millisecond
	lastAnswers = 90 * time.Second // an answer that is not over by then never will be
)

// talk is a conversation and what its user was told.
type talk struct {
	conv   string
	prober string // the region whose log it probes; "" for a user who talks

	answering string // the region that answers just now
	hit       *hit
	said      []Told
}

// begin makes a conversation: of a region that is probed, or of wherever a user
// gets to.
func (d *Drill) begin(ctx context.Context, c *client.Client, prober string) (*talk, error) {
	conv, err := c.Create(ctx, client.NewConversation{Home: prober})
	if err != nil {
		return nil, err
	}
	t := &talk{conv: conv.ID, prober: prober}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.talks = append(d.talks, t)
	return t, nil
}

// who returns a client that prefers a region, or goes through the edge.
func (d *Drill) who(prefer string) (*client.Client, error) {
	if !d.opts.Direct {
		return client.New(client.Options{BaseURLs: []string{d.opts.World.URL()}})
	}
	at := d.opts.World.Addresses()
	urls := []string{at[prefer]}
	for _, s := range d.sites {
		if s != prefer {
			urls = append(urls, at[s])
		}
	}
	return client.New(client.Options{BaseURLs: urls, Stall: 3 * time.Second, Timeout: 3 * time.Second})
}

// user says something, reads the answer to its end, and says the next thing.
func (d *Drill) user(ctx, talking context.Context, n int) {
	c, err := d.who(d.sites[n%len(d.sites)])
	if err != nil {
		d.strange("user %d: %v", n, err)
		return
	}
	var t *talk
	for i := 0; talking.Err() == nil; i++ {
		if t == nil || i%perTalk == 0 {
			if t, err = d.begin(talking, c, ""); err != nil {
				if talking.Err() == nil {
					d.strange("user %d can't begin a conversation: %v", n, err)
				}
				return
			}
		}
		d.ask(ctx, c, t, fmt.Sprintf("user %d, message %d: tell me about the number %d", n, i, 100*n+i))
	}
}

// ask says something and reads the answer.
func (d *Drill) ask(ctx context.Context, c *client.Client, t *talk, text string) {
	ctx, cancel := context.WithTimeout(ctx, lastAnswers)
	defer cancel()
	sent, err := c.Send(ctx, t.conv, client.Message{Text: text})
	if err != nil {
		if ctx.Err() == nil {
			d.strange("%s: the message %q was not acknowledged: %v", t.conv, text, err)
		}
		return
	}
	d.mu.Lock()
	t.said = append(t.said, Told{ID: sent.ID, Text: text, Answer: &client.Answer{}})
	mine := len(t.said) - 1
	d.mu.Unlock()
	seen := ""
	answer, err := c.Follow(ctx, t.conv, sent.Turn, 0, func(p client.Piece) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if p.Restart {
			seen = ""
		}
		seen += p.Text
		if p.Region != "" && p.Region != t.answering {
			t.answering = p.Region
			if t.hit != nil {
				t.hit.moved = true
			}
		}
		if p.Text != "" && t.hit.over() {
			d.healed(t.hit)
			t.hit = nil
		}
		return nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	t.answering = ""
	if t.hit != nil {
		if t.hit.over() {
			d.healed(t.hit)
		}
		d.dropped(t.hit) // if not, all of it was under way
		t.hit = nil
	}
	t.said[mine].Answer = &answer
	if err == nil && seen != answer.Text {
		d.odd = append(d.odd, fmt.Sprintf("%s: the pieces of the answer to %q do not add up to it", t.conv, text))
	}
	if err != nil {
		d.odd = append(d.odd, fmt.Sprintf("%s: the answer to %q: %v", t.conv, text, err))
	}
}

// prober says things that nobody answers, one after the other, in
// conversations that are at home in a region: it measures acknowledgements.
func (d *Drill) prober(ctx, talking context.Context, site string, n int) {
	c, err := d.who(site)
	if err != nil {
		d.strange("prober: %v", err)
		return
	}
	var t *talk
	for i := 0; talking.Err() == nil; i++ {
		if t == nil || len(t.said) >= probesEach {
			next, err := d.begin(talking, c, site)
			if err != nil {
				continue
			}
			d.mu.Lock()
			if t != nil {
				t.prober = "" // another one is disturbed in its place
				next.hit, t.hit = t.hit, nil
			}
			d.mu.Unlock()
			t = next
		}
		text := fmt.Sprintf("probe %s %d %d", site, n, i)
		ctx, cancel := context.WithTimeout(ctx, lastAnswers)
		asked := time.Now()
		sent, err := c.Note(ctx, t.conv, client.Message{Text: text})
		cancel()
		d.mu.Lock()
		if err == nil {
			t.said = append(t.said, Told{ID: sent.ID, Text: text})
			if t.hit != nil && asked.After(t.hit.began) {
				d.healed(t.hit)
				t.hit = nil
			}
		} else if ctx.Err() == nil {
			d.odd = append(d.odd, fmt.Sprintf("%s: %q was not acknowledged: %v", t.conv, text, err))
		}
		d.mu.Unlock()
		_ = pause.For(talking, probePause)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t != nil {
		t.prober = ""
		d.dropped(t.hit)
	}
}

package channel_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm/demo"
)

var errDown = fault.New(fault.Unavailable, "the board is down")

// patient starts a node as start does, with bounds of its own.
func patient(t *testing.T, b *board, o channeltest.NodeOptions) *node {
	t.Helper()
	o.Channel, o.Worker, o.Log, o.Death, o.Engine = "board", "x", openLog(t), channeltest.NewDeath(), demo.Echo("echo")
	o.Rate, o.Burst = 1000, 1000
	o.Bots = []chat.Bot{{ID: "bot", Name: "Bot"}}
	o.Attach = func(n *channeltest.Node) error { n.Outlet.Add(n.Desk, b); return nil }
	x := channeltest.StartNode(t, o)
	return &node{t, x.Chat, x.Desk, x.Outlet, x.Halt}
}

// writes begins a conversation of an account and says something in it.
func (n *node) writes(account, text string) (conv string) {
	n.t.Helper()
	conv, err := n.desk.Place(n.t.Context(), account+text, channel.Start{Owner: account})
	if err == nil {
		_, err = n.desk.Take(n.t.Context(), channel.Inbound{
			Conversation: conv, Owner: account, Key: text,
			Activity: activity.Activity{Type: activity.TypeMessage, Text: text, From: &activity.Account{ID: "ann"}, ChannelData: []byte(`{"board":{"place":1}}`)},
		})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return conv
}

// letters waits until there are so many.
func (n *node) letters(least int) []channel.Letter {
	n.t.Helper()
	for late := time.Now().Add(30 * time.Second); ; {
		all, _, err := n.outlet.Letters(n.t.Context(), "", "", 1000)
		if err != nil {
			n.t.Fatal(err)
		}
		if len(all) >= least {
			return all
		}
		if time.Now().After(late) {
			n.t.Fatalf("there are %d dead letters, want %d", len(all), least)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// The platform of one account is down for long. What is said on it does not
// fill the queue by which the others' messages come, and nothing is lost.
func TestDownForLong(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 0)
	var down atomic.Bool
	down.Store(true)
	b.before = func(p channel.Post) (string, error) {
		if down.Load() && p.Owner == "down" {
			return "", errDown
		}
		return "", nil
	}
	x := patient(t, b, channeltest.NodeOptions{GiveUp: time.Hour, Waiting: 4, Queue: 8})
	const n = 20 // more than the queue has places
	var convs []string
	for i := range n {
		convs = append(convs, x.writes("down", fmt.Sprint("message ", i)))
		if i%5 == 0 {
			b.want(x.writes("up", fmt.Sprint("other ", i)), "other")
		}
	}
	for _, l := range x.letters(n - 4) {
		if !strings.Contains(l.Error, "wait") {
			t.Errorf("a letter says %q", l.Error)
		}
	}
	down.Store(false)
	for _, l := range x.letters(n - 4) {
		if err := x.outlet.Replay(t.Context(), l.ID()); err != nil {
			t.Error(err)
		}
	}
	for i, conv := range convs {
		b.want(conv, fmt.Sprint("message ", i))
	}
}

// The messages of a conversation wait together: they are given up together, not
// each after a time of its own.
func TestGivenUpTogether(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 0)
	tries := map[string]int{}
	b.before = func(p channel.Post) (string, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if p.Item.Activity.Type == activity.TypeMessage {
			tries[p.Item.Activity.Text]++
		}
		return "", errDown
	}
	x := patient(t, b, channeltest.NodeOptions{GiveUp: time.Second})
	conv := x.Begin(t)
	for i := range 4 {
		x.say(conv, fmt.Sprint("message ", i))
	}
	x.letters(4)
	b.mu.Lock()
	defer b.mu.Unlock()
	for text, n := range tries {
		if first := strings.HasSuffix(text, "0"); first != (n > 1) {
			t.Errorf("%q was tried %d times", text, n)
		}
	}
}

// That something was refused long ago, and went out after all, is not held
// against what comes later.
func TestForgiven(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 0)
	refused := map[string]bool{}
	b.before = func(p channel.Post) (string, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if text := p.Item.Activity.Text; !refused[text] {
			refused[text] = true
			return "", errDown
		}
		return "", nil
	}
	const giveUp = 700 * time.Millisecond
	x := patient(t, b, channeltest.NodeOptions{GiveUp: giveUp})
	conv := x.Begin(t)
	x.say(conv, "message 0")
	b.want(conv, "message 0")
	<-time.After(giveUp)
	x.say(conv, "message 1")
	b.want(conv, "message 0", "message 1")
	if all, _, err := x.outlet.Letters(t.Context(), "", "", 10); len(all) > 0 || err != nil {
		t.Error(all, err)
	}
}

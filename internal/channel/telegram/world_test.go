package telegram_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/telegram"
	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	hookSecret  = "the-secret-of-the-webhook"
	otherSecret = "another-secret-of-the-other"
	ann         = 4_200_001 // a person, and the chat with her
	group       = -1_001_234_567_890
)

func account(name, hook string) telegram.Account {
	return telegram.Account{Name: name, Token: secret.New(bottest.Token), Secret: secret.New(hook)}
}

// desk notes what is taken.
type desk struct {
	mu     sync.Mutex // guards what follows
	taken  []channel.Inbound
	spoken []chat.Spoken
	said   map[uint64]*activity.Activity
	kept   map[string]files.File // by address
	fail   func(channel.Inbound) error
	no     []string // reasons of refusals
}

func (d *desk) Place(_ context.Context, name string, s channel.Start) (string, error) {
	return s.Owner + "/" + name, nil
}

func (d *desk) Take(_ context.Context, in channel.Inbound) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(in); err != nil {
			return 0, err
		}
	}
	for i, t := range d.taken {
		if t.Conversation == in.Conversation && t.Key == in.Key {
			return uint64(i + 1), nil
		}
	}
	d.taken = append(d.taken, in)
	return uint64(len(d.taken)), nil
}

func (d *desk) Speak(_ context.Context, sp chat.Spoken) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoken = append(d.spoken, sp)
	return 1, nil
}

func (d *desk) Said(_ context.Context, _, _ string, pos uint64) (*activity.Activity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.said[pos]; a != nil {
		return a, nil
	}
	return nil, fault.New(fault.NotFound, "nothing")
}

func (d *desk) Keep(_ context.Context, _, conv, key string, f files.File) (files.Attachment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Type == "application/x-evil" {
		return files.Attachment{}, fault.New(fault.Unsupported, "not this type")
	}
	at := files.Attachment{Type: f.Type, URL: "/files/" + conv + "/" + key, Name: f.Name, Size: len(f.Content)}
	if d.kept == nil {
		d.kept = map[string]files.File{}
	}
	d.kept[at.URL] = f
	return at, nil
}

func (d *desk) Kept(_ context.Context, _, _, address string) (files.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.kept[address]; ok {
		return f, nil
	}
	return files.File{}, fault.New(fault.NotFound, "no such file")
}

func (d *desk) Alone(ctx context.Context, _ string, do func(context.Context)) error {
	do(ctx)
	return ctx.Err()
}

func (d *desk) AloneAt(context.Context, string) (string, error) { return "here", nil }

func (d *desk) Observer() channel.Observer { return observer{d} }

type observer struct{ d *desk }

func (observer) Received(string, string)         {}
func (observer) Delivered(string, time.Duration) {}
func (observer) Connected(string, int)           {}
func (observer) Posted(string, string)           {}
func (o observer) Refused(_, reason string) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	o.d.no = append(o.d.no, reason)
}

// all returns what was taken.
func (d *desk) all() []channel.Inbound {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]channel.Inbound(nil), d.taken...)
}

// side is a server of ours between a desk and the Bot API.
type side struct {
	t    *testing.T
	desk *desk
	api  *bottest.API
	s    *telegram.Server
	url  string
}

func open(t *testing.T, change func(*telegram.Options)) *side {
	t.Helper()
	x := &side{t: t, desk: &desk{}, api: &bottest.API{}}
	bots := httptest.NewServer(x.api)
	t.Cleanup(bots.Close)
	log := &locked{}
	o := telegram.Options{
		Desk: x.desk, Accounts: []telegram.Account{account("shop", hookSecret), account("other", otherSecret), account("polled", "")}, Service: "https://chat.example.org",
		MaxFile: 1000, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for i := range o.Accounts {
		o.Accounts[i].API = bots.URL
	}
	if change != nil {
		change(&o)
	}
	var err error
	if x.s, err = telegram.New(o); err != nil {
		t.Fatal(err)
	}
	us := httptest.NewServer(x.s)
	t.Cleanup(us.Close)
	x.url = us.URL + telegram.Base + "shop"
	t.Cleanup(func() {
		for _, key := range []string{bottest.Token, hookSecret, otherSecret} {
			if s := log.String(); strings.Contains(s, key) {
				t.Errorf("a secret stands in the log:\n%s", s)
			}
		}
	})
	return x
}

type locked struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// post delivers a body with a secret and returns the status.
func post(t *testing.T, url, body, shown string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if shown != "" {
		r.Header.Set("X-Telegram-Bot-Api-Secret-Token", shown)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (x *side) deliver(update string) int {
	x.t.Helper()
	return post(x.t, x.url, update, hookSecret)
}

// message is an update with a message of ann's in the chat with her; more are
// further fields of it.
func message(n, id int64, more string) string {
	return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%d,"date":1700000000,"chat":{"id":%d,"type":"private","first_name":"Ann"},`+
		`"from":{"id":%d,"is_bot":false,"first_name":"Ann","last_name":"Lee","language_code":"en"},%s}}`, n, id, ann, ann, more)
}

// inGroup is one in a group.
func inGroup(n, id int64, more string) string {
	return strings.Replace(message(n, id, more), fmt.Sprintf(`"chat":{"id":%d,"type":"private","first_name":"Ann"}`, ann), fmt.Sprintf(`"chat":{"id":%d,"type":"supergroup","title":"Friends"}`, group), 1)
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// say is an item as the outlet hands it to the poster, after ann wrote message
// 7 in a chat.
func say(chat int64, a activity.Activity) channel.Post {
	if a.Type == "" {
		a.Type = activity.TypeMessage
	}
	a.From = &activity.Account{ID: "bot", Role: "bot"}
	data := fmt.Appendf(nil, `{"telegram":{"chat":%d,"user":%d,"message":7}}`, chat, ann)
	return channel.Post{
		Conversation: "local-1", Owner: telegram.Owner("shop"), Last: &activity.Activity{Type: activity.TypeMessage, Text: "hi", ChannelData: data},
		LastAt: time.Now().Add(-time.Minute), Item: channel.Item{Pos: 16, ID: 16, At: time.Now(), ReplyTo: 8, Activity: &a},
	}
}

// part is a piece of an answer that grows.
func part(chat int64, text, ref, sent string) channel.Post {
	p := say(chat, activity.Activity{Type: activity.TypeTyping, Text: text, TextFormat: "markdown"})
	p.Item.Stream, p.Ref, p.Sent = &channel.Stream{ID: 16, First: ref == "", Part: 1}, ref, sent
	return p
}

func (x *side) right() {
	x.t.Helper()
	if wrong := x.api.Wrong(); len(wrong) > 0 {
		x.t.Errorf("the Bot API refuses: %q", wrong)
	}
}

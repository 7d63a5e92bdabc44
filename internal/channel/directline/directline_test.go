package directline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/directline"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

func TestTokens(t *testing.T) {
	var late atomic.Int64 // seconds that the clock was put forward
	c := node(t, openLog(t), "a", echo(), func(_ *channel.Options, o *directline.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Second) }
	})
	tok := c.generate("dl_ann")
	if _, p, _ := opened(t, tok.Token); p["user"] != "dl_ann" || p["conv"] != tok.ConversationID {
		t.Errorf("claims %v", p)
	}
	if !event.ValidConversation(tok.ConversationID) || tok.ExpiresIn != 3600 {
		t.Errorf("token %+v", tok)
	}
	if got := c.do("POST", "/conversations", tok.Token, nil).status; got != 201 {
		t.Errorf("first start: %d", got)
	}
	if got := c.do("POST", "/conversations", tok.Token, `{"user":{"id":"dl_eve"}}`).status; got != 200 {
		t.Errorf("second start: %d", got)
	}
	late.Store(1800)
	var fresh token
	c.do("POST", "/tokens/refresh", tok.Token, nil).into(t, &fresh)
	if fresh.ConversationID != tok.ConversationID || fresh.Token == tok.Token {
		t.Errorf("refreshed %+v", fresh)
	}
	late.Store(3601)
	path := "/conversations/" + tok.ConversationID
	for _, call := range []struct{ method, path, key, word string }{
		{"POST", "/tokens/refresh", tok.Token, "TokenExpired"},
		{"GET", path + "/activities", tok.Token, "TokenExpired"},
		{"GET", path + "?watermark=", tok.Token, "TokenExpired"},
		{"POST", "/conversations", tok.Token, "TokenExpired"},
	} {
		a := c.do(call.method, call.path, call.key, nil)
		if a.status != 403 || !strings.Contains(string(a.body), call.word) {
			t.Errorf("%s %s with an expired token: %d %s; only 403 makes the client wait for a new one", call.method, call.path, a.status, a.body)
		}
	}
	if a := c.do("GET", path+"/activities", fresh.Token, nil); a.status != 200 {
		t.Errorf("the refreshed one: %d %s", a.status, a.body)
	}
	// The site's server gives out a new one, for the same user.
	var again token
	c.do("GET", path+"?watermark=7", siteKey, nil).into(t, &again)
	if _, p, _ := opened(t, again.Token); p["user"] != "dl_ann" || !strings.Contains(again.StreamURL, "watermark=7") {
		t.Errorf("claims %v, stream %s", p, again.StreamURL)
	}
}

func TestStatuses(t *testing.T) {
	c := node(t, openLog(t), "a", echo(), nil)
	tok, other := c.begin("dl_ann"), c.begin("")
	path := "/conversations/" + tok.ConversationID
	msg := `{"type":"message","text":"x","from":{"id":"dl_ann"}}`
	never := "/conversations/" + event.NewConversation("local")
	for _, x := range []struct {
		what, method, path, key, body string
		want                          int
	}{
		{"no credential", "POST", "/tokens/generate", "", "", 401},
		{"a token makes no tokens", "POST", "/tokens/generate", tok.Token, "", 403},
		{"a secret can't be refreshed", "POST", "/tokens/refresh", siteKey, "", 403},
		{"a long user id", "POST", "/tokens/generate", siteKey, `{"user":{"id":"` + strings.Repeat("x", 300) + `"}}`, 400},
		{"a user id of a wrong kind", "POST", "/tokens/generate", siteKey, `{"user":{"id":5}}`, 400},
		{"another conversation", "GET", path + "/activities", other.Token, "", 403},
		{"another conversation", "GET", path + "?watermark=", other.Token, "", 403},
		{"another conversation", "POST", path + "/activities", other.Token, msg, 403},
		{"another site", "GET", path + "/activities", otherKey, "", 404},
		{"no conversation", "GET", "/conversations/nope-000/activities", siteKey, "", 404},
		{"no conversation", "GET", "/conversations/nope-000?watermark=1", tok.Token, "", 404},
		{"never begun", "GET", never + "/activities", siteKey, "", 404},
		{"never begun", "POST", never + "/activities", siteKey, msg, 404},
		{"of no region", "POST", "/conversations/mars-" + strings.Repeat("0", 24) + "/activities", siteKey, msg, 404},
		{"a dl_ id without its token", "POST", "/conversations/" + other.ConversationID + "/activities", other.Token, msg, 403},
		{"an odd watermark", "GET", path + "/activities?watermark=1e3", tok.Token, "", 400},
		{"an odd watermark", "GET", path + "/activities?watermark=99999999999999999999", tok.Token, "", 400},
		{"no such path", "GET", "/nope", tok.Token, "", 404},
		{"no such method", "DELETE", "/conversations", tok.Token, "", 405},
		{"an upload of nothing", "POST", path + "/upload", tok.Token, "", 400},
	} {
		a := c.do(x.method, x.path, x.key, x.body)
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(a.body, &e); a.status != x.want || err != nil || e.Error.Code == "" || e.Error.Message == "" {
			t.Errorf("%s: %s %s: %d %s, want %d", x.what, x.method, x.path, a.status, a.body, x.want)
		}
	}
	// A token whose conversation was not begun begins it: 404 would be for good.
	if a := c.do("POST", "/conversations/"+c.generate("").ConversationID+"/activities", siteKey, msg); a.status != 404 {
		t.Errorf("with the secret: %d", a.status)
	}
	early := c.generate("dl_bob")
	if a := c.do("GET", "/conversations/"+early.ConversationID+"?watermark=", early.Token, nil); a.status != 200 {
		t.Errorf("reconnect before start: %d %s", a.status, a.body)
	}
}

func TestFields(t *testing.T) {
	c := node(t, openLog(t), "a", echo(), nil)
	tok := c.begin("dl_ann")
	path := "/conversations/" + tok.ConversationID + "/activities"
	body := `{"type":"message","text":"héllo 🌍 \u2028","id":"mine","from":{"id":"dl_eve","role":"bot","name":"Ann"},"locale":"fr-FR",` +
		`"channelData":{"clientActivityID":"c1","deep":{"a":[1,null,{"b":9007199254740991}]},"parley":{"edits":"x"}},"entities":[{"type":"ClientCapabilities"}],` +
		`"value":{"x":1.5e300},"timestamp":"1999-01-01T00:00:00Z","serviceUrl":"http://evil","callerId":"me","_hidden":1,"inputHint":null,"unknown":{"keep":"me"}}`
	var id struct{ ID string }
	c.do("POST", path, tok.Token, body).into(t, &id)
	if !regexp.MustCompile(`^` + tok.ConversationID + `\|\d{7}$`).MatchString(id.ID) {
		t.Errorf("id %q", id.ID)
	}
	c.until(tok, 1)
	var raw struct{ Activities []map[string]any }
	c.do("GET", path, tok.Token, nil).into(t, &raw)
	got := raw.Activities[0]
	stamp, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["timestamp"]))
	if err != nil || time.Since(stamp) > time.Minute {
		t.Errorf("timestamp %v", got["timestamp"])
	}
	delete(got, "timestamp")
	seq := got["channelData"].(map[string]any)["webchat:sequence-id"]
	delete(got["channelData"].(map[string]any), "webchat:sequence-id")
	if n, ok := seq.(float64); !ok || n < 1 {
		t.Errorf("the sequence is %v, must be a number", seq)
	}
	want := map[string]any{
		"type": "message", "text": "héllo 🌍 \u2028", "id": id.ID, "locale": "fr-FR", "channelId": "directline",
		"from": map[string]any{"id": "dl_ann", "role": "user", "name": "Ann"}, "conversation": map[string]any{"id": tok.ConversationID},
		"channelData": map[string]any{"clientActivityID": "c1", "deep": map[string]any{"a": []any{1., nil, map[string]any{"b": 9007199254740991.}}}},
		"entities":    []any{map[string]any{"type": "ClientCapabilities"}}, "value": map[string]any{"x": 1.5e300}, "unknown": map[string]any{"keep": "me"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	answer := raw.Activities[1]
	if answer["replyToId"] != id.ID || answer["text"] != "Echo: héllo 🌍 \u2028" || !cmp.Equal(answer["from"], map[string]any{"id": "bot", "name": "Bot", "role": "bot"}) ||
		!cmp.Equal(answer["recipient"], map[string]any{"id": "dl_ann", "name": "Ann", "role": "user"}) {
		t.Errorf("answer %v", answer)
	}
	if _, leaks := answer["channelData"].(map[string]any)["parley"]; leaks {
		t.Errorf("our own notes went out: %v", answer["channelData"])
	}
}

// stream is a client's WebSocket.
type stream struct {
	t    *testing.T
	ws   *websocket.Conn
	mark string
}

func (c *client) open(url string) *stream {
	c.t.Helper()
	ws, resp, err := websocket.Dial(c.t.Context(), url, nil)
	if err != nil {
		c.t.Fatalf("open %s: %v", url, err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	c.t.Cleanup(func() { _ = ws.CloseNow() })
	return &stream{t: c.t, ws: ws}
}

// next returns the next frame that is no sign of life.
func (s *stream) next() act {
	s.t.Helper()
	for {
		_, b, err := s.ws.Read(s.t.Context())
		if err != nil {
			s.t.Fatalf("read the stream: %v", err)
		}
		if len(b) == 0 {
			continue
		}
		var p page
		if err := json.Unmarshal(b, &p); err != nil || len(p.Activities) != 1 || p.Watermark == "" {
			s.t.Fatalf("frame %s (%v)", b, err)
		}
		s.mark = p.Watermark
		return p.Activities[0]
	}
}

// message returns the next activity that is not a part.
func (s *stream) message() act {
	s.t.Helper()
	for {
		if a := s.next(); a.Type != "typing" {
			return a
		}
	}
}

func (c *client) reopen(tok token, mark string) *stream {
	c.t.Helper()
	var out token
	c.do("GET", "/conversations/"+tok.ConversationID+"?watermark="+mark, tok.Token, nil).into(c.t, &out)
	return c.open(out.StreamURL)
}

func words(n int) lm.Engine {
	return demo.Canned(demo.CannedOptions{Words: n, Delay: 15 * time.Millisecond, NoTokens: true})
}

// An answer grows in one stream: the first part names it, every part holds the
// whole text so far, the end is a message of the same stream.
func TestStreamedAnswer(t *testing.T) {
	c := node(t, openLog(t), "a", words(60), nil)
	tok := c.begin("dl_ann")
	s := c.open(tok.StreamURL)
	id := c.say(tok, "go on")
	if a := s.next(); a.ID != id || a.From.Role != "user" {
		t.Fatalf("first comes %+v, want the user's own %s", a, id)
	}
	var parts []act
	a := s.next()
	for ; a.Type == "typing"; a = s.next() {
		parts = append(parts, a)
	}
	if len(parts) < 3 {
		t.Fatalf("%d parts of an answer of a second", len(parts))
	}
	first, seq := parts[0], 0.
	for i, p := range parts {
		n, _ := p.ChannelData["streamSequence"].(float64)
		if n <= seq || i == 0 && n != 1 || p.ChannelData["streamType"] != "streaming" || p.ReplyToID != id {
			t.Errorf("part %d: %v after %v", i, p.ChannelData, seq)
		}
		if _, named := p.ChannelData["streamId"]; named != (i > 0) || named && p.ChannelData["streamId"] != first.ID {
			t.Errorf("part %d of stream %s: %v", i, first.ID, p.ChannelData)
		}
		if i > 0 && (p.ID == first.ID || !strings.HasPrefix(p.Text, parts[i-1].Text) || len(p.Text) <= len(parts[i-1].Text)) {
			t.Errorf("part %d (%s) is %q after %q", i, p.ID, p.Text, parts[i-1].Text)
		}
		info := p.Entities[len(p.Entities)-1]
		if info["type"] != "streaminfo" || info["streamSequence"] != n || info["streamId"] != p.ChannelData["streamId"] {
			t.Errorf("entity %v beside %v", info, p.ChannelData)
		}
		seq = n
	}
	if a.Type != "message" || a.Text != demo.Words(60) || a.ChannelData["streamType"] != "final" || a.ChannelData["streamId"] != first.ID || a.ReplyToID != id {
		t.Errorf("the end: %+v", a)
	}
	// Who comes later gets the message alone.
	late := c.reopen(tok, "")
	if one, two := late.next(), late.next(); one.ID != id || two.ID != a.ID || two.Type != "message" {
		t.Errorf("replayed: %+v, %+v", one, two)
	}
	for _, p := range c.poll(tok, "").Activities {
		if p.Type == "typing" {
			t.Errorf("polled: %+v", p)
		}
	}
}

// A client that loses its connection in the middle of an answer goes on in the
// same stream on another node; one that had nothing of it begins the stream.
func TestStreamGoesOnElsewhere(t *testing.T) {
	log := openLog(t)
	a, b := node(t, log, "a", words(100), nil), node(t, log, "b", words(100), nil)
	tok := a.begin("dl_ann")
	s := a.open(tok.StreamURL)
	id := a.say(tok, "go on")
	s.next()
	first := s.next()
	for range 2 {
		s.next()
	}
	_ = s.ws.CloseNow()
	here, fresh := b.reopen(tok, s.mark), b.reopen(tok, "")
	next := here.next()
	if next.Type != "typing" || next.ChannelData["streamId"] != first.ID || len(next.Text) <= len(first.Text) {
		t.Errorf("it went on with %+v, begun by %+v", next, first)
	}
	if got := fresh.next(); got.ID != id {
		t.Errorf("a fresh one begins with %+v", got)
	}
	if got := fresh.next(); got.ID != first.ID || got.ChannelData["streamId"] != nil || got.ChannelData["streamSequence"] != 1. || len(got.Text) < len(first.Text) {
		t.Errorf("a fresh one begins the stream with %+v", got)
	}
	end, again := here.message(), fresh.message()
	if end.Text != demo.Words(100) || again.ID != end.ID {
		t.Errorf("ends: %+v, %+v", end, again)
	}
}

func TestStreamsReplay(t *testing.T) {
	c := node(t, openLog(t), "a", echo(), nil)
	tok := c.begin("dl_ann")
	var ids []string
	for i := range 20 {
		c.say(tok, fmt.Sprintf("message %d", i))
	}
	for _, a := range c.until(tok, 20) {
		ids = append(ids, a.ID)
	}
	s := c.reopen(tok, "")
	var marks, got []string
	for range ids {
		a := s.message()
		got, marks = append(got, a.ID), append(marks, s.mark)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("the stream has %v, polling %v", got, ids)
	}
	s = c.reopen(tok, marks[30])
	if a := s.next(); a.ID != ids[31] {
		t.Errorf("after %s comes %s, want %s", ids[30], a.ID, ids[31])
	}
	// An empty frame is a sign of life.
	if err := s.ws.Write(t.Context(), websocket.MessageText, nil); err != nil {
		t.Fatal(err)
	}
	id := c.say(tok, "still there")
	for a := s.message(); a.ID != id; a = s.message() {
	}
}

func TestStreamCredentials(t *testing.T) {
	stopping := make(chan struct{})
	var late atomic.Int64
	c := node(t, openLog(t), "a", echo(), func(_ *channel.Options, o *directline.Options) {
		o.Now, o.Stopping = func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Second) }, stopping
		o.Heartbeat = 20 * time.Millisecond
	})
	tok, other := c.begin("dl_ann"), c.begin("dl_bob")
	base, query, _ := strings.Cut(tok.StreamURL, "?")
	_, others, _ := strings.Cut(other.StreamURL, "?")
	key, _, _ := strings.Cut(strings.TrimPrefix(query, "t="), "&")
	for what, url := range map[string]string{
		"no credential":             base,
		"another conversation's":    base + "?" + others,
		"a token for calls":         base + "?watermark=&t=" + tok.Token,
		"a credential cut short":    base + "?watermark=&t=" + key[:len(key)-3],
		"an odd watermark":          base + "?" + strings.Replace(query, "watermark=", "watermark=x", 1),
		"not a conversation at all": strings.Replace(base, tok.ConversationID, "nope", 1) + "?" + query,
	} {
		ws, resp, err := websocket.Dial(t.Context(), url, nil)
		if err == nil {
			_ = ws.CloseNow()
			t.Errorf("%s: opened", what)
			continue
		}
		if resp == nil || resp.StatusCode < 400 || resp.StatusCode > 404 {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := c.open(tok.StreamURL)
	if _, b, err := s.ws.Read(t.Context()); err != nil || len(b) != 0 {
		t.Errorf("a quiet stream carries %q, %v; want a sign of life", b, err)
	}
	close(stopping)
	for {
		if _, _, err := s.ws.Read(t.Context()); err != nil {
			if websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("a stopping node ended it with %v", err)
			}
			break
		}
	}
	late.Store(61)
	if ws, _, err := websocket.Dial(t.Context(), tok.StreamURL, nil); err == nil {
		_ = ws.CloseNow()
		t.Error("the URL of a stream opened it after a minute")
	}
}

// A client whose token has expired opens another stream with the next one, and
// keeps the old one: that must say nothing any more.
func TestExpiredStreamIsMute(t *testing.T) {
	var late atomic.Int64
	c := node(t, openLog(t), "a", echo(), func(_ *channel.Options, o *directline.Options) {
		o.Now, o.Heartbeat = func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Second) }, 30*time.Millisecond
	})
	tok := c.begin("dl_ann")
	old, tab := c.open(tok.StreamURL), c.reopen(tok, "")
	late.Store(3601)
	path := "/conversations/" + tok.ConversationID
	if a := c.do("GET", path+"/activities", tok.Token, nil); a.status != 403 {
		t.Fatalf("an expired token: %d", a.status)
	}
	var fresh token
	c.do("GET", path+"?watermark=", siteKey, nil).into(t, &fresh)
	s := c.open(fresh.StreamURL)
	id := c.say(fresh, "again")
	if a := s.next(); a.ID != id {
		t.Errorf("the new stream has %+v", a)
	}
	if a := tab.next(); a.ID != id {
		t.Errorf("another tab's stream, whose token nobody used, has %+v", a)
	}
	for range 5 {
		if _, b, err := old.ws.Read(t.Context()); err != nil || len(b) > 0 {
			t.Errorf("the old stream: %q, %v; want signs of life alone", b, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	c := node(t, openLog(t), "a", echo(), nil)
	const page, evil = "https://other.example", "https://evil.example"
	pre := c.do("OPTIONS", "/conversations", "", nil, "Origin", page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,x-ms-bot-agent,x-requested-with")
	for _, h := range []string{"authorization", "content-type", "x-ms-bot-agent", "x-requested-with"} {
		if !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), h) {
			t.Errorf("the preflight does not allow %s: %v", h, pre.header)
		}
	}
	if pre.status != 204 || pre.header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("preflight: %d %v", pre.status, pre.header)
	}
	if a := c.do("POST", "/conversations", "", nil, "Origin", page); a.status != 401 || a.header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("an error that a page can't see: %d %v", a.status, a.header)
	}
	if a := c.do("POST", "/conversations", otherKey, nil, "Origin", page); a.status != 201 {
		t.Errorf("the site's own page: %d %s", a.status, a.body)
	}
	if a := c.do("POST", "/conversations", otherKey, nil, "Origin", evil); a.status != 403 {
		t.Errorf("another page: %d %s", a.status, a.body)
	}
	if a := c.do("POST", "/conversations", otherKey, nil); a.status != 201 {
		t.Errorf("a program: %d %s", a.status, a.body)
	}
	// A token may be for some pages only, and its stream as well.
	var tok, begun token
	c.do("POST", "/tokens/generate", siteKey, `{"trustedOrigins":["https://only.example"]}`).into(t, &tok)
	if a := c.do("POST", "/conversations", tok.Token, nil, "Origin", page); a.status != 403 {
		t.Errorf("a page that the token does not name: %d", a.status)
	}
	c.do("POST", "/conversations", tok.Token, nil, "Origin", "https://only.example").into(t, &begun)
	ws, _, err := websocket.Dial(t.Context(), begun.StreamURL, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {evil}}})
	if err == nil {
		_ = ws.CloseNow()
		t.Error("the stream opened for a page that the token does not name")
	}
}

type part struct{ field, file, kind, body string }

func multi(t *testing.T, parts ...part) (kind string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{"Content-Type": {p.kind}, "Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=\"%s\"", p.field, p.file)}}
		pw, err := w.CreatePart(h)
		if err == nil {
			_, err = pw.Write([]byte(p.body))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func TestUpload(t *testing.T) {
	log := openLog(t)
	c, elsewhere := node(t, log, "a", echo(), nil), node(t, log, "b", echo(), nil)
	tok := c.begin("dl_ann")
	path := "/conversations/" + tok.ConversationID + "/upload?userId=dl_ann"
	big := strings.Repeat("0123456789abcdef", 160<<10) // 2.5 MiB: several chunks
	activity := `{"type":"message","text":"with files","from":{"id":"dl_ann"},"channelData":{"clientActivityID":"up1"},"attachments":[{"contentType":"image/png","name":"dot é.png","width":7},{"contentType":"text/html","name":"a.html"}]}`
	kind, body := multi(t, part{"activity", "blob", "application/vnd.microsoft.activity", activity},
		part{"file", "dot é.png", "image/png", "not a picture"}, part{"file", "a.html", "text/html", "<script>alert(1)</script>"}, part{"file", "../../big.bin", "application/octet-stream", big})
	var first, again struct{ ID string }
	c.do("POST", path, tok.Token, body, "Content-Type", kind).into(t, &first)
	c.do("POST", path, tok.Token, body, "Content-Type", kind).into(t, &again)
	if first.ID == "" || first.ID != again.ID {
		t.Errorf("an upload and its repetition: %q, %q", first.ID, again.ID)
	}
	a := c.until(tok, 1)[0]
	if a.ID != first.ID || a.Text != "with files" || len(a.Attachments) != 3 || a.ChannelData["clientActivityID"] != "up1" {
		t.Fatalf("activity %+v", a)
	}
	for i, want := range []struct{ name, kind, body, disposition string }{
		{"dot é.png", "image/png", "not a picture", "inline"},
		{"a.html", "text/html", "<script>alert(1)</script>", "attachment"},
		{"big.bin", "application/octet-stream", big, "attachment"},
	} {
		x := a.Attachments[i]
		url, ok := strings.CutPrefix(x.ContentURL, c.base)
		if x.Name != want.name || !ok {
			t.Errorf("attachment %+v, want %s at %s", x, want.name, c.base)
			continue
		}
		got := elsewhere.do("GET", url, "", nil)
		if got.status != 200 || string(got.body) != want.body || got.header.Get("Content-Type") != want.kind ||
			!strings.HasPrefix(got.header.Get("Content-Disposition"), want.disposition) || got.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s on another node: %d, %d bytes, %v", want.name, got.status, len(got.body), got.header)
		}
		if got := c.do("GET", url[:len(url)-len("/big.bin")-4]+"0000/x", "", nil); got.status != 404 {
			t.Errorf("a guessed address: %d", got.status)
		}
	}
	var raw struct{ ID string }
	c.do("POST", path, tok.Token, "hello file", "Content-Type", "text/plain", "Content-Disposition", `name="file"; filename="x.txt"`).into(t, &raw)
	acts := c.poll(tok, "").Activities
	if last := acts[len(acts)-1]; last.ID != raw.ID || last.Attachments[0].Name != "x.txt" || last.From.ID != "dl_ann" {
		t.Errorf("a raw upload: %+v", last)
	}
	kind, body = multi(t, part{"file", "a", "text/plain", strings.Repeat("x", 4<<20+1)})
	if got := c.do("POST", path, tok.Token, body, "Content-Type", kind); got.status != 413 {
		t.Errorf("a file over the limit: %d %s", got.status, got.body)
	}
	if got := c.do("POST", path, tok.Token, body[:1000], "Content-Type", kind); got.status != 400 {
		t.Errorf("an upload that breaks off: %d %s", got.status, got.body)
	}
	// Who may not write leaves nothing.
	if got := c.do("POST", path, otherKey, "x", "Content-Type", "text/plain"); got.status != 404 {
		t.Errorf("another site's upload: %d", got.status)
	}
}

// The user hears of an answer that does not come.
func TestFailedAnswer(t *testing.T) {
	c := node(t, openLog(t), "a", demo.Canned(demo.CannedOptions{Window: 4}), nil)
	tok := c.begin("dl_ann")
	id := c.say(tok, strings.Repeat("far too long for this window ", 50))
	got := c.until(tok, 1)[1]
	if got.ReplyToID != id || !strings.HasPrefix(got.Text, "No answer: the message does not fit") {
		t.Errorf("got %+v", got)
	}
}

// The published client polls no more after an answer that is no page.
func TestPollingOutlivesTheLog(t *testing.T) {
	log := openLog(t)
	c := node(t, log, "n", echo(), func(co *channel.Options, _ *directline.Options) { co.Hold = 50 * time.Millisecond })
	var begun struct{ ConversationID, Token string }
	c.do(http.MethodPost, "/tokens/generate", siteKey, nil).into(t, &begun)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"", "7-1-1000"} {
		var got struct {
			Activities []json.RawMessage
			Watermark  string
		}
		a := c.do(http.MethodGet, "/conversations/"+begun.ConversationID+"/activities?watermark="+mark, begun.Token, nil)
		a.into(t, &got)
		if got.Activities == nil || len(got.Activities) > 0 || got.Watermark != mark || a.header.Get("Retry-After") == "" {
			t.Errorf("behind %q: %s, headers %v", mark, a.body, a.header)
		}
	}
	if a := c.do(http.MethodGet, "/conversations/"+begun.ConversationID+"/activities", "somebody's", nil); a.status != http.StatusUnauthorized {
		t.Errorf("without a right to it: %d %s", a.status, a.body)
	}
}

func TestOptions(t *testing.T) {
	if _, err := directline.New(directline.Options{}); err == nil {
		t.Error("options without anything")
	}
	if _, err := channel.New(channel.Options{}); err == nil {
		t.Error("a desk without anything")
	}
}

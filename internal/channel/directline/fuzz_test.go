package directline

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/secret"
)

// Whatever a client sends as an activity goes out as sound JSON, says nothing
// that only the server may, and has no field that is null.
func FuzzActivity(f *testing.F) {
	f.Add([]byte(`{"type":"message","text":"hi","from":{"id":"u"},"channelData":{"clientActivityID":"c"},"entities":[1],"attachments":[{"contentUrl":"/v3/directline/attachments/x"}]}`))
	f.Add([]byte(`{"type":"message","channelData":"text","SERVICEURL":"x","attachments":null,"entities":{}}`))
	f.Add([]byte(`{"type":"event","channelData":{"parley":1,"streamId":null},"":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := channel.Read(b)
		if err != nil {
			return
		}
		_ = digest(a)
		for _, st := range []*channel.Stream{nil, {ID: 8, First: true, Part: 1}, {ID: 8, Final: true}} {
			out := shape(channel.Item{Pos: 16, ID: 16, Activity: &a, At: time.Unix(1, 0), ReplyTo: 8, Stream: st}, "local-0", "http://x")
			j, err := json.Marshal(out)
			var fields map[string]json.RawMessage
			if err != nil || json.Unmarshal(j, &fields) != nil {
				t.Fatalf("%q becomes %q (%v)", b, j, err)
			}
			for name, v := range fields {
				if string(v) == "null" || strings.EqualFold(name, "serviceUrl") || strings.HasPrefix(name, "_") {
					t.Fatalf("%q goes out with %s: %s", b, name, v)
				}
			}
		}
	})
}

// No token but those that were signed is believed.
func FuzzVerify(f *testing.F) {
	site := &Site{Name: "s", Life: time.Hour}
	by := newSigner(bytes.Repeat([]byte("k"), 32), site, secret.HashOf(secret.New("x")))
	good, err := by.sign(claims{Issuer: issuer, Audience: forCalls, Site: "s", Conversation: "c", Expires: 1 << 40})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		_, c, err := verify([]signer{by}, token, forCalls, time.Unix(1, 0))
		if err == nil && token != good {
			t.Fatalf("%q is believed: %+v", token, c)
		}
	})
}

// An upload is read or refused, within its limits.
func FuzzUpload(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", "", []byte("--b\r\nContent-Disposition: form-data; name=\"activity\"\r\n\r\n{\"type\":\"message\",\"attachments\":[{\"name\":\"a\"},null]}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhello\r\n--b--\r\n"))
	f.Add("text/plain", `name="file"; filename="..\\x"`, []byte("hello"))
	f.Add("multipart/form-data", "", []byte("--"))
	s := &Server{opts: Options{MaxActivity: 1 << 10, MaxFile: 64}}
	f.Fuzz(func(t *testing.T, kind, disposition string, body []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Disposition", disposition)
		a, files, err := s.readUpload(r)
		if err != nil {
			return
		}
		urls := make([]string, len(files))
		for i, x := range files {
			if len(x.Content) > 64 || x.Name == "" || strings.ContainsAny(x.Name, "/\\\r\n\x00") {
				t.Fatalf("file %q of %d bytes", x.Name, len(x.Content))
			}
			urls[i] = filesBase + "c/i/n"
		}
		if attach(&a, files, urls) != nil {
			return
		}
		if b, err := json.Marshal(a); err != nil || bytes.Count(b, []byte(filesBase)) < len(files) {
			t.Fatalf("%d files became %s (%v)", len(files), b, err)
		}
		if _, err := json.Marshal(shape(channel.Item{Activity: &a}, "c", "http://x")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestActivityID(t *testing.T) {
	for pos, want := range map[uint64]string{0: "c|0000000", 16: "c|0000016", 123456789: "c|123456789"} {
		if got := channel.ActivityID("c", pos); got != want {
			t.Errorf("%d is %s, want %s", pos, got, want)
		}
	}
}

func TestChannelDataStaysAsItIs(t *testing.T) {
	for _, data := range []string{`"text"`, `5`, `[1]`} {
		if got := channelData(json.RawMessage(data), channel.Item{Pos: 8, Activity: &activity.Activity{}}, "c"); string(got) != data {
			t.Errorf("%s became %s", data, got)
		}
	}
}

// A watermark comes back from clients, who may make one up: it never makes a
// page wait for longer than the client needs.
func FuzzWatermark(f *testing.F) {
	f.Add("16-100-1000")
	f.Add("16")
	f.Add("-1--5-99999999999999999999")
	f.Fuzz(func(t *testing.T, mark string) {
		_, _ = position(mark)
		if d := rest(mark, time.UnixMilli(1000)); d < 0 || d > mostPolled*showing {
			t.Fatalf("%q waits %v", mark, d)
		}
	})
}

func TestPagesTakeTheirTime(t *testing.T) {
	at := time.UnixMilli(50_000)
	for mark, want := range map[string]time.Duration{
		"": 0, "16": 0, "16-10-50000": 200 * time.Millisecond, "16-10-49900": 100 * time.Millisecond,
		"16-10-40000": 0, "16-10-90000": 200 * time.Millisecond, "16-5000-50000": 800 * time.Millisecond, "16--5-50000": 0,
	} {
		if got := rest(mark, at); got != want {
			t.Errorf("behind %q: %v, want %v", mark, got, want)
		}
	}
}

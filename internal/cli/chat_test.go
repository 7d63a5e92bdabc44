package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/client"
)

// scripted is a node that knows one conversation and answers a message with
// the given frames, "event data", from a position on. cut ends each stream
// after that many frames, 0 never.
func scripted(t *testing.T, cut int, frames ...string) (url string, streams *atomic.Int32) {
	t.Helper()
	streams = &atomic.Int32{}
	mux := http.NewServeMux()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	mux.HandleFunc("GET /api/v1/info", answer(200, `{"version":"1","region":"r","engine":{"name":"e","model":"m"}}`))
	mux.HandleFunc("POST /api/v1/conversations", answer(201, `{"id":"c"}`))
	mux.HandleFunc("POST /api/v1/conversations/c/activities", answer(202, `{"id":"a","turn":"t"}`))
	mux.HandleFunc("GET /api/v1/conversations/c/events", func(w http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		var after int
		_, _ = fmt.Sscan(r.URL.Query().Get("after"), &after)
		for i, f := range frames {
			if i+1 <= after {
				continue
			}
			if cut > 0 && i-after >= cut {
				panic(http.ErrAbortHandler)
			}
			event, data, _ := strings.Cut(f, " ")
			fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", i+1, event, data)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL, streams
}

const (
	running = `turn {"turn":"t","state":"running","attempt":1}`
	doneOK  = `turn {"turn":"t","state":"done","attempt":2}`
	failed  = `turn {"turn":"t","state":"failed","code":"timeout","error":"the engine hung"}`
)

func piece(offset int, text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`delta {"turn":"t","offset":%d,"text":%s}`, offset, b)
}

func TestChatOfAnAnswerInTrouble(t *testing.T) {
	restart := `resumed {"turn":"t","attempt":2,"offset":0,"policy":"restart"}`
	for name, tt := range map[string]struct {
		cut    int
		frames []string
		tty    bool
		status int
		out    string
		err    string
	}{
		"cut again and again": {2, []string{running, piece(0, "one "), piece(4, "two "), piece(8, "three"), doneOK}, false, 0, "one two three\n", "trying again"},
		// A script gets only what counts in the end, a person sees it happen.
		"begins anew":               {0, []string{running, piece(0, "void"), restart, piece(0, "valid"), doneOK}, false, 0, "valid\n", ""},
		"begins anew on a terminal": {0, []string{running, piece(0, "void"), restart, piece(0, "valid"), doneOK}, true, 0, "void\n[the answer begins anew]\nvalid\n", ""},
		"fails":                     {0, []string{running, piece(0, "half"), failed}, false, 1, "half\n", "parley: the engine hung"},
		"fails on a terminal":       {0, []string{running, piece(0, "half"), failed}, true, 1, "half\n", "parley: the engine hung"},
		"is deleted":                {0, []string{running, piece(0, "half"), "deleted {}"}, false, 1, "half\n", "the conversation was deleted"},
		"escapes":                   {0, []string{piece(0, "a\x1b]0;title\x07b"), doneOK}, true, 0, "a\uFFFD]0;title\uFFFDb\n", ""},
		"waits":                     {0, []string{`turn {"turn":"t","state":"queued","position":3}`, piece(0, "x"), doneOK}, true, 0, "[3 before this one]\nx\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url, streams := scripted(t, tt.cut, tt.frames...)
			var out, errs bytes.Buffer
			term := &terminal{in: strings.NewReader(""), out: &out, err: &errs, environ: []string{"PARLEY_URL=" + url}, outTTY: tt.tty}
			if status := run(t.Context(), term, []string{"chat", "hello"}); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if out.String() != tt.out || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("wrote %q and %q, want %q and %q", out.String(), errs.String(), tt.out, tt.err)
			}
			if tt.cut > 0 && streams.Load() < 3 {
				t.Errorf("%d streams", streams.Load())
			}
		})
	}
}

func TestChatTellsScriptsOfFailures(t *testing.T) {
	url, _ := scripted(t, 0, running, piece(0, "half"), failed)
	status, out, _ := typed(t, []string{"PARLEY_URL=" + url}, "hello", "chat", "--json")
	var got struct {
		State, Text string
		Error       struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 1 || got.State != "failed" || got.Text != "half" || got.Error.Code != "timeout" {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
}

// A refusal that passes is said as such, once.
func TestOutagesAreSaidOnce(t *testing.T) {
	var errs bytes.Buffer
	say := outages(&terminal{err: &errs})
	for range 5 {
		say(&client.Error{Status: 429, Code: "limited", Message: "too many answers"}, 1)
	}
	if got, want := errs.String(), "(too many answers; trying again)\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

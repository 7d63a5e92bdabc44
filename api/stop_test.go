package api_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStopIsNoEnd stops a node while answers are written: no reader of a
// response may take the end of his connection for the end of the answer.
func TestStopIsNoEnd(t *testing.T) {
	a := node(t, "engine: demo\ndrain: 100ms\n")
	post := func(path, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	whole := make(chan string, 1) // of a request without stream
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/v1/responses", strings.NewReader(`{"input":"x"}`))
		if err != nil {
			whole <- err.Error()
			return
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			whole <- ""
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode < 500 && !strings.Contains(string(b), `"status":"completed"`) {
			whole <- resp.Status + " " + string(b)
			return
		}
		whole <- ""
	}()
	streams := map[string]*bufio.Reader{}
	for path, body := range map[string]string{
		"/v1/responses":        `{"input":"x","stream":true}`,
		"/v1/chat/completions": `{"messages":[{"role":"user","content":"x"}],"stream":true}`,
		"/v1/completions":      `{"prompt":"x","stream":true,"max_tokens":500}`,
	} {
		resp := post(path, body)
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		streams[path] = in
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // shorter than the answers
	defer cancel()
	_ = a.Stop(ctx) // may say that it had to cut
	for path, in := range streams {
		rest, err := io.ReadAll(in)
		if err == nil && !strings.Contains(string(rest), "[DONE]") && !strings.Contains(string(rest), "response.completed") {
			t.Errorf("%s: half an answer ended cleanly, behind %.300s", path, rest[max(0, len(rest)-300):])
		}
	}
	if got := <-whole; got != "" {
		t.Errorf("a request without stream got %q", got)
	}
}

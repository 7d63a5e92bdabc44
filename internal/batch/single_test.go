package batch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestSingleRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s, err := New(Options{Log: struct{ Log }{}, Node: "n", Answer: func(_ context.Context, owner, endpoint string, body []byte) Answer {
			if tries++; strings.Contains(string(body), "later") && tries < 3 {
				return Answer{Status: 503, Body: []byte(`{}`)}
			}
			if strings.Contains(string(body), "no") {
				return Answer{Status: 400, Asked: true, Body: []byte(`{"error":1}`)}
			}
			return Answer{Status: 200, Asked: true, Body: []byte(`{"of":"` + owner + endpoint + `"}`)}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for raw, want := range map[string]string{
			`{"url":"/v1/embeddings","body":{}}`:                                             `+{"id":"i","custom_id":"key","response":{"status_code":200,"request_id":"i","body":{"of":"me/v1/embeddings"}},"error":null}`,
			`{"url":"/v1/completions","custom_id":"c","method":"POST","body":{"x":"later"}}`: `+{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":{"of":"me/v1/completions"}},"error":null}`,
			`{"url":"/v1/completions","body":{"x":"no"}}`:                                    `-{"id":"i","custom_id":"key","response":{"status_code":400,"request_id":"i","body":{"error":1}},"error":null}`,
			`{"url":"/v1/models","body":{}}`:                                                 `-{"id":"i","custom_id":"key","response":null,"error":{"code":"mismatched_endpoint","message":"\"url\" must be one of /v1/chat/completions, /v1/completions, /v1/embeddings"}}`,
			`{"url":"/v1/completions","method":"GET","body":{}}`:                             `-{"id":"i","custom_id":"key","response":null,"error":{"code":"invalid_method","message":"\"method\" must be POST"}}`,
			`{"url":"/v1/completions","body":{"stream":true}}`:                               `-{"id":"i","custom_id":"key","response":null,"error":{"code":"invalid_value","message":"a batch has nobody to stream to: leave stream out"}}`,
			`x`: `-{"id":"i","custom_id":"key","response":null,"error":{"code":"invalid_json_line","message":"this line is not valid JSON: invalid character 'x' looking for beginning of value at byte 1"}}`,
			``:  `-{"id":"i","custom_id":"key","response":null,"error":{"code":"invalid_json_line","message":"this line is not valid JSON: unexpected end of JSON input at byte 0"}}`,
		} {
			tries = 0
			out, well, err := s.Single(t.Context(), Request{User: "me", From: "f", ID: "i", Custom: "key", Raw: []byte(raw)})
			if err != nil {
				t.Fatal(err)
			}
			got := "-" + string(out)
			if well {
				got = "+" + string(out)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s\n%s", raw, d)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tries = 0
		if _, _, err := s.Single(ctx, Request{User: "me", Custom: "c", Raw: []byte(`{"url":"/v1/completions","body":{"x":"later"}}`)}); err == nil {
			t.Error("a request that was given up has an answer")
		}
	})
}

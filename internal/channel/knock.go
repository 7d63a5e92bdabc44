package channel

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// Knock posts what the platform would send to this service's own address, as
// everybody reaches it, and finds whether this service answers there: ours
// judges what came back. client follows no redirects.
func Knock(ctx context.Context, client *http.Client, what, at string, header http.Header, body []byte, ours func(status int, answer []byte) bool) Finding {
	f := Finding{What: what + " " + at}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		f.Problem = "this is no address: set channels.service to that of the edge"
		return f
	}
	r.Header = header
	resp, err := client.Do(r)
	if err != nil {
		f.Problem = "nobody answers there, for this service at least: is channels.service the address of the edge?"
		return f
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil || !ours(resp.StatusCode, answer) {
		f.Problem = "somebody else answers there (status " + resp.Status + "): does the address lead to this service?"
	}
	return f
}

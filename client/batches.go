package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
)

// Batch is a file of requests that are answered with what people leave over of
// the engines. Times are in seconds since 1970; 0: not yet.
type Batch struct {
	ID        string            `json:"id"`
	Endpoint  string            `json:"endpoint"`
	Status    string            `json:"status"` // validating, in_progress, finalizing, cancelling; or how it ended: completed, failed, expired, cancelled
	Input     string            `json:"input_file_id"`
	Output    string            `json:"output_file_id,omitempty"`
	ErrorFile string            `json:"error_file_id,omitempty"`
	Window    string            `json:"completion_window"`
	Created   int64             `json:"created_at"`
	Expires   int64             `json:"expires_at"`
	Counts    BatchCounts       `json:"request_counts"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Errors    struct {
		Data []BatchProblem `json:"data,omitempty"`
	} `json:"errors,omitzero"`
}

// BatchCounts are lines.
type BatchCounts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// BatchProblem is what is wrong with a line of a batch's input; line 0 is all of
// it.
type BatchProblem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
}

// Over reports whether a batch has ended.
func (b Batch) Over() bool {
	switch b.Status {
	case "completed", "failed", "expired", "cancelled":
		return true
	}
	return false
}

// NewBatch asks for a batch.
type NewBatch struct {
	Input    string            `json:"input_file_id"`
	Endpoint string            `json:"endpoint"`          // such as /v1/chat/completions
	Window   string            `json:"completion_window"` // such as 24h: what is not answered by then is given up
	Metadata map[string]string `json:"metadata,omitempty"`
}

// UploadBatch uploads the requests of a batch, a line of JSON for each, and
// returns the file's id. The same key keeps the same file once.
func (c *Client) UploadBatch(ctx context.Context, name string, content []byte, key string) (id string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = w.WriteField("purpose", "batch")
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("make form: %w", err)
	}
	var out struct{ ID string }
	err = c.do(ctx, request{method: http.MethodPost, path: "/v1/files", body: form{w.FormDataContentType(), b.Bytes()}, key: or(key, NewKey())}, &out)
	return out.ID, err
}

// CreateBatch begins a batch. The same key and order make one batch.
func (c *Client) CreateBatch(ctx context.Context, n NewBatch, key string) (b Batch, err error) {
	err = c.do(ctx, request{method: http.MethodPost, path: "/v1/batches", body: n, key: or(key, NewKey())}, &b)
	return b, err
}

// Batch returns how far a batch is.
func (c *Client) Batch(ctx context.Context, id string) (b Batch, err error) {
	err = c.do(ctx, request{method: http.MethodGet, path: "/v1/batches/" + url.PathEscape(id)}, &b)
	return b, err
}

// Batches returns a page of the batches, the latest first; after is the id of
// the last one of the page before.
func (c *Client) Batches(ctx context.Context, after string, limit int) (page []Batch, more bool, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if after != "" {
		q.Set("after", after)
	}
	var out struct {
		Data []Batch `json:"data"`
		More bool    `json:"has_more"`
	}
	err = c.do(ctx, request{method: http.MethodGet, path: "/v1/batches", query: q}, &out)
	return out.Data, out.More, err
}

// CancelBatch stops a batch. What was answered stays.
func (c *Client) CancelBatch(ctx context.Context, id string) (b Batch, err error) {
	err = c.do(ctx, request{method: http.MethodPost, path: "/v1/batches/" + url.PathEscape(id) + "/cancel"}, &b)
	return b, err
}

// BatchFile writes a file of a batch to w. An error may come after part of it
// was written.
func (c *Client) BatchFile(ctx context.Context, id string, w io.Writer) error {
	wrote := false
	return c.try(ctx, false, func(base string) error {
		resp, err := c.send(ctx, base, request{method: http.MethodGet, path: "/v1/files/" + url.PathEscape(id) + "/content", accept: "*/*"})
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		n, err := io.Copy(w, resp.Body)
		wrote = wrote || n > 0
		if err != nil && !wrote {
			return &Error{Code: CodeUnreachable, Message: "the answer of " + base + " was cut", Cause: err}
		}
		if err != nil {
			return &Error{Code: CodeProtocol, Message: "the file was cut: take it again", Cause: err}
		}
		return nil
	})
}

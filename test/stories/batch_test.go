//go:build linux

package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/client"
)

// simulatedEngines starts engines as processes, and returns what a configuration
// says of them.
func simulatedEngines(t *testing.T, n int) (engines []*oneEngine, settings string) {
	t.Helper()
	var cfg strings.Builder
	cfg.WriteString("engines:\n")
	for i := range n {
		e := &oneEngine{addr: freeAddr(t)}
		e.start(t)
		t.Cleanup(e.kill)
		engines = append(engines, e)
		fmt.Fprintf(&cfg, "  - {name: e%d, kind: openai, url: \"http://%s\", dialect: generic, models: [mock], resume: prefill, slots: 4, timeout: 2s}\n", i, e.addr)
	}
	return engines, cfg.String()
}

func batchOf(lines int) []byte {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, `{"custom_id":"line-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"mock","messages":[{"role":"user","content":"Line %d"}]}}`+"\n", i, i)
	}
	return b.Bytes()
}

// order uploads a batch and has it begun.
func order(t *testing.T, c *client.Client, lines int) client.Batch {
	t.Helper()
	id, err := c.UploadBatch(t.Context(), "in.jsonl", batchOf(lines), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.CreateBatch(t.Context(), client.NewBatch{Input: id, Endpoint: "/v1/chat/completions", Window: "24h"}, "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// comesTo waits until so many lines of a batch are done, or it is over.
func comesTo(t *testing.T, c *client.Client, id string, lines int) client.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		b, err := c.Batch(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if b.Over() || lines > 0 && b.Counts.Completed >= lines {
			return b
		}
		wait(50 * time.Millisecond)
	}
}

// eachOnce checks that a batch's output has each line once, and whole.
func eachOnce(t *testing.T, c *client.Client, b client.Batch, lines int) {
	t.Helper()
	if b.Status != "completed" || b.Counts.Completed != lines || b.Counts.Failed != 0 {
		t.Errorf("the batch ended so: %+v", b)
	}
	var out bytes.Buffer
	if err := c.BatchFile(t.Context(), b.Output, &out); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for raw := range strings.Lines(out.String()) {
		var l struct {
			Custom   string `json:"custom_id"`
			Response struct {
				Body struct {
					Choices []struct{ Message struct{ Content string } }
				}
			}
		}
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatal(err)
		}
		seen[l.Custom]++
		if ch := l.Response.Body.Choices; len(ch) != 1 || !strings.HasSuffix(ch[0].Message.Content, fmt.Sprintf("w%d ", storyWords-1)) {
			t.Errorf("%s: %s", l.Custom, raw)
		}
	}
	for i := range lines {
		if n := seen[fmt.Sprint("line-", i)]; n != 1 {
			t.Errorf("line %d is in the output %d times", i, n)
		}
	}
	if len(seen) != lines {
		t.Errorf("the output has %d lines, want %d", len(seen), lines)
	}
}

// A node and its engines are killed while it answers a batch: each line is in
// the output, once.
func TestBatchGoesOn(t *testing.T) {
	const lines = 150
	engines, cfg := simulatedEngines(t, 2)
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"serve", "-c", path}
	n.start()
	c, err := client.New(client.Options{BaseURLs: []string{n.url}, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	b := order(t, c, lines)
	for i := range 3 {
		comesTo(t, c, b.ID, (i+1)*lines/4)
		if i == 1 {
			engines[0].kill()
			engines[0].start(t)
			continue
		}
		n.kill()
		n.start()
	}
	eachOnce(t, c, comesTo(t, c, b.ID, 0), lines)
}

// The region that works on a batch is killed and stays away: another one brings
// it to its end.
func TestBatchOutlivesItsRegion(t *testing.T) {
	whole(t)
	const lines = 400
	_, cfg := simulatedEngines(t, 2)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := newRealm(t, cfg, "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	r.start(bin, r.places...)
	kr, sea := r.places[1], r.places[2]
	c, err := client.New(client.Options{BaseURLs: []string{kr.url(), sea.url()}, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	b := order(t, c, lines)
	comesTo(t, c, b.ID, lines/4)
	kr.kill()
	comesTo(t, c, b.ID, lines/2)
	r.launch(kr, bin)
	eachOnce(t, c, comesTo(t, c, b.ID, 0), lines)
}

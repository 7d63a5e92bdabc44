package cli

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/progress"
)

func batchCommand() *command {
	return &command{
		name: "batch", short: "have a file of requests answered with what people leave over",
		long: "Each line of the file is a request as OpenAI's batches have it, each is answered once, whatever dies meanwhile. docs/batch.md says more.",
		subs: []*command{
			{
				name: "run", args: "FILE", short: "answer a file, and wait for what comes of it",
				long: "The node goes on with the batch whatever becomes of this command. The same command with the same file finds it again, " +
					"so it is also how to wait on after Ctrl-C, or to fetch the answers once more. Status 1 if a line was not answered.",
				examples: []example{{"parley batch run questions.jsonl -o answers.jsonl", "lines that failed are in answers.jsonl.errors"}},
				setup:    batchRun,
			},
			{
				name: "list", short: "your batches, the latest first",
				setup: func(fs *flag.FlagSet) action {
					limit := fs.Int("limit", 20, "show at most `N`; 0 for all")
					return onChannels(fs, 0, 0, "nothing", func(n call, ctx context.Context) error { return n.listBatches(ctx, *limit) })
				},
			},
			{
				name: "show", args: "ID", short: "how far one is",
				setup: func(fs *flag.FlagSet) action {
					return onChannels(fs, 1, 1, "the batch's id; \"parley batch list\" shows them", func(n call, ctx context.Context) error {
						b, err := n.client.Batch(ctx, n.args[0])
						return n.showBatch(b, err)
					})
				},
			},
			{
				name: "cancel", args: "ID", short: "stop one; what was answered stays",
				setup: func(fs *flag.FlagSet) action {
					return onChannels(fs, 1, 1, "the batch's id; \"parley batch list\" shows them", func(n call, ctx context.Context) error {
						b, err := n.client.CancelBatch(ctx, n.args[0])
						return n.showBatch(b, err)
					})
				},
			},
		},
	}
}

// order is what "batch run" is asked for.
type order struct {
	out, endpoint, window string
	again                 bool
}

func batchRun(fs *flag.FlagSet) action {
	var o order
	fs.StringVar(&o.out, "o", "", "write the answers to `FILE` (default: the input's name with .out.jsonl)")
	fs.StringVar(&o.endpoint, "endpoint", "/v1/chat/completions", "`PATH` that the lines ask: also /v1/completions, /v1/embeddings")
	fs.StringVar(&o.window, "window", "24h", "give up after this `TIME` what is not answered: 1m to 7d")
	fs.BoolVar(&o.again, "again", false, "a new batch, though there is one of this file")
	return onChannels(fs, 1, 1, "the file with the requests", func(n call, ctx context.Context) error { return n.runBatch(ctx, o) })
}

// runBatch takes a batch from wherever it is to its end.
func (n call) runBatch(ctx context.Context, o order) error {
	in := n.args[0]
	content, err := os.ReadFile(in)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the file can't be read")
	}
	if o.out == "" {
		o.out = in + ".out.jsonl"
	}
	// The key is the order itself, so that it needs no note of what was begun.
	key := fmt.Sprintf("cli-%x", sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", o.endpoint, o.window, content)))
	if o.again {
		key = client.NewKey()
	}
	file, err := n.client.UploadBatch(ctx, filepath.Base(in), content, key)
	if err != nil {
		return err
	}
	b, err := n.client.CreateBatch(ctx, client.NewBatch{Input: file, Endpoint: o.endpoint, Window: o.window}, key)
	if err != nil {
		return err
	}
	if b, err = n.await(ctx, b); err != nil {
		return err
	}
	for _, p := range b.Errors.Data {
		n.t.say("%s:%d: %s", in, p.Line, calm(p.Message))
	}
	if b.Output != "" {
		if err := n.fetch(ctx, b.Output, o.out); err != nil {
			return err
		}
	}
	if b.ErrorFile != "" {
		err = n.fetch(ctx, b.ErrorFile, o.out+".errors")
	} else if err = os.Remove(o.out + ".errors"); os.IsNotExist(err) { // those of a former run
		err = nil
	}
	if err != nil {
		return err
	}
	if n.json {
		err = n.t.json(b)
	} else {
		n.t.say("%s: %s", b.ID, told(b))
	}
	if err != nil {
		return err
	}
	if b.ErrorFile != "" {
		n.t.say("What was not answered, and why: %s", o.out+".errors")
	}
	if b.Status != "completed" || b.Counts.Failed > 0 {
		return errSilent
	}
	return nil
}

func told(b client.Batch) string {
	s := fmt.Sprintf("%s, %d of %d lines answered", b.Status, b.Counts.Completed, b.Counts.Total)
	if b.Counts.Failed > 0 {
		s += fmt.Sprintf(", %d not", b.Counts.Failed)
	}
	return s
}

const awaitEvery = 500 * time.Millisecond

// await shows how far a batch is until it is over.
func (n call) await(ctx context.Context, b client.Batch) (client.Batch, error) {
	console := progress.New(consoleFor(n.t, n.t.err))
	defer console.Clear()
	began, from := time.Now(), b.Counts.Completed+b.Counts.Failed
	for !b.Over() {
		done := b.Counts.Completed + b.Counts.Failed
		bar := progress.Bar{Title: b.ID, Note: b.Status, Done: int64(done), Total: int64(b.Counts.Total), Unit: "lines"}
		if took := time.Since(began).Seconds(); took > 2 {
			bar.Rate = float64(done-from) / took
		}
		console.Bar(bar)
		err := pause.For(ctx, awaitEvery)
		if err == nil {
			b, err = n.client.Batch(ctx, b.ID)
		}
		if ctx.Err() != nil {
			console.Clear()
			n.t.say("The batch goes on. The same command waits for it again; \"parley batch cancel %s\" stops it.", b.ID)
			return b, errSilent
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// fetch writes a file of a batch to a path, whole or not at all.
func (n call) fetch(ctx context.Context, id, path string) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = n.client.BatchFile(ctx, id, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(part, modeOf(path))
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// modeOf is how open a file is; one that is not there is its owner's alone.
func modeOf(path string) fs.FileMode {
	if i, err := os.Stat(path); err == nil {
		return i.Mode().Perm()
	}
	return 0o600
}

func (n call) showBatch(b client.Batch, err error) error {
	switch {
	case err != nil:
		return err
	case n.json:
		return n.t.json(b)
	}
	n.t.printf("%s: %s\n", b.ID, told(b))
	for _, x := range []struct{ what, id string }{{"output", b.Output}, {"errors", b.ErrorFile}} {
		if x.id != "" {
			n.t.printf("%s: %s\n", x.what, x.id)
		}
	}
	for _, p := range b.Errors.Data {
		n.t.printf("line %d: %s\n", p.Line, calm(p.Message))
	}
	return nil
}

func (n call) listBatches(ctx context.Context, limit int) error {
	all, after := []client.Batch{}, ""
	for {
		page, more, err := n.client.Batches(ctx, after, 100)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if limit > 0 && len(all) >= limit {
			all = all[:limit]
			break
		}
		if !more || len(page) == 0 {
			break
		}
		after = page[len(page)-1].ID
	}
	if n.json {
		return n.t.json(map[string]any{"batches": all})
	}
	if len(all) == 0 {
		n.t.say("There are none: parley batch run FILE")
		return nil
	}
	w := tabwriter.NewWriter(n.t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BATCH\tSTATUS\tANSWERED\tNOT\tLINES\tBEGAN")
	for _, b := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", b.ID, b.Status, b.Counts.Completed, b.Counts.Failed, b.Counts.Total, time.Unix(b.Created, 0).Format("2006-01-02 15:04"))
	}
	return w.Flush()
}

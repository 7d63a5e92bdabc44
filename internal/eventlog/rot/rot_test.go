package rot_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/rot"
)

const stream = "CONV_local_0"

// written has a log write entries and returns the stream's directory and the
// conversations, the last of which was deleted.
func written(t *testing.T, entries int) (dir string, conversations []string) {
	t.Helper()
	root := t.TempDir()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: root, MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	conversations = []string{event.NewConversation("local"), event.NewConversation("local")}
	var last uint64
	for i := range entries {
		r, err := l.Append(t.Context(), event.Append{
			Conversation: conversations[i%2],
			Event:        event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: fmt.Sprintf("number %d", i)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		last = r.Seq
	}
	r, err := l.Append(t.Context(), event.Append{Conversation: conversations[1], Event: event.Event{Kind: event.KindDeleted}})
	if err != nil || r.Seq != last+1 {
		t.Fatal(r, err)
	}
	if err := l.Forget(t.Context(), conversations[1], r.Seq); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "jetstream", "$G", "streams", stream), conversations
}

// TestFormat: what the log writes is what Scan reads. If it fails after an
// upgrade of the log, the format has changed: look at block.go before anything
// else, repairs would do harm.
func TestFormat(t *testing.T) {
	dir, conversations := written(t, 20)
	buf := read(t, filepath.Join(dir, "msgs", "1.blk"))
	b := rot.Scan(stream, 1, buf)
	if len(b.Damage) > 0 {
		t.Fatalf("damage: %v", b.Damage)
	}
	size, live, erased := 0, 0, 0
	for _, r := range b.Records {
		size += len(r.Raw)
		switch {
		case r.Live && r.Subject == "conv.local.0."+conversations[0]+".in":
			live++
			if want := fmt.Sprintf(`number %d`, r.Seq-1); !strings.Contains(string(r.Data), want) || !bytes.Contains(r.Header, []byte("P-Sum")) {
				t.Errorf("record %d: %s %s", r.Seq, r.Header, r.Data)
			}
		case r.Live:
			if r.Seq != 21 {
				t.Errorf("record %d of %s", r.Seq, r.Subject)
			}
		default:
			erased++
		}
	}
	if size != len(buf) || live != 10 || erased < 10 {
		t.Errorf("%d of %d bytes, %d living records, %d erased", size, len(buf), live, erased)
	}
	if bytes.Contains(buf, []byte("number 1\"")) {
		t.Error("an erased text is there")
	}
	if got := rot.Scan(stream, 2, buf); len(got.Records) > 0 {
		t.Error("another block's key does as well: nothing is verified")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mend(t *testing.T, from, to string) rot.Found {
	t.Helper()
	f, err := rot.NewTwin(stream, from, to).Mend(true)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestManyBytes flips bytes all over a block, of the log's copy and of the
// other: it is noticed, and afterwards both are what they were.
func TestManyBytes(t *testing.T) {
	dir, _ := written(t, 12)
	whole := read(t, filepath.Join(dir, "msgs", "1.blk"))
	from, to := t.TempDir(), t.TempDir()
	a, b := filepath.Join(from, "msgs", "1.blk"), filepath.Join(to, "msgs", "1.blk")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))                        //nolint:gosec // a campaign, not a secret
	for i := rnd.IntN(5); i < len(whole); i += 1 + rnd.IntN(9) { // each is written to the disk
		for _, broken := range []string{a, b} {
			write(t, a, whole)
			write(t, b, whole)
			bad := bytes.Clone(whole)
			bad[i] ^= 1 << rnd.IntN(8)
			write(t, broken, bad)
			f := mend(t, from, to)
			// A length that says the file ends within the last record looks like
			// a write that was cut short.
			if len(f.Places) == 0 && len(f.Ends) == 0 {
				t.Fatalf("byte %d of %s: nothing was noticed", i, broken)
			}
			gotA, gotB := read(t, a), read(t, b)
			if !bytes.Equal(gotA, whole) || !bytes.Equal(gotB, whole) || len(f.Lost) > 0 {
				t.Fatalf("byte %d of %s: not what it was: %+v", i, broken, f)
			}
		}
	}
	if again := mend(t, from, to); again.Bad() {
		t.Errorf("what was mended is damaged: %+v", again)
	}
}

// texts are the living records of a block.
func texts(buf []byte) []string {
	var out []string
	for _, r := range rot.Scan(stream, 1, buf).Records {
		if r.Live {
			out = append(out, string(r.Raw))
		}
	}
	return out
}

// TestBothAtOnePlace: what rotted in both copies at one place is lost, is said,
// and everything else is there.
func TestBothAtOnePlace(t *testing.T) {
	dir, _ := written(t, 12)
	whole := read(t, filepath.Join(dir, "msgs", "1.blk"))
	from, to := t.TempDir(), t.TempDir()
	at := bytes.Index(whole, []byte("number 4"))
	bad := bytes.Clone(whole)
	bad[at] ^= 1
	write(t, filepath.Join(from, "msgs", "1.blk"), bad)
	bad = bytes.Clone(whole)
	bad[at+3] ^= 1
	write(t, filepath.Join(to, "msgs", "1.blk"), bad)
	f := mend(t, from, to)
	if len(f.Places) != 2 || len(f.Lost) != 1 || !strings.Contains(f.Lost[0], "between entries 4 and 7") {
		t.Errorf("found %+v", f)
	}
	got := texts(read(t, filepath.Join(from, "msgs", "1.blk")))
	if len(got) != len(texts(whole))-1 {
		t.Errorf("%d records are left of %d", len(got), len(texts(whole)))
	}
}

// TestCutShort: a log that lost its end, or all of it, gets it back; a write
// that was cut short goes, in silence.
func TestCutShort(t *testing.T) {
	dir, _ := written(t, 12)
	whole := read(t, filepath.Join(dir, "msgs", "1.blk"))
	for _, left := range []int{0, 1, 100, len(whole) / 2, len(whole) - 1} {
		from, to := t.TempDir(), t.TempDir()
		write(t, filepath.Join(from, "msgs", "1.blk"), whole[:left])
		write(t, filepath.Join(to, "msgs", "1.blk"), whole)
		f := mend(t, from, to)
		if diff := cmp.Diff(texts(whole), texts(read(t, filepath.Join(from, "msgs", "1.blk")))); diff != "" || f.Restored == 0 || len(f.Lost) > 0 {
			t.Errorf("%d bytes left: %+v (-want +got):\n%s", left, f, diff)
		}
	}
	from, to := t.TempDir(), t.TempDir()
	both := append(bytes.Clone(whole), whole[:40]...)
	write(t, filepath.Join(from, "msgs", "1.blk"), both)
	write(t, filepath.Join(to, "msgs", "1.blk"), both)
	f := mend(t, from, to)
	for _, d := range []string{from, to} {
		if got := read(t, filepath.Join(d, "msgs", "1.blk")); !bytes.Equal(got, whole) {
			t.Errorf("%d bytes, want %d", len(got), len(whole))
		}
	}
	if f.Bad() || len(f.Lost) > 0 {
		t.Errorf("a write that was cut short is told of as damage: %+v", f)
	}
}

// TestEndNotWritten: after a power cut the end of a file may be longer than what
// was written. That is no damage, unless the other copy knows better.
func TestEndNotWritten(t *testing.T) {
	dir, _ := written(t, 12)
	whole := read(t, filepath.Join(dir, "msgs", "1.blk"))
	unwritten := append(bytes.Clone(whole), make([]byte, 1000)...)
	for _, c := range []struct {
		name         string
		log, copy    []byte
		ends, places int
	}{
		{"of the log", unwritten, whole, 1, 0},
		{"of the copy", whole, unwritten, 1, 0},
		{"of both", unwritten, unwritten, 2, 0},
		{"of the log, and the copy has more", append(bytes.Clone(whole[:len(whole)-30]), make([]byte, 1000)...), whole, 0, 1},
	} {
		from, to := t.TempDir(), t.TempDir()
		write(t, filepath.Join(from, "msgs", "1.blk"), c.log)
		write(t, filepath.Join(to, "msgs", "1.blk"), c.copy)
		f, err := rot.NewTwin(stream, from, to).Mend(false)
		if err != nil || len(f.Ends) != c.ends || len(f.Places) != c.places || len(f.Lost) > 0 {
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
		for _, d := range []string{from, to} {
			if got := read(t, filepath.Join(d, "msgs", "1.blk")); !bytes.Equal(got, whole) {
				t.Errorf("%s: %d bytes, want %d", c.name, len(got), len(whole))
			}
		}
	}
}

// TestErasureWasUnderWay: what a cut erasure has erased in one copy is not put
// back from the other.
func TestErasureWasUnderWay(t *testing.T) {
	dir, conversations := written(t, 4)
	whole := read(t, filepath.Join(dir, "msgs", "1.blk"))
	subject := "conv.local.0." + conversations[0]
	var rest []byte
	for _, r := range rot.Scan(stream, 1, whole).Records {
		if !strings.HasPrefix(r.Subject, subject) {
			rest = append(rest, r.Raw...)
		}
	}
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "msgs", "1.blk"), rest)
	write(t, filepath.Join(to, "msgs", "1.blk"), whole)
	stop := fmt.Errorf("killed here")
	twin := rot.NewTwin(stream, from, to)
	if err := twin.Forget(subject, func() error { return stop }); err != stop { //nolint:errorlint // this very one
		t.Fatal(err)
	}
	f := mend(t, from, to)
	if f.Restored != 0 || !bytes.Equal(read(t, filepath.Join(to, "msgs", "1.blk")), rest) {
		t.Errorf("found %+v, and the second copy still has what was erased", f)
	}
}

// TestCopyFollows: every append is in the second copy when Copy returns,
// through new blocks and blocks that were written anew.
func TestCopyFollows(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	name := func(n int) string { return filepath.Join(from, "msgs", fmt.Sprintf("%d.blk", n)) }
	twin := rot.NewTwin(stream, from, to)
	if _, err := twin.Mend(true); err != nil {
		t.Fatal(err)
	}
	check := func(blocks ...int) {
		t.Helper()
		if err := twin.Copy(); err != nil {
			t.Fatal(err)
		}
		for _, n := range blocks {
			if got, want := read(t, filepath.Join(to, "msgs", filepath.Base(name(n)))), read(t, name(n)); !bytes.Equal(got, want) {
				t.Errorf("block %d: %q, want %q", n, got, want)
			}
		}
	}
	check()
	write(t, name(1), []byte("one"))
	check(1)
	write(t, name(1), []byte("one, and more"))
	check(1)
	write(t, name(1), []byte("one, and more, to the end"))
	write(t, name(2), []byte("two"))
	write(t, name(3), []byte("three"))
	check(1, 2, 3)
	if err := twin.Forget("conv.x", func() error { // written anew, by another file in its place
		for n, text := range map[int]string{1: "xxx, and more, to the end", 3: "xxxxx"} {
			write(t, name(n)+".tmp", []byte(text))
			if err := os.Rename(name(n)+".tmp", name(n)); err != nil {
				return err
			}
		}
		return os.Remove(name(2))
	}); err != nil {
		t.Fatal(err)
	}
	check(1, 3)
	if _, err := os.Stat(filepath.Join(to, "msgs", "2.blk")); !os.IsNotExist(err) {
		t.Error("a block that the log removed is still in the second copy")
	}
	write(t, name(3), []byte("xxxxx and on"))
	write(t, name(4), []byte("four"))
	check(1, 3, 4)
	if err := twin.Close(); err != nil {
		t.Error(err)
	}
}

// TestLedger: a small file whose bytes changed and whose time did not is put
// back; one that was written since stays.
func TestLedger(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "kept")
	ledger := func() *rot.Ledger {
		return rot.NewLedger(root, dir, func(path string) bool { return filepath.Ext(path) == ".blk" })
	}
	file, other := filepath.Join(root, "a", "tav.idx"), filepath.Join(root, "b: c")
	write(t, file, []byte("term and vote"))
	write(t, other, []byte("other"))
	write(t, filepath.Join(root, "1.blk"), []byte("block"))
	l := ledger()
	if err := l.Note(); err != nil {
		t.Fatal(err)
	}
	flip := func(path string) {
		t.Helper()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		b := read(t, path)
		b[2] ^= 4
		write(t, path, b)
		if err := os.Chtimes(path, time.Time{}, st.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	flip(file)
	f, err := ledger().Mend()
	if err != nil || f.Restored != 1 || len(f.Places) != 1 || f.Places[0] != file || string(read(t, file)) != "term and vote" {
		t.Errorf("found %+v, %v, %q", f, err, read(t, file))
	}
	if f, err := ledger().Mend(); err != nil || f.Bad() {
		t.Errorf("mended twice: %+v, %v", f, err)
	}
	write(t, file, []byte("newer vote"))
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if f, err := ledger().Mend(); err != nil || f.Bad() || string(read(t, file)) != "newer vote" {
		t.Errorf("a newer file: %+v, %v", f, err)
	}
	// Nothing vouches for what was written since: for some the older is taken.
	l = ledger()
	if err := l.Note(); err != nil {
		t.Fatal(err)
	}
	write(t, file, []byte("who knows"))
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	l = ledger()
	l.Older = func(path string) bool { return path == "a/tav.idx" }
	if f, err := l.Mend(); err != nil || f.Bad() || string(read(t, file)) != "newer vote" {
		t.Errorf("of the older state: %+v, %v, %q", f, err, read(t, file))
	}
	flip(other)
	copies, err := filepath.Glob(filepath.Join(dir, "b*.copy"))
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	flip(copies[0])
	if f, err := ledger().Mend(); err != nil || len(f.Lost) != 1 || len(f.Places) != 2 || f.Restored != 0 {
		t.Errorf("file and copy damaged: %+v, %v", f, err)
	}
	// The ledger's own lines.
	l = ledger()
	if err := l.Note(); err != nil {
		t.Fatal(err)
	}
	flip(filepath.Join(dir, "ledger"))
	if f, err := ledger().Mend(); err != nil || len(f.Places) != 1 || len(f.Lost) != 0 {
		t.Errorf("the ledger itself damaged: %+v, %v", f, err)
	}
}

// TestCheck names each kind of file that it knows, while the log runs and while
// it doesn't.
func TestCheck(t *testing.T) {
	dir, _ := written(t, 12)
	root := filepath.Dir(filepath.Dir(filepath.Dir(dir)))
	if f, err := rot.Check(t.Context(), root, rot.How{}); err != nil || len(f.Places) > 0 || f.Bytes == 0 {
		t.Fatalf("a whole log: %+v, %v", f, err)
	}
	for _, name := range []string{"msgs/1.blk", "msgs/index.db", "meta.inf"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		whole := read(t, path)
		bad := bytes.Clone(whole)
		bad[len(bad)/2] ^= 1
		write(t, path, bad)
		f, err := rot.Check(t.Context(), root, rot.How{Stopped: true})
		if err != nil || len(f.Places) != 1 || !strings.Contains(f.Places[0], path) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if _, err := os.Stat(path); rot.Derived(path) != os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
		write(t, path, whole)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add(bytes.Repeat([]byte{30, 0, 0, 0}, 20), 1)
	f.Add(append([]byte{64, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 3, 0, 'a', '.', 'b', 12, 0, 0, 0}, "NATS/1.0\r\n\r\n{}12345678"...), 3)
	f.Fuzz(func(t *testing.T, buf []byte, index int) {
		b := rot.Scan(stream, index, buf)
		size := 0
		for _, r := range b.Records {
			size += len(r.Raw)
		}
		for _, d := range b.Damage {
			size += d.Size
		}
		if size != len(buf) {
			t.Errorf("records and damage are %d bytes of %d", size, len(buf))
		}
	})
}

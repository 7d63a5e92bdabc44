package batch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
)

// Where things are kept. A batch that is not over stands below openKeys with who
// holds it; when it is over it is written below doneKeys, once, and then taken
// away from there. Who reads looks at doneKeys first.
const (
	openKeys   = "batch.open"   // .owner.id: job
	doneKeys   = "batch.done"   // .owner.id: Batch
	fileKeys   = "batch.file"   // .owner.id: file
	comingKeys = "batch.coming" // .owner.id: file whose bytes are not all there
	trashKeys  = "batch.trash"  // .owner.id: file whose bytes are to be erased

	inputSet = "batchinputoffile" // of a file's space: its bytes
	lineSet  = "batchlineresults" // of a batch's space: a record for each line
)

// What a record begins with: which file its line is in.
const (
	good = '+' // of the output
	bad  = '-' // of the errors
)

// Batch is a batch as OpenAI's API shows it. Times are in seconds since 1970; 0:
// not yet.
type Batch struct {
	ID         string            `json:"id"`
	Object     string            `json:"object"`
	Endpoint   string            `json:"endpoint"`
	Errors     *Problems         `json:"errors,omitempty"`
	Input      string            `json:"input_file_id"`
	Window     string            `json:"completion_window"`
	Status     Status            `json:"status"`
	Output     string            `json:"output_file_id,omitempty"`
	ErrorFile  string            `json:"error_file_id,omitempty"`
	Created    int64             `json:"created_at"`
	Began      int64             `json:"in_progress_at,omitempty"`
	Expires    int64             `json:"expires_at"`
	Finalizing int64             `json:"finalizing_at,omitempty"`
	Completed  int64             `json:"completed_at,omitempty"`
	Failed     int64             `json:"failed_at,omitempty"`
	Expired    int64             `json:"expired_at,omitempty"`
	Cancelling int64             `json:"cancelling_at,omitempty"`
	Cancelled  int64             `json:"cancelled_at,omitempty"`
	Counts     Counts            `json:"request_counts"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Status of a batch.
type Status string

// The statuses. The last four are final.
const (
	Validating Status = "validating"
	InProgress Status = "in_progress"
	Finalizing Status = "finalizing"
	Cancelling Status = "cancelling"
	Completed  Status = "completed"
	Failed     Status = "failed"
	Expired    Status = "expired"
	Cancelled  Status = "cancelled"
)

// Final reports whether a batch in this status is over.
func (s Status) Final() bool {
	return s == Completed || s == Failed || s == Expired || s == Cancelled
}

// Counts are lines.
type Counts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

// Problems are why a batch was not begun: the first of them, the error file has
// them all.
type Problems struct {
	Object string    `json:"object"`
	Data   []Problem `json:"data"`
}

// Problem is what is wrong with a line of the input, or with all of it (line 0).
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Param   string `json:"param,omitempty"`
	custom  string // the line's, if that much can be read
}

// job is a batch that is not over.
type job struct {
	Batch
	Owner  string `json:"owner,omitempty"`
	Holder string `json:"holder,omitempty"` // the node that works on it
	Epoch  int    `json:"epoch"`            // how often somebody has taken it
	Beat   int    `json:"beat"`             // a sign of life
	End    Status `json:"end,omitempty"`    // finalizing: what it will be
}

// File is a file as OpenAI's API shows it.
type File struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Bytes   int64  `json:"bytes"`
	Created int64  `json:"created_at"`
	Name    string `json:"filename"`
	Purpose string `json:"purpose"`
	Status  string `json:"status"`
}

// file is a File and where its bytes are.
type file struct {
	File
	Batch string `json:"batch,omitempty"` // whose lines it has; "" = it was uploaded
	Kind  string `json:"kind,omitempty"`  // of these the records that begin with it
}

const (
	filePrefix  = "file-"
	batchPrefix = "batch_"
	spacePrefix = "batch" // in place of a conversation's home
)

// spaceOf is where the log keeps the bytes of a file or batch.
func spaceOf(id string) string {
	return spacePrefix + "-" + id[strings.IndexAny(id, "-_")+1:]
}

// newID makes an id that begins with prefix: with a key, the same one for the
// same key of the same owner.
func newID(prefix, owner, key string) string {
	space := event.NewConversation(spacePrefix)
	if key != "" {
		space = event.ConversationFor(spacePrefix, owner, prefix+key)
	}
	return prefix + strings.TrimPrefix(space, spacePrefix+"-")
}

// valid reports whether id may be one of ours: it becomes part of a key.
func valid(prefix, id string) bool {
	return strings.HasPrefix(id, prefix) && event.ValidConversation(spaceOf(id))
}

// under is an owner's part of keys.
func under(keys, owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return keys + "." + hex.EncodeToString(sum[:16])
}

func ownerOf(key string) string { return strings.Split(key, ".")[2] }
func nameOf(key string) string  { return key[strings.LastIndexByte(key, '.')+1:] }

func load[T any](ctx context.Context, log Log, key string) (out T, revision uint64, err error) {
	b, revision, err := log.Load(ctx, key)
	if err != nil {
		return out, 0, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return out, revision, nil
}

// create writes a value unless there is one.
func create(ctx context.Context, log Log, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if err := log.Create(ctx, key, b); err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	return nil
}

// all loads what is below keys. What goes meanwhile is left out.
func all[T any](ctx context.Context, log Log, keys string) (out []T, err error) {
	names, err := log.List(ctx, keys)
	if err != nil {
		return nil, err
	}
	for _, key := range names {
		v, _, err := load[T](ctx, log, key)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Get returns an owner's batch.
func (s *Service) Get(ctx context.Context, owner, id string) (Batch, error) {
	if !valid(batchPrefix, id) {
		return Batch{}, noBatch(id)
	}
	done := under(doneKeys, owner) + "." + id
	b, _, err := load[Batch](ctx, s.o.Log, done)
	if fault.Is(err, fault.NotFound) {
		var j job
		if j, _, err = load[job](ctx, s.o.Log, under(openKeys, owner)+"."+id); err == nil {
			return s.fresh(j), nil
		}
	}
	if fault.Is(err, fault.NotFound) { // it may have ended in between
		b, _, err = load[Batch](ctx, s.o.Log, done)
	}
	if fault.Is(err, fault.NotFound) {
		return Batch{}, noBatch(id)
	}
	return b, err
}

func noBatch(id string) error {
	return fault.New(fault.NotFound, "there is no batch %q", id)
}

// fresh is a batch with the newest counts if this node works on it.
func (s *Service) fresh(j job) Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.runs {
		if nameOf(key) == j.ID {
			j.Counts = r.counted(j.Counts)
		}
	}
	return j.Batch
}

// List returns an owner's batches, the latest first.
func (s *Service) List(ctx context.Context, owner string) ([]Batch, error) {
	open, err := all[job](ctx, s.o.Log, under(openKeys, owner))
	if err != nil {
		return nil, err
	}
	out, err := all[Batch](ctx, s.o.Log, under(doneKeys, owner)) // after those that are open: one may end in between
	if err != nil {
		return nil, err
	}
	for _, j := range open {
		if !slices.ContainsFunc(out, func(b Batch) bool { return b.ID == j.ID }) {
			out = append(out, s.fresh(j))
		}
	}
	slices.SortFunc(out, func(a, b Batch) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Files returns an owner's files, the latest first.
func (s *Service) Files(ctx context.Context, owner string) ([]File, error) {
	kept, err := all[file](ctx, s.o.Log, under(fileKeys, owner))
	if err != nil {
		return nil, err
	}
	out := make([]File, 0, len(kept))
	for _, f := range kept {
		out = append(out, f.File)
	}
	slices.SortFunc(out, func(a, b File) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// File returns an owner's file without its bytes.
func (s *Service) File(ctx context.Context, owner, id string) (File, error) {
	f, err := s.file(ctx, owner, id)
	return f.File, err
}

func (s *Service) file(ctx context.Context, owner, id string) (file, error) {
	if !valid(filePrefix, id) {
		return file{}, noFile(id)
	}
	f, _, err := load[file](ctx, s.o.Log, under(fileKeys, owner)+"."+id)
	if fault.Is(err, fault.NotFound) {
		return file{}, noFile(id)
	}
	return f, err
}

func noFile(id string) error { return fault.New(fault.NotFound, "there is no file %q", id) }

// Content calls each with the bytes of an owner's file, piece by piece; begin
// hears before them how many there will be.
func (s *Service) Content(ctx context.Context, owner, id string, begin func(File), each func([]byte) error) error {
	f, err := s.file(ctx, owner, id)
	if err != nil {
		return err
	}
	begin(f.File)
	if f.Batch == "" {
		return s.o.Log.FilePieces(ctx, spaceOf(id), inputSet, each)
	}
	left := f.Bytes
	err = s.o.Log.Records(ctx, spaceOf(f.Batch), lineSet, func(_ string, record []byte) error {
		if len(record) == 0 || record[0] != f.Kind[0] {
			return nil
		}
		left -= int64(len(record))
		return each(append(record[1:len(record):len(record)], '\n'))
	})
	if err == nil && left != 0 {
		err = fmt.Errorf("read file %s: %d bytes are missing", id, left)
	}
	return err
}

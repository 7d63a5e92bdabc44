package chat

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/pause"
)

// Files keeps what people send along, on all nodes, until its conversation is
// forgotten.
type Files interface {
	PutFile(ctx context.Context, conversation, id string, content []byte) error
	File(ctx context.Context, conversation, id string) ([]byte, error)
	HasFile(ctx context.Context, conversation, id string) (bool, error)
	EachFile(ctx context.Context, each func(conversation, id string) error) error
	DropFile(ctx context.Context, conversation, id string) error
}

// FileLimits bounds what comes with one message.
type FileLimits struct {
	Size  int64    // bytes of one file; 0 = 10 MiB
	Count int      // files of one message; 0 = 10
	Types []string // such as image/* or application/pdf; nil = any
}

// An upload can be named by a message until the one age, and is thrown away at
// the other, unnamed. Between the two is time for a message that was taken
// in on another node, whose clock may differ.
const (
	nameable = 2 * time.Hour
	unnamed  = 3 * time.Hour
)

var errNoFiles = fault.New(fault.Unsupported, "this node takes no files")

// Limits returns those for files; Count is negative where none are taken.
func (s *Service) Limits() FileLimits {
	if s.opts.Files == nil {
		return FileLimits{Count: -1}
	}
	return s.opts.FileLimits
}

// Upload keeps a file for a message that will name it, and returns how. With
// the same key, the same file soon again is kept once.
func (s *Service) Upload(ctx context.Context, owner, conv, key string, f files.File) (files.Attachment, error) {
	if s.opts.Files == nil || s.opts.FileLimits.Count < 0 {
		return files.Attachment{}, errNoFiles
	}
	f.Name = cmp.Or(files.CleanName(f.Name), "file")
	f.Type = files.TypeOf(f.Type, f.Content)
	switch limits := s.opts.FileLimits; {
	case len(f.Content) == 0:
		return files.Attachment{}, fault.New(fault.Invalid, "the file %q is empty", f.Name)
	case int64(len(f.Content)) > limits.Size:
		return files.Attachment{}, fault.New(fault.TooLarge, "the file %q has %d bytes; at most %d are taken", f.Name, len(f.Content), limits.Size)
	case !files.Matches(f.Type, limits.Types):
		return files.Attachment{}, fault.New(fault.Unsupported, "the file %q is of the type %s; taken are %s", f.Name, f.Type, strings.Join(limits.Types, ", "))
	}
	err := s.seen(ctx, owner, conv, func(st *conversation.State) error {
		if st.Set.Trashed {
			return errTrashed
		}
		return nil
	})
	if err != nil {
		return files.Attachment{}, err
	}
	b, err := f.Encode()
	if err != nil {
		return files.Attachment{}, err
	}
	id := files.NewID(conv, key, f, time.Now())
	if err := s.opts.Files.PutFile(ctx, conv, id, b); err != nil {
		return files.Attachment{}, err
	}
	return files.Attachment{Type: f.Type, URL: files.URL(conv, id), Name: f.Name, Size: len(f.Content)}, nil
}

// File returns a file of an owner's conversation.
func (s *Service) File(ctx context.Context, owner, conv, id string) (files.File, error) {
	if s.opts.Files == nil {
		return files.File{}, errNoFiles
	}
	if err := s.seen(ctx, owner, conv, func(*conversation.State) error { return nil }); err != nil {
		return files.File{}, err
	}
	return s.file(ctx, conv, id)
}

func (s *Service) file(ctx context.Context, conv, id string) (files.File, error) {
	b, err := s.opts.Files.File(ctx, conv, id)
	if err != nil {
		return files.File{}, err
	}
	return files.Decode(b)
}

// seen looks at a conversation of an owner. Somebody else's looks like none.
func (s *Service) seen(ctx context.Context, owner, conv string, look func(*conversation.State) error) error {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return err
	}
	defer l.Close()
	l.View(func(st *conversation.State) {
		if !st.Exists || st.Deleted || st.By.Owner != owner {
			err = notFound(conv)
			return
		}
		err = look(st)
	})
	return err
}

// checkFiles looks whether the files are there that a message of the API names,
// and puts down what it says of them in our own words. What else it carries
// passes through.
func (s *Service) checkFiles(ctx context.Context, m *Message) error {
	raw, ok := m.Activity.Extra["attachments"]
	if m.Open || !ok {
		return nil
	}
	var all []json.RawMessage
	if !listOfObjects(raw) || json.Unmarshal(raw, &all) != nil {
		return fault.New(fault.Invalid, `"attachments" must be a list of objects`)
	}
	for i, x := range all {
		at, err := files.ReadAttachment(x)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, `an attachment has a "contentType", a "contentUrl" and a "name"`)
		}
		if !strings.HasPrefix(at.URL, "/") {
			continue
		}
		id := files.ID(m.Conversation, at.URL)
		if id == "" || s.opts.Files == nil {
			return fault.New(fault.Invalid, "%q is no file of this conversation; upload it here first", at.URL)
		}
		has, err := s.opts.Files.HasFile(ctx, m.Conversation, id)
		if err != nil {
			return err
		}
		if !has {
			return noFile(at.Name)
		}
		at.URL, at.Name = files.URL(m.Conversation, id), cmp.Or(files.CleanName(at.Name), "file")
		at.Type = files.TypeName(at.Type)
		m.files = append(m.files, at)
		if all[i], err = json.Marshal(at); err != nil {
			return err
		}
	}
	if most := s.opts.FileLimits.Count; len(m.files) > most {
		return fault.New(fault.TooLarge, "the message has %d files; at most %d go with one", len(m.files), max(most, 0))
	}
	if raw, err := json.Marshal(all); err == nil {
		m.Activity.Extra["attachments"] = raw
	}
	return nil
}

func noFile(name string) error {
	return fault.New(fault.Invalid, "the file %q is not here, or has been waiting for too long; upload it again", name)
}

// takes reports whether a message may name its files: new ones, and those that
// another message of the conversation has, which stay as long as that does.
func takes(st *conversation.State, m *Message) error {
	for _, at := range m.files {
		id := files.ID(m.Conversation, at.URL)
		if age, ok := files.Age(id, time.Now()); (!ok || age > nameable) && !names(st, id) {
			return noFile(at.Name)
		}
	}
	return nil
}

// names reports whether a message carries a file.
func names(st *conversation.State, id string) bool {
	return slices.ContainsFunc(st.Activities, func(a *activity.Activity) bool {
		return slices.ContainsFunc(files.Of(a), func(at files.Attachment) bool { return files.ID(st.ID, at.URL) == id })
	})
}

// sweepFiles throws away uploads that no message has named in time, and what is
// left of conversations that were deleted while somebody uploaded.
func (s *Service) sweepFiles(ctx context.Context) {
	most := time.Duration(math.MaxInt64) // at first those too that waited while nobody swept
	for ctx.Err() == nil {
		err := s.dropUnnamed(ctx, most)
		switch {
		case err == nil:
			most = 24 * time.Hour
		case ctx.Err() == nil:
			s.lg.Warn("uploads that no message names can't be thrown away yet", "err", err)
		}
		_ = pause.For(ctx, time.Hour)
	}
}

// dropUnnamed looks at uploads up to an age: each costs a look at its
// conversation.
func (s *Service) dropUnnamed(ctx context.Context, most time.Duration) error {
	type place struct{ conv, id string }
	var old []place
	err := s.opts.Files.EachFile(ctx, func(conv, id string) error {
		if age, ok := files.Age(id, time.Now()); ok && age > unnamed && age < most && s.serves(event.HomeOf(conv)) {
			old = append(old, place{conv, id})
		}
		return nil
	})
	for _, p := range old {
		if err == nil {
			err = s.dropIfUnnamed(ctx, p.conv, p.id)
		}
	}
	return err
}

func (s *Service) dropIfUnnamed(ctx context.Context, conv, id string) error {
	l, err := s.Open(ctx, conv)
	if err != nil {
		return err
	}
	defer l.Close()
	named := false
	l.View(func(st *conversation.State) { named = st.Exists && !st.Deleted && names(st, id) })
	if named {
		return nil
	}
	return s.opts.Files.DropFile(ctx, conv, id)
}

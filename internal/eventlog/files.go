package eventlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Files of conversations (what people send along) live in a stream of their
// own, which all nodes share: a chunk to a subject, and last a subject that says
// how much there is and what its digest is. Without that one the file is not
// there. Not in the key-value bucket: a bucket erases no bytes.
const (
	fileStream = "FILES"
	fileChunk  = 1 << 20
)

var fileID = regexp.MustCompile(`^[a-z0-9]{16,64}$`)

func fileSubject(conversation, id, part string) string {
	return "file." + conversation + "." + id + "." + part
}

func fileConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: fileStream, Subjects: []string{"file.>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, Replicas: replicas, MaxMsgSize: maxPayload, AllowDirect: true,
	}
}

// PutFile keeps a file of a conversation on all nodes until Forget erases the
// conversation. The same id again changes nothing: a file never changes.
func (l *Log) PutFile(ctx context.Context, conversation, id string, content []byte) error {
	if !event.ValidConversation(conversation) || !fileID.MatchString(id) {
		return fault.New(fault.Invalid, "%q can't be the id of a file", id)
	}
	if err := l.member(); err != nil {
		return err
	}
	if err := l.disk.room(len(content)); err != nil {
		return err
	}
	for i := 0; i*fileChunk < len(content); i++ {
		part := content[i*fileChunk : min((i+1)*fileChunk, len(content))]
		if err := l.putPart(ctx, fileSubject(conversation, id, strconv.Itoa(i)), part); err != nil {
			return err
		}
	}
	end := fmt.Appendf(nil, "%d %x", len(content), sha256.Sum256(content))
	return l.putPart(ctx, fileSubject(conversation, id, "end"), end)
}

// File returns a file of a conversation, or NotFound.
func (l *Log) File(ctx context.Context, conversation, id string) ([]byte, error) {
	var out []byte
	err := l.FilePieces(ctx, conversation, id, func(piece []byte) error {
		out = append(out, piece...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// FilePieces is File a piece at a time. That the bytes are those that were
// written is known with the last of them: until then, nothing is certain.
func (l *Log) FilePieces(ctx context.Context, conversation, id string, each func([]byte) error) error {
	if !event.ValidConversation(conversation) || !fileID.MatchString(id) {
		return fault.New(fault.NotFound, "there is no such file")
	}
	if err := l.member(); err != nil {
		return err
	}
	end, err := l.part(ctx, fileSubject(conversation, id, "end"))
	if err != nil {
		return err
	}
	var (
		size   int
		digest string
	)
	if _, err := fmt.Sscanf(string(end), "%d %s", &size, &digest); err != nil || size < 0 {
		return fmt.Errorf("read file %s of %s: its end is damaged", id, conversation)
	}
	sum := sha256.New()
	for i := 0; i*fileChunk < size; i++ {
		part, err := l.part(ctx, fileSubject(conversation, id, strconv.Itoa(i)))
		if err != nil {
			return fmt.Errorf("read file %s of %s: %w", id, conversation, err)
		}
		sum.Write(part)
		if err := each(part); err != nil {
			return err
		}
	}
	if fmt.Sprintf("%x", sum.Sum(nil)) != digest {
		return fmt.Errorf("read file %s of %s: its digest is not the one that was written", id, conversation)
	}
	return nil
}

// HasFile reports whether a file is there, whole, as far as this node knows.
func (l *Log) HasFile(ctx context.Context, conversation, id string) (bool, error) {
	if !event.ValidConversation(conversation) || !fileID.MatchString(id) {
		return false, nil
	}
	if err := l.member(); err != nil {
		return false, err
	}
	_, err := l.part(ctx, fileSubject(conversation, id, "end"))
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// EachFile names every file that is kept.
func (l *Log) EachFile(ctx context.Context, each func(conversation, id string) error) error {
	if err := l.member(); err != nil {
		return err
	}
	stream, err := l.js.Stream(ctx, fileStream)
	if err != nil {
		return readFault(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(fileSubject("*", "*", "end")))
	if err != nil {
		return readFault(err)
	}
	for subject := range info.State.Subjects {
		if part := strings.Split(subject, "."); len(part) == 4 {
			if err := each(part[1], part[2]); err != nil {
				return err
			}
		}
	}
	return nil
}

// DropFile erases one file of a conversation; its bytes are overwritten. One
// that is not there is no error.
func (l *Log) DropFile(ctx context.Context, conversation, id string) error {
	if !event.ValidConversation(conversation) || !fileID.MatchString(id) {
		return nil
	}
	if err := l.member(); err != nil {
		return err
	}
	return l.eraseFiles(ctx, fileSubject(conversation, id, "*"), every)
}

// putPart stores a chunk unless it is there.
func (l *Log) putPart(ctx context.Context, subject string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	m := nats.NewMsg(subject)
	m.Data = content
	ack, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(0))
	if err == nil {
		l.double(fileStream, ack.Sequence)
		return nil
	}
	if err = appendFault(err); fault.Is(err, fault.Conflict) {
		return nil // it is there
	}
	return err
}

// part reads a chunk, which never changes: from the replica at hand, and only
// if that one has not heard of it yet, from the leader.
func (l *Log) part(ctx context.Context, subject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+fileStream+"."+subject, nil)
	if err == nil && m.Header.Get("Status") == "" {
		return m.Data, nil
	}
	var got struct {
		Message struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err = l.ask(ctx, messageOf+fileStream, map[string]any{"last_by_subj": subject}, &got)
	var refused *apiError
	switch {
	case err == nil:
		return got.Message.Data, nil
	case errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
		return nil, fault.New(fault.NotFound, "there is no such file")
	}
	return nil, readFault(err)
}

// forgetFiles erases a conversation's files; their bytes are overwritten.
func (l *Log) forgetFiles(ctx context.Context, conversation string) error {
	return l.eraseFiles(ctx, fileSubject(conversation, "*", "*"), every)
}

func every(string) bool { return true }

func (l *Log) eraseFiles(ctx context.Context, subjects string, which func(subject string) bool) error {
	stream, err := l.js.Stream(ctx, fileStream)
	if err != nil {
		return readFault(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subjects))
	if err != nil {
		return readFault(err)
	}
	// The end of each file last: should this be cut off, what is left is found
	// by the next try.
	for _, ends := range []bool{false, true} {
		for subject := range info.State.Subjects {
			if strings.HasSuffix(subject, ".end") != ends || !which(subject) {
				continue
			}
			if err := erasePart(ctx, stream, subject); err != nil {
				return err
			}
		}
	}
	if l.cluster != nil {
		return nil
	}
	return l.twin(fileStream).Refresh()
}

func erasePart(ctx context.Context, stream jetstream.Stream, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	for {
		m, err := stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return readFault(err)
		}
		switch err := stream.SecureDeleteMsg(ctx, m.Sequence); {
		case err == nil || errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful):
			return fmt.Errorf("erase %s: %w", subject, err)
		}
		// It is gone already, as others erase files too, or the server refused, and
		// does not say which. Who looks again knows.
		if err := pause.For(ctx, askPause); err != nil {
			return readFault(err)
		}
	}
}

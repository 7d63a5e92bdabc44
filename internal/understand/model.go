// Package understand is a node's understanding at work: which models are live,
// for which bots and which conversations, and what they make of a message.
// What may live here: reading and checking models with their scripts, the
// choice between versions, and their exchange between nodes. Learning belongs
// to nlu, leading a conversation to dialog.
package understand

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/dialog"
	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/luis"
	"github.com/parleyhq/parley/internal/nlu/model"
)

// Model is one version of an app: a model and the script that goes with it,
// which are published, made live and taken back together. It is never changed
// and safe for use by many.
type Model struct {
	App     string
	Version string
	Script  *dialog.Script // nil: nothing but understanding
	Size    int            // bytes of its package

	reads *model.Model
}

// Name is what is recorded with an understanding: APP@VERSION.
func (m *Model) Name() string { return m.App + "@" + m.Version }

// Intents returns the names of the intents that it knows.
func (m *Model) Intents() []string { return m.reads.Intents() }

// Encoder finds the sentence encoder with a checksum, for models of the
// accurate tier.
type Encoder func(sum uint32) (*encoder.Encoder, error)

// The parts of a package: a zip file, so that people can look into it.
const (
	modelPart = "model.nlu"
	flowsPart = "flows.yaml"
)

// MostPackage bounds a package, packed or not.
const MostPackage = 128 << 20

// Pack makes a package of a model's file and a script, which may be missing.
// The same parts give the same bytes.
func Pack(modelFile, flows []byte) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, part := range []struct {
		name string
		data []byte
	}{{modelPart, modelFile}, {flowsPart, flows}} {
		if part.data == nil {
			continue
		}
		w, err := z.Create(part.name)
		if err == nil {
			_, err = w.Write(part.data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", part.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack a model: %w", err)
	}
	if b.Len() > MostPackage {
		return nil, fmt.Errorf("pack a model: %d bytes are more than %d", b.Len(), MostPackage)
	}
	return b.Bytes(), nil
}

// Open reads a package and believes nothing in it: what it returns without an
// error works, and its script fits its model.
func Open(app string, pack []byte, find Encoder) (*Model, error) {
	if len(pack) > MostPackage {
		return nil, fmt.Errorf("the package has %d bytes; at most %d are taken", len(pack), MostPackage)
	}
	z, err := zip.NewReader(bytes.NewReader(pack), int64(len(pack)))
	if err != nil {
		return nil, fmt.Errorf("this is no package of a model: %w", err)
	}
	parts := map[string][]byte{}
	for _, f := range z.File {
		if f.Name != modelPart && f.Name != flowsPart || parts[f.Name] != nil {
			return nil, fmt.Errorf("a package holds one %s and perhaps one %s, not %q", modelPart, flowsPart, clip(f.Name))
		}
		if parts[f.Name], err = readPart(f); err != nil {
			return nil, fmt.Errorf("read %s of the package: %w", f.Name, err)
		}
	}
	if parts[modelPart] == nil {
		return nil, fmt.Errorf("the package has no %s", modelPart)
	}
	reads, err := model.Read(bytes.NewReader(parts[modelPart]), find)
	if err != nil {
		return nil, err
	}
	m := &Model{App: app, Version: reads.Version(), Size: len(pack), reads: reads}
	flows, ok := parts[flowsPart]
	if !ok {
		return m, nil
	}
	if m.Script, err = dialog.Parse(flowsPart, flows); err != nil {
		return nil, err
	}
	if p := reads.Project(); p != nil {
		if err := m.Script.CheckModel(flowsPart, p); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(append([]byte(m.Version+"\n"), flows...))
	m.Version = hex.EncodeToString(sum[:8])
	return m, nil
}

func readPart(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, MostPackage+1)) // what the head says need not be so
	if err == nil && len(b) > MostPackage {
		err = fmt.Errorf("it has more than %d bytes", MostPackage)
	}
	if b == nil {
		b = []byte{}
	}
	return b, err
}

func clip(s string) string { return s[:min(len(s), 60)] }

// bots are those that the script hands conversations to.
func (m *Model) bots() []string {
	if m.Script == nil {
		return nil
	}
	var out []string
	hands := slices.Clone(m.Script.Fallback)
	for _, f := range m.Script.Flows {
		hands = append(hands, f.Hand)
	}
	for _, h := range hands {
		if h.To == dialog.Bot {
			out = append(out, h.Bot)
		}
	}
	return out
}

// Reads is what the model makes of a text: all of it, for programs. Dates
// count from reference.
func (m *Model) Reads(text string, reference time.Time) luis.Understanding {
	u := m.reads.Understand(text, reference)
	out := luis.Understanding{Text: text, Entities: u.Entities, Intents: make([]luis.Intent, len(u.Intents))}
	for i, r := range u.Intents {
		out.Intents[i] = luis.Intent{Name: r.Intent, Score: r.Score}
	}
	return out
}

// With returns a model that knows more values of some lists, for one request.
func (m *Model) With(lists []luis.DynamicList) (*Model, error) {
	values := map[string][]corpus.Value{}
	for _, l := range lists {
		for _, v := range l.Values {
			values[l.Entity] = append(values[l.Entity], corpus.Value{Name: v.Canonical, Synonyms: v.Synonyms})
		}
	}
	more := *m
	var err error
	more.reads, err = m.reads.With(values)
	return &more, err
}

// record is what the log keeps of an understanding.
func (m *Model) record(text string, u model.Understanding) *activity.Understanding {
	out := &activity.Understanding{Model: m.Name(), Intent: u.Intent, Score: u.Score}
	flat := finder.Flat(u.Entities)
	for i, f := range dialog.Entities(text, flat) { // one for each, in the same order: they are flat already
		e := activity.Entity{
			Start: flat[i].Start, End: flat[i].End, Type: f.Type, Role: f.Role, Score: flat[i].Score,
			Text: f.Said, Name: f.Name, Value: f.Value.Value,
		}
		if kind, role, ok := strings.Cut(e.Type, ":"); ok && e.Role == "" { // of a model without definitions
			e.Type, e.Role = kind, role
		}
		out.Entities = append(out.Entities, e)
	}
	return out
}

// Heard is a recorded understanding in the words of a script.
func Heard(text string, u *activity.Understanding) dialog.Input {
	in := dialog.Input{Text: text, Intent: u.Intent, Score: u.Score}
	for _, e := range u.Entities {
		in.Entities = append(in.Entities, dialog.Found{
			Entity: dialog.Entity{Type: e.Type, Role: e.Role},
			Value:  dialog.Value{Said: e.Text, Name: e.Name, Value: e.Value},
		})
	}
	return in
}

// Source is where people keep a model and its script.
type Source struct {
	Path     string // of a model's file, or of a project's folder; "" = none
	Flows    string // of a script's file; "" = none
	Progress func(stage string, done, total int)
}

// ModelFile is a project's model, in its folder.
const ModelFile = "model.nlu"

// Make makes a package of a source. A project that has no model yet is learned
// from, in memory. Notes are worth a line to whoever keeps the files.
func Make(ctx context.Context, src Source) (pack []byte, notes []string, err error) {
	file, notes, err := modelOf(ctx, src)
	if err != nil {
		return nil, nil, err
	}
	var flows []byte
	if src.Flows != "" {
		if flows, err = readFile(src.Flows); err != nil {
			return nil, nil, fmt.Errorf("read script: %w", err)
		}
		if _, err := dialog.Parse(src.Flows, flows); err != nil { // here problems have the file's own name
			return nil, nil, err
		}
	}
	pack, err = Pack(file, flows)
	return pack, notes, err
}

func modelOf(ctx context.Context, src Source) (file []byte, notes []string, err error) {
	st, err := os.Stat(src.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("read model: %w", err)
	}
	path := src.Path
	if st.IsDir() {
		path = filepath.Join(src.Path, ModelFile)
	}
	file, err = readFile(path)
	switch {
	case err == nil:
		if newer := newerThan(src.Path, path); st.IsDir() && newer != "" {
			notes = append(notes, fmt.Sprintf("%s is newer than the model that was learned from it: parley nlu train %s learns it anew", newer, src.Path))
		}
		return file, notes, nil
	case !st.IsDir() || !errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("read model: %w", err)
	}
	p, err := corpus.Read(src.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("the project in %s: %w", src.Path, err)
	}
	m, _, err := model.Train(ctx, p, finder.Lessons(p), nlu.Options{Seed: 1, Progress: src.Progress})
	if err != nil {
		return nil, nil, fmt.Errorf("learn from %s: %w", src.Path, err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return nil, nil, err
	}
	return b.Bytes(), notes, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, MostPackage+1))
	if err == nil && len(b) > MostPackage {
		err = fmt.Errorf("%s has more than %d bytes", path, MostPackage)
	}
	return b, err
}

// newerThan returns a project's file that was changed after its model, if
// there is one.
func newerThan(dir, file string) string {
	st, err := os.Stat(file)
	if err != nil {
		return ""
	}
	newest, name := st.ModTime(), ""
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".lu"}, strings.ToLower(filepath.Ext(path))) {
			return err
		}
		if i, err := d.Info(); err == nil && i.ModTime().After(newest) {
			newest, name = i.ModTime(), path
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return name
}

// differ says in what two understandings of a text are not the same: "" for
// nothing.
func differ(a, b *activity.Understanding) string {
	same := func(x, y activity.Entity) bool {
		return x.Start == y.Start && x.End == y.End && x.Type == y.Type && x.Role == y.Role
	}
	switch {
	case a.Intent != b.Intent:
		return "intent"
	case !slices.EqualFunc(a.Entities, b.Entities, same):
		return "entities"
	}
	return ""
}

package batch

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
)

// Endpoints are what a batch's lines may ask for.
func Endpoints() []string {
	return []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
}

// Upload keeps an input file. With the same key, the same file is kept once.
func (s *Service) Upload(ctx context.Context, owner, key, name string, content []byte) (File, error) {
	switch {
	case len(content) == 0:
		return File{}, fault.New(fault.Invalid, "the file is empty; each of its lines is a request")
	case int64(len(content)) > s.o.Bytes:
		return File{}, fault.New(fault.TooLarge, "the file is larger than %d bytes", s.o.Bytes)
	}
	if name = files.CleanName(name); name == "" {
		name = "batch.jsonl"
	}
	if key != "" {
		key = fmt.Sprintf("%d %s %s %x", len(key), key, name, sha256.Sum256(content))
	}
	id := newID(filePrefix, owner, key)
	place := under(fileKeys, owner)
	there, err := s.o.Log.List(ctx, place)
	if err != nil {
		return File{}, err
	}
	if slices.Contains(there, place+"."+id) {
		return s.File(ctx, owner, id)
	}
	if going, err := s.o.Log.List(ctx, under(trashKeys, owner)); err != nil {
		return File{}, err
	} else if slices.Contains(going, under(trashKeys, owner)+"."+id) {
		call(s.litter)
		return File{}, fault.New(fault.Unavailable, "this very file was deleted and is being erased; try again").After(time.Second)
	}
	if len(there) >= s.o.Files {
		return File{}, fault.New(fault.Limited, "there are %d files already, and more are not kept: delete some", len(there))
	}
	f := file{File: File{ID: id, Object: "file", Bytes: int64(len(content)), Created: time.Now().Unix(), Name: name, Purpose: "batch", Status: "processed"}}
	coming := under(comingKeys, owner) + "." + id
	if err := create(ctx, s.o.Log, coming, f); err != nil {
		return File{}, err
	}
	if err := s.o.Log.PutFile(ctx, spaceOf(id), inputSet, content); err != nil {
		return File{}, err
	}
	if err := create(ctx, s.o.Log, place+"."+id, f); err != nil {
		return File{}, err
	}
	if err := s.o.Log.Remove(ctx, coming); err != nil {
		s.lg.Debug("an upload is noted as coming though it is there", "file", id, "err", err)
	}
	return f.File, nil
}

// Delete takes a file away; its bytes are erased soon after.
func (s *Service) Delete(ctx context.Context, owner, id string) error {
	f, err := s.file(ctx, owner, id)
	if err != nil {
		return err
	}
	open, err := all[job](ctx, s.o.Log, under(openKeys, owner))
	if err != nil {
		return err
	}
	for _, j := range open {
		if j.Input != id {
			continue
		}
		if b, err := s.Get(ctx, owner, j.ID); err != nil || !b.Status.Final() { // it may be over at this very moment
			return fault.New(fault.Conflict, "the batch %s reads this file: cancel it first", j.ID)
		}
	}
	if err := create(ctx, s.o.Log, under(trashKeys, owner)+"."+id, f); err != nil {
		return err
	}
	if err := s.o.Log.Remove(ctx, under(fileKeys, owner)+"."+id); err != nil {
		return err
	}
	call(s.litter)
	return nil
}

// empty erases the bytes of what was deleted.
func (s *Service) empty(ctx context.Context) error {
	keys, err := s.o.Log.List(ctx, trashKeys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		f, _, err := load[file](ctx, s.o.Log, key)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err == nil {
			err = s.erase(ctx, f)
		}
		if err == nil {
			err = s.o.Log.Remove(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) erase(ctx context.Context, f file) error {
	if f.Batch == "" {
		return s.o.Log.DropFile(ctx, spaceOf(f.ID), inputSet)
	}
	var names []string
	err := s.o.Log.Records(ctx, spaceOf(f.Batch), lineSet, func(name string, record []byte) error {
		if len(record) > 0 && record[0] == f.Kind[0] {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.o.Log.DropRecords(ctx, spaceOf(f.Batch), lineSet, names)
}

// sweep throws away uploads that broke off.
func (s *Service) sweep(ctx context.Context) error {
	keys, err := s.o.Log.List(ctx, comingKeys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		f, _, err := load[file](ctx, s.o.Log, key)
		if err != nil || time.Since(time.Unix(f.Created, 0)) < upload {
			continue
		}
		if _, _, err = s.o.Log.Load(ctx, strings.Replace(key, comingKeys, fileKeys, 1)); fault.Is(err, fault.NotFound) {
			err = s.o.Log.DropFile(ctx, spaceOf(f.ID), inputSet)
		}
		if err == nil {
			err = s.o.Log.Remove(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Order asks for a batch.
type Order struct {
	Endpoint string
	Input    string
	Window   string // such as 24h
	Metadata map[string]string
}

// Create begins a batch. With the same key, the same order is one batch.
func (s *Service) Create(ctx context.Context, owner, key string, o Order) (Batch, error) {
	window, err := windowOf(o.Window)
	if err != nil {
		return Batch{}, err
	}
	if !slices.Contains(Endpoints(), o.Endpoint) {
		return Batch{}, fault.New(fault.Invalid, "%q is no endpoint for a batch; these are: %s", o.Endpoint, strings.Join(Endpoints(), ", "))
	}
	if err := checkMetadata(o.Metadata); err != nil {
		return Batch{}, err
	}
	f, err := s.file(ctx, owner, o.Input)
	if err != nil {
		return Batch{}, err
	}
	if f.Batch != "" {
		return Batch{}, fault.New(fault.Invalid, "the file %s is what came of a batch; upload one with purpose=batch", o.Input)
	}
	if key != "" {
		ordered, err := json.Marshal(o)
		if err != nil {
			return Batch{}, err
		}
		key = fmt.Sprintf("%d %s %s", len(key), key, ordered)
	}
	id := newID(batchPrefix, owner, key)
	if key != "" {
		if b, err := s.Get(ctx, owner, id); !fault.Is(err, fault.NotFound) {
			return b, err
		}
	}
	place := under(openKeys, owner)
	open, err := s.o.Log.List(ctx, place)
	if err != nil {
		return Batch{}, err
	}
	if len(open) >= s.o.Open {
		return Batch{}, fault.New(fault.Limited, "%d batches wait or run already: wait until one is over, or cancel one", len(open)).After(time.Minute)
	}
	now := time.Now()
	j := job{Owner: owner, Batch: Batch{
		ID: id, Object: "batch", Endpoint: o.Endpoint, Input: o.Input, Window: o.Window, Status: Validating,
		Created: now.Unix(), Expires: now.Add(window).Unix(), Metadata: o.Metadata,
	}}
	if err := create(ctx, s.o.Log, place+"."+id, j); err != nil {
		return Batch{}, err
	}
	s.nudge()
	return j.Batch, nil
}

const longest = 7 * 24 * time.Hour

// windowOf reads 24h, 90m, 7d.
func windowOf(text string) (time.Duration, error) {
	wrong := fault.New(fault.Invalid, "completion_window must be a time such as 24h, from 1m to 7d")
	if len(text) < 2 {
		return 0, wrong
	}
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[text[len(text)-1]]
	n, err := strconv.Atoi(text[:len(text)-1])
	if !ok || err != nil || n < 1 || n > int(longest/unit) || time.Duration(n)*unit < time.Minute {
		return 0, wrong
	}
	return time.Duration(n) * unit, nil
}

func checkMetadata(m map[string]string) error {
	if len(m) > 16 {
		return fault.New(fault.Invalid, "metadata may have 16 keys, not %d", len(m))
	}
	for k, v := range m {
		if utf8.RuneCountInString(k) > 64 || utf8.RuneCountInString(v) > 512 {
			return fault.New(fault.Invalid, "a key of metadata may have 64 characters, and its value 512")
		}
	}
	return nil
}

// Cancel stops a batch: the lines that were answered are kept.
func (s *Service) Cancel(ctx context.Context, owner, id string) (Batch, error) {
	b, err := s.Get(ctx, owner, id)
	if err != nil {
		return Batch{}, err
	}
	key := under(openKeys, owner) + "." + id
	for !b.Status.Final() {
		j, rev, err := load[job](ctx, s.o.Log, key)
		if fault.Is(err, fault.NotFound) {
			if b, err = s.Get(ctx, owner, id); err != nil {
				return Batch{}, err
			}
			continue
		}
		if err != nil {
			return Batch{}, err
		}
		if j.Status == Cancelling || j.Status == Finalizing {
			return s.fresh(j), nil
		}
		j.Status, j.Cancelling = Cancelling, time.Now().Unix()
		v, err := json.Marshal(j)
		if err != nil {
			return Batch{}, err
		}
		err = s.o.Log.Replace(ctx, key, v, rev)
		if fault.Is(err, fault.Conflict) {
			continue // its holder gave a sign of life
		}
		if err != nil {
			return Batch{}, err
		}
		s.prod(key)
		s.nudge()
		return s.fresh(j), nil
	}
	return Batch{}, fault.New(fault.Conflict, "the batch %s is %s already", id, b.Status)
}

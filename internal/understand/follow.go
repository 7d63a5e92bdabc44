package understand

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/fault"
)

const (
	firstLook = 10 * time.Second // of a start, before it goes on with what was kept
	planFile  = "plan.json"
	again     = time.Minute // between tries of a version that can't be used
)

// Start has what is published at work, and goes on to follow it until Stop. A
// node that can't ask the others begins with what it had.
func (s *Service) Start(ctx context.Context) error {
	if s == nil || s.opts.Values == nil {
		return nil
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("keep published models: %w", err)
	}
	first, cancel := context.WithTimeout(ctx, firstLook)
	err := s.look(first)
	cancel()
	if err != nil {
		s.lg.Warn("what is published can't be asked for; the node begins with what it has", "err", err)
		s.lookHere(ctx)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() {
		tick := time.NewTicker(s.opts.Every)
		defer tick.Stop()
		for {
			select {
			case <-run.Done():
				return
			case <-tick.C:
			}
			if err := s.look(run); err != nil && run.Err() == nil {
				s.lg.Debug("what is published can't be asked for", "err", err)
			}
		}
	})
	return nil
}

// Stop ends what Start began. What is at work goes on.
func (s *Service) Stop() {
	if s != nil && s.stop != nil {
		s.stop()
		s.done.Wait()
	}
}

// look applies the plan if it is another one than before, or what of it could
// not be applied then.
func (s *Service) look(ctx context.Context) error {
	s.looking.Lock()
	defer s.looking.Unlock()
	p, revision, err := s.readPlan(ctx)
	if err != nil {
		return err
	}
	if revision == s.applied && (s.whole || time.Now().Before(s.retry)) {
		return nil
	}
	s.apply(ctx, p)
	s.applied, s.retry = revision, time.Now().Add(again)
	if b, err := json.Marshal(p); err == nil && revision > 0 {
		if err := atomicfile.Write(filepath.Join(s.opts.Dir, planFile), b, 0o600); err != nil {
			s.lg.Warn("what is published can't be kept on this machine", "err", err)
		}
	}
	s.tidy(p)
	return nil
}

// lookHere applies the plan that this machine kept.
func (s *Service) lookHere(ctx context.Context) {
	s.looking.Lock()
	defer s.looking.Unlock()
	var p plan
	b, err := os.ReadFile(filepath.Join(s.opts.Dir, planFile))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.lg.Warn("the plan that was kept can't be read", "err", err)
	default:
		s.apply(ctx, p)
	}
}

// apply makes each app's lineup what the plan says. One that can't be made
// whole stays as it was.
func (s *Service) apply(ctx context.Context, p plan) {
	s.whole = true
	for _, a := range s.apps {
		planned := p.Apps[a.Name]
		if planned == nil {
			planned = &appPlan{}
		}
		fresh, err := s.lineup(ctx, a, planned)
		if err != nil {
			s.whole = false
			why := oneLine(err)
			if old := a.problem.Swap(&why); old == nil || *old != why {
				s.lg.Error("a published model can't be used; what was at work goes on", "app", a.Name, "err", err)
			}
			continue
		}
		a.problem.Store(nil)
		old := a.lineup.Swap(fresh)
		if old.live != fresh.live && fresh.live != nil {
			s.lg.Info("another model is live", "app", a.Name, "version", fresh.live.Version)
		}
	}
}

func (s *Service) lineup(ctx context.Context, a *app, p *appPlan) (*lineup, error) {
	l := &lineup{live: a.Model, percent: p.Percent}
	for _, place := range []struct {
		version string
		into    **Model
	}{{p.Live, &l.live}, {p.Next, &l.next}, {p.Shadow, &l.shadow}} {
		if place.version == "" {
			continue
		}
		v := p.find(place.version)
		if v == nil {
			return nil, fmt.Errorf("the plan names version %s and does not have it", place.version)
		}
		m, err := s.have(ctx, a, *v)
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", v.Version, err)
		}
		*place.into = m
	}
	return l, nil
}

// have returns a published model: the one that is at work already, or from this
// machine's disk, or from the values that the nodes share.
func (s *Service) have(ctx context.Context, a *app, v Published) (*Model, error) {
	l := a.lineup.Load()
	for _, m := range []*Model{l.live, l.next, l.shadow} {
		if m != nil && m != a.Model && m.Version == v.Version {
			return m, nil
		}
	}
	if len(v.Sum) != 2*sha256.Size || strings.Trim(v.Sum, "0123456789abcdef") != "" || v.Size < 0 || v.Size > MostPackage {
		return nil, errors.New("the plan's entry for it is damaged")
	}
	path := filepath.Join(s.opts.Dir, v.Sum+".zip")
	pack, err := readFile(path)
	if err != nil || !v.is(pack) {
		if pack, err = s.fetch(ctx, v); err != nil {
			return nil, err
		}
		if err := atomicfile.Write(path, pack, 0o600); err != nil {
			s.lg.Warn("a published model can't be kept on this machine", "app", a.Name, "version", v.Version, "err", err)
		}
	}
	m, err := Open(a.Name, pack, s.opts.Encoder)
	if err == nil {
		err = s.fits(m)
	}
	if err == nil && m.Version != v.Version {
		err = fmt.Errorf("the package holds version %s", m.Version)
	}
	return m, err
}

func (v Published) is(pack []byte) bool {
	sum := sha256.Sum256(pack)
	return hex.EncodeToString(sum[:]) == v.Sum
}

func (s *Service) fetch(ctx context.Context, v Published) ([]byte, error) {
	var b bytes.Buffer
	for n := range v.Parts {
		part, _, err := s.opts.Values.Load(ctx, partKey(v.Sum, n))
		if err != nil {
			return nil, fmt.Errorf("fetch part %d of %d: %w", n+1, v.Parts, err)
		}
		if b.Len()+len(part) > MostPackage {
			return nil, errors.New("it is larger than a package may be")
		}
		b.Write(part)
	}
	if !v.is(b.Bytes()) {
		return nil, fault.New(fault.Unavailable, "what was fetched is not what was published: its checksum differs")
	}
	return b.Bytes(), nil
}

// tidy removes packages from this machine that no plan names.
func (s *Service) tidy(p plan) {
	named := map[string]bool{planFile: true}
	for _, a := range p.Apps {
		for _, v := range a.Versions {
			named[v.Sum+".zip"] = true
		}
	}
	files, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return
	}
	for _, f := range files {
		if !named[f.Name()] && (strings.HasSuffix(f.Name(), ".zip") || strings.HasPrefix(f.Name(), ".")) { // half written ones begin with a dot
			_ = os.Remove(filepath.Join(s.opts.Dir, f.Name()))
		}
	}
}

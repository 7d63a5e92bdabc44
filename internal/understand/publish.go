package understand

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// What is published lies in the values that all nodes share: one plan for all
// apps, and packages in parts of a size that the log likes, under the sum of
// their bytes. Parts are written before the plan names them, so a kill in
// between leaves nothing but parts that the next try finds.
const (
	planKey  = "understanding.plan"
	partSize = 512 << 10
	mostKept = 10 // versions of an app
	mostApps = 1000

	// Configuration stands where a version does for the configuration's model.
	Configuration = "configuration"
)

// plan is what all nodes shall do.
type plan struct {
	Apps map[string]*appPlan `json:"apps"`
}

// appPlan names versions; "" is none, of Live and Before the configuration's.
type appPlan struct {
	Live     string      `json:"live,omitempty"`
	Before   string      `json:"before,omitempty"`
	Changed  bool        `json:"changed,omitempty"` // Before means something
	Next     string      `json:"next,omitempty"`
	Percent  int         `json:"percent,omitempty"`
	Shadow   string      `json:"shadow,omitempty"`
	Versions []Published `json:"versions"` // the newest first
}

// Published is a version that was published.
type Published struct {
	Version string    `json:"version"`
	Sum     string    `json:"sum"` // SHA-256 of the package
	Size    int       `json:"size"`
	Parts   int       `json:"parts"`
	Intents int       `json:"intents"`
	Flows   int       `json:"flows"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

func (p *appPlan) find(version string) *Published {
	for i := range p.Versions {
		if p.Versions[i].Version == version {
			return &p.Versions[i]
		}
	}
	return nil
}

// uses reports whether a version has a part to play.
func (p *appPlan) uses(version string) bool {
	return slices.Contains([]string{p.Live, p.Next, p.Shadow, p.Before}, version)
}

func partKey(sum string, n int) string { return fmt.Sprintf("understanding.part.%s.%d", sum[:32], n) }

// readPlan returns an empty plan and revision 0 if nothing was published yet.
func (s *Service) readPlan(ctx context.Context) (plan, uint64, error) {
	p := plan{Apps: map[string]*appPlan{}}
	b, revision, err := s.opts.Values.Load(ctx, planKey)
	if fault.Is(err, fault.NotFound) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, 0, fmt.Errorf("read the plan of published models: %w", err)
	}
	return p, revision, nil
}

// change changes an app's plan, again when somebody else was first.
func (s *Service) change(ctx context.Context, name string, f func(*appPlan) error) error {
	for try := 0; ; try++ {
		p, revision, err := s.readPlan(ctx)
		if err != nil {
			return err
		}
		a := p.Apps[name]
		if a == nil {
			if len(p.Apps) == mostApps {
				return fault.New(fault.Limited, "models of %d apps are published, which is the most", mostApps)
			}
			a = &appPlan{}
			p.Apps[name] = a
		}
		if err := f(a); err != nil {
			return err
		}
		b, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("write the plan of published models: %w", err)
		}
		if revision == 0 {
			err = s.opts.Values.Create(ctx, planKey, b)
		} else {
			err = s.opts.Values.Replace(ctx, planKey, b, revision)
		}
		if !fault.Is(err, fault.Conflict) || try == 20 {
			return err
		}
	}
}

func (s *Service) publishes(id string) (*app, error) {
	a := s.byID(id)
	switch {
	case a == nil:
		return nil, fault.New(fault.NotFound, "there is no app %q here: it needs an entry under understanding in the configuration", clip(id))
	case s.opts.Values == nil:
		return nil, fault.New(fault.Unsupported, "models can't be published to this node")
	}
	return a, nil
}

// Publish gives a package to all nodes, which keep it until it is activated. It
// is checked first; one that is there already is found again.
func (s *Service) Publish(ctx context.Context, id string, pack []byte, by string) (Published, error) {
	a, err := s.publishes(id)
	if err != nil {
		return Published{}, err
	}
	m, err := Open(a.Name, pack, s.opts.Encoder)
	if err == nil {
		err = s.fits(m)
	}
	if err != nil {
		return Published{}, fault.Wrap(err, fault.Invalid, "this can't be published: %s", oneLine(err))
	}
	sum := sha256.Sum256(pack)
	out := Published{
		Version: m.Version, Sum: hex.EncodeToString(sum[:]), Size: len(pack), Parts: (len(pack) + partSize - 1) / partSize,
		Intents: len(m.Intents()), By: by, At: time.Now().UTC().Truncate(time.Second),
	}
	if m.Script != nil {
		out.Flows = len(m.Script.Flows)
	}
	n := 0
	for part := range slices.Chunk(pack, partSize) {
		if err := s.opts.Values.Create(ctx, partKey(out.Sum, n), part); err != nil && !fault.Is(err, fault.Conflict) {
			return Published{}, err
		}
		n++
	}
	var gone []Published
	err = s.change(ctx, a.Name, func(p *appPlan) error {
		gone = nil
		if old := p.find(out.Version); old != nil {
			out = *old
			return nil
		}
		p.Versions = slices.Insert(p.Versions, 0, out)
		for i := len(p.Versions) - 1; i > 0 && len(p.Versions) > mostKept; i-- {
			if v := p.Versions[i]; !p.uses(v.Version) {
				gone = append(gone, v)
				p.Versions = slices.Delete(p.Versions, i, i+1)
			}
		}
		return nil
	})
	if err != nil {
		return Published{}, err
	}
	s.lg.Info("a model was published", "app", a.Name, "version", out.Version, "bytes", out.Size, "by", by)
	for _, v := range gone {
		for n := range v.Parts {
			if err := s.opts.Values.Remove(ctx, partKey(v.Sum, n)); err != nil {
				s.lg.Warn("a part of an old model stays", "app", a.Name, "version", v.Version, "err", err)
			}
		}
	}
	return out, nil
}

func oneLine(err error) string {
	if fault.CodeOf(err) != fault.Internal {
		return fault.MessageOf(err)
	}
	return string(bytes.ReplaceAll([]byte(err.Error()), []byte("\n"), []byte("; ")))
}

// Role is what a version can be to an app.
type Role string

// The roles.
const (
	Live   Role = "live"   // it understands
	Next   Role = "next"   // it understands for some of the conversations
	Shadow Role = "shadow" // it only listens, and what it understands otherwise is counted
)

// Activation gives a version its role, or a role to nobody.
type Activation struct {
	Role    Role   // "" = Live
	Version string // Configuration = the configuration's model; "" = nobody, not for Live
	Percent int    // of the conversations, for Next: 1 to 99
}

// Activate gives a version a role on all nodes. Each of them swaps when it has
// the model, within seconds; this one has it when Activate returns. A version
// that can't be used here changes nothing.
func (s *Service) Activate(ctx context.Context, id string, act Activation, by string) error {
	a, err := s.publishes(id)
	if err != nil {
		return err
	}
	act.Role = cmp.Or(act.Role, Live)
	if a.Model != nil && act.Version == a.Model.Version {
		act.Version = Configuration
	}
	switch {
	case act.Role != Live && act.Role != Next && act.Role != Shadow:
		return fault.New(fault.Invalid, "a role is live, next or shadow, not %q", clip(string(act.Role)))
	case act.Role == Next && act.Version != "" && (act.Percent < 1 || act.Percent > 99):
		return fault.New(fault.Invalid, "the next version takes 1 to 99 percent of the conversations, not %d; make it live for all", act.Percent)
	case act.Role == Live && act.Version == "":
		return fault.New(fault.Invalid, `name the version to make live, or %q`, Configuration)
	case act.Version == Configuration && act.Role != Live:
		return fault.New(fault.Unsupported, "the configuration's model can be live only")
	case act.Version == Configuration && a.Model == nil:
		return fault.New(fault.NotFound, "the configuration names no model for %s", a.Name)
	}
	err = s.change(ctx, a.Name, func(p *appPlan) error {
		if act.Version != "" && act.Version != Configuration {
			v := p.find(act.Version)
			if v == nil {
				return fault.New(fault.NotFound, "version %q of %s was never published, or is forgotten", clip(act.Version), a.Name)
			}
			if _, err := s.have(ctx, a, *v); err != nil {
				return fault.Wrap(err, fault.Invalid, "version %s can't be used: %s", v.Version, oneLine(err))
			}
		}
		p.activate(act)
		return nil
	})
	if err != nil {
		return err
	}
	s.lg.Info("a model has a new role", "app", a.Name, "version", act.Version, "role", act.Role, "percent", act.Percent, "by", by)
	return s.look(ctx)
}

func (p *appPlan) activate(act Activation) {
	version := act.Version
	if version == Configuration {
		version = ""
	}
	switch act.Role {
	case Live:
		if version != p.Live {
			p.Before, p.Live, p.Changed = p.Live, version, true
		}
		if p.Next == version || version == "" {
			p.Next, p.Percent = "", 0
		}
	case Next:
		if p.Next, p.Percent = version, act.Percent; version == "" {
			p.Percent = 0
		}
	case Shadow:
		p.Shadow = version
	}
}

// State is what an app has here.
type State struct {
	App     string      `json:"app"`
	IDs     []string    `json:"ids"`
	Bots    []string    `json:"bots"`
	Live    string      `json:"live"`   // version; "" = none
	Flows   int         `json:"flows"`  // of Live's script
	Source  string      `json:"source"` // of Live: "published" or "configuration", "" for none
	Before  string      `json:"before"` // was live before, for going back; Configuration = the configuration's, "" = nothing was
	Next    string      `json:"next"`
	Percent int         `json:"percent"`
	Shadow  string      `json:"shadow"`
	Problem string      `json:"problem"` // why this node has not what is published, "" if it has
	Models  []Published `json:"models"`  // published ones, the newest first
}

// States lists the apps: what is at work on this node, and what is published.
func (s *Service) States(ctx context.Context) ([]State, error) {
	out := []State{}
	if s == nil {
		return out, nil
	}
	var p plan
	if s.opts.Values != nil {
		var err error
		if p, _, err = s.readPlan(ctx); err != nil {
			return nil, err
		}
	}
	name := func(m *Model) string {
		if m == nil {
			return ""
		}
		return m.Version
	}
	for _, a := range s.apps {
		l := a.lineup.Load()
		st := State{App: a.Name, IDs: notNil(a.IDs), Bots: notNil(a.Bots), Live: name(l.live), Next: name(l.next), Percent: l.percent, Shadow: name(l.shadow), Models: []Published{}}
		switch {
		case l.live != nil && l.live == a.Model:
			st.Source = Configuration
		case l.live != nil:
			st.Source = "published"
		}
		if l.live != nil && l.live.Script != nil {
			st.Flows = len(l.live.Script.Flows)
		}
		if why := a.problem.Load(); why != nil {
			st.Problem = *why
		}
		if planned := p.Apps[a.Name]; planned != nil {
			st.Models = notNil(planned.Versions)
			if planned.Changed {
				st.Before = cmp.Or(planned.Before, Configuration)
			}
		}
		out = append(out, st)
	}
	return out, nil
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

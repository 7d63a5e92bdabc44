package gateway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/parleyhq/parley/internal/fault"
)

// CacheOptions are about answers that are kept, so that the very same request
// gets the same one again without an engine. The zero value: none are.
type CacheOptions struct {
	Bytes  int64         // that all of them take together; 0 = none are kept
	Age    time.Duration // how long one is good; 0 = 1 h
	Shared bool          // what one user was answered another one gets, too
}

// Cached says what the cache did about a request.
type Cached string

// What a cache does.
const (
	Hit    Cached = "hit"    // the answer came from it
	Miss   Cached = "miss"   // it had none
	Bypass Cached = "bypass" // the client did not want it
)

const (
	cacheHeader   = "Cache-Status" // RFC 9211
	largestCached = 1 << 20        // bytes of an answer
	cachedMore    = 200            // bytes that an answer takes beside its own
)

// identity is a request to the byte, whose it is, and the model that answers it.
type identity [sha256.Size]byte

// remembered is an answer as it was sent.
type remembered struct {
	body         []byte
	kind, engine string
	at           time.Time
}

// answers are those that are kept. Nil: none are.
type answers struct {
	o    CacheOptions
	kept *otter.Cache[identity, *remembered]
	now  func() time.Time
}

func newAnswers(o CacheOptions) (*answers, error) {
	if o.Bytes <= 0 {
		return nil, nil //nolint:nilnil // it is a choice
	}
	if o.Age <= 0 {
		o.Age = time.Hour
	}
	kept, err := otter.New(&otter.Options[identity, *remembered]{
		MaximumWeight: uint64(o.Bytes),
		Weigher:       func(_ identity, a *remembered) uint32 { return uint32(len(a.body) + cachedMore) }, //nolint:gosec // up to largestCached
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "a cache of answers could not be made")
	}
	return &answers{o: o, kept: kept, now: time.Now}, nil
}

// wish is what a client says of caches (RFC 9111, section 5.2.1).
type wish struct {
	look, keep bool
	age        time.Duration // most that an answer may be old; negative: any age
}

func wishOf(h http.Header) wish {
	w := wish{look: true, keep: true, age: -1}
	for _, line := range h["Cache-Control"] {
		for d := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			switch strings.ToLower(name) {
			case "no-store":
				w.look, w.keep = false, false
			case "no-cache":
				w.look = false
			case "max-age":
				if s, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					w.age = time.Duration(s) * time.Second
				}
			}
		}
	}
	return w
}

// identify tells requests apart.
func (a *answers) identify(rec *Record, model string, body []byte) (id identity) {
	h := sha256.New()
	user := rec.User
	if a.o.Shared {
		user = ""
	}
	fmt.Fprintf(h, "%q %q %q\n", user, rec.Op, model)
	_, _ = h.Write(body)
	h.Sum(id[:0])
	return id
}

// again answers from what is kept, if it can. Else it returns the writer that
// the answer goes through, and keep, to be called when all of it has come.
func (a *answers) again(w http.ResponseWriter, r *http.Request, rec *Record, model string, body []byte) (_ http.ResponseWriter, keep func(), done bool) {
	if a == nil {
		return w, func() {}, false
	}
	want := wishOf(r.Header)
	id := a.identify(rec, model, body)
	if want.look {
		if x, ok := a.kept.GetIfPresent(id); ok {
			age := max(a.now().Sub(x.at), 0)
			if age < a.o.Age && (want.age < 0 || age <= want.age) {
				x.show(w, rec, age, a.o.Age-age)
				return w, nil, true
			}
		}
		rec.Cached = Miss
		w.Header()[cacheHeader] = []string{"Parley; fwd=miss"}
	} else {
		rec.Cached = Bypass
		w.Header()[cacheHeader] = []string{"Parley; fwd=request"}
	}
	if !want.keep {
		return w, func() {}, false
	}
	c := &copied{ResponseWriter: w}
	return c, func() {
		if x := c.whole(rec); x != nil {
			x.at = a.now()
			a.kept.Set(id, x)
		}
	}, false
}

// show sends an answer once more.
func (x *remembered) show(w http.ResponseWriter, rec *Record, age, left time.Duration) {
	rec.Cached, rec.Engine, rec.Status = Hit, x.engine, http.StatusOK
	h := w.Header()
	h["Content-Type"] = []string{x.kind}
	h["Content-Length"] = []string{strconv.Itoa(len(x.body))}
	h[engineHeader] = []string{x.engine + "; why=cache"}
	h["Age"] = []string{strconv.Itoa(int(age / time.Second))}
	h[cacheHeader] = []string{"Parley; hit; ttl=" + strconv.Itoa(int(left/time.Second))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(x.body)
}

// copied is an answer on its way to the client, and a copy of it.
type copied struct {
	http.ResponseWriter
	status int
	body   []byte
	large  bool // and so not kept
}

// Unwrap lets http.ResponseController reach the connection.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader hands the status on.
func (c *copied) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write hands p on.
func (c *copied) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if c.large = c.large || len(c.body)+len(p) > largestCached; c.large {
		c.body = nil
	} else {
		c.body = append(c.body, p...)
	}
	return c.ResponseWriter.Write(p)
}

// whole is the answer to be kept, nil if it is none. One that another engine had
// to finish is not, nor one with an error in it.
func (c *copied) whole(rec *Record) *remembered {
	if c.status != http.StatusOK || c.large || len(c.body) == 0 || rec.Code != "" || rec.Resume > 0 || bytes.Contains(c.body, []byte(`{"error"`)) {
		return nil
	}
	return &remembered{body: bytes.Clone(c.body), kind: c.Header().Get("Content-Type"), engine: rec.Engine}
}

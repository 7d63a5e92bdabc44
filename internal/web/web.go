// Package web serves Parley's page: the files that web/ builds, embedded in the
// binary, with the headers that keep a hostile text from doing anything. What
// may live here: the built files and their delivery; nothing of the API, no
// session, no state.
package web

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// policy is the page's Content-Security-Policy. Trusted Types are demanded and
// one is allowed, which makes nothing but the address of the service worker, so
// no text can be turned into markup or script. %s is where the page may go with its requests besides its own origin.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'%s; " +
	"font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types parley-worker"

// Handler serves the page at / and /c/{conversation}, that for operators at
// /learn, the widget at /widget.js and the page to try it on at /widget, and
// their files. Files
// whose names carry a hash may be cached for ever; the others are asked for
// again with their ETag. Everything else is 404, every method but GET and HEAD
// 405. It sets no cookie: wrap it for that. The regions are origins at which
// the page finds the service too, when the one that it came from is gone.
func Handler(regions ...string) http.Handler {
	all, err := load(dist)
	where := ""
	for _, origin := range regions {
		where += " " + origin
	}
	return &page{files: all, err: err, policy: fmt.Sprintf(policy, where)}
}

// Asset returns the path at which a built file is served, "" if there is none:
// "plain.css" is at "/assets/plain.HASH.css".
func Asset(name string) string {
	base, ext := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
	all, _ := fs.Glob(dist, "dist/assets/"+base+".*"+ext)
	for _, f := range all {
		return strings.TrimPrefix(f, "dist")
	}
	return ""
}

// page answers from memory; nothing in it changes.
type page struct {
	files  map[string]*file
	err    error // this build has no page: the tests see to it that it does
	policy string
}

type file struct {
	kind   string            // Content-Type
	tag    string            // of the uncompressed body
	bodies map[string][]byte // by Content-Encoding, "" = as it is
	hashed bool
}

// load reads a tree of built files, each with its compressed copies.
func load(from fs.FS) (map[string]*file, error) {
	out := map[string]*file{}
	err := fs.WalkDir(from, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "dist")
		plain, encoding := name, ""
		switch path.Ext(name) {
		case ".br":
			plain, encoding = strings.TrimSuffix(name, ".br"), "br"
		case ".gz":
			plain, encoding = strings.TrimSuffix(name, ".gz"), "gzip"
		}
		f := out[plain]
		if f == nil {
			f = &file{bodies: map[string][]byte{}, hashed: strings.HasPrefix(plain, "/assets/"), kind: kindOf(plain)}
			out[plain] = f
		}
		f.bodies[encoding] = body
		if encoding == "" {
			f.tag = tagOf(body)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read embedded page: %w", err)
	}
	for name, f := range out {
		if _, ok := f.bodies[""]; !ok {
			return nil, fmt.Errorf("read embedded page: %s exists only compressed", name)
		}
	}
	if out["/index.html"] == nil {
		return nil, fmt.Errorf("read embedded page: no index.html; run npm run build in web/")
	}
	return out, nil
}

func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".woff2":
		return "font/woff2"
	case ".webmanifest", ".json":
		return "application/manifest+json"
	}
	return "application/octet-stream"
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	p.secure(h)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET and HEAD here.", http.StatusMethodNotAllowed)
		return
	}
	if p.err != nil {
		http.Error(w, "The page is missing from this build.", http.StatusInternalServerError)
		return
	}
	f := p.files[nameOf(r.URL.Path)]
	if f == nil {
		h.Set("Cache-Control", "no-store")
		http.Error(w, "There is no such page.", http.StatusNotFound)
		return
	}
	encoding := choose(r.Header.Get("Accept-Encoding"), f.bodies)
	tag := `"` + f.tag + `"`
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
		tag = `"` + f.tag + "-" + encoding + `"`
	}
	if r.URL.Path == "/widget.js" { // for the pages of other sites, whatever they ask of what they load
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Content-Type", f.kind)
	h.Set("ETag", tag)
	h.Add("Vary", "Accept-Encoding")
	if f.hashed {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if matches(r.Header.Get("If-None-Match"), f.tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(f.bodies[encoding])))
	if r.Method == http.MethodGet {
		_, _ = w.Write(f.bodies[encoding]) // the reader went away: nobody to tell
	}
}

// secure sets what every answer of the page carries.
func (p *page) secure(h http.Header) {
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), payment=(), usb=(), browsing-topics=()")
	h.Set("X-Frame-Options", "DENY")
}

// nameOf maps a request's path to a file: / and /c/{id} are the page itself.
func nameOf(p string) string {
	switch p {
	case "/learn":
		return "/learn.html"
	case "/widget":
		return "/widget.html"
	}
	if id, ok := strings.CutPrefix(p, "/c/"); p == "/" || ok && id != "" && !strings.Contains(id, "/") {
		return "/index.html"
	}
	return p
}

// choose picks the smallest body that the client accepts. An encoding with
// weight zero is refused; other weights are not compared, for smaller is better.
func choose(accept string, bodies map[string][]byte) string {
	best, size := "", len(bodies[""])
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		body, ok := bodies[name]
		if !ok || name == "" || len(body) >= size {
			continue
		}
		if q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
			if v, err := strconv.ParseFloat(q, 64); err != nil || v <= 0 {
				continue
			}
		}
		best, size = name, len(body)
	}
	return best
}

// matches reports whether an If-None-Match names the body in any encoding.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" {
			return true
		}
		part = strings.Trim(part, `"`)
		if base, ok := strings.CutSuffix(part, "-br"); ok {
			part = base
		} else if base, ok := strings.CutSuffix(part, "-gzip"); ok {
			part = base
		}
		if part == tag {
			return true
		}
	}
	return false
}

package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

//go:embed webchat
var webchat embed.FS

// Web Chat writes its styles while it runs and fetches what it uploads from
// data and blob addresses. Scripts come from here alone, and no text becomes one.
const webchatPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob: https:; " +
	"media-src 'self' data: blob: https:; connect-src 'self' data: blob:; font-src 'self' data:; worker-src blob:; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const maxBundle = 16 << 20 // bytes; 4.18 has 4 MiB

// Webchat serves Microsoft's Web Chat at /webchat, and everything else by
// next. The bundle is the file webchat.js of the published package, which is
// not a part of this program.
func Webchat(bundle string, next http.Handler) (http.Handler, error) {
	f, err := os.Open(bundle)
	if err != nil {
		return nil, fmt.Errorf("read Web Chat's bundle: %w", err)
	}
	defer func() { _ = f.Close() }()
	script, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read Web Chat's bundle: %w", err)
	}
	if len(script) > maxBundle || !bytes.Contains(script, []byte("createDirectLine")) {
		return nil, fmt.Errorf("%s is not Web Chat's bundle: take webchat.js out of the package botframework-webchat", bundle)
	}
	p := &page{files: map[string]*file{}, policy: webchatPolicy}
	for path, name := range map[string]string{"/webchat": "index.html", "/webchat/page.js": "page.js", "/webchat/page.css": "page.css"} {
		b, err := webchat.ReadFile("webchat/" + name)
		if err != nil {
			return nil, fmt.Errorf("read embedded page: %w", err)
		}
		p.files[path] = &file{kind: kindOf(name), tag: tagOf(b), bodies: map[string][]byte{"": b}}
	}
	small, err := gzipped(script)
	if err != nil {
		return nil, err
	}
	p.files["/webchat/webchat.js"] = &file{kind: kindOf("webchat.js"), tag: tagOf(script), bodies: map[string][]byte{"": script, "gzip": small}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/webchat" && !strings.HasPrefix(r.URL.Path, "/webchat/") {
			next.ServeHTTP(w, r)
			return
		}
		p.ServeHTTP(w, r)
	}), nil
}

func gzipped(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

func tagOf(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

package alone

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// place is a region that says where it is, and whether it is ready.
type place struct {
	*httptest.Server
	ready atomic.Bool
}

func newPlace(t *testing.T, name string) *place {
	p := &place{}
	p.ready.Store(true)
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" && !p.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(p.Close)
	return p
}

// writePair writes a server's certificate and key and returns their paths.
func writePair(t *testing.T, dir string, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// ask returns the address that the name server gives for a name.
func ask(t *testing.T, server, name string) string {
	t.Helper()
	q, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 2048)
	_, _ = c.Write(q)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil || len(m.Answers) != 1 {
		t.Fatalf("%v: %v", err, m)
	}
	a := m.Answers[0].Body.(*dnsmessage.AResource).A
	return net.IP(a[:]).String()
}

// TestLeadsToLivingRegions is the whole program: a file, two regions behind TLS,
// DNS, HTTPS and the status page.
func TestLeadsToLivingRegions(t *testing.T) {
	a, b := newPlace(t, "a"), newPlace(t, "b")
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	cert, _ := writePair(t, dir, a.TLS.Certificates[0]) // one for both: it signed itself
	ranges := "198.51.100.0,198.51.100.255,KR\n"
	file := fmt.Sprintf(`
http: {listen: "127.0.0.1:0", cert: cert.pem, key: key.pem, ca: cert.pem}
dns: {listen: ["127.0.0.1:0"], zones: [{name: chat.example.com, servers: [ns.example.net], names: [{name: "@", policy: first}]}]}
status: 127.0.0.1:0
check: {interval: 20ms}
places: [places.csv]
regions: [{name: a, url: %q, addresses: [192.0.2.1]}, {name: b, url: %q, addresses: [192.0.2.2]}]
policies: [{name: first, method: priority, targets: [{region: a}, {region: b}]}]
`, a.URL, b.URL)
	for name, text := range map[string]string{"edge.yaml": file, "places.csv": ranges} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.ready.Store(false) // dead before the edge starts: nobody may be sent there
	f, err := Load(filepath.Join(dir, "edge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(f, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	text, _ := os.ReadFile(cert)
	roots.AppendCertsFromPEM(text)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}}
	get := func(url string) string {
		req, _ := http.NewRequest(http.MethodGet, url, nil)
		req.Host = "chat.example.com"
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(body))
	}
	where := func() string {
		return ask(t, p.dns.Addrs()[0].String(), "chat.example.com.") + " " + get("https://"+p.http.Addr().String()+"/")
	}
	if got := where(); got != "192.0.2.2 200 b" {
		t.Errorf("with a dead from the start: %s", got)
	}
	a.ready.Store(true)
	for end := time.Now().Add(5 * time.Second); where() != "192.0.2.1 200 a"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("with both alive: %s", where())
		}
	}
	status := "http://" + p.status.Addr().String()
	for path, want := range map[string]string{
		"/livez": "200 ok", "/readyz": "200 ok", "/regions": `"region":"b","live":true`,
		"/metrics": `parley_edge_region_live{region="a"} 1`,
	} {
		if got := get(status + path); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in %s", path, want, got)
		}
	}
	a.ready.Store(false)
	b.ready.Store(false)
	for end := time.Now().Add(5 * time.Second); !strings.HasPrefix(get(status+"/readyz"), "503 "); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("ready without a region")
		}
	}
	if lines := strings.Join(p.Serving(), "\n"); !strings.Contains(lines, "chat.example.com") || !strings.Contains(lines, "https://127.0.0.1") || !strings.Contains(lines, status) {
		t.Error(lines)
	}
	client.CloseIdleConnections()
	p.Stop(t.Context())
	select {
	case err := <-p.Failed():
		t.Errorf("stopped by itself: %v", err)
	default:
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}

// TestPortTaken: a start that fails leaves nothing behind.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	a := newPlace(t, "a")
	before := runtime.NumGoroutine()
	f, err := Parse("f", fmt.Appendf(nil, `
http: {listen: %q}
dns: {listen: [%q], zones: [{name: x.org, servers: [ns.y.org], names: [{name: "@", policy: p}]}]}
regions: [{name: a, url: %q, addresses: [192.0.2.1]}]
policies: [{name: p, method: priority, targets: [{region: a}]}]`, free.Addr(), taken.Addr(), a.URL))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(f, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "name server") {
		t.Errorf("on a port that is taken: %v", err)
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the other port is still taken: %v", err)
	}
	_ = again.Close()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(example)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*File, string){
		"the place data": func(f *File, p string) { f.Places = []string{p} },
		"certificate":    func(f *File, p string) { f.HTTP.Cert, f.HTTP.Key = p, p },
		"authority":      func(f *File, p string) { f.HTTP.CA = p },
	} {
		for _, path := range []string{bad, filepath.Join(dir, "none")} {
			g := f
			edit(&g, path)
			if _, err := New(g, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) && !strings.Contains(err.Error(), path) {
				t.Errorf("%s from %s: %v", name, path, err)
			}
		}
	}
}

// TestRenewal replaces the certificate under a running edge.
func TestRenewal(t *testing.T) {
	first, second := httptest.NewTLSServer(nil), selfSigned(t)
	defer first.Close()
	dir := t.TempDir()
	cert, key := writePair(t, dir, first.TLS.Certificates[0])
	synctest.Test(t, func(t *testing.T) {
		c, err := readCertificate(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var said bytes.Buffer
		go c.follow(ctx, slog.New(slog.NewTextHandler(&said, nil)))
		shows := func(want tls.Certificate, when string) {
			t.Helper()
			time.Sleep(3 * renewal)
			synctest.Wait()
			if now, _ := c.get(nil); !bytes.Equal(now.Certificate[0], want.Certificate[0]) {
				t.Errorf("the wrong certificate %s", when)
			}
		}
		shows(first.TLS.Certificates[0], "at first")
		if err := os.WriteFile(cert, []byte("half wri"), 0o600); err != nil {
			t.Fatal(err)
		}
		shows(first.TLS.Certificates[0], "while the new one is half written")
		writePair(t, dir, second)
		later := time.Now().Add(time.Hour)
		if err := os.Chtimes(cert, later, later); err != nil {
			t.Fatal(err)
		}
		shows(second, "after the renewal")
		if n := strings.Count(said.String(), "can't be used"); n != 1 {
			t.Errorf("said %d times that it can't be used:\n%s", n, said.String())
		}
		cancel()
		synctest.Wait()
	})
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

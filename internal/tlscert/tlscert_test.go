package tlscert_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/tlscert"
)

func authority(t *testing.T) *tlscert.Authority {
	t.Helper()
	a, err := tlscert.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	korea = tlscert.Identity{Region: "koreacentral", Node: "kc1"}
	japan = tlscert.Identity{Region: "japaneast", Node: "je1"}
)

func known(x tlscert.Identity) bool { return slices.Contains([]tlscert.Identity{korea, japan}, x) }

func open(t *testing.T, who tlscert.Identity, a *tlscert.Authority) *tlscert.Certs {
	t.Helper()
	c, err := tlscert.Open(tlscert.Options{Dir: t.TempDir(), Self: who, Hosts: []string{"127.0.0.1", "node.example"}, Known: known, Authority: a})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake connects two nodes and returns what each side says, and the serial
// number that the server showed.
func shake(t *testing.T, server, client *tls.Config) (serial string, serverErr, clientErr error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	for _, c := range []net.Conn{near, far} { // a pipe has no buffer: who refuses can't say so while the other one writes
		if err := c.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	client = client.Clone()
	client.ServerName = "127.0.0.1"
	var all sync.WaitGroup
	all.Go(func() {
		c := tls.Server(far, server)
		serverErr = c.HandshakeContext(t.Context())
		if serverErr == nil {
			_, serverErr = c.Write([]byte("x"))
		}
		far.Close()
	})
	c := tls.Client(near, client)
	if clientErr = c.HandshakeContext(t.Context()); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // in TLS 1.3 the server's refusal comes after the handshake
		serial = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	near.Close()
	all.Wait()
	return serial, serverErr, clientErr
}

func TestNodesKnowEachOther(t *testing.T) {
	a := authority(t)
	k, j := open(t, korea, a), open(t, japan, a)
	if _, s, c := shake(t, k.Config(), j.Config()); s != nil || c != nil {
		t.Errorf("two nodes of one cluster: %v, %v", s, c)
	}
	other := authority(t)
	if _, s, c := shake(t, k.Config(), open(t, japan, other).Config()); s == nil && c == nil {
		t.Error("a node of another authority got in")
	}
	stranger, err := tlscert.Open(tlscert.Options{Dir: t.TempDir(), Self: tlscert.Identity{Region: "mars", Node: "m1"}, Hosts: []string{"127.0.0.1"}, Known: known, Authority: a})
	if err != nil {
		t.Fatal(err)
	}
	if _, s, _ := shake(t, k.Config(), stranger.Config()); s == nil || !strings.Contains(s.Error(), "m1 in mars, which is not in this cluster") {
		t.Errorf("a node that is not in the list: %v", s)
	}
	if _, _, c := shake(t, stranger.Config(), k.Config()); c == nil || !strings.Contains(c.Error(), "not in this cluster") {
		t.Errorf("a server that is not in the list: %v", c)
	}
	naked := j.Config()
	naked.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	if _, s, _ := shake(t, k.Config(), naked); s == nil {
		t.Error("a node without a certificate got in")
	}
	elsewhere := j.Config()
	wrong, err := tlscert.Open(tlscert.Options{Dir: t.TempDir(), Self: korea, Hosts: []string{"10.9.8.7"}, Known: known, Authority: a})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, c := shake(t, wrong.Config(), elsewhere); c == nil {
		t.Error("a certificate for another address was taken")
	}
}

func TestRenewedWithoutRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		k, j := open(t, korea, a), open(t, japan, a)
		ks, js := k.Config(), j.Config() // made once, as a server does
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		go j.Run(ctx)
		first, _, _ := shake(t, ks, js)
		for range 10 {
			time.Sleep(23 * time.Hour)
			synctest.Wait()
			serial, s, c := shake(t, ks, js)
			if s != nil || c != nil {
				t.Fatalf("after %s: %v, %v", k.Expires(), s, c)
			}
			if serial == first {
				t.Fatal("still the first certificate")
			}
			first = serial
		}
		cancel()
		synctest.Wait()
		time.Sleep(25 * time.Hour)
		if _, s, c := shake(t, ks, js); s == nil && c == nil {
			t.Error("an expired certificate was taken")
		}
		if err := k.Health(); err == nil || !strings.Contains(err.Error(), "expired at 2000-01-1") {
			t.Errorf("health: %v", err)
		}
	})
}

// Without an authority the files are somebody else's.
func TestForeignFiles(t *testing.T) {
	a := authority(t)
	dir := t.TempDir()
	opts := tlscert.Options{Dir: dir, Self: korea, Known: known}
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(a *tlscert.Authority, who tlscert.Identity, life time.Duration) []byte {
		t.Helper()
		b, err := a.Issue(who, []string{"127.0.0.1"}, life)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := tlscert.Open(opts); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no files: %v", err)
	}
	put("ca.pem", a.PEM())
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"expired", issue(a, korea, -time.Minute), "expired at"},
		{"another node's", issue(a, japan, time.Hour), "certificate of je1 in japaneast"},
		{"another authority's", issue(authority(t), korea, time.Hour), "not signed by the authority"},
		{"no key", a.PEM(), "private key"},
		{"rubbish", []byte("rubbish"), "PEM"},
		{"huge", bytes.Repeat([]byte("x"), 2<<20), "too large"},
	} {
		put("node.pem", c.file)
		if _, err := tlscert.Open(opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	put("node.pem", issue(a, korea, time.Hour))
	certs, err := tlscert.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, s, c := shake(t, certs.Config(), open(t, japan, a).Config()); s != nil || c != nil {
		t.Errorf("foreign files: %v, %v", s, c)
	}
}

func TestAuthorityStays(t *testing.T) {
	dir := t.TempDir()
	pems := make(chan string, 8)
	var all sync.WaitGroup
	for range cap(pems) {
		all.Go(func() {
			a, err := tlscert.OpenAuthority(dir)
			if err != nil {
				t.Error(err)
				return
			}
			pems <- string(a.PEM())
		})
	}
	all.Wait()
	close(pems)
	first := <-pems
	for p := range pems {
		if p != first {
			t.Fatal("two authorities were made")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "authority.pem"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tlscert.OpenAuthority(dir); err == nil {
		t.Error("a damaged authority was opened, or made anew")
	}
}

func FuzzIdentity(f *testing.F) {
	for _, uri := range []string{"parley://koreacentral/kc1", "parley:///x", "parley://a", "https://koreacentral/kc1", "parley://a/b/c", ""} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.Parse(uri)
		if err != nil {
			return
		}
		who, err := tlscert.IdentityOf(&x509.Certificate{URIs: []*url.URL{u}})
		if err == nil && (who.Region == "" || who.Node == "") {
			t.Errorf("%q names %+v", uri, who)
		}
	})
}

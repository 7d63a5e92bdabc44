package tlscert

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
)

const (
	authorityFile = "authority.pem" // certificate and key: whoever has it can be any node
	authorityLife = 10 * 365 * 24 * time.Hour
)

// Authority signs the certificates of a cluster's nodes.
type Authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// OpenAuthority reads the authority in a folder, or makes one if there is
// none. Of several programs that do so at once, one makes it.
func OpenAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	path := filepath.Join(dir, authorityFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		b, err := newAuthority()
		if err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
		mine := path + "." + rand.Text()
		if err := atomicfile.Write(mine, b, 0o600); err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
		err = os.Link(mine, path) // fails if somebody was first
		os.Remove(mine)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make authority: %w", err)
		}
	}
	b, err := readPEM(path)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return nil, fmt.Errorf("open authority: %s: %w", path, err)
	}
	key, ok := pair.PrivateKey.(ed25519.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("open authority: %s is not an Ed25519 authority", path)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("open authority: %s expired at %s", path, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &Authority{cert: pair.Leaf, key: key}, nil
}

func newAuthority() ([]byte, error) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	t := template("Parley development authority", authorityLife)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, public, key)
	if err != nil {
		return nil, err
	}
	return withKey(der, key)
}

// PEM returns the certificate that the nodes trust.
func (a *Authority) PEM() []byte { return block("CERTIFICATE", a.cert.Raw) }

// Issue makes a certificate and its key, as PEM, for a node that is reached at
// the hosts: names or addresses.
func (a *Authority) Issue(who Identity, hosts []string, life time.Duration) ([]byte, error) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	t := template(who.String(), life)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{who.uri()}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return withKey(der, key)
}

func template(name string, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
	}
}

func serial() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // positive
	return b
}

func withKey(cert []byte, key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(block("CERTIFICATE", cert), block("PRIVATE KEY", der)...), nil
}

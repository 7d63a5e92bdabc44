// Package tlscert is how nodes know each other: certificates that name a node
// and its region, made by an authority of one's own, short-lived and renewed
// while the node runs. What may live here: X.509 and the TLS configuration
// made of it.
package tlscert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/fault"
)

// Identity is whom a certificate names. In it, it is the URI
// parley://region/node.
type Identity struct {
	Region, Node string
}

func (i Identity) String() string { return i.Node + " in " + i.Region }

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Region, Path: "/" + i.Node}
}

const (
	scheme   = "parley"
	rootFile = "ca.pem"
	nodeFile = "node.pem" // certificate and key together, so that they are replaced together
	mostPEM  = 1 << 20    // bytes of a file that we read
	life     = 24 * time.Hour
	backdate = 2 * time.Hour // clocks may differ
)

// IdentityOf reads whom a certificate names.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range cert.URIs {
		if u.Scheme == scheme && u.Host != "" && len(u.Path) > 1 {
			found = append(found, Identity{Region: u.Host, Node: u.Path[1:]})
		}
	}
	if len(found) != 1 {
		return Identity{}, fmt.Errorf("the certificate of %q names %d Parley nodes, not one", cert.Subject.CommonName, len(found))
	}
	return found[0], nil
}

// Options of a node's certificates. Dir, Self and Known are required.
type Options struct {
	Dir   string // ca.pem (who is trusted) and node.pem (certificate and key) live here
	Self  Identity
	Hosts []string // host names and addresses at which the others reach this node
	// Known says whether a node belongs to the cluster.
	Known func(Identity) bool
	// Authority makes and renews the certificate. nil: somebody else puts the
	// files there, and they are read again when they change.
	Authority *Authority
	Life      time.Duration // of a certificate the authority makes; 0 = 24 h; it is renewed when a third of it is left
	Logger    *slog.Logger  // nil = discard
}

// Certs is a node's certificate, now and after every renewal.
type Certs struct {
	opts  Options
	lg    *slog.Logger
	roots *x509.CertPool
	now   atomic.Pointer[tls.Certificate]
	read  time.Time // the file's time when it was read; Run's
}

// Open reads the node's certificate; with an authority it makes one if there is
// none or the one there is of no use. It starts nothing: Run keeps the
// certificate fresh.
func Open(opts Options) (*Certs, error) {
	if opts.Dir == "" || opts.Known == nil || opts.Self.Region == "" || opts.Self.Node == "" {
		return nil, errors.New("open certificates: Dir, Self and Known are required")
	}
	if opts.Life == 0 {
		opts.Life = life
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Certs{opts: opts, lg: opts.Logger.With("part", "tls")}
	if opts.Authority != nil {
		if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("open certificates: %w", err)
		}
		if err := atomicfile.Write(c.path(rootFile), opts.Authority.PEM(), 0o600); err != nil {
			return nil, fmt.Errorf("open certificates: %w", err)
		}
	}
	var err error
	if c.roots, err = authorities(c.path(rootFile)); err != nil {
		return nil, fmt.Errorf("open certificates: %w", err)
	}
	if err := c.refresh(); err != nil {
		return nil, fmt.Errorf("open certificates: %w", err)
	}
	return c, nil
}

// Trusting is how a client speaks TLS that trusts the authorities in a PEM file
// and nobody else.
func Trusting(path string) (*tls.Config, error) {
	roots, err := authorities(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

func authorities(path string) (*x509.CertPool, error) {
	b, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("there is no certificate in %s", path)
	}
	return roots, nil
}

func (c *Certs) path(name string) string { return filepath.Join(c.opts.Dir, name) }

// Run keeps the certificate fresh until ctx ends. Connections that are made
// after a renewal use the new one; those that are open are left alone.
func (c *Certs) Run(ctx context.Context) {
	tick := time.NewTicker(min(time.Minute, c.opts.Life/24))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.refresh(); err != nil {
			c.lg.Error("the node's certificate can't be renewed", "expires", c.Expires(), "err", err)
		}
	}
}

// refresh loads the file if it is another one, and renews what runs out.
func (c *Certs) refresh() error {
	info, err := os.Stat(c.path(nodeFile))
	switch {
	case err == nil && !info.ModTime().Equal(c.read):
		err = c.load(info.ModTime())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if c.opts.Authority == nil || err == nil && time.Until(c.Expires()) > c.opts.Life/3 {
		return err
	}
	b, err := c.opts.Authority.Issue(c.opts.Self, c.opts.Hosts, c.opts.Life)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.path(nodeFile), b, 0o600); err != nil {
		return err
	}
	if info, err = os.Stat(c.path(nodeFile)); err != nil {
		return err
	}
	if err := c.load(info.ModTime()); err != nil {
		return err
	}
	c.lg.Info("certificate renewed", "expires", c.Expires())
	return nil
}

// load takes the certificate in the file if the others will take it.
func (c *Certs) load(at time.Time) error {
	path := c.path(nodeFile)
	b, err := readPEM(path)
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(b, b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	leaf := cert.Leaf
	self, err := IdentityOf(leaf)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case self != c.opts.Self:
		return fmt.Errorf("%s is the certificate of %s, and this is %s", path, self, c.opts.Self)
	case time.Now().After(leaf.NotAfter):
		return fmt.Errorf("%s expired at %s: without a new one the other nodes don't talk to this one", path, leaf.NotAfter.UTC().Format(time.RFC3339))
	case time.Now().Before(leaf.NotBefore):
		return fmt.Errorf("%s is not valid before %s: is this machine's clock right?", path, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("%s is not signed by the authority in %s: %w", path, c.path(rootFile), err)
	}
	c.now.Store(&cert)
	c.read = at
	return nil
}

// Expires says until when the certificate in use is valid.
func (c *Certs) Expires() time.Time {
	if cert := c.now.Load(); cert != nil {
		return cert.Leaf.NotAfter
	}
	return time.Time{}
}

// Health is nil while the certificate in use is one that others take.
func (c *Certs) Health() error {
	if left := time.Until(c.Expires()); left <= 0 {
		return fault.New(fault.Unavailable, "this node's certificate expired at %s and was not renewed: the other nodes refuse it; put a new one into %s",
			c.Expires().UTC().Format(time.RFC3339), c.path(nodeFile))
	}
	return nil
}

// Config returns the configuration for both directions. Both sides show a
// certificate of the authority, valid for the address that was dialled, and of
// a node that belongs to the cluster.
func (c *Certs) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    c.roots,
		ClientCAs:  c.roots,
		ClientAuth: tls.RequireAndVerifyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.now.Load(), nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.now.Load(), nil
		},
		VerifyConnection: c.verify,
		// A resumed connection would show no certificate, perhaps an old one.
		SessionTicketsDisabled: true,
	}
}

func (c *Certs) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the other node shows no certificate")
	}
	who, err := IdentityOf(s.PeerCertificates[0])
	if err != nil {
		return err
	}
	if !c.opts.Known(who) {
		return fmt.Errorf("the certificate is of %s, which is not in this cluster's list of nodes", who)
	}
	return nil
}

func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > mostPEM {
		return nil, fmt.Errorf("%s is too large for a certificate", path)
	}
	return os.ReadFile(path)
}

// Put writes who is trusted and a node's certificate to where Open reads them.
func Put(dir string, roots, node []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write certificates: %w", err)
	}
	if err := errors.Join(atomicfile.Write(filepath.Join(dir, rootFile), roots, 0o600), atomicfile.Write(filepath.Join(dir, nodeFile), node, 0o600)); err != nil {
		return fmt.Errorf("write certificates: %w", err)
	}
	return nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

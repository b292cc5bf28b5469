package undercloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// TLS says how the API is encrypted. Without files the undercloud is its own
// certificate authority, made on first start.
type TLS struct {
	Mode string // "on", "off" or "": on for every address but loopback
	Cert string // PEM file: the server's certificate and its chain
	Key  string // PEM file: its private key
	CA   string // PEM file for clients that do not trust the certificate's issuer anyway
}

// How long certificates of the own authority are good. A server's certificate
// is made anew at a start or a handshake within its last month.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 397 * 24 * time.Hour // the most that browsers take (CA/Browser Forum ballot SC22)
	renewWithin   = 30 * 24 * time.Hour
	lookAgain     = 10 * time.Second // how often a handshake may look at the files again
)

// certificate is the server's certificate, kept true to its files: replaced
// files are taken without a restart, and an own certificate is renewed.
type certificate struct {
	certFile, keyFile string
	renew             func(now time.Time) error // nil: the files are the operator's
	now               func() time.Time
	log               *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	mtime  time.Time
	looked time.Time
}

// openCertificate makes the own authority's files when none are given.
func openCertificate(cfg *Config, now func() time.Time, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: cfg.TLS.Cert, keyFile: cfg.TLS.Key, now: now, log: log}
	if c.certFile == "" {
		dir := cfg.tlsDir()
		c.certFile, c.keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
		names := cfg.certificateNames()
		c.renew = func(now time.Time) error { return issue(dir, names, now) }
		if err := c.renew(now()); err != nil {
			return nil, fmt.Errorf("own certificate authority in %s: %w", dir, err)
		}
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	fi, err := os.Stat(c.certFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.loaded, c.mtime = &pair, fi.ModTime()
	return nil
}

// get is tls.Config.GetCertificate. While new files are damaged the old
// certificate goes on.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.looked) < lookAgain {
		return c.loaded, nil
	}
	c.looked = now
	if c.renew != nil {
		if err := c.renew(now); err != nil {
			c.log.Error("cannot renew the API's certificate", "error", err)
		}
	}
	if fi, err := os.Stat(c.certFile); err == nil && !fi.ModTime().Equal(c.mtime) {
		if err := c.load(); err != nil {
			c.log.Error("cannot read the API's new certificate, the old one stays", "error", err)
		}
	}
	return c.loaded, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// issue makes the authority when there is none, and a certificate for names
// when there is none that will do for another month.
func issue(dir string, names []string, now time.Time) error {
	certFile, keyFile := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if cert, err := readCertificate(certFile); err == nil && now.Add(renewWithin).Before(cert.NotAfter) && covers(cert, names) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, caKey, err := authority(dir, now)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(serverLife), // an hour: clients' clocks may be late
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := writeKeyFile(keyFile, key); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// authority reads the certificate authority of dir, or makes it.
func authority(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil {
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return nil, nil, fmt.Errorf("%s holds a %T, expected an ECDSA key", keyFile, pair.PrivateKey)
		}
		return pair.Leaf, key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "tripleo undercloud"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	if err := writeKeyFile(keyFile, key); err != nil {
		return nil, nil, err
	}
	if err := writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func readCertificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path) //nolint:gosec // our own folder
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

func covers(cert *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return cert.VerifyHostname(n) != nil })
}

func writeKeyFile(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// serial is a random number of 127 bits (RFC 5280 section 4.1.2.2: positive, at most 20 octets).
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}
